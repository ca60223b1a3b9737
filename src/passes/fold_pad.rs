//! Folds a Pad of the spatial dims into the padding of the Conv, AveragePool or MaxPool that alone reads it, where that
//! gives the same: zeros before a convolution and before a mean that counts them, what no window prefers before a
//! maximum.

use std::collections::HashSet;

use super::dead_code;
use crate::Result;
use crate::ir::{Attr, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut changed = false;
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let windowed = matches!(node.operator.op_type.as_str(), "Conv" | "AveragePool" | "MaxPool");
        let Some(v) = node.inputs.first().copied().flatten().filter(|_| windowed && node.operator.domain.is_empty())
        else {
            continue;
        };
        let Some(pad) = producers.get(&v).map(|p| &graph.nodes[*p]).filter(|p| is_op(p, "Pad")) else { continue };
        let alone = !kept.contains(&v) && consumers.get(&v).is_some_and(|all| all.len() == 1);
        let from = pad.inputs.first().copied().flatten();
        let positive = from.and_then(|v| producers.get(&v)).is_some_and(|p| is_op(&graph.nodes[*p], "Relu"));
        let folded = if alone { folded(graph, pad, node, positive) } else { Err("it has other readers") };
        match folded {
            Ok(pads) => {
                let mut attrs = node.operator.attrs.clone();
                attrs.remove("auto_pad");
                attrs.insert("pads".into(), Attr::Ints(pads));
                if node.operator.op_type == "AveragePool" {
                    attrs.insert("count_include_pad".into(), Attr::Int(1));
                }
                let info = NodeInfo {
                    inputs: node.inputs.iter().map(Option::is_some).collect(),
                    outputs: node.outputs.iter().map(Option::is_some).collect(),
                    ..NodeInfo::full(node.operator.opset, 0, 0)
                };
                let operator = Operator::new("", &node.operator.op_type, attrs, &info)?;
                graph.nodes[i].operator = operator;
                graph.nodes[i].inputs[0] = from;
                changed = true;
            }
            Err(why) => log::debug!("fold-pad: {} stays before {}: {why}", pad.path(), node.path()),
        }
    }
    if changed {
        dead_code::run(graph)?;
    }
    Ok(changed)
}

fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

fn ints(node: &Node, name: &str) -> Option<Vec<i64>> {
    match node.operator.attrs.get(name) {
        Some(Attr::Ints(list)) => Some(list.clone()),
        _ => None,
    }
}

fn int(node: &Node, name: &str) -> i64 {
    match node.operator.attrs.get(name) {
        Some(Attr::Int(i)) => *i,
        _ => 0,
    }
}

fn constant<'a>(graph: &'a Graph, node: &Node, i: usize) -> Option<&'a Tensor> {
    graph.value(node.inputs.get(i).copied().flatten()?).constant.as_ref()
}

