//! The text form of graphs: what parses prints, and what is printed parses to the same text.

use shadernet::ir::{parse, print, verify};

use crate::refused;

/// Parses, prints and parses again.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let graph = match parse(text) {
        Ok(graph) => graph,
        Err(e) => return refused(&e),
    };
    if verify(&graph).is_err() {
        return;
    }
    let printed = print(&graph);
    match parse(&printed) {
        Ok(again) => assert_eq!(print(&again), printed),
        Err(e) => panic!("{e}\n{printed}"),
    }
}
