//! Random tensors: RandomNormal, RandomUniform, Bernoulli, Multinomial and their like. Drawn on the host: every run draws
//! anew, while a plan's data does not change.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("RandomNormal", &[1, 22], |a, _| parse_draw(a, Law::normal(a)?, false), || shaped_cases("RandomNormal")),
    row("RandomUniform", &[1, 22], |a, _| parse_draw(a, Law::uniform(a)?, false), || shaped_cases("RandomUniform")),
    row("RandomNormalLike", &[1, 22], |a, _| parse_draw(a, Law::normal(a)?, true), || like_cases("RandomNormalLike")),
    row(
        "RandomUniformLike",
        &[1, 22],
        |a, _| parse_draw(a, Law::uniform(a)?, true),
        || like_cases("RandomUniformLike"),
    ),
    row("Bernoulli", &[15, 22], parse_bernoulli, || {
        vec![
            Case::new("Bernoulli", 15).range(F32, &[3, 4], 0.0, 1.0),
            Case::new("Bernoulli", 15).range(F64, &[5], 0.0, 1.0).int("dtype", 9),
        ]
    }),
    row("Multinomial", &[7, 22], parse_multinomial, || {
        vec![Case::new("Multinomial", 7).rand(F32, &[2, 5]).int("sample_size", 7)]
    }),
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

    /// The generator of the next run.
    pub fn next(&self) -> Rng {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        // far apart, as neighbouring seeds would give overlapping sequences
        Rng::new(Rng::new(seed ^ run.rotate_left(32)).next_u64())
    }
}

#[derive(Debug, Clone, Copy)]
enum Law {
    Normal { mean: f64, scale: f64 },
    Uniform { low: f64, high: f64 },
}

impl Law {
    fn normal(a: &AttrReader<'_>) -> Result<Law> {
        Ok(Law::Normal { mean: f64::from(a.float_or("mean", 0.0)?), scale: f64::from(a.float_or("scale", 1.0)?) })
    }

    fn uniform(a: &AttrReader<'_>) -> Result<Law> {
        Ok(Law::Uniform { low: f64::from(a.float_or("low", 0.0)?), high: f64::from(a.float_or("high", 1.0)?) })
    }

    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Law::Uniform { low, high } => low + (high - low) * rng.unit(),
            // Box, Muller: "A note on the generation of random normal deviates", 1958
            Law::Normal { mean, scale } => {
                let (u, v) = (1.0 - rng.unit(), rng.unit());
                mean + scale * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
            }
        }
    }
}

fn dtype(a: &AttrReader<'_>) -> Result<Option<DType>> {
    let known = |n: i64| i32::try_from(n).ok().and_then(DType::from_onnx);
    a.int("dtype")?.map(|n| known(n).ok_or_else(|| err!(InvalidNode, "attribute dtype is {n}"))).transpose()
}

/// Elements after a law; of a given shape, or that of input 0.
#[derive(Debug)]
struct Draw {
    law: Law,
    source: Source,
    dtype: Option<DType>,
    shape: Option<Vec<usize>>,
}

fn parse_draw(a: &AttrReader<'_>, law: Law, like: bool) -> Result<Arc<dyn Op>> {
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
    Ok(Arc::new(Draw { law, source: Source::new(a)?, dtype, shape }))
}

fn shaped_cases(op: &'static str) -> Vec<Case> {
    vec![
        Case::new(op, 22).ints("shape", &[3, 5]).float("seed", 7.0),
        Case::new(op, 22).ints("shape", &[]).int("dtype", 10),
    ]
}

fn like_cases(op: &'static str) -> Vec<Case> {
    vec![Case::new(op, 22).rand(F32, &[3, 5]), Case::new(op, 22).rand(I32, &[0, 2]).int("dtype", 1)]
}

impl Op for Draw {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        match (&self.shape, self.dtype) {
            (Some(s), Some(d)) => one(d, s.clone()),
            (_, d) => one(d.map_or_else(|| cx.dtype(0), Ok)?, cx.shape(0)?),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (dtype, to) = match (&self.shape, self.dtype) {
            (Some(s), Some(d)) => (d, s.clone()),
            (_, d) => (d.map_or_else(|| need(inputs, 0).map(Tensor::dtype), Ok)?, need(inputs, 0)?.shape().to_vec()),
        };
        let mut rng = self.source.next();
        let values = (0..shape::checked_numel(&to)?).map(|_| self.law.draw(&mut rng)).collect();
        Ok(vec![Tensor::from_f64s(dtype, to, values)?])
    }

    fn deterministic(&self) -> bool {
        false
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// 1 as often as the input says.
#[derive(Debug)]
struct Bernoulli {
    source: Source,
    dtype: Option<DType>,
}

fn parse_bernoulli(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Bernoulli { source: Source::new(a)?, dtype: dtype(a)? }))
}

impl Op for Bernoulli {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.dtype.map_or_else(|| cx.dtype(0), Ok)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let p = need(inputs, 0)?;
        let mut rng = self.source.next();
        let draws = p.to_f64s()?.into_iter().map(|p| rng.unit() < p);
        let dtype = self.dtype.unwrap_or(p.dtype());
        Ok(vec![if dtype.is_float() {
            Tensor::from_f64s(dtype, p.shape(), draws.map(|b| f64::from(u8::from(b))).collect())?
        } else {
            Tensor::from_i128s(dtype, p.shape(), draws.map(i128::from).collect())?
        }])
    }

    fn deterministic(&self) -> bool {
        false
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// Classes drawn with the probabilities whose logarithms, up to a constant, each row has.
#[derive(Debug)]
struct Multinomial {
    source: Source,
    dtype: DType,
    samples: usize,
}

fn parse_multinomial(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let n = a.int_or("sample_size", 1)?;
    let samples = usize::try_from(n).map_err(|_| err!(InvalidNode, "attribute sample_size is {n}"))?;
    let dtype = dtype(a)?.unwrap_or(I32);
    ensure!(matches!(dtype, I32 | I64), InvalidNode, "attribute dtype is {dtype}");
    Ok(Arc::new(Multinomial { source: Source::new(a)?, dtype, samples }))
}

impl Op for Multinomial {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        match cx.shape(0)? {
            [n, _] => one(self.dtype, [*n, self.samples]),
            other => Err(err!(InvalidNode, "expected [batch, classes], got {other:?}").into()),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let [n, classes] = x.shape()[..] else { bail!(InvalidNode, "expected [batch, classes], got {:?}", x.shape()) };
        ensure!(classes > 0, InvalidNode, "no classes");
        let v = x.to_f64s()?;
        let mut rng = self.source.next();
        let mut out = vec![];
        for row in v.chunks(classes) {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = row.iter().map(|x| (x - top).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for _ in 0..self.samples {
                let mut left = rng.unit() * sum;
                let class = weights.iter().position(|w| {
                    left -= w;
                    left < 0.0
                });
                out.push(class.unwrap_or(classes - 1) as i128);
            }
        }
        Ok(vec![Tensor::from_i128s(self.dtype, [n, self.samples], out)?])
    }

    fn deterministic(&self) -> bool {
        false
    }

    fn on_host(&self) -> bool {
        true
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
