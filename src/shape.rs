//! Arithmetic on shapes: sizes, row-major strides, NumPy broadcasting, axes.

use crate::{Result, bail, ensure};

/// The number of elements; saturates instead of overflowing.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().fold(1usize, |n, d| n.saturating_mul(*d))
}

/// The number of elements.
///
/// # Errors
/// `Limit` when the extents, those of 0 left out, have a product that does not fit an `isize`: strides would not.
pub fn checked_numel(shape: &[usize]) -> Result<usize> {
    let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
    let fits = n.is_some_and(|n| n <= isize::MAX as usize);
    ensure!(fits, Limit, "shape {shape:?} has too many elements");
    Ok(numel(shape))
}

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i].saturating_mul(shape[i]);
    }
    s
}

/// The shape that all of `shapes` broadcast to by NumPy's rules.
///
/// # Errors
/// `InvalidNode` when two extents differ and neither is 1.
pub fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1usize; rank];
    for s in shapes {
        for (o, d) in out[rank - s.len()..].iter_mut().zip(s.iter()) {
            if *o == 1 {
                *o = *d;
            } else if *d != 1 && *d != *o {
                bail!(InvalidNode, "shapes {shapes:?} do not broadcast: {o} against {d}");
            }
        }
    }
    Ok(out)
}

/// Strides in elements with which a dense tensor of `shape` is read at the coordinates of `out`, to which it
/// broadcasts (0 along repeated dims).
pub fn broadcast_strides(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let dense = strides(shape);
    let lead = out.len() - shape.len();
    (0..out.len()).map(|i| if i < lead || shape[i - lead] == 1 { 0 } else { dense[i - lead] }).collect()
}

/// An axis in `-rank..rank` as an index.
///
/// # Errors
/// `InvalidNode` when it lies outside.
pub fn axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    ensure!((-r..r).contains(&axis), InvalidNode, "axis {axis} is outside -{rank}..{rank}");
    Ok(if axis < 0 { axis + r } else { axis } as usize)
}

/// Several axes as indices, in the order given.
///
/// # Errors
/// `InvalidNode` when one lies outside or comes twice.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>> {
    ensure!(list.len() <= rank, InvalidNode, "{} axes of a tensor of rank {rank}", list.len());
    let out: Vec<usize> = list.iter().map(|a| axis(*a, rank)).collect::<Result<_>>()?;
    let mut sorted = out.clone();
    sorted.sort_unstable();
    sorted.dedup();
    ensure!(sorted.len() == out.len(), InvalidNode, "axes {list:?} repeat an axis");
    Ok(out)
}

/// All coordinates of `shape` in row-major order.
pub fn coords(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    let count = numel(&shape);
    let mut next = vec![0usize; shape.len()];
    (0..count).map(move |_| {
        let now = next.clone();
        for i in (0..shape.len()).rev() {
            next[i] += 1;
            if next[i] < shape[i] {
                break;
            }
            next[i] = 0;
        }
        now
    })
}

/// For each coordinate of `shape` in row-major order, `offset + Σ coordinate · stride`.
pub fn strided_indices(shape: &[usize], strides: &[isize], offset: usize) -> Vec<usize> {
    let count = numel(shape);
    let mut out = Vec::with_capacity(count);
    let mut at = vec![0usize; shape.len()];
    let mut pos = offset as isize;
    for _ in 0..count {
        out.push(pos as usize);
        for i in (0..shape.len()).rev() {
            at[i] += 1;
            pos += strides[i];
            if at[i] < shape[i] {
                break;
            }
            pos -= strides[i] * shape[i] as isize;
            at[i] = 0;
        }
    }
    out
}

/// The row-major index of every element of `shape`-to-`out` broadcasting, one per element of `out`.
pub fn broadcast_indices(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let s: Vec<isize> = broadcast_strides(shape, out).into_iter().map(|x| x as isize).collect();
    strided_indices(out, &s, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast(&[&[2, 1, 4], &[3, 1], &[]]).unwrap(), [2, 3, 4]);
        assert_eq!(broadcast(&[&[0], &[1]]).unwrap(), [0]);
        assert!(broadcast(&[&[2], &[3]]).is_err());
        assert_eq!(broadcast_indices(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn strided_walk_goes_backwards_too() {
        assert_eq!(strided_indices(&[2, 2], &[-2, -1], 3), [3, 2, 1, 0]);
        assert_eq!(strided_indices(&[], &[], 5), [5]);
        assert_eq!(strided_indices(&[0, 2], &[2, 1], 0), [] as [usize; 0]);
    }

    #[test]
    fn coordinates_count_up() {
        let all: Vec<_> = coords(&[2, 2]).collect();
        assert_eq!(all, [vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]]);
        assert_eq!(coords(&[]).count(), 1);
    }

    #[test]
    fn extents_beside_zero_count_as_too_many() {
        assert_eq!(checked_numel(&[3, 0, 2]).unwrap(), 0);
        assert_eq!(checked_numel(&[]).unwrap(), 1);
        for shape in [[1 << 40, 1 << 40, 0], [0, usize::MAX, 2], [2, 2, 1 << 61]] {
            assert!(checked_numel(&shape).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn axes_are_checked() {
        assert_eq!(axes(&[-1, 0], 3).unwrap(), [2, 0]);
        assert!(axes(&[0, -3], 3).is_err());
        assert!(axis(3, 3).is_err());
    }
}
