//! Exceptions with the names, codes and meanings of ONNX Runtime's.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception};
use shadernet::{Error, ErrorKind};

macro_rules! exceptions {
    ($($name:ident, $code:literal, $label:literal, $doc:literal;)*) => {
        $(create_exception!(shadernet.capi.onnxruntime_pybind11_state, $name, PyException, $doc);

        impl Coded for $name {
            fn error(message: &str) -> PyErr {
                $name::new_err(format!(concat!("[ShadernetError] : ", $code, " : ", $label, " : {}"), message))
            }
        })*

        /// Adds the exceptions to the module.
        pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add(stringify!($name), $name::type_object(module.py()))?;)*
            Ok(())
        }
    };
}

/// An exception whose message begins with a code.
pub trait Coded {
    fn error(message: &str) -> PyErr;
}

exceptions! {
    Fail, 1, "FAIL", "A node could not run, or something without a class of its own.";
    InvalidArgument, 2, "INVALID_ARGUMENT", "What a caller gave does not fit the model.";
    NoSuchFile, 3, "NO_SUCHFILE", "There is no such model file.";
    NoModel, 4, "NO_MODEL", "There is no model.";
    EngineError, 5, "ENGINE_ERROR", "Kept for scripts that name it; never raised.";
    RuntimeException, 6, "RUNTIME_EXCEPTION", "A fault of this library.";
    InvalidProtobuf, 7, "INVALID_PROTOBUF", "The bytes are not an ONNX model.";
    ModelLoaded, 8, "MODEL_LOADED", "Kept for scripts that name it; never raised.";
    NotImplemented, 9, "NOT_IMPLEMENTED", "An operator or element type that cannot run where it was asked to.";
    InvalidGraph, 10, "INVALID_GRAPH", "The model contradicts itself or names unknown operators.";
    EPFail, 11, "EP_FAIL", "The device refused, was lost, or there is none.";
    ModelLoadCanceled, 12, "MODEL_LOAD_CANCELED", "Kept for scripts that name it; never raised.";
    ModelRequiresCompilation, 13, "MODEL_REQUIRES_COMPILATION", "Kept for scripts that name it; never raised.";
    NotFound, 14, "NOT_FOUND", "Kept for scripts that name it; never raised.";
    DeviceReset, 15, "DEVICE_RESET", "Kept for scripts that name it; never raised.";
}

/// What went wrong while a model was read.
pub fn loading(e: Error) -> PyErr {
    match e.kind() {
        ErrorKind::InvalidModel | ErrorKind::InvalidNode | ErrorKind::Unsupported => {
            InvalidGraph::error(&format!("This is an invalid model. {}", said(&e)))
        }
        _ => running(e),
    }
}

/// What went wrong while a session was made ready or ran.
pub fn running(e: Error) -> PyErr {
    let message = said(&e);
    match e.kind() {
        ErrorKind::InvalidInput => InvalidArgument::error(&message),
        ErrorKind::InvalidModel => InvalidGraph::error(&message),
        ErrorKind::Unsupported => NotImplemented::error(&message),
        ErrorKind::Device => EPFail::error(&message),
        ErrorKind::Internal => RuntimeException::error(&message),
        _ => Fail::error(&message),
    }
}

fn said(e: &Error) -> String {
    match e.node() {
        Some(node) => format!("node {node}: {}", e.message()),
        None => e.message().to_string(),
    }
}
