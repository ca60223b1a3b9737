//! Quantisation: `shaders/quant.wgsl` finds the range of a tensor.

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
