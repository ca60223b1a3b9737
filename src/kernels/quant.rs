//! Quantisation by a tensor's range: `shaders/quant.wgsl`.

use super::{DeviceType, Kernel, Params, Profile, Spec};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// Elements up to which one workgroup takes all.
const FEW: usize = 8192;
/// Elements that an invocation takes before there are as many workgroups as there may be.
const EACH: usize = 16;
/// Workgroups that bring elements to 8 bits, at most: each joins all ranges first.
const MOST_GROUPS: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    One,
    Parts,
    Rest,
}

#[derive(Debug)]
struct Ranged(Pass);

/// Invocations of a workgroup, and ranges of parts that there are at most.
fn lanes(profile: &Profile) -> usize {
    if profile.cpu { 64 } else { 256 }
}

impl Kernel for Ranged {
    fn label(&self) -> String {
        match self.0 {
            Pass::One => "quantised by range",
            Pass::Parts => "range of parts",
            Pass::Rest => "quantised by ranges",
        }
        .into()
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let lanes = lanes(profile) as u32;
        Spec::new("quant.wgsl")
            .ty("T", DeviceType::F32)
            .u32("LANES", lanes)
            .u32("HALF", lanes / 2)
            .flag("ONE", self.0 == Pass::One)
            .flag("PARTS", self.0 == Pass::Parts)
            .flag("READS", self.0 != Pass::Rest)
    }
}

/// Writes `x`, a dense view of float32 where the device binds it, as DynamicQuantizeLinear brings it to uint8: into
/// a whole buffer, with its `scale` and `zero` point.
///
/// # Errors
/// `Limit` when `x` is too large to bind.
pub fn by_range(cx: &mut LowerCx<'_>, x: &View, y: &View, scale: &View, zero: &View) -> Result<()> {
    let (count, lanes) = (x.numel(), lanes(cx.profile()));
    let base = cx.base(x);
    ensure!(base.is_multiple_of(4), Internal, "an offset of {base} elements");
    let groups = |most: usize| count.div_ceil(EACH * lanes).clamp(1, most);
    let (parts, rest) = (groups(lanes), groups(MOST_GROUPS));
    let params = |groups: usize| {
        let params = Params::new().u32(count).u32(base / 4).u32(groups * lanes);
        params.u32(parts)
    };
    let (first, second) = (params(parts), params(rest));
    if count <= FEW {
        let binds = [Bind::Read(x), Bind::Write(y), Bind::Write(scale), Bind::Write(zero)];
        return cx.dispatch(&Ranged(Pass::One), params(1), &binds, [1, 1, 1]);
    }
    let ranges = cx.temp(DType::F32, &[parts, 2])?;
    cx.dispatch(&Ranged(Pass::Parts), first, &[Bind::Read(x), Bind::Write(&ranges)], [parts as u32, 1, 1])?;
    let binds = [Bind::Read(x), Bind::Write(y), Bind::Write(scale), Bind::Write(zero), Bind::Read(&ranges)];
    cx.dispatch(&Ranged(Pass::Rest), second, &binds, [rest as u32, 1, 1])
}
