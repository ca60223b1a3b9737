//! The graph that every stage works on: values, nodes, declared types with symbolic dims, attributes, and a text
//! form for tests and for people.
//!
//! Nodes stand in topological order. A subgraph (the body of If, Loop, Scan) lists the outer values it uses as its
//! last inputs, and the node that holds it lists the same values as its last inputs, so that no edge is hidden. All bodies
//! of one node (both branches of an If) take the same list. Outer constants are not captured but stand in the body too.

mod attrs;
mod graph;
mod text;
mod types;
mod verify;

pub use attrs::{Attr, AttrReader, Attrs};
pub use graph::{Graph, Node, Operator, Value, ValueId};
pub use text::{parse, print, print_elided};
pub use types::{Declared, Dim, TensorType};
pub use verify::verify;
