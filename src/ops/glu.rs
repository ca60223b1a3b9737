//! Gated linear units: SwiGLU.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::{Elementwise, Emit, Var, arg};
use crate::tensor::Tensor;
use crate::{Result, ensure};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "SwiGLU", versions: &[28], parse, cases }];

/// `a · sigmoid(alpha · a) · b` of equal shapes.
#[derive(Debug)]
struct SwiGlu {
    alpha: f32,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(SwiGlu { alpha: a.float_or("alpha", 1.0)? }))
}

fn same(a: &[usize], b: &[usize]) -> Result<()> {
    ensure!(a == b, InvalidNode, "gate {a:?} and value {b:?} differ in shape");
    Ok(())
}

impl Op for SwiGlu {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        same(cx.shape(0)?, cx.shape(1)?)?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, 1)?);
        same(a.shape(), b.shape())?;
        let alpha = self.alpha as f64;
        let one = |(a, b): (f64, f64)| a / (1.0 + (-alpha * a).exp()) * b;
        let y = a.to_f64s()?.into_iter().zip(b.to_f64s()?).map(one).collect();
        Ok(vec![Tensor::from_f64s(a.dtype(), a.shape(), y)?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for SwiGlu {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let (a, b) = (e.cast(arg(args, 0)?, F32)?, e.cast(arg(args, 1)?, F32)?);
        let gate = e.activation(F32, "swish", &[&a], &[self.alpha])?;
        let y = e.call(F32, "mul", &[&gate, &b])?;
        e.cast(&y, out)
    }
}

fn cases() -> Vec<Case> {
    let case = |d, s: &[usize]| Case::new("SwiGLU", 28).rand(d, s).rand(d, s);
    let mut all: Vec<Case> = [F32, F16, BF16].into_iter().map(|d| case(d, &[3, 37])).collect();
    all.extend([&[][..], &[0, 4], &[2, 3, 2, 2, 3], &[70_001]].map(|s| case(F32, s)));
    all.extend([0.0, -1.0, 1.702].map(|alpha| case(F32, &[5, 7]).float("alpha", alpha)));
    all
}
