//! DynamicQuantizeLSTM of com.microsoft: an LSTM of 8-bit weights, whose inputs and hidden states are quantised on the
//! way.
//!
//! All inputs share one range. The hidden state of each sequence has a range of its own in each step, so that a sequence's
//! result does not depend on its neighbours in the batch.

use std::sync::Arc;

use super::eval::{need, opt};
use super::quant::{apply, dynamic_scale, lower_dynamic, quantized};
use super::quant_products::{centred, column_sums, ended_product, less, shifted, shifted_view, widened};
use super::rnn::{Cell, Extents, Factors, Recurrent, recurrent};
use super::{Case, InferCx, Inferred, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, F32, I8, I32, U8};
use crate::ir::TensorType;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::matmul::{Right, right_of};
use crate::kernels::rnn::{QuantisedWeights, lower_quantised};
use crate::plan::{LowerCx, View};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The row of the registry.
pub const FAMILY: &[OpDef] = &[OpDef {
    domain: "com.microsoft",
    name: "DynamicQuantizeLSTM",
    versions: &[1],
    parse: |a, _| Ok(Arc::new(DynamicQuantizeLstm(recurrent(Cell::Lstm, false, a)?))),
    cases,
}];

const LENS: usize = 4;
const W_SCALE: usize = 8;
const W_ZERO: usize = 9;
const R_SCALE: usize = 10;
const R_ZERO: usize = 11;

/// Gates of a unit.
const GATES: usize = 4;

/// LSTM with weights `[directions, from, gates · hidden]` of 8-bit integers.
#[derive(Debug)]
struct DynamicQuantizeLstm(Recurrent);

/// Parameters of the weights, one a direction or one a direction and row, as they broadcast to the weights.
fn by_direction(p: &[usize]) -> Vec<usize> {
    match p {
        [d] => vec![*d, 1, 1],
        [d, rows] => vec![*d, 1, *rows],
        _ => p.to_vec(),
    }
}

/// Weights as LSTM has them, `[directions, gates · hidden, from]`.
fn transposed(t: &Tensor) -> Result<Vec<f64>> {
    let [d, from, rows] = *t.shape() else { bail!(InvalidNode, "expected weights of rank 3, got {:?}", t.shape()) };
    let at = shape::strided_indices(&[d, rows, from], &[(from * rows) as isize, 1, rows as isize], 0);
    let values = t.to_f64s()?;
    Ok(at.into_iter().map(|i| values[i]).collect())
}

impl DynamicQuantizeLstm {
    fn extents(&self, shape: &dyn Fn(usize) -> Option<Vec<usize>>) -> Result<Extents> {
        let of = |i: usize| shape(i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"));
        let flipped = |i: usize| match of(i)?[..] {
            [d, from, rows] => Ok(vec![d, rows, from]),
            ref s => bail!(InvalidNode, "expected weights of rank 3, got {s:?}"),
        };
        let recurrent = of(2)?;
        let e = self.0.extents(&of(0)?, &flipped(1)?, &flipped(2)?)?;
        self.0.check(&e, shape)?;
        let (d, rows) = (self.0.directions, recurrent[2]);
        for i in [W_SCALE, W_ZERO, R_SCALE, R_ZERO] {
            let p = of(i)?;
            let fits = p == [d] || p == [d, rows];
            ensure!(fits, InvalidNode, "expected input {i} of [{d}] or [{d}, {rows}], got {p:?}");
        }
        Ok(e)
    }

    /// Sums of products of all inputs with the input weights, and what scales them; `[directions, steps · batch, rows]`.
    fn project(&self, cx: &mut LowerCx<'_>, e: &Extents) -> Result<View> {
        let (d, rows, n) = (self.0.directions, e.steps * e.batch, GATES * e.hidden);
        let x = self.live_inputs(cx, e)?;
        let quantised = cx.temp(U8, &x.shape)?;
        let (scale, zero) = (cx.temp(F32, &[])?, cx.temp(U8, &[])?);
        lower_dynamic(cx, &x, &quantised, &scale, &zero)?;
        let flat = quantised.reshaped(&[1, rows, e.input]);
        let flat = flat.ok_or_else(|| err!(Internal, "inputs that are not dense"))?;
        let out = cx.temp(F32, &[d, rows, n])?;
        let w_scale = self.scales(cx, W_SCALE)?;
        let scaled = Epilogue::new(cx, "scaled", [I32, F32], vec![scale, w_scale], |emit, sum, x| {
            let both = emit.call(F32, "mul", &[&x[0], &x[1]])?;
            let sum = emit.cast(&sum, F32)?;
            emit.call(F32, "mul", &[&sum, &both])
        })?;
        let (left, weights, end) = match column_sums(cx, 1, W_ZERO, by_direction)? {
            Some(sums) => {
                let z = cx.value(W_ZERO).cloned();
                let tag = z.as_ref().map_or(String::new(), |z| format!("less {:?} {:?}", z.shape(), z.bytes()));
                let weights = right_of(cx, 1, false, I32, &tag, move |w| shifted(w, z.as_ref(), by_direction))?;
                (widened(&flat), weights, centred(cx, Some(&zero), 0, sums, Some(&scaled))?)
            }
            None => {
                let weights = Right::View(shifted_view(cx, 1, W_ZERO, by_direction)?);
                (less(cx, &flat, Some(zero))?, weights, scaled)
            }
        };
        ended_product(cx, left.broadcast(&[d, rows, e.input]), weights, &out, Some(end))?;
        Ok(out)
    }

    /// The inputs, those beyond the end of the longest sequence made 0, lest they widen the range.
    fn live_inputs(&self, cx: &mut LowerCx<'_>, e: &Extents) -> Result<View> {
        let x = cx.input(0)?;
        if !cx.has_input(LENS) || e.batch == 0 {
            return Ok(x);
        }
        let lens = cx.input(LENS)?;
        let step = cx.constant(Tensor::vector(&(0..e.steps as i32).collect::<Vec<_>>()))?;
        let step = spread_to(&step, &[e.steps, 1, 1], &x.shape)?;
        let mut longest = spread_to(&lens.sliced(0, 0, 1, 1), &[1, 1, 1], &[1, 1, 1])?;
        for b in 1..e.batch {
            let next = spread_to(&lens.sliced(0, b, 1, 1), &[1, 1, 1], &[1, 1, 1])?;
            let both = cx.temp(I32, &[1, 1, 1])?;
            apply(cx, &[longest, next], &both, |emit, x| emit.call(I32, "max", &[&x[0], &x[1]]))?;
            longest = both;
        }
        let out = cx.temp(F32, &x.shape)?;
        let longest = longest.broadcast(&x.shape);
        apply(cx, &[x, step, longest], &out, |emit, x| {
            let (inside, none) = (emit.test(I32, "lt", &[&x[1], &x[2]])?, emit.float(F32, 0.0)?);
            Ok(emit.select(&inside, &x[0], &none))
        })?;
        Ok(out)
    }

    /// Scales of weights as they broadcast to the weights.
    fn scales(&self, cx: &mut LowerCx<'_>, i: usize) -> Result<View> {
        let v = cx.input(i)?;
        let wide = by_direction(&v.shape);
        v.reshaped(&wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))
    }

