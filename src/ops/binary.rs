//! Arithmetic of two or more tensors with NumPy broadcasting: Add, Mul, Pow, Mod, Max, Sum, PRelu, ….

use std::sync::Arc;

use super::eval::{need, zip};
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::{Elementwise, Emit, Var, arg};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, shape};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    /// `fmod`: the sign of the dividend instead of the divisor's.
    Mod {
        fmod: bool,
    },
    Max,
    Min,
    Sum,
    Mean,
    PRelu,
    /// Left or right.
    BitShift {
        left: bool,
    },
    /// `x + bias`, then Gelu.
    BiasGelu,
    FastGelu,
}
use Kind::*;

const fn row(name: &'static str, versions: &'static [i64], parse: super::Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Add", &[7, 13, 14], |_, _| op(Add), || cases("Add", NUMBERS)),
    row("Sub", &[7, 13, 14], |_, _| op(Sub), || cases("Sub", NUMBERS)),
    row("Mul", &[7, 13, 14], |_, _| op(Mul), || cases("Mul", NUMBERS)),
    row("Div", &[7, 13, 14], |_, _| op(Div), || cases("Div", NUMBERS)),
    row("Pow", &[7, 12, 13, 15], |_, _| op(Pow), pow_cases),
    row("Mod", &[10, 13], |a, _| op(Mod { fmod: a.flag_or("fmod", false)? }), mod_cases),
    row("Max", &[6, 8, 12, 13], |a, n| variadic(Max, a, n), || variadic_cases("Max", NUMBERS)),
    row("Min", &[6, 8, 12, 13], |a, n| variadic(Min, a, n), || variadic_cases("Min", NUMBERS)),
    row("Sum", &[6, 8, 13], |a, n| variadic(Sum, a, n), || variadic_cases("Sum", &[F32, F16])),
    row("Mean", &[6, 8, 13], |a, n| variadic(Mean, a, n), || variadic_cases("Mean", &[F32, F16])),
    row("PRelu", &[7, 9, 16], |_, _| op(PRelu), || cases("PRelu", &[F32, F16, I32, I64])),
    row("BitShift", &[11], parse_shift, shift_cases),
    OpDef {
        domain: "com.microsoft",
        name: "BiasGelu",
        versions: &[1],
        parse: |_, _| op(BiasGelu),
        cases: || vec![Case::new("BiasGelu", 1).domain("com.microsoft").rand(F32, &[2, 5, 8]).rand(F32, &[8])],
    },
    OpDef {
        domain: "com.microsoft",
        name: "FastGelu",
        versions: &[1],
        parse: |_, _| op(FastGelu),
        cases: || {
            vec![
                Case::new("FastGelu", 1).domain("com.microsoft").rand(F32, &[2, 5, 8]).rand(F32, &[8]),
                Case::new("FastGelu", 1).domain("com.microsoft").rand(F32, &[67]),
            ]
        },
    },
];

const NUMBERS: &[DType] = &[F32, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64];

#[derive(Debug)]
struct Arithmetic(Kind);

fn op(kind: Kind) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Arithmetic(kind)))
}

fn variadic(kind: Kind, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version < 8 {
        // an optimisation hint of the first opsets, without effect
        a.ignore("consumed_inputs");
    }
    op(kind)
}

fn parse_shift(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    match a.string_or("direction", "".into())?.as_str() {
        "LEFT" => op(BitShift { left: true }),
        "RIGHT" => op(BitShift { left: false }),
        other => bail!(InvalidNode, "attribute direction: expected LEFT or RIGHT, got {other:?}"),
    }
}

