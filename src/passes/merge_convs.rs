//! Convolutions of one input with windows alike become one with all their output channels, which a Split hands out. A
//! Relu behind some of them becomes a Max with a bound by channel: zero for theirs, minus infinity for the others.

use std::collections::{HashMap, HashSet};

use super::dead_code;
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// What may read a part of the merged channels without a copy. (A Concat has its parts written into place, so what it
/// reads is better left apart.)
const READERS: &[&str] = &["Conv", "Add", "Sum", "Sub", "Mul", "Relu", "Sigmoid", "Max", "Min", "Clip"];

/// A convolution that may be merged.
struct Branch {
    conv: usize,
    /// A Relu behind it, the only reader.
    relu: bool,
    /// What is read of it in the end.
    result: ValueId,
    weights: Tensor,
    bias: Tensor,
}

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let consumers = graph.consumers();
    let mut found: HashMap<(ValueId, String), Vec<Branch>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "Conv")) {
        let Some(x) = node.inputs.first().copied().flatten() else { continue };
        if consumers.get(&x).is_none_or(|all| all.len() < 2) {
            continue;
        }
        match branch(graph, &consumers, i) {
            Ok(b) => {
                found.entry((x, window(node, &b.weights))).or_default().push(b);
            }
            Err(why) => log::debug!("merge-convs: {} stays alone: {why}", node.path()),
        }
    }
    let mut groups: Vec<Vec<Branch>> = found.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_by_key(|g| g[0].conv);
    let mut new: HashMap<usize, Vec<Node>> = HashMap::new();
    for group in &groups {
        new.insert(group[0].conv, merged(graph, group)?);
    }
    if groups.is_empty() {
        return Ok(false);
    }
    let gone: HashSet<ValueId> = groups.iter().flatten().map(|b| b.result).collect();
    let nodes = std::mem::take(&mut graph.nodes);
    for (i, node) in nodes.into_iter().enumerate() {
        graph.nodes.extend(new.remove(&i).unwrap_or_default());
        if !node.used_outputs().any(|v| gone.contains(&v)) {
            graph.nodes.push(node);
        }
    }
    dead_code::run(graph)?;
    Ok(true)
}

fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

/// What convolutions that are merged have in common, whether it is written out or left to be the default.
fn window(node: &Node, weights: &Tensor) -> String {
    let dims = weights.rank() - 2;
    let ints = |name: &str, default: Vec<i64>| match node.operator.attrs.get(name) {
        Some(Attr::Ints(list)) => list.clone(),
        _ => default,
    };
    let lists = [("pads", vec![0; 2 * dims]), ("strides", vec![1; dims]), ("dilations", vec![1; dims])];
    let auto = match node.operator.attrs.get("auto_pad") {
        Some(Attr::Str(mode)) if mode != "NOTSET" => mode,
        _ => "",
    };
    let lists = lists.map(|(name, default)| ints(name, default));
    format!("{} {:?} {lists:?} {auto}", weights.dtype(), &weights.shape()[1..])
}

/// Node `i`, a convolution, as a branch, or why it is none.
fn branch(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, i: usize) -> Result<Branch, &'static str> {
    let node = &graph.nodes[i];
    let constant = |k: usize| node.inputs.get(k).copied().flatten().map(|v| graph.value(v).constant.as_ref());
    if matches!(node.operator.attrs.get("group"), Some(Attr::Int(g)) if *g != 1) {
        return Err("its channels are in groups");
    }
    let weights = constant(1).flatten().cloned().ok_or("the weights are no constant")?;
    if weights.is_empty() || weights.shape().len() < 3 {
        return Err("it has no window");
    }
    let bias = match constant(2) {
        None => Tensor::zeros(weights.dtype(), [weights.shape()[0]]),
        Some(bias) => bias.cloned().ok_or("the bias is no constant")?,
    };
    let [Some(mut result)] = node.outputs[..] else { return Err("it has no result") };
    let readers = |v: ValueId| consumers.get(&v).map_or(&[][..], Vec::as_slice);
    let mut relu = false;
    if let [next] = readers(result)
        && is_op(&graph.nodes[*next], "Relu")
        && !graph.outputs.contains(&result)
    {
        relu = true;
        result = graph.nodes[*next].used_outputs().next().ok_or("it has no result")?;
    }
    if graph.outputs.contains(&result) || readers(result).is_empty() {
        return Err("its result is the graph's");
    }
    let reads = |n: &usize| READERS.iter().any(|name| is_op(&graph.nodes[*n], name));
    if !readers(result).iter().all(reads) {
        return Err("a reader would copy its part");
    }
    Ok(Branch { conv: i, relu, result, weights, bias })
}

