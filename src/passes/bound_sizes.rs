//! Operators whose results are as large as the data says (NonZero, Compress, NonMaxSuppression, …) become operators on
//! the device that make the most there can be and tell how many there are, followed by a cut. Only that number is read
//! by the host; the data stays where it is.

use crate::Result;
use crate::ir::{Graph, Node, ValueId};

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (mut nodes, mut changed) = (vec![], false);
    for node in std::mem::take(&mut graph.nodes) {
        let constant = |v: &Option<ValueId>| v.is_some_and(|v| graph.value(v).constant.is_some());
        let Some(bounded) = node.operator.op.bounded(&node.inputs.iter().map(constant).collect::<Vec<_>>()) else {
            nodes.push(node);
            continue;
        };
        changed = true;
        let name = |what: &str| format!("{}/{what}", node.name);
        let count = graph.add_value(name("count"), None);
        let (mut made, mut cuts) = (vec![], 0);
        for (output, axis) in node.outputs.iter().zip(&bounded.axes) {
            let Some(output) = output else {
                made.push(None);
                continue;
            };
            let Some(axis) = axis else {
                made.push(Some(*output));
                continue;
            };
            let most = graph.add_value(name("most"), None);
            made.push(Some(most));
            cuts += 1;
            nodes.push(Node {
                name: name("cut"),
                operator: bounded.cut(*axis),
                inputs: vec![Some(most), Some(count)],
                outputs: vec![Some(*output)],
            });
        }
        // the cuts stand behind what they cut
        let at = nodes.len() - cuts;
        made.resize(bounded.axes.len(), None);
        made.push(Some(count));
        let operator = bounded.operator(&node.operator);
        nodes.insert(at, Node { name: name("most"), operator, inputs: node.inputs, outputs: made });
    }
    graph.nodes = nodes;
    Ok(changed)
}
