//! Reading by index: Gather, GatherElements, GatherND, OneHot.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, Op, OpDef, Parse};
use crate::dtype::DType::{self, *};
use crate::ir::TensorType;
use crate::kernels::epilogue::Ends;
use crate::kernels::gather;
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Gather", &[1, 11, 13], |a, _| Ok(Arc::new(Gather { axis: a.int_or("axis", 0)? })), gather_cases),
    row("GatherElements", &[11, 13], |a, _| Ok(Arc::new(GatherElements { axis: a.int_or("axis", 0)? })), element_cases),
    row(
        "GatherND",
        &[11, 12, 13],
        |a, n| {
            let batch = if n.version >= 12 { a.int_or("batch_dims", 0)? } else { 0 };
            let batch = usize::try_from(batch).map_err(|_| err!(InvalidNode, "attribute batch_dims is negative"))?;
            Ok(Arc::new(GatherNd { batch }))
        },
        nd_cases,
    ),
    row("OneHot", &[9, 11], |a, _| Ok(Arc::new(OneHot { axis: a.int_or("axis", -1)? })), one_hot_cases),
];

const MOVED: &[DType] = &[F32, F16, BF16, I8, U8, I16, I32, I64, U64, Bool];

/// An index in `-n..n` as a position.
///
/// # Errors
/// `InvalidNode` when it lies outside.
pub(super) fn position(i: i64, n: usize) -> Result<usize> {
    let p = if i < 0 { i + n as i64 } else { i };
    ensure!((0..n as i64).contains(&p), InvalidNode, "index {i} is outside -{n}..{n}");
    Ok(p as usize)
}

/// Refuses indices into nothing, for which no place is right that a kernel could clamp them to.
fn ensure_any(extents: &[usize], indices: &[usize]) -> Result<()> {
    let nothing = extents.contains(&0) && shape::numel(indices) > 0;
    ensure!(!nothing, InvalidNode, "indices {indices:?} into nothing");
    Ok(())
}

#[derive(Debug)]
struct Gather {
    axis: i64,
}

impl Gather {
    fn target(&self, data: &[usize], indices: &[usize]) -> Result<(usize, Vec<usize>)> {
        let axis = shape::axis(self.axis, data.len())?;
        ensure_any(&data[axis..=axis], indices)?;
        Ok((axis, [&data[..axis], indices, &data[axis + 1..]].concat()))
    }
}

impl Op for Gather {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.target(cx.shape(0)?, cx.shape(1)?)?.1)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (need(inputs, 0)?, need(inputs, 1)?);
        let (axis, to) = self.target(x.shape(), indices.shape())?;
        let (n, inner) = (x.shape()[axis], shape::numel(&x.shape()[axis + 1..]));
        let at: Vec<usize> = indices.to_i64s()?.into_iter().map(|i| position(i, n)).collect::<Result<_>>()?;
        let mut sources = Vec::with_capacity(shape::numel(&to));
        for o in 0..shape::numel(&x.shape()[..axis]) {
            for p in &at {
                let start = (o * n + p) * inner;
                sources.extend(start..start + inner);
            }
        }
        Ok(vec![x.select(to, &sources)?])
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let (Ok(x), Ok(indices)) = (cx.shape(0), cx.shape(1)) else { return vec![] };
        let Ok(axis) = shape::axis(self.axis, x.len()) else { return vec![] };
        let inputs = |d: usize| match d.checked_sub(axis) {
            None => vec![Some(d), None],
            Some(k) if k < indices.len() => vec![None, Some(k)],
            Some(k) => vec![Some(axis + 1 + k - indices.len()), None],
        };
        (0..out.len()).map(|axis| Slicing { axis, inputs: inputs(axis) }).collect()
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.no_start()?;
        let t = cx.input_type(0)?;
        let axis = shape::axis(self.axis, t.rank())?;
        let parts = parts(cx, &t, axis)?;
        ensure!(end.is_none() || parts.is_empty(), Unsupported, "an epilogue of parts");
        let indices = cx.dense_input(1)?;
        let x = match parts.first() {
            Some(x) => x.clone(),
            None => cx.input(0)?,
        };
        // one index known before the run is a view
        if let (Some(&[i]), true) = (cx.ints(1).ok().flatten().as_deref(), parts.is_empty()) {
            ensure!(end.is_none(), Unsupported, "what is picked is a view");
            let picked = x.sliced(axis, position(i, x.shape[axis])?, 1, 1);
            let t = cx.output_type(0)?;
            if let Some(v) = picked.reshaped(&t.shape) {
                return cx.alias(0, v);
            }
        }
        let out = cx.output_placed(0, View::has_dense_images)?;
        if !parts.is_empty() {
            return gather::gather_parts(cx, &parts, axis, &indices, &out);
        }
        let x = cx.dense(&x)?;
        gather::gather_to(cx, &x, axis, &indices, (&out, end))
    }
}

