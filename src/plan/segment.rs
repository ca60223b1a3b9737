//! Shape specialisation: walks the graph with concrete types, folds on the host what is known there, lowers the rest,
//! and stops where the plan cannot go on without data from the run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{BufId, LowerCx, Lowering, Program, View, repeats, texels};
use crate::dtype::DType;
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::kernels::{Profile, Spec};
use crate::limits::Meter;
use crate::ops::{Defer, InferCx};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result, bail, cpu, ensure, err};

/// What happens to nodes that the device cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fallback {
    /// They are an error that names all of them.
    #[default]
    Deny,
    /// They run on the interpreter, and the placement report lists them.
    Allow,
}

/// Where a plan stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All outputs are made.
    Done,
    /// This node runs on the host (or drives bodies); the plan goes on after it.
    Host(usize),
    /// The data of this value is needed; the plan goes on at this node.
    Read(ValueId, usize),
}

/// What is known before a segment.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Types of values.
    pub types: HashMap<ValueId, TensorType>,
    /// Data on which the plan may depend.
    pub values: HashMap<ValueId, Tensor>,
    /// Values that are on the host at run time, but on whose data the plan does not depend.
    pub host: HashSet<ValueId>,
    /// The shaders that are compiled, to which choices by sizes keep; `None` where all are open.
    pub shaders: Option<Arc<HashSet<Arc<Spec>>>>,
}

/// A stretch of the graph between two points where the host must look at data.
#[derive(Debug)]
pub struct Segment {
    /// The dispatches.
    pub program: Program,
    /// What is known after it.
    pub known: Known,
    /// Dense views of the values that are needed after it (graph outputs included).
    pub live: HashMap<ValueId, View>,
    /// Why it ends.
    pub end: End,
}

/// What planning gives.
pub enum Planned {
    /// A segment.
    Segment(Box<Segment>),
    /// Start over with the data of these graph inputs known: shapes depend on them.
    Demand(Vec<ValueId>),
}

/// Elements up to which a value is folded on the host in spite of its inputs being small.
const FOLD_ANY: usize = 4096;
const FOLD_INTEGER: usize = 1 << 16;
/// Elements of a graph input up to which plans may be made for its data.
const DEMAND: usize = 1 << 16;

fn folds(types: &[TensorType]) -> bool {
    let small = |t: &TensorType| {
        let limit = if t.dtype.is_float() { FOLD_ANY } else { FOLD_INTEGER };
        t.numel() <= limit || t.dtype == DType::String || t.dtype.is_container()
    };
    types.iter().all(small)
}

/// Plans `graph` from node `start` on.
///
/// # Errors
/// `Unsupported` naming every node that the device cannot run, when `fallback` denies the host; those of the operators.
pub fn plan(
    graph: &Arc<Graph>,
    profile: &Arc<Profile>,
    start: usize,
    known: Known,
    fallback: Fallback,
) -> Result<Planned> {
    let mut low = Lowering::new(graph.clone(), profile.clone());
    low.types = known.types;
    low.known = known.values;
    low.shaders = known.shaders;
    let host = known.host;
    let mut refused: Vec<String> = vec![];
    let mut end = End::Done;
    // types and folded values first, then dispatches: where a value is wanted depends on what comes after it
    let mut steps = vec![];
    for (i, node) in graph.nodes.iter().enumerate().skip(start) {
        let step = look(&mut low, &host, node, i, fallback);
        let goes_on = matches!(step, Ok(Step::Next | Step::Lower));
        steps.push(step);
        if !goes_on {
            break;
        }
    }
    let looked = start + steps.len();
    let stopped = steps.last().is_some_and(|s| !matches!(s, Ok(Step::Next | Step::Lower)));
    low.plan_places(&graph.nodes[start..looked - usize::from(stopped)])?;
    for (i, step) in (start..).zip(steps) {
        let node = &graph.nodes[i];
        let step = match step {
            Ok(Step::Lower) => lower(&mut low, node, i, fallback),
            step => step,
        };
        match step.map_err(|e| e.in_node(node.path()))? {
            // the inputs' data can only join a plan at its beginning; here it is read like any other
            Step::Demand(v, _) if start > 0 => {
                end = End::Read(v, i);
                break;
            }
            Step::Next | Step::Lower => {}
            Step::Refused(why) => refused.push(format!("{} ({why})", node.path())),
            Step::Demand(_, inputs) => return Ok(Planned::Demand(inputs)),
            Step::End(e) => {
                end = e;
                break;
            }
        }
    }
    // the host has no buffers that would be too large
    if let End::Host(n) = end {
        graph.limits.foresee(&graph.nodes[n..], low.types.clone(), |v| low.known.get(&v), 1)?;
    }
    // what was looked at and not reached comes in another segment
    if let End::Host(n) | End::Read(_, n) = end {
        for v in graph.nodes[n..looked.max(n)].iter().flat_map(|n| n.used_outputs()) {
            low.types.remove(&v);
            low.known.remove(&v);
        }
    }
    ensure!(refused.is_empty(), Unsupported, "not on this GPU: {}", refused.join("; "));
    let live = live_after(graph, &end);
    let mut views = HashMap::new();
    for v in live {
        let on_device = low.types.contains_key(&v) && !low.known.contains_key(&v) && !host.contains(&v);
        let made_later = !on_device && !low.known.contains_key(&v) && !host.contains(&v);
        ensure!(end != End::Done || !made_later, Internal, "output {:?} was never made", graph.value(v).name);
        if on_device {
            views.insert(v, low.settle(v)?);
        }
    }
    let kept = views.values().map(|v| v.buf).collect();
    repeats::drop_repeats(&mut low.program, &kept);
    texels::choose(&mut low.program, profile.texels, &kept);
    let known = Known { types: low.types, values: low.known, host, shaders: low.shaders };
    Ok(Planned::Segment(Box::new(Segment { program: low.program, known, live: views, end })))
}

