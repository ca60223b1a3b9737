//! A model ready to run, on a device or the interpreter.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shadernet::{ErrorKind, Fallback, Gpu, Model, RunStats, Session as GpuSession, Tensor, ValueInfo, passes};

use crate::device::{self, Options};
use crate::errors::{self, Coded, InvalidArgument};
use crate::model::{Described, Loaded, Source, described};
use crate::{feeds, values};

/// Where runs take place.
enum Place {
    Interpreter,
    Device { gpu: Gpu, options: Options, fallback: Fallback },
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
                let (gpu, fallback) = device::open(py, options.clone())?;
                Place::Device { gpu, options, fallback }
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

    /// Runs on `feed` and gives the outputs called `names`; other threads go on meanwhile.
    fn run<'py>(
        &self,
        py: Python<'py>,
        feed: &Bound<'py, PyDict>,
        names: Vec<String>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        Ok(self.run_for(py, feed, &names, false)?.0)
    }

    /// As `run`, with (kernel, node, start, duration) of each dispatch, in microseconds; none where the adapter has no
    /// timestamps.
    #[allow(clippy::type_complexity)]
    fn profile<'py>(
        &self,
        py: Python<'py>,
        feed: &Bound<'py, PyDict>,
        names: Vec<String>,
    ) -> PyResult<(Vec<Bound<'py, PyAny>>, Vec<(String, String, f64, f64)>)> {
        let (outputs, stats) = self.run_for(py, feed, &names, true)?;
        let Runner::Device(session) = &self.runner else { return Ok((outputs, vec![])) };
        let node = |i: usize| session.graph().nodes.get(i).map_or_else(String::new, |n| n.path());
        let row = |t: shadernet::Timing| (t.kernel, node(t.node), t.start / 1e3, t.nanos / 1e3);
        Ok((outputs, stats.timings.into_iter().map(row).collect()))
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
        profile: bool,
    ) -> PyResult<(Vec<Bound<'py, PyAny>>, RunStats)> {
        let outputs = self.loaded.model.outputs();
        let index = |name: &String| {
            let at = outputs.iter().position(|o| o.name == *name);
            at.ok_or_else(|| InvalidArgument::error(&format!("Invalid output name:{name}")))
        };
        let wanted = names.iter().map(index).collect::<PyResult<Vec<usize>>>()?;
        let known: Vec<&ValueInfo> = self.loaded.model.inputs().iter().chain(&self.loaded.overridable).collect();
        let mut fed = feeds::tensors(feed, &known)?;
        for info in self.loaded.model.inputs().iter().filter(|i| is_optional(i)) {
            if !fed.iter().any(|(name, _)| *name == info.name) {
                fed.push((info.name.clone(), Tensor::optional(None)));
            }
        }
        let over = self.fed_initialisers(&fed);
        let (made, stats) = py.detach(|| {
            let runner = if over.is_empty() { None } else { Some(self.overriding(over)?) };
            let made = runner.as_deref().unwrap_or(&self.runner).run(&fed, profile);
            made.map_err(|e| self.failed(e))
        })?;
        // an output named twice is an array twice
        let mut made: Vec<Option<Tensor>> = made.into_iter().map(Some).collect();
        let mut out: Vec<Bound<'py, PyAny>> = Vec::with_capacity(wanted.len());
        for (k, i) in wanted.iter().enumerate() {
            let value = if wanted[k + 1..].contains(i) { made[*i].clone() } else { made[*i].take() };
            let value = value.ok_or_else(|| errors::RuntimeException::error("an output is gone"))?;
            out.push(values::to_python(py, value)?);
        }
        Ok((out, stats))
    }

    fn fed_initialisers(&self, fed: &[(String, Tensor)]) -> Vec<String> {
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
        let Place::Device { gpu, fallback, .. } = self else { return Ok(Runner::Interpreter(model.clone())) };
        let mut builder = model.session(gpu).fallback(*fallback);
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
    fn run(&self, fed: &[(String, Tensor)], profile: bool) -> shadernet::Result<(Vec<Tensor>, RunStats)> {
        let named: Vec<(&str, Tensor)> = fed.iter().map(|(name, t)| (name.as_str(), t.clone())).collect();
        let made = match self {
            Runner::Interpreter(model) => model.reference().run(&named)?,
            Runner::Device(session) if profile => {
                let value = |i: &ValueInfo| fed.iter().find(|(name, _)| *name == i.name).map(|(_, t)| t.clone());
                let ordered: Vec<Tensor> = session.inputs().iter().filter_map(value).collect();
                let made = pollster::block_on(session.profile_ordered(&ordered))?;
                return Ok((made, session.last_run()));
            }
            Runner::Device(session) => session.run(&named)?,
        };
        Ok((made.into_iter().map(|(_, t)| t).collect(), RunStats::default()))
    }
}
