//! Random elements: `shaders/random.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// A law of random elements.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Kind {
    /// `low <= x < high`, each as likely.
    Uniform { low: f32, high: f32 },
    /// The normal distribution.
    Normal { mean: f32, scale: f32 },
    /// 1 with the probability that the element of the source is, else 0.
    Coin,
    /// The number of a class: `samples` for each row of the source, which has the logarithms of `classes` weights.
    Class { classes: usize, samples: usize },
}

/// Classes up to which a thread's loops stay short enough for every driver.
const CLASSES: usize = 20_000;

#[derive(Debug)]
struct Random {
    kind: Kind,
    source: Option<DeviceType>,
    result: DeviceType,
}

impl Kernel for Random {
    fn label(&self) -> String {
        let what = match self.kind {
            Kind::Uniform { .. } => "uniform",
            Kind::Normal { .. } => "normal",
            Kind::Coin => "coin",
            Kind::Class { .. } => "class",
        };
        format!("random {what} {}", self.result.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let spec = Spec::new("random.wgsl").ty("R", self.result).ty("T", self.source.unwrap_or(DeviceType::F32));
        spec.flag("READS", self.source.is_some())
            .flag("UNIFORM", matches!(self.kind, Kind::Uniform { .. }))
            .flag("NORMAL", matches!(self.kind, Kind::Normal { .. }))
            .flag("COIN", self.kind == Kind::Coin)
            .flag("CLASS", matches!(self.kind, Kind::Class { .. }))
    }
}

/// Fills `out` after a law, with dense `key` (uint32\[4\]) and, where the law has one, dense `source`.
///
/// # Errors
/// `Unsupported` for too many classes; as [`LowerCx::dispatch`].
pub fn random(cx: &mut LowerCx<'_>, kind: Kind, key: &View, source: Option<&View>, out: &View) -> Result<()> {
    let at_zero = [Some(key), source].into_iter().flatten().all(|v| cx.base(v) == 0);
    ensure!(at_zero, Internal, "views that do not begin at 0");
    let (classes, samples, a, b) = match kind {
        Kind::Uniform { low, high } => (1, 1, low, high),
        Kind::Normal { mean, scale } => (1, 1, mean, scale),
        Kind::Coin => (1, 1, 0.0, 0.0),
        Kind::Class { classes, samples } => (classes, samples, 0.0, 0.0),
    };
    ensure!(classes <= CLASSES, Unsupported, "{classes} classes");
    let params = Params::new().u32(out.numel()).u32(classes).u32(samples).f32(a).f32(b);
    let mut binds = vec![Bind::Read(key)];
    binds.extend(source.map(Bind::Read));
    binds.push(Bind::Write(out));
    let kernel = Random { kind, source: source.map(|s| s.device), result: out.device };
    cx.dispatch(&kernel, params, &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
