//! Declared types (what a model file promises, dims possibly symbolic) and concrete ones (what a run has).

use std::fmt;

use crate::dtype::DType;
use crate::shape;

/// One extent of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed extent.
    Known(usize),
    /// A named extent: equal names mean equal extents within a model.
    Symbol(String),
    /// Nothing is promised.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(s) => write!(f, "{s}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// The type that a model declares for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// A tensor; `dims` is `None` when not even the rank is promised.
    Tensor {
        /// Element type.
        dtype: DType,
        /// Extents.
        dims: Option<Vec<Dim>>,
    },
    /// A sequence of values of one type.
    Sequence(Box<Declared>),
    /// A value that may be absent.
    Optional(Box<Declared>),
    /// A map from keys of a type to values of a type.
    Map(DType, Box<Declared>),
    /// A sparse tensor.
    Sparse(DType),
}

impl Declared {
    /// The element type of a tensor, or what kind of container it is.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Declared::Tensor { dtype, .. } => Some(*dtype),
            Declared::Sequence(_) => Some(DType::Sequence),
            Declared::Optional(_) => Some(DType::Optional),
            Declared::Map(..) => Some(DType::Map),
            Declared::Sparse(_) => None,
        }
    }

    /// The extents of a tensor whose rank is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        match self {
            Declared::Tensor { dims: Some(d), .. } => Some(d),
            _ => None,
        }
    }

    /// The concrete type, when every extent is known.
    pub fn concrete(&self) -> Option<TensorType> {
        let known = |d: &Dim| match d {
            Dim::Known(n) => Some(*n),
            _ => None,
        };
        let shape = self.dims()?.iter().map(known).collect::<Option<_>>()?;
        Some(TensorType { dtype: self.dtype()?, shape })
    }
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Declared::Tensor { dtype, dims: None } => write!(f, "{dtype}"),
            Declared::Tensor { dtype, dims: Some(d) } => {
                let d: Vec<String> = d.iter().map(Dim::to_string).collect();
                write!(f, "{dtype}[{}]", d.join(", "))
            }
            Declared::Sequence(t) => write!(f, "seq({t})"),
            Declared::Optional(t) => write!(f, "optional({t})"),
            Declared::Map(k, v) => write!(f, "map({k}, {v})"),
            Declared::Sparse(d) => write!(f, "sparse({d})"),
        }
    }
}

/// An element type and a concrete shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A type.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        shape::numel(&self.shape)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}