fn cases(name: &'static str, types: &[DType]) -> Vec<Case> {
    let divisor = |c: Case, d: DType, s: &[usize]| match name {
        "Div" | "Mod" if d.is_int() => c.range(d, s, 1.0, 17.0),
        "Div" => c.range(d, s, 0.5, 2.0),
        _ => c.rand(d, s),
    };
    let mut all: Vec<Case> =
        types.iter().map(|d| divisor(Case::new(name, 14).rand(*d, &[3, 5, 7]), *d, &[3, 5, 7])).collect();
    for (a, b) in [
        (&[2, 3, 4][..], &[4][..]),
        (&[2, 3, 4], &[]),
        (&[2, 3, 1], &[2, 1, 4]),
        (&[0, 3], &[1, 3]),
        (&[1], &[1]),
        (&[2, 1, 3, 1, 2, 1], &[2, 1, 4, 1, 3]),
        (&[257, 129], &[257, 1]),
        (&[], &[]),
    ] {
        if name != "PRelu" || shape::broadcast(&[a, b]).is_ok_and(|s| s == a) {
            all.push(divisor(Case::new(name, 14).rand(F32, a), F32, b));
        }
    }
    if name != "PRelu" {
        all.push(divisor(Case::new(name, 14).rand(F32, &[4]), F32, &[2, 3, 4]));
    }
    all
}

fn pow_cases() -> Vec<Case> {
    let mut all = vec![];
    for (x, y) in
        [(F32, F32), (F32, I64), (F32, I32), (F16, F16), (I32, I32), (I64, I64), (I32, F32), (I64, F32), (F32, U8)]
    {
        let base = if x.is_int() { (0.0, 5.0) } else { (0.1, 3.0) };
        let exponent = if y.is_int() { (0.0, 4.0) } else { (-2.0, 3.0) };
        let exponent = if x.is_int() { (0.0, 4.0) } else { exponent };
        all.push(Case::new("Pow", 15).range(x, &[3, 41], base.0, base.1).range(y, &[41], exponent.0, exponent.1));
    }
    let x = Tensor::vector(&[0.0f32, -0.0, 0.0, -2.0, -2.0, -2.0, 1.0, f32::INFINITY, f32::NAN, f32::NAN, 2.0]);
    let y = Tensor::vector(&[0.0f32, 1.0, -1.0, 2.0, 3.0, 0.5, f32::NAN, -1.0, 0.0, 1.0, 1000.0]);
    all.push(Case::new("Pow", 15).value(x).value(y));
    all
}

fn mod_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [I8, U8, I16, U16, I32, U32, I64, U64] {
        all.push(Case::new("Mod", 13).rand(d, &[3, 41]).range(d, &[41], 1.0, 17.0));
    }
    all.push(Case::new("Mod", 13).rand(I32, &[50]).range(I32, &[50], -17.0, -1.0));
    all.push(Case::new("Mod", 13).int("fmod", 1).rand(I64, &[50]).range(I64, &[50], -17.0, -1.0));
    all.push(Case::new("Mod", 13).int("fmod", 1).rand(F32, &[50]).range(F32, &[50], 0.3, 1.7));
    all
}

/// The remainder with the divisor's sign.
fn floored(a: f64, b: f64) -> f64 {
    let r = a % b;
    match r != 0.0 {
        true if (r < 0.0) != (b < 0.0) => r + b,
        true => r,
        false => 0f64.copysign(b),
    }
}

fn shift_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [U8, U16, U32, U64] {
        for direction in ["LEFT", "RIGHT"] {
            let c = Case::new("BitShift", 11).string("direction", direction);
            all.push(c.rand(d, &[3, 41]).range(d, &[41], 0.0, 8.0));
        }
    }
    all
}

fn variadic_cases(name: &'static str, types: &[DType]) -> Vec<Case> {
    let mut all: Vec<Case> = types.iter().map(|d| Case::new(name, 13).rand(*d, &[3, 5]).rand(*d, &[5])).collect();
    all.push(Case::new(name, 13).rand(F32, &[3, 5]));
    all.push(Case::new(name, 13).rand(F32, &[3, 1]).rand(F32, &[1, 5]).rand(F32, &[]));
    let many = (0..11).fold(Case::new(name, 13).sum(11), |c, _| c.rand(F32, &[7, 9]));
    all.push(many);
    let odd = Tensor::vector(&[f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY]);
    all.push(Case::new(name, 13).value(odd).rand(F32, &[4]));
    all
}

