//! Graphs and nodes: names to ids, bodies with the outer values they use.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use onnx_proto::{FunctionProto, GraphProto, NodeProto, ValueInfoProto};

use super::external::External;
use super::functions::{self, FunctionId};
use super::opsets::{Opsets, canonical};
use super::order::{label, order};
use super::{Limits, Refused, tensor, types};
use crate::ir::{Attr, Attrs, Declared, Graph, Node, Operator, ValueId};
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
    /// Names that a made-up name must not be: those of the message, and those made up before.
    value_names: HashSet<String>,
    node_names: HashSet<String>,
    /// Names of the message that a node has taken.
    named: HashSet<String>,
    captured: Vec<(ValueId, ValueId)>,
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
            graph: Graph::new(g.name()),
            frames: vec![frame],
            value_names: fed.chain(made).map(str::to_string).collect(),
            named: HashSet::new(),
            node_names: g.node.iter().map(|n| n.name().to_string()).collect(),
            captured: vec![],
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
        let opset = self.frame()?.opsets.of(n.domain())?;
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

        let domain = canonical(n.domain());
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
        let inner = match l.captured.iter().find(|(o, _)| *o == outer) {
            Some((_, inner)) => *inner,
            None => {
                let unique = unique(&mut l.value_names, value.name);
                let inner = l.graph.add_value(unique, value.declared);
                l.graph.value_mut(inner).constant = value.constant.clone();
                if value.constant.is_none() {
                    l.captured.push((outer, inner));
                }
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
                unique(&mut level.value_names, full)
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
        unique(&mut level.node_names, wanted)
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

/// `wanted`, with a number behind it when it is taken.
fn unique(taken: &mut HashSet<String>, wanted: String) -> String {
    if taken.insert(wanted.clone()) {
        return wanted;
    }
    let mut numbered = (1usize..).map(|i| format!("{wanted}_{i}"));
    let free = numbered.find(|name| !taken.contains(name)).unwrap_or(wanted);
    taken.insert(free.clone());
    free
}

/// All bodies of a node take the same outer values as their last inputs, whether each uses them or not, so that the
/// node lists them once. Gives those values and the finished bodies.
fn share_captures(bodies: Vec<(String, Body)>) -> (Vec<ValueId>, Vec<(String, Graph)>) {
    let mut shared: Vec<ValueId> = vec![];
    for (outer, _) in bodies.iter().flat_map(|(_, b)| &b.captured) {
        if !shared.contains(outer) {
            shared.push(*outer);
        }
    }
    let finish = |(name, body): (String, Body)| {
        let Body { mut graph, captured } = body;
        let inside: HashMap<ValueId, ValueId> = captured.into_iter().collect();
        let mut names: HashSet<String> = HashSet::new();
        if inside.len() < shared.len() {
            names = graph.values().map(|(_, v)| v.name.clone()).collect();
        }
        for outer in &shared {
            let inner = match inside.get(outer) {
                Some(inner) => *inner,
                None => graph.add_value(unique(&mut names, format!("unused_{}", outer.index())), None),
            };
            graph.inputs.push(inner);
        }
        graph.captures = shared.len();
        (name, graph)
    };
    let finished = bodies.into_iter().map(finish).collect();
    (shared, finished)
}
