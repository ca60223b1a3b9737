//! A model made ready for a device.

use std::sync::{Arc, Mutex};

use crate::binding::Binding;
use crate::device_tensor::{Destination, Value};
use crate::gpu::runner::{RunStats, Runner, Val, Wanted};
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::tune::{self, Tuned};
use crate::gpu::{Gpu, Weights};
use crate::ir::{Dim, Graph, TensorType, ValueId};
use crate::model::{Model, ValueInfo, check_inputs, check_types, find, in_order};
use crate::plan::{Fallback, MemoryReport, PlanReport};
use crate::tensor::Tensor;
use crate::{ErrorKind, Result, ensure, err, passes};

/// How a session is to be built.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// What happens to nodes that the device cannot run.
    pub fallback: Fallback,
    /// Names of passes that are left out.
    pub disabled_passes: Vec<String>,
    /// Whether to compute in float16 what the model has in float32, where the device has it ([`Gpu::has_float16`]):
    /// products and convolutions, which sum in 32 bits all the same, and what moves or follows their results. It takes half
    /// the memory and is faster; results have about three digits. Inputs and outputs keep their types.
    pub float16: bool,
    /// Whether inputs keep the sizes of the first plan, so that nothing needs to be compiled for others: where a model leaves
    /// extents open, the first plan compiles what other sizes may need as well.
    pub fixed_sizes: bool,
}

/// What is being done to make a session ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The graph is optimised.
    Passes,
    /// A plan is made for the inputs' shapes.
    Plan,
    /// Pipelines are compiled.
    Compile,
    /// Weights are uploaded.
    Upload,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Steps of the stage that are done.
    pub done: usize,
    /// Steps of the stage.
    pub total: usize,
}

/// Who wants to know; called from several threads.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Says how a session is to be built; made by [`Model::session`].
pub struct SessionBuilder<'a> {
    gpu: &'a Gpu,
    model: &'a Model,
    options: SessionOptions,
    dims: Vec<(String, usize)>,
    progress: Box<dyn Fn(Progress) + Send + Sync + 'a>,
}

impl<'a> SessionBuilder<'a> {
    pub(crate) fn new(gpu: &'a Gpu, model: &'a Model) -> SessionBuilder<'a> {
        SessionBuilder { gpu, model, options: SessionOptions::default(), dims: vec![], progress: Box::new(|_| ()) }
    }

    /// What happens to nodes that the device cannot run.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.options.fallback = fallback;
        self
    }

    /// Leaves a pass out.
    pub fn disable_pass(mut self, name: impl Into<String>) -> Self {
        self.options.disabled_passes.push(name.into());
        self
    }

    /// Computes in float16 what the model has in float32 ([`SessionOptions::float16`]).
    pub fn float16(mut self) -> Self {
        self.options.float16 = true;
        self
    }

    /// Says that inputs keep the sizes of the first plan ([`SessionOptions::fixed_sizes`]).
    pub fn fixed_sizes(mut self) -> Self {
        self.options.fixed_sizes = true;
        self
    }

    /// The value of a named extent, for which to plan and compile already now.
    pub fn dim(mut self, name: impl Into<String>, extent: usize) -> Self {
        self.dims.push((name.into(), extent));
        self
    }

    /// Calls `f` as the work goes on, from several threads.
    pub fn on_progress(mut self, f: impl Fn(Progress) + Send + Sync + 'a) -> Self {
        self.progress = Box::new(f);
        self
    }

    /// Runs the passes, and plans and compiles where all extents are known.
    ///
    /// # Errors
    /// Those of the passes, of the operators' shapes, and of the device.
    pub async fn build(self) -> Result<Session> {
        let passes = |done: usize| (self.progress)(Progress { stage: Stage::Passes, done, total: 1 });
        passes(0);
        let session = Session::assemble(self.gpu, self.model.graph(), &self.options, Some(self.model))?;
        passes(1);
        session.prepare_declared(&self.dims, &self.progress)?;
        Ok(session)
    }
}

/// A graph on a device: passes have run, plans and pipelines are kept by the shapes of the inputs. `run` takes `&self`
/// and may be called from several threads at once. Cloning shares all of it.
#[derive(Clone)]
pub struct Session {
    runner: Arc<Runner>,
    gpu: Gpu,
    weights: Arc<Weights>,
    inputs: Arc<[ValueInfo]>,
    outputs: Arc<[ValueInfo]>,
    last: Arc<Mutex<RunStats>>,
}

impl Session {
    /// Builds a session; [`Model::session`] has more to say.
    ///
    /// # Errors
    /// As [`SessionBuilder::build`].
    pub fn new(gpu: &Gpu, model: &Model, options: &SessionOptions) -> Result<Session> {
        let session = Session::assemble(gpu, model.graph(), options, Some(model))?;
        session.prepare_declared(&[], &|_| ())?;
        Ok(session)
    }

