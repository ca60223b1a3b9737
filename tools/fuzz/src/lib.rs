//! The targets: each takes bytes and panics when something is wrong. What they find becomes a test in `tests/`.

pub mod arrays;
pub mod graphs;
pub mod import;
#[path = "../../cli/src/inputs.rs"]
#[allow(dead_code)]
mod inputs;
pub mod mutate;
pub mod text;

use shadernet::{Error, ErrorKind, Limits};

/// A target.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] =
    &[("import", import::run), ("text", text::run), ("graphs", graphs::run), ("arrays", arrays::run)];

/// Bounds under which any input is done at once.
pub fn limits() -> Limits {
    Limits { nodes: 10_000, sparse_elements: 1 << 16, memory: 8 << 20, iterations: 64, ..Limits::default() }
}

/// A refusal is right, a fault of the library is not.
pub fn refused(e: &Error) {
    assert!(e.kind() != ErrorKind::Internal, "{e}");
    assert!(!e.to_string().contains('\n'), "an error of several lines: {e}");
}
