//! Folds an AveragePool whose windows tile the plane into the pointwise Conv that it alone reads: one Conv with the
//! window as its kernel and stride, and the weights divided by the window's size. The mean of products with one set of
//! weights is one longer product; the products themselves, larger than their means, are never stored.

use std::collections::HashSet;

use super::dead_code;
use crate::Result;
use crate::dtype::DType;
use crate::ir::{Attr, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut changed = false;
    for i in 0..graph.nodes.len() {
        let pool = &graph.nodes[i];
        let Some(v) = pool.inputs.first().copied().flatten().filter(|_| is_op(pool, "AveragePool")) else { continue };
        let Some(at) = producers.get(&v).copied().filter(|at| is_op(&graph.nodes[*at], "Conv")) else { continue };
        let conv = &graph.nodes[at];
        let alone = !kept.contains(&v) && consumers.get(&v).is_some_and(|all| all.len() == 1);
        let window = if alone { window(graph, conv, pool) } else { Err("its result has other readers") };
        let (kernel, weights) = match window {
            Ok(found) => found,
            Err(why) => {
                log::debug!("fold-pool: {} stays behind {}: {why}", pool.path(), conv.path());
                continue;
            }
        };
        let mut attrs = conv.operator.attrs.clone();
        attrs.remove("auto_pad");
        attrs.remove("pads");
        for name in ["kernel_shape", "strides"] {
            attrs.insert(name.into(), Attr::Ints(kernel.iter().map(|k| *k as i64).collect()));
        }
        let taps = kernel.iter().product::<usize>();
        let all: Vec<f64> = weights.to_f64s()?.iter().flat_map(|w| vec![w / taps as f64; taps]).collect();
        let weights = Tensor::from_f64s(weights.dtype(), [&weights.shape()[..2], &kernel].concat(), all)?;
        let info = NodeInfo {
            inputs: conv.inputs.iter().map(Option::is_some).collect(),
            ..NodeInfo::full(conv.operator.opset, 0, 1)
        };
        let operator = Operator::new("", "Conv", attrs, &info)?;
        let (name, mut inputs) = (conv.name.clone(), conv.inputs.clone());
        inputs[1] = Some(graph.add_constant(format!("{name}/pooled weights"), weights));
        let outputs = graph.nodes[i].outputs.clone();
        graph.nodes[i] = Node { name, operator, inputs, outputs };
        changed = true;
    }
    if changed {
        dead_code::run(graph)?;
    }
    Ok(changed)
}

fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

fn ints<'a>(node: &'a Node, name: &str) -> &'a [i64] {
    match node.operator.attrs.get(name) {
        Some(Attr::Ints(list)) => list,
        _ => &[],
    }
}

/// The window and the weights of a convolution without one, or why the two are not folded.
fn window<'a>(graph: &'a Graph, conv: &Node, pool: &Node) -> Result<(Vec<usize>, &'a Tensor), &'static str> {
    let weights = conv.inputs.get(1).copied().flatten().and_then(|v| graph.value(v).constant.as_ref());
    let weights = weights.ok_or("the weights are no constant")?;
    let shape = weights.shape();
    if shape.len() < 3 || shape[2..].iter().any(|k| *k != 1) {
        return Err("the convolution has a window of its own");
    }
    let dims = shape.len() - 2;
    for node in [conv, pool] {
        let auto = node.operator.attrs.get("auto_pad");
        if !matches!(auto, None | Some(Attr::Str(_))) || ints(node, "pads").iter().any(|p| *p != 0) {
            return Err("there is padding");
        }
        if let Some(Attr::Str(mode)) = auto
            && !(mode == "VALID" || mode == "NOTSET" || mode.is_empty())
        {
            return Err("there may be padding");
        }
    }
    if ints(conv, "strides").iter().any(|s| *s != 1) {
        return Err("the convolution leaves pixels out");
    }
    if matches!(pool.operator.attrs.get("ceil_mode"), Some(Attr::Int(c)) if *c != 0) {
        return Err("partial windows divide by less");
    }
    let kernel = ints(pool, "kernel_shape");
    if kernel.len() != dims || ints(pool, "strides") != kernel || ints(pool, "dilations").iter().any(|d| *d != 1) {
        return Err("its windows do not tile the plane");
    }
    let kernel: Vec<usize> = kernel.iter().map(|k| usize::try_from(*k).unwrap_or(0)).collect();
    let taps = crate::shape::numel(&kernel);
    if !(1..=64).contains(&taps) {
        return Err("its windows are too large to be weights");
    }
    if !(weights.dtype() == DType::F32 || weights.dtype() == DType::F64 || taps.is_power_of_two()) {
        return Err("the weights are too coarse to be divided");
    }
    Ok((kernel, weights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass; results must stay as they were.
    fn folded(conv: &str, pool: &str) -> Vec<String> {
        let text = format!(
            "graph g(%x, %w, %b) -> (%y) {{
                %p = Conv@13(%x, %w, %b) {{{conv}}}
                %y = AveragePool@19(%p) {{{pool}}}
            }}"
        );
        let mut graph = parse(&text).unwrap();
        let mut rng = Rng::new(3);
        for (name, shape) in [("w", &[4, 3, 1, 1][..]), ("b", &[4])] {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, -1.0, 1.0).unwrap());
        }
        let inputs = [rng.tensor(DType::F32, &[2, 3, 7, 9], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert_eq!(got[0].shape(), want[0].shape());
        for (a, b) in got[0].to_f64s().unwrap().iter().zip(want[0].to_f64s().unwrap()) {
            approx::assert_abs_diff_eq!(*a, b, epsilon = 1e-6);
        }
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn means_join_pointwise_convolutions() {
        assert_eq!(folded("", "kernel_shape = [2, 2], strides = [2, 2]"), ["Conv"]);
        assert_eq!(folded("auto_pad = \"SAME_UPPER\"", "kernel_shape = [2, 2], strides = [2, 2]").len(), 2);
        assert_eq!(folded("pads = [0, 0, 0, 0]", "kernel_shape = [3, 1], strides = [3, 1]"), ["Conv"]);
    }

    #[test]
    fn windows_that_overlap_are_padded_or_partial_stay() {
        let both = ["Conv", "AveragePool"];
        assert_eq!(folded("", "kernel_shape = [3, 3], strides = [2, 2]"), both);
        assert_eq!(folded("", "kernel_shape = [2, 2]"), both);
        assert_eq!(folded("", "kernel_shape = [2, 2], strides = [2, 2], pads = [1, 0, 0, 0]"), both);
        assert_eq!(folded("", "kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1"), both);
        assert_eq!(folded("strides = [2, 1]", "kernel_shape = [2, 2], strides = [2, 2]"), both);
        assert_eq!(folded("pads = [1, 1, 1, 1]", "kernel_shape = [2, 2], strides = [2, 2]"), both);
    }
}
