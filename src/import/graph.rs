//! Graphs and nodes: names to ids, bodies with the outer values they use.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use onnx_proto::{FunctionProto, GraphProto, NodeProto, ValueInfoProto};

use super::external::External;
use super::functions::{self, FunctionId};
use super::opsets::{OLDEST, Opsets, canonical};
use super::order::{label, order};
use super::{Refused, gradient, legacy, tensor, types};
use crate::ir::{Attr, Attrs, Declared, Graph, Node, Operator, ValueId};
use crate::limits::Limits;
use crate::ops::{NodeInfo, qualified};
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result, ensure, err};

/// A graph with the outer values it uses: their ids outside and inside.
pub(super) struct Body {
    graph: Graph,
    captured: Vec<(ValueId, ValueId)>,
}

/// Names visible in one graph or in one function being inlined.
pub(super) struct Frame<'p> {
    /// What stands before the names of this frame in the graph.
    prefix: String,
    /// `None` is a function's input that the call leaves out.
    pub(super) values: HashMap<&'p str, Option<ValueId>>,
    /// A function's outputs take the names that the caller has for them.
    pub(super) aliases: HashMap<&'p str, String>,
    declared: HashMap<&'p str, Declared>,
    opsets: Rc<Opsets>,
    /// The attributes of the call, within a function.
    attrs: Option<Rc<Attrs>>,
}

impl Frame<'_> {
    pub(super) fn new(prefix: String, opsets: Rc<Opsets>, attrs: Option<Rc<Attrs>>) -> Self {
        let (values, aliases, declared) = Default::default();
        Frame { prefix, values, aliases, declared, opsets, attrs }
    }
}

/// One graph under construction. Its first frame is its own, the others are functions being inlined.
struct Level<'p> {
    graph: Graph,
    frames: Vec<Frame<'p>>,
    value_names: Names,
    node_names: Names,
    /// Names of the message that a node has taken.
    named: HashSet<String>,
    captured: Vec<(ValueId, ValueId)>,
    /// The same by outer id.
    inner: HashMap<ValueId, ValueId>,
}

/// Names that a made-up name must not be: those of the message, and those made up before.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// The next number to try behind a name.
    next: HashMap<String, usize>,
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Names {
        Names { taken: names.into_iter().map(str::to_string).collect(), next: HashMap::new() }
    }
}

