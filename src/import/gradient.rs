//! Gradient of ai.onnx.preview.training: the part of the graph that leads from the variables `xs` and `zs` to `y` becomes
//! an attribute of the node, for the operator to differentiate.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use onnx_proto::NodeProto;

use super::graph::Importer;
use crate::ir::{Attr, Attrs, Graph, Node, ValueId};
use crate::{Result, bail, ensure, err};

/// Of the node's attributes, the one that holds the graph from the variables to `y`.
pub const FUNCTION: &str = "function";

/// Whether a node is one.
pub(super) fn is_gradient(domain: &str, op_type: &str) -> bool {
    domain == "ai.onnx.preview.training" && op_type == "Gradient"
}

/// The values of an attribute of strings.
fn names<'p>(n: &'p NodeProto, name: &str) -> Result<Vec<&'p str>> {
    let Some(a) = n.attribute.iter().find(|a| a.name() == name) else { return Ok(vec![]) };
    let list = a.strings.iter().chain(&a.s);
    list.map(|s| std::str::from_utf8(s).map_err(|_| err!(InvalidModel, "attribute {name} is not UTF-8"))).collect()
}

impl<'p> Importer<'p> {
    /// Adds the attribute [`FUNCTION`], and to the inputs the outer values that the function uses besides its variables.
    pub(super) fn differentiated(
        &mut self,
        n: &'p NodeProto,
        attrs: &mut Attrs,
        inputs: &mut Vec<Option<ValueId>>,
    ) -> Result<()> {
        let mut id = |name: &'p str| {
            let id = self.lookup(name).flatten();
            id.ok_or_else(|| err!(InvalidNode, "value {name:?} is not made before the gradient"))
        };
        let variables: Vec<&str> = [names(n, "xs")?, names(n, "zs")?].concat();
        ensure!(variables.len() == inputs.len(), InvalidNode, "{} inputs for {variables:?}", inputs.len());
        let variables = variables.into_iter().map(&mut id).collect::<Result<Vec<_>>>()?;
        let [y] = names(n, "y")?[..] else { bail!(InvalidNode, "attribute y is missing") };
        let y = id(y)?;
        let (function, outer) = between(self.graph_so_far()?, &variables, y);
        attrs.insert(FUNCTION.into(), Attr::Graph(Arc::new(function)));
        inputs.extend(outer.into_iter().map(Some));
        Ok(())
    }
}

/// The nodes that make `y` from `variables`, as a graph, and which other values of `graph` are its further inputs.
fn between(graph: &Graph, variables: &[ValueId], y: ValueId) -> (Graph, Vec<ValueId>) {
    let mut needed = HashSet::from([y]);
    let mut chosen: Vec<&Node> = vec![];
    for node in graph.nodes.iter().rev() {
        if node.used_outputs().any(|v| needed.contains(&v) && !variables.contains(&v)) {
            needed.extend(node.used_inputs());
            chosen.push(node);
        }
    }
    let mut part = Graph::new("function");
    let mut map: HashMap<ValueId, ValueId> = HashMap::new();
    for v in variables {
        let input = part.add_value(graph.value(*v).name.clone(), None);
        part.inputs.push(input);
        map.insert(*v, input);
    }
    let mut outer = vec![];
    let made: HashSet<ValueId> = chosen.iter().flat_map(|n| n.used_outputs()).collect();
    let mut translated = |v: ValueId, part: &mut Graph| {
        *map.entry(v).or_insert_with(|| {
            let value = graph.value(v);
            match &value.constant {
                Some(c) => part.add_constant(value.name.clone(), c.clone()),
                None => {
                    let inner = part.add_value(value.name.clone(), None);
                    if !made.contains(&v) {
                        part.inputs.push(inner);
                        outer.push(v);
                    }
                    inner
                }
            }
        })
    };
    for node in chosen.into_iter().rev() {
        let mut copy = node.clone();
        for v in copy.inputs.iter_mut().chain(&mut copy.outputs).flatten() {
            *v = translated(*v, &mut part);
        }
        part.nodes.push(copy);
    }
    let y = translated(y, &mut part);
    part.outputs.push(y);
    (part, outer)
}
