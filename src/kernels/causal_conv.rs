//! Causal depthwise convolutions: `shaders/causal_conv.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

#[derive(Debug)]
struct CausalConv {
    device: DeviceType,
    bias: bool,
    past: bool,
    silu: bool,
}

impl Kernel for CausalConv {
    fn label(&self) -> String {
        format!("causal conv {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let past_at = 3 + self.bias as u32;
        Spec::new("causal_conv.wgsl")
            .ty("T", self.device)
            .u32("PAST_AT", past_at)
            .u32("OUT_AT", past_at + self.past as u32)
            .flag("BIAS", self.bias)
            .flag("PAST", self.past)
            .flag("SILU", self.silu)
    }
}

/// `x` `[batch, channels, length]` with `weight` `[channels, 1, taps]`, all dense; `past` `[batch, channels, taps - 1]`
/// stands before `x`, zeros where it is left out.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn causal_conv(
    cx: &mut LowerCx<'_>,
    silu: bool,
    x: &View,
    weight: &View,
    [bias, past]: [Option<&View>; 2],
    out: &View,
) -> Result<()> {
    let base = |cx: &LowerCx<'_>, v: Option<&View>| v.map_or(0, |v| cx.base(v));
    let params = Params::new()
        .u32(out.numel())
        .u32(cx.base(x))
        .u32(cx.base(weight))
        .u32(base(cx, bias))
        .u32(base(cx, past))
        .u32(x.shape[1])
        .u32(x.shape[2])
        .u32(weight.shape[2]);
    let kernel = CausalConv { device: x.device, bias: bias.is_some(), past: past.is_some(), silu };
    let mut binds = vec![Bind::Read(x), Bind::Read(weight)];
    binds.extend(bias.map(Bind::Read));
    binds.extend(past.map(Bind::Read));
    binds.push(Bind::Write(out));
    cx.dispatch(&kernel, params, &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
