//! Resampling: `shaders/resize.wgsl` along one axis or two at a time, `shaders/resize_nearest.wgsl` along all at once. The
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
/// Input elements of an output element, up to which two axes are as quick together as one after the other.
const FEW_TAPS: usize = 4;

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
    two: bool,
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
            .flag("TWO", self.two)
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
    let mut steps: Vec<(Pass, Option<Pass>)> = vec![];
    for pass in passes {
        match steps.last_mut() {
            Some((first, second @ None)) if first.taps * pass.taps <= FEW_TAPS => *second = Some(pass),
            _ => steps.push((pass, None)),
        }
    }
    let last = steps.len().saturating_sub(1);
    for (i, (mut pass, mut second)) in steps.into_iter().enumerate() {
        if let Some(other) = second.as_mut().filter(|other| other.axis < pass.axis) {
            std::mem::swap(&mut pass, other);
        }
        let from = now.shape.clone();
        let mut shape = from.clone();
        shape[pass.axis] = pass.out;
        let (mut index, mut weight, mut inmost) = (pass.index, pass.weight, pass.axis);
        if let Some(second) = &second {
            shape[second.axis] = second.out;
            index.extend(&second.index);
            weight.extend(&second.weight);
            inmost = second.axis;
        }
        let next = match i == last {
            true => cx.output_placed(0, View::has_dense_images)?,
            false => cx.temp(DType::F32, &shape)?,
        };
        let inner: usize = from[inmost + 1..].iter().product();
        let index = cx.constant(Tensor::vector(&index))?;
        let weight = cx.constant(Tensor::vector(&weight))?;
        let params = Params::new().u32(next.numel()).u32(from[pass.axis]).u32(pass.out).u32(inner).u32(pass.taps);
        let params = params.f32(extrapolation).f32(low as f32).f32(high as f32);
        let mut params = image_params(cx, params, &next);
        if let Some(second) = &second {
            let between: usize = from[pass.axis + 1..second.axis].iter().product();
            params = params.u32(between).u32(from[second.axis]).u32(second.out).u32(second.taps);
        }
        let here = Ends { start: ends.start.filter(|_| i == 0), end: ends.end.filter(|_| i == last) };
        let flat = Flat::rows(cx, here.end, &next.shape, FIRST_READ);
        let kernel = Along {
            source: [now.device, here.start.map_or(now.device, Epilogue::to)],
            target: here.end.map_or(next.device, Epilogue::from),
            round: range.is_some() && i == last,
            two: second.is_some(),
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
