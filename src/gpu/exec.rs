//! Runs a plan: uploads, one encoder, one submit, readback.

use std::collections::HashMap;
use std::sync::Arc;

use super::weights::{Held, Weight, upload};
use super::{Device, Gpu, Pipeline, PipelineKey, Weights, from_device, texels, to_device};
use crate::ir::{TensorType, ValueId};
use crate::kernels::{Chosen, DeviceType};
use crate::limits::Limits;
use crate::plan::texels::Textures;
use crate::plan::{self, BufId, BufKind, PARAM_ALIGN, Program, Slots, View, slots};
use crate::session::{self, OnProgress, Progress};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// A program made ready for a device: pipelines, constants and params are there, only activations are missing.
pub(crate) struct Ready {
    pub program: Program,
    pub slots: Slots,
    /// Of the activations that are read as texels.
    pub textures: Textures,
    /// Values that must be there before the run, and their buffers.
    pub externals: Vec<(ValueId, BufId)>,
    /// Those of the dispatches, and others.
    pub pipelines: Vec<Arc<Pipeline>>,
    constants: HashMap<BufId, Arc<Weight>>,
    params: Option<wgpu::Buffer>,
    param_offsets: Vec<u64>,
}

impl Ready {
    /// Uploads constants, compiles, uploads params. `kept` are buffers that are read after the run, `others` pipelines that
    /// are compiled along with its own.
    pub fn new(
        gpu: &Gpu,
        weights: &Weights,
        program: Program,
        kept: &[BufId],
        others: &[PipelineKey],
        limits: &Limits,
        progress: OnProgress<'_>,
    ) -> Result<Ready> {
        let device = &*gpu.0;
        let mark = device.faults.mark();
        let mut used = vec![false; program.buffers.len()];
        program.dispatches.iter().flat_map(|d| &d.spans).for_each(|s| used[s.buf.0 as usize] = true);
        let mut keep = vec![false; program.buffers.len()];
        kept.iter().for_each(|b| keep[b.0 as usize] = true);
        let slots = slots::assign(&program, &keep, device.profile.max_binding);
        let textures = plan::texels::assign(&program);
        let (total, most) = (slots.total() + textures.total(), limits.memory);
        ensure!(total <= most, Limit, "activations take {total} bytes, more than limit memory, {most}");
        let (mut constants, mut externals) = (HashMap::new(), vec![]);
        let total = program.buffers.len();
        let as_texels = plan::texels::constants(&program);
        for (i, b) in program.buffers.iter().enumerate().filter(|(i, _)| used[*i] || keep[*i]) {
            progress(Progress { stage: session::Stage::Upload, done: i + 1, total });
            let id = BufId(i as u32);
            match &b.kind {
                BufKind::Constant(c) => {
                    constants.insert(id, weights.get(device, &b.name, b.bytes, c, as_texels.contains(&id))?);
                }
                BufKind::External(v) => externals.push((*v, id)),
                BufKind::Temp => {}
            }
        }
        // after the weights, so that what compilers hold back of memory and what uploads take do not add up
        let own = program.dispatches.iter().map(PipelineKey::of);
        let keys: Vec<PipelineKey> = own.chain(others.iter().cloned()).collect();
        let pipelines = device.pipelines.get(device, &keys, progress)?;
        let (mut bytes, mut param_offsets) = (vec![], vec![]);
        for d in &program.dispatches {
            param_offsets.push(bytes.len() as u64);
            bytes.extend_from_slice(&d.params);
            bytes.resize(bytes.len().next_multiple_of(PARAM_ALIGN as usize), 0);
        }
        let params = (!bytes.is_empty()).then(|| {
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let buffer = device.buffer("params", bytes.len() as u64, usage);
            upload(device, &buffer, &bytes);
            buffer
        });
        device.faults.since(mark)?;
        Ok(Ready { program, slots, textures, externals, pipelines, constants, params, param_offsets })
    }

    /// Where a buffer of the program begins in the buffer behind it.
    fn start(&self, id: BufId) -> u64 {
        self.slots.of.get(id.0 as usize).copied().flatten().map_or(0, |p| p.offset)
    }

