//! Attention: softmax(Q × Kᵀ + bias) × V over heads, with a cache of keys and values.

use std::sync::Arc;

use super::attention_stages::lower;
use super::eval::{need, opt};
use super::softmax::{map, rounded, weights};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "Attention", versions: &[23, 24, 25], parse, cases }];

// the places of the inputs
pub(super) const Q: usize = 0;
pub(super) const K: usize = 1;
pub(super) const V: usize = 2;
pub(super) const MASK: usize = 3;
pub(super) const PAST_KEY: usize = 4;
pub(super) const PAST_VALUE: usize = 5;
pub(super) const LENGTHS: usize = 6;

/// What the fourth output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Product,
    Capped,
    Biased,
    Probabilities,
}

#[derive(Debug)]
pub(super) struct Attention {
    pub scale: Option<f32>,
    pub causal: bool,
    /// Query and key heads, which inputs of rank 3 need.
    heads: [Option<i64>; 2],
    /// The type that the softmax computes in; that of Q when `None`.
    pub precision: Option<DType>,
    /// 0 is none.
    pub softcap: f32,
    pub shown: Shown,
    /// Keys before and after a query's own position that it sees; all when `None`.
    pub window: [Option<i64>; 2],
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let precision = match a.int("softmax_precision")? {
        None => None,
        Some(code) => {
            let d = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|d| float(*d));
            Some(d.ok_or_else(|| err!(InvalidNode, "attribute softmax_precision: {code} is no float type"))?)
        }
    };
    let shown = match a.int_or("qk_matmul_output_mode", 0)? {
        0 => Shown::Product,
        1 => Shown::Capped,
        2 => Shown::Biased,
        3 => Shown::Probabilities,
        other => bail!(InvalidNode, "attribute qk_matmul_output_mode: expected 0 to 3, got {other}"),
    };
    let side = |name: &str| {
        let size = if n.version >= 25 { a.int_or(name, -1)? } else { -1 };
        ensure!(size >= -1, InvalidNode, "attribute {name}: expected -1 or more, got {size}");
        Ok((size >= 0).then_some(size))
    };
    let window = [side("left_window_size")?, side("right_window_size")?];
    Ok(Arc::new(Attention {
        scale: a.float("scale")?,
        causal: a.flag_or("is_causal", false)?,
        heads: [a.int("q_num_heads")?, a.int("kv_num_heads")?],
        precision,
        softcap: a.float_or("softcap", 0.0)?,
        shown,
        window,
    }))
}

fn float(d: DType) -> bool {
    matches!(d, F32 | F64 | F16 | BF16)
}

/// The extents of one application.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    pub batch: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Query heads for each of them.
    pub group: usize,
    pub queries: usize,
    pub past: usize,
    /// Keys, those of the past included.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub depth: usize,
    /// Elements of a value.
    pub width: usize,
    /// Whether the inputs have rank 3.
    pub flat: bool,
}

impl Extents {
    pub fn query_heads(&self) -> usize {
        self.heads * self.group
    }

    fn output(&self) -> Vec<usize> {
        let (b, l, h, w) = (self.batch, self.queries, self.query_heads(), self.width);
        if self.flat { vec![b, l, h.saturating_mul(w)] } else { vec![b, h, l, w] }
    }

    pub fn scores(&self) -> [usize; 4] {
        [self.batch, self.query_heads(), self.queries, self.keys]
    }
}

/// `[batch, heads, length, depth]` of an input.
pub(super) fn split_heads(s: &[usize], heads: Option<i64>) -> Result<[usize; 4]> {
    match *s {
        [b, h, l, d] => {
            ensure!(heads.is_none_or(|n| n == h as i64), InvalidNode, "{s:?} has {h} heads, attributes say {heads:?}");
            Ok([b, h, l, d])
        }
        [b, l, all] => {
            let heads = heads.ok_or_else(|| err!(InvalidNode, "inputs of rank 3 need q_num_heads and kv_num_heads"))?;
            let h = usize::try_from(heads).ok().filter(|h| *h > 0 && all.is_multiple_of(*h));
            let h = h.ok_or_else(|| err!(InvalidNode, "{all} elements do not make {heads} heads"))?;
            Ok([b, h, l, all / h])
        }
        _ => bail!(InvalidNode, "expected rank 3 or 4, got {s:?}"),
    }
}

