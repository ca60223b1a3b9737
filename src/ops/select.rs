//! Choices between elements and conversions: Where, Clip, Cast, CastLike.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::dtype::small_float::{self, Rounding};
use crate::ir::AttrReader;
use crate::kernels::cast_wrap_expr;
use crate::kernels::elementwise::{self, Elementwise, Emit, Var, arg};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "", name: "Where", versions: &[9, 16], parse: |_, _| Ok(Arc::new(Where)), cases: where_cases },
    OpDef { domain: "", name: "Clip", versions: &[6, 11, 12, 13], parse: parse_clip, cases: clip_cases },
    OpDef { domain: "", name: "Cast", versions: &[6, 9, 13, 19, 21, 23, 24, 25], parse: parse_cast, cases: cast_cases },
    OpDef {
        domain: "",
        name: "CastLike",
        versions: &[15, 19, 21, 23, 24, 25],
        parse: parse_cast_like,
        cases: cast_like_cases,
    },
];

#[derive(Debug)]
struct Where;

fn where_cases() -> Vec<Case> {
    let types = [F32, F16, BF16, I8, U8, I16, I32, U32, I64, U64, Bool];
    let mut all: Vec<Case> =
        types.iter().map(|d| Case::new("Where", 16).rand(Bool, &[3, 1, 41]).rand(*d, &[2, 41]).rand(*d, &[])).collect();
    all.push(Case::new("Where", 16).rand(Bool, &[67]).rand(F32, &[67]).rand(F32, &[67]));
    all.push(Case::new("Where", 16).rand(Bool, &[1]).rand(F32, &[0]).rand(F32, &[1]));
    all
}

impl Op for Where {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (a, b) = (cx.dtype(1)?, cx.dtype(2)?);
        if a != b || cx.dtype(0)? != Bool {
            return Err(err!(InvalidNode, "expected bool, T, T; got {}, {a}, {b}", cx.dtype(0)?).into());
        }
        one(a, shape::broadcast(&[cx.shape(0)?, cx.shape(1)?, cx.shape(2)?])?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (c, x, y) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?);
        let s = shape::broadcast(&[c.shape(), x.shape(), y.shape()])?;
        let at = |t: &Tensor| shape::broadcast_indices(t.shape(), &s);
        let test = c.to_slice::<bool>()?;
        let both = Tensor::concat(&[x.reshaped([x.len()])?, y.reshaped([y.len()])?])?;
        let (i, j, k) = (at(c), at(x), at(y));
        let pick = |n: usize| if test[i[n]] { j[n] } else { x.len() + k[n] };
        Ok(vec![both.select(s, &(0..i.len()).map(pick).collect::<Vec<_>>())?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for Where {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], _: DType) -> Result<Var> {
        Ok(e.select(arg(args, 0)?, arg(args, 1)?, arg(args, 2)?))
    }
}

/// Limits from attributes (before opset 11) or from the inputs that are present.
#[derive(Debug)]
struct Clip {
    limits: Option<(f32, f32)>,
    has: (bool, bool),
}

fn parse_clip(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version < 11 {
        let limits = (a.float_or("min", f32::MIN)?, a.float_or("max", f32::MAX)?);
        return Ok(Arc::new(Clip { limits: Some(limits), has: (true, true) }));
    }
    Ok(Arc::new(Clip { limits: None, has: (n.has_input(1), n.has_input(2)) }))
}

fn clip_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [F32, F16, I8, U8, I32, U32, I64, U64] {
        let limit = |v: i128| Tensor::from_i128s(d, [], vec![v]).unwrap_or_else(|_| Tensor::zeros(d, []));
        all.push(Case::new("Clip", 13).rand(d, &[3, 41]).constant(limit(1)).value(limit(2)));
    }
    let one = Tensor::scalar(1.0f32);
    all.push(Case::new("Clip", 13).rand(F32, &[67]).absent().constant(one.clone()));
    all.push(Case::new("Clip", 13).rand(F32, &[67]).constant(one));
    all.push(Case::new("Clip", 13).rand(F32, &[67]));
    all.push(Case::new("Clip", 6).rand(F32, &[67]).float("min", -0.5).float("max", 0.25));
    all.push(Case::new("Clip", 6).rand(F32, &[67]));
    let odd = Tensor::vector(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5]);
    all.push(Case::new("Clip", 13).value(odd).constant(Tensor::scalar(-1.0f32)).constant(Tensor::scalar(1.0f32)));
    all
}

