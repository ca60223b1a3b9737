//! What an operator sees when it infers its outputs' types.

use crate::dtype::DType;
use crate::ir::TensorType;
use crate::tensor::Tensor;
use crate::{Error, Result, err};

/// Why types cannot be told yet.
#[derive(Debug, Clone)]
pub enum Defer {
    /// The data of this input is needed.
    NeedsValue(usize),
    /// The shapes are known only after the node has run (NonZero, Unique, …).
    DataDependent,
    /// The inputs contradict the specification.
    Error(Error),
}

impl From<Error> for Defer {
    fn from(e: Error) -> Defer {
        Defer::Error(e)
    }
}

/// Types of all outputs.
pub type Inferred = Result<Vec<TensorType>, Defer>;

/// The inputs' types, and the data of those that are known on the host.
pub struct InferCx<'a> {
    inputs: Vec<Option<(&'a TensorType, Option<&'a Tensor>)>>,
}

impl<'a> InferCx<'a> {
    /// One entry per input: its type and, where known, its data.
    pub fn new(inputs: Vec<Option<(&'a TensorType, Option<&'a Tensor>)>>) -> InferCx<'a> {
        InferCx { inputs }
    }

    /// The number of inputs, left-out ones included.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there is no input at all.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Whether input `i` is present.
    pub fn has(&self, i: usize) -> bool {
        self.try_input(i).is_some()
    }

    /// The type of input `i`, if present.
    pub fn try_input(&self, i: usize) -> Option<&'a TensorType> {
        self.inputs.get(i).copied().flatten().map(|(t, _)| t)
    }

    /// The type of input `i`.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out.
    pub fn input(&self, i: usize) -> Result<&'a TensorType> {
        self.try_input(i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
    }

    /// The shape of input `i`.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out.
    pub fn shape(&self, i: usize) -> Result<&'a [usize]> {
        Ok(&self.input(i)?.shape)
    }

    /// The element type of input `i`.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out.
    pub fn dtype(&self, i: usize) -> Result<DType> {
        Ok(self.input(i)?.dtype)
    }

    /// The data of input `i`, if present and known on the host.
    pub fn try_value(&self, i: usize) -> Option<&'a Tensor> {
        self.inputs.get(i).copied().flatten().and_then(|(_, v)| v)
    }

    /// The data of input `i`.
    ///
    /// # Errors
    /// [`Defer::NeedsValue`] when it is not known yet, [`Defer::Error`] when the input is left out.
    pub fn value(&self, i: usize) -> Result<&'a Tensor, Defer> {
        self.input(i)?;
        self.try_value(i).ok_or(Defer::NeedsValue(i))
    }

    /// The data of input `i` as `i64`, or `None` when the input is left out.
    ///
    /// # Errors
    /// As [`InferCx::value`].
    pub fn ints(&self, i: usize) -> Result<Option<Vec<i64>>, Defer> {
        if !self.has(i) {
            return Ok(None);
        }
        Ok(Some(self.value(i)?.to_i64s()?))
    }
}

/// One output with the element type and shape given.
pub(crate) fn one(dtype: DType, shape: impl Into<Vec<usize>>) -> Inferred {
    Ok(vec![TensorType::new(dtype, shape)])
}
