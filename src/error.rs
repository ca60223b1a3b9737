//! One error type for the whole library: what kind of thing went wrong, where in which file, and what was
//! expected against what came.

use std::fmt;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// The bytes are not a well-formed ONNX model.
    InvalidModel,
    /// An operator, opset, attribute or element type that cannot be run as asked.
    Unsupported,
    /// The caller's inputs do not fit the model (missing, unknown, wrong element type, wrong shape).
    InvalidInput,
    /// An operator's inputs or attributes contradict its specification.
    InvalidNode,
    /// A size, count or depth beyond the configured or the device's limits.
    Limit,
    /// No adapter, or the device refused or was lost.
    Device,
    /// A fault of this library.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Io => "file",
            ErrorKind::InvalidModel => "invalid model",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::InvalidNode => "invalid node",
            ErrorKind::Limit => "limit",
            ErrorKind::Device => "device",
            ErrorKind::Internal => "internal",
        })
    }
}

/// What every fallible call of this library gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its kind, the model file, the node's path and a one-line message.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<String>,
    node: Option<String>,
}

impl Error {
    /// An error of this kind; the message says what was expected and what came.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: plain(message.into()), file: None, node: None }))
    }

    /// The kind of thing that went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The path of the node it happened in: names of the enclosing nodes and the node, with its operator.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// The model file.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The message alone, without file and node.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Names the model file, unless one is named already.
    pub fn in_file(mut self, file: impl Into<String>) -> Error {
        self.0.file.get_or_insert_with(|| plain(file.into()));
        self
    }

    /// Puts `node` before the node path known so far.
    pub fn in_node(mut self, node: impl Into<String>) -> Error {
        let node = plain(node.into());
        self.0.node = Some(match self.0.node.take() {
            Some(inner) => format!("{node} / {inner}"),
            None => node,
        });
        self
    }
}

/// Names come from files: what would break a line or command a terminal is written as its code.
fn plain(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(shown).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{file}: ")?;
        }
        if let Some(node) = &self.0.node {
            write!(f, "node {node}: ")?;
        }
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {}

/// `err!(Kind, "format {}", args)`: an [`Error`] of `ErrorKind::Kind`.
#[macro_export]
#[doc(hidden)]
macro_rules! err {
    ($kind:ident, $($arg:tt)*) => { $crate::Error::new($crate::ErrorKind::$kind, format!($($arg)*)) };
}

/// `bail!(Kind, "format {}", args)`: returns an [`Error`].
#[macro_export]
#[doc(hidden)]
macro_rules! bail {
    ($kind:ident, $($arg:tt)*) => { return Err($crate::err!($kind, $($arg)*)) };
}

/// `ensure!(condition, Kind, "format {}", args)`: returns an [`Error`] unless the condition holds.
#[macro_export]
#[doc(hidden)]
macro_rules! ensure {
    ($cond:expr, $kind:ident, $($arg:tt)*) => { if !$cond { $crate::bail!($kind, $($arg)*) } };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_plain_line() {
        let e = Error::new(ErrorKind::InvalidModel, "a\nb").in_node("n\u{1b}[31m").in_file("f\r");
        assert_eq!(e.to_string(), "f\\r: node n\\u{1b}[31m: invalid model: a\\nb");
    }
}
