//! The extension module behind the Python package: devices, sessions, and values between numpy and tensors. What scripts
//! name stands in `python/shadernet`.

mod device;
mod device_value;
mod errors;
mod feeds;
mod model;
mod session;
mod values;

use pyo3::prelude::*;

#[pymodule]
mod _shadernet {
    use super::*;

    #[pymodule_export]
    use super::device::{adapters, check};
    #[pymodule_export]
    use super::device_value::DeviceValue;
    #[pymodule_export]
    use super::session::Session;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        super::errors::add(module)
    }
}
