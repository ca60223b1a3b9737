//! What exporters write out, as the operator that it spells: what passes make with `passes/spell.rs`. The members stand in a body
//! graph, which the reference interprets. The device runs the operator where it makes a result of the same type, and
//! else the members.

use std::collections::HashMap;
use std::sync::Arc;

use super::epilogue::{infer_body, lower_body, types_within};
use super::fused;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::cpu;
use crate::dtype::DType::{self, BF16, F16, F32, F64};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType, ValueId};
use crate::kernels::epilogue::Ends;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The name of the operator.
pub const NAME: &str = "Spelled";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: fused::DOMAIN, name: NAME, versions: &[1], parse, cases }];

/// Two graphs of the same inputs and one output.
#[derive(Debug)]
struct Spelled {
    /// As it was written.
    body: Arc<Graph>,
    /// What it means.
    means: Arc<Graph>,
}

/// The operator whose members are the nodes of `body`, and which means those of `means`.
///
/// # Errors
/// `InvalidNode` when their inputs and outputs differ in number.
pub fn operator(body: Graph, means: Graph) -> Result<Operator> {
    let info = NodeInfo::full(1, body.inputs.len(), 1);
    let attrs = [("body", body), ("means", means)].map(|(k, g)| (k.to_string(), Attr::Graph(Arc::new(g))));
    Operator::new(fused::DOMAIN, NAME, Attrs::from(attrs), &info)
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let graph = |name: &str| a.graph(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"));
    let (body, means) = (graph("body")?, graph("means")?);
    // within others inputs may follow that are left out
    let present = n.inputs.iter().take_while(|i| **i).count();
    for g in [&body, &means] {
        let whole = g.captures == 0 && g.outputs.len() == 1 && g.inputs.len() == present;
        ensure!(whole && !n.inputs[present..].contains(&true), InvalidNode, "the inputs are not the node's");
    }
    Ok(Arc::new(Spelled { body, means }))
}

/// Which of `count` inputs are there.
fn present(has: impl Fn(usize) -> bool, count: usize) -> Vec<usize> {
    (0..count).filter(|i| has(*i)).collect()
}

/// The type of what `graph` makes, whose types depend on no data of its inputs.
fn made(graph: &Graph, inputs: &[TensorType]) -> Result<TensorType, Defer> {
    let mut types: HashMap<ValueId, TensorType> = graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
    for (id, v) in graph.values() {
        types.extend(v.constant.as_ref().map(|t| (id, TensorType::new(t.dtype(), t.shape()))));
    }
    for node in &graph.nodes {
        let of = |v: &Option<ValueId>| v.and_then(|v| Some((types.get(&v)?, graph.value(v).constant.as_ref())));
        let out = node.operator.op.infer(&InferCx::new(node.inputs.iter().map(of).collect()))?;
        types.extend(node.used_outputs().zip(out));
    }
    let out = graph.outputs.first().and_then(|v| types.remove(v));
    Ok(out.ok_or_else(|| err!(Internal, "the output has no type"))?)
}

impl Op for Spelled {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        infer_body(cx, &self.body, &present(|i| cx.try_input(i).is_some(), cx.len()))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let inputs = present(|i| cx.has_input(i), cx.input_count());
        let types = inputs.iter().map(|i| cx.input_type(*i)).collect::<Result<Vec<_>>>()?;
        let out = cx.output_type(0)?;
        let exact = out.dtype != F64 || self.means.nodes.iter().all(super::takes_doubles);
        if exact
            && made(&self.means, &types).is_ok_and(|t| t == out)
            && cx.attempt(|cx| lower_body(cx, &self.means, &inputs))?
        {
            return Ok(());
        }
        lower_body(cx, &self.body, &inputs)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let inputs: Vec<usize> = (0..self.body.inputs.len()).collect();
        let types = inputs.iter().map(|i| cx.input_type(*i)).collect::<Result<Vec<_>>>()?;
        let [node] = &self.means.nodes[..] else { return Err(err!(Unsupported, "more than one node")) };
        let taken = self.means.inputs[..].get(..node.inputs.len()).unwrap_or_default();
        let same = node.inputs.iter().copied().eq(taken.iter().copied().map(Some));
        ensure!(same, Unsupported, "inputs in another order");
        let mut within = types_within(cx, &self.body, &inputs)?;
        let written = self.body.outputs.first().and_then(|v| within.remove(v));
        let (Some(written), Ok(meant)) = (written, made(&self.means, &types)) else {
            return Err(err!(Unsupported, "a type that {} has not", node.path()));
        };
        ensure!(written == meant && meant.dtype != F64, Unsupported, "{written} for {meant}");
        node.operator.op.lower_between(cx, ends)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let all = self.body.nodes.iter().map(|n| n.operator.op.tolerance(dtype, k));
        all.fold(Tolerance::EXACT, |a, b| Tolerance { rel: a.rel + b.rel, abs: a.abs + b.abs })
    }
}

