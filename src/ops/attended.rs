//! Attention as exporters write it out, as one: what the fuse-attention pass makes. A product, a softmax and a second
//! product stand in a body graph with what lies between them, which the reference interprets. The device runs them in one
//! dispatch that never stores the scores; where it cannot, one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use super::epilogue::{self, function, infer_body, lower_body, members, types_within};
use super::fused::{self, infer_member};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::cpu;
use crate::dtype::DType::{self, BF16, F16, F32, F64};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType, ValueId};
use crate::kernels::attention::{Attention, Hidden, attention};
use crate::kernels::epilogue::Epilogue;
use crate::plan::{Finer, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

const NAME: &str = "MatMul+Softmax+MatMul";
/// The first product with its epilogue.
const ENDED: &str = "MatMul+Elementwise";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: fused::DOMAIN, name: NAME, versions: &[1], parse, cases }];

/// Factors of the first product's factors, the product, the softmax, at most a guard, the second product.
#[derive(Debug)]
struct Attended {
    body: Arc<Graph>,
}

/// The operator whose members are the nodes of `body`.
///
/// # Errors
/// `InvalidNode` when they are not as they should be.
pub fn operator(body: Graph) -> Result<Operator> {
    let info = NodeInfo::full(1, body.inputs.len(), 1);
    Operator::new(fused::DOMAIN, NAME, Attrs::from([("body".into(), Attr::Graph(Arc::new(body)))]), &info)
}

/// Whether a node is the ai.onnx operator `name`.
fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

/// Whether a node may be the first product.
pub fn is_scores(node: &Node) -> bool {
    is_op(node, "MatMul") || (node.operator.domain == fused::DOMAIN && node.operator.op_type == ENDED)
}

/// Whether a node multiplies its input 0 by input 1, or divides it.
pub fn is_factor(node: &Node) -> bool {
    is_op(node, "Mul") || is_op(node, "Div")
}

/// What a node that puts something in the place of NaNs reads: the values, and the something.
pub fn guarded(node: &Node) -> Option<[ValueId; 2]> {
    let body = members(node).ok().filter(|_| epilogue::is_fused(node))?;
    let [test, choice] = &body.nodes[..] else { return None };
    if !(is_op(test, "IsNaN") && is_op(choice, "Where")) {
        return None;
    }
    let [Some(x)] = test.inputs[..] else { return None };
    let [Some(c), Some(fill), Some(other)] = choice.inputs[..] else { return None };
    if test.outputs[0] != Some(c) || other != x {
        return None;
    }
    let outer = |v: ValueId| body.inputs.iter().position(|b| *b == v).and_then(|i| node.inputs[i]);
    Some([outer(x)?, outer(fill)?])
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
    let whole = body.captures == 0 && body.outputs.len() == 1 && body.inputs.len() == n.inputs.len();
    ensure!(whole && n.inputs.iter().all(|i| *i), InvalidNode, "the body's inputs are not the node's");
    let op = Attended { body };
    op.members()?;
    Ok(Arc::new(op))
}

/// The members by what they do.
struct Members<'a> {
    factors: &'a [Node],
    scores: &'a Node,
    softmax: &'a Node,
    guard: Option<&'a Node>,
    product: &'a Node,
}

