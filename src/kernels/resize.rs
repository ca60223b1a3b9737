//! Resampling: `shaders/resize.wgsl` along one axis at a time, `shaders/resize_nearest.wgsl` along all at once. The
//! tables of coordinates and weights are made on the host.

use super::copy::{image_params, word};
use super::epilogue::{Ends, Epilogue, Flat};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure};

/// The binding of an epilogue's first operand.
const FIRST_READ: usize = 5;

/// How one axis changes.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The axis.
    pub axis: usize,
    /// Its extent in the output.
    pub out: usize,
    /// Input coordinates for each output coordinate.
    pub taps: usize,
    /// `out · taps` input coordinates; [`u32::MAX`] where the extrapolation value stands.
    pub index: Vec<u32>,
    /// Their weights.
    pub weight: Vec<f32>,
}

#[derive(Debug)]
struct Along<'a> {
    /// What lies there, and what is made of it when it is loaded.
    source: [DeviceType; 2],
    target: DeviceType,
    round: bool,
    /// The function of what is loaded.
    start: String,
    end: &'a Flat,
    suffix: String,
}

impl Kernel for Along<'_> {
    fn label(&self) -> String {
        format!("resize {} to {}{}", self.source[1].name(), self.target.name(), self.suffix)
    }

    fn spec(&self, _: &Profile) -> Spec {
        let load = if self.start.is_empty() { "x[at]" } else { "prologue(x[at])" };
        self.end
            .spec(Spec::new("resize.wgsl"))
            .ty("X", self.source[0])
            .ty("S", self.source[1])
            .ty("T", self.target)
            .ty("Y", self.end.stores(self.target))
            .code("PROLOGUE", &*self.start)
            .code("LOAD", format!("    return {load};\n"))
            .flag("ROUND", self.round)
    }
}

/// Weighted sums along the axis of each pass, from input 0 through `ends.start` to output 0 through `ends.end`; between
/// passes in f32.
///
/// # Errors
/// `Unsupported` when the device has no form for the element type, `Limit` when a result is too large to bind.
pub fn interpolate(cx: &mut LowerCx<'_>, mut passes: Vec<Pass>, extrapolation: f32, ends: Ends<'_>) -> Result<()> {
    let mut now = cx.dense_input(0)?;
    // what goes through a function first is a float
    ensure!(ends.start.is_none_or(|s| s.to().is_float()), Unsupported, "a prologue that makes integers");
    let range = now.dtype.int_range().filter(|_| ends.start.is_none());
    let (low, high) = range.unwrap_or_default();
    // those that shrink first, so that the others have less to do
    passes.sort_by(|a, b| (a.out * now.shape[b.axis]).cmp(&(b.out * now.shape[a.axis])));
    let last = passes.len().saturating_sub(1);
    for (i, pass) in passes.into_iter().enumerate() {
        let mut shape = now.shape.clone();
        let len = shape[pass.axis];
        let inner: usize = shape[pass.axis + 1..].iter().product();
        shape[pass.axis] = pass.out;
        let next = match i == last {
            true => cx.output_placed(0, View::has_dense_images)?,
            false => cx.temp(DType::F32, &shape)?,
        };
        let index = cx.constant(Tensor::vector(&pass.index))?;
        let weight = cx.constant(Tensor::vector(&pass.weight))?;
        let params = Params::new().u32(next.numel()).u32(len).u32(pass.out).u32(inner).u32(pass.taps);
        let params = params.f32(extrapolation).f32(low as f32).f32(high as f32);
        let params = image_params(cx, params, &next);
        let here = Ends { start: ends.start.filter(|_| i == 0), end: ends.end.filter(|_| i == last) };
        let flat = Flat::rows(cx, here.end, &next.shape, FIRST_READ);
        let kernel = Along {
            source: [now.device, here.start.map_or(now.device, Epilogue::to)],
            target: here.end.map_or(next.device, Epilogue::from),
            round: range.is_some() && i == last,
            start: here.start.map(Epilogue::of_loads).transpose()?.unwrap_or_default(),
            end: &flat,
            suffix: here.label(),
        };
        let mut binds = vec![Bind::Read(&now), Bind::Read(&index), Bind::Read(&weight), Bind::Write(&next)];
        binds.extend(here.end.iter().flat_map(|e| &e.reads).map(Bind::Read));
        cx.dispatch(&kernel, flat.params(params), &binds, linear_grid(next.numel(), LINEAR_WORKGROUP))?;
        now = next;
    }
    Ok(())
}

#[derive(Debug)]
struct Nearest<'a> {
    device: DeviceType,
    rank: usize,
    /// What elements are, where they go through a function.
    from: Option<DeviceType>,
    end: &'a Flat,
}

impl Kernel for Nearest<'_> {
    fn label(&self) -> String {
        format!("resize nearest{}", self.end.label())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let word = self.from.map_or(word(self.device), DeviceType::wgsl);
        let out = self.from.map_or(word, |from| self.end.stores(from).wgsl());
        let spec = self.end.spec(Spec::new("resize_nearest.wgsl"));
        spec.wgsl("Word", word).wgsl("Out", out).u32("RANK", self.rank as u32)
    }
}

/// Picks elements of input 0, which may have any strides, for output 0, through `end`.
///
/// # Errors
/// As [`interpolate`].
pub fn nearest(cx: &mut LowerCx<'_>, passes: &[Pass], extrapolation: f32, end: Option<&Epilogue>) -> Result<()> {
    let (x, out) = (cx.input(0)?, cx.output_placed(0, View::has_dense_images)?);
    if out.numel() == 0 {
        return Ok(());
    }
    let rank = rank_class(out.rank());
    // entry 0 is for the dims that the rank's class adds in front
    let (mut table, mut starts) = (vec![0], vec![]);
    for (d, extent) in out.shape.iter().enumerate() {
        starts.push(table.len());
        match passes.iter().find(|p| p.axis == d) {
            Some(p) => table.extend(&p.index),
            None => table.extend(0..*extent as u32),
        }
    }
    let table = cx.constant(Tensor::vector(&table))?;
    let fill = cx.constant(Tensor::from_f64s(x.dtype, [1], vec![f64::from(extrapolation)])?)?;
    let params = image_params(cx, Params::new().u32(out.numel()).u32(cx.base(&x)), &out)
        .array_u32(&out.shape, rank, 1)
        .array_u32(&starts, rank, 0)
        .array_i32(&x.strides, rank);
    let flat = Flat::rows(cx, end, &out.shape, FIRST_READ);
    let kernel = Nearest { device: x.device, rank, from: end.map(Epilogue::from), end: &flat };
    let mut binds = vec![Bind::Read(&x), Bind::Read(&table), Bind::Read(&fill), Bind::Write(&out)];
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    cx.dispatch(&kernel, flat.params(params), &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
