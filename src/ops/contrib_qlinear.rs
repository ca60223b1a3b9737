//! Quantised operators of com.microsoft as bodies of ai.onnx operators: pools, QLinearConcat, QLinearSoftmax,
//! QLinearReduceMean, QLinearConv and NhwcMaxPool with channels last.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::{Case, Defer, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, F32, I8, I32, U8};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const fn row(name: &'static str, parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "com.microsoft", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row(
        "QLinearGlobalAveragePool",
        |a, _| Ok(Arc::new(Defined(GlobalAverage { last: a.flag_or("channels_last", false)? }))),
        global_cases,
    ),
    row("QLinearAveragePool", parse_average, average_cases),
    row("QLinearConcat", |a, _| Ok(Arc::new(Defined(Concat { axis: a.required_int("axis")? }))), concat_cases),
    row("QLinearSoftmax", parse_softmax, softmax_cases),
    row("QLinearReduceMean", parse_mean, mean_cases),
    row("NhwcMaxPool", |a, _| Ok(Arc::new(Defined(NhwcMaxPool { window: window(a, &["dilations"])? }))), max_cases),
    row("QLinearConv", parse_conv, conv_cases),
];

/// What rounds in another order than the reference falls to the other of two neighbouring integers now and then.
const NEIGHBOUR: Tolerance = Tolerance { rel: 0.0, abs: 1.0 };

/// That input `i`, if present, has one element, of type `d`.
fn single(b: &Body<'_>, i: usize, d: DType) -> Result<()> {
    let Some(t) = b.cx().try_input(i) else { return Ok(()) };
    let fits = t.dtype == d && t.rank() <= 1 && t.numel() == 1;
    ensure!(fits, InvalidNode, "input {i}: expected one {d}, got {t}");
    Ok(())
}

/// Input `i`, whose scale and zero point follow it, as numbers.
pub(super) fn dequantised(b: &mut Body<'_>, [x, scale, zero]: [usize; 3]) -> Result<ValueId> {
    let d = b.cx().dtype(x)?;
    ensure!(matches!(d, I8 | U8), Unsupported, "{d} where an 8-bit integer is expected");
    single(b, scale, F32)?;
    single(b, zero, d)?;
    let inputs = [b.opt(x), b.opt(scale), b.opt(zero)];
    b.ops("DequantizeLinear", &inputs, &[], 1)?.pop().ok_or_else(|| err!(Internal, "no output"))
}

/// Numbers brought to type `d` by a scale and a zero point.
fn quantised(b: &mut Body<'_>, y: ValueId, scale: ValueId, zero: Option<ValueId>, d: DType) -> Result<ValueId> {
    let to = [("output_dtype", Attr::Int(d as i64))];
    b.ops("QuantizeLinear", &[Some(y), Some(scale), zero], &to, 1)?.pop().ok_or_else(|| err!(Internal, "no output"))
}

/// The same, the inputs being the scale and the zero point.
fn requantised(b: &mut Body<'_>, y: ValueId, [scale, zero]: [usize; 2], d: DType) -> Result<ValueId> {
    single(b, scale, F32)?;
    single(b, zero, d)?;
    let (scale, zero) = (b.need(scale)?, b.opt(zero));
    quantised(b, y, scale, zero, d)
}

/// A scale of rank 0.
fn scalar(b: &mut Body<'_>, i: usize) -> Result<ValueId> {
    single(b, i, F32)?;
    let v = b.need(i)?;
    b.reshape(v, &[])
}

/// Channels from the last dim to dim 1, or back.
fn moved(b: &mut Body<'_>, v: ValueId, last: bool, back: bool) -> Result<ValueId> {
    let rank = b.shape(v).len();
    if !last || rank < 3 {
        return Ok(v);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    let (from, to) = if back { (1, rank - 1) } else { (rank - 1, 1) };
    let channel = order.remove(from);
    order.insert(to, channel);
    b.transpose(v, &order)
}

/// Attributes of a window, handed on as they are; `more` are lists of integers that not all have.
fn window(a: &AttrReader<'_>, more: &[&'static str]) -> Result<Vec<(&'static str, Attr)>> {
    let mut attrs = vec![];
    for name in ["kernel_shape", "pads", "strides"].iter().chain(more) {
        attrs.extend(a.ints(name)?.map(|v| (*name, Attr::Ints(v))));
    }
    attrs.extend(a.string("auto_pad")?.map(|v| ("auto_pad", Attr::Str(v))));
    attrs.extend(a.int("ceil_mode")?.map(|v| ("ceil_mode", Attr::Int(v))));
    Ok(attrs)
}

