//! Chains of elementwise operators as one: what the fusion pass makes. The members stand in a body graph, which the
//! reference interprets and the device runs as one generated function.

use std::collections::HashMap;
use std::sync::Arc;

use super::epilogue::lower_body;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::cpu;
use crate::dtype::DType::{self, BF16, F16, F32, I8, I32, I64, U8};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType, ValueId};
use crate::kernels::elementwise::{Elementwise, Emit, Var, apply_all, lower_views};
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The domain of operators that only passes make.
pub const DOMAIN: &str = "shadernet";
/// The name of the fused operator; its members are the attribute `body`.
pub const NAME: &str = "Elementwise";
/// Elements up to which a member whose inputs are known is evaluated once, on the host.
const FOLD: usize = 4096;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: DOMAIN, name: NAME, versions: &[1], parse, cases }];

/// Members in topological order, each elementwise with one output; some of these are the results.
#[derive(Debug)]
struct Fused {
    body: Arc<Graph>,
}

/// Whether a node may be a member: a function of single elements that reads all its inputs on the device.
pub fn can_join(node: &Node) -> bool {
    let elementwise = node.operator.op.elementwise();
    elementwise.is_some_and(|e| e.joins() && e.host_inputs().is_empty())
        && node.outputs.len() == 1
        && node.outputs[0].is_some()
}

/// As [`can_join`], for a node of `graph`: what is known of its inputs' shapes must broadcast.
pub fn can_join_in(graph: &Graph, node: &Node) -> bool {
    let constant = |v: ValueId| graph.value(v).constant.as_ref().map(Tensor::shape);
    can_join(node) && broadcasts(node, constant)
}

/// Whether the inputs of an elementwise node broadcast, as far as their shapes are known.
fn broadcasts<'a>(node: &Node, shape: impl Fn(ValueId) -> Option<&'a [usize]>) -> bool {
    let shapes: Vec<Option<&[usize]>> = node.used_inputs().map(shape).collect();
    node.operator.op.elementwise().is_none_or(|e| e.broadcasts(&shapes))
}

/// Whether the members of a body broadcast their inputs, given the types of the body's inputs.
///
/// # Errors
/// `Unsupported` when they do not.
pub(super) fn check_broadcasts(body: &Graph, mut types: HashMap<ValueId, TensorType>) -> Result<()> {
    for node in &body.nodes {
        let fits = broadcasts(node, |v| types.get(&v).map(|t| t.shape.as_slice()));
        ensure!(fits, Unsupported, "{} does not broadcast its inputs", node.path());
        let made = infer_member(node, &types).map_err(|_| err!(Internal, "{} has no type", node.path()))?;
        types.extend(node.used_outputs().zip(made));
    }
    Ok(())
}

/// Whether a member quantises what another made: there what is rounded otherwise may fall to the next step.
pub(super) fn quantises(body: &Graph) -> bool {
    let made = |v: &ValueId| !body.inputs.contains(v);
    let op = |n: &Node| n.operator.op_type == "QuantizeLinear";
    body.nodes.iter().any(|n| op(n) && n.inputs.first().copied().flatten().as_ref().is_some_and(made))
}

/// How far apart results lie that differ by a step of an inner quantisation.
pub(super) fn step(dtype: DType) -> Tolerance {
    Tolerance { rel: 0.0, abs: if dtype.is_float() { 0.02 } else { 1.0 } }
}

/// The operator whose members are the nodes of `body`.
///
/// # Errors
/// `InvalidNode` when a member is not elementwise.
pub fn operator(body: Graph) -> Result<Operator> {
    let info = NodeInfo::full(1, body.inputs.len(), 1);
    Operator::new(DOMAIN, NAME, Attrs::from([("body".into(), Attr::Graph(Arc::new(body)))]), &info)
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
    let odd = body.nodes.iter().find(|m| !can_join(m)).map(Node::path);
    ensure!(odd.is_none(), InvalidNode, "{} is not elementwise", odd.unwrap_or_default());
    let whole = body.captures == 0 && !body.outputs.is_empty() && body.inputs.len() == n.inputs.len();
    ensure!(whole && n.inputs.iter().all(|i| *i), InvalidNode, "the body's inputs are not the node's");
    Ok(Arc::new(Fused { body }))
}

impl Fused {
    /// The types of all values, given those of the inputs.
    fn infer_all(&self, cx: &InferCx<'_>) -> Result<HashMap<ValueId, TensorType>, Defer> {
        let mut types = HashMap::new();
        for (i, v) in self.body.inputs.iter().enumerate() {
            types.insert(*v, cx.input(i)?.clone());
        }
        for node in &self.body.nodes {
            let made = infer_member(node, &types)?;
            types.extend(node.used_outputs().zip(made));
        }
        Ok(types)
    }

