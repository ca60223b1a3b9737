//! The reference interpreter: walks a graph in order and calls every operator's `eval`.

pub(crate) mod gemm;
mod wide;

pub use wide::{Wide, run_wide};

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::task::{Context, Poll, Waker};

use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::limits::{Limits, Meter};
use crate::ops::{ControlFlow, Defer, Handle, InferCx, Op, Pending};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// Runs `graph` on its inputs, in order; gives every value, by id.
///
/// # Errors
/// `InvalidInput` when the number of inputs is wrong; those of the operators, with the node's path; `Limit` beyond the
/// graph's limits.
pub fn run_all(graph: &Graph, inputs: &[Tensor]) -> Result<HashMap<ValueId, Tensor>> {
    let mut meter = Meter::new(graph.limits);
    meter.foresee(graph, inputs)?;
    walk(graph, inputs, &mut meter, &mut |_, _, _| ())
}

/// Runs `graph` on its inputs, in order; gives its outputs, in order.
///
/// # Errors
/// As [`run_all`].
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut meter = Meter::new(graph.limits);
    meter.foresee(graph, inputs)?;
    run_within(graph, inputs, &mut meter)
}

/// As [`run`], as a part of another run. Values go after their last use.
fn run_within(graph: &Graph, inputs: &[Tensor], meter: &mut Meter) -> Result<Vec<Tensor>> {
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (i, n) in graph.nodes.iter().enumerate() {
        last.extend(n.used_inputs().chain(n.used_outputs()).map(|v| (v, i)));
    }
    last.retain(|v, _| !graph.outputs.contains(v));
    let made: HashSet<ValueId> = graph.nodes.iter().flat_map(|n| n.used_outputs()).collect();
    let held = meter.held;
    let values = walk(graph, inputs, meter, &mut |i, values, meter| {
        for v in graph.nodes[i].used_inputs().chain(graph.nodes[i].used_outputs()) {
            if last.get(&v) == Some(&i)
                && let Some(t) = values.remove(&v)
                && made.contains(&v)
            {
                meter.release(&t);
            }
        }
    });
    meter.held = held;
    let values = values?;
    let get = |v: &ValueId| values.get(v).cloned().ok_or_else(|| err!(Internal, "output was never made"));
    graph.outputs.iter().map(get).collect()
}

/// What is done after the node of a number.
type After<'a> = dyn FnMut(usize, &mut HashMap<ValueId, Tensor>, &mut Meter) + 'a;

/// Evaluates the nodes in order; `after` each it may let values go.
fn walk(
    graph: &Graph,
    inputs: &[Tensor],
    meter: &mut Meter,
    after: &mut After<'_>,
) -> Result<HashMap<ValueId, Tensor>> {
    let (want, got) = (graph.inputs.len(), inputs.len());
    ensure!(want == got, InvalidInput, "graph {:?} takes {want} inputs, got {got}", graph.name);
    let mut values: HashMap<ValueId, Tensor> = graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
    for (id, v) in graph.values() {
        if let Some(c) = &v.constant {
            values.insert(id, c.clone());
        }
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let made = eval_within(node, &values, meter).map_err(|e| e.in_node(node.path()))?;
        for (id, t) in node.outputs.iter().zip(made) {
            if let Some(id) = id {
                meter.take(&t).map_err(|e| e.in_node(node.path()))?;
                values.insert(*id, t);
            }
        }
        after(i, &mut values, meter);
    }
    Ok(values)
}

/// Evaluates one node on host values, and holds it to the types that it infers.
///
/// # Errors
/// Those of the operator, without the node's path.
pub fn eval_node(node: &Node, values: &HashMap<ValueId, Tensor>) -> Result<Vec<Tensor>> {
    eval_within(node, values, &mut Meter::new(Limits::default()))
}

/// As [`eval_node`], as a part of a run.
pub(crate) fn eval_within(node: &Node, values: &HashMap<ValueId, Tensor>, meter: &mut Meter) -> Result<Vec<Tensor>> {
    let mut inputs = vec![];
    for v in &node.inputs {
        inputs.push(match v {
            None => None,
            Some(v) => Some(values.get(v).ok_or_else(|| err!(Internal, "an input was never made"))?),
        });
    }
    let op = &node.operator.op;
    let made = match op.bodies().is_empty() {
        true => eval_checked(op.as_ref(), &inputs, meter)?,
        false => eval_control(node, &inputs, meter)?,
    };
    let used = node.outputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    ensure!(made.len() >= used, InvalidNode, "it has {} outputs, {used} are used", made.len());
    Ok(made)
}

