//! shadernet for web pages: sessions on the browser's WebGPU or the interpreter, with values as JavaScript has them.
//! `js/backend.js` makes of it what ONNX Runtime's JavaScript API calls a backend.

#![cfg(target_arch = "wasm32")]

mod device;
mod errors;
mod run;
mod session;
mod values;

use wasm_bindgen::prelude::*;

/// Says on the console what the library warns of, and where a fault of it is, which else would be an `unreachable` without
/// words.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
    // a logger that is there already has it
    let _ = console_log::init_with_level(log::Level::Warn);
}
