//! Attributes and the reader that fails on any attribute nobody read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Declared, Graph};
use crate::tensor::Tensor;
use crate::{Result, bail, err};

/// The value of an attribute.
#[derive(Debug, Clone)]
pub enum Attr {
    /// `INT`
    Int(i64),
    /// `FLOAT`
    Float(f32),
    /// `STRING`
    Str(String),
    /// `TENSOR`
    Tensor(Tensor),
    /// `GRAPH`
    Graph(Arc<Graph>),
    /// `TYPE_PROTO`
    Type(Declared),
    /// `INTS`
    Ints(Vec<i64>),
    /// `FLOATS`
    Floats(Vec<f32>),
    /// `STRINGS`
    Strs(Vec<String>),
    /// `TENSORS`
    Tensors(Vec<Tensor>),
}

impl Attr {
    fn kind(&self) -> &'static str {
        match self {
            Attr::Int(_) => "int",
            Attr::Float(_) => "float",
            Attr::Str(_) => "string",
            Attr::Tensor(_) => "tensor",
            Attr::Graph(_) => "graph",
            Attr::Type(_) => "type",
            Attr::Ints(_) => "ints",
            Attr::Floats(_) => "floats",
            Attr::Strs(_) => "strings",
            Attr::Tensors(_) => "tensors",
        }
    }
}

/// Attributes by name.
pub type Attrs = BTreeMap<String, Attr>;

/// Hands out attributes one by one and remembers which were asked for.
pub struct AttrReader<'a> {
    attrs: &'a Attrs,
    unread: RefCell<Vec<&'a str>>,
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $name_or:ident, $variant:ident, $t:ty, $what:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// `InvalidNode` when the attribute is of another type.
        pub fn $name(&self, name: &str) -> Result<Option<$t>> {
            match self.take(name) {
                None => Ok(None),
                Some(Attr::$variant(v)) => Ok(Some(v.clone())),
                Some(other) => bail!(InvalidNode, "attribute {name}: expected {}, got {}", $what, other.kind()),
            }
        }

        /// The same with a default.
        ///
        /// # Errors
        /// `InvalidNode` when the attribute is of another type.
        pub fn $name_or(&self, name: &str, default: $t) -> Result<$t> {
            Ok(self.$name(name)?.unwrap_or(default))
        }
    };
}

impl<'a> AttrReader<'a> {
    /// A reader to which no attribute has been asked yet.
    pub fn new(attrs: &'a Attrs) -> AttrReader<'a> {
        AttrReader { attrs, unread: RefCell::new(attrs.keys().map(String::as_str).collect()) }
    }

    fn take(&self, name: &str) -> Option<&'a Attr> {
        self.unread.borrow_mut().retain(|n| *n != name);
        self.attrs.get(name)
    }

    /// Whether the attribute is there; does not count as reading it.
    pub fn has(&self, name: &str) -> bool {
        self.attrs.contains_key(name)
    }

    getter!(/// An integer.
        int, int_or, Int, i64, "int");
    getter!(/// A float.
        float, float_or, Float, f32, "float");
    getter!(/// A string.
        string, string_or, Str, String, "string");
    getter!(/// A list of integers.
        ints, ints_or, Ints, Vec<i64>, "ints");
    getter!(/// A list of floats.
        floats, floats_or, Floats, Vec<f32>, "floats");
    getter!(/// A list of strings.
        strings, strings_or, Strs, Vec<String>, "strings");
    getter!(/// A tensor.
        tensor, tensor_or, Tensor, Tensor, "tensor");
    getter!(/// A list of tensors.
        tensors, tensors_or, Tensors, Vec<Tensor>, "tensors");
    getter!(/// A type.
        type_proto, type_proto_or, Type, Declared, "type");
    getter!(/// A subgraph.
        graph, graph_or, Graph, Arc<Graph>, "graph");

    /// An integer that must be 0 or 1.
    ///
    /// # Errors
    /// `InvalidNode` when it is something else.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.int_or(name, default as i64)? {
            0 => Ok(false),
            1 => Ok(true),
            n => bail!(InvalidNode, "attribute {name}: expected 0 or 1, got {n}"),
        }
    }

    /// An integer that must be there.
    ///
    /// # Errors
    /// `InvalidNode` when it is missing or of another type.
    pub fn required_int(&self, name: &str) -> Result<i64> {
        self.int(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"))
    }

    /// Marks an attribute as read whose value cannot change the result. Say at the call why.
    pub fn ignore(&self, name: &str) {
        self.take(name);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Unsupported` when an attribute was never asked for: ignoring it could give a wrong answer.
    pub fn finish(self) -> Result<()> {
        let unread = self.unread.into_inner();
        if unread.is_empty() { Ok(()) } else { bail!(Unsupported, "unknown attribute {}", unread.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_attributes_are_errors() {
        let attrs = Attrs::from([("axis".into(), Attr::Int(1)), ("extra".into(), Attr::Float(0.5))]);
        let r = AttrReader::new(&attrs);
        assert_eq!(r.int_or("axis", 0).unwrap(), 1);
        assert_eq!(r.int_or("absent", 7).unwrap(), 7);
        assert!(r.string("extra").is_err());
        r.finish().unwrap();
        let r = AttrReader::new(&attrs);
        assert_eq!(r.int("axis").unwrap(), Some(1));
        let e = r.finish().unwrap_err();
        assert!(e.to_string().contains("extra"), "{e}");
    }
}
