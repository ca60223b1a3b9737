//! Linear attention, step by step: `shaders/linear_attention.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

/// Steps of a thread's loops in one dispatch: half of what software drivers allow, and short enough that no driver
/// takes the device to hang.
const STEPS: usize = 32_768;

#[derive(Debug)]
struct LinearAttention {
    device: DeviceType,
    decay: bool,
    delta: bool,
}

impl Kernel for LinearAttention {
    fn label(&self) -> String {
        format!("linear attention {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let beta_at = 4 + self.decay as u32;
        let state_at = beta_at + self.delta as u32;
        Spec::new("linear_attention.wgsl")
            .ty("T", self.device)
            .u32("BETA_AT", beta_at)
            .u32("STATE_AT", state_at)
            .u32("OUT_AT", state_at + 1)
            .flag("DECAY", self.decay)
            .flag("DELTA", self.delta)
    }
}

/// The extents of the packed inputs.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    /// Sequences.
    pub batch: usize,
    /// Steps of a sequence.
    pub length: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Heads of queries for each of those.
    pub group: usize,
    /// Elements of a key.
    pub rows: usize,
    /// Elements of a value.
    pub columns: usize,
    /// Decays of a head: 1 or `rows`.
    pub decays: usize,
    /// Betas of a step: 1 or `heads`.
    pub betas: usize,
}

/// Takes `state`, dense float32 `[batch, heads, rows, columns]`, through all steps in place. `inputs` are query, key
/// and value, then decay and beta where the update has them; all dense and of one type.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn linear_attention(
    cx: &mut LowerCx<'_>,
    e: &Extents,
    scale: f32,
    [query, key, value]: [&View; 3],
    [decay, beta]: [Option<&View>; 2],
    state: &View,
    out: &View,
) -> Result<()> {
    let kernel = LinearAttention { device: query.device, decay: decay.is_some(), delta: beta.is_some() };
    let count = e.batch * e.heads * e.columns;
    let each = (e.rows + 1) * (1 + kernel.delta as usize + e.group) + 1;
    let base = |cx: &LowerCx<'_>, v: Option<&View>| v.map_or(0, |v| cx.base(v));
    let mut binds = vec![Bind::Read(query), Bind::Read(key), Bind::Read(value)];
    binds.extend(decay.map(Bind::Read));
    binds.extend(beta.map(Bind::Read));
    binds.extend([Bind::Write(state), Bind::Write(out)]);
    let chunk = (STEPS / each).max(1);
    for first in (0..e.length).step_by(chunk) {
        let params = Params::new()
            .u32(count)
            .u32(cx.base(query))
            .u32(cx.base(key))
            .u32(cx.base(value))
            .u32(base(cx, decay))
            .u32(base(cx, beta))
            .u32(e.length)
            .u32(first)
            .u32((first + chunk).min(e.length))
            .u32(e.heads)
            .u32(e.group)
            .u32(e.rows)
            .u32(e.columns)
            .u32(e.decays)
            .u32(e.betas)
            .f32(scale);
        cx.dispatch(&kernel, params, &binds, linear_grid(count, LINEAR_WORKGROUP))?;
    }
    Ok(())
}
