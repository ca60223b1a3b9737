//! Random tensors: RandomNormal, RandomUniform, Bernoulli, Multinomial and their like.
//!
//! Element `i` of a run comes from counter `i` under the run's key (see [`philox`]), on the device and in the reference
//! alike. A plan's data does not change from run to run, so a pass gives these operators their key as one more input,
//! which a node on the host makes anew for each run.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bounded::DOMAIN;
use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, Attrs, Operator};
use crate::kernels::random::{self as kernel, Kind};
use crate::philox::{philox, unit};
use crate::plan::{LowerCx, View};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("RandomNormal", &[1, 22], |a, _| parse_draw(a, normal(a)?, false), || shaped_cases("RandomNormal")),
    row("RandomUniform", &[1, 22], |a, _| parse_draw(a, uniform(a)?, false), || shaped_cases("RandomUniform")),
    row("RandomNormalLike", &[1, 22], |a, _| parse_draw(a, normal(a)?, true), || like_cases("RandomNormalLike")),
    row("RandomUniformLike", &[1, 22], |a, _| parse_draw(a, uniform(a)?, true), || like_cases("RandomUniformLike")),
    row("Bernoulli", &[15, 22], parse_bernoulli, bernoulli_cases),
    row("Multinomial", &[7, 22], parse_multinomial, multinomial_cases),
];

/// Where an operator's numbers come from: with a seed the same in every session, without one in none.
#[derive(Debug)]
pub struct Source {
    seed: Option<u64>,
    runs: AtomicU64,
}

impl Source {
    /// After attribute `seed`: a float, or (of Dropout) an int.
    ///
    /// # Errors
    /// `InvalidNode` when it is of another type.
    pub fn new(a: &AttrReader<'_>) -> Result<Source> {
        let seed = match a.float("seed") {
            Ok(seed) => seed.map(|s| u64::from(s.to_bits())),
            Err(_) => a.int("seed")?.map(|s| s as u64),
        };
        Ok(Source { seed, runs: AtomicU64::new(0) })
    }

    /// The key of the next run: two words of the seed, two of the run.
    fn key(&self) -> [u32; 4] {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        [seed as u32, (seed >> 32) as u32, run as u32, (run >> 32) as u32]
    }

    /// The generator of the next run.
    pub fn next(&self) -> Rng {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        // far apart, as neighbouring seeds would give overlapping sequences
        Rng::new(Rng::new(seed ^ run.rotate_left(32)).next_u64())
    }
}

/// How results follow from a key.
trait Law: fmt::Debug + Send + Sync {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred;

    fn draw(&self, inputs: &[Option<&Tensor>], key: [u32; 4]) -> Result<Tensor>;

    fn lower(&self, cx: &mut LowerCx<'_>, key: &View) -> Result<()>;

    fn tolerance(&self, dtype: DType) -> Tolerance {
        Tolerance::ulps(dtype, 4.0)
    }
}

/// An operator of the model: a law and where its keys come from.
#[derive(Debug)]
struct Random {
    law: Arc<dyn Law>,
    source: Arc<Source>,
}

impl Random {
    fn parsed(law: impl Law + 'static, a: &AttrReader<'_>) -> Result<Arc<dyn Op>> {
        Ok(Arc::new(Random { law: Arc::new(law), source: Arc::new(Source::new(a)?) }))
    }
}

impl Op for Random {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.law.infer(cx)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.law.draw(inputs, self.source.key())?])
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        self.law.tolerance(dtype)
    }

    fn deterministic(&self) -> bool {
        false
    }

    fn keyed(&self) -> Option<Keyed> {
        Some(Keyed { law: self.law.clone(), source: self.source.clone() })
    }
}

/// A random operator in two parts: what makes the key of a run, and what draws with it.
pub struct Keyed {
    law: Arc<dyn Law>,
    source: Arc<Source>,
}

const KEY: &str = "Key";

impl Keyed {
    /// Makes the key: uint32\[4\], another one in every run.
    pub fn key(&self) -> Operator {
        let op = Arc::new(Key(self.source.clone()));
        Operator { domain: DOMAIN.into(), op_type: KEY.into(), opset: 1, attrs: Attrs::new(), op }
    }

