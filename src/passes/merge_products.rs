//! Products of one value with constant matrices (queries, keys and values of attention) become one product with all
//! their columns, which a Split hands out. Biases behind all of them are joined likewise. The matrices may be MatMulNBits's.

use std::collections::{HashMap, HashSet};

use super::dead_code;
use super::spell::{int, is_op};
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// What may read some of the columns without a copy, and would not join the product as an epilogue.
const READERS: &[&str] = &[
    "Reshape",
    "Transpose",
    "Unsqueeze",
    "Squeeze",
    "Shape",
    "MatMul",
    "Attention",
    "RotaryEmbedding",
    "GroupQueryAttention",
];

/// A product that may be merged.
struct Branch {
    product: usize,
    /// What is read of it in the end.
    result: ValueId,
    columns: usize,
    /// The constants that the product reads: `[k, n]`, or those of MatMulNBits, which have the columns first.
    weights: Vec<Option<Tensor>>,
    /// `[n]`
    bias: Option<Tensor>,
}

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let consumers = graph.consumers();
    let mut found: HashMap<(ValueId, String), Vec<Branch>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "MatMul") || is_packed(n)) {
        let Some(x) = node.inputs.first().copied().flatten() else { continue };
        if consumers.get(&x).is_none_or(|all| all.len() < 2) {
            continue;
        }
        match branch(graph, &consumers, i) {
            Ok(b) => {
                found.entry((x, alike(node, &b))).or_default().push(b);
            }
            Err(why) => log::debug!("merge-products: {} stays alone: {why}", node.path()),
        }
    }
    let mut groups: Vec<Vec<Branch>> = found.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_by_key(|g| g[0].product);
    let mut new: HashMap<usize, Vec<Node>> = HashMap::new();
    for group in &groups {
        new.insert(group[0].product, merged(graph, group)?);
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

fn is_packed(node: &Node) -> bool {
    node.operator.domain == "com.microsoft" && node.operator.op_type == "MatMulNBits"
}

/// What products that are merged have in common.
fn alike(node: &Node, b: &Branch) -> String {
    let rest = |t: &Tensor| match is_packed(node) {
        true => t.len() / b.columns,
        false => t.shape()[0],
    };
    let weights: Vec<_> = b.weights.iter().map(|t| t.as_ref().map(|t| (t.dtype(), t.shape().len(), rest(t)))).collect();
    let attrs: Vec<_> = ["K", "bits", "block_size", "accuracy_level"].iter().map(|a| int(node, a, -1)).collect();
    format!("{} {weights:?} {attrs:?} {}", node.operator.op_type, b.bias.is_some())
}

/// The constants of node `i`, a product, and its columns.
fn weights(graph: &Graph, i: usize) -> Result<(Vec<Option<Tensor>>, usize), &'static str> {
    let node = &graph.nodes[i];
    let constant = |v: &Option<ValueId>| match v {
        Some(v) => graph.value(*v).constant.clone().map(Some).ok_or("the weights are no constant"),
        None => Ok(None),
    };
    let weights: Vec<Option<Tensor>> = node.inputs.iter().skip(1).map(constant).collect::<Result<_, _>>()?;
    if weights.iter().flatten().any(Tensor::is_empty) {
        return Err("the weights are empty");
    }
    let Some(Some(first)) = weights.first() else { return Err("there are no weights") };
    if !is_packed(node) {
        let &[_, n] = first.shape() else { return Err("the weights are no matrix") };
        return Ok((weights, n));
    }
    let n = usize::try_from(int(node, "N", 0)).unwrap_or(0);
    let by_column = |t: &Tensor| n > 0 && t.shape().first().is_some_and(|d| d.is_multiple_of(n));
    if first.shape().first() != Some(&n) || !weights.iter().flatten().all(by_column) {
        return Err("the weights do not have the columns first");
    }
    // g_idx, which tells a block for each row
    match weights.get(3) {
        Some(Some(_)) => Err("its blocks are not in order"),
        _ => Ok((weights, n)),
    }
}

