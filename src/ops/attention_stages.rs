//! Attention on the device: two products, and between them the scores from stage to stage.

use super::attention::{Attention, Extents, K, LENGTHS, MASK, PAST_KEY, PAST_VALUE, Q, Shown, V, padded, split_heads};
use super::einsum::fitted;
use super::quant::apply;
use crate::dtype::DType::{self, *};
use crate::kernels::attention::{self as kernels, Hidden, attention};
use crate::kernels::copy::copy;
use crate::kernels::elementwise::{Emit, Var};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::matmul::{Product, Right, product};
use crate::kernels::norm::{Soft, softmax};
use crate::kernels::pad::{self, Mode};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, shape};

/// Emits the dispatches of one application.
///
/// # Errors
/// As [`Op::lower`](super::Op::lower).
pub(super) fn lower(op: &Attention, cx: &mut LowerCx<'_>) -> Result<()> {
    let mut shapes: Vec<Option<Vec<usize>>> = vec![];
    for i in 0..cx.input_count() {
        shapes.push(if cx.has_input(i) { Some(cx.input_type(i)?.shape) } else { None });
    }
    let e = op.extents(&|i| shapes.get(i).cloned().flatten())?;
    let q = cx.input(Q)?;
    let q = tall(cx, &q, e.query_heads())?;
    let key = with_past(cx, K, PAST_KEY, 1, &e)?;
    let value = with_past(cx, V, PAST_VALUE, 2, &e)?;
    let d = q.dtype;
    let work = op.precision.unwrap_or(d);

    let biases = cx.has_input(MASK) || cx.has_input(LENGTHS) || op.positional();
    // a stage that changes nothing is the one before it
    let shown = match op.shown {
        Shown::Biased if biases => Shown::Biased,
        Shown::Biased | Shown::Capped if op.softcap > 0.0 => Shown::Capped,
        Shown::Biased | Shown::Capped => Shown::Product,
        other => other,
    };
    let stages = Stages { op, e, shown: cx.has_output(3).then_some(shown) };
    if stages.shown.is_none() && cx.attempt(|cx| stages.at_once(cx, &q, &key, &value, biases, work))? {
        return Ok(());
    }
    let scores = stages.product(cx, q, key)?;
    let logits = stages.logits(cx, scores, biases, work)?;
    let logits = cx.dense(&logits)?;
    let p = stages.buffer(cx, Shown::Probabilities, work)?;
    softmax(cx, Soft::Masked, &logits, [shape::numel(&e.scores()[..3]), e.keys, 1], (&p, None))?;
    let p = stages.cast(cx, Shown::Probabilities, p, d)?;
    if !cx.has_output(0) {
        return Ok(());
    }
    let mut y = cx.output(0)?;
    if e.flat {
        y = fitted(cx, &y, &[e.batch, e.queries, e.query_heads(), e.width])?.permuted(&[0, 2, 1, 3]);
    }
    let (p, y) = (grouped(cx, &p, &e)?, grouped(cx, &y, &e)?);
    product(cx, &Product::new(p, shared(&value, &e), y))
}

/// `[batch, heads, length, depth]` of an input's view.
fn tall(cx: &mut LowerCx<'_>, v: &View, heads: usize) -> Result<View> {
    if v.rank() == 4 {
        return Ok(v.clone());
    }
    let [b, h, l, d] = split_heads(&v.shape, Some(heads as i64))?;
    Ok(fitted(cx, v, &[b, l, h, d])?.permuted(&[0, 2, 1, 3]))
}

/// Input `i` behind its past, which is output `o` as well.
fn with_past(cx: &mut LowerCx<'_>, i: usize, past: usize, o: usize, e: &Extents) -> Result<View> {
    let new = cx.input(i)?;
    let new = tall(cx, &new, e.heads)?;
    let Some(old) = cx.try_input(past)? else {
        if cx.has_output(o) {
            cx.alias(o, new.clone())?;
        }
        return Ok(new);
    };
    let s = [e.batch, e.heads, e.keys, new.shape[3]];
    let all = if cx.has_output(o) { cx.output(o)? } else { cx.temp(new.dtype, &s)? };
    copy(cx, &old, &all.sliced(2, 0, 1, e.past))?;
    copy(cx, &new, &all.sliced(2, e.past, 1, e.keys - e.past))?;
    Ok(all)
}

/// The heads of `[batch, heads, m, n]` by the key heads that they share.
fn grouped(cx: &mut LowerCx<'_>, v: &View, e: &Extents) -> Result<View> {
    fitted(cx, v, &[e.batch, e.heads, e.group, v.shape[2], v.shape[3]])
}

/// Keys or values, repeated for the query heads that share them.
fn repeated(v: &View, e: &Extents) -> View {
    let [b, h, m, n] = [0, 1, 2, 3].map(|i| v.strides[i]);
    let shape = vec![e.batch, e.heads, e.group, v.shape[2], v.shape[3]];
    View { shape, strides: vec![b, h, 0, m, n], ..v.clone() }
}