    fn output(&self) -> Result<ValueId> {
        self.body.outputs.first().copied().ok_or_else(|| err!(Internal, "the body has no output"))
    }

    /// All results by one dispatch.
    ///
    /// # Errors
    /// `Unsupported` when they differ in shape, when one is known before the run, or wanted in a place of its own.
    fn lower_all(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let count = self.body.outputs.len();
        let types = (0..count).map(|i| cx.output_type(i)).collect::<Result<Vec<_>>>()?;
        let alike = types.windows(2).all(|t| t[0].shape == t[1].shape);
        ensure!(alike && !(0..count).any(|i| cx.has_place(i)), Unsupported, "results that do not lie side by side");
        let inputs = self.body.inputs.iter().copied().enumerate().map(|(i, v)| (v, i)).collect();
        let rest = Rest::new(cx, &self.body, inputs)?;
        let known = self.body.outputs.iter().any(|v| rest.known.contains_key(v));
        ensure!(!known, Unsupported, "a result is known before the run");
        let views = rest.views(cx)?;
        let outs = (0..count).map(|i| cx.output(i)).collect::<Result<Vec<_>>>()?;
        apply_all(cx, &rest.label(), &views, &outs, |e, args| {
            let vars = rest.vars(e, args);
            rest.emit_all(e, vars)
        })
    }
}

/// The members of `body`, to each result those that go into it.
///
/// # Errors
/// `InvalidNode` when they are no groups.
fn apart(body: &Graph) -> Result<Graph> {
    let mut whole = Graph::new(body.name.clone());
    let mut outer: HashMap<ValueId, ValueId> = HashMap::new();
    for v in &body.inputs {
        let id = whole.add_value(body.value(*v).name.clone(), None);
        outer.insert(*v, id);
        whole.inputs.push(id);
    }
    for out in &body.outputs {
        let mut part = body.clone();
        part.outputs = vec![*out];
        crate::passes::without_dead_code(&mut part)?;
        let read: Vec<ValueId> = part.nodes.iter().flat_map(|n| n.used_inputs()).collect();
        part.inputs.retain(|v| read.contains(v));
        let inputs = part.inputs.iter().map(|v| outer.get(v).copied()).collect();
        let y = whole.add_value(body.value(*out).name.clone(), None);
        let name = body.value(*out).name.clone();
        whole.nodes.push(Node { name, operator: operator(part)?, inputs, outputs: vec![Some(y)] });
        whole.outputs.push(y);
    }
    Ok(whole)
}

/// What remains of a body when all that is known before the run is folded, and what that reads.
pub(super) struct Rest<'a> {
    body: &'a Graph,
    /// Which inputs of the node the values are.
    inputs: HashMap<ValueId, usize>,
    members: Vec<&'a Node>,
    known: HashMap<ValueId, Tensor>,
    sources: Vec<ValueId>,
}

impl<'a> Rest<'a> {
    /// Of `body`, whose values `inputs` are inputs of the node at hand; all of it goes into its results.
    ///
    /// # Errors
    /// Those of members whose inputs are known.
    pub fn new(cx: &LowerCx<'_>, body: &'a Graph, inputs: HashMap<ValueId, usize>) -> Result<Rest<'a>> {
        let mut known = inputs.iter().filter_map(|(v, i)| Some((*v, cx.value(*i)?.clone()))).collect();
        fold(body, &mut known)?;
        let made = |n: &&Node| !n.used_outputs().all(|v| known.contains_key(&v));
        let members: Vec<&Node> = body.nodes.iter().filter(made).collect();
        let mut sources = vec![];
        for v in members.iter().flat_map(|n| n.used_inputs()) {
            if !sources.contains(&v) && (inputs.contains_key(&v) || known.contains_key(&v)) {
                sources.push(v);
            }
        }
        Ok(Rest { body, inputs, members, known, sources })
    }

    /// Where the values lie that are read.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub fn views(&self, cx: &mut LowerCx<'_>) -> Result<Vec<View>> {
        let view = |v: &ValueId| match (self.inputs.get(v), self.known.get(v)) {
            (None, Some(t)) => cx.constant(t.clone()),
            (i, _) => cx.input(i.copied().unwrap_or(0)),
        };
        self.sources.iter().map(view).collect()
    }

    /// The members' names.
    pub fn label(&self) -> String {
        self.members.iter().map(|n| n.operator.op_type.as_str()).collect::<Vec<_>>().join("+")
    }

    /// Writes the members; `args` are elements of the views, `given` is a value that they read besides.
    ///
    /// # Errors
    /// Those of the members.
    pub fn emit(&self, e: &mut Emit<'_>, args: &[Var], given: Option<(ValueId, Var)>) -> Result<Var> {
        let mut vars = self.vars(e, args);
        vars.extend(given);
        self.emit_all(e, vars)?.into_iter().next().ok_or_else(|| err!(Internal, "the output was not made"))
    }

    /// Writes the members, given the variables of what they read, and gives those of the results.
    fn emit_all(&self, e: &mut Emit<'_>, mut vars: HashMap<ValueId, Var>) -> Result<Vec<Var>> {
        emit_members(e, self.members.iter().copied(), &mut vars)?;
        let made = |v: &ValueId| vars.get(v).cloned().ok_or_else(|| err!(Internal, "an output was not made"));
        self.body.outputs.iter().map(made).collect()
    }

    /// The variables of what the members read: `args`, elements of the views.
    fn vars(&self, e: &mut Emit<'_>, args: &[Var]) -> HashMap<ValueId, Var> {
        let vars: HashMap<ValueId, Var> = self.sources.iter().copied().zip(args.iter().cloned()).collect();
        for (v, var) in &vars {
            if let Some(x) = self.known.get(v).and_then(single) {
                e.set_known(var, x);
            }
        }
        vars
    }
}

