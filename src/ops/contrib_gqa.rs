//! GroupQueryAttention: several query heads to one head of keys and values, which stand in a cache at places of each
//! sequence's own.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::contrib_attention::{bias, check_type, first_and_on, heads, rotary_attrs, scale, tolerance};
use super::{Case, Defer, NodeInfo, Op, OpDef, Tolerance, cache};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[OpDef { domain: "com.microsoft", name: "GroupQueryAttention", versions: &[1], parse, cases }];

// the places of the inputs
const PAST_KEY: usize = 3;
const PAST_VALUE: usize = 4;
const LENGTHS: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const POSITIONS: usize = 9;
const BIAS: usize = 10;
const SINK: usize = 11;
const QUERY_NORM: usize = 14;
const KEY_NORM: usize = 15;

#[derive(Debug)]
struct GroupQuery {
    /// Heads of queries, and of keys and values.
    heads: usize,
    groups: usize,
    scale: Option<f32>,
    /// 0 is none.
    softcap: f32,
    causal: bool,
    /// Keys that a query sees, its own included.
    window: Option<usize>,
    /// Whether a score of 0 stands beside the keys.
    smooth: bool,
    /// Whether pairs are neighbours; no rotation when `None`.
    rotary: Option<bool>,
    /// Of the normalisations of queries and keys.
    epsilons: [f32; 2],
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    for name in ["k_quant_type", "v_quant_type"] {
        let kind = a.string_or(name, "NONE".into())?;
        ensure!(kind == "NONE", Unsupported, "attribute {name}: {kind}");
    }
    // of a quantised cache
    a.ignore("kv_cache_bit_width");
    for name in ["qk_output", "sliding_window_cache"] {
        let mode = a.int_or(name, 0)?;
        ensure!(mode == 0, Unsupported, "attribute {name}: {mode}");
    }
    ensure!(!n.has_output(3), Unsupported, "output_qk");
    for (i, name) in [(12, "k_scale"), (13, "v_scale"), (16, "query_seqlens")] {
        ensure!(!n.has_input(i), Unsupported, "input {name}");
    }
    let causal = a.flag_or("causal", true)?;
    let window = match a.int_or("local_window_size", -1)? {
        -1 => None,
        size if size > 0 && causal => Some(size as usize),
        size => return Err(err!(InvalidNode, "attribute local_window_size: {size}, with causal = {causal}")),
    };
    let smooth = a.int_or("smooth_softmax", -1)?;
    ensure!((-1..=1).contains(&smooth), InvalidNode, "attribute smooth_softmax: expected -1 to 1, got {smooth}");
    let interleaved = a.flag_or("rotary_interleaved", false)?;
    let epsilon = a.float_or("qk_norm_epsilon", 1e-6)?;
    let (heads, groups) = (heads(a, "num_heads")?, heads(a, "kv_num_heads")?);
    ensure!(heads.is_multiple_of(groups), InvalidNode, "{heads} query heads over {groups} key heads");
    Ok(Arc::new(Defined(GroupQuery {
        heads,
        groups,
        scale: scale(a)?,
        softcap: a.float_or("softcap", 0.0)?,
        causal,
        window,
        smooth: smooth == 1,
        rotary: a.flag_or("do_rotary", false)?.then_some(interleaved),
        epsilons: [a.float_or("q_norm_epsilon", epsilon)?, a.float_or("k_norm_epsilon", epsilon)?],
    })))
}

/// The extents of one application.
#[derive(Debug, Clone, Copy)]
struct Extents {
    batch: usize,
    /// New queries, and new keys.
    length: usize,
    depth: usize,
    past: usize,
    /// Keys of the longest sequence.
    total: usize,
    /// Places of the cache.
    room: usize,
}

impl GroupQuery {
    /// Queries, keys and values of rank 3.
    fn parts(&self, b: &mut Body<'_>) -> Result<[ValueId; 3]> {
        let q = b.need(0)?;
        let (k, v) = match (b.opt(1), b.opt(2)) {
            (Some(k), Some(v)) => (k, v),
            (None, None) => {
                let s = b.shape(q);
                let all = self.groups.saturating_mul(2).saturating_add(self.heads);
                let fits = s.len() == 3 && s[2].is_multiple_of(all);
                ensure!(fits, InvalidNode, "query of {s:?} does not hold {all} heads");
                let sizes = [self.heads, self.groups, self.groups].map(|n| n * (s[2] / all));
                match b.split(q, 2, &sizes)?[..] {
                    [q, k, v] => return Ok([q, k, v]),
                    _ => return Err(err!(Internal, "three parts are not three")),
                }
            }
            _ => return Err(err!(InvalidNode, "key and value go together")),
        };
        Ok([q, k, v])
    }

