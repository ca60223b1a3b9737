//! A strided window onto a device buffer: how Reshape, Transpose, Slice, Split and Expand cost nothing.

use super::BufId;
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::kernels::DeviceType;
use crate::shape;

/// A value on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The buffer.
    pub buf: BufId,
    /// The element type.
    pub dtype: DType,
    /// What stands for it in WGSL.
    pub device: DeviceType,
    /// Extents.
    pub shape: Vec<usize>,
    /// Step in elements along each dim; 0 where repeated, negative where reversed.
    pub strides: Vec<isize>,
    /// The element at coordinate zero.
    pub offset: usize,
}

impl View {
    /// A dense view at the start of a buffer.
    pub fn dense(buf: BufId, t: &TensorType, device: DeviceType) -> View {
        let strides = dense_strides(&t.shape);
        View { buf, dtype: t.dtype, device, shape: t.shape.clone(), strides, offset: 0 }
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        shape::numel(&self.shape)
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Element type and shape.
    pub fn tensor_type(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.clone())
    }

    /// Whether elements lie in row-major order without gaps (at any offset). Strides of extents 1 do not matter.
    pub fn is_dense(&self) -> bool {
        if self.numel() == 0 {
            return true;
        }
        let want = dense_strides(&self.shape);
        self.shape.iter().zip(self.strides.iter().zip(&want)).all(|(d, (s, w))| *d == 1 || s == w)
    }

    /// Whether what stands under the first dim lies densely, image by image in ascending order.
    pub fn has_dense_images(&self) -> bool {
        let (Some((_, shape)), Some((apart, strides))) = (self.shape.split_first(), self.strides.split_first()) else {
            return true;
        };
        *apart >= 0 && View { shape: shape.to_vec(), strides: strides.to_vec(), ..self.clone() }.is_dense()
    }

    /// Whether every element lies where the one of `other` lies, a view of the same shape.
    pub fn same_place(&self, other: &View) -> bool {
        let steps = || self.strides.iter().zip(&other.strides).zip(&self.shape).all(|((a, b), d)| *d == 1 || a == b);
        self.numel() == 0 || (self.buf == other.buf && self.offset == other.offset && steps())
    }

    /// This view with its dims in another order.
    pub fn permuted(&self, perm: &[usize]) -> View {
        let shape = perm.iter().map(|p| self.shape[*p]).collect();
        let strides = perm.iter().map(|p| self.strides[*p]).collect();
        View { shape, strides, ..self.clone() }
    }

    /// This view with extents of 1 (and missing leading dims) repeated to `shape`, to which it must broadcast.
    pub fn broadcast(&self, shape: &[usize]) -> View {
        let lead = shape.len() - self.rank();
        let stride = |i: usize| match i.checked_sub(lead) {
            Some(j) if self.shape[j] == shape[i] => self.strides[j],
            _ => 0,
        };
        View { shape: shape.to_vec(), strides: (0..shape.len()).map(stride).collect(), ..self.clone() }
    }

    /// The same elements in row-major order under another shape, when strides can say so without a copy.
    pub fn reshaped(&self, new: &[usize]) -> Option<View> {
        if shape::numel(new) != self.numel() {
            return None;
        }
        if self.is_dense() {
            return Some(View { shape: new.to_vec(), strides: dense_strides(new), ..self.clone() });
        }
        // Runs of old dims that step as one block are matched with runs of new dims of the same extent.
        let old: Vec<(usize, isize)> =
            self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|(d, _)| *d != 1).collect();
        let mut strides = vec![0isize; new.len()];
        let (mut o, mut n) = (0, 0);
        while o < old.len() {
            let (mut o_end, mut n_end) = (o + 1, n + 1);
            let (mut o_size, mut n_size) = (old[o].0, *new.get(n)?);
            while o_size != n_size {
                if o_size < n_size {
                    o_size *= old.get(o_end)?.0;
                    o_end += 1;
                } else {
                    n_size *= *new.get(n_end)?;
                    n_end += 1;
                }
            }
            if (o..o_end - 1).any(|i| old[i].1 != old[i + 1].1 * old[i + 1].0 as isize) {
                return None;
            }
            let mut step = old[o_end - 1].1;
            for i in (n..n_end).rev() {
                strides[i] = step;
                step *= new[i] as isize;
            }
            (o, n) = (o_end, n_end);
        }
        Some(View { shape: new.to_vec(), strides, ..self.clone() })
    }

    /// The same elements in row-major order under another shape, where each of its dims is made of whole dims, or of even
    /// parts of dims, of this view.
    pub fn refined(&self, new: &[usize]) -> Option<Finer> {
        if shape::numel(new) != self.numel() || self.numel() == 0 {
            return None;
        }
        let steps = self.strides.iter().copied();
        let mut old: Vec<(usize, isize)> = self.shape.iter().copied().zip(steps).filter(|(d, _)| *d != 1).collect();
        old.reverse();
        let (mut shape, mut strides, mut parts) = (vec![], vec![], vec![]);
        for &extent in new {
            let before = shape.len();
            let mut left = extent;
            while left > 1 {
                let (d, step) = old.pop()?;
                let take = d.min(left);
                if !d.is_multiple_of(take) || !left.is_multiple_of(take) {
                    return None;
                }
                // the outer part of a dim that is larger
                let inner = d / take;
                if inner > 1 {
                    old.push((inner, step));
                }
                shape.push(take);
                strides.push(step * inner as isize);
                left /= take;
            }
            if shape.len() == before {
                shape.push(1);
                strides.push(0);
            }
            parts.push(shape.len() - before);
        }
        Some(Finer { view: View { shape, strides, ..self.clone() }, parts })
    }

    /// `len` elements along `axis` from `start` in steps of `step` (negative: backwards).
    pub fn sliced(&self, axis: usize, start: usize, step: isize, len: usize) -> View {
        let mut v = self.clone();
        if self.numel() > 0 && len > 0 {
            v.offset = (v.offset as isize + start as isize * v.strides[axis]) as usize;
        }
        v.shape[axis] = len;
        v.strides[axis] *= step;
        v
    }
}

