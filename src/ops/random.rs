//! Random tensors: RandomNormal, RandomUniform, Multinomial, Bernoulli, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