    fn extents(&self, b: &Body<'_>, parts: &[ValueId; 3]) -> Result<Extents, Defer> {
        let [q, k, v] = parts.map(|p| b.shape(p));
        let &[batch, length, all] = &q[..] else {
            return Err(err!(InvalidNode, "expected a query of rank 3, got {q:?}").into());
        };
        let depth = all / self.heads;
        let side = [batch, length, self.groups * depth];
        if all % self.heads != 0 || k != side || v != side {
            return Err(err!(InvalidNode, "query {q:?}, key {k:?} and value {v:?} do not fit each other").into());
        }
        let pasts = [PAST_KEY, PAST_VALUE].map(|i| b.cx().try_input(i).map(|t| t.shape.clone()));
        let past = pasts[0].as_ref().map_or(0, |s| s.get(2).copied().unwrap_or(0));
        let cache = [batch, self.groups, past, depth];
        if pasts[0].is_some() != pasts[1].is_some() || pasts.iter().flatten().any(|s| *s != cache) {
            return Err(err!(InvalidNode, "past key and value {pasts:?}, expected {cache:?}").into());
        }
        let lengths = b.cx().input(LENGTHS)?;
        if lengths.dtype != I32 || lengths.numel() != batch {
            return Err(err!(InvalidNode, "seqlens_k: expected int32[{batch}], got {lengths}").into());
        }
        let total = b.cx().ints(TOTAL)?.unwrap_or_default();
        let total = match total[..] {
            [n] => usize::try_from(n).ok().filter(|n| *n >= length),
            _ => None,
        };
        let total = total.ok_or_else(|| err!(InvalidNode, "total_sequence_length for {length} new tokens"))?;
        Ok(Extents { batch, length, depth, past, total, room: total.max(past) })
    }

    /// New queries or keys, normalised, of rank 3 as they came.
    fn normalised(&self, b: &mut Body<'_>, v: ValueId, e: &Extents, norm: usize) -> Result<ValueId> {
        let Some(scale) = b.opt(norm) else { return Ok(v) };
        let heads = if norm == QUERY_NORM { self.heads } else { self.groups };
        let tall = b.reshape(v, &[e.batch, e.length, heads, e.depth])?;
        let epsilon = self.epsilons[norm - QUERY_NORM];
        let tall = b.with("RMSNormalization", &[tall, scale], &[("epsilon", Attr::Float(epsilon))])?;
        b.reshape(tall, &[e.batch, e.length, heads * e.depth])
    }

    /// Queries and keys, rotated at once: they lie side by side where one product has made them.
    fn rotated(
        &self,
        b: &mut Body<'_>,
        parts: [ValueId; 2],
        e: &Extents,
        ids: Option<ValueId>,
    ) -> Result<[ValueId; 2]> {
        let (Some(interleaved), Some(ids)) = (self.rotary, ids) else { return Ok(parts) };
        let both = b.concat(&parts, 2)?;
        let (cos, sin) = (b.need(COS)?, b.need(SIN)?);
        let pairs = b.shape(cos).last().copied().unwrap_or(0);
        let attrs = rotary_attrs(interleaved, pairs, self.heads + self.groups);
        let both = b.with("RotaryEmbedding", &[both, cos, sin, ids], &attrs)?;
        let parts = b.split(both, 2, &[self.heads, self.groups].map(|n| n * e.depth))?;
        parts.try_into().map_err(|_| err!(Internal, "two parts are not two"))
    }

