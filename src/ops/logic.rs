//! Comparisons, logical and bitwise operators with NumPy broadcasting.

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
