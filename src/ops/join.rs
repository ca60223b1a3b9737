//! Operators that put tensors together or repeat them: Concat, Pad, Tile, DepthToSpace, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