    /// The cache with the new keys or values at their places, and zeros behind them.
    fn cache(&self, b: &mut Body<'_>, new: ValueId, past: usize, e: &Extents, starts: ValueId) -> Result<ValueId> {
        let apart = b.reshape(new, &[e.batch, e.length, self.groups, e.depth])?;
        let new = b.transpose(apart, &[0, 2, 1, 3])?;
        // where there is nothing but what is new, no sequence has anything yet
        let old = b.opt(past).filter(|_| e.past > 0 && e.total > e.length);
        if old.is_none() && e.room == e.length {
            return Ok(new);
        }
        let starts = match old {
            Some(_) => starts,
            None => b.constant(Tensor::zeros(I32, [e.batch])),
        };
        let operator = cache::operator(e.room, old.is_some())?;
        let inputs: Vec<Option<ValueId>> = [new, starts].into_iter().chain(old).map(Some).collect();
        b.node(&operator, &inputs, 1)?.pop().ok_or_else(|| err!(Internal, "a cache has no output"))
    }

    /// Which keys are seen, `[batch, 1, queries, keys]`.
    fn seen(&self, b: &mut Body<'_>, e: &Extents, starts: ValueId, lengths: ValueId) -> Result<ValueId> {
        let (places, steps) = (b.iota(&[e.total])?, b.iota(&[e.length, 1])?);
        let mut seen = b.op("Less", &[places, lengths])?;
        if self.causal {
            let at = b.op("Add", &[starts, steps])?;
            let before = b.op("LessOrEqual", &[places, at])?;
            seen = b.op("And", &[seen, before])?;
            if let Some(window) = self.window {
                let window = b.int(window);
                let from = b.op("Sub", &[at, window])?;
                let near = b.op("Greater", &[places, from])?;
                seen = b.op("And", &[seen, near])?;
            }
        }
        b.expand(seen, &[e.batch, 1, e.length, e.total])
    }

    /// A score of its own for each head beside those of the keys.
    fn sink(&self, b: &mut Body<'_>, mask: ValueId, e: &Extents) -> Result<ValueId> {
        let d = b.cx().dtype(0)?;
        let one = match b.opt(SINK) {
            Some(sink) => {
                let t = b.cx().input(SINK)?;
                ensure!(t.shape == [self.heads] && t.dtype == d, InvalidNode, "head_sink {t} for {} heads", self.heads);
                b.reshape(sink, &[1, self.heads, 1, 1])?
            }
            None => b.float(d, 0.0)?,
        };
        let one = b.expand(one, &[e.batch, self.heads, e.length, 1])?;
        let mask = b.expand(mask, &[e.batch, self.heads, e.length, e.total])?;
        b.concat(&[mask, one], 3)
    }
}

impl Function for GroupQuery {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let d = b.cx().dtype(0)?;
        check_type(d)?;
        let parts = self.parts(b)?;
        let e = self.extents(b, &parts)?;
        // as they broadcast against [batch, heads, length, keys]
        let (one, length, zero) = (b.int(1), b.int(e.length), b.int(0));
        let lengths = b.reshape(b.need(LENGTHS)?, &[e.batch, 1, 1, 1])?;
        let lengths = b.op("Add", &[lengths, one])?;
        let starts = b.op("Sub", &[lengths, length])?;
        let starts = b.op("Max", &[starts, zero])?;
        let ids = match (self.rotary, b.opt(POSITIONS)) {
            (None, _) => None,
            (Some(_), Some(ids)) => Some(ids),
            (Some(_), None) => {
                let first = b.reshape(starts, &[e.batch, 1])?;
                Some(first_and_on(b, first, [e.batch, e.length])?)
            }
        };
        let q = self.normalised(b, parts[0], &e, QUERY_NORM)?;
        let k = self.normalised(b, parts[1], &e, KEY_NORM)?;
        let [q, k] = self.rotated(b, [q, k], &e, ids)?;
        let key = self.cache(b, k, PAST_KEY, &e, starts)?;
        let value = self.cache(b, parts[2], PAST_VALUE, &e, starts)?;

