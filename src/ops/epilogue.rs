//! Products with elementwise operators behind them as one: what the epilogue pass makes. The product and a fused
//! operator stand in a body graph, which the reference interprets. The device puts what the product's kernel makes
//! through the fused function before it is stored; where it cannot, it runs the two one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use super::fused::{self, Rest, chain, fold, infer_known};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance, spelled};
use super::{contrib_nbits, dequantised, epilogue_rows as rows, quant_convs, quant_products};
use crate::cpu;
use crate::dtype::DType::{self, BF16, F16, F32, I8, I32, I64, U8};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType, ValueId};
use crate::kernels::epilogue::{Ends, Epilogue};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The operators that take an epilogue, with their number of inputs.
pub const HEADS: &[(&str, usize)] = &[
    ("Conv", 3),
    ("ConvInteger", 4),
    ("ConvTranspose", 3),
    ("Gemm", 3),
    ("MatMul", 2),
    ("MatMulInteger", 4),
    ("ReduceSum", 2),
    ("ReduceMean", 2),
    ("ReduceMax", 2),
    ("ReduceMin", 2),
    ("ReduceProd", 2),
    ("ReduceL1", 2),
    ("ReduceL2", 2),
    ("ReduceLogSum", 2),
    ("ReduceLogSumExp", 2),
    ("ReduceSumSquare", 2),
    ("MaxPool", 1),
    ("AveragePool", 1),
    ("LpPool", 1),
    ("GlobalMaxPool", 1),
    ("GlobalAveragePool", 1),
    ("GlobalLpPool", 1),
    ("LayerNormalization", 3),
    // which share a kernel's inputs with LayerNormalization, so that a bias is left out
    ("RMSNormalization", 3),
    ("InstanceNormalization", 3),
    ("GroupNormalization", 3),
    ("Softmax", 1),
    ("LogSoftmax", 1),
    ("Resize", 4),
    ("Gather", 2),
    ("MatMulNBits", 6),
    (dequantised::NAME, dequantised::INPUTS),
];
/// Operands besides a head's own: with those and the result as many buffers as every device binds.
pub const MOST_READS: usize = 4;
pub(super) const SUFFIX: &str = "+Elementwise";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Conv+Elementwise", conv_cases),
    row("Elementwise+Conv", || begun_cases("Elementwise+Conv")),
    row("Elementwise+Conv+Elementwise", || begun_cases("Elementwise+Conv+Elementwise")),
    row("ConvTranspose+Elementwise", transpose_cases),
    row("MatMul+Elementwise", matmul_cases),
    row("Gemm+Elementwise", gemm_cases),
    row("ReduceSum+Elementwise", || rows::reduce_cases("ReduceSum+Elementwise")),
    row("ReduceMean+Elementwise", || rows::reduce_cases("ReduceMean+Elementwise")),
    row("ReduceMax+Elementwise", || rows::reduce_cases("ReduceMax+Elementwise")),
    row("ReduceMin+Elementwise", || rows::reduce_cases("ReduceMin+Elementwise")),
    row("ReduceProd+Elementwise", || rows::reduce_cases("ReduceProd+Elementwise")),
    row("ReduceL1+Elementwise", || rows::reduce_cases("ReduceL1+Elementwise")),
    row("ReduceL2+Elementwise", || rows::reduce_cases("ReduceL2+Elementwise")),
    row("ReduceLogSum+Elementwise", || rows::reduce_cases("ReduceLogSum+Elementwise")),
    row("ReduceLogSumExp+Elementwise", || rows::reduce_cases("ReduceLogSumExp+Elementwise")),
    row("ReduceSumSquare+Elementwise", || rows::reduce_cases("ReduceSumSquare+Elementwise")),
    row("MaxPool+Elementwise", || rows::pool_cases("MaxPool+Elementwise")),
    row("AveragePool+Elementwise", || rows::pool_cases("AveragePool+Elementwise")),
    row("LpPool+Elementwise", || rows::pool_cases("LpPool+Elementwise")),
    row("GlobalMaxPool+Elementwise", || rows::pool_cases("GlobalMaxPool+Elementwise")),
    row("GlobalAveragePool+Elementwise", || rows::pool_cases("GlobalAveragePool+Elementwise")),
    row("GlobalLpPool+Elementwise", || rows::pool_cases("GlobalLpPool+Elementwise")),
    row("LayerNormalization+Elementwise", || rows::norm_cases("LayerNormalization+Elementwise")),
    row("RMSNormalization+Elementwise", || rows::norm_cases("RMSNormalization+Elementwise")),
    row("InstanceNormalization+Elementwise", || rows::norm_cases("InstanceNormalization+Elementwise")),
    row("GroupNormalization+Elementwise", || rows::norm_cases("GroupNormalization+Elementwise")),
    row("Spelled+Elementwise", rows::spelled_cases),
    row("Softmax+Elementwise", || rows::softmax_cases("Softmax+Elementwise")),
    row("LogSoftmax+Elementwise", || rows::softmax_cases("LogSoftmax+Elementwise")),
    row("Resize+Elementwise", || rows::resize_cases("Resize+Elementwise")),
    row("Elementwise+Resize", || rows::resize_cases("Elementwise+Resize")),
    row("Elementwise+Resize+Elementwise", || rows::resize_cases("Elementwise+Resize+Elementwise")),
    row("Gather+Elementwise", rows::gather_cases),
    row("ConvInteger+Elementwise", quant_convs::ended_conv_cases),
    row("MatMulInteger+Elementwise", quant_products::ended_matmul_cases),
    row("MatMulNBits+Elementwise", contrib_nbits::ended_cases),
    row("DequantizeLinear+MatMul+Elementwise", dequantised::ended_cases),
];

