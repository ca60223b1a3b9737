//! Quantisation: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and what the integer products share with
//! them. Products of quantised matrices and convolutions: `quant_products.rs`.

use std::sync::Arc;

use half::{bf16, f16};

use super::eval::{need, opt};
use super::infer::one;
use super::quant_convs;
use super::quant_products as products;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::dtype::small_float;
use crate::ir::{AttrReader, TensorType};
use crate::kernels::elementwise::{self, Elementwise, Emit, Var, arg, map};
use crate::kernels::{DeviceType, cast_wrap_expr, quant};
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "QuantizeLinear",
        versions: &[10, 13, 19, 21, 23, 24, 25, 28],
        parse: parse_quantize,
        cases: quantize_cases,
    },
    OpDef {
        domain: "",
        name: "DequantizeLinear",
        versions: &[10, 13, 19, 21, 23, 24, 25, 28],
        parse: parse_dequantize,
        cases: dequantize_cases,
    },
    OpDef {
        domain: "",
        name: "DynamicQuantizeLinear",
        versions: &[11],
        parse: |_, _| Ok(Arc::new(DynamicQuantize)),
        cases: dynamic_cases,
    },
    OpDef {
        domain: "com.microsoft",
        name: "QuantizeLinear",
        versions: &[1],
        parse: |a, _| {
            let by = Granularity { axis: a.int_or("axis", 1)?, block: 0 };
            Ok(Arc::new(Quantize { by, saturate: true, output: None, precision: None }))
        },
        cases: contrib_quantize_cases,
    },
    OpDef {
        domain: "com.microsoft",
        name: "DequantizeLinear",
        versions: &[1],
        parse: |a, _| {
            let by = Granularity { axis: a.int_or("axis", 1)?, block: 0 };
            Ok(Arc::new(Dequantize { by, output: None }))
        },
        cases: contrib_dequantize_cases,
    },
    products::MATMUL_INTEGER,
    products::QLINEAR_MATMUL,
    quant_convs::CONV_INTEGER,
    quant_convs::QLINEAR_CONV,
];

/// Which elements share a scale and a zero point.
#[derive(Debug, Clone, Copy)]
struct Granularity {
    axis: i64,
    /// 0: one scale for the tensor or for each element of the axis.
    block: usize,
}

impl Granularity {
    fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Granularity> {
        let axis = if n.version >= 13 { a.int_or("axis", 1)? } else { 1 };
        let block = if n.version >= 21 { a.int_or("block_size", 0)? } else { 0 };
        let block = usize::try_from(block).map_err(|_| err!(InvalidNode, "block_size {block} is negative"))?;
        Ok(Granularity { axis, block })
    }

    /// The parameter's shape as it broadcasts to that of `x` with the axis split into blocks (if it is), the axis, and
    /// the block.
    fn layout(&self, x: &[usize], p: &[usize]) -> Result<(Vec<usize>, usize, usize)> {
        if self.block == 0 && shape::numel(p) == 1 && p.len() <= 1 {
            return Ok((vec![1; x.len()], 0, 0));
        }
        let axis = shape::axis(self.axis, x.len())?;
        if self.block == 0 {
            ensure!(p == [x[axis]], InvalidNode, "expected a scale or zero point of [{}], got {p:?}", x[axis]);
            let mut wide = vec![1; x.len()];
            wide[axis] = x[axis];
            return Ok((wide, axis, 0));
        }
        let mut want = x.to_vec();
        want[axis] = x[axis].div_ceil(self.block);
        ensure!(p == want, InvalidNode, "expected a scale or zero point of {want:?}, got {p:?}");
        // a block beyond the axis is the axis
        Ok((want, axis, self.block.min(x[axis])))
    }

    /// Whether a parameter broadcasts to `x` as it is; `x` may be unknown.
    fn broadcasts(&self, x: Option<&[usize]>, p: &[usize]) -> bool {
        match self.block {
            0 if shape::numel(p) == 1 && p.len() <= 1 => x.is_none_or(|x| x.len() >= p.len()),
            0 => match x {
                Some(x) => shape::axis(self.axis, x.len()).is_ok_and(|axis| axis + 1 == x.len()),
                None => self.axis == -1,
            },
            _ => false,
        }
    }

