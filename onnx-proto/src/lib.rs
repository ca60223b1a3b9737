//! The ONNX model format as prost messages: bytes in, messages out.
//!
//! Field numbers are those of the ONNX intermediate representation (`onnx.proto` and `onnx-data.proto` of onnx 1.23);
//! nothing is generated at build time. Fields that the format may leave out are `Option`s.

mod data;
mod model;
mod tensor;
mod types;

pub use data::*;
pub use model::*;
pub use tensor::*;
pub use types::*;