    /// Draws in place of `of`; the key is its last input.
    pub fn draw(&self, of: &Operator) -> Operator {
        let op = Arc::new(Drawn(self.law.clone()));
        let op_type = format!("{}Drawn", of.op_type);
        Operator { domain: DOMAIN.into(), op_type, opset: of.opset, attrs: of.attrs.clone(), op }
    }
}

/// Whether an operator makes a key, which is no work that belongs on a device.
pub fn is_key(of: &Operator) -> bool {
    of.domain == DOMAIN && of.op_type == KEY
}

#[derive(Debug)]
struct Key(Arc<Source>);

impl Op for Key {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(U32, [4])
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::vector(&self.0.key())])
    }

    fn deterministic(&self) -> bool {
        false
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// Draws with the key that is the last input.
#[derive(Debug)]
struct Drawn(Arc<dyn Law>);

impl Op for Drawn {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.0.infer(cx)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let key = need(inputs, inputs.len().saturating_sub(1))?.to_i64s()?;
        let [a, b, c, d] = key[..] else { bail!(Internal, "a key of {} words", key.len()) };
        Ok(vec![self.0.draw(inputs, [a, b, c, d].map(|w| w as u32))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let key = cx.dense_input(cx.input_count() - 1)?;
        self.0.lower(cx, &key)
    }

    /// Doubles.
    fn on_host(&self) -> bool {
        true
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        self.0.tolerance(dtype)
    }
}

fn dtype(a: &AttrReader<'_>) -> Result<Option<DType>> {
    let known = |n: i64| i32::try_from(n).ok().and_then(DType::from_onnx);
    a.int("dtype")?.map(|n| known(n).ok_or_else(|| err!(InvalidNode, "attribute dtype is {n}"))).transpose()
}

/// The words of element `i`.
fn words(i: usize, key: [u32; 4]) -> [u32; 4] {
    philox([i as u32, 0, key[2], key[3]], [key[0], key[1]])
}

fn normal(a: &AttrReader<'_>) -> Result<Kind> {
    Ok(Kind::Normal { mean: a.float_or("mean", 0.0)?, scale: a.float_or("scale", 1.0)? })
}

fn uniform(a: &AttrReader<'_>) -> Result<Kind> {
    Ok(Kind::Uniform { low: a.float_or("low", 0.0)?, high: a.float_or("high", 1.0)? })
}

/// Elements after a law; of a given shape, or that of input 0.
#[derive(Debug)]
struct Draw {
    kind: Kind,
    dtype: Option<DType>,
    shape: Option<Vec<usize>>,
}

fn parse_draw(a: &AttrReader<'_>, kind: Kind, like: bool) -> Result<Arc<dyn Op>> {
    let shape = match (like, a.ints("shape")?) {
        (true, None) => None,
        (false, Some(s)) => {
            let extent = |d: i64| usize::try_from(d).map_err(|_| err!(InvalidNode, "extent {d}"));
            Some(s.into_iter().map(extent).collect::<Result<Vec<_>>>()?)
        }
        (false, None) => bail!(InvalidNode, "attribute shape is missing"),
        (true, Some(_)) => bail!(Unsupported, "unknown attribute shape"),
    };
    let dtype = dtype(a)?.or(if like { None } else { Some(F32) });
    ensure!(dtype.is_none_or(DType::is_float), InvalidNode, "attribute dtype is {}", dtype.unwrap_or(F32));
    Random::parsed(Draw { kind, dtype, shape }, a)
}

fn shaped_cases(op: &'static str) -> Vec<Case> {
    vec![
        Case::new(op, 22).ints("shape", &[3, 5]).float("seed", 7.0),
        Case::new(op, 22).ints("shape", &[]).int("dtype", 10).float("seed", 7.0),
        Case::new(op, 22).ints("shape", &[70_000]).float("seed", 8.0),
        Case::new(op, 22).ints("shape", &[67, 3]).int("dtype", 16).float("seed", -9.5),
    ]
}

fn like_cases(op: &'static str) -> Vec<Case> {
    vec![
        Case::new(op, 22).rand(F32, &[3, 5]).float("seed", 7.0),
        Case::new(op, 22).rand(I32, &[0, 2]).int("dtype", 1).float("seed", 7.0),
        Case::new(op, 22).rand(F16, &[130]).float("seed", 1.0),
    ]
}

impl Law for Draw {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        match (&self.shape, self.dtype) {
            (Some(s), Some(d)) => one(d, s.clone()),
            (_, d) => one(d.map_or_else(|| cx.dtype(0), Ok)?, cx.shape(0)?),
        }
    }

    fn draw(&self, inputs: &[Option<&Tensor>], key: [u32; 4]) -> Result<Tensor> {
        let (dtype, to) = match (&self.shape, self.dtype) {
            (Some(s), Some(d)) => (d, s.clone()),
            (_, d) => (d.map_or_else(|| need(inputs, 0).map(Tensor::dtype), Ok)?, need(inputs, 0)?.shape().to_vec()),
        };
        let value = |i: usize| {
            let [x, y, ..] = words(i, key);
            match self.kind {
                Kind::Uniform { low, high } => f64::from(low) + f64::from(high - low) * f64::from(unit(x)),
                // Box, Muller: "A note on the generation of random normal deviates", 1958
                Kind::Normal { mean, scale } => {
                    let radius = (-2.0 * f64::from(unit(x) + 1.0 / (1 << 24) as f32).ln()).sqrt();
                    let angle = std::f64::consts::TAU * f64::from(unit(y));
                    f64::from(mean) + f64::from(scale) * radius * angle.cos()
                }
                Kind::Coin | Kind::Class { .. } => f64::NAN,
            }
        };
        Tensor::from_f64s(dtype, to.clone(), (0..shape::checked_numel(&to)?).map(value).collect())
    }

    fn lower(&self, cx: &mut LowerCx<'_>, key: &View) -> Result<()> {
        let out = cx.output(0)?;
        kernel::random(cx, self.kind, key, None, &out)
    }

    fn tolerance(&self, dtype: DType) -> Tolerance {
        // a deviate's angle, up to 2π, is rounded before its cosine, and the mean may cancel it
        let t = Tolerance::ulps(dtype, 16.0);
        match self.kind {
            Kind::Normal { mean, scale } => Tolerance { abs: t.rel * f64::from(scale.abs().max(mean.abs())), ..t },
            _ => t,
        }
    }
}

/// 1 as often as the input says.
#[derive(Debug)]
struct Bernoulli {
    dtype: Option<DType>,
}

fn parse_bernoulli(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Random::parsed(Bernoulli { dtype: dtype(a)? }, a)
}

fn bernoulli_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize]| Case::new("Bernoulli", 15).range(d, s, 0.0, 1.0).float("seed", 3.0);
    let mut all = vec![case(F32, &[3, 4]), case(F64, &[5]).int("dtype", 9), case(F16, &[70]), case(F32, &[0])];
    all.extend([F32, F16, BF16, I32, I64, U8, Bool].map(|d| case(F32, &[7, 11]).int("dtype", d as i64)));
    all
}

