//! Devices, buffers, pipelines, recording and readback. Only here (and where a caller brings a device of their own)
//! is wgpu named.

mod cache;
mod convert;
mod cores;
mod faults;
mod pipelines;
mod recent;
mod sizes;
mod texels;
mod weights;

pub(crate) mod exec;
pub(crate) mod runner;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod tune;

use std::sync::Arc;

use cache::CacheFile;
pub use cache::PipelineCache;
pub(crate) use convert::{from_device, to_device};
pub(crate) use pipelines::{Pipeline, PipelineKey, Pipelines};
pub(crate) use weights::Weights;

use crate::kernels::{self, Choices, Profile, When};
use crate::passes::Arithmetic;
use crate::{Result, bail, err};

/// Which device to take and what to use of it.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case, or its number in [`Gpu::adapters`]. `None`: the first, discrete ones
    /// before integrated, software last. The browser does not list adapters: there it is `high-performance`, as without a
    /// name, `low-power` or `fallback`.
    pub adapter: Option<String>,
    /// `vulkan`, `metal`, `dx12` or `gl`. `None`: any.
    pub backend: Option<String>,
    /// Use nothing beyond what every WebGPU device has: no f16, no subgroups, 8 storage buffers.
    pub base_profile: bool,
    /// Run the kernels meant for GPUs on a software adapter too, which has faster ones of its own: to test them.
    pub gpu_kernels: bool,
    /// The tile (its number in `kernels::tiles::TILES`) and the parts of sums that products take on GPUs, whatever their
    /// sizes: to test and to measure them.
    pub forced_tile: Option<(usize, usize)>,
    /// Which convolutions go by Winograd's algorithm. `None`: as the device gains from it.
    pub winograd: Option<When>,
    /// Which inputs are read as texels. `None`: as the device gains from it.
    pub texels: Option<When>,
    /// Keep the bounds checks in shaders, which release builds leave out (kernels never read out of bounds).
    pub checked: bool,
    /// Fill activations with noise before each run: to test that no result holds what was there before.
    pub poison: bool,
    /// Bind at most this many bytes at once, where the adapter could bind more.
    pub max_binding: Option<u64>,
    /// Where compiled pipelines are kept between processes, for drivers that can.
    pub pipeline_cache: PipelineCache,
}

impl GpuOptions {
    /// Options from `SHADERNET_ADAPTER`, `SHADERNET_BACKEND`, `SHADERNET_PROFILE=base`, `SHADERNET_KERNELS=gpu`,
    /// `SHADERNET_TILE=2x4` (tile 2, sums in 4 parts), `SHADERNET_WINOGRAD` and `SHADERNET_TEXELS` (`always` or `never`),
    /// `SHADERNET_CHECKED=1`, `SHADERNET_POISON=1`, `SHADERNET_MAX_BINDING` and `SHADERNET_PIPELINE_CACHE` (a folder, or `off`).
    pub fn from_env() -> GpuOptions {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let when = |name: &str| match var(name)?.as_str() {
            "always" => Some(When::Always),
            "never" => Some(When::Never),
            _ => None,
        };
        GpuOptions {
            adapter: var("SHADERNET_ADAPTER"),
            backend: var("SHADERNET_BACKEND"),
            base_profile: var("SHADERNET_PROFILE").is_some_and(|p| p == "base"),
            gpu_kernels: var("SHADERNET_KERNELS").is_some_and(|p| p == "gpu"),
            forced_tile: var("SHADERNET_TILE").and_then(|v| {
                let (tile, splits) = v.split_once('x').unwrap_or((&v, "1"));
                Some((tile.parse().ok()?, splits.parse().ok()?))
            }),
            winograd: when("SHADERNET_WINOGRAD"),
            texels: when("SHADERNET_TEXELS"),
            checked: var("SHADERNET_CHECKED").is_some(),
            poison: var("SHADERNET_POISON").is_some(),
            max_binding: var("SHADERNET_MAX_BINDING").and_then(|v| v.parse().ok()),
            pipeline_cache: var("SHADERNET_PIPELINE_CACHE").map_or(PipelineCache::User, |p| PipelineCache::parse(&p)),
        }
    }

