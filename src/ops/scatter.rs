//! Writing by index: Scatter, ScatterElements, ScatterND.

use std::sync::Arc;

use super::eval::need;
use super::gather::position;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::gather::{self, Reduction};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row(
        "Scatter",
        &[9],
        |a, _| Ok(Arc::new(Scatter::Elements { axis: a.int_or("axis", 0)?, reduction: Reduction::None })),
        || vec![Case::new("Scatter", 9).rand(F32, &[5, 4]).value(distinct(&[2, 4])).rand(F32, &[2, 4])],
    ),
    row(
        "ScatterElements",
        &[11, 13, 16, 18],
        |a, n| Ok(Arc::new(Scatter::Elements { axis: a.int_or("axis", 0)?, reduction: reduction(a, n)? })),
        element_cases,
    ),
    row("ScatterND", &[11, 13, 16, 18], |a, n| Ok(Arc::new(Scatter::Nd { reduction: reduction(a, n)? })), nd_cases),
];

fn reduction(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Reduction> {
    if n.version < 16 {
        return Ok(Reduction::None);
    }
    Ok(match a.string_or("reduction", "none".into())?.as_str() {
        "none" => Reduction::None,
        "add" => Reduction::Add,
        "mul" => Reduction::Mul,
        "min" if n.version >= 18 => Reduction::Min,
        "max" if n.version >= 18 => Reduction::Max,
        other => bail!(InvalidNode, "attribute reduction: unknown value {other:?}"),
    })
}

/// Row indices of `[rows, columns]` that do not repeat within a column.
fn distinct(s: &[usize]) -> Tensor {
    let n = shape::numel(s);
    Tensor::new(s, (0..n).map(|i| (i / s[1]) as i64).collect()).unwrap_or_else(|_| Tensor::zeros(I64, s))
}

/// Copies the data, then writes updates at indices, in order.
#[derive(Debug)]
enum Scatter {
    Elements { axis: i64, reduction: Reduction },
    Nd { reduction: Reduction },
}

impl Scatter {
    fn reduction(&self) -> Reduction {
        match self {
            Scatter::Elements { reduction, .. } | Scatter::Nd { reduction } => *reduction,
        }
    }

    /// For each element of the updates, the element it goes to.
    fn targets(&self, x: &[usize], indices: &Tensor, updates: &[usize]) -> Result<Vec<usize>> {
        let strides = shape::strides(x);
        let flat = indices.to_i64s()?;
        let mut out = Vec::with_capacity(shape::numel(updates));
        match self {
            Scatter::Elements { axis, .. } => {
                let axis = shape::axis(*axis, x.len())?;
                ensure!(indices.shape() == updates, InvalidNode, "indices {:?}, updates {updates:?}", indices.shape());
                for (mut c, i) in shape::coords(updates).zip(flat) {
                    c[axis] = position(i, x[axis])?;
                    out.push(c.iter().zip(&strides).map(|(c, s)| c * s).sum());
                }
            }
            Scatter::Nd { .. } => {
                let (tuples, k) = tuples(x, indices.shape(), updates)?;
                let inner = shape::numel(&x[k..]);
                for t in 0..tuples {
                    let mut start = 0;
                    for j in 0..k {
                        start += position(flat[t * k + j], x[j])? * strides[j];
                    }
                    out.extend(start..start + inner);
                }
            }
        }
        Ok(out)
    }
}

/// The number of index tuples and the length of one.
fn tuples(x: &[usize], indices: &[usize], updates: &[usize]) -> Result<(usize, usize)> {
    let Some((k, outer)) = indices.split_last() else { bail!(InvalidNode, "indices are a scalar") };
    ensure!(*k <= x.len(), InvalidNode, "tuples of {k} do not fit {x:?}");
    let want = [outer, &x[*k..]].concat();
    ensure!(want == updates, InvalidNode, "expected updates {want:?}, got {updates:?}");
    Ok((shape::numel(outer), *k))
}

impl Op for Scatter {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        match self {
            Scatter::Nd { .. } => {
                tuples(&x.shape, cx.shape(1)?, cx.shape(2)?)?;
            }
            Scatter::Elements { axis, .. } => {
                let (axis, indices, updates) = (shape::axis(*axis, x.rank())?, cx.shape(1)?, cx.shape(2)?);
                let inside = (0..x.rank()).all(|d| d == axis || indices.get(d) <= x.shape.get(d));
                if indices != updates || indices.len() != x.rank() || !inside {
                    return Err(err!(InvalidNode, "data {x}, indices {indices:?}, updates {updates:?}").into());
                }
            }
        }
        one(x.dtype, x.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices, updates) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?);
        let targets = self.targets(x.shape(), indices, updates.shape())?;
        if self.reduction() == Reduction::None {
            let both = Tensor::concat(&[x.reshaped([x.len()])?, updates.reshaped([updates.len()])?])?;
            let mut sources: Vec<usize> = (0..x.len()).collect();
            targets.iter().enumerate().for_each(|(u, t)| sources[*t] = x.len() + u);
            return Ok(vec![both.select(x.shape(), &sources)?]);
        }
        let d = x.dtype();
        if d.is_float() {
            let (mut v, u) = (x.to_f64s()?, updates.to_f64s()?);
            for (t, u) in targets.into_iter().zip(u) {
                v[t] = match self.reduction() {
                    Reduction::Add => v[t] + u,
                    Reduction::Mul => v[t] * u,
                    Reduction::Min => {
                        if v[t].is_nan() || v[t] < u {
                            v[t]
                        } else {
                            u
                        }
                    }
                    Reduction::Max => {
                        if v[t].is_nan() || v[t] > u {
                            v[t]
                        } else {
                            u
                        }
                    }
                    Reduction::None => u,
                };
            }
            return Ok(vec![Tensor::from_f64s(d, x.shape(), v)?]);
        }
        let (mut v, u) = (x.to_i128s()?, updates.to_i128s()?);
        for (t, u) in targets.into_iter().zip(u) {
            v[t] = match self.reduction() {
                Reduction::Add => v[t] + u,
                // wrapped at every step, so that long products stay in range
                Reduction::Mul => Tensor::from_i128s(d, [], vec![v[t].wrapping_mul(u)])?.to_i128s()?[0],
                Reduction::Min => v[t].min(u),
                Reduction::Max => v[t].max(u),
                Reduction::None => u,
            };
        }
        Ok(vec![Tensor::from_i128s(d, x.shape(), v)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, indices, updates) = (cx.input(0)?, cx.dense_input(1)?, cx.dense_input(2)?);
        let out = cx.output(0)?;
        copy(cx, &x, &out)?;
        match self {
            Scatter::Elements { axis, reduction } => {
                let axis = shape::axis(*axis, x.rank())?;
                gather::scatter_elements(cx, *reduction, axis, &indices, &updates, &out)
            }
            Scatter::Nd { reduction } => {
                let (tuples, k) = tuples(&x.shape, &indices.shape, &updates.shape)?;
                gather::scatter_nd(cx, *reduction, tuples, k, &indices, &updates, &out)
            }
        }
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        match self.reduction() {
            Reduction::Add | Reduction::Mul => Tolerance::ulps(dtype, 8.0 + 2.0 * k as f64),
            _ => Tolerance::EXACT,
        }
    }
}

