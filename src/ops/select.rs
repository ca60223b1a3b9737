//! Choices between elements and conversions: Where, Clip, Cast, CastLike, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
