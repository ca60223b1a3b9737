//! Attributes.

use onnx_proto::AttributeProto;
use onnx_proto::attribute_proto::AttributeType;

use super::graph::{Body, Importer};
use super::{tensor, types};
use crate::ir::{Attr, Attrs};
use crate::{Error, Result, bail, ensure, err};

/// What an attribute turned out to be.
pub(super) enum Imported {
    Value(Attr),
    Body(Box<Body>),
    /// A reference to a function's attribute that the call leaves out.
    Absent,
}

impl<'p> Importer<'p> {
    /// The attributes of a node, its bodies apart (they wait for the list of outer values that they share).
    pub(super) fn attrs(&mut self, protos: &'p [AttributeProto]) -> Result<(Attrs, Vec<(String, Body)>)> {
        let (mut attrs, mut bodies) = (Attrs::new(), Vec::<(String, Body)>::new());
        for a in protos {
            let name = a.name().to_string();
            let again = attrs.contains_key(&name) || bodies.iter().any(|(n, _)| *n == name);
            ensure!(!again, InvalidModel, "attribute {name} is given twice");
            // an error within a body names its node already
            let named = |e: Error| match e.node() {
                None => Error::new(e.kind(), format!("attribute {name}: {}", e.message())),
                Some(_) => e,
            };
            match self.attr(a).map_err(named)? {
                Imported::Value(v) => drop(attrs.insert(name, v)),
                Imported::Body(b) => bodies.push((name, *b)),
                Imported::Absent => {}
            }
        }
        Ok((attrs, bodies))
    }

    fn attr(&mut self, a: &'p AttributeProto) -> Result<Imported> {
        if !a.ref_attr_name().is_empty() {
            let call = self.call_attrs();
            let call =
                call.ok_or_else(|| err!(InvalidModel, "refers to {:?} outside a function", a.ref_attr_name()))?;
            return Ok(call.get(a.ref_attr_name()).map_or(Imported::Absent, |v| Imported::Value(v.clone())));
        }
        let sparse = |t| tensor::read_sparse(t, &self.external, self.limits.sparse_elements);
        let dense = |t| tensor::read(t, &self.external);
        let value = match kind(a)? {
            AttributeType::Float => Attr::Float(a.f()),
            AttributeType::Int => Attr::Int(a.i()),
            AttributeType::String => Attr::Str(text(a.s())?),
            AttributeType::Tensor => Attr::Tensor(dense(present(&a.t)?)?),
            AttributeType::SparseTensor => Attr::Tensor(sparse(present(&a.sparse_tensor)?)?),
            AttributeType::TypeProto => {
                let t = types::declared(present(&a.tp)?)?;
                Attr::Type(t.ok_or_else(|| err!(InvalidModel, "an empty type"))?)
            }
            AttributeType::Floats => Attr::Floats(a.floats.clone()),
            AttributeType::Ints => Attr::Ints(a.ints.clone()),
            AttributeType::Strings => Attr::Strs(a.strings.iter().map(|s| text(s)).collect::<Result<_>>()?),
            AttributeType::Tensors => Attr::Tensors(a.tensors.iter().map(dense).collect::<Result<_>>()?),
            AttributeType::SparseTensors => Attr::Tensors(a.sparse_tensors.iter().map(sparse).collect::<Result<_>>()?),
            AttributeType::Graph => return Ok(Imported::Body(Box::new(self.body(present(&a.g)?)?))),
            AttributeType::Graphs => bail!(Unsupported, "a list of graphs"),
            AttributeType::TypeProtos => bail!(Unsupported, "a list of types"),
            AttributeType::Undefined => bail!(InvalidModel, "no value"),
        };
        Ok(Imported::Value(value))
    }
}

/// The declared type, or the one whose field is set (the first IR versions declared none).
fn kind(a: &AttributeProto) -> Result<AttributeType> {
    use AttributeType::*;
    if let Some(number) = a.r#type.filter(|n| *n != 0) {
        return AttributeType::try_from(number).map_err(|_| err!(Unsupported, "attribute type number {number}"));
    }
    let set = [
        (a.f.is_some(), Float),
        (a.i.is_some(), Int),
        (a.s.is_some(), String),
        (a.t.is_some(), Tensor),
        (a.g.is_some(), Graph),
        (a.sparse_tensor.is_some(), SparseTensor),
        (a.tp.is_some(), TypeProto),
        (!a.floats.is_empty(), Floats),
        (!a.ints.is_empty(), Ints),
        (!a.strings.is_empty(), Strings),
        (!a.tensors.is_empty(), Tensors),
        (!a.graphs.is_empty(), Graphs),
        (!a.sparse_tensors.is_empty(), SparseTensors),
        (!a.type_protos.is_empty(), TypeProtos),
    ];
    Ok(set.into_iter().find(|(is, _)| *is).map_or(Undefined, |(_, kind)| kind))
}

fn present<T>(field: &Option<T>) -> Result<&T> {
    field.as_ref().ok_or_else(|| err!(InvalidModel, "no value"))
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| err!(Unsupported, "a string that is not UTF-8"))
}