const fn row(name: &'static str, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: fused::DOMAIN, name, versions: &[1], parse: PARSE, cases }
}

const PARSE: Parse = |a, n| Ok(Arc::new(Ended::parse(a, n)?));

/// A head with a fused operator before it, behind it or both.
#[derive(Debug)]
struct Ended {
    /// In the order of data.
    body: Arc<Graph>,
    /// The head's place in it.
    head: usize,
    /// Which inputs of the node the body's inputs are.
    inputs: Vec<usize>,
}

/// The domain of one of [`HEADS`].
fn domain(head: &str) -> &'static str {
    match head {
        "MatMulNBits" => "com.microsoft",
        dequantised::NAME => fused::DOMAIN,
        _ => "",
    }
}

/// The number of inputs of a node that may be a head, the left-out ones included.
pub fn head_inputs(node: &Node) -> Option<usize> {
    let o = &node.operator;
    let is = |name: &&str| o.op_type == **name && o.domain == domain(name);
    let found = HEADS.iter().find(|(name, _)| is(name)).map(|(_, inputs)| *inputs);
    // as what it means
    let spelled = (o.domain == fused::DOMAIN && o.op_type == spelled::NAME).then_some(3);
    found.or(spelled).filter(|_| node.outputs.len() == 1)
}

/// Whether a node is a fused operator, or one that stands around a head already.
pub fn is_fused(node: &Node) -> bool {
    node.operator.domain == fused::DOMAIN && node.operator.op_type == fused::NAME
}

/// The operator whose body are a head and fused operators; `inputs` tells which of its inputs are present.
///
/// # Errors
/// `InvalidNode` when it is not.
pub fn operator(body: Graph, inputs: Vec<bool>) -> Result<Operator> {
    let names: Vec<&str> = body.nodes.iter().map(|n| n.operator.op_type.as_str()).collect();
    let name = names.join("+");
    let info = NodeInfo { inputs, ..NodeInfo::full(1, 0, 1) };
    Operator::new(fused::DOMAIN, &name, Attrs::from([("body".into(), Attr::Graph(Arc::new(body)))]), &info)
}

/// What a fused operator does.
///
/// # Errors
/// `Internal` when it is none.
pub fn members(node: &Node) -> Result<&Graph> {
    match node.operator.attrs.get("body") {
        Some(Attr::Graph(g)) => Ok(g),
        _ => Err(err!(Internal, "{} has no body", node.path())),
    }
}

/// The types of a body's constants.
fn constants(body: &Graph) -> HashMap<ValueId, TensorType> {
    let of = |(id, v): (ValueId, &crate::ir::Value)| {
        v.constant.as_ref().map(|t| (id, TensorType::new(t.dtype(), t.shape())))
    };
    body.values().filter_map(of).collect()
}

/// The type of what a body of fused operators makes; its inputs are the inputs `inputs` of the node at hand.
///
/// # Errors
/// As [`Op::infer`].
pub(super) fn infer_body(cx: &InferCx<'_>, body: &Graph, inputs: &[usize]) -> Inferred {
    let mut types = constants(body);
    for (v, i) in body.inputs.iter().zip(inputs) {
        types.insert(*v, cx.input(*i)?.clone());
    }
    let place = |v: ValueId| body.inputs.iter().position(|b| *b == v).and_then(|at| inputs.get(at)).copied();
    for node in &body.nodes {
        let value = |v: ValueId| body.value(v).constant.as_ref().or_else(|| cx.try_value(place(v)?));
        let made = infer_known(node, &types, value).map_err(|d| match d {
            // by the numbers of the node at hand
            Defer::NeedsValue(i) => {
                node.inputs.get(i).copied().flatten().and_then(place).map_or(Defer::DataDependent, Defer::NeedsValue)
            }
            other => other,
        })?;
        types.extend(node.used_outputs().zip(made));
    }
    let out = body.outputs.first().and_then(|v| types.remove(v));
    Ok(vec![out.ok_or_else(|| err!(Internal, "the output has no type"))?])
}