/// Members whose inputs are all known, evaluated, where that is cheap or the device has no form for the type.
pub(super) fn fold(body: &Graph, known: &mut HashMap<ValueId, Tensor>) -> Result<()> {
    for node in &body.nodes {
        let cheap = |t: &Tensor| t.len() <= FOLD || t.dtype().device().is_none();
        if node.used_inputs().all(|v| known.get(&v).is_some_and(cheap)) {
            let made = cpu::eval_node(node, known)?;
            known.extend(node.used_outputs().zip(made));
        }
    }
    Ok(())
}

/// The types of a member's outputs.
pub fn infer_member(node: &Node, types: &HashMap<ValueId, TensorType>) -> Inferred {
    infer_known(node, types, |_| None)
}

/// As [`infer_member`], for a member whose types may depend on data that `known` gives.
pub(super) fn infer_known<'a>(
    node: &Node,
    types: &'a HashMap<ValueId, TensorType>,
    known: impl Fn(ValueId) -> Option<&'a Tensor>,
) -> Inferred {
    let of = |v: ValueId| types.get(&v).ok_or_else(|| err!(Internal, "an input has no type yet"));
    let inputs = node.inputs.iter().map(|v| v.map(|v| Ok((of(v)?, known(v)))).transpose()).collect::<Result<_>>()?;
    let named = |e: crate::Error| if node.operator.domain == DOMAIN { e } else { e.in_node(node.path()) };
    let made = node.operator.op.infer(&InferCx::new(inputs)).and_then(|types| {
        types.iter().try_for_each(|t| shape::checked_numel(&t.shape).map(drop))?;
        Ok(types)
    });
    made.map_err(|d| match d {
        Defer::Error(e) => Defer::Error(named(e)),
        other => other,
    })
}

/// Writes `members` into `e`, given the variables of the values they read, and adds those of the values they make.
fn emit_members<'a>(
    e: &mut Emit<'_>,
    members: impl IntoIterator<Item = &'a Node>,
    vars: &mut HashMap<ValueId, Var>,
) -> Result<()> {
    for node in members {
        let of = |v: ValueId| vars.get(&v).cloned().ok_or_else(|| err!(Internal, "a member reads what is not made"));
        let args: Vec<Var> = node.used_inputs().map(of).collect::<Result<_>>()?;
        // element types do not depend on shapes
        let scalars = node.used_inputs().zip(&args).map(|(v, a)| (v, TensorType::new(a.dtype, []))).collect();
        let Ok(made) = infer_member(node, &scalars) else {
            return Err(err!(InvalidNode, "{} has no type", node.path()));
        };
        for (v, t) in node.used_outputs().zip(made) {
            let e_op = node.operator.op.elementwise().ok_or_else(|| err!(Internal, "{} cannot join", node.path()))?;
            let y = e_op.emit(e, &args, t.dtype)?;
            ensure!(y.dtype == t.dtype, Internal, "{} made {}, inferred {}", node.path(), y.dtype, t.dtype);
            vars.insert(v, y);
        }
    }
    Ok(())
}

