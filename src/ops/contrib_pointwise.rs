//! Functions of single quantised elements of com.microsoft: QLinearAdd, QLinearMul, QLinearWhere, QLinearSigmoid,
//! QLinearLeakyRelu.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::quant::{apply, emit_quantized, emit_shifted, quantized};
use super::{Case, InferCx, Inferred, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, Bool, F32, I8, U8};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "com.microsoft",
        name: "QLinearAdd",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(Pointwise(Function::Add))),
        cases: || cases("QLinearAdd", 2),
    },
    OpDef {
        domain: "com.microsoft",
        name: "QLinearMul",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(Pointwise(Function::Mul))),
        cases: || cases("QLinearMul", 2),
    },
    OpDef {
        domain: "com.microsoft",
        name: "QLinearWhere",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(Pointwise(Function::Where))),
        cases: where_cases,
    },
    OpDef {
        domain: "com.microsoft",
        name: "QLinearSigmoid",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(Pointwise(Function::Sigmoid))),
        cases: || cases("QLinearSigmoid", 1),
    },
    OpDef {
        domain: "com.microsoft",
        name: "QLinearLeakyRelu",
        versions: &[1],
        parse: |a, _| Ok(Arc::new(Pointwise(Function::LeakyRelu(a.float_or("alpha", 0.01)?)))),
        cases: || cases("QLinearLeakyRelu", 1).into_iter().map(|c| c.float("alpha", 0.3)).collect(),
    },
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Add,
    Mul,
    Where,
    Sigmoid,
    LeakyRelu(f32),
}

/// A function of quantised tensors, each followed by its scale and zero point; those of the result come last.
#[derive(Debug)]
struct Pointwise(Function);