/// A value that no strides describe, such as a repeated dim joined to the next: a view with more dims, of which `parts`
/// tells how many make up each dim of the value.
#[derive(Debug, Clone)]
pub struct Finer {
    /// The elements in row-major order.
    pub view: View,
    /// How many of the view's dims make up each of the value's, at least one.
    pub parts: Vec<usize>,
}

impl Finer {
    /// The value with its dims in another order.
    pub fn permuted(&self, perm: &[usize]) -> Finer {
        let first = |p: usize| self.parts[..p].iter().sum::<usize>();
        let dims: Vec<usize> = perm.iter().flat_map(|p| first(*p)..first(*p) + self.parts[*p]).collect();
        Finer { view: self.view.permuted(&dims), parts: perm.iter().map(|p| self.parts[*p]).collect() }
    }

    /// Whether the view has the value's own dims.
    pub fn is_plain(&self) -> bool {
        self.view.rank() == self.parts.len()
    }

    /// The extents of a batch that this value, of matrices, is broadcast to, with those dims in parts that are so here.
    pub fn batch(&self, batch: &[usize]) -> Vec<usize> {
        let lead = batch.len() + 2 - self.parts.len();
        let dim = |i: usize| match i.checked_sub(lead).map(|d| self.extents(d)) {
            Some(parts) if parts.iter().product::<usize>() == batch[i] => parts,
            _ => &batch[i..=i],
        };
        (0..batch.len()).flat_map(dim).copied().collect()
    }

    /// The extents that make up the value's dim `i`.
    pub fn extents(&self, i: usize) -> &[usize] {
        let first: usize = self.parts[..i].iter().sum();
        &self.view.shape[first..first + self.parts[i]]
    }
}

/// Row-major strides as signed numbers.
pub(crate) fn dense_strides(s: &[usize]) -> Vec<isize> {
    shape::strides(s).into_iter().map(|x| x as isize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize]) -> View {
        View::dense(BufId(0), &TensorType::new(DType::F32, shape), DeviceType::F32)
    }

    fn elements(v: &View) -> Vec<usize> {
        shape::strided_indices(&v.shape, &v.strides, v.offset)
    }

    #[test]
    fn reshape_of_a_view_keeps_the_order() {
        let t = view(&[2, 3, 4]).permuted(&[1, 0, 2]);
        let r = t.reshaped(&[3, 1, 2, 2, 2]).unwrap();
        assert_eq!(elements(&r), elements(&t));
        assert!(t.reshaped(&[6, 4]).is_none());
        assert_eq!(elements(&view(&[4, 1, 6]).reshaped(&[2, 12]).unwrap()), (0..24).collect::<Vec<_>>());
        let wide = view(&[1, 3]).broadcast(&[2, 3]);
        assert!(wide.reshaped(&[6]).is_none());
        assert_eq!(elements(&wide.reshaped(&[2, 1, 3]).unwrap()), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn refined_views_have_the_elements_of_a_copy() {
        // heads repeated for groups of queries, joined, then transposed
        let k = view(&[2, 3, 1, 5, 4]).broadcast(&[2, 3, 2, 5, 4]);
        assert!(k.reshaped(&[2, 6, 5, 4]).is_none());
        let f = k.refined(&[2, 6, 5, 4]).unwrap();
        assert_eq!((elements(&f.view), &f.parts[..]), (elements(&k), &[1, 2, 1, 1][..]));
        assert_eq!(f.extents(1), [3, 2]);
        let t = f.permuted(&[0, 1, 3, 2]);
        assert_eq!(elements(&t.view), elements(&k.permuted(&[0, 1, 2, 4, 3])));
        let parts = view(&[6, 4]).permuted(&[1, 0]).refined(&[2, 1, 4, 3]).unwrap();
        assert_eq!(parts.view.shape, [2, 1, 2, 2, 3]);
        assert_eq!(elements(&parts.view), elements(&view(&[6, 4]).permuted(&[1, 0])));
        assert!(view(&[4, 6]).permuted(&[1, 0]).refined(&[4, 6]).is_none());
    }

    #[test]
    fn slices_go_backwards() {
        let v = view(&[5]).sliced(0, 4, -2, 3);
        assert_eq!(elements(&v), [4, 2, 0]);
        assert!(!v.is_dense());
        assert!(view(&[2, 3]).sliced(0, 1, 1, 1).is_dense());
    }
}
