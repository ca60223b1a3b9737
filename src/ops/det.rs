//! Det.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::kernels::det;
use crate::kernels::elementwise::convert;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[OpDef { domain: "", name: "Det", versions: &[11, 22], parse: |_, _| Ok(Arc::new(Det)), cases }];

/// The determinant of each of the innermost matrices.
#[derive(Debug)]
struct Det;

/// The outer dims and the size of the matrices.
fn extents(s: &[usize]) -> Result<(&[usize], usize)> {
    match s {
        [outer @ .., a, b] if a == b => Ok((outer, *a)),
        _ => bail!(InvalidNode, "{s:?} holds no square matrices"),
    }
}

/// By Gaussian elimination with row exchanges.
fn determinant(mut a: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..n {
        let row = (k + 1..n).fold(k, |p, i| if a[i * n + k].abs() > a[p * n + k].abs() { i } else { p });
        let pivot = a[row * n + k];
        product *= if row == k { pivot } else { -pivot };
        if pivot == 0.0 {
            continue;
        }
        (0..n).for_each(|j| a.swap(k * n + j, row * n + j));
        for i in k + 1..n {
            let factor = a[i * n + k] / pivot;
            (k + 1..n).for_each(|j| a[i * n + j] -= factor * a[k * n + j]);
        }
    }
    product
}

impl Op for Det {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, extents(cx.shape(0)?)?.0)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (outer, n) = extents(x.shape())?;
        let v = x.to_f64s()?;
        let one = |i: usize| determinant(v[i * n * n..(i + 1) * n * n].to_vec(), n);
        Ok(vec![Tensor::from_f64s(x.dtype(), outer, (0..shape::numel(outer)).map(one).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, out) = (cx.input(0)?, cx.output(0)?);
        if out.numel() == 0 {
            return Ok(());
        }
        let elements = cx.temp(F32, &x.shape)?;
        convert(cx, &x, &elements)?;
        if out.dtype == F32 {
            return det::det(cx, &elements, &out);
        }
        let wide = cx.temp(F32, &out.shape)?;
        det::det(cx, &elements, &wide)?;
        convert(cx, &wide, &out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        // backward errors grow with the size, and each is multiplied by a condition of some multiple of it
        Tolerance::ulps(dtype, 16.0 + 8.0 * (k * k) as f64)
    }
}

fn cases() -> Vec<Case> {
    let case = |d, s: &[usize]| Case::new("Det", 22).rand(d, s).sum(s[s.len() - 1]);
    let mut all: Vec<Case> = [F32, F16, BF16].into_iter().map(|d| case(d, &[5, 3, 3])).collect();
    for s in [&[1, 1][..], &[0, 0], &[2, 0, 0], &[0, 2, 2], &[7, 7], &[67, 2, 2], &[2, 3, 1, 4, 4], &[17, 17]] {
        all.push(case(F32, s));
    }
    // eigenvalues near 1, so that larger determinants stay finite
    let large = |n: usize| {
        let v = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { ((i * 7919) % 101) as f32 * 1e-5 }).collect();
        Tensor::new([n, n], v)
    };
    for n in [70, 230] {
        all.extend(large(n).ok().map(|t| Case::new("Det", 11).value(t).sum(n)));
    }
    all.extend(Tensor::new([2, 2], vec![0.0f32, 2.0, 3.0, 0.0]).ok().map(|t| Case::new("Det", 11).value(t)));
    all.extend(Tensor::new([3, 3], vec![0.0f32; 9]).ok().map(|t| Case::new("Det", 11).value(t)));
    all
}
