//! Comparisons, logical and bitwise operators with NumPy broadcasting; tests and negations of one element.

use std::sync::Arc;

use super::eval::{Elements, broadcast, need, zip};
use super::infer::one;
use super::{Case, InferCx, Inferred, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::kernels::elementwise::{Elementwise, Emit, Var, arg};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Equal,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Xor,
    Not,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    BitwiseNot,
    IsNaN,
    IsInf { negative: bool, positive: bool },
}
use Kind::*;

const fn row(name: &'static str, versions: &'static [i64], parse: super::Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row(
        "Equal",
        &[7, 11, 13, 19],
        |_, _| op(Equal),
        || compare_cases("Equal", &[F32, F16, Bool, I8, U8, I32, I64, U64]),
    ),
    row("Greater", &[7, 9, 13], |_, _| op(Greater), || compare_cases("Greater", NUMBERS)),
    row("Less", &[7, 9, 13], |_, _| op(Less), || compare_cases("Less", NUMBERS)),
    row("GreaterOrEqual", &[12, 16], |_, _| op(GreaterOrEqual), || compare_cases("GreaterOrEqual", NUMBERS)),
    row("LessOrEqual", &[12, 16], |_, _| op(LessOrEqual), || compare_cases("LessOrEqual", NUMBERS)),
    row("And", &[7], |_, _| op(And), || bit_cases("And", &[Bool])),
    row("Or", &[7], |_, _| op(Or), || bit_cases("Or", &[Bool])),
    row("Xor", &[7], |_, _| op(Xor), || bit_cases("Xor", &[Bool])),
    row("Not", &[1], |_, _| op(Not), || vec![Case::new("Not", 13).rand(Bool, &[3, 41])]),
    row("BitwiseAnd", &[18], |_, _| op(BitwiseAnd), || bit_cases("BitwiseAnd", INTEGERS)),
    row("BitwiseOr", &[18], |_, _| op(BitwiseOr), || bit_cases("BitwiseOr", INTEGERS)),
    row("BitwiseXor", &[18], |_, _| op(BitwiseXor), || bit_cases("BitwiseXor", INTEGERS)),
    row(
        "BitwiseNot",
        &[18],
        |_, _| op(BitwiseNot),
        || INTEGERS.iter().map(|d| Case::new("BitwiseNot", 18).rand(*d, &[3, 41])).collect(),
    ),
    row("IsNaN", &[9, 13, 20], |_, _| op(IsNaN), || odd_cases("IsNaN")),
    row(
        "IsInf",
        &[10, 20],
        |a, _| {
            let (negative, positive) = (a.flag_or("detect_negative", true)?, a.flag_or("detect_positive", true)?);
            op(IsInf { negative, positive })
        },
        || {
            let mut all = odd_cases("IsInf");
            all.extend(odd_cases("IsInf").into_iter().map(|c| c.int("detect_negative", 0)));
            all.extend(odd_cases("IsInf").into_iter().map(|c| c.int("detect_positive", 0)));
            all
        },
    ),
];

const NUMBERS: &[DType] = &[F32, F16, I8, U8, I16, I32, U32, I64, U64];
const INTEGERS: &[DType] = &[I8, U8, I16, U16, I32, U32, I64, U64];

#[derive(Debug)]
struct Logic(Kind);

fn op(kind: Kind) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Logic(kind)))
}

fn compare_cases(name: &'static str, types: &[DType]) -> Vec<Case> {
    let few = |c: Case, d: DType, s: &[usize]| if d == Bool { c.rand(d, s) } else { c.range(d, s, 0.0, 4.0) };
    let opset = 16;
    let mut all: Vec<Case> = types.iter().map(|d| few(few(Case::new(name, opset), *d, &[3, 41]), *d, &[41])).collect();
    let odd = Tensor::vector(&[f32::NAN, f32::NAN, f32::INFINITY, 0.0, -0.0, f32::NEG_INFINITY]);
    let even = Tensor::vector(&[f32::NAN, 1.0, f32::INFINITY, -0.0, 1e-30, f32::INFINITY]);
    all.push(Case::new(name, opset).value(odd).value(even));
    all.push(Case::new(name, opset).rand(F32, &[0, 2]).rand(F32, &[2]));
    let big = Tensor::vector(&[i64::MAX, i64::MIN, -1, 1 << 40]);
    let other = Tensor::vector(&[i64::MIN, i64::MIN, 0, (1 << 40) + 1]);
    all.push(Case::new(name, opset).value(big).value(other));
    all
}

fn bit_cases(name: &'static str, types: &[DType]) -> Vec<Case> {
    types.iter().map(|d| Case::new(name, 18).rand(*d, &[3, 1, 41]).rand(*d, &[2, 41])).collect()
}

fn odd_cases(name: &'static str) -> Vec<Case> {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, -1.0, f32::MAX];
    let wide: Vec<f64> = values.iter().map(|x| *x as f64).collect();
    let half = Tensor::from_f64s(F16, [7], wide).unwrap_or_else(|_| Tensor::zeros(F16, [7]));
    vec![Case::new(name, 20).value(Tensor::vector(&values)), Case::new(name, 20).value(half)]
}

