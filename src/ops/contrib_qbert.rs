//! Quantised parts of transformers of com.microsoft: QAttention, QEmbedLayerNormalization.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::contrib_attention::{Common, Scores};
use super::contrib_norm::normalised;
use super::contrib_qlinear::dequantised;
use super::{Case, Defer, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, F16, F32, I8, I32, U8};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "com.microsoft",
        name: "QAttention",
        versions: &[1],
        parse: parse_attention,
        cases: attention_cases,
    },
    OpDef {
        domain: "com.microsoft",
        name: "QEmbedLayerNormalization",
        versions: &[1],
        parse: |a, _| Ok(Arc::new(Defined(QEmbed { epsilon: a.float_or("epsilon", 1e-12)? }))),
        cases: embed_cases,
    },
];

// the places of QAttention's inputs
const BIAS: usize = 2;
const SCALE: usize = 3;
const WEIGHT_SCALE: usize = 4;
const MASK: usize = 5;
const ZERO: usize = 6;
const WEIGHT_ZERO: usize = 7;
const PAST: usize = 8;

/// Attention whose input and weights are quantised; what follows the projection is not.
#[derive(Debug)]
struct QAttention(Common);

fn parse_attention(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    for name in ["do_rotary", "past_present_share_buffer"] {
        ensure!(a.int_or(name, 0)? == 0, Unsupported, "attribute {name}");
    }
    Ok(Arc::new(Defined(QAttention(Common::parse(a, n, MASK)?))))
}

impl Function for QAttention {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (x, w, bias) = (b.cx().input(0)?, b.cx().input(1)?, b.cx().input(BIAS)?);
        let (heads, d) = (self.0.heads, bias.dtype);
        let (&[batch, length, inner], &[rows, all]) = (&x.shape[..], &w.shape[..]) else {
            return Err(err!(InvalidNode, "expected input of rank 3 and weights of rank 2, got {x} and {w}").into());
        };
        let size = all / 3;
        if rows != inner || all % 3 != 0 || size % heads != 0 || bias.shape != [all] || !matches!(d, F32 | F16) {
            return Err(err!(InvalidNode, "input {x}, weights {w}, bias {bias} and {heads} heads").into());
        }
        for (i, columns) in [(SCALE, false), (WEIGHT_SCALE, true), (ZERO, false), (WEIGHT_ZERO, true)] {
            let Some(t) = b.cx().try_input(i) else { continue };
            if !(t.rank() <= 1 && t.numel() == 1 || columns && t.shape == [all]) {
                return Err(err!(InvalidNode, "input {i}: {t} for {all} columns").into());
            }
        }
        let factors = [b.opt(0), b.opt(1), b.opt(ZERO), b.opt(WEIGHT_ZERO)];
        let sums = b.ops("MatMulInteger", &factors, &[], 1)?[0];
        let sums = b.cast(sums, F32)?;
        let (scale, weight_scale, bias) = (b.need(SCALE)?, b.need(WEIGHT_SCALE)?, b.need(BIAS)?);
        let (scale, weight_scale, bias) = (b.cast(scale, F32)?, b.cast(weight_scale, F32)?, b.cast(bias, F32)?);
        let scale = b.op("Mul", &[scale, weight_scale])?;
        let y = b.op("Mul", &[sums, scale])?;
        let y = b.op("Add", &[y, bias])?;
        let y = b.cast(y, d)?;
        let parts = b.split(y, 2, &[size; 3])?;

