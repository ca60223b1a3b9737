//! Softmax, LogSoftmax, Hardmax.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::apply;
use crate::kernels::epilogue::Ends;
use crate::kernels::norm::{self, Soft};
use crate::kernels::reduce::{Fold, reduce};
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const fn row(name: &'static str, parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions: &[1, 11, 13], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Softmax", |a, n| parse(Soft::Max, a, n), || cases("Softmax")),
    row("LogSoftmax", |a, n| parse(Soft::Log, a, n), || cases("LogSoftmax")),
    row("Hardmax", |a, n| parse(Soft::Hard, a, n), || cases("Hardmax")),
];

/// Along one axis; before opset 13 over all dims from the axis on, flattened.
#[derive(Debug)]
struct Softmax {
    kind: Soft,
    axis: i64,
    flatten: bool,
}

/// Rounded to a 16-bit type; wider types are computed as they come.
pub(super) fn rounded(d: DType, v: Vec<f64>) -> Result<Vec<f64>> {
    if matches!(d, F16 | BF16) { Tensor::from_f64s(d, [v.len()], v)?.to_f64s() } else { Ok(v) }
}

pub(super) fn map(d: DType, v: &[f64], f: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
    rounded(d, v.iter().map(|x| f(*x)).collect())
}

/// The sum of a row. The specification's reference rounds bf16 with each addend, which stalls in long rows: so only
/// within blocks of 8.
fn total(d: DType, v: &[f64]) -> Result<f64> {
    if d != BF16 {
        return Ok(v.iter().sum());
    }
    let block = |part: &[f64]| part.iter().try_fold(0.0, |sum, x| Ok(rounded(d, vec![sum + x])?[0]));
    v.chunks(8).map(block).sum()
}

/// `exp(x - max)` over its sum, each step rounded to `d`.
pub(super) fn weights(d: DType, row: &[f64], max: f64) -> Result<Vec<f64>> {
    let powers = map(d, &map(d, row, |v| v - max)?, f64::exp)?;
    let sum = rounded(d, vec![total(d, &powers)?])?[0];
    map(d, &powers, |v| v / sum)
}

fn parse(kind: Soft, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let flatten = n.version < 13;
    Ok(Arc::new(Softmax { kind, axis: a.int_or("axis", if flatten { 1 } else { -1 })?, flatten }))
}

impl Softmax {
    /// Rows, elements of a row, and the step between them.
    fn rows(&self, s: &[usize]) -> Result<[usize; 3]> {
        if s.is_empty() {
            return Ok([1, 1, 1]);
        }
        if self.flatten {
            let r = s.len() as i64;
            let axis = if self.axis == r { s.len() } else { shape::axis(self.axis, s.len())? };
            return Ok([shape::numel(&s[..axis]), shape::numel(&s[axis..]), 1]);
        }
        let axis = shape::axis(self.axis, s.len())?;
        Ok([shape::numel(&s[..axis]), s[axis], shape::numel(&s[axis + 1..])])
    }

    fn row(&self, d: DType, v: &[f64]) -> Result<Vec<f64>> {
        let max = v.iter().copied().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b });
        if self.kind == Soft::Hard {
            let first = v.iter().position(|x| *x == max || x.is_nan()).unwrap_or(0);
            return Ok((0..v.len()).map(|i| (i == first) as u8 as f64).collect());
        }
        if self.kind == Soft::Max {
            return weights(d, v, max);
        }
        let sum: f64 = v.iter().map(|x| (x - max).exp()).sum();
        Ok(v.iter().map(|x| x - max - sum.ln()).collect())
    }
}

