//! FlexAttention: attention whose scores and probabilities pass through bodies of the model's own.

use std::sync::Arc;

use super::{Case, ControlFlow, Defer, Handle, InferCx, Inferred, NodeInfo, Op, OpDef, Pending, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, ValueId};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[OpDef { domain: "ai.onnx.preview", name: "FlexAttention", versions: &[1], parse, cases }];

/// The opset of the nodes that it is made of.
const OPSET: i64 = 23;

/// Three graphs of its own, and between them the bodies of the model.
#[derive(Debug)]
struct Flex {
    scale: Option<f32>,
    precision: Option<DType>,
    scores: Arc<Graph>,
    softmax: Arc<Graph>,
    output: Arc<Graph>,
    score_mod: Option<Arc<Graph>>,
    prob_mod: Option<Arc<Graph>>,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let precision = match a.int("softmax_precision")? {
        None => None,
        Some(code) => {
            let d = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|d| matches!(d, F16 | BF16 | F32 | F64));
            Some(d.ok_or_else(|| err!(InvalidNode, "attribute softmax_precision: {code} is no float type"))?)
        }
    };
    let body = |name: &str| {
        let body = a.graph(name)?;
        if let Some(g) = &body {
            let (takes, gives) = (g.inputs.len() - g.captures, g.outputs.len());
            ensure!(
                [takes, gives] == [1, 1],
                InvalidNode,
                "{name} takes {takes} values and gives {gives}, not 1 and 1"
            );
        }
        Ok(body)
    };
    Ok(Arc::new(Flex {
        scale: a.float("scale")?,
        precision,
        scores: Arc::new(scores()?),
        softmax: Arc::new(softmax()?),
        output: Arc::new(output()?),
        score_mod: body("score_mod")?,
        prob_mod: body("prob_mod")?,
    }))
}

