//! Attention as com.microsoft has it: Attention (with the projection of its input), MultiHeadAttention,
//! RotaryEmbedding. All are bodies around the ai.onnx operators.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::{Case, Defer, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, parse: super::Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "com.microsoft", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Attention", parse_projected, projected_cases),
    row("MultiHeadAttention", parse_multi_head, multi_head_cases),
    row("RotaryEmbedding", parse_rotary, rotary_cases),
];

/// A positive number of heads.
pub(super) fn heads(a: &AttrReader<'_>, name: &str) -> Result<usize> {
    let n = a.required_int(name)?;
    let heads = usize::try_from(n).ok().filter(|n| *n > 0);
    heads.ok_or_else(|| err!(InvalidNode, "attribute {name}: expected 1 or more, got {n}"))
}

/// That the type is one of those that the operators take.
pub(super) fn check_type(d: DType) -> Result<()> {
    ensure!(matches!(d, F32 | F16 | BF16), Unsupported, "attention of {d}");
    Ok(())
}

/// A scale of 0 is the default one.
pub(super) fn scale(a: &AttrReader<'_>) -> Result<Option<f32>> {
    Ok(a.float("scale")?.filter(|s| *s != 0.0))
}

/// Rounding of the scores counts as much as their size.
pub(super) fn tolerance(dtype: DType, k: usize) -> Tolerance {
    let own = if dtype == F32 { 32.0 } else { 16.0 };
    let t = Tolerance::ulps(dtype, own + (k as f64).sqrt());
    Tolerance { abs: t.rel, ..t }
}

/// What the scores are of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub past: usize,
    /// Keys, those of the past included.
    pub keys: usize,
}

/// What both operators do to the scores.
#[derive(Debug)]
pub(super) struct Common {
    pub heads: usize,
    scale: Option<f32>,
    causal: bool,
    /// What is added to the score of a masked key.
    filter: f32,
    /// Whether there is a mask.
    masks: bool,
}

impl Common {
    /// Of an operator whose mask is input `mask`.
    pub fn parse(a: &AttrReader<'_>, n: &NodeInfo, mask: usize) -> Result<Common> {
        Ok(Common {
            masks: n.has_input(mask),
            heads: heads(a, "num_heads")?,
            scale: scale(a)?,
            causal: a.flag_or("unidirectional", false)?,
            filter: a.float_or("mask_filter_value", -10_000.0)?,
        })
    }

