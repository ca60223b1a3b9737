//! Lets convolutions whose windows do not overlap, pointwise ones above all, do what stands before them element by
//! element: cheap arithmetic with a constant by channel and activations, as BatchNormalization and Relu before a Conv
//! are. Interpolating Resizes do what stands before them where it reads nothing else. What other convolutions would compute again for each window that holds an element stays where it is.

use std::collections::HashSet;

use super::fuse_elementwise::{binds, join, on_the_host};
use crate::Result;
use crate::ir::{Attr, Graph, Node, ValueId};
use crate::ops::{epilogue, fused};

/// Functions that may be computed once for each tile of output channels.
const CHEAP: &[&str] = &["Add", "Clip", "DequantizeLinear", "LeakyRelu", "Max", "Min", "Mul", "Neg", "Relu", "Sub"];
/// Buffers that a dispatch binds on every device.
const BINDINGS: usize = 8;
/// Functions that may be computed for each element that a Resize reads, once for each element that it makes.
const CHEAPER: &[&str] = &["Cast", "LeakyRelu", "Neg", "Relu"];

/// Runs the pass.
///
/// # Errors
/// `InvalidNode` when the operator refuses its body.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let host = on_the_host(graph);
    let mut gone = HashSet::new();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let conv = |n: &Node| n.operator.op_type == "Conv" && epilogue::head_inputs(n).is_some();
        let ended = node.operator.domain == fused::DOMAIN && node.operator.op_type.starts_with("Conv+");
        let resize = resamples(node);
        let Some(v) = node.inputs.first().copied().flatten().filter(|_| conv(node) || ended || resize) else {
            continue;
        };
        let Some(before) = producers.get(&v).copied().filter(|p| fused::can_join_in(graph, &graph.nodes[*p])) else {
            continue;
        };
        let first = &graph.nodes[before];
        let alone = !kept.contains(&v) && consumers.get(&v).is_some_and(|all| all.len() == 1);
        let typed = !first.used_inputs().chain([v]).any(|v| host.contains(&v));
        let x = match () {
            () if !alone => Err("it has other readers"),
            () if !typed => Err("values are of types that devices have no form for"),
            () if resize => alone_before(first, node, v),
            () => source(graph, first, node),
        };
        match x {
            Ok(x) => {
                let made = begun(graph, before, i, x)?;
                graph.nodes[i] = made;
                gone.insert(before);
            }
            Err(why) => log::debug!("prologues: {} stays before {}: {why}", first.path(), node.path()),
        }
    }
    let mut at = 0..;
    graph.nodes.retain(|_| !at.next().is_some_and(|i| gone.contains(&i)));
    Ok(!gone.is_empty())
}

/// Whether a node is a Resize that interpolates, which may have an epilogue.
fn resamples(node: &Node) -> bool {
    let head = match node.operator.attrs.get("body") {
        Some(Attr::Graph(body)) if node.operator.op_type.starts_with("Resize+") => body.nodes.first(),
        _ => Some(node),
    };
    let is = |n: &&Node| n.operator.op_type == "Resize" && epilogue::head_inputs(n).is_some();
    head.filter(is).is_some_and(|n| match n.operator.attrs.get("mode") {
        Some(Attr::Str(mode)) => mode != "nearest",
        _ => false,
    })
}

/// What `first`, which makes `v`, reads, or why it does not join `resize`.
fn alone_before(first: &Node, resize: &Node, v: ValueId) -> Result<ValueId, &'static str> {
    let members = match first.operator.attrs.get("body") {
        Some(Attr::Graph(body)) => body.nodes.iter().collect(),
        _ => vec![first],
    };
    if members.iter().any(|m| !m.operator.domain.is_empty() || !CHEAPER.contains(&m.operator.op_type.as_str())) {
        return Err("it is not cheap");
    }
    let again = match resize.operator.attrs.get("body") {
        Some(Attr::Graph(body)) => {
            let x = body.inputs.first();
            body.nodes.iter().skip(1).any(|n| n.used_inputs().any(|v| Some(&v) == x))
        }
        _ => false,
    };
    if again || resize.used_inputs().filter(|i| *i == v).count() > 1 {
        return Err("it is read twice");
    }
    let mut all = first.used_inputs();
    match (all.next(), all.next()) {
        (Some(x), None) => Ok(x),
        _ => Err("it reads two values"),
    }
}

/// What `first` reads that is no constant, or why it does not join `conv`.
fn source(graph: &Graph, first: &Node, conv: &Node) -> Result<ValueId, &'static str> {
    let weights = conv.inputs.get(1).copied().flatten().and_then(|w| graph.value(w).constant.as_ref());
    let w = weights.ok_or("the weights are no constant")?.shape();
    let head = match conv.operator.attrs.get("body") {
        Some(Attr::Graph(body)) => {
            let x = body.inputs.first();
            if body.nodes.iter().skip(1).any(|n| n.used_inputs().any(|v| Some(&v) == x)) {
                return Err("the epilogue reads it too");
            }
            body.nodes.first()
        }
        _ => Some(conv),
    };
    let strides = match head.and_then(|h| h.operator.attrs.get("strides")) {
        Some(Attr::Ints(list)) => list.as_slice(),
        _ => &[],
    };
    let stride = |d: usize| strides.get(d).and_then(|s| usize::try_from(*s).ok()).unwrap_or(1);
    if w.len() < 3 || w[2..].iter().enumerate().any(|(d, k)| *k > stride(d)) {
        return Err("its windows overlap");
    }
    let group = match head.and_then(|h| h.operator.attrs.get("group")) {
        Some(Attr::Int(g)) => usize::try_from(*g).unwrap_or(1),
        _ => 1,
    };
    let members = match first.operator.attrs.get("body") {
        Some(Attr::Graph(body)) => body.nodes.iter().collect(),
        _ => vec![first],
    };
    if members.iter().any(|m| !m.operator.domain.is_empty() || !CHEAP.contains(&m.operator.op_type.as_str())) {
        return Err("it is not cheap");
    }
    let (mut x, mut constants) = (None, HashSet::new());
    for v in first.used_inputs() {
        match &graph.value(v).constant {
            Some(t) => {
                let lead = w.len().saturating_sub(t.rank());
                let by_channel =
                    |(d, n): (usize, &usize)| *n == 1 || (lead + d == 1 && Some(*n) == w[1].checked_mul(group));
                if t.rank() > w.len() || !t.shape().iter().enumerate().all(by_channel) {
                    return Err("an operand is not by channel");
                }
                constants.insert(v);
            }
            None if x.is_none_or(|x| x == v) => x = Some(v),
            None => return Err("it reads two values"),
        }
    }
    let bound = conv.used_inputs().chain(constants).filter(|v| binds(graph, *v)).count();
    if bound + 1 > BINDINGS {
        return Err("there are too many operands");
    }
    x.ok_or("it reads constants alone")
}

