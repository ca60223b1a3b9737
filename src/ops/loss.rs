//! Losses against class labels: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss.

use std::sync::Arc;

use super::eval::{need, opt};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::elementwise::{Emit, map};
use crate::kernels::norm::{self, Soft};
use crate::kernels::{loss, reduce};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, shape};

const NLL: &str = "NegativeLogLikelihoodLoss";
const CROSS: &str = "SoftmaxCrossEntropyLoss";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "", name: NLL, versions: &[12, 13, 22], parse: |a, n| parse(false, a, n), cases: || cases(NLL) },
    OpDef { domain: "", name: CROSS, versions: &[12, 13], parse: |a, n| parse(true, a, n), cases: || cases(CROSS) },
];

/// What is made of the samples' losses.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

/// Minus the log-probability of the labelled class, of `[n, classes, …]` and labels `[n, …]`; `softmax` makes
/// log-probabilities of scores first.
#[derive(Debug)]
struct Loss {
    softmax: bool,
    reduction: Reduction,
    ignore: Option<i64>,
}

fn parse(softmax: bool, a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let reduction = match a.string_or("reduction", "mean".into())?.as_str() {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => bail!(InvalidNode, "attribute reduction: expected none, sum or mean, got {other}"),
    };
    Ok(Arc::new(Loss { softmax, reduction, ignore: a.int("ignore_index")? }))
}

/// Samples, classes and elements of a class's slice; the shapes must fit.
fn extents(x: &[usize], targets: &[usize], weight: Option<&[usize]>) -> Result<[usize; 3]> {
    let [n, classes, rest @ ..] = x else { bail!(InvalidNode, "scores of {x:?} have no dim of classes") };
    let fits = targets.split_first().is_some_and(|(first, others)| first == n && others == rest);
    ensure!(fits, InvalidNode, "labels of {targets:?} do not fit scores of {x:?}");
    if let Some(w) = weight {
        ensure!(w == [*classes], InvalidNode, "weights of {w:?} for {classes} classes");
    }
    Ok([*n, *classes, shape::numel(rest)])
}

fn log_softmax(x: &[f64], [n, classes, inner]: [usize; 3]) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for row in 0..n * inner {
        let at = |c: usize| (row / inner * classes + c) * inner + row % inner;
        let max = (0..classes).map(|c| x[at(c)]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..classes).map(|c| (x[at(c)] - max).exp()).sum();
        (0..classes).for_each(|c| y[at(c)] = x[at(c)] - max - sum.ln());
    }
    y
}

impl Op for Loss {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        extents(&x.shape, cx.shape(1)?, cx.try_input(2).map(|t| t.shape.as_slice()))?;
        let shape = if self.reduction == Reduction::None { cx.shape(1)?.to_vec() } else { vec![] };
        let mut outputs = vec![TensorType::new(x.dtype, shape)];
        if self.softmax {
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, targets, weight) = (need(inputs, 0)?, need(inputs, 1)?, opt(inputs, 2));
        let dims = extents(x.shape(), targets.shape(), weight.map(Tensor::shape))?;
        let [_, classes, inner] = dims;
        let weights = weight.map(Tensor::to_f64s).transpose()?;
        let mut scores = x.to_f64s()?;
        if self.softmax {
            scores = log_softmax(&scores, dims);
        }
        let (mut losses, mut total) = (vec![], 0.0);
        for (i, label) in targets.to_i64s()?.into_iter().enumerate() {
            if self.ignore == Some(label) {
                losses.push(0.0);
                continue;
            }
            let class = usize::try_from(label).ok().filter(|c| *c < classes);
            let Some(c) = class else { bail!(InvalidInput, "label {label} is outside 0..{classes}") };
            let w = weights.as_ref().map_or(1.0, |w| w[c]);
            losses.push(-scores[(i / inner * classes + c) * inner + i % inner] * w);
            total += w;
        }
        let sum: f64 = losses.iter().sum();
        let d = x.dtype();
        let mut outputs = vec![match self.reduction {
            Reduction::None => Tensor::from_f64s(d, targets.shape(), losses)?,
            Reduction::Sum => Tensor::from_f64s(d, [], vec![sum])?,
            Reduction::Mean => Tensor::from_f64s(d, [], vec![sum / total])?,
        }];
        if self.softmax {
            outputs.push(Tensor::from_f64s(d, x.shape(), scores)?);
        }
        Ok(outputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (mut x, targets) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let weight = if cx.has_input(2) { Some(cx.dense_input(2)?) } else { None };
        let [n, classes, inner] = extents(&x.shape, &targets.shape, weight.as_ref().map(|w| w.shape.as_slice()))?;
        if self.softmax {
            let y = if cx.has_output(1) { cx.output(1)? } else { cx.temp(x.dtype, &x.shape)? };
            norm::softmax(cx, Soft::Log, &x, [n, classes, inner], (&y, None))?;
            x = y;
        }
        if !cx.has_output(0) {
            return Ok(());
        }
        let samples =
            loss::Samples { x: &x, targets: &targets, weight: weight.as_ref(), ignore: self.ignore, classes, inner };
        let count = targets.numel();
        match self.reduction {
            Reduction::None => {
                let out = cx.output(0)?;
                loss::loss(cx, &samples, false, &out)
            }
            Reduction::Sum => {
                let losses = cx.temp(F32, &[count])?;
                loss::loss(cx, &samples, false, &losses)?;
                let out = cx.output(0)?;
                reduce::reduce(cx, reduce::Fold::Sum, &losses, &[0], &out)
            }
            Reduction::Mean => {
                let losses = cx.temp(F32, &[2, count])?;
                loss::loss(cx, &samples, true, &losses)?;
                let sums = cx.temp(F32, &[2])?;
                reduce::reduce(cx, reduce::Fold::Sum, &losses, &[1], &sums)?;
                let out = cx.output(0)?;
                quotient(cx, &sums, &out)
            }
        }
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 32.0 + (k as f64).sqrt())
    }
}

