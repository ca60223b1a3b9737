//! Products of quantised matrices of com.microsoft: DynamicQuantizeMatMul, MatMulIntegerToFloat, QGemm.

use std::sync::Arc;

use super::einsum::fitted;
use super::eval::{need, opt};
use super::infer::one;
use super::matmul::{Geometry, oriented, product_tolerance};
use super::quant::{apply, dynamic_scale, emit_quantized, lower_dynamic, quantized};
use super::quant_products::{by_columns, integer_product, product_of, shifted, shifted_right, shifted_view};
use super::{Case, InferCx, Inferred, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, F16, F32, I8, I32, U8};
use crate::ir::AttrReader;
use crate::kernels::elementwise::{Emit, Var};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "com.microsoft",
        name: "DynamicQuantizeMatMul",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(DynamicQuantizeMatMul)),
        cases: dynamic_cases,
    },
    OpDef {
        domain: "com.microsoft",
        name: "MatMulIntegerToFloat",
        versions: &[1],
        parse: |_, _| Ok(Arc::new(MatMulIntegerToFloat)),
        cases: to_float_cases,
    },
    OpDef { domain: "com.microsoft", name: "QGemm", versions: &[1], parse: parse_gemm, cases: gemm_cases },
];

fn eight_bits(d: DType) -> Result<()> {
    ensure!(matches!(d, I8 | U8), Unsupported, "{d} where an 8-bit integer is expected");
    Ok(())
}

fn single(name: &str, s: &[usize]) -> Result<()> {
    ensure!(shape::numel(s) == 1 && s.len() <= 1, InvalidNode, "expected {name} of one element, got {s:?}");
    Ok(())
}

/// What `p` is at each element of `out`, to which it broadcasts as `wide`.
fn spread(p: &Tensor, wide: &[usize], out: &[usize]) -> Result<Vec<f32>> {
    let fits = shape::broadcast(&[wide, out]).is_ok_and(|s| s == out);
    ensure!(fits, InvalidNode, "{:?} does not broadcast to {out:?}", p.shape());
    let values = p.to_f32s()?;
    Ok(shape::broadcast_indices(wide, out).into_iter().map(|i| values[i]).collect())
}

/// `sums · (a_scale · b_scale) + bias`, each step rounded to float32.
fn scaled(sums: &[i128], g: &Geometry, a_scale: f32, b_scale: &Tensor, bias: Option<&Tensor>) -> Result<Vec<f64>> {
    let whole = [&g.batch[..], &[g.m, g.n]].concat();
    let scale = spread(b_scale, &by_columns(b_scale.shape()), &whole)?;
    let bias = bias.map(|b| spread(b, b.shape(), &whole)).transpose()?;
    let of = |(i, sum): (usize, &i128)| {
        let y = *sum as i32 as f32 * (a_scale * scale[i]);
        (y + bias.as_ref().map_or(0.0, |b| b[i])) as f64
    };
    Ok(sums.iter().enumerate().map(of).collect())
}

/// The same on the device, of what a product makes; `a_scale` has one element.
fn scaled_end(cx: &mut LowerCx<'_>, a_scale: &View, b_scale: usize, bias: usize, out: DType) -> Result<Epilogue> {
    let b_scale = cx.input(b_scale)?;
    let wide = by_columns(&b_scale.shape);
    let mut views = vec![fitted(cx, a_scale, &[])?, fitted(cx, &b_scale, &wide)?];
    views.extend(cx.try_input(bias)?);
    Epilogue::new(cx, "scaled", [I32, out], views, |e, sum, x| {
        let wide: Vec<Var> = x.iter().map(|v| e.cast(v, F32)).collect::<Result<_>>()?;
        let scale = e.call(F32, "mul", &[&wide[0], &wide[1]])?;
        let sum = e.cast(&sum, F32)?;
        let mut y = e.call(F32, "mul", &[&sum, &scale])?;
        if let Some(b) = wide.get(2) {
            y = e.call(F32, "add", &[&y, b])?;
        }
        e.cast(&y, out)
    })
}

/// The output with the dims of both matrices.
fn whole_output(cx: &mut LowerCx<'_>, g: &Geometry) -> Result<View> {
    let out = cx.output(0)?;
    fitted(cx, &out, &[&g.batch[..], &[g.m, g.n]].concat())
}

/// Scale and bias must broadcast to the product, the zero point to its second factor (input 1).
fn check_columns(cx: &InferCx<'_>, g: &Geometry, [scale, zero, bias]: [usize; 3]) -> Result<()> {
    let whole = [&g.batch[..], &[g.m, g.n]].concat();
    let given = |i: usize| cx.try_input(i).map_or(vec![], |t| t.shape.clone());
    let (right, factor) = (by_columns(&given(zero)), given(1));
    for (i, s, to) in [(scale, by_columns(&given(scale)), &whole), (zero, right, &factor), (bias, given(bias), &whole)]
    {
        let fits = shape::broadcast(&[&s, to]).is_ok_and(|b| b == *to);
        ensure!(fits, InvalidNode, "input {i}: {s:?} does not broadcast to {to:?}");
    }
    Ok(())
}