impl Softmax {
    /// Step by step, in the arithmetic of the elementwise and reducing kernels.
    fn lower_doubles(&self, cx: &mut LowerCx<'_>, x: &View, rows: [usize; 3], out: &View) -> Result<()> {
        ensure!(self.kind != Soft::Hard, Unsupported, "Hardmax of doubles");
        let folded = |v: &View| v.reshaped(&rows).ok_or_else(|| err!(Internal, "{:?} in rows", v.shape));
        let (x, out) = (folded(x)?, folded(out)?);
        let one = [rows[0], 1, rows[2]];
        let (top, sum) = (cx.temp(F64, &one)?, cx.temp(F64, &one)?);
        let (less, powers) = (cx.temp(F64, &rows)?, cx.temp(F64, &rows)?);
        reduce(cx, Fold::Max, &x, &[1], &top)?;
        apply(cx, "x - max", &[x, top], &less, |e, a| e.call(F64, "sub", &[&a[0], &a[1]]))?;
        apply(cx, "exp", std::slice::from_ref(&less), &powers, |e, a| e.call(F64, "exp", &[&a[0]]))?;
        reduce(cx, Fold::Sum, &powers, &[1], &sum)?;
        if self.kind == Soft::Log {
            return apply(cx, "x - log", &[less, sum], &out, |e, a| {
                let log = e.call(F64, "log", &[&a[1]])?;
                e.call(F64, "sub", &[&a[0], &log])
            });
        }
        apply(cx, "p / sum", &[powers, sum], &out, |e, a| e.call(F64, "div", &[&a[0], &a[1]]))
    }
}

impl Op for Softmax {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.rows(cx.shape(0)?)?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let [outer, n, inner] = self.rows(x.shape())?;
        let v = x.to_f64s()?;
        let mut y = vec![0.0; v.len()];
        for o in 0..outer {
            for i in 0..inner {
                let at = |k: usize| (o * n + k) * inner + i;
                let row: Vec<f64> = (0..n).map(|k| v[at(k)]).collect();
                self.row(x.dtype(), &row)?.into_iter().enumerate().for_each(|(k, r)| y[at(k)] = r);
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), y)?])
    }

    fn slices(&self, _: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let axis = shape::axis(self.axis, out.len()).unwrap_or(0);
        Slicing::shared((0..out.len()).filter(|d| *d < axis || (*d > axis && !self.flatten)))
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.no_start()?;
        let x = cx.dense_input(0)?;
        let rows = self.rows(&x.shape)?;
        let out = cx.output(0)?;
        if x.dtype == DType::F64 {
            ensure!(end.is_none(), Unsupported, "an epilogue of doubles");
            return self.lower_doubles(cx, &x, rows, &out);
        }
        norm::softmax(cx, self.kind, &x, rows, (&out, end))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 32.0 + (k as f64).sqrt())
    }
}

fn cases(name: &'static str) -> Vec<Case> {
    let mut all: Vec<Case> = [F32, F16, BF16].iter().map(|d| Case::new(name, 13).rand(*d, &[3, 37])).collect();
    for axis in 0..3 {
        all.push(Case::new(name, 13).rand(F32, &[3, 5, 7]).int("axis", axis));
        all.push(Case::new(name, 11).rand(F32, &[3, 5, 7]).int("axis", axis));
    }
    all.push(Case::new(name, 13).rand(F32, &[2, 9001]).sum(9001));
    all.push(Case::new(name, 13).rand(F32, &[2, 1]));
    all.push(Case::new(name, 13).rand(F32, &[0, 4]));
    all.push(Case::new(name, 13).rand(F32, &[]));
    all.push(Case::new(name, 13).range(F32, &[4, 65], -2000.0, 2000.0));
    for n in super::LENGTHS {
        all.push(Case::new(name, 13).range(F32, &[3, n], -9.0, 9.0).sum(n));
    }
    for n in [64, 130, 2048] {
        all.push(Case::new(name, 13).rand(F16, &[9, n]).sum(n));
    }
    if name != "Hardmax" {
        all.push(Case::new(name, 13).value(Tensor::vector(&[0.5f32, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY])));
        all.push(Case::new(name, 13).value(Tensor::vector(&[f32::NEG_INFINITY; 4])));
        all.push(Case::new(name, 13).value(Tensor::vector(&[0.5f32, f32::NAN, 1.0])));
        // rows of one workgroup: all -inf, a NaN, an infinity, ordinary
        let mut odd = vec![0.5f32; 4 * 40];
        odd[..40].fill(f32::NEG_INFINITY);
        odd[77] = f32::NAN;
        odd[80] = f32::INFINITY;
        all.extend(Tensor::new([4, 40], odd).map(|t| Case::new(name, 13).value(t)).ok());
    }
    all
}
