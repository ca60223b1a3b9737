//! Elements by whether they are zero, or a condition holds: NonZero, Compress.

use std::sync::Arc;

use super::bounded::{Bounded, padded};
use super::eval::{need, opt};
use super::infer::one;
use super::{Case, Defer, InferCx, Inferred, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::TensorType;
use crate::kernels::gather::gather;
use crate::kernels::non_zero::non_zero;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "NonZero",
        versions: &[9, 13],
        parse: |_, _| Ok(Arc::new(NonZero)),
        cases: non_zero_cases,
    },
    OpDef {
        domain: "",
        name: "Compress",
        versions: &[9, 11],
        parse: |a, _| Ok(Arc::new(Compress { axis: a.int("axis")? })),
        cases: compress_cases,
    },
];

/// Coordinates of the elements that are not zero, one row a dim.
#[derive(Debug)]
struct NonZero;

impl Op for NonZero {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.input(0)?;
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let v = x.to_f64s()?;
        let found: Vec<Vec<usize>> =
            shape::coords(x.shape()).zip(v).filter(|(_, v)| *v != 0.0).map(|(c, _)| c).collect();
        let rows = (0..x.rank()).flat_map(|d| found.iter().map(move |c| c[d] as i64)).collect();
        Ok(vec![Tensor::new([x.rank(), found.len()], rows)?])
    }

    fn bounded(&self, _: &[bool]) -> Option<Bounded> {
        Some(Bounded { op: Arc::new(NonZeroMost), axes: vec![Some(1)] })
    }
}

/// All places there may be, and how many there are.
#[derive(Debug)]
struct NonZeroMost;

impl Op for NonZeroMost {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        Ok(vec![TensorType::new(I64, [x.rank(), x.numel()]), TensorType::new(I32, [])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let [places] = &NonZero.eval(inputs)?[..] else { bail!(Internal, "NonZero has one result") };
        let count = places.shape()[1];
        Ok(vec![padded(places, 1, need(inputs, 0)?.len())?, Tensor::scalar(count as i32)])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let places = cx.output(0)?;
        let count = if x.numel() == 0 { cx.constant(Tensor::scalar(0i32))? } else { non_zero(cx, &x, &places)? };
        cx.alias(1, count)
    }
}

fn non_zero_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize]| Case::new("NonZero", 13).range(d, s, 0.0, 2.0);
    let mut all: Vec<Case> =
        [Bool, I8, U8, I16, U16, I32, U32, I64, U64].into_iter().map(|d| case(d, &[3, 5, 7])).collect();
    all.extend([
        case(Bool, &[]),
        case(Bool, &[0, 3]),
        case(Bool, &[1]),
        case(I32, &[2, 1, 3, 1, 2, 3]),
        case(I64, &[70_001]),
        case(I32, &[300, 257]),
        Case::new("NonZero", 9).value(Tensor::vector(&[0.0f32, -0.0, 1e-40, f32::NAN, f32::INFINITY, -1.0])),
        Case::new("NonZero", 9).rand(F16, &[5, 6]),
        Case::new("NonZero", 9).rand(BF16, &[5, 6]),
        Case::new("NonZero", 13).value(Tensor::zeros(F32, [4, 4])),
    ]);
    all
}

/// The slices along an axis (or the elements of the flattened input) whose condition holds.
#[derive(Debug)]
struct Compress {
    axis: Option<i64>,
}

impl Compress {
    /// The axis, of `x` flattened where none is given.
    fn check(&self, x: &[usize], condition: &[usize]) -> Result<usize> {
        let flat = [shape::numel(x)];
        let from = if self.axis.is_none() { &flat } else { x };
        let axis = shape::axis(self.axis.unwrap_or(0), from.len())?;
        let fits = condition.len() == 1 && condition[0] <= from[axis];
        ensure!(fits, InvalidNode, "a condition of shape {condition:?} for {} slices of {x:?}", from[axis]);
        Ok(axis)
    }
}

