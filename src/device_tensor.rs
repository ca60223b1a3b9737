//! Tensors in buffers of the device, and the values of runs that lie there or on the host.

use crate::gpu::exec;
use crate::gpu::runner::{OnDevice, Val, Wanted};
use crate::ir::TensorType;
use crate::model::ValueInfo;
use crate::tensor::Tensor;
use crate::{DType, Gpu, Result, ensure, err};

/// A tensor in a buffer of the device: dense, in row-major order, from the buffer's first byte on. Elements narrower
/// than 32 bits take a word each, integers and bools as a number, floats as `f32`; float16 takes two bytes where the
/// device has that type ([`crate::kernels::Profile::f16`]).
#[derive(Debug, Clone)]
pub struct DeviceTensor {
    /// The buffer. It must allow `STORAGE`, `COPY_SRC` and `COPY_DST`.
    pub buffer: wgpu::Buffer,
    /// The type of the elements.
    pub dtype: DType,
    /// The extents.
    pub shape: Vec<usize>,
}

impl DeviceTensor {
    /// A copy of a tensor in a buffer of its own.
    ///
    /// # Errors
    /// `Unsupported` for types that are not on devices: strings, sequences, maps and optionals; `Limit` and those of the
    /// device where it has no room.
    pub fn new(gpu: &Gpu, tensor: &Tensor) -> Result<DeviceTensor> {
        let device = gpu.profile().device_type(tensor.dtype())?;
        Ok(OnDevice::upload(gpu, tensor, device)?.into())
    }

    /// Writes another tensor of the same type and shape into the buffer, before all runs that begin after this.
    ///
    /// # Errors
    /// `InvalidInput` when type or shape differ, or when the buffer is too small or lacks a usage.
    pub fn write(&self, gpu: &Gpu, tensor: &Tensor) -> Result<()> {
        let to = self.checked(gpu, "the tensor")?;
        let got = TensorType::new(tensor.dtype(), tensor.shape());
        ensure!(got == to.tensor_type, InvalidInput, "a buffer of {} cannot take {got}", to.tensor_type);
        to.write(gpu, tensor)
    }

    /// A copy on the host. Waits for the device.
    ///
    /// # Errors
    /// `InvalidInput` when the buffer is too small or lacks a usage; those of the device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self, gpu: &Gpu) -> Result<Tensor> {
        pollster::block_on(self.read_async(gpu))
    }

    /// As [`DeviceTensor::read`], without waiting.
    ///
    /// # Errors
    /// As [`DeviceTensor::read`].
    pub async fn read_async(&self, gpu: &Gpu) -> Result<Tensor> {
        exec::download(gpu, &Val::Device(self.checked(gpu, "the tensor")?)).await
    }

    /// As runs take it. `what` is what errors call it.
    pub(crate) fn checked(&self, gpu: &Gpu, what: &str) -> Result<OnDevice> {
        let device = gpu.profile().device_type(self.dtype)?;
        let tensor_type = TensorType::new(self.dtype, self.shape.clone());
        let on = OnDevice { buffer: self.buffer.clone(), tensor_type, device };
        let (has, needs) = (on.buffer.size(), on.bytes());
        ensure!(has >= needs, InvalidInput, "{what}: {} takes {needs} bytes, got {has}", on.tensor_type);
        let missing = exec::ACTIVATION - on.buffer.usage();
        ensure!(missing.is_empty(), InvalidInput, "{what}: its buffer lacks {missing:?}");
        Ok(on)
    }
}

impl From<OnDevice> for DeviceTensor {
    fn from(on: OnDevice) -> DeviceTensor {
        DeviceTensor { buffer: on.buffer, dtype: on.tensor_type.dtype, shape: on.tensor_type.shape }
    }
}

/// An input or output of [`crate::Session::run_values`].
#[derive(Debug, Clone)]
pub enum Value {
    /// On the host.
    Host(Tensor),
    /// On the session's device.
    Device(DeviceTensor),
}

/// Where an output of [`crate::Session::run_values`] is left.
#[derive(Debug, Clone)]
pub enum Destination {
    /// On the host.
    Host,
    /// On the device, in a buffer of its own.
    Device,
    /// In this buffer, for which it must have type and shape.
    Into(DeviceTensor),
}

impl Value {
    /// As runs take it, for the input of which `info` speaks.
    pub(crate) fn into_val(self, gpu: &Gpu, info: &ValueInfo) -> Result<Val> {
        Ok(match self {
            Value::Host(mut t) => {
                info.wrap(&mut t);
                Val::Host(t)
            }
            Value::Device(d) => Val::Device(d.checked(gpu, &format!("input {:?}", info.name))?),
        })
    }
}

impl Destination {
    pub(crate) fn wanted(&self, gpu: &Gpu, name: &str) -> Result<Wanted> {
        Ok(match self {
            Destination::Host => Wanted::Host,
            Destination::Device => Wanted::Device(None),
            Destination::Into(d) => Wanted::Into(d.checked(gpu, &format!("output {name:?}"))?),
        })
    }

    /// What a run has made for this, as its caller takes it.
    pub(crate) fn value(&self, gpu: &Gpu, name: &str, made: Val) -> Result<Value> {
        Ok(match (self, made) {
            (Destination::Host, val) => Value::Host(val.into_host()?),
            (_, Val::Device(on)) => Value::Device(on.into()),
            // what is known without the device
            (Destination::Into(d), Val::Host(t)) => {
                d.write(gpu, &t).map_err(|e| err!(InvalidInput, "output {name:?}: {}", e.message()))?;
                Value::Device(d.clone())
            }
            (Destination::Device, Val::Host(t)) => Value::Device(DeviceTensor::new(gpu, &t)?),
        })
    }
}
