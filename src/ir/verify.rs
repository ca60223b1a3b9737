//! The verifier: what every pass must leave true.

use std::collections::HashSet;

use super::{Attr, Graph, ValueId};
use crate::{Result, ensure};

/// Checks that ids are in range, every value has one maker, and every read comes after it is made.
///
/// # Errors
/// `InvalidModel` naming the node and the value.
pub fn verify(graph: &Graph) -> Result<()> {
    let in_range = |v: &ValueId| v.index() < graph.value_count();
    let all = graph.nodes.iter().flat_map(|n| n.used_inputs().chain(n.used_outputs()));
    let all = all.chain(graph.inputs.iter().copied()).chain(graph.outputs.iter().copied());
    ensure!({ all }.all(|v| in_range(&v)), InvalidModel, "graph {:?} names a value that is not there", graph.name);
    ensure!(graph.captures <= graph.inputs.len(), InvalidModel, "graph {:?} captures more than its inputs", graph.name);

    let name = |v: ValueId| &graph.value(v).name;
    let mut made: HashSet<ValueId> = graph.values().filter(|(_, v)| v.constant.is_some()).map(|(id, _)| id).collect();
    for v in &graph.inputs {
        ensure!(made.insert(*v), InvalidModel, "input {:?} is defined twice", name(*v));
    }
    for node in &graph.nodes {
        for v in node.used_inputs() {
            ensure!(made.contains(&v), InvalidModel, "node {} reads {:?} before it is made", node.path(), name(v));
        }
        for v in node.used_outputs() {
            ensure!(made.insert(v), InvalidModel, "node {} makes {:?}, which is defined already", node.path(), name(v));
        }
        for attr in node.operator.attrs.values() {
            if let Attr::Graph(body) = attr {
                verify(body).map_err(|e| e.in_node(node.path()))?;
            }
        }
    }
    for v in &graph.outputs {
        ensure!(made.contains(v), InvalidModel, "output {:?} is never made", name(*v));
    }
    Ok(())
}
