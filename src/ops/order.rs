//! Order along an axis: TopK, CumSum, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
