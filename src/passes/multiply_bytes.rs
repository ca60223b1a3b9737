//! For devices that multiply bytes faster than floats: a Conv, MatMul or Gemm whose factors DequantizeLinear makes floats of
//! becomes a ConvInteger or MatMulInteger of the bytes. The sum over (x - z) · w is exact, and what it is scaled by stands
//! behind it, where an epilogue takes it: the scale of x times that of w, which may be one for each output channel.

use std::collections::HashMap;

use super::dead_code;
use super::facts::facts;
use super::spell::{int, is_dequantize, is_op, is_plain_gemm};
use crate::Result;
use crate::dtype::DType;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::{NodeInfo, quant_convs, quant_products};
use crate::tensor::Tensor;

/// Products of bytes that a sum of 32 bits holds, whatever they are: 2³¹ / (255 · 128), rounded down.
const MOST: usize = 65_793;

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, facts) = (graph.producers(), facts(graph));
    let mut all: Vec<(usize, Found)> = vec![];
    for (i, node) in graph.nodes.iter().enumerate() {
        let dtype = |v: ValueId| facts.get(&v).map(|(d, _)| *d);
        match found(graph, &producers, node, dtype) {
            Ok(found) => all.extend(found.map(|f| (i, f))),
            Err(why) => log::debug!("multiply-bytes: {} multiplies floats: {why}", node.path()),
        }
    }
    if all.is_empty() {
        return Ok(false);
    }
    let mut made: HashMap<usize, Vec<Node>> = HashMap::new();
    for (i, found) in all {
        made.insert(i, replaced(graph, &graph.nodes[i].clone(), found)?);
    }
    for (i, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        match made.remove(&i) {
            Some(nodes) => graph.nodes.extend(nodes),
            None => graph.nodes.push(node),
        }
    }
    dead_code::run(graph)?;
    Ok(true)
}

/// The operands of a product of integers.
struct Found {
    x: ValueId,
    x_zero: Option<ValueId>,
    w: ValueId,
    w_zero: Option<ValueId>,
    /// Whether the weights are `[n, k]` of a Gemm.
    transposed: bool,
    /// One for all, or one for each output channel.
    scales: Vec<f32>,
    /// Dims behind the output channels, of what is made.
    behind: usize,
}

/// What a node would multiply as bytes: nothing where it is no product of what DequantizeLinear makes, or why not.
fn found(
    graph: &Graph,
    producers: &HashMap<ValueId, usize>,
    node: &Node,
    dtype: impl Fn(ValueId) -> Option<DType>,
) -> Result<Option<Found>, &'static str> {
    let (conv, gemm) = (is_op(node, "Conv"), is_op(node, "Gemm"));
    if !conv && !gemm && !is_op(node, "MatMul") {
        return Ok(None);
    }
    let maker = |k: usize| {
        let made = &graph.nodes[*producers.get(&node.inputs.get(k).copied().flatten()?)?];
        is_dequantize(made).then_some(made)
    };
    let (Some(left), Some(right)) = (maker(0), maker(1)) else { return Ok(None) };
    let input = |n: &Node, k: usize| n.inputs.get(k).copied().flatten();
    let constant = |v: Option<ValueId>| v.and_then(|v| graph.value(v).constant.as_ref());
    if gemm && !is_plain_gemm(node) {
        return Err("its factors are scaled, or the left one transposed");
    }
    let plain = |n: &Node| !n.operator.attrs.contains_key("output_dtype") && int(n, "block_size", 0) == 0;
    if !plain(left) || !plain(right) {
        return Err("a factor is scaled in blocks, or its type is given");
    }
    let floats = |n: &Node| constant(input(n, 1)).filter(|t| t.dtype() == DType::F32)?.to_f32s().ok();
    let (Some(x), Some(w), x_zero, w_zero) = (input(left, 0), input(right, 0), input(left, 2), input(right, 2)) else {
        return Ok(None);
    };
    let (Some(x_scale), Some(w_scales)) = (floats(left), floats(right)) else {
        return Err("a scale is no constant of float32");
    };
    let [x_scale] = x_scale[..] else { return Err("the left factor has several scales") };
    let x_type = match x_zero {
        Some(z) => constant(Some(z)).filter(|z| z.len() == 1).map(Tensor::dtype),
        None => dtype(x),
    };
    if !matches!(x_type, Some(DType::U8 | DType::I8)) {
        return Err("the left factor is not known to be of bytes with one zero point");
    }
    let Some(weights) = constant(Some(w)) else { return Err("the weights are no constant") };
    if w_zero.is_some() && constant(w_zero).is_none() || !quant_products::are_bytes(weights.dtype(), constant(w_zero)) {
        return Err("the weights are no signed bytes");
    }
    let (s, transposed) = (weights.shape(), gemm && int(node, "transB", 0) != 0);
    if s.len() < 2 || !conv && s.len() != 2 {
        return Err("the weights are no matrix");
    }
    let channels = if conv || transposed { 0 } else { 1 };
    let depth = weights.len() / s[channels].max(1);
    let gains = match conv {
        true => quant_convs::gains(int(node, "group", 1).max(1) as usize, s),
        false => quant_products::gains(s[1 - channels], s[channels]),
    };
    if !gains || depth > MOST {
        return Err("they are too few, or too many for a sum of 32 bits");
    }
    let axis = int(right, "axis", 1);
    let along = if axis < 0 { axis + s.len() as i64 } else { axis } == channels as i64;
    if w_scales.len() != 1 && !(along && w_scales.len() == s[channels]) {
        return Err("the weights' scales are not by output channel");
    }
    let scales: Vec<f32> = w_scales.iter().map(|w| w * x_scale).collect();
    if !scales.iter().all(|s| s.is_normal()) {
        return Err("the scales' products are no normal numbers");
    }
    let behind = if conv { s.len() - 2 } else { 0 };
    Ok(Some(Found { x, x_zero, w, w_zero, transposed, scales, behind }))
}

