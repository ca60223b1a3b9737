//! Matrix products: MatMul, Gemm.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::epilogue::Ends;
use crate::kernels::matmul::{Product, Right, product, right};
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "", name: "MatMul", versions: &[1, 9, 13], parse: parse_matmul, cases: matmul_cases },
    OpDef { domain: "", name: "Gemm", versions: &[7, 9, 11, 13], parse: parse_gemm, cases: gemm_cases },
];

/// The element types of both operators.
const TYPES: [DType; 8] = [F32, F16, F64, BF16, U32, U64, I32, I64];

fn check_type(d: DType) -> Result<()> {
    ensure!(TYPES.contains(&d), Unsupported, "products of {d}");
    Ok(())
}

/// The shapes of a product by NumPy's rules.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Geometry {
    /// What the leading dims broadcast to.
    pub batch: Vec<usize>,
    /// Rows of the left factor and the result.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// Columns of the right factor and the result.
    pub n: usize,
    /// The left factor's shape, rank 1 made a row.
    pub a: Vec<usize>,
    /// The right factor's shape, rank 1 made a column.
    pub b: Vec<usize>,
    /// The result's shape: the dims that rank 1 was given are taken away again.
    pub out: Vec<usize>,
}

impl Geometry {
    /// # Errors
    /// `InvalidNode` when the shapes do not multiply.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Geometry> {
        ensure!(!a.is_empty() && !b.is_empty(), InvalidNode, "a product takes rank 1 or more, got {a:?} and {b:?}");
        let wide_a = if let [k] = a { vec![1, *k] } else { a.to_vec() };
        let wide_b = if let [k] = b { vec![*k, 1] } else { b.to_vec() };
        let (ra, rb) = (wide_a.len(), wide_b.len());
        let (m, k, n) = (wide_a[ra - 2], wide_a[ra - 1], wide_b[rb - 1]);
        ensure!(k == wide_b[rb - 2], InvalidNode, "{a:?} and {b:?} do not multiply: {k} against {}", wide_b[rb - 2]);
        let batch = shape::broadcast(&[&wide_a[..ra - 2], &wide_b[..rb - 2]])?;
        let mut out = batch.clone();
        out.extend((a.len() > 1).then_some(m));
        out.extend((b.len() > 1).then_some(n));
        Ok(Geometry { batch, m, k, n, a: wide_a, b: wide_b, out })
    }

    /// For each matrix of the batch, which matrix of `a` and of `b` it is the product of.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let index = |s: &[usize]| shape::broadcast_indices(&s[..s.len() - 2], &self.batch);
        index(&self.a).into_iter().zip(index(&self.b))
    }

    /// The products of floats.
    pub fn floats(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        let (m, k, n) = (self.m, self.k, self.n);
        let mut out = vec![0.0; shape::numel(&self.batch) * m * n];
        if out.is_empty() {
            return out;
        }
        for ((x, y), z) in self.pairs().zip(out.chunks_exact_mut(m * n)) {
            let (x, y) = (&a[x * m * k..][..m * k], &b[y * k * n..][..k * n]);
            let (rk, rn) = (k as isize, n as isize);
            // SAFETY: the slices hold m·k, k·n and m·n elements, which these strides do not leave.
            unsafe {
                matrixmultiply::dgemm(m, k, n, 1.0, x.as_ptr(), rk, 1, y.as_ptr(), rn, 1, 0.0, z.as_mut_ptr(), rn, 1);
            }
        }
        out
    }

    /// The products of integers, to be wrapped to their type.
    pub fn ints(&self, a: &[i128], b: &[i128]) -> Vec<i128> {
        let (m, k, n) = (self.m, self.k, self.n);
        let mut out = Vec::with_capacity(shape::numel(&self.batch) * m * n);
        for (x, y) in self.pairs() {
            let (x, y) = (&a[x * m * k..][..m * k], &b[y * k * n..][..k * n]);
            for i in 0..m * n {
                let (row, column) = (i / n, i % n);
                let term = |p: usize| x[row * k + p].wrapping_mul(y[p * n + column]);
                out.push((0..k).map(term).fold(0, i128::wrapping_add));
            }
        }
        out
    }
}

