//! Joins softmax(q × kᵀ) × v into one node: the two products, what the scores and the weights go through between them,
//! and factors of q and kᵀ. Shapes are not known here: where one dispatch does not do, lowering runs the members one
//! after the other, as if this pass had not joined them.

use std::collections::{HashMap, HashSet};

use super::spell::{is_op, replace};
use crate::Result;
use crate::ir::{Graph, Node, ValueId};
use crate::ops::attended;

/// Runs the pass.
///
/// # Errors
/// `InvalidNode` when the operator refuses its body.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    // the maker of a value that nothing but its one reader uses
    let alone = |v: Option<ValueId>| {
        let v = v.filter(|v| !kept.contains(v) && consumers.get(v).is_some_and(|all| all.len() == 1))?;
        producers.get(&v).copied()
    };
    let mut made: HashMap<usize, Node> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    for (last, product) in graph.nodes.iter().enumerate() {
        if !is_op(product, "MatMul") {
            continue;
        }
        let members = match members(graph, last, &producers, &alone) {
            Ok(Some(members)) => members,
            Ok(None) => continue,
            Err(why) => {
                log::debug!("fuse-attention: {} stays alone: {why}", product.path());
                continue;
            }
        };
        made.insert(last, joined(graph, &members)?);
        gone.extend(members);
    }
    Ok(replace(graph, made, &gone))
}

/// The members that end in the product `last`, in their order in the node made of them, or why there are none; nothing
/// where the product has no softmax before it.
fn members(
    graph: &Graph,
    last: usize,
    producers: &HashMap<ValueId, usize>,
    alone: &impl Fn(Option<ValueId>) -> Option<usize>,
) -> Result<Option<Vec<usize>>, &'static str> {
    let nodes = &graph.nodes;
    let maker = |v: Option<ValueId>| producers.get(&v?).copied();
    let input = |i: usize, k: usize| nodes[i].inputs.get(k).copied().flatten();
    let constant = |v: Option<ValueId>| v.and_then(|v| graph.value(v).constant.as_ref());
    let mut tail = vec![last];
    let mut weights = input(last, 0);
    let Some(before) = maker(weights) else { return Ok(None) };
    if let Some([x, fill]) = attended::guarded(&nodes[before]) {
        let zero = constant(Some(fill)).is_some_and(|t| t.to_f64s().is_ok_and(|all| all == [0.0]));
        if !zero || alone(weights) != Some(before) {
            return Ok(None);
        }
        tail.push(before);
        weights = Some(x);
    }
    let Some(softmax) = maker(weights).filter(|i| is_op(&nodes[*i], "Softmax")) else { return Ok(None) };
    if alone(weights) != Some(softmax) {
        return Err("the weights have other readers");
    }
    tail.push(softmax);
    let Some(scores) = maker(input(softmax, 0)).filter(|i| attended::is_scores(&nodes[*i])) else {
        return Err("the softmax is not one of a product");
    };
    if alone(input(softmax, 0)) != Some(scores) {
        return Err("the scores have other readers");
    }
    if constant(input(scores, 0)).or(constant(input(scores, 1))).or(constant(input(last, 1))).is_some() {
        return Err("a factor is a constant");
    }
    tail.push(scores);
    for side in [0, 1] {
        let mut v = input(scores, side);
        while let Some(i) = alone(v).filter(|i| attended::is_factor(&nodes[*i])) {
            if constant(input(i, 1)).is_none_or(|t| t.len() != 1) {
                break;
            }
            tail.push(i);
            v = input(i, 0);
        }
    }
    // factors of factors come first
    tail.reverse();
    Ok(Some(tail))
}

/// One node for the members.
fn joined(graph: &Graph, members: &[usize]) -> Result<Node> {
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    let mut inputs = vec![];
    let made: HashSet<ValueId> = members.iter().flat_map(|m| graph.nodes[*m].used_outputs()).collect();
    for m in members {
        for v in graph.nodes[*m].used_inputs() {
            if !made.contains(&v) && !inner.contains_key(&v) {
                let id = body.add_value(graph.value(v).name.clone(), graph.value(v).declared.clone());
                inner.insert(v, id);
                body.inputs.push(id);
                inputs.push(Some(v));
            }
        }
    }
    for m in members {
        let mut node = graph.nodes[*m].clone();
        for v in node.used_outputs() {
            inner.insert(v, body.add_value(graph.value(v).name.clone(), graph.value(v).declared.clone()));
        }
        for v in node.inputs.iter_mut().chain(&mut node.outputs) {
            *v = v.and_then(|v| inner.get(&v).copied());
        }
        body.nodes.push(node);
    }
    let last = &graph.nodes[members[members.len() - 1]];
    body.outputs = last.used_outputs().filter_map(|v| inner.get(&v).copied()).collect();
    Ok(Node { name: last.name.clone(), operator: attended::operator(body)?, inputs, outputs: last.outputs.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::{epilogues, fuse_elementwise};
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, Tensor, cpu};

    /// The operators after the pass; results must stay as they were.
    fn after(between: &str, product: &str) -> Vec<String> {
        let text = format!(
            "graph g(%q, %k, %v, %m) -> (%y) {{
                %c = float[] {{0.5}}
                %zero = float[] {{0.0}}
                {between}
                {product}
            }}"
        );
        let mut graph = parse(&text).unwrap();
        let mut rng = Rng::new(3);
        let shapes: [&[usize]; 4] = [&[2, 5, 8], &[2, 8, 6], &[2, 6, 4], &[5, 6]];
        let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -1.0, 1.0).unwrap()).collect();
        let want = cpu::run(&graph, &inputs).unwrap();
        fuse_elementwise::run(&mut graph).unwrap();
        epilogues::run(&mut graph).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const ALL: &str = "MatMul+Softmax+MatMul";

    #[test]
    fn scaled_masked_and_guarded_attention_becomes_one() {
        let plain = "%s = MatMul@13(%q, %k)\n %p = Softmax@13(%s)";
        assert_eq!(after(plain, "%y = MatMul@13(%p, %v)"), [ALL]);
        let full = "%a = Mul@13(%q, %c)
            %b = Div@13(%k, %c)
            %s = MatMul@13(%a, %b)
            %t = Add@13(%s, %m)
            %p = Softmax@13(%t) {axis = -1}
            %n = IsNaN@13(%p)
            %w = Where@13(%n, %zero, %p)";
        assert_eq!(after(full, "%y = MatMul@13(%w, %v)"), [ALL]);
    }

    #[test]
    fn weights_and_scores_that_others_read_stay() {
        let scores = "%s = MatMul@13(%q, %k)\n %p = Softmax@13(%s)\n %r = MatMul@13(%p, %v)\n %z = ReduceSum@13(%s)";
        assert_eq!(after(scores, "%y = Add@13(%r, %z)"), ["MatMul", "Softmax", "ReduceSum", "MatMul+Elementwise"]);
        let weights = "%s = MatMul@13(%q, %k)\n %p = Softmax@13(%s)\n %r = MatMul@13(%p, %v)\n %z = ReduceSum@13(%p)";
        assert_eq!(after(weights, "%y = Add@13(%r, %z)"), ["MatMul", "Softmax", "ReduceSum", "MatMul+Elementwise"]);
    }
}