/// The nodes that take the place of `node`.
fn replaced(graph: &mut Graph, node: &Node, f: Found) -> Result<Vec<Node>> {
    let mut nodes = vec![];
    let mut add = |graph: &mut Graph, name: &str, version: i64, attrs: Attrs, inputs: Vec<Option<ValueId>>| {
        let info = NodeInfo { inputs: inputs.iter().map(Option::is_some).collect(), ..NodeInfo::full(version, 0, 1) };
        let operator = Operator::new("", name, attrs, &info)?;
        let y = graph.add_value(format!("{}/{name} of bytes", node.name), None);
        nodes.push(Node { name: node.name.clone(), operator, inputs, outputs: vec![Some(y)] });
        Ok::<_, crate::Error>(y)
    };
    let conv = is_op(node, "Conv");
    let mut w = f.w;
    if f.transposed {
        let attrs = Attrs::from([("perm".into(), Attr::Ints(vec![1, 0]))]);
        w = add(graph, "Transpose", 13, attrs, vec![Some(w)])?;
    }
    let (name, attrs) =
        if conv { ("ConvInteger", node.operator.attrs.clone()) } else { ("MatMulInteger", Attrs::new()) };
    let mut inputs = vec![Some(f.x), Some(w), f.x_zero, f.w_zero];
    while inputs.last() == Some(&None) {
        inputs.pop();
    }
    let sums = add(graph, name, 10, attrs, inputs)?;
    let to = Attrs::from([("to".into(), Attr::Int(1))]);
    let sums = add(graph, "Cast", 13, to, vec![Some(sums)])?;
    let shape = match f.scales.len() {
        1 => vec![],
        n => [&[n][..], &vec![1; f.behind]].concat(),
    };
    let scales = graph.add_constant(format!("{}/scales", node.name), Tensor::new(shape, f.scales)?);
    let mut made = add(graph, "Mul", 13, Attrs::new(), vec![Some(sums), Some(scales)])?;
    if let Some(mut bias) = node.inputs.get(2).copied().flatten() {
        if f.behind > 0 {
            let to = graph.add_constant(
                format!("{}/by channel", node.name),
                Tensor::vector(&[vec![-1i64], vec![1; f.behind]].concat()),
            );
            bias = add(graph, "Reshape", 13, Attrs::new(), vec![Some(bias), Some(to)])?;
        }
        made = add(graph, "Add", 13, Attrs::new(), vec![Some(made), Some(bias)])?;
    }
    debug_assert!(nodes.last().is_some_and(|n| n.outputs == [Some(made)]));
    if let Some(last) = nodes.last_mut() {
        last.outputs = node.outputs.clone();
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu;
    use crate::dtype::DType::{F32, I8, I32, U8};
    use crate::ir::{parse, verify};
    use crate::rng::Rng;

    /// The operators after the pass, which must leave the result for `x` as it was, but for rounding.
    fn after(text: &str, x: (DType, &[usize]), constants: &[(&str, DType, &[usize])]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(7);
        for (name, d, shape) in constants {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            let (low, high) = match name.chars().next() {
                Some('s') => (0.01, 0.1),
                // the zero points of signed and of unsigned weights
                Some('o') => {
                    if *d == U8 {
                        (128.0, 128.0)
                    } else {
                        (0.0, 0.0)
                    }
                }
                _ => d.int_range().map_or((-1.0, 1.0), |(a, b)| (a.max(-1000) as f64, b.min(1000) as f64)),
            };
            graph.value_mut(v).constant = Some(rng.tensor(*d, shape, low, high).unwrap());
        }
        let (low, high) = x.0.int_range().unwrap();
        let inputs = [rng.tensor(x.0, x.1, low as f64, high as f64).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap()[0].to_f32s().unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap()[0].to_f32s().unwrap();
        let most = want.iter().fold(1f32, |m, v| m.max(v.abs()));
        assert!(want.len() == got.len() && want.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 2e-6 * most));
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const CONV: &str = "graph g(%x, %sx, %zx, %w, %sw, %ow, %b, %sb) -> (%y) {
        %fx = DequantizeLinear@13(%x, %sx, %zx)
        %fw = DequantizeLinear@13(%w, %sw, %ow) {axis = 0}
        %fb = DequantizeLinear@13(%b, %sb) {axis = 0}
        %y = Conv@11(%fx, %fw, %fb) {pads = [1, 0, 1, 2], strides = [1, 2]}
    }";
    const X: (DType, &[usize]) = (U8, &[2, 6, 7, 5]);

    fn conv_constants(w: DType, scales: &'static [usize]) -> Vec<(&'static str, DType, &'static [usize])> {
        let of_w = [("w", w, &[9, 6, 3, 3][..]), ("sw", F32, scales), ("ow", w, scales)];
        [&[("sx", F32, &[][..]), ("zx", U8, &[])][..], &of_w, &[("b", I32, &[9]), ("sb", F32, &[9])]].concat()
    }

    #[test]
    fn convolutions_of_what_was_quantised_multiply_bytes() {
        let want = ["DequantizeLinear", "ConvInteger", "Cast", "Mul", "Reshape", "Add"];
        assert_eq!(after(CONV, X, &conv_constants(I8, &[9])), want);
        assert_eq!(after(CONV, X, &conv_constants(U8, &[])), want);
    }

    #[test]
    fn so_do_products() {
        let text = "graph g(%x, %sx, %zx, %w, %sw) -> (%y) {
            %fx = DequantizeLinear@13(%x, %sx, %zx)
            %fw = DequantizeLinear@13(%w, %sw)
            %y = MatMul@13(%fx, %fw)
        }";
        let x: (DType, &[usize]) = (I8, &[3, 5, 40]);
        let of = [("sx", F32, &[][..]), ("zx", I8, &[]), ("w", I8, &[40, 12]), ("sw", F32, &[12])];
        assert_eq!(after(text, x, &of), ["MatMulInteger", "Cast", "Mul"]);
        let gemm = "graph g(%x, %sx, %zx, %w, %sw, %c) -> (%y) {
            %fx = DequantizeLinear@13(%x, %sx, %zx)
            %fw = DequantizeLinear@13(%w, %sw) {axis = 0}
            %y = Gemm@13(%fx, %fw, %c) {transB = 1}
        }";
        let of = [("sx", F32, &[][..]), ("zx", I8, &[1]), ("w", I8, &[12, 40]), ("sw", F32, &[12]), ("c", F32, &[12])];
        assert_eq!(after(gemm, (I8, &[5, 40]), &of), ["Transpose", "MatMulInteger", "Cast", "Mul", "Add"]);
    }

    #[test]
    fn others_stay() {
        let stays = |text: &str, constants: &[(&str, DType, &[usize])]| {
            assert!(after(text, X, constants).contains(&"Conv".to_string()), "{text}");
        };
        // a scale for each input channel, one channel a group, zero points of the weights, nothing known of the input
        stays(&CONV.replace("{axis = 0}\n        %fb", "{axis = 1}\n        %fb"), &{
            let mut c = conv_constants(I8, &[6]);
            c[2].2 = &[9, 6, 3, 3];
            c
        });
        let mut depthwise = conv_constants(I8, &[]);
        (depthwise[2].2, depthwise[5].2, depthwise[6].2) = (&[6, 1, 3, 3], &[6], &[6]);
        stays(&CONV.replace("{pads", "{group = 6, pads"), &depthwise);
        let moved: Vec<_> = conv_constants(I8, &[9]).into_iter().filter(|c| c.0 != "ow").collect();
        stays(&CONV.replace("%ow", "%zw"), &[&moved[..], &[("zw", I8, &[9])]].concat());
        let unknown: Vec<_> = conv_constants(I8, &[9]).into_iter().filter(|c| c.0 != "zx").collect();
        stays(&CONV.replace("%sx, %zx)\n", "%sx)\n").replace("%sx, %zx, %w", "%sx, %w"), &unknown);
    }
}