    /// As [`Elementwise::broadcasts`], of an operator whose inputs from the second on are parameters.
    fn all_broadcast(&self, shapes: &[Option<&[usize]>]) -> bool {
        let x = shapes.first().copied().flatten();
        shapes.iter().skip(1).flatten().all(|p| self.broadcasts(x, p))
    }

    /// The axes along which such an operator can be made in parts.
    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        if self.block > 0 {
            return vec![];
        }
        let own = shape::axis(self.axis, out.len()).ok();
        let with = |i: usize, axis: usize| cx.try_input(i).filter(|p| p.numel() != 1 && own == Some(axis)).map(|_| 0);
        (0..out.len()).map(|axis| Slicing { axis, inputs: vec![Some(axis), with(1, axis), with(2, axis)] }).collect()
    }

    /// Lowers such an operator: elementwise where the parameters broadcast as they are, else with views that spread
    /// them.
    fn lower(&self, cx: &mut LowerCx<'_>, op: &dyn Elementwise) -> Result<()> {
        let types: Vec<TensorType> =
            (0..cx.input_count()).filter(|i| cx.has_input(*i)).map(|i| cx.input_type(i)).collect::<Result<_>>()?;
        let shapes: Vec<Option<&[usize]>> = types.iter().map(|t| Some(t.shape.as_slice())).collect();
        if self.all_broadcast(&shapes) {
            return elementwise::lower(cx, op);
        }
        let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.try_input(2)?);
        let out = cx.output(0)?;
        let mut views = vec![x.clone(), self.spread(cx, &scale, &x.shape)?];
        if let Some(z) = &zero {
            views.push(self.spread(cx, z, &x.shape)?);
        }
        apply(cx, &views, &out, |e, args| op.emit(e, args, out.dtype))
    }

    /// For each element of `x`, the element of the parameter.
    fn indices(&self, x: &[usize], p: &[usize]) -> Result<Vec<usize>> {
        let (wide, axis, block) = self.layout(x, p)?;
        if block == 0 {
            return Ok(shape::broadcast_indices(&wide, x));
        }
        let strides = shape::strides(p);
        let at = |c: Vec<usize>| {
            (0..c.len()).map(|d| strides[d] * if d == axis { c[d] / block } else { c[d] }).sum::<usize>()
        };
        Ok(shape::coords(x).map(at).collect())
    }

    /// A parameter as a view of the shape of `x`.
    fn spread(&self, cx: &mut LowerCx<'_>, v: &View, x: &[usize]) -> Result<View> {
        let (wide, axis, block) = self.layout(x, &v.shape)?;
        if block < 2 {
            let v = v.reshaped(&wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))?;
            return Ok(v.broadcast(x));
        }
        // each element `block` times along the axis; the last block may be cut short
        let mut split = wide.clone();
        split.insert(axis + 1, 1);
        let v = v.reshaped(&split).ok_or_else(|| err!(Internal, "{:?} is not {split:?}", v.shape))?;
        split[axis + 1] = block;
        let repeated = cx.dense(&v.broadcast(&split))?;
        let mut merged = wide;
        merged[axis] *= block;
        let whole = repeated.reshaped(&merged).ok_or_else(|| err!(Internal, "a dense view has every shape"))?;
        Ok(whole.sliced(axis, 0, 1, x[axis]))
    }
}

/// `x` rounded to a float type.
fn rounded(d: DType, x: f64) -> f64 {
    match d {
        F16 => f16::from_f64(x).to_f64(),
        BF16 => bf16::from_f64(x).to_f64(),
        _ => x as f32 as f64,
    }
}

/// An element of `out` from the quotient `q`: rounded to nearest even, `zero` added, saturated.
pub(super) fn quantized(out: DType, q: f64, zero: f64) -> f64 {
    match out.int_range() {
        Some((low, _)) if q.is_nan() => low as f64,
        Some((low, high)) => (q.round_ties_even() + zero).clamp(low as f64, high as f64),
        None => q + zero,
    }
}

