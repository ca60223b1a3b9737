//! What the classifiers of ai.onnx.ml share: labels, and what is made of scores.

use super::Case;
use crate::dtype::DType;
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::elementwise::apply;
use crate::kernels::gather::gather;
use crate::kernels::norm::{Soft, softmax};
use crate::kernels::reduce::arg;
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure};

/// The names of classes.
#[derive(Debug)]
pub enum Labels {
    /// Numbers.
    Ints(Vec<i64>),
    /// Strings.
    Texts(Vec<String>),
}

impl Labels {
    /// The labels of whichever attribute is there.
    ///
    /// # Errors
    /// `InvalidNode` when there is not just one of the two.
    pub fn read(a: &AttrReader<'_>, ints: &str, texts: &str) -> Result<Labels> {
        match (a.ints(ints)?.filter(|l| !l.is_empty()), a.strings(texts)?.filter(|l| !l.is_empty())) {
            (Some(l), None) => Ok(Labels::Ints(l)),
            (None, Some(l)) => Ok(Labels::Texts(l)),
            _ => bail!(InvalidNode, "expected one of attributes {ints} and {texts}"),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Labels::Ints(l) => l.len(),
            Labels::Texts(l) => l.len(),
        }
    }

    /// Their element type.
    pub fn dtype(&self) -> DType {
        match self {
            Labels::Ints(_) => DType::I64,
            Labels::Texts(_) => DType::String,
        }
    }

    /// The labels of these classes, rank 1.
    ///
    /// # Errors
    /// `InvalidNode` for a class without a label.
    pub fn pick(&self, classes: &[usize]) -> Result<Tensor> {
        let (len, most) = (self.len(), classes.iter().max().copied().unwrap_or(0));
        ensure!(classes.is_empty() || most < len, InvalidNode, "class {most} of {len} labels");
        match self {
            Labels::Ints(l) => Tensor::new([classes.len()], classes.iter().map(|c| l[*c]).collect()),
            Labels::Texts(l) => Tensor::from_strings([classes.len()], classes.iter().map(|c| l[*c].clone()).collect()),
        }
    }
}

/// What is made of the scores of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Nothing.
    None,
    /// `exp(x) / Σ exp(x)`
    Softmax,
    /// `1 / (1 + exp(-x))`
    Logistic,
    /// Softmax of what is not 0.
    SoftmaxZero,
    /// The inverse of the normal distribution.
    Probit,
}

impl Post {
    /// Attribute `post_transform`.
    ///
    /// # Errors
    /// `InvalidNode` for an unknown name.
    pub fn read(a: &AttrReader<'_>) -> Result<Post> {
        Ok(match a.string_or("post_transform", "NONE".into())?.as_str() {
            "NONE" => Post::None,
            "SOFTMAX" => Post::Softmax,
            "LOGISTIC" => Post::Logistic,
            "SOFTMAX_ZERO" => Post::SoftmaxZero,
            "PROBIT" => Post::Probit,
            other => bail!(InvalidNode, "attribute post_transform is {other:?}"),
        })
    }

    /// By the numbers of `TreeEnsemble`.
    ///
    /// # Errors
    /// `InvalidNode` for an unknown number.
    pub fn numbered(n: i64) -> Result<Post> {
        Ok(match n {
            0 => Post::None,
            1 => Post::Softmax,
            2 => Post::Logistic,
            3 => Post::SoftmaxZero,
            4 => Post::Probit,
            other => bail!(InvalidNode, "attribute post_transform is {other}"),
        })
    }

    /// Applies it to the scores of a row.
    pub fn apply(self, row: &mut [f64]) {
        match self {
            Post::None => {}
            Post::Logistic => row.iter_mut().for_each(|x| *x = logistic(*x)),
            Post::Probit => row.iter_mut().for_each(|x| *x = probit(*x)),
            Post::Softmax | Post::SoftmaxZero => {
                let counts = |x: f64| self == Post::Softmax || x.abs() > 1e-7;
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter_mut().for_each(|x| *x = if counts(*x) { (*x - top).exp() } else { 0.0 });
                let sum: f64 = row.iter().sum();
                if sum > 0.0 {
                    row.iter_mut().for_each(|x| *x /= sum);
                }
            }
        }
    }
}

impl Post {
    /// Whether [`Post::lower`] can do it.
    pub fn has_gpu_form(self) -> bool {
        matches!(self, Post::None | Post::Logistic | Post::Softmax)
    }

