//! Where a command runs: a device or the interpreter.

use clap::{Args, ValueEnum};
use shadernet::passes::Arithmetic;
use shadernet::{
    ErrorKind, Fallback, Gpu, GpuOptions, Model, PipelineCache, Result, RunStats, Session, SessionOptions, Tensor,
};

/// The backend of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A device; for `run`, the interpreter where there is none.
    Auto,
    /// A device reached through wgpu.
    Gpu,
    /// The reference interpreter.
    Cpu,
}

/// What happens to nodes that the device cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FallbackArg {
    /// They are an error.
    Deny,
    /// They run on the interpreter.
    Allow,
}

/// Flags that all commands which run something share.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Where to run.
    #[arg(long, value_enum, default_value = "auto")]
    pub backend: Backend,
    /// Nodes that the device cannot run: an error, or the interpreter.
    #[arg(long, value_enum, default_value = "deny")]
    pub fallback: FallbackArg,
    /// Part of the adapter's name, or its number in `shadernet devices`.
    #[arg(long)]
    pub adapter: Option<String>,
    /// Use only what every WebGPU device has.
    #[arg(long)]
    pub base_profile: bool,
    /// Compute in float16 what the model has in float32, where the device has it.
    #[arg(long)]
    pub float16: bool,
    /// Leave a pass out (repeatable).
    #[arg(long = "disable-pass", value_name = "PASS")]
    pub disabled_passes: Vec<String>,
    /// Where compiled pipelines are kept between runs (by default in the user's folder for caches), or `off`.
    #[arg(long, value_name = "FOLDER")]
    pub pipeline_cache: Option<String>,
}

impl Place {
    /// The device that the flags and the environment ask for.
    pub fn gpu(&self) -> Result<Gpu> {
        let mut options = GpuOptions::from_env();
        options.adapter = self.adapter.clone().or(options.adapter);
        options.base_profile |= self.base_profile;
        if let Some(cache) = &self.pipeline_cache {
            options.pipeline_cache = PipelineCache::parse(cache);
        }
        pollster::block_on(Gpu::new(options))
    }

    /// How sessions are built that run on inputs of one size.
    pub fn session_options(&self) -> SessionOptions {
        let fallback = match self.fallback {
            FallbackArg::Deny => Fallback::Deny,
            FallbackArg::Allow => Fallback::Allow,
        };
        SessionOptions {
            fallback,
            disabled_passes: self.disabled_passes.clone(),
            float16: self.float16,
            fixed_sizes: true,
        }
    }

    /// What the passes make of a model's arithmetic here: in float16 as asked, also where the device has none.
    pub fn arithmetic(&self) -> Arithmetic {
        let float16 = self.float16;
        let device = if self.backend == Backend::Cpu { None } else { self.gpu().ok() };
        device.map_or(Arithmetic { float16, bytes: false }, |gpu| Arithmetic { float16, ..gpu.arithmetic(float16) })
    }

    /// Opens the device, if the backend is one.
    pub fn open(&self) -> Result<Where> {
        Ok(match self.backend {
            Backend::Cpu => {
                if self.float16 {
                    eprintln!("--float16 is for devices: the interpreter computes in the model's own types");
                }
                Where::Cpu
            }
            Backend::Auto | Backend::Gpu => Where::Gpu(self.gpu()?, self.session_options()),
        })
    }

    /// As [`Place::open`], but on a machine without a device the interpreter, and says so.
    pub fn open_any(&self) -> Result<Where> {
        match self.open() {
            Err(e) if self.backend == Backend::Auto && self.adapter.is_none() && e.kind() == ErrorKind::Device => {
                eprintln!("{e}: running on the CPU interpreter");
                Ok(Where::Cpu)
            }
            other => other,
        }
    }
}

/// An opened backend.
pub enum Where {
    Cpu,
    Gpu(Gpu, SessionOptions),
}

/// A model ready to run on a backend.
pub enum Runner {
    Cpu(Model),
    Gpu(Box<Session>),
}

impl Where {
    /// The adapter's and the driver's names.
    pub fn names(&self) -> (String, String) {
        match self {
            Where::Cpu => ("reference interpreter".into(), "cpu".into()),
            Where::Gpu(gpu, _) => (gpu.info().name.clone(), gpu.info().driver.clone()),
        }
    }

    pub fn backend(&self) -> &str {
        match self {
            Where::Cpu => "cpu",
            Where::Gpu(gpu, _) => &gpu.info().backend,
        }
    }

    pub fn load(&self, model: &Model) -> Result<Runner> {
        Ok(match self {
            Where::Cpu => Runner::Cpu(model.clone()),
            Where::Gpu(gpu, options) => Runner::Gpu(Box::new(Session::new(gpu, model, options)?)),
        })
    }
}

impl Runner {
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        match self {
            Runner::Cpu(model) => model.reference().run(inputs),
            Runner::Gpu(session) => session.run(inputs),
        }
    }

    pub fn stats(&self) -> RunStats {
        match self {
            Runner::Cpu(_) => RunStats::default(),
            Runner::Gpu(session) => session.last_run(),
        }
    }
}

/// Borrows the names of named tensors, as `run` takes them.
pub fn named(inputs: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect()
}
