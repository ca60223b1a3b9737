//! Products with elementwise operators behind them as one: what the epilogue pass makes. The product and a fused
//! operator stand in a body graph, which the reference interprets. The device puts what the product's kernel makes
//! through the fused function before it is stored; where it cannot, it runs the two one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use super::fused::{self, Rest, chain, infer_member};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::cpu;
use crate::dtype::DType::{self, BF16, F16, F32, I32, I64};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType, ValueId};
use crate::kernels::epilogue::Epilogue;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The operators that take an epilogue, with their number of inputs.
pub const HEADS: &[(&str, usize)] = &[("Conv", 3), ("ConvTranspose", 3), ("MatMul", 2), ("Gemm", 3)];
/// Operands besides a head's own: with those and the result as many buffers as every device binds.
pub const MOST_READS: usize = 4;
const SUFFIX: &str = "+Elementwise";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Conv+Elementwise", conv_cases),
    row("ConvTranspose+Elementwise", transpose_cases),
    row("MatMul+Elementwise", matmul_cases),
    row("Gemm+Elementwise", gemm_cases),
];

const fn row(name: &'static str, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: fused::DOMAIN, name, versions: &[1], parse: PARSE, cases }
}

const PARSE: Parse = |a, n| Ok(Arc::new(Ended::parse(a, n)?));

/// A head and its tail.
#[derive(Debug)]
struct Ended {
    /// Two nodes: the head and the fused operator.
    body: Arc<Graph>,
    /// The fused operator's own body.
    tail: Arc<Graph>,
    /// Which inputs of the node the body's inputs are.
    inputs: Vec<usize>,
}

/// The number of inputs of a node that may be a head, the left-out ones included.
pub fn head_inputs(node: &Node) -> Option<usize> {
    let o = &node.operator;
    let found = HEADS.iter().find(|(name, _)| o.domain.is_empty() && o.op_type == *name);
    found.map(|(_, inputs)| *inputs).filter(|_| node.outputs.len() == 1)
}

/// The operator whose body are a head and a fused operator; `inputs` tells which of its inputs are present.
///
/// # Errors
/// `InvalidNode` when it is not.
pub fn operator(body: Graph, inputs: Vec<bool>) -> Result<Operator> {
    let name = body.nodes.first().map(|n| format!("{}{SUFFIX}", n.operator.op_type)).unwrap_or_default();
    let info = NodeInfo { inputs, ..NodeInfo::full(1, 0, 1) };
    Operator::new(fused::DOMAIN, &name, Attrs::from([("body".into(), Attr::Graph(Arc::new(body)))]), &info)
}

impl Ended {
    fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Ended> {
        let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
        let tail = match body.nodes.as_slice() {
            [head, tail] if head_inputs(head) == Some(head.inputs.len()) && tail.operator.op_type == fused::NAME => {
                match tail.operator.attrs.get("body") {
                    Some(Attr::Graph(g)) => Some(g.clone()),
                    _ => None,
                }
            }
            _ => None,
        };
        let tail = tail.ok_or_else(|| err!(InvalidNode, "the body is not a product and a fused operator"))?;
        let inputs: Vec<usize> = (0..n.inputs.len()).filter(|i| n.inputs[*i]).collect();
        let whole = body.captures == 0 && body.outputs.len() == 1 && body.inputs.len() == inputs.len();
        ensure!(whole, InvalidNode, "the body's inputs are not the node's");
        Ok(Ended { body, tail, inputs })
    }

    fn ends(&self) -> Result<(&Node, &Node)> {
        match self.body.nodes.as_slice() {
            [head, tail] => Ok((head, tail)),
            _ => Err(err!(Internal, "the body is not a product and a fused operator")),
        }
    }

    /// As one.
    fn whole(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (head, tail) = self.ends()?;
        let mut types: HashMap<ValueId, TensorType> = HashMap::new();
        for (v, i) in self.body.inputs.iter().zip(&self.inputs) {
            types.insert(*v, cx.input_type(*i)?);
        }
        let made = infer_member(head, &types).ok().and_then(|t| t.into_iter().next());
        let made = made.ok_or_else(|| err!(Internal, "the product has no type"))?;
        let out = cx.output_type(0)?;
        ensure!(made.shape == out.shape, Unsupported, "its {made} is broadcast to {out}");
        let product = head.outputs.first().copied().flatten();
        let mut given = None;
        let mut inputs = HashMap::new();
        for (v, inner) in tail.inputs.iter().zip(&self.tail.inputs) {
            let at = self.body.inputs.iter().position(|i| Some(*i) == *v);
            match at.and_then(|at| self.inputs.get(at)) {
                Some(i) => drop(inputs.insert(*inner, *i)),
                None if *v == product => given = Some(*inner),
                None => return Err(err!(Internal, "the tail reads what is not made")),
            }
        }
        let given = given.ok_or_else(|| err!(Internal, "the tail does not read the product"))?;
        let rest = Rest::new(cx, &self.tail, inputs)?;
        let views = rest.views(cx)?;
        let types = [made.dtype, out.dtype];
        let end =
            Epilogue::new(cx, &rest.label(), types, views, |e, made, args| rest.emit(e, args, Some((given, made))))?;
        head.operator.op.lower_then(cx, &end)
    }
}

