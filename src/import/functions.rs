//! Model-local functions, inlined where they are called. Names of the body's nodes and values get the path of the
//! calling node as prefix.

use std::collections::HashMap;
use std::rc::Rc;

use onnx_proto::{FunctionProto, ModelProto, NodeProto};

use super::graph::{Frame, Importer};
use super::opsets::{Opsets, canonical};
use crate::ir::Attrs;
use crate::{Result, bail, ensure};

/// Domain, name and overload.
pub(super) type FunctionId<'p> = (&'p str, &'p str, &'p str);

/// The model's functions.
///
/// # Errors
/// `InvalidModel` when two have the same domain, name and overload.
pub(super) fn table(model: &ModelProto) -> Result<HashMap<FunctionId<'_>, &FunctionProto>> {
    let mut out = HashMap::new();
    for f in &model.functions {
        let id = (canonical(f.domain()), f.name(), f.overload());
        ensure!(out.insert(id, f).is_none(), InvalidModel, "function {:?} is defined twice", f.name());
    }
    Ok(out)
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
