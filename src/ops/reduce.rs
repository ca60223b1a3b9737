//! Reductions over axes: ReduceSum, ReduceMax, ArgMax, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
