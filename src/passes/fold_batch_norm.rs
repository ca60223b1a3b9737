//! Folds what scales and shifts the channels of a product's result into the product's constant weights and bias: an
//! inference BatchNormalization, or Add, Sub, Mul and Div with a constant by channel, after Conv, ConvTranspose or Gemm.
//! A BatchNormalization that stays becomes a Mul and an Add by channel, which join chains of elementwise operators.

use std::collections::{HashMap, HashSet};

use super::dead_code;
use super::facts::facts;
use crate::dtype::DType;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;
use crate::{Result, err};

/// `x · scale + shift` by channel, which is axis 1.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    fn then(&mut self, next: &Affine) {
        let both = next.scale.iter().zip(&next.shift);
        for ((scale, shift), (by, plus)) in self.scale.iter_mut().zip(&mut self.shift).zip(both) {
            (*scale, *shift) = (*scale * by, *shift * by + plus);
        }
    }

    fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|x| x.is_finite())
    }
}

/// A product whose weights and bias are constants.
struct Product<'a> {
    weights: &'a Tensor,
    bias: Option<&'a Tensor>,
    /// The rank of the result.
    rank: usize,
    channels: usize,
    /// A weight's channel is `index / run % period + index / group · period`.
    run: usize,
    period: usize,
    group: usize,
}

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let folded = fold(graph)?;
    let split = split(graph)?;
    if folded || split {
        dead_code::run(graph)?;
    }
    Ok(folded || split)
}

/// Folds into products.
fn fold(graph: &mut Graph) -> Result<bool> {
    let consumers = graph.consumers();
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut gone = HashSet::new();
    for i in 0..graph.nodes.len() {
        let name = graph.nodes[i].operator.op_type.as_str();
        if gone.contains(&i) || !matches!(name, "Conv" | "ConvTranspose" | "Gemm") {
            continue;
        }
        let [Some(mut v)] = graph.nodes[i].outputs[..] else { continue };
        let mut chain = vec![];
        let mut all: Option<Affine> = None;
        while let (Some([next]), false) = (consumers.get(&v).map(Vec::as_slice), kept.contains(&v)) {
            let node = &graph.nodes[*next];
            let affine = match product(graph, &graph.nodes[i]).and_then(|p| after(graph, node, v, p.rank, p.channels)) {
                Ok(Some(affine)) => affine,
                Ok(None) => break,
                Err(why) => {
                    log::debug!("fold-batch-norm: {} stays after {}: {why}", node.path(), graph.nodes[i].path());
                    break;
                }
            };
            let Some(to) = node.outputs.first().copied().flatten() else { break };
            match &mut all {
                Some(all) => all.then(&affine),
                None => all = Some(affine),
            }
            chain.push(*next);
            v = to;
        }
        let Some(affine) = all else { continue };
        if !affine.is_finite() {
            log::debug!("fold-batch-norm: {} stays as it is: a factor is not finite", graph.nodes[i].path());
            continue;
        }
        let Ok(p) = product(graph, &graph.nodes[i]) else { continue };
        let weights = scaled(&p, &affine.scale)?;
        let bias = moved(&p, &affine)?;
        let node = graph.nodes[i].name.clone();
        let weights = match weights {
            Some(w) => Some(graph.add_constant(format!("{node}/folded weights"), w)),
            None => graph.nodes[i].inputs[1],
        };
        let bias = graph.add_constant(format!("{node}/folded bias"), bias);
        let node = &mut graph.nodes[i];
        node.inputs.resize(3, None);
        (node.inputs[1], node.inputs[2], node.outputs) = (weights, Some(bias), vec![Some(v)]);
        gone.extend(chain);
    }
    let mut at = 0..;
    graph.nodes.retain(|_| !at.next().is_some_and(|i| gone.contains(&i)));
    Ok(!gone.is_empty())
}

fn constant<'a>(graph: &'a Graph, node: &Node, i: usize) -> Option<&'a Tensor> {
    graph.value(node.inputs.get(i).copied().flatten()?).constant.as_ref()
}

fn int(node: &Node, name: &str, default: i64) -> i64 {
    match node.operator.attrs.get(name) {
        Some(Attr::Int(i)) => *i,
        _ => default,
    }
}

