//! Products and convolutions of quantised tensors: MatMulInteger, QLinearMatMul, ConvInteger, QLinearConv.

use std::sync::Arc;

use super::conv::Conv;
use super::eval::{need, opt};
use super::infer::one;
use super::matmul::Geometry;
use super::quant::{apply, emit_quantized, emit_shifted, quantized};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, F8E4M3FN, F8E5M2, F16, F32, I8, I32, U8};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::DeviceType;
use crate::kernels::conv::{self, Filters, Operands};
use crate::kernels::elementwise::{Emit, Var};
use crate::kernels::epilogue::{Ends, Epilogue};
use crate::kernels::matmul::{Product, Right, product, right_of};
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
/// ConvInteger's row of the registry.
pub(super) const CONV_INTEGER: OpDef = OpDef {
    domain: "",
    name: "ConvInteger",
    versions: &[10],
    parse: |a, _| Ok(Arc::new(ConvInteger(Convolution::parse(a)?))),
    cases: conv_integer_cases,
};
/// QLinearConv's row of the registry.
pub(super) const QLINEAR_CONV: OpDef = OpDef {
    domain: "",
    name: "QLinearConv",
    versions: &[10],
    parse: |a, _: &NodeInfo| Ok(Arc::new(QLinearConv(Convolution::parse(a)?))),
    cases: qlinear_conv_cases,
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

/// A parameter of the filters of a convolution, as it broadcasts to a tensor of `rank` dims in which they are dim `d`.
fn by_filters(p: &[usize], d: usize, rank: usize) -> Vec<usize> {
    match p {
        [filters] if *filters != 1 => {
            let mut s = vec![1; rank];
            s[d] = *filters;
            s
        }
        _ => vec![],
    }
}

fn check(d: DType) -> Result<()> {
    ensure!(matches!(d, I8 | U8) || d.is_small_float(), Unsupported, "products of quantised {d}");
    Ok(())
}

/// Elements less their zero point, which broadcasts as `wide`.
pub(super) fn shifted(x: &Tensor, zero: Option<&Tensor>, wide: impl Fn(&[usize]) -> Vec<usize>) -> Result<Tensor> {
    let to = if x.dtype().is_float() { F32 } else { I32 };
    let Some(z) = zero else { return Tensor::from_f64s(to, x.shape(), x.to_f64s()?) };
    if matches!(x.dtype(), I8 | U8) && z.len() == 1 {
        let zero = z.to_i128s()?[0] as i32;
        let values: Vec<i32> = match x.dtype() {
            I8 => x.bytes().iter().map(|v| *v as i8 as i32 - zero).collect(),
            _ => x.bytes().iter().map(|v| *v as i32 - zero).collect(),
        };
        return Tensor::new(x.shape(), values);
    }
    let s = wide(z.shape());
    let fits = shape::broadcast(&[&s, x.shape()]).is_ok_and(|b| b == x.shape());
    ensure!(fits, InvalidNode, "a zero point of {:?} for {:?}", z.shape(), x.shape());
    let (at, z) = (shape::broadcast_indices(&s, x.shape()), z.to_f64s()?);
    let values = x.to_f64s()?.into_iter().zip(at).map(|(x, i)| x - z[i]).collect();
    Tensor::from_f64s(to, x.shape(), values)
}

/// The bits of a narrow type seen as the type that products are made of; both are held alike on the device.
pub(super) fn widened(v: &View) -> View {
    let (dtype, device) = if v.device.is_float() { (F32, DeviceType::F32) } else { (I32, DeviceType::I32) };
    View { dtype, device, ..v.clone() }
}

fn spread(v: &View, wide: &[usize], to: &[usize]) -> Result<View> {
    let v = v.reshaped(wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))?;
    Ok(v.broadcast(to))
}