impl Names {
    /// `wanted`, with a number behind it when it is taken.
    fn unique(&mut self, wanted: String) -> String {
        if self.taken.insert(wanted.clone()) {
            return wanted;
        }
        let next = self.next.entry(wanted.clone()).or_insert(1);
        loop {
            let numbered = format!("{wanted}_{next}");
            *next += 1;
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

/// The state of one import.
pub(super) struct Importer<'p> {
    pub(super) limits: Limits,
    pub(super) external: External,
    pub(super) functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
    /// Functions being inlined, outermost first.
    pub(super) calls: Vec<FunctionId<'p>>,
    /// Operators that cannot be parsed; collected, so that one error names them all.
    pub(super) refused: Vec<Refused>,
    /// Paths of the enclosing nodes.
    trail: Vec<String>,
    /// Graphs under construction, outermost first.
    levels: Vec<Level<'p>>,
    nodes: usize,
}

impl<'p> Importer<'p> {
    pub(super) fn new(
        limits: Limits,
        external: External,
        functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
    ) -> Importer<'p> {
        let (calls, refused, trail, levels) = Default::default();
        Importer { limits, external, functions, calls, refused, trail, levels, nodes: 0 }
    }

    /// The model's graph.
    pub(super) fn main(&mut self, g: &'p GraphProto, opsets: Opsets) -> Result<Graph> {
        Ok(self.graph(g, Frame::new(String::new(), Rc::new(opsets), None))?.graph)
    }

    /// The graph of an attribute. It sees the names around it, and within a function the call's attributes.
    pub(super) fn body(&mut self, g: &'p GraphProto) -> Result<Body> {
        let outer = self.frame()?;
        let frame = Frame::new(String::new(), outer.opsets.clone(), outer.attrs.clone());
        self.graph(g, frame)
    }

    fn graph(&mut self, g: &'p GraphProto, mut frame: Frame<'p>) -> Result<Body> {
        let deep = self.levels.len() >= self.limits.depth;
        ensure!(!deep, Limit, "graphs are nested deeper than {}", self.limits.depth);
        for v in &g.value_info {
            // a type that is not understood here promises nothing; operators infer their own
            if let Some(t) = v.r#type.as_ref().and_then(|t| types::declared(t).ok().flatten()) {
                frame.declared.insert(v.name(), t);
            }
        }
        for v in &g.output {
            frame.declared.extend(declared(v)?.map(|t| (v.name(), t)));
        }
        let fed = g.input.iter().map(|v| v.name()).chain(g.initializer.iter().map(|t| t.name()));
        let made = g.node.iter().flat_map(|n| &n.output).map(String::as_str);
        let level = Level {
            graph: Graph::within(g.name(), self.limits),
            frames: vec![frame],
            value_names: fed.chain(made).collect(),
            named: HashSet::new(),
            node_names: g.node.iter().map(|n| n.name()).collect(),
            captured: vec![],
            inner: HashMap::new(),
        };
        self.levels.push(level);

        let outermost = self.levels.len() == 1;
        let taken: HashSet<&str> = g.input.iter().map(|v| v.name()).filter(|_| !outermost).collect();
        for t in g.initializer.iter().filter(|t| !taken.contains(t.name())) {
            let data = tensor::read(t, &self.external)?;
            self.constant(t.name(), data)?;
        }
        for t in &g.sparse_initializer {
            let name = t.values.as_ref().map_or("", |v| v.name());
            if !taken.contains(name) {
                let data = tensor::read_sparse(t, &self.external, self.limits.sparse_elements)?;
                self.constant(name, data)?;
            }
        }
        for v in &g.input {
            let known = self.frame()?.values.get(v.name()).copied().flatten();
            let is_constant = known.is_some_and(|id| self.here().is_ok_and(|l| l.graph.value(id).constant.is_some()));
            if outermost && is_constant {
                continue;
            }
            let t = declared(v)?;
            let id = self.define(v.name())?;
            let graph = &mut self.here()?.graph;
            graph.value_mut(id).declared = t;
            graph.inputs.push(id);
        }
        self.nodes(&g.node)?;
        for v in &g.output {
            let id = self.lookup(v.name()).flatten();
            let id = id.ok_or_else(|| err!(InvalidModel, "output {:?} is never made", v.name()))?;
            self.here()?.graph.outputs.push(id);
        }
        let level = self.levels.pop().ok_or_else(|| err!(Internal, "no graph is under construction"))?;
        Ok(Body { graph: level.graph, captured: level.captured })
    }

    /// Nodes of the current frame, in an order in which they can run.
    pub(super) fn nodes(&mut self, nodes: &'p [NodeProto]) -> Result<()> {
        for i in order(nodes)? {
            self.node(&nodes[i])?;
        }
        Ok(())
    }

    fn node(&mut self, n: &'p NodeProto) -> Result<()> {
        self.nodes += 1;
        ensure!(self.nodes <= self.limits.nodes, Limit, "more than {} nodes", self.limits.nodes);
        let deep = self.trail.len() >= self.limits.depth;
        ensure!(!deep, Limit, "node {}: nested deeper than {}", label(n), self.limits.depth);
        let name = self.node_name(n);
        let path = format!("{name} ({})", qualified(n.domain(), n.op_type()));
        self.trail.push(path.clone());
        let done = match self.functions.get(&functions::called(n)).copied() {
            Some(f) => self.call(f, n, &name),
            None => self.operator(n, &name),
        };
        self.trail.pop();
        done.map_err(|e| e.in_node(path))
    }

