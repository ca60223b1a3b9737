//! CausalConvWithState.

use std::sync::Arc;

use super::eval::{need, opt};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::{causal_conv, copy};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure};

const NAME: &str = "CausalConvWithState";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: NAME, versions: &[27], parse, cases }];

/// A depthwise convolution of `[batch, channels, length]` that looks back only; the last elements are kept for the
/// next call.
#[derive(Debug)]
struct CausalConv {
    silu: bool,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let silu = match a.string_or("activation", "none".into())?.as_str() {
        "none" => false,
        "silu" | "swish" => true,
        other => bail!(InvalidNode, "attribute activation: expected none, silu or swish, got {other}"),
    };
    Ok(Arc::new(CausalConv { silu }))
}

/// The shape of the state, and the kernel's length; the shapes must fit.
fn extents(
    x: &[usize],
    weight: &[usize],
    bias: Option<&[usize]>,
    past: Option<&[usize]>,
) -> Result<([usize; 3], usize)> {
    let &[batch, channels, _] = x else { bail!(InvalidNode, "expected [batch, channels, length], got {x:?}") };
    let &[c, 1, taps] = weight else { bail!(InvalidNode, "expected weights [channels, 1, k], got {weight:?}") };
    ensure!(c == channels && taps > 0, InvalidNode, "weights {weight:?} for {channels} channels");
    let state = [batch, channels, taps - 1];
    ensure!(bias.is_none_or(|b| b == [channels]), InvalidNode, "bias {bias:?} for {channels} channels");
    ensure!(past.is_none_or(|p| p == state), InvalidNode, "expected a state {state:?}, got {past:?}");
    Ok((state, taps))
}

impl Op for CausalConv {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        let shape = |i: usize| cx.try_input(i).map(|t| t.shape.as_slice());
        let (state, _) = extents(&x.shape, cx.shape(1)?, shape(2), shape(3))?;
        Ok(vec![x.clone(), TensorType::new(x.dtype, state)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, weight, bias, past) = (need(inputs, 0)?, need(inputs, 1)?, opt(inputs, 2), opt(inputs, 3));
        let shapes = [bias.map(Tensor::shape), past.map(Tensor::shape)];
        let (state, taps) = extents(x.shape(), weight.shape(), shapes[0], shapes[1])?;
        let [batch, channels, kept] = state;
        let (length, d) = (x.shape()[2], x.dtype());
        let (v, w) = (x.to_f64s()?, weight.to_f64s()?);
        let bias = bias.map_or(Ok(vec![0.0; channels]), Tensor::to_f64s)?;
        let past = past.map_or(Ok(vec![0.0; batch * channels * kept]), Tensor::to_f64s)?;
        let (mut y, mut present) = (vec![], vec![]);
        for row in 0..batch * channels {
            let c = row % channels;
            let mut all = past[row * kept..(row + 1) * kept].to_vec();
            all.extend(&v[row * length..(row + 1) * length]);
            for t in 0..length {
                let sum = bias[c] + (0..taps).map(|k| w[c * taps + k] * all[t + k]).sum::<f64>();
                y.push(if self.silu { sum / (1.0 + (-sum).exp()) } else { sum });
            }
            present.extend(&all[length..]);
        }
        Ok(vec![Tensor::from_f64s(d, x.shape(), y)?, Tensor::from_f64s(d, state, present)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, weight) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let bias = if cx.has_input(2) { Some(cx.dense_input(2)?) } else { None };
        let past = if cx.has_input(3) { Some(cx.dense_input(3)?) } else { None };
        if cx.has_output(0) {
            let out = cx.output(0)?;
            // an empty state cannot be read
            let past = past.as_ref().filter(|p| p.numel() > 0);
            causal_conv::causal_conv(cx, self.silu, &x, &weight, [bias.as_ref(), past], &out)?;
        }
        if cx.has_output(1) {
            keep(cx, &x, past.as_ref(), weight.shape[2] - 1)?;
        }
        Ok(())
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 8.0 + (k as f64).sqrt())
    }
}

/// Makes output 1 of the last `kept` elements of the state before and the input.
fn keep(cx: &mut LowerCx<'_>, x: &View, past: Option<&View>, kept: usize) -> Result<()> {
    let length = x.shape[2];
    if length >= kept {
        return cx.alias(1, x.sliced(2, length - kept, 1, kept));
    }
    let out = cx.output(1)?;
    let old = out.sliced(2, 0, 1, kept - length);
    let from = match past {
        Some(p) => p.sliced(2, length, 1, kept - length),
        None => cx.constant(Tensor::zeros(x.dtype, []))?.broadcast(&old.shape),
    };
    copy::copy(cx, &from, &old)?;
    copy::copy(cx, x, &out.sliced(2, kept - length, 1, length))
}

fn cases() -> Vec<Case> {
    let case =
        |d, [b, c, l, k]: [usize; 4]| Case::new(NAME, 27).rand(d, &[b, c, l]).rand(d, &[c, 1, k]).outputs(2).sum(k);
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for activation in ["none", "silu", "swish"] {
            let c = || case(d, [2, 3, 37, 4]).string("activation", activation);
            all.extend([
                c(),
                c().rand(d, &[3]),
                c().absent().rand(d, &[2, 3, 3]),
                c().rand(d, &[3]).rand(d, &[2, 3, 3]),
            ]);
        }
    }
    for size in [[1, 1, 1, 1], [2, 3, 1, 4], [2, 3, 2, 4], [2, 3, 3, 4], [1, 67, 5, 1], [0, 3, 4, 2], [2, 3, 0, 3]] {
        let [b, c, _, k] = size;
        all.push(case(F32, size));
        all.push(case(F32, size).absent().rand(F32, &[b, c, k - 1]));
    }
    all
}