/// One node for what stands before, which reads `x`, and the convolution, which may have an epilogue.
fn begun(graph: &Graph, before: usize, conv: usize, x: ValueId) -> Result<Node> {
    let (first, node) = (&graph.nodes[before], &graph.nodes[conv]);
    let first = if epilogue::is_fused(first) { first.clone() } else { join(graph, &[before])? };
    let mut inputs = node.inputs.clone();
    let mut body = match node.operator.attrs.get("body") {
        Some(Attr::Graph(body)) => (**body).clone(),
        _ => {
            inputs.resize(epilogue::head_inputs(node).unwrap_or(inputs.len()), None);
            let mut body = Graph::new("body");
            let mut head = node.clone();
            head.inputs =
                inputs.iter().enumerate().map(|(k, v)| v.map(|_| body.add_value(format!("x{k}"), None))).collect();
            body.inputs = head.used_inputs().collect();
            let y = body.add_value("y", None);
            head.outputs = vec![Some(y)];
            body.outputs = vec![y];
            body.nodes.push(head);
            body
        }
    };
    let loaded = body.inputs.first().copied();
    let from = body.add_value(format!("{}/from", first.name), None);
    if let Some(v) = body.inputs.first_mut() {
        *v = from;
    }
    inputs[0] = Some(x);
    let mut reads = vec![];
    for v in &first.inputs {
        reads.push(if *v == Some(x) {
            Some(from)
        } else {
            let id = body.add_value(format!("{}/{}", first.name, reads.len()), None);
            body.inputs.push(id);
            inputs.push(*v);
            Some(id)
        });
    }
    body.nodes.insert(0, Node { inputs: reads, outputs: vec![loaded], ..first });
    let operator = epilogue::operator(body, inputs.iter().map(Option::is_some).collect())?;
    Ok(Node { name: node.name.clone(), operator, inputs, outputs: node.outputs.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::passes::{epilogues, fuse_elementwise};
    use crate::{Rng, cpu};

    fn joined(text: &str, w: &[usize]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(3);
        for (name, shape) in [("w", w), ("s", &[4, 1, 1]), ("t", &[1, 4, 1, 1])] {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, -1.0, 1.0).unwrap());
        }
        if let Ok(v) = graph.find("k") {
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(crate::Tensor::scalar(0.5f32));
        }
        let inputs = [rng.tensor(DType::F32, &[2, 4, 5, 5], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        for pass in [fuse_elementwise::run, epilogues::run, run] {
            pass(&mut graph).unwrap();
            verify(&graph).unwrap();
        }
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const TEXT: &str = "graph g(%x, %w, %s, %t) -> (%y) {
        %a = Mul@14(%x, %s)
        %b = Add@14(%a, %t)
        %r = Relu@14(%b)
        %y = Conv@11(%r, %w)
    }";

    #[test]
    fn what_was_quantised_joins_a_pointwise_convolution() {
        let text = "graph g(%x, %w, %s, %t, %k) -> (%y) {
            %q = QuantizeLinear@13(%x, %k)
            %p = Transpose@13(%q) {perm = [0, 1, 3, 2]}
            %d = DequantizeLinear@13(%p, %k)
            %y = Conv@11(%d, %w)
        }";
        assert_eq!(joined(text, &[3, 4, 1, 1]), ["QuantizeLinear", "Transpose", "Elementwise+Conv"]);
    }

    #[test]
    fn scale_shift_and_relu_join_a_pointwise_convolution() {
        assert_eq!(joined(TEXT, &[3, 4, 1, 1]), ["Elementwise+Conv"]);
        assert_eq!(joined(TEXT, &[3, 4, 3, 3]), ["Elementwise", "Conv"]);
        let ended = TEXT.replace("%y = Conv@11(%r, %w)", "%c = Conv@11(%r, %w)\n %y = Relu@14(%c)");
        assert_eq!(joined(&ended, &[3, 4, 1, 1]), ["Elementwise+Conv+Elementwise"]);
        let residual = TEXT.replace("%y = Conv@11(%r, %w)", "%c = Conv@11(%r, %w)\n %y = Add@14(%c, %r)");
        assert_eq!(joined(&residual, &[4, 4, 1, 1]), ["Elementwise", "Conv+Elementwise"]);
        let dear = TEXT.replace("%r = Relu", "%r = Erf");
        assert_eq!(joined(&dear, &[3, 4, 1, 1]), ["Elementwise", "Conv"]);
    }
}