/// The first of two sums divided by the second.
fn quotient(cx: &mut LowerCx<'_>, sums: &View, out: &View) -> Result<()> {
    let profile = cx.profile().clone();
    let mut e = Emit::new(&profile);
    // of no samples at all there is no mean, on every driver
    let q = e.expr(F32, "select(x0 / x1, f32_nan(), x0 == 0.0 && x1 == 0.0)");
    let y = e.cast(&q, out.dtype)?;
    let part = |k: usize| View { shape: vec![], strides: vec![], ..sums.sliced(0, k, 1, 1) };
    map(cx, "quotient", e.body(), &y, &[part(0), part(1)], out)
}

fn cases(name: &'static str) -> Vec<Case> {
    let outputs = if name == CROSS { 2 } else { 1 };
    // log-probabilities are negative, so that sums of them do not cancel
    let case = |opset: i64, d: DType, x: &[usize], index: DType| {
        let targets: Vec<usize> = x.iter().take(1).chain(x.iter().skip(2)).copied().collect();
        let c = Case::new(name, opset).range(d, x, -3.0, -0.1).range(index, &targets, 0.0, x[1] as f64);
        c.outputs(outputs).sum(shape::numel(&targets).max(1))
    };
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for reduction in ["none", "sum", "mean"] {
            let c = || case(13, d, &[3, 5, 7], I64).string("reduction", reduction);
            all.push(c());
            all.push(c().range(d, &[5], 0.5, 2.0).int("ignore_index", 2));
        }
    }
    for reduction in ["none", "sum", "mean"] {
        for s in [&[1, 1][..], &[67, 3], &[0, 4], &[2, 3, 0], &[2, 4, 3, 2, 2, 2]] {
            all.push(case(12, F32, s, I32).string("reduction", reduction).range(F32, &[s[1]], 0.5, 2.0));
        }
        let far = Tensor::vector(&[-5i64, 1, -5, 0]);
        let c = Case::new(name, 13).range(F32, &[4, 3], -3.0, -0.1).value(far).int("ignore_index", -5);
        all.push(c.string("reduction", reduction).outputs(outputs));
        let none = Tensor::vector(&[7i32, 7]);
        let c = Case::new(name, 13).range(F32, &[2, 3], -3.0, -0.1).value(none).int("ignore_index", 7);
        all.push(c.string("reduction", reduction).outputs(outputs));
        // no classes, and nothing of any
        let none = Tensor::vector(&[7i32, 7]);
        let c = Case::new(name, 13).range(F32, &[2, 0], -3.0, -0.1).value(none).int("ignore_index", 7);
        all.push(c.string("reduction", reduction).outputs(outputs));
    }
    all.push(case(13, F32, &[2, 11, 5003], I64));
    all.push(case(13, F32, &[3, 9001], I32).outputs(1));
    all
}
