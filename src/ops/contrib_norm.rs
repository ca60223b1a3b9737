//! LayerNormalization of sums, as transformers have it: SkipLayerNormalization, SkipSimplifiedLayerNormalization,
//! EmbedLayerNormalization.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::{Case, Defer, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const fn row(name: &'static str, parse: super::Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "com.microsoft", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("SkipLayerNormalization", |a, _| skip(a, true), || skip_cases("SkipLayerNormalization", true)),
    row(
        "SkipSimplifiedLayerNormalization",
        |a, _| skip(a, false),
        || skip_cases("SkipSimplifiedLayerNormalization", false),
    ),
    row("EmbedLayerNormalization", embed, embed_cases),
];

const EPSILON: f32 = 1e-12;

/// `norm(x + skip + bias) · scale + shift`
#[derive(Debug)]
struct Skip {
    /// Whether the mean is taken away, and there is a shift.
    center: bool,
    epsilon: f32,
}

fn skip(a: &AttrReader<'_>, center: bool) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Defined(Skip { center, epsilon: a.float_or("epsilon", EPSILON)? })))
}

/// Mean and deviation are of 32-bit floats, whatever the type.
fn tolerance(dtype: DType, k: usize) -> Tolerance {
    match dtype {
        F32 => Tolerance::ulps(dtype, 64.0 + (k as f64).sqrt()),
        d => Tolerance::ulps(d, 4.0),
    }
}

/// That the input, if present, is a vector of this length and type.
fn vector(b: &Body<'_>, i: usize, d: DType, length: usize) -> Result<()> {
    let Some(t) = b.cx().try_input(i) else { return Ok(()) };
    ensure!(t.shape == [length] && t.dtype == d, InvalidNode, "input {i}: expected {d}[{length}], got {t}");
    Ok(())
}

/// The normalisation along the last dim, of 32-bit floats, in type `d`; then mean and inverse deviation.
pub(super) fn normalised(
    b: &mut Body<'_>,
    sum: ValueId,
    [scale, shift]: [Option<ValueId>; 2],
    (center, epsilon): (bool, f32),
    d: DType,
) -> Result<[ValueId; 3]> {
    let op = if center { "LayerNormalization" } else { "RMSNormalization" };
    let inputs: Vec<Option<ValueId>> = [Some(sum), scale, shift].into_iter().take(2 + usize::from(center)).collect();
    let made = b.ops(op, &inputs, &[("epsilon", Attr::Float(epsilon))], 3)?;
    Ok([b.cast(made[0], d)?, made[1], made[2]])
}

impl Function for Skip {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (x, skip) = (b.cx().input(0)?, b.cx().input(1)?);
        let d = x.dtype;
        if !matches!(d, F32 | F16 | BF16) {
            return Err(err!(Unsupported, "a layer of {d}").into());
        }
        let same = skip.dtype == d && shape::broadcast(&[&skip.shape, &x.shape]).is_ok_and(|s| s == x.shape);
        let fits = x.rank() >= 1 && same;
        if !fits {
            return Err(err!(InvalidNode, "skip {skip} does not fit input {x}").into());
        }
        let hidden = x.shape[x.rank() - 1];
        let (shift, bias) = if self.center { (b.opt(3), 4) } else { (None, 3) };
        for i in 2..=bias {
            vector(b, i, d, hidden)?;
        }
        let (mut sum, skip) = (b.cast(b.need(0)?, F32)?, b.cast(b.need(1)?, F32)?);
        sum = b.op("Add", &[sum, skip])?;
        if let Some(bias) = b.opt(bias) {
            let bias = b.cast(bias, F32)?;
            sum = b.op("Add", &[sum, bias])?;
        }
        let scale = b.need(2)?;
        let [y, mean, inverse] = normalised(b, sum, [Some(scale), shift], (self.center, self.epsilon), d)?;
        Ok(vec![y, mean, inverse, b.cast(sum, d)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        tolerance(dtype, k)
    }
}

fn skip_cases(name: &'static str, center: bool) -> Vec<Case> {
    let case = |d: DType, x: &[usize], skip: &[usize]| {
        let hidden = &x[x.len() - 1..];
        let c = Case::new(name, 1).domain("com.microsoft").rand(d, x).rand(d, skip).rand(d, hidden);
        if center { c.rand(d, hidden) } else { c }
    };
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.push(case(d, &[2, 3, 8], &[2, 3, 8]));
        all.push(case(d, &[2, 3, 37], &[2, 3, 37]).rand(d, &[37]).outputs(4));
        all.push(case(d, &[2, 3, 8], &[3, 8]).float("epsilon", 0.1).outputs(4));
    }
    all.extend([
        case(F32, &[2, 3, 8], &[1, 3, 8]).rand(F32, &[8]),
        case(F32, &[5, 64], &[5, 64]),
        case(F32, &[1, 2, 9000], &[1, 2, 9000]).rand(F32, &[9000]).sum(9000),
        case(F32, &[0, 3, 8], &[0, 3, 8]).outputs(4),
    ]);
    all
}