fn same_type(a: DType, b: DType) -> Result<()> {
    ensure!(a == b, InvalidNode, "expected one element type, got {a} and {b}");
    Ok(())
}

/// How far a sum of `k` products may lie from the reference. Terms may cancel, so that the sums on the way are some
/// times larger than what comes out.
pub(super) fn product_tolerance(dtype: DType, k: usize) -> Tolerance {
    let t = Tolerance::ulps(dtype, 4.0 + (k as f64).sqrt());
    Tolerance { abs: t.rel, ..t }
}

#[derive(Debug)]
struct MatMul;

fn parse_matmul(_: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(MatMul))
}

impl Op for MatMul {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        check_type(a.dtype)?;
        same_type(a.dtype, b.dtype)?;
        one(a.dtype, Geometry::new(&a.shape, &b.shape)?.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, 1)?);
        let (d, g) = (a.dtype(), Geometry::new(a.shape(), b.shape())?);
        Ok(vec![if d.is_float() {
            Tensor::from_f64s(d, g.out.clone(), g.floats(&a.to_f64s()?, &b.to_f64s()?))?
        } else {
            Tensor::from_i128s(d, g.out.clone(), g.ints(&a.to_i128s()?, &b.to_i128s()?))?
        }])
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let (Some(a), Some(b)) = (cx.try_input(0), cx.try_input(1)) else { return vec![] };
        if a.rank() < 2 || b.rank() < 2 {
            return vec![];
        }
        let (rank, rows) = (out.len(), out.len() - 2);
        let along = |axis: usize| {
            let place = |s: &[usize]| Slicing::place(s, rank, axis);
            let (a, b) = (place(&a.shape), place(&b.shape));
            Slicing { axis, inputs: vec![a.filter(|_| axis <= rows), b.filter(|_| axis != rows)] }
        };
        (0..rank).map(along).collect()
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output_placed(0, |_| true)?;
        let p = numpy_product(cx, 0, 1, out)?;
        product(cx, &p)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.only_end()?;
        let out = cx.output_placed(0, |_| true)?;
        let p = numpy_product(cx, 0, 1, out.clone())?;
        let read = |v: &View| fit(&v.broadcast(&out.shape), &p.out.shape);
        let reads = end.reads.iter().map(read).collect::<Result<_>>()?;
        product(cx, &Product { end: Some(Arc::new(end.clone())), reads, ..p })
    }
}

/// The product of two inputs by NumPy's rules into `out`, of the result's shape.
pub(super) fn numpy_product(cx: &mut LowerCx<'_>, a: usize, b: usize, out: View) -> Result<Product> {
    let (ta, tb) = (cx.input_type(a)?, cx.input_type(b)?);
    let g = Geometry::new(&ta.shape, &tb.shape)?;
    let finer = if tb.shape.len() > 2 { Some(cx.finer_input(b)?).filter(|f| !f.is_plain()) } else { None };
    if let Some(b) = finer.filter(|f| f.parts.ends_with(&[1, 1])) {
        let va = cx.input(a)?;
        let batch = b.batch(&g.batch);
        let wide = |v: View, [batched, tail]: [&[usize]; 2]| -> Result<View> {
            let v = fit(&v, batched)?.broadcast(&[&g.batch[..], tail].concat());
            fit(&v, &[&batch[..], tail].concat())
        };
        let va = wide(va, [&g.a, &[g.m, g.k]])?;
        let out = fit(&out, &[&batch[..], &[g.m, g.n]].concat())?;
        let vb = b.view.broadcast(&[&batch[..], &[g.k, g.n]].concat());
        return Ok(Product::new(va, Right::View(vb), out));
    }
    let (va, vb) = if tb.shape.len() == 1 {
        (cx.input(a)?, Right::View(fit(&cx.input(b)?, &g.b)?))
    } else {
        (cx.input(a)?, right(cx, b, false)?)
    };
    let va = fit(&va, &g.a)?.broadcast(&[&g.batch[..], &[g.m, g.k]].concat());
    let out = fit(&out, &[&g.batch[..], &[g.m, g.n]].concat())?;
    Ok(Product::new(va, vb.broadcast(&g.batch), out))
}