impl Attention {
    /// Checks the shapes of all inputs.
    pub fn extents(&self, shapes: &dyn Fn(usize) -> Option<Vec<usize>>) -> Result<Extents> {
        let of = |i: usize| shapes(i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"));
        let (sq, sk, sv) = (of(Q)?, of(K)?, of(V)?);
        ensure!(sq.len() == sk.len() && sk.len() == sv.len(), InvalidNode, "ranks of {sq:?}, {sk:?} and {sv:?} differ");
        let [batch, query_heads, queries, depth] = split_heads(&sq, self.heads[0])?;
        let [kb, heads, length, kd] = split_heads(&sk, self.heads[1])?;
        let [vb, vh, vl, width] = split_heads(&sv, self.heads[1])?;
        let fits = kb == batch && vb == batch && vh == heads && vl == length && kd == depth;
        ensure!(fits, InvalidNode, "Q {sq:?}, K {sk:?} and V {sv:?} do not fit each other");
        let grouped = if heads == 0 { query_heads == 0 } else { query_heads.is_multiple_of(heads) };
        ensure!(grouped, InvalidNode, "{query_heads} query heads over {heads} key heads");
        let past = match (shapes(PAST_KEY), shapes(PAST_VALUE)) {
            (None, None) => 0,
            (Some(pk), Some(pv)) => {
                let past = pk.get(2).copied().unwrap_or(0);
                let fits = pk == [batch, heads, past, depth] && pv == [batch, heads, past, width];
                ensure!(fits, InvalidNode, "past {pk:?} and {pv:?} do not fit K {sk:?} and V {sv:?}");
                ensure!(shapes(LENGTHS).is_none(), InvalidNode, "nonpad_kv_seqlen stands next to a past");
                past
            }
            _ => bail!(InvalidNode, "past_key and past_value go together"),
        };
        let group = query_heads.checked_div(heads).unwrap_or(1);
        let keys = past + length;
        let e = Extents { batch, heads, group, queries, past, keys, depth, width, flat: sq.len() == 3 };
        if let Some(s) = shapes(LENGTHS) {
            ensure!(s == [batch], InvalidNode, "nonpad_kv_seqlen of {s:?} for {batch} sequences");
        }
        if let Some(s) = shapes(MASK) {
            let wide = e.scores();
            let fits = shape::broadcast(&[&padded(&s, keys), &wide]).is_ok_and(|all| all == wide);
            ensure!(fits, InvalidNode, "attn_mask of {s:?} does not broadcast to {wide:?}");
        }
        Ok(e)
    }

    /// What Q and K are multiplied by.
    pub fn factors(&self, e: &Extents) -> [f32; 2] {
        let scale = self.scale.unwrap_or(1.0 / (e.depth.max(1) as f32).sqrt());
        if scale < 0.0 { [scale, 1.0] } else { [scale.sqrt(); 2] }
    }

    /// Whether a position decides what is seen.
    pub fn positional(&self) -> bool {
        self.causal || self.window.iter().any(Option::is_some)
    }

    /// Whether the query at position `p` may see key `j`, but for masks.
    fn sees(&self, p: i64, j: i64) -> bool {
        let [left, right] = self.window;
        (!self.causal || j <= p)
            && left.is_none_or(|n| p.saturating_sub(j) <= n)
            && right.is_none_or(|n| j.saturating_sub(p) <= n)
    }
}

/// A mask's shape once its last dim has all keys: what it lacks is not seen.
pub(super) fn padded(mask: &[usize], keys: usize) -> Vec<usize> {
    let mut s = mask.to_vec();
    if let Some(last) = s.last_mut() {
        *last = keys.max(*last);
    }
    s
}

/// `[batch, heads, length, depth]` in row-major order, behind what is `past`.
fn cached(past: Option<&Tensor>, t: &Tensor, heads: usize) -> Result<Tensor> {
    let [b, h, l, d] = split_heads(t.shape(), Some(heads as i64))?;
    let s = [b, h, l, d];
    let t = if t.rank() == 3 {
        let strides = [l * h * d, d, h * d, 1].map(|x| x as isize);
        t.select(s, &shape::strided_indices(&s, &strides, 0))?
    } else {
        t.clone()
    };
    let Some(past) = past else { return Ok(t) };
    let (old, new) = (past.shape()[2] * d, l * d);
    let mut sources = vec![];
    for i in 0..b * h {
        sources.extend(i * old..(i + 1) * old);
        sources.extend(past.len() + i * new..past.len() + (i + 1) * new);
    }
    Tensor::concat(&[past.clone(), t])?.select([b, h, past.shape()[2] + l, d], &sources)
}

/// Stacked products: `y[i] = a[i] × b[i / group]`, `[m, k] × [k, n]`; `transposed` says that `b` is `[n, k]`.
fn products(a: &[f64], b: &[f64], [m, k, n]: [usize; 3], group: usize, transposed: bool) -> Vec<f64> {
    let mut y = vec![];
    let count = a.len().checked_div(m * k).unwrap_or(0);
    for i in 0..count {
        let (x, z) = (&a[i * m * k..][..m * k], &b[i / group * k * n..][..k * n]);
        for at in 0..m * n {
            let (row, column) = (at / n, at % n);
            let right = |p: usize| if transposed { z[column * k + p] } else { z[p * n + column] };
            y.push((0..k).map(|p| x[row * k + p] * right(p)).sum());
        }
    }
    y
}

impl Attention {
    /// The bias of every score.
    fn bias(&self, e: &Extents, d: DType, mask: Option<&Tensor>, lengths: Option<&Tensor>) -> Result<Vec<f64>> {
        let wide = e.scores();
        let hidden = f64::NEG_INFINITY;
        let mut bias = vec![0.0; shape::numel(&wide)];
        if let Some(m) = mask {
            let s = padded(m.shape(), e.keys);
            let values: Vec<f64> = match m.dtype() {
                Bool => m.to_i128s()?.iter().map(|x| if *x != 0 { 0.0 } else { hidden }).collect(),
                t if t.is_float() => m.to_f64s()?,
                _ => m.to_i128s()?.iter().map(|x| *x as f64).collect(),
            };
            let values = rounded(d, values)?;
            let (have, want) = (m.shape().last().copied().unwrap_or(1), s.last().copied().unwrap_or(1));
            let at = shape::broadcast_indices(&s, &wide);
            for (b, i) in bias.iter_mut().zip(at) {
                *b = if i % want < have { values[i / want * have + i % want] } else { hidden };
            }
        }
        let lengths = lengths.map(Tensor::to_i64s).transpose()?;
        let rows = e.query_heads() * e.queries;
        for (r, row) in bias.chunks_exact_mut(e.keys.max(1)).enumerate() {
            let (length, i) = (lengths.as_ref().map(|l| l[r / rows]), (r % e.queries) as i64);
            let p = length.map_or(e.past as i64, |l| l.saturating_sub(e.queries as i64)).saturating_add(i);
            for (j, b) in row.iter_mut().enumerate() {
                let j = j as i64;
                if !self.sees(p, j) || length.is_some_and(|l| j >= l) {
                    *b = hidden;
                }
            }
        }
        Ok(bias)
    }
}

/// The softmax of rows of `n`, each step rounded to `d`. Rows of nothing but -inf become zeros.
fn probabilities(d: DType, x: &[f64], n: usize) -> Result<Vec<f64>> {
    let mut y = vec![];
    for row in x.chunks_exact(n.max(1)) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b });
        if max == f64::NEG_INFINITY {
            y.extend(vec![0.0; n]);
            continue;
        }
        y.extend(weights(d, row, max)?);
    }
    Ok(y)
}