/// Values that are read after a segment with this end: by later nodes (the host's own included) or by the caller.
fn live_after(graph: &Graph, end: &End) -> Vec<ValueId> {
    let mut live: Vec<ValueId> = graph.outputs.clone();
    match end {
        End::Done => {}
        End::Host(n) => live.extend(graph.nodes[*n..].iter().flat_map(|n| n.used_inputs())),
        End::Read(v, n) => {
            live.extend(graph.nodes[*n..].iter().flat_map(|n| n.used_inputs()));
            live.push(*v);
        }
    }
    live.sort_unstable();
    live.dedup();
    live
}

enum Step {
    Next,
    /// All types are known; the node is for the device.
    Lower,
    Refused(String),
    /// The data of this value, which follows from that of these inputs.
    Demand(ValueId, Vec<ValueId>),
    End(End),
}

/// What becomes of a node: folds it or infers the types of its outputs.
fn look(low: &mut Lowering, host: &HashSet<ValueId>, node: &Node, index: usize, fallback: Fallback) -> Result<Step> {
    let op = &node.operator.op;
    if !op.bodies().is_empty() {
        return Ok(Step::End(End::Host(index)));
    }
    let all_known = node.used_inputs().all(|v| low.known.contains_key(&v));
    let (folded, inferred) = {
        let cx = infer_cx(low, node)?;
        let folded = op.fold(&cx)?;
        let inferred = if folded.is_some() { Ok(vec![]) } else { op.infer(&cx) };
        (folded, inferred)
    };
    let used = node.outputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    let enough = |n: usize| match n >= used {
        true => Ok(()),
        false => Err(err!(InvalidNode, "it has {n} outputs, {used} are used")),
    };
    if let Some(values) = folded {
        enough(values.len())?;
        set_known(low, node, values);
        return Ok(Step::Next);
    }
    let types = match inferred {
        Ok(types) => types,
        Err(Defer::Error(e)) => return Err(e),
        Err(Defer::NeedsValue(i)) => {
            let Some(v) = node.inputs.get(i).copied().flatten() else { bail!(Internal, "asked for absent input {i}") };
            return Ok(need(low, host, v, index));
        }
        Err(Defer::DataDependent) if all_known => {
            let values = evaluated(low, node)?;
            set_known(low, node, values);
            return Ok(Step::Next);
        }
        Err(Defer::DataDependent) => return on_host(low, node, index, fallback, "its output's shape depends on data"),
    };
    enough(types.len())?;
    if all_known && op.deterministic() && folds(&types) {
        let values = evaluated(low, node)?;
        set_known(low, node, values);
        return Ok(Step::Next);
    }
    low.graph.limits.hold(0, &types, 1)?;
    for (v, t) in node.outputs.iter().zip(types) {
        if let Some(v) = v {
            low.types.insert(*v, t);
        }
    }
    Ok(Step::Lower)
}

fn evaluated(low: &Lowering, node: &Node) -> Result<Vec<Tensor>> {
    cpu::eval_within(node, &low.known, &mut Meter::new(low.graph.limits))
}

/// Emits a node's dispatches.
fn lower(low: &mut Lowering, node: &Node, index: usize, fallback: Fallback) -> Result<Step> {
    // kernels that compute in f32 would lose what a double holds
    let doubles = |v: ValueId| low.types.get(&v).is_some_and(|t| t.dtype == DType::F64);
    if node.used_inputs().chain(node.used_outputs()).any(doubles) && !crate::ops::takes_doubles(node) {
        return on_host(low, node, index, fallback, "no GPU form for doubles");
    }
    let (dispatches, buffers) = (low.program.dispatches.len(), low.program.buffers.len());
    let lowered = low.lower_node(node, index);
    match lowered {
        Ok(()) => {
            let missing = node.used_outputs().find(|v| !low.lies(*v));
            ensure!(missing.is_none(), Internal, "an output was not lowered");
            Ok(Step::Next)
        }
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::Limit) => {
            low.program.dispatches.truncate(dispatches);
            low.forget_buffers_from(buffers);
            on_host(low, node, index, fallback, e.message())
        }
        Err(e) => Err(e),
    }
}