/// A view under a shape that only adds or drops extents of 1, or cuts dims into parts.
fn fit(v: &View, to: &[usize]) -> Result<View> {
    v.reshaped(to).ok_or_else(|| err!(Internal, "{:?} is not {to:?}", v.shape))
}

#[derive(Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    trans_a: bool,
    trans_b: bool,
}

fn parse_gemm(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let flag = |name: &str| Ok(a.int_or(name, 0)? != 0);
    Ok(Arc::new(Gemm {
        alpha: a.float_or("alpha", 1.0)?,
        beta: a.float_or("beta", 1.0)?,
        trans_a: flag("transA")?,
        trans_b: flag("transB")?,
    }))
}

impl Gemm {
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
}

/// A matrix, transposed on demand.
pub(super) fn oriented(t: &Tensor, transpose: bool) -> Result<Tensor> {
    match t.shape() {
        &[r, c] if transpose => t.select([c, r], &shape::strided_indices(&[c, r], &[1, c as isize], 0)),
        _ => Ok(t.clone()),
    }
}

impl Op for Gemm {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (a, b, c) = (cx.input(0)?, cx.input(1)?, cx.try_input(2));
        check_type(a.dtype)?;
        same_type(a.dtype, b.dtype)?;
        if let Some(c) = c {
            same_type(a.dtype, c.dtype)?;
        }
        one(a.dtype, self.geometry(&a.shape, &b.shape, c.map(|c| &c.shape[..]))?.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b, c) = (need(inputs, 0)?, need(inputs, 1)?, inputs.get(2).copied().flatten());
        let (d, g) = (a.dtype(), self.geometry(a.shape(), b.shape(), c.map(Tensor::shape))?);
        let (a, b) = (oriented(a, self.trans_a)?, oriented(b, self.trans_b)?);
        let c = c.filter(|_| self.beta != 0.0);
        let at = c.map(|c| shape::broadcast_indices(c.shape(), &g.out));
        let unscaled = self.alpha == 1.0 && self.beta == 1.0;
        if d.is_int() && unscaled {
            let mut y = g.ints(&a.to_i128s()?, &b.to_i128s()?);
            if let (Some(c), Some(at)) = (c, at) {
                let c = c.to_i128s()?;
                y.iter_mut().zip(at).for_each(|(y, i)| *y = y.wrapping_add(c[i]));
            }
            return Ok(vec![Tensor::from_i128s(d, g.out, y)?]);
        }
        let mut y = g.floats(&a.to_f64s()?, &b.to_f64s()?);
        y.iter_mut().for_each(|y| *y *= self.alpha as f64);
        if let (Some(c), Some(at)) = (c, at) {
            let c = c.to_f64s()?;
            y.iter_mut().zip(at).for_each(|(y, i)| *y += self.beta as f64 * c[i]);
        }
        Ok(vec![Tensor::from_f64s(d, g.out, y)?])
    }

    fn slices(&self, cx: &InferCx<'_>, _: &[usize]) -> Vec<Slicing> {
        let c = |axis: usize| cx.try_input(2).and_then(|c| Slicing::place(&c.shape, 2, axis));
        let rows = Slicing { axis: 0, inputs: vec![Some(self.trans_a as usize), None, c(0)] };
        let columns = Slicing { axis: 1, inputs: vec![None, Some(!self.trans_b as usize), c(1)] };
        vec![rows, columns]
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let p = self.product(cx)?;
        product(cx, &p)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.only_end()?;
        let p = self.product(cx)?;
        let reads = end.reads.iter().map(|v| v.broadcast(&p.out.shape)).collect();
        product(cx, &Product { end: Some(Arc::new(end.clone())), reads, ..p })
    }
}

