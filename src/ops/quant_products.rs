//! Products of quantised matrices: MatMulInteger, QLinearMatMul. Convolutions: `quant_convs.rs`.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::matmul::Geometry;
use super::quant::{apply, emit_quantized, emit_shifted, quantized};
use super::{Case, InferCx, Inferred, Op, OpDef};
use crate::dtype::DType::{self, F8E4M3FN, F8E5M2, F16, F32, I8, I32, U8};
use crate::ir::TensorType;
use crate::kernels::DeviceType;
use crate::kernels::elementwise::{Emit, Var};
use crate::kernels::epilogue::{Ends, Epilogue};
use crate::kernels::matmul::{Product, Right, product, right_of};
use crate::kernels::pack_bytes::{pack_bytes, packed_along};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// MatMulInteger's row of the registry.
pub(super) const MATMUL_INTEGER: OpDef = OpDef {
    domain: "",
    name: "MatMulInteger",
    versions: &[10],
    parse: |_, _| Ok(Arc::new(MatMulInteger)),
    cases: matmul_integer_cases,
};
/// QLinearMatMul's row of the registry.
pub(super) const QLINEAR_MATMUL: OpDef = OpDef {
    domain: "",
    name: "QLinearMatMul",
    versions: &[10, 21],
    parse: |_, _| Ok(Arc::new(QLinearMatMul)),
    cases: qlinear_matmul_cases,
};
/// A parameter of rows as it broadcasts to a matrix: one for all, one a row, or stacked with the matrices.
fn by_rows(p: &[usize]) -> Vec<usize> {
    match p {
        [1] => vec![],
        [rows] => vec![*rows, 1],
        _ => p.to_vec(),
    }
}

/// A parameter of columns, likewise.
pub(super) fn by_columns(p: &[usize]) -> Vec<usize> {
    if p == [1] { vec![] } else { p.to_vec() }
}

/// Columns, and products in a sum, below which four bytes at a time gain nothing.
const LEAST_BYTES: usize = 8;

fn check(d: DType) -> Result<()> {
    ensure!(matches!(d, I8 | U8) || d.is_small_float(), Unsupported, "products of quantised {d}");
    Ok(())
}

/// Elements less their zero point, which broadcasts as `wide`.
pub(super) fn shifted(x: &Tensor, zero: Option<&Tensor>, wide: impl Fn(&[usize]) -> Vec<usize>) -> Result<Tensor> {
    let to = if x.dtype().is_float() { F32 } else { I32 };
    let Some(z) = zero else { return Tensor::from_f64s(to, x.shape(), x.to_f64s()?) };
    let s = wide(z.shape());
    let fits = shape::broadcast(&[&s, x.shape()]).is_ok_and(|b| b == x.shape());
    ensure!(fits, InvalidNode, "a zero point of {:?} for {:?}", z.shape(), x.shape());
    if matches!(x.dtype(), I8 | U8) && z.len() == 1 {
        let zero = z.to_i128s()?[0] as i32;
        let values: Vec<i32> = match x.dtype() {
            I8 => x.bytes().iter().map(|v| i32::from(*v as i8).wrapping_sub(zero)).collect(),
            _ => x.bytes().iter().map(|v| i32::from(*v).wrapping_sub(zero)).collect(),
        };
        return Tensor::new(x.shape(), values);
    }
    let (at, z) = (shape::broadcast_indices(&s, x.shape()), z.to_f64s()?);
    let values = x.to_f64s()?.into_iter().zip(at).map(|(x, i)| x - z[i]).collect();
    Tensor::from_f64s(to, x.shape(), values)
}

/// The bits of a narrow type seen as the type that products are made of; both are held alike on the device.
pub(super) fn widened(v: &View) -> View {
    let (dtype, device) = if v.device.is_float() { (F32, DeviceType::F32) } else { (I32, DeviceType::I32) };
    View { dtype, device, ..v.clone() }
}

pub(super) fn spread(v: &View, wide: &[usize], to: &[usize]) -> Result<View> {
    let v = v.reshaped(wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))?;
    Ok(v.broadcast(to))
}

