//! Quantisation: `shaders/quant.wgsl` finds the range of a tensor, `shaders/conv_integer.wgsl` convolves integers.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};

#[derive(Debug)]
struct Range {
    parts: bool,
}

impl Kernel for Range {
    fn label(&self) -> String {
        format!("range {}", if self.parts { "of parts" } else { "joined" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("quant.wgsl").ty("T", DeviceType::F32).flag("PARTS", self.parts)
    }
}

/// Writes the float32 `scale` and the uint8 `zero` point with which DynamicQuantizeLinear quantises `x`, a dense view
/// of float32.
///
/// # Errors
/// `Limit` when `x` is too large to bind.
pub fn scale_of(cx: &mut LowerCx<'_>, x: &View, scale: &View, zero: &View) -> Result<()> {
    // of an empty tensor one part says that the range is 0 to 0
    let threads = x.numel().div_ceil(16).clamp(1, 4096).next_multiple_of(LINEAR_WORKGROUP as usize);
    let ranges = cx.temp(DType::F32, &[threads, 2])?;
    let params = Params::new().u32(x.numel()).u32(cx.base(x)).u32(threads);
    let grid = linear_grid(threads, LINEAR_WORKGROUP);
    cx.dispatch(&Range { parts: true }, params, &[Bind::Read(x), Bind::Write(&ranges)], grid)?;
    let params = Params::new().u32(threads).u32(0u32).u32(0u32);
    let binds = [Bind::Read(&ranges), Bind::Write(scale), Bind::Write(zero)];
    cx.dispatch(&Range { parts: false }, params, &binds, [1, 1, 1])
}

/// Where the elements of a convolution's window lie; one entry a spatial dim.
#[derive(Debug, Clone)]
pub struct Window {
    /// Extents of the kernel.
    pub kernel: Vec<usize>,
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Steps within the window.
    pub dilations: Vec<usize>,
    /// Elements before the first of the input.
    pub pads: Vec<usize>,
    /// Channels are split into so many groups.
    pub groups: usize,
}

#[derive(Debug)]
struct ConvInteger {
    rank: usize,
    bias: bool,
}

impl Kernel for ConvInteger {
    fn label(&self) -> String {
        "integer convolution".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("conv_integer.wgsl").u32("RANK", self.rank as u32).flag("BIAS", self.bias)
    }
}

/// `out[n, o, y..] = Σ x[n, c, y · stride + k · dilation - pad ..] · w[o, c, k..]` of int32s that wrap; all views dense.
///
/// # Errors
/// `Limit` when a buffer is too large to bind.
pub fn convolve(
    cx: &mut LowerCx<'_>,
    x: &View,
    w: &View,
    bias: Option<&View>,
    out: &View,
    window: &Window,
) -> Result<()> {
    let spatial = x.rank() - 2;
    let rank = super::rank_class(spatial);
    let params = Params::new()
        .u32(out.numel())
        .u32(x.shape[1])
        .u32(out.shape[1])
        .u32(window.groups)
        .u32(cx.base(x))
        .u32(cx.base(w))
        .u32(bias.map_or(0, |b| cx.base(b)))
        .u32(window.kernel.iter().product::<usize>())
        .array_u32(&x.shape[2..], rank, 1)
        .array_u32(&out.shape[2..], rank, 1)
        .array_u32(&window.kernel, rank, 1)
        .array_u32(&window.strides, rank, 1)
        .array_u32(&window.dilations, rank, 1)
        .array_u32(&window.pads, rank, 0);
    let kernel = ConvInteger { rank, bias: bias.is_some() };
    let mut binds = vec![Bind::Read(x), Bind::Read(w)];
    binds.extend(bias.map(Bind::Read));
    binds.push(Bind::Write(out));
    cx.dispatch(&kernel, params, &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
