//! Order along an axis: TopK, CumSum, CumProd.

use std::cmp::Ordering;
use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::order::{Scan, scan, top_k};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("TopK", &[1, 10, 11, 24], parse_top_k, top_k_cases),
    row("CumSum", &[11, 14], |a, _| parse_scan(a, false), || scan_cases("CumSum", 14)),
    row("CumProd", &[26], |a, _| parse_scan(a, true), || scan_cases("CumProd", 26)),
];

/// Numbers in their order, NaN as the greatest and equal to itself.
pub(super) enum Numbers {
    Float(Vec<f64>),
    Int(Vec<i128>),
    Text(Vec<std::string::String>),
}

impl Numbers {
    pub(super) fn of(x: &Tensor) -> Result<Numbers> {
        Ok(match x.dtype() {
            String => Numbers::Text(x.strings()?.to_vec()),
            d if d.is_float() => Numbers::Float(x.to_f64s()?),
            _ => Numbers::Int(x.to_i128s()?),
        })
    }

    pub(super) fn compare(&self, i: usize, j: usize) -> Ordering {
        match self {
            Numbers::Int(v) => v[i].cmp(&v[j]),
            Numbers::Text(v) => v[i].cmp(&v[j]),
            Numbers::Float(v) => match v[i].partial_cmp(&v[j]) {
                Some(o) => o,
                None => v[i].is_nan().cmp(&v[j].is_nan()),
            },
        }
    }
}

// ---- TopK ----

#[derive(Debug)]
struct TopK {
    axis: i64,
    largest: bool,
    /// Before opset 10 an attribute, then an input.
    k: Option<i64>,
}

fn parse_top_k(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let k = if n.version == 1 { Some(a.required_int("k")?) } else { None };
    let largest = n.version < 11 || a.flag_or("largest", true)?;
    if n.version >= 11 {
        // what may come in any order may come in this one
        a.ignore("sorted");
    }
    Ok(Arc::new(TopK { axis: a.int_or("axis", -1)?, largest, k }))
}

fn top_k_cases() -> Vec<Case> {
    let k = |c: Case, k: i64| c.constant(Tensor::vector(&[k])).outputs(2);
    let case = |d: DType, s: &[usize]| Case::new("TopK", 11).rand(d, s);
    let mut all: Vec<Case> =
        [F32, F16, BF16, F64, I8, U8, I32, U32, I64, U64].iter().map(|d| k(case(*d, &[3, 13]), 5)).collect();
    let ties = Tensor::vector(&[1f32, 3.0, f32::NAN, 3.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0, -0.0]);
    all.extend([
        k(case(F32, &[4, 5, 6]), 3).int("axis", 1),
        k(case(F32, &[4, 5, 6]), 4).int("axis", 0).int("largest", 0),
        k(Case::new("TopK", 11).value(ties.clone()), 9),
        k(Case::new("TopK", 11).value(ties), 4).int("largest", 0).int("sorted", 0),
        k(case(F32, &[2, 3000]), 10),
        k(case(F32, &[5]), 0),
        k(case(F32, &[0, 5]), 2),
        Case::new("TopK", 9).rand(F32, &[2, 7]).int("k", 3).outputs(2),
        case(F32, &[7]).value(Tensor::vector(&[2i64])).outputs(2),
    ]);
    all
}

impl TopK {
    fn shape(&self, x: &[usize], k: i64) -> Result<(usize, Vec<usize>)> {
        let axis = shape::axis(self.axis, x.len())?;
        let k = usize::try_from(k).ok().filter(|k| *k <= x[axis]);
        let mut out = x.to_vec();
        out[axis] = k.ok_or_else(|| err!(InvalidNode, "k is to be from 0 to {}", x[axis]))?;
        Ok((axis, out))
    }
}

fn one_int(v: &[i64], what: &str) -> Result<i64> {
    match v {
        [k] => Ok(*k),
        other => bail!(InvalidNode, "expected one {what}, got {other:?}"),
    }
}