    fn bind_group(&self, gpu: &Device, memory: &Memory, i: usize) -> Result<wgpu::BindGroup> {
        let d = &self.program.dispatches[i];
        let uniform = self.params.as_ref().filter(|_| !d.params.is_empty()).map(|buffer| wgpu::BufferBinding {
            buffer,
            offset: self.param_offsets[i],
            size: wgpu::BufferSize::new(d.params.len() as u64),
        });
        let mut resources: Vec<_> = uniform.into_iter().map(wgpu::BindingResource::Buffer).collect();
        for (at, s) in d.spans.iter().enumerate() {
            let copied = self.textures.of[i].iter().find(|c| c.span == at).map(|c| &memory.textures[c.texture].1);
            let constant = || match self.constants.get(&s.buf).map(|w| &w.held) {
                Some(Held::Texture(view)) => Some(view),
                _ => None,
            };
            if let Some(view) = copied.or_else(constant) {
                resources.push(wgpu::BindingResource::TextureView(view));
                continue;
            }
            let (buffer, start) = (memory.buffer(self, s.buf)?, self.start(s.buf));
            resources.push(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: start + s.offset,
                size: wgpu::BufferSize::new(s.bytes),
            }));
        }
        let entries: Vec<wgpu::BindGroupEntry<'_>> = resources
            .into_iter()
            .zip(0..)
            .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let layout = &self.pipelines[i].layout;
        Ok(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&d.label),
            layout,
            entries: &entries,
        }))
    }
}

/// The activation memory of one run at a time, with the bind groups over it.
pub(crate) struct Memory {
    slots: Vec<wgpu::Buffer>,
    externals: HashMap<BufId, wgpu::Buffer>,
    textures: Vec<(wgpu::Texture, wgpu::TextureView)>,
    groups: Vec<wgpu::BindGroup>,
    staging: Option<wgpu::Buffer>,
}

/// As floats and as integers a number that no test expects.
const POISON: u8 = 0xcb;

/// How values' buffers are used.
pub(crate) const ACTIVATION: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

impl Memory {
    /// Allocates slots and a buffer for every external that `given` has not.
    pub fn new(gpu: &Gpu, ready: &Ready, given: &HashMap<ValueId, wgpu::Buffer>) -> Result<Memory> {
        let device = &*gpu.0;
        let mark = device.faults.mark();
        let slots = ready.slots.sizes.iter().map(|bytes| device.buffer("activations", *bytes, ACTIVATION)).collect();
        let texture = |rows: &u64| {
            let texture = texels::of_rows(device, *rows);
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            (texture, view)
        };
        let textures = ready.textures.rows.iter().map(texture).collect();
        let mut memory = Memory { slots, externals: HashMap::new(), textures, groups: vec![], staging: None };
        for (v, id) in &ready.externals {
            let b = ready.program.buffer(*id);
            let own = || device.buffer(&b.name, b.bytes, ACTIVATION);
            memory.externals.insert(*id, given.get(v).cloned().unwrap_or_else(own));
        }
        for i in 0..ready.program.dispatches.len() {
            memory.groups.push(ready.bind_group(device, &memory, i)?);
        }
        device.faults.since(mark)?;
        Ok(memory)
    }

    /// The buffer behind a buffer of the program, which begins at [`Ready::start`] in it: at 0 if it is kept.
    pub fn buffer<'a>(&'a self, ready: &'a Ready, id: BufId) -> Result<&'a wgpu::Buffer> {
        let slot = ready.slots.of.get(id.0 as usize).copied().flatten().and_then(|p| self.slots.get(p.slot));
        let constant = || match ready.constants.get(&id).map(|w| &w.held) {
            Some(Held::Buffer(buffer)) => Some(buffer),
            _ => None,
        };
        let found = slot.or_else(|| self.externals.get(&id)).or_else(constant);
        found.ok_or_else(|| err!(Internal, "buffer {:?} has no memory", ready.program.buffer(id).name))
    }

    /// Records the copies to the textures that a dispatch reads, of what they do not hold yet.
    fn fill(&self, ready: &Ready, encoder: &mut wgpu::CommandEncoder, dispatch: usize) -> Result<()> {
        for c in ready.textures.of[dispatch].iter().filter(|c| c.fill) {
            let s = &ready.program.dispatches[dispatch].spans[c.span];
            let (from, offset) = (self.buffer(ready, s.buf)?, ready.start(s.buf) + s.offset);
            texels::fill(encoder, &self.textures[c.texture].0, from, offset, s.bytes);
        }
        Ok(())
    }

    /// Writes a host tensor into an external's buffer.
    pub fn write(&self, gpu: &Gpu, ready: &Ready, id: BufId, device: DeviceType, t: &Tensor) -> Result<()> {
        upload(&gpu.0, self.buffer(ready, id)?, &to_device(t, device)?);
        Ok(())
    }
}

/// GPU time of one dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The node's index into the graph's nodes.
    pub node: usize,
    /// The kernel.
    pub kernel: String,
    /// Nanoseconds on the device.
    pub nanos: f64,
    /// Nanoseconds on the device since the run's first dispatch began.
    pub start: f64,
    /// Bytes that it binds.
    pub bytes: u64,
    /// Arithmetic operations.
    pub flops: u64,
    /// What its tile was chosen for, and by, where there was a choice.
    pub chosen: Option<Arc<Chosen>>,
}