#[derive(Debug)]
struct DynamicQuantizeMatMul;

impl Op for DynamicQuantizeMatMul {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        eight_bits(cx.dtype(1)?)?;
        if cx.dtype(0)? != F32 {
            return Err(err!(Unsupported, "quantising {}", cx.dtype(0)?).into());
        }
        let g = Geometry::new(cx.shape(0)?, cx.shape(1)?)?;
        check_columns(cx, &g, [2, 3, 4])?;
        one(F32, g.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, 1)?);
        let g = Geometry::new(a.shape(), b.shape())?;
        let a = a.to_f32s()?;
        let (scale, zero) = dynamic_scale(&a);
        let a: Vec<i128> = a.iter().map(|v| (quantized(U8, (v / scale) as f64, zero) - zero) as i128).collect();
        let b = shifted(b, opt(inputs, 3), by_columns)?;
        let y = scaled(&g.ints(&a, &b.to_i128s()?), &g, scale, need(inputs, 2)?, opt(inputs, 4))?;
        Ok(vec![Tensor::from_f64s(F32, g.out, y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (a, b) = (cx.input(0)?, cx.input_type(1)?);
        let g = Geometry::new(&a.shape, &b.shape)?;
        let out = whole_output(cx, &g)?;
        let (q, scale, zero) = (cx.temp(U8, &a.shape)?, cx.temp(F32, &[])?, cx.temp(U8, &[])?);
        lower_dynamic(cx, &a, &q, &scale, &zero)?;
        let end = scaled_end(cx, &scale, 2, 4, F32)?;
        product_of(cx, &q, Some(zero), [1, 3], &g, &out, Some(&end))
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        product_tolerance(dtype, 1)
    }
}

#[derive(Debug)]
struct MatMulIntegerToFloat;

impl Op for MatMulIntegerToFloat {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        eight_bits(cx.dtype(0)?)?;
        eight_bits(cx.dtype(1)?)?;
        single("a_scale", cx.shape(2)?)?;
        if let Some(z) = cx.try_input(4) {
            single("a_zero_point", &z.shape)?;
        }
        let out = cx.dtype(2)?;
        if !matches!(out, F32 | F16) {
            return Err(err!(Unsupported, "scales of {out}").into());
        }
        let g = Geometry::new(cx.shape(0)?, cx.shape(1)?)?;
        check_columns(cx, &g, [3, 5, 6])?;
        one(out, g.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let a = shifted(need(inputs, 0)?, opt(inputs, 4), |_| vec![])?;
        let b = shifted(need(inputs, 1)?, opt(inputs, 5), by_columns)?;
        let g = Geometry::new(a.shape(), b.shape())?;
        let a_scale = need(inputs, 2)?;
        let scale = a_scale.to_f32s()?[0];
        let sums = g.ints(&a.to_i128s()?, &b.to_i128s()?);
        let y = scaled(&sums, &g, scale, need(inputs, 3)?, opt(inputs, 6))?;
        Ok(vec![Tensor::from_f64s(a_scale.dtype(), g.out, y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let g = Geometry::new(&cx.input_type(0)?.shape, &cx.input_type(1)?.shape)?;
        let out = whole_output(cx, &g)?;
        let a_scale = cx.input(2)?;
        let end = scaled_end(cx, &a_scale, 3, 6, out.dtype)?;
        integer_product(cx, [0, 1], [4, 5], &out, Some(&end))
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        product_tolerance(dtype, 1)
    }
}

/// `alpha · a_scale · b_scale · (A × B + C)`, quantised anew where the result has a zero point.
#[derive(Debug)]
struct QGemm {
    alpha: f32,
    trans_a: bool,
    trans_b: bool,
}

const A_SCALE: usize = 1;
const A_ZERO: usize = 2;
const B: usize = 3;
const B_SCALE: usize = 4;
const B_ZERO: usize = 5;
const C: usize = 6;
const Y_SCALE: usize = 7;
const Y_ZERO: usize = 8;

fn parse_gemm(a: &AttrReader<'_>, n: &super::NodeInfo) -> Result<std::sync::Arc<dyn Op>> {
    let both = n.has_input(Y_SCALE) == n.has_input(Y_ZERO);
    ensure!(both, InvalidNode, "y_scale and y_zero_point stand together or not at all");
    Ok(Arc::new(QGemm {
        alpha: a.float_or("alpha", 1.0)?,
        trans_a: a.flag_or("transA", false)?,
        trans_b: a.flag_or("transB", false)?,
    }))
}

impl QGemm {
    fn geometry(&self, a: &[usize], b: &[usize], c: Option<&[usize]>) -> Result<Geometry> {
        let (&[a0, a1], &[b0, b1]) = (a, b) else { bail!(InvalidNode, "expected two matrices, got {a:?} and {b:?}") };
        let g = Geometry::new(
            &if self.trans_a { [a1, a0] } else { [a0, a1] },
            &if self.trans_b { [b1, b0] } else { [b0, b1] },
        )?;
        if let Some(c) = c {
            let fits = c.len() <= 2 && shape::broadcast(&[c, &g.out]).is_ok_and(|s| s == g.out);
            ensure!(fits, InvalidNode, "C of {c:?} does not broadcast to {:?}", g.out);
        }
        Ok(g)
    }

    /// The quotient to be rounded, or the result.
    fn emit(&self, e: &mut Emit<'_>, x: &[Var]) -> Result<Var> {
        let alpha = e.float(F32, self.alpha)?;
        let a = e.call(F32, "mul", &[&alpha, &x[1]])?;
        let mut scale = e.call(F32, "mul", &[&a, &x[2]])?;
        if let Some(y) = x.get(3) {
            scale = e.call(F32, "quotient", &[&scale, y])?;
        }
        let sum = e.cast(&x[0], F32)?;
        e.call(F32, "mul", &[&sum, &scale])
    }
}

fn transposed(v: &View, flip: bool) -> View {
    if flip { v.permuted(&[1, 0]) } else { v.clone() }
}

/// A parameter of the columns of B, as it broadcasts to B before it is transposed.
fn of_columns(p: &[usize], transposed: bool) -> Vec<usize> {
    match by_columns(p)[..] {
        [n] if transposed => vec![n, 1],
        ref s => s.to_vec(),
    }
}

impl Op for QGemm {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        eight_bits(cx.dtype(0)?)?;
        eight_bits(cx.dtype(B)?)?;
        for i in [A_SCALE, B_SCALE] {
            if cx.dtype(i)? != F32 {
                return Err(err!(InvalidNode, "input {i}: expected {F32}, got {}", cx.dtype(i)?).into());
            }
        }
        for (i, name) in
            [(A_SCALE, "a_scale"), (A_ZERO, "a_zero_point"), (Y_SCALE, "y_scale"), (Y_ZERO, "y_zero_point")]
        {
            if let Some(t) = cx.try_input(i) {
                single(name, &t.shape)?;
            }
        }
        let g = self.geometry(cx.shape(0)?, cx.shape(B)?, cx.try_input(C).map(|c| &c.shape[..]))?;
        for (i, name) in [(B_SCALE, "b_scale"), (B_ZERO, "b_zero_point")] {
            if let Some(t) = cx.try_input(i) {
                let fits = shape::broadcast(&[&by_columns(&t.shape), &g.out]).is_ok_and(|s| s == g.out);
                if !fits {
                    return Err(err!(InvalidNode, "{name} of {:?} for {} columns", t.shape, g.n).into());
                }
            }
        }
        let y = cx.try_input(Y_ZERO).map_or(F32, |z| z.dtype);
        if y != F32 {
            eight_bits(y)?;
        }
        one(y, g.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let flip = self.trans_b;
        let a = oriented(&shifted(need(inputs, 0)?, opt(inputs, A_ZERO), |_| vec![])?, self.trans_a)?;
        let b = shifted(need(inputs, B)?, opt(inputs, B_ZERO), |p| of_columns(p, flip))?;
        let b = oriented(&b, flip)?;
        let g = Geometry::new(a.shape(), b.shape())?;
        let sums = g.ints(&a.to_i128s()?, &b.to_i128s()?);
        let c = match opt(inputs, C) {
            Some(c) => {
                let values = c.to_i128s()?;
                shape::broadcast_indices(c.shape(), &g.out).into_iter().map(|i| values[i]).collect()
            }
            None => vec![0; sums.len()],
        };
        let one = |i: usize| -> Result<f32> { Ok(need(inputs, i)?.to_f32s()?[0]) };
        let b_scale = need(inputs, B_SCALE)?;
        let b_scale = spread(b_scale, &by_columns(b_scale.shape()), &g.out)?;
        let a_scale = self.alpha * one(A_SCALE)?;
        let to = match opt(inputs, Y_ZERO) {
            Some(z) => Some((one(Y_SCALE)?, z.to_f64s()?[0], z.dtype())),
            None => None,
        };
        let of = |(i, sum): (usize, &i128)| {
            let sum = (sum + c[i]) as i32 as f32;
            let scale = a_scale * b_scale[i];
            match to {
                Some((y, zero, d)) => quantized(d, (sum * (scale / y)) as f64, zero),
                None => (sum * scale) as f64,
            }
        };
        let y = sums.iter().enumerate().map(of).collect();
        Ok(vec![Tensor::from_f64s(to.map_or(F32, |t| t.2), g.out.clone(), y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (ta, tb) = (cx.input_type(0)?, cx.input_type(B)?);
        let g = self.geometry(&ta.shape, &tb.shape, None)?;
        let a = transposed(&shifted_view(cx, 0, A_ZERO, |_| vec![])?, self.trans_a);
        let flip = self.trans_b;
        let b = if flip {
            Right::View(transposed(&shifted_view(cx, B, B_ZERO, |p| of_columns(p, true))?, true))
        } else {
            shifted_right(cx, B, B_ZERO, &g)?
        };
        let out = cx.output(0)?;
        let sums = cx.temp(I32, &out.shape)?;
        let bias = cx.try_input(C)?.map(|c| c.broadcast(&out.shape));
        product(cx, &Product { bias, ..Product::new(a, b, sums.clone()) })?;
        let mut views = vec![sums];
        for i in [A_SCALE, B_SCALE, Y_SCALE, Y_ZERO] {
            if let Some(v) = cx.try_input(i)? {
                let wide = by_columns(&v.shape);
                views.push(fitted(cx, &v, &wide)?.broadcast(&out.shape));
            }
        }
        let quantises = cx.has_input(Y_ZERO);
        apply(cx, &views, &out, |e, x| {
            if !quantises {
                return self.emit(e, x);
            }
            let q = self.emit(e, &x[..4])?;
            emit_quantized(e, &q, x.get(4), out.dtype, true)
        })
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        product_tolerance(dtype, 1)
    }
}

fn ramp(d: DType, s: &[usize]) -> Tensor {
    let values = (0..shape::numel(s)).map(|i| (i as i128 * 37 + 11) % 100).collect();
    Tensor::from_i128s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
}

fn case(op: &'static str) -> Case {
    Case::new(op, 1).domain("com.microsoft")
}

fn dynamic_cases() -> Vec<Case> {
    let case = |a: &[usize]| case("DynamicQuantizeMatMul").rand(F32, a);
    let scale = |c: Case, s: &[usize]| c.range(F32, s, 0.01, 0.02);
    vec![
        scale(case(&[4, 3]).rand(U8, &[3, 2]), &[]),
        scale(case(&[2, 5, 16]).constant(ramp(I8, &[16, 33])), &[33]).constant(ramp(I8, &[33])).rand(F32, &[33]),
        scale(case(&[2, 5, 9]).rand(U8, &[2, 9, 7]), &[1]).rand(U8, &[1]).rand(F32, &[7]),
        scale(case(&[6]).rand(I8, &[6, 4]), &[4]).absent().rand(F32, &[4]),
        scale(case(&[0, 3]).rand(I8, &[3, 4]), &[4]),
    ]
}

fn to_float_cases() -> Vec<Case> {
    let case = |a: DType, b: DType, f: DType, per: &[usize]| {
        let c = case("MatMulIntegerToFloat").rand(a, &[2, 5, 9]).rand(b, &[9, 7]);
        c.range(f, &[], 0.01, 0.02).range(f, per, 0.01, 0.02)
    };
    vec![
        case(U8, I8, F32, &[]),
        case(I8, U8, F32, &[7]).rand(I8, &[]).rand(U8, &[7]).rand(F32, &[7]),
        case(U8, U8, F16, &[1]).absent().rand(U8, &[]).rand(F16, &[7]),
    ]
}

fn gemm_cases() -> Vec<Case> {
    let case = |a: DType, b: DType, flips: [bool; 2], per: &[usize]| {
        let sa = if flips[0] { [9, 5] } else { [5, 9] };
        let sb = if flips[1] { [7, 9] } else { [9, 7] };
        let c = case("QGemm").int("transA", flips[0] as i64).int("transB", flips[1] as i64);
        let c = c.rand(a, &sa).range(F32, &[], 0.01, 0.02).rand(a, &[]);
        c.rand(b, &sb).range(F32, per, 0.01, 0.02).rand(b, per)
    };
    vec![
        case(U8, I8, [false, false], &[]),
        case(I8, I8, [true, true], &[7]).rand(I32, &[7]).float("alpha", 0.5),
        case(U8, U8, [false, true], &[1]).rand(I32, &[5, 1]).range(F32, &[], 0.1, 0.2).rand(U8, &[]),
        case(I8, I8, [true, false], &[7]).absent().range(F32, &[], 0.1, 0.2).rand(I8, &[]).float("alpha", 1.5),
    ]
}
