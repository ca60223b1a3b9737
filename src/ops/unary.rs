//! Functions of one element: Relu, Exp, ….

use std::sync::Arc;

use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::{Elementwise, Emit, Var, arg};
use crate::tensor::Tensor;
use crate::{Result, bail, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Relu",
        versions: &[1, 6, 13, 14],
        parse: |a, n| parse(&RELU, a, n),
        cases: || cases(&RELU),
    },
    OpDef { domain: "", name: "Exp", versions: &[1, 6, 13], parse: |a, n| parse(&EXP, a, n), cases: || cases(&EXP) },
];

/// One function: its reference on floats and integers, and its name in the type modules.
#[derive(Debug)]
struct Function {
    name: &'static str,
    wgsl: &'static str,
    float: fn(f64) -> f64,
    int: Option<fn(i128) -> i128>,
}

const RELU: Function =
    Function { name: "Relu", wgsl: "relu", float: |x| if x < 0.0 { 0.0 } else { x }, int: Some(|x| x.max(0)) };
const EXP: Function = Function { name: "Exp", wgsl: "exp", float: f64::exp, int: None };

#[derive(Debug)]
struct Unary(&'static Function);

fn parse(f: &'static Function, _: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Unary(f)))
}

fn cases(f: &'static Function) -> Vec<Case> {
    let types = if f.int.is_some() { vec![F32, F16, I8, I64] } else { vec![F32, F16] };
    types.into_iter().map(|d| Case::new(f.name, 13).rand(d, &[2, 3, 37])).collect()
}

impl Op for Unary {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let t = cx.input(0)?;
        one(t.dtype, t.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = inputs.first().copied().flatten().ok_or_else(|| err!(InvalidNode, "input 0 is missing"))?;
        let (d, s) = (x.dtype(), x.shape());
        let y = match self.0.int {
            _ if d.is_float() => Tensor::from_f64s(d, s, x.to_f64s()?.into_iter().map(self.0.float).collect()),
            Some(f) if d.is_int() => Tensor::from_i128s(d, s, x.to_i128s()?.into_iter().map(f).collect()),
            _ => bail!(Unsupported, "{} of {d}", self.0.name),
        };
        Ok(vec![y?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for Unary {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        if self.0.wgsl == "relu" {
            let zero = e.int(out, 0)?;
            return e.call(out, "max", &[arg(args, 0)?, &zero]);
        }
        e.call(out, self.0.wgsl, &[arg(args, 0)?])
    }
}
