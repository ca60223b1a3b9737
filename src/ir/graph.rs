//! Values, nodes and the graph that owns them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Attrs, Declared};
use crate::limits::Limits;
use crate::ops::{self, NodeInfo, Op};
use crate::tensor::Tensor;
use crate::{Result, err};

/// A value's place in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// As an index into the graph's values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A named value: a graph input, a constant or the output of a node.
#[derive(Debug, Clone)]
pub struct Value {
    /// The name in the model; unique within its graph.
    pub name: String,
    /// What the model declares of it.
    pub declared: Option<Declared>,
    /// Its data when it is a constant.
    pub constant: Option<Tensor>,
}

/// An operator with its attributes: what the text form shows, and the parsed struct that does the work.
#[derive(Debug, Clone)]
pub struct Operator {
    /// `""` is ai.onnx.
    pub domain: String,
    /// The ONNX name, e.g. `Conv`.
    pub op_type: String,
    /// The domain's opset that the model imports.
    pub opset: i64,
    /// The attributes as given.
    pub attrs: Attrs,
    /// The parsed operator.
    pub op: Arc<dyn Op>,
}

impl Operator {
    /// Looks the operator up in the registry and parses its attributes.
    ///
    /// # Errors
    /// `Unsupported` for an unknown operator, opset or attribute; `InvalidNode` for an attribute out of range.
    pub fn new(domain: &str, op_type: &str, attrs: Attrs, info: &NodeInfo) -> Result<Operator> {
        let op = ops::parse(domain, op_type, &attrs, info)?;
        Ok(Operator { domain: domain.into(), op_type: op_type.into(), opset: info.opset, attrs, op })
    }

    /// `Conv`, or `com.microsoft::Gelu` outside ai.onnx.
    pub fn qualified(&self) -> String {
        ops::qualified(&self.domain, &self.op_type)
    }
}

/// One application of an operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name in the model, or one made from its first output.
    pub name: String,
    /// What it does.
    pub operator: Operator,
    /// Inputs; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs; `None` where one is not used.
    pub outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// `name (Op)`, as error messages have it.
    pub fn path(&self) -> String {
        format!("{} ({})", self.name, self.operator.qualified())
    }

    /// The inputs that are present.
    pub fn used_inputs(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().flatten().copied()
    }

    /// The outputs that are present.
    pub fn used_outputs(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.outputs.iter().flatten().copied()
    }
}

/// Nodes in topological order over numbered values.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The name in the model.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Inputs; in a subgraph the last [`Graph::captures`] of them are outer values.
    pub inputs: Vec<ValueId>,
    /// Outputs.
    pub outputs: Vec<ValueId>,
    /// How many of the last inputs are values of the enclosing graph.
    pub captures: usize,
    /// Bounds on what a run may take.
    pub limits: Limits,
    values: Vec<Value>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// An empty graph with these bounds.
    pub fn within(name: impl Into<String>, limits: Limits) -> Graph {
        Graph { name: name.into(), limits, ..Graph::default() }
    }

    /// Adds a value.
    pub fn add_value(&mut self, name: impl Into<String>, declared: Option<Declared>) -> ValueId {
        self.values.push(Value { name: name.into(), declared, constant: None });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, data: Tensor) -> ValueId {
        self.values.push(Value { name: name.into(), declared: None, constant: Some(data) });
        ValueId(self.values.len() as u32 - 1)
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// A value, to change it.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    /// All values, those that nothing uses any more included.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, v)| (ValueId(i as u32), v))
    }

    /// The number of values.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The value of this name.
    ///
    /// # Errors
    /// `InvalidInput` when there is none.
    pub fn find(&self, name: &str) -> Result<ValueId> {
        let found = self.values().find(|(_, v)| v.name == name).map(|(id, _)| id);
        found.ok_or_else(|| err!(InvalidInput, "the graph has no value named {name:?}"))
    }

    /// The node that makes each value.
    pub fn producers(&self) -> HashMap<ValueId, usize> {
        let outputs = |(i, n): (usize, &Node)| n.used_outputs().map(move |v| (v, i)).collect::<Vec<_>>();
        self.nodes.iter().enumerate().flat_map(outputs).collect()
    }

    /// The nodes that read each value (once per use), and whether it is a graph output.
    pub fn consumers(&self) -> HashMap<ValueId, Vec<usize>> {
        let mut out: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (i, n) in self.nodes.iter().enumerate() {
            n.used_inputs().for_each(|v| out.entry(v).or_default().push(i));
        }
        out
    }

    /// Makes every reader of `old`, the graph's outputs included, read `new`.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        let swap = |v: &mut ValueId| {
            if *v == old {
                *v = new;
            }
        };
        for n in &mut self.nodes {
            n.inputs.iter_mut().flatten().for_each(swap);
        }
        self.outputs.iter_mut().for_each(swap);
    }
}
