//! SkipLayerNormalization and SkipSimplifiedLayerNormalization of what a product makes become what they consist of, sums and
//! a norm, so that the sums join the product. They are rounded to the element type, as the operator's fourth output is.

use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;

const EPSILON: f32 = 1e-12;

/// What sums join.
const PRODUCTS: &[&str] = &["MatMul", "Gemm", "MatMulNBits"];

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let joins = |v: &Option<ValueId>| {
        let Some(v) = v else { return false };
        let product = producers.get(v).map(|i| graph.nodes[*i].operator.op_type.as_str());
        let alone = consumers.get(v).is_some_and(|all| all.len() == 1) && !graph.outputs.contains(v);
        alone && product.is_some_and(|name| PRODUCTS.contains(&name))
    };
    let norm = |n: &Node| norm_of(n).filter(|_| n.inputs[..2].iter().any(joins));
    let norms: Vec<_> = graph.nodes.iter().map(norm).collect();
    if norms.iter().all(Option::is_none) {
        return Ok(false);
    }
    for (node, norm) in std::mem::take(&mut graph.nodes).into_iter().zip(norms) {
        match norm {
            Some(norm) => expand(graph, &node, norm)?,
            None => graph.nodes.push(node),
        }
    }
    Ok(true)
}

/// The norm that a node ends with, and its version, if the node is a sum and a norm and nobody reads mean or deviation.
fn norm_of(node: &Node) -> Option<(&'static str, i64)> {
    let present = |all: &[Option<ValueId>], i: usize| all.get(i).copied().flatten().is_some();
    let whole = (0..3).all(|i| present(&node.inputs, i)) && (1..3).all(|i| !present(&node.outputs, i));
    match node.operator.op_type.as_str() {
        _ if node.operator.domain != "com.microsoft" || !whole => None,
        "SkipLayerNormalization" => Some(("LayerNormalization", 17)),
        "SkipSimplifiedLayerNormalization" => Some(("RMSNormalization", 23)),
        _ => None,
    }
}

fn expand(graph: &mut Graph, node: &Node, (norm, version): (&str, i64)) -> Result<()> {
    let input = |i: usize| node.inputs.get(i).copied().flatten();
    let (shift, bias) = if norm == "LayerNormalization" { (input(3), input(4)) } else { (None, input(3)) };
    let output = |i: usize| node.outputs.get(i).copied().flatten();
    let add = |graph: &mut Graph, a: Option<ValueId>, b: Option<ValueId>, last: bool| {
        let sum = output(3).filter(|_| last);
        let sum = sum.unwrap_or_else(|| graph.add_value(format!("{}/sum {}", node.name, graph.nodes.len()), None));
        let operator = Operator::new("", "Add", Attrs::new(), &NodeInfo::full(13, 2, 1))?;
        graph.nodes.push(Node { name: node.name.clone(), operator, inputs: vec![a, b], outputs: vec![Some(sum)] });
        Ok::<_, crate::Error>(Some(sum))
    };
    let mut sum = add(graph, input(0), input(1), bias.is_none())?;
    if bias.is_some() {
        sum = add(graph, sum, bias, true)?;
    }
    if let Some(y) = output(0) {
        let epsilon = node.operator.attrs.get("epsilon").cloned().unwrap_or(Attr::Float(EPSILON));
        let attrs = Attrs::from([("epsilon".into(), epsilon), ("axis".into(), Attr::Int(-1))]);
        let inputs: Vec<_> = [sum, input(2)].into_iter().chain(shift.map(Some)).collect();
        let operator = Operator::new("", norm, attrs, &NodeInfo::full(version, inputs.len(), 1))?;
        graph.nodes.push(Node { name: node.name.clone(), operator, inputs, outputs: vec![Some(y)] });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType::{self, F16, F32};
    use crate::ir::{parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass; results must stay as they were, up to the sum's rounding.
    fn after(d: DType, text: &str) -> Vec<String> {
        let mut graph = parse(&format!("graph g(%v, %w, %s, %g, %b, %c) -> (%y, %z) {{ {text} }}")).unwrap();
        let mut rng = Rng::new(5);
        let shapes = [&[2, 3, 4][..], &[4, 8], &[2, 3, 8], &[8], &[8], &[8]];
        let all: Vec<_> = shapes.iter().map(|s| rng.tensor(d, s, -2.0, 2.0).unwrap()).collect();
        let want = cpu::run(&graph, &all).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &all).unwrap();
        for (g, w) in got.iter().zip(&want) {
            let (g, w) = (g.to_f64s().unwrap(), w.to_f64s().unwrap());
            let most = if d == F16 { 4e-3 } else { 1e-6 };
            assert!(g.iter().zip(&w).all(|(g, w)| (g - w).abs() <= most * w.abs().max(1.0)), "{g:?} for {w:?}");
        }
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn sums_behind_products_and_norms_stand_apart() {
        for d in [F32, F16] {
            let simple = "%x = MatMul@13(%v, %w)
                %y, _, _, %z = \"com.microsoft\"::SkipSimplifiedLayerNormalization@1(%x, %s, %g) {epsilon = 0.1}";
            assert_eq!(after(d, simple), ["MatMul", "Add", "RMSNormalization"]);
            let full = "%x = MatMul@13(%v, %w)
                %y, _, _, %z = \"com.microsoft\"::SkipLayerNormalization@1(%s, %x, %g, %b, %c)";
            assert_eq!(after(d, full), ["MatMul", "Add", "Add", "LayerNormalization"]);
        }
    }

    #[test]
    fn others_stay() {
        let mean = "%x = MatMul@13(%v, %w) %y, %z = \"com.microsoft\"::SkipLayerNormalization@1(%x, %s, %g)";
        assert_eq!(after(F32, mean), ["MatMul", "SkipLayerNormalization"]);
        let no_product = "%x = Neg@13(%s) %y, _, _, %z = \"com.microsoft\"::SkipLayerNormalization@1(%x, %s, %g)";
        assert_eq!(after(F32, no_product), ["Neg", "SkipLayerNormalization"]);
        let read_twice = "%x = MatMul@13(%v, %w) %z = Neg@13(%x)
            %y = \"com.microsoft\"::SkipLayerNormalization@1(%x, %s, %g)";
        assert_eq!(after(F32, read_twice), ["MatMul", "Neg", "SkipLayerNormalization"]);
    }
}