fn eval_checked(op: &dyn Op, inputs: &[Option<&Tensor>], meter: &Meter) -> Result<Vec<Tensor>> {
    let types: Vec<_> = inputs.iter().map(|t| t.map(|t| TensorType::new(t.dtype(), t.shape()))).collect();
    meter.ends(types.iter().flatten())?;
    let known = types.iter().zip(inputs).map(|(t, v)| Some((t.as_ref()?, *v))).collect();
    let inferred = match op.infer(&InferCx::new(known)) {
        Ok(types) => types,
        Err(Defer::Error(e)) => return Err(e),
        Err(Defer::NeedsValue(_) | Defer::DataDependent) => return op.eval(inputs),
    };
    meter.fits(&inferred)?;
    let made = op.eval(inputs)?;
    for (i, (t, want)) in made.iter().zip(&inferred).enumerate() {
        let same = t.dtype() == want.dtype && t.shape() == want.shape;
        ensure!(same, Internal, "output {i}: inferred {want}, made {}{:?}", t.dtype(), t.shape());
    }
    Ok(made)
}

fn eval_control(node: &Node, inputs: &[Option<&Tensor>], meter: &mut Meter) -> Result<Vec<Tensor>> {
    let op = &node.operator.op;
    let held = meter.held;
    let mut host = HostFlow { bodies: op.bodies(), values: vec![], meter };
    let handles: Vec<Option<Handle>> = inputs.iter().map(|t| t.map(|t| host.add(t.clone()))).collect();
    let out = at_once(op.control(&mut host, &handles))?;
    let out = out.into_iter().map(|h| host.read_value(h)).collect();
    meter.held = held;
    out
}

/// What is there at once: nobody waits for a device here.
fn at_once<T>(mut made: Pending<'_, T>) -> Result<T> {
    match made.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => made,
        Poll::Pending => bail!(Internal, "a body waits for a device on the host"),
    }
}

struct HostFlow<'a> {
    bodies: Vec<&'a std::sync::Arc<Graph>>,
    /// `None` once forgotten.
    values: Vec<Option<Tensor>>,
    meter: &'a mut Meter,
}

impl HostFlow<'_> {
    fn add(&mut self, t: Tensor) -> Handle {
        self.meter.count(&t);
        self.values.push(Some(t));
        Handle(self.values.len() - 1)
    }

    fn read_value(&self, h: Handle) -> Result<Tensor> {
        self.values.get(h.0).cloned().flatten().ok_or_else(|| err!(Internal, "unknown handle"))
    }
}

impl HostFlow<'_> {
    fn run_body(&mut self, body: usize, inputs: &[Handle]) -> Result<Vec<Handle>> {
        let Some(graph) = self.bodies.get(body).copied() else { bail!(Internal, "no body {body}") };
        let inputs: Vec<Tensor> = inputs.iter().map(|h| self.read_value(*h)).collect::<Result<_>>()?;
        self.meter.iterate()?;
        let made = run_within(graph, &inputs, self.meter)?;
        let handles = made.into_iter().map(|t| self.add(t)).collect();
        self.meter.check()?;
        Ok(handles)
    }

    fn stack_values(&mut self, values: &[Handle], axis: usize) -> Result<Handle> {
        let parts: Vec<Tensor> = values.iter().map(|h| self.read_value(*h)).collect::<Result<_>>()?;
        let stacked = crate::ops::stack(&parts, axis)?;
        Ok(self.add(stacked))
    }

    fn take_value(&mut self, value: Handle, axis: usize, index: usize) -> Result<Handle> {
        let taken = crate::ops::take(&self.read_value(value)?, axis, index)?;
        Ok(self.add(taken))
    }
}

impl ControlFlow for HostFlow<'_> {
    fn run<'a>(&'a mut self, body: usize, inputs: &'a [Handle]) -> Pending<'a, Vec<Handle>> {
        Box::pin(ready(self.run_body(body, inputs)))
    }

    fn read(&mut self, value: Handle) -> Pending<'_, Tensor> {
        Box::pin(ready(self.read_value(value)))
    }

    fn host(&mut self, value: Tensor) -> Handle {
        self.add(value)
    }

    fn type_of(&self, value: Handle) -> TensorType {
        let t = self.values.get(value.0).cloned().flatten();
        let t = t.unwrap_or_else(|| Tensor::zeros(crate::DType::F32, [0]));
        TensorType::new(t.dtype(), t.shape())
    }

    fn forget(&mut self, values: &[Handle]) {
        for h in values {
            if let Some(t) = self.values.get_mut(h.0).and_then(Option::take) {
                self.meter.release(&t);
            }
        }
    }

    fn stack<'a>(&'a mut self, values: &'a [Handle], axis: usize) -> Pending<'a, Handle> {
        Box::pin(ready(self.stack_values(values, axis)))
    }

    fn take(&mut self, value: Handle, axis: usize, index: usize) -> Pending<'_, Handle> {
        Box::pin(ready(self.take_value(value, axis, index)))
    }
}
