//! Losses of samples against class labels: `shaders/loss.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

#[derive(Debug)]
struct Loss {
    device: DeviceType,
    index: DeviceType,
    out: DeviceType,
    weight: bool,
    ignore: bool,
    total: bool,
}

impl Kernel for Loss {
    fn label(&self) -> String {
        format!("loss {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("loss.wgsl")
            .ty("T", self.device)
            .ty("I", self.index)
            .ty("R", self.out)
            .u32("OUT_AT", 3 + self.weight as u32)
            .flag("WEIGHT", self.weight)
            .flag("IGNORE", self.ignore)
            .flag("TOTAL", self.total)
    }
}

/// Labelled samples, in dense views.
#[derive(Debug)]
pub struct Samples<'a> {
    /// Log-probabilities `[n, classes, inner]`.
    pub x: &'a View,
    /// The label of each of the `n · inner` samples.
    pub targets: &'a View,
    /// The weight of each class.
    pub weight: Option<&'a View>,
    /// The label of samples that do not count.
    pub ignore: Option<i64>,
    /// The number of classes.
    pub classes: usize,
    /// Samples of one `n`.
    pub inner: usize,
}

/// The loss of every sample, into dense `out`. With `total`, `out` is twice as long and its second half receives the
/// samples' weights.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn loss(cx: &mut LowerCx<'_>, samples: &Samples<'_>, total: bool, out: &View) -> Result<()> {
    let Samples { x, targets, weight, ignore, classes, inner } = *samples;
    let index = ignore.unwrap_or(0);
    let params = Params::new()
        .u32(targets.numel())
        .u32(cx.base(x))
        .u32(cx.base(targets))
        .u32(weight.map_or(0, |w| cx.base(w)))
        .u32(classes)
        .u32(inner.max(1))
        .u32(index as u32)
        .u32((index >> 32) as u32);
    let kernel = Loss {
        device: x.device,
        index: targets.device,
        out: out.device,
        weight: weight.is_some(),
        ignore: ignore.is_some(),
        total,
    };
    let mut binds = vec![Bind::Read(x), Bind::Read(targets)];
    binds.extend(weight.map(Bind::Read));
    binds.push(Bind::Write(out));
    cx.dispatch(&kernel, params, &binds, linear_grid(targets.numel(), LINEAR_WORKGROUP))
}