/// What goes into a program's memory and comes out of it.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Buffers that are copied to externals before the first dispatch.
    pub copies: Vec<(wgpu::Buffer, BufId)>,
    /// Bytes that are copied from buffer to buffer after the last dispatch, in order.
    pub saves: Vec<(wgpu::Buffer, wgpu::Buffer, u64)>,
    /// What comes to the host.
    pub reads: Vec<(View, TensorType)>,
}

impl Traffic {
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.saves.is_empty() && self.reads.is_empty()
    }
}

/// Dispatches that are submitted before others are recorded, which takes as long as the device takes for small ones; then
/// twice as many, and so on.
const EARLY: usize = 16;

/// Records the whole program between what comes and goes, submits it in a few parts, and gives the host tensors.
pub(crate) async fn run(
    gpu: &Gpu,
    ready: &Ready,
    memory: &mut Memory,
    traffic: &Traffic,
    timings: Option<&mut Vec<Timing>>,
) -> Result<Vec<Tensor>> {
    let (device, reads) = (&*gpu.0, &traffic.reads);
    if device.poison {
        memory.slots.iter().for_each(|s| upload(device, s, &vec![POISON; s.size() as usize]));
    }
    let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("run") });
    for (from, to) in &traffic.copies {
        let to = memory.buffer(ready, *to)?;
        encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size().min(to.size()));
    }
    let dispatches = &ready.program.dispatches;
    let query = timings.as_ref().filter(|_| device.timestamps.is_some() && !dispatches.is_empty());
    let query = query.map(|_| Queries::new(device, dispatches.len()));
    match &query {
        None => {
            let (mut from, mut count) = (0, if device.profile.cpu { dispatches.len() } else { EARLY });
            while from < dispatches.len() {
                if from > 0 {
                    let more = wgpu::CommandEncoderDescriptor { label: Some("run on") };
                    let begun = std::mem::replace(&mut encoder, device.device.create_command_encoder(&more));
                    device.queue.submit([begun.finish()]);
                }
                // the last takes what would be too little for one of its own
                let to = if from + 2 * count > dispatches.len() { dispatches.len() } else { from + count };
                let mut open = None;
                for (i, d) in dispatches.iter().enumerate().take(to).skip(from) {
                    if ready.textures.fills(i) {
                        drop(open.take());
                        memory.fill(ready, &mut encoder, i)?;
                    }
                    let begin = || encoder.begin_compute_pass(&Default::default()).forget_lifetime();
                    let pass = open.get_or_insert_with(begin);
                    pass.set_pipeline(&ready.pipelines[i].pipeline);
                    pass.set_bind_group(0, &memory.groups[i], &[]);
                    pass.dispatch_workgroups(d.grid[0], d.grid[1], d.grid[2]);
                }
                (from, count) = (to, 2 * count);
            }
        }
        Some(query) => {
            for (i, d) in dispatches.iter().enumerate() {
                let begun = query.begin(&mut encoder, i, ready.textures.fills(i));
                memory.fill(ready, &mut encoder, i)?;
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&d.label),
                    timestamp_writes: Some(query.writes(i, begun)),
                });
                pass.set_pipeline(&ready.pipelines[i].pipeline);
                pass.set_bind_group(0, &memory.groups[i], &[]);
                pass.dispatch_workgroups(d.grid[0], d.grid[1], d.grid[2]);
            }
            query.resolve(&mut encoder);
        }
    }
    for (from, to, bytes) in &traffic.saves {
        encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
    }
    let mut staged = vec![];
    let mut total = 0u64;
    for (view, t) in reads {
        let bytes = (t.numel() as u64 * view.device.bytes() as u64).next_multiple_of(4);
        staged.push((total, bytes));
        total += bytes.next_multiple_of(16);
    }
    if total > 0 {
        if memory.staging.as_ref().is_none_or(|s| s.size() < total) {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            memory.staging = Some(device.buffer("staging", total, usage));
        }
        let staging = memory.staging.as_ref().ok_or_else(|| err!(Internal, "no staging memory"))?;
        for ((view, _), (at, bytes)) in reads.iter().zip(&staged) {
            ensure!(view.is_dense(), Internal, "a strided view cannot be read back");
            let offset = ready.start(view.buf) + view.offset as u64 * view.device.bytes() as u64;
            if *bytes > 0 {
                encoder.copy_buffer_to_buffer(memory.buffer(ready, view.buf)?, offset, staging, *at, *bytes);
            }
        }
    }
    device.queue.submit([encoder.finish()]);
    let mut out = vec![];
    if let Some(staging) = memory.staging.as_ref().filter(|_| total > 0) {
        map(device, staging, total).await?;
        let range = staging.get_mapped_range(..total).map_err(|e| err!(Device, "readback: {e}"))?;
        for ((view, t), (at, bytes)) in reads.iter().zip(&staged) {
            out.push(from_device(t, view.device, &range[*at as usize..(at + bytes) as usize])?);
        }
        drop(range);
        staging.unmap();
    } else {
        for (view, t) in reads {
            out.push(from_device(t, view.device, &[])?);
        }
    }
    if let (Some(query), Some(timings)) = (query, timings) {
        query.read(device, dispatches, timings).await?;
    }
    Ok(out)
}

