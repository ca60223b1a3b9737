//! One run: what goes in, what is wanted of it, and what comes out.

use js_sys::{Array, Object, Reflect};
use shadernet::{Destination, DeviceTensor, Gpu, RunStats, Tensor, Value};
use wasm_bindgen::prelude::*;

use crate::errors::{misfit, thrown};
use crate::session::Runner;
use crate::values;

/// A tensor that lies on a device.
#[wasm_bindgen]
pub struct DeviceValue {
    gpu: Gpu,
    tensor: DeviceTensor,
}

#[wasm_bindgen]
impl DeviceValue {
    /// The element type, as ONNX Runtime's JavaScript API names it.
    #[wasm_bindgen(getter, js_name = type)]
    pub fn dtype(&self) -> String {
        values::type_name(self.tensor.dtype).into()
    }

    /// The extents.
    #[wasm_bindgen(getter)]
    pub fn dims(&self) -> Array {
        self.tensor.shape.iter().map(|d| JsValue::from(*d as f64)).collect()
    }

    /// Gives its memory back, which else waits for the browser to collect what nobody refers to.
    pub fn dispose(self) {
        self.tensor.buffer.destroy();
    }

    /// A copy on the host.
    pub async fn read(&self) -> Result<JsValue, JsValue> {
        let (gpu, tensor) = (self.gpu.clone(), self.tensor.clone());
        values::to_js(&tensor.read_async(&gpu).await.map_err(thrown)?)
    }
}

/// A run that is being made ready.
#[wasm_bindgen]
pub struct Run {
    runner: Runner,
    inputs: Vec<(String, Value)>,
    outputs: Vec<(String, Destination)>,
    timed: bool,
}

#[wasm_bindgen]
impl Run {
    /// An input on the host.
    pub fn feed(&mut self, name: String, value: &JsValue) -> Result<(), JsValue> {
        let value = values::from_js(value, &name)?;
        self.inputs.push((name, Value::Host(value)));
        Ok(())
    }

    /// An input that lies on the session's device.
    #[wasm_bindgen(js_name = feedDevice)]
    pub fn feed_device(&mut self, name: String, value: &DeviceValue) -> Result<(), JsValue> {
        self.on_same(value, &name)?;
        self.inputs.push((name, Value::Device(value.tensor.clone())));
        Ok(())
    }

    /// Asks for an output, on the host or, where the session has one, on the device.
    pub fn fetch(&mut self, name: String, on_device: bool) {
        let device = on_device && matches!(self.runner, Runner::Device(_));
        self.outputs.push((name, if device { Destination::Device } else { Destination::Host }));
    }

    /// Asks for an output in memory that is there already.
    #[wasm_bindgen(js_name = fetchInto)]
    pub fn fetch_into(&mut self, name: String, value: &DeviceValue) -> Result<(), JsValue> {
        self.on_same(value, &name)?;
        self.outputs.push((name, Destination::Into(value.tensor.clone())));
        Ok(())
    }

    /// Measures the device's time of each dispatch.
    pub fn profile(&mut self) {
        self.timed = true;
    }

    /// Runs. Gives what was asked for, in that order: an object for what is on the host, a `DeviceValue` for what is on
    /// the device. Of a profiled run the array has `timings`, a list of kernel, node, start and duration in microseconds,
    /// which is empty where the adapter has no timestamps.
    pub async fn run(self) -> Result<Array, JsValue> {
        let made = Array::new();
        match &self.runner {
            Runner::Interpreter(model) => {
                let mut inputs: Vec<(&str, Tensor)> = vec![];
                for (name, value) in &self.inputs {
                    let Value::Host(t) = value else { return Err(misfit(format!("{name} is on no host"))) };
                    inputs.push((name, t.clone()));
                }
                let all = model.reference().run(&inputs).map_err(thrown)?;
                for (wanted, _) in &self.outputs {
                    let found = all.iter().find(|(name, _)| name == wanted);
                    let (_, t) = found.ok_or_else(|| misfit(format!("the model has no output {wanted:?}")))?;
                    made.push(&values::to_js(t)?);
                }
            }
            Runner::Device(session) => {
                let inputs: Vec<_> = self.inputs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
                let outputs: Vec<_> = self.outputs.iter().map(|(n, d)| (n.as_str(), d.clone())).collect();
                let all = match self.timed {
                    true => session.profile_values(&inputs, &outputs).await,
                    false => session.run_values_async(&inputs, &outputs).await,
                };
                for value in all.map_err(thrown)? {
                    made.push(&match value {
                        Value::Host(t) => values::to_js(&t)?,
                        Value::Device(tensor) => DeviceValue { gpu: session.gpu().clone(), tensor }.into(),
                    });
                }
                if self.timed {
                    Reflect::set(&made, &"timings".into(), &timings(session, session.last_run())?.into())?;
                }
            }
        }
        Ok(made)
    }
}

impl Run {
    pub(crate) fn new(runner: Runner) -> Run {
        Run { runner, inputs: vec![], outputs: vec![], timed: false }
    }

    fn on_same(&self, value: &DeviceValue, name: &str) -> Result<(), JsValue> {
        match &self.runner {
            Runner::Device(session) if *session.gpu() == value.gpu => Ok(()),
            Runner::Device(_) => Err(misfit(format!("{name} is on another device than the session"))),
            Runner::Interpreter(_) => Err(misfit(format!("{name} is on a device, the session is on none"))),
        }
    }
}

fn timings(session: &shadernet::Session, stats: RunStats) -> Result<Array, JsValue> {
    let node = |i: usize| session.graph().nodes.get(i).map_or_else(String::new, |n| n.path());
    let row = |t: &shadernet::Timing| {
        let row = Object::new();
        Reflect::set(&row, &"kernel".into(), &t.kernel.as_str().into())?;
        Reflect::set(&row, &"node".into(), &node(t.node).into())?;
        Reflect::set(&row, &"start".into(), &(t.start / 1e3).into())?;
        Reflect::set(&row, &"duration".into(), &(t.nanos / 1e3).into())?;
        Ok(JsValue::from(row))
    };
    stats.timings.iter().map(row).collect()
}
