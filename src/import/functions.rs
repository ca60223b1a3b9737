//! Model-local functions, inlined where they are called. Names of the body's nodes and values get the path of the
//! calling node as prefix.

use std::collections::HashMap;
use std::rc::Rc;

use onnx_proto::{FunctionProto, ModelProto, NodeProto};

use super::graph::{Frame, Importer};
use super::opsets::{Opsets, canonical};
use crate::ir::Attrs;
use crate::limits::Limits;
use crate::{Result, bail, ensure};

/// Domain, name and overload.
pub(super) type FunctionId<'p> = (&'p str, &'p str, &'p str);

pub(super) type Functions<'p> = HashMap<FunctionId<'p>, &'p FunctionProto>;

/// The model's functions.
///
/// # Errors
/// `InvalidModel` when two have the same domain, name and overload.
pub(super) fn table(model: &ModelProto) -> Result<Functions<'_>> {
    let mut out = HashMap::new();
    for f in &model.functions {
        let id = (canonical(f.domain()), f.name(), f.overload());
        ensure!(out.insert(id, f).is_none(), InvalidModel, "function {:?} is defined twice", f.name());
    }
    Ok(out)
}

/// Counts the nodes that inlining makes of `nodes`, without making them: calls within calls multiply.
///
/// # Errors
/// `Limit` when they are too many, or calls are nested too deep.
pub(super) fn count<'p>(nodes: &'p [NodeProto], table: &Functions<'p>, limits: &Limits) -> Result<()> {
    let made = Counter { table, limits, known: HashMap::new() }.count(nodes, &mut vec![])?;
    ensure!(
        made <= limits.nodes,
        Limit,
        "{made} nodes when functions are inlined, more than limit nodes, {}",
        limits.nodes
    );
    Ok(())
}

struct Counter<'p, 'a> {
    table: &'a Functions<'p>,
    limits: &'a Limits,
    known: HashMap<FunctionId<'p>, usize>,
}

impl<'p> Counter<'p, '_> {
    fn count(&mut self, nodes: &'p [NodeProto], calls: &mut Vec<FunctionId<'p>>) -> Result<usize> {
        let mut sum = 0usize;
        for n in nodes {
            sum = sum.saturating_add(1);
            for g in n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
                sum = sum.saturating_add(self.count(&g.node, calls)?);
            }
            // one that calls itself is found, and named, where it is inlined
            if let Some((id, f)) = self.table.get_key_value(&called(n)).filter(|(id, _)| !calls.contains(id)) {
                sum = sum.saturating_add(self.function(*id, f, calls)?);
            }
        }
        Ok(sum)
    }

    fn function(&mut self, id: FunctionId<'p>, f: &'p FunctionProto, calls: &mut Vec<FunctionId<'p>>) -> Result<usize> {
        if let Some(n) = self.known.get(&id) {
            return Ok(*n);
        }
        let deep = self.limits.depth;
        ensure!(
            calls.len() < deep,
            Limit,
            "function {:?}: calls within calls, deeper than limit depth, {deep}",
            f.name()
        );
        calls.push(id);
        let n = self.count(&f.node, calls)?;
        calls.pop();
        self.known.insert(id, n);
        Ok(n)
    }
}

/// The function that a node calls.
pub(super) fn called<'p>(n: &'p NodeProto) -> FunctionId<'p> {
    (canonical(n.domain()), n.op_type(), n.overload())
}

impl<'p> Importer<'p> {
    /// Inlines one call.
    pub(super) fn call(&mut self, f: &'p FunctionProto, n: &'p NodeProto, name: &str) -> Result<()> {
        let id = called(n);
        ensure!(!self.calls.contains(&id), InvalidModel, "function {:?} calls itself", f.name());
        let counts = [("inputs", n.input.len(), f.input.len()), ("outputs", n.output.len(), f.output.len())];
        for (what, got, most) in counts {
            ensure!(got <= most, InvalidModel, "function {:?} has {most} {what}, got {got}", f.name());
        }

        let inputs = self.inputs(n)?;
        let attrs = self.call_environment(f, n)?;
        let mut frame = Frame::new(format!("{name}/"), Rc::new(Opsets::new(&f.opset_import)?), Some(Rc::new(attrs)));
        for (i, formal) in f.input.iter().enumerate() {
            let again = frame.values.insert(formal, inputs.get(i).copied().flatten());
            ensure!(again.is_none(), InvalidModel, "function {:?} names input {formal:?} twice", f.name());
        }
        for (formal, actual) in f.output.iter().zip(&n.output).filter(|(_, actual)| !actual.is_empty()) {
            let full = self.full_name(actual);
            frame.aliases.insert(formal, full);
        }

        self.calls.push(id);
        self.push_frame(frame)?;
        self.nodes(&f.node)?;
        let mut made = vec![];
        for (formal, actual) in f.output.iter().zip(&n.output).filter(|(_, actual)| !actual.is_empty()) {
            let Some(value) = self.lookup(formal) else {
                bail!(InvalidModel, "function {:?} never makes its output {formal:?}", f.name())
            };
            made.push((actual, value));
        }
        self.pop_frame();
        self.calls.pop();
        made.into_iter().try_for_each(|(actual, value)| self.bind(actual, value))
    }

    /// The function's attributes: defaults, and what the call gives.
    fn call_environment(&mut self, f: &'p FunctionProto, n: &'p NodeProto) -> Result<Attrs> {
        let (mut env, bodies) = self.attrs(&f.attribute_proto)?;
        let (given, given_bodies) = self.attrs(&n.attribute)?;
        if let Some((name, _)) = bodies.iter().chain(&given_bodies).next() {
            bail!(Unsupported, "attribute {name}: a graph given to a function");
        }
        for (name, value) in given {
            let known = env.contains_key(&name) || f.attribute.contains(&name);
            ensure!(known, Unsupported, "unknown attribute {name}");
            env.insert(name, value);
        }
        Ok(env)
    }
}