/// The types of all values of such a body.
///
/// # Errors
/// Those of inference.
pub(super) fn types_within(cx: &LowerCx<'_>, body: &Graph, inputs: &[usize]) -> Result<HashMap<ValueId, TensorType>> {
    let mut types = constants(body);
    for (v, i) in body.inputs.iter().zip(inputs) {
        types.insert(*v, cx.input_type(*i)?);
    }
    let place = |v: ValueId| body.inputs.iter().position(|b| *b == v).and_then(|at| inputs.get(at)).copied();
    for node in &body.nodes {
        let value = |v: ValueId| body.value(v).constant.as_ref().or_else(|| cx.value(place(v)?));
        let made = infer_known(node, &types, value).map_err(|_| err!(Internal, "{} has no type", node.path()))?;
        types.extend(node.used_outputs().zip(made));
    }
    Ok(types)
}

/// Lowers the members of such a body one after the other.
///
/// # Errors
/// Those of the members.
pub(super) fn lower_body(cx: &mut LowerCx<'_>, body: &Graph, inputs: &[usize]) -> Result<()> {
    let mut body = body.clone();
    let (mut fed, mut known) = (vec![], HashMap::new());
    for (v, i) in std::mem::take(&mut body.inputs).into_iter().zip(inputs) {
        match cx.value(*i) {
            Some(t) => {
                known.insert(v, t.clone());
                body.value_mut(v).constant = Some(t.clone());
            }
            None => {
                body.inputs.push(v);
                fed.push(*i);
            }
        }
    }
    // what is known before the run takes no dispatch
    fold(&body, &mut known)?;
    for node in std::mem::take(&mut body.nodes) {
        match node.used_outputs().map(|v| Some((v, known.get(&v)?.clone()))).collect::<Option<Vec<_>>>() {
            Some(made) => made.into_iter().for_each(|(v, t)| body.value_mut(v).constant = Some(t)),
            None => body.nodes.push(node),
        }
    }
    let outputs: Vec<usize> = (0..body.outputs.len()).collect();
    cx.inline(body, &fed, &outputs)
}

/// The function of `node`, a fused operator, for elements of its input `given`; its other inputs are those inputs of the
/// node at hand that `place` tells.
///
/// # Errors
/// `Unsupported` when the result is wider than what is given, and as [`Epilogue::new`].
pub(super) fn function(
    cx: &mut LowerCx<'_>,
    node: &Node,
    given: ValueId,
    place: impl Fn(ValueId) -> Option<usize>,
    [from, to]: [&TensorType; 2],
) -> Result<Epilogue> {
    ensure!(from.shape == to.shape, Unsupported, "{from} is broadcast to {to}");
    let body = members(node)?;
    let mut inner = None;
    let mut inputs = HashMap::new();
    for (v, i) in node.inputs.iter().zip(&body.inputs) {
        match v.and_then(&place) {
            _ if *v == Some(given) => inner = Some(*i),
            Some(at) => drop(inputs.insert(*i, at)),
            None => return Err(err!(Internal, "{} reads what is not made", node.path())),
        }
    }
    let inner = inner.ok_or_else(|| err!(Internal, "{} does not read its neighbour", node.path()))?;
    let types = inputs.iter().map(|(v, at)| Ok((*v, cx.input_type(*at)?))).chain([Ok((inner, from.clone()))]);
    fused::check_broadcasts(body, types.collect::<Result<_>>()?)?;
    let rest = Rest::new(cx, body, inputs)?;
    let views = rest.views(cx)?;
    let label = rest.label();
    Epilogue::new(cx, &label, [from.dtype, to.dtype], views, |e, x, args| rest.emit(e, args, Some((inner, x))))
}