/// Words, their places and (if there are any) segments, added and normalised; and how long each sequence is.
#[derive(Debug)]
struct Embed {
    epsilon: f32,
}

fn embed(a: &AttrReader<'_>, _: &super::NodeInfo) -> Result<Arc<dyn Op>> {
    // says whether output 1 means something, which it does where there is a mask
    a.ignore("mask_index_type");
    Ok(Arc::new(Defined(Embed { epsilon: a.float_or("epsilon", EPSILON)? })))
}

// the places of the tables among the inputs
const WORDS: usize = 2;
const PLACES: usize = 3;
const SEGMENTS: usize = 4;

impl Function for Embed {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (ids, table) = (b.cx().input(0)?, b.cx().input(WORDS)?);
        let d = table.dtype;
        if !matches!(d, F32 | F16) {
            return Err(err!(Unsupported, "embeddings of {d}").into());
        }
        let (&[batch, length], &[_, hidden]) = (&ids.shape[..], &table.shape[..]) else {
            return Err(
                err!(InvalidNode, "expected input_ids and word_embedding of rank 2, got {ids} and {table}").into()
            );
        };
        if b.opt(1).is_some() != b.opt(SEGMENTS).is_some() {
            return Err(err!(InvalidNode, "segment_ids and segment_embedding go together").into());
        }
        for i in [PLACES, SEGMENTS] {
            let fits = |t: &crate::ir::TensorType| t.dtype == d && t.rank() == 2 && t.shape[1] == hidden;
            if let Some(t) = b.cx().try_input(i).filter(|t| !fits(t)) {
                return Err(err!(InvalidNode, "input {i}: expected {d} rows of {hidden}, got {t}").into());
            }
        }
        for (i, shared) in [(0, false), (1, false), (7, false), (8, true)] {
            let Some(t) = b.cx().try_input(i) else { continue };
            let fits = t.shape == [batch, length] || (shared && t.shape == [1, length]);
            if !(fits && t.dtype == I32) {
                return Err(err!(InvalidNode, "input {i}: expected int32[{batch}, {length}], got {t}").into());
            }
        }
        vector(b, 5, d, hidden)?;
        vector(b, 6, d, hidden)?;

        let rows = b.op("Gather", &[b.need(WORDS)?, b.need(0)?])?;
        let words = b.cast(rows, F32)?;
        let places = b.need(PLACES)?;
        let places = match b.opt(8) {
            Some(ids) => b.op("Gather", &[places, ids])?,
            None => {
                let most = b.shape(places)[0];
                if most < length {
                    return Err(err!(InvalidNode, "{length} words, but position_embedding has {most} rows").into());
                }
                b.slice(places, 0, 0, length)?
            }
        };
        let places = b.cast(places, F32)?;
        let mut sum = b.op("Add", &[words, places])?;
        if let (Some(ids), Some(table)) = (b.opt(1), b.opt(SEGMENTS)) {
            let rows = b.op("Gather", &[table, ids])?;
            let rows = b.cast(rows, F32)?;
            sum = b.op("Add", &[sum, rows])?;
        }
        let (scale, shift) = (b.need(5)?, b.need(6)?);
        let [y, _, _] = normalised(b, sum, [Some(scale), Some(shift)], (true, self.epsilon), d)?;
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
        Ok(vec![y, lengths, b.cast(sum, d)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        tolerance(dtype, k)
    }
}

fn embed_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize], hidden: usize, segments: bool| {
        let c = Case::new("EmbedLayerNormalization", 1).domain("com.microsoft").range(I32, s, 0.0, 11.0);
        let c = if segments { c.range(I32, s, 0.0, 2.0) } else { c.absent() };
        let c = c.rand(d, &[11, hidden]).rand(d, &[9, hidden]);
        let c = if segments { c.rand(d, &[2, hidden]) } else { c.absent() };
        c.rand(d, &[hidden]).rand(d, &[hidden]).outputs(3)
    };
    let mut all = vec![];
    for d in [F32, F16] {
        all.push(case(d, &[2, 5], 16, true).range(I32, &[2, 5], 0.0, 2.0));
        all.push(case(d, &[2, 5], 37, false).range(I32, &[2, 5], 0.0, 2.0).range(I32, &[2, 5], 0.0, 9.0));
        all.push(case(d, &[2, 5], 16, true).absent().range(I32, &[1, 5], 0.0, 9.0).float("epsilon", 0.5));
    }
    all.extend([case(F32, &[1, 9], 64, false).int("mask_index_type", 0), case(F32, &[0, 3], 8, true)]);
    all
}
