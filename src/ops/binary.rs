//! Arithmetic of two or more tensors with NumPy broadcasting: Add, Mul, Pow, Mod, Max, Sum, ….

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
