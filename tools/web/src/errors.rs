//! Errors as JavaScript throws them.

use js_sys::Reflect;
use shadernet::{Error, ErrorKind};
use wasm_bindgen::JsValue;

/// An `Error` called `ShadernetError` with the library's message and, as `kind`, the kind of it.
pub fn thrown(e: Error) -> JsValue {
    let error = js_sys::Error::new(&e.to_string());
    error.set_name("ShadernetError");
    // nothing but a frozen object refuses a property
    let _ = Reflect::set(&error, &"kind".into(), &format!("{:?}", e.kind()).into());
    error.into()
}

/// An error about what a caller gave.
pub fn misfit(message: impl Into<String>) -> JsValue {
    thrown(Error::new(ErrorKind::InvalidInput, message))
}
