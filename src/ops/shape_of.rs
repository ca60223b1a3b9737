//! Shapes as values, and tensors made from nothing: Shape, Size, Constant, ConstantOfShape, Range, EyeLike.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::pad;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], parse_shape, shape_cases),
    row(
        "Size",
        &[1, 13, 19, 21, 23, 24, 25],
        |_, _| Ok(Arc::new(Size)),
        || vec![Case::new("Size", 13).rand(F32, &[2, 3, 4]), Case::new("Size", 13).rand(F32, &[])],
    ),
    row("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25], parse_constant, constant_cases),
    row(
        "ConstantOfShape",
        &[9, 20, 21, 23, 24, 25],
        |a, _| {
            let value = a.tensor("value")?.unwrap_or_else(|| Tensor::zeros(F32, [1]));
            ensure!(value.len() == 1, InvalidNode, "attribute value: expected one element, got {value:?}");
            Ok(Arc::new(ConstantOfShape { value: value.reshaped([])? }))
        },
        fill_cases,
    ),
    row("Range", &[11], |_, _| Ok(Arc::new(Range)), range_cases),
    row("EyeLike", &[9, 22], parse_eye, eye_cases),
];

/// Dims `start..end` of the input's shape.
#[derive(Debug)]
struct Shape {
    start: i64,
    end: Option<i64>,
}

fn parse_shape(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(match n.version {
        15.. => Shape { start: a.int_or("start", 0)?, end: a.int("end")? },
        _ => Shape { start: 0, end: None },
    }))
}

fn shape_cases() -> Vec<Case> {
    let case = || Case::new("Shape", 15).rand(F32, &[2, 3, 4]);
    vec![
        case(),
        case().int("start", 1),
        case().int("start", -2).int("end", -1),
        case().int("start", 5),
        case().int("end", 0),
    ]
}

impl Shape {
    fn of(&self, s: &[usize]) -> Tensor {
        let r = s.len() as i64;
        let wrap = |x: i64| (if x < 0 { x.saturating_add(r) } else { x }).clamp(0, r) as usize;
        let (from, to) = (wrap(self.start), wrap(self.end.unwrap_or(r)));
        Tensor::vector(&s.get(from..to).unwrap_or(&[]).iter().map(|d| *d as i64).collect::<Vec<_>>())
    }
}

impl Op for Shape {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(I64, [self.of(cx.shape(0)?).len()])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.of(need(inputs, 0)?.shape())])
    }

    fn fold(&self, cx: &InferCx<'_>) -> Result<Option<Vec<Tensor>>> {
        Ok(Some(vec![self.of(cx.shape(0)?)]))
    }
}

#[derive(Debug)]
struct Size;

impl Op for Size {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(I64, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::scalar(need(inputs, 0)?.len() as i64)])
    }

    fn fold(&self, cx: &InferCx<'_>) -> Result<Option<Vec<Tensor>>> {
        Ok(Some(vec![Tensor::scalar(cx.input(0)?.numel() as i64)]))
    }
}

#[derive(Debug)]
struct Constant {
    value: Tensor,
}

fn parse_constant(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mut found = vec![];
    found.extend(a.tensor("value")?);
    found.extend(a.float("value_float")?.map(Tensor::scalar));
    found.extend(a.floats("value_floats")?.map(|v| Tensor::vector(&v)));
    found.extend(a.int("value_int")?.map(Tensor::scalar));
    found.extend(a.ints("value_ints")?.map(|v| Tensor::vector(&v)));
    if let Some(s) = a.string("value_string")? {
        found.push(Tensor::from_strings([], vec![s])?);
    }
    if let Some(s) = a.strings("value_strings")? {
        found.push(Tensor::from_strings([s.len()], s)?);
    }
    match found.pop() {
        Some(value) if found.is_empty() => Ok(Arc::new(Constant { value })),
        Some(_) => bail!(InvalidNode, "more than one value is given"),
        None => bail!(Unsupported, "no value of a supported kind is given"),
    }
}

fn constant_cases() -> Vec<Case> {
    use crate::ir::Attr;
    vec![
        Case::new("Constant", 13).attr("value", Attr::Tensor(Tensor::vector(&[1.0f32, 2.0]))),
        Case::new("Constant", 13).float("value_float", 0.5),
        Case::new("Constant", 13).ints("value_ints", &[1, -2]),
    ]
}

impl Op for Constant {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(self.value.dtype(), self.value.shape())
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.value.clone()])
    }

    fn fold(&self, _: &InferCx<'_>) -> Result<Option<Vec<Tensor>>> {
        Ok(Some(vec![self.value.clone()]))
    }
}

/// One value, repeated to the shape that input 0 holds.
#[derive(Debug)]
struct ConstantOfShape {
    value: Tensor,
}

fn extents(list: &[i64]) -> Result<Vec<usize>> {
    let extent = |d: &i64| usize::try_from(*d).map_err(|_| err!(InvalidNode, "shape {list:?} has a negative extent"));
    let s: Vec<usize> = list.iter().map(extent).collect::<Result<_>>()?;
    shape::checked_numel(&s)?;
    Ok(s)
}

