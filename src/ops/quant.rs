//! Quantisation and integer products: QuantizeLinear, DequantizeLinear, MatMulInteger, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
