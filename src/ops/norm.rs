//! Normalisations: BatchNormalization, LayerNormalization, InstanceNormalization, LRN, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