impl Law for Bernoulli {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.dtype.map_or_else(|| cx.dtype(0), Ok)?, cx.shape(0)?)
    }

    fn draw(&self, inputs: &[Option<&Tensor>], key: [u32; 4]) -> Result<Tensor> {
        let p = need(inputs, 0)?;
        let draws = p.to_f64s()?.into_iter().enumerate().map(|(i, p)| f64::from(unit(words(i, key)[0])) < p);
        let dtype = self.dtype.unwrap_or(p.dtype());
        if dtype.is_float() {
            return Tensor::from_f64s(dtype, p.shape(), draws.map(|b| f64::from(u8::from(b))).collect());
        }
        Tensor::from_i128s(dtype, p.shape(), draws.map(i128::from).collect())
    }

    fn lower(&self, cx: &mut LowerCx<'_>, key: &View) -> Result<()> {
        let p = cx.dense_input(0)?;
        let out = cx.output(0)?;
        kernel::random(cx, Kind::Coin, key, Some(&p), &out)
    }
}

/// Classes drawn with the probabilities whose logarithms, up to a constant, each row has.
#[derive(Debug)]
struct Multinomial {
    dtype: DType,
    samples: usize,
}

fn parse_multinomial(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let n = a.int_or("sample_size", 1)?;
    let samples = usize::try_from(n).map_err(|_| err!(InvalidNode, "attribute sample_size is {n}"))?;
    let dtype = dtype(a)?.unwrap_or(I32);
    ensure!(matches!(dtype, I32 | I64), InvalidNode, "attribute dtype is {dtype}");
    Random::parsed(Multinomial { dtype, samples }, a)
}

