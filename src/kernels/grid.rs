//! Samples at the places of a grid: `shaders/grid_sample.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// How a sample is made of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Of the two neighbours in each dim.
    Linear,
    /// Of four neighbours in each dim.
    Cubic,
}

/// What stands outside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest pixel.
    Border,
    /// The image mirrored.
    Reflection,
}

#[derive(Debug)]
struct GridSample {
    image: DeviceType,
    grid: DeviceType,
    dims: usize,
    how: Interpolation,
    outside: Outside,
    align: bool,
}

impl Kernel for GridSample {
    fn label(&self) -> String {
        format!("grid sample {:?} {}", self.how, self.image.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let taps = match self.how {
            Interpolation::Nearest => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
        };
        Spec::new("grid_sample.wgsl")
            .ty("T", self.image)
            .ty("G", self.grid)
            .u32("DIMS", self.dims as u32)
            .u32("TAPS", taps)
            .flag("ALIGN", self.align)
            .flag("NEAREST", self.how == Interpolation::Nearest)
            .flag("LINEAR", self.how == Interpolation::Linear)
            .flag("CUBIC", self.how == Interpolation::Cubic)
            .flag("BORDER", self.outside == Outside::Border)
            .flag("REFLECT", self.outside == Outside::Reflection)
    }
}

/// Samples of the dense image `x` `[n, channels, extents..]` at the dense places `grid` `[n, places.., dims]`, up to four
/// dims.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn grid_sample(
    cx: &mut LowerCx<'_>,
    how: Interpolation,
    outside: Outside,
    align: bool,
    [x, grid]: [&View; 2],
    out: &View,
) -> Result<()> {
    let dims = x.rank() - 2;
    ensure!((1..=4).contains(&dims), Unsupported, "{dims} spatial dims");
    ensure!(cx.base(x) == 0 && cx.base(grid) == 0, Internal, "views that do not begin at 0");
    let product = |v: &[usize]| v.iter().product::<usize>();
    let mut extents = [1; 4];
    extents[..dims].copy_from_slice(&x.shape[2..]);
    let params = Params::new()
        .u32(out.numel())
        .u32(x.shape[1])
        .u32(product(&out.shape[2..]))
        .u32(product(&x.shape[2..]))
        .array_u32(&extents, 4, 1);
    let kernel = GridSample { image: x.device, grid: grid.device, dims, how, outside, align };
    let binds = [Bind::Read(x), Bind::Read(grid), Bind::Write(out)];
    cx.dispatch(&kernel, params, &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
