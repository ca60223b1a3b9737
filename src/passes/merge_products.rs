//! Products of one value with constant matrices (queries, keys and values of attention) become one product with all
//! their columns, which a Split hands out. Biases behind all of them are joined likewise.

use std::collections::{HashMap, HashSet};

use super::dead_code;
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// What may read some of the columns without a copy, and would not join the product as an epilogue.
const READERS: &[&str] = &["Reshape", "Transpose", "Unsqueeze", "Squeeze", "Shape", "MatMul", "Attention"];

/// A product that may be merged.
struct Branch {
    product: usize,
    /// What is read of it in the end.
    result: ValueId,
    /// `[k, n]`
    weights: Tensor,
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
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "MatMul")) {
        let Some(x) = node.inputs.first().copied().flatten() else { continue };
        if consumers.get(&x).is_none_or(|all| all.len() < 2) {
            continue;
        }
        match branch(graph, &consumers, i) {
            Ok(b) => {
                let alike = format!("{} {} {}", b.weights.dtype(), b.weights.shape()[0], b.bias.is_some());
                found.entry((x, alike)).or_default().push(b);
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

fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

/// Node `i`, a product, as a branch, or why it is none.
fn branch(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, i: usize) -> Result<Branch, &'static str> {
    let node = &graph.nodes[i];
    let constant = |v: Option<ValueId>| v.and_then(|v| graph.value(v).constant.as_ref());
    let weights = constant(node.inputs.get(1).copied().flatten()).ok_or("the weights are no constant")?;
    let &[_, n] = weights.shape() else { return Err("the weights are no matrix") };
    if weights.is_empty() {
        return Err("the weights are empty");
    }
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
    if !readers(result).iter().all(|n| READERS.iter().any(|name| is_op(&graph.nodes[*n], name))) {
        return Err("a reader would copy its part, or join the product");
    }
    Ok(Branch { product: i, result, weights: weights.clone(), bias })
}

/// The nodes that make the results of all branches.
fn merged(graph: &mut Graph, group: &[Branch]) -> Result<Vec<Node>> {
    let first = graph.nodes[group[0].product].clone();
    let name = first.name.clone();
    let matrices: Vec<Tensor> = group.iter().map(|b| b.weights.clone()).collect();
    let rows = matrices[0].shape()[0];
    let columns = matrices.iter().map(|t| t.shape()[1]).sum();
    let weights = Tensor::beside(matrices, rows, &[rows, columns])?;
    let weights = graph.add_constant(format!("{name}/merged weights"), weights);
    let mut made = graph.add_value(format!("{name}/merged"), None);
    let inputs = vec![first.inputs[0], Some(weights)];
    let mut nodes = vec![Node { name: name.clone(), operator: first.operator, inputs, outputs: vec![Some(made)] }];
    let biases: Vec<Tensor> = group.iter().filter_map(|b| b.bias.clone()).collect();
    if !biases.is_empty() {
        let bias = graph.add_constant(format!("{name}/merged bias"), Tensor::concat(&biases)?);
        let y = graph.add_value(format!("{name}/biased"), None);
        let operator = Operator::new("", "Add", Attrs::new(), &NodeInfo::full(13, 2, 1))?;
        nodes.push(Node { name: name.clone(), operator, inputs: vec![Some(made), Some(bias)], outputs: vec![Some(y)] });
        made = y;
    }
    let sizes: Vec<i64> = group.iter().map(|b| b.weights.shape()[1] as i64).collect();
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
    fn products_with_functions_behind_them_stay() {
        let gated = "%p = MatMul@13(%x, %v)
            %q = MatMul@13(%x, %v)
            %s = Sigmoid@13(%p)
            %y = Mul@13(%s, %q)";
        assert_eq!(after(gated), ["MatMul", "MatMul", "Sigmoid", "Mul"]);
    }
}