    /// Where all keys are masked, the scores are rounded as numbers of the filter's size.
    pub fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let t = tolerance(dtype, k);
        let rounding = if self.masks { f64::from(self.filter.abs()) * f64::from(f32::EPSILON) } else { 0.0 };
        Tolerance { abs: t.abs.max(rounding), ..t }
    }

    /// The attributes of the ai.onnx operator.
    pub fn attrs(&self, flat: bool) -> Vec<(&'static str, Attr)> {
        let mut attrs = vec![("is_causal", Attr::Int(i64::from(self.causal)))];
        attrs.extend(self.scale.map(|s| ("scale", Attr::Float(s))));
        if flat {
            attrs.extend(["q_num_heads", "kv_num_heads"].map(|n| (n, Attr::Int(self.heads as i64))));
        }
        attrs
    }

    /// What the mask, input `i`, adds to the scores. `whole` admits the forms that only Attention has.
    pub fn mask(&self, b: &mut Body<'_>, i: usize, s: &Scores, whole: bool) -> Result<Option<ValueId>> {
        let Some(mask) = b.opt(i) else { return Ok(None) };
        let t = b.cx().input(i)?;
        ensure!(t.dtype == I32, InvalidNode, "input {i}: expected a mask of int32, got {t}");
        let (batch, zero) = (s.batch, b.int(0));
        let hidden = match t.shape[..] {
            [n] if n == batch || (whole && n == 2 * batch) => {
                let places = b.iota(&[s.keys])?;
                let part = |b: &mut Body<'_>, from: usize| {
                    let part = b.slice(mask, 0, from, from + batch)?;
                    b.reshape(part, &[batch, 1, 1, 1])
                };
                let ends = part(b, 0)?;
                let mut hidden = b.op("GreaterOrEqual", &[places, ends])?;
                if n != batch {
                    let starts = part(b, batch)?;
                    let before = b.op("Less", &[places, starts])?;
                    hidden = b.op("Or", &[hidden, before])?;
                }
                hidden
            }
            [n] if n == batch.saturating_mul(3).saturating_add(2) => bail!(Unsupported, "a mask of packed sequences"),
            // one value for all keys changes nothing
            [n, 1] if whole && (n == batch || n == 1) => return Ok(None),
            [n, keys] if n == batch && keys == s.keys => {
                let hidden = b.op("LessOrEqual", &[mask, zero])?;
                b.reshape(hidden, &[batch, 1, 1, keys])?
            }
            [n, queries, keys] if [n, queries, keys] == [batch, s.queries, s.keys] => {
                let hidden = b.op("LessOrEqual", &[mask, zero])?;
                b.reshape(hidden, &[batch, 1, queries, keys])?
            }
            [n, 1, rows, columns] if whole && n == batch && rows >= s.past + s.queries && columns >= s.keys => {
                ensure!(!self.causal, InvalidNode, "a mask of rank 4 stands next to unidirectional");
                let rows = b.slice(mask, 2, s.past, s.past + s.queries)?;
                let square = b.slice(rows, 3, 0, s.keys)?;
                b.op("LessOrEqual", &[square, zero])?
            }
            _ => bail!(InvalidNode, "a mask of {t} for scores of {s:?}"),
        };
        let (off, on) = (b.float(F32, f64::from(self.filter))?, b.float(F32, 0.0)?);
        b.op("Where", &[hidden, off, on]).map(Some)
    }

    /// The ai.onnx operator over `inputs`, of type `d`. What a mask adds may be large, so the scores of 16-bit floats
    /// with a mask are kept in 32 bits, as onnxruntime keeps them: in 16 bits they would lose what tells them apart.
    pub fn apply(
        &self,
        b: &mut Body<'_>,
        mut inputs: [Option<ValueId>; 6],
        d: DType,
        attrs: &[(&'static str, Attr)],
        outputs: usize,
    ) -> Result<Vec<ValueId>> {
        let wide = self.masks && d == F16;
        if wide {
            for v in inputs.iter_mut().flatten() {
                *v = b.cast(*v, F32)?;
            }
        }
        let made = b.ops("Attention", &inputs, attrs, outputs)?;
        if wide { made.into_iter().map(|v| b.cast(v, d)).collect() } else { Ok(made) }
    }

    /// All that is added to the scores: the mask, input `i`, and the bias, input `j`.
    fn bias(&self, b: &mut Body<'_>, [i, j]: [usize; 2], s: &Scores, whole: bool) -> Result<Option<ValueId>> {
        let mask = self.mask(b, i, s, whole)?;
        let Some(bias) = bias(b, j, [s.batch, s.heads, s.queries, s.keys])? else { return Ok(mask) };
        let Some(mask) = mask else { return Ok(Some(bias)) };
        let bias = b.cast(bias, F32)?;
        b.op("Add", &[mask, bias]).map(Some)
    }
}

/// The bias of the scores, input `i`, which may be shared by sequences and by heads.
pub(super) fn bias(b: &Body<'_>, i: usize, scores: [usize; 4]) -> Result<Option<ValueId>> {
    let Some(t) = b.cx().try_input(i) else { return Ok(None) };
    let fits = t.rank() == 4 && t.shape[2..] == scores[2..];
    let fits = fits && shape::broadcast(&[&t.shape, &scores]).is_ok_and(|s| s == scores);
    ensure!(fits, InvalidNode, "attention_bias of {t} for scores of {scores:?}");
    Ok(b.opt(i))
}

/// Attention with the projection of its input: `input`, `weights`, `bias`, `mask_index`, `past`, `attention_bias`.
#[derive(Debug)]
struct Projected {
    common: Common,
    sizes: Option<[usize; 3]>,
}

fn parse_projected(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    for name in ["do_rotary", "past_present_share_buffer"] {
        ensure!(a.int_or(name, 0)? == 0, Unsupported, "attribute {name}");
    }
    // of do_rotary
    a.ignore("rotary_embedding_dim");
    ensure!(!n.has_input(6), Unsupported, "past_sequence_length, which is for a past of fixed size");
    let sizes = match &a.ints_or("qkv_hidden_sizes", vec![])?[..] {
        [] => None,
        &[q, k, v] if q == k && q > 0 && v > 0 => Some([q, k, v].map(|n| n as usize)),
        other => {
            bail!(InvalidNode, "attribute qkv_hidden_sizes: expected three, those of Q and K equal, got {other:?}")
        }
    };
    let even = sizes.is_none_or(|s| s[1] == s[2]);
    ensure!(even || !n.has_output(1), Unsupported, "present of keys and values of different sizes");
    Ok(Arc::new(Defined(Projected { common: Common::parse(a, n, 3)?, sizes })))
}

impl Function for Projected {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (x, w) = (b.cx().input(0)?, b.cx().input(1)?);
        let heads = self.common.heads;
        check_type(x.dtype)?;
        let (&[batch, length, inner], &[rows, all]) = (&x.shape[..], &w.shape[..]) else {
            return Err(err!(InvalidNode, "expected input of rank 3 and weights of rank 2, got {x} and {w}").into());
        };
        let sizes = self.sizes.unwrap_or([all / 3; 3]);
        let sum = sizes.iter().copied().fold(0, usize::saturating_add);
        let fits = rows == inner && sum == all && sizes.iter().all(|s| s.is_multiple_of(heads));
        if !fits {
            return Err(err!(InvalidNode, "weights {w} for input {x}, {heads} heads and sizes {sizes:?}").into());
        }
        let mut projected = b.op("MatMul", &[b.need(0)?, b.need(1)?])?;
        if let Some(bias) = b.opt(2) {
            let t = b.cx().input(2)?;
            if t.shape != [all] {
                return Err(err!(InvalidNode, "input 2: expected a bias of {all}, got {t}").into());
            }
            projected = b.op("Add", &[projected, bias])?;
        }
        let parts = b.split(projected, 2, &sizes)?;
        let depth = sizes[1] / heads;
        let (mut past, mut cache) = (0, [None; 2]);
        if let Some(t) = b.cx().try_input(4) {
            past = t.shape.get(3).copied().unwrap_or(0);
            if t.shape != [2, batch, heads, past, depth] || sizes[1] != sizes[2] {
                return Err(err!(InvalidNode, "past {t} for {heads} heads of {depth} elements").into());
            }
            let both = b.split(b.need(4)?, 0, &[1, 1])?;
            for (side, v) in cache.iter_mut().zip(both) {
                *side = Some(b.reshape(v, &[batch, heads, past, depth])?);
            }
        }
        let s = Scores { batch, heads, queries: length, past, keys: past + length };
        let bias = self.common.bias(b, [3, 5], &s, true)?;
        let inputs = [Some(parts[0]), Some(parts[1]), Some(parts[2]), bias, cache[0], cache[1]];
        let made = self.common.apply(b, inputs, x.dtype, &self.common.attrs(true), 3)?;
        let mut outputs = vec![made[0]];
        if sizes[1] == sizes[2] {
            let apart = [1, batch, heads, s.keys, depth];
            let both = [b.reshape(made[1], &apart)?, b.reshape(made[2], &apart)?];
            outputs.push(b.concat(&both, 0)?);
        }
        Ok(outputs)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        self.common.tolerance(dtype, k)
    }
}