impl Pointwise {
    /// The places of the tensors.
    fn tensors(&self) -> &'static [usize] {
        match self.0 {
            Function::Add | Function::Mul => &[0, 3],
            Function::Where => &[1, 4],
            Function::Sigmoid | Function::LeakyRelu(_) => &[0],
        }
    }

    /// The place of the result's scale.
    fn target(&self) -> usize {
        self.tensors().iter().max().map_or(0, |t| t + 3)
    }

    fn shape(&self, of: &dyn Fn(usize) -> Option<Vec<usize>>) -> Result<Vec<usize>> {
        let mut shapes = vec![];
        for t in self.tensors() {
            shapes.push(of(*t).ok_or_else(|| err!(InvalidNode, "input {t} is missing"))?);
        }
        if self.0 == Function::Where {
            shapes.push(of(0).ok_or_else(|| err!(InvalidNode, "input 0 is missing"))?);
        }
        for p in self.tensors().iter().map(|t| t + 1).chain([self.target()]) {
            for (i, needed) in [(p, true), (p + 1, false)] {
                let s = of(i);
                let single = s.as_ref().map_or(!needed, |s| s.len() <= 1 && shape::numel(s) == 1);
                ensure!(single, InvalidNode, "expected input {i} of one element, got {s:?}");
            }
        }
        shape::broadcast(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The result before it is rounded, and whether the zero point is added before that. `x` are elements less their
    /// zero points.
    fn value(&self, x: &[f32], s: &[f32], to: f32, zero: f32, first: bool) -> (f32, bool) {
        match self.0 {
            Function::Add => ((s[0] / to) * x[0] + (s[1] / to) * x[1] + zero, true),
            Function::Mul => (x[0] * x[1] * (s[0] * s[1] / to) + zero, true),
            Function::Where => (if first { x[0] * s[0] } else { x[1] * s[1] } / to, false),
            Function::Sigmoid => ((1.0 / (1.0 + (-(x[0] * s[0]) as f64).exp())) as f32 / to, false),
            Function::LeakyRelu(alpha) => {
                let v = x[0] * s[0];
                (if v < 0.0 { alpha * v } else { v } / to, false)
            }
        }
    }

    /// One tensor, at `t`, brought to the result's range.
    fn lower_single(&self, cx: &mut LowerCx<'_>, t: usize, out: &View) -> Result<()> {
        let (to, x) = (self.target(), cx.input(t)?);
        let mut views = vec![x];
        for i in [t + 1, to, t + 2, to + 1] {
            views.push(parameter(cx, i, out)?);
        }
        apply(cx, &views, out, |e, x| {
            let shifted = emit_shifted(e, &x[0], Some(&x[3]))?;
            let wide = e.cast(&shifted, F32)?;
            let v = e.call(F32, "mul", &[&wide, &x[1]])?;
            let y = match self.0 {
                Function::Sigmoid => e.call(F32, "sigmoid", &[&v])?,
                Function::LeakyRelu(alpha) => e.activation(F32, "leaky_relu", &[&v], &[alpha])?,
                _ => v,
            };
            let q = e.call(F32, "quotient", &[&y, &x[2]])?;
            emit_quantized(e, &q, Some(&x[4]), out.dtype, true)
        })
    }

    /// Two tensors: their scales become factors first, lest one dispatch bind too many buffers.
    fn lower_pair(&self, cx: &mut LowerCx<'_>, out: &View) -> Result<()> {
        let [a, b] = [cx.input(0)?, cx.input(3)?].map(|v| v.broadcast(&out.shape));
        let to = self.target();
        let mut scales = vec![];
        for i in [1, 4, to] {
            scales.push(parameter(cx, i, out)?);
        }
        let known: Option<Vec<f32>> =
            [1, 4, to].iter().map(|i| cx.value(*i)?.to_f32s().ok()?.first().copied()).collect();
        let add = self.0 == Function::Add;
        let mut factors = vec![];
        if let Some(&[a, b, to]) = known.as_deref() {
            let values = if add { vec![a / to, b / to] } else { vec![a * b / to] };
            for v in values {
                factors.push(cx.constant(Tensor::scalar(v))?);
            }
        } else {
            for i in 0..if add { 2 } else { 1 } {
                let factor = cx.temp(F32, &[])?;
                let single = |v: &View| View { shape: vec![], strides: vec![], ..v.clone() };
                let parts: Vec<View> = if add { vec![&scales[i], &scales[2]] } else { scales.iter().collect() }
                    .into_iter()
                    .map(single)
                    .collect();
                apply(cx, &parts, &factor, |e, x| match x {
                    [a, b, to] => {
                        let both = e.call(F32, "mul", &[a, b])?;
                        e.call(F32, "quotient", &[&both, to])
                    }
                    _ => e.call(F32, "quotient", &[&x[0], &x[1]]),
                })?;
                factors.push(factor);
            }
        }
        let mut views = vec![a, parameter(cx, 2, out)?, b, parameter(cx, 5, out)?, parameter(cx, to + 1, out)?];
        views.extend(factors.iter().map(|f| f.broadcast(&out.shape)));
        apply(cx, &views, out, |e, x| {
            let (a, b) = (emit_shifted(e, &x[0], Some(&x[1]))?, emit_shifted(e, &x[2], Some(&x[3]))?);
            let (a, b, zero) = (e.cast(&a, F32)?, e.cast(&b, F32)?, e.cast(&x[4], F32)?);
            let sum = if add {
                let (a, b) = (e.call(F32, "mul", &[&x[5], &a])?, e.call(F32, "mul", &[&x[6], &b])?);
                e.call(F32, "add", &[&a, &b])?
            } else {
                let product = e.call(F32, "mul", &[&a, &b])?;
                e.call(F32, "mul", &[&product, &x[5]])?
            };
            // rounded after the zero point is added, which decides about halves
            let q = e.call(F32, "add", &[&sum, &zero])?;
            emit_quantized(e, &q, None, out.dtype, true)
        })
    }
}

/// The one element of input `i`, or a 0 of the result's type where it is left out, under the result's shape.
fn parameter(cx: &mut LowerCx<'_>, i: usize, out: &View) -> Result<View> {
    let v = match cx.try_input(i)? {
        Some(v) => v,
        None => cx.constant(Tensor::zeros(out.dtype, []))?,
    };
    let v = v.reshaped(&[]).ok_or_else(|| err!(Internal, "{:?} is not one element", v.shape))?;
    Ok(v.broadcast(&out.shape))
}

impl Op for Pointwise {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(self.tensors()[0])?;
        let zeros = self.tensors().iter().map(|t| t + 2).chain([self.target() + 1]);
        for i in self.tensors().iter().copied().chain(zeros) {
            if cx.try_input(i).is_some_and(|t| t.dtype != d) || !matches!(d, I8 | U8) {
                return Err(err!(InvalidNode, "input {i}: expected one 8-bit type, got {:?}", cx.try_input(i)).into());
            }
        }
        if self.0 == Function::Where && cx.dtype(0)? != Bool {
            return Err(err!(InvalidNode, "a condition of {}", cx.dtype(0)?).into());
        }
        one(d, self.shape(&|i| cx.try_input(i).map(|t| t.shape.clone()))?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let s = self.shape(&|i| opt(inputs, i).map(|t| t.shape().to_vec()))?;
        let d = need(inputs, self.tensors()[0])?.dtype();
        let number = |i: usize| opt(inputs, i).map_or(Ok(0.0), |t| Ok(t.to_f32s()?[0]));
        let (mut elements, mut scales) = (vec![], vec![]);
        for t in self.tensors() {
            let (x, zero) = (need(inputs, *t)?, number(t + 2)?);
            let values = x.to_f32s()?;
            let at = shape::broadcast_indices(x.shape(), &s);
            elements.push(at.into_iter().map(|i| values[i] - zero).collect::<Vec<f32>>());
            scales.push(number(t + 1)?);
        }
        let condition = match (self.0, opt(inputs, 0)) {
            (Function::Where, Some(c)) => {
                let values = c.to_i128s()?;
                shape::broadcast_indices(c.shape(), &s).into_iter().map(|i| values[i] != 0).collect()
            }
            _ => vec![true; shape::numel(&s)],
        };
        let (to, zero) = (number(self.target())?, number(self.target() + 1)?);
        let of = |i: usize| {
            let x: Vec<f32> = elements.iter().map(|e| e[i]).collect();
            let (v, shifted) = self.value(&x, &scales, to, zero, condition[i]);
            quantized(d, v as f64, if shifted { 0.0 } else { zero as f64 })
        };
        Ok(vec![Tensor::from_f64s(d, s.clone(), (0..shape::numel(&s)).map(of).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        match self.0 {
            Function::Add | Function::Mul => self.lower_pair(cx, &out),
            Function::Where => {
                let mut parts = vec![cx.input(0)?.broadcast(&out.shape)];
                for t in self.tensors() {
                    let x = cx.input(*t)?;
                    let y = cx.temp(out.dtype, &x.shape)?;
                    self.lower_single(cx, *t, &y)?;
                    parts.push(y.broadcast(&out.shape));
                }
                apply(cx, &parts, &out, |e, x| Ok(e.select(&x[0], &x[1], &x[2])))
            }
            Function::Sigmoid | Function::LeakyRelu(_) => self.lower_single(cx, 0, &out),
        }
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        match self.0 {
            // what lies on the border between two integers falls to either side
            Function::Sigmoid => Tolerance { rel: 0.0, abs: 1.0 },
            _ => Tolerance::EXACT,
        }
    }
}

fn parameters(case: Case, d: DType, scale: f64) -> Case {
    case.range(F32, &[], scale, scale * 2.0).rand(d, &[])
}

fn cases(name: &'static str, operands: usize) -> Vec<Case> {
    let mut all = vec![];
    for d in [I8, U8] {
        let low = if d == I8 { -128.0 } else { 0.0 };
        for (a, b) in
            [(vec![3, 37], vec![3, 37]), (vec![2, 3, 8], vec![3, 1]), (vec![], vec![5]), (vec![0, 3], vec![3])]
        {
            let mut case = Case::new(name, 1).domain("com.microsoft");
            for s in [a, b].iter().take(operands) {
                case = parameters(case.range(d, s, low, low + 256.0), d, 0.05);
            }
            all.push(parameters(case, d, if operands == 1 { 0.01 } else { 0.2 }));
        }
    }
    let bare = |case: Case| case.rand(U8, &[7]).range(F32, &[1], 0.05, 0.1).absent();
    let case = (0..operands).fold(Case::new(name, 1).domain("com.microsoft"), |c, _| bare(c));
    all.push(case.range(F32, &[], 0.05, 0.1));
    all
}

fn where_cases() -> Vec<Case> {
    let case = |d: DType, s: [&[usize]; 3]| {
        let c = Case::new("QLinearWhere", 1).domain("com.microsoft").rand(Bool, s[0]);
        let c = parameters(c.rand(d, s[1]), d, 0.05);
        parameters(parameters(c.rand(d, s[2]), d, 0.02), d, 0.05)
    };
    vec![case(I8, [&[3, 37]; 3]), case(U8, [&[3, 1], &[5], &[2, 1, 5]]), case(U8, [&[], &[4], &[]])]
}