fn product<'a>(graph: &'a Graph, node: &Node) -> Result<Product<'a>, &'static str> {
    let weights = constant(graph, node, 1).ok_or("the weights are no constant")?;
    let bias = constant(graph, node, 2);
    let has_bias = node.inputs.get(2).copied().flatten().is_some();
    let (s, len) = (weights.shape(), weights.len());
    if has_bias && bias.is_none() {
        return Err("the bias is no constant");
    }
    if !weights.dtype().is_float() || len == 0 || s.len() < 2 {
        return Err("the weights are not floats");
    }
    let group = usize::try_from(int(node, "group", 1)).unwrap_or(1).max(1);
    let p = Product { weights, bias, rank: s.len(), channels: s[0], run: len / s[0], period: s[0], group: len };
    let p = match node.operator.op_type.as_str() {
        "Conv" => p,
        "ConvTranspose" if !s[0].is_multiple_of(group) => return Err("the weights do not make its groups"),
        "ConvTranspose" => {
            let run = s[2..].iter().product();
            Product { channels: s[1] * group, run, period: s[1], group: (len / group).max(1), ..p }
        }
        _ if matches!(node.operator.attrs.get("beta"), Some(Attr::Float(b)) if *b != 1.0) => {
            return Err("the bias is scaled");
        }
        _ if int(node, "transB", 0) != 0 => p,
        _ => Product { channels: s[1], run: 1, period: s[1], ..p },
    };
    let fits = p.bias.is_none_or(|b| by_channel(b, b.rank().max(1) - 1, b.rank().max(1), p.channels).is_some());
    fits.then_some(p).ok_or("the bias is not by column")
}

/// The values for each channel, which is `axis` of a tensor of rank `rank` that `t` broadcasts to.
fn by_channel(t: &Tensor, axis: usize, rank: usize, channels: usize) -> Option<Vec<f64>> {
    let lead = rank.checked_sub(t.rank())?;
    let fits = |(i, d): (usize, &usize)| *d == 1 || (lead + i == axis && *d == channels);
    if !t.dtype().is_float() || !t.shape().iter().enumerate().all(fits) {
        return None;
    }
    let values = t.to_f64s().ok()?;
    match values[..] {
        [one] => Some(vec![one; channels]),
        _ => Some(values),
    }
}

/// What `node` does to the channels of `v`, of rank `rank`; `None` when that is no business of this pass.
fn after(graph: &Graph, node: &Node, v: ValueId, rank: usize, channels: usize) -> Result<Option<Affine>, &'static str> {
    if !node.operator.domain.is_empty() {
        return Ok(None);
    }
    let name = node.operator.op_type.as_str();
    match name {
        "BatchNormalization" if node.inputs.first() == Some(&Some(v)) => statistics(graph, node, channels).map(Some),
        "Add" | "Sub" | "Mul" | "Div" => {
            let side = if node.inputs.first() == Some(&Some(v)) { 1 } else { 0 };
            let other = constant(graph, node, side).ok_or("the other operand is no constant")?;
            let other = by_channel(other, 1, rank, channels).ok_or("the other operand is not by channel")?;
            let ones = |x: f64| vec![x; channels];
            let negated = || other.iter().map(|x| -x).collect();
            Ok(Some(match (name, side) {
                ("Add", _) => Affine { scale: ones(1.0), shift: other },
                ("Sub", 1) => Affine { scale: ones(1.0), shift: negated() },
                ("Sub", _) => Affine { scale: ones(-1.0), shift: other },
                ("Mul", _) => Affine { scale: other, shift: ones(0.0) },
                ("Div", 1) => Affine { scale: other.iter().map(|x| 1.0 / x).collect(), shift: ones(0.0) },
                _ => return Err("it divides by the result"),
            }))
        }
        _ => Ok(None),
    }
}

/// What an inference BatchNormalization does.
fn statistics(graph: &Graph, node: &Node, channels: usize) -> Result<Affine, &'static str> {
    if int(node, "training_mode", 0) != 0 || node.used_outputs().count() != 1 {
        return Err("it trains");
    }
    let epsilon = match node.operator.attrs.get("epsilon") {
        Some(Attr::Float(e)) => f64::from(*e),
        _ => 1e-5,
    };
    let get = |i: usize| {
        let t = constant(graph, node, i).filter(|t| t.shape() == [channels]);
        t.and_then(|t| t.to_f64s().ok()).ok_or("its parameters are no constants")
    };
    let (scale, bias, mean, variance) = (get(1)?, get(2)?, get(3)?, get(4)?);
    let scale: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let shift = bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    Ok(Affine { scale, shift })
}

