//! Functions of one element: Abs, Exp, Relu, Gelu, …, with their attributes as numbers.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::{Elementwise, Emit, Var, arg};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure};

/// One function.
#[derive(Debug)]
pub struct Function {
    domain: &'static str,
    name: &'static str,
    versions: &'static [i64],
    /// Attributes that are numbers, with their defaults.
    numbers: &'static [(&'static str, f32)],
    /// The reference on floats, given the numbers.
    float: fn(f64, &[f64]) -> f64,
    /// The reference on integers, where the specification allows them.
    int: Option<fn(i128) -> i128>,
    wgsl: Wgsl,
    /// Types of the cases.
    types: &'static [DType],
    /// Range of the cases.
    range: (f64, f64),
}

/// How a function is said in WGSL.
#[derive(Debug)]
enum Wgsl {
    /// A function of the type modules.
    Call(&'static str),
    /// Statements, given the argument and the numbers.
    Build(fn(&mut Emit<'_>, &Var, &[f32]) -> Result<Var>),
}
use Wgsl::{Build, Call};

const FLOATS: &[DType] = &[F32, F16, BF16];
const NUMBERS: &[DType] = &[F32, F16, I8, I32, I64];

macro_rules! function {
    ($id:ident, $name:literal, $versions:expr, $float:expr, $wgsl:expr $(, int: $int:expr)? $(, numbers: $n:expr)?
     $(, range: $r:expr)? $(, types: $t:expr)? $(, domain: $d:literal)?) => {
        const $id: Function = Function {
            $(int: Some($int),)? $(numbers: $n,)? $(range: $r,)? $(types: $t,)? $(domain: $d,)?
            ..Function { domain: "", name: $name, versions: $versions, numbers: &[], float: $float, int: None,
                         wgsl: $wgsl, types: FLOATS, range: (-3.0, 3.0) }
        };
    };
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Error function: Taylor series near zero, continued fraction of erfc beyond (Abramowitz and Stegun 7.1.6, 7.1.14).
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    let fraction = (1..=60).rev().fold(a, |f, k| a + k as f64 / 2.0 / f);
    (1.0 - (-x * x).exp() / PI.sqrt() / fraction) * x.signum()
}

fn round_even(x: f64) -> f64 {
    x.round_ties_even()
}

function!(ABS, "Abs", &[1, 6, 13], |x, _| x.abs(), Call("abs"), int: i128::abs, types: NUMBERS);
function!(NEG, "Neg", &[1, 6, 13], |x, _| -x, Call("neg"), int: |x| -x, types: NUMBERS);
function!(SIGN, "Sign", &[9, 13], |x, _| if x.is_nan() || x == 0.0 { x } else { x.signum() }, Call("sign"),
          int: i128::signum, types: NUMBERS);
function!(RECIPROCAL, "Reciprocal", &[1, 6, 13], |x, _| 1.0 / x, Call("recip"));
function!(SQRT, "Sqrt", &[1, 6, 13], |x, _| x.sqrt(), Call("sqrt"), range: (-0.5, 9.0));
function!(EXP, "Exp", &[1, 6, 13], |x, _| x.exp(), Call("exp"));
function!(LOG, "Log", &[1, 6, 13], |x, _| x.ln(), Call("log"), range: (-0.1, 9.0));
function!(SIN, "Sin", &[7, 22], |x, _| x.sin(), Call("sin"), range: (-90.0, 90.0));
function!(COS, "Cos", &[7, 22], |x, _| x.cos(), Call("cos"), range: (-90.0, 90.0));
function!(TAN, "Tan", &[7, 22], |x, _| x.tan(), Call("tan"), range: (-1.4, 1.4));
function!(ASIN, "Asin", &[7, 22], |x, _| x.asin(), Call("asin"), range: (-1.1, 1.1));
function!(ACOS, "Acos", &[7, 22], |x, _| x.acos(), Call("acos"), range: (-1.1, 1.1));
function!(ATAN, "Atan", &[7, 22], |x, _| x.atan(), Call("atan"));
function!(SINH, "Sinh", &[9, 22], |x, _| x.sinh(), Call("sinh"));
function!(COSH, "Cosh", &[9, 22], |x, _| x.cosh(), Call("cosh"));
function!(TANH, "Tanh", &[1, 6, 13], |x, _| x.tanh(), Call("tanh"), range: (-200.0, 200.0));
function!(ASINH, "Asinh", &[9, 22], |x, _| x.asinh(), Call("asinh"));
function!(ACOSH, "Acosh", &[9, 22], |x, _| x.acosh(), Call("acosh"), range: (0.9, 9.0));
function!(ATANH, "Atanh", &[9, 22], |x, _| x.atanh(), Call("atanh"), range: (-1.0, 1.0));
function!(ERF, "Erf", &[9, 13], |x, _| erf(x), Call("erf"));
function!(FLOOR, "Floor", &[1, 6, 13], |x, _| x.floor(), Call("floor"));
function!(CEIL, "Ceil", &[1, 6, 13], |x, _| x.ceil(), Call("ceil"));
function!(ROUND, "Round", &[11, 22], |x, _| round_even(x), Call("round"));
function!(SIGMOID, "Sigmoid", &[1, 6, 13], |x, _| sigmoid(x), Call("sigmoid"), range: (-100.0, 100.0));
function!(SOFTPLUS, "Softplus", &[1, 22], |x, _| softplus(x), Call("softplus"), range: (-100.0, 100.0));
function!(RELU, "Relu", &[1, 6, 13, 14], |x, _| relu(x), Build(|e, x, _| {
    let zero = e.int(x.dtype, 0)?;
    e.call(x.dtype, "max", &[x, &zero])
}), int: |x| x.max(0), types: NUMBERS);
function!(LEAKY_RELU, "LeakyRelu", &[1, 6, 16], |x, n| if x < 0.0 { n[0] * x } else { x }, Build(|e, x, n| {
    let slope = e.float(x.dtype, n[0])?;
    let low = e.call(x.dtype, "mul", &[&slope, x])?;
    below_zero(e, x, &low, x)
}), numbers: &[("alpha", 0.01)]);
function!(ELU, "Elu", &[1, 6, 22], |x, n| if x < 0.0 { n[0] * x.exp_m1() } else { x }, Build(|e, x, n| {
    let alpha = e.float(x.dtype, n[0])?;
    let low = scaled_expm1(e, x, &alpha)?;
    below_zero(e, x, &low, x)
}), numbers: &[("alpha", 1.0)]);
function!(CELU, "Celu", &[12], |x, n| if x < 0.0 { n[0] * (x / n[0]).exp_m1() } else { x }, Build(|e, x, n| {
    let alpha = e.float(x.dtype, n[0])?;
    let ratio = e.call(x.dtype, "div", &[x, &alpha])?;
    let low = scaled_expm1(e, &ratio, &alpha)?;
    below_zero(e, x, &low, x)
}), numbers: &[("alpha", 1.0)]);
function!(SELU, "Selu", &[1, 6, 22], |x, n| n[1] * if x > 0.0 { x } else { n[0] * x.exp_m1() }, Build(|e, x, n| {
    let (alpha, gamma) = (e.float(x.dtype, n[0])?, e.float(x.dtype, n[1])?);
    let low = scaled_expm1(e, x, &alpha)?;
    let y = below_zero(e, x, &low, x)?;
    e.call(x.dtype, "mul", &[&gamma, &y])
}), numbers: &[("alpha", 1.673_263_2), ("gamma", 1.050_701)]);
function!(THRESHOLDED_RELU, "ThresholdedRelu", &[10, 22], |x, n| if x > n[0] { x } else { 0.0 }, Build(|e, x, n| {
    let (alpha, zero) = (e.float(x.dtype, n[0])?, e.int(x.dtype, 0)?);
    let above = e.test(x.dtype, "gt", &[x, &alpha])?;
    Ok(e.select(&above, x, &zero))
}), numbers: &[("alpha", 1.0)]);
function!(HARD_SIGMOID, "HardSigmoid", &[1, 6, 22], |x, n| (n[0] * x + n[1]).clamp(0.0, 1.0), Build(|e, x, n| {
    hard_sigmoid(e, x, n[0], n[1])
}), numbers: &[("alpha", 0.2), ("beta", 0.5)]);
function!(
    HARD_SWISH,
    "HardSwish",
    &[14, 22],
    |x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
    Build(|e, x, _| {
        // near -3 the sum is exact
        let (three, sixth) = (e.float(x.dtype, 3.0)?, e.float(x.dtype, 1.0 / 6.0)?);
        let sum = e.call(x.dtype, "add", &[x, &three])?;
        let ramp = e.call(x.dtype, "mul", &[&sum, &sixth])?;
        let gate = between_0_and_1(e, &ramp)?;
        e.call(x.dtype, "mul", &[x, &gate])
    })
);
function!(
    SOFTSIGN,
    "Softsign",
    &[1, 22],
    |x, _| x / (1.0 + x.abs()),
    Build(|e, x, _| {
        let (one, size) = (e.int(x.dtype, 1)?, e.call(x.dtype, "abs", &[x])?);
        let below = e.call(x.dtype, "add", &[&one, &size])?;
        e.call(x.dtype, "div", &[x, &below])
    })
);
function!(
    MISH,
    "Mish",
    &[18, 22],
    |x, _| x * softplus(x).tanh(),
    Build(|e, x, _| {
        let s = e.call(x.dtype, "softplus", &[x])?;
        let t = e.call(x.dtype, "tanh", &[&s])?;
        e.call(x.dtype, "mul", &[x, &t])
    })
);
function!(SWISH, "Swish", &[24], |x, n| x * sigmoid(n[0] * x), Build(|e, x, n| silu(e, x, n[0])),
          numbers: &[("alpha", 1.0)]);
function!(QUICK_GELU, "QuickGelu", &[1], |x, n| x * sigmoid(n[0] * x), Build(|e, x, n| silu(e, x, n[0])),
          numbers: &[("alpha", 1.702)], domain: "com.microsoft");
function!(GELU, "Gelu", &[20], |x, _| gelu(x), Build(|e, x, _| emit_gelu(e, x)));
function!(GELU_TANH, "Gelu", &[20], |x, _| gelu_tanh(x), Build(|e, x, _| emit_gelu_tanh(e, x)));
function!(MS_GELU, "Gelu", &[1], |x, _| gelu(x), Build(|e, x, _| emit_gelu(e, x)), domain: "com.microsoft");
function!(SHRINK, "Shrink", &[9], |x, n| {
    if x < -n[1] { x + n[0] } else if x > n[1] { x - n[0] } else { 0.0 }
}, Build(|e, x, n| {
    let (bias, lambd, zero) = (e.float(x.dtype, n[0])?, e.float(x.dtype, n[1])?, e.int(x.dtype, 0)?);
    let low = e.float(x.dtype, -n[1])?;
    let (up, down) = (e.call(x.dtype, "add", &[x, &bias])?, e.call(x.dtype, "sub", &[x, &bias])?);
    let (is_low, is_high) = (e.test(x.dtype, "lt", &[x, &low])?, e.test(x.dtype, "gt", &[x, &lambd])?);
    let high = e.select(&is_high, &down, &zero);
    Ok(e.select(&is_low, &up, &high))
}), numbers: &[("bias", 0.0), ("lambd", 0.5)]);

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

pub(super) fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// `low` where `x < 0`, else `high`.
fn below_zero(e: &mut Emit<'_>, x: &Var, low: &Var, high: &Var) -> Result<Var> {
    let zero = e.int(x.dtype, 0)?;
    let negative = e.test(x.dtype, "lt", &[x, &zero])?;
    Ok(e.select(&negative, low, high))
}

fn scaled_expm1(e: &mut Emit<'_>, x: &Var, scale: &Var) -> Result<Var> {
    let y = e.call(x.dtype, "expm1", &[x])?;
    e.call(x.dtype, "mul", &[scale, &y])
}

fn hard_sigmoid(e: &mut Emit<'_>, x: &Var, alpha: f32, beta: f32) -> Result<Var> {
    let (alpha, beta) = (e.float(x.dtype, alpha)?, e.float(x.dtype, beta)?);
    let y = e.call(x.dtype, "mul", &[&alpha, x])?;
    let y = e.call(x.dtype, "add", &[&y, &beta])?;
    between_0_and_1(e, &y)
}

fn between_0_and_1(e: &mut Emit<'_>, x: &Var) -> Result<Var> {
    let (zero, one) = (e.int(x.dtype, 0)?, e.int(x.dtype, 1)?);
    let y = e.call(x.dtype, "max", &[x, &zero])?;
    e.call(x.dtype, "min", &[&y, &one])
}

fn silu(e: &mut Emit<'_>, x: &Var, alpha: f32) -> Result<Var> {
    let alpha = e.float(x.dtype, alpha)?;
    let y = e.call(x.dtype, "mul", &[&alpha, x])?;
    let y = e.call(x.dtype, "sigmoid", &[&y])?;
    e.call(x.dtype, "mul", &[x, &y])
}

pub(super) fn emit_gelu(e: &mut Emit<'_>, x: &Var) -> Result<Var> {
    let half = e.float(x.dtype, 0.5)?;
    // 1 + erf(x / √2) is erfc(-x / √2)
    let scale = e.float(x.dtype, -FRAC_1_SQRT_2 as f32)?;
    let y = e.call(x.dtype, "mul", &[x, &scale])?;
    let y = e.call(x.dtype, "erfc", &[&y])?;
    let h = e.call(x.dtype, "mul", &[&half, x])?;
    e.call(x.dtype, "mul", &[&h, &y])
}

pub(super) fn emit_gelu_tanh(e: &mut Emit<'_>, x: &Var) -> Result<Var> {
    // (1 + tanh(u)) / 2 is sigmoid(2 u)
    let (cubic, scale) = (e.float(x.dtype, 0.044715)?, e.float(x.dtype, 2.0 * (2.0 / PI).sqrt() as f32)?);
    let y = e.call(x.dtype, "mul", &[x, x])?;
    let y = e.call(x.dtype, "mul", &[&y, x])?;
    let y = e.call(x.dtype, "mul", &[&cubic, &y])?;
    let y = e.call(x.dtype, "add", &[x, &y])?;
    let y = e.call(x.dtype, "mul", &[&scale, &y])?;
    let y = e.call(x.dtype, "sigmoid", &[&y])?;
    e.call(x.dtype, "mul", &[x, &y])
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &{
    macro_rules! rows {
        ($($f:ident),*) => { [$(OpDef {
            domain: $f.domain,
            name: $f.name,
            versions: $f.versions,
            parse: |a, n| { static F: Function = $f; parse(&F, a, n) },
            cases: || { static F: Function = $f; cases(&F) },
        }),*] };
    }
    rows![
        ABS,
        NEG,
        SIGN,
        RECIPROCAL,
        SQRT,
        EXP,
        LOG,
        SIN,
        COS,
        TAN,
        ASIN,
        ACOS,
        ATAN,
        SINH,
        COSH,
        TANH,
        ASINH,
        ACOSH,
        ATANH,
        ERF,
        FLOOR,
        CEIL,
        ROUND,
        SIGMOID,
        SOFTPLUS,
        RELU,
        LEAKY_RELU,
        ELU,
        CELU,
        SELU,
        THRESHOLDED_RELU,
        HARD_SIGMOID,
        HARD_SWISH,
        SOFTSIGN,
        MISH,
        SWISH,
        QUICK_GELU,
        GELU,
        MS_GELU,
        SHRINK
    ]
};

#[derive(Debug)]
struct Unary {
    function: &'static Function,
    numbers: Vec<f32>,
}

fn parse(mut function: &'static Function, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version < 6 {
        // an optimisation hint of the first opsets, without effect
        a.ignore("consumed_inputs");
    }
    if function.name == "Gelu" && function.domain.is_empty() {
        static TANH: Function = GELU_TANH;
        match a.string_or("approximate", "none".into())?.as_str() {
            "none" => {}
            "tanh" => function = &TANH,
            other => bail!(InvalidNode, "attribute approximate: expected none or tanh, got {other:?}"),
        }
    }
    let numbers = function.numbers.iter().map(|(name, d)| a.float_or(name, *d)).collect::<Result<_>>()?;
    Ok(Arc::new(Unary { function, numbers }))
}

fn cases(f: &'static Function) -> Vec<Case> {
    let opset = f.versions.last().copied().unwrap_or(1).max(if f.domain.is_empty() { 13 } else { 1 });
    let (low, high) = f.range;
    // the terms of its ramp cancel where it begins
    let terms = if f.name == "HardSigmoid" { 2 } else { 1 };
    let case = |d: DType, s: &[usize]| Case::new(f.name, opset).domain(f.domain).range(d, s, low, high).sum(terms);
    let mut all: Vec<Case> = f.types.iter().map(|d| case(*d, &[2, 3, 37])).collect();
    all.extend([case(F32, &[]), case(F32, &[0, 3]), case(F32, &[1, 1, 2, 1, 1, 5])]);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, 1e30, -1e30, 1e-30];
    if f.types.contains(&F32) && !matches!(f.name, "Sin" | "Cos" | "Tan") {
        all.push(Case::new(f.name, opset).domain(f.domain).value(Tensor::vector(&odd)));
    }
    if f.name == "Gelu" && f.domain.is_empty() {
        all.push(case(F32, &[65]).string("approximate", "tanh"));
    }
    if let Some((name, d)) = f.numbers.first() {
        all.push(case(F32, &[65]).float(name, d * 1.5 + 0.25));
        if f.types.contains(&F16) {
            // the number, once rounded, is the element
            let x = Tensor::vector(&[half::f16::from_f32(2.210_937_5)]);
            all.push(Case::new(f.name, opset).domain(f.domain).value(x).float(name, 2.210_655_5));
        }
    }
    all
}

impl Op for Unary {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let t = cx.input(0)?;
        one(t.dtype, t.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (d, s) = (x.dtype(), x.shape());
        let (f, n) = (self.function, self.numbers_of(d)?);
        let y = match f.int {
            _ if d.is_float() => Tensor::from_f64s(d, s, x.to_f64s()?.into_iter().map(|x| (f.float)(x, &n)).collect()),
            Some(int) if d.is_int() => Tensor::from_i128s(d, s, x.to_i128s()?.into_iter().map(int).collect()),
            // Shrink alone has float attributes and integer inputs
            None if f.name == "Shrink" && d.is_int() => {
                Tensor::from_f64s(d, s, x.to_f64s()?.into_iter().map(|x| (f.float)(x, &n)).collect())
            }
            _ => bail!(Unsupported, "{} of {d}", f.name),
        };
        Ok(vec![y?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }

    fn tolerance(&self, dtype: DType, _: usize) -> super::Tolerance {
        // a handful of roundings; arguments near a pole or a zero crossing magnify the argument's own rounding
        super::Tolerance::ulps(dtype, 16.0)
    }
}

impl Elementwise for Unary {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let x = arg(args, 0)?;
        let ok = out.is_float() || self.function.int.is_some() || self.function.name == "Shrink";
        ensure!(ok, Unsupported, "{} of {out}", self.function.name);
        match self.function.wgsl {
            Call(name) => e.call(out, name, &[x]),
            Build(_) if self.function.name == "Shrink" && out.is_int() => {
                let wide = e.cast(x, F32)?;
                let y = self.build(e, &wide)?;
                e.cast(&y, out)
            }
            Build(_) => self.build(e, x),
        }
    }
}

impl Unary {
    fn build(&self, e: &mut Emit<'_>, x: &Var) -> Result<Var> {
        match self.function.wgsl {
            Call(name) => e.call(x.dtype, name, &[x]),
            Build(f) => {
                let numbers: Vec<f32> = self.numbers_of(x.dtype)?.into_iter().map(|n| n as f32).collect();
                f(e, x, &numbers)
            }
        }
    }

    /// The attributes as numbers of the operand's type, as the operators' function bodies have it: also where a device
    /// holds that type in a wider one.
    fn numbers_of(&self, d: DType) -> Result<Vec<f64>> {
        let n = self.numbers.iter().map(|n| f64::from(*n)).collect();
        if d.is_float() { Tensor::from_f64s(d, [self.numbers.len()], n)?.to_f64s() } else { Ok(n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_matches_known_values() {
        for (x, want) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (-1.0, -0.842_700_792_949_714_9),
        ] {
            assert!((erf(x) - want).abs() < 1e-15, "erf({x}) = {}", erf(x));
        }
    }
}
