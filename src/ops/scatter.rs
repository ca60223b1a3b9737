//! Writing by index: ScatterElements, ScatterND, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