impl Op for ConstantOfShape {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.value.dtype(), extents(&cx.value(0)?.to_i64s()?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let s = extents(&need(inputs, 0)?.to_i64s()?)?;
        let sources = vec![0; shape::numel(&s)];
        Ok(vec![self.value.select(s, &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let t = cx.output_type(0)?;
        let one = cx.constant(self.value.clone())?;
        cx.alias(0, one.broadcast(&t.shape))
    }
}

fn fill_cases() -> Vec<Case> {
    use crate::ir::Attr;
    let one = |d: DType| Tensor::from_i128s(d, [1], vec![1]).unwrap_or_else(|_| Tensor::zeros(d, [1]));
    let mut all: Vec<Case> = [F32, F16, I8, U8, I32, I64, Bool]
        .iter()
        .map(|d| {
            Case::new("ConstantOfShape", 20).attr("value", Attr::Tensor(one(*d))).value(Tensor::vector(&[3i64, 5]))
        })
        .collect();
    all.push(Case::new("ConstantOfShape", 9).value(Tensor::vector(&[0i64, 5])));
    all.push(Case::new("ConstantOfShape", 9).value(Tensor::vector::<i64>(&[])));
    all
}

/// `start, start + delta, …`, as many as lie before `limit`.
#[derive(Debug)]
struct Range;

impl Range {
    fn count(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<usize> {
        for t in [start, limit, delta] {
            ensure!(t.len() == 1, InvalidNode, "expected one element, got {t:?}");
        }
        let n = if start.dtype().is_float() {
            let (s, l, d) = (start.to_f64s()?[0], limit.to_f64s()?[0], delta.to_f64s()?[0]);
            ((l - s) / d).ceil().max(0.0)
        } else {
            let (s, l, d) = (start.to_i128s()?[0], limit.to_i128s()?[0], delta.to_i128s()?[0]);
            ensure!(d != 0, InvalidNode, "delta is 0");
            let (span, d) = if d > 0 { (l - s, d) } else { (s - l, -d) };
            if span <= 0 { 0.0 } else { ((span + d - 1) / d) as f64 }
        };
        ensure!(n.is_finite() && n < 1e12, Limit, "a range of {n} elements");
        Ok(n as usize)
    }
}

impl Op for Range {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, [Range::count(cx.value(0)?, cx.value(1)?, cx.value(2)?)?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (start, delta) = (need(inputs, 0)?, need(inputs, 2)?);
        let n = Range::count(start, need(inputs, 1)?, delta)?;
        let d = start.dtype();
        Ok(vec![if d.is_float() {
            let (s, step) = (start.to_f64s()?[0], delta.to_f64s()?[0]);
            Tensor::from_f64s(d, [n], (0..n).map(|i| s + i as f64 * step).collect())?
        } else {
            let (s, step) = (start.to_i128s()?[0], delta.to_i128s()?[0]);
            Tensor::from_i128s(d, [n], (0..n as i128).map(|i| s + i * step).collect())?
        }])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (start, step) = (cx.input(0)?, cx.input(2)?);
        let out = cx.output(0)?;
        pad::range(cx, &start, &step, &out)
    }
}

fn range_cases() -> Vec<Case> {
    fn of<T: crate::Element>(a: T, b: T, c: T) -> Case {
        Case::new("Range", 11).value(Tensor::scalar(a)).value(Tensor::scalar(b)).value(Tensor::scalar(c))
    }
    vec![of(0i64, 9000, 1), of(10i32, -5, -4), of(0.5f32, 3000.0, 0.25), of(3i64, 3, 1), of(0i16, 9, 2), of(7i64, 0, 1)]
}

/// Ones on diagonal `k` of a matrix shaped like the input.
#[derive(Debug)]
struct EyeLike {
    dtype: Option<DType>,
    k: i64,
}

fn parse_eye(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let known =
        |n: i64| DType::from_onnx(n as i32).ok_or_else(|| err!(InvalidNode, "attribute dtype: unknown type {n}"));
    Ok(Arc::new(EyeLike { dtype: a.int("dtype")?.map(known).transpose()?, k: a.int_or("k", 0)? }))
}

fn eye_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize]| Case::new("EyeLike", 9).rand(d, s);
    vec![case(F32, &[4, 6]), case(I64, &[5, 3]).int("k", 1), case(F32, &[67, 67]).int("k", -3).int("dtype", F16 as i64)]
}

impl Op for EyeLike {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let s = cx.shape(0)?;
        if s.len() != 2 {
            return Err(err!(InvalidNode, "expected a matrix, got {s:?}").into());
        }
        one(self.dtype.unwrap_or(cx.dtype(0)?), s)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let [rows, cols] = x.shape()[..] else { bail!(InvalidNode, "expected a matrix, got {:?}", x.shape()) };
        let on = |i: usize| ((i % cols) as i64 == ((i / cols) as i64).saturating_add(self.k)) as i128;
        let d = self.dtype.unwrap_or(x.dtype());
        Ok(vec![Tensor::from_i128s(d, [rows, cols], (0..rows * cols).map(on).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        pad::eye(cx, self.k, &out)
    }
}