fn projected_cases() -> Vec<Case> {
    let with = |d: DType, [batch, length, inner, heads, depth]: [usize; 5]| {
        let all = 3 * heads * depth;
        let c = Case::new("Attention", 1).domain("com.microsoft").int("num_heads", heads as i64).sum(inner.max(length));
        let half = (0..inner * all).map(|i| ((i * 7 + 3) % 11) as f64 / 8.0 - 0.6).collect();
        let w = Tensor::from_f64s(d, [inner, all], half).unwrap_or_else(|_| Tensor::zeros(d, [inner, all]));
        c.range(d, &[batch, length, inner], -1.0, 1.0).constant(w).range(d, &[all], -1.0, 1.0)
    };
    let small = [2, 5, 6, 2, 4];
    let ints = |s: &[usize], v: &[i32]| Tensor::new(s, v.to_vec()).unwrap_or_else(|_| Tensor::scalar(0i32));
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.extend([
            with(d, small),
            with(d, small).int("unidirectional", 1).outputs(2),
            with(d, small).range(I32, &[2, 5], 0.0, 2.0).float("mask_filter_value", -3.0),
            with(d, small).range(I32, &[2, 5], 0.0, 2.0).outputs(2),
            with(d, small).value(ints(&[2], &[0, 3])),
            with(d, small).absent().rand(d, &[2, 2, 2, 3, 4]).int("unidirectional", 1).outputs(2),
            with(d, small)
                .range(I32, &[2, 5], 0.0, 2.0)
                .absent()
                .rand(d, &[2, 1, 5, 5])
                .float("mask_filter_value", -3.0),
        ]);
    }
    let masked = |c: Case| c.float("mask_filter_value", -3.0);
    all.extend([
        masked(with(F32, small).value(ints(&[2], &[3, 5]))),
        masked(with(F32, small).value(ints(&[4], &[3, 5, 1, 2]))),
        masked(with(F32, small).range(I32, &[2, 5, 5], 0.0, 2.0)),
        masked(with(F32, small).range(I32, &[2, 1, 9, 8], 0.0, 2.0)),
        masked(with(F32, small).range(I32, &[2, 1, 9, 8], 0.0, 2.0).rand(F32, &[2, 2, 2, 3, 4])).outputs(2),
        masked(with(F32, small).range(I32, &[2, 1], 0.0, 2.0)),
        with(F32, small).absent().absent().rand(F32, &[1, 2, 5, 5]).float("scale", 0.3),
        with(F32, [1, 67, 32, 4, 16]).int("unidirectional", 1),
        with(F32, [0, 5, 6, 2, 4]).outputs(2),
        with(F32, [2, 0, 6, 2, 4]),
    ]);
    let uneven = Case::new("Attention", 1).domain("com.microsoft").int("num_heads", 2).sum(6);
    let uneven = uneven.rand(F32, &[2, 5, 6]).rand(F32, &[6, 28]);
    all.push(uneven.clone().ints("qkv_hidden_sizes", &[8, 8, 12]));
    all.push(uneven.rand(F32, &[28]).ints("qkv_hidden_sizes", &[12, 12, 4]).int("unidirectional", 1));
    all
}

