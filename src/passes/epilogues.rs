//! Lets products (Conv, MatMul, …), reductions, pools, normalisations and their like do what follows them element by
//! element: the elementwise operator, or fused group of them, that is the only reader of their result joins them in one
//! node.
//!
//! The result of the group may be wider than the product's, and operands may be of any shape: shapes are not known
//! here. Where they do not fit, lowering runs the two one after the other, as if this pass had not joined them.

use std::collections::{HashMap, HashSet};

use super::fuse_elementwise::{binds, join, on_the_host};
use crate::Result;
use crate::ir::{Graph, Node, ValueId};
use crate::ops::{epilogue, fused};

/// Runs the pass.
///
/// # Errors
/// `InvalidNode` when the operator refuses its body.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let kept: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let host = on_the_host(graph);
    let mut taken = HashSet::new();
    let mut made: HashMap<usize, Node> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if !fused::can_join_in(graph, node) {
            continue;
        }
        let mut heads: Vec<(usize, ValueId)> =
            node.used_inputs().filter_map(|v| Some((*producers.get(&v)?, v))).collect();
        heads.retain(|(head, _)| epilogue::head_inputs(&graph.nodes[*head]).is_some());
        // a product, which gains most; of several the last one, so that what it made is at hand when the others are done
        heads.sort_unstable_by_key(|(head, _)| (gain(&graph.nodes[*head]), *head));
        let others: HashSet<ValueId> = node.used_inputs().filter(|v| binds(graph, *v)).collect();
        let fits = |(head, v): &(usize, ValueId)| {
            let refused = match () {
                () if kept.contains(v) || consumers.get(v).is_none_or(|all| all.iter().any(|c| *c != i)) => {
                    Some("its result has other readers")
                }
                () if taken.contains(head) => Some("it has an epilogue"),
                () if others.len() > 1 + epilogue::MOST_READS => Some("there are too many operands"),
                () if narrows(&graph.nodes[*head])
                    && others.iter().any(|o| graph.nodes[*head].inputs.first() == Some(&Some(*o))) =>
                {
                    Some("its result is wider")
                }
                () if weighs(&graph.nodes[*head]) && node.used_outputs().any(|v| to_product(graph, &consumers, v)) => {
                    Some("they may be parts of an attention")
                }
                () if node.used_inputs().chain(node.used_outputs()).any(|v| host.contains(&v)) => {
                    Some("values are of types that devices have no form for")
                }
                () => None,
            };
            if let Some(why) = refused {
                log::debug!("epilogues: {} does not join {}: {why}", node.path(), graph.nodes[*head].path());
            }
            refused.is_none()
        };
        if let Some((head, v)) = heads.into_iter().rev().find(fits) {
            taken.insert(head);
            made.insert(i, ended(graph, head, i, v)?);
        }
    }
    let changed = !made.is_empty();
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    graph.nodes = nodes.filter_map(|(i, n)| made.remove(&i).or_else(|| (!taken.contains(&i)).then_some(n))).collect();
    Ok(changed)
}

/// How much a head gains by what follows it: of two the greater one is chosen.
fn gain(head: &Node) -> usize {
    match head.operator.op_type.as_str() {
        "Conv" | "ConvInteger" | "ConvTranspose" | "Gemm" | "MatMul" | "MatMulInteger" | "MatMulNBits" => 2,
        _ if narrows(head) => 0,
        _ => 1,
    }
}

/// Whether it makes fewer elements than it reads.
fn narrows(head: &Node) -> bool {
    let name = head.operator.op_type.as_str();
    name.starts_with("Reduce") || name.ends_with("Pool")
}

/// Whether it makes weights of an attention, perhaps.
fn weighs(head: &Node) -> bool {
    head.operator.op_type == "Softmax"
}

fn to_product(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, v: ValueId) -> bool {
    let all = consumers.get(&v).map_or(&[][..], Vec::as_slice);
    all.iter().any(|c| graph.nodes[*c].operator.op_type == "MatMul")
}

