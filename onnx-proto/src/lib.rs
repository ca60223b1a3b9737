//! The ONNX model format as prost messages: bytes in, messages out.
//!
//! Field numbers are those of the ONNX intermediate representation (`onnx.proto` and `onnx-data.proto` of onnx 1.23);
//! nothing is generated at build time. Fields that the format may leave out are `Option`s.
//!
//! [`TensorProto::raw_data`] is a shared slice: a message decoded from [`prost::bytes::Bytes`] points into them instead
//! of copying its weights. Element types (`data_type`, `elem_type`, `key_type`) are plain integers in the format, so that
//! a reader may name a value it does not know; [`tensor_proto::DataType`] converts from them.

mod data;
mod model;
mod tensor;
mod types;

pub use data::*;
pub use model::*;
pub use tensor::*;
pub use types::*;
