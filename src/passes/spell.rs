//! What passes have in common that find an operator written out: how they look, and the node that they put in its place.

use std::collections::{HashMap, HashSet};

use super::facts::facts;
use crate::Result;
use crate::ir::{Attr, Graph, Node, Operator, ValueId};
use crate::ops::spelled;

/// Whether a node is the ai.onnx operator `name`.
pub(super) fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

/// Whether a node is DequantizeLinear, ONNX's or ONNX Runtime's.
pub(super) fn is_dequantize(node: &Node) -> bool {
    let o = &node.operator;
    o.op_type == "DequantizeLinear" && matches!(o.domain.as_str(), "" | "com.microsoft")
}

/// An attribute of a node, where it is an integer.
pub(super) fn int(node: &Node, name: &str, default: i64) -> i64 {
    match node.operator.attrs.get(name) {
        Some(Attr::Int(v)) => *v,
        _ => default,
    }
}

/// Whether a Gemm scales nothing and leaves its left factor as it lies.
pub(super) fn is_plain_gemm(node: &Node) -> bool {
    let one = |name: &str| matches!(node.operator.attrs.get(name), None | Some(Attr::Float(1.0)));
    int(node, "transA", 0) == 0 && one("alpha") && one("beta")
}

/// What a search looks things up in.
pub(super) struct Look<'a> {
    pub graph: &'a Graph,
    producers: HashMap<ValueId, usize>,
    consumers: HashMap<ValueId, Vec<usize>>,
    ranks: HashMap<ValueId, usize>,
}

impl<'a> Look<'a> {
    pub fn new(graph: &'a Graph) -> Look<'a> {
        let ranks = facts(graph).into_iter().map(|(v, (_, rank))| (v, rank)).collect();
        Look { graph, producers: graph.producers(), consumers: graph.consumers(), ranks }
    }

    /// Input `k` of node `i`.
    pub fn input(&self, i: usize, k: usize) -> Option<ValueId> {
        self.graph.nodes[i].inputs.get(k).copied().flatten()
    }

    /// What node `i` makes first.
    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.graph.nodes[i].outputs.first().copied().flatten()
    }

    /// The node of this name that makes a value.
    pub fn maker(&self, v: Option<ValueId>, name: &str) -> Option<usize> {
        self.producers.get(&v?).copied().filter(|i| is_op(&self.graph.nodes[*i], name))
    }

    /// The only reader of a value, if it has this name.
    pub fn reader(&self, v: Option<ValueId>, name: &str) -> Option<usize> {
        let [i] = self.consumers.get(&v?)?[..] else { return None };
        is_op(&self.graph.nodes[i], name).then_some(i)
    }

    /// The other input of a node with two.
    pub fn other(&self, i: usize, v: Option<ValueId>) -> Option<ValueId> {
        match (self.input(i, 0), self.input(i, 1)) {
            (a, b) if a == v && b != v => b,
            (a, b) if b == v && a != v => a,
            _ => None,
        }
    }

    /// The number that a constant of one element holds.
    pub fn number(&self, v: Option<ValueId>) -> Option<f64> {
        let all = self.graph.value(v?).constant.as_ref().filter(|t| t.len() == 1)?.to_f64s().ok()?;
        all.first().copied()
    }

    /// The integers of a constant.
    pub fn ints(&self, v: Option<ValueId>) -> Option<Vec<i64>> {
        self.graph.value(v?).constant.as_ref()?.to_i64s().ok()
    }

    /// The rank of a value, if it is known.
    pub fn rank(&self, v: Option<ValueId>) -> Option<usize> {
        self.ranks.get(&v?).copied()
    }

    /// The only axis of a reduction which keeps its dims.
    pub fn kept_axis(&self, i: usize) -> Option<i64> {
        let attrs = &self.graph.nodes[i].operator.attrs;
        if matches!(attrs.get("keepdims"), Some(Attr::Int(0))) {
            return None;
        }
        let axes = match (attrs.get("axes"), self.input(i, 1)) {
            (Some(Attr::Ints(axes)), _) => axes.clone(),
            (_, v) => self.ints(v)?,
        };
        let &[axis] = &axes[..] else { return None };
        Some(axis)
    }

