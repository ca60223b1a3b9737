//! Optimisers of ai.onnx.preview.training: Momentum, Adam, Adagrad. They run on the host.

use std::sync::Arc;

use super::eval::need;
use super::{InferCx, Inferred, Op, OpDef};
use crate::ir::AttrReader;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

const fn row(name: &'static str, parse: super::Parse) -> OpDef {
    OpDef { domain: "ai.onnx.preview.training", name, versions: &[1], parse, cases: Vec::new }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[row("Momentum", |a, _| momentum(a)), row("Adam", |a, _| adam(a)), row("Adagrad", |a, _| adagrad(a))];

#[derive(Debug)]
enum Rule {
    Momentum { alpha: f64, beta: f64, nesterov: bool },
    Adam { alpha: f64, beta: f64, epsilon: f64, post: f64 },
    Adagrad { decay: f64, epsilon: f64 },
}

#[derive(Debug)]
struct Optimiser {
    rule: Rule,
    norm: f64,
}

fn number(a: &AttrReader<'_>, name: &str, default: Option<f32>) -> Result<f64> {
    let v = a.float(name)?.or(default).ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"))?;
    Ok(v as f64)
}

fn momentum(a: &AttrReader<'_>) -> Result<Arc<dyn Op>> {
    let nesterov = match a.string("mode")?.as_deref() {
        Some("nesterov") => true,
        Some("standard") => false,
        m => bail!(InvalidNode, "attribute mode: expected standard or nesterov, got {m:?}"),
    };
    let rule = Rule::Momentum { alpha: number(a, "alpha", None)?, beta: number(a, "beta", None)?, nesterov };
    Ok(Arc::new(Optimiser { rule, norm: number(a, "norm_coefficient", None)? }))
}

fn adam(a: &AttrReader<'_>) -> Result<Arc<dyn Op>> {
    let (alpha, beta) = (number(a, "alpha", Some(0.9))?, number(a, "beta", Some(0.999))?);
    let (epsilon, post) = (number(a, "epsilon", Some(1e-6))?, number(a, "norm_coefficient_post", Some(0.0))?);
    let norm = number(a, "norm_coefficient", Some(0.0))?;
    Ok(Arc::new(Optimiser { rule: Rule::Adam { alpha, beta, epsilon, post }, norm }))
}

fn adagrad(a: &AttrReader<'_>) -> Result<Arc<dyn Op>> {
    let (decay, epsilon) = (number(a, "decay_factor", Some(0.0))?, number(a, "epsilon", Some(1e-6))?);
    Ok(Arc::new(Optimiser { rule: Rule::Adagrad { decay, epsilon }, norm: number(a, "norm_coefficient", Some(0.0))? }))
}

impl Optimiser {
    /// Tensors of each optimised one: itself, its gradient, its state.
    fn group(&self) -> usize {
        if matches!(self.rule, Rule::Adam { .. }) { 4 } else { 3 }
    }

    fn count(&self, inputs: usize) -> Result<usize> {
        let (g, rest) = (self.group(), inputs.saturating_sub(2));
        ensure!(rest > 0 && rest % g == 0, InvalidNode, "expected 2 + {g} n inputs, got {inputs}");
        Ok(rest / g)
    }

    /// New value and state of one element.
    fn step(&self, r: f64, t: f64, x: f64, g: f64, v: f64, h: f64) -> [f64; 3] {
        let g = self.norm * x + g;
        match self.rule {
            Rule::Momentum { alpha, beta, nesterov } => {
                let v = alpha * v + if t > 0.0 { beta } else { 1.0 } * g;
                [x - r * if nesterov { g + alpha * v } else { v }, v, 0.0]
            }
            Rule::Adam { alpha, beta, epsilon, post } => {
                let (v, h) = (alpha * v + (1.0 - alpha) * g, beta * h + (1.0 - beta) * g * g);
                let r = if t > 0.0 { r * (1.0 - beta.powf(t)).sqrt() / (1.0 - alpha.powf(t)) } else { r };
                [(1.0 - post) * (x - r * v / (h.sqrt() + epsilon)), v, h]
            }
            Rule::Adagrad { decay, epsilon } => {
                let h = v + g * g;
                [x - r / (1.0 + t * decay) * g / (h.sqrt() + epsilon), h, 0.0]
            }
        }
    }
}

impl Op for Optimiser {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let n = self.count(cx.len())?;
        let states = (0..self.group() - 1).flat_map(|s| (0..n).map(move |i| (s, i)));
        Ok(states.map(|(_, i)| cx.input(2 + i).cloned()).collect::<Result<_>>()?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let n = self.count(inputs.len())?;
        let one = |i: usize| -> Result<f64> {
            let v = match need(inputs, i)? {
                t if t.dtype().is_float() => t.to_f64s()?,
                t => t.to_i64s()?.into_iter().map(|t| t as f64).collect(),
            };
            v.first().copied().ok_or_else(|| err!(InvalidNode, "input {i} has no element"))
        };
        let (r, t, parts) = (one(0)?, one(1)?, self.group() - 1);
        let mut out = vec![None; n * parts];
        for i in 0..n {
            let x = need(inputs, 2 + i)?;
            let of = |k: usize| need(inputs, 2 + k * n + i)?.to_f64s();
            let (v, g, a) = (of(0)?, of(1)?, of(2)?);
            let b = if parts == 3 { of(3)? } else { vec![0.0; v.len()] };
            let same = [g.len(), a.len(), b.len()].iter().all(|l| *l == v.len());
            ensure!(same, InvalidNode, "gradient and state differ in size from {:?}", x.shape());
            let made: Vec<[f64; 3]> = (0..v.len()).map(|e| self.step(r, t, v[e], g[e], a[e], b[e])).collect();
            for p in 0..parts {
                let column = made.iter().map(|m| m[p]).collect();
                out[p * n + i] = Some(Tensor::from_f64s(x.dtype(), x.shape(), column)?);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn on_host(&self) -> bool {
        true
    }
}