    fn operator(&mut self, n: &'p NodeProto, name: &str) -> Result<()> {
        let mut inputs = self.inputs(n)?;
        let (mut attrs, bodies) = self.attrs(&n.attribute)?;
        let domain = canonical(n.domain());
        let mut opset = self.frame()?.opsets.of(domain)?;
        if domain.is_empty() {
            let upgrade = legacy::upgrade(n.op_type(), opset, &mut attrs)?;
            opset = upgrade.opset;
            if let (Some(axis), [Some(a), Some(b)]) = (upgrade.align, inputs.as_mut_slice()) {
                *b = self.aligned(*a, *b, axis, name)?;
            }
        }
        if gradient::is_gradient(domain, n.op_type()) {
            self.differentiated(n, &mut attrs, &mut inputs)?;
        }
        let present = |names: &[String]| names.iter().map(|s| !s.is_empty()).collect();
        let info = NodeInfo {
            opset,
            version: opset,
            inputs: inputs.iter().map(Option::is_some).collect(),
            outputs: present(&n.output),
        };
        let (shared, bodies) = share_captures(bodies);
        attrs.extend(bodies.into_iter().map(|(name, body)| (name, Attr::Graph(Arc::new(body)))));
        inputs.extend(shared.into_iter().map(Some));

        let operator = match Operator::new(domain, n.op_type(), attrs, &info) {
            Ok(operator) => Some(operator),
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                self.refused.push(Refused { opset, node: self.trail.join(" / "), message: e.message().into() });
                None
            }
            Err(e) => return Err(e),
        };
        if let (Some(operator), "", "Constant") = (&operator, domain, n.op_type()) {
            let made = operator.op.eval(&[])?.into_iter().next();
            let made = made.ok_or_else(|| err!(Internal, "a constant without a value"))?;
            return n.output.iter().take(1).try_for_each(|o| self.constant(o, made.clone()));
        }
        let mut outputs = Vec::with_capacity(n.output.len());
        for o in &n.output {
            outputs.push(if o.is_empty() { None } else { Some(self.define(o)?) });
        }
        if let Some(operator) = operator {
            self.here()?.graph.nodes.push(Node { name: name.into(), operator, inputs, outputs });
        }
        Ok(())
    }

    /// `b` with dims of extent 1 behind its own, so that its first meets dim `axis` of `a`.
    fn aligned(&mut self, a: ValueId, b: ValueId, axis: i64, name: &str) -> Result<ValueId> {
        let graph = &self.here()?.graph;
        let shape = |id: ValueId| {
            let v = graph.value(id);
            v.constant.as_ref().map(Tensor::rank).or_else(|| v.declared.as_ref()?.dims().map(<[_]>::len))
        };
        let (Some(rank), Some(own)) = (shape(a), shape(b)) else {
            return Err(err!(Unsupported, "axis {axis} of an old broadcast between inputs of unknown rank"));
        };
        let constant = graph.value(b).constant.clone();
        if own == 0 || constant.as_ref().is_some_and(|c| c.len() == 1) {
            return Ok(b);
        }
        let more = legacy::trailing(axis, rank, own);
        let more = more.ok_or_else(|| err!(InvalidNode, "axis {axis} for ranks {rank} and {own}"))?;
        if more == 0 {
            return Ok(b);
        }
        let value_name = self.here()?.value_names.unique(format!("{name}/aligned"));
        if let Some(c) = constant {
            let shape = [c.shape(), &vec![1; more]].concat();
            return Ok(self.here()?.graph.add_constant(value_name, c.reshaped(shape)?));
        }
        let axes = Attr::Ints((own..own + more).map(|i| i as i64).collect());
        let attrs = Attrs::from([("axes".to_string(), axes)]);
        let operator = Operator::new("", "Unsqueeze", attrs, &NodeInfo::full(OLDEST, 1, 1))?;
        let level = self.here()?;
        let node_name = level.node_names.unique(value_name.clone());
        let out = level.graph.add_value(value_name, None);
        let node = Node { name: node_name, operator, inputs: vec![Some(b)], outputs: vec![Some(out)] };
        level.graph.nodes.push(node);
        Ok(out)
    }

    /// A node's inputs as ids.
    pub(super) fn inputs(&mut self, n: &'p NodeProto) -> Result<Vec<Option<ValueId>>> {
        let mut out = Vec::with_capacity(n.input.len());
        for (i, name) in n.input.iter().enumerate() {
            let id = if name.is_empty() { Some(None) } else { self.lookup(name) };
            out.push(id.ok_or_else(|| err!(InvalidModel, "input {i}: nothing makes {name:?}"))?);
        }
        Ok(out)
    }

    /// The value of a name in the current frame; an outer value is captured (an outer constant copied).
    /// `Some(None)` is a function's input that the call leaves out.
    pub(super) fn lookup(&mut self, name: &'p str) -> Option<Option<ValueId>> {
        let top = self.levels.len().checked_sub(1)?;
        self.lookup_at(top, name)
    }

    fn lookup_at(&mut self, level: usize, name: &'p str) -> Option<Option<ValueId>> {
        let l = self.levels.get(level)?;
        if let Some(known) = l.frames.last()?.values.get(name) {
            return Some(*known);
        }
        if l.frames.len() > 1 || level == 0 {
            return None;
        }
        let Some(outer) = self.lookup_at(level - 1, name)? else { return Some(None) };
        let value = self.levels[level - 1].graph.value(outer).clone();
        let l = &mut self.levels[level];
        let inner = match l.inner.get(&outer) {
            Some(inner) => *inner,
            None => {
                let unique = l.value_names.unique(value.name);
                let inner = l.graph.add_value(unique, value.declared);
                l.graph.value_mut(inner).constant = value.constant.clone();
                if value.constant.is_none() {
                    l.captured.push((outer, inner));
                }
                l.inner.insert(outer, inner);
                inner
            }
        };
        l.frames.last_mut()?.values.insert(name, Some(inner));
        Some(Some(inner))
    }

    fn constant(&mut self, name: &'p str, data: Tensor) -> Result<()> {
        let id = self.define(name)?;
        self.here()?.graph.value_mut(id).constant = Some(data);
        Ok(())
    }

    /// A new value under a name of the current frame.
    fn define(&mut self, name: &'p str) -> Result<ValueId> {
        ensure!(!name.is_empty(), InvalidModel, "a value without a name");
        let full = self.full_name(name);
        let level = self.here()?;
        let frame = level.frames.last().ok_or_else(no_frame)?;
        ensure!(!frame.values.contains_key(name), InvalidModel, "value {name:?} is defined twice");
        let declared = frame.declared.get(name).cloned();
        let id = level.graph.add_value(full, declared);
        self.bind(name, Some(id))?;
        Ok(id)
    }

    /// Gives a value a name in the current frame.
    pub(super) fn bind(&mut self, name: &'p str, value: Option<ValueId>) -> Result<()> {
        let frame = self.here()?.frames.last_mut().ok_or_else(no_frame)?;
        ensure!(frame.values.insert(name, value).is_none(), InvalidModel, "value {name:?} is defined twice");
        let declared = frame.declared.get(name).cloned();
        if let (Some(id), Some(t)) = (value, declared) {
            self.here()?.graph.value_mut(id).declared.get_or_insert(t);
        }
        Ok(())
    }

    /// The name in the graph of a value of the current frame.
    pub(super) fn full_name(&mut self, name: &str) -> String {
        let Some(level) = self.levels.last_mut() else { return name.into() };
        match level.frames.last() {
            Some(f) if f.aliases.contains_key(name) => f.aliases[name].clone(),
            Some(f) if !f.prefix.is_empty() => {
                let full = format!("{}{name}", f.prefix);
                level.value_names.unique(full)
            }
            _ => name.into(),
        }
    }

    /// A name for the node that no other node of its graph has.
    fn node_name(&mut self, n: &NodeProto) -> String {
        let Some(level) = self.levels.last_mut() else { return n.name().into() };
        let prefix = level.frames.last().map_or("", |f| f.prefix.as_str());
        if prefix.is_empty() && !n.name().is_empty() && level.named.insert(n.name().into()) {
            return n.name().into();
        }
        let output = n.output.iter().find(|o| !o.is_empty()).map_or(n.op_type(), |o| o);
        let wanted = format!("{prefix}{}", if n.name().is_empty() { output } else { n.name() });
        level.node_names.unique(wanted)
    }

    pub(super) fn push_frame(&mut self, frame: Frame<'p>) -> Result<()> {
        self.here()?.frames.push(frame);
        Ok(())
    }

    pub(super) fn pop_frame(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.frames.pop();
        }
    }

    /// The attributes of the enclosing call, within a function.
    pub(super) fn call_attrs(&self) -> Option<Rc<Attrs>> {
        self.frame().ok()?.attrs.clone()
    }

    fn frame(&self) -> Result<&Frame<'p>> {
        self.levels.last().and_then(|l| l.frames.last()).ok_or_else(no_frame)
    }

    /// The graph under construction.
    pub(super) fn graph_so_far(&self) -> Result<&Graph> {
        self.levels.last().map(|l| &l.graph).ok_or_else(no_frame)
    }

    fn here(&mut self) -> Result<&mut Level<'p>> {
        self.levels.last_mut().ok_or_else(no_frame)
    }
}

