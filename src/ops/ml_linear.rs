//! Linear models and support vector machines of ai.onnx.ml.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::ml_scores::{Labels, Post, binary, case, greatest, lower_classes};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, F32};
use crate::ir::{Attr, AttrReader, TensorType};
use crate::kernels::elementwise::apply;
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

const fn row(name: &'static str, parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "ai.onnx.ml", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("LinearRegressor", parse_linear_regressor, linear_regressor_cases),
    row("LinearClassifier", parse_linear_classifier, linear_classifier_cases),
    row("SVMRegressor", parse_svm_regressor, svm_regressor_cases),
    row("SVMClassifier", parse_svm_classifier, svm_classifier_cases),
];

fn wide(list: Option<Vec<f32>>) -> Vec<f64> {
    list.unwrap_or_default().into_iter().map(f64::from).collect()
}

/// Rows of features: `[n, features]`, or one row.
fn rows(x: &Tensor) -> Result<(usize, usize, Vec<f64>)> {
    let values = if x.dtype().is_float() { x.to_f64s()? } else { x.to_i64s()?.into_iter().map(|v| v as f64).collect() };
    match x.shape() {
        [n, f] => Ok((*n, *f, values)),
        [f] => Ok((1, *f, values)),
        other => bail!(InvalidNode, "expected rows of features, got {other:?}"),
    }
}

fn row_count(cx: &InferCx<'_>) -> Result<usize> {
    match cx.shape(0)? {
        [n, _] => Ok(*n),
        [_] => Ok(1),
        other => bail!(InvalidNode, "expected rows of features, got {other:?}"),
    }
}