/// The zero point that is input `i`, unless it is known to be zero.
fn zero_point(cx: &mut LowerCx<'_>, i: usize) -> Result<Option<View>> {
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
fn is_known(cx: &LowerCx<'_>, i: usize, zero: usize) -> bool {
    cx.value(i).is_some() && (cx.value(zero).is_some() || !cx.has_input(zero))
}

/// What names a constant less its zero point.
fn less_tag(z: Option<&Tensor>) -> String {
    z.map_or("widened".into(), |z| format!("less {:?} {:?}", z.shape(), z.bytes()))
}

/// Sums of products whose first factors are not yet less their `zero` point, less that times the `sums` of the second
/// factors; then `end`. So nothing is subtracted before the products or within them.
pub(super) fn centred(cx: &LowerCx<'_>, zero: &View, sums: View, end: Option<&Epilogue>) -> Result<Epilogue> {
    let less = Epilogue::new(cx, "zero", [I32, I32], vec![widened(zero), sums], |e, made, args| {
        let by = e.call(I32, "mul", &[&args[0], &args[1]])?;
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
    // one for all, or one a row
    let single = zero.as_ref().is_some_and(|z| z.shape.last().is_none_or(|columns| *columns == 1));
    let sums = if single && !x.dtype.is_float() { column_sums(cx, b, b_zero, by_columns)? } else { None };
    let (x, end) = match (zero, sums) {
        (Some(zero), Some(sums)) => (widened(x), Some(centred(cx, &zero, sums, end)?)),
        (zero, _) => (less(cx, x, zero)?, end.cloned()),
    };
    let fit = |v: &View| v.reshaped(&g.a).ok_or_else(|| err!(Internal, "{:?} is not {:?}", v.shape, g.a));
    let left = fit(&x)?.broadcast(&[&g.batch[..], &[g.m, g.k]].concat());
    let right = shifted_right(cx, b, b_zero, g)?.broadcast(&g.batch);
    ended_product(cx, left, right, out, end)
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
const X_SCALE: usize = 1;
const W_SCALE: usize = 4;
const Y_SCALE: usize = 6;
const Y_ZERO: usize = 7;

/// How the scales and the zero point of a result broadcast to it.
struct Scales {
    x: Vec<usize>,
    w: Vec<usize>,
    y: Vec<usize>,
    zero: Vec<usize>,
}

impl Scales {
    /// Sums brought back to the quantised range. As every runtime does, in float32 arithmetic.
    fn eval(&self, sums: &Tensor, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
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
        [(X_SCALE, &self.x), (W_SCALE, &self.w), (Y_SCALE, &self.y), (Y_ZERO, &self.zero)].into_iter().map(view).collect()
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
    fn end(&self, cx: &mut LowerCx<'_>, from: DType, out: DType) -> Result<Epilogue> {
        let views = self.views(cx)?;
        Epilogue::new(cx, "scaled", [from, out], views, |e, sum, args| Scales::emit(e, &sum, args, out))
    }

    fn lower(&self, cx: &mut LowerCx<'_>, sums: View, out: &View) -> Result<()> {
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

/// Inputs with so many elements, where they are present.
fn ensure_counts(cx: &InferCx<'_>, inputs: &[usize], counts: &[usize]) -> Result<()> {
    for (i, t) in inputs.iter().filter_map(|i| Some((i, cx.try_input(*i)?))) {
        ensure!(counts.contains(&t.numel()), InvalidNode, "input {i}: expected one of {counts:?} elements, got {t}");
    }
    Ok(())
}

/// Convolution of integers, with Conv's attributes.
#[derive(Debug)]
struct Convolution(Conv);

impl Convolution {
    fn parse(a: &AttrReader<'_>) -> Result<Convolution> {
        Ok(Convolution(Conv::parse(a)?))
    }

    fn output(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        ensure!(x.len() >= 3, InvalidNode, "cannot convolve {x:?} with {w:?}");
        Ok(self.0.shapes((x, w, None))?.output())
    }

    fn eval(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let shapes = self.0.shapes((x.shape(), w.shape(), None))?;
        let (out, groups, win) = (shapes.output(), shapes.group, shapes.geometry);
        let (xs, ws) = (x.to_i128s()?, w.to_i128s()?);
        let bias = bias.map(Tensor::to_i128s).transpose()?;
        let (sx, sw) = (shape::strides(x.shape()), shape::strides(w.shape()));
        let depth = w.shape()[1];
        let mut values = Vec::with_capacity(shape::numel(&out));
        for at in shape::coords(&out) {
            let first = at[1] / (out[1] / groups) * depth;
            let mut sum = bias.as_ref().map_or(0, |b| b[at[1]]);
            for k in shape::coords(&win.kernel) {
                let place = |d: usize| (at[d + 2] * win.strides[d] + k[d] * win.dilations[d]).checked_sub(win.begin[d]);
                let inside: Option<Vec<usize>> =
                    (0..k.len()).map(|d| place(d).filter(|p| *p < x.shape()[d + 2])).collect();
                let Some(p) = inside else { continue };
                let spot: usize = p.iter().zip(&sx[2..]).map(|(p, s)| p * s).sum();
                let tap: usize = k.iter().zip(&sw[2..]).map(|(k, s)| k * s).sum();
                for c in 0..depth {
                    sum += xs[at[0] * sx[0] + (first + c) * sx[1] + spot] * ws[at[1] * sw[0] + c * sw[1] + tap];
                }
            }
            values.push(sum);
        }
        Tensor::from_i128s(I32, out, values)
    }

    /// Sums of inputs `x` and `w` less their zero points, through `end`.
    fn lower(
        &self,
        cx: &mut LowerCx<'_>,
        [x, w]: [usize; 2],
        zeros: [usize; 2],
        bias: usize,
        out: &View,
        end: Option<&Epilogue>,
    ) -> Result<()> {
        let (tx, tw) = (cx.input_type(x)?, cx.input_type(w)?);
        let bias = if cx.has_input(bias) { Some(cx.dense_input(bias)?) } else { None };
        let shapes = self.0.shapes((&tx.shape, &tw.shape, None))?.kernel()?;
        let zero = zero_point(cx, zeros[0])?.and_then(|z| z.reshaped(&[]));
        let sums = if zero.is_some() { filter_sums(cx, w, zeros[1])? } else { None };
        let (vx, end, around) = match zero.zip(sums) {
            Some((zero, sums)) => (widened(&cx.input(x)?), Some(centred(cx, &zero, sums, end)?), true),
            None => (shifted_view(cx, x, zeros[0], |_| vec![])?, end.cloned(), false),
        };
        let filters = filters(cx, w, zeros[1])?;
        let ends = Ends { start: None, end: end.as_ref() };
        conv::convolve(cx, &shapes, &Operands { x: vx, filters, bias, around }, out, ends)
    }
}

/// The sums of the filters, input `w`, constants, less their zero points; as they broadcast to the result.
fn filter_sums(cx: &mut LowerCx<'_>, w: usize, zero: usize) -> Result<Option<View>> {
    let t = cx.input_type(w)?;
    if !is_known(cx, w, zero) {
        return Ok(None);
    }
    let (z, rank, filters) = (cx.value(zero).cloned(), t.rank(), t.shape.first().copied().unwrap_or(0));
    let mut wide = vec![1; rank.saturating_sub(1)];
    if let Some(d) = wide.first_mut() {
        *d = filters;
    }
    let (to, tag) = (TensorType::new(I32, wide.clone()), format!("sums {}", less_tag(z.as_ref())));
    let make = move |x: &Tensor| {
        let less = shifted(x, z.as_ref(), |p| by_filters(p, 0, rank))?;
        let values = less.to_slice::<i32>()?;
        let taps = values.chunks((x.len() / filters.max(1)).max(1));
        let sums: Vec<i32> = taps.map(|t| t.iter().fold(0i32, |sum, v| sum.wrapping_add(*v))).collect();
        Tensor::new(wide.clone(), sums)
    };
    cx.prepacked(w, &tag, to, make).map(Some)
}

/// The filters, input `w`, less their zero points; made once where both are constant.
fn filters(cx: &mut LowerCx<'_>, w: usize, zero: usize) -> Result<Filters> {
    let rank = cx.input_type(w)?.rank();
    let wide = move |p: &[usize]| by_filters(p, 0, rank);
    if is_known(cx, w, zero) {
        let z = cx.value(zero).cloned();
        let tag = format!("filters {}", less_tag(z.as_ref()));
        let make = Arc::new(move |x: &Tensor| shifted(x, z.as_ref(), wide));
        return Ok(Filters::Constant { input: w, dtype: I32, tag, make });
    }
    let v = shifted_view(cx, w, zero, wide)?;
    Ok(Filters::View(cx.dense(&v)?))
}

#[derive(Debug)]
struct ConvInteger(Convolution);

fn check_conv(cx: &InferCx<'_>, x: usize, w: usize) -> Result<()> {
    let (x, w) = (cx.dtype(x)?, cx.dtype(w)?);
    ensure!(matches!(x, I8 | U8) && matches!(w, I8 | U8), Unsupported, "integer convolution of {x} with {w}");
    Ok(())
}

impl Op for ConvInteger {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        check_conv(cx, 0, 1)?;
        ensure_counts(cx, &[2], &[1])?;
        ensure_counts(cx, &[3], &[1, cx.shape(1)?.first().copied().unwrap_or(0)])?;
        one(I32, self.0.output(cx.shape(0)?, cx.shape(1)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = shifted(need(inputs, 0)?, opt(inputs, 2), |_| vec![])?;
        let w = shifted(need(inputs, 1)?, opt(inputs, 3), |p| by_filters(p, 0, x.rank()))?;
        Ok(vec![self.0.eval(&x, &w, None)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        self.0.lower(cx, [0, 1], [2, 3], usize::MAX, &out, None)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.only_end()?;
        let out = cx.output(0)?;
        self.0.lower(cx, [0, 1], [2, 3], usize::MAX, &out, Some(end))
    }
}

#[derive(Debug)]
struct QLinearConv(Convolution);

const BIAS: usize = 8;

impl QLinearConv {
    fn scales(&self, w_scale: &[usize], rank: usize) -> Scales {
        Scales { x: vec![], w: by_filters(w_scale, 1, rank), y: vec![], zero: vec![] }
    }
}

impl Op for QLinearConv {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        check_conv(cx, 0, 3)?;
        let y = cx.dtype(Y_ZERO)?;
        if !matches!(y, I8 | U8) {
            return Err(err!(Unsupported, "quantising to {y}").into());
        }
        let filters = cx.shape(3)?.first().copied().unwrap_or(0);
        ensure_counts(cx, &[X_SCALE, 2, Y_SCALE, Y_ZERO], &[1])?;
        ensure_counts(cx, &[W_SCALE, 5], &[1, filters])?;
        if let Some(t) =
            [W_SCALE, 5].into_iter().filter_map(|i| cx.try_input(i)).find(|t| t.numel() > 1 && t.rank() > 1)
        {
            return Err(err!(InvalidNode, "expected a value for each filter, got {t}").into());
        }
        ensure_counts(cx, &[BIAS], &[filters])?;
        one(y, self.0.output(cx.shape(0)?, cx.shape(3)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = shifted(need(inputs, 0)?, opt(inputs, 2), |_| vec![])?;
        let w = shifted(need(inputs, 3)?, opt(inputs, 5), |p| by_filters(p, 0, x.rank()))?;
        let sums = self.0.eval(&x, &w, opt(inputs, BIAS))?;
        let scales = self.scales(need(inputs, W_SCALE)?.shape(), x.rank());
        Ok(vec![scales.eval(&sums, inputs)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        let scales = self.scales(&cx.input_type(W_SCALE)?.shape, out.rank());
        let as_one = cx.attempt(|cx| {
            let end = scales.end(cx, I32, out.dtype)?;
            self.0.lower(cx, [0, 3], [2, 5], BIAS, &out, Some(&end))
        })?;
        if as_one {
            return Ok(());
        }
        let sums = cx.temp(I32, &out.shape)?;
        self.0.lower(cx, [0, 3], [2, 5], BIAS, &sums, None)?;
        scales.lower(cx, sums, &out)
    }
}

fn ramp(d: DType, s: &[usize]) -> Tensor {
    let values = (0..shape::numel(s)).map(|i| (i as i128 * 37 + 11) % 100).collect();
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
    all
}

fn conv_integer_cases() -> Vec<Case> {
    let case = || Case::new("ConvInteger", 10);
    vec![
        case().rand(U8, &[1, 1, 3, 3]).rand(U8, &[1, 1, 2, 2]).rand(U8, &[]),
        case()
            .rand(U8, &[2, 4, 5, 6])
            .rand(I8, &[6, 2, 3, 3])
            .rand(U8, &[])
            .rand(I8, &[6])
            .int("group", 2)
            .ints("pads", &[1, 0, 2, 1]),
        case()
            .rand(I8, &[1, 3, 11])
            .rand(I8, &[2, 3, 3])
            .ints("strides", &[2])
            .ints("dilations", &[2])
            .string("auto_pad", "SAME_LOWER"),
        case().rand(I8, &[1, 2, 4, 5, 6]).rand(U8, &[3, 2, 2, 2, 2]).string("auto_pad", "SAME_UPPER"),
        case().rand(I8, &[2, 6, 5, 5]).constant(ramp(I8, &[6, 1, 3, 3])).constant(ramp(I8, &[])).int("group", 6),
        case().rand(U8, &[2, 8, 6, 7]).rand(U8, &[12, 8, 1, 1]).rand(U8, &[]),
        case()
            .rand(U8, &[1, 3, 13, 9])
            .constant(ramp(U8, &[8, 3, 3, 3]))
            .rand(U8, &[])
            .constant(ramp(U8, &[1]))
            .ints("strides", &[2, 2]),
        case().rand(I8, &[0, 2, 4]).rand(U8, &[3, 2, 2]),
    ]
}

fn qlinear_conv_cases() -> Vec<Case> {
    let case = |x: DType, w: DType, per: &[usize]| {
        let c = Case::new("QLinearConv", 10).rand(x, &[2, 4, 7, 6]).range(F32, &[], 0.01, 0.02).rand(x, &[]);
        let c = c.rand(w, &[6, 4, 3, 3]).range(F32, per, 0.01, 0.02).range(w, per, 0.0, 9.0);
        c.range(F32, &[], 0.03, 0.06).rand(x, &[]).ints("pads", &[1, 1, 1, 1])
    };
    vec![
        case(U8, U8, &[]),
        case(U8, I8, &[6]).rand(I32, &[6]),
        case(I8, I8, &[1]).rand(I32, &[6]).ints("strides", &[2, 1]),
    ]
}

/// What stands behind integer products in models, as chains that read their sums.
const SCALED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("Add", &[2]), ("Relu", &[])];
const ADDED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("Add", &[2]), ("Add", &[3])];
const QUANTISED: &[(&str, &[usize])] = &[("Cast", &[]), ("Mul", &[1]), ("QuantizeLinear", &[2, 3])];

fn number(d: DType, x: f64) -> Tensor {
    Tensor::from_f64s(d, [], vec![x]).unwrap_or_else(|_| Tensor::zeros(d, []))
}

/// Cases of ConvInteger with an epilogue.
pub(super) fn ended_conv_cases() -> Vec<Case> {
    let new = |attrs: &[(&str, crate::ir::Attr)], more, tail, w: &[usize]| {
        let c = super::epilogue::case("ConvInteger+Elementwise", attrs, &[true; 4], more, tail);
        c.sum(w[1..].iter().product())
    };
    let ints = |v: &[i64]| crate::ir::Attr::Ints(v.to_vec());
    let pads = [("pads", ints(&[1, 1, 0, 2]))];
    let depthwise = [("group", crate::ir::Attr::Int(6)), ("pads", ints(&[1, 1, 1, 1]))];
    let scale = || number(F32, 0.01);
    let mut all = vec![];
    for (w, attrs) in [([5, 3, 3, 3], &pads[..]), ([40, 3, 1, 1], &[]), ([6, 1, 3, 3], &depthwise)] {
        let channels = if w[1] == 1 { 6 } else { 3 };
        let x = [2, channels, 6, 7];
        let made = [2, w[0], 6, if attrs.len() == 1 { 8 } else { 7 }];
        let made = if attrs.len() == 1 { [2, w[0], 5, made[3]] } else { made };
        let bias = [w[0], 1, 1];
        // the zero point of x is fed, known or zero, the filters are known or fed
        let fed = |more, tail| new(attrs, more, tail, &w).rand(U8, &x).constant(ramp(I8, &w)).rand(U8, &[]);
        all.push(fed(2, SCALED).constant(ramp(I8, &w[..1])).range(F32, &[], 0.005, 0.02).constant(ramp(F32, &bias)));
        let all_there = fed(3, ADDED).constant(number(I8, 0.0)).range(F32, &[], 0.005, 0.02);
        all.push(all_there.constant(ramp(F32, &bias)).rand(F32, &made));
        let known = new(attrs, 2, SCALED, &w).rand(I8, &x).constant(ramp(U8, &w)).constant(number(I8, -3.0));
        all.push(known.constant(number(U8, 7.0)).constant(scale()).constant(ramp(F32, &bias)));
        let open = new(attrs, 2, SCALED, &w).rand(U8, &x).rand(I8, &w).rand(U8, &[]).rand(I8, &w[..1]);
        all.push(open.constant(scale()).rand(F32, &bias));
        let back = fed(3, QUANTISED).constant(number(I8, 0.0)).constant(number(F32, 0.25));
        all.push(back.constant(number(F32, 16.0)).constant(number(U8, 100.0)));
    }
    all
}

/// Cases of MatMulInteger with an epilogue.
pub(super) fn ended_matmul_cases() -> Vec<Case> {
    let new = |more, tail, k| {
        super::epilogue::case("MatMulInteger+Elementwise", &[], &[true; 4], more, tail).sum(k)
    };
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
    use crate::ir::Attr;

    #[test]
    fn zero_points_are_subtracted() {
        let a = Tensor::new([4, 3], vec![11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]).unwrap();
        let b = Tensor::new([3, 2], vec![1u8, 4, 2, 5, 3, 6]).unwrap();
        let (za, zb) = (Tensor::vector(&[12u8]), Tensor::vector(&[0u8]));
        let y = MatMulInteger.eval(&[Some(&a), Some(&b), Some(&za), Some(&zb)]).unwrap();
        assert_eq!(y[0].to_vec::<i32>().unwrap(), [-38, -83, -44, -98, -50, -113, -56, -128]);
    }

    #[test]
    fn windows_that_tile_are_padded() {
        let attrs = [("auto_pad".to_string(), Attr::Str("SAME_UPPER".into())), ("strides".into(), Attr::Ints(vec![2]))];
        let attrs = attrs.into();
        let none = Convolution::parse(&AttrReader::new(&attrs)).unwrap();
        let out = none.output(&[1, 1, 4], &[1, 1, 3]).unwrap();
        assert_eq!(out, [1, 1, 2]);
        assert!(none.output(&[1, 2, 4], &[1, 1, 3]).is_err());
    }
}
