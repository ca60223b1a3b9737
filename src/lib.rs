//! shadernet runs ONNX models as WGSL compute shaders on any GPU that wgpu reaches.
//!
//! [`Model`] is what a file holds, [`Gpu`] a device, [`Session`] a model made ready for a device. A plain CPU
//! interpreter, [`Reference`], says what the right answer is.

#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout))]

mod binding;
mod bytes;
pub mod cpu;
mod device_tensor;
mod dtype;
mod error;
mod gpu;
pub mod import;
pub mod ir;
pub mod kernels;
mod limits;
#[cfg(not(target_arch = "wasm32"))]
mod mapped;
mod model;
pub mod ops;
pub mod passes;
mod philox;
pub mod plan;
mod rng;
mod session;
mod shape;
mod tensor;

pub use binding::Binding;
pub use bytes::Bytes;
pub use device_tensor::{Destination, DeviceTensor, Value};
pub use dtype::{DType, Element, small_float};
pub use error::{Error, ErrorKind, Result};
pub use gpu::exec::Timing;
pub use gpu::runner::RunStats;
#[cfg(not(target_arch = "wasm32"))]
pub use gpu::tune::Tuned;
pub use gpu::{AdapterInfo, Gpu, GpuOptions, PipelineCache};
pub use limits::Limits;
pub use model::{Metadata, Model, Reference, ValueInfo};
pub use plan::Fallback;
pub use rng::Rng;
pub use session::{Progress, Session, SessionBuilder, SessionOptions, Stage};
pub use tensor::Tensor;