impl Attended {
    fn members(&self) -> Result<Members<'_>> {
        let nodes = &self.body.nodes[..];
        let first = nodes.iter().position(|n| !is_factor(n)).unwrap_or(0);
        let (factors, rest) = nodes.split_at(first);
        let (scores, softmax, guard, product) = match rest {
            [scores, softmax, product] => (scores, softmax, None, product),
            [scores, softmax, guard, product] if guarded(guard).is_some() => (scores, softmax, Some(guard), product),
            _ => return Err(err!(InvalidNode, "the body is no attention")),
        };
        let fits = is_scores(scores) && is_op(softmax, "Softmax") && is_op(product, "MatMul");
        ensure!(fits, InvalidNode, "the body is no attention");
        Ok(Members { factors, scores, softmax, guard, product })
    }

    /// Which inputs of the node the body's inputs are: all, in order.
    fn inputs(&self) -> Vec<usize> {
        (0..self.body.inputs.len()).collect()
    }

    /// Which input of the node a value of the body is.
    fn place(&self, v: ValueId) -> Option<usize> {
        self.body.inputs.iter().position(|b| *b == v)
    }

    /// The only element of a constant input.
    fn number(&self, cx: &LowerCx<'_>, v: Option<ValueId>) -> Option<f64> {
        let t = cx.value(self.place(v?)?)?;
        t.to_f64s().ok().filter(|all| all.len() == 1).map(|all| all[0])
    }

    /// In one dispatch.
    fn whole(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let types = types_within(cx, &self.body, &self.inputs())?;
        let lost = || err!(Internal, "a value of the body has no type");
        let of = |v: Option<ValueId>| v.and_then(|v| types.get(&v)).ok_or_else(lost);
        let m = self.members()?;
        let mut alpha = 1.0;
        // a factor of the product, without its own factors
        let mut bare = |v: Option<ValueId>| {
            let mut v = v.ok_or_else(lost)?;
            while let Some(node) = m.factors.iter().find(|n| n.outputs[0] == Some(v)) {
                let by = self.number(cx, node.inputs[1]);
                let by = by.ok_or_else(|| err!(Unsupported, "a factor of more than one element"))?;
                alpha *= if is_op(node, "Div") { 1.0 / by } else { by };
                let x = node.inputs[0].ok_or_else(lost)?;
                ensure!(of(Some(x))? == of(Some(v))?, Unsupported, "a factor of another shape");
                v = x;
            }
            Ok(v)
        };
        let (q, k) = (bare(m.scores.inputs[0])?, bare(m.scores.inputs[1])?);
        let v = m.product.inputs[1].ok_or_else(lost)?;
        let scores = of(m.scores.outputs[0])?;
        let [batch @ .., rows, keys] = &scores.shape[..] else { return Err(err!(Unsupported, "scores of {scores}")) };
        let out = of(m.product.outputs[0])?;
        let ranks = [q, k, v].iter().all(|v| of(Some(*v)).is_ok_and(|t| t.shape.len() >= 2));
        ensure!(ranks && out.shape.len() == scores.shape.len(), Unsupported, "a product with a vector");
        ensure!(out.shape.starts_with(batch), Unsupported, "values of more batches than scores");
        let (rank, attrs) = (scores.shape.len() as i64, &m.softmax.operator.attrs);
        let axis = match attrs.get("axis") {
            Some(Attr::Int(axis)) => *axis,
            _ if m.softmax.operator.opset >= 13 => -1,
            _ => 1,
        };
        ensure!(axis == -1 || axis == rank - 1, Unsupported, "a softmax along axis {axis} of {rank}");
        let mut hidden = Hidden::Nan;
        if let Some([_, fill]) = m.guard.and_then(guarded) {
            ensure!(self.number(cx, Some(fill)) == Some(0.0), Unsupported, "NaNs become something else than 0");
            hidden = Hidden::Guarded;
        }
        let mut end = self.logits(cx, m.scores, &types)?;
        let mut finer = vec![];
        for v in [q, k, v] {
            finer.push(cx.finer_input(self.place(v).ok_or_else(lost)?)?);
        }
        // heads of keys and values that are repeated for groups of queries make more dims of the batch
        let whole = finer.iter().all(|f| f.parts.ends_with(&[1, 1]));
        ensure!(whole, Unsupported, "a matrix that no strides describe");
        let coarse = batch.to_vec();
        let batch = finer.iter().map(|f| f.batch(&coarse)).max_by_key(Vec::len).unwrap_or_default();
        let [q, k, v] = &finer[..] else { return Err(lost()) };
        let tail = |f: &Finer| f.view.shape[f.view.rank() - 2..].to_vec();
        let wide = |f: &Finer| {
            let tail = tail(f);
            if f.is_plain() {
                f.view.broadcast(&[&coarse[..], &tail].concat()).reshaped(&[&batch[..], &tail].concat())
            } else {
                (f.batch(&coarse) == batch).then(|| f.view.broadcast(&[&batch[..], &tail].concat()))
            }
        };
        let apart = || err!(Unsupported, "heads that are grouped in several ways");
        let order: Vec<usize> = (0..batch.len()).chain([batch.len() + 1, batch.len()]).collect();
        let (q, k, v) = (wide(q).ok_or_else(apart)?, wide(k).ok_or_else(apart)?, wide(v).ok_or_else(apart)?);
        let split = |v: &View, tail: [usize; 2]| v.reshaped(&[&batch[..], &tail].concat()).ok_or_else(apart);
        let scores = [&coarse[..], &[*rows, *keys]].concat();
        for read in end.iter_mut().flat_map(|end| &mut end.reads) {
            *read = split(&read.broadcast(&scores), [*rows, *keys])?;
        }
        let width = v.shape[v.rank() - 1];
        let out = cx.output_placed(0, |_| true)?;
        let out = split(&out, [*rows, width])?;
        attention(cx, &Attention { q, k: k.permuted(&order), v, out, alpha: alpha as f32, end: end.as_ref(), hidden })
    }

    /// What the scores go through before the softmax.
    fn logits(
        &self,
        cx: &mut LowerCx<'_>,
        scores: &Node,
        types: &HashMap<ValueId, TensorType>,
    ) -> Result<Option<Epilogue>> {
        if is_op(scores, "MatMul") {
            return Ok(None);
        }
        let inner = members(scores)?;
        let [product, tail] = &inner.nodes[..] else { return Err(err!(Internal, "{} is no pair", scores.path())) };
        let outer = |v: ValueId| {
            let at = inner.inputs.iter().position(|b| *b == v)?;
            scores.used_inputs().nth(at)
        };
        let inner_types = inner.inputs.iter().filter_map(|v| Some((*v, types.get(&outer(*v)?)?.clone()))).collect();
        let from = infer_member(product, &inner_types).ok().and_then(|mut all| all.pop());
        let (Some(from), Some(made), Some(to)) =
            (from, product.outputs[0], scores.outputs[0].and_then(|v| types.get(&v)))
        else {
            return Err(err!(Internal, "{} has no type", scores.path()));
        };
        let end = function(cx, tail, made, |v| self.place(outer(v)?), [&from, to])?;
        ensure!(end.reads.len() <= epilogue::MOST_READS, Unsupported, "{} operands", end.reads.len());
        Ok(Some(end))
    }
}