/// One node for `head`, which makes `v`, and `tail`: the head's inputs, left-out ones included, then the others.
fn ended(graph: &Graph, head: usize, tail: usize, v: ValueId) -> Result<Node> {
    let (first, last) = (&graph.nodes[head], &graph.nodes[tail]);
    let mut second = last.clone();
    if second.operator.domain != fused::DOMAIN || second.operator.op_type != fused::NAME {
        second = join(graph, &[tail])?;
    }
    let mut inputs = first.inputs.clone();
    inputs.resize(epilogue::head_inputs(first).unwrap_or(inputs.len()), None);
    for read in second.inputs.iter().filter(|read| **read != Some(v)) {
        if !inputs.contains(read) {
            inputs.push(*read);
        }
    }
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    let outer = inputs.iter().flatten().copied().chain([v]).chain(last.used_outputs());
    for (k, outer) in outer.enumerate() {
        // one of its own for each input, also where two are the same value
        let name = format!("{}/{k}", graph.value(outer).name);
        let id = body.add_value(name, graph.value(outer).declared.clone());
        inner.insert(outer, id);
        if k < inputs.iter().flatten().count() {
            body.inputs.push(id);
        }
    }
    let mut head = first.clone();
    head.inputs.resize(inputs.len().min(epilogue::head_inputs(first).unwrap_or(0)), None);
    for mut node in [head, second] {
        for v in node.inputs.iter_mut().chain(&mut node.outputs) {
            *v = v.and_then(|v| inner.get(&v).copied());
        }
        body.nodes.push(node);
    }
    body.outputs = last.used_outputs().filter_map(|v| inner.get(&v).copied()).collect();
    let present = inputs.iter().map(Option::is_some).collect();
    let operator = epilogue::operator(body, present)?;
    Ok(Node { name: last.name.clone(), operator, inputs, outputs: last.outputs.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::passes::fuse_elementwise;
    use crate::{Rng, Tensor, cpu};

    fn joined(text: &str, shapes: &[&[usize]]) -> Vec<String> {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(3);
        let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -1.0, 1.0).unwrap()).collect();
        let want = cpu::run(&graph, &inputs).unwrap();
        fuse_elementwise::run(&mut graph).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    #[test]
    fn bias_residual_and_activation_join_the_last_product() {
        let text = "graph g(%x, %w, %s, %b) -> (%y) {
            %c = Conv@13(%x, %w)
            %d = Conv@13(%x, %s)
            %e = Add@13(%c, %b)
            %a = Add@13(%e, %d)
            %r = Relu@13(%a)
            %y = MaxPool@12(%r) {kernel_shape = [2, 2]}
        }";
        let shapes: [&[usize]; 4] = [&[1, 2, 4, 4], &[3, 2, 1, 1], &[3, 2, 1, 1], &[3, 1, 1]];
        assert_eq!(joined(text, &shapes), ["Conv", "Conv+Elementwise", "MaxPool"]);
    }

    #[test]
    fn an_operand_of_product_and_function_is_one_input() {
        let text = "graph g(%x, %w) -> (%y) {
            %m = MatMul@13(%x, %w)
            %a = Add@13(%x, %m)
            %y = Mul@13(%a, %m)
        }";
        assert_eq!(joined(text, &[&[3, 3], &[3, 3]]), ["MatMul+Elementwise"]);
        let text = "graph g(%x) -> (%y) {
            %m = MatMul@13(%x, %x)
            %y = Add@13(%x, %m)
        }";
        assert_eq!(joined(text, &[&[3, 3]]), ["MatMul+Elementwise"]);
    }

    #[test]
    fn products_go_first_and_wide_results_stay_apart() {
        let text = "graph g(%x, %w) -> (%y) {
            %m = MatMul@13(%x, %w)
            %r = ReduceMax@13(%w) {axes = [0]}
            %y = Add@13(%m, %r)
        }";
        assert_eq!(joined(text, &[&[3, 3], &[3, 3]]), ["ReduceMax", "MatMul+Elementwise"]);
        let text = "graph g(%x) -> (%y) {
            %r = ReduceMax@13(%x) {axes = [0]}
            %y = Sub@13(%x, %r)
        }";
        assert_eq!(joined(text, &[&[3, 3]]), ["ReduceMax", "Sub"]);
        let text = "graph g(%x) -> (%y) {
            %r = ReduceMax@13(%x) {axes = [0]}
            %s = Sqrt@13(%r)
            %y = Neg@13(%s)
        }";
        assert_eq!(joined(text, &[&[3, 3]]), ["ReduceMax+Elementwise"]);
    }

    #[test]
    fn weights_of_an_attention_stay() {
        let text = "graph g(%x, %v) -> (%y) {
            %p = Softmax@13(%x)
            %n = Neg@13(%p)
            %y = MatMul@13(%n, %v)
        }";
        assert_eq!(joined(text, &[&[3, 3], &[3, 3]]), ["Softmax", "Neg", "MatMul"]);
        assert_eq!(joined(&text.replace("MatMul", "Add"), &[&[3, 3], &[3, 3]]), ["Softmax+Elementwise"]);
    }

    #[test]
    fn single_floats_are_no_operands() {
        let text = "graph g(%x, %w) -> (%y) {
            %a = float[] {0.5}
            %b = float[] {1.5}
            %c = float[] {-0.5}
            %d = float[] {0.25}
            %e = float[] {2.5}
            %m = MatMul@13(%x, %w)
            %s = Mul@13(%m, %a)
            %t = Add@13(%s, %b)
            %u = Max@13(%t, %c)
            %v = Min@13(%u, %d)
            %y = Mul@13(%v, %e)
        }";
        assert_eq!(joined(text, &[&[3, 3], &[3, 3]]), ["MatMul+Elementwise"]);
    }

    #[test]
    fn integer_products_end_in_what_scales_them() {
        let text = "graph g(%x, %w) -> (%y) {
            %q, %s, %z = DynamicQuantizeLinear@11(%x)
            %r, %t, %u = DynamicQuantizeLinear@11(%w)
            %m = MatMulInteger@10(%q, %r, %z, %u)
            %c = Cast@13(%m) {to = 1}
            %b = Mul@13(%s, %t)
            %y = Mul@13(%c, %b)
        }";
        let ops = ["DynamicQuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger+Elementwise"];
        assert_eq!(joined(text, &[&[3, 4], &[4, 2]]), ops);
    }

    #[test]
    fn a_product_with_another_reader_stays() {
        let text = "graph g(%x, %w) -> (%y, %z) {
            %m = Gemm@13(%x, %w)
            %y = Relu@13(%m)
            %z = Softmax@13(%m)
        }";
        assert_eq!(joined(text, &[&[3, 3], &[3, 3]]), ["Gemm", "Relu", "Softmax"]);
    }
}
