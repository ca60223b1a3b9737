//! Reading and writing by index: `shaders/gather.wgsl`, `shaders/scatter.wgsl`, `shaders/one_hot.wgsl`.

use super::copy::{image_params, with_word, word};
use super::epilogue::{Epilogue, Flat};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, shape};

/// Which element a thread of the result reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reads {
    Slices,
    Elements,
    Tuples,
}

#[derive(Debug)]
struct Gather {
    reads: Reads,
    device: DeviceType,
    index: DeviceType,
    rank: usize,
    /// The source is some of the slices only.
    part: bool,
    /// What elements are, where they go through a function.
    from: Option<DeviceType>,
    end: Flat,
}

impl Gather {
    /// Of whole `x`, with nothing behind it.
    fn plain(reads: Reads, x: &View, indices: &View, rank: usize) -> Gather {
        Gather { reads, device: x.device, index: indices.device, rank, part: false, from: None, end: Flat::default() }
    }
}

impl Kernel for Gather {
    fn label(&self) -> String {
        let part = if self.part { " of a part" } else { "" };
        format!("gather {:?}{part} {}{}", self.reads, word(self.device), self.end.label())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let word = self.from.map_or(word(self.device), DeviceType::wgsl);
        let out = self.from.map_or(word, |from| self.end.stores(from).wgsl());
        let spec = self.end.spec(Spec::new("gather.wgsl"));
        spec.wgsl("Word", word)
            .wgsl("Out", out)
            .ty("I", self.index)
            .u32("RANK", self.rank as u32)
            .flag("PART", self.part)
            .flag("SLICES", self.reads == Reads::Slices)
            .flag("ELEMENTS", self.reads == Reads::Elements)
            .flag("TUPLES", self.reads == Reads::Tuples)
    }
}

/// The params that all three ways share; `lists` are arrays of `rank` numbers.
fn dispatch(
    cx: &mut LowerCx<'_>,
    mut kernel: Gather,
    [x, indices]: [&View; 2],
    (out, end): (&View, Option<&Epilogue>),
    numbers: [usize; 4],
    lists: [&[usize]; 3],
) -> Result<()> {
    let mut params = Params::new().u32(out.numel()).u32(cx.base(x)).u32(cx.base(indices));
    for n in numbers {
        params = params.u32(n);
    }
    params = image_params(cx, params, out);
    for l in lists {
        params = params.array_u32(l, kernel.rank, 1);
    }
    kernel.from = end.map(Epilogue::from);
    kernel.end = Flat::rows(cx, end, &out.shape, 4);
    let params = kernel.end.params(params);
    let grid = if x.numel() == 0 { [0; 3] } else { linear_grid(out.numel(), LINEAR_WORKGROUP) };
    let mut binds = vec![Bind::Read(x), Bind::Read(indices), Bind::Write(out)];
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    cx.dispatch(&kernel, params, &binds, grid)
}

/// Slices of dense `x` along `axis` at dense `indices`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn gather(cx: &mut LowerCx<'_>, x: &View, axis: usize, indices: &View, out: &View) -> Result<()> {
    gather_to(cx, x, axis, indices, (out, None))
}

/// As [`gather`], through `end`, into `out` whose images lie densely.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn gather_to(
    cx: &mut LowerCx<'_>,
    x: &View,
    axis: usize,
    indices: &View,
    (out, end): (&View, Option<&Epilogue>),
) -> Result<()> {
    let kernel = Gather {
        reads: Reads::Slices,
        device: x.device,
        index: indices.device,
        rank: 4,
        part: false,
        from: None,
        end: Flat::default(),
    };
    let inner = shape::numel(&x.shape[axis + 1..]);
    dispatch(cx, kernel, [x, indices], (out, end), [x.shape[axis], inner, indices.numel(), 0], [&[], &[], &[]])
}

/// As [`gather`], from parts that make up `x` along `axis`, with extents of 1 before it: a dispatch a part, which leaves
/// alone what other parts hold.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn gather_parts(cx: &mut LowerCx<'_>, parts: &[View], axis: usize, indices: &View, out: &View) -> Result<()> {
    let extent = parts.iter().map(|p| p.shape[axis]).sum();
    let mut first = 0;
    for x in parts {
        let kernel = Gather {
            reads: Reads::Slices,
            device: x.device,
            index: indices.device,
            rank: 4,
            part: true,
            from: None,
            end: Flat::default(),
        };
        let inner = shape::numel(&x.shape[axis + 1..]);
        let held = [first, x.shape[axis], 0, 0];
        dispatch(cx, kernel, [x, indices], (out, None), [extent, inner, indices.numel(), 0], [&held, &[], &[]])?;
        first += x.shape[axis];
    }
    Ok(())
}

/// One element of dense `x` for each of dense `indices`, at the same coordinates but along `axis`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn elements(cx: &mut LowerCx<'_>, x: &View, axis: usize, indices: &View, out: &View) -> Result<()> {
    let rank = rank_class(x.rank());
    let kernel = Gather::plain(Reads::Elements, x, indices, rank);
    let mut strides = shape::strides(&x.shape);
    let step = std::mem::replace(&mut strides[axis], 0);
    dispatch(cx, kernel, [x, indices], (out, None), [x.shape[axis], step, 0, 0], [&out.shape, &strides, &[]])
}