impl Op for Clip {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        if self.limits.is_some() && !cx.dtype(0)?.is_float() {
            return Err(crate::err!(InvalidNode, "limits are floats, the input is {}", cx.dtype(0)?).into());
        }
        for limit in [1, 2].into_iter().filter_map(|i| cx.try_input(i)) {
            if limit.dtype != cx.dtype(0)? || crate::shape::numel(&limit.shape) != 1 {
                return Err(crate::err!(InvalidNode, "expected one {} as limit, got {limit}", cx.dtype(0)?).into());
            }
        }
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (d, s) = (x.dtype(), x.shape());
        if d.is_float() {
            let limit = |i: usize| opt(inputs, i).map(|t| Ok(t.to_f64s()?.first().copied())).transpose();
            let (low, high) = match self.limits {
                Some((a, b)) => (Some(a as f64), Some(b as f64)),
                None => (limit(1)?.flatten(), limit(2)?.flatten()),
            };
            let clip = |x: f64| {
                let x = low.map_or(x, |l| if x < l { l } else { x });
                high.map_or(x, |h| if x > h { h } else { x })
            };
            return Ok(vec![Tensor::from_f64s(d, s, x.to_f64s()?.into_iter().map(clip).collect())?]);
        }
        let limit = |i: usize| opt(inputs, i).map(|t| Ok(t.to_i128s()?.first().copied())).transpose();
        let (low, high) = (limit(1)?.flatten(), limit(2)?.flatten());
        let clip = |x: i128| x.max(low.unwrap_or(x)).min(high.unwrap_or(i128::MAX));
        Ok(vec![Tensor::from_i128s(d, s, x.to_i128s()?.into_iter().map(clip).collect())?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for Clip {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], d: DType) -> Result<Var> {
        let mut y = arg(args, 0)?.clone();
        let (low, high) = match self.limits {
            Some((a, b)) => (Some(e.float(d, a)?), Some(e.float(d, b)?)),
            None => {
                let low = self.has.0.then(|| arg(args, 1).cloned()).transpose()?;
                let high = self.has.1.then(|| arg(args, 1 + self.has.0 as usize).cloned()).transpose()?;
                (low, high)
            }
        };
        if let Some(low) = low {
            y = e.call(d, "max", &[&y, &low])?;
        }
        if let Some(high) = high {
            y = e.call(d, "min", &[&y, &high])?;
        }
        Ok(y)
    }
}

/// `to`: the target type, or `None` for that of input 1.
#[derive(Debug)]
struct Cast {
    to: Option<DType>,
    saturate: bool,
    /// To float8e8m0.
    rounding: Rounding,
}

fn rounding(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Rounding> {
    let mode = if n.version >= 24 { a.string_or("round_mode", "up".into())? } else { "up".into() };
    match mode.as_str() {
        "up" => Ok(Rounding::Up),
        "down" => Ok(Rounding::Down),
        "nearest" => Ok(Rounding::Nearest),
        _ => Err(err!(InvalidNode, "attribute round_mode: expected up, down or nearest, got {mode:?}")),
    }
}

fn parse_cast(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let number = a.required_int("to")?;
    let to = DType::from_onnx(number as i32).ok_or_else(|| err!(InvalidNode, "attribute to: unknown type {number}"))?;
    let saturate = n.version < 19 || a.flag_or("saturate", true)?;
    Ok(Arc::new(Cast { to: Some(to), saturate, rounding: rounding(a, n)? }))
}

fn parse_cast_like(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let saturate = n.version < 19 || a.flag_or("saturate", true)?;
    Ok(Arc::new(Cast { to: None, saturate, rounding: rounding(a, n)? }))
}

const CASTS: &[DType] = &[
    F32, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64, Bool, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, I4, U4,
    F4E2M1,
];

fn cast_cases() -> Vec<Case> {
    let mut all = vec![];
    for from in CASTS {
        for to in CASTS.iter().filter(|t| *t != from) {
            let c = Case::new("Cast", 25).int("to", *to as i64);
            // floats to narrow integers: in range, since beyond it the result is the platform's
            let (low, high) =
                if from.is_float() && to.int_range().is_some_and(|r| r.0 == 0) { (0.0, 3.0) } else { (-3.0, 3.0) };
            all.push(if from.is_float() { c.range(*from, &[3, 43], low, high) } else { c.rand(*from, &[3, 43]) });
        }
    }
    for mode in ["up", "down", "nearest"] {
        let powers =
            [1.0, 1.4, 1.5, 1.6, 3.4e38, 1.8e38, 2e-38, 1e-38, 7e-39, 5e-39, 1e-40, 0.0, f32::INFINITY, f32::NAN];
        let signed: Vec<f32> = powers.iter().flat_map(|x| [*x, -x]).collect();
        for saturate in [0, 1] {
            let c = Case::new("Cast", 24).int("to", F8E8M0 as i64).int("saturate", saturate);
            let c = c.string("round_mode", mode);
            all.push(c.clone().value(Tensor::vector(&signed)));
            all.push(c.rand(I64, &[3, 43]));
        }
    }
    for to in [F8E4M3FN, F8E5M2, F8E4M3FNUZ, F8E5M2FNUZ] {
        for saturate in [0, 1] {
            let odd = Tensor::vector(&[
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::MAX,
                f32::MIN,
                500.0,
                -500.0,
                1e6,
                0.001,
                0.0,
                -0.0,
            ]);
            all.push(Case::new("Cast", 19).int("to", to as i64).int("saturate", saturate).value(odd));
        }
    }
    // what rounds up to infinity
    let most = Tensor::vector(&[f32::MAX, f32::MIN, 3.39e38, 65504.0, 65519.0, 65520.0]);
    all.extend([F16, BF16].map(|to| Case::new("Cast", 13).int("to", to as i64).value(most.clone())));
    let big = Tensor::vector(&[i64::MAX, i64::MIN, (1 << 53) + 1, -1, 0, 1 << 31, 1 << 32]);
    all.extend([F32, I32, U8, Bool].map(|to| Case::new("Cast", 13).int("to", to as i64).value(big.clone())));
    all
}

fn cast_like_cases() -> Vec<Case> {
    vec![
        Case::new("CastLike", 19).rand(F32, &[43]).rand(I64, &[1]),
        Case::new("CastLike", 19).rand(I64, &[43]).rand(F16, &[]),
    ]
}

/// Converts as the Cast operator does.
///
/// # Errors
/// `InvalidNode` for text that is no number, `Unsupported` for complex numbers.
pub fn cast(x: &Tensor, to: DType, saturate: bool) -> Result<Tensor> {
    let (from, s) = (x.dtype(), x.shape());
    if from == to {
        return Ok(x.clone());
    }
    if from == String {
        let number = |t: &std::string::String| {
            let t = t.trim();
            t.parse::<f64>().map_err(|_| err!(InvalidNode, "cannot cast {t:?} to {to}"))
        };
        if to.is_int() {
            let whole = |t: &std::string::String| match t.trim().parse::<i128>() {
                Ok(i) => Ok(i),
                Err(_) => number(t).map(|x| x as i128),
            };
            return Tensor::from_i128s(to, s, x.strings()?.iter().map(whole).collect::<Result<_>>()?);
        }
        return from_floats(to, s, x.strings()?.iter().map(number).collect::<Result<_>>()?, saturate, true);
    }
    if to == String {
        let text: Vec<std::string::String> = match from {
            Bool => x.to_i128s()?.iter().map(|b| if *b == 1 { "True" } else { "False" }.into()).collect(),
            d if d.is_float() => x.to_f64s()?.iter().map(|v| float_text(*v, d)).collect(),
            _ => x.to_i128s()?.iter().map(i128::to_string).collect(),
        };
        return Tensor::from_strings(s, text);
    }
    if from.is_float() {
        from_floats(to, s, x.to_f64s()?, saturate, from == F64)
    } else {
        from_ints(to, s, x.to_i128s()?, saturate)
    }
}

/// NumPy's shortest text that reads back as the same number.
fn float_text(v: f64, d: DType) -> std::string::String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "INF".into() } else { "-INF".into() };
    }
    if d == F64 { format!("{v}") } else { format!("{}", v as f32) }
}

