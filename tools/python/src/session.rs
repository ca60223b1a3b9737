//! A model ready to run, on a device or the interpreter.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shadernet::{
    Destination, DeviceTensor, ErrorKind, Gpu, Model, RunStats, Session as GpuSession, Tensor, Tuned, Value, ValueInfo,
    passes,
};

use crate::device::{self, Asked, Options};
use crate::device_value::DeviceValue;
use crate::errors::{self, Coded, InvalidArgument};
use crate::model::{Described, Loaded, Source, described};
use crate::{feeds, values};

/// Where runs take place.
enum Place {
    Interpreter,
    Device { gpu: Gpu, options: Options, asked: Asked },
}

enum Runner {
    Interpreter(Model),
    Device(Box<GpuSession>),
}

/// How a device session is built.
#[derive(Default)]
struct Plan {
    disabled_passes: Vec<String>,
    dims: BTreeMap<String, usize>,
}

/// A model ready to run; `shadernet.InferenceSession` is what scripts use.
#[pyclass(frozen, module = "shadernet._shadernet")]
pub struct Session {
    loaded: Loaded,
    place: Place,
    plan: Plan,
    runner: Runner,
    /// Sessions in which initialisers are fed, by their names.
    overridden: Mutex<HashMap<Vec<String>, Arc<Runner>>>,
}

#[pymethods]
impl Session {
    /// `device` holds provider options, or is `None` for the interpreter.
    #[new]
    #[pyo3(signature = (source, device=None, folder=None, optimise=true, dims=BTreeMap::new()))]
    fn new(
        py: Python<'_>,
        source: Source,
        device: Option<Options>,
        folder: Option<PathBuf>,
        optimise: bool,
        dims: BTreeMap<String, usize>,
    ) -> PyResult<Session> {
        let loaded = Loaded::read(py, source, folder)?;
        let place = match device {
            None => Place::Interpreter,
            Some(options) => {
                let (gpu, asked) = device::open(py, options.clone())?;
                Place::Device { gpu, options, asked }
            }
        };
        let all = || passes::PASSES.iter().map(|p| p.name.to_string()).collect();
        let plan = Plan { disabled_passes: if optimise { vec![] } else { all() }, dims };
        let runner = py.detach(|| place.build(&loaded.model, &plan))?;
        Ok(Session { loaded, place, plan, runner, overridden: Mutex::default() })
    }

    /// Name, type and shape of each input.
    #[getter]
    fn inputs(&self) -> Vec<Described> {
        self.loaded.model.inputs().iter().map(described).collect()
    }

    /// Name, type and shape of each output.
    #[getter]
    fn outputs(&self) -> Vec<Described> {
        self.loaded.model.outputs().iter().map(described).collect()
    }

    /// Name, type and shape of each initialiser that may be fed.
    #[getter]
    fn overridable(&self) -> Vec<Described> {
        self.loaded.overridable.iter().map(described).collect()
    }