fn multinomial_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize]| Case::new("Multinomial", 7).rand(d, s).int("sample_size", 7).float("seed", 3.0);
    vec![
        case(F32, &[2, 5]),
        case(F16, &[3, 4]),
        case(F32, &[1, 1]),
        case(F32, &[67, 300]).int("dtype", 7),
        case(F32, &[0, 3]),
    ]
}

impl Multinomial {
    fn classes(x: &[usize]) -> Result<[usize; 2]> {
        match *x {
            [n, classes] if classes > 0 => Ok([n, classes]),
            _ => bail!(InvalidNode, "expected [batch, classes], got {x:?}"),
        }
    }
}

impl Law for Multinomial {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.dtype, [Multinomial::classes(cx.shape(0)?)?[0], self.samples])
    }

    fn draw(&self, inputs: &[Option<&Tensor>], key: [u32; 4]) -> Result<Tensor> {
        let x = need(inputs, 0)?;
        let [n, classes] = Multinomial::classes(x.shape())?;
        let mut out = vec![];
        for row in x.to_f64s()?.chunks(classes) {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = row.iter().map(|x| (x - top).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for _ in 0..self.samples {
                let mut left = f64::from(unit(words(out.len(), key)[0])) * sum;
                let class = weights.iter().position(|w| {
                    left -= w;
                    left < 0.0
                });
                out.push(class.unwrap_or(classes - 1) as i128);
            }
        }
        Tensor::from_i128s(self.dtype, [n, self.samples], out)
    }

    fn lower(&self, cx: &mut LowerCx<'_>, key: &View) -> Result<()> {
        let x = cx.dense_input(0)?;
        let out = cx.output(0)?;
        kernel::random(cx, Kind::Class { classes: x.shape[1], samples: self.samples }, key, Some(&x), &out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(case: &Case) -> Result<Vec<Vec<f64>>> {
        let (graph, inputs) = case.build(&mut Rng::new(1))?;
        (0..2).map(|_| crate::cpu::run(&graph, &inputs)?[0].to_f64s()).collect()
    }

    fn moments(v: &[f64]) -> (f64, f64) {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
    }

    #[test]
    fn laws_have_their_moments_and_runs_differ() -> Result<()> {
        let normal = Case::new("RandomNormal", 22).ints("shape", &[40_000]).float("mean", 3.0).float("scale", 2.0);
        let uniform = Case::new("RandomUniform", 22).ints("shape", &[40_000]).float("low", -1.0).float("high", 3.0);
        for (case, mean, variance) in [(normal, 3.0, 4.0), (uniform, 1.0, 16.0 / 12.0)] {
            let runs = draws(&case.clone().float("seed", 5.0))?;
            assert_ne!(runs[0], runs[1]);
            assert_eq!(runs, draws(&case.float("seed", 5.0))?);
            let (m, v) = moments(&runs[0]);
            assert!((m - mean).abs() < 0.06 && (v / variance - 1.0).abs() < 0.05, "{m} {v}");
        }
        Ok(())
    }

    #[test]
    fn coins_and_classes_fall_as_often_as_they_should() -> Result<()> {
        let p = Tensor::new([20_000], vec![0.3f32; 20_000])?;
        let ones: f64 = draws(&Case::new("Bernoulli", 15).value(p))?[0].iter().sum();
        assert!((ones / 20_000.0 - 0.3).abs() < 0.02, "{ones}");
        let logs = Tensor::new([1, 3], vec![0.5f32.ln(), 0.2f32.ln(), 0.3f32.ln()])?;
        let classes = &draws(&Case::new("Multinomial", 7).value(logs).int("sample_size", 20_000))?[0];
        let share = classes.iter().filter(|c| **c == 1.0).count() as f64 / 20_000.0;
        assert!((share - 0.2).abs() < 0.02, "{share}");
        Ok(())
    }
}
