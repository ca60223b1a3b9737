//! Loops of a few steps that are known beforehand become as many copies of their body: no segment ends for them, and what
//! the steps compute folds and fuses with its neighbours.

use std::collections::HashMap;

use crate::ir::{Attr, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;
use crate::{Result, err};

/// Steps of a loop that is unrolled.
const STEPS: i64 = 16;
/// Nodes that all copies of a body may have.
const NODES: usize = 512;

/// Runs the pass.
///
/// # Errors
/// Those of the parser of Concat and Unsqueeze.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    for node in std::mem::take(&mut graph.nodes) {
        match steps(graph, &node) {
            Some((steps, body)) => {
                unroll(graph, &node, body, steps)?;
                changed = true;
            }
            None => graph.nodes.push(node),
        }
    }
    Ok(changed)
}

/// The steps and the body of a loop that is to be unrolled.
fn steps(graph: &Graph, node: &Node) -> Option<(i64, Graph)> {
    if !matches!(node.operator.domain.as_str(), "" | "ai.onnx") || node.operator.op_type != "Loop" {
        return None;
    }
    let [body] = node.operator.op.bodies()[..] else { return None };
    let one = |v: ValueId| graph.value(v).constant.as_ref().filter(|t| t.len() == 1)?.to_i64s().ok()?.first().copied();
    let count = one((*node.inputs.first()?)?)?;
    if let Some(condition) = node.inputs.get(1).copied().flatten() {
        // the body's own condition must not end the loop either
        let made = *body.outputs.first()?;
        let goes_on = origin(body, made) == Some(body.inputs[1]) || always(body, made);
        if one(condition)? != 1 || !goes_on {
            return None;
        }
    }
    let formal = body.inputs.len().checked_sub(body.captures + 2)?;
    let scans = body.outputs.len().checked_sub(1 + formal)?;
    let few = (0..=STEPS).contains(&count) && (count > 0 || scans == 0);
    let small = few && body.nodes.len() * count.max(1) as usize <= NODES;
    let plain = body.nodes.iter().all(|n| n.operator.op.bodies().is_empty());
    let given = node.inputs.len() == body.inputs.len() && node.inputs[2..].iter().all(Option::is_some);
    // an output may be a constant or an input: those are passed on as they are
    (small && plain && given).then(|| (count, (**body).clone()))
}

/// What a value is a copy of.
fn origin(body: &Graph, v: ValueId) -> Option<ValueId> {
    let mut v = v;
    for n in body.nodes.iter().rev() {
        if n.outputs.first() == Some(&Some(v)) && n.operator.op_type == "Identity" {
            v = n.inputs.first().copied().flatten()?;
        }
    }
    Some(v)
}

/// Whether a value is a constant true.
fn always(body: &Graph, v: ValueId) -> bool {
    let constant = origin(body, v).and_then(|v| body.value(v).constant.as_ref());
    constant.and_then(|t| t.to_i64s().ok()).is_some_and(|t| t == [1])
}

fn unroll(graph: &mut Graph, node: &Node, body: Graph, steps: i64) -> Result<()> {
    let formal = body.inputs.len() - body.captures - 2;
    let inputs: Vec<ValueId> = node.inputs[2..].iter().flatten().copied().collect();
    let (carried, captured) = inputs.split_at(formal);
    let mut carried = carried.to_vec();
    let mut scans: Vec<Vec<ValueId>> = vec![vec![]; body.outputs.len() - 1 - formal];
    // counts and conditions are scalars, or vectors of one where the body declares them so
    let like = |v: ValueId, t: Tensor| {
        let rank = body.value(v).declared.as_ref().and_then(|d| d.dims()).map_or(0, <[_]>::len);
        t.reshaped(vec![1; rank.min(1)])
    };
    for step in 0..steps {
        let name = |what: &str| format!("{}/{step}/{what}", node.name);
        let count = graph.add_constant(name("count"), like(body.inputs[0], Tensor::scalar(step))?);
        let goes_on = graph.add_constant(name("condition"), like(body.inputs[1], Tensor::scalar(true))?);
        let mut of: HashMap<ValueId, ValueId> = HashMap::new();
        of.extend(body.inputs.iter().copied().zip([count, goes_on].iter().chain(&carried).chain(captured).copied()));
        for (v, value) in body.values().filter(|(_, v)| v.constant.is_some()) {
            let copy = graph.add_value(name(&value.name), value.declared.clone());
            graph.value_mut(copy).constant = value.constant.clone();
            of.insert(v, copy);
        }
        for n in &body.nodes {
            for v in n.used_outputs() {
                let value = body.value(v);
                of.insert(v, graph.add_value(name(&value.name), value.declared.clone()));
            }
            let place = |v: &Option<ValueId>| v.and_then(|v| of.get(&v).copied());
            let copy = Node {
                name: name(&n.name),
                operator: n.operator.clone(),
                inputs: n.inputs.iter().map(place).collect(),
                outputs: n.outputs.iter().map(place).collect(),
            };
            graph.nodes.push(copy);
        }
        let made = body.outputs[1..].iter().map(|v| of.get(v).copied()).collect::<Option<Vec<ValueId>>>();
        let made = made.ok_or_else(|| err!(Internal, "{}: an output of the body is not there", node.path()))?;
        carried = made[..formal].to_vec();
        scans.iter_mut().zip(&made[formal..]).for_each(|(list, v)| list.push(*v));
    }
    let mut made = carried;
    for (i, parts) in scans.into_iter().enumerate() {
        if node.outputs.get(formal + i).copied().flatten().is_none() {
            continue;
        }
        made.push(stack(graph, node, i, &parts)?);
    }
    let used = node.outputs.iter().enumerate().filter(|(i, v)| *i < formal || v.is_some());
    let outputs: Vec<Option<ValueId>> = used.map(|(_, v)| *v).collect();
    for (old, new) in outputs.into_iter().zip(made) {
        let Some(old) = old else { continue };
        // the output keeps its name
        add(graph, node, "Identity", &[new], Some(old), &[])?;
    }
    Ok(())
}