    /// What the model's `ModelMetadata` holds.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.loaded.metadata(py)
    }

    /// The adapter's name, or `None` on the interpreter.
    #[getter]
    fn adapter(&self) -> Option<&str> {
        match &self.place {
            Place::Interpreter => None,
            Place::Device { gpu, .. } => Some(&gpu.info().name),
        }
    }

    /// Runs on `feed` and gives the outputs called `names`; other threads go on meanwhile. `targets`, where given, says
    /// for each where it goes: `None` for an array, `True` for a value on the device, or such a value to write to.
    #[pyo3(signature = (feed, names, targets=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        feed: &Bound<'py, PyDict>,
        names: Vec<String>,
        targets: Option<Vec<Bound<'py, PyAny>>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        Ok(self.run_for(py, feed, &names, targets, false)?.0)
    }

    /// As `run`, with (kernel, node, start, duration) of each dispatch, in microseconds; none where the adapter has no
    /// timestamps.
    #[allow(clippy::type_complexity)]
    #[pyo3(signature = (feed, names, targets=None))]
    fn profile<'py>(
        &self,
        py: Python<'py>,
        feed: &Bound<'py, PyDict>,
        names: Vec<String>,
        targets: Option<Vec<Bound<'py, PyAny>>>,
    ) -> PyResult<(Vec<Bound<'py, PyAny>>, Vec<(String, String, f64, f64)>)> {
        let (outputs, stats) = self.run_for(py, feed, &names, targets, true)?;
        let Runner::Device(session) = &self.runner else { return Ok((outputs, vec![])) };
        let node = |i: usize| session.graph().nodes.get(i).map_or_else(String::new, |n| n.path());
        let row = |t: shadernet::Timing| (t.kernel, node(t.node), t.start / 1e3, t.nanos / 1e3);
        Ok((outputs, stats.timings.into_iter().map(row).collect()))
    }

    /// Measures the tiles of a run on `feed` and keeps the best: (kernel, microseconds before, microseconds by the best) of
    /// each product and convolution. None on the interpreter, and where there is nothing to choose.
    fn tune(&self, py: Python<'_>, feed: &Bound<'_, PyDict>) -> PyResult<Vec<(String, f64, f64)>> {
        let fed = self.fed(feed)?;
        let Runner::Device(session) = &self.runner else { return Ok(vec![]) };
        let mut named: Vec<(&str, Tensor)> = vec![];
        for (name, value) in &fed {
            let Value::Host(t) = value else {
                return Err(InvalidArgument::error(&format!("{name} is on the device: tuning takes arrays")));
            };
            named.push((name, t.clone()));
        }
        let tuned = py.detach(|| session.tune(&named)).map_err(|e| self.failed(e))?;
        let row = |t: Tuned| (t.best.problem.kernel.clone(), t.modelled_nanos / 1e3, t.nanos / 1e3);
        Ok(tuned.into_iter().map(row).collect())
    }

    /// Waits until the device has done all that it was given.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let Place::Device { gpu, .. } = &self.place else { return Ok(()) };
        py.detach(|| gpu.wait()).map_err(|e| self.failed(e))
    }

    /// Paths of the nodes that the last run left to the interpreter.
    fn host_nodes(&self) -> Vec<String> {
        match &self.runner {
            Runner::Interpreter(_) => vec![],
            Runner::Device(session) => session.last_run().host_nodes,
        }
    }
}

impl Session {
    fn run_for<'py>(
        &self,
        py: Python<'py>,
        feed: &Bound<'py, PyDict>,
        names: &[String],
        targets: Option<Vec<Bound<'py, PyAny>>>,
        profile: bool,
    ) -> PyResult<(Vec<Bound<'py, PyAny>>, RunStats)> {
        // an output that is named twice is made once
        let outputs = self.loaded.model.outputs();
        let mut wanted: Vec<(&str, Destination)> = vec![];
        let mut places = vec![];
        for (k, name) in names.iter().enumerate() {
            if outputs.iter().all(|o| o.name != *name) {
                return Err(InvalidArgument::error(&format!("Invalid output name:{name}")));
            }
            let there = wanted.iter().position(|(n, _)| n == name);
            places.push(there.unwrap_or(wanted.len()));
            if there.is_none() {
                let target = targets.as_ref().and_then(|t| t.get(k));
                wanted.push((name, self.destination(target)?));
            }
        }
        let fed = self.fed(feed)?;
        let over = self.fed_initialisers(&fed);
        let (made, stats) = py.detach(|| {
            let runner = if over.is_empty() { None } else { Some(self.overriding(over)?) };
            let made = runner.as_deref().unwrap_or(&self.runner).run(&fed, &wanted, profile);
            made.map_err(|e| self.failed(e))
        })?;
        let mut last = HashMap::new();
        last.extend(places.iter().enumerate().map(|(k, at)| (*at, k)));
        let mut made: Vec<Option<Value>> = made.into_iter().map(Some).collect();
        let mut out: Vec<Bound<'py, PyAny>> = Vec::with_capacity(names.len());
        for (k, at) in places.iter().enumerate() {
            let value = if last.get(at) == Some(&k) { made[*at].take() } else { made[*at].clone() };
            out.push(match value.ok_or_else(|| errors::RuntimeException::error("an output is gone"))? {
                Value::Host(t) => values::to_python(py, t)?,
                Value::Device(tensor) => self.on_device(py, tensor)?,
            });
        }
        Ok((out, stats))
    }

    /// What a run is given, an optional input without a value included.
    fn fed(&self, feed: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Value)>> {
        let known: Vec<&ValueInfo> = self.loaded.model.inputs().iter().chain(&self.loaded.overridable).collect();
        let mut fed = feeds::values(feed, &known, self.gpu())?;
        for info in self.loaded.model.inputs().iter().filter(|i| is_optional(i)) {
            if !fed.iter().any(|(name, _)| *name == info.name) {
                fed.push((info.name.clone(), Value::Host(Tensor::optional(None))));
            }
        }
        Ok(fed)
    }

    fn gpu(&self) -> Option<&Gpu> {
        match &self.place {
            Place::Interpreter => None,
            Place::Device { gpu, .. } => Some(gpu),
        }
    }

    fn destination(&self, target: Option<&Bound<'_, PyAny>>) -> PyResult<Destination> {
        let Some(target) = target.filter(|t| !t.is_none()) else { return Ok(Destination::Host) };
        let Some(gpu) = self.gpu() else {
            return Err(InvalidArgument::error("an output on the device, of a session on the interpreter"));
        };
        match target.cast::<DeviceValue>() {
            Ok(on) if on.get().gpu == *gpu => Ok(Destination::Into(on.get().tensor.clone())),
            Ok(_) => Err(InvalidArgument::error("an output in memory of another device than the session's")),
            Err(_) => Ok(Destination::Device),
        }
    }

    fn on_device<'py>(&self, py: Python<'py>, tensor: DeviceTensor) -> PyResult<Bound<'py, PyAny>> {
        let gpu = self.gpu().ok_or_else(|| errors::RuntimeException::error("an output on no device"))?.clone();
        Ok(Bound::new(py, DeviceValue { gpu, tensor })?.into_any())
    }

    fn fed_initialisers(&self, fed: &[(String, Value)]) -> Vec<String> {
        let over = self.loaded.overridable.iter().filter(|o| fed.iter().any(|(name, _)| *name == o.name));
        over.map(|o| o.name.clone()).collect()
    }

    fn overriding(&self, names: Vec<String>) -> PyResult<Arc<Runner>> {
        let fault = |_| errors::RuntimeException::error("a thread failed while it built a session");
        let mut all = self.overridden.lock().map_err(fault)?;
        if let Some(runner) = all.get(&names) {
            return Ok(runner.clone());
        }
        let model = self.loaded.overridden(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let runner = Arc::new(self.place.build(&model, &self.plan)?);
        Ok(all.entry(names).or_insert(runner).clone())
    }

    fn failed(&self, e: shadernet::Error) -> PyErr {
        if let (ErrorKind::Device, Place::Device { options, .. }) = (e.kind(), &self.place) {
            device::forget(options);
        }
        errors::running(e)
    }
}