/// Input 0 in parts along `axis` that the device can bind; empty where it can bind the whole.
fn parts(cx: &mut LowerCx<'_>, t: &TensorType, axis: usize) -> Result<Vec<View>> {
    let limit = cx.profile().max_binding;
    let step = (shape::numel(&t.shape[axis + 1..]) * cx.profile().device_type(t.dtype)?.bytes()) as u64;
    let n = t.shape[axis];
    if step.saturating_mul(n as u64) <= limit || t.shape[..axis].iter().any(|d| *d != 1) {
        return Ok(vec![]);
    }
    // a window begins where the device can bind, hence before its first slice
    let most = (limit.saturating_sub(cx.profile().offset_align) / step) as usize;
    ensure!(most > 0, Limit, "a slice of {t} takes {step} bytes, the device binds {limit}");
    let part = |first: usize| {
        let range = first..n.min(first + most);
        if cx.value(0).is_none() {
            return Ok(cx.input(0)?.sliced(axis, range.start, 1, range.len()));
        }
        let mut shape = t.shape.clone();
        shape[axis] = range.len();
        let tag = format!("slices {range:?} along {axis}");
        cx.prepacked(0, &tag, TensorType::new(t.dtype, shape), move |t| t.sliced(axis, range.clone()))
    };
    (0..n).step_by(most).map(part).collect()
}

fn gather_cases() -> Vec<Case> {
    let mut all: Vec<Case> =
        MOVED.iter().map(|d| Case::new("Gather", 13).rand(*d, &[5, 4, 3]).range(I64, &[2, 3], -5.0, 5.0)).collect();
    for axis in [-1, 0, 1, 2] {
        all.push(Case::new("Gather", 13).rand(F32, &[5, 4, 3]).range(I32, &[7], -3.0, 3.0).int("axis", axis));
    }
    all.push(Case::new("Gather", 13).rand(F32, &[5, 4]).range(I64, &[], 0.0, 5.0));
    all.push(Case::new("Gather", 13).rand(F32, &[5, 4]).constant(Tensor::scalar(-2i64)).int("axis", 1));
    all.push(Case::new("Gather", 13).rand(F32, &[5, 4]).range(I64, &[0], 0.0, 5.0));
    all.push(Case::new("Gather", 13).rand(F32, &[300, 64]).range(I64, &[3, 50], 0.0, 300.0));
    all
}

#[derive(Debug)]
struct GatherElements {
    axis: i64,
}

