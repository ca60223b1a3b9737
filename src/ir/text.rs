//! The text form.
use super::Graph;
use crate::Result;
/// Prints.
pub fn print(_g: &Graph) -> String {
    String::new()
}
/// Parses.
pub fn parse(_text: &str) -> Result<Graph> {
    Ok(Graph::default())
}