/// The parts along a new first axis.
fn stack(graph: &mut Graph, node: &Node, i: usize, parts: &[ValueId]) -> Result<ValueId> {
    let axes = graph.add_constant(format!("{}/axes of {i}", node.name), Tensor::vector(&[0i64]));
    let rows = parts.iter().map(|v| add(graph, node, "Unsqueeze", &[*v, axes], None, &[]));
    let rows = rows.collect::<Result<Vec<ValueId>>>()?;
    add(graph, node, "Concat", &rows, None, &[("axis", 0)])
}

/// Adds a node of ai.onnx.
fn add(
    graph: &mut Graph,
    node: &Node,
    op: &str,
    inputs: &[ValueId],
    output: Option<ValueId>,
    attrs: &[(&str, i64)],
) -> Result<ValueId> {
    let name = format!("{}/{op} {}", node.name, graph.nodes.len());
    let out = output.unwrap_or_else(|| graph.add_value(name.clone(), None));
    let attrs = attrs.iter().map(|(k, v)| ((*k).to_string(), Attr::Int(*v))).collect();
    // the form in which the axes of Unsqueeze are an input
    let operator = Operator::new("", op, attrs, &NodeInfo::full(node.operator.opset.max(13), inputs.len(), 1))?;
    let inputs = inputs.iter().copied().map(Some).collect();
    graph.nodes.push(Node { name, operator, inputs, outputs: vec![Some(out)] });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Case;
    use crate::rng::Rng;
    use crate::{DType, cpu};

    /// The case with its first two inputs as constants, before and after; whether it was unrolled.
    fn unrolled(body: &str, count: i64, condition: Option<bool>, outputs: usize) -> bool {
        let case = Case::new("Loop", 16).outputs(outputs).constant(Tensor::scalar(count));
        let case = match condition {
            Some(c) => case.constant(Tensor::scalar(c)),
            None => case.absent(),
        };
        let case = case.rand(DType::F32, &[2, 3]).rand(DType::F32, &[3]);
        let case = case.attr("body", Attr::Graph(std::sync::Arc::new(crate::ir::parse(body).unwrap())));
        let (graph, data) = case.build(&mut Rng::new(1)).unwrap();
        let want = cpu::run(&graph, &data).unwrap();
        let mut after = graph.clone();
        let changed = run(&mut after).unwrap();
        crate::ir::verify(&after).unwrap();
        let got = cpu::run(&after, &data).unwrap();
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(&want).all(|(g, w)| g.same_bits(w)), "{got:?} for {want:?}");
        assert_eq!(changed, after.nodes.iter().all(|n| n.operator.op_type != "Loop"));
        changed
    }

    const STEP: &str = "graph body(%i: int64[], %c: bool[], %x; %k) -> (%d, %z, %s) {
        %d = Identity@14(%c)
        %f = Cast@13(%i) {to = 1}
        %t = Add@14(%x, %k)
        %z = Mul@14(%t, %f)
        %s = Relu@14(%t)
    }";

    #[test]
    fn known_steps_are_written_out() {
        assert!(unrolled(STEP, 3, Some(true), 2));
        assert!(unrolled(STEP, 16, None, 2));
        assert!(unrolled(STEP, 1, Some(true), 2));
        assert!(unrolled("graph b(%i, %c, %x; %k) -> (%c, %y) { %y = Sub@14(%x, %k) }", 0, Some(true), 1));
    }

    #[test]
    fn values_that_are_passed_on_stay() {
        assert!(unrolled("graph b(%i, %c, %x; %k) -> (%c, %x, %k, %i) {}", 4, Some(true), 3));
        assert!(unrolled("graph b(%i, %c, %x; %k) -> (%t, %k) { %t = bool[] {true} }", 4, Some(true), 1));
    }

    #[test]
    fn other_loops_stay() {
        assert!(!unrolled(STEP, 17, Some(true), 2));
        let plain = "graph b(%i, %c, %x; %k) -> (%c, %y) { %y = Sub@14(%x, %k) }";
        assert!(!unrolled(plain, 3, Some(false), 1));
        let until = "graph b(%i, %c, %x; %k) -> (%d, %y) {
            %y = Add@14(%x, %k)
            %two = int64[] {2}
            %d = Less@13(%i, %two)
        }";
        assert!(!unrolled(until, 5, Some(true), 1));
        assert!(unrolled(until, 5, None, 1));
    }
}