fn shared(v: &View, e: &Extents) -> Right {
    Right::View(repeated(v, e))
}

/// The scores on the device, from stage to stage.
struct Stages<'a> {
    op: &'a Attention,
    e: Extents,
    /// The stage that the fourth output shows, if it is used.
    shown: Option<Shown>,
}

impl Stages<'_> {
    /// All stages in one dispatch, which computes in 32 bits.
    fn at_once(
        &self,
        cx: &mut LowerCx<'_>,
        q: &View,
        key: &View,
        value: &View,
        biases: bool,
        work: DType,
    ) -> Result<()> {
        let (op, e) = (self.op, &self.e);
        ensure!(cx.has_output(0), Unsupported, "no result");
        ensure!(work == F32 || work == q.dtype, Unsupported, "a softmax of {work}");
        let [f, g] = op.factors(e);
        let mut end = None;
        if biases || op.softcap > 0.0 {
            let (views, operands) = self.operands(cx)?;
            let mut made = Epilogue::new(cx, "bias", [F32, F32], views, |e, x, args| {
                let x = if op.softcap > 0.0 { op.cap(e, &x)? } else { x };
                self.biased(e, &x, &operands, args)
            })?;
            let wide = |v: &View| grouped(cx, &v.broadcast(&e.scores()), e);
            made.reads = made.reads.iter().map(wide).collect::<Result<_>>()?;
            end = Some(made);
        }
        let mut out = cx.output_placed(0, |_| true)?;
        if e.flat {
            out = fitted(cx, &out, &[e.batch, e.queries, e.query_heads(), e.width])?.permuted(&[0, 2, 1, 3]);
        }
        let (q, out) = (grouped(cx, q, e)?, grouped(cx, &out, e)?);
        let (k, v) = (repeated(key, e), repeated(value, e));
        let (end, hidden) = (end.as_ref(), Hidden::Zero);
        attention(cx, &kernels::Attention { q, k, v, out, alpha: f * g, end, hidden })
    }

    /// Where a stage goes: to the fourth output when it shows that stage in this type.
    fn buffer(&self, cx: &mut LowerCx<'_>, stage: Shown, d: DType) -> Result<View> {
        if self.shown == Some(stage) && cx.output_type(3)?.dtype == d {
            return cx.output(3);
        }
        cx.temp(d, &self.e.scores())
    }

    /// A stage in another type.
    fn cast(&self, cx: &mut LowerCx<'_>, stage: Shown, v: View, to: DType) -> Result<View> {
        if v.dtype == to {
            return Ok(v);
        }
        let out = self.buffer(cx, stage, to)?;
        apply(cx, &[v], &out, |e, args| e.cast(&args[0], to))?;
        Ok(out)
    }

    /// Q × Kᵀ, scaled: 16-bit factors before the product, where they are rounded.
    fn product(&self, cx: &mut LowerCx<'_>, q: View, key: View) -> Result<View> {
        let (d, e) = (q.dtype, &self.e);
        let [f, g] = self.op.factors(e);
        let scaled = |cx: &mut LowerCx<'_>, v: View, by: f32| {
            if by == 1.0 || d == F32 {
                return Ok(v);
            }
            let out = cx.temp(d, &v.shape)?;
            apply(cx, &[v], &out, |e, args| {
                let by = e.float(d, by)?;
                e.call(d, "mul", &[&args[0], &by])
            })?;
            Ok(out)
        };
        let (q, key) = (scaled(cx, q, f)?, scaled(cx, key, g)?);
        let out = self.buffer(cx, Shown::Product, d)?;
        let (a, y) = (grouped(cx, &q, e)?, grouped(cx, &out, e)?);
        let alpha = if d == F32 { f * g } else { 1.0 };
        let b = shared(&key.permuted(&[0, 1, 3, 2]), e);
        product(cx, &Product { alpha, ..Product::new(a, b, y) })?;
        Ok(out)
    }

    /// Capped and biased, in the softmax's type.
    fn logits(&self, cx: &mut LowerCx<'_>, scores: View, biases: bool, work: DType) -> Result<View> {
        let (d, op) = (scores.dtype, self.op);
        let mut caps = op.softcap > 0.0;
        let mut v = scores;
        if caps && (self.shown == Some(Shown::Capped) || !biases) {
            let out = self.buffer(cx, Shown::Capped, d)?;
            apply(cx, &[v], &out, |e, args| op.cap(e, &args[0]))?;
            (v, caps) = (out, false);
        }
        if biases {
            let (mut views, operands) = self.operands(cx)?;
            views.insert(0, v);
            let to = if self.shown == Some(Shown::Biased) { d } else { work };
            let out = self.buffer(cx, Shown::Biased, to)?;
            apply(cx, &views, &out, |e, args| {
                let x = if caps { op.cap(e, &args[0])? } else { args[0].clone() };
                let y = self.biased(e, &x, &operands, &args[1..])?;
                e.cast(&y, to)
            })?;
            v = out;
        }
        self.cast(cx, Shown::Biased, v, work)
    }

    /// What the bias is made of, and the views of it.
    fn operands(&self, cx: &mut LowerCx<'_>) -> Result<(Vec<View>, Vec<Operand>)> {
        let e = &self.e;
        let (mut views, mut operands) = (vec![], vec![]);
        let iota = |n: usize| (0..n as i32).collect::<Vec<_>>();
        if let Some(mask) = cx.try_input(MASK)? {
            let s = padded(&mask.shape, e.keys);
            let mut view = mask;
            if s != view.shape {
                if view.dtype.is_int() {
                    // whole numbers have no infinity
                    let wide = cx.temp(F32, &view.shape)?;
                    apply(cx, &[view], &wide, |e, args| e.cast(&args[0], F32))?;
                    view = wide;
                }
                let hidden = if view.dtype == Bool { 0.0 } else { f64::NEG_INFINITY };
                let fill = Tensor::from_f64s(view.dtype, [], vec![hidden])?;
                let fill = cx.constant(fill)?;
                let out = cx.temp(view.dtype, &s)?;
                pad::pad(cx, Mode::Constant, &view, &fill, &vec![0; s.len()], &out)?;
                view = out;
            }
            views.push(view);
            operands.push(Operand::Mask);
        }
        if let Some(lengths) = cx.try_input(LENGTHS)? {
            views.push(fitted(cx, &lengths, &[e.batch, 1, 1, 1])?);
            operands.push(Operand::Length);
        }
        if self.op.positional() {
            views.push(cx.constant(Tensor::new([e.queries, 1], iota(e.queries))?)?);
            operands.push(Operand::Row);
        }
        if self.op.positional() || cx.has_input(LENGTHS) {
            views.push(cx.constant(Tensor::new([e.keys], iota(e.keys))?)?);
            operands.push(Operand::Column);
        }
        Ok((views, operands))
    }

    /// One score with its bias: -inf where the key is hidden.
    fn biased(&self, e: &mut Emit<'_>, x: &Var, operands: &[Operand], args: &[Var]) -> Result<Var> {
        let d = x.dtype;
        let of = |o: Operand| operands.iter().position(|p| *p == o).map(|i| args[i].clone());
        let mut y = x.clone();
        let hidden = e.float(d, f32::NEG_INFINITY)?;
        if let Some(mask) = of(Operand::Mask) {
            y = if mask.dtype == Bool {
                e.select(&mask, &y, &hidden)
            } else {
                let bias = e.cast(&mask, d)?;
                let sum = e.call(d, "add", &[&y, &bias])?;
                let off = e.test(d, "eq", &[&bias, &hidden])?;
                e.select(&off, &hidden, &sum)
            };
        }
        let length = of(Operand::Length).map(|l| e.cast(&l, I32)).transpose()?;
        let Some(j) = of(Operand::Column) else { return Ok(y) };
        let mut hide = |e: &mut Emit<'_>, a: &Var, b: &Var, test: &str| -> Result<()> {
            let off = e.test(I32, test, &[a, b])?;
            y = e.select(&off, &hidden, &y);
            Ok(())
        };
        if let Some(length) = &length {
            hide(e, &j, length, "ge")?;
        }
        let Some(i) = of(Operand::Row) else { return Ok(y) };
        let start = match &length {
            Some(length) => {
                let queries = e.int(I32, self.e.queries as i64)?;
                e.call(I32, "sub", &[length, &queries])?
            }
            None => e.int(I32, self.e.past as i64)?,
        };
        let p = e.call(I32, "add", &[&i, &start])?;
        if self.op.causal {
            hide(e, &j, &p, "gt")?;
        }
        let [left, right] = self.op.window;
        for (size, from, to) in [(left, &p, &j), (right, &j, &p)] {
            if let Some(size) = size {
                let size = e.int(I32, size.min(i32::MAX as i64))?;
                let gap = e.call(I32, "sub", &[from, to])?;
                hide(e, &gap, &size, "gt")?;
            }
        }
        Ok(y)
    }
}

/// What the bias reads besides the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Mask,
    /// The valid keys of a sequence.
    Length,
    /// The query's index.
    Row,
    /// The key's index.
    Column,
}

impl Attention {
    /// `cap · tanh(x / cap)`
    fn cap(&self, e: &mut Emit<'_>, x: &Var) -> Result<Var> {
        let cap = e.float(x.dtype, self.softcap)?;
        let part = e.call(x.dtype, "div", &[x, &cap])?;
        let bent = e.call(x.dtype, "tanh", &[&part])?;
        e.call(x.dtype, "mul", &[&bent, &cap])
    }
}