impl Arithmetic {
    fn pair(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let out = a.dtype();
        let bits = out.packed_bits() as u32;
        ensure!(a.dtype() == b.dtype() || self.0 == Pow, InvalidNode, "element types {} and {}", a.dtype(), b.dtype());
        let float: Option<&dyn Fn(f64, f64) -> f64> = match self.0 {
            Add | Sum | Mean => Some(&|a, b| a + b),
            Sub => Some(&|a, b| a - b),
            Mul => Some(&|a, b| a * b),
            Div => Some(&|a, b| a / b),
            Pow => Some(&f64::powf),
            Mod { fmod: true } => Some(&|a, b| a % b),
            Mod { fmod: false } => Some(&floored),
            Max => Some(&|a, b| if a.is_nan() || a > b { a } else { b }),
            Min => Some(&|a, b| if a.is_nan() || a < b { a } else { b }),
            PRelu => Some(&|a, b| if a < 0.0 { a * b } else { a }),
            BitShift { .. } => None,
            BiasGelu => {
                Some(&|a, b| 0.5 * (a + b) * (1.0 + super::unary::erf((a + b) * std::f64::consts::FRAC_1_SQRT_2)))
            }
            FastGelu => Some(&|a, b| super::unary::gelu_tanh(a + b)),
        };
        let int: Option<&dyn Fn(i128, i128) -> i128> = match self.0 {
            Add | Sum => Some(&|a, b| a + b),
            Sub => Some(&|a, b| a - b),
            Mul => Some(&|a: i128, b| a.wrapping_mul(b)),
            // as on the device, division by zero gives 0
            Div => Some(&|a: i128, b| a.checked_div(b).unwrap_or(0)),
            Pow => Some(&|a, b| integer_power(a, b)),
            Mod { fmod: true } => Some(&|a: i128, b| a.checked_rem(b).unwrap_or(0)),
            Mod { fmod: false } => Some(&|a: i128, b| if b == 0 { 0 } else { ((a % b) + b) % b }),
            Max => Some(&|a: i128, b| a.max(b)),
            Min => Some(&|a: i128, b| a.min(b)),
            PRelu => Some(&|a, b| if a < 0 { a * b } else { a }),
            BitShift { left: true } => Some(&|a, b| if (0..bits as i128).contains(&b) { a << b } else { 0 }),
            // what is shifted in is the sign
            BitShift { left: false } => Some(&|a, b| a >> if (0..bits as i128).contains(&b) { b } else { 127 }),
            Mean | BiasGelu | FastGelu => None,
        };
        if self.0 == Pow && a.dtype().is_float() != b.dtype().is_float() {
            // computed in the floats, then converted to the base's type
            let wide = |t: &Tensor| Tensor::from_f64s(F64, t.shape(), t.to_f64s()?);
            let y = zip(&wide(a)?, &wide(b)?, F64, float, None)?;
            return Tensor::from_f64s(out, y.shape(), y.to_f64s()?);
        }
        zip(a, b, out, float, int)
    }
}

/// `a` to the power `b` modulo 2¹²⁸; negative powers truncate toward zero.
fn integer_power(a: i128, b: i128) -> i128 {
    match (u32::try_from(b), a) {
        (Ok(b), _) => a.wrapping_pow(b),
        (Err(_), 1) => 1,
        (Err(_), -1) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    }
}

impl Op for Arithmetic {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(0)?;
        let mut shapes = vec![];
        for i in (0..cx.len()).filter(|i| cx.has(*i)) {
            if cx.dtype(i)? != d && self.0 != Pow {
                return Err(crate::err!(InvalidNode, "element types {d} and {} differ", cx.dtype(i)?).into());
            }
            shapes.push(cx.shape(i)?);
        }
        one(d, shape::broadcast(&shapes)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let first = need(inputs, 0)?;
        if self.0 == FastGelu && all.len() == 1 {
            let y = first.to_f64s()?.into_iter().map(super::unary::gelu_tanh).collect();
            return Ok(vec![Tensor::from_f64s(first.dtype(), first.shape(), y)?]);
        }
        if matches!(self.0, Sum | Mean) {
            // one rounding, at the end
            let wide = |t: &Tensor| Tensor::from_f64s(F64, t.shape(), t.to_f64s()?);
            let mut total = wide(first)?;
            for t in &all[1..] {
                total = zip(&total, &wide(t)?, F64, Some(&|a, b| a + b), None)?;
            }
            let n = if self.0 == Mean { all.len() as f64 } else { 1.0 };
            let y = total.to_f64s()?.into_iter().map(|x| x / n).collect();
            return Ok(vec![Tensor::from_f64s(first.dtype(), total.shape(), y)?]);
        }
        let mut y = first.clone();
        for t in &all[1..] {
            y = self.pair(&y, t)?;
        }
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        lower_in_groups(cx, self)
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        Tolerance::ulps(dtype, 8.0)
    }
}

