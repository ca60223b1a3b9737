//! Elements moved along an axis: `shaders/reverse.wgsl`, `shaders/tensor_scatter.wgsl`.

use super::copy::{with_word, word};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

#[derive(Debug)]
struct Reverse {
    device: DeviceType,
}

impl Kernel for Reverse {
    fn label(&self) -> String {
        format!("reverse {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("reverse.wgsl"), self.device)
    }
}

/// The first elements of dense `x` along its first or second dim, the one that is not `batch`, in backward order: as many
/// as dense `lengths` (int64) has for the sample.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn reverse(cx: &mut LowerCx<'_>, batch: usize, x: &View, lengths: &View, out: &View) -> Result<()> {
    let step = |d: usize| x.shape[d + 1..].iter().product::<usize>();
    let params = Params::new()
        .u32(x.numel())
        .u32(cx.base(x))
        .u32(cx.base(lengths))
        .u32(x.shape[1 - batch])
        .u32(step(1 - batch))
        .u32(step(batch))
        .u32(x.shape[batch]);
    let grid = linear_grid(x.numel(), LINEAR_WORKGROUP);
    let binds = [Bind::Read(x), Bind::Read(lengths), Bind::Write(out)];
    cx.dispatch(&Reverse { device: x.device }, params, &binds, grid)
}

#[derive(Debug)]
struct TensorScatter {
    device: DeviceType,
    rank: usize,
    circular: bool,
}

impl Kernel for TensorScatter {
    fn label(&self) -> String {
        format!("tensor scatter {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("tensor_scatter.wgsl"), self.device)
            .u32("RANK", self.rank as u32)
            .flag("CIRCULAR", self.circular)
    }
}

/// Writes `updates` into `out` (dense) from row `places[sample]` of `axis` on, for each sample of dim 0; `places` is
/// int64. Rows beyond the axis are left out, or wrap around when `circular`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn tensor_scatter(
    cx: &mut LowerCx<'_>,
    circular: bool,
    axis: usize,
    updates: &View,
    places: &View,
    out: &View,
) -> Result<()> {
    let rank = rank_class(out.rank());
    let lead = rank - out.rank();
    let mut by_result = out.strides.clone();
    by_result[axis] = 0;
    let params = Params::new()
        .u32(updates.numel())
        .u32(cx.base(updates))
        .u32(cx.base(places))
        .u32(lead)
        .u32(lead + axis)
        .u32(out.shape[axis])
        .i32(out.strides[axis])
        .array_u32(&updates.shape, rank, 1)
        .array_i32(&updates.strides, rank)
        .array_i32(&by_result, rank);
    let grid = linear_grid(updates.numel(), LINEAR_WORKGROUP);
    let kernel = TensorScatter { device: out.device, rank, circular };
    cx.dispatch(&kernel, params, &[Bind::Read(updates), Bind::Read(places), Bind::Write(out)], grid)
}