/// Adds a node of one output.
fn add(g: &mut Graph, op: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> Result<ValueId> {
    let attrs: Attrs = attrs.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
    let operator = Operator::new("", op, attrs, &NodeInfo::full(OPSET, inputs.len(), 1))?;
    let name = format!("{op}_{}", g.nodes.len());
    let y = g.add_value(name.clone(), None);
    let inputs = inputs.iter().copied().map(Some).collect();
    g.nodes.push(Node { name, operator, inputs, outputs: vec![Some(y)] });
    Ok(y)
}

fn inputs<const N: usize>(g: &mut Graph, names: [&str; N]) -> [ValueId; N] {
    let ids = names.map(|n| g.add_value(n, None));
    g.inputs = ids.to_vec();
    ids
}

/// Q × Kᵀ of `[batch, heads, group, …]`, each factor scaled before, in the type of `like` and of shape `whole`.
fn scores() -> Result<Graph> {
    let mut g = Graph::new("scores");
    let [q, k, by_q, by_k, tall, wide, whole, like] =
        inputs(&mut g, ["q", "k", "by_q", "by_k", "tall", "wide", "whole", "like"]);
    let q = add(&mut g, "Mul", &[q, by_q], &[])?;
    let k = add(&mut g, "Mul", &[k, by_k], &[])?;
    let q = add(&mut g, "Reshape", &[q, tall], &[("allowzero", Attr::Int(1))])?;
    let k = add(&mut g, "Reshape", &[k, wide], &[("allowzero", Attr::Int(1))])?;
    let k = add(&mut g, "Transpose", &[k], &[("perm", Attr::Ints(vec![0, 1, 2, 4, 3]))])?;
    let y = add(&mut g, "MatMul", &[q, k], &[])?;
    let y = add(&mut g, "Reshape", &[y, whole], &[("allowzero", Attr::Int(1))])?;
    g.outputs = vec![add(&mut g, "CastLike", &[y, like], &[])?];
    Ok(g)
}

fn softmax() -> Result<Graph> {
    let mut g = Graph::new("softmax");
    let [x] = inputs(&mut g, ["x"]);
    g.outputs = vec![add(&mut g, "Softmax", &[x], &[])?];
    Ok(g)
}

/// P × V in the type of P; the result is of V's type and of shape `whole`.
fn output() -> Result<Graph> {
    let mut g = Graph::new("output");
    let [p, v, tall, wide, whole] = inputs(&mut g, ["p", "v", "tall", "wide", "whole"]);
    let values = add(&mut g, "CastLike", &[v, p], &[])?;
    let p = add(&mut g, "Reshape", &[p, tall], &[("allowzero", Attr::Int(1))])?;
    let values = add(&mut g, "Reshape", &[values, wide], &[("allowzero", Attr::Int(1))])?;
    let y = add(&mut g, "MatMul", &[p, values], &[])?;
    let y = add(&mut g, "Reshape", &[y, whole], &[("allowzero", Attr::Int(1))])?;
    g.outputs = vec![add(&mut g, "CastLike", &[y, v], &[])?];
    Ok(g)
}

/// What a run of a body with one output made.
fn single(made: Vec<Handle>) -> Result<Handle> {
    made.first().copied().ok_or_else(|| err!(Internal, "a body made nothing"))
}

impl Flex {
    /// A body of the model, which keeps type and shape.
    async fn modified(
        &self,
        flow: &mut dyn ControlFlow,
        body: usize,
        x: Handle,
        captured: &[Handle],
    ) -> Result<Handle> {
        let y = single(flow.run(body, &[&[x], captured].concat()).await?)?;
        let (before, after) = (flow.type_of(x), flow.type_of(y));
        ensure!(before == after, InvalidNode, "a body made {after} of {before}");
        Ok(y)
    }

    async fn attend(&self, flow: &mut dyn ControlFlow, inputs: &[Option<Handle>]) -> Result<Vec<Handle>> {
        let all = inputs.iter().copied().collect::<Option<Vec<_>>>();
        let all = all.filter(|a| a.len() >= 3).ok_or_else(|| err!(InvalidNode, "expected Q, K and V"))?;
        let ([q, k, v], captured) = ([all[0], all[1], all[2]], &all[3..]);
        let (tq, tk, tv) = (flow.type_of(q), flow.type_of(k), flow.type_of(v));
        let (&[b, hq, l, e], &[kb, h, s, ke], &[vb, vh, vs, w]) = (&tq.shape[..], &tk.shape[..], &tv.shape[..]) else {
            bail!(InvalidNode, "expected rank 4, got {tq}, {tk} and {tv}")
        };
        let fits = [kb, vb, ke, vh, vs] == [b, b, e, h, s] && tq.dtype == tk.dtype && tq.dtype == tv.dtype;
        ensure!(fits, InvalidNode, "Q {tq}, K {tk} and V {tv} do not fit each other");
        let grouped = if h == 0 { hq == 0 } else { hq.is_multiple_of(h) };
        ensure!(grouped, InvalidNode, "{hq} query heads over {h} key heads");
        let group = hq.checked_div(h).unwrap_or(1);

        let d = tq.dtype;
        let work = self.precision.unwrap_or(if d == F64 { F64 } else { F32 });
        let scale = self.scale.unwrap_or(1.0 / (e.max(1) as f32).sqrt());
        let [by_q, by_k] = if scale < 0.0 { [scale, 1.0] } else { [scale.sqrt(); 2] };
        let mut number = |d: DType, x: f32| Ok(flow.host(Tensor::from_f64s(d, [], vec![x as f64])?));
        let numbers: [Handle; 3] = [number(d, by_q)?, number(d, by_k)?, number(work, 0.0)?];
        let mut list = |s: &[usize]| flow.host(Tensor::vector(&s.iter().map(|x| *x as i64).collect::<Vec<_>>()));
        let [tall, wide, whole] = [list(&[b, h, group, l, e]), list(&[b, h, 1, s, e]), list(&[b, hq, l, s])];
        let [p_tall, v_wide, y_whole] = [list(&[b, h, group, l, s]), list(&[b, h, 1, s, w]), list(&[b, hq, l, w])];

        let mut x = single(flow.run(0, &[q, k, numbers[0], numbers[1], tall, wide, whole, numbers[2]]).await?)?;
        if self.score_mod.is_some() {
            x = self.modified(flow, 3, x, captured).await?;
        }
        let mut p = single(flow.run(1, &[x]).await?)?;
        if self.prob_mod.is_some() {
            p = self.modified(flow, 3 + self.score_mod.is_some() as usize, p, captured).await?;
        }
        flow.run(2, &[p, v, p_tall, v_wide, y_whole]).await
    }
}

impl Op for Flex {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        bail!(Internal, "FlexAttention runs its bodies")
    }

    fn bodies(&self) -> Vec<&Arc<Graph>> {
        let own = [&self.scores, &self.softmax, &self.output];
        own.into_iter().chain(&self.score_mod).chain(&self.prob_mod).collect()
    }

    fn control<'a>(&'a self, flow: &'a mut dyn ControlFlow, inputs: &'a [Option<Handle>]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.attend(flow, inputs))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        // the coarser of the results' type and the one that softmax is made in
        let dtype = self.precision.filter(|p| matches!(p, F16 | BF16)).unwrap_or(dtype);
        let own = if matches!(dtype, F16 | BF16) { 4.0 } else { 32.0 };
        let t = Tolerance::ulps(dtype, own + (k as f64).sqrt());
        Tolerance { abs: t.rel, ..t }
    }
}

fn cases() -> Vec<Case> {
    let case = |d: DType, [b, h, g, l, t, k, w]: [usize; 7]| {
        let c = Case::new("FlexAttention", 1).domain("ai.onnx.preview").sum(t.max(k));
        c.rand(d, &[b, h, l, k]).rand(d, &[b, g, t, k]).rand(d, &[b, g, t, w])
    };
    let body = |op: &str| {
        let mut g = Graph::new(op);
        let [x] = inputs(&mut g, ["x"]);
        let made = add(&mut g, op, &[x], &[]);
        g.outputs = made.into_iter().collect();
        Attr::Graph(Arc::new(g))
    };
    let small = [2, 4, 2, 5, 7, 8, 6];
    let mut all: Vec<Case> = [F32, F16, BF16].iter().map(|d| case(*d, small)).collect();
    all.extend([
        case(F32, small).float("scale", 0.2),
        case(F32, small).float("scale", -0.2),
        case(F32, small).attr("score_mod", body("Tanh")),
        case(F32, small).attr("prob_mod", body("Sqrt")),
        case(F16, small).attr("score_mod", body("Neg")).attr("prob_mod", body("Sqrt")),
        case(F16, small).int("softmax_precision", 10),
        case(F32, [1, 1, 1, 1, 1, 1, 1]),
        case(F32, [1, 3, 3, 67, 130, 64, 64]),
        case(F32, [0, 2, 2, 3, 3, 4, 4]),
        case(F32, [2, 2, 2, 0, 3, 4, 4]),
        case(F64, small),
    ]);
    all
}
