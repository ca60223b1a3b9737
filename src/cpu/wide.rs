//! The interpreter with every float value held in 64 bits from node to node, which tells how much of a difference is
//! rounding.

use std::collections::HashMap;

use super::eval_node;
use crate::dtype::DType;
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::ops::InferCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// What a run in 64 bits made.
#[derive(Debug, Clone)]
pub struct Wide {
    /// The outputs in the graph's order, floats as float64.
    pub outputs: Vec<Tensor>,
    /// The paths of those nodes that computed in their own types, since they take no doubles: their results are rounded.
    pub narrow: Vec<String>,
}

/// A value in 64 bits, and the element type that it stands for.
struct Value {
    tensor: Tensor,
    dtype: DType,
}

impl Value {
    fn new(tensor: Tensor, dtype: DType) -> Result<Value> {
        let widens = tensor.dtype().is_float() && tensor.dtype() != DType::F64;
        let tensor = if widens { Tensor::from_f64s(DType::F64, tensor.shape(), tensor.to_f64s()?)? } else { tensor };
        Ok(Value { tensor, dtype })
    }

    fn of(tensor: &Tensor) -> Result<Value> {
        Value::new(tensor.clone(), tensor.dtype())
    }

    fn narrow(&self) -> Result<Tensor> {
        let t = &self.tensor;
        if t.dtype() == self.dtype { Ok(t.clone()) } else { Tensor::from_f64s(self.dtype, t.shape(), t.to_f64s()?) }
    }
}

/// Runs `graph` on its inputs, in order. A node whose operator takes no doubles, and every body of control flow, computes
/// in its own types; casts between floats round nothing.
///
/// # Errors
/// As [`super::run_all`].
pub fn run_wide(graph: &Graph, inputs: &[Tensor]) -> Result<Wide> {
    let (want, got) = (graph.inputs.len(), inputs.len());
    ensure!(want == got, InvalidInput, "graph {:?} takes {want} inputs, got {got}", graph.name);
    let mut values: HashMap<ValueId, Value> = HashMap::new();
    for (id, t) in graph.inputs.iter().zip(inputs) {
        values.insert(*id, Value::of(t)?);
    }
    for (id, v) in graph.values() {
        if let Some(c) = &v.constant {
            values.insert(id, Value::of(c)?);
        }
    }
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        last.extend(node.used_inputs().map(|v| (v, i)));
    }
    let mut narrow = vec![];
    for (i, node) in graph.nodes.iter().enumerate() {
        let made = match wide(node, &values) {
            Some(made) => made,
            None => {
                narrow.push(node.path());
                in_own_types(node, &values).map_err(|e| e.in_node(node.path()))?
            }
        };
        values.extend(node.outputs.iter().zip(made).filter_map(|(id, v)| Some(((*id)?, v))));
        for v in node.used_inputs().filter(|v| last.get(v) == Some(&i) && !graph.outputs.contains(v)) {
            values.remove(&v);
        }
    }
    let get =
        |v: &ValueId| values.get(v).map(|v| v.tensor.clone()).ok_or_else(|| err!(Internal, "output was never made"));
    Ok(Wide { outputs: graph.outputs.iter().map(get).collect::<Result<_>>()?, narrow })
}

/// The results of a node on wide values; `None` where its operator does not take them, or they are of other shapes.
fn wide(node: &Node, values: &HashMap<ValueId, Value>) -> Option<Vec<Value>> {
    let op = &node.operator.op;
    if !op.bodies().is_empty() {
        return None;
    }
    let find = |v: &Option<ValueId>| v.map_or(Some(None), |v| values.get(&v).map(Some));
    let inputs: Vec<Option<&Value>> = node.inputs.iter().map(find).collect::<Option<_>>()?;
    let types: Vec<_> = inputs.iter().map(|v| v.map(|v| TensorType::new(v.dtype, v.tensor.shape()))).collect();
    let known = types.iter().zip(&inputs).map(|(t, v)| {
        let value = (*v)?;
        Some((t.as_ref()?, (value.tensor.dtype() == value.dtype).then_some(&value.tensor)))
    });
    let inferred = op.infer(&InferCx::new(known.collect())).ok()?;
    let casts = node.operator.domain.is_empty() && matches!(node.operator.op_type.as_str(), "Cast" | "CastLike");
    let made = match (casts, inferred.first(), inputs.first().copied().flatten()) {
        (true, Some(to), Some(x)) if to.dtype.is_float() && x.dtype.is_float() => vec![x.tensor.clone()],
        _ => op.eval(&inputs.iter().map(|v| v.map(|v| &v.tensor)).collect::<Vec<_>>()).ok()?,
    };
    let fits = made.len() == inferred.len()
        && made.iter().zip(&inferred).all(|(t, want)| {
            t.shape() == want.shape && (t.dtype() == want.dtype || t.dtype() == DType::F64 && want.dtype.is_float())
        });
    if !fits {
        return None;
    }
    made.into_iter().zip(inferred).map(|(t, want)| Value::new(t, want.dtype).ok()).collect()
}

fn in_own_types(node: &Node, values: &HashMap<ValueId, Value>) -> Result<Vec<Value>> {
    let mut inputs = HashMap::new();
    for id in node.used_inputs() {
        let value = values.get(&id).ok_or_else(|| err!(Internal, "an input was never made"))?;
        inputs.insert(id, value.narrow()?);
    }
    eval_node(node, &inputs)?.iter().map(Value::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir;

    #[test]
    fn floats_keep_their_64_bits_between_nodes() -> Result<()> {
        let graph = ir::parse(
            "graph g(%x, %half) -> (%y, %n) {
                %a = Add@14(%x, %half)
                %b = Cast@13(%a) {to = 1}
                %y = Sub@14(%b, %x)
                %n = Shape@13(%y)
            }",
        )?;
        // too small to be added to 1 in 32 bits
        let tiny = 2f32.powi(-40);
        let inputs = [Tensor::new([1], vec![1f32])?, Tensor::new([1], vec![tiny])?];
        assert_eq!(super::super::run(&graph, &inputs)?[0].to_f64s()?, [0.0]);
        let made = run_wide(&graph, &inputs)?;
        assert_eq!(made.outputs[0].to_f64s()?, [f64::from(tiny)]);
        assert_eq!((made.outputs[1].to_i64s()?, made.narrow.len()), (vec![1], 0));
        Ok(())
    }
}