fn features(cx: &InferCx<'_>) -> Result<usize> {
    Ok(cx.shape(0)?.last().copied().unwrap_or(0))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `x · coefficientsᵀ + intercepts`, one column a target.
#[derive(Debug)]
struct Linear {
    coefficients: Vec<f64>,
    intercepts: Vec<f64>,
    targets: usize,
    post: Post,
}

impl Linear {
    fn scores(&self, row: &[f64]) -> Result<Vec<f64>> {
        let f = row.len();
        self.check(f)?;
        let at = |t: usize| {
            dot(&self.coefficients[t * f..(t + 1) * f], row) + self.intercepts.get(t).copied().unwrap_or(0.0)
        };
        Ok((0..self.targets).map(at).collect())
    }
}

impl Linear {
    /// Models with more coefficients than their features use are about; as in ONNX Runtime the first ones count.
    fn check(&self, f: usize) -> Result<()> {
        let n = self.coefficients.len();
        ensure!(
            f > 0 && n / f >= self.targets,
            InvalidNode,
            "{n} coefficients for {} targets of {f} features",
            self.targets
        );
        Ok(())
    }

    /// The scores of input 0 before any transform: `[n, targets]` in float.
    fn product(&self, cx: &mut LowerCx<'_>) -> Result<View> {
        let x = cx.input(0)?;
        let f = x.shape.last().copied().unwrap_or(1);
        self.check(f)?;
        let n = x.numel().checked_div(f).unwrap_or(0);
        let x = x.reshaped(&[n, f]).ok_or_else(|| err!(Unsupported, "rows of {:?}", x.shape))?;
        let rows = cx.temp(F32, &[n, f])?;
        apply(cx, "Cast", &[x], &rows, |e, args| e.cast(&args[0], F32))?;
        let narrow = |list: &[f64], len: usize| -> Vec<f32> {
            (0..len).map(|i| list.get(i).copied().unwrap_or(0.0) as f32).collect()
        };
        let weights = Tensor::new([self.targets, f], narrow(&self.coefficients, self.targets * f))?;
        let weights = cx.constant(weights)?.permuted(&[1, 0]);
        let bias = cx.constant(Tensor::vector(&narrow(&self.intercepts, self.targets)))?.broadcast(&[n, self.targets]);
        let out = cx.temp(F32, &[n, self.targets])?;
        product(cx, &Product { bias: Some(bias), ..Product::new(rows, Right::View(weights), out.clone()) })?;
        Ok(out)
    }
}

#[derive(Debug)]
struct LinearRegressor(Linear);

fn parse_linear_regressor(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let targets = a.int_or("targets", 1)?;
    let targets =
        u32::try_from(targets).map(|t| t as usize).map_err(|_| err!(InvalidNode, "attribute targets is {targets}"))?;
    let (coefficients, intercepts) = (wide(a.floats("coefficients")?), wide(a.floats("intercepts")?));
    Ok(Arc::new(LinearRegressor(Linear { coefficients, intercepts, targets, post: Post::read(a)? })))
}

fn linear_regressor_cases() -> Vec<Case> {
    let case = || {
        let coefficients = Attr::Floats(vec![0.5, -1.0, 2.0, 0.25, 1.5, -0.75]);
        case("LinearRegressor", 1).rand(DType::F32, &[5, 3]).attr("coefficients", coefficients).int("targets", 2)
    };
    vec![case(), case().attr("intercepts", Attr::Floats(vec![0.5, -0.5])).string("post_transform", "LOGISTIC")]
}

impl Op for LinearRegressor {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.0.check(features(cx)?)?;
        one(DType::F32, [row_count(cx)?, self.0.targets])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let mut out = vec![];
        for r in 0..n {
            let mut scores = self.0.scores(&v[r * f..(r + 1) * f])?;
            self.0.post.apply(&mut scores);
            out.extend(scores);
        }
        Ok(vec![Tensor::from_f64s(DType::F32, [n, self.0.targets], out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let scores = self.0.product(cx)?;
        let out = cx.output(0)?;
        self.0.post.lower(cx, &scores, &out)
    }

    fn on_host(&self) -> bool {
        !self.0.post.has_gpu_form()
    }
}

#[derive(Debug)]
struct LinearClassifier {
    linear: Linear,
    labels: Labels,
}

fn parse_linear_classifier(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    // how the coefficients were found
    a.ignore("multi_class");
    let labels = Labels::read(a, "classlabels_ints", "classlabels_strings")?;
    let (coefficients, intercepts) = (wide(a.floats("coefficients")?), wide(a.floats("intercepts")?));
    // two classes may share one score
    let targets = if intercepts.is_empty() { labels.len() } else { intercepts.len() };
    let fits = targets == labels.len() || (targets == 1 && labels.len() == 2);
    ensure!(fits, InvalidNode, "{targets} scores for {} labels", labels.len());
    let linear = Linear { coefficients, intercepts, targets, post: Post::read(a)? };
    Ok(Arc::new(LinearClassifier { linear, labels }))
}

fn linear_classifier_cases() -> Vec<Case> {
    let case = |classes: usize, scores: usize| {
        let coefficients = (0..scores * 3).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
        let names: Vec<i64> = (0..classes as i64).map(|c| c * 10).collect();
        case("LinearClassifier", 1)
            .rand(DType::F32, &[6, 3])
            .attr("coefficients", Attr::Floats(coefficients))
            .attr("intercepts", Attr::Floats((0..scores).map(|i| i as f32 * 0.25 - 0.1).collect()))
            .ints("classlabels_ints", &names)
            .outputs(2)
    };
    vec![
        case(3, 3),
        case(3, 3).string("post_transform", "SOFTMAX"),
        case(2, 1).string("post_transform", "LOGISTIC"),
        case(2, 1),
        case(2, 2).string("post_transform", "SOFTMAX_ZERO"),
    ]
}

impl Op for LinearClassifier {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.linear.check(features(cx)?)?;
        let n = row_count(cx)?;
        Ok(vec![TensorType::new(self.labels.dtype(), [n]), TensorType::new(DType::F32, [n, self.labels.len()])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let (mut chosen, mut out) = (vec![], vec![]);
        for r in 0..n {
            let mut scores = self.linear.scores(&v[r * f..(r + 1) * f])?;
            if let ([score], 2) = (scores.as_slice(), self.labels.len()) {
                chosen.push(usize::from(*score > 0.0));
                out.extend(binary(self.linear.post, *score, self.linear.post == Post::None));
                continue;
            }
            chosen.push(greatest(&scores));
            self.linear.post.apply(&mut scores);
            out.extend(scores);
        }
        Ok(vec![self.labels.pick(&chosen)?, Tensor::from_f64s(DType::F32, [n, self.labels.len()], out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let scores = self.linear.product(cx)?;
        let one = self.linear.targets == 1 && self.labels.len() == 2;
        let probability = self.linear.post == Post::None;
        lower_classes(cx, &scores, &self.labels, self.linear.post, one.then_some((0.0, probability)))
    }

    fn on_host(&self) -> bool {
        !self.linear.post.has_gpu_form()
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 16.0 + k as f64)
    }
}

/// The product of two vectors in the space of a kernel.
#[derive(Debug)]
enum KernelKind {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

#[derive(Debug)]
struct Vectors {
    kind: KernelKind,
    gamma: f64,
    coef0: f64,
    degree: f64,
    vectors: Vec<f64>,
}

impl Vectors {
    fn read(a: &AttrReader<'_>) -> Result<Vectors> {
        let kind = match a.string_or("kernel_type", "LINEAR".into())?.as_str() {
            "LINEAR" => KernelKind::Linear,
            "POLY" => KernelKind::Poly,
            "RBF" => KernelKind::Rbf,
            "SIGMOID" => KernelKind::Sigmoid,
            other => bail!(InvalidNode, "attribute kernel_type is {other:?}"),
        };
        let params = wide(a.floats("kernel_params")?);
        let param = |i: usize| params.get(i).copied().unwrap_or(0.0);
        let vectors = wide(a.floats("support_vectors")?);
        Ok(Vectors { kind, gamma: param(0), coef0: param(1), degree: param(2), vectors })
    }

    fn product(&self, a: &[f64], b: &[f64]) -> f64 {
        match self.kind {
            KernelKind::Linear => dot(a, b),
            KernelKind::Poly => (self.gamma * dot(a, b) + self.coef0).powf(self.degree),
            KernelKind::Sigmoid => (self.gamma * dot(a, b) + self.coef0).tanh(),
            KernelKind::Rbf => {
                let distance: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
                (-self.gamma * distance).exp()
            }
        }
    }

    /// The row's product with each of `count` support vectors.
    fn products(&self, row: &[f64], count: usize) -> Result<Vec<f64>> {
        let (n, f) = (self.vectors.len(), row.len());
        ensure!(
            Some(n) == count.checked_mul(f),
            InvalidNode,
            "{n} numbers for {count} support vectors of {f} features"
        );
        Ok(self.vectors.chunks(f.max(1)).map(|v| self.product(v, row)).collect())
    }
}

#[derive(Debug)]
struct SvmRegressor {
    vectors: Vectors,
    coefficients: Vec<f64>,
    rho: f64,
    supports: usize,
    one_class: bool,
    post: Post,
}

fn parse_svm_regressor(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let supports = a.int_or("n_supports", 0)?;
    Ok(Arc::new(SvmRegressor {
        vectors: Vectors::read(a)?,
        coefficients: wide(a.floats("coefficients")?),
        rho: wide(a.floats("rho")?).first().copied().unwrap_or(0.0),
        supports: usize::try_from(supports).map_err(|_| err!(InvalidNode, "attribute n_supports is {supports}"))?,
        one_class: a.flag_or("one_class", false)?,
        post: Post::read(a)?,
    }))
}

fn svm_regressor_cases() -> Vec<Case> {
    let case = |kind: &str| {
        case("SVMRegressor", 1)
            .rand(DType::F32, &[5, 2])
            .string("kernel_type", kind)
            .attr("kernel_params", Attr::Floats(vec![0.5, 0.25, 3.0]))
            .attr("support_vectors", Attr::Floats(vec![1.0, 0.5, -1.0, 2.0, 0.0, -0.5]))
            .attr("coefficients", Attr::Floats(vec![1.0, -0.5, 0.75]))
            .attr("rho", Attr::Floats(vec![0.1]))
            .int("n_supports", 3)
    };
    ["LINEAR", "POLY", "RBF", "SIGMOID"].map(case).into_iter().chain([case("RBF").int("one_class", 1)]).collect()
}

impl Op for SvmRegressor {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::F32, [row_count(cx)?, 1])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let mut out = vec![];
        for r in 0..n {
            let row = &v[r * f..(r + 1) * f];
            let sum = match self.supports {
                // no support vectors: the coefficients are those of a linear model
                0 => self.vectors.product(row, &self.coefficients),
                count => dot(&self.vectors.products(row, count)?, &self.coefficients),
            };
            let mut score = [sum + self.rho];
            if self.one_class {
                score[0] = if score[0] > 0.0 { 1.0 } else { -1.0 };
            } else {
                self.post.apply(&mut score);
            }
            out.extend(score);
        }
        Ok(vec![Tensor::from_f64s(DType::F32, [n, 1], out)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// One-against-one votes of support vectors, or scores of a linear model per class; probabilities after Platt.
#[derive(Debug)]
struct SvmClassifier {
    vectors: Vectors,
    coefficients: Vec<f64>,
    rho: Vec<f64>,
    /// Of the sigmoid that makes probabilities of decisions.
    platt: Option<(Vec<f64>, Vec<f64>)>,
    per_class: Vec<usize>,
    labels: Labels,
    post: Post,
}

fn parse_svm_classifier(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let per_class = a.ints_or("vectors_per_class", vec![])?;
    let size = |n: i64| usize::try_from(n).map_err(|_| err!(InvalidNode, "{n} vectors of a class"));
    let (pa, pb) = (wide(a.floats("prob_a")?), wide(a.floats("prob_b")?));
    ensure!(pa.len() == pb.len(), InvalidNode, "{} items of prob_a, {} of prob_b", pa.len(), pb.len());
    let per_class: Vec<usize> = per_class.into_iter().map(size).collect::<Result<_>>()?;
    let (classes, vectors) = (per_class.len(), per_class.iter().fold(0, |sum: usize, n| sum.saturating_add(*n)));
    ensure!(vectors <= u32::MAX as usize, InvalidNode, "{vectors} vectors");
    let labels = Labels::read(a, "classlabels_ints", "classlabels_strings")?;
    ensure!([0, labels.len()].contains(&classes), InvalidNode, "{} labels for {classes} classes", labels.len());
    Ok(Arc::new(SvmClassifier {
        vectors: Vectors::read(a)?,
        coefficients: wide(a.floats("coefficients")?),
        rho: wide(a.floats("rho")?),
        platt: (!pa.is_empty()).then_some((pa, pb)),
        per_class,
        labels,
        post: Post::read(a)?,
    }))
}

fn svm_classifier_cases() -> Vec<Case> {
    let case = || {
        case("SVMClassifier", 1)
            .rand(DType::F32, &[6, 2])
            .string("kernel_type", "RBF")
            .attr("kernel_params", Attr::Floats(vec![0.5, 0.0, 3.0]))
            .attr("support_vectors", Attr::Floats(vec![1.0, 0.5, -1.0, 2.0, 0.0, -0.5, 0.3, 0.2]))
            .attr("coefficients", Attr::Floats(vec![1.0, -0.5, 0.75, -1.25, 0.5, 0.25, -0.5, 1.0]))
            .attr("rho", Attr::Floats(vec![0.1, -0.2, 0.05]))
            .ints("vectors_per_class", &[1, 2, 1])
            .ints("classlabels_ints", &[0, 1, 2])
            .outputs(2)
    };
    let probabilities = |c: Case| {
        c.attr("prob_a", Attr::Floats(vec![-1.0, -0.8, -1.2])).attr("prob_b", Attr::Floats(vec![0.1, 0.0, -0.1]))
    };
    vec![case(), probabilities(case())]
}

impl SvmClassifier {
    /// Decision values of all pairs of classes, and the votes of each class.
    fn decide(&self, row: &[f64]) -> Result<(Vec<f64>, Vec<usize>)> {
        let (classes, count) = (self.per_class.len(), self.per_class.iter().sum());
        let pairs = classes * classes.saturating_sub(1) / 2;
        let fits = self.coefficients.len() == count * (classes.max(1) - 1) && self.rho.len() >= pairs;
        ensure!(
            fits,
            InvalidNode,
            "{} coefficients and {} rho for {count} vectors of {classes} classes",
            self.coefficients.len(),
            self.rho.len()
        );
        let products = self.vectors.products(row, count)?;
        let starts: Vec<usize> = self.per_class.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n))).collect();
        let part = |class: usize, against: usize| {
            let range = starts[class]..starts[class] + self.per_class[class];
            dot(&self.coefficients[against * count..][range.clone()], &products[range])
        };
        let (mut decisions, mut votes) = (vec![], vec![0; classes]);
        for i in 0..classes {
            for j in i + 1..classes {
                let d = part(i, j - 1) + part(j, i) + self.rho[decisions.len()];
                votes[if d > 0.0 { i } else { j }] += 1;
                decisions.push(d);
            }
        }
        Ok((decisions, votes))
    }

    /// Class probabilities from those of the pairs (Wu, Lin, Weng: "Probability estimates for multi-class classification by
    /// pairwise coupling", 2004, second approach).
    fn couple(pairs: &[Vec<f64>]) -> Vec<f64> {
        let k = pairs.len();
        let mut q = vec![vec![0.0; k]; k];
        for t in 0..k {
            for j in (0..k).filter(|j| *j != t) {
                q[t][t] += pairs[j][t] * pairs[j][t];
                q[t][j] = -pairs[j][t] * pairs[t][j];
            }
        }
        let mut p = vec![1.0 / k as f64; k];
        for _ in 0..100.max(k) {
            let mut qp: Vec<f64> = q.iter().map(|row| dot(row, &p)).collect();
            let mut whole = dot(&p, &qp);
            if qp.iter().all(|x| (x - whole).abs() < 0.005 / k as f64) {
                break;
            }
            for t in 0..k {
                let diff = (whole - qp[t]) / q[t][t];
                p[t] += diff;
                whole = (whole + diff * (diff * q[t][t] + 2.0 * qp[t])) / (1.0 + diff) / (1.0 + diff);
                for j in 0..k {
                    qp[j] = (qp[j] + diff * q[t][j]) / (1.0 + diff);
                    p[j] /= 1.0 + diff;
                }
            }
        }
        p
    }

    fn probabilities(&self, decisions: &[f64], (a, b): &(Vec<f64>, Vec<f64>)) -> Result<Vec<f64>> {
        let k = self.per_class.len();
        ensure!(a.len() >= decisions.len(), InvalidNode, "{} items of prob_a for {} pairs", a.len(), decisions.len());
        let mut pairs = vec![vec![0.0; k]; k];
        let of_classes = (0..k).flat_map(|i| (i + 1..k).map(move |j| (i, j)));
        for (n, (i, j)) in of_classes.enumerate() {
            let f = decisions[n] * a[n] + b[n];
            let p = if f >= 0.0 { (-f).exp() / (1.0 + (-f).exp()) } else { 1.0 / (1.0 + f.exp()) };
            let p = p.clamp(1e-7, 1.0 - 1e-7);
            (pairs[i][j], pairs[j][i]) = (p, 1.0 - p);
        }
        Ok(SvmClassifier::couple(&pairs))
    }
}

impl SvmClassifier {
    /// Scores of a row.
    fn columns(&self) -> usize {
        match (&self.platt, self.per_class.len()) {
            (_, 0) | (Some(_), _) | (None, 2) => self.labels.len(),
            (None, k) => k * (k - 1) / 2,
        }
    }
}

impl Op for SvmClassifier {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (n, columns) = (row_count(cx)?, self.columns());
        Ok(vec![TensorType::new(self.labels.dtype(), [n]), TensorType::new(DType::F32, [n, columns])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let (mut chosen, mut out) = (vec![], vec![]);
        for r in 0..n {
            let row = &v[r * f..(r + 1) * f];
            let mut scores = if self.per_class.is_empty() {
                let rho = self.rho.first().copied().unwrap_or(0.0);
                self.coefficients.chunks(f.max(1)).map(|c| self.vectors.product(row, c) + rho).collect()
            } else {
                let (decisions, votes) = self.decide(row)?;
                match &self.platt {
                    Some(platt) => self.probabilities(&decisions, platt)?,
                    None => {
                        // the first of those with most votes
                        chosen.push((0..votes.len()).fold(0, |best, i| if votes[i] > votes[best] { i } else { best }));
                        let pair = |d: f64| binary(self.post, -d, false).to_vec();
                        let mut scores = if votes.len() == 2 { pair(decisions[0]) } else { decisions };
                        if votes.len() != 2 {
                            self.post.apply(&mut scores);
                        }
                        out.extend(scores);
                        continue;
                    }
                }
            };
            chosen.push(greatest(&scores));
            self.post.apply(&mut scores);
            out.extend(scores);
        }
        let columns = self.columns();
        ensure!(out.len() == n * columns, InvalidNode, "{} scores for {n} rows of {columns}", out.len());
        Ok(vec![self.labels.pick(&chosen)?, Tensor::from_f64s(DType::F32, [n, columns], out)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}