async fn map(device: &Device, buffer: &wgpu::Buffer, bytes: u64) -> Result<()> {
    let (send, receive) = futures_channel::oneshot::channel();
    buffer.slice(..bytes).map_async(wgpu::MapMode::Read, move |r| {
        // the receiver is only gone when the run was dropped
        let _ = send.send(r);
    });
    #[cfg(not(target_arch = "wasm32"))]
    device.wait()?;
    let mapped = receive.await.map_err(|_| err!(Device, "the device went away"))?;
    device.faults.alive()?;
    mapped.map_err(|e| err!(Device, "readback: {e}"))
}

/// Two timestamps a dispatch.
struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    count: u32,
    /// Whether the device has timestamps outside of passes.
    outside: bool,
}

impl Queries {
    fn new(device: &Device, dispatches: usize) -> Queries {
        let count = (dispatches * 2).min(wgpu::QUERY_SET_MAX_QUERIES as usize) as u32;
        let desc = wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count };
        let bytes = count as u64 * 8;
        Queries {
            set: device.device.create_query_set(&desc),
            resolved: device.buffer(
                "timestamps",
                bytes,
                wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            ),
            staging: device.buffer("timestamps", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            count,
            outside: device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS),
        }
    }

    /// Writes a dispatch's first timestamp where copies stand before its pass, and says whether it did.
    fn begin(&self, encoder: &mut wgpu::CommandEncoder, dispatch: usize, copies: bool) -> bool {
        let first = dispatch as u32 * 2;
        let begins = copies && self.outside && first < self.count;
        if begins {
            encoder.write_timestamp(&self.set, first);
        }
        begins
    }

    /// The timestamps of a dispatch's pass, of which the first may be there already.
    fn writes(&self, dispatch: usize, begun: bool) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = dispatch as u32 * 2;
        let index = |i: u32| (i < self.count).then_some(i);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: if begun { None } else { index(first).or(Some(0)) },
            end_of_pass_write_index: index(first + 1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, self.resolved.size());
    }

    async fn read(&self, device: &Device, dispatches: &[crate::plan::Dispatch], out: &mut Vec<Timing>) -> Result<()> {
        map(device, &self.staging, self.staging.size()).await?;
        let range = self.staging.get_mapped_range(..).map_err(|e| err!(Device, "timestamps: {e}"))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range[..]);
        let period = device.timestamps.unwrap_or(1.0) as f64;
        let first = ticks.first().copied().unwrap_or(0);
        let nanos = |from: u64, to: u64| to.saturating_sub(from) as f64 * period;
        for (d, t) in dispatches.iter().zip(ticks.chunks_exact(2)) {
            let (start, nanos) = (nanos(first, t[0]), nanos(t[0], t[1]));
            let (bytes, flops) = (d.bytes(), d.flops);
            let chosen = d.chosen.clone();
            out.push(Timing { node: d.node, kernel: d.label.clone(), nanos, start, bytes, flops, chosen });
        }
        Ok(())
    }
}

/// Brings a value to the host.
pub(crate) async fn download(gpu: &Gpu, val: &super::runner::Val) -> Result<Tensor> {
    let d = match val {
        super::runner::Val::Host(t) => return Ok(t.clone()),
        super::runner::Val::Device(d) => d,
    };
    let device = &*gpu.0;
    let bytes = (d.tensor_type.numel() as u64 * d.device.bytes() as u64).next_multiple_of(4);
    if bytes == 0 {
        return from_device(&d.tensor_type, d.device, &[]);
    }
    let staging = device.buffer("staging", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let mut encoder = device.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&d.buffer, 0, &staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    map(device, &staging, bytes).await?;
    let range = staging.get_mapped_range(..bytes).map_err(|e| err!(Device, "readback: {e}"))?;
    from_device(&d.tensor_type, d.device, &range)
}