/// A node for the host: always where strings or containers are involved or the operator belongs there (what the device
/// has no form for in ai.onnx.ml does), else only when
/// the caller allows it.
fn on_host(low: &mut Lowering, node: &Node, index: usize, fallback: Fallback, why: &str) -> Result<Step> {
    let of_the_host = |d: DType| d == DType::String || d.is_container();
    let by_nature = node.operator.op.on_host()
        || node.operator.domain == "ai.onnx.ml"
        || (node.used_inputs().chain(node.used_outputs()))
            .any(|v| low.types.get(&v).is_some_and(|t| of_the_host(t.dtype)));
    if fallback == Fallback::Allow || by_nature {
        // what the host is yet to make is not on the device
        node.used_outputs().for_each(|v| drop(low.types.remove(&v)));
        return Ok(Step::End(End::Host(index)));
    }
    let typed = node.used_outputs().all(|v| low.types.contains_key(&v));
    if !typed {
        bail!(Unsupported, "not on this GPU: {why}");
    }
    // carries on as if it had run, so that every other refusal is named too
    for v in node.used_outputs() {
        let t = low.types.get(&v).cloned().ok_or_else(|| err!(Internal, "output has no type"))?;
        let stand_in = TensorType::new(if t.dtype.device().is_some() { t.dtype } else { DType::F32 }, t.shape);
        let view = low.buffer("stand-in", &stand_in, super::BufKind::Temp)?;
        low.views.insert(v, View { dtype: t.dtype, ..view });
    }
    Ok(Step::Refused(why.into()))
}

/// How to come by the data of `v`: from the caller's inputs where they are small and on the host, else by reading it.
fn need(low: &Lowering, host: &HashSet<ValueId>, v: ValueId, index: usize) -> Step {
    let graph = &low.graph;
    let producers = graph.producers();
    let (mut todo, mut seen, mut inputs) = (vec![v], HashSet::new(), vec![]);
    while let Some(a) = todo.pop() {
        if low.known.contains_key(&a) || !seen.insert(a) {
            continue;
        }
        let small = || low.types.get(&a).is_some_and(|t| t.numel() <= DEMAND);
        match producers.get(&a).map(|n| &graph.nodes[*n]) {
            Some(n) if follows(n) && small() => {
                todo.extend(n.used_inputs());
            }
            None if graph.inputs.contains(&a) && host.contains(&a) && small() => inputs.push(a),
            _ => return Step::End(End::Read(v, index)),
        }
    }
    if inputs.is_empty() {
        // its inputs are known, yet it was too large to be made on the host
        return Step::End(End::Read(v, index));
    }
    Step::Demand(v, inputs)
}

/// Whether the data of a node's outputs is to be followed back to its inputs: not where chance or a body makes it, nor
/// counts of what data holds, after which each run would get a plan of its own.
fn follows(n: &Node) -> bool {
    n.operator.op.deterministic() && n.operator.op.bodies().is_empty() && !crate::ops::is_bound(&n.operator)
}

fn set_known(low: &mut Lowering, node: &Node, values: Vec<Tensor>) {
    for (v, t) in node.outputs.iter().zip(values) {
        if let Some(v) = v {
            low.types.insert(*v, TensorType::new(t.dtype(), t.shape()));
            low.known.insert(*v, t);
        }
    }
}

pub(super) fn infer_cx<'a>(low: &'a Lowering, node: &Node) -> Result<InferCx<'a>> {
    let one = |v: &Option<ValueId>| match v {
        None => Ok(None),
        Some(v) => {
            let t = low.types.get(v).ok_or_else(|| Error::new(ErrorKind::Internal, "an input has no type yet"))?;
            Ok(Some((t, low.known.get(v))))
        }
    };
    Ok(InferCx::new(node.inputs.iter().map(one).collect::<Result<_>>()?))
}

impl Lowering {
    /// The value in row-major order at the start of a buffer of its own, where later segments and readback find it.
    fn settle(&mut self, v: ValueId) -> Result<View> {
        let graph = self.graph.clone();
        let name = &graph.value(v).name;
        let producer = graph.nodes.iter().position(|n| n.used_outputs().any(|o| o == v));
        let Some(index) = producer else {
            // an input has a buffer of its own
            return self.view(v);
        };
        let mut cx = LowerCx::new(&graph.nodes[index], index, self);
        let view = cx.view(v)?;
        if view.is_dense() && view.offset == 0 {
            return Ok(view);
        }
        let out = self.buffer(name, &view.tensor_type(), super::BufKind::Temp)?;
        let mut cx = LowerCx::new(&graph.nodes[index], index, self);
        crate::kernels::copy::copy(&mut cx, &view, &out)?;
        self.views.insert(v, out.clone());
        Ok(out)
    }
}

/// The buffers of a segment that are read after it.
pub fn kept(segment: &Segment) -> Vec<BufId> {
    segment.live.values().map(|v| v.buf).collect()
}