impl Op for Attention {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let e = self.extents(&|i| cx.try_input(i).map(|t| t.shape.clone()))?;
        let (d, v) = (cx.dtype(Q)?, cx.dtype(V)?);
        for (i, want) in [(K, d), (PAST_KEY, d), (PAST_VALUE, v), (LENGTHS, I64)] {
            let got = cx.try_input(i).map_or(want, |t| t.dtype);
            if got != want {
                return Err(err!(InvalidNode, "input {i}: expected {want}, got {got}").into());
            }
        }
        let mask = cx.try_input(MASK).map_or(Bool, |m| m.dtype);
        if !(float(d) && float(v) && (float(mask) || mask == Bool || mask.is_int())) {
            return Err(err!(Unsupported, "Attention of {d}").into());
        }
        let cache = |width: usize| [e.batch, e.heads, e.keys, width];
        Ok(vec![
            TensorType::new(d, e.output()),
            TensorType::new(d, cache(e.depth)),
            TensorType::new(v, cache(e.width)),
            TensorType::new(d, e.scores()),
        ])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let e = self.extents(&|i| opt(inputs, i).map(|t| t.shape().to_vec()))?;
        let (q, k, v) = (need(inputs, Q)?, need(inputs, K)?, need(inputs, V)?);
        let d = q.dtype();
        let wide = cached(None, q, e.query_heads())?.to_f64s()?;
        let key = cached(opt(inputs, PAST_KEY), k, e.heads)?;
        let value = cached(opt(inputs, PAST_VALUE), v, e.heads)?;

