//! Determinants: `shaders/det.wgsl`.

use super::{Kernel, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

/// Steps of a thread's loops in one dispatch: half of what software drivers allow.
const STEPS: usize = 32_768;
const LANES: usize = 256;

#[derive(Debug)]
struct Det;

impl Kernel for Det {
    fn label(&self) -> String {
        "det".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("det.wgsl")
    }
}

/// The determinants of `elements`, dense float32 matrices `[…, size, size]` at the start of their buffer, which are
/// overwritten; into dense float32 `out`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn det(cx: &mut LowerCx<'_>, elements: &View, out: &View) -> Result<()> {
    let size = elements.shape.last().copied().unwrap_or(0);
    let steps = |k: usize| (size - k) + (size - k) / LANES + (size - k) * (size - k) / LANES + 4;
    let mut first = 0;
    loop {
        let (mut last, mut sum) = (first, 0);
        while last < size && (last == first || sum + steps(last) <= STEPS) {
            sum += steps(last);
            last += 1;
        }
        let params = Params::new().u32(out.numel()).u32(size).u32(first).u32(last);
        cx.dispatch(&Det, params, &[Bind::Write(elements), Bind::Write(out)], linear_grid(out.numel(), 1))?;
        if last >= size {
            return Ok(());
        }
        first = last;
    }
}
