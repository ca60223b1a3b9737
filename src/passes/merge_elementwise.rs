//! Elementwise operators, or groups of them, that read what others make or read become one with these: one dispatch with
//! several results, which reads once what both need. The last of the passes: by now epilogues and prologues have taken
//! what they can.
//!
//! Only floats of one rank are merged: shapes, which integers may tell, must stay known before the run where they are.
//! Where results turn out to differ in shape, lowering makes them one after the other.

use std::collections::HashSet;

use super::facts::facts;
use super::fuse_elementwise::{binds, joined, on_the_host};
use crate::Result;
use crate::ir::{Graph, Node, ValueId};
use crate::ops::{epilogue, fused};

/// What one dispatch binds on every device.
const MOST_BOUND: usize = 8;
/// Readers of a value beyond which they are not compared with each other.
const MOST_READERS: usize = 16;

/// Runs the pass.
///
/// # Errors
/// `InvalidNode` when the fused operator refuses its members.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let host = on_the_host(graph);
    let mut changed = false;
    let mut at = 0;
    while at < graph.nodes.len() {
        match partner(graph, &host, at) {
            // the place now holds another node, or the pair
            Some(first) => {
                merge(graph, first, at)?;
                changed = true;
            }
            None => at += 1,
        }
    }
    Ok(changed)
}

/// Whether a node is a function of single elements on the device, of floats alone.
fn is_group(graph: &Graph, host: &HashSet<ValueId>, node: &Node) -> bool {
    let alone = epilogue::is_fused(node) || fused::can_join_in(graph, node);
    let all = || node.used_inputs().chain(node.used_outputs());
    // what is joined to others is made where these lie
    let joined = |n: &Node| n.operator.op_type == "Concat" && n.used_inputs().any(|v| node.outputs.contains(&Some(v)));
    alone
        && !graph.nodes.iter().any(joined)
        && node.outputs.iter().all(Option::is_some)
        && !all().any(|v| host.contains(&v))
}

/// An earlier node that node `second` may be one with.
fn partner(graph: &Graph, host: &HashSet<ValueId>, second: usize) -> Option<usize> {
    let node = &graph.nodes[second];
    if !is_group(graph, host, node) {
        return None;
    }
    let large: Vec<ValueId> = node.used_inputs().filter(|v| graph.value(*v).constant.is_none()).collect();
    let near = |first: &usize| {
        let other = &graph.nodes[*first];
        other.used_outputs().chain(other.used_inputs()).any(|v| large.contains(&v))
    };
    let candidates = (0..second).rev().filter(near).filter(|first| is_group(graph, host, &graph.nodes[*first]));
    let known = std::cell::OnceCell::new();
    let rank = |n: &Node| {
        let facts = known.get_or_init(|| facts(graph));
        let all: Option<Vec<usize>> =
            n.used_outputs().map(|v| facts.get(&v).filter(|f| f.0.is_float()).map(|f| f.1)).collect();
        all.filter(|all| all.windows(2).all(|w| w[0] == w[1]))?.first().copied()
    };
    candidates.take(MOST_READERS).find(|first| {
        let other = &graph.nodes[*first];
        fits(graph, other, node)
            && rank(other).is_some_and(|r| rank(node) == Some(r))
            && !between(graph, *first, second)
    })
}

/// Whether one dispatch binds what both read and make.
fn fits(graph: &Graph, a: &Node, b: &Node) -> bool {
    let made: HashSet<ValueId> = a.used_outputs().chain(b.used_outputs()).collect();
    let read: HashSet<ValueId> = a.used_inputs().chain(b.used_inputs()).filter(|v| binds(graph, *v)).collect();
    made.len() + read.difference(&made).count() <= MOST_BOUND
}

/// The nodes from `first` to `second` that depend on what `first` makes.
fn dependent(graph: &Graph, first: usize, second: usize) -> Vec<usize> {
    let mut made: HashSet<ValueId> = graph.nodes[first].used_outputs().collect();
    let mut all = vec![];
    for i in first + 1..second {
        if graph.nodes[i].used_inputs().any(|v| made.contains(&v)) {
            made.extend(graph.nodes[i].used_outputs());
            all.push(i);
        }
    }
    all
}