impl Op for Fused {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let types = self.infer_all(cx)?;
        let of = |v: &ValueId| types.get(v).cloned().ok_or_else(|| err!(Internal, "an output has no type").into());
        self.body.outputs.iter().map(of).collect()
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let all: Vec<usize> = (0..self.body.inputs.len()).collect();
        let types = self.body.inputs.iter().zip(&all).map(|(v, i)| Ok((*v, cx.input_type(*i)?)));
        if check_broadcasts(&self.body, types.collect::<Result<_>>()?).is_err() {
            return lower_body(cx, &self.body, &all);
        }
        if self.body.outputs.len() > 1 {
            if cx.attempt(|cx| self.lower_all(cx))? {
                return Ok(());
            }
            return lower_body(cx, &apart(&self.body)?, &all);
        }
        let inputs = self.body.inputs.iter().copied().enumerate().map(|(i, v)| (v, i)).collect();
        let mut rest = Rest::new(cx, &self.body, inputs)?;
        if rest.members.is_empty() {
            let t = rest.known.remove(&self.output()?).ok_or_else(|| err!(Internal, "the output was not made"))?;
            let view = cx.constant(t)?;
            return cx.alias(0, view);
        }
        let views = rest.views(cx)?;
        lower_views(cx, &rest.label(), &views, |e, args| rest.emit(e, args, None))
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        let all = self.body.nodes.iter().map(|n| n.operator.op.tolerance(dtype, k));
        all.chain(quantises(&self.body).then(|| step(dtype))).fold(Tolerance::EXACT, Tolerance::plus)
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        if self.body.outputs.len() > 1 {
            return vec![];
        }
        let types = (0..self.body.inputs.len()).filter_map(|i| Some((self.body.inputs[i], cx.try_input(i)?.clone())));
        match check_broadcasts(&self.body, types.collect()) {
            Ok(()) => Slicing::broadcast(cx, out),
            Err(_) => vec![],
        }
    }
}

/// The value of a tensor of one float.
fn single(t: &Tensor) -> Option<f64> {
    if t.len() != 1 || !t.dtype().is_float() {
        return None;
    }
    t.to_f64s().ok()?.first().copied()
}

impl Elementwise for Fused {
    fn broadcasts(&self, shapes: &[Option<&[usize]>]) -> bool {
        let of = |v: ValueId| shapes.get(self.body.inputs.iter().position(|i| *i == v)?).copied().flatten();
        self.body.nodes.iter().all(|n| broadcasts(n, of))
    }

    fn emit(&self, e: &mut Emit<'_>, args: &[Var], _: DType) -> Result<Var> {
        let mut vars: HashMap<ValueId, Var> = self.body.inputs.iter().copied().zip(args.iter().cloned()).collect();
        emit_members(e, &self.body.nodes, &mut vars)?;
        vars.remove(&self.output()?).ok_or_else(|| err!(Internal, "the output was not made"))
    }
}

/// A body that is a chain: each member reads the value before it, then inputs by number. Casts are to float32.
pub(super) fn chain(inputs: usize, members: &[(&str, &[usize])]) -> Result<Graph> {
    let mut body = Graph::new("body");
    body.inputs = (0..inputs).map(|i| body.add_value(format!("x{i}"), None)).collect();
    let mut last = body.inputs.first().copied();
    for (k, (op, others)) in members.iter().enumerate() {
        let reads = last.into_iter().map(Some).chain(others.iter().map(|i| body.inputs.get(*i).copied())).collect();
        let y = body.add_value(format!("y{k}"), None);
        let to = (*op == "Cast").then(|| ("to".to_string(), Attr::Int(F32 as i64)));
        let operator = Operator::new("", op, to.into_iter().collect(), &NodeInfo::full(13, others.len() + 1, 1))?;
        body.nodes.push(Node { name: format!("y{k}"), operator, inputs: reads, outputs: vec![Some(y)] });
        last = Some(y);
    }
    body.outputs = last.into_iter().collect();
    Ok(body)
}

