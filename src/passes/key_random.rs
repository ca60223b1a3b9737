//! Random operators get their key as an input. Nodes that make the keys come first: they read nothing, so the host makes
//! them before anything runs on the device.

use crate::Result;
use crate::ir::{Graph, Node};

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (mut keys, mut nodes) = (vec![], vec![]);
    for mut node in std::mem::take(&mut graph.nodes) {
        if let Some(keyed) = node.operator.op.keyed() {
            let key = graph.add_value(format!("{}/key", node.name), None);
            keys.push(Node {
                name: format!("{}/key", node.name),
                operator: keyed.key(),
                inputs: vec![],
                outputs: vec![Some(key)],
            });
            node.operator = keyed.draw(&node.operator);
            node.inputs.push(Some(key));
        }
        nodes.push(node);
    }
    let changed = !keys.is_empty();
    keys.append(&mut nodes);
    graph.nodes = keys;
    Ok(changed)
}