impl Gemm {
    fn product(&self, cx: &mut LowerCx<'_>) -> Result<Product> {
        let out = cx.output(0)?;
        let a = cx.input(0)?;
        let a = if self.trans_a { a.permuted(&[1, 0]) } else { a };
        let b = right(cx, 1, self.trans_b)?;
        // a bias times 0 is no bias, whatever it holds
        let bias = if self.beta == 0.0 { None } else { cx.try_input(2)?.map(|c| c.broadcast(&out.shape)) };
        let beta = if bias.is_some() { self.beta } else { 1.0 };
        Ok(Product { bias, alpha: self.alpha, beta, ..Product::new(a, b, out) })
    }
}

/// Values for constants that differ from each other.
fn ramp(d: DType, s: &[usize]) -> Option<Tensor> {
    let values = (0..shape::numel(s)).map(|i| ((i * 7 + 3) % 11) as f64 - 5.0).map(|x| x / 4.0);
    let values = values.map(|x| if d.is_float() { x } else { (x * 4.0).abs() });
    Tensor::from_f64s(d, s, values.collect()).ok()
}

fn matmul_cases() -> Vec<Case> {
    let case = |d: DType, a: &[usize], b: &[usize]| {
        Case::new("MatMul", 13).rand(d, a).rand(d, b).sum(a.last().copied().unwrap_or(1))
    };
    let constant = |d: DType, a: &[usize], b: &[usize]| {
        let sum = a.last().copied().unwrap_or(1);
        ramp(d, b).map(|t| Case::new("MatMul", 13).rand(d, a).constant(t).sum(sum))
    };
    let shapes: &[(&[usize], &[usize])] = &[
        (&[5], &[5]),
        (&[5], &[5, 3]),
        (&[3, 5], &[5]),
        (&[2, 3, 5], &[5]),
        (&[5], &[2, 5, 3]),
        (&[1, 1], &[1, 1]),
        (&[0, 4], &[4, 3]),
        (&[3, 0], &[0, 4]),
        (&[3, 4], &[4, 0]),
        (&[0, 3, 4], &[4, 5]),
        (&[8, 8], &[8, 8]),
        (&[7, 13], &[13, 17]),
        (&[17, 16], &[16, 64]),
        (&[2, 20], &[20, 68]),
        (&[1, 129], &[129, 130]),
        (&[65, 33], &[33, 67]),
        (&[100, 12], &[12, 1]),
        (&[9, 64], &[64, 5]),
        (&[2, 3, 4, 8], &[2, 3, 8, 12]),
        (&[2, 1, 4, 5], &[3, 5, 6]),
        (&[3, 4, 8], &[8, 12]),
        (&[4, 8], &[2, 3, 8, 12]),
        (&[2, 1, 2, 1, 2, 3], &[1, 3, 1, 2, 3, 4]),
        (&[2, 1, 2, 1, 2, 1, 2, 3], &[2, 3, 1, 2, 1, 2, 3, 4]),
    ];
    let mut all: Vec<Case> = shapes.iter().map(|(a, b)| case(F32, a, b)).collect();
    for d in [F16, BF16, F64, I32, U32, I64, U64] {
        all.extend([case(d, &[3, 5], &[5, 4]), case(d, &[2, 9, 16], &[16, 36])]);
        all.extend(constant(d, &[2, 9, 16], &[16, 33]));
    }
    // beyond the largest tiles of GPUs, sums in parts, few rows and few columns
    let large: &[(&[usize], &[usize])] = &[
        (&[130, 70], &[70, 264]),
        (&[2, 40, 200], &[2, 200, 36]),
        (&[3, 300], &[300, 140]),
        (&[2, 1, 260], &[2, 260, 9]),
        (&[150, 132], &[132, 3]),
    ];
    for d in [F32, F16, I32] {
        all.extend(large.iter().map(|(a, b)| case(d, a, b)));
    }
    let constants: &[(&[usize], &[usize])] = &[
        (&[3, 5], &[5, 4]),
        (&[1, 12], &[12, 70]),
        (&[2, 9, 7], &[7, 33]),
        (&[2, 9, 8], &[2, 8, 40]),
        (&[4, 0], &[0, 9]),
    ];
    all.extend(constants.iter().filter_map(|(a, b)| constant(F32, a, b)));
    // more tiles than one dimension of a grid holds
    all.push(case(F32, &[66_000, 2, 1], &[66_000, 1, 2]));
    all
}