fn no_frame() -> Error {
    err!(Internal, "no graph is under construction")
}

fn declared(v: &ValueInfoProto) -> Result<Option<Declared>> {
    let named = |e: Error| Error::new(e.kind(), format!("value {:?}: {}", v.name(), e.message()));
    v.r#type.as_ref().map_or(Ok(None), |t| types::declared(t).map_err(named))
}

/// All bodies of a node take the same outer values as their last inputs, whether each uses them or not, so that the
/// node lists them once. Gives those values and the finished bodies.
fn share_captures(bodies: Vec<(String, Body)>) -> (Vec<ValueId>, Vec<(String, Graph)>) {
    let mut seen = HashSet::new();
    let all = bodies.iter().flat_map(|(_, b)| &b.captured).map(|(outer, _)| *outer);
    let shared: Vec<ValueId> = all.filter(|outer| seen.insert(*outer)).collect();
    let finish = |(name, body): (String, Body)| {
        let Body { mut graph, captured } = body;
        let inside: HashMap<ValueId, ValueId> = captured.into_iter().collect();
        let mut names = Names::default();
        if inside.len() < shared.len() {
            names = graph.values().map(|(_, v)| v.name.as_str()).collect();
        }
        for outer in &shared {
            let inner = match inside.get(outer) {
                Some(inner) => *inner,
                None => graph.add_value(names.unique(format!("unused_{}", outer.index())), None),
            };
            graph.inputs.push(inner);
        }
        graph.captures = shared.len();
        (name, graph)
    };
    let finished = bodies.into_iter().map(finish).collect();
    (shared, finished)
}

