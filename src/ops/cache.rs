//! CacheUpdate, which GroupQueryAttention is said with: a cache of keys or values with new ones at each sequence's place.

use std::sync::Arc;

use super::eval::{need, opt};
use super::fused::DOMAIN;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, Attrs, Operator};
use crate::kernels::cache;
use crate::plan::{LowerCx, Slicing};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const NAME: &str = "CacheUpdate";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: DOMAIN, name: NAME, versions: &[1], parse, cases }];

/// Inputs are the new ones, `[batch, heads, length, depth]`, the place of the first for each of the batch (int32), and what is
/// there already, `[batch, heads, past, depth]`, if anything is. The output, `[batch, heads, room, depth]`, has what is there
/// before that place, then the new ones, and zeros behind them.
#[derive(Debug)]
struct CacheUpdate {
    room: usize,
}

/// The operator whose output has this many places; `old` says whether there is a cache already.
///
/// # Errors
/// None where `room` is an int64.
pub fn operator(room: usize, old: bool) -> Result<Operator> {
    let attrs = Attrs::from([("room".to_string(), Attr::Int(room as i64))]);
    Operator::new(DOMAIN, NAME, attrs, &NodeInfo::full(1, 2 + usize::from(old), 1))
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let room = a.required_int("room")?;
    let room = usize::try_from(room).map_err(|_| err!(InvalidNode, "attribute room: {room}"))?;
    Ok(Arc::new(CacheUpdate { room }))
}

impl CacheUpdate {
    /// The shape of the output.
    fn shape(&self, new: &[usize], starts: &[usize], old: Option<&[usize]>) -> Result<[usize; 4]> {
        let &[batch, heads, _, depth] = new else {
            return Err(err!(InvalidNode, "expected new ones of rank 4, got {new:?}"));
        };
        ensure!(starts.iter().product::<usize>() == batch, InvalidNode, "places {starts:?} for a batch of {batch}");
        if let Some(old) = old {
            let fits = matches!(*old, [b, h, _, d] if [b, h, d] == [batch, heads, depth]);
            ensure!(fits, InvalidNode, "a cache of {old:?} does not take {new:?}");
        }
        Ok([batch, heads, self.room, depth])
    }
}

impl Op for CacheUpdate {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(0)?;
        let old = cx.try_input(2);
        if cx.dtype(1)? != I32 || old.is_some_and(|t| t.dtype != d) {
            return Err(err!(InvalidNode, "expected int32 places and a cache of {d}").into());
        }
        one(d, self.shape(cx.shape(0)?, cx.shape(1)?, old.map(|t| &t.shape[..]))?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (new, starts, old) = (need(inputs, 0)?, need(inputs, 1)?, opt(inputs, 2));
        let to = self.shape(new.shape(), starts.shape(), old.map(Tensor::shape))?;
        let starts = starts.to_i64s()?;
        // elements of the new ones, then those of the cache
        let flat = |t: &Tensor| t.reshaped([t.len()]);
        let parts: Vec<Tensor> = [Some(new), old].into_iter().flatten().map(flat).collect::<Result<_>>()?;
        let (by_new, past) = (shape::strides(new.shape()), old.map_or(0, |t| t.shape()[2]));
        let by_old = old.map(|t| shape::strides(t.shape())).unwrap_or_default();
        let at = |c: [usize; 4], strides: &[usize]| c.iter().zip(strides).map(|(c, s)| c * s).sum::<usize>();
        let source = |c: Vec<usize>| {
            let (start, [b, h, p, d]) = (starts[c[0]].max(0) as usize, [c[0], c[1], c[2], c[3]]);
            match p {
                _ if p >= start && p - start < new.shape()[2] => Some(at([b, h, p - start, d], &by_new)),
                _ if p < start.min(past) => Some(new.len() + at([b, h, p, d], &by_old)),
                _ => None,
            }
        };
        let sources: Vec<Option<usize>> = shape::coords(&to).map(source).collect();
        Ok(vec![Tensor::concat(&parts)?.select_or(to, &sources, &Tensor::zeros(new.dtype(), []))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (new, starts) = (cx.input(0)?, cx.dense_input(1)?);
        let mut old = cx.try_input(2)?;
        if old.as_ref().is_some_and(|o| !cache::takes(o)) {
            old = Some(cx.dense_input(2)?);
        }
        let out = cx.output(0)?;
        cache::update(cx, &new, &starts, old.as_ref().filter(|o| o.numel() > 0), &out)
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let starts = cx.try_input(1).map_or(0, |t| t.shape.first().copied().unwrap_or(0));
        let heads = Slicing { axis: 1, inputs: vec![Some(1), None, Some(1)] };
        let batch = Slicing { axis: 0, inputs: vec![Some(0); 3] };
        if starts == out[0] { vec![heads, batch] } else { vec![heads] }
    }
}

fn cases() -> Vec<Case> {
    let case = |d: DType, new: &[usize], starts: &[i32], room: i64| {
        Case::new(NAME, 1).domain(DOMAIN).int("room", room).rand(d, new).value(Tensor::vector(starts))
    };
    let mut all: Vec<Case> =
        [F32, F16, BF16, I64, U8].iter().map(|d| case(*d, &[2, 3, 1, 8], &[4, 2], 5).rand(*d, &[2, 3, 4, 8])).collect();
    all.extend([
        case(F32, &[2, 3, 3, 5], &[4, 2], 9).rand(F32, &[2, 3, 4, 5]),
        case(F32, &[2, 1, 3, 8], &[4, 9], 6).rand(F32, &[2, 1, 8, 8]),
        case(F16, &[1, 2, 2, 4], &[-3], 3).rand(F16, &[1, 2, 7, 4]),
        case(F32, &[2, 2, 3, 4], &[0, 1], 5),
        case(F32, &[1, 2, 1, 4], &[0], 3).rand(F32, &[1, 2, 0, 4]),
        case(F32, &[0, 2, 1, 4], &[], 3),
        case(F32, &[1, 2, 1, 4], &[0], 0),
        case(F32, &[3, 37, 1, 64], &[60, 7, 0], 61).rand(F32, &[3, 37, 60, 64]),
    ]);
    all
}