/// A value of a narrower float type, `v` being f32.
fn emit_rounded(e: &mut Emit<'_>, v: &Var, to: DType) -> Result<Var> {
    if to == F16 {
        // a conversion there and back is one that drivers leave out
        return e.call(F32, "as_half", &[v]);
    }
    let narrow = e.cast(v, to)?;
    e.cast(&narrow, F32)
}

/// As [`quantized`], from an f32; floats saturate unless told not to.
pub(super) fn emit_quantized(e: &mut Emit<'_>, q: &Var, zero: Option<&Var>, out: DType, saturate: bool) -> Result<Var> {
    let zero = zero.map(|z| e.cast(z, F32)).transpose()?;
    let Some((low, high)) = out.int_range() else {
        let sum = match &zero {
            Some(z) => e.call(F32, "add", &[q, z])?,
            None => q.clone(),
        };
        if saturate {
            return e.cast(&sum, out);
        }
        let code = cast_wrap_expr(DeviceType::F32, e.device(out)?, &sum.name);
        return Ok(e.expr(out, code));
    };
    let mut r = e.call(F32, "round", &[q])?;
    if let Some(z) = &zero {
        r = e.call(F32, "add", &[&r, z])?;
    }
    let (low, high) = (e.float(F32, low as f32)?, e.float(F32, high as f32)?);
    let inside = e.expr(F32, format!("clamp({}, {}, {})", r.name, low.name, high.name));
    let nan = e.test(F32, "is_nan", &[q])?;
    let sure = e.select(&nan, &low, &inside);
    // a whole number of the type, which needs no care
    let code = format!("{}({})", e.device(out)?.wgsl(), sure.name);
    Ok(e.expr(out, code))
}

/// A numbered element type, 0 meaning none.
fn type_attr(a: &AttrReader<'_>, name: &str) -> Result<Option<DType>> {
    match a.int_or(name, 0)? {
        0 => Ok(None),
        n => {
            let d = i32::try_from(n).ok().and_then(DType::from_onnx);
            d.map(Some).ok_or_else(|| err!(Unsupported, "{name}: element type {n}"))
        }
    }
}

#[derive(Debug)]
struct Quantize {
    by: Granularity,
    saturate: bool,
    output: Option<DType>,
    precision: Option<DType>,
}

fn parse_quantize(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Quantize {
        by: Granularity::parse(a, n)?,
        saturate: n.version < 19 || a.flag_or("saturate", true)?,
        output: if n.version >= 21 { type_attr(a, "output_dtype")? } else { None },
        precision: if n.version >= 23 { type_attr(a, "precision")? } else { None },
    }))
}

impl Quantize {
    fn output(&self, zero: Option<DType>) -> Result<DType> {
        let d = match (self.output, zero) {
            (Some(o), Some(z)) => {
                ensure!(o == z, InvalidNode, "output_dtype is {o}, the zero point {z}");
                o
            }
            (o, z) => o.or(z).unwrap_or(U8),
        };
        let fits = matches!(d, U2 | I2 | U4 | I4 | U8 | I8 | U16 | I16) || (d.is_small_float() && d != F8E8M0);
        ensure!(fits, Unsupported, "quantising to {d}");
        Ok(d)
    }

    /// The type of the quotient.
    fn precision(&self, x: DType, scale: DType) -> Result<DType> {
        let fits = |d: &DType| matches!(d, F32 | F16 | BF16);
        match self.precision {
            Some(p) if fits(&p) => Ok(p),
            Some(p) => bail!(Unsupported, "a quotient of {p}"),
            None => Ok([scale, x].into_iter().find(fits).unwrap_or(F32)),
        }
    }
}

