//! Row kernels: softmax (`shaders/softmax.wgsl`), normalisation by mean and variance (`shaders/norm.wgsl`), local
//! response normalisation (`shaders/lrn.wgsl`). Rows are given to threads or workgroups as in
//! [`reduce`](super::reduce::rows_grid); on GPUs those that lie densely are read once, by as many invocations as they are
//! long (`shaders/softmax_rows.wgsl`, `shaders/norm_rows.wgsl`).

use super::epilogue::{Epilogue, Flat};
use super::reduce::rows_grid;
use super::rows::Rows;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::plan::{Bind, LowerCx, View};

/// Rows longer than this get a workgroup on software adapters too: those end a thread's loops after 65,535 steps.
const LONG: usize = 8192;

/// Which function of the exponentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Soft {
    /// Of 16-bit types each step is rounded; of bf16 also the sums of every 8 weights, with each addend.
    Max,
    Log,
    Hard,
    /// As `Max`, but rows of nothing but -inf become zeros.
    Masked,
}

impl Soft {
    fn steps(self) -> bool {
        matches!(self, Soft::Max | Soft::Masked)
    }

    fn blocks(self, device: DeviceType) -> bool {
        self.steps() && device == DeviceType::BF16
    }
}

#[derive(Debug)]
struct Softmax<'a> {
    kind: Soft,
    device: DeviceType,
    group: bool,
    rows: Option<Rows>,
    end: &'a Flat,
}

impl Kernel for Softmax<'_> {
    fn label(&self) -> String {
        format!("softmax {:?} {}{}", self.kind, self.device.name(), self.end.label())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let spec = match &self.rows {
            Some(rows) => rows.spec(Spec::new("softmax_rows.wgsl")).ty("A", DeviceType::F32).flag("LONG", rows.long),
            None => Spec::new("softmax.wgsl")
                .flag("GROUP", self.group)
                .flag("HARD", self.kind == Soft::Hard)
                .flag("BLOCKS", self.kind.blocks(self.device)),
        };
        self.end
            .spec(spec)
            .ty("T", self.device)
            .ty("Y", self.end.stores(self.device))
            .flag("LOG", self.kind == Soft::Log)
            .flag("MASKED", self.kind == Soft::Masked)
            .flag("STEPS", self.kind.steps())
    }
}

fn grid(cx: &LowerCx<'_>, rows: usize, group: bool) -> [u32; 3] {
    if group { linear_grid(rows, 1) } else { rows_grid(cx.profile(), rows) }
}

/// Along the middle of `[outer, n, inner]`, through `end`; `x` and `out` are dense.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn softmax(
    cx: &mut LowerCx<'_>,
    kind: Soft,
    x: &View,
    [outer, n, inner]: [usize; 3],
    (out, end): (&View, Option<&Epilogue>),
) -> Result<()> {
    let group = !cx.profile().cpu || n > LONG;
    let held = !cx.profile().cpu && inner == 1 && n > 0 && kind != Soft::Hard && !kind.blocks(x.device);
    let rows = held.then(|| Rows::of(n, cx.base(x).is_multiple_of(4)));
    let params = Params::new().u32(outer * inner).u32(n);
    let params = if rows.is_some() { params } else { params.u32(inner) }.u32(cx.base(x));
    let grid = match &rows {
        Some(rows) => rows.grid(outer),
        None if n == 0 => [0; 3],
        None => grid(cx, outer * inner, group),
    };
    let flat = Flat::rows(cx, end, &out.shape, 3);
    let mut binds = vec![Bind::Read(x), Bind::Write(out)];
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    let kernel = Softmax { kind, device: x.device, group, rows, end: &flat };
    cx.dispatch(&kernel, flat.params(params), &binds, grid)
}

#[derive(Debug)]
struct Norm<'a> {
    device: DeviceType,
    scale: DeviceType,
    stat: DeviceType,
    group: bool,
    rows: Option<Rows>,
    /// Whether each element of a row has a scale and bias of its own, in the row's order.
    own: bool,
    has_scale: bool,
    has_bias: bool,
    center: bool,
    outside: bool,
    mean_out: bool,
    deviation_out: bool,
    end: &'a Flat,
}

