//! Lets products read weights as they are stored: a MatMul or Gemm and the DequantizeLinear of constants of 8 bits or fewer
//! that makes its right factor become one node, and the weights take their bits on the device, not 32 each.

use std::collections::HashMap;

use super::dead_code;
use super::spell::{int, is_dequantize, is_op, is_plain_gemm};
use crate::ir::{Attr, Graph, Node, TensorType, ValueId};
use crate::ops::dequantised::{self, INPUTS, Stored};
use crate::tensor::Tensor;
use crate::{Result, err};

/// Elements of weights that are worth it: products of many rows make floats of them in a dispatch of its own.
const LEAST: usize = 1 << 20;

/// Runs the pass.
///
/// # Errors
/// Those of the operator it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    run_from(graph, LEAST)
}

fn run_from(graph: &mut Graph, least: usize) -> Result<bool> {
    let producers = graph.producers();
    let mut made: Vec<(usize, Node)> = vec![];
    for (i, node) in graph.nodes.iter().enumerate() {
        match found(graph, &producers, node, least) {
            Some(Ok(parts)) => made.push((i, joined(graph, node, parts)?)),
            Some(Err(why)) => log::debug!("dequantise: {} reads floats: {why}", node.path()),
            None => {}
        }
    }
    let changed = !made.is_empty();
    for (i, node) in made {
        graph.nodes[i] = node;
    }
    if changed {
        dead_code::run(graph)?;
    }
    Ok(changed)
}

/// What makes a product's right factor, and how the weights lie.
struct Found<'a> {
    dequantize: &'a Node,
    transpose: Option<&'a Node>,
    stored: Stored,
}

/// The weights of `node`, if it is a product of weights, or why they are not read as they are.
fn found<'a>(
    graph: &'a Graph,
    producers: &HashMap<ValueId, usize>,
    node: &'a Node,
    least: usize,
) -> Option<Result<Found<'a>>> {
    let maker = |v: Option<ValueId>| Some(&graph.nodes[*producers.get(&v?)?]);
    let gemm = is_op(node, "Gemm");
    if !gemm && !is_op(node, "MatMul") {
        return None;
    }
    let mut last = maker(*node.inputs.get(1)?)?;
    let transpose = is_op(last, "Transpose").then_some(last);
    if let Some(t) = transpose {
        let perm = t.operator.attrs.get("perm");
        if !matches!(perm, None | Some(Attr::Ints(_))) || matches!(perm, Some(Attr::Ints(p)) if p[..] != [1, 0]) {
            return None;
        }
        last = maker(*t.inputs.first()?)?;
    }
    if !is_dequantize(last) {
        return None;
    }
    let constant = |i: usize| last.inputs.get(i).copied().flatten().map(|v| graph.value(v).constant.as_ref());
    let (Some(Some(w)), Some(Some(s))) = (constant(0), constant(1)) else { return None };
    let zeros = match constant(2) {
        Some(None) => return None,
        Some(zeros) => zeros,
        None => None,
    };
    if gemm && !is_plain_gemm(node) {
        return Some(Err(err!(Unsupported, "its factors are scaled, or the left one transposed")));
    }
    if last.operator.attrs.contains_key("output_dtype") {
        return Some(Err(err!(Unsupported, "the type of the weights is given")));
    }
    if w.len() < least {
        return Some(Err(err!(Unsupported, "the weights are few")));
    }
    let transposed = (int(node, "transB", 0) != 0) != transpose.is_some();
    let stored = Stored { transposed, axis: int(last, "axis", 1), block_size: int(last, "block_size", 0) };
    let t = |t: &Tensor| TensorType::new(t.dtype(), t.shape());
    let weights = stored.weights([&t(w), &t(s)], zeros.map(t).as_ref(), zeros);
    Some(weights.map(|_| Found { dequantize: last, transpose, stored }))
}

