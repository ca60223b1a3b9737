//! Padding, fills and triangles: `shaders/pad.wgsl`, `shaders/fill.wgsl`, `shaders/trilu.wgsl`.

use super::copy::{with_word, word};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

/// What stands outside the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One value.
    Constant,
    /// The source mirrored at its first and last elements.
    Reflect,
    /// The nearest element.
    Edge,
    /// The source repeated.
    Wrap,
}

#[derive(Debug)]
struct Pad {
    mode: Mode,
    device: DeviceType,
    rank: usize,
}

impl Kernel for Pad {
    fn label(&self) -> String {
        format!("pad {:?} {}", self.mode, word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let is = |m| self.mode == m;
        with_word(Spec::new("pad.wgsl"), self.device)
            .u32("RANK", self.rank as u32)
            .flag("CONSTANT", is(Mode::Constant))
            .flag("REFLECT", is(Mode::Reflect))
            .flag("WRAP", is(Mode::Wrap))
    }
}

/// Copies `from` into `out`, `before` elements from its start along each axis, and fills what is left by `mode`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn pad(cx: &mut LowerCx<'_>, mode: Mode, from: &View, fill: &View, before: &[isize], out: &View) -> Result<()> {
    let rank = rank_class(out.rank());
    let params = Params::new()
        .u32(out.numel())
        .u32(cx.base(from))
        .u32(cx.base(fill))
        .array_u32(&out.shape, rank, 1)
        .array_u32(&from.shape, rank, 1)
        .array_i32(&from.strides, rank)
        .array_i32(before, rank);
    let kernel = Pad { mode, device: out.device, rank };
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&kernel, params, &[Bind::Read(from), Bind::Read(fill), Bind::Write(out)], grid)
}

#[derive(Debug)]
struct Trilu {
    upper: bool,
    device: DeviceType,
}

impl Kernel for Trilu {
    fn label(&self) -> String {
        format!("trilu {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("trilu.wgsl"), self.device).flag("UPPER", self.upper)
    }
}

/// Keeps the upper or lower triangle of the last two dims, from diagonal `k` on; zero elsewhere. `from` is dense.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn trilu(cx: &mut LowerCx<'_>, upper: bool, k: i64, from: &View, out: &View) -> Result<()> {
    let (rows, cols) = (out.shape[out.rank() - 2], out.shape[out.rank() - 1]);
    let params =
        Params::new().u32(out.numel()).u32(cx.base(from)).u32(rows).u32(cols).i32(k.clamp(-(1 << 30), 1 << 30));
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&Trilu { upper, device: out.device }, params, &[Bind::Read(from), Bind::Write(out)], grid)
}

#[derive(Debug)]
struct Ramp {
    device: DeviceType,
    /// Product and sum in f32 from i32 counts, or through the type's own arithmetic.
    diagonal: bool,
}

impl Kernel for Ramp {
    fn label(&self) -> String {
        format!("{} {}", if self.diagonal { "eye" } else { "range" }, self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new(if self.diagonal { "eye.wgsl" } else { "range.wgsl" }).ty("T", self.device)
    }
}

/// `out[i] = start + i · step`, in the type's own arithmetic; `start` and `step` hold one element each.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn range(cx: &mut LowerCx<'_>, start: &View, step: &View, out: &View) -> Result<()> {
    let params = Params::new().u32(out.numel()).u32(cx.base(start)).u32(cx.base(step));
    let kernel = Ramp { device: out.device, diagonal: false };
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&kernel, params, &[Bind::Read(start), Bind::Read(step), Bind::Write(out)], grid)
}

/// Ones on diagonal `k` of a matrix, zeros elsewhere.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn eye(cx: &mut LowerCx<'_>, k: i64, out: &View) -> Result<()> {
    let params = Params::new().u32(out.numel()).u32(out.shape[1]).i32(k.clamp(-(1 << 30), 1 << 30));
    let kernel = Ramp { device: out.device, diagonal: true };
    cx.dispatch(&kernel, params, &[Bind::Write(out)], linear_grid(out.numel(), LINEAR_WORKGROUP))
}