impl Op for Quantize {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.try_input(2));
        self.by.layout(&x.shape, &scale.shape)?;
        if let Some(z) = zero {
            self.by.layout(&x.shape, &z.shape)?;
        }
        ensure_type(x.dtype, &[F32, F16, BF16, I32])?;
        one(self.output(zero.map(|z| z.dtype))?, x.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale, zero) = (need(inputs, 0)?, need(inputs, 1)?, opt(inputs, 2));
        let out = self.output(zero.map(Tensor::dtype))?;
        let p = self.precision(x.dtype(), scale.dtype())?;
        let at = self.by.indices(x.shape(), scale.shape())?;
        let zeros = zero.map(Tensor::to_f64s).transpose()?;
        let zero_at = zero.map(|z| self.by.indices(x.shape(), z.shape())).transpose()?;
        let scales = scale.to_f64s()?;
        let y = x.to_f64s()?.into_iter().enumerate().map(|(i, x)| {
            let q = rounded(p, rounded(p, x) / rounded(p, scales[at[i]]));
            let zero = zeros.as_ref().zip(zero_at.as_ref()).map_or(0.0, |(z, at)| z[at[i]]);
            quantized(out, q, zero)
        });
        if out.is_small_float() {
            let codes: Vec<u8> = y.map(|y| small_float::encode(out, y as f32, self.saturate)).collect();
            return Ok(vec![Tensor::from_bytes(out, x.shape(), codes)?]);
        }
        Ok(vec![Tensor::from_f64s(out, x.shape(), y.collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.by.lower(cx, self)
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        (self.by.block == 0).then_some(self)
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        self.by.slices(cx, out)
    }
}

impl Elementwise for Quantize {
    fn broadcasts(&self, shapes: &[Option<&[usize]>]) -> bool {
        self.by.all_broadcast(shapes)
    }

    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let (x, scale) = (arg(args, 0)?, arg(args, 1)?);
        let p = self.precision(x.dtype, scale.dtype)?;
        let (x, s) = (e.cast(x, F32)?, e.cast(scale, F32)?);
        let (x, s) = (emit_rounded(e, &x, p)?, emit_rounded(e, &s, p)?);
        let q = e.call(F32, "quotient", &[&x, &s])?;
        let q = emit_rounded(e, &q, p)?;
        emit_quantized(e, &q, args.get(2), out, self.saturate)
    }
}

fn ensure_type(d: DType, of: &[DType]) -> Result<()> {
    ensure!(of.contains(&d), Unsupported, "{d} where one of {of:?} is expected");
    Ok(())
}

