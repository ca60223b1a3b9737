//! Of nodes that make the same of the same values, one is enough: the later ones go, and their readers read what the first
//! one makes. Small constants of the same bits count as one value.

use std::collections::HashMap;

use super::dead_code;
use crate::Result;
use crate::ir::{Graph, Node, ValueId};

/// Elements up to which constants are compared.
const SMALL: usize = 64;

/// An operator's domain, name and opset, and what it reads.
type Key = (String, String, i64, Vec<Option<ValueId>>);

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut same = equal_constants(graph);
    let mut first: HashMap<Key, Vec<usize>> = HashMap::new();
    let mut changed = false;
    let mut nodes: Vec<Node> = vec![];
    for mut node in std::mem::take(&mut graph.nodes) {
        for v in node.inputs.iter_mut().flatten() {
            *v = same.get(v).copied().unwrap_or(*v);
        }
        let o = &node.operator;
        if o.op.deterministic() && o.op.bodies().is_empty() {
            let key = (o.domain.clone(), o.op_type.clone(), o.opset, node.inputs.clone());
            let like = first.entry(key).or_default();
            // what the caller asks for has a name of its own
            let kept = node.used_outputs().any(|v| graph.outputs.contains(&v));
            if let Some(one) = like.iter().find(|i| !kept && is_same(&nodes[**i], &node)) {
                same.extend(node.used_outputs().zip(nodes[*one].used_outputs()));
                changed = true;
                continue;
            }
            like.push(nodes.len());
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
    if changed {
        dead_code::run(graph)?;
    }
    Ok(changed)
}

/// Whether two nodes of one operator and the same inputs make the same.
fn is_same(a: &Node, b: &Node) -> bool {
    let outputs = |n: &Node| n.outputs.iter().map(Option::is_some).collect::<Vec<_>>();
    let (x, y) = (&a.operator.attrs, &b.operator.attrs);
    outputs(a) == outputs(b) && x.len() == y.len() && x.iter().zip(y).all(|((a, x), (b, y))| a == b && x.same(y))
}

/// For each small constant, the first of those with the same bits.
fn equal_constants(graph: &Graph) -> HashMap<ValueId, ValueId> {
    let mut first: HashMap<(String, Vec<usize>, &[u8]), ValueId> = HashMap::new();
    let mut same = HashMap::new();
    for (id, v) in graph.values() {
        let Some(t) = v.constant.as_ref().filter(|t| t.len() <= SMALL && t.dtype().size() > 0) else { continue };
        let one = *first.entry((t.dtype().to_string(), t.shape().to_vec(), t.bytes())).or_insert(id);
        if one != id {
            same.insert(id, one);
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, Tensor, cpu};

    /// The operators after the pass, which must leave results as they were.
    fn after(text: &str) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let inputs: Vec<Tensor> = vec![Rng::new(3).tensor(DType::F32, &[4, 6], -2.0, 2.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn chains_that_are_there_twice_are_there_once() {
        let text = "graph g(%x) -> (%y) {
            %two = float[] {2.0}
            %also = float[] {2.0}
            %a = Mul@13(%x, %two)
            %b = Exp@13(%a)
            %c = Mul@13(%x, %also)
            %d = Exp@13(%c)
            %y = Add@13(%b, %d)
        }";
        assert_eq!(after(text), ["Mul", "Exp", "Add"]);
    }

    #[test]
    fn other_attributes_inputs_and_results_of_the_graph_stay() {
        let text = "graph g(%x) -> (%p, %q, %y) {
            %a = Softmax@13(%x) {axis = 0}
            %b = Softmax@13(%x) {axis = 1}
            %c = Sub@13(%a, %b)
            %d = Sub@13(%b, %a)
            %y = Add@13(%c, %d)
            %p = Relu@13(%x)
            %q = Relu@13(%x)
        }";
        assert_eq!(after(text).len(), 7);
    }

    #[test]
    fn random_draws_stay() {
        let text = "graph g(%x) -> (%y) {
            %a = RandomNormalLike@22(%x) {seed = 1.0}
            %b = RandomNormalLike@22(%x) {seed = 1.0}
            %y = Sub@13(%a, %b)
        }";
        let mut graph = parse(text).unwrap();
        run(&mut graph).unwrap();
        assert_eq!(graph.nodes.len(), 3);
    }
}
