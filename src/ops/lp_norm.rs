//! LpNormalization.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise;
use crate::kernels::reduce::{self, Fold};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: NAME, versions: &[1, 22], parse, cases }];

const NAME: &str = "LpNormalization";

/// Divides by the norm of order 1 or 2 along an axis; where that is zero the result is too.
#[derive(Debug)]
struct LpNormalization {
    axis: i64,
    fold: Fold,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let fold = match a.int_or("p", 2)? {
        1 => Fold::L1,
        2 => Fold::L2,
        p => bail!(InvalidNode, "attribute p: expected 1 or 2, got {p}"),
    };
    Ok(Arc::new(LpNormalization { axis: a.int_or("axis", -1)?, fold }))
}

impl Op for LpNormalization {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        shape::axis(self.axis, cx.shape(0)?.len())?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let (n, inner) = (x.shape()[axis], shape::numel(&x.shape()[axis + 1..]));
        let v = x.to_f64s()?;
        let norm = |i: usize| {
            let first = i / (n * inner) * n * inner + i % inner;
            let row = (0..n).map(|k| v[first + k * inner]);
            if self.fold == Fold::L1 { row.map(f64::abs).sum() } else { row.map(|x| x * x).sum::<f64>().sqrt() }
        };
        let one = |(i, x): (usize, &f64)| match norm(i) {
            0.0 => 0.0,
            norm => x / norm,
        };
        Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), v.iter().enumerate().map(one).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let mut one = x.shape.clone();
        one[axis] = 1;
        let norm = cx.temp(F32, &one)?;
        reduce::reduce(cx, self.fold, &x, &[axis], &norm)?;
        let out = x.dtype;
        elementwise::lower_views(cx, NAME, &[x, norm], |e, args| {
            let (x, norm) = (e.cast(elementwise::arg(args, 0)?, F32)?, elementwise::arg(args, 1)?);
            let y = e.expr(F32, format!("select({} / {norm}, 0.0, {norm} == 0.0)", x.name, norm = norm.name));
            e.cast(&y, out)
        })
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 8.0 + (k as f64).sqrt())
    }
}

fn cases() -> Vec<Case> {
    let case = |d, s: &[usize]| Case::new(NAME, 22).rand(d, s);
    let mut all: Vec<Case> = [F32, F16, BF16].into_iter().map(|d| case(d, &[3, 37]).sum(37)).collect();
    for p in [1, 2] {
        for axis in [-3, 1, 2] {
            all.push(case(F32, &[3, 5, 7]).int("p", p).int("axis", axis).sum(7));
        }
        all.push(case(F32, &[9001, 3]).int("p", p).int("axis", 0).sum(9001));
        all.push(Case::new(NAME, 7).range(F32, &[2, 3], 0.0, 0.0).int("p", p));
    }
    all.extend([&[1][..], &[0, 3], &[3, 0], &[2, 3, 2, 3, 2]].map(|s| case(F32, s).sum(3)));
    all
}
