//! Pipelines by shader and binding pattern, compiled once per device, many at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::cache::CacheFile;
use super::{Device, GpuOptions, cores};
use crate::kernels::{Spec, compose};
use crate::plan::Dispatch;
use crate::session::{OnProgress, Progress, Stage};
use crate::{Result, err};

/// A compiled pipeline and the layout of its bindings.
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// What two dispatches must share to share a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PipelineKey {
    pub spec: Arc<Spec>,
    pub uniform: bool,
    pub writes: Vec<bool>,
}

impl PipelineKey {
    pub fn of(d: &Dispatch) -> PipelineKey {
        PipelineKey {
            spec: d.spec.clone(),
            uniform: !d.params.is_empty(),
            writes: d.spans.iter().map(|s| s.write).collect(),
        }
    }
}

/// More than these are kept only as long as a plan uses them.
const KEPT: usize = 1024;

pub(crate) struct Pipelines {
    made: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    compiled: AtomicUsize,
    checked: bool,
    cache: Option<wgpu::PipelineCache>,
    file: Option<CacheFile>,
    unsaved: AtomicBool,
}

impl Pipelines {
    /// `key` names the adapter and the driver.
    pub fn new(device: &wgpu::Device, key: &str, options: &GpuOptions) -> Pipelines {
        let usable = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let file = usable.then(|| options.pipeline_cache.file(key, "pipelines")).flatten();
        let cache = file.as_ref().map(|f| open_cache(device, f));
        let checked = options.checked || cfg!(debug_assertions);
        let (made, compiled, unsaved) = (Mutex::default(), AtomicUsize::new(0), AtomicBool::new(false));
        Pipelines { made, compiled, checked, cache, file, unsaved }
    }

    /// How many were compiled.
    pub fn count(&self) -> usize {
        self.compiled.load(Ordering::Relaxed)
    }

    /// The pipelines for these keys, those that are missing compiled on all cores.
    pub fn get(&self, device: &Device, keys: &[PipelineKey], progress: OnProgress<'_>) -> Result<Vec<Arc<Pipeline>>> {
        let poisoned = || err!(Internal, "a thread failed while it compiled pipelines");
        let mut held: HashMap<&PipelineKey, Arc<Pipeline>> = HashMap::new();
        let mut missing: Vec<PipelineKey> = vec![];
        {
            let made = self.made.lock().map_err(|_| poisoned())?;
            let mut seen = std::collections::HashSet::new();
            for key in keys.iter().filter(|k| seen.insert(*k)) {
                match made.get(key) {
                    Some(p) => drop(held.insert(key, p.clone())),
                    None => missing.push(key.clone()),
                }
            }
        }
        self.unsaved.fetch_or(!missing.is_empty(), Ordering::Relaxed);
        let (done, total) = (AtomicUsize::new(0), missing.len());
        let mark = device.faults.mark();
        let fresh = cores::on_all(&missing, |k| {
            let made = self.compile(&device.device, k);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { stage: Stage::Compile, done, total });
            made
        })?;
        // what the device refuses is not kept
        device.faults.since(mark)?;
        self.compiled.fetch_add(total, Ordering::Relaxed);
        let mut made = self.made.lock().map_err(|_| poisoned())?;
        for (key, p) in missing.iter().zip(fresh) {
            made.entry(key.clone()).or_insert_with(|| Arc::new(p));
        }
        let one = |key| {
            held.get(key).or_else(|| made.get(key)).cloned().ok_or_else(|| err!(Internal, "a pipeline is missing"))
        };
        let all = keys.iter().map(one).collect::<Result<_>>()?;
        if made.len() > KEPT {
            made.retain(|_, p| Arc::strong_count(p) > 1);
        }
        Ok(all)
    }

    fn compile(&self, device: &wgpu::Device, key: &PipelineKey) -> Result<Pipeline> {
        let file = key.spec.file;
        let source = compose(&key.spec).map_err(|e| err!(Internal, "{e}"))?;
        let desc = wgpu::ShaderModuleDescriptor { label: Some(file), source: wgpu::ShaderSource::Wgsl(source.into()) };
        let module = if self.checked {
            device.create_shader_module(desc)
        } else {
            // SAFETY: every kernel compares its index with the counts in its params before it reads or writes, and the
            // test suite runs the same shaders with the checks on.
            unsafe { device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let uniform = key.uniform.then_some(wgpu::BufferBindingType::Uniform);
        let storage = key.writes.iter().map(|w| wgpu::BufferBindingType::Storage { read_only: !w });
        let texture = wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Uint,
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        };
        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = uniform
            .into_iter()
            .chain(storage)
            .zip(0..)
            .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: if key.spec.texels.contains(&binding) { texture } else { buffer(ty) },
                count: None,
            })
            .collect();
        let desc = wgpu::BindGroupLayoutDescriptor { label: Some(file), entries: &entries };
        let layout = device.create_bind_group_layout(&desc);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(file),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(file),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: self.checked,
                ..Default::default()
            },
            cache: self.cache.as_ref(),
        });
        Ok(Pipeline { pipeline, layout })
    }

    /// Writes the driver's cache to its file, if there is anything new in it.
    pub fn save(&self) {
        let (Some(cache), Some(file)) = (&self.cache, &self.file) else { return };
        if self.unsaved.swap(false, Ordering::Relaxed)
            && let Some(data) = cache.get_data()
        {
            file.write(&data);
        }
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        self.save();
    }
}

