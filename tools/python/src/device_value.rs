//! Tensors that stay on a device between runs.

use pyo3::prelude::*;
use shadernet::{DeviceTensor, Gpu, Tensor};

use crate::device::{self, Options};
use crate::{errors, values};

/// A tensor in the memory of a device; `shadernet.OrtValue` is what scripts use.
#[pyclass(frozen, module = "shadernet._shadernet")]
pub struct DeviceValue {
    pub gpu: Gpu,
    pub tensor: DeviceTensor,
}

#[pymethods]
impl DeviceValue {
    /// A copy of an array on the device that provider options name.
    #[new]
    fn new(py: Python<'_>, array: &Bound<'_, PyAny>, options: Options) -> PyResult<DeviceValue> {
        let (gpu, _) = device::open(py, options)?;
        let tensor = values::from_python(array, None, "array")?;
        let tensor = DeviceTensor::new(&gpu, &tensor).map_err(errors::running)?;
        Ok(DeviceValue { gpu, tensor })
    }

    /// The extents.
    #[getter]
    fn shape(&self) -> Vec<usize> {
        self.tensor.shape.clone()
    }

    /// numpy's, or ml_dtypes', type of the elements.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(values::descr(py, self.tensor.dtype)?.into_any())
    }

    /// A copy as an array; waits for the device.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python(py, self.host(py)?)
    }

    /// Writes an array of the same type and shape over what is there.
    fn write(&self, py: Python<'_>, array: &Bound<'_, PyAny>) -> PyResult<()> {
        let tensor = values::from_python(array, None, "array")?;
        py.detach(|| self.tensor.write(&self.gpu, &tensor)).map_err(errors::running)
    }
}

impl DeviceValue {
    /// A copy on the host; waits for the device.
    pub fn host(&self, py: Python<'_>) -> PyResult<Tensor> {
        py.detach(|| self.tensor.read(&self.gpu)).map_err(errors::running)
    }
}
