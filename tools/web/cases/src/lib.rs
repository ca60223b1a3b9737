//! Every case of every operator in a browser: its device, with no fallback, against the interpreter. And models for the
//! tests of the package.

#![cfg(target_arch = "wasm32")]

// what the native tests share, of which not all is needed here
#[allow(dead_code)]
#[path = "../../../../tests/common/check.rs"]
mod check;
mod golden;
mod models;
#[allow(dead_code)]
#[path = "../../../../tests/common/onnx.rs"]
mod onnx;
mod shaders;
#[path = "../../../../tests/common/specs.rs"]
mod specs;

use shadernet::{Gpu, GpuOptions, ops};
use wasm_bindgen::prelude::*;

/// The cases, and the device that they are checked on.
#[wasm_bindgen]
pub struct Cases {
    gpu: Gpu,
    all: Vec<(ops::Case, u64)>,
}

#[wasm_bindgen]
impl Cases {
    /// Those of the operators that `wanted` lists between commas, or of all; with the kernels for GPUs, which a software
    /// adapter does not choose, or those that it chooses.
    pub async fn open(wanted: String, gpu_kernels: bool) -> Result<Cases, JsError> {
        console_error_panic_hook::set_once();
        let gpu = Gpu::new(GpuOptions { poison: true, gpu_kernels, ..GpuOptions::default() }).await?;
        let named = |name: &str| wanted.is_empty() || wanted.split(',').any(|w| w == name);
        let of = |def: &'static ops::OpDef| (def.cases)().into_iter().zip(1..);
        Ok(Cases { gpu, all: ops::all().filter(|d| named(d.name)).flat_map(of).collect() })
    }

    /// What the device is.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        format!("{}, kernels {}", self.gpu.info(), self.gpu.profile().name)
    }

    /// How many there are.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.all.len()
    }

    /// The operator of a case.
    pub fn operator(&self, index: usize) -> String {
        self.all.get(index).map_or_else(String::new, |(case, _)| ops::qualified(case.domain, case.op))
    }

    /// Checks a case: `compared` or `not on device`; what is wrong is thrown.
    pub async fn check(&self, index: usize) -> Result<String, JsValue> {
        let Some((case, seed)) = self.all.get(index) else { return Err("there is no such case".into()) };
        let outcome = check::check_on(&self.gpu, case, *seed).await.map_err(JsValue::from)?;
        Ok(if outcome == check::Outcome::Compared { "compared" } else { "not on device" }.into())
    }
}