/// Node `i`, a product, as a branch, or why it is none.
fn branch(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, i: usize) -> Result<Branch, &'static str> {
    let node = &graph.nodes[i];
    let constant = |v: Option<ValueId>| v.and_then(|v| graph.value(v).constant.as_ref());
    let (weights, n) = weights(graph, i)?;
    let [Some(mut result)] = node.outputs[..] else { return Err("it has no result") };
    let readers = |v: ValueId| consumers.get(&v).map_or(&[][..], Vec::as_slice);
    let mut bias = None;
    if let [next] = readers(result)
        && is_op(&graph.nodes[*next], "Add")
        && !graph.outputs.contains(&result)
    {
        let add = &graph.nodes[*next];
        let other = add.used_inputs().find(|v| *v != result);
        let by_column = constant(other).filter(|t| t.shape() == [n]).ok_or("what is added is no bias")?;
        bias = Some(by_column.clone());
        result = add.used_outputs().next().ok_or("it has no result")?;
    }
    if graph.outputs.contains(&result) || readers(result).is_empty() {
        return Err("its result is the graph's");
    }
    if !readers(result).iter().all(|n| READERS.contains(&graph.nodes[*n].operator.op_type.as_str())) {
        return Err("a reader would copy its part, or join the product");
    }
    Ok(Branch { product: i, result, columns: n, weights, bias })
}