#[cfg(test)]
mod tests {
    use onnx_proto::AttributeProto;

    use super::*;

    fn own(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto { op_type: Some(op.into()), input: own(inputs), output: own(outputs), ..NodeProto::default() }
    }

    fn body(name: &str, nodes: Vec<NodeProto>, output: &str) -> AttributeProto {
        let output = vec![ValueInfoProto { name: Some(output.into()), ..ValueInfoProto::default() }];
        let g = GraphProto { node: nodes, output, ..GraphProto::default() };
        AttributeProto { name: Some(name.into()), g: Some(g), ..AttributeProto::default() }
    }

    /// Bodies of one node share the list of what they take from outside, values of nested bodies included; constants
    /// are copied and inner names win.
    #[test]
    fn bodies_share_their_captures() -> Result<()> {
        let nested = NodeProto { attribute: vec![body("g", vec![], "b")], ..node("Nested", &[], &[]) };
        let shadow = vec![node("Relu", &["a"], &["s"]), node("Exp", &["s"], &["c"]), nested];
        let attrs = [body("p", vec![node("Relu", &["k"], &["t"])], "a"), body("q", shadow, "c")];
        let opsets = Opsets::new(&[onnx_proto::OperatorSetIdProto { domain: None, version: Some(17) }])?;
        let mut importer = Importer::new(Limits::default(), External::default(), HashMap::new());
        importer.levels.push(Level {
            graph: Graph::new("outer"),
            frames: vec![Frame::new(String::new(), Rc::new(opsets), None)],
            value_names: Names::default(),
            node_names: Names::default(),
            named: HashSet::new(),
            captured: vec![],
            inner: HashMap::new(),
        });
        let [_c, b, a] = ["c", "b", "a"].map(|name| importer.define(name));
        importer.constant("k", Tensor::scalar(1f32))?;

        let (_, bodies) = importer.attrs(&attrs)?;
        let (shared, bodies) = share_captures(bodies);
        assert_eq!(shared, [a?, b?]);
        let names = |g: &Graph| g.inputs.iter().map(|v| g.value(*v).name.clone()).collect::<Vec<_>>();
        let [(p, first), (q, second)] = <[_; 2]>::try_from(bodies).ok().unwrap();
        assert_eq!((p.as_str(), names(&first), first.captures), ("p", own(&["a", "unused_1"]), 2));
        assert_eq!((q.as_str(), names(&second), second.captures), ("q", own(&["a", "b"]), 2));
        assert!(first.find("k").is_ok_and(|k| first.value(k).constant.is_some()));
        crate::ir::verify(&first)?;
        crate::ir::verify(&second)?;
        assert_eq!(importer.refused.len(), 1, "the nested operator alone is unknown");
        Ok(())
    }
}
