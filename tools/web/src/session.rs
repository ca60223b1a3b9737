//! A model ready to run.

use std::collections::HashMap;

use js_sys::Array;
use shadernet::import::ImportOptions;
use shadernet::{Bytes, Fallback, Model, passes};
use wasm_bindgen::prelude::*;

use crate::device::Device;
use crate::errors::thrown;
use crate::run::Run;
use crate::values;

/// How a session is to be built.
#[wasm_bindgen]
#[derive(Default)]
pub struct Options {
    fallback: Fallback,
    float16: bool,
    fixed_sizes: bool,
    plain: bool,
    dims: Vec<(String, usize)>,
    files: HashMap<String, Bytes>,
}

#[wasm_bindgen]
impl Options {
    /// Those of a session that runs wholly on its device.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Options {
        Options::default()
    }

    /// Leaves nodes that the device cannot run to the interpreter.
    #[wasm_bindgen(js_name = allowFallback)]
    pub fn allow_fallback(&mut self) {
        self.fallback = Fallback::Allow;
    }

    /// Computes in float16 what the model has in float32.
    pub fn float16(&mut self) {
        self.float16 = true;
    }

    /// Says that inputs keep the sizes of the first run.
    #[wasm_bindgen(js_name = fixedSizes)]
    pub fn fixed_sizes(&mut self) {
        self.fixed_sizes = true;
    }

    /// Leaves the graph as it is.
    #[wasm_bindgen(js_name = withoutPasses)]
    pub fn without_passes(&mut self) {
        self.plain = true;
    }

    /// The value of an extent that the model names.
    pub fn dim(&mut self, name: String, extent: usize) {
        self.dims.push((name, extent));
    }

    /// A file that the model keeps data in, by the name that it has for it.
    pub fn file(&mut self, location: String, bytes: Vec<u8>) {
        self.files.insert(location, bytes.into());
    }
}

pub(crate) enum Runner {
    Interpreter(Model),
    Device(shadernet::Session),
}

/// A model ready to run, on a device or the interpreter.
#[wasm_bindgen]
pub struct Session {
    model: Model,
    runner: Runner,
}

#[wasm_bindgen]
impl Session {
    /// Reads a model and makes it ready for a device.
    #[wasm_bindgen(js_name = onDevice)]
    pub async fn on_device(model: Vec<u8>, options: Options, device: &Device) -> Result<Session, JsValue> {
        let model = read(model, &options)?;
        let mut builder = model.session(&device.gpu).fallback(options.fallback);
        if options.float16 {
            builder = builder.float16();
        }
        if options.fixed_sizes {
            builder = builder.fixed_sizes();
        }
        if options.plain {
            builder = passes::PASSES.iter().fold(builder, |b, pass| b.disable_pass(pass.name));
        }
        for (name, extent) in &options.dims {
            builder = builder.dim(name, *extent);
        }
        let session = builder.build().await.map_err(thrown)?;
        Ok(Session { model, runner: Runner::Device(session) })
    }

    /// Reads a model for the interpreter.
    #[wasm_bindgen(js_name = onInterpreter)]
    pub fn on_interpreter(model: Vec<u8>, options: Options) -> Result<Session, JsValue> {
        let model = read(model, &options)?;
        Ok(Session { runner: Runner::Interpreter(model.clone()), model })
    }

    /// Name, type and shape of each input.
    #[wasm_bindgen(getter)]
    pub fn inputs(&self) -> Result<Array, JsValue> {
        self.model.inputs().iter().map(values::metadata).collect()
    }

    /// Name, type and shape of each output.
    #[wasm_bindgen(getter)]
    pub fn outputs(&self) -> Result<Array, JsValue> {
        self.model.outputs().iter().map(values::metadata).collect()
    }

    /// Paths of the nodes that the last run left to the interpreter.
    #[wasm_bindgen(getter, js_name = hostNodes)]
    pub fn host_nodes(&self) -> Vec<String> {
        match &self.runner {
            Runner::Interpreter(_) => vec![],
            Runner::Device(session) => session.last_run().host_nodes,
        }
    }

    /// A run, to be fed.
    pub fn begin(&self) -> Run {
        Run::new(match &self.runner {
            Runner::Interpreter(model) => Runner::Interpreter(model.clone()),
            Runner::Device(session) => Runner::Device(session.clone()),
        })
    }
}

fn read(model: Vec<u8>, options: &Options) -> Result<Model, JsValue> {
    let options = ImportOptions { files: options.files.clone(), ..ImportOptions::default() };
    Model::from_vec(model, &options).map_err(thrown)
}