impl Op for Attended {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        infer_body(cx, &self.body, &self.inputs())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if cx.attempt(|cx| self.whole(cx))? {
            return Ok(());
        }
        lower_body(cx, &self.body, &self.inputs())
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let all = self.body.nodes.iter().map(|n| n.operator.op.tolerance(dtype, k));
        all.fold(Tolerance::EXACT, Tolerance::plus)
    }
}

/// Queries, transposed keys, values, and what the scores' function reads; the factors of q and of kᵀ if there are any.
fn case(d: DType, [q, k, v]: [&[usize]; 3], chained: &[(&str, &[usize])], reads: usize, extras: Extras) -> Case {
    let body = body(chained, reads, extras).unwrap_or_default();
    let c = Case::new(NAME, 1).domain(fused::DOMAIN).attr("body", Attr::Graph(Arc::new(body)));
    let c = c.range(d, q, -1.0, 1.0).range(d, k, -1.0, 1.0).range(d, v, -1.0, 1.0);
    let number = |x: f64| Tensor::from_f64s(d, [], vec![x]).unwrap_or_else(|_| Tensor::zeros(d, []));
    let c = if extras.factors { c.constant(number(0.5)).constant(number(4.0)) } else { c };
    let c = if extras.guard { c.constant(number(0.0)) } else { c };
    c.sum(q[q.len() - 1].max(v[v.len() - 2]))
}

/// What a case has besides products and softmax.
#[derive(Debug, Clone, Copy, Default)]
struct Extras {
    factors: bool,
    guard: bool,
}