impl Op for TopK {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let k = match self.k {
            Some(k) => k,
            None => one_int(&cx.value(1)?.to_i64s()?, "k")?,
        };
        let (_, out) = self.shape(cx.shape(0)?, k)?;
        Ok(vec![TensorType::new(cx.dtype(0)?, out.clone()), TensorType::new(I64, out)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let k = match self.k {
            Some(k) => k,
            None => one_int(&need(inputs, 1)?.to_i64s()?, "k")?,
        };
        let (axis, out) = self.shape(x.shape(), k)?;
        let (n, k, inner) = (x.shape()[axis], out[axis], x.shape()[axis + 1..].iter().product::<usize>());
        let outer: usize = x.shape()[..axis].iter().product();
        let numbers = Numbers::of(x)?;
        let (mut sources, mut places) = (vec![0; outer * k * inner], vec![0i64; outer * k * inner]);
        for o in 0..outer {
            for i in 0..inner {
                let at = |j: usize| (o * n + j) * inner + i;
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|a, b| {
                    let o = numbers.compare(at(*a), at(*b));
                    if self.largest { o.reverse() } else { o }
                });
                for (r, j) in order.into_iter().take(k).enumerate() {
                    let to = (o * k + r) * inner + i;
                    (sources[to], places[to]) = (at(j), j as i64);
                }
            }
        }
        Ok(vec![x.select(out.clone(), &sources)?, Tensor::new(out, places)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let dense = cx.temp(x.dtype, &x.shape)?;
        crate::kernels::copy::copy(cx, &x, &dense)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let made = if cx.has_output(0) { 0 } else { 1 };
        let t = cx.output_type(made)?.shape;
        let values = if cx.has_output(0) { cx.output(0)? } else { cx.temp(x.dtype, &t)? };
        let places = if cx.has_output(1) { cx.output(1)? } else { cx.temp(I64, &t)? };
        top_k(cx, self.largest, &dense, axis, &values, &places)
    }
}

// ---- CumSum, CumProd ----

#[derive(Debug)]
struct Cumulative {
    product: bool,
    exclusive: bool,
    reverse: bool,
}

fn parse_scan(a: &AttrReader<'_>, product: bool) -> Result<Arc<dyn Op>> {
    let (exclusive, reverse) = (a.flag_or("exclusive", false)?, a.flag_or("reverse", false)?);
    Ok(Arc::new(Cumulative { product, exclusive, reverse }))
}

fn scan_cases(op: &'static str, opset: i64) -> Vec<Case> {
    let case = |d: DType, s: &[usize], axis: i64| {
        let c = Case::new(op, opset);
        let c = if d.is_float() { c.range(d, s, 0.5, 1.5) } else { c.range(d, s, 0.0, 3.0) };
        c.constant(Tensor::scalar(axis)).sum(s.iter().copied().max().unwrap_or(1))
    };
    let mut all: Vec<Case> = [F32, F16, BF16, I32, U32, I64, U64].iter().map(|d| case(*d, &[3, 7], 1)).collect();
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let flags = |c: Case| c.int("exclusive", exclusive).int("reverse", reverse);
        all.push(flags(case(F32, &[2, 5, 3], 1)));
        all.push(flags(case(I64, &[600], 0)));
        all.push(flags(case(I32, &[700, 2], 0)));
    }
    all.extend([case(F32, &[0, 4], -1), case(I32, &[70_000], 0)]);
    all
}

impl Op for Cumulative {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let axis = one_int(&cx.value(1)?.to_i64s()?, "axis")?;
        shape::axis(axis, cx.shape(0)?.len())?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let axis = shape::axis(one_int(&need(inputs, 1)?.to_i64s()?, "axis")?, x.rank())?;
        let (n, inner) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
        let walk = |mut each: Box<dyn FnMut(usize, bool) + '_>| {
            for row in 0..x.len().checked_div(n).unwrap_or(0) {
                let start = row / inner * n * inner + row % inner;
                for k in 0..n {
                    let at = if self.reverse { n - 1 - k } else { k };
                    each(start + at * inner, k == 0);
                }
            }
        };
        if x.dtype().is_float() {
            let v = x.to_f64s()?;
            let mut out = vec![0.0; v.len()];
            let (unit, mut sum) = (f64::from(u8::from(self.product)), 0.0);
            walk(Box::new(|at, first| {
                let before = if first { unit } else { sum };
                sum = if self.product { before * v[at] } else { before + v[at] };
                out[at] = if self.exclusive { before } else { sum };
            }));
            return Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), out)?]);
        }
        let v = x.to_i128s()?;
        let mut out = vec![0; v.len()];
        let (unit, mut sum) = (i128::from(self.product), 0i128);
        walk(Box::new(|at, first| {
            let before = if first { unit } else { sum };
            // wraps as the element type does, whatever is kept above its bits
            sum = if self.product { before.wrapping_mul(v[at]) } else { before.wrapping_add(v[at]) };
            out[at] = if self.exclusive { before } else { sum };
        }));
        Ok(vec![Tensor::from_i128s(x.dtype(), x.shape(), out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let dense = cx.temp(x.dtype, &x.shape)?;
        crate::kernels::copy::copy(cx, &x, &dense)?;
        let axis = one_int(&cx.ints(1)?.unwrap_or_default(), "axis")?;
        let (axis, out) = (shape::axis(axis, x.rank())?, cx.output(0)?);
        let how = Scan { product: self.product, exclusive: self.exclusive, reverse: self.reverse };
        scan(cx, how, &dense, axis, &out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 4.0 + k as f64)
    }
}