/// The weights times their channels' factors; `None` where all of those are 1. They are computed when they are asked
/// for, so that no copy of all weights is held.
fn scaled(p: &Product<'_>, scale: &[f64]) -> Result<Option<Tensor>> {
    if scale.iter().all(|s| *s == 1.0) {
        return Ok(None);
    }
    let dtype = p.weights.dtype();
    let (from, scale) = (p.weights.clone(), scale.to_vec());
    let (run, period, group) = (p.run, p.period, p.group);
    let make = move || {
        let w = from.passing()?;
        let factor = |index: usize| scale[index / run % period + index / group * period];
        let made = if dtype == DType::F32 {
            // large tensors are not held as doubles
            let mut made = Vec::with_capacity(w.bytes().len());
            for (i, part) in w.bytes().chunks(run * size_of::<f32>()).enumerate() {
                let by = factor(i * run);
                let all = part.chunks_exact(size_of::<f32>()).map(bytemuck::pod_read_unaligned::<f32>);
                made.extend(all.flat_map(|x| ((f64::from(x) * by) as f32).to_ne_bytes()));
            }
            made
        } else {
            let all = w.to_f64s()?.into_iter().enumerate().map(|(i, x)| x * factor(i)).collect();
            Tensor::from_f64s(dtype, w.shape(), all)?.into_bytes()
        };
        from.release();
        Ok(made)
    };
    Tensor::deferred(dtype, p.weights.shape(), make).map(Some)
}

fn moved(p: &Product<'_>, affine: &Affine) -> Result<Tensor> {
    let old = match p.bias {
        Some(b) => by_channel(b, b.rank().max(1) - 1, b.rank().max(1), p.channels)
            .ok_or_else(|| err!(Internal, "a bias that is not by channel"))?,
        None => vec![0.0; p.channels],
    };
    let all = old.iter().zip(&affine.scale).zip(&affine.shift).map(|((b, scale), shift)| b * scale + shift).collect();
    Tensor::from_f64s(p.weights.dtype(), [p.channels], all)
}

