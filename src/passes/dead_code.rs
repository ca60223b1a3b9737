//! Drops nodes whose outputs nobody reads, and the data of constants that no node reads any more.

use std::collections::HashSet;

use crate::Result;
use crate::ir::{Graph, ValueId};

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut live: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut kept = vec![];
    for mut node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if !node.used_outputs().any(|v| live.contains(&v)) {
            changed = true;
            continue;
        }
        live.extend(node.used_inputs());
        for out in &mut node.outputs {
            changed |= out.is_some_and(|v| !live.contains(&v));
            *out = out.filter(|v| live.contains(v));
        }
        kept.push(node);
    }
    kept.reverse();
    graph.nodes = kept;
    let unused: Vec<ValueId> = graph.values().filter(|(id, _)| !live.contains(id)).map(|(id, _)| id).collect();
    for v in unused {
        changed |= graph.value_mut(v).constant.take().is_some();
    }
    Ok(changed)
}