    fn backends(&self) -> Result<wgpu::Backends> {
        Ok(match self.backend.as_deref() {
            None => wgpu::Backends::all(),
            Some("vulkan") => wgpu::Backends::VULKAN,
            Some("metal") => wgpu::Backends::METAL,
            Some("dx12") => wgpu::Backends::DX12,
            Some("gl") => wgpu::Backends::GL,
            Some(other) => bail!(InvalidInput, "backend {other:?}: expected vulkan, metal, dx12 or gl"),
        })
    }
}

/// What an adapter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// The device's name.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `browser`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// The driver and its version.
    pub driver: String,
    /// The products of cooperative matrices that it has, such as `16x16x16 f16>f32`: rows, columns, products in a sum,
    /// the factors' type and that of the sums.
    pub matrices: Vec<String>,
}

impl AdapterInfo {
    fn of(adapter: &wgpu::Adapter) -> AdapterInfo {
        let shape = |p: wgpu::CooperativeMatrixProperties| {
            let name = |t| format!("{t:?}").to_lowercase();
            format!("{}x{}x{} {}>{}", p.m_size, p.n_size, p.k_size, name(p.ab_type), name(p.cr_type))
        };
        let mut matrices: Vec<String> = adapter.cooperative_matrix_properties().into_iter().map(shape).collect();
        matrices.dedup();
        let i = adapter.get_info();
        let kind = match i.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        };
        let driver = format!("{} {}", i.driver, i.driver_info).trim().to_string();
        let backend = match i.backend {
            wgpu::Backend::BrowserWebGpu => "browser".into(),
            other => format!("{other:?}").to_lowercase(),
        };
        // browsers may keep it to themselves
        let name = if i.name.is_empty() { "WebGPU".into() } else { i.name };
        AdapterInfo { name, backend, kind: kind.into(), driver, matrices }
    }
}

impl std::fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

/// A device that sessions run on. Cloning shares it.
#[derive(Clone)]
pub struct Gpu(pub(crate) Arc<Device>);

/// Whether both are the same device, opened once: buffers of one are not buffers of another.
impl PartialEq for Gpu {
    fn eq(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gpu {}

pub(crate) struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: AdapterInfo,
    pub profile: Arc<Profile>,
    pub pipelines: Pipelines,
    /// Where what was measured of tiles is kept.
    #[cfg(not(target_arch = "wasm32"))]
    choices: Option<CacheFile>,
    pub timestamps: Option<f32>,
    /// Bytes written to the queue whose staging memory may still be held.
    pub staged: std::sync::atomic::AtomicUsize,
    pub faults: faults::Faults,
    pub poison: bool,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.0.info)
    }
}

fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = backends;
    if std::env::var_os("SHADERNET_VALIDATION").is_some() {
        desc.flags = wgpu::InstanceFlags::VALIDATION | wgpu::InstanceFlags::DEBUG;
    } else {
        desc.flags = wgpu::InstanceFlags::empty();
    }
    wgpu::Instance::new(desc)
}

fn rank(info: &wgpu::AdapterInfo) -> (usize, usize) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, (info.backend == wgpu::Backend::Gl) as usize)
}

/// Whether an adapter multiplies cooperative matrices of 16 by 16, float16 summed in float32.
fn multiplies(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fits = |p: &wgpu::CooperativeMatrixProperties| {
        [p.m_size, p.n_size, p.k_size] == [16; 3] && p.ab_type == F16 && p.cr_type == F32
    };
    adapter.cooperative_matrix_properties().iter().any(fits)
}

async fn adapters(options: &GpuOptions) -> Result<Vec<wgpu::Adapter>> {
    let backends = options.backends()?;
    #[cfg(not(target_arch = "wasm32"))]
    {
        // OpenGL is a last resort: it looks for a display, and says so on standard error
        let (first, last) = (backends - wgpu::Backends::GL, backends & wgpu::Backends::GL);
        let mut all = vec![];
        for backends in [first, last].into_iter().filter(|b| !b.is_empty()) {
            if all.is_empty() {
                all = instance(backends).enumerate_adapters(backends).await;
                all.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
            }
        }
        all.sort_by_key(|a| rank(&a.get_info()));
        Ok(all)
    }
    #[cfg(target_arch = "wasm32")]
    {
        let _ = rank;
        let mut wanted = wgpu::RequestAdapterOptions::default();
        match options.adapter.as_deref() {
            None | Some("high-performance") => wanted.power_preference = wgpu::PowerPreference::HighPerformance,
            Some("low-power") => wanted.power_preference = wgpu::PowerPreference::LowPower,
            Some("fallback") => wanted.force_fallback_adapter = true,
            Some(other) => {
                bail!(InvalidInput, "adapter {other:?}: expected high-performance, low-power or fallback")
            }
        }
        Ok(instance(backends).request_adapter(&wanted).await.into_iter().collect())
    }
}

