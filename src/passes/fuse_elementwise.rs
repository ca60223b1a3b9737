//! Joins chains of elementwise operators into one.

use crate::Result;
use crate::ir::Graph;

/// Runs the pass.
///
/// # Errors
/// None yet.
pub fn run(_graph: &mut Graph) -> Result<bool> {
    Ok(false)
}