/// Whether `second` reads what others make of what `first` makes.
fn between(graph: &Graph, first: usize, second: usize) -> bool {
    let made: HashSet<ValueId> =
        dependent(graph, first, second).iter().flat_map(|i| graph.nodes[*i].used_outputs()).collect();
    graph.nodes[second].used_inputs().any(|v| made.contains(&v))
}

/// Makes one of two nodes. It stands where the second one stood; what depends on the first one follows it.
fn merge(graph: &mut Graph, first: usize, second: usize) -> Result<()> {
    let (a, b) = (&graph.nodes[first], &graph.nodes[second]);
    let others = || graph.nodes.iter().enumerate().filter(|(i, _)| *i != second).flat_map(|(_, n)| n.used_inputs());
    let wanted: HashSet<ValueId> = others().chain(graph.outputs.iter().copied()).collect();
    let made = a.used_outputs().filter(|v| wanted.contains(v)).chain(b.used_outputs()).map(Some).collect();
    let pair = joined(graph, &[first, second], made)?;
    let later = dependent(graph, first, second);
    let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    nodes[first] = None;
    nodes[second] = None;
    let moved: Vec<Node> = later.iter().filter_map(|i| nodes[*i].take()).collect();
    let behind = nodes.split_off(second);
    graph.nodes = nodes.into_iter().flatten().chain([pair]).chain(moved).chain(behind.into_iter().flatten()).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::passes::{epilogues, fuse_elementwise};
    use crate::{Rng, Tensor, cpu};

    /// The operators after the passes, with the number of their results; the graph's results must stay as they were.
    fn after(text: &str) -> Vec<(String, usize)> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(5);
        let inputs: Vec<Tensor> =
            graph.inputs.iter().map(|_| rng.tensor(DType::F32, &[4, 4], -2.0, 2.0).unwrap()).collect();
        let want = cpu::run(&graph, &inputs).unwrap();
        for pass in [fuse_elementwise::run, epilogues::run, run] {
            pass(&mut graph).unwrap();
            verify(&graph).unwrap();
        }
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| (n.operator.op_type.clone(), n.outputs.len())).collect()
    }

    fn group(results: usize) -> (String, usize) {
        (fused::NAME.into(), results)
    }

    #[test]
    fn what_others_read_as_well_is_a_second_result() {
        let text = "graph g(%x: float[4, 4], %w: float[4, 4]) -> (%y, %z) {
            %a = Tanh@13(%x)
            %m = MatMul@13(%a, %w)
            %s = Sigmoid@13(%a)
            %p = Mul@13(%s, %x)
            %y = Softmax@13(%p)
            %z = MatMul@13(%m, %w)
        }";
        let all = after(text);
        assert_eq!(all[0], group(2));
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn readers_of_one_value_become_one() {
        let text = "graph g(%x: float[4, 4], %v: float[4, 4]) -> (%a, %b, %c) {
            %a = Sin@7(%x)
            %b = Cos@7(%x)
            %c = Mul@13(%x, %v)
        }";
        assert_eq!(after(text), [group(3)]);
    }

    #[test]
    fn what_comes_back_and_integers_stay_apart() {
        let text = "graph g(%x: float[4, 4], %w: float[4, 4]) -> (%y, %a) {
            %a = Tanh@13(%x)
            %m = MatMul@13(%a, %w)
            %n = Softmax@13(%m)
            %y = Add@13(%n, %a)
        }";
        assert!(after(text).iter().all(|(_, results)| *results == 1));
        let text = "graph g(%x: float[4, 4]) -> (%c, %d) {
            %a = Cast@13(%x) {to = 7}
            %c = Neg@13(%a)
            %d = Abs@13(%a)
        }";
        assert!(after(text).iter().all(|(_, results)| *results == 1));
    }
}
