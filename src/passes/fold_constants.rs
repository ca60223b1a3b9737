//! Evaluates nodes whose inputs are all constants, once, on the host.

use std::collections::HashMap;

use crate::cpu;
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::limits::{Limits, Meter};
use crate::ops::InferCx;
use crate::tensor::Tensor;
use crate::{Result, err};

/// A small model may ask for gigabytes: folded values take up to so many bytes each and together, or up to so many times
/// what the model's own constants take. What is beyond is left to the device.
const EACH: usize = 160 << 20;
const TOGETHER: usize = 1 << 30;
const GROWTH: usize = 8;
/// Bytes of values that are rather made again than held.
const LARGE: usize = 1 << 20;

/// Runs the pass. A node that fails to fold stays, so that the error is reported where it belongs: at the run.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let constants = graph.values().filter_map(|(id, v)| Some((id, v.constant.clone()?)));
    let mut known: HashMap<ValueId, Tensor> = constants.collect();
    let before = graph.nodes.len();
    let nodes = std::mem::take(&mut graph.nodes);
    let own = known.values().map(|t| t.dtype().size() * t.len()).fold(0, usize::saturating_add);
    let grown = own.saturating_mul(GROWTH);
    let (each, mut room) = (EACH.max(grown), TOGETHER.max(grown));
    for node in nodes {
        match fold(&node, &known, room.min(each), &graph.limits) {
            None => graph.nodes.push(node),
            Some(values) => {
                for (v, t) in node.outputs.iter().zip(values) {
                    if let Some(v) = v {
                        room = room.saturating_sub(t.dtype().size() * t.len());
                        graph.value_mut(*v).constant = Some(t.clone());
                        known.insert(*v, t);
                    }
                }
            }
        }
    }
    Ok(graph.nodes.len() != before)
}

fn fold(node: &Node, known: &HashMap<ValueId, Tensor>, room: usize, limits: &Limits) -> Option<Vec<Tensor>> {
    let op = &node.operator.op;
    if !op.deterministic() || !op.bodies().is_empty() || !node.used_inputs().all(|v| known.contains_key(&v)) {
        return None;
    }
    let data = |v: &Option<ValueId>| v.and_then(|v| known.get(&v));
    let types: Vec<Option<TensorType>> =
        node.inputs.iter().map(|v| data(v).map(|t| TensorType::new(t.dtype(), t.shape()))).collect();
    let inputs = types.iter().zip(&node.inputs).map(|(t, v)| t.as_ref().map(|t| (t, data(v)))).collect();
    let cx = InferCx::new(inputs);
    let used = node.outputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    if let Some(values) = op.fold(&cx).ok().flatten().filter(|v| v.len() >= used) {
        return Some(values);
    }
    let outputs = op.infer(&cx).ok()?;
    let small = |t: &TensorType| t.numel().checked_mul(t.dtype.size().max(1)).is_some_and(|b| b <= room);
    // the text form has no literals for what is not a tensor
    if !outputs.iter().all(|t| small(t) && !t.dtype.is_container()) {
        return None;
    }
    let inputs = once(node, known).ok()?;
    let made = cpu::eval_within(node, &inputs, &mut Meter::new(*limits)).ok()?;
    drop(inputs);
    Some(made.into_iter().enumerate().map(|(i, t)| again(node, known, *limits, i, t)).collect())
}

/// The inputs of a node for one use.
fn once(node: &Node, known: &HashMap<ValueId, Tensor>) -> Result<HashMap<ValueId, Tensor>> {
    node.used_inputs().filter_map(|v| Some((v, known.get(&v)?))).map(|(v, t)| Ok((v, t.passing()?))).collect()
}

/// Output `i` of a node; where it is large, in such a way that it need not be held once it is on a device.
fn again(node: &Node, known: &HashMap<ValueId, Tensor>, limits: Limits, i: usize, made: Tensor) -> Tensor {
    if made.dtype().size() * made.len() < LARGE {
        return made;
    }
    let inputs = node.used_inputs().filter_map(|v| Some((v, known.get(&v)?.clone()))).collect();
    let node = node.clone();
    made.remade(move || {
        let made = cpu::eval_within(&node, &once(&node, &inputs)?, &mut Meter::new(limits))?;
        let made = made.into_iter().nth(i).ok_or_else(|| err!(Internal, "{} makes no output {i}", node.path()))?;
        Ok(made.into_bytes())
    })
}