impl Op for Ended {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let mut types: HashMap<ValueId, TensorType> = HashMap::new();
        for (v, i) in self.body.inputs.iter().zip(&self.inputs) {
            types.insert(*v, cx.input(*i)?.clone());
        }
        for node in &self.body.nodes {
            let made = infer_member(node, &types)?;
            types.extend(node.used_outputs().zip(made));
        }
        let out = self.body.outputs.first().and_then(|v| types.remove(v));
        Ok(vec![out.ok_or_else(|| err!(Internal, "the output has no type"))?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if cx.attempt(|cx| self.whole(cx))? {
            return Ok(());
        }
        let mut body = (*self.body).clone();
        let mut inputs = vec![];
        body.inputs.clear();
        for (v, i) in self.body.inputs.iter().zip(&self.inputs) {
            match cx.value(*i) {
                Some(t) => body.value_mut(*v).constant = Some(t.clone()),
                None => {
                    body.inputs.push(*v);
                    inputs.push(*i);
                }
            }
        }
        cx.inline(body, &inputs, &[0])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let all = self.body.nodes.iter().map(|n| n.operator.op.tolerance(dtype, k));
        all.fold(Tolerance::EXACT, |a, b| Tolerance { rel: a.rel + b.rel, abs: a.abs + b.abs })
    }
}

/// A body of a head with these attributes and inputs (`_`: left out), and a chain that reads its result and `more`
/// inputs, the first of which has number 1.
fn body(head: &str, attrs: &[(&str, Attr)], present: &[bool], more: usize, tail: &[(&str, &[usize])]) -> Result<Graph> {
    let mut body = Graph::new("body");
    let attrs = attrs.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
    let info = NodeInfo { inputs: present.to_vec(), ..NodeInfo::full(13, 0, 1) };
    let operator = Operator::new("", head, attrs, &info)?;
    let input = |body: &mut Graph, name: String| {
        let v = body.add_value(name, None);
        body.inputs.push(v);
        v
    };
    let inputs = (0..present.len()).map(|i| present[i].then(|| input(&mut body, format!("h{i}")))).collect();
    let mut reads = vec![None];
    reads.extend((0..more).map(|i| Some(input(&mut body, format!("m{i}")))));
    let (made, y) = (body.add_value("made", None), body.add_value("y", None));
    reads[0] = Some(made);
    body.nodes.push(Node { name: "head".into(), operator, inputs, outputs: vec![Some(made)] });
    let operator = fused::operator(chain(1 + more, tail)?)?;
    body.nodes.push(Node { name: "tail".into(), operator, inputs: reads, outputs: vec![Some(y)] });
    body.outputs.push(y);
    Ok(body)
}

fn case(
    name: &'static str,
    attrs: &[(&str, Attr)],
    present: &[bool],
    more: usize,
    tail: &[(&str, &[usize])],
) -> Case {
    let head = name.strip_suffix(SUFFIX).unwrap_or(name);
    let body = body(head, attrs, present, more, tail).unwrap_or_default();
    Case::new(name, 1).domain(fused::DOMAIN).attr("body", Attr::Graph(Arc::new(body)))
}

const RESIDUAL: &[(&str, &[usize])] = &[("Add", &[1]), ("Relu", &[])];
const GATED: &[(&str, &[usize])] = &[("Mul", &[1]), ("Sub", &[2]), ("Sigmoid", &[]), ("Mul", &[0])];
const COMPARED: &[(&str, &[usize])] = &[("Less", &[1]), ("Not", &[])];
const WIDE: &[(&str, &[usize])] = &[("Add", &[1]), ("Mul", &[2]), ("Add", &[3]), ("Sub", &[4]), ("Max", &[5])];

fn ramp(d: DType, s: &[usize]) -> Tensor {
    let values = (0..crate::shape::numel(s)).map(|i| ((i * 5 + 2) % 9) as f64 / 4.0 - 1.0).collect();
    Tensor::from_f64s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
}

fn conv_cases() -> Vec<Case> {
    let name = "Conv+Elementwise";
    let pads = [("pads", Attr::Ints(vec![1, 1, 1, 1]))];
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        let new = |present: &[bool], more, tail| {
            let c = case(name, &pads, present, more, tail).range(d, &[2, 5, 6, 7], -1.0, 1.0).sum(45);
            c.constant(ramp(d, &[9, 5, 3, 3]))
        };
        all.push(new(&[true; 3], 1, RESIDUAL).constant(ramp(d, &[9])).rand(d, &[2, 9, 6, 7]));
        all.push(new(&[true, true, false], 1, RESIDUAL).absent().constant(ramp(d, &[9, 1, 1])));
        all.push(new(&[true, true, false], 1, RESIDUAL).absent().constant(ramp(d, &[1, 9, 1, 1])));
        all.push(new(&[true, true, false], 2, GATED).absent().rand(d, &[2, 9, 1, 1]).constant(ramp(d, &[])));
        all.push(new(&[true, true, false], 2, GATED).absent().rand(d, &[7]).rand(d, &[2, 1, 6, 7]));
        all.push(new(&[true, true, false], 1, COMPARED).absent().rand(d, &[6, 1]));
        // the result is wider than the product; more operands than are bound at once
        all.push(new(&[true, true, false], 1, RESIDUAL).absent().rand(d, &[3, 1, 1, 1, 1]));
        let wide = new(&[true, true, false], 5, WIDE).absent();
        all.push((0..5).fold(wide, |c, _| c.rand(d, &[2, 9, 6, 7])));
    }
    let depthwise = [("group", Attr::Int(6)), ("strides", Attr::Ints(vec![2]))];
    let c = case(name, &depthwise, &[true, true, false], 1, RESIDUAL).rand(F32, &[3, 6, 11]);
    let c = c.constant(ramp(F32, &[6, 1, 3])).absent();
    all.push(c.rand(F32, &[3, 6, 5]).sum(3));
    let infinite = Tensor::scalar(f32::INFINITY);
    for batch in [0, 2] {
        let c = case(name, &[], &[true, true, false], 1, &[("Min", &[1])]).rand(F32, &[batch, 2, 4, 4]);
        all.push(c.rand(F32, &[3, 2, 2, 2]).absent().constant(infinite.clone()).sum(8));
    }
    all
}

