//! NonMaxSuppression.

use std::sync::Arc;

use super::bounded::{Bounded, padded};
use super::eval::{need, opt};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{F32, I32, I64};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::boxes::{Boxes, select};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "NonMaxSuppression", versions: &[10, 11], parse, cases }];

/// The best boxes of each class that overlap no better one by more than a threshold.
#[derive(Debug, Clone, Copy)]
struct Suppression {
    /// Boxes as center and size instead of two corners.
    centers: bool,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Suppression { centers: a.flag_or("center_point_box", false)? }))
}

fn cases() -> Vec<Case> {
    let boxes = |batches: usize, n: usize, classes: usize| {
        let c = Case::new("NonMaxSuppression", 11).range(F32, &[batches, n, 4], 0.0, 1.0);
        c.range(F32, &[batches, classes, n], 0.0, 1.0)
    };
    let with = |c: Case, n: i64, overlap: f32, least: f32| {
        c.constant(Tensor::scalar(n)).constant(Tensor::scalar(overlap)).constant(Tensor::scalar(least))
    };
    let scores = [0.5f32, -0.0, 0.0, 0.5, f32::NAN, f32::INFINITY, -f32::NAN, 1e-40, f32::NEG_INFINITY, 0.5];
    let odd = || Case::new("NonMaxSuppression", 11).range(F32, &[1, 10, 4], 0.0, 3.0);
    let score = Tensor::vector(&scores).reshaped([1, 1, 10]).unwrap_or_else(|_| Tensor::vector(&scores));
    vec![
        with(boxes(2, 9, 3), 4, 0.3, 0.2),
        with(boxes(2, 9, 3), 0, 0.3, 0.2),
        with(boxes(2, 9, 3), -1, 0.3, 0.2),
        with(boxes(2, 9, 3), 20, 0.3, 0.2).int("center_point_box", 1),
        with(boxes(1, 1, 1), i64::MAX, 0.3, 0.2),
        with(boxes(1, 0, 2), 3, 0.3, 0.2),
        with(boxes(0, 5, 2), 3, 0.3, 0.2),
        with(boxes(2, 5, 0), 3, 0.3, 0.2),
        with(boxes(1, 257, 2), 30, 0.5, 0.0),
        with(boxes(3, 1031, 2), 2000, 0.9, 0.1),
        with(boxes(1, 70_001, 1), 5, 0.1, 0.0),
        // more selections than one dispatch makes
        with(boxes(1, 2900, 1), 3000, 1.0, 0.0),
        with(boxes(1, 4, 70_000), 1, 0.5, 0.5),
        boxes(2, 9, 3),
        boxes(2, 9, 3).constant(Tensor::vector(&[4i64])),
        boxes(2, 9, 3).value(Tensor::vector(&[4i64])).value(Tensor::vector(&[0.4f32])),
        boxes(2, 9, 3).value(Tensor::scalar(3i64)).absent().value(Tensor::scalar(0.5f32)),
        boxes(2, 9, 3).constant(Tensor::scalar(3i64)).value(Tensor::scalar(0.0f32)).constant(Tensor::vector(&[0.5f32])),
        odd().value(score.clone()).constant(Tensor::scalar(10i64)).constant(Tensor::scalar(1.0f32)),
        with(odd().value(score), 10, 1.0, 0.0),
    ]
}

/// Low corner, high corner, area.
#[derive(Debug, Clone, Copy)]
struct Rect {
    low: [f32; 2],
    high: [f32; 2],
    area: f32,
}