impl Ended {
    fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Ended> {
        let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
        let is_head = |n: &Node| head_inputs(n) == Some(n.inputs.len());
        let head = body.nodes.iter().position(is_head).filter(|head| {
            let others = body.nodes.iter().enumerate().filter(|(i, _)| i != head).all(|(_, n)| is_fused(n));
            others && *head < 2 && (head + 1..=head + 2).contains(&body.nodes.len())
        });
        let head = head.ok_or_else(|| err!(InvalidNode, "the body is not a product and fused operators"))?;
        let inputs: Vec<usize> = (0..n.inputs.len()).filter(|i| n.inputs[*i]).collect();
        let whole = body.captures == 0 && body.outputs.len() == 1 && body.inputs.len() == inputs.len();
        ensure!(whole, InvalidNode, "the body's inputs are not the node's");
        Ok(Ended { body, head, inputs })
    }

    /// As one.
    fn whole(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let types = types_within(cx, &self.body, &self.inputs)?;
        let of = |v: Option<ValueId>| {
            let t = v.and_then(|v| Some((v, types.get(&v)?)));
            t.ok_or_else(|| err!(Internal, "a value of the body has no type"))
        };
        let place = |v: ValueId| {
            let at = self.body.inputs.iter().position(|b| *b == v);
            at.and_then(|at| self.inputs.get(at).copied())
        };
        let (before, behind) = self.body.nodes.split_at(self.head);
        let (mut start, mut end) = (None, None);
        if let Some(node) = before.first() {
            let (x, from) = of(self.body.inputs.first().copied())?;
            start = Some(function(cx, node, x, place, [from, of(node.outputs[0])?.1])?);
        }
        if let [head, tail] = behind {
            let (made, from) = of(head.outputs[0])?;
            end = Some(function(cx, tail, made, place, [from, of(tail.outputs[0])?.1])?);
        }
        let head = &self.body.nodes[self.head];
        let constant = head.used_inputs().all(|v| place(v).is_some_and(|at| cx.value(at).is_some()));
        ensure!(!constant, Unsupported, "what {} makes is known before the run", head.path());
        head.operator.op.lower_between(cx, Ends { start: start.as_ref(), end: end.as_ref() })
    }
}

impl Op for Ended {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        infer_body(cx, &self.body, &self.inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if cx.attempt(|cx| self.whole(cx))? {
            return Ok(());
        }
        lower_body(cx, &self.body, &self.inputs)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let all = self.body.nodes.iter().map(|n| n.operator.op.tolerance(dtype, k));
        let tail = self.body.nodes.get(self.head + 1).and_then(|n| members(n).ok());
        let quantises = tail.is_some_and(|g| g.nodes.iter().any(|n| n.operator.op_type == "QuantizeLinear"));
        all.chain(quantises.then(|| fused::step(dtype))).fold(Tolerance::EXACT, Tolerance::plus)
    }
}

/// Cases of convolutions that scale, shift and bound what they load, with and without an epilogue.
fn begun_cases(name: &'static str) -> Vec<Case> {
    let scaled: &[(&str, &[usize])] = &[("Mul", &[1]), ("Add", &[2]), ("Relu", &[])];
    let back: &[(&str, &[usize])] = &[("DequantizeLinear", &[1, 2]), ("Relu", &[])];
    let make = |[from, d]: [DType; 2], ended: bool, x: &[usize], w: &[usize], attrs: &[(&str, Attr)]| {
        let mut body = body("Conv", attrs, &[true; 3], usize::from(ended), RESIDUAL).unwrap_or_default();
        if !ended {
            body.nodes.truncate(1);
            body.outputs = body.nodes[0].used_outputs().collect();
        }
        let loaded = body.inputs[0];
        body.inputs[0] = body.add_value("from", None);
        if let Ok(operator) = chain(3, if from == d { scaled } else { back }).and_then(fused::operator) {
            let (s, t) = (body.add_value("s", None), body.add_value("t", None));
            body.inputs.extend([s, t]);
            let inputs = vec![Some(body.inputs[0]), Some(s), Some(t)];
            body.nodes.insert(0, Node { name: "start".into(), operator, inputs, outputs: vec![Some(loaded)] });
        }
        let c = Case::new(name, 1).domain(fused::DOMAIN).attr("body", Attr::Graph(Arc::new(body)));
        let c = if from == d { c.range(d, x, -1.0, 1.0) } else { c.rand(from, x) };
        let c = c.constant(ramp(d, w)).constant(ramp(d, &w[..1]));
        let c = if ended { c.rand(d, &[&x[..1], &w[..1], &[6, 7]].concat()) } else { c };
        let c = if from == d { c.constant(ramp(d, &[x[1], 1, 1])) } else { c.constant(Tensor::scalar(0.25f32)) };
        let zero = if from == d { ramp(d, &[]) } else { Tensor::zeros(from, []) };
        c.constant(zero).sum(w[1..].iter().product())
    };
    let pads = [("pads", Attr::Ints(vec![1, 1, 1, 1]))];
    let grouped = [("group", Attr::Int(2))];
    let ended = name.ends_with(SUFFIX) && name.starts_with("Elementwise+Conv+");
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        all.push(make([d; 2], ended, &[2, 5, 6, 7], &[9, 5, 1, 1], &[]));
        all.push(make([d; 2], ended, &[2, 4, 6, 7], &[6, 2, 1, 1], &grouped));
        all.push(make([d; 2], ended, &[1, 5, 6, 7], &[9, 5, 3, 3], &pads));
    }
    all.push(make([F32; 2], ended, &[1, 40, 6, 7], &[33, 40, 3, 3], &pads));
    all.push(make([I8, F32], ended, &[2, 5, 6, 7], &[9, 5, 1, 1], &[]));
    all.push(make([U8, F32], ended, &[1, 5, 6, 7], &[9, 5, 3, 3], &pads));
    all
}