impl Op for Compress {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let condition = cx.value(1)?;
        let x = cx.input(0)?;
        self.check(&x.shape, condition.shape())?;
        let kept = condition.to_slice::<bool>()?.iter().filter(|c| **c).count();
        match self.axis {
            None => one(x.dtype, [kept]),
            Some(a) => {
                let mut s = x.shape.clone();
                let axis = shape::axis(a, s.len())?;
                s[axis] = kept;
                one(x.dtype, s)
            }
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let Some(condition) = opt(inputs, 1) else { bail!(InvalidNode, "input 1 is missing") };
        let x = if self.axis.is_none() { x.reshaped([x.len()])? } else { x.clone() };
        let axis = shape::axis(self.axis.unwrap_or(0), x.rank())?;
        let test = condition.to_slice::<bool>()?;
        let kept: Vec<usize> = (0..test.len()).filter(|i| test[*i]).collect();
        Ok(vec![along(&x, axis, &kept)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let Some(condition) = cx.value(1).cloned() else { bail!(Unsupported, "a condition that is not known") };
        let test = condition.to_slice::<bool>()?;
        let kept: Vec<i64> = (0..test.len()).filter(|i| test[*i]).map(|i| i as i64).collect();
        let mut x = cx.dense_input(0)?;
        if self.axis.is_none() {
            x = x.reshaped(&[x.numel()]).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        }
        let axis = shape::axis(self.axis.unwrap_or(0), x.rank())?;
        let indices = cx.constant(Tensor::vector(&kept))?;
        let out = cx.output(0)?;
        gather(cx, &x, axis, &indices, &out)
    }

    fn bounded(&self, constant: &[bool]) -> Option<Bounded> {
        if constant.get(1) == Some(&true) {
            return None;
        }
        Some(Bounded { op: Arc::new(CompressMost { axis: self.axis }), axes: vec![self.axis.or(Some(0))] })
    }
}

/// Rows `kept` of `x` along `axis`.
fn along(x: &Tensor, axis: usize, kept: &[usize]) -> Result<Tensor> {
    let mut to = x.shape().to_vec();
    let (n, inner) = (to[axis], shape::numel(&to[axis + 1..]));
    to[axis] = kept.len();
    let outer = shape::numel(&to[..axis]);
    let row = |o: usize, k: &usize| (0..inner).map(move |i| (o * n + k) * inner + i).collect::<Vec<_>>();
    let at: Vec<usize> = (0..outer).flat_map(|o| kept.iter().flat_map(move |k| row(o, k))).collect();
    x.select(to, &at)
}

/// What the condition keeps, and behind it anything; and how much it keeps.
#[derive(Debug)]
struct CompressMost {
    axis: Option<i64>,
}

impl CompressMost {
    fn check(&self, x: &[usize], condition: &[usize]) -> Result<Vec<usize>> {
        let axis = Compress { axis: self.axis }.check(x, condition)?;
        let mut to = if self.axis.is_none() { vec![shape::numel(x)] } else { x.to_vec() };
        to[axis] = condition[0];
        Ok(to)
    }
}

impl Op for CompressMost {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let to = self.check(cx.shape(0)?, cx.shape(1)?)?;
        Ok(vec![TensorType::new(cx.dtype(0)?, to), TensorType::new(I32, [])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let to = self.check(need(inputs, 0)?.shape(), need(inputs, 1)?.shape())?;
        let axis = shape::axis(self.axis.unwrap_or(0), to.len())?;
        let [kept] = &(Compress { axis: self.axis }).eval(inputs)?[..] else {
            bail!(Internal, "Compress has one result")
        };
        Ok(vec![padded(kept, axis, to[axis])?, Tensor::scalar(kept.shape()[axis] as i32)])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (mut x, condition) = (cx.dense_input(0)?, cx.input(1)?);
        let out = cx.output(0)?;
        let axis = shape::axis(self.axis.unwrap_or(0), out.rank())?;
        if condition.numel() == 0 {
            let none = cx.constant(Tensor::scalar(0i32))?;
            return cx.alias(1, none);
        }
        if self.axis.is_none() {
            x = x.reshaped(&[x.numel()]).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        }
        let places = cx.temp(I64, &[1, condition.numel()])?;
        let count = non_zero(cx, &condition, &places)?;
        cx.alias(1, count)?;
        // what lies behind the kept ones is any place, which the gathering takes to the nearest there is
        let places = places.reshaped(&[condition.numel()]).ok_or_else(|| err!(Internal, "a row did not reshape"))?;
        gather(cx, &x, axis, &places, &out)
    }
}

fn compress_cases() -> Vec<Case> {
    const NUMBERS: &[DType] = &[F32, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64, Bool];
    let case = |d: DType, s: &[usize], condition: usize, axis: Option<i64>| {
        let c = Case::new("Compress", 11).rand(d, s).rand(Bool, &[condition]);
        if let Some(axis) = axis { c.int("axis", axis) } else { c }
    };
    let mut all: Vec<Case> = NUMBERS.iter().map(|d| case(*d, &[3, 5, 7], 5, Some(1))).collect();
    all.extend([
        case(F32, &[3, 5, 7], 100, None),
        case(F32, &[3, 5, 7], 3, Some(0)),
        case(I64, &[3, 5, 7], 7, Some(-1)),
        case(F32, &[3, 5, 7], 2, Some(-1)),
        case(F32, &[70_000], 70_000, None),
        case(F32, &[0, 3], 3, Some(1)),
        case(F32, &[3], 0, None),
        case(F32, &[1], 1, None),
        Case::new("Compress", 9).rand(F32, &[3, 2]).constant(Tensor::vector(&[false, true, true])).int("axis", 0),
    ]);
    all
}