/// The mean over all spatial dims: an exact sum, scaled once.
#[derive(Debug)]
struct GlobalAverage {
    last: bool,
}

impl Function for GlobalAverage {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (x, d) = (b.need(0)?, b.cx().dtype(0)?);
        let s = b.shape(x);
        let usable = s.len() >= 3 && matches!(d, I8 | U8);
        if !usable {
            return Err(err!(InvalidNode, "an average over {}", b.cx().input(0)?).into());
        }
        single(b, 2, d)?;
        let spatial: Vec<usize> = if self.last { (1..s.len() - 1).collect() } else { (2..s.len()).collect() };
        let count: usize = spatial.iter().map(|i| s[*i]).product();
        let mut centred = b.cast(x, I32)?;
        if let Some(zero) = b.opt(2) {
            let zero = b.reshape(zero, &[])?;
            let zero = b.cast(zero, I32)?;
            centred = b.op("Sub", &[centred, zero])?;
        }
        let axes = b.constant(Tensor::vector(&spatial.iter().map(|i| *i as i64).collect::<Vec<_>>()));
        let sum = b.op("ReduceSum", &[centred, axes])?;
        let sum = b.cast(sum, F32)?;
        let (from, to, count) = (scalar(b, 1)?, scalar(b, 3)?, b.float(F32, count as f64)?);
        let to = b.op("Mul", &[to, count])?;
        let scale = b.op("Div", &[from, to])?;
        let mean = b.op("Mul", &[sum, scale])?;
        single(b, 4, d)?;
        let (one, zero) = (b.float(F32, 1.0)?, b.opt(4));
        let zero = zero.map(|z| b.reshape(z, &[])).transpose()?;
        Ok(vec![quantised(b, mean, one, zero, d)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        NEIGHBOUR
    }
}

#[derive(Debug)]
struct Average {
    window: Vec<(&'static str, Attr)>,
    last: bool,
}

fn parse_average(a: &AttrReader<'_>, _: &super::NodeInfo) -> Result<Arc<dyn Op>> {
    let mut window = window(a, &[])?;
    window.push(("count_include_pad", Attr::Int(a.flag_or("count_include_pad", false)?.into())));
    Ok(Arc::new(Defined(Average { window, last: a.flag_or("channels_last", false)? })))
}

impl Function for Average {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        let x = dequantised(b, [0, 1, 2])?;
        let x = moved(b, x, self.last, false)?;
        let y = b.with("AveragePool", &[x], &self.window)?;
        let y = moved(b, y, self.last, true)?;
        let scale = scalar(b, 3)?;
        single(b, 4, d)?;
        // rounded after the zero point is added, which decides about halves
        let mut y = b.op("Div", &[y, scale])?;
        if let Some(zero) = b.opt(4) {
            let zero = b.reshape(zero, &[])?;
            let zero = b.cast(zero, F32)?;
            y = b.op("Add", &[y, zero])?;
        }
        let one = b.float(F32, 1.0)?;
        Ok(vec![quantised(b, y, one, None, d)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        NEIGHBOUR
    }
}

/// Tensors of scales of their own, brought to one.
#[derive(Debug)]
struct Concat {
    axis: i64,
}

impl Function for Concat {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(1)?;
        let inputs = b.cx().len();
        if inputs < 5 || !(inputs - 2).is_multiple_of(3) {
            return Err(
                err!(InvalidNode, "expected tensors with scale and zero point each, got {inputs} inputs").into()
            );
        }
        let mut parts = vec![];
        for i in (2..inputs).step_by(3) {
            let x = dequantised(b, [i, i + 1, i + 2])?;
            parts.push(requantised(b, x, [0, 1], d)?);
        }
        let axis = shape::axis(self.axis, b.shape(parts[0]).len())?;
        Ok(vec![b.concat(&parts, axis)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

#[derive(Debug)]
struct Softmax {
    axis: i64,
    /// All dims from the axis on share a sum.
    flat: bool,
}

fn parse_softmax(a: &AttrReader<'_>, _: &super::NodeInfo) -> Result<Arc<dyn Op>> {
    let flat = a.required_int("opset")? < 13;
    Ok(Arc::new(Defined(Softmax { axis: a.int_or("axis", if flat { 1 } else { -1 })?, flat })))
}

impl Function for Softmax {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        let x = dequantised(b, [0, 1, 2])?;
        let s = b.shape(x);
        let axis = shape::axis(self.axis, s.len())?;
        let mut y = if self.flat {
            let rows = [shape::numel(&s[..axis]), shape::numel(&s[axis..])];
            let rows = b.reshape(x, &rows)?;
            let y = b.with("Softmax", &[rows], &[("axis", Attr::Int(1))])?;
            b.reshape(y, &s)?
        } else {
            b.with("Softmax", &[x], &[("axis", Attr::Int(axis as i64))])?
        };
        // the scale counts as a whole number of steps from 0 to 1
        let (one, scale) = (b.float(F32, 1.0)?, scalar(b, 3)?);
        let steps = b.op("Div", &[one, scale])?;
        let steps = b.op("Floor", &[steps])?;
        y = b.op("Mul", &[y, steps])?;
        single(b, 4, d)?;
        let zero = b.opt(4).map(|z| b.reshape(z, &[])).transpose()?;
        Ok(vec![quantised(b, y, one, zero, d)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        NEIGHBOUR
    }
}

#[derive(Debug)]
struct Mean {
    axes: Vec<i64>,
    keep: bool,
}

fn parse_mean(a: &AttrReader<'_>, _: &super::NodeInfo) -> Result<Arc<dyn Op>> {
    let axes = a.ints("axes")?.ok_or_else(|| err!(InvalidNode, "attribute axes is missing"))?;
    Ok(Arc::new(Defined(Mean { axes, keep: a.flag_or("keepdims", true)? })))
}

impl Function for Mean {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        let x = dequantised(b, [0, 1, 2])?;
        let axes = b.constant(Tensor::vector(&self.axes));
        let y = b.with("ReduceMean", &[x, axes], &[("keepdims", Attr::Int(self.keep.into()))])?;
        Ok(vec![requantised(b, y, [3, 4], d)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        NEIGHBOUR
    }
}

#[derive(Debug)]
struct NhwcMaxPool {
    window: Vec<(&'static str, Attr)>,
}

impl Function for NhwcMaxPool {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        if !matches!(d, I8 | U8) {
            return Err(err!(Unsupported, "{d} where an 8-bit integer is expected").into());
        }
        let x = moved(b, b.need(0)?, true, false)?;
        let y = b.with("MaxPool", &[x], &self.window)?;
        Ok(vec![moved(b, y, true, true)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

/// The ai.onnx operator, whose image may have its channels last.
#[derive(Debug)]
struct Conv {
    window: Vec<(&'static str, Attr)>,
    last: bool,
}

fn parse_conv(a: &AttrReader<'_>, _: &super::NodeInfo) -> Result<Arc<dyn Op>> {
    ensure!(!a.has("ceil_mode"), Unsupported, "unknown attribute ceil_mode");
    let mut window = window(a, &["dilations"])?;
    window.extend(a.int("group")?.map(|g| ("group", Attr::Int(g))));
    Ok(Arc::new(Defined(Conv { window, last: a.flag_or("channels_last", false)? })))
}

impl Function for Conv {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let mut inputs: Vec<Option<ValueId>> = (0..b.cx().len()).map(|i| b.opt(i)).collect();
        inputs[0] = Some(moved(b, b.need(0)?, self.last, false)?);
        let made = b.ops("QLinearConv", &inputs, &self.window, 1)?;
        Ok(vec![moved(b, made[0], self.last, true)?])
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

fn case(name: &'static str) -> Case {
    Case::new(name, 1).domain("com.microsoft")
}

/// A scale, as constant as that of a model, and a zero point.
fn parameters(c: Case, d: DType, scale: f32) -> Case {
    c.constant(Tensor::scalar(scale)).rand(d, &[])
}

fn global_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [I8, U8] {
        let of = |s: &[usize]| parameters(parameters(case("QLinearGlobalAveragePool").rand(d, s), d, 0.07), d, 0.04);
        all.extend([of(&[2, 3, 5, 7]), of(&[2, 5, 7, 3]).int("channels_last", 1), of(&[1, 4, 9])]);
    }
    all
}

fn average_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [I8, U8] {
        let of = |s: &[usize]| {
            let c = case("QLinearAveragePool").rand(d, s).ints("kernel_shape", &[2, 3]);
            parameters(parameters(c, d, 0.07), d, 0.04)
        };
        all.push(of(&[2, 3, 5, 7]).ints("strides", &[2, 1]).ints("pads", &[1, 1, 0, 2]));
        all.push(of(&[2, 5, 7, 3]).int("channels_last", 1).int("ceil_mode", 1).ints("strides", &[2, 2]));
        all.push(of(&[1, 1, 4, 5]).ints("pads", &[1, 1, 1, 1]).int("count_include_pad", 1));
        all.push(of(&[1, 2, 4, 5]).string("auto_pad", "SAME_UPPER"));
    }
    all
}

fn concat_cases() -> Vec<Case> {
    let of = |d: DType, shapes: &[&[usize]]| {
        let c = parameters(case("QLinearConcat"), d, 0.05);
        shapes.iter().zip([0.05, 0.02, 0.09]).fold(c, |c, (s, scale)| parameters(c.rand(d, s), d, scale))
    };
    vec![
        of(U8, &[&[2, 3], &[2, 5], &[2, 1]]).int("axis", 1),
        of(I8, &[&[2, 3, 4], &[1, 3, 4]]).int("axis", -3),
        of(U8, &[&[7]]).int("axis", 0),
    ]
}

fn softmax_cases() -> Vec<Case> {
    let of = |d: DType, s: &[usize]| {
        let c = parameters(case("QLinearSoftmax").rand(d, s), d, 0.05).constant(Tensor::scalar(1f32 / 256.0));
        c.constant(Tensor::from_f64s(d, [], vec![if d == I8 { -128.0 } else { 0.0 }]).unwrap_or(Tensor::scalar(0u8)))
    };
    vec![
        of(U8, &[3, 11]).int("opset", 13),
        of(I8, &[2, 5, 3]).int("opset", 13).int("axis", 1),
        of(U8, &[2, 5, 3]).int("opset", 12),
        of(I8, &[2, 5, 3]).int("opset", 11).int("axis", 2),
    ]
}

fn mean_cases() -> Vec<Case> {
    let of = |d: DType, axes: &[i64]| {
        let c = case("QLinearReduceMean").rand(d, &[2, 3, 5]).ints("axes", axes);
        parameters(parameters(c, d, 0.05), d, 0.03)
    };
    vec![of(U8, &[1]).int("keepdims", 1), of(I8, &[0, -1]).int("keepdims", 0)]
}

fn max_cases() -> Vec<Case> {
    let of = |d: DType| case("NhwcMaxPool").rand(d, &[2, 7, 6, 5]).ints("kernel_shape", &[3, 2]);
    vec![
        of(U8),
        of(I8).ints("pads", &[1, 0, 1, 1]).ints("strides", &[2, 1]).int("ceil_mode", 1),
        of(U8).ints("dilations", &[2, 1]).string("auto_pad", "SAME_LOWER"),
    ]
}

fn conv_cases() -> Vec<Case> {
    let of = |x: DType, w: DType, s: &[usize], per: &[usize]| {
        let c = parameters(case("QLinearConv").rand(x, s), x, 0.015);
        let c = c.rand(w, &[6, 4, 3, 3]).range(F32, per, 0.01, 0.02).range(w, per, 0.0, 9.0);
        parameters(c, x, 0.05).ints("pads", &[1, 1, 1, 1])
    };
    vec![
        of(U8, I8, &[2, 4, 7, 6], &[6]),
        of(I8, I8, &[2, 7, 6, 4], &[]).int("channels_last", 1).rand(I32, &[6]).ints("strides", &[2, 1]),
        of(U8, U8, &[1, 7, 6, 8], &[]).int("channels_last", 1).int("group", 2),
    ]
}