/// The zero point that is input `i`, unless it is known to be zero.
pub(super) fn zero_point(cx: &mut LowerCx<'_>, i: usize) -> Result<Option<View>> {
    let none = cx.value(i).is_some_and(|z| z.to_f64s().is_ok_and(|z| z.iter().all(|v| *v == 0.0)));
    if none { Ok(None) } else { cx.try_input(i) }
}

/// Input `i` less the zero point that is input `zero`.
pub(super) fn shifted_view(
    cx: &mut LowerCx<'_>,
    i: usize,
    zero: usize,
    wide: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<View> {
    let x = cx.input(i)?;
    let z = zero_point(cx, zero)?;
    let z = z.map(|z| spread(&z, &wide(&z.shape), &x.shape)).transpose()?;
    less(cx, &x, z)
}

/// A view less its zero point, which broadcasts to it.
pub(super) fn less(cx: &mut LowerCx<'_>, x: &View, zero: Option<View>) -> Result<View> {
    let Some(z) = zero else { return Ok(widened(x)) };
    let out = cx.temp(widened(x).dtype, &x.shape)?;
    let views = [x.clone(), z.broadcast(&x.shape)];
    apply(cx, &views, &out, |e, args| emit_shifted(e, &args[0], args.get(1)))?;
    Ok(out)
}

/// Whether input `i` is constant, and its zero point too.
pub(super) fn is_known(cx: &LowerCx<'_>, i: usize, zero: usize) -> bool {
    cx.value(i).is_some() && (cx.value(zero).is_some() || !cx.has_input(zero))
}

/// What names a constant less its zero point.
pub(super) fn less_tag(z: Option<&Tensor>) -> String {
    z.map_or("widened".into(), |z| format!("less {:?} {:?}", z.shape(), z.bytes()))
}

/// Whether input `b`, constant, is of signed bytes once it is less its zero point.
pub(super) fn is_bytes(cx: &LowerCx<'_>, b: usize, b_zero: usize) -> Result<bool> {
    let known = cx.value(b).is_some() && (cx.value(b_zero).is_some() || !cx.has_input(b_zero));
    Ok(known && are_bytes(cx.input_type(b)?.dtype, cx.value(b_zero)))
}

/// Whether constants of this type are signed bytes once they are less their zero point.
pub(crate) fn are_bytes(dtype: DType, zero: Option<&Tensor>) -> bool {
    let all = |value: f64| zero.map(|z| z.to_f64s().is_ok_and(|z| z.iter().all(|z| *z == value)));
    match dtype {
        I8 => all(0.0).unwrap_or(true),
        U8 => all(128.0).unwrap_or(false),
        _ => false,
    }
}

/// Whether products of `k` bytes for each of `n` columns gain by four bytes at a time.
pub(crate) fn gains(k: usize, n: usize) -> bool {
    k.min(n) >= LEAST_BYTES
}

/// Sums of products whose first factors are `less` too little, and not yet less their `zero` point, made what they should
/// be by the `sums` of the second factors; then `end`. So nothing is subtracted before the products or within them.
pub(super) fn centred(
    cx: &LowerCx<'_>,
    zero: Option<&View>,
    less: i32,
    sums: View,
    end: Option<&Epilogue>,
) -> Result<Epilogue> {
    let views = zero.map(widened).into_iter().chain([sums]).collect();
    let less = Epilogue::new(cx, "zero", [I32, I32], views, |e, made, args| {
        let (zero, sums) = match args {
            [sums] => (e.int(I32, 0)?, sums),
            [zero, sums] => (zero.clone(), sums),
            _ => return Err(err!(Internal, "{} operands", args.len())),
        };
        let zero = match less {
            0 => zero,
            _ => {
                let less = e.int(I32, less.into())?;
                e.call(I32, "sub", &[&zero, &less])?
            }
        };
        let by = e.call(I32, "mul", &[&zero, sums])?;
        e.call(I32, "sub", &[&made, &by])
    })?;
    match end {
        Some(end) => less.then(end),
        None => Ok(less),
    }
}

/// The sums of the columns of input `i`, constant matrices, less their zero point, which broadcasts as `wide`.
pub(super) fn column_sums(
    cx: &mut LowerCx<'_>,
    i: usize,
    zero: usize,
    wide: impl Fn(&[usize]) -> Vec<usize> + Send + Sync + 'static,
) -> Result<Option<View>> {
    let t = cx.input_type(i)?;
    let [batch @ .., k, n] = t.shape.as_slice() else { return Ok(None) };
    if !is_known(cx, i, zero) {
        return Ok(None);
    }
    let (z, k, n) = (cx.value(zero).cloned(), *k, *n);
    let to = TensorType::new(I32, [batch, &[1, n]].concat());
    let tag = format!("columns {}", less_tag(z.as_ref()));
    let make = move |x: &Tensor| {
        let less = shifted(x, z.as_ref(), &wide)?;
        let (values, mut sums) = (less.to_slice::<i32>()?, vec![0i32; x.len() / k.max(1)]);
        for (row, values) in values.chunks(n.max(1)).enumerate() {
            let to = &mut sums[row / k * n..][..n];
            to.iter_mut().zip(values).for_each(|(sum, v)| *sum = sum.wrapping_add(*v));
        }
        Tensor::new(to_shape(x.shape()), sums)
    };
    cx.prepacked(i, &tag, to, make).map(Some)
}

/// The shape of the sums of columns.
fn to_shape(s: &[usize]) -> Vec<usize> {
    let mut s = s.to_vec();
    let rows = s.len().saturating_sub(2);
    if let Some(d) = s.get_mut(rows) {
        *d = 1;
    }
    s
}

/// The right factor, input `i`, less its zero point; made once where both are constant.
pub(super) fn shifted_right(cx: &mut LowerCx<'_>, i: usize, zero: usize, g: &Geometry) -> Result<Right> {
    let t = cx.input_type(i)?;
    if is_known(cx, i, zero) && t.shape.len() >= 2 {
        let z = cx.value(zero).cloned();
        let to = if t.dtype.is_float() { F32 } else { I32 };
        let tag = less_tag(z.as_ref());
        return right_of(cx, i, false, to, &tag, move |x| shifted(x, z.as_ref(), by_columns));
    }
    let v = shifted_view(cx, i, zero, by_columns)?;
    v.reshaped(&g.b).map(Right::View).ok_or_else(|| err!(Internal, "{:?} is not {:?}", v.shape, g.b))
}

/// The product of two quantised inputs at `a` and `b`, whose zero points are inputs `zeros`, through `end` into `out`,
/// whose shape is the geometry's with both matrix dims.
pub(super) fn integer_product(
    cx: &mut LowerCx<'_>,
    [a, b]: [usize; 2],
    zeros: [usize; 2],
    out: &View,
    end: Option<&Epilogue>,
) -> Result<()> {
    let ta = cx.input_type(a)?;
    let g = Geometry::new(&ta.shape, &cx.input_type(b)?.shape)?;
    let zero = match zero_point(cx, zeros[0])? {
        Some(z) => Some(spread(&z, &by_rows(&z.shape), &by_rows(&z.shape))?),
        None => None,
    };
    let x = cx.input(a)?;
    product_of(cx, &x, zero, [b, zeros[1]], &g, out, end)
}

/// As [`integer_product`], of a view less its zero point, which broadcasts to it, and inputs `b` with its zero point.
pub(super) fn product_of(
    cx: &mut LowerCx<'_>,
    x: &View,
    zero: Option<View>,
    [b, b_zero]: [usize; 2],
    g: &Geometry,
    out: &View,
    end: Option<&Epilogue>,
) -> Result<()> {
    if cx.attempt(|cx| product_of_bytes(cx, x, zero.as_ref(), [b, b_zero], g, out, end))? {
        return Ok(());
    }
    // one for all, or one a row
    let single = zero.as_ref().is_some_and(|z| z.shape.last().is_none_or(|columns| *columns == 1));
    let sums = if single && !x.dtype.is_float() { column_sums(cx, b, b_zero, by_columns)? } else { None };
    let (x, end) = match (zero, sums) {
        (Some(zero), Some(sums)) => (widened(x), Some(centred(cx, Some(&zero), 0, sums, end)?)),
        (zero, _) => (less(cx, x, zero)?, end.cloned()),
    };
    let fit = |v: &View| v.reshaped(&g.a).ok_or_else(|| err!(Internal, "{:?} is not {:?}", v.shape, g.a));
    let left = fit(&x)?.broadcast(&[&g.batch[..], &[g.m, g.k]].concat());
    let right = shifted_right(cx, b, b_zero, g)?.broadcast(&g.batch);
    ended_product(cx, left, right, out, end)
}

/// As [`product_of`], by words of four bytes: for constant weights that are signed bytes once they are less their zero
/// point. Unsigned `x` become signed, less 128, as does their zero point.
fn product_of_bytes(
    cx: &mut LowerCx<'_>,
    x: &View,
    zero: Option<&View>,
    [b, b_zero]: [usize; 2],
    g: &Geometry,
    out: &View,
    end: Option<&Epilogue>,
) -> Result<()> {
    let t = cx.input_type(b)?;
    ensure!(cx.profile().bytes && is_bytes(cx, b, b_zero)?, Unsupported, "weights that are no signed bytes");
    ensure!(matches!(x.dtype, I8 | U8) && gains(g.k, g.n), Unsupported, "few bytes");
    let single = zero.is_none_or(|z| z.shape.last().is_none_or(|columns| *columns == 1));
    ensure!(single && t.shape.len() >= 2, Unsupported, "zero points along the sums");
    let unsigned = x.dtype == U8;
    let mut end = end.cloned();
    if zero.is_some() || unsigned {
        let sums = column_sums(cx, b, b_zero, by_columns)?;
        let sums = sums.ok_or_else(|| err!(Unsupported, "weights that are not known"))?;
        end = Some(centred(cx, zero, if unsigned { 128 } else { 0 }, sums, end.as_ref())?);
    }
    let z = cx.value(b_zero).cloned();
    let [lead @ .., k, n] = &t.shape[..] else { return Err(err!(Internal, "weights of {t}")) };
    let words = TensorType::new(DType::U32, [lead, &[k.div_ceil(4), *n]].concat());
    let tag = format!("bytes {}", less_tag(z.as_ref()));
    let make = move |w: &Tensor| packed_along(&shifted(w, z.as_ref(), by_columns)?, w.rank() - 2);
    let right = cx.prepacked(b, &tag, words, make)?;
    let left = pack_bytes(cx, x, x.rank() - 1, unsigned)?;
    let lie = [&g.a[..g.a.len() - 1], &[g.k.div_ceil(4)]].concat();
    let left = left.reshaped(&lie).ok_or_else(|| err!(Internal, "{:?} is not {lie:?}", left.shape))?;
    let left = left.broadcast(&[&g.batch[..], &[g.m, g.k.div_ceil(4)]].concat());
    ended_product(cx, left, Right::View(right).broadcast(&g.batch), out, end)
}

/// A product through `end`, whose reads broadcast to `out`.
pub(super) fn ended_product(
    cx: &mut LowerCx<'_>,
    left: View,
    right: Right,
    out: &View,
    end: Option<Epilogue>,
) -> Result<()> {
    let reads = end.iter().flat_map(|e| &e.reads).map(|v| v.broadcast(&out.shape)).collect();
    product(cx, &Product { end: end.map(Arc::new), reads, ..Product::new(left, right, out.clone()) })
}

#[derive(Debug)]
struct MatMulInteger;

impl Op for MatMulInteger {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        check(cx.dtype(0)?)?;
        check(cx.dtype(1)?)?;
        let given = |i: usize| cx.try_input(i).map_or(vec![], |t| t.shape.clone());
        for (p, factor) in [(by_rows(&given(2)), given(0)), (by_columns(&given(3)), given(1))] {
            if !shape::broadcast(&[&p, &factor]).is_ok_and(|s| s == factor) {
                return Err(err!(InvalidNode, "a zero point of {p:?} for {factor:?}").into());
            }
        }
        one(I32, Geometry::new(cx.shape(0)?, cx.shape(1)?)?.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let a = shifted(need(inputs, 0)?, opt(inputs, 2), by_rows)?;
        let b = shifted(need(inputs, 1)?, opt(inputs, 3), by_columns)?;
        let g = Geometry::new(a.shape(), b.shape())?;
        let y = g.ints(&a.to_i128s()?, &b.to_i128s()?);
        Ok(vec![Tensor::from_i128s(I32, g.out, y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_to(cx, None)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        self.lower_to(cx, Some(ends.only_end()?))
    }
}

impl MatMulInteger {
    fn lower_to(&self, cx: &mut LowerCx<'_>, end: Option<&Epilogue>) -> Result<()> {
        let out = cx.output_placed(0, |_| true)?;
        let g = Geometry::new(&cx.input_type(0)?.shape, &cx.input_type(1)?.shape)?;
        let whole = [&g.batch[..], &[g.m, g.n]].concat();
        let fit = |v: &View| v.reshaped(&whole).ok_or_else(|| err!(Internal, "{:?} is not {whole:?}", v.shape));
        let mut end = end.cloned();
        if let Some(end) = &mut end {
            end.reads = end.reads.iter().map(|v| fit(&v.broadcast(&out.shape))).collect::<Result<_>>()?;
        }
        integer_product(cx, [0, 1], [2, 3], &fit(&out)?, end.as_ref())
    }
}

/// Inputs of a product or convolution that scales its result: the factors are `x` and `w` with their own scales.
pub(super) const X_SCALE: usize = 1;
pub(super) const W_SCALE: usize = 4;
pub(super) const Y_SCALE: usize = 6;
pub(super) const Y_ZERO: usize = 7;

/// How the scales and the zero point of a result broadcast to it.
pub(super) struct Scales {
    pub x: Vec<usize>,
    pub w: Vec<usize>,
    pub y: Vec<usize>,
    pub zero: Vec<usize>,
}

impl Scales {
    /// Sums brought back to the quantised range. As every runtime does, in float32 arithmetic.
    pub fn eval(&self, sums: &Tensor, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
        let zero = need(inputs, Y_ZERO)?;
        let part = |t: &Tensor, wide: &[usize]| -> Result<Vec<f32>> {
            let fits = shape::broadcast(&[wide, sums.shape()]).is_ok_and(|b| b == sums.shape());
            ensure!(fits, InvalidNode, "a scale or zero point of {:?} for {:?}", t.shape(), sums.shape());
            let values = t.to_f32s()?;
            Ok(shape::broadcast_indices(wide, sums.shape()).into_iter().map(|i| values[i]).collect())
        };
        let x = part(need(inputs, X_SCALE)?, &self.x)?;
        let w = part(need(inputs, W_SCALE)?, &self.w)?;
        let y = part(need(inputs, Y_SCALE)?, &self.y)?;
        let z = part(zero, &self.zero)?;
        let of = |(i, sum): (usize, f32)| quantized(zero.dtype(), (sum * (x[i] * w[i] / y[i])) as f64, z[i] as f64);
        let values = sums.to_f32s()?.into_iter().enumerate().map(of).collect();
        Tensor::from_f64s(zero.dtype(), sums.shape(), values)
    }

    /// The scales and the zero point as they broadcast.
    fn views(&self, cx: &mut LowerCx<'_>) -> Result<Vec<View>> {
        let view = |(i, wide): (usize, &Vec<usize>)| {
            let v = cx.input(i)?;
            v.reshaped(wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))
        };
        [(X_SCALE, &self.x), (W_SCALE, &self.w), (Y_SCALE, &self.y), (Y_ZERO, &self.zero)]
            .into_iter()
            .map(view)
            .collect()
    }

    /// A sum brought back, given elements of the views.
    fn emit(e: &mut Emit<'_>, sum: &Var, args: &[Var], out: DType) -> Result<Var> {
        let [x, w, y, zero] = args else { return Err(err!(Internal, "{} parameters", args.len())) };
        let [sum, x, w, y] = [sum, x, w, y].map(|a| e.cast(a, F32));
        let (sum, x, w, y) = (sum?, x?, w?, y?);
        let xw = e.call(F32, "mul", &[&x, &w])?;
        let scale = e.call(F32, "quotient", &[&xw, &y])?;
        let q = e.call(F32, "mul", &[&sum, &scale])?;
        emit_quantized(e, &q, Some(zero), out, true)
    }

    /// As the end of a product whose sums are of type `from`.
    pub fn end(&self, cx: &mut LowerCx<'_>, from: DType, out: DType) -> Result<Epilogue> {
        let views = self.views(cx)?;
        Epilogue::new(cx, "scaled", [from, out], views, |e, sum, args| Scales::emit(e, &sum, args, out))
    }

    pub fn lower(&self, cx: &mut LowerCx<'_>, sums: View, out: &View) -> Result<()> {
        let mut views = vec![sums];
        views.extend(self.views(cx)?.iter().map(|v| v.broadcast(&out.shape)));
        apply(cx, &views, out, |e, args| Scales::emit(e, &args[0], &args[1..], out.dtype))
    }
}

#[derive(Debug)]
struct QLinearMatMul;

impl Op for QLinearMatMul {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        for i in [0, 3, Y_ZERO] {
            check(cx.dtype(i)?)?;
        }
        for i in [2, 5] {
            let of = cx.dtype(i - 2)?;
            if cx.try_input(i).is_some_and(|z| z.dtype != of) || of.is_float() != cx.dtype(0)?.is_float() {
                return Err(
                    err!(InvalidNode, "factor {of} of {}, its zero point {}", cx.dtype(0)?, cx.dtype(i)?).into()
                );
            }
        }
        let g = Geometry::new(cx.shape(0)?, cx.shape(3)?)?;
        let whole = [&g.batch[..], &[g.m, g.n]].concat();
        let scales = self.scales(|i| Ok(cx.shape(i)?.to_vec()))?;
        let given = |i: usize| cx.try_input(i).map_or(vec![], |t| t.shape.clone());
        let (left, right) = (by_rows(&given(2)), by_columns(&given(5)));
        let of_result = [&scales.x, &scales.w, &scales.y, &scales.zero].map(|s| (s, &whole));
        let (a, b) = (given(0), given(3));
        let of_factors = [(&left, &a), (&right, &b)];
        for (s, to) in of_result.into_iter().chain(of_factors) {
            if shape::broadcast(&[s, to]).ok().as_ref() != Some(to) {
                return Err(err!(InvalidNode, "a scale or zero point of {s:?} for {to:?}").into());
            }
        }
        one(cx.dtype(Y_ZERO)?, g.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let a = shifted(need(inputs, 0)?, opt(inputs, 2), by_rows)?;
        let b = shifted(need(inputs, 3)?, opt(inputs, 5), by_columns)?;
        let g = Geometry::new(a.shape(), b.shape())?;
        let whole = [&g.batch[..], &[g.m, g.n]].concat();
        let sums = if a.dtype().is_float() {
            Tensor::from_f64s(F32, whole, g.floats(&a.to_f64s()?, &b.to_f64s()?))?
        } else {
            Tensor::from_i128s(I32, whole, g.ints(&a.to_i128s()?, &b.to_i128s()?))?
        };
        let s = |i: usize| Ok(need(inputs, i)?.shape().to_vec());
        Ok(vec![self.scales(s)?.eval(&sums, inputs)?.reshaped(g.out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        let (a, b) = (cx.input_type(0)?, cx.input_type(3)?);
        let g = Geometry::new(&a.shape, &b.shape)?;
        let whole = [&g.batch[..], &[g.m, g.n]].concat();
        let out = out.reshaped(&whole).ok_or_else(|| err!(Internal, "{:?} is not {whole:?}", out.shape))?;
        let made = if a.dtype.is_float() { F32 } else { I32 };
        let scales = self.scales(|i| Ok(cx.input_type(i)?.shape))?;
        let as_one = cx.attempt(|cx| {
            let end = scales.end(cx, made, out.dtype)?;
            integer_product(cx, [0, 3], [2, 5], &out, Some(&end))
        })?;
        if as_one {
            return Ok(());
        }
        let sums = cx.temp(made, &whole)?;
        integer_product(cx, [0, 3], [2, 5], &sums, None)?;
        scales.lower(cx, sums, &out)
    }
}

impl QLinearMatMul {
    fn scales(&self, shape_of: impl Fn(usize) -> Result<Vec<usize>>) -> Result<Scales> {
        Ok(Scales {
            x: by_rows(&shape_of(X_SCALE)?),
            w: by_columns(&shape_of(W_SCALE)?),
            y: by_rows(&shape_of(Y_SCALE)?),
            zero: by_rows(&shape_of(Y_ZERO)?),
        })
    }
}

/// Values from 0 to 99, of I8 from -128 to 127.
pub(super) fn ramp(d: DType, s: &[usize]) -> Tensor {
    let value = |i: usize| (i as i128 * 37 + 11) % 100;
    let values = (0..shape::numel(s)).map(|i| if d == I8 { value(i) * 255 / 99 - 128 } else { value(i) }).collect();
    Tensor::from_i128s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
}

fn matmul_integer_cases() -> Vec<Case> {
    let case = || Case::new("MatMulInteger", 10);
    vec![
        case().rand(U8, &[4, 3]).rand(U8, &[3, 2]),
        case().rand(U8, &[4, 3]).rand(I8, &[3, 2]).rand(U8, &[]).rand(I8, &[]),
        case().rand(I8, &[4, 8]).rand(I8, &[8, 40]).rand(I8, &[4]).rand(I8, &[40]),
        case().rand(U8, &[2, 9, 16]).constant(ramp(I8, &[16, 33])).rand(U8, &[1]).constant(ramp(I8, &[33])),
        case().rand(U8, &[2, 9, 16]).constant(ramp(U8, &[16, 33])),
        case().rand(U8, &[2, 3, 4, 5]).rand(U8, &[3, 5, 6]).rand(U8, &[2, 3, 4, 1]).rand(U8, &[3, 1, 6]),
        case().rand(U8, &[5]).rand(U8, &[5]).rand(U8, &[]).rand(U8, &[]),
        case().rand(U8, &[5]).constant(ramp(U8, &[5, 9])).constant(ramp(U8, &[])),
        case().rand(U8, &[3, 0]).rand(U8, &[0, 2]),
        // four bytes to a word, some left over; one row, zero points of rows, weights that are less 128
        case().rand(U8, &[2, 9, 18]).constant(ramp(I8, &[18, 33])).rand(U8, &[]),
        case().rand(I8, &[70, 130]).constant(ramp(I8, &[130, 66])).rand(I8, &[70]).constant(Tensor::zeros(I8, [66])),
        case().rand(U8, &[300]).constant(ramp(I8, &[300, 40])),
        case().rand(U8, &[40, 32]).constant(ramp(U8, &[32, 70])).absent().constant(number(U8, 128.0)),
    ]
}

fn qlinear_matmul_cases() -> Vec<Case> {
    let case = |a: DType, b: DType, y: DType, sa: &[usize], sb: &[usize]| {
        let of = |c: Case, d: DType, s: &[usize]| match d.is_float() {
            true => c.constant(Tensor::zeros(d, s)),
            false => c.range(d, s, 0.0, 20.0),
        };
        let c = Case::new("QLinearMatMul", 21).rand(a, &[2, 5, 9]).range(F32, sa, 0.01, 0.02);
        let c = of(c, a, sa).rand(b, &[2, 9, 7]).range(F32, sb, 0.01, 0.02);
        of(of(c, b, sb).range(F32, &[], 0.03, 0.06), y, &[])
    };
    let mut all = vec![
        case(U8, U8, U8, &[], &[]),
        case(I8, U8, I8, &[1], &[1]),
        case(U8, I8, U8, &[5], &[7]),
        case(I8, I8, I8, &[2, 5, 1], &[2, 1, 7]),
        case(F8E4M3FN, F8E5M2, F8E4M3FN, &[], &[]).sum(9),
    ];
    let half = Case::new("QLinearMatMul", 21).rand(U8, &[4, 6]).range(F16, &[], 0.01, 0.02).rand(U8, &[]);
    let half = half.constant(ramp(U8, &[6, 40])).range(F16, &[], 0.01, 0.02).constant(ramp(U8, &[]));
    all.push(half.range(F16, &[], 0.03, 0.06).rand(U8, &[]));
    // four bytes to a word
    let bytes = Case::new("QLinearMatMul", 21).rand(U8, &[2, 5, 30]).range(F32, &[5], 0.01, 0.02).rand(U8, &[5]);
    let bytes = bytes.constant(ramp(I8, &[30, 40])).range(F32, &[40], 0.01, 0.02).constant(Tensor::zeros(I8, [40]));
    all.push(bytes.range(F32, &[], 0.3, 0.6).rand(I8, &[]));
    all
}

/// What stands behind integer products in models, as chains that read their sums.
pub(super) const SCALED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("Add", &[2]), ("Relu", &[])];
pub(super) const ADDED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("Add", &[2]), ("Add", &[3])];
pub(super) const QUANTISED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("QuantizeLinear", &[2, 3])];

pub(super) fn number(d: DType, x: f64) -> Tensor {
    Tensor::from_f64s(d, [], vec![x]).unwrap_or_else(|_| Tensor::zeros(d, []))
}

/// Cases of MatMulInteger with an epilogue.
pub(super) fn ended_matmul_cases() -> Vec<Case> {
    let new = |more, tail, k| super::epilogue::case("MatMulInteger+Elementwise", &[], &[true; 4], more, tail).sum(k);
    let mut all = vec![];
    for (a, b, y) in [
        (&[2, 3, 8, 12][..], &[12, 40][..], &[2, 3, 8, 40][..]),
        (&[2, 5, 6], &[2, 6, 7], &[2, 5, 7]),
        (&[9, 16], &[16, 33], &[9, 33]),
        (&[1, 64], &[64, 3], &[1, 3]),
        (&[7], &[7, 9], &[9]),
    ] {
        let k = a[a.len() - 1];
        let n = &y[y.len() - 1..];
        let fed = |more, tail| new(more, tail, k).rand(U8, a).constant(ramp(I8, b)).rand(U8, &[]);
        let scale = |c: Case| c.range(F32, &[], 0.005, 0.02);
        all.push(scale(fed(2, SCALED).constant(ramp(I8, n))).constant(ramp(F32, n)));
        all.push(scale(fed(3, ADDED).constant(number(I8, 0.0))).rand(F32, n).rand(F32, y));
        let rows = new(2, SCALED, k).rand(I8, a).constant(ramp(U8, b));
        let rows = if a.len() == 2 { rows.rand(I8, &a[..1]) } else { rows.constant(number(I8, -3.0)) };
        all.push(scale(rows.constant(number(U8, 7.0))).constant(ramp(F32, n)));
        all.push(scale(new(2, SCALED, k).rand(U8, a).rand(I8, b).rand(U8, &[]).rand(I8, n)).rand(F32, n));
        let back = fed(3, QUANTISED).constant(number(I8, 0.0)).constant(number(F32, 0.25));
        all.push(back.constant(number(F32, 16.0)).constant(number(U8, 100.0)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_points_are_subtracted() {
        let a = Tensor::new([4, 3], vec![11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]).unwrap();
        let b = Tensor::new([3, 2], vec![1u8, 4, 2, 5, 3, 6]).unwrap();
        let (za, zb) = (Tensor::vector(&[12u8]), Tensor::vector(&[0u8]));
        let y = MatMulInteger.eval(&[Some(&a), Some(&b), Some(&za), Some(&zb)]).unwrap();
        assert_eq!(y[0].to_vec::<i32>().unwrap(), [-38, -83, -44, -98, -50, -113, -56, -128]);
    }
}