fn cases() -> Vec<Case> {
    let case = |inputs: usize, members: &[(&str, &[usize])]| {
        let body = Attr::Graph(Arc::new(chain(inputs, members).unwrap_or_default()));
        Case::new(NAME, 1).domain(DOMAIN).attr("body", body)
    };
    let scaled: &[(&str, &[usize])] = &[("Mul", &[1]), ("Add", &[2]), ("Relu", &[])];
    let compared: &[(&str, &[usize])] = &[("Less", &[1]), ("Not", &[]), ("Where", &[0, 1])];
    let wide: &[(&str, &[usize])] =
        &[("Add", &[1]), ("Sub", &[2]), ("Mul", &[3]), ("Add", &[4]), ("Mul", &[5]), ("Max", &[6])];
    let mut all = vec![];
    for d in [F32, F16, BF16, I8, I32, I64] {
        all.push(case(3, scaled).rand(d, &[2, 3, 8]).rand(d, &[8]).rand(d, &[3, 1]));
        all.push(case(2, compared).rand(d, &[2, 3, 5]).rand(d, &[3, 1]));
    }
    all.push((0..7).fold(case(7, wide), |c, i| c.rand(F32, if i % 2 == 0 { &[6, 4] } else { &[1, 4] })));
    // known inputs: a part is folded; a small operand widens late
    let half = Tensor::scalar(0.5f32);
    all.push(case(3, scaled).constant(half.clone()).constant(half.clone()).rand(F32, &[3, 17]));
    all.push(case(2, &[("Sqrt", &[]), ("Mul", &[1])]).range(F32, &[3, 1], 0.0, 2.0).rand(F32, &[2, 3, 8]));
    all.push(case(2, &[("Pow", &[1]), ("Exp", &[])]).rand(F32, &[0, 4]).constant(half));
    all.extend(several_cases());
    all.extend(quantised_cases());
    all
}

/// Groups of several results: of one shape and type or not, of sizes that are no whole vectors, known in part.
fn several_cases() -> Vec<Case> {
    let case = |inputs: usize, members: &[(&str, &[usize])], results: &[usize]| {
        let mut body = chain(inputs, members).unwrap_or_default();
        let made: Vec<ValueId> = body.nodes.iter().flat_map(|n| n.used_outputs()).collect();
        body.outputs = results.iter().filter_map(|i| made.get(*i).copied()).collect();
        Case::new(NAME, 1).domain(DOMAIN).attr("body", Attr::Graph(Arc::new(body))).outputs(results.len())
    };
    let scaled: &[(&str, &[usize])] = &[("Mul", &[1]), ("Tanh", &[]), ("Add", &[2])];
    let compared: &[(&str, &[usize])] = &[("Less", &[1]), ("Not", &[]), ("Where", &[0, 1])];
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for s in [&[2, 3, 8][..], &[5, 7], &[1], &[0, 4]] {
            all.push(case(3, scaled, &[0, 1, 2]).rand(d, s).rand(d, &[1]).rand(d, s));
            all.push(case(2, compared, &[0, 2]).rand(d, s).rand(d, s));
        }
        all.push(case(3, scaled, &[1, 2]).rand(d, &[3, 4]).rand(d, &[4]).rand(d, &[2, 3, 4]));
        let half = Tensor::from_f64s(d, [4], vec![0.5; 4]).unwrap_or_else(|_| Tensor::zeros(d, [4]));
        all.push(case(3, scaled, &[0, 2]).constant(half.clone()).constant(half).rand(d, &[3, 4]));
    }
    all.push(case(2, &[("Mul", &[1]), ("Neg", &[]), ("Add", &[0])], &[0, 2]).rand(I64, &[3, 5]).rand(I64, &[3, 5]));
    all
}

/// Values brought to 8 bits and back: by one scale, which is known or not, by scales of the last axis and of another.
fn quantised_cases() -> Vec<Case> {
    let there: &[(&str, &[usize])] = &[("QuantizeLinear", &[1, 2]), ("DequantizeLinear", &[1, 2]), ("Relu", &[])];
    let back: &[(&str, &[usize])] = &[("DequantizeLinear", &[1, 2]), ("Relu", &[]), ("QuantizeLinear", &[1, 2])];
    let case = |members| {
        let body = Attr::Graph(Arc::new(chain(3, members).unwrap_or_default()));
        Case::new(NAME, 1).domain(DOMAIN).attr("body", body)
    };
    let known = |x: f64, d: DType| Tensor::from_f64s(d, [], vec![x]).unwrap_or_else(|_| Tensor::zeros(d, []));
    let mut all = vec![];
    for d in [I8, U8] {
        let x = || case(there).range(F32, &[3, 5, 8], -200.0, 300.0);
        all.push(x().constant(known(1.25, F32)).constant(known(3.0, d)));
        for s in [&[][..], &[1], &[5]] {
            all.push(x().range(F32, s, 0.75, 1.5).range(d, s, 0.0, 9.0));
        }
        all.push(case(there).range(F32, &[3, 7], -99.0, 99.0).range(F32, &[7], 0.75, 1.5).range(d, &[7], 0.0, 9.0));
        for s in [&[][..], &[5]] {
            all.push(case(back).rand(d, &[3, 5, 8]).range(F32, s, 0.75, 1.5).range(d, s, 0.0, 9.0));
        }
    }
    all
}
