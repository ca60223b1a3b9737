//! Shapes as values, and tensors made from nothing: Shape, Size, Constant, ConstantOfShape, Range, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