/// More inputs than one dispatch binds are combined in groups; only associative operators have so many.
fn lower_in_groups(cx: &mut LowerCx<'_>, op: &Arithmetic) -> Result<()> {
    use crate::kernels::elementwise::{lower, map};
    let most = cx.profile().max_storage_buffers.min(8) as usize - 1;
    let n = cx.input_count();
    if n <= most {
        return lower(cx, op);
    }
    let out_type = cx.output_type(0)?;
    let profile = cx.profile().clone();
    let mut views = (0..n).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    while !views.is_empty() {
        let last = views.len() <= most;
        let group: Vec<_> = views.drain(..views.len().min(most)).collect();
        let shapes: Vec<&[usize]> = group.iter().map(|v| v.shape.as_slice()).collect();
        let out =
            if last { cx.output_placed(0, |_| true)? } else { cx.temp(out_type.dtype, &shape::broadcast(&shapes)?)? };
        let mut e = Emit::new(&profile);
        let args: Vec<Var> = (0..group.len()).map(|k| Var { name: format!("x{k}"), dtype: out_type.dtype }).collect();
        let mut y = op.fold(&mut e, &args)?;
        if last {
            y = op.finish(&mut e, y, n)?;
        }
        map(cx, &cx.op_label(), e.body(), &y, &group, &out)?;
        if !last {
            views.insert(0, out);
        }
    }
    Ok(())
}

impl Arithmetic {
    fn fold(&self, e: &mut Emit<'_>, args: &[Var]) -> Result<Var> {
        let mut y = arg(args, 0)?.clone();
        for b in &args[1..] {
            y = self.emit_pair(e, &y, b)?;
        }
        Ok(y)
    }

    fn finish(&self, e: &mut Emit<'_>, y: Var, n: usize) -> Result<Var> {
        if self.0 != Mean {
            return Ok(y);
        }
        let count = e.int(y.dtype, n as i64)?;
        e.call(y.dtype, "div", &[&y, &count])
    }

    fn emit_pair(&self, e: &mut Emit<'_>, a: &Var, b: &Var) -> Result<Var> {
        let d = a.dtype;
        let name = match self.0 {
            Add | Sum | Mean => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Mod { fmod: true } => "rem",
            Mod { fmod: false } => "modulo",
            Max => "max",
            Min => "min",
            BitShift { left: true } => "shl",
            BitShift { left: false } => "shr",
            Pow => return emit_pow(e, a, b),
            PRelu => {
                let zero = e.int(d, 0)?;
                let (low, negative) = (e.call(d, "mul", &[a, b])?, e.test(d, "lt", &[a, &zero])?);
                return Ok(e.select(&negative, &low, a));
            }
            BiasGelu => {
                let x = e.call(d, "add", &[a, b])?;
                return super::unary::emit_gelu(e, &x);
            }
            FastGelu => {
                let x = e.call(d, "add", &[a, b])?;
                return super::unary::emit_gelu_tanh(e, &x);
            }
        };
        e.call(d, name, &[a, b])
    }
}

fn emit_pow(e: &mut Emit<'_>, a: &Var, b: &Var) -> Result<Var> {
    let out = a.dtype;
    if out == b.dtype {
        return e.call(out, "pow", &[a, b]);
    }
    if out.is_int() && b.dtype.is_int() {
        let b = e.cast(b, out)?;
        return e.call(out, "pow", &[a, &b]);
    }
    let (x, y) = (e.cast(a, F32)?, e.cast(b, F32)?);
    let y = e.call(F32, "pow", &[&x, &y])?;
    e.cast(&y, out)
}

impl Elementwise for Arithmetic {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], _: DType) -> Result<Var> {
        if self.0 == FastGelu && args.len() == 1 {
            return super::unary::emit_gelu_tanh(e, arg(args, 0)?);
        }
        let y = self.fold(e, args)?;
        self.finish(e, y, args.len())
    }
}