/// `wide`: of what is 64 bits wide, which the device brings to 64-bit integers first.
fn from_floats(to: DType, s: &[usize], v: Vec<f64>, saturate: bool, wide: bool) -> Result<Tensor> {
    if to.is_small_float() {
        let codes: Vec<u8> = v.into_iter().map(|x| small_float::encode(to, x as f32, saturate)).collect();
        return Tensor::from_bytes(to, s, codes);
    }
    if let (Some(_), true) = (to.int_range(), to != Bool) {
        // ONNX leaves undefined what an integer cannot hold; this is as on the device
        let clamp = |x: f64| match to {
            U64 if x >= 0.0 => x as u64 as i128,
            U32 if x >= 0.0 && !wide => x as u32 as i128,
            U32 | I32 if !wide => x as i32 as i128,
            _ => x as i64 as i128,
        };
        return Tensor::from_i128s(to, s, v.into_iter().map(clamp).collect());
    }
    Tensor::from_f64s(to, s, v)
}

fn from_ints(to: DType, s: &[usize], v: Vec<i128>, saturate: bool) -> Result<Tensor> {
    if to.is_small_float() {
        return from_floats(to, s, v.into_iter().map(|x| x as f64).collect(), saturate, true);
    }
    if to == F32 {
        return Tensor::new(s, v.into_iter().map(|x| x as f32).collect());
    }
    Tensor::from_i128s(to, s, v)
}