/// Attention over given queries, keys and values: `query`, `key`, `value`, `bias`, `key_padding_mask`,
/// `attention_bias`, `past_key`, `past_value`.
#[derive(Debug)]
struct MultiHead(Common);

fn parse_multi_head(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    ensure!(!n.has_input(8) && !n.has_input(9), Unsupported, "a past of fixed size");
    Ok(Arc::new(Defined(MultiHead(Common::parse(a, n, 4)?))))
}

impl MultiHead {
    /// Queries, keys and values as `[batch, length, heads, depth]`, and whether keys and values came with their heads
    /// first, hence projected.
    fn parts(&self, b: &mut Body<'_>) -> Result<([ValueId; 3], bool)> {
        let heads = self.0.heads;
        let packed = |b: &mut Body<'_>, i: usize, count: usize| -> Result<Vec<ValueId>> {
            let t = b.cx().input(i)?.clone();
            let fits = t.rank() == 5 && t.shape[2..4] == [heads, count];
            ensure!(fits, InvalidNode, "input {i}: expected {count} packed parts of {heads} heads, got {t}");
            let parts = b.split(b.need(i)?, 3, &vec![1; count])?;
            parts.into_iter().map(|p| b.reshape(p, &[t.shape[0], t.shape[1], heads, t.shape[4]])).collect()
        };
        let apart = |b: &mut Body<'_>, i: usize| -> Result<ValueId> {
            let t = b.cx().input(i)?;
            let &[batch, length, all] = &t.shape[..] else { bail!(InvalidNode, "input {i}: expected rank 3, got {t}") };
            ensure!(all.is_multiple_of(heads), InvalidNode, "input {i}: {t} does not make {heads} heads");
            b.reshape(b.need(i)?, &[batch, length, heads, all / heads])
        };
        let rank = |i: usize| b.cx().try_input(i).map(crate::ir::TensorType::rank);
        Ok(match (rank(0), rank(1), rank(2)) {
            (Some(5), None, None) => match packed(b, 0, 3)?[..] {
                [q, k, v] => ([q, k, v], false),
                _ => bail!(Internal, "three parts are not three"),
            },
            (Some(3), Some(5), None) => match packed(b, 1, 2)?[..] {
                [k, v] => ([apart(b, 0)?, k, v], false),
                _ => bail!(Internal, "two parts are not two"),
            },
            (Some(3), Some(4), Some(4)) => {
                let (k, v) = (b.need(1)?, b.need(2)?);
                let turned = [b.transpose(k, &[0, 2, 1, 3])?, b.transpose(v, &[0, 2, 1, 3])?];
                ([apart(b, 0)?, turned[0], turned[1]], true)
            }
            (Some(3), Some(3), Some(3)) => ([apart(b, 0)?, apart(b, 1)?, apart(b, 2)?], false),
            ranks => bail!(InvalidNode, "query, key and value of ranks {ranks:?}"),
        })
    }
}