/// The nodes that make the results of all branches.
fn merged(graph: &mut Graph, group: &[Branch]) -> Result<Vec<Node>> {
    let first = graph.nodes[group[0].product].clone();
    let name = first.name.clone();
    let columns = group.iter().map(|b| b.columns).sum::<usize>();
    let mut inputs = vec![first.inputs[0]];
    for i in 0..group[0].weights.len() {
        let parts: Vec<Tensor> = group.iter().filter_map(|b| b.weights[i].clone()).collect();
        let Some(part) = parts.first() else {
            inputs.push(None);
            continue;
        };
        let mut shape = part.shape().to_vec();
        let all = if is_packed(&first) {
            shape[0] = parts.iter().map(|t| t.shape()[0]).sum();
            Tensor::concat(&parts)?.reshaped(shape)?
        } else {
            let rows = shape[0];
            Tensor::beside(parts, rows, &[rows, columns])?
        };
        inputs.push(Some(graph.add_constant(format!("{name}/merged weights {i}"), all)));
    }
    let mut operator = first.operator;
    if operator.op_type == "MatMulNBits" {
        let mut attrs = operator.attrs.clone();
        attrs.insert("N".into(), Attr::Int(columns as i64));
        let present = inputs.iter().map(Option::is_some).collect();
        let info = NodeInfo { inputs: present, ..NodeInfo::full(operator.opset, 0, 1) };
        operator = Operator::new(&operator.domain, &operator.op_type, attrs, &info)?;
    }
    let mut made = graph.add_value(format!("{name}/merged"), None);
    let mut nodes = vec![Node { name: name.clone(), operator, inputs, outputs: vec![Some(made)] }];
    let biases: Vec<Tensor> = group.iter().filter_map(|b| b.bias.clone()).collect();
    if !biases.is_empty() {
        let bias = graph.add_constant(format!("{name}/merged bias"), Tensor::concat(&biases)?);
        let y = graph.add_value(format!("{name}/biased"), None);
        let operator = Operator::new("", "Add", Attrs::new(), &NodeInfo::full(13, 2, 1))?;
        nodes.push(Node { name: name.clone(), operator, inputs: vec![Some(made), Some(bias)], outputs: vec![Some(y)] });
        made = y;
    }
    let sizes: Vec<i64> = group.iter().map(|b| b.columns as i64).collect();
    let sizes = graph.add_constant(format!("{name}/columns"), Tensor::vector(&sizes));
    let attrs = Attrs::from([("axis".into(), Attr::Int(-1))]);
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
    fn after(body: &str) -> Vec<String> {
        let mut graph = parse(&format!("graph g(%x, %v, %w, %b, %c) -> (%y) {{ {body} }}")).unwrap();
        let mut rng = Rng::new(3);
        for (name, shape) in [("v", &[6, 4][..]), ("w", &[6, 8]), ("b", &[4]), ("c", &[8])] {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, -1.0, 1.0).unwrap());
        }
        let inputs = [rng.tensor(DType::F32, &[2, 3, 6], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn products_of_one_value_become_one() {
        let plain = "%p = MatMul@13(%x, %v)
            %q = MatMul@13(%x, %w)
            %t = Transpose@13(%p) {perm = [0, 2, 1]}
            %y = MatMul@13(%t, %q)";
        assert_eq!(after(plain), ["MatMul", "Split", "Transpose", "MatMul"]);
        let biased = "%m = MatMul@13(%x, %v)
            %p = Add@13(%b, %m)
            %n = MatMul@13(%x, %w)
            %q = Add@13(%n, %c)
            %t = Transpose@13(%p) {perm = [0, 2, 1]}
            %y = MatMul@13(%t, %q)";
        assert_eq!(after(biased), ["MatMul", "Add", "Split", "Transpose", "MatMul"]);
    }

    #[test]
    fn products_with_weights_of_few_bits_become_one() {
        let text = "graph g(%x, %b, %s, %z, %c, %t, %u) -> (%y) {
            %p = \"com.microsoft\"::MatMulNBits@1(%x, %b, %s, %z) {K = 24, N = 3, bits = 4, block_size = 16}
            %q = \"com.microsoft\"::MatMulNBits@1(%x, %c, %t, %u) {K = 24, N = 5, bits = 4, block_size = 16}
            %r = Transpose@13(%q) {perm = [1, 0]}
            %y = MatMul@13(%r, %p)
        }";
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(4);
        for (n, names) in [(3, ["b", "s", "z"]), (5, ["c", "t", "u"])] {
            for (name, d, shape) in [
                (names[0], DType::U8, vec![n, 2, 8]),
                (names[1], DType::F32, vec![2 * n]),
                (names[2], DType::U8, vec![n]),
            ] {
                let v = graph.find(name).unwrap();
                graph.inputs.retain(|i| *i != v);
                let high = if d == DType::U8 { 256.0 } else { 1.0 };
                graph.value_mut(v).constant = Some(rng.tensor(d, &shape, 0.0, high).unwrap());
            }
        }
        let inputs = [rng.tensor(DType::F32, &[7, 24], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got[0].same_bits(&want[0]), "{got:?} for {want:?}");
        let left: Vec<&str> = graph.nodes.iter().map(|n| n.operator.op_type.as_str()).collect();
        assert_eq!(left, ["MatMulNBits", "Split", "Transpose", "MatMul"]);
    }

    #[test]
    fn weights_of_other_shapes_stay() {
        let text = "graph g(%x, %b, %s) -> (%y) {
            %p = \"com.microsoft\"::MatMulNBits@1(%x, %b, %s) {K = 16, N = 1, bits = 4, block_size = 16}
            %q = \"com.microsoft\"::MatMulNBits@1(%x, %b, %s) {K = 16, N = 1, bits = 4, block_size = 16}
            %r = Transpose@13(%q) {perm = [1, 0]}
            %y = MatMul@13(%r, %p)
        }";
        let mut graph = parse(text).unwrap();
        for (name, t) in [("b", Tensor::scalar(7u8)), ("s", Tensor::scalar(1f32))] {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(t);
        }
        assert!(!run(&mut graph).unwrap());
    }

    #[test]
    fn products_with_functions_behind_them_stay() {
        let gated = "%p = MatMul@13(%x, %v)
            %q = MatMul@13(%x, %v)
            %s = Sigmoid@13(%p)
            %y = Mul@13(%s, %q)";
        assert_eq!(after(gated), ["MatMul", "MatMul", "Sigmoid", "Mul"]);
    }
}