/// Slices of dense `x` at tuples of `k` indices, `tuples` of them for each of the leading `batch` dims.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn nd(
    cx: &mut LowerCx<'_>,
    x: &View,
    batch: usize,
    tuples: usize,
    k: usize,
    indices: &View,
    out: &View,
) -> Result<()> {
    let rank = rank_class(k);
    let kernel = Gather::plain(Reads::Tuples, x, indices, rank);
    let inner = shape::numel(&x.shape[batch + k..]);
    let strides = shape::strides(&x.shape);
    let per_batch = shape::numel(&x.shape[batch..]);
    let (extents, steps) = (&x.shape[batch..batch + k], &strides[batch..batch + k]);
    // lists are filled from the end, so tuples of k use the last k entries
    dispatch(cx, kernel, [x, indices], (out, None), [tuples, inner, k, per_batch], [extents, steps, &[]])
}

#[derive(Debug)]
struct OneHot {
    index: DeviceType,
    device: DeviceType,
}

impl Kernel for OneHot {
    fn label(&self) -> String {
        format!("one-hot {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("one_hot.wgsl"), self.device).ty("I", self.index)
    }
}

/// `values[1]` where the coordinate along `axis` is the index, else `values[0]`; dense views.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn one_hot(cx: &mut LowerCx<'_>, indices: &View, values: &View, axis: usize, out: &View) -> Result<()> {
    let inner = shape::numel(&out.shape[axis + 1..]);
    let params =
        Params::new().u32(out.numel()).u32(cx.base(indices)).u32(cx.base(values)).u32(out.shape[axis]).u32(inner);
    let kernel = OneHot { index: indices.device, device: out.device };
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&kernel, params, &[Bind::Read(indices), Bind::Read(values), Bind::Write(out)], grid)
}

/// How an update meets the element that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reduction {
    None,
    Add,
    Mul,
    Min,
    Max,
}

#[derive(Debug)]
struct Scatter {
    reduction: Reduction,
    device: DeviceType,
    index: DeviceType,
    rank: usize,
    tuples: bool,
}

impl Kernel for Scatter {
    fn label(&self) -> String {
        format!("scatter {:?} {}", self.reduction, self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let is = |r| self.reduction == r;
        Spec::new("scatter.wgsl")
            .ty("T", self.device)
            .ty("I", self.index)
            .u32("RANK", self.rank as u32)
            .flag("TUPLES", self.tuples)
            .flag("ADD", is(Reduction::Add))
            .flag("MUL", is(Reduction::Mul))
            .flag("MIN", is(Reduction::Min))
            .flag("MAX", is(Reduction::Max))
    }
}

/// Updates of dense `out` in place, at indices along `axis`. Updates can only meet along the axis, so a thread walks it
/// in order.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn scatter_elements(
    cx: &mut LowerCx<'_>,
    reduction: Reduction,
    axis: usize,
    indices: &View,
    updates: &View,
    out: &View,
) -> Result<()> {
    let rank = rank_class(out.rank());
    let mut lines = updates.shape.clone();
    let length = std::mem::replace(&mut lines[axis], 1);
    let mut from = shape::strides(&updates.shape);
    let mut to = shape::strides(&out.shape);
    let from_step = std::mem::replace(&mut from[axis], 0);
    let to_step = std::mem::replace(&mut to[axis], 0);
    let count = shape::numel(&lines);
    let params = Params::new()
        .u32(count)
        .u32(cx.base(indices))
        .u32(cx.base(updates))
        .u32(length)
        .u32(out.shape[axis])
        .u32(from_step)
        .u32(to_step)
        .u32(0u32)
        .array_u32(&lines, rank, 1)
        .array_u32(&from, rank, 0)
        .array_u32(&to, rank, 0);
    let kernel = Scatter { reduction, device: out.device, index: indices.device, rank, tuples: false };
    let grid = if length == 0 { [0; 3] } else { linear_grid(count, LINEAR_WORKGROUP) };
    cx.dispatch(&kernel, params, &[Bind::Read(indices), Bind::Read(updates), Bind::Write(out)], grid)
}

/// Updates of slices of dense `out` in place, at tuples of `k` indices. Tuples may repeat, so a thread takes one element
/// of the slice through all of them in order.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn scatter_nd(
    cx: &mut LowerCx<'_>,
    reduction: Reduction,
    tuples: usize,
    k: usize,
    indices: &View,
    updates: &View,
    out: &View,
) -> Result<()> {
    let rank = rank_class(k);
    let inner = shape::numel(&out.shape[k..]);
    let strides = shape::strides(&out.shape);
    let params = Params::new()
        .u32(inner)
        .u32(cx.base(indices))
        .u32(cx.base(updates))
        .u32(tuples)
        .u32(k)
        .u32(inner)
        .u32(0u32)
        .u32(0u32)
        .array_u32(&out.shape[..k], rank, 1)
        .array_u32(&strides[..k], rank, 0)
        .array_u32(&[], rank, 0);
    let kernel = Scatter { reduction, device: out.device, index: indices.device, rank, tuples: true };
    let grid = if tuples == 0 { [0; 3] } else { linear_grid(inner, LINEAR_WORKGROUP) };
    cx.dispatch(&kernel, params, &[Bind::Read(indices), Bind::Read(updates), Bind::Write(out)], grid)
}
