//! Copies between strided views: `shaders/copy.wgsl`; on GPUs transposes by tiles: `shaders/copy_tile.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// The WGSL type that moves one element of `t` whole.
pub fn word(t: DeviceType) -> &'static str {
    match t.bytes() {
        2 => "f16",
        8 => "vec2<u32>",
        _ => "u32",
    }
}

/// The params that tell where `out`, whose images lie densely, takes the elements that a kernel counts: where it begins,
/// how far its images lie apart, and the elements of one.
pub fn image_params(cx: &LowerCx<'_>, params: Params, out: &View) -> Params {
    let (images, apart) = (out.shape.first().copied().unwrap_or(1), out.strides.first().copied().unwrap_or(0));
    params.u32(cx.base(out)).u32(apart.unsigned_abs()).u32((out.numel() / images.max(1)).max(1))
}

/// `spec` with `Word` set for moving elements of `t`.
pub fn with_word(spec: Spec, t: DeviceType) -> Spec {
    spec.wgsl("Word", word(t))
}

/// A strided copy; elements are moved as words, whatever their type.
#[derive(Debug)]
pub struct Copy {
    /// What is moved.
    pub device: DeviceType,
    /// The number of dims the shader counts.
    pub rank: usize,
    /// Whether it moves four at a time.
    pub fours: bool,
}