fn element_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [F32, F16, I8, U8, I32, I64, U64] {
        for r in ["none", "add", "mul", "min", "max"] {
            let c = Case::new("ScatterElements", 18).rand(d, &[5, 4]).range(I64, &[3, 4], -5.0, 5.0).rand(d, &[3, 4]);
            all.push(c.string("reduction", r).sum(4));
        }
    }
    for axis in [1, -1, -3] {
        let c = Case::new("ScatterElements", 18).rand(F32, &[3, 6, 4]).range(I32, &[2, 5, 3], -3.0, 3.0);
        all.push(c.rand(F32, &[2, 5, 3]).int("axis", axis).string("reduction", "add").sum(6));
    }
    all.push(Case::new("ScatterElements", 18).rand(F32, &[5]).range(I64, &[0], 0.0, 5.0).rand(F32, &[0]));
    all.push(Case::new("ScatterElements", 18).rand(Bool, &[5, 2]).range(I64, &[2, 2], 0.0, 5.0).rand(Bool, &[2, 2]));
    all
}

fn nd_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [F32, F16, I8, I32, I64] {
        for r in ["none", "add", "mul", "min", "max"] {
            let c = Case::new("ScatterND", 18).rand(d, &[5, 4, 3]).range(I64, &[4, 2], -4.0, 4.0).rand(d, &[4, 3]);
            all.push(c.string("reduction", r).sum(5));
        }
    }
    all.push(Case::new("ScatterND", 13).rand(F32, &[5]).range(I64, &[9, 1], 0.0, 5.0).rand(F32, &[9]));
    all.push(Case::new("ScatterND", 13).rand(F32, &[5, 2]).range(I64, &[2, 3, 1], 0.0, 5.0).rand(F32, &[2, 3, 2]));
    all
}
