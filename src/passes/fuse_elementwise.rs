//! Joins trees of elementwise operators into one node each, whose members stand in its body: one dispatch instead of
//! many, and no intermediate result in memory.
//!
//! A node joins its consumer when all readers of its result are members already and the group still reads at most
//! [`MOST_INPUTS`] values. So a group has one result, and no path leaves it and comes back. Members are computed at the
//! shape of the group's result: right, since each is a function of single elements and broadcasting commutes with it.

use std::collections::{HashMap, HashSet};

use crate::dtype::DType;
use crate::ir::{Declared, Graph, Node, TensorType, ValueId};
use crate::ops::{epilogue, fused};
use crate::{Result, Tensor};

/// What one dispatch binds on every device, less the result.
const MOST_INPUTS: usize = 7;

/// Runs the pass.
///
/// # Errors
/// `InvalidNode` when the fused operator refuses its members.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let host = on_the_host(graph);
    let can_join =
        |n: &Node| fused::can_join_in(graph, n) && !n.used_inputs().chain(n.used_outputs()).any(|v| host.contains(&v));
    let mut taken = vec![false; graph.nodes.len()];
    let mut fused: HashMap<usize, Node> = HashMap::new();
    for root in (0..graph.nodes.len()).rev() {
        if taken[root] || !can_join(&graph.nodes[root]) {
            continue;
        }
        let joins = |v: ValueId, members: &[usize]| {
            let maker = *producers.get(&v)?;
            let inside = consumers.get(&v)?.iter().all(|c| members.contains(c));
            let free = !taken[maker] && inside && !kept.contains(&v);
            (free && can_join(&graph.nodes[maker])).then_some(maker)
        };
        let members = grow(graph, root, joins);
        if members.len() > 1 {
            members.iter().for_each(|m| taken[*m] = true);
            fused.insert(root, join(graph, &members)?);
        }
    }
    let changed = !fused.is_empty();
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    // a group stands where its last member stood: all it reads is made by then
    graph.nodes = nodes.filter_map(|(i, n)| fused.remove(&i).or_else(|| (!taken[i]).then_some(n))).collect();
    Ok(changed)
}

/// Values of element types that devices have no form for, or (doubles) not in every operator, as far as declarations, constants and casts tell: their
/// readers must not draw neighbours to the host.
pub(super) fn on_the_host(graph: &Graph) -> HashSet<ValueId> {
    let mut types: HashMap<ValueId, TensorType> = HashMap::new();
    for (id, v) in graph.values() {
        let declared = v.constant.as_ref().map(Tensor::dtype).or(v.declared.as_ref().and_then(Declared::dtype));
        types.extend(declared.map(|d| (id, TensorType::new(d, []))));
    }
    for node in graph.nodes.iter().filter(|n| n.operator.op.elementwise().is_some()) {
        // what is unknown is most likely this
        for v in node.used_inputs() {
            types.entry(v).or_insert_with(|| TensorType::new(DType::F32, []));
        }
        if let Ok(made) = fused::infer_member(node, &types) {
            types.extend(node.used_outputs().zip(made));
        }
    }
    types.into_iter().filter(|(_, t)| t.dtype.device().is_none() || t.dtype == DType::F64).map(|(v, _)| v).collect()
}

/// The members of the group whose result is that of `root`, ascending.
fn grow(graph: &Graph, root: usize, joins: impl Fn(ValueId, &[usize]) -> Option<usize>) -> Vec<usize> {
    let mut members = vec![root];
    loop {
        let inputs = reads(graph, &members);
        // the latest first: whatever reads an earlier one has been asked by then
        let mut next: Vec<usize> = inputs.iter().filter_map(|v| joins(*v, &members)).collect();
        next.sort_unstable();
        let fits = |m: &usize| {
            let mut with = members.clone();
            with.push(*m);
            reads(graph, &with).iter().filter(|v| binds(graph, **v)).count() <= MOST_INPUTS
        };
        match next.into_iter().rev().find(fits) {
            Some(m) => members.push(m),
            None => break,
        }
    }
    members.sort_unstable();
    members
}

/// Whether a dispatch binds a value that it reads: numbers stand among its params.
pub(super) fn binds(graph: &Graph, v: ValueId) -> bool {
    graph.value(v).constant.as_ref().is_none_or(|t| t.len() != 1)
}

/// The values that the members read from outside, in order of first use.
fn reads(graph: &Graph, members: &[usize]) -> Vec<ValueId> {
    let made: HashSet<ValueId> = members.iter().flat_map(|m| graph.nodes[*m].used_outputs()).collect();
    let mut out = vec![];
    for v in members.iter().flat_map(|m| graph.nodes[*m].used_inputs()) {
        if !made.contains(&v) && !out.contains(&v) {
            out.push(v);
        }
    }
    out
}