fn gemm_cases() -> Vec<Case> {
    let mut all = vec![];
    for (d, trans_a, trans_b) in
        [(F32, 0, 0), (F32, 0, 1), (F32, 1, 0), (F32, 1, 1), (F16, 0, 1), (BF16, 0, 1), (I32, 1, 0), (U64, 0, 1)]
    {
        for (m, k, n) in [(5, 7, 9), (12, 8, 40), (1, 16, 33), (20, 4, 3), (132, 40, 136)] {
            let a = if trans_a == 1 { [k, m] } else { [m, k] };
            let b = if trans_b == 1 { [n, k] } else { [k, n] };
            let case = || Case::new("Gemm", 13).int("transA", trans_a).int("transB", trans_b).rand(d, &a).sum(k);
            all.push(case().rand(d, &b));
            all.push(case().rand(d, &b).rand(d, &[n]));
            if let Some(t) = ramp(d, &b) {
                all.push(case().constant(t.clone()).rand(d, &[m, 1]));
                if d.is_float() {
                    all.push(case().float("alpha", 0.5).float("beta", -1.5).constant(t).rand(d, &[1, n]));
                }
            }
        }
    }
    let plain = || Case::new("Gemm", 11).rand(F32, &[3, 4]).rand(F32, &[4, 5]).sum(4);
    all.push(plain().rand(F32, &[]));
    all.push(plain().rand(F32, &[1]));
    all.push(plain().rand(F32, &[3, 5]).float("beta", 0.0));
    all.push(plain().absent());
    all.push(Case::new("Gemm", 7).rand(F64, &[3, 4]).rand(F64, &[4, 5]).rand(F64, &[3, 5]).float("alpha", 0.25));
    all.push(Case::new("Gemm", 13).rand(F32, &[3, 0]).rand(F32, &[0, 5]).rand(F32, &[5]));
    all.push(Case::new("Gemm", 13).rand(F32, &[0, 3]).rand(F32, &[3, 5]).rand(F32, &[5]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_numpy() {
        let out = |a: &[usize], b: &[usize]| Geometry::new(a, b).map(|g| g.out);
        assert_eq!(out(&[3], &[3]).unwrap(), [] as [usize; 0]);
        assert_eq!(out(&[3], &[2, 3, 4]).unwrap(), [2, 4]);
        assert_eq!(out(&[5, 1, 2, 3], &[4, 3, 6]).unwrap(), [5, 4, 2, 6]);
        assert!(out(&[2, 3], &[2, 3]).is_err());
        assert!(out(&[], &[1]).is_err());
    }

    #[test]
    fn gemm_scales_and_transposes() {
        let a = Tensor::new([3, 2], vec![1f32, 4., 2., 5., 3., 6.]).unwrap();
        let b = Tensor::new([1, 3], vec![1f32, 0., 2.]).unwrap();
        let c = Tensor::new([2, 1], vec![10f32, 20.]).unwrap();
        let gemm = Gemm { alpha: 2.0, beta: 0.5, trans_a: true, trans_b: true };
        let y = gemm.eval(&[Some(&a), Some(&b), Some(&c)]).unwrap();
        assert_eq!(y[0].to_vec::<f32>().unwrap(), [19., 42.]);
        assert_eq!(y[0].shape(), [2, 1]);
    }

    #[test]
    fn integers_wrap() {
        let a = Tensor::vector(&[u64::MAX, 2]);
        let y = MatMul.eval(&[Some(&a), Some(&a)]).unwrap();
        assert_eq!(y[0].to_vec::<u64>().unwrap(), [5]);
    }
}