        let sinks = self.smooth || b.opt(SINK).is_some();
        let mut mask = self.seen(b, &e, starts, lengths)?;
        let added = bias(b, BIAS, [e.batch, self.heads, e.length, e.total])?;
        if added.is_some() || sinks {
            let hidden = b.float(d, f64::NEG_INFINITY)?;
            let added = match added {
                Some(bias) => bias,
                None => b.float(d, 0.0)?,
            };
            mask = b.op("Where", &[mask, added, hidden])?;
        }
        let (mut near_keys, mut near_values) = (b.slice(key, 2, 0, e.total)?, b.slice(value, 2, 0, e.total)?);
        if sinks {
            // a key of zeros scores 0 before its bias
            mask = self.sink(b, mask, &e)?;
            let zero = b.float(d, 0.0)?;
            let blank = b.expand(zero, &[e.batch, self.groups, 1, e.depth])?;
            near_keys = b.concat(&[near_keys, blank], 2)?;
            near_values = b.concat(&[near_values, blank], 2)?;
        }
        let q = b.reshape(q, &[e.batch, e.length, self.heads, e.depth])?;
        let q = b.transpose(q, &[0, 2, 1, 3])?;
        let mut attrs = vec![("softcap", Attr::Float(self.softcap))];
        attrs.extend(self.scale.map(|s| ("scale", Attr::Float(s))));
        let y = b.ops("Attention", &[Some(q), Some(near_keys), Some(near_values), Some(mask)], &attrs, 1)?[0];
        let y = b.transpose(y, &[0, 2, 1, 3])?;
        Ok(vec![b.reshape(y, &[e.batch, e.length, self.heads * e.depth])?, key, value])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        tolerance(dtype, k)
    }
}

/// A case of 2 sequences, 4 query heads and 2 key heads of 8 elements: new tokens, the cache's places, the lengths.
fn case(d: DType, length: usize, past: Option<usize>, lengths: [i32; 2], packed: bool) -> Case {
    let c = Case::new("GroupQueryAttention", 1).domain("com.microsoft").int("num_heads", 4).int("kv_num_heads", 2);
    let c = if packed {
        c.rand(d, &[2, length, 64]).absent().absent()
    } else {
        c.rand(d, &[2, length, 32]).rand(d, &[2, length, 16]).rand(d, &[2, length, 16])
    };
    let c = match past {
        Some(n) => c.rand(d, &[2, 2, n, 8]).rand(d, &[2, 2, n, 8]),
        None => c.absent().absent(),
    };
    let most = lengths[0].max(lengths[1]);
    c.value(Tensor::vector(&lengths.map(|n| n - 1))).constant(Tensor::scalar(most)).outputs(3).sum(most as usize)
}

fn cases() -> Vec<Case> {
    let caches = |c: Case, d: DType| c.range(d, &[20, 4], -1.0, 1.0).range(d, &[20, 4], -1.0, 1.0);
    let rotary = |c: Case, d: DType| caches(c, d).int("do_rotary", 1);
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.extend([
            case(d, 3, None, [3, 3], false),
            rotary(case(d, 3, Some(0), [3, 2], false), d),
            rotary(case(d, 1, Some(4), [5, 3], true), d),
            rotary(case(d, 1, Some(9), [5, 3], false), d).int("local_window_size", 2).float("softcap", 2.0),
            case(d, 3, Some(4), [7, 5], true).absent().absent().absent().rand(d, &[2, 1, 3, 7]),
            case(d, 1, Some(8), [5, 3], false).absent().absent().absent().absent().rand(d, &[4]),
        ]);
    }
    let positions = Tensor::new([2, 3], vec![1i64, 2, 3, 9, 4, 2]).unwrap_or_else(|_| Tensor::scalar(0i64));
    let normed = (0..5).fold(rotary(case(F32, 3, Some(4), [7, 5], false), F32), |c, _| c.absent());
    let total = |c: Case, value: Tensor| {
        let mut c = c;
        c.inputs[TOTAL] = super::CaseInput::Value(value);
        c
    };
    all.extend([
        rotary(case(F32, 3, Some(4), [7, 5], false), F32).int("rotary_interleaved", 1),
        rotary(case(F32, 3, Some(4), [7, 5], false), F32).value(positions),
        rotary(case(F32, 3, Some(9), [7, 5], false), F32).absent().rand(F32, &[1, 4, 3, 7]).rand(F32, &[4]),
        normed.rand(F32, &[8]).rand(F32, &[8]).float("q_norm_epsilon", 0.1),
        case(F32, 3, Some(6), [3, 2], false),
        case(F32, 3, Some(4), [7, 5], false).int("local_window_size", 3).int("smooth_softmax", 1),
        case(F32, 3, Some(4), [7, 5], false).int("causal", 0).float("scale", 0.2),
        case(F32, 67, None, [67, 40], false),
        total(case(F32, 1, Some(4), [5, 3], false), Tensor::scalar(5i32)),
        total(case(F32, 1, Some(4), [4, 3], false), Tensor::vector(&[5i32])),
    ]);
    all
}
