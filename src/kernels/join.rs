//! Copies of several views into one buffer by one dispatch: `shaders/join.wgsl`.

use super::copy::{collapse, copy, with_word, word};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// What one dispatch joins on every device.
const MOST: usize = 7;

#[derive(Debug)]
struct Join {
    device: DeviceType,
    rank: usize,
    parts: usize,
}

impl Kernel for Join {
    fn label(&self) -> String {
        format!("join {} {}", self.parts, word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let flags = ["THREE", "FOUR", "FIVE", "SIX", "SEVEN"].into_iter().zip(3..);
        let spec = with_word(Spec::new("join.wgsl"), self.device);
        let spec = spec.u32("RANK", self.rank as u32).u32("PARTS", self.parts as u32);
        flags.fold(spec, |spec, (name, n)| spec.flag(name, self.parts >= n))
    }
}

/// Copies each of `parts` to its slice of `out`, which has the same shape and lies in another buffer.
///
/// # Errors
/// `Internal` when types or shapes differ.
pub fn join(cx: &mut LowerCx<'_>, parts: &[(View, View)], out: &View) -> Result<()> {
    let mut together = vec![];
    for (from, to) in parts.iter().filter(|(from, _)| from.numel() > 0) {
        let fits = from.shape == to.shape && from.device == to.device && to.buf == out.buf;
        ensure!(fits, Internal, "cannot copy {} to {}", from.tensor_type(), to.tensor_type());
        if cx.binds(from) && cx.binds(out) {
            together.push((from, to));
        } else {
            copy(cx, from, to)?;
        }
    }
    for some in together.chunks(MOST) {
        match some {
            [(from, to)] => copy(cx, from, to)?,
            some => one(cx, some, out)?,
        }
    }
    Ok(())
}

fn one(cx: &mut LowerCx<'_>, parts: &[(&View, &View)], out: &View) -> Result<()> {
    let steps: Vec<_> = parts.iter().map(|(from, to)| collapse(&from.shape, &[&from.strides, &to.strides])).collect();
    let rank = rank_class(steps.iter().map(|(shape, _)| shape.len()).max().unwrap_or(0));
    let (mut params, mut groups) = (Params::new(), 0);
    for ((from, to), (shape, strides)) in parts.iter().zip(&steps) {
        groups += from.numel().div_ceil(LINEAR_WORKGROUP as usize);
        let [from_strides, to_strides] = strides.as_slice() else { continue };
        params = params
            .u32(from.numel())
            .u32(groups)
            .u32(cx.base(from))
            .i32(cx.base(out) as i64 + to.offset as i64 - out.offset as i64)
            .array_u32(shape, rank, 1)
            .array_i32(from_strides, rank)
            .array_i32(to_strides, rank);
    }
    let mut binds = vec![Bind::Write(out)];
    binds.extend(parts.iter().map(|(from, _)| Bind::Read(from)));
    let kernel = Join { device: out.device, rank, parts: parts.len() };
    cx.dispatch(&kernel, params, &binds, linear_grid(groups, 1))?;
    cx.takes_flops(parts.iter().map(|(from, _)| from.numel()).sum());
    Ok(())
}
