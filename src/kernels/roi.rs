//! Pools over regions of interest: `shaders/roi_align.wgsl`, `shaders/roi_max.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// Loop steps of a thread that every driver takes.
const STEPS: usize = 60_000;
/// Pixels from zero within which the corners of MaxRoiPool's regions are kept, far beyond any image.
pub const FAR: i32 = 1 << 20;

/// How RoiAlign samples.
#[derive(Debug, Clone, Copy)]
pub struct Align {
    /// The greatest weighted pixel instead of the mean of the samples.
    pub max: bool,
    /// Whether coordinates are half a pixel less than the regions say, and regions may be less than a pixel wide.
    pub half_pixel: bool,
    /// Samples along each axis of a bin; 0 for one to each pixel or part of it.
    pub ratio: usize,
    /// Height and width of the result.
    pub output: [usize; 2],
    /// From the regions' coordinates to pixels.
    pub scale: f32,
}

#[derive(Debug)]
struct RoiAlign {
    device: DeviceType,
    how: Align,
    lanes: u32,
}

impl Kernel for RoiAlign {
    fn label(&self) -> String {
        format!("roi align {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("roi_align.wgsl")
            .ty("T", self.device)
            .u32("LANES", self.lanes)
            .flag("MAX", self.how.max)
            .flag("HALF_PIXEL", self.how.half_pixel)
            .flag("ADAPTIVE", self.how.ratio == 0)
    }
}

/// Threads that share an element of the result, so that none goes through too many of at most `steps`.
fn lanes(steps: usize) -> Result<u32> {
    let fits = [1, 8, LINEAR_WORKGROUP].into_iter().find(|l| steps.div_ceil(*l as usize) <= STEPS);
    fits.ok_or_else(|| crate::err!(Limit, "a region of {steps} samples"))
}

/// RoiAlign of dense `x[N, C, H, W]` over dense `rois[R, 4]` of the images `images[R]` (int64) into `out`. Images
/// outside `0..N` are taken as the last.
///
/// # Errors
/// `Limit` where a region has more samples than a workgroup can go through; as [`LowerCx::dispatch`].
pub fn align(cx: &mut LowerCx<'_>, how: Align, [x, rois, images]: [&View; 3], out: &View) -> Result<()> {
    ensure!([x, rois, images].iter().all(|v| cx.base(v) == 0), Internal, "views that do not begin at 0");
    let (height, width) = (x.shape[2], x.shape[3]);
    // samples of adaptive bins are more than half a pixel apart
    let steps = if how.ratio > 0 { how.ratio * how.ratio } else { (2 * height + 8) * (2 * width + 8) };
    let lanes = lanes(steps)?;
    let params = Params::new().u32(out.numel()).u32(x.shape[0]).u32(x.shape[1]).u32(height).u32(width);
    let params = params.u32(how.output[0]).u32(how.output[1]).u32(how.ratio).f32(how.scale);
    let kernel = RoiAlign { device: x.device, how, lanes };
    let grid = linear_grid(out.numel() * lanes as usize, LINEAR_WORKGROUP);
    cx.dispatch(&kernel, params, &[Bind::Read(x), Bind::Read(rois), Bind::Read(images), Bind::Write(out)], grid)
}

#[derive(Debug)]
struct RoiMax {
    device: DeviceType,
    lanes: u32,
}

impl Kernel for RoiMax {
    fn label(&self) -> String {
        format!("roi max {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("roi_max.wgsl").ty("T", self.device).u32("LANES", self.lanes).i32("FAR", FAR)
    }
}

/// MaxRoiPool of dense `x[N, C, H, W]` over dense `rois[R, 5]` into `out`. Images outside `0..N` are taken as the
/// nearest.
///
/// # Errors
/// As [`align`]; `Unsupported` beyond 1024 bins along an axis.
pub fn max_pool(cx: &mut LowerCx<'_>, scale: f32, [x, rois]: [&View; 2], out: &View) -> Result<()> {
    ensure!(cx.base(x) == 0 && cx.base(rois) == 0, Internal, "views that do not begin at 0");
    let (rows, columns) = (out.shape[2], out.shape[3]);
    // so that a bin's number times a region's extent stays within 32 bits
    ensure!(rows.max(columns) <= 1024, Unsupported, "{rows} by {columns} bins");
    let lanes = lanes(x.shape[2] * x.shape[3])?;
    let params = Params::new().u32(out.numel()).u32(x.shape[0]).u32(x.shape[1]).u32(x.shape[2]).u32(x.shape[3]);
    let params = params.u32(rows).u32(columns).f32(scale);
    let grid = linear_grid(out.numel() * lanes as usize, LINEAR_WORKGROUP);
    cx.dispatch(&RoiMax { device: x.device, lanes }, params, &[Bind::Read(x), Bind::Read(rois), Bind::Write(out)], grid)
}