impl Suppression {
    fn rect(&self, b: &[f32]) -> Rect {
        let (low, high) = if self.centers {
            // x, y, width, height
            let half = [b[2] / 2.0, b[3] / 2.0];
            ([b[0] - half[0], b[1] - half[1]], [b[0] + half[0], b[1] + half[1]])
        } else {
            // two corners in any order
            ([b[0].min(b[2]), b[1].min(b[3])], [b[0].max(b[2]), b[1].max(b[3])])
        };
        Rect { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }
}

/// The area of both over that of either; 0 for boxes without area. Rounded as boxes and thresholds are, so that seven
/// tenths are no more than a threshold of seven tenths.
fn overlap(a: &Rect, b: &Rect) -> f32 {
    let side = |d: usize| (a.high[d].min(b.high[d]) - a.low[d].max(b.low[d])).max(0.0);
    let both = side(0) * side(1);
    if a.area <= 0.0 || b.area <= 0.0 { 0.0 } else { both / (a.area + b.area - both) }
}

fn first(t: Option<&Tensor>, default: f64) -> Result<f64> {
    match t {
        None => Ok(default),
        Some(t) if t.dtype().is_float() => Ok(t.to_f64s()?.first().copied().unwrap_or(default)),
        Some(t) => Ok(t.to_i64s()?.first().map_or(default, |v| *v as f64)),
    }
}

/// Batches, boxes of each, and classes.
fn sizes(boxes: &[usize], scores: &[usize]) -> Result<[usize; 3]> {
    match (boxes, scores) {
        (&[batches, n, 4], &[of_batches, classes, of_boxes]) if batches == of_batches && n == of_boxes => {
            Ok([batches, n, classes])
        }
        _ => bail!(
            InvalidNode,
            "expected boxes [batches, n, 4] and scores [batches, classes, n], got {boxes:?} and {scores:?}"
        ),
    }
}

/// How many boxes of a class are selected at most.
fn number(t: Option<&Tensor>) -> Result<usize> {
    Ok(first(t, 0.0)?.max(0.0) as usize)
}

/// The overlap beyond which a box gives way.
fn overlap_limit(t: Option<&Tensor>) -> Result<f32> {
    let limit = first(t, 0.0)? as f32;
    ensure!((0.0..=1.0).contains(&limit), InvalidNode, "expected iou_threshold from 0 to 1, got {limit}");
    Ok(limit)
}

impl Op for Suppression {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        // nothing is asked for unless a number of boxes is
        if !cx.has(2) {
            return Ok(vec![TensorType::new(I64, [0, 3])]);
        }
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (boxes, scores) = (need(inputs, 0)?, need(inputs, 1)?);
        let [batches, count, classes] = sizes(boxes.shape(), scores.shape())?;
        let most = number(opt(inputs, 2))?;
        let threshold = overlap_limit(opt(inputs, 3))?;
        let least = opt(inputs, 4).map(|t| first(Some(t), f64::NEG_INFINITY)).transpose()?;
        let boxes: Vec<f32> = boxes.to_f64s()?.into_iter().map(|x| x as f32).collect();
        let rects: Vec<Rect> = boxes.chunks(4).map(|b| self.rect(b)).collect();
        let scores = scores.to_f64s()?;
        let mut kept = vec![];
        for b in 0..batches {
            for c in 0..classes {
                let score = |i: usize| scores[(b * classes + c) * count + i];
                let mut order: Vec<usize> = (0..count).filter(|i| least.is_none_or(|l| score(*i) > l)).collect();
                order.sort_by(|i, j| score(*j).total_cmp(&score(*i)));
                let mut best: Vec<usize> = vec![];
                for i in order {
                    if best.len() == most {
                        break;
                    }
                    let rect = |i: usize| &rects[b * count + i];
                    if best.iter().all(|k| overlap(rect(*k), rect(i)) <= threshold) {
                        best.push(i);
                    }
                }
                kept.extend(best.into_iter().flat_map(|i| [b as i64, c as i64, i as i64]));
            }
        }
        let rows = kept.len() / 3;
        Ok(vec![Tensor::new([rows, 3], kept).map_err(|e| err!(Internal, "{e}"))?])
    }

    fn bounded(&self, _: &[bool]) -> Option<Bounded> {
        Some(Bounded { op: Arc::new(SuppressionMost(*self)), axes: vec![Some(0)] })
    }
}

/// All boxes that may be left, and how many are.
#[derive(Debug)]
struct SuppressionMost(Suppression);

impl Op for SuppressionMost {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let [batches, n, classes] = sizes(cx.shape(0)?, cx.shape(1)?)?;
        let most = if cx.has(2) { number(Some(cx.value(2)?))? } else { 0 };
        let rows = batches * classes * most.min(n);
        Ok(vec![TensorType::new(I64, [rows, 3]), TensorType::new(I32, [])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let [batches, n, classes] = sizes(need(inputs, 0)?.shape(), need(inputs, 1)?.shape())?;
        let rows = batches * classes * number(opt(inputs, 2))?.min(n);
        let [kept] = &self.0.eval(inputs)?[..] else { bail!(Internal, "NonMaxSuppression has one result") };
        Ok(vec![padded(kept, 0, rows)?, Tensor::scalar(kept.shape()[0] as i32)])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        // where it is known before the run, a threshold out of range is an error here as it is in the reference
        overlap_limit(cx.value(3))?;
        for i in (0..5).filter(|i| *i != 2 && cx.has_input(*i)) {
            let dtype = cx.input_type(i)?.dtype;
            ensure!(dtype == F32, Unsupported, "input {i} of type {dtype}");
        }
        let triples = if cx.has_output(0) {
            cx.output(0)?
        } else {
            bail!(Unsupported, "boxes that nobody asks for");
        };
        if triples.numel() == 0 {
            let none = cx.constant(Tensor::scalar(0i32))?;
            return cx.alias(1, none);
        }
        let (boxes, scores) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let [batches, _, classes] = sizes(&boxes.shape, &scores.shape)?;
        let overlap = match number_input(cx, 3)? {
            Some(v) => v,
            None => cx.constant(Tensor::scalar(0f32))?,
        };
        let least = if cx.has_input(4) {
            let given = number_input(cx, 4)?;
            Some(given.map_or_else(|| cx.constant(Tensor::scalar(f32::NEG_INFINITY)), Ok)?)
        } else {
            None
        };
        let most = triples.shape[0] / (batches * classes);
        let how = Boxes {
            boxes: &boxes,
            scores: &scores,
            overlap: &overlap,
            least: least.as_ref(),
            centers: self.0.centers,
            most,
        };
        let count = select(cx, &how, &triples)?;
        cx.alias(1, count)
    }
}

/// Input `i`, unless it is left out or empty.
fn number_input(cx: &mut LowerCx<'_>, i: usize) -> Result<Option<View>> {
    if !cx.has_input(i) || cx.input_type(i)?.numel() == 0 {
        return Ok(None);
    }
    cx.dense_input(i).map(Some)
}