/// One elementwise dispatch of a function of `views`, which broadcast to `out`.
pub(super) fn apply(
    cx: &mut LowerCx<'_>,
    views: &[View],
    out: &View,
    f: impl FnOnce(&mut Emit<'_>, &[Var]) -> Result<Var>,
) -> Result<()> {
    let profile = cx.profile().clone();
    let mut emit = Emit::new(&profile);
    let args: Vec<Var> = views.iter().enumerate().map(|(k, v)| Var { name: format!("x{k}"), dtype: v.dtype }).collect();
    let result = f(&mut emit, &args)?;
    let label = cx.op_label();
    // one element for all is read once, not by strides
    let one = |v: &View| v.rank() > 0 && v.numel() > 0 && v.strides.iter().all(|s| *s == 0);
    let single = |v: &View| View { shape: vec![], strides: vec![], ..v.clone() };
    let views: Vec<View> = views.iter().map(|v| if one(v) { single(v) } else { v.clone() }).collect();
    map(cx, &label, emit.body(), &result, &views, out)
}

#[derive(Debug)]
struct Dequantize {
    by: Granularity,
    output: Option<DType>,
}

fn parse_dequantize(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let output = if n.version >= 23 { type_attr(a, "output_dtype")? } else { None };
    Ok(Arc::new(Dequantize { by: Granularity::parse(a, n)?, output }))
}

impl Dequantize {
    fn output(&self, scale: DType) -> Result<DType> {
        let d = self.output.unwrap_or(if scale == F8E8M0 { F32 } else { scale });
        ensure_type(d, &[F32, F16, BF16])?;
        Ok(d)
    }
}

impl Op for Dequantize {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.try_input(2));
        self.by.layout(&x.shape, &scale.shape)?;
        if let Some(z) = zero {
            self.by.layout(&x.shape, &z.shape)?;
            let one_type = z.dtype == x.dtype;
            if !one_type {
                return Err(err!(InvalidNode, "x is {}, its zero point {}", x.dtype, z.dtype).into());
            }
        }
        one(self.output(scale.dtype)?, x.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale, zero) = (need(inputs, 0)?, need(inputs, 1)?, opt(inputs, 2));
        let at = self.by.indices(x.shape(), scale.shape())?;
        let zeros = zero.map(Tensor::to_f64s).transpose()?;
        let zero_at = zero.map(|z| self.by.indices(x.shape(), z.shape())).transpose()?;
        let scales = scale.to_f64s()?;
        let y = x.to_f64s()?.into_iter().enumerate().map(|(i, x)| {
            let zero = zeros.as_ref().zip(zero_at.as_ref()).map_or(0.0, |(z, at)| z[at[i]]);
            rounded(F32, x - zero) * scales[at[i]]
        });
        Ok(vec![Tensor::from_f64s(self.output(scale.dtype())?, x.shape(), y.collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.by.lower(cx, self)
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        (self.by.block == 0).then_some(self)
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        self.by.slices(cx, out)
    }
}

impl Elementwise for Dequantize {
    fn broadcasts(&self, shapes: &[Option<&[usize]>]) -> bool {
        self.by.all_broadcast(shapes)
    }

    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let shifted = emit_shifted(e, arg(args, 0)?, args.get(2))?;
        let (x, s) = (e.cast(&shifted, F32)?, e.cast(arg(args, 1)?, F32)?);
        let y = e.call(F32, "mul", &[&x, &s])?;
        e.cast(&y, out)
    }
}

/// `x - zero`, exact: an int32 for integers, an f32 for floats.
pub(super) fn emit_shifted(e: &mut Emit<'_>, x: &Var, zero: Option<&Var>) -> Result<Var> {
    let wide = if x.dtype.is_float() { F32 } else { I32 };
    let x = e.cast(x, wide)?;
    let Some(z) = zero else { return Ok(x) };
    let z = e.cast(z, wide)?;
    e.call(wide, "sub", &[&x, &z])
}

/// The scale and zero point with which values are brought to uint8. Their range always holds 0.
pub(super) fn dynamic_scale(values: &[f32]) -> (f32, f64) {
    let (low, high) = values.iter().fold((0f32, 0f32), |(l, h), v| (l.min(*v), h.max(*v)));
    // of zeros alone there is nothing to scale
    let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
    (scale, (-low / scale).clamp(0.0, 255.0).round_ties_even() as f64)
}

/// Writes `x`, float32s, brought to uint8 by its range, with the scale and zero point; `out` is dense.
pub(super) fn lower_dynamic(cx: &mut LowerCx<'_>, x: &View, out: &View, scale: &View, zero: &View) -> Result<()> {
    let x = cx.dense(x)?;
    quant::by_range(cx, &x, out, scale, zero)
}

#[derive(Debug)]
struct DynamicQuantize;

impl Op for DynamicQuantize {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        ensure_type(x.dtype, &[F32])?;
        let scalar = Vec::<usize>::new();
        let (y, zero) = (TensorType::new(U8, x.shape.clone()), TensorType::new(U8, scalar.clone()));
        Ok(vec![y, TensorType::new(F32, scalar), zero])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let values = x.to_f32s()?;
        let (scale, zero) = dynamic_scale(&values);
        let y = values.iter().map(|v| quantized(U8, (v / scale) as f64, zero)).collect();
        let zero = Tensor::scalar(zero as u8);
        Ok(vec![Tensor::from_f64s(U8, x.shape(), y)?, Tensor::scalar(scale), zero])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let mut own = |i: usize, d: DType| if cx.has_output(i) { cx.output(i) } else { cx.temp(d, &[]) };
        let (scale, zero) = (own(1, F32)?, own(2, U8)?);
        let out = if cx.has_output(0) { cx.output(0)? } else { cx.temp(U8, &x.shape)? };
        lower_dynamic(cx, &x, &out, &scale, &zero)
    }
}