/// A body of a head with these attributes and inputs (`_`: left out), and a chain that reads its result and `more`
/// inputs, the first of which has number 1.
pub(super) fn body(
    head: &str,
    attrs: &[(&str, Attr)],
    present: &[bool],
    more: usize,
    tail: &[(&str, &[usize])],
) -> Result<Graph> {
    let mut body = Graph::new("body");
    let attrs = attrs.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
    // products as at this opset, of which there is no other in some tests
    let product = ["Conv", "ConvTranspose", "MatMul", "Gemm"].contains(&head);
    let info = NodeInfo { inputs: present.to_vec(), ..NodeInfo::full(if product { 13 } else { 23 }, 0, 1) };
    let domain = if head == spelled::NAME { fused::DOMAIN } else { domain(head) };
    let operator = Operator::new(domain, head, attrs, &info)?;
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

/// A case of such a body; its inputs are yet to come.
pub(super) fn case(
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

pub(super) const RESIDUAL: &[(&str, &[usize])] = &[("Add", &[1]), ("Relu", &[])];
pub(super) const GATED: &[(&str, &[usize])] = &[("Mul", &[1]), ("Sub", &[2]), ("Sigmoid", &[]), ("Mul", &[0])];
/// Longer than should stand many times in a kernel.
const LONG: &[(&str, &[usize])] =
    &[("Mul", &[1]), ("Sub", &[2]), ("Sigmoid", &[]), ("Mul", &[0]), ("Tanh", &[]), ("Abs", &[]), ("Neg", &[])];
pub(super) const COMPARED: &[(&str, &[usize])] = &[("Less", &[1]), ("Not", &[])];
pub(super) const WIDE: &[(&str, &[usize])] =
    &[("Add", &[1]), ("Mul", &[2]), ("Add", &[3]), ("Sub", &[4]), ("Max", &[5])];

pub(super) fn ramp(d: DType, s: &[usize]) -> Tensor {
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
        all.push(new(&[true; 3], 2, LONG).constant(ramp(d, &[9])).rand(d, &[2, 9, 6, 7]).rand(d, &[]));
        // where 16-bit floats are held in 32 bits, sums are not rounded before they are compared
        if d != F16 {
            all.push(new(&[true, true, false], 1, COMPARED).absent().rand(d, &[6, 1]));
        }
        // the result is wider than the product; more operands than are bound at once
        all.push(new(&[true, true, false], 1, RESIDUAL).absent().rand(d, &[3, 1, 1, 1, 1]));
        let wide = new(&[true, true, false], 5, WIDE).absent();
        all.push((0..5).fold(wide, |c, _| c.rand(d, &[2, 9, 6, 7])));
    }
    let depthwise = [("group", Attr::Int(6)), ("strides", Attr::Ints(vec![2]))];
    let c = case(name, &depthwise, &[true, true, false], 1, RESIDUAL).rand(F32, &[3, 6, 11]);
    let c = c.constant(ramp(F32, &[6, 1, 3])).absent();
    all.push(c.rand(F32, &[3, 6, 5]).sum(3));
    // rows of whole vectors, and others
    for w in [8, 7] {
        let attrs = [("group", Attr::Int(6)), ("pads", Attr::Ints(vec![1; 4]))];
        let c = case(name, &attrs, &[true, true, false], 2, LONG).rand(F32, &[2, 6, 5, w]);
        all.push(c.constant(ramp(F32, &[6, 1, 3, 3])).absent().rand(F32, &[2, 6, 5, w]).rand(F32, &[]).sum(9));
    }
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
            all.push(pair(new(2, LONG)).rand(d, y).rand(d, n));
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