impl Gpu {
    /// The adapters that compute shaders run on, the best first.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown backend name.
    pub async fn adapters(options: &GpuOptions) -> Result<Vec<AdapterInfo>> {
        Ok(adapters(options).await?.iter().map(AdapterInfo::of).collect())
    }

    /// Opens a device.
    ///
    /// # Errors
    /// `Device` when there is no adapter of that name or it refuses.
    pub async fn new(options: GpuOptions) -> Result<Gpu> {
        let all = adapters(&options).await?;
        let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
        let wanted = |i: usize, name: &str| match &options.adapter {
            _ if cfg!(target_arch = "wasm32") => true,
            None => true,
            Some(w) => w.parse() == Ok(i) || name.to_lowercase().contains(&w.to_lowercase()),
        };
        let pick = names.iter().enumerate().position(|(i, n)| wanted(i, n));
        let Some(adapter) = pick.and_then(|i| all.into_iter().nth(i)) else {
            match &options.adapter {
                Some(w) if !names.is_empty() => bail!(Device, "no adapter {w:?}; there are: {}", names.join(", ")),
                _ if cfg!(target_arch = "wasm32") => bail!(Device, "this browser has no WebGPU, or none for this page"),
                _ => bail!(Device, "no GPU adapter found (is a Vulkan, Metal or DX12 driver installed?)"),
            }
        };
        let info = adapter.get_info();
        let mut features = wgpu::Features::empty();
        let mut want = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
        // copies to textures are part of what a dispatch takes
        want |= wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        if !options.base_profile {
            want |= wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
        }
        if !options.base_profile && multiplies(&adapter) {
            want |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        }
        features |= adapter.features() & want;
        let mut limits = adapter.limits();
        if let Some(most) = options.max_binding {
            limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(most);
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("shadernet"),
                required_features: features,
                required_limits: limits,
                memory_hints: wgpu::MemoryHints::Performance,
                // SAFETY: cooperative matrices are the only experimental feature that is asked for, and the kernels that
                // have them keep within their buffers as all others do.
                experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
                ..Default::default()
            })
            .await
            .map_err(|e| err!(Device, "{}: {e}", info.name))?;
        Gpu::assemble(&adapter, device, queue, &options)
    }

    /// Uses the caller's own device, which should have been asked for with the adapter's limits.
    ///
    /// # Errors
    /// `Device` when the device cannot run compute shaders with storage buffers.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Gpu> {
        Gpu::assemble(adapter, device, queue, &GpuOptions::default())
    }

    fn assemble(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &GpuOptions,
    ) -> Result<Gpu> {
        let info = adapter.get_info();
        let (limits, features) = (device.limits(), device.features());
        let has = |f: wgpu::Features| features.contains(f) && !options.base_profile;
        let cpu = info.device_type == wgpu::DeviceType::Cpu && !options.gpu_kernels;
        // processors compute in 32 bits anyway: rounding each step to 16 would cost accuracy and gain nothing
        let f16 = has(wgpu::Features::SHADER_F16) && !cpu;
        let subgroups = has(wgpu::Features::SUBGROUP);
        let lanes = [info.subgroup_min_size, info.subgroup_max_size];
        // llvmpipe reads buffers lane by lane and textures in whole vectors; to SwiftShader both are the same
        let vectors = info.driver == "llvmpipe";
        let matrices = has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) && multiplies(adapter);
        let coop = matrices && f16 && lanes == [32, 32];
        let named = [(cpu, "cpu"), (f16, "f16"), (subgroups, "subgroup"), (coop, "coop")];
        let names: Vec<&str> = named.iter().filter(|(on, _)| *on).map(|(_, n)| *n).collect();
        let base = Profile::base();
        let profile = Profile {
            name: if names.is_empty() { "base".into() } else { names.join("+") },
            f16,
            subgroups,
            coop,
            cpu,
            // SwiftShader has subgroups too, of 4, and walks them lane by lane
            broadcasts: (cpu && subgroups && vectors && lanes[0] == lanes[1]).then_some(lanes[0]),
            components: info.backend == wgpu::Backend::Vulkan && !options.base_profile,
            bytes: !cpu && info.backend != wgpu::Backend::BrowserWebGpu && !options.base_profile,
            units: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => 128,
                _ => base.units,
            },
            forced: options.forced_tile,
            choices: Choices::default(),
            rank: None,
            winograd: options.winograd.unwrap_or(When::Gains),
            texels: match options.texels {
                // a caller's own device may have been asked for with less
                _ if limits.max_texture_dimension_2d < kernels::texels::MOST_ROWS => When::Never,
                Some(when) => when,
                None if cpu && vectors => When::Gains,
                None => When::Never,
            },
            max_storage_buffers: match options.base_profile {
                true => base.max_storage_buffers,
                false => limits.max_storage_buffers_per_shader_stage,
            },
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) & !15,
            max_buffer: limits.max_buffer_size & !15,
            offset_align: (limits.min_storage_buffer_offset_alignment as u64).max(16),
        };
        if profile.max_storage_buffers < base.max_storage_buffers {
            bail!(Device, "{}: binds only {} storage buffers", info.name, profile.max_storage_buffers);
        }
        let faults = faults::Faults::default();
        let seen = faults.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| seen.note(e.to_string())));
        let seen = faults.clone();
        device.set_device_lost_callback(move |_, message| seen.lose(message));
        let timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY).then(|| queue.get_timestamp_period());
        let ids = format!("{:x} {:x}", info.vendor, info.device);
        let info = AdapterInfo::of(adapter);
        let key = format!("{} {} {ids}", info.name, info.driver);
        let pipelines = Pipelines::new(&device, &key, options);
        let choices = options.pipeline_cache.file(&format!("{key} kernels {:x}", kernels::version()), "choices");
        if let Some(text) = choices.as_ref().and_then(CacheFile::read) {
            profile.choices.read_text(&String::from_utf8_lossy(&text));
        }
        let profile = Arc::new(profile);
        Ok(Gpu(Arc::new(Device {
            device,
            queue,
            info,
            profile,
            pipelines,
            #[cfg(not(target_arch = "wasm32"))]
            choices,
            timestamps,
            staged: Default::default(),
            faults,
            poison: options.poison,
        })))
    }

    /// What the adapter says of itself.
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// The limits and features that kernels are chosen by.
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Bytes of the device's memory that are given to buffers, where the driver's allocator tells.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.0.device.generate_allocator_report().map(|r| r.total_allocated_bytes)
    }

    /// Waits until the device has done all that it was given.
    ///
    /// # Errors
    /// Those of the device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(&self) -> Result<()> {
        self.0.wait()?;
        self.0.faults.alive()
    }

    /// Whether the device computes in float16. Software adapters do not: what a model has in float16 they hold in float32.
    pub fn has_float16(&self) -> bool {
        self.0.profile.f16
    }

    /// What the passes make of a model's arithmetic for this device, of which `float16` is asked or not. Float16 is faster
    /// than bytes where there are cooperative matrices for it.
    pub fn arithmetic(&self, float16: bool) -> Arithmetic {
        let profile = &self.0.profile;
        let float16 = float16 && profile.f16;
        Arithmetic { float16, bytes: profile.bytes && !(float16 && profile.coop) }
    }

    /// How many pipelines have been compiled on this device.
    pub fn pipeline_count(&self) -> usize {
        self.0.pipelines.count()
    }
}

/// For how long a thread asks a GPU again and again whether it is done before it sleeps: to be woken takes longer than
/// many a run.
#[cfg(not(target_arch = "wasm32"))]
const AWAKE: std::time::Duration = std::time::Duration::from_millis(2);

impl Device {
    /// Until the device has done all that it was given.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(&self) -> Result<()> {
        let failed = |e| err!(Device, "waiting: {e}");
        let start = std::time::Instant::now();
        // a device that computes on the same cores needs them
        while !self.profile.cpu && start.elapsed() < AWAKE {
            if self.device.poll(wgpu::PollType::Poll).map_err(failed)?.is_queue_empty() {
                return Ok(());
            }
            std::thread::yield_now();
        }
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(failed)?;
        Ok(())
    }

    pub fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let desc = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        self.device.create_buffer(&desc)
    }
}