impl Kernel for Norm<'_> {
    fn label(&self) -> String {
        format!("norm {}{}", self.device.name(), self.end.label())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let binding = |n: u32, on: bool| n + on as u32;
        let bias_at = binding(2, self.has_scale);
        let out_at = binding(bias_at, self.has_bias);
        let mean_at = out_at + 1;
        let spec = match &self.rows {
            Some(rows) => rows
                .spec(Spec::new("norm_rows.wgsl"))
                .ty("A", DeviceType::F32)
                .flag("LONG", rows.long)
                .flag("OWN", self.own)
                .flag("OWN_VECTORS", self.own && rows.vectors),
            None => Spec::new("norm.wgsl").flag("GROUP", self.group),
        };
        self.end
            .spec(spec)
            .ty("T", self.device)
            .ty("Y", self.end.stores(self.device))
            .ty("S", self.scale)
            .ty("M", self.stat)
            .u32("BIAS_AT", bias_at)
            .u32("OUT_AT", out_at)
            .u32("MEAN_AT", mean_at)
            .u32("DEVIATION_AT", binding(mean_at, self.mean_out))
            .flag("SCALE", self.has_scale)
            .flag("BIAS", self.has_bias)
            .flag("CENTER", self.center)
            .flag("OUTSIDE", self.outside)
            .flag("MEAN", self.mean_out)
            .flag("DEVIATION", self.deviation_out)
    }
}

/// How rows are normalised, and where their scale and bias are found: element `j` of row `r` is scaled by element
/// `(r · row_step + j / inner) mod channels`.
#[derive(Debug, Clone, Copy)]
pub struct NormPlan {
    /// The number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub length: usize,
    /// Elements of scale and bias.
    pub channels: usize,
    /// How far a row moves along the channels.
    pub row_step: usize,
    /// Elements that share a channel.
    pub inner: usize,
    /// Added to the variance (or, when `outside`, to the deviation).
    pub epsilon: f32,
    /// Whether the mean is subtracted (RMS normalisation does not).
    pub center: bool,
    /// Whether epsilon is added outside the root.
    pub outside: bool,
}

/// `(x - mean) / deviation · scale + bias` over dense rows, through `end`. `mean` and `deviation` receive the row's mean and inverse
/// standard deviation.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn norm(
    cx: &mut LowerCx<'_>,
    plan: &NormPlan,
    x: &View,
    [scale, bias]: [Option<&View>; 2],
    (out, end): (&View, Option<&Epilogue>),
    [mean, deviation]: [Option<&View>; 2],
) -> Result<()> {
    let group = !cx.profile().cpu || plan.length > LONG;
    let aligned = [Some(x), scale, bias].iter().flatten().all(|v| cx.base(v).is_multiple_of(4));
    let held = !cx.profile().cpu && plan.length > 0;
    let rows = held.then(|| Rows::of(plan.length, aligned));
    let own = plan.inner == 1 && plan.row_step == 0 && plan.channels == plan.length;
    let first_read = 3 + [scale, bias, mean, deviation].iter().flatten().count();
    let flat = Flat::rows(cx, end, &out.shape, first_read);
    let kernel = Norm {
        device: x.device,
        scale: scale.or(bias).map_or(x.device, |s| s.device),
        stat: mean.or(deviation).map_or(DeviceType::F32, |m| m.device),
        group,
        rows,
        own,
        has_scale: scale.is_some(),
        has_bias: bias.is_some(),
        center: plan.center,
        outside: plan.outside,
        mean_out: mean.is_some(),
        deviation_out: deviation.is_some(),
        end: &flat,
    };
    let params = Params::new()
        .u32(plan.rows)
        .u32(plan.length)
        .u32(cx.base(x))
        .u32(scale.map_or(0, |s| cx.base(s)))
        .u32(bias.map_or(0, |s| cx.base(s)))
        .u32(plan.channels.max(1))
        .u32(plan.row_step)
        .u32(plan.inner.max(1))
        .f32(plan.epsilon);
    let mut binds = vec![Bind::Read(x)];
    binds.extend(scale.map(Bind::Read));
    binds.extend(bias.map(Bind::Read));
    binds.push(Bind::Write(out));
    binds.extend(mean.map(Bind::Write));
    binds.extend(deviation.map(Bind::Write));
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    let grid = rows.map_or_else(|| grid(cx, plan.rows, group), |rows| rows.grid(plan.rows));
    cx.dispatch(&kernel, flat.params(params), &binds, grid)
}

#[derive(Debug)]
struct Lrn {
    device: DeviceType,
}

impl Kernel for Lrn {
    fn label(&self) -> String {
        format!("lrn {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("lrn.wgsl").ty("T", self.device)
    }
}

/// Local response normalisation of dense `[n, channels, inner]`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn lrn(cx: &mut LowerCx<'_>, x: &View, size: usize, alpha: f32, beta: f32, bias: f32, out: &View) -> Result<()> {
    let channels = x.shape.get(1).copied().unwrap_or(1);
    let inner: usize = x.shape.iter().skip(2).product();
    let params = Params::new()
        .u32(out.numel())
        .u32(cx.base(x))
        .u32(channels)
        .u32(inner)
        .u32((size - 1) / 2)
        .u32(size / 2)
        .f32(alpha / size as f32)
        .f32(beta)
        .f32(bias);
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&Lrn { device: x.device }, params, &[Bind::Read(x), Bind::Write(out)], grid)
}
