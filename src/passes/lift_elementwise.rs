//! Where all parts that a Split hands out go through the same elementwise function, and through nothing else, the whole
//! goes through it before it is split: one dispatch for many, or none, as what makes the whole takes it as its epilogue.
//! Convolutions and products that were merged meet so with the activations that stood behind each of them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::spell::is_op;
use crate::Result;
use crate::ir::{Graph, Node, ValueId};
use crate::ops::{epilogue, fused};

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let consumers = graph.consumers();
    let mut found: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, split) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "Split")) {
        match readers(graph, &consumers, split) {
            Ok(all) => drop(found.insert(i, all)),
            Err(why) => log::debug!("lift-elementwise: {} hands out what it reads: {why}", split.path()),
        }
    }
    let gone: HashSet<usize> = found.values().flatten().copied().collect();
    let changed = !found.is_empty();
    let nodes = std::mem::take(&mut graph.nodes);
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| !gone.contains(i)) {
        let mut node = node.clone();
        if let Some(all) = found.get(&i) {
            let whole = graph.add_value(format!("{}/lifted", node.name), None);
            let mut lifted = nodes[all[0]].clone();
            let part = node.outputs[0];
            lifted.inputs.iter_mut().filter(|v| **v == part).for_each(|v| *v = node.inputs[0]);
            lifted.outputs = vec![Some(whole)];
            node.inputs[0] = Some(whole);
            node.outputs = all.iter().map(|r| nodes[*r].outputs[0]).collect();
            graph.nodes.push(lifted);
        }
        graph.nodes.push(node);
    }
    Ok(changed)
}

/// The readers of the parts of `split`, in order, or why they stay.
fn readers(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, split: &Node) -> Result<Vec<usize>, &'static str> {
    let mut all = vec![];
    let mut function = None;
    for part in &split.outputs {
        let part = part.ok_or("a part is not used")?;
        let [reader] = consumers.get(&part).map_or(&[][..], Vec::as_slice) else {
            return Err("a part has many readers");
        };
        let node = &graph.nodes[*reader];
        if graph.outputs.contains(&part) || all.contains(reader) {
            return Err("a part is wanted as it is");
        }
        if !fused::can_join_in(graph, node) {
            return Err("a part goes through something else");
        }
        let own = signature(graph, node, part).ok_or("a part meets something else")?;
        if function.get_or_insert_with(|| own.clone()) != &own {
            return Err("parts go through different functions");
        }
        all.push(*reader);
    }
    if all.len() > 1 { Ok(all) } else { Err("there is one part") }
}

/// What a node does to its input `x`, if it reads nothing else but numbers: two nodes of one signature do the same.
fn signature(graph: &Graph, node: &Node, x: ValueId) -> Option<String> {
    let mut s = String::new();
    for v in &node.inputs {
        // of one dim at most, so that it is no wider than what it meets
        let number = v.and_then(|v| graph.value(v).constant.as_ref()).filter(|t| t.len() == 1 && t.rank() < 2);
        let _ = match number {
            _ if v.is_none() => write!(s, "- "),
            _ if *v == Some(x) => write!(s, "x "),
            Some(t) => write!(s, "{}{:?}{:?} ", t.dtype(), t.shape(), t.bytes()),
            None => return None,
        };
    }
    if !epilogue::is_fused(node) {
        let o = &node.operator;
        let _ = write!(s, "{} {} {:?}", o.qualified(), o.opset, o.attrs);
        return Some(s);
    }
    let body = epilogue::members(node).ok()?;
    let mut places: HashMap<ValueId, usize> = body.inputs.iter().copied().zip(0..).collect();
    for member in &body.nodes {
        let o = &member.operator;
        let reads: Vec<Option<usize>> = member.inputs.iter().map(|v| v.and_then(|v| places.get(&v).copied())).collect();
        let _ = write!(s, "{} {} {:?} {reads:?} ", o.qualified(), o.opset, o.attrs);
        for v in member.used_outputs() {
            places.insert(v, places.len());
        }
    }
    Some(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::passes::fuse_elementwise;
    use crate::{Rng, Tensor, cpu};

    /// The operators after the passes, which must leave results as they were.
    fn after(text: &str) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let inputs: Vec<Tensor> = vec![Rng::new(5).tensor(DType::F32, &[3, 6, 2], -4.0, 4.0).unwrap()];
        let want = cpu::run(&graph, &inputs).unwrap();
        for pass in [fuse_elementwise::run, run] {
            pass(&mut graph).unwrap();
            verify(&graph).unwrap();
        }
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const TWO: &str = "graph g(%x) -> (%y, %z) {
        %three = float[] {3.0}
        %six = float[] {6.0}
        %also = float[] {3.0}
        %a, %b = Split@18(%x) {axis = 1, num_outputs = 2}
        %c = Add@13(%a, %three)
        %d = Mul@13(%a, %c)
        %y = Div@13(%d, %six)
        %e = Add@13(%b, %also)
        %f = Mul@13(%b, %e)
        %z = Div@13(%f, %six)
    }";

    #[test]
    fn one_function_goes_before_the_split() {
        assert_eq!(after(TWO), [fused::NAME, "Split"]);
        let single = "graph g(%x) -> (%y, %z, %w) {
            %a, %b, %c = Split@18(%x) {axis = -1, num_outputs = 3}
            %y = Tanh@13(%a)
            %z = Tanh@13(%b)
            %w = Tanh@13(%c)
        }";
        let single = single.replace("axis = -1", "axis = 1");
        assert_eq!(after(&single), ["Tanh", "Split"]);
    }

    #[test]
    fn other_functions_numbers_and_readers_stay() {
        let other = [fused::NAME, fused::NAME];
        let functions = |text: &str| after(text).into_iter().filter(|n| n == fused::NAME).collect::<Vec<_>>();
        assert_eq!(functions(&TWO.replace("%also = float[] {3.0}", "%also = float[] {4.0}")), other);
        assert_eq!(functions(&TWO.replace("%f = Mul@13(%b, %e)", "%f = Sub@13(%b, %e)")), other);
        assert_eq!(functions(&TWO.replace("-> (%y, %z)", "-> (%y, %z, %a)")), other);
    }
}