    /// Recurrent weights less their zero points, `[direction, from unit, to unit, gate]`.
    fn recurrent_weights(&self, cx: &mut LowerCx<'_>, e: &Extents) -> Result<View> {
        let (d, h) = (self.0.directions, e.hidden);
        if cx.value(2).is_some() && cx.value(R_ZERO).is_some() {
            let z = cx.value(R_ZERO).cloned();
            let tag = z.as_ref().map_or(String::new(), |z| format!("by unit less {:?} {:?}", z.shape(), z.bytes()));
            let t = TensorType::new(I32, [d, h, h, GATES]);
            return cx.prepacked(2, &tag, t, move |r| {
                let strides = [h * GATES * h, GATES * h, 1, h].map(|s| s as isize);
                let at = shape::strided_indices(&[d, h, h, GATES], &strides, 0);
                shifted(r, z.as_ref(), by_direction)?.select([d, h, h, GATES], &at)
            });
        }
        let v = shifted_view(cx, 2, R_ZERO, by_direction)?;
        let v = v.reshaped(&[d, h, GATES, h]).ok_or_else(|| err!(Internal, "{:?} is not split", v.shape))?;
        cx.dense(&v.permuted(&[0, 1, 3, 2]))
    }

    /// Scales of the recurrent weights, `[direction, to unit, gate]`.
    fn recurrent_scales(&self, cx: &mut LowerCx<'_>, e: &Extents) -> Result<View> {
        let (d, h) = (self.0.directions, e.hidden);
        let wide = self.scales(cx, R_SCALE)?.broadcast(&[d, 1, GATES * h]);
        let v = wide.reshaped(&[d, GATES, h]).ok_or_else(|| err!(Internal, "{:?} is not split", wide.shape))?;
        cx.dense(&v.permuted(&[0, 2, 1]))
    }
}

fn spread_to(v: &View, wide: &[usize], to: &[usize]) -> Result<View> {
    let v = v.reshaped(wide).ok_or_else(|| err!(Internal, "{:?} is not {wide:?}", v.shape))?;
    Ok(v.broadcast(to))
}

/// A scale for each direction and row.
fn row_scales(t: &Tensor, rows: usize) -> Result<Vec<f32>> {
    let values = t.to_f32s()?;
    Ok(if t.rank() == 2 { values } else { values.iter().flat_map(|s| vec![*s; rows]).collect() })
}