fn transpose_cases() -> Vec<Case> {
    let strides = [("strides", Attr::Ints(vec![2, 2])), ("group", Attr::Int(2))];
    let new = |d| {
        let c = case("ConvTranspose+Elementwise", &strides, &[true; 3], 1, RESIDUAL).range(d, &[1, 4, 5, 3], -1.0, 1.0);
        c.constant(ramp(d, &[4, 3, 3, 3])).constant(ramp(d, &[6])).rand(d, &[1, 6, 11, 7]).sum(18)
    };
    vec![new(F32), new(F16)]
}

fn matmul_cases() -> Vec<Case> {
    let new = |more, tail| case("MatMul+Elementwise", &[], &[true, true], more, tail);
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for (a, b, y) in [
            (&[2, 3, 8, 12][..], &[12, 40][..], &[2, 3, 8, 40][..]),
            (&[2, 3, 5, 6], &[3, 6, 7], &[2, 3, 5, 7]),
            (&[9, 16], &[16, 33], &[9, 33]),
            (&[70, 8], &[8, 3], &[70, 3]),
            (&[7], &[7, 5], &[5]),
        ] {
            let n = &y[y.len() - 1..];
            let sum = a[a.len() - 1];
            let pair = |c: Case| c.range(d, a, -1.0, 1.0).constant(ramp(d, b)).sum(sum);
            let fed = |c: Case| c.range(d, a, -1.0, 1.0).range(d, b, -1.0, 1.0).sum(sum);
            all.push(pair(new(1, RESIDUAL)).rand(d, y));
            all.push(fed(new(1, RESIDUAL)).rand(d, n));
            all.push(pair(new(2, GATED)).constant(ramp(d, n)).constant(ramp(d, &[])));
            let rows = if y.len() > 1 { vec![y[y.len() - 2], 1] } else { vec![1] };
            all.push(pair(new(1, COMPARED)).rand(d, &rows));
            let wide = pair(new(5, WIDE));
            all.push((0..5).fold(wide, |c, i| c.rand(d, if i % 2 == 0 { y } else { n })));
        }
    }
    all.push(new(1, RESIDUAL).rand(I32, &[3, 4]).rand(I32, &[4, 5]).rand(I32, &[5]).sum(4));
    all.push(new(1, RESIDUAL).rand(I64, &[3, 4]).rand(I64, &[4, 5]).rand(I64, &[5]).sum(4));
    all.push(new(1, RESIDUAL).rand(F32, &[3, 0]).rand(F32, &[0, 5]).rand(F32, &[5]));
    all
}

fn gemm_cases() -> Vec<Case> {
    let attrs = [("transB", Attr::Int(1)), ("alpha", Attr::Float(0.5)), ("beta", Attr::Float(-1.5))];
    let new = |present: &[bool], more, tail| {
        case("Gemm+Elementwise", &attrs, present, more, tail).range(F32, &[9, 20], -1.0, 1.0).sum(20)
    };
    vec![
        new(&[true; 3], 1, RESIDUAL).constant(ramp(F32, &[33, 20])).constant(ramp(F32, &[33])).rand(F32, &[9, 33]),
        new(&[true, true, false], 2, GATED)
            .constant(ramp(F32, &[5, 20]))
            .absent()
            .constant(ramp(F32, &[5]))
            .rand(F32, &[9, 1]),
    ]
}
