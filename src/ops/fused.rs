//! Chains of elementwise operators as one: what the fusion pass makes.

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
