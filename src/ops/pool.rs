//! Pooling: MaxPool, AveragePool, LpPool and the global ones.

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