fn open_cache(device: &wgpu::Device, file: &CacheFile) -> wgpu::PipelineCache {
    let data = file.read();
    let desc = wgpu::PipelineCacheDescriptor { label: Some("shadernet"), data: data.as_deref(), fallback: true };
    // SAFETY: the data is what `PipelineCache::get_data` gave for this adapter and driver, by key and sum; wgpu checks
    // its header and the driver its own, and `fallback` starts empty where either does not fit.
    unsafe { device.create_pipeline_cache(&desc) }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::kernels::Spec;
    use crate::{ErrorKind, Gpu};

    /// A shader that the device refuses is an error each time it is asked for, and the device goes on.
    #[test]
    fn what_does_not_compile_is_an_error_and_not_kept() -> Result<()> {
        let options = GpuOptions { pipeline_cache: super::super::PipelineCache::Off, ..GpuOptions::from_env() };
        let Ok(gpu) = pollster::block_on(Gpu::new(options)) else { return Ok(()) };
        let key = |word: &str| {
            let spec = Spec::new("copy.wgsl").wgsl("Word", word).u32("RANK", 4);
            PipelineKey { spec: Arc::new(spec), uniform: true, writes: vec![false, true] }
        };
        let get = |word: &str| gpu.0.pipelines.get(&gpu.0, &[key(word)], &|_| ());
        for _ in 0..2 {
            let e = get("sampler").map(|_| ()).unwrap_err();
            assert_eq!((e.kind(), gpu.pipeline_count()), (ErrorKind::Device, 0), "{e}");
            assert!(!e.to_string().contains('\n'), "{e}");
        }
        get("u32")?;
        assert_eq!(gpu.pipeline_count(), 1);
        Ok(())
    }

    /// Past [`KEPT`], pipelines that a plan holds stay, and the others go.
    #[test]
    fn what_no_plan_uses_is_dropped_when_there_are_many() -> Result<()> {
        let options = GpuOptions { pipeline_cache: super::super::PipelineCache::Off, ..GpuOptions::from_env() };
        let Ok(gpu) = pollster::block_on(Gpu::new(options)) else { return Ok(()) };
        let key = |i: usize| {
            let spec = Spec::new("copy.wgsl").wgsl("Word", "u32").u32("RANK", 4 * (i as u32 + 1));
            PipelineKey { spec: Arc::new(spec), uniform: true, writes: vec![false, true] }
        };
        let get = |keys: &[PipelineKey]| gpu.0.pipelines.get(&gpu.0, keys, &|_| ());
        let held = get(&[key(0), key(1)])?;
        let others: Vec<PipelineKey> = (2..KEPT + 2).map(key).collect();
        drop(get(&others)?);
        drop(get(&[key(KEPT + 2)])?);
        assert_eq!(gpu.pipeline_count(), KEPT + 3);
        let again = get(&[key(0), key(1), key(KEPT + 2)])?;
        assert!(held.iter().zip(&again).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(gpu.pipeline_count(), KEPT + 3);
        get(&[key(2)])?;
        assert_eq!(gpu.pipeline_count(), KEPT + 4);
        Ok(())
    }
}