/// One node for the members.
fn joined(graph: &Graph, product: &Node, found: Found<'_>) -> Result<Node> {
    let mut inputs = vec![None; INPUTS];
    inputs[0] = product.inputs[0];
    inputs[1..4].iter_mut().zip(&found.dequantize.inputs).for_each(|(to, from)| *to = *from);
    inputs[4] = product.inputs.get(2).copied().flatten();
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    let add = |body: &mut Graph, inner: &mut HashMap<ValueId, ValueId>, v: ValueId| {
        // one of its own for each input, also where two are the same value
        let id = body.add_value(format!("{}/{}", graph.value(v).name, inner.len()), None);
        inner.insert(v, id);
        id
    };
    body.inputs = inputs.iter().flatten().map(|v| add(&mut body, &mut inner, *v)).collect();
    let members = [Some(found.dequantize), found.transpose, Some(product)];
    for node in members.into_iter().flatten() {
        for v in node.used_outputs() {
            add(&mut body, &mut inner, v);
        }
        let mut node = node.clone();
        for v in node.inputs.iter_mut().chain(&mut node.outputs) {
            *v = v.and_then(|v| inner.get(&v).copied());
        }
        body.nodes.push(node);
    }
    body.outputs = product.used_outputs().filter_map(|v| inner.get(&v).copied()).collect();
    let present = inputs.iter().map(Option::is_some).collect();
    let operator = dequantised::operator(body, found.stored, present)?;
    Ok(Node { name: product.name.clone(), operator, inputs, outputs: product.outputs.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType::{self, F32, I4, I8, I16, U4};
    use crate::ir::{parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass, which must leave results as they were; constants of these types and shapes.
    fn after(text: &str, constants: &[(&str, DType, &[usize])]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(7);
        for (name, d, shape) in constants {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            let (low, high) = d.int_range().map_or((0.01, 0.1), |(a, b)| (a as f64, b as f64));
            graph.value_mut(v).constant = Some(rng.tensor(*d, shape, low, high).unwrap());
        }
        let inputs = [rng.tensor(F32, &[3, 64], -1.0, 1.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        run_from(&mut graph, 1024).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const PRODUCT: &str = "graph g(%x, %w, %s, %z) -> (%y) {
        %d = DequantizeLinear@21(%w, %s, %z) {axis = 1}
        %y = MatMul@13(%x, %d)
    }";

    #[test]
    fn weights_of_a_product_stay_as_they_are() {
        let constants = |w: DType, s: &'static [usize]| [("w", w, &[64, 32][..]), ("s", F32, s), ("z", w, s)];
        assert_eq!(after(PRODUCT, &constants(I8, &[])), [dequantised::NAME]);
        assert_eq!(after(PRODUCT, &constants(U4, &[32])), [dequantised::NAME]);
        let blocks = PRODUCT.replace("axis = 1", "axis = 0, block_size = 16");
        assert_eq!(after(&blocks, &constants(I4, &[4, 32])), [dequantised::NAME]);
        let gemm = "graph g(%x, %w, %s, %b) -> (%y) {
            %d = DequantizeLinear@21(%w, %s) {axis = 0}
            %y = Gemm@13(%x, %d, %b) {transB = 1}
        }";
        let constants = [("w", I8, &[32, 64][..]), ("s", F32, &[32]), ("b", F32, &[32])];
        assert_eq!(after(gemm, &constants), [dequantised::NAME]);
        let turned = "graph g(%x, %w, %s) -> (%y) {
            %d = DequantizeLinear@21(%w, %s) {axis = 0}
            %t = Transpose@13(%d)
            %y = MatMul@13(%x, %t)
        }";
        assert_eq!(after(turned, &constants[..2]), [dequantised::NAME]);
    }

    #[test]
    fn others_stay() {
        let both = ["DequantizeLinear", "MatMul"];
        // a scale for each product of a sum, few weights, blocks that are no whole words, wide integers
        let by_row = PRODUCT.replace("axis = 1", "axis = 0");
        assert_eq!(after(&by_row, &[("w", I8, &[64, 32]), ("s", F32, &[64]), ("z", I8, &[64])]), both);
        assert_eq!(after(PRODUCT, &[("w", I8, &[64, 3]), ("s", F32, &[]), ("z", I8, &[])]), both);
        let blocks = PRODUCT.replace("axis = 1", "axis = 0, block_size = 6");
        assert_eq!(after(&blocks, &[("w", I8, &[64, 32]), ("s", F32, &[11, 32]), ("z", I8, &[11, 32])]), both);
        assert_eq!(after(PRODUCT, &[("w", I16, &[64, 32]), ("s", F32, &[]), ("z", I16, &[])]), both);
        let gemm = PRODUCT.replace("MatMul@13(%x, %d)", "Gemm@13(%x, %d) {alpha = 2.0}");
        assert_eq!(after(&gemm, &[("w", I8, &[64, 32]), ("s", F32, &[]), ("z", I8, &[])]).len(), 2);
        // weights that something else reads as well are there once more
        let two = PRODUCT.replace("-> (%y)", "-> (%y, %d)");
        let of = [("w", I8, &[64, 32][..]), ("s", F32, &[]), ("z", I8, &[])];
        assert_eq!(after(&two, &of), ["DequantizeLinear", dequantised::NAME]);
    }
}
