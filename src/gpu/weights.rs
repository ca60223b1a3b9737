//! Constants on the device, uploaded once and shared by all plans and sessions of a model.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use super::{Device, texels, to_device};
use crate::kernels::DeviceType;
use crate::plan::Constant;
use crate::tensor::Tensor;
use crate::{Result, err};

pub(super) const CHUNK: usize = crate::plan::UPLOAD_CHUNK as usize;

type Key = (Vec<(usize, usize)>, String, DeviceType, bool);

/// A constant on the device.
pub(crate) struct Weight {
    pub held: Held,
    bytes: u64,
    /// Kept because their addresses are part of the key.
    _sources: Vec<Tensor>,
}

/// What a constant lies in.
pub(crate) enum Held {
    Buffer(wgpu::Buffer),
    /// Read as texels.
    Texture(wgpu::TextureView),
}

/// The constants of one model on one device, each as long as a plan uses it.
#[derive(Default)]
pub(crate) struct Weights {
    made: Mutex<HashMap<Key, Weak<Weight>>>,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes)", self.bytes())
    }
}

impl Weights {
    /// A constant, read as `texels` or not, uploaded if it is not there yet.
    pub fn get(&self, gpu: &Device, name: &str, bytes: u64, c: &Constant, texels: bool) -> Result<Arc<Weight>> {
        let sources: Vec<Tensor> = [&c.source].into_iter().chain(&c.others).cloned().collect();
        let keys = sources.iter().map(Tensor::data_key).collect();
        let key = (keys, format!("{} {bytes}", c.tag), c.device, texels);
        let mut made = self.made.lock().map_err(|_| err!(Internal, "a thread failed while it uploaded weights"))?;
        if let Some(weight) = made.get(&key).and_then(Weak::upgrade) {
            return Ok(weight);
        }
        made.retain(|_, w| w.strong_count() > 0);
        let tensor = (c.make)(&c.source.passing()?)?;
        let data = to_device(&tensor, c.device)?;
        let held = if texels {
            Held::Texture(texels::upload(gpu, name, bytes, &data).create_view(&wgpu::TextureViewDescriptor::default()))
        } else {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
            let buffer = gpu.buffer(name, bytes, usage);
            upload(gpu, &buffer, &data);
            Held::Buffer(buffer)
        };
        sources.iter().for_each(Tensor::release);
        let weight = Arc::new(Weight { held, bytes, _sources: sources });
        made.insert(key, Arc::downgrade(&weight));
        Ok(weight)
    }

    /// Bytes of all constants on the device.
    pub fn bytes(&self) -> u64 {
        self.made.lock().map_or(0, |m| m.values().filter_map(Weak::upgrade).map(|w| w.bytes).sum())
    }
}

/// Writes `data` to the start of `buffer`.
pub(crate) fn upload(gpu: &Device, buffer: &wgpu::Buffer, data: &[u8]) {
    let whole = data.len() & !3;
    for (i, part) in data[..whole].chunks(CHUNK).enumerate() {
        gpu.queue.write_buffer(buffer, (i * CHUNK) as u64, part);
        staged(gpu, part.len());
    }
    if whole < data.len() {
        let mut tail = [0u8; 4];
        tail[..data.len() - whole].copy_from_slice(&data[whole..]);
        gpu.queue.write_buffer(buffer, whole as u64, &tail);
    }
}

/// Says that so many bytes were given to the queue, and lets the staging memory of all go where they are many.
pub(super) fn staged(gpu: &Device, bytes: usize) {
    if gpu.staged.fetch_add(bytes, Ordering::Relaxed) + bytes >= CHUNK {
        gpu.staged.store(0, Ordering::Relaxed);
        gpu.queue.submit([]);
        let done =
            if cfg!(target_arch = "wasm32") { wgpu::PollType::Poll } else { wgpu::PollType::wait_indefinitely() };
        let _ = gpu.device.poll(done);
    }
}