/// One node for the members, which are in topological order and the last of which makes the result.
pub(super) fn join(graph: &Graph, members: &[usize]) -> Result<Node> {
    let outputs = members.last().map(|m| graph.nodes[*m].outputs.clone()).unwrap_or_default();
    joined(graph, members, outputs)
}

/// One node for the members, some of which may be such nodes themselves, that makes `outputs`.
pub(super) fn joined(graph: &Graph, members: &[usize], outputs: Vec<Option<ValueId>>) -> Result<Node> {
    let inputs = reads(graph, members);
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    for v in &inputs {
        let id = body.add_value(graph.value(*v).name.clone(), graph.value(*v).declared.clone());
        inner.insert(*v, id);
        body.inputs.push(id);
    }
    for node in members.iter().map(|m| &graph.nodes[*m]) {
        if !epilogue::is_fused(node) {
            add(&mut body, &mut inner, graph, node);
            continue;
        }
        let own = epilogue::members(node)?;
        let to = |v: &Option<ValueId>| v.and_then(|v| inner.get(&v).copied());
        let pairs = own.inputs.iter().zip(&node.inputs);
        let mut within: HashMap<ValueId, ValueId> = pairs.filter_map(|(v, outer)| Some((*v, to(outer)?))).collect();
        own.nodes.iter().for_each(|n| add(&mut body, &mut within, own, n));
        let made = node.outputs.iter().zip(&own.outputs);
        inner.extend(made.filter_map(|(outer, v)| Some(((*outer)?, *within.get(v)?))));
    }
    body.outputs = outputs.iter().flatten().filter_map(|v| inner.get(v).copied()).collect();
    let name = members.last().map(|m| graph.nodes[*m].name.clone()).unwrap_or_default();
    let inputs = inputs.into_iter().map(Some).collect();
    Ok(Node { name, operator: fused::operator(body)?, inputs, outputs })
}