        let factors = rounded(d, self.factors(&e).map(f64::from).to_vec())?;
        let a = map(d, &wide, |x| x * factors[0])?;
        let b = map(d, &key.to_f64s()?, |x| x * factors[1])?;
        let mut scores = products(&a, &b, [e.queries, e.depth, e.keys], e.group, true);
        // without depth the sums are empty
        scores.resize(shape::numel(&e.scores()), 0.0);
        let scores = rounded(d, scores)?;
        let capped = if self.softcap > 0.0 {
            let cap = rounded(d, vec![self.softcap as f64])?[0];
            map(d, &map(d, &map(d, &scores, |x| x / cap)?, f64::tanh)?, |x| x * cap)?
        } else {
            scores.clone()
        };
        let bias = self.bias(&e, d, opt(inputs, MASK), opt(inputs, LENGTHS))?;
        let add = |(x, b): (&f64, &f64)| if *b == f64::NEG_INFINITY { *b } else { x + b };
        let biased = rounded(d, capped.iter().zip(&bias).map(add).collect())?;
        let work = self.precision.unwrap_or(d);
        let p = rounded(d, probabilities(work, &rounded(work, biased.clone())?, e.keys)?)?;

        let mut y = products(&p, &value.to_f64s()?, [e.queries, e.keys, e.width], e.group, false);
        let tall = [e.batch, e.query_heads(), e.queries, e.width];
        y.resize(shape::numel(&tall), 0.0);
        let mut y = Tensor::from_f64s(d, tall, y)?;
        if e.flat {
            let (h, l, w) = (tall[1], tall[2], tall[3]);
            let strides = [h * l * w, w, l * w, 1].map(|x| x as isize);
            y = y.select(e.output(), &shape::strided_indices(&[e.batch, l, h, w], &strides, 0))?;
        }
        let shown = match self.shown {
            Shown::Product => scores,
            Shown::Capped => capped,
            Shown::Biased => biased,
            Shown::Probabilities => p,
        };
        Ok(vec![y, key, value, Tensor::from_f64s(d, e.scores(), shown)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        lower(self, cx)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let own = if matches!(dtype, F16 | BF16) { 4.0 } else { 32.0 };
        let t = Tolerance::ulps(dtype, own + (k as f64).sqrt());
        Tolerance { abs: t.rel, ..t }
    }
}

/// Queries, keys and values of these extents: batch, query heads, key heads, queries, keys, depth, width.
fn case(d: DType, [b, h, g, l, t, k, w]: [usize; 7]) -> Case {
    let c = Case::new("Attention", 25).rand(d, &[b, h, l, k]).rand(d, &[b, g, t, k]).rand(d, &[b, g, t, w]);
    c.outputs(4).sum(t.max(k))
}

fn flat(d: DType, [b, h, g, l, t, k, w]: [usize; 7]) -> Case {
    let c = Case::new("Attention", 24).rand(d, &[b, l, h * k]).rand(d, &[b, t, g * k]).rand(d, &[b, t, g * w]);
    c.int("q_num_heads", h as i64).int("kv_num_heads", g as i64).outputs(4).sum(t.max(k))
}

fn lengths(c: Case, values: &[i64]) -> Case {
    c.absent().absent().value(Tensor::vector(values))
}

fn cases() -> Vec<Case> {
    let small = [2, 4, 2, 5, 7, 8, 6];
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.extend([
            case(d, small),
            flat(d, small),
            case(d, small).int("is_causal", 1),
            case(d, small).float("softcap", 2.0).float("scale", 0.3),
            case(d, small).rand(d, &[5, 7]),
            case(d, small).rand(d, &[2, 1, 5, 4]).int("qk_matmul_output_mode", 2),
            case(d, small).rand(Bool, &[4, 1, 7]).int("is_causal", 1),
            case(d, small).int("softmax_precision", 1).int("qk_matmul_output_mode", 3),
            case(d, small).absent().rand(d, &[2, 2, 3, 8]).rand(d, &[2, 2, 3, 6]).int("is_causal", 1),
        ]);
    }
    for mode in 0..4 {
        let modes = |c: Case| c.int("qk_matmul_output_mode", mode);
        all.extend([
            modes(case(F32, small)),
            modes(case(F32, small).float("softcap", 1.5)),
            modes(case(F32, small).rand(F32, &[2, 4, 5, 7])),
            modes(case(F32, small).rand(Bool, &[5, 3]).float("softcap", 1.5)),
            modes(flat(F16, small).rand(F16, &[5, 7]).int("softmax_precision", 1).float("softcap", 1.5)),
        ]);
    }
    // a few queries of many keys, which heads share
    for d in [F32, F16] {
        let few = [1, 8, 2, 1, 700, 16, 20];
        all.extend([
            case(d, few),
            case(d, few).rand(d, &[1, 700]).float("softcap", 2.0),
            case(d, [2, 6, 3, 3, 90, 12, 8]).int("is_causal", 1),
            case(d, [1, 12, 1, 2, 40, 5, 7]).rand(Bool, &[12, 2, 40]),
        ]);
    }
    // masks of all ranks, types and lengths
    for mask in [&[] as &[usize], &[7], &[1], &[3], &[5, 7], &[1, 7], &[5, 1], &[4, 5, 7], &[2, 1, 5, 7], &[1, 4, 1, 2]]
    {
        all.extend([case(F32, small).rand(F32, mask), case(F32, small).rand(Bool, mask)]);
    }
    all.extend([
        case(F32, small).rand(I32, &[5, 7]),
        case(F32, small).rand(U8, &[4]),
        case(F32, small).rand(I64, &[5, 7]),
        case(F32, small).value(Tensor::zeros(Bool, [5, 7])).int("qk_matmul_output_mode", 3),
        lengths(case(F32, small).absent(), &[7, 3]),
        lengths(case(F32, small).absent(), &[0, 6]).int("is_causal", 1),
        lengths(case(F32, small).rand(Bool, &[4, 5, 7]), &[7, 2]).int("is_causal", 1),
        lengths(flat(BF16, small).rand(BF16, &[5, 7]), &[4, 7]),
    ]);
    let past = |c: Case, t: usize| c.rand(F32, &[2, 2, t, 8]).rand(F32, &[2, 2, t, 6]);
    for (left, right) in [(-1, -1), (0, -1), (2, -1), (-1, 1), (1, 1), (0, 0), (100, 100)] {
        let window = |c: Case| c.int("left_window_size", left).int("right_window_size", right);
        all.extend([
            window(case(F32, small)),
            window(case(F32, small).int("is_causal", 1)),
            window(past(case(F32, small).rand(Bool, &[10]), 3)),
            window(lengths(case(F32, small).absent(), &[7, 4])),
        ]);
    }
    let flat_past = flat(F32, [2, 2, 2, 5, 7, 8, 6]).absent();
    all.extend([
        past(flat_past.clone(), 4).int("is_causal", 1),
        past(flat_past, 0),
        past(case(F32, small).rand(F32, &[5, 4]), 3),
        case(F32, small).outputs(1).int("is_causal", 1),
        case(F32, small).outputs(3),
        case(F32, [1, 1, 1, 1, 1, 1, 1]),
        case(F32, [1, 3, 3, 67, 130, 64, 64]).int("is_causal", 1),
        case(F32, [1, 8, 2, 1, 1030, 16, 16]),
        case(BF16, [1, 8, 2, 1, 1030, 16, 16]),
        case(F32, [0, 2, 2, 3, 3, 4, 4]),
        case(F32, [2, 2, 2, 0, 3, 4, 4]),
        case(F32, [2, 2, 2, 3, 0, 4, 4]),
        case(F32, [2, 2, 2, 3, 5, 4, 0]),
        case(F64, small).int("is_causal", 1),
        case(F32, small).float("scale", -0.5),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_op;
    use super::*;
    use crate::ir::{Attr, Attrs};

    fn attention(attrs: &[(&str, Attr)], inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let attrs: Attrs = attrs.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
        parse_op("", "Attention", &attrs, &NodeInfo::full(25, inputs.len(), 4))?.eval(inputs)
    }

    /// Keys of zeros, so that all that are seen weigh the same, and values 1, 2, 4, ….
    fn uniform(queries: usize, keys: usize) -> [Tensor; 3] {
        let values = (0..keys).map(|i| (1 << i) as f32).collect();
        let tensor = |n: usize, v: Vec<f32>| Tensor::new([1, 1, n, 1], v).unwrap();
        [tensor(queries, vec![1.0; queries]), tensor(keys, vec![0.0; keys]), tensor(keys, values)]
    }

    fn first(made: Result<Vec<Tensor>>) -> Vec<f32> {
        made.unwrap()[0].to_vec().unwrap()
    }

    #[test]
    fn positions_decide_what_is_seen() {
        let [q, k, v] = uniform(3, 3);
        let all = [Some(&q), Some(&k), Some(&v)];
        let one = |name: &'static str, n: i64| (name, Attr::Int(n));
        assert_eq!(first(attention(&[one("is_causal", 1)], &all)), [1.0, 1.5, 7.0 / 3.0]);
        assert_eq!(first(attention(&[one("left_window_size", 0)], &all)), [7.0 / 3.0, 3.0, 4.0]);
        assert_eq!(first(attention(&[one("is_causal", 1), one("left_window_size", 1)], &all)), [1.0, 1.5, 3.0]);
        let lengths = Tensor::vector(&[2i64]);
        let some = [Some(&q), Some(&k), Some(&v), None, None, None, Some(&lengths)];
        assert_eq!(first(attention(&[], &some)), [1.5; 3]);
        // three queries end at two valid keys: the first stands before them all
        assert_eq!(first(attention(&[one("is_causal", 1)], &some)), [0.0, 1.0, 1.5]);
    }

    #[test]
    fn short_masks_hide_the_rest() {
        let [q, k, v] = uniform(1, 3);
        let mask = Tensor::vector(&[false, true]);
        assert_eq!(first(attention(&[], &[Some(&q), Some(&k), Some(&v), Some(&mask)])), [2.0]);
        let bias = Tensor::vector(&[0f32]);
        assert_eq!(first(attention(&[], &[Some(&q), Some(&k), Some(&v), Some(&bias)])), [1.0]);
    }

    #[test]
    fn the_past_comes_first() {
        let [q, k, v] = uniform(1, 2);
        let past = Tensor::new([1, 1, 1, 1], vec![9f32]).unwrap();
        let zero = Tensor::new([1, 1, 1, 1], vec![0f32]).unwrap();
        let made = attention(&[], &[Some(&q), Some(&k), Some(&v), None, Some(&zero), Some(&past)]).unwrap();
        assert_eq!(made[2].to_vec::<f32>().unwrap(), [9.0, 1.0, 2.0]);
        assert_eq!(made[0].to_vec::<f32>().unwrap(), [4.0]);
    }

    #[test]
    fn wrong_inputs_are_errors() {
        let [q, k, v] = uniform(2, 3);
        let flat = Tensor::zeros(F32, [1, 2, 4]);
        let mask = Tensor::zeros(F32, [2, 4]);
        assert!(attention(&[], &[Some(&flat), Some(&flat), Some(&flat)]).is_err());
        assert!(attention(&[], &[Some(&q), Some(&k), Some(&v), Some(&mask)]).is_err());
        assert!(attention(&[], &[Some(&q), Some(&k), Some(&v), None, Some(&k), None]).is_err());
        assert!(attention(&[("softmax_precision", Attr::Int(7))], &[Some(&q), Some(&k), Some(&v)]).is_err());
        assert!(attention(&[("left_window_size", Attr::Int(-2))], &[Some(&q), Some(&k), Some(&v)]).is_err());
    }
}