impl Op for DynamicQuantizeLstm {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let e = self.extents(&|i| cx.try_input(i).map(|t| t.shape.clone()))?;
        for (weights, zero) in [(1, W_ZERO), (2, R_ZERO)] {
            let (w, z) = (cx.dtype(weights)?, cx.dtype(zero)?);
            if !matches!(w, I8 | U8) || w != z {
                return Err(err!(InvalidNode, "weights of {w} with zero points of {z}").into());
            }
        }
        let state = TensorType::new(F32, self.0.state_shape(&e));
        Ok(vec![TensorType::new(F32, self.0.sequence_shape(&e)), state.clone(), state])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let e = self.extents(&|i| opt(inputs, i).map(|t| t.shape().to_vec()))?;
        let mut x = need(inputs, 0)?.to_f32s()?;
        if let Some(lens) = opt(inputs, LENS) {
            let longest = lens.to_i64s()?.into_iter().max().unwrap_or(0).max(0) as usize;
            x.iter_mut().skip(longest.saturating_mul(e.batch * e.input)).for_each(|v| *v = 0.0);
        }
        let (scale, zero) = dynamic_scale(&x);
        let rows = GATES * e.hidden;
        let w_scale = row_scales(need(inputs, W_SCALE)?, rows)?;
        let factors = Factors {
            x: x.iter().map(|v| quantized(U8, (v / scale) as f64, zero) - zero).collect(),
            w: transposed(&shifted(need(inputs, 1)?, opt(inputs, W_ZERO), by_direction)?)?,
            r: transposed(&shifted(need(inputs, 2)?, opt(inputs, R_ZERO), by_direction)?)?,
            scales: Some((w_scale.iter().map(|s| scale * s).collect(), row_scales(need(inputs, R_SCALE)?, rows)?)),
        };
        self.0.run(inputs, &e, F32, &factors)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let e = self.extents(&|i| cx.has_input(i).then(|| cx.input_type(i).ok()).flatten().map(|t| t.shape))?;
        let projection = self.project(cx, &e)?;
        let weights = self.recurrent_weights(cx, &e)?;
        let scales = self.recurrent_scales(cx, &e)?;
        lower_quantised(cx, &self.0, e, QuantisedWeights { projection, weights, scales })
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        // a state on the border between two of its 256 values falls to either side
        Tolerance { rel: 0.0, abs: 0.01 }
    }
}

fn cases() -> Vec<Case> {
    struct Draft {
        extents: [usize; 4],
        directions: usize,
        types: [DType; 2],
        rows: bool,
        constant: bool,
        lens: Option<Vec<i32>>,
        states: bool,
        peepholes: bool,
    }
    let draft = |extents| Draft {
        extents,
        directions: 1,
        types: [I8, I8],
        rows: false,
        constant: true,
        lens: None,
        states: false,
        peepholes: false,
    };
    let build = |p: Draft| -> Case {
        let ([t, b, i, h], d) = (p.extents, p.directions);
        let direction = if d == 2 { "bidirectional" } else { "forward" };
        let case = Case::new("DynamicQuantizeLSTM", 1).domain("com.microsoft").string("direction", direction);
        let mut case = case.int("hidden_size", h as i64).outputs(3).rand(F32, &[t, b, i]);
        let add = |case: Case, dtype: DType, shape: &[usize], low: f64, high: f64, seed: u64| {
            let known = Rng::new(seed).tensor(dtype, shape, low, high).ok().filter(|_| p.constant);
            match known {
                Some(t) => case.constant(t),
                None => case.range(dtype, shape, low, high),
            }
        };
        let range = |d: DType| if d == I8 { (-100.0, 100.0) } else { (20.0, 235.0) };
        for (k, (dtype, from)) in p.types.into_iter().zip([i, h]).enumerate() {
            let (low, high) = range(dtype);
            case = add(case, dtype, &[d, from, 4 * h], low, high, k as u64);
        }
        case = add(case, F32, &[d, 8 * h], -0.5, 0.5, 3);
        case = match &p.lens {
            Some(l) => case.value(Tensor::vector(l)),
            None => case.absent(),
        };
        for _ in 0..2 {
            case = if p.states { case.rand(F32, &[d, b, h]) } else { case.absent() };
        }
        case = if p.peepholes { add(case, F32, &[d, 3 * h], -0.5, 0.5, 4) } else { case.absent() };
        let per = if p.rows { vec![d, 4 * h] } else { vec![d] };
        for dtype in p.types {
            case = add(case, F32, &per, 0.001, 0.002, 5);
            let (low, high) = if dtype == I8 { (-3.0, 4.0) } else { (120.0, 136.0) };
            case = add(case, dtype, &per, low, high, 6);
        }
        case
    };
    vec![
        build(draft([3, 2, 4, 5])),
        build(draft([3, 2, 4, 5])).string("direction", "reverse"),
        build(Draft { directions: 2, types: [U8, U8], rows: true, ..draft([4, 3, 7, 33]) }),
        build(Draft { lens: Some(vec![2, 0, 3]), states: true, directions: 2, ..draft([5, 3, 2, 6]) }),
        build(Draft { constant: false, types: [U8, I8], rows: true, peepholes: true, ..draft([3, 2, 5, 6]) }),
        build(Draft { states: true, ..draft([2, 1, 9, 300]) }).outputs(1),
        build(Draft { peepholes: true, ..draft([2, 1, 3, 8]) }).float("clip", 0.25).int("input_forget", 1),
        build(draft([2, 0, 4, 5])),
    ]
}