const NARROW: [DType; 13] = [I8, U8, I16, U16, I4, U4, I2, U2, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F4E2M1];

/// Zero points for tests; floats have none but 0.
fn zeros_like(case: Case, d: DType, s: &[usize]) -> Case {
    match d.int_range() {
        Some((low, high)) => case.range(d, s, (low / 4) as f64, (high / 4 + 1) as f64),
        None => case.constant(Tensor::zeros(d, s)),
    }
}

fn quantize_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in NARROW {
        // some values beyond the range on either side
        let top = d.int_range().map_or(if d == F4E2M1 { 8.0 } else { 70_000.0 }, |(_, h)| h as f64 * 2.5);
        let case = |s: &[usize]| Case::new("QuantizeLinear", 25).range(F32, s, -top, top);
        all.push(zeros_like(case(&[3, 37]).range(F32, &[], 0.9, 1.1), d, &[]));
        all.push(zeros_like(case(&[2, 3, 5]).range(F32, &[3], 0.9, 1.1), d, &[3]));
        all.push(case(&[4]).int("output_dtype", d as i64).range(F32, &[1], 0.9, 1.1));
        all.push(zeros_like(case(&[2, 8]).int("block_size", 4).range(F32, &[2, 2], 0.9, 1.1), d, &[2, 2]));
        if d.is_small_float() && d != F4E2M1 {
            let wraps = case(&[64]).int("output_dtype", d as i64).int("saturate", 0);
            all.push(wraps.range(F32, &[], 0.9, 1.1));
        }
    }
    for x in [F16, BF16, I32] {
        let p = if x == I32 { F32 } else { x };
        let (low, high) = if x == I32 { (-500.0, 500.0) } else { (-200.0, 200.0) };
        let case = || Case::new("QuantizeLinear", 23).range(x, &[5, 7], low, high);
        all.push(case().range(p, &[], 0.75, 1.5).rand(U8, &[]));
        all.push(case().int("axis", 0).range(p, &[5], 0.75, 1.5).rand(I8, &[5]));
        all.push(case().int("axis", -1).int("block_size", 3).range(p, &[5, 3], 0.75, 1.5));
    }
    let mixed = || Case::new("QuantizeLinear", 24).range(F32, &[40], -90.0, 90.0);
    all.push(mixed().range(F16, &[], 0.75, 1.5).rand(U8, &[]));
    all.push(mixed().int("precision", 1).range(F16, &[], 0.75, 1.5).rand(I8, &[]));
    all.push(mixed().int("precision", 10).range(F32, &[], 0.75, 1.5).rand(I8, &[]));
    all.push(mixed().constant(Tensor::from_f64s(F8E8M0, [], vec![2.0]).unwrap_or(Tensor::scalar(2f32))));
    let odd = Tensor::vector(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.5, 1.5, 2.5, -0.5, 1e30]);
    all.push(Case::new("QuantizeLinear", 13).value(odd.clone()).range(F32, &[], 1.0, 1.0).rand(I8, &[]));
    all.push(Case::new("QuantizeLinear", 10).value(odd).range(F32, &[], 1.0, 1.0));
    all.push(Case::new("QuantizeLinear", 13).rand(F32, &[0, 3]).range(F32, &[], 0.9, 1.1).rand(U8, &[]));
    all.push(Case::new("QuantizeLinear", 19).rand(F32, &[]).range(F32, &[], 0.9, 1.1).rand(U8, &[]));
    all
}