    /// Whether nothing reads what the members make, but for their last, save members.
    pub fn is_closed(&self, members: &[usize]) -> bool {
        let last = members.iter().max();
        let inside = |i: &usize| {
            let kept = self.output(*i).is_some_and(|v| self.graph.outputs.contains(&v));
            let readers = self.output(*i).and_then(|v| self.consumers.get(&v)).map_or(&[][..], Vec::as_slice);
            Some(i) == last || (!kept && readers.iter().all(|r| members.contains(r)))
        };
        members.iter().all(inside)
    }
}

/// One node for the members, which stand in ascending order, that spells `operator` of the values `reads`. What else
/// members read that no member makes, such as shapes, are inputs of the node behind those.
///
/// # Errors
/// `InvalidNode` when the operator takes another number of them.
pub(super) fn spelling(graph: &Graph, members: &[usize], reads: &[ValueId], operator: Operator) -> Result<Node> {
    let known = |v: &ValueId| graph.value(*v).constant.is_some();
    let mut made: HashSet<ValueId> = members.iter().flat_map(|m| graph.nodes[*m].used_outputs()).collect();
    let mut outer = reads.to_vec();
    for v in members.iter().flat_map(|m| graph.nodes[*m].used_inputs()) {
        if !reads.contains(&v) && !known(&v) && made.insert(v) {
            outer.push(v);
        }
    }
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    for v in &outer {
        let id = body.add_value(graph.value(*v).name.clone(), None);
        inner.insert(*v, id);
        body.inputs.push(id);
    }
    for m in members {
        let mut node = graph.nodes[*m].clone();
        for v in node.used_inputs().chain(node.used_outputs()) {
            let name = || graph.value(v).name.clone();
            inner.entry(v).or_insert_with(|| match &graph.value(v).constant {
                Some(t) => body.add_constant(name(), t.clone()),
                None => body.add_value(name(), None),
            });
        }
        for v in node.inputs.iter_mut().chain(&mut node.outputs) {
            *v = v.and_then(|v| inner.get(&v).copied());
        }
        body.nodes.push(node);
    }
    let last = &graph.nodes[members[members.len() - 1]];
    body.outputs = last.used_outputs().filter_map(|v| inner.get(&v).copied()).collect();

    let mut means = Graph::new("means");
    means.inputs = outer.iter().map(|v| means.add_value(graph.value(*v).name.clone(), None)).collect();
    let y = means.add_value("y", None);
    let inputs = means.inputs[..reads.len()].iter().copied().map(Some).collect();
    means.nodes.push(Node { name: last.name.clone(), operator, inputs, outputs: vec![Some(y)] });
    means.outputs.push(y);
    let inputs = outer.into_iter().map(Some).collect();
    Ok(Node {
        name: last.name.clone(),
        operator: spelled::operator(body, means)?,
        inputs,
        outputs: last.outputs.clone(),
    })
}

/// Puts nodes in the places of others, and takes away those that they stand for. Tells whether there were any.
pub(super) fn replace(graph: &mut Graph, mut made: HashMap<usize, Node>, gone: &HashSet<usize>) -> bool {
    let changed = !made.is_empty();
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    graph.nodes = nodes.filter_map(|(i, n)| made.remove(&i).or_else(|| (!gone.contains(&i)).then_some(n))).collect();
    changed
}

/// The operators that a graph has after a pass, which must leave results as they were; what is meant is near to what was
/// written.
#[cfg(test)]
pub(super) fn after(text: &str, run: fn(&mut Graph) -> Result<bool>, shapes: &[&[usize]]) -> Vec<String> {
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, Tensor, cpu};

    let mut graph = parse(text).unwrap();
    let mut rng = Rng::new(3);
    let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -1.0, 1.0).unwrap()).collect();
    let want = cpu::run(&graph, &inputs).unwrap();
    run(&mut graph).unwrap();
    verify(&graph).unwrap();
    let got = cpu::run(&graph, &inputs).unwrap();
    assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
    let mut names = vec![];
    for node in &mut graph.nodes {
        names.push(node.operator.op_type.clone());
        if let Some(Attr::Graph(means)) = node.operator.attrs.get("means") {
            let meant = means.nodes[0].clone();
            node.inputs.truncate(meant.inputs.len());
            node.operator = meant.operator;
        }
    }
    let meant = cpu::run(&graph, &inputs).unwrap();
    for (a, b) in meant.iter().zip(&want) {
        assert_eq!(a.shape(), b.shape());
        let pairs = a.to_f64s().unwrap().into_iter().zip(b.to_f64s().unwrap());
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} for {b}"));
    }
    names
}
