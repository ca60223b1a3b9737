//! A model made ready for a device.

use std::sync::{Arc, Mutex};

use crate::gpu::runner::{RunStats, Runner, Val};
use crate::gpu::{Gpu, Weights};
use crate::ir::{Graph, TensorType};
use crate::plan::Fallback;
use crate::tensor::Tensor;
use crate::{Result, err, passes};

/// How a session is to be built.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// What happens to nodes that the device cannot run.
    pub fallback: Fallback,
    /// Names of passes that are left out.
    pub disabled_passes: Vec<String>,
}

/// A graph on a device: passes have run, plans and pipelines are kept by the shapes of the inputs. `run` takes `&self`
/// and may be called from several threads at once.
pub struct Session {
    runner: Runner,
    gpu: Gpu,
    weights: Arc<Weights>,
    last: Mutex<RunStats>,
}

impl Session {
    /// Builds a session from a graph. Clones of `graph`'s tensors share their data.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn from_graph(gpu: &Gpu, graph: &Graph, options: &SessionOptions) -> Result<Session> {
        let mut graph = graph.clone();
        passes::run(&mut graph, &options.disabled_passes)?;
        let weights = Arc::new(Weights::default());
        let runner = Runner::new(gpu.clone(), Arc::new(graph), weights.clone(), options.fallback);
        let session = Session { runner, gpu: gpu.clone(), weights, last: Mutex::default() };
        session.prepare_declared()?;
        Ok(session)
    }

    /// Plans and compiles for the declared input shapes when all extents are known.
    fn prepare_declared(&self) -> Result<()> {
        let graph = self.runner.graph();
        let types: Option<Vec<TensorType>> =
            graph.inputs.iter().map(|v| graph.value(*v).declared.as_ref()?.concrete()).collect();
        let Some(types) = types else { return Ok(()) };
        // data may be demanded that is not there yet; the plan is then made by the first run
        let small = |t: &TensorType| t.dtype.is_float();
        if types.iter().all(small) {
            let zeros: Vec<Val> = types.into_iter().map(|t| Val::Host(Tensor::zeros(t.dtype, t.shape))).collect();
            self.runner.prepare(&zeros)?;
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

    async fn run_with(&self, inputs: &[Tensor], mut stats: RunStats) -> Result<Vec<Tensor>> {
        let inputs = inputs.iter().cloned().map(Val::Host).collect();
        let out = self.runner.run(inputs, true, &mut stats).await?;
        if let Ok(mut last) = self.last.lock() {
            *last = stats;
        }
        let host = |v: Val| match v {
            Val::Host(t) => Ok(t),
            Val::Device(_) => Err(err!(Internal, "an output stayed on the device")),
        };
        out.into_iter().map(host).collect()
    }
}