        let depth = size / heads;
        let (mut past, mut cache) = (0, [None; 2]);
        if let Some(t) = b.cx().try_input(PAST) {
            past = t.shape.get(3).copied().unwrap_or(0);
            if t.shape != [2, batch, heads, past, depth] {
                return Err(err!(InvalidNode, "past {t} for {heads} heads of {depth} elements").into());
            }
            let both = b.split(b.need(PAST)?, 0, &[1, 1])?;
            for (side, v) in cache.iter_mut().zip(both) {
                *side = Some(b.reshape(v, &[batch, heads, past, depth])?);
            }
        }
        let s = Scores { batch, heads, queries: length, past, keys: past + length };
        let mask = self.0.mask(b, MASK, &s, true)?;
        let inputs = [Some(parts[0]), Some(parts[1]), Some(parts[2]), mask, cache[0], cache[1]];
        let made = self.0.apply(b, inputs, d, &self.0.attrs(true), 3)?;
        let apart = [1, batch, heads, s.keys, depth];
        let both = [b.reshape(made[1], &apart)?, b.reshape(made[2], &apart)?];
        Ok(vec![made[0], b.concat(&both, 0)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        self.0.tolerance(dtype, k)
    }
}

fn attention_cases() -> Vec<Case> {
    let of = |x: DType, w: DType, f: DType, per: &[usize]| {
        let c = Case::new("QAttention", 1).domain("com.microsoft").int("num_heads", 2).sum(8);
        let c = c.rand(x, &[2, 5, 6]).rand(w, &[6, 24]).range(f, &[24], -1.0, 1.0);
        c.range(f, &[], 0.01, 0.02).range(f, per, 0.002, 0.004)
    };
    let zeros = |c: Case, x: DType, w: DType, per: &[usize]| c.rand(x, &[]).rand(w, per);
    let mask = |s: &[usize], v: &[i32]| Tensor::new(s, v.to_vec()).unwrap_or_else(|_| Tensor::scalar(0i32));
    vec![
        of(U8, I8, F32, &[]),
        zeros(of(U8, U8, F32, &[24]).value(mask(&[2], &[3, 5])), U8, U8, &[24]).outputs(2),
        zeros(of(U8, I8, F32, &[]).absent(), U8, I8, &[])
            .int("unidirectional", 1)
            .rand(F32, &[2, 2, 2, 3, 4])
            .outputs(2),
        zeros(of(I8, I8, F32, &[1]).range(I32, &[2, 5], 0.0, 2.0), I8, I8, &[]).float("mask_filter_value", -3.0),
        of(U8, U8, F16, &[24]).float("scale", 0.3),
        zeros(of(U8, U8, F16, &[24]).value(mask(&[2], &[0, 5])), U8, U8, &[24]).outputs(2),
    ]
}

/// Quantised tables of words, places and segments, added and normalised; and how long each sequence is.
#[derive(Debug)]
struct QEmbed {
    epsilon: f32,
}

// the places of the tables; their scales begin at 8, their zero points at 13
const TABLES: [usize; 5] = [2, 3, 4, 5, 6];
const SEGMENTS: usize = 4;

impl QEmbed {
    /// Rows `ids` of table `k`.
    fn rows(b: &mut Body<'_>, k: usize, ids: Option<ValueId>) -> Result<ValueId> {
        let numbers = [TABLES[k], 8 + k, 13 + k];
        match ids {
            None => dequantised(b, numbers),
            Some(ids) => {
                // first picked, then brought to numbers
                let picked = b.op("Gather", &[b.need(TABLES[k])?, ids])?;
                let inputs = [Some(picked), b.opt(8 + k), b.opt(13 + k)];
                b.ops("DequantizeLinear", &inputs, &[], 1)?.pop().ok_or_else(|| err!(Internal, "no output"))
            }
        }
    }
}

impl Function for QEmbed {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (ids, table) = (b.cx().input(0)?, b.cx().input(2)?);
        let (&[batch, length], &[_, hidden]) = (&ids.shape[..], &table.shape[..]) else {
            return Err(err!(InvalidNode, "expected ids and tables of rank 2, got {ids} and {table}").into());
        };
        let segments = [1, SEGMENTS].map(|i| b.opt(i).is_some());
        if segments[0] != segments[1] {
            return Err(err!(InvalidNode, "segment_ids and segment_embedding go together").into());
        }
        for (k, i) in TABLES.into_iter().enumerate() {
            let Some(t) = b.cx().try_input(i) else { continue };
            let of_one = |p: usize| b.cx().try_input(p).is_some_and(|t| t.rank() <= 1 && t.numel() == 1);
            let shaped = if k < 3 { t.rank() == 2 && t.shape[1] == hidden } else { t.shape == [hidden] };
            if !(shaped && t.dtype == table.dtype && matches!(t.dtype, I8 | U8) && of_one(8 + k) && of_one(13 + k)) {
                return Err(err!(InvalidNode, "input {i}: {t}, or its scale and zero point").into());
            }
        }
        for i in [0, 1, 7] {
            let fits = b.cx().try_input(i).is_none_or(|t| t.dtype == I32 && t.shape == [batch, length]);
            if !fits {
                return Err(err!(InvalidNode, "input {i}: expected int32[{batch}, {length}]").into());
            }
        }
        let most = b.cx().shape(3)?[0];
        if most < length {
            return Err(err!(InvalidNode, "{length} words, but position_embedding has {most} rows").into());
        }
        let words = Self::rows(b, 0, b.opt(0))?;
        let places = Self::rows(b, 1, None)?;
        let places = b.slice(places, 0, 0, length)?;
        let mut sum = b.op("Add", &[words, places])?;
        if let Some(ids) = b.opt(1) {
            let rows = Self::rows(b, 2, Some(ids))?;
            sum = b.op("Add", &[sum, rows])?;
        }
        let (scale, shift) = (Self::rows(b, 3, None)?, Self::rows(b, 4, None)?);
        let [y, _, _] = normalised(b, sum, [Some(scale), Some(shift)], (true, self.epsilon), F32)?;
        let lengths = match b.opt(7) {
            None => {
                let zero = b.int(0);
                b.expand(zero, &[batch])?
            }
            Some(mask) => {
                let one = b.constant(Tensor::scalar(1i32));
                let used = b.op("Equal", &[mask, one])?;
                let used = b.cast(used, I32)?;
                let axis = b.constant(Tensor::vector(&[1i64]));
                b.with("ReduceSum", &[used, axis], &[("keepdims", Attr::Int(0))])?
            }
        };
        Ok(vec![y, lengths])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 64.0 + (k as f64).sqrt())
    }
}

fn embed_cases() -> Vec<Case> {
    let of = |d: DType, segments: bool, masked: bool| {
        let c = Case::new("QEmbedLayerNormalization", 1).domain("com.microsoft").range(I32, &[2, 5], 0.0, 11.0);
        let c = if segments { c.range(I32, &[2, 5], 0.0, 2.0) } else { c.absent() };
        let c = c.rand(d, &[11, 16]).rand(d, &[9, 16]);
        let c = if segments { c.rand(d, &[2, 16]) } else { c.absent() };
        let c = c.rand(d, &[16]).rand(d, &[16]);
        let mut c = if masked { c.range(I32, &[2, 5], 0.0, 2.0) } else { c.absent() };
        for k in 0..5 {
            c = if k == 2 && !segments { c.absent() } else { c.range(F32, &[], 0.01, 0.02) };
        }
        for k in 0..5 {
            c = if k == 2 && !segments { c.absent() } else { c.rand(d, &[]) };
        }
        c.outputs(2)
    };
    vec![of(U8, true, true), of(I8, false, false), of(U8, false, true).float("epsilon", 0.5)]
}
