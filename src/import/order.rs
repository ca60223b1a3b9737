//! Topological order of nodes by name.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use onnx_proto::{GraphProto, NodeProto};

use crate::ops::qualified;
use crate::{Result, bail};

/// How an error message calls a node that may have no name.
pub(super) fn label(n: &NodeProto) -> String {
    let op = qualified(n.domain(), n.op_type());
    let name = if n.name().is_empty() { n.output.iter().find(|o| !o.is_empty()).map_or("", |o| o) } else { n.name() };
    format!("{name} ({op})")
}

/// The order in which nodes can run; nodes that already stand in order keep it.
///
/// # Errors
/// `InvalidModel` when a value is made twice or nodes form a cycle.
pub(super) fn order(nodes: &[NodeProto]) -> Result<Vec<usize>> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, n) in nodes.iter().enumerate() {
        for o in n.output.iter().filter(|o| !o.is_empty()) {
            if let Some(first) = maker.insert(o, i) {
                bail!(InvalidModel, "value {o:?} is made by {} and by {}", label(&nodes[first]), label(n));
            }
        }
    }
    let mut readers: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    let mut waits: Vec<HashSet<usize>> = Vec::with_capacity(nodes.len());
    for (i, n) in nodes.iter().enumerate() {
        let needs: HashSet<usize> = uses(n).into_iter().filter_map(|name| maker.get(name).copied()).collect();
        needs.iter().for_each(|from| readers[*from].push(i));
        waits.push(needs);
    }
    let mut left: Vec<usize> = waits.iter().map(HashSet::len).collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        left.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| Reverse(i)).collect();
    let mut out = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        out.push(i);
        for r in &readers[i] {
            left[*r] -= 1;
            if left[*r] == 0 {
                ready.push(Reverse(*r));
            }
        }
    }
    if let Some(stuck) = left.iter().position(|n| *n > 0) {
        bail!(InvalidModel, "nodes form a cycle through {}", label(&nodes[on_cycle(stuck, &waits, &left)]));
    }
    Ok(out)
}

/// Follows unmet needs until a node comes again: that one lies on the cycle, `start` may only wait for it.
fn on_cycle(start: usize, waits: &[HashSet<usize>], left: &[usize]) -> usize {
    let mut seen = HashSet::new();
    let mut at = start;
    while seen.insert(at) {
        at = waits[at].iter().copied().filter(|n| left[*n] > 0).min().unwrap_or(at);
    }
    at
}

/// The names that a node reads, those that its bodies take from outside included.
fn uses(n: &NodeProto) -> Vec<&str> {
    let mut out: Vec<&str> = n.input.iter().filter(|i| !i.is_empty()).map(String::as_str).collect();
    for a in &n.attribute {
        a.g.iter().chain(&a.graphs).for_each(|g| out.extend(free_names(g)));
    }
    out
}

fn free_names(g: &GraphProto) -> HashSet<&str> {
    let mut made: HashSet<&str> = g.input.iter().map(|v| v.name()).collect();
    made.extend(g.initializer.iter().map(|t| t.name()));
    made.extend(g.sparse_initializer.iter().filter_map(|t| t.values.as_ref()).map(|t| t.name()));
    made.extend(g.node.iter().flat_map(|n| &n.output).map(String::as_str));
    let used = g.node.iter().flat_map(uses).chain(g.output.iter().map(|o| o.name()));
    used.filter(|name| !made.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let own = |s: &[&str]| s.iter().map(|s| s.to_string()).collect();
        NodeProto { op_type: Some(op.into()), input: own(inputs), output: own(outputs), ..Default::default() }
    }

    #[test]
    fn sorts_stably_and_names_the_cycle() {
        let nodes = [node("C", &["b"], &["c"]), node("A", &["x"], &["a"]), node("B", &["a"], &["b"])];
        assert_eq!(order(&nodes).unwrap(), [1, 2, 0]);
        let sorted = [node("A", &[], &["a"]), node("B", &[], &["b"]), node("C", &["a"], &["c"])];
        assert_eq!(order(&sorted).unwrap(), [0, 1, 2]);
        let cycle = [node("After", &["a"], &["z"]), node("A", &["b"], &["a"]), node("B", &["a"], &["b"])];
        let e = order(&cycle).unwrap_err().to_string();
        assert!(e.contains("cycle through a (A)") || e.contains("cycle through b (B)"), "{e}");
        let own = [node("A", &["a"], &["a"])];
        assert!(order(&own).is_err());
        let twice = [node("A", &[], &["a"]), node("B", &[], &["a"])];
        let e = order(&twice).unwrap_err().to_string();
        assert!(e.contains("\"a\" is made by a (A) and by a (B)"), "{e}");
    }
}