fn dequantize_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in NARROW.into_iter().chain([I32]) {
        let case = |s: &[usize]| Case::new("DequantizeLinear", 25).rand(d, s);
        let zero = |case: Case, s: &[usize]| if d == I32 { case } else { zeros_like(case, d, s) };
        all.push(zero(case(&[3, 37]).rand(F32, &[]), &[]));
        all.push(zero(case(&[2, 3, 5]).rand(F16, &[3]), &[3]));
        all.push(case(&[6]).int("output_dtype", 16).rand(F32, &[1]));
        all.push(zero(case(&[2, 8]).int("block_size", 4).rand(BF16, &[2, 2]), &[2, 2]));
    }
    let plain = |s: &[usize]| Case::new("DequantizeLinear", 21).rand(U8, s);
    all.push(plain(&[5, 7]).int("axis", 0).int("block_size", 2).rand(F32, &[3, 7]).rand(U8, &[3, 7]));
    all.push(plain(&[2, 7, 3]).int("axis", -2).int("block_size", 3).rand(F32, &[2, 3, 3]));
    all.push(plain(&[0, 3]).rand(F32, &[3]));
    all.push(plain(&[]).rand(F32, &[]));
    all.push(Case::new("DequantizeLinear", 10).rand(I8, &[2, 3]).rand(F32, &[]).rand(I8, &[]));
    all.push(Case::new("DequantizeLinear", 13).rand(I8, &[2, 3, 2, 2]).rand(F32, &[3]).rand(I8, &[3]));
    all
}

fn contrib_quantize_cases() -> Vec<Case> {
    let case = |x: DType| Case::new("QuantizeLinear", 1).domain("com.microsoft").range(x, &[3, 5], -200.0, 200.0);
    let mut all: Vec<Case> = [I8, U8, I16, U16, I4, U4]
        .into_iter()
        .map(|d| zeros_like(case(F32).int("axis", 0).range(F32, &[3], 0.9, 1.1), d, &[3]))
        .collect();
    all.push(case(F16).range(F16, &[], 0.9, 1.1));
    all
}

fn contrib_dequantize_cases() -> Vec<Case> {
    let case = |x: DType| Case::new("DequantizeLinear", 1).domain("com.microsoft").rand(x, &[3, 5]);
    let mut all: Vec<Case> =
        [I8, U8, I16, U16, I4, U4].into_iter().map(|d| zeros_like(case(d).rand(F32, &[5]), d, &[5])).collect();
    all.push(case(I32).rand(F16, &[]));
    all
}

fn dynamic_cases() -> Vec<Case> {
    let case = |s: &[usize], low, high| Case::new("DynamicQuantizeLinear", 11).range(F32, s, low, high).outputs(3);
    vec![
        case(&[], -1.0, 1.0),
        case(&[7], -3.0, 2.0),
        case(&[3, 5], 1.0, 4.0),
        case(&[3, 5], -4.0, -1.0),
        case(&[4], 0.0, 0.0),
        case(&[2, 3, 1031], -100.0, 10.0),
        case(&[70_001], -0.001, 0.002),
        case(&[3, 1024, 1024], -3.0, 1.0),
        case(&[0, 3], -1.0, 1.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lie_along_axes_and_blocks() {
        let by = |axis, block| Granularity { axis, block };
        assert_eq!(by(1, 0).indices(&[2, 3], &[]).unwrap(), [0; 6]);
        assert_eq!(by(1, 0).indices(&[2, 3], &[3]).unwrap(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(by(0, 2).indices(&[3, 2], &[2, 2]).unwrap(), [0, 1, 0, 1, 2, 3]);
        assert!(by(0, 0).indices(&[3, 2], &[2]).is_err());
        assert!(by(0, 2).indices(&[3, 2], &[1, 2]).is_err());
    }

    #[test]
    fn halves_round_to_even_before_the_zero_point() {
        assert_eq!(quantized(I8, 0.5, 1.0), 1.0);
        assert_eq!(quantized(I8, 1.5, 1.0), 3.0);
        assert_eq!(quantized(U8, 1e9, 3.0), 255.0);
        assert_eq!(quantized(I4, -9.0, 0.0), -8.0);
        assert_eq!(quantized(U8, f64::NAN, 7.0), 0.0);
    }

    #[test]
    fn dynamic_ranges_hold_zero() {
        let x = Tensor::vector(&[0f32, 2., -3., -2.5, 1.34, 0.5]);
        let y = DynamicQuantize.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0].to_vec::<u8>().unwrap(), [153, 255, 0, 26, 221, 179]);
        assert_eq!(y[2].to_vec::<u8>().unwrap(), [153]);
    }
}