impl Function for MultiHead {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        check_type(d)?;
        let (mut parts, projected) = self.parts(b)?;
        let shapes = parts.map(|p| b.shape(p));
        let &[batch, queries, heads, _] = &shapes[0][..] else { return Err(err!(Internal, "no four dims").into()) };
        let (length, width) = (shapes[1][1], shapes[2][3]);
        if let Some(bias) = b.opt(3) {
            let sizes = [&shapes[0], &shapes[1], &shapes[2]].map(|s| s[2] * s[3]);
            let t = b.cx().input(3)?;
            if t.shape != [sizes.iter().copied().fold(0, usize::saturating_add)] {
                return Err(err!(InvalidNode, "input 3: expected a bias of {sizes:?} elements, got {t}").into());
            }
            let biases = b.split(bias, 0, &sizes)?;
            // keys and values with their heads first have theirs already
            for (i, bias) in biases.into_iter().enumerate().take(if projected { 1 } else { 3 }) {
                let bias = b.reshape(bias, &shapes[i][2..])?;
                parts[i] = b.op("Add", &[parts[i], bias])?;
            }
        }
        let past = b.cx().try_input(6).map_or(0, |t| t.shape.get(2).copied().unwrap_or(0));
        if self.0.causal && length != queries {
            return Err(err!(Unsupported, "unidirectional attention of {queries} queries to {length} keys").into());
        }
        let s = Scores { batch, heads, queries, past, keys: past + length };
        let bias = self.0.bias(b, [4, 5], &s, false)?;
        // without heads first the result needs no transposition
        let mut sides = [None, None, None, bias, b.opt(6), b.opt(7)];
        for (i, (p, s)) in parts.into_iter().zip(&shapes).enumerate() {
            let flat = [s[0], s[1], s[2] * s[3]];
            sides[i] = Some(if projected { b.transpose(p, &[0, 2, 1, 3])? } else { b.reshape(p, &flat)? });
        }
        let mut attrs = self.0.attrs(!projected);
        attrs.push(("qk_matmul_output_mode", Attr::Int(2)));
        let mut made = self.0.apply(b, sides, d, &attrs, 4)?;
        if projected {
            let turned = b.transpose(made[0], &[0, 2, 1, 3])?;
            made[0] = b.reshape(turned, &[batch, queries, heads * width])?;
        }
        Ok(made)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        self.0.tolerance(dtype, k)
    }
}