/// Makes a Mul and an Add of each BatchNormalization of f32 with constants whose rank is known.
fn split(graph: &mut Graph) -> Result<bool> {
    let is_norm = |n: &Node| n.operator.domain.is_empty() && n.operator.op_type == "BatchNormalization";
    if !graph.nodes.iter().any(is_norm) {
        return Ok(false);
    }
    let facts: HashMap<_, _> = facts(graph);
    let mut changed = false;
    let mut nodes = vec![];
    for node in std::mem::take(&mut graph.nodes) {
        if !is_norm(&node) {
            nodes.push(node);
            continue;
        }
        let x = node.inputs.first().copied().flatten();
        let channels = constant(graph, &node, 1).map_or(0, Tensor::len);
        let made = match x.and_then(|x| facts.get(&x)) {
            Some((DType::F32, rank @ 2..)) => statistics(graph, &node, channels).map(|a| (a, *rank)),
            Some((DType::F32, _)) | None => Err("its rank is not known"),
            Some(_) => Err("it is not of f32"),
        };
        let (affine, rank) = match made {
            Ok((affine, rank)) if affine.is_finite() => (affine, rank),
            other => {
                let why = other.err().unwrap_or("a factor is not finite");
                log::debug!("fold-batch-norm: {} stays: {why}", node.path());
                nodes.push(node);
                continue;
            }
        };
        let mut shape = vec![1; rank - 1];
        shape[0] = channels;
        let half = |graph: &mut Graph, op: &str, values: Vec<f64>, from, to| -> Result<Node> {
            let t = Tensor::from_f64s(DType::F32, shape.clone(), values)?;
            let by = graph.add_constant(format!("{}/{op}", node.name), t);
            let operator = Operator::new("", op, Attrs::new(), &NodeInfo::full(14, 2, 1))?;
            let name = format!("{}/{op}", node.name);
            Ok(Node { name, operator, inputs: vec![from, Some(by)], outputs: vec![to] })
        };
        let scaled = graph.add_value(format!("{}/scaled", node.name), None);
        nodes.push(half(graph, "Mul", affine.scale, x, Some(scaled))?);
        nodes.push(half(graph, "Add", affine.shift, Some(scaled), node.outputs[0])?);
        changed = true;
    }
    graph.nodes = nodes;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Declared, Dim, parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass over a graph whose `constants` are given data; results must stay as they were.
    fn folded(text: &str, x: &[usize], constants: &[(&str, &[usize])]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(7);
        for (name, shape) in constants {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, 0.5, 2.0).unwrap());
        }
        let dims = x.iter().map(|_| Dim::Unknown).collect();
        let input = graph.inputs[0];
        graph.value_mut(input).declared = Some(Declared::Tensor { dtype: DType::F32, dims: Some(dims) });
        let inputs = [rng.tensor(DType::F32, x, -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(g.shape(), w.shape());
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
            assert!(g.to_f64s().unwrap().iter().zip(&w.to_f64s().unwrap()).all(close), "{g:?} for {w:?}");
        }
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const NORM: [(&str, &[usize]); 4] = [("s", &[6]), ("b", &[6]), ("m", &[6]), ("v", &[6])];

    #[test]
    fn a_norm_and_arithmetic_fold_into_a_convolution() {
        let text = "graph g(%x, %w, %s, %b, %m, %v, %k) -> (%y) {
            %c = Conv@13(%x, %w) {group = 2}
            %n = BatchNormalization@15(%c, %s, %b, %m, %v) {epsilon = 0.5}
            %k2 = Mul@13(%k, %n)
            %d = Sub@13(%k, %k2)
            %y = Relu@13(%d)
        }";
        let constants = [&NORM[..], &[("w", &[6, 2, 3, 3]), ("k", &[6, 1, 1])]].concat();
        assert_eq!(folded(text, &[2, 4, 5, 5], &constants), ["Conv", "Relu"]);
    }

    #[test]
    fn groups_of_transposed_convolutions_have_their_channels() {
        let text = "graph g(%x, %w, %c, %s, %b, %m, %v) -> (%y) {
            %z = ConvTranspose@13(%x, %w, %c) {group = 2}
            %y = BatchNormalization@15(%z, %s, %b, %m, %v)
        }";
        let constants = [&NORM[..], &[("w", &[4, 3, 2, 2]), ("c", &[6])]].concat();
        assert_eq!(folded(text, &[1, 4, 3, 3], &constants), ["ConvTranspose"]);
    }

    #[test]
    fn gemm_folds_both_ways_round() {
        for (attrs, shape) in [("{transB = 1}", [6, 3]), ("{alpha = 0.5}", [3, 6])] {
            let text = format!(
                "graph g(%x, %w, %c, %k) -> (%y) {{
                %z = Gemm@13(%x, %w, %c) {attrs}
                %y = Div@13(%z, %k)
            }}"
            );
            assert_eq!(folded(&text, &[5, 3], &[("w", &shape), ("c", &[1, 6]), ("k", &[6])]), ["Gemm"]);
        }
    }

    #[test]
    fn a_result_with_two_readers_and_operands_of_other_shapes_stay() {
        let text = "graph g(%x, %w) -> (%y, %c) {
            %c = Conv@13(%x, %w)
            %y = Mul@13(%c, %w)
        }";
        assert_eq!(folded(text, &[1, 6, 4, 4], &[("w", &[6, 6, 1, 1])]), ["Conv", "Mul"]);
        let text = "graph g(%x, %w, %k) -> (%y) {
            %c = Conv@13(%x, %w)
            %y = Mul@13(%c, %k)
        }";
        assert_eq!(folded(text, &[1, 6, 4, 6], &[("w", &[6, 6, 1, 1]), ("k", &[6])]), ["Conv", "Mul"]);
    }

    #[test]
    fn a_norm_before_a_convolution_becomes_elementwise() {
        let text = "graph g(%x, %w, %s, %b, %m, %v) -> (%y) {
            %n = BatchNormalization@15(%x, %s, %b, %m, %v)
            %r = Relu@13(%n)
            %y = Conv@13(%r, %w)
        }";
        let constants = [&NORM[..], &[("w", &[2, 6, 1, 1])]].concat();
        assert_eq!(folded(text, &[2, 6, 3, 3], &constants), ["Mul", "Add", "Relu", "Conv"]);
    }
}
