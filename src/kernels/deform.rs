//! Columns of a deformable convolution: `shaders/deform.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// How windows lie over an image; one number a spatial dim.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    /// Extents of the image.
    pub input: &'a [usize],
    /// Extents of the kernel.
    pub kernel: &'a [usize],
    /// Windows along each dim.
    pub output: &'a [usize],
    /// Elements between neighbouring windows.
    pub strides: &'a [usize],
    /// Elements between neighbouring elements of a window.
    pub dilations: &'a [usize],
    /// Padding before the image.
    pub pads: &'a [usize],
}

#[derive(Debug)]
struct Deform {
    device: DeviceType,
    dims: usize,
    mask: bool,
}

impl Kernel for Deform {
    fn label(&self) -> String {
        format!("deformed columns {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("deform.wgsl").ty("T", self.device).u32("DIMS", self.dims as u32).flag("MASK", self.mask)
    }
}

/// `columns[N, C, taps, windows]`, of `f32`, of dense `x[N, C, input…]` at the places that dense
/// `offset[N, groups, taps, dims, windows]` moves the kernel's elements to, times dense `mask[N, groups, taps, windows]`.
///
/// # Errors
/// `Unsupported` beyond three dims; as [`LowerCx::dispatch`].
pub fn columns(
    cx: &mut LowerCx<'_>,
    w: Windows<'_>,
    groups: usize,
    [x, offset]: [&View; 2],
    mask: Option<&View>,
    columns: &View,
) -> Result<()> {
    let dims = w.input.len();
    ensure!((1..=3).contains(&dims), Unsupported, "deformable convolution over {dims} spatial dims");
    let dense = [Some(x), Some(offset), mask].into_iter().flatten().all(|v| cx.base(v) == 0);
    ensure!(dense, Internal, "views that do not begin at 0");
    let product = |v: &[usize]| v.iter().product::<usize>();
    let channels = columns.shape[1];
    let mut params = Params::new().u32(columns.numel()).u32(channels).u32(channels / groups);
    params = params.u32(product(w.kernel)).u32(product(w.output)).u32(product(w.input));
    for list in [w.input, w.kernel, w.output, w.strides, w.dilations, w.pads] {
        let mut four = [1; 4];
        four[..dims].copy_from_slice(list);
        params = params.array_u32(&four, 4, 1);
    }
    let kernel = Deform { device: x.device, dims, mask: mask.is_some() };
    let mut binds = vec![Bind::Read(x), Bind::Read(offset)];
    binds.extend(mask.map(Bind::Read));
    binds.push(Bind::Write(columns));
    cx.dispatch(&kernel, params, &binds, linear_grid(columns.numel(), LINEAR_WORKGROUP))
}