fn multi_head_cases() -> Vec<Case> {
    let new = |k: usize| Case::new("MultiHeadAttention", 1).domain("com.microsoft").int("num_heads", 2).sum(k);
    let flat = |d: DType, l: usize, t: usize| new(t).rand(d, &[2, l, 8]).rand(d, &[2, t, 8]).rand(d, &[2, t, 12]);
    let tall = |d: DType, t: usize| new(t).rand(d, &[2, 3, 8]).rand(d, &[2, 2, t, 4]).rand(d, &[2, 2, t, 6]);
    let masked = |c: Case| c.float("mask_filter_value", -3.0);
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.extend([
            flat(d, 3, 7).rand(d, &[28]).outputs(3),
            masked(flat(d, 3, 7).absent().range(I32, &[2, 7], 0.0, 2.0)).outputs(4),
            flat(d, 3, 7).absent().range(I32, &[2, 7], 0.0, 2.0).outputs(3),
            masked(flat(d, 3, 7).absent().range(I32, &[2, 7], 0.0, 2.0).rand(d, &[1, 2, 3, 7])),
            new(5).rand(d, &[2, 5, 2, 3, 4]).absent().absent().rand(d, &[24]).int("unidirectional", 1),
            new(7).rand(d, &[2, 3, 8]).rand(d, &[2, 7, 2, 2, 4]).outputs(3),
            tall(d, 7).rand(d, &[28]),
            flat(d, 3, 3).absent().absent().absent().rand(d, &[2, 2, 4, 4]).rand(d, &[2, 2, 4, 6]).outputs(3),
        ]);
    }
    let lengths = Tensor::vector(&[3i32, 6]);
    let past = |c: Case| c.rand(F32, &[2, 2, 4, 4]).rand(F32, &[2, 2, 4, 6]).outputs(4);
    all.extend([
        masked(flat(F32, 3, 7).absent().value(lengths)),
        masked(flat(F32, 3, 7).absent().range(I32, &[2, 3, 7], 0.0, 2.0)),
        masked(past(flat(F32, 3, 3).absent().range(I32, &[2, 7], 0.0, 2.0).rand(F32, &[2, 1, 3, 7]))),
        past(flat(F32, 3, 3).absent().absent().absent()).int("unidirectional", 1),
        flat(F32, 3, 7).float("scale", 0.3),
        flat(F32, 3, 7).float("scale", 0.0),
        new(5).rand(F32, &[2, 5, 2, 3, 4]).outputs(3),
        new(7).rand(F32, &[2, 3, 8]).rand(F32, &[2, 7, 2, 2, 4]).absent().rand(F32, &[24]),
        tall(F32, 7),
        tall(F32, 1).absent().range(I32, &[2, 1], 0.0, 2.0),
        flat(F32, 67, 67).int("unidirectional", 1),
        flat(F32, 0, 3),
    ]);
    all
}

/// Pairs of elements rotated by their position's angle: `input`, `position_ids`, `cos_cache`, `sin_cache`.
#[derive(Debug)]
struct Rotary {
    interleaved: bool,
    heads: Option<usize>,
}

fn parse_rotary(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let heads = a.int_or("num_heads", 0)?;
    let rotated = a.int_or("rotary_embedding_dim", 0)?;
    ensure!(heads >= 0 && rotated >= 0, InvalidNode, "num_heads {heads} and rotary_embedding_dim {rotated}");
    // the caches tell how much is rotated, but not how many elements a head has besides
    ensure!(heads > 0 || rotated == 0, InvalidNode, "rotary_embedding_dim needs num_heads");
    let scale = a.float_or("scale", 1.0)?;
    ensure!(scale == 1.0, Unsupported, "attribute scale: {scale}");
    ensure!(!a.flag_or("is_packed_batching", false)?, Unsupported, "attribute is_packed_batching");
    let heads = usize::try_from(heads).ok().filter(|h| *h > 0);
    Ok(Arc::new(Defined(Rotary { interleaved: a.flag_or("interleaved", false)?, heads })))
}