impl Kernel for Copy {
    fn label(&self) -> String {
        format!("copy {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let word = word(self.device);
        let word = if self.fours { format!("vec4<{word}>") } else { word.into() };
        Spec::new("copy.wgsl").wgsl("Word", word).u32("RANK", self.rank as u32)
    }
}

/// The least extent of a dim that tiles are worth it for.
const WIDE: usize = 16;

/// A transpose, by tiles.
#[derive(Debug)]
struct Tiles {
    device: DeviceType,
    rank: usize,
}

impl Tiles {
    /// The side of a tile, and the elements of an invocation.
    fn side(&self) -> (usize, usize) {
        if self.device.bytes() == 2 { (64, 16) } else { (32, 4) }
    }
}

impl Kernel for Tiles {
    fn label(&self) -> String {
        format!("copy tiles {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let (side, turns) = self.side();
        let spec = with_word(Spec::new("copy_tile.wgsl"), self.device).u32("RANK", self.rank as u32);
        spec.u32("TILE", side as u32).u32("TURNS", turns as u32)
    }
}

/// Copies by tiles what has its neighbours along dim `a` of the source and dim `b` of the target.
fn transpose(
    cx: &mut LowerCx<'_>,
    [from, to]: [&View; 2],
    shape: &[usize],
    [from_strides, to_strides]: [&[isize]; 2],
    [a, b]: [usize; 2],
) -> Result<()> {
    let others = || (0..shape.len()).filter(|d| *d != a && *d != b);
    let pick = |list: &[isize]| others().map(|d| list[d]).collect::<Vec<isize>>();
    let batch: Vec<usize> = others().map(|d| shape[d]).collect();
    let rank = rank_class(batch.len());
    let kernel = Tiles { device: from.device, rank };
    let side = kernel.side().0;
    let (across, down) = (shape[a].div_ceil(side), shape[b].div_ceil(side));
    let tiles = across * down * batch.iter().product::<usize>();
    let params = Params::new()
        .u32(cx.base(from))
        .u32(cx.base(to))
        .u32(shape[a])
        .u32(shape[b])
        .i32(from_strides[b])
        .i32(to_strides[a])
        .u32(across)
        .u32(down)
        .u32(tiles)
        .array_u32(&batch, rank, 1)
        .array_i32(&pick(from_strides), rank)
        .array_i32(&pick(to_strides), rank);
    cx.dispatch(&kernel, params, &[Bind::Read(from), Bind::Write(to)], linear_grid(tiles, 1))
}

/// Copies `from` into `to`, which has the same shape (and may be a slice of a larger buffer).
///
/// # Errors
/// `Internal` when types or shapes differ.
pub fn copy(cx: &mut LowerCx<'_>, from: &View, to: &View) -> Result<()> {
    let fits = from.shape == to.shape && from.device == to.device;
    ensure!(fits, Internal, "cannot copy {} to {}", from.tensor_type(), to.tensor_type());
    // what a dispatch cannot bind goes in halves along the dim that takes most of it
    let far = |v: &View, d: usize| v.strides[d].unsigned_abs() * (v.shape[d] - 1);
    let cut = [from, to].into_iter().find(|v| !cx.binds(v)).and_then(|v| (0..v.rank()).max_by_key(|d| far(v, *d)));
    if let Some(d) = cut.filter(|d| from.shape[*d] > 1) {
        let (n, half) = (from.shape[d], from.shape[d] / 2);
        copy(cx, &from.sliced(d, 0, 1, half), &to.sliced(d, 0, 1, half))?;
        return copy(cx, &from.sliced(d, half, 1, n - half), &to.sliced(d, half, 1, n - half));
    }
    let (shape, mut strides) = collapse(&from.shape, &[&from.strides, &to.strides]);
    let (Some(to_strides), Some(from_strides)) = (strides.pop(), strides.pop()) else { return Ok(()) };
    let dense = |strides: &[isize]| (0..shape.len()).find(|d| strides[*d] == 1 && shape[*d] >= WIDE);
    if let (false, Some(a), Some(b)) = (cx.profile().cpu, dense(&from_strides), dense(&to_strides))
        && a != b
        && to_strides[a] != 1
        && from_strides[b] != 1
        && from.numel() > 0
    {
        return transpose(cx, [from, to], &shape, [&from_strides, &to_strides], [a, b]);
    }
    let rank = rank_class(shape.len());
    let (mut shape, mut lists, mut bases) = (shape, [from_strides, to_strides], [cx.base(from), cx.base(to)]);
    let fours = !cx.profile().cpu && from.device.bytes() <= 4 && in_fours(&shape, &lists, bases);
    if fours {
        // what is counted is vectors
        shape.iter_mut().next_back().into_iter().for_each(|extent| *extent /= 4);
        let outer = |list: &mut Vec<isize>| list.iter_mut().rev().skip(1).for_each(|step| *step /= 4);
        lists.iter_mut().for_each(outer);
        bases = bases.map(|base| base / 4);
    }
    let count = if fours { from.numel() / 4 } else { from.numel() };
    let params = Params::new()
        .u32(count)
        .u32(bases[0])
        .u32(bases[1])
        .array_u32(&shape, rank, 1)
        .array_i32(&lists[0], rank)
        .array_i32(&lists[1], rank);
    let grid = linear_grid(count, LINEAR_WORKGROUP);
    cx.dispatch(&Copy { device: from.device, rank, fours }, params, &[Bind::Read(from), Bind::Write(to)], grid)
}

/// Whether views of these strides and bases have four neighbours beside each other wherever a fourth element is.
fn in_fours(shape: &[usize], lists: &[Vec<isize>; 2], bases: [u32; 2]) -> bool {
    let fits = |list: &Vec<isize>| match list.split_last() {
        Some((last, outer)) => *last == 1 && outer.iter().all(|step| step % 4 == 0),
        None => false,
    };
    shape.last().is_some_and(|extent| extent.is_multiple_of(4))
        && lists.iter().all(fits)
        && bases.iter().all(|base| base.is_multiple_of(4))
}

/// Merges neighbouring dims that step as one in every stride list, and drops extents of 1.
pub fn collapse(shape: &[usize], strides: &[&[isize]]) -> (Vec<usize>, Vec<Vec<isize>>) {
    let mut dims: Vec<usize> = vec![];
    let mut steps: Vec<Vec<isize>> = vec![vec![]; strides.len()];
    for (d, extent) in shape.iter().enumerate().filter(|(_, e)| **e != 1) {
        let step = |s: usize| strides[s][d];
        let merges =
            !dims.is_empty() && (0..strides.len()).all(|s| steps[s].last() == Some(&(step(s) * *extent as isize)));
        match dims.last_mut() {
            Some(last) if merges => {
                *last *= extent;
                steps.iter_mut().enumerate().for_each(|(s, list)| {
                    list.pop();
                    list.push(step(s));
                });
            }
            _ => {
                dims.push(*extent);
                steps.iter_mut().enumerate().for_each(|(s, list)| list.push(step(s)));
            }
        }
    }
    (dims, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_collapse_where_all_agree() {
        let (d, s) = collapse(&[2, 1, 3, 4], &[&[12, 12, 4, 1], &[12, 0, 4, 1]]);
        assert_eq!((d, s), (vec![24], vec![vec![1], vec![1]]));
        let (d, s) = collapse(&[2, 3, 4], &[&[12, 4, 1], &[0, 4, 1]]);
        assert_eq!((d, s), (vec![2, 12], vec![vec![12, 1], vec![0, 1]]));
    }
}
