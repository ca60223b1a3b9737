//! Devices by provider options. Sessions of equal options share a device, hence its pipelines.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, OnceLock};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shadernet::{AdapterInfo, Fallback, Gpu, GpuOptions, PipelineCache};

use crate::errors;
use crate::model::{Loaded, Source};

/// What a provider's dict says, keys and values as text.
pub type Options = BTreeMap<String, String>;

static OPEN: LazyLock<Mutex<HashMap<Options, Gpu>>> = LazyLock::new(Mutex::default);

const KEYS: &str = "adapter, device_id, backend, profile, pipeline_cache, fallback, precision, sizes";

/// What provider options say of sessions, and not of devices.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Whether nodes that the device cannot run go to the interpreter.
    pub fallback: Fallback,
    /// Whether to compute in float16 what the model has in float32.
    pub float16: bool,
    /// Whether inputs keep the sizes of the first run.
    pub fixed_sizes: bool,
}

/// The device, and what is asked of the session.
pub fn open(py: Python<'_>, options: Options) -> PyResult<(Gpu, Asked)> {
    let fallback = match options.get("fallback").map(String::as_str) {
        None | Some("deny") => Fallback::Deny,
        Some("allow") => Fallback::Allow,
        Some(other) => return Err(PyValueError::new_err(format!("fallback {other:?}: expected deny or allow"))),
    };
    let float16 = match options.get("precision").map(String::as_str) {
        None | Some("model") => false,
        Some("float16") => true,
        Some(other) => return Err(PyValueError::new_err(format!("precision {other:?}: expected model or float16"))),
    };
    let fixed_sizes = match options.get("sizes").map(String::as_str) {
        None | Some("open") => false,
        Some("fixed") => true,
        Some(other) => return Err(PyValueError::new_err(format!("sizes {other:?}: expected open or fixed"))),
    };
    let asked = Asked { fallback, float16, fixed_sizes };
    let options = device_options(options);
    let wanted = gpu_options(&options)?;
    let open = |_| errors::RuntimeException::new_err("a thread failed while it opened a device");
    if let Some(gpu) = OPEN.lock().map_err(open)?.get(&options) {
        return Ok((gpu.clone(), asked));
    }
    let gpu = py.detach(|| pollster::block_on(Gpu::new(wanted))).map_err(errors::running)?;
    let mut all = OPEN.lock().map_err(open)?;
    Ok((all.entry(options).or_insert(gpu).clone(), asked))
}

/// What says which device it is: by no name it is the first.
fn device_options(mut options: Options) -> Options {
    ["fallback", "precision", "sizes"].iter().for_each(|key| drop(options.remove(*key)));
    if GpuOptions::from_env().adapter.is_none() {
        options.retain(|key, value| !(matches!(key.as_str(), "adapter" | "device_id") && value == "0"));
    }
    options
}

/// Forgets a device that failed, so that a new session opens it anew.
pub fn forget(options: &Options) {
    if let Ok(mut all) = OPEN.lock() {
        all.remove(&device_options(options.clone()));
    }
}

fn gpu_options(options: &Options) -> PyResult<GpuOptions> {
    let mut wanted = GpuOptions::from_env();
    for (key, value) in options {
        match (key.as_str(), value.as_str()) {
            ("adapter" | "device_id", v) => wanted.adapter = Some(v.into()),
            ("backend", v) => wanted.backend = Some(v.into()),
            ("profile", "base") => wanted.base_profile = true,
            ("profile", "full") => wanted.base_profile = false,
            ("pipeline_cache", v) => wanted.pipeline_cache = PipelineCache::parse(v),
            _ => {
                let text = format!("provider option {key}={value:?} is not known; there are {KEYS}");
                return Err(PyValueError::new_err(text));
            }
        }
    }
    Ok(wanted)
}

static FOUND: OnceLock<Vec<AdapterInfo>> = OnceLock::new();

/// The adapters that compute shaders run on, the best first, each with name, backend, kind and driver; looked for once.
#[pyfunction]
pub fn adapters(py: Python<'_>) -> PyResult<Vec<BTreeMap<&'static str, &'static str>>> {
    let found = match FOUND.get() {
        Some(found) => found,
        None => {
            let look = || pollster::block_on(Gpu::adapters(&GpuOptions::from_env()));
            let found = py.detach(look).map_err(errors::running)?;
            FOUND.get_or_init(|| found)
        }
    };
    let entry = |a: &'static AdapterInfo| {
        BTreeMap::from([("name", &*a.name), ("backend", &a.backend), ("kind", &a.kind), ("driver", &a.driver)])
    };
    Ok(found.iter().map(entry).collect())
}

/// Plans a model for a device; an error names every node that it cannot run.
#[pyfunction]
pub fn check(py: Python<'_>, source: Source, options: Options) -> PyResult<()> {
    let loaded = Loaded::read(py, source, None)?;
    let (gpu, _) = open(py, options)?;
    py.detach(|| loaded.model.check(&gpu)).map_err(errors::running)
}
