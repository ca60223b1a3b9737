//! NonMaxSuppression. How many boxes are left only the data tells, so it runs on the host.

use std::sync::Arc;

use super::eval::{need, opt};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{F32, I64};
use crate::ir::{AttrReader, TensorType};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "NonMaxSuppression", versions: &[10, 11], parse, cases }];

/// The best boxes of each class that overlap no better one by more than a threshold.
#[derive(Debug)]
struct Suppression {
    /// Boxes as center and size instead of two corners.
    centers: bool,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Suppression { centers: a.flag_or("center_point_box", false)? }))
}

fn cases() -> Vec<Case> {
    let case = |n: i64| {
        let c = Case::new("NonMaxSuppression", 11).range(F32, &[2, 9, 4], 0.0, 1.0).range(F32, &[2, 3, 9], 0.0, 1.0);
        c.constant(Tensor::scalar(n)).constant(Tensor::scalar(0.3f32)).constant(Tensor::scalar(0.2f32))
    };
    vec![case(4), case(0), case(20).int("center_point_box", 1)]
}

/// Low corner, high corner, area.
#[derive(Debug, Clone, Copy)]
struct Rect {
    low: [f64; 2],
    high: [f64; 2],
    area: f64,
}

impl Suppression {
    fn rect(&self, b: &[f64]) -> Rect {
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

/// The area of both over that of either; 0 for boxes without area.
fn overlap(a: &Rect, b: &Rect) -> f64 {
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
        let (&[batches, count, 4], &[of_batches, classes, of_boxes]) = (boxes.shape(), scores.shape()) else {
            bail!(InvalidNode, "boxes {:?} and scores {:?}", boxes.shape(), scores.shape())
        };
        let fits = batches == of_batches && count == of_boxes;
        ensure!(fits, InvalidNode, "boxes {:?} and scores {:?}", boxes.shape(), scores.shape());
        let most = first(opt(inputs, 2), 0.0)?.max(0.0) as usize;
        let threshold = first(opt(inputs, 3), 0.0)?;
        ensure!((0.0..=1.0).contains(&threshold), InvalidNode, "iou_threshold is {threshold}");
        let least = opt(inputs, 4).map(|t| first(Some(t), f64::NEG_INFINITY)).transpose()?;
        let rects: Vec<Rect> = boxes.to_f64s()?.chunks(4).map(|b| self.rect(b)).collect();
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

    fn on_host(&self) -> bool {
        true
    }
}