/// The nodes that make the results of all branches.
fn merged(graph: &mut Graph, group: &[Branch]) -> Result<Vec<Node>> {
    let first = graph.nodes[group[0].conv].clone();
    let dtype = group[0].weights.dtype();
    let all = |of: fn(&Branch) -> &Tensor| group.iter().map(|b| of(b).clone()).collect::<Vec<_>>();
    let sizes: Vec<usize> = group.iter().map(|b| b.weights.shape()[0]).collect();
    let channels: usize = sizes.iter().sum();
    let window = &group[0].weights.shape()[1..];
    let weights = Tensor::beside(all(|b| &b.weights), 1, &[&[channels], window].concat())?;
    let bias = Tensor::concat(&all(|b| &b.bias))?;
    let dims: Vec<usize> = [channels].into_iter().chain(window[1..].iter().map(|_| 1)).collect();
    let name = first.name.clone();
    let mut inputs = vec![first.inputs[0]];
    for (what, t) in [("weights", weights), ("bias", bias)] {
        inputs.push(Some(graph.add_constant(format!("{name}/merged {what}"), t)));
    }
    let mut made = graph.add_value(format!("{name}/merged"), None);
    let operator =
        Operator::new("", "Conv", first.operator.attrs.clone(), &NodeInfo::full(first.operator.opset, 3, 1))?;
    let mut nodes = vec![Node { name: name.clone(), operator, inputs, outputs: vec![Some(made)] }];
    if group.iter().any(|b| b.relu) {
        let bound = |b: &Branch| if b.relu { 0.0 } else { f64::NEG_INFINITY };
        let bounds = group.iter().zip(&sizes).flat_map(|(b, n)| vec![bound(b); *n]).collect();
        let bounds = graph.add_constant(format!("{name}/bounds"), Tensor::from_f64s(dtype, dims, bounds)?);
        let y = graph.add_value(format!("{name}/bounded"), None);
        let operator = Operator::new("", "Max", Attrs::new(), &NodeInfo::full(13, 2, 1))?;
        let inputs = vec![Some(made), Some(bounds)];
        nodes.push(Node { name: name.clone(), operator, inputs, outputs: vec![Some(y)] });
        made = y;
    }
    let sizes: Vec<i64> = sizes.iter().map(|n| *n as i64).collect();
    let sizes = graph.add_constant(format!("{name}/channels"), Tensor::vector(&sizes));
    let attrs = Attrs::from([("axis".into(), Attr::Int(1))]);
    let operator = Operator::new("", "Split", attrs, &NodeInfo::full(13, 2, group.len()))?;
    let outputs = group.iter().map(|b| Some(b.result)).collect();
    nodes.push(Node { name, operator, inputs: vec![Some(made), Some(sizes)], outputs });
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass; results must stay as they were.
    fn after(second: &str, tail: &str) -> Vec<String> {
        let text = format!(
            "graph g(%x, %v, %w, %b) -> (%y) {{
                %p = Conv@13(%x, %v, %b) {{pads = [1, 1, 1, 1]}}
                %r = Relu@13(%p)
                {second}
                {tail}
            }}"
        );
        let mut graph = parse(&text).unwrap();
        let mut rng = Rng::new(3);
        for (name, shape) in [("v", &[4, 3, 3, 3][..]), ("w", &[4, 3, 3, 3]), ("b", &[4])] {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, -1.0, 1.0).unwrap());
        }
        let inputs = [rng.tensor(DType::F32, &[2, 3, 5, 6], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn convolutions_alike_become_one() {
        let second = "%q = Conv@13(%x, %w) {pads = [1, 1, 1, 1], strides = [1, 1], auto_pad = \"NOTSET\"}";
        assert_eq!(after(second, "%y = Add@13(%r, %q)"), ["Conv", "Max", "Split", "Add"]);
    }

    #[test]
    fn others_stay() {
        let padded = "%q = Conv@13(%x, %w) {pads = [1, 1, 1, 1]}";
        assert_eq!(after(padded, "%y = Concat@13(%r, %q) {axis = 1}"), ["Conv", "Relu", "Conv", "Concat"]);
        let wide = "%q = Conv@13(%x, %w) {pads = [2, 0, 0, 2]}";
        assert_eq!(after(wide, "%y = Add@13(%r, %q)"), ["Conv", "Relu", "Conv", "Add"]);
    }
}
