//! Control flow: If, Loop, Scan.

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