impl Function for Rotary {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (x, ids, cache) = (b.cx().input(0)?, b.cx().input(1)?, b.cx().input(2)?);
        check_type(x.dtype)?;
        let pairs = cache.shape.last().copied().unwrap_or(0);
        let (batch, length, heads) = match x.shape[..] {
            [batch, heads, length, _] => (batch, length, heads),
            [batch, length, all] => (batch, length, self.heads.unwrap_or(all / (2 * pairs).max(1))),
            _ => return Err(err!(InvalidNode, "expected an input of rank 3 or 4, got {x}").into()),
        };
        let ids = match ids.shape[..] {
            [1] => first_and_on(b, b.need(1)?, [batch, length])?,
            _ => b.need(1)?,
        };
        let inputs = [b.need(0)?, b.need(2)?, b.need(3)?, ids];
        let attrs = rotary_attrs(self.interleaved, pairs, heads);
        // heads are counted by an input of rank 4 itself
        Ok(vec![b.with("RotaryEmbedding", &inputs, &attrs)?])
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        let t = Tolerance::ulps(dtype, 4.0);
        Tolerance { abs: t.rel, ..t }
    }
}

/// The attributes of the ai.onnx operator.
pub(super) fn rotary_attrs(interleaved: bool, pairs: usize, heads: usize) -> [(&'static str, Attr); 3] {
    [
        ("interleaved", Attr::Int(i64::from(interleaved))),
        ("rotary_embedding_dim", Attr::Int((pairs as i64).saturating_mul(2))),
        ("num_heads", Attr::Int(heads as i64)),
    ]
}

/// For each sequence the positions from `first` on, as int64; `first` is one for all, or `[batch, 1]`.
pub(super) fn first_and_on(b: &mut Body<'_>, first: ValueId, [batch, length]: [usize; 2]) -> Result<ValueId> {
    let (first, steps) = (b.cast(first, I64)?, b.iota(&[length])?);
    let steps = b.cast(steps, I64)?;
    let ids = b.op("Add", &[first, steps])?;
    b.expand(ids, &[batch, length])
}

fn rotary_cases() -> Vec<Case> {
    let ids = |s: &[usize]| {
        let n: usize = s.iter().product();
        Tensor::new(s, (0..n as i64).map(|i| i * 7 % 20).collect()).unwrap_or_else(|_| Tensor::scalar(0i64))
    };
    let case = |d: DType, x: &[usize], at: &[usize], pairs: usize| {
        let c = Case::new("RotaryEmbedding", 1).domain("com.microsoft").rand(d, x).value(ids(at));
        c.range(d, &[30, pairs], -1.0, 1.0).range(d, &[30, pairs], -1.0, 1.0)
    };
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for interleaved in [0, 1] {
            let turned = |c: Case| c.int("interleaved", interleaved);
            all.extend([
                turned(case(d, &[2, 5, 24], &[2, 5], 4)),
                turned(case(d, &[2, 3, 5, 8], &[2, 5], 4)),
                turned(case(d, &[2, 5, 24], &[1], 4)),
                turned(case(d, &[2, 5, 30], &[2, 5], 3)).int("num_heads", 3).int("rotary_embedding_dim", 6),
            ]);
        }
    }
    all.extend([
        case(F32, &[1, 1, 8], &[1], 4),
        case(F32, &[0, 3, 8], &[0, 3], 4),
        case(F32, &[1, 2, 7, 64], &[1], 32),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_op;
    use super::*;
    use crate::ir::Attrs;

    fn run(op: &str, attrs: &[(&str, Attr)], inputs: &[Option<&Tensor>], outputs: usize) -> Result<Vec<Tensor>> {
        let attrs: Attrs = attrs.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
        let present = inputs.iter().map(Option::is_some).collect();
        let info = NodeInfo { inputs: present, ..NodeInfo::full(1, 0, outputs) };
        parse_op("com.microsoft", op, &attrs, &info)?.eval(inputs)
    }

    #[test]
    fn packed_forms_are_the_plain_one() {
        let tensor = |s: &[usize], from: usize, step: usize| {
            let n = s.iter().product::<usize>();
            Tensor::new(s, (0..n).map(|i| (((from + i * step) * 7) % 11) as f32 / 4.0).collect()).unwrap()
        };
        let heads = [("num_heads", Attr::Int(2))];
        let parts: Vec<Tensor> = (0..3).map(|i| tensor(&[1, 2, 4], i, 3)).collect();
        let [q, k, v] = [0, 1, 2].map(|i| &parts[i]);
        // [length, heads, part, depth] of parts of [length, heads, depth]
        let packed = |parts: &[&Tensor]| {
            let all = Tensor::concat(&parts.iter().map(|p| (*p).clone()).collect::<Vec<_>>()).unwrap();
            let n = parts.len();
            let at: Vec<usize> = shape::coords(&[2, 2, n, 2]).map(|c| c[2] * 8 + c[0] * 4 + c[1] * 2 + c[3]).collect();
            all.select([1, 2, 2, n, 2], &at).unwrap()
        };
        let plain = run("MultiHeadAttention", &heads, &[Some(q), Some(k), Some(v)], 3).unwrap();
        let all = run("MultiHeadAttention", &heads, &[Some(&packed(&[q, k, v]))], 3).unwrap();
        let pair = run("MultiHeadAttention", &heads, &[Some(q), Some(&packed(&[k, v]))], 3).unwrap();
        for (i, want) in plain.iter().enumerate() {
            assert!(all[i].same_bits(want) && pair[i].same_bits(want), "output {i}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let heads = ("num_heads", Attr::Int(2));
        let (x, w) = (Tensor::zeros(F32, [1, 2, 4]), Tensor::zeros(F32, [4, 12]));
        let projected = |name: &'static str, n: i64| {
            run("Attention", &[heads.clone(), (name, Attr::Int(n))], &[Some(&x), Some(&w)], 1)
        };
        assert!(projected("unidirectional", 1).is_ok());
        assert!(projected("do_rotary", 1).is_err());
        assert!(projected("past_present_share_buffer", 1).is_err());
        assert!(projected("num_heads", 3).is_err());
        assert!(projected("unknown", 0).is_err());
        let uneven = [heads.clone(), ("qkv_hidden_sizes", Attr::Ints(vec![2, 2, 8]))];
        assert!(run("Attention", &uneven, &[Some(&x), Some(&w)], 1).is_ok());
        assert!(run("Attention", &uneven, &[Some(&x), Some(&w)], 2).is_err());
        let packed = Tensor::zeros(I32, [5]);
        assert!(run("Attention", std::slice::from_ref(&heads), &[Some(&x), Some(&w), None, Some(&packed)], 1).is_err());
        let longer = Tensor::zeros(F32, [1, 3, 4]);
        let causal = [heads, ("unidirectional", Attr::Int(1))];
        assert!(run("MultiHeadAttention", &causal, &[Some(&x), Some(&x), Some(&x)], 1).is_ok());
        assert!(run("MultiHeadAttention", &causal, &[Some(&x), Some(&longer), Some(&longer)], 1).is_err());
        let (ids, cache) = (Tensor::zeros(I64, [1]), Tensor::zeros(F32, [3, 1]));
        let rotary = [Some(&x), Some(&ids), Some(&cache), Some(&cache)];
        assert!(run("RotaryEmbedding", &[], &rotary, 1).is_ok());
        assert!(run("RotaryEmbedding", &[("is_packed_batching", Attr::Int(1))], &rotary, 1).is_err());
        assert!(run("RotaryEmbedding", &[("scale", Attr::Float(2.0))], &rotary, 1).is_err());
    }
}
