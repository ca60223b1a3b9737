//! What is known of values without shapes: element type and rank, from declarations and from operators that keep them.

use std::collections::HashMap;

use crate::dtype::DType;
use crate::ir::{Graph, TensorType, ValueId};
use crate::ops::fused;

/// Operators, not elementwise, whose first output has the element type and the rank of their first input.
const ALIKE: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dropout",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "MaxPool",
    "Pad",
    "Resize",
    "Slice",
    "Split",
    "Transpose",
];

/// Element types and ranks, as far as they are known.
pub(super) fn facts(graph: &Graph) -> HashMap<ValueId, (DType, usize)> {
    let mut known: HashMap<ValueId, (DType, usize)> = HashMap::new();
    for (id, v) in graph.values() {
        let declared = || v.declared.as_ref().and_then(|d| Some((d.dtype()?, d.dims()?.len())));
        known.extend(v.constant.as_ref().map(|t| (t.dtype(), t.rank())).or_else(declared).map(|f| (id, f)));
    }
    for node in &graph.nodes {
        let inputs: Option<Vec<_>> = node.used_inputs().map(|v| Some((v, *known.get(&v)?))).collect();
        let made = if node.operator.op.elementwise().is_some() {
            inputs.and_then(|inputs| {
                let rank = inputs.iter().map(|(_, (_, rank))| *rank).max()?;
                let scalars = inputs.iter().map(|(v, (d, _))| (*v, TensorType::new(*d, []))).collect();
                // those of one node are of one rank (see merge-elementwise)
                Some(fused::infer_member(node, &scalars).ok()?.iter().map(|t| (t.dtype, rank)).collect())
            })
        } else {
            let alike = node.operator.domain.is_empty() && ALIKE.contains(&node.operator.op_type.as_str());
            let first = node.inputs.first().copied().flatten().filter(|_| alike);
            first.and_then(|v| known.get(&v).copied()).map(|made| vec![made])
        };
        for (v, made) in node.outputs.iter().zip(made.unwrap_or_default()) {
            v.map(|v| known.entry(v).or_insert(made));
        }
    }
    known
}