/// The attribute `pads` of `node` with those of `pad` in it, or why not. `positive`: `pad` reads no negative numbers.
fn folded(graph: &Graph, pad: &Node, node: &Node, positive: bool) -> Result<Vec<i64>, &'static str> {
    if !matches!(pad.operator.attrs.get("mode"), None | Some(Attr::Str(_))) {
        return Err("its mode is not known");
    }
    if let Some(Attr::Str(mode)) = pad.operator.attrs.get("mode")
        && mode != "constant"
    {
        return Err("it does not pad with a constant");
    }
    let has = |i: usize| pad.inputs.get(i).copied().flatten().is_some();
    let fill = match (pad.operator.attrs.get("value"), has(2)) {
        (Some(Attr::Float(v)), _) => f64::from(*v),
        (_, false) => 0.0,
        (_, true) => {
            let value = constant(graph, pad, 2).and_then(|t| t.to_f64s().ok());
            value.and_then(|v| v.first().copied()).ok_or("what it pads with is no constant")?
        }
    };
    let pads =
        ints(pad, "pads").or_else(|| constant(graph, pad, 1)?.to_i64s().ok()).ok_or("its pads are no constant")?;
    let kernel = ints(node, "kernel_shape").map(|k| k.into_iter().map(|k| k.max(0) as usize).collect::<Vec<_>>());
    let weights = constant(graph, node, 1).filter(|_| is_op(node, "Conv"));
    let kernel = kernel.or_else(|| Some(weights?.shape().get(2..)?.to_vec()));
    let rank = 2 + kernel.as_ref().map(Vec::len).ok_or("the number of dims is not known")?;
    let axes = match has(3) {
        true => constant(graph, pad, 3).and_then(|t| t.to_i64s().ok()).ok_or("its axes are no constant")?,
        false => (0..rank as i64).collect(),
    };
    if pads.len() != 2 * axes.len() || pads.iter().any(|p| *p < 0) {
        return Err("it takes elements away");
    }
    let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
    for (k, axis) in axes.iter().enumerate() {
        let axis = usize::try_from(if *axis < 0 { axis + rank as i64 } else { *axis }).ok().filter(|a| *a < rank);
        let axis = axis.ok_or("its axes are out of range")?;
        (begin[axis], end[axis]) = (pads[k], pads[k + axes.len()]);
    }
    if begin[..2].iter().chain(&end[..2]).any(|p| *p != 0) {
        return Err("it pads batch or channels");
    }
    let own = match node.operator.attrs.get("auto_pad") {
        Some(Attr::Str(mode)) if mode == "VALID" => vec![],
        Some(Attr::Str(mode)) if mode != "NOTSET" && !mode.is_empty() => return Err("the window pads by itself"),
        _ => ints(node, "pads").unwrap_or_default(),
    };
    let spatial = rank - 2;
    let own = if own.is_empty() { vec![0; 2 * spatial] } else { own };
    if own.len() != 2 * spatial {
        return Err("the window's pads are not as many as its dims");
    }
    if int(node, "ceil_mode") != 0 {
        return Err("partial windows count differently");
    }
    let added = [&begin[2..], &end[2..]].concat();
    let all: Vec<i64> = own.iter().zip(&added).map(|(o, a)| o.saturating_add(*a)).collect();
    if all.iter().any(|p| *p > i64::from(u32::MAX)) {
        return Err("it pads farther than windows do");
    }
    match node.operator.op_type.as_str() {
        "Conv" if fill == 0.0 => {}
        "AveragePool" if node.operator.opset < 7 => return Err("padding is never counted"),
        "AveragePool" if fill == 0.0 && (own.iter().all(|p| *p == 0) || int(node, "count_include_pad") != 0) => {}
        "MaxPool" => {
            // a window that lies in the padding alone would give what was padded with
            let inside = kernel.iter().flatten().chain(kernel.iter().flatten()).zip(&all);
            let plain = ints(node, "dilations").is_none_or(|d| d.iter().all(|d| *d == 1));
            let inside = plain && { inside }.all(|(k, p)| *p < *k as i64);
            if node.outputs.len() > 1 {
                return Err("places are asked for");
            }
            if !(fill == f64::NEG_INFINITY || (fill == 0.0 && positive && inside)) {
                return Err("windows may prefer what it pads with");
            }
        }
        _ => return Err("the window would not see what it pads with"),
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, cpu};

    /// The operators after the pass; results must stay as they were.
    fn folded(text: &str, pads: &[i64]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let p = graph.find("p").unwrap();
        graph.inputs.retain(|v| *v != p);
        graph.value_mut(p).constant = Some(Tensor::vector(pads));
        let mut rng = Rng::new(5);
        let shapes: [&[usize]; 2] = [&[1, 2, 6, 5], &[3, 2, 3, 3]];
        let inputs: Vec<Tensor> =
            shapes[..graph.inputs.len()].iter().map(|s| rng.tensor(DType::F32, s, -1.0, 1.0).unwrap()).collect();
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        // a sum without the padding's zeros may be zero of the other sign
        let same = |(a, b): (&Tensor, &Tensor)| a.shape() == b.shape() && a.to_f64s().unwrap() == b.to_f64s().unwrap();
        assert!(got.iter().zip(&want).all(same), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const SPATIAL: [i64; 8] = [0, 0, 1, 2, 0, 0, 0, 1];

    #[test]
    fn zeros_join_the_padding_of_convolutions_and_counting_means() {
        let conv = |attrs: &str| {
            format!(
                "graph g(%x, %w, %p) -> (%y) {{
                %q = Pad@13(%x, %p)
                %y = Conv@13(%q, %w) {{kernel_shape = [3, 3]{attrs}}}
            }}"
            )
        };
        assert_eq!(folded(&conv(""), &SPATIAL), ["Conv"]);
        assert_eq!(folded(&conv(", pads = [1, 0, 0, 1], strides = [2, 2]"), &SPATIAL), ["Conv"]);
        assert_eq!(folded(&conv(", auto_pad = \"VALID\""), &SPATIAL), ["Conv"]);
        assert_eq!(folded(&conv(", auto_pad = \"SAME_UPPER\""), &SPATIAL), ["Pad", "Conv"]);
        assert_eq!(folded(&conv(""), &[0, 0, -1, 2, 0, 0, 0, 1]), ["Pad", "Conv"]);
        assert_eq!(folded(&conv(""), &[1, 0, 0, 0, 0, 0, 0, 0]), ["Pad", "Conv"]);
        let mean = |attrs: &str| {
            format!(
                "graph g(%x, %p) -> (%y) {{
                %q = Pad@13(%x, %p)
                %y = AveragePool@11(%q) {{kernel_shape = [3, 3]{attrs}}}
            }}"
            )
        };
        assert_eq!(folded(&mean(""), &SPATIAL), ["AveragePool"]);
        assert_eq!(folded(&mean(", pads = [1, 1, 1, 1], count_include_pad = 1"), &SPATIAL), ["AveragePool"]);
        assert_eq!(folded(&mean(", pads = [1, 1, 1, 1]"), &SPATIAL), ["Pad", "AveragePool"]);
    }

    #[test]
    fn zeros_join_maxima_of_what_is_not_negative() {
        let text = "graph g(%x, %p) -> (%y) {
            %r = Relu@13(%x)
            %q = Pad@13(%r, %p)
            %y = MaxPool@12(%q) {kernel_shape = [3, 3]}
        }";
        assert_eq!(folded(text, &SPATIAL), ["Relu", "MaxPool"]);
        assert_eq!(folded(text, &[0, 0, 3, 0, 0, 0, 0, 0]), ["Relu", "Pad", "MaxPool"]);
        let text = "graph g(%x, %p) -> (%y) {
            %q = Pad@13(%x, %p)
            %y = MaxPool@12(%q) {kernel_shape = [3, 3]}
        }";
        assert_eq!(folded(text, &SPATIAL), ["Pad", "MaxPool"]);
    }
}