fn body(chained: &[(&str, &[usize])], reads: usize, extras: Extras) -> Result<Graph> {
    let mut g = Graph::new("body");
    let input = |g: &mut Graph, name: &str| {
        let v = g.add_value(name, None);
        g.inputs.push(v);
        v
    };
    let node = |g: &mut Graph, name: &str, operator: Operator, inputs: &[ValueId]| {
        let y = g.add_value(name, None);
        let inputs = inputs.iter().copied().map(Some).collect();
        g.nodes.push(Node { name: name.into(), operator, inputs, outputs: vec![Some(y)] });
        y
    };
    let plain = |op: &str, inputs: usize| Operator::new("", op, Attrs::new(), &NodeInfo::full(13, inputs, 1));
    let (mut q, mut k, v) = (input(&mut g, "q"), input(&mut g, "k"), input(&mut g, "v"));
    if extras.factors {
        let (a, b) = (input(&mut g, "a"), input(&mut g, "b"));
        q = node(&mut g, "scaled q", plain("Mul", 2)?, &[q, a]);
        k = node(&mut g, "scaled k", plain("Div", 2)?, &[k, b]);
    }
    let zero = extras.guard.then(|| input(&mut g, "zero"));
    let mut p = if chained.is_empty() {
        node(&mut g, "scores", plain("MatMul", 2)?, &[q, k])
    } else {
        let more: Vec<ValueId> = (0..reads).map(|i| input(&mut g, &format!("m{i}"))).collect();
        let head = epilogue::body("MatMul", &[], &[true; 2], reads, chained)?;
        let operator = epilogue::operator(head, vec![true; 2 + reads])?;
        node(&mut g, "scores", operator, &[&[q, k][..], &more].concat())
    };
    p = node(&mut g, "p", plain("Softmax", 1)?, &[p]);
    if let Some(zero) = zero {
        let mut guard = Graph::new("guard");
        let (x, fill) = (input(&mut guard, "x"), input(&mut guard, "fill"));
        let test = node(&mut guard, "test", plain("IsNaN", 1)?, &[x]);
        let y = node(&mut guard, "y", plain("Where", 3)?, &[test, fill, x]);
        guard.outputs.push(y);
        p = node(&mut g, "guarded", fused::operator(guard)?, &[p, zero]);
    }
    let y = node(&mut g, "y", plain("MatMul", 2)?, &[p, v]);
    g.outputs.push(y);
    Ok(g)
}

const MASKED: &[(&str, &[usize])] = &[("Mul", &[1]), ("Add", &[2])];
const BIASED: &[(&str, &[usize])] = &[("Add", &[1])];

fn cases() -> Vec<Case> {
    let none = Extras::default();
    let mut all = vec![];
    let heads: [&[usize]; 3] = [&[2, 3, 37, 16], &[2, 3, 16, 45], &[2, 3, 45, 24]];
    let half = |d: DType| Tensor::from_f64s(d, [], vec![0.5]).unwrap_or_else(|_| Tensor::zeros(d, []));
    for d in [F32, F16, BF16, F64] {
        all.push(case(d, heads, &[], 0, none));
        all.push(case(d, heads, &[], 0, Extras { factors: true, guard: false }));
        all.push(case(d, heads, MASKED, 2, none).constant(half(d)).rand(d, &[2, 1, 1, 45]));
        all.push(case(d, heads, BIASED, 1, none).rand(d, &[37, 45]));
    }
    // -inf hides keys, all of a row's too
    let mut mask = vec![0f32; 37 * 45];
    for (i, x) in mask.iter_mut().enumerate() {
        if i % 3 == 0 || i / 45 == 5 || (i / 45 == 6 && i % 45 < 40) {
            *x = f32::NEG_INFINITY;
        }
    }
    let mask = Tensor::new([37, 45], mask).unwrap_or_else(|_| Tensor::zeros(F32, [37, 45]));
    for guard in [false, true] {
        all.push(case(F32, heads, BIASED, 1, Extras { factors: true, guard }).value(mask.clone()));
    }
    let shapes: [[&[usize]; 3]; 10] = [
        [&[5, 7], &[7, 9], &[9, 3]],
        // several tiles of keys, one query; no power of two
        [&[1, 2, 1, 64], &[1, 2, 64, 200], &[1, 2, 200, 64]],
        [&[3, 2, 160], &[3, 160, 300], &[3, 300, 136]],
        [&[2, 70, 100], &[2, 100, 33], &[2, 33, 90]],
        [&[33, 128], &[128, 17], &[17, 128]],
        // deeper than the tiles, more batches of values than of scores, one of keys for all
        [&[9, 150], &[150, 8], &[8, 4]],
        [&[9, 15], &[15, 8], &[3, 8, 4]],
        [&[2, 3, 9, 15], &[15, 8], &[3, 8, 4]],
        [&[0, 4, 8], &[0, 8, 6], &[0, 6, 8]],
        [&[2, 4, 8], &[2, 8, 0], &[2, 0, 8]],
    ];
    all.extend(shapes.map(|s| case(F32, s, &[], 0, none)));
    // the scores are broadcast to the mask
    all.push(case(F32, [&[5, 7], &[7, 9], &[9, 3]], BIASED, 1, none).rand(F32, &[2, 1, 9]));
    all
}
