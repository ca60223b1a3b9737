//! Reading by index: Gather, GatherElements, GatherND, OneHot, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
