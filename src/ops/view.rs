//! Operators that only look at their input another way: Reshape, Transpose, Slice, Split, Squeeze, Expand, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