impl Op for GatherElements {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (x, i) = (cx.shape(0)?, cx.shape(1)?);
        let axis = shape::axis(self.axis, x.len())?;
        let fits = x.len() == i.len() && (0..x.len()).all(|d| d == axis || i[d] <= x[d]);
        if !fits {
            return Err(err!(InvalidNode, "indices {i:?} do not fit {x:?}").into());
        }
        ensure_any(&x[axis..=axis], i)?;
        one(cx.dtype(0)?, i)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (need(inputs, 0)?, need(inputs, 1)?);
        let axis = shape::axis(self.axis, x.rank())?;
        let strides = shape::strides(x.shape());
        let mut sources = vec![];
        for (mut c, i) in shape::coords(indices.shape()).zip(indices.to_i64s()?) {
            c[axis] = position(i, x.shape()[axis])?;
            sources.push(c.iter().zip(&strides).map(|(c, s)| c * s).sum());
        }
        Ok(vec![x.select(indices.shape(), &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, indices) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let axis = shape::axis(self.axis, x.rank())?;
        let out = cx.output(0)?;
        gather::elements(cx, &x, axis, &indices, &out)
    }
}

fn element_cases() -> Vec<Case> {
    let mut all: Vec<Case> = MOVED
        .iter()
        .map(|d| Case::new("GatherElements", 13).rand(*d, &[5, 4, 3]).range(I64, &[3, 4, 2], -5.0, 5.0))
        .collect();
    for axis in [-1, 1, 2] {
        all.push(
            Case::new("GatherElements", 13).rand(F32, &[5, 4, 3]).range(I32, &[5, 2, 3], -3.0, 3.0).int("axis", axis),
        );
    }
    all.push(
        Case::new("GatherElements", 13)
            .rand(F32, &[2, 3, 2, 3, 2])
            .range(I64, &[2, 3, 2, 1, 2], 0.0, 2.0)
            .int("axis", 2),
    );
    all.push(Case::new("GatherElements", 13).rand(F32, &[70]).range(I64, &[700], -70.0, 70.0));
    all
}

#[derive(Debug)]
struct GatherNd {
    batch: usize,
}

impl GatherNd {
    /// Batch count, index tuples per batch, length of a tuple, and the result's shape.
    fn plan(&self, x: &[usize], i: &[usize]) -> Result<(usize, usize, usize, Vec<usize>)> {
        let b = self.batch;
        ensure!(!i.is_empty() && b < i.len() && b <= x.len(), InvalidNode, "indices {i:?} do not fit {x:?}");
        let k = i[i.len() - 1];
        ensure!(b + k <= x.len(), InvalidNode, "tuples of {k} do not fit {x:?}");
        ensure!(x[..b] == i[..b], InvalidNode, "batch dims of {x:?} and {i:?} differ");
        ensure_any(&x[b..b + k], &i[..i.len() - 1])?;
        let to = [&i[..i.len() - 1], &x[b + k..]].concat();
        Ok((shape::numel(&x[..b]), shape::numel(&i[b..i.len() - 1]), k, to))
    }
}

impl Op for GatherNd {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.plan(cx.shape(0)?, cx.shape(1)?)?.3)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (need(inputs, 0)?, need(inputs, 1)?);
        let (batches, tuples, k, to) = self.plan(x.shape(), indices.shape())?;
        let strides = shape::strides(x.shape());
        let b = self.batch;
        let (inner, per_batch) = (shape::numel(&x.shape()[b + k..]), shape::numel(&x.shape()[b..]));
        let flat = indices.to_i64s()?;
        let mut sources = vec![];
        for t in 0..batches * tuples {
            let mut start = t / tuples.max(1) * per_batch;
            for j in 0..k {
                start += position(flat[t * k + j], x.shape()[b + j])? * strides[b + j];
            }
            sources.extend(start..start + inner);
        }
        Ok(vec![x.select(to, &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, indices) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let (_, tuples, k, _) = self.plan(&x.shape, &indices.shape)?;
        let out = cx.output(0)?;
        gather::nd(cx, &x, self.batch, tuples, k, &indices, &out)
    }
}

fn nd_cases() -> Vec<Case> {
    let mut all: Vec<Case> =
        MOVED.iter().map(|d| Case::new("GatherND", 13).rand(*d, &[5, 4, 3]).range(I64, &[6, 2], -4.0, 4.0)).collect();
    all.push(Case::new("GatherND", 13).rand(F32, &[4, 4, 3]).range(I64, &[2, 5, 3], 0.0, 3.0));
    all.push(Case::new("GatherND", 13).rand(F32, &[2, 4, 3]).range(I64, &[2, 5, 1], 0.0, 3.0).int("batch_dims", 1));
    all.push(Case::new("GatherND", 13).rand(F32, &[5, 4]).range(I64, &[0, 1], 0.0, 3.0));
    all
}

#[derive(Debug)]
struct OneHot {
    axis: i64,
}

impl OneHot {
    fn target(&self, indices: &[usize], depth: &Tensor) -> Result<(usize, Vec<usize>)> {
        let axis = shape::axis(self.axis, indices.len() + 1)?;
        let depth = depth.to_f64s()?.first().copied().unwrap_or(0.0);
        ensure!((1.0..1e9).contains(&depth), InvalidNode, "depth is {depth}");
        let mut to = indices.to_vec();
        to.insert(axis, depth as usize);
        Ok((axis, to))
    }
}

impl Op for OneHot {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let values = cx.input(2)?;
        if values.numel() != 2 {
            return Err(err!(InvalidNode, "expected two values, off and on, got {values}").into());
        }
        one(values.dtype, self.target(cx.shape(0)?, cx.value(1)?)?.1)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (indices, values) = (need(inputs, 0)?, need(inputs, 2)?);
        let (axis, to) = self.target(indices.shape(), need(inputs, 1)?)?;
        let depth = to[axis] as f64;
        let at: Vec<f64> = indices.to_f64s()?.into_iter().map(|i| if i < 0.0 { i + depth } else { i }).collect();
        let inner = shape::numel(&to[axis + 1..]);
        let one = |i: usize| {
            let (o, d, k) = (i / inner / to[axis], i / inner % to[axis], i % inner);
            (at[o * inner + k] == d as f64) as usize
        };
        let sources: Vec<usize> = (0..shape::numel(&to)).map(one).collect();
        Ok(vec![values.select(to, &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (indices, values) = (cx.dense_input(0)?, cx.dense_input(2)?);
        let out = cx.output(0)?;
        let axis = shape::axis(self.axis, out.rank())?;
        gather::one_hot(cx, &indices, &values, axis, &out)
    }
}

fn one_hot_cases() -> Vec<Case> {
    let mut all = vec![];
    for (i, v) in [(I64, F32), (I32, I64), (F32, F32), (U8, Bool), (I64, F16)] {
        let values = Tensor::from_i128s(v, [2], vec![0, 1]).unwrap_or_else(|_| Tensor::zeros(v, [2]));
        let low = if i == U8 { 0.0 } else { -4.0 };
        let c = Case::new("OneHot", 11).range(i, &[2, 3], low, 9.0);
        let c = if i == F32 { Case::new("OneHot", 11).value(Tensor::vector(&[1.0f32, -2.0, 3.0, 100.0])) } else { c };
        all.push(c.constant(Tensor::scalar(5i64)).value(values));
    }
    for axis in [0, 1, -2] {
        let values = Tensor::vector(&[2.0f32, 5.0]);
        let c = Case::new("OneHot", 11).range(I64, &[2, 3], 0.0, 5.0).constant(Tensor::scalar(5i64));
        all.push(c.value(values).int("axis", axis));
    }
    all
}