/// Adds a node of `from` to a body; `inner` tells which of the body's values are those of `from`.
fn add(body: &mut Graph, inner: &mut HashMap<ValueId, ValueId>, from: &Graph, node: &Node) {
    for v in node.used_outputs() {
        inner.insert(v, body.add_value(from.value(v).name.clone(), from.value(v).declared.clone()));
    }
    let mut node = node.clone();
    for v in node.inputs.iter_mut().chain(&mut node.outputs) {
        *v = v.and_then(|v| inner.get(&v).copied());
    }
    body.nodes.push(node);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ir::{Attrs, Operator, parse, verify};
    use crate::ops::NodeInfo;
    use crate::{Rng, cpu};

    /// The operators after the pass, which must leave results as they were.
    fn fuse(text: &str, shapes: &[&[usize]]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(1);
        let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -2.0, 2.0).unwrap()).collect();
        check(&mut graph, &inputs);
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    fn check(graph: &mut Graph, inputs: &[Tensor]) {
        let want = cpu::run(graph, inputs).unwrap();
        run(graph).unwrap();
        verify(graph).unwrap();
        let got = cpu::run(graph, inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
    }

    #[test]
    fn a_chain_becomes_one() {
        let text = "graph g(%x, %b) -> (%y) {
            %a = Add@13(%x, %b)
            %r = Relu@13(%a)
            %y = Mul@13(%r, %x)
        }";
        assert_eq!(fuse(text, &[&[2, 3], &[3]]), ["Elementwise"]);
    }

    #[test]
    fn a_result_with_other_readers_stays() {
        let text = "graph g(%x, %w) -> (%y, %z, %r) {
            %r = Relu@13(%x)
            %e = Exp@13(%r)
            %y = MatMul@13(%e, %w)
            %z = Add@13(%e, %y)
        }";
        assert_eq!(fuse(text, &[&[2, 2], &[2, 2]]), ["Relu", "Exp", "MatMul", "Add"]);
    }

    #[test]
    fn readers_that_are_all_members_are_no_obstacle() {
        let text = "graph g(%x, %w) -> (%y) {
            %m = MatMul@13(%x, %w)
            %a = Add@13(%m, %x)
            %s = Sigmoid@13(%a)
            %p = Mul@13(%a, %s)
            %y = MatMul@13(%p, %w)
        }";
        assert_eq!(fuse(text, &[&[2, 2], &[2, 2]]), ["MatMul", "Elementwise", "MatMul"]);
    }

    #[test]
    fn groups_read_what_a_dispatch_binds() {
        let text = "graph g(%a, %b, %c, %d, %e, %f, %g, %h, %i) -> (%y) {
            %s1 = Add@13(%a, %b)
            %s2 = Add@13(%s1, %c)
            %s3 = Add@13(%s2, %d)
            %s4 = Add@13(%s3, %e)
            %s5 = Add@13(%s4, %f)
            %s6 = Add@13(%s5, %g)
            %s7 = Add@13(%s6, %h)
            %y = Add@13(%s7, %i)
        }";
        let shape: &[usize] = &[3];
        assert_eq!(fuse(text, &[shape; 9]), ["Elementwise", "Elementwise"]);
    }

    #[test]
    fn quantisation_joins_where_its_parameters_broadcast() {
        let text = "graph g(%x, %s, %z, %n) -> (%y) {
            %q = QuantizeLinear@13(%x, %s, %z)
            %d = DequantizeLinear@13(%q, %s, %z)
            %a = Add@13(%d, %n)
            %b = Mul@13(%a, %n)
            %t = QuantizeLinear@13(%b, %s, %z)
            %y = DequantizeLinear@13(%t, %s, %z)
        }";
        let fused = |shape: &[usize]| {
            let mut graph = parse(text).unwrap();
            let scale = Rng::new(2).tensor(DType::F32, shape, 0.5, 1.5).unwrap();
            for (name, t) in [("s", scale), ("z", Tensor::zeros(DType::U8, shape)), ("n", Tensor::scalar(2f32))] {
                let v = graph.find(name).unwrap();
                graph.inputs.retain(|i| *i != v);
                graph.value_mut(v).constant = Some(t);
            }
            check(&mut graph, &[Rng::new(1).tensor(DType::F32, &[2, 3, 4], -2.0, 2.0).unwrap()]);
            graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fused(&[]), ["Elementwise"]);
        let apart = ["QuantizeLinear", "DequantizeLinear", "Elementwise", "QuantizeLinear", "DequantizeLinear"];
        assert_eq!(fused(&[3]), apart);
    }

    #[test]
    fn numbers_are_not_bound() {
        let text = "graph g(%x, %a, %b, %c, %d, %e, %f, %g, %h) -> (%y) {
            %s1 = Add@13(%x, %a)
            %s2 = Add@13(%s1, %b)
            %s3 = Add@13(%s2, %c)
            %s4 = Add@13(%s3, %d)
            %s5 = Add@13(%s4, %e)
            %s6 = Add@13(%s5, %f)
            %s7 = Add@13(%s6, %g)
            %y = Add@13(%s7, %h)
        }";
        let mut graph = parse(text).unwrap();
        for v in graph.inputs.split_off(1) {
            graph.value_mut(v).constant = Some(Tensor::scalar(0.5f32));
        }
        check(&mut graph, &[Tensor::vector(&[1f32, 2.0])]);
        assert_eq!(graph.nodes.len(), 1);
    }

    #[test]
    fn absent_inputs_and_casts_join_and_host_types_do_not() {
        let text = "graph g(%x, %top) -> (%y) {
            %c = Clip@13(%x, _, %top)
            %i = Cast@13(%c) {to = 6}
            %n = Neg@13(%i)
            %d = Cast@13(%n) {to = 11}
            %y = Relu@13(%d)
        }";
        assert_eq!(fuse(text, &[&[5], &[]]), ["Elementwise", "Cast", "Relu"]);
        let text = "graph g(%x) -> (%y) {
            %a = Neg@13(%x)
            %d = Cast@13(%a) {to = 11}
            %e = Exp@13(%d)
            %f = Cast@13(%e) {to = 1}
            %r = Relu@13(%f)
            %y = Neg@13(%r)
        }";
        assert_eq!(fuse(text, &[&[5]]), ["Neg", "Cast", "Exp", "Cast", "Elementwise"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Random graphs of unary and binary functions over shapes that broadcast.
        #[test]
        fn random_graphs_keep_their_results(steps in prop::collection::vec((0usize..9, 0usize..100, 0usize..100), 1..24),
                                            outs in 1usize..4) {
            let mut graph = Graph::new("random");
            let shapes: [&[usize]; 4] = [&[2, 3, 4], &[3, 1], &[], &[1, 4]];
            let mut rng = Rng::new(steps.len() as u64);
            let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -2.0, 2.0).unwrap()).collect();
            let mut values: Vec<ValueId> = (0..4).map(|i| graph.add_value(format!("x{i}"), None)).collect();
            graph.inputs.clone_from(&values);
            for (k, (op, a, b)) in steps.iter().enumerate() {
                let name = ["Add", "Mul", "Sub", "Max", "Relu", "Neg", "Tanh", "Softmax", "Abs"][*op];
                let arity = if *op < 4 { 2 } else { 1 };
                let pick = |i: &usize| Some(values[values.len() - 1 - i % values.len().min(5)]);
                let operator = Operator::new("", name, Attrs::new(), &NodeInfo::full(13, arity, 1)).unwrap();
                let inputs = [*a, *b][..arity].iter().map(pick).collect();
                let y = graph.add_value(format!("y{k}"), None);
                graph.nodes.push(Node { name: format!("y{k}"), operator, inputs, outputs: vec![Some(y)] });
                values.push(y);
            }
            graph.outputs = values.iter().rev().take(outs).copied().collect();
            // Softmax has no axis at rank 0
            prop_assume!(cpu::run(&graph, &inputs).is_ok());
            check(&mut graph, &inputs);
        }
    }
}