    /// Dense `out` of dense `scores`, both `[n, targets]`.
    ///
    /// # Errors
    /// `Unsupported` where there is no GPU form; those of the dispatches.
    pub fn lower(self, cx: &mut LowerCx<'_>, scores: &View, out: &View) -> Result<()> {
        match self {
            Post::Softmax => softmax(cx, Soft::Max, scores, [scores.shape[0], scores.shape[1], 1], (out, None)),
            Post::Logistic => apply(cx, "logistic", std::slice::from_ref(scores), out, |e, args| {
                Ok(e.expr(DType::F32, format!("f32_sigmoid({})", args[0].name)))
            }),
            Post::None => apply(cx, "scores", std::slice::from_ref(scores), out, |_, args| Ok(args[0].clone())),
            other => bail!(Unsupported, "{other:?} on the device"),
        }
    }
}

/// A classifier's outputs, labels and transformed scores, of dense `scores` `[n, targets]`. `one`: two classes, of which
/// only the second has a score; it is chosen above this threshold, and the score is a probability or not.
///
/// # Errors
/// `Unsupported` for labels that are strings and transforms without a GPU form; those of the dispatches.
pub fn lower_classes(
    cx: &mut LowerCx<'_>,
    scores: &View,
    labels: &Labels,
    post: Post,
    one: Option<(f32, bool)>,
) -> Result<()> {
    let Labels::Ints(labels) = labels else { bail!(Unsupported, "labels that are strings") };
    let n = scores.shape[0];
    let single = std::slice::from_ref(scores);
    if cx.has_output(0) {
        let (names, out) = (cx.constant(Tensor::vector(labels))?, cx.output(0)?);
        let chosen = cx.temp(DType::I64, &[n, 1])?;
        match one {
            Some((threshold, _)) => apply(cx, "above", single, &chosen, |e, args| {
                let above = e.expr(DType::Bool, format!("u32(f32_gt({}, {threshold:?}))", args[0].name));
                e.cast(&above, DType::I64)
            })?,
            None => arg(cx, true, false, scores, 1, &chosen)?,
        }
        gather(cx, &names, 0, &chosen, &out)?;
    }
    if !cx.has_output(1) {
        return Ok(());
    }
    let out = cx.output(1)?;
    let Some((_, probability)) = one else { return post.lower(cx, scores, &out) };
    for second in [false, true] {
        let made = cx.temp(DType::F32, &[n, 1])?;
        let sign = if second { 1.0f32 } else { -1.0 };
        apply(cx, "two classes", single, &made, |e, args| {
            let x = &args[0].name;
            let other = if second { x.clone() } else { format!("1.0 - {x}") };
            Ok(e.expr(
                DType::F32,
                match (post, probability) {
                    (Post::Logistic, _) => format!("f32_sigmoid({sign:?} * {x})"),
                    (Post::Softmax, true) => format!("f32_sigmoid({sign:?} * (2.0 * {x} - 1.0))"),
                    (Post::Softmax, false) => format!("f32_sigmoid({:?} * {x})", 2.0 * sign),
                    (_, true) => other,
                    (_, false) => format!("{sign:?} * {x}"),
                },
            ))
        })?;
        copy(cx, &made, &out.sliced(1, usize::from(second), 1, 1))?;
    }
    Ok(())
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// √2 erf⁻¹(2x - 1), by Winitzki's approximation ("A handy approximation for the error function and its inverse", 2008),
/// which is what ONNX Runtime gives.
fn probit(x: f64) -> f64 {
    let y = 2.0 * x - 1.0;
    let log = (1.0 - y * y).ln();
    let v = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * log;
    let root = (v * v - log / 0.147).sqrt();
    std::f64::consts::SQRT_2 * y.signum() * (root - v).sqrt()
}

/// The scores of two classes where only the second has one.
pub fn binary(post: Post, score: f64, probability: bool) -> [f64; 2] {
    match (post, probability) {
        (Post::Logistic, _) => [logistic(-score), logistic(score)],
        (Post::Probit, _) => [1.0 - probit(score), probit(score)],
        (Post::Softmax | Post::SoftmaxZero, probability) => {
            let mut both = if probability { [1.0 - score, score] } else { [-score, score] };
            post.apply(&mut both);
            both
        }
        (Post::None, true) => [1.0 - score, score],
        (Post::None, false) => [-score, score],
    }
}

/// The first of the greatest.
pub fn greatest(scores: &[f64]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// A case of domain ai.onnx.ml.
pub fn case(op: &'static str, version: i64) -> Case {
    Case::new(op, version).domain("ai.onnx.ml")
}