/// Normalisation of rows, written out and meant.
pub(super) fn normalisation(d: DType, center: bool) -> Result<[Graph; 2]> {
    let (name, opset) = if center { ("LayerNormalization", 17) } else { ("RMSNormalization", 23) };
    let mut body = Graph::new("body");
    let input = |g: &mut Graph, name: &str| {
        let v = g.add_value(name, None);
        g.inputs.push(v);
        v
    };
    let node = |g: &mut Graph, name: &str, opset: i64, attrs: &[(&str, Attr)], inputs: &[ValueId]| {
        let attrs = attrs.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
        let operator = Operator::new("", name, attrs, &NodeInfo::full(opset, inputs.len(), 1))?;
        let y = g.add_value(format!("{name}{}", g.nodes.len()), None);
        let inputs = inputs.iter().copied().map(Some).collect();
        g.nodes.push(Node { name: name.into(), operator, inputs, outputs: vec![Some(y)] });
        Ok::<_, crate::Error>(y)
    };
    let last = [("axes", Attr::Ints(vec![-1]))];
    let mut x = input(&mut body, "x");
    let (scale, bias) = (input(&mut body, "scale"), center.then(|| input(&mut body, "bias")));
    if center {
        let mean = node(&mut body, "ReduceMean", 13, &last, &[x])?;
        x = node(&mut body, "Sub", 13, &[], &[x, mean])?;
    }
    let square = node(&mut body, "Mul", 13, &[], &[x, x])?;
    let variance = node(&mut body, "ReduceMean", 13, &last, &[square])?;
    let epsilon = body.add_constant("epsilon", Tensor::from_f64s(d, [], vec![1e-5])?);
    let variance = node(&mut body, "Add", 13, &[], &[variance, epsilon])?;
    let deviation = node(&mut body, "Sqrt", 13, &[], &[variance])?;
    let mut y = node(&mut body, "Div", 13, &[], &[x, deviation])?;
    y = node(&mut body, "Mul", 13, &[], &[y, scale])?;
    if let Some(bias) = bias {
        y = node(&mut body, "Add", 13, &[], &[y, bias])?;
    }
    body.outputs.push(y);
    let mut means = Graph::new("means");
    let inputs: Vec<ValueId> = (0..body.inputs.len()).map(|i| input(&mut means, &format!("x{i}"))).collect();
    let y = node(&mut means, name, opset, &[("epsilon", Attr::Float(1e-5))], &inputs)?;
    means.outputs.push(y);
    Ok([body, means])
}

fn cases() -> Vec<Case> {
    let case = |d: DType, center: bool, x: &[usize], scale: &[usize]| {
        let [body, means] = normalisation(d, center).unwrap_or_default();
        let c = Case::new(NAME, 1).domain(fused::DOMAIN);
        let c = c.attr("body", Attr::Graph(Arc::new(body))).attr("means", Attr::Graph(Arc::new(means)));
        let c = c.rand(d, x).rand(d, scale).sum(x.last().copied().unwrap_or(1));
        if center { c.rand(d, scale) } else { c }
    };
    let mut all = vec![];
    for d in [F32, F16, BF16, F64] {
        for center in [true, false] {
            all.push(case(d, center, &[2, 5, 37], &[37]));
        }
    }
    for center in [true, false] {
        all.extend([
            case(F32, center, &[3, 130], &[130]),
            case(F32, center, &[0, 4], &[4]),
            // what LayerNormalization refuses: a scale of another shape, and one that widens the result
            case(F32, center, &[2, 5, 7], &[5, 7]),
            case(F32, center, &[5, 7], &[2, 1, 7]),
            case(F32, center, &[5, 1], &[7]),
        ]);
    }
    all
}
