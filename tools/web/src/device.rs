//! The browser's GPU.

use shadernet::{Gpu, GpuOptions};
use wasm_bindgen::prelude::*;

use crate::errors;

/// A device that sessions run on.
#[wasm_bindgen]
pub struct Device {
    pub(crate) gpu: Gpu,
}

#[wasm_bindgen]
impl Device {
    /// Opens the browser's device: `high-performance`, `low-power` or `fallback`; the first by default.
    pub async fn open(adapter: Option<String>) -> Result<Device, JsValue> {
        let gpu = Gpu::new(GpuOptions { adapter, ..GpuOptions::default() }).await.map_err(errors::thrown)?;
        Ok(Device { gpu })
    }

    /// What the browser calls it.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.gpu.info().name.clone()
    }

    /// The features that kernels are chosen by, e.g. `f16+subgroup`, or `base`.
    #[wasm_bindgen(getter)]
    pub fn profile(&self) -> String {
        self.gpu.profile().name.clone()
    }
}