    /// Builds a session from a graph without a model file.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn from_graph(gpu: &Gpu, graph: &Graph, options: &SessionOptions) -> Result<Session> {
        let session = Session::assemble(gpu, graph, options, None)?;
        session.prepare_declared(&[], &|_| ())?;
        Ok(session)
    }

    fn assemble(gpu: &Gpu, graph: &Graph, options: &SessionOptions, model: Option<&Model>) -> Result<Session> {
        let info = |v: &ValueId| {
            let v = graph.value(*v);
            ValueInfo { name: v.name.clone(), declared: v.declared.clone() }
        };
        let inputs = graph.inputs.iter().map(info).collect();
        let outputs = graph.outputs.iter().map(info).collect();
        let arithmetic = gpu.arithmetic(options.float16);
        if options.float16 && !arithmetic.float16 {
            log::warn!("{} has no float16 that is faster: computing in float32", gpu.info().name);
        }
        let graph = match model {
            Some(model) => model.optimised(&options.disabled_passes, arithmetic)?,
            None => {
                let mut graph = graph.clone();
                passes::run_for(&mut graph, &options.disabled_passes, arithmetic)?;
                Arc::new(graph)
            }
        };
        let weights = model.map_or_else(Arc::default, |m| m.weights_on(gpu));
        let runner = Runner::new(gpu.clone(), graph, weights.clone(), options.fallback, options.fixed_sizes);
        Ok(Session { runner: Arc::new(runner), gpu: gpu.clone(), weights, inputs, outputs, last: Arc::default() })
    }

    /// Plans and compiles for the declared input shapes when all extents are known.
    fn prepare_declared(&self, dims: &[(String, usize)], progress: OnProgress<'_>) -> Result<()> {
        let known = |d: &Dim| match d {
            Dim::Known(n) => Some(*n),
            Dim::Symbol(s) => dims.iter().find(|(name, _)| name == s).map(|(_, n)| *n),
            Dim::Unknown => None,
        };
        let concrete = |i: &ValueInfo| {
            let declared = i.declared.as_ref()?;
            let shape = declared.dims()?.iter().map(known).collect::<Option<Vec<usize>>>()?;
            Some(TensorType::new(declared.dtype()?, shape))
        };
        let types: Option<Vec<TensorType>> = self.inputs.iter().map(concrete).collect();
        let Some(types) = types else { return Ok(()) };
        // data may be demanded that is not there yet; the plan is then made by the first run
        let small = |t: &TensorType| t.dtype.is_float();
        // what is too large to be there is for the run to refuse
        let held = self.graph().limits.hold(0, &types, 1).is_ok();
        if held && types.iter().all(small) {
            let zeros: Vec<Val> = types.into_iter().map(|t| Val::Host(Tensor::zeros(t.dtype, t.shape))).collect();
            match self.runner.prepare(&zeros, progress) {
                // zeros may contradict the specification where an input says a shape (Resize's scales)
                Err(e) if e.kind() == ErrorKind::InvalidNode => log::debug!("not prepared: {e}"),
                other => other?,
            }
            self.gpu.0.pipelines.save();
        }
        Ok(())
    }

    /// The graph after all passes.
    pub fn graph(&self) -> &Arc<Graph> {
        self.runner.graph()
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes of weights on the device.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// What the last finished run did.
    pub fn last_run(&self) -> RunStats {
        self.last.lock().map(|s| s.clone()).unwrap_or_default()
    }

    /// What a run takes.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// What a run gives.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    fn named(&self, made: Vec<Tensor>) -> Vec<(String, Tensor)> {
        self.outputs.iter().map(|o| o.name.clone()).zip(made).collect()
    }

    /// Runs on inputs by name; gives the outputs in the model's order. Waits for the device.
    ///
    /// # Errors
    /// `InvalidInput` when the inputs do not fit the model; those of the operators and the device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        pollster::block_on(self.run_async(inputs))
    }

    /// As [`Session::run`], without waiting.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let inputs = check_inputs(&self.inputs, inputs)?;
        Ok(self.named(self.run_ordered(&inputs).await?))
    }

    /// Inputs and outputs that stay on the device from run to run.
    pub fn bind(&self) -> Binding {
        Binding::new(self.clone())
    }

    /// Runs once and gives the GPU time of every dispatch (none where the adapter has no timestamps).
    ///
    /// # Errors
    /// As [`Session::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&self, inputs: &[(&str, Tensor)]) -> Result<RunStats> {
        let inputs = check_inputs(&self.inputs, inputs)?;
        pollster::block_on(self.profile_ordered(&inputs))?;
        Ok(self.last_run())
    }

    /// Measures which tiles the matrix products and convolutions of a run on these inputs go best by, where shadernet would
    /// choose by a model of costs, and keeps them: for all sessions of this device and, in the folder of
    /// [`GpuOptions::pipeline_cache`](crate::GpuOptions), for later processes on the same adapter and driver with the same
    /// kernels. Takes some hundred runs and compiles a dozen variants of the model's kernels. Only devices that choose by the
    /// model have anything to measure: software adapters do not.
    ///
    /// # Errors
    /// `Unsupported` where the adapter has no timestamps; as [`Session::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn tune(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tuned>> {
        let inputs: Vec<Val> = check_inputs(&self.inputs, inputs)?.into_iter().map(Val::Host).collect();
        pollster::block_on(tune::tune(&self.gpu, &self.runner, &inputs, self.outputs.len()))
    }

    /// The plan for these inputs, made if there is none yet.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn plan(&self, inputs: &[(&str, Tensor)]) -> Result<PlanReport> {
        let inputs: Vec<Val> = check_inputs(&self.inputs, inputs)?.into_iter().map(Val::Host).collect();
        self.runner.describe(&inputs)
    }

    /// The device memory that the plan for these inputs takes.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn memory(&self, inputs: &[(&str, Tensor)]) -> Result<MemoryReport> {
        Ok(self.plan(inputs)?.memory())
    }

    /// Runs on inputs in the graph's order, and gives the outputs in the graph's order.
    ///
    /// # Errors
    /// Those of the operators and the device.
    pub async fn run_ordered(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(inputs, RunStats::default()).await
    }

    /// As [`Session::run_ordered`], with the GPU time of every dispatch in [`Session::last_run`] afterwards.
    ///
    /// # Errors
    /// As [`Session::run_ordered`].
    pub async fn profile_ordered(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(inputs, RunStats { timings: Vec::with_capacity(1), ..RunStats::default() }).await
    }

    /// Runs on inputs by name, each on the host or in a buffer of this session's device, and leaves the outputs that are
    /// named where each is wanted; gives them in that order. Nothing is read back that nobody asked for. Waits for the
    /// device. What is in a buffer when the run begins counts; an output may go to the buffer of an input.
    ///
    /// # Errors
    /// As [`Session::run`]; `InvalidInput` also when an output is unknown or named twice, or goes to memory of another
    /// type or shape.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_values(&self, inputs: &[(&str, Value)], outputs: &[(&str, Destination)]) -> Result<Vec<Value>> {
        pollster::block_on(self.run_values_async(inputs, outputs))
    }

    /// As [`Session::run_values`], without waiting.
    ///
    /// # Errors
    /// As [`Session::run_values`].
    pub async fn run_values_async(
        &self,
        inputs: &[(&str, Value)],
        outputs: &[(&str, Destination)],
    ) -> Result<Vec<Value>> {
        self.run_values_with(inputs, outputs, RunStats::default()).await
    }

    /// As [`Session::run_values_async`], with the GPU time of every dispatch in [`Session::last_run`] afterwards.
    ///
    /// # Errors
    /// As [`Session::run_values`].
    pub async fn profile_values(
        &self,
        inputs: &[(&str, Value)],
        outputs: &[(&str, Destination)],
    ) -> Result<Vec<Value>> {
        let stats = RunStats { timings: Vec::with_capacity(1), ..RunStats::default() };
        self.run_values_with(inputs, outputs, stats).await
    }

    async fn run_values_with(
        &self,
        inputs: &[(&str, Value)],
        outputs: &[(&str, Destination)],
        stats: RunStats,
    ) -> Result<Vec<Value>> {
        let gpu = self.gpu();
        let given = in_order(&self.inputs, inputs)?;
        let given = self.inputs.iter().zip(given).map(|(info, value)| value.into_val(gpu, info));
        let given: Vec<Val> = given.collect::<Result<_>>()?;
        check_types(&self.inputs, &given.iter().map(Val::tensor_type).collect::<Vec<_>>())?;
        let mut wanted = vec![Wanted::Not; self.outputs.len()];
        let mut places = vec![];
        for (name, to) in outputs {
            let at = find(&self.outputs, name, "output")?;
            ensure!(matches!(wanted[at], Wanted::Not), InvalidInput, "output {name:?} is asked for twice");
            wanted[at] = to.wanted(gpu, name)?;
            places.push(at);
        }
        let mut made: Vec<Option<Val>> = self.run_wanted(given, &wanted, stats).await?.into_iter().map(Some).collect();
        let take = |((name, to), at): (&(&str, Destination), usize)| {
            let val = made[at].take().ok_or_else(|| err!(Internal, "output {name:?} is gone"))?;
            to.value(gpu, name, val)
        };
        outputs.iter().zip(places).map(take).collect()
    }

    async fn run_with(&self, inputs: &[Tensor], stats: RunStats) -> Result<Vec<Tensor>> {
        let inputs = inputs.iter().cloned().map(Val::Host).collect();
        let out = self.run_wanted(inputs, &vec![Wanted::Host; self.outputs.len()], stats).await?;
        out.into_iter().map(Val::into_host).collect()
    }

    /// Runs on inputs in the graph's order, wherever they are, and leaves the outputs where they are wanted.
    pub(crate) async fn run_wanted(
        &self,
        inputs: Vec<Val>,
        wanted: &[Wanted],
        mut stats: RunStats,
    ) -> Result<Vec<Val>> {
        let out = self.runner.run(inputs, wanted, &mut stats).await?;
        if let Ok(mut last) = self.last.lock() {
            *last = stats;
        }
        Ok(out)
    }
}