fn is_optional(info: &ValueInfo) -> bool {
    matches!(info.declared, Some(shadernet::ir::Declared::Optional(_)))
}

impl Place {
    fn build(&self, model: &Model, plan: &Plan) -> PyResult<Runner> {
        let Place::Device { gpu, asked, .. } = self else { return Ok(Runner::Interpreter(model.clone())) };
        let mut builder = model.session(gpu).fallback(asked.fallback);
        if asked.float16 {
            builder = builder.float16();
        }
        if asked.fixed_sizes {
            builder = builder.fixed_sizes();
        }
        for pass in &plan.disabled_passes {
            builder = builder.disable_pass(pass);
        }
        for (name, extent) in &plan.dims {
            builder = builder.dim(name, *extent);
        }
        let session = pollster::block_on(builder.build()).map_err(errors::running)?;
        Ok(Runner::Device(Box::new(session)))
    }
}

impl Runner {
    fn run(
        &self,
        fed: &[(String, Value)],
        wanted: &[(&str, Destination)],
        profile: bool,
    ) -> shadernet::Result<(Vec<Value>, RunStats)> {
        match self {
            Runner::Device(session) => {
                let named: Vec<(&str, Value)> = fed.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
                if !profile {
                    return Ok((session.run_values(&named, wanted)?, RunStats::default()));
                }
                let made = pollster::block_on(session.profile_values(&named, wanted))?;
                Ok((made, session.last_run()))
            }
            Runner::Interpreter(model) => {
                let mut named: Vec<(&str, Tensor)> = vec![];
                for (name, value) in fed {
                    // there are no others here, as `feeds::values` reads them
                    let Value::Host(t) = value else { continue };
                    named.push((name, t.clone()));
                }
                let made = model.reference().run(&named)?;
                let find = |name: &str| made.iter().find(|(n, _)| n == name).map(|(_, t)| Value::Host(t.clone()));
                Ok((wanted.iter().filter_map(|(name, _)| find(name)).collect(), RunStats::default()))
            }
        }
    }
}