impl Logic {
    fn is_unary(&self) -> bool {
        matches!(self.0, Not | BitwiseNot | IsNaN | IsInf { .. })
    }

    fn output(&self, input: DType) -> DType {
        if matches!(self.0, BitwiseAnd | BitwiseOr | BitwiseXor | BitwiseNot) { input } else { Bool }
    }

    fn eval_one(&self, x: &Tensor) -> Result<Tensor> {
        let (d, s) = (x.dtype(), x.shape());
        match (self.0, broadcast(x, s)?) {
            (Not, Elements::Int(v)) => Tensor::from_i128s(Bool, s, v.into_iter().map(|x| (x == 0) as i128).collect()),
            (BitwiseNot, Elements::Int(v)) => Tensor::from_i128s(d, s, v.into_iter().map(|x| !x).collect()),
            (IsNaN, Elements::Float(v)) => Tensor::new(s, v.into_iter().map(f64::is_nan).collect()),
            (IsInf { negative, positive }, Elements::Float(v)) => {
                let test = |x: f64| (positive && x == f64::INFINITY) || (negative && x == f64::NEG_INFINITY);
                Tensor::new(s, v.into_iter().map(test).collect())
            }
            _ => bail!(Unsupported, "{:?} of {d}", self.0),
        }
    }
}

impl Op for Logic {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(0)?;
        if self.is_unary() {
            return one(self.output(d), cx.shape(0)?);
        }
        let other = cx.dtype(1)?;
        if d != other {
            return Err(err!(InvalidNode, "element types {d} and {other} differ").into());
        }
        one(self.output(d), shape::broadcast(&[cx.shape(0)?, cx.shape(1)?])?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let a = need(inputs, 0)?;
        if self.is_unary() {
            return Ok(vec![self.eval_one(a)?]);
        }
        let b = need(inputs, 1)?;
        ensure!(a.dtype() == b.dtype(), InvalidNode, "element types {} and {} differ", a.dtype(), b.dtype());
        let out = self.output(a.dtype());
        if let (Equal, Ok(x), Ok(y)) = (self.0, a.strings(), b.strings()) {
            let s = shape::broadcast(&[a.shape(), b.shape()])?;
            let (i, j) = (shape::broadcast_indices(a.shape(), &s), shape::broadcast_indices(b.shape(), &s));
            return Ok(vec![Tensor::new(s, i.into_iter().zip(j).map(|(i, j)| x[i] == y[j]).collect())?]);
        }
        type Function<'a, T> = Option<&'a dyn Fn(T, T) -> T>;
        let (float, int): (Function<'_, f64>, Function<'_, i128>) = match self.0 {
            Equal => (Some(&|a, b| (a == b) as u8 as f64), Some(&|a, b| (a == b) as i128)),
            Greater => (Some(&|a, b| (a > b) as u8 as f64), Some(&|a, b| (a > b) as i128)),
            Less => (Some(&|a, b| (a < b) as u8 as f64), Some(&|a, b| (a < b) as i128)),
            GreaterOrEqual => (Some(&|a, b| (a >= b) as u8 as f64), Some(&|a, b| (a >= b) as i128)),
            LessOrEqual => (Some(&|a, b| (a <= b) as u8 as f64), Some(&|a, b| (a <= b) as i128)),
            And | BitwiseAnd => (None, Some(&|a, b| a & b)),
            Or | BitwiseOr => (None, Some(&|a, b| a | b)),
            Xor | BitwiseXor => (None, Some(&|a, b| a ^ b)),
            _ => (None, None),
        };
        Ok(vec![zip(a, b, out, float, int)?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for Logic {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], _: DType) -> Result<Var> {
        let a = arg(args, 0)?;
        let d = a.dtype;
        let b = || arg(args, 1);
        match self.0 {
            Equal => e.test(d, "eq", &[a, b()?]),
            Greater => e.test(d, "gt", &[a, b()?]),
            Less => e.test(d, "lt", &[a, b()?]),
            GreaterOrEqual => e.test(d, "ge", &[a, b()?]),
            LessOrEqual => e.test(d, "le", &[a, b()?]),
            And | BitwiseAnd => e.call(d, "and", &[a, b()?]),
            Or | BitwiseOr => e.call(d, "or", &[a, b()?]),
            Xor | BitwiseXor => e.call(d, "xor", &[a, b()?]),
            Not | BitwiseNot => e.call(d, "not", &[a]),
            IsNaN => e.test(d, "is_nan", &[a]),
            IsInf { negative, positive } => {
                let (zero, inf) = (e.int(d, 0)?, e.test(d, "is_inf", &[a])?);
                let (above, below) = (e.test(d, "gt", &[a, &zero])?, e.test(d, "lt", &[a, &zero])?);
                let sides = match (negative, positive) {
                    (true, true) => return Ok(inf),
                    (true, false) => below,
                    (false, true) => above,
                    (false, false) => e.int(Bool, 0)?,
                };
                e.call(Bool, "and", &[&inf, &sides])
            }
        }
    }
}