impl Cast {
    fn target(&self, like: Option<DType>) -> Result<DType> {
        self.to.or(like).ok_or_else(|| err!(InvalidNode, "input 1 is missing"))
    }
}

impl Op for Cast {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.target(cx.try_input(1).map(|t| t.dtype))?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let to = self.target(opt(inputs, 1).map(Tensor::dtype))?;
        if matches!(x.dtype(), C64 | C128) || matches!(to, C64 | C128) {
            bail!(Unsupported, "cast from {} to {to}", x.dtype());
        }
        if to == F8E8M0 && x.dtype() != F8E8M0 {
            let x = cast(x, F32, true)?;
            let code = |x: f64| small_float::encode_e8m0(x as f32, self.rounding, self.saturate);
            let codes: Vec<u8> = x.to_f64s()?.into_iter().map(code).collect();
            return Ok(vec![Tensor::from_bytes(to, x.shape(), codes)?]);
        }
        Ok(vec![cast(x, to, self.saturate)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if cx.input_type(0)?.dtype == cx.output_type(0)?.dtype {
            let same = cx.input(0)?;
            return cx.alias(0, same);
        }
        elementwise::lower(cx, self)
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        // CastLike reads only the type of input 1
        Some(self)
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        // rounding of subnormals and of ties may differ by one step where a type passes through f32
        Tolerance::ulps(dtype, if matches!(dtype, F32 | F16) { 1.0 } else { 0.0 })
    }
}

impl Elementwise for Cast {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let x = arg(args, 0)?;
        if x.dtype == out || !out.is_small_float() || (self.saturate && self.rounding == Rounding::Up) {
            return e.cast(x, out);
        }
        if out == F8E8M0 && self.rounding != Rounding::Up {
            let wide = e.cast(x, F32)?;
            let range = if self.saturate { "" } else { "_wrap" };
            let mode = if self.rounding == Rounding::Down { "down" } else { "nearest" };
            return Ok(e.expr(out, format!("f8e8m0_from_f32{range}_{mode}({})", wide.name)));
        }
        let code = cast_wrap_expr(e.device(x.dtype)?, e.device(out)?, &x.name);
        Ok(e.expr(out, code))
    }

    fn host_inputs(&self) -> &'static [usize] {
        if self.to.is_none() { &[1] } else { &[] }
    }

    fn joins(&self) -> bool {
        self.to.is_some_and(|t| t.device().is_some())
    }
}
