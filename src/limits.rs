//! Bounds on what a model may ask for.

use std::collections::HashMap;

use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::ops::InferCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, shape};

/// Bounds on what a model may ask for, in its file and when it runs. Whatever lies beyond is an error of kind `Limit`
/// that names the bound. A graph carries those it was imported with, and its bodies the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Graphs within graphs, and calls within calls.
    pub depth: usize,
    /// Nodes, counted as local functions are inlined.
    pub nodes: usize,
    /// Elements of a sparse tensor when its zeros are written out.
    pub sparse_elements: usize,
    /// Bytes of the values that one run holds at a time, inputs and weights apart. The interpreter, which computes in
    /// wide types, counts 16 bytes an element at least. By default 8 GiB, and 2 where addresses have 32 bits.
    pub memory: u64,
    /// How often one run may run bodies of control flow, those within others counted each time.
    pub iterations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let memory = if cfg!(target_pointer_width = "32") { 2 << 30 } else { 8 << 30 };
        Limits { depth: 32, nodes: 1_000_000, sparse_elements: 1 << 28, memory, iterations: 1 << 16 }
    }
}

impl Limits {
    /// Whether values of these types may be held beside `held` bytes of others.
    ///
    /// # Errors
    /// `Limit` when they may not.
    pub(crate) fn hold<'a>(
        &self,
        held: u64,
        types: impl IntoIterator<Item = &'a TensorType>,
        least: usize,
    ) -> Result<u64> {
        let (most, mut sum) = (self.memory, held);
        for t in types {
            shape::checked_numel(&t.shape)?;
            // what is empty has rows all the same, which operators go through
            let count = t.shape.iter().map(|d| (*d).max(1)).product::<usize>();
            let bytes = count.saturating_mul(t.dtype.size().max(least)) as u64;
            sum = sum.saturating_add(bytes);
            ensure!(
                sum <= most,
                Limit,
                "{t} takes {bytes} bytes: with {held} that are held more than limit memory, {most}"
            );
        }
        Ok(sum)
    }

    /// Infers the types of `nodes` as far as they go without data that is yet to be made: what will not fit is refused
    /// before any of it is there.
    ///
    /// # Errors
    /// `Limit` when one node's results do not fit.
    pub(crate) fn foresee<'a>(
        &self,
        nodes: &[Node],
        mut types: HashMap<ValueId, TensorType>,
        value: impl Fn(ValueId) -> Option<&'a Tensor>,
        least: usize,
    ) -> Result<()> {
        for node in nodes.iter().filter(|n| n.operator.op.bodies().is_empty()) {
            let known = |v: &Option<ValueId>| match v {
                None => Some(None),
                Some(v) => types.get(v).map(|t| Some((t, value(*v)))),
            };
            let Some(inputs) = node.inputs.iter().map(known).collect::<Option<Vec<_>>>() else { continue };
            // what contradicts itself is told where it is evaluated
            let Ok(made) = node.operator.op.infer(&InferCx::new(inputs)) else { continue };
            self.hold(0, &made, least).map_err(|e| e.in_node(node.path()))?;
            types.extend(node.outputs.iter().zip(made).filter_map(|(v, t)| Some(((*v)?, t))));
        }
        Ok(())
    }

    /// Whether bodies may be run so many times.
    ///
    /// # Errors
    /// `Limit` when they may not.
    pub(crate) fn iterate(&self, count: usize) -> Result<()> {
        let most = self.iterations;
        ensure!(count <= most, Limit, "control flow runs its bodies {count} times, more than limit iterations, {most}");
        Ok(())
    }
}

/// What a run of the interpreter has taken so far.
pub(crate) struct Meter {
    pub limits: Limits,
    /// Bytes of the values that are alive.
    pub held: u64,
    iterations: usize,
}

/// What an element takes at least while the interpreter computes it.
const WIDE: usize = 16;

impl Meter {
    pub fn new(limits: Limits) -> Meter {
        Meter { limits, held: 0, iterations: 0 }
    }

    /// Whether values of these types would fit.
    ///
    /// # Errors
    /// `Limit` when they would not.
    pub fn fits<'a>(&self, types: impl IntoIterator<Item = &'a TensorType>) -> Result<()> {
        self.limits.hold(self.held, types, WIDE).map(drop)
    }

    /// Whether there is an end to the rows of those that are empty: they take no memory, but operators go through them.
    ///
    /// # Errors
    /// `Limit` when there is none.
    pub fn ends<'a>(&self, types: impl IntoIterator<Item = &'a TensorType>) -> Result<()> {
        types.into_iter().filter(|t| t.shape.contains(&0)).try_for_each(|t| self.limits.hold(0, [t], WIDE).map(drop))
    }

    /// As [`Limits::foresee`], of a whole graph.
    ///
    /// # Errors
    /// `Limit` when one node's results do not fit.
    pub fn foresee(&self, graph: &Graph, inputs: &[Tensor]) -> Result<()> {
        let constants = graph.values().filter_map(|(v, value)| Some((v, value.constant.as_ref()?)));
        let values: HashMap<ValueId, &Tensor> = graph.inputs.iter().copied().zip(inputs).chain(constants).collect();
        let types = values.iter().map(|(v, t)| (*v, TensorType::new(t.dtype(), t.shape()))).collect();
        self.limits.foresee(&graph.nodes, types, |v| values.get(&v).copied(), WIDE)
    }

    /// Counts a value.
    ///
    /// # Errors
    /// `Limit` when there is no room for it.
    pub fn take(&mut self, t: &Tensor) -> Result<()> {
        self.count(t);
        self.check()
    }

    /// Counts a value, whether there is room or not.
    pub fn count(&mut self, t: &Tensor) {
        self.held = self.held.saturating_add(bytes(t));
    }

    /// Whether what is counted fits.
    ///
    /// # Errors
    /// `Limit` when it does not.
    pub fn check(&self) -> Result<()> {
        let most = self.limits.memory;
        ensure!(self.held <= most, Limit, "the run holds {} bytes, more than limit memory, {most}", self.held);
        Ok(())
    }

    /// Counts a value no more.
    pub fn release(&mut self, t: &Tensor) {
        self.held = self.held.saturating_sub(bytes(t));
    }

    /// Counts one run of a body.
    ///
    /// # Errors
    /// `Limit` when there were too many.
    pub fn iterate(&mut self) -> Result<()> {
        self.iterations += 1;
        self.limits.iterate(self.iterations)
    }
}

fn bytes(t: &Tensor) -> u64 {
    if let Ok(items) = t.items() {
        return items.iter().map(bytes).fold(WIDE as u64, u64::saturating_add);
    }
    let text: usize = t.strings().map_or(0, |s| s.iter().map(String::len).sum());
    (t.len().saturating_mul(t.dtype().size().max(WIDE)) as u64).saturating_add(text as u64)
}
