//! Runs a graph on a device: finds or makes the plan for the inputs' shapes, runs its segments one after the other,
//! and lets the host look at data where a plan cannot go on without.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::exec::{self, Memory, Ready, Timing};
use super::recent::Recent;
use super::weights::upload;
use super::{Gpu, Pipeline, PipelineKey, Weights, cores, sizes, to_device};
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::kernels::{DeviceType, Profile, Spec};
use crate::limits::Meter;
use crate::ops::{ControlFlow, Handle, Pending, is_key};
use crate::plan::{self, End, Fallback, Known, PlanReport, Planned, Segment, View};
use crate::session::{self, OnProgress, Progress};
use crate::tensor::Tensor;
use crate::{Result, bail, cpu, ensure, err, passes};

/// Plans kept per graph, and continuations per segment; the least recently used goes first.
const PLANS: usize = 32;
/// Sets of activation memory kept per plan for runs at the same time, and per segment for its continuations.
const SPARE_MEMORY: usize = 4;
/// Integer values on the host up to which later plans are made for their data.
const FOLLOW: usize = 1 << 12;

/// A value on its way into or out of a run.
#[derive(Clone)]
pub(crate) enum Val {
    Host(Tensor),
    Device(OnDevice),
}

/// A dense value at the start of a buffer.
#[derive(Clone)]
pub(crate) struct OnDevice {
    pub buffer: wgpu::Buffer,
    pub tensor_type: TensorType,
    pub device: DeviceType,
}

impl OnDevice {
    /// Room for a value: in a buffer that is there, if it has the size, else in a new one.
    pub fn new(gpu: &Gpu, tensor_type: TensorType, device: DeviceType, old: Option<wgpu::Buffer>) -> OnDevice {
        let bytes = words(&tensor_type, device).next_multiple_of(16).max(16);
        let buffer = old.filter(|b| b.size() == bytes);
        let buffer = buffer.unwrap_or_else(|| gpu.0.buffer("kept", bytes, exec::ACTIVATION));
        OnDevice { buffer, tensor_type, device }
    }

    /// A copy of a tensor.
    pub fn upload(gpu: &Gpu, t: &Tensor, device: DeviceType) -> Result<OnDevice> {
        let to = OnDevice::new(gpu, TensorType::new(t.dtype(), t.shape()), device, None);
        to.write(gpu, t)?;
        Ok(to)
    }

    /// Writes a tensor of this type over what is there.
    pub fn write(&self, gpu: &Gpu, t: &Tensor) -> Result<()> {
        upload(&gpu.0, &self.buffer, &to_device(t, self.device)?);
        Ok(())
    }

    /// Bytes of its elements, rounded up to whole words.
    pub fn bytes(&self) -> u64 {
        words(&self.tensor_type, self.device)
    }
}

fn words(t: &TensorType, device: DeviceType) -> u64 {
    (t.numel() as u64 * device.bytes() as u64).next_multiple_of(4)
}

impl Val {
    pub fn tensor_type(&self) -> TensorType {
        match self {
            Val::Host(t) => TensorType::new(t.dtype(), t.shape()),
            Val::Device(d) => d.tensor_type.clone(),
        }
    }

    /// The tensor of a value that is on the host.
    pub fn into_host(self) -> Result<Tensor> {
        match self {
            Val::Host(t) => Ok(t),
            Val::Device(_) => Err(err!(Internal, "a value stayed on the device")),
        }
    }

    /// Bytes that it takes, wherever it is.
    fn bytes(&self) -> u64 {
        match self {
            Val::Host(t) => t.bytes().len() as u64,
            Val::Device(d) => d.buffer.size(),
        }
    }
}

/// Where an output of a run is wanted.
#[derive(Clone)]
pub(crate) enum Wanted {
    Host,
    /// In a buffer that nothing else writes: this one, if it has the size, else a new one.
    Device(Option<wgpu::Buffer>),
    /// In the caller's memory, of just this type.
    Into(OnDevice),
    /// Nowhere.
    Not,
}

/// What a run did; for reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunStats {
    /// Dispatches recorded.
    pub dispatches: usize,
    /// Submits, one for each segment that has work.
    pub segments: usize,
    /// Plans and continuations of plans that were made, as there were none yet for these shapes.
    pub plans: usize,
    /// How often bodies of control flow were run.
    pub iterations: usize,
    /// Bytes of activation slots.
    pub activation_bytes: u64,
    /// The most bytes of activations that live at once.
    pub activation_lower_bound: u64,
    /// Paths of the nodes that ran on the host.
    pub host_nodes: Vec<String>,
    /// GPU time per dispatch, when asked for and the adapter has timestamps.
    pub timings: Vec<Timing>,
}

/// What a plan depends on: the values that it begins with, their types and what is known of each.
type Key = Vec<(ValueId, TensorType, Seen)>;

/// What a plan knows of a value that it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Seen {
    /// It lies on the device.
    Device,
    /// It lies on the host.
    Host,
    /// It lies wherever it may.
    Anywhere,
    /// Its data.
    Data(Vec<u8>),
}

/// The key of a plan to which it is the same where values lie.
fn anywhere(key: &Key) -> Key {
    let seen = |s: &Seen| if matches!(s, Seen::Data(_)) { s.clone() } else { Seen::Anywhere };
    key.iter().map(|(v, t, s)| (*v, t.clone(), seen(s))).collect()
}

struct Stage {
    segment: Segment,
    ready: Ready,
    next: Mutex<Recent<Key, Arc<Stage>>>,
}

struct Instance {
    /// What it is the memory of.
    stage: Arc<Stage>,
    memory: Memory,
    next: Recent<Key, Instance>,
}

struct Plan {
    root: Arc<Stage>,
    spare: Mutex<Vec<Instance>>,
}

/// What was compiled with the first plan.
struct Compiled {
    _pipelines: Vec<Arc<Pipeline>>,
    /// That for other sizes too, where there may be any.
    shaders: Option<Arc<HashSet<Arc<Spec>>>>,
}

pub(crate) struct Runner {
    gpu: Gpu,
    graph: Arc<Graph>,
    weights: Arc<Weights>,
    fallback: Fallback,
    /// What kernels are chosen by.
    profile: Arc<Profile>,
    /// Whether the first plan's sizes are the only ones.
    fixed_sizes: bool,
    compiled: OnceLock<Compiled>,
    plans: Mutex<Recent<Key, Arc<Plan>>>,
    demanded: Mutex<HashSet<ValueId>>,
    bodies: Mutex<HashMap<(usize, usize), Arc<Runner>>>,
}

fn lock<T>(m: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    m.lock().map_err(|_| err!(Internal, "another thread failed in the middle of a run"))
}

impl Runner {
    pub fn new(gpu: Gpu, graph: Arc<Graph>, weights: Arc<Weights>, fallback: Fallback, fixed_sizes: bool) -> Runner {
        let (demanded, bodies, compiled) = Default::default();
        let plans = Mutex::new(Recent::new(PLANS));
        let profile = gpu.0.profile.clone();
        Runner { gpu, graph, weights, fallback, profile, fixed_sizes, compiled, plans, demanded, bodies }
    }

    /// One for the same graph that takes the tiles of a rank by the model of costs.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of_rank(&self, rank: usize) -> Runner {
        let other = Runner::new(self.gpu.clone(), self.graph.clone(), self.weights.clone(), self.fallback, true);
        Runner { profile: Arc::new(Profile { rank: Some(rank), ..Profile::clone(&self.profile) }), ..other }
    }

    /// Forgets its plans: what they chose is no longer the best.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forget_plans(&self) -> Result<()> {
        *lock(&self.plans)? = Recent::new(PLANS);
        lock(&self.bodies)?.clear();
        Ok(())
    }

    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn key(&self, vals: &HashMap<ValueId, Val>, demanded: &HashSet<ValueId>) -> Key {
        let part = |v: &ValueId| {
            let val = vals.get(v)?;
            let seen = match val {
                Val::Host(t) if demanded.contains(v) => Seen::Data(t.bytes().to_vec()),
                Val::Host(_) => Seen::Host,
                Val::Device(_) => Seen::Device,
            };
            Some((*v, val.tensor_type(), seen))
        };
        self.graph.inputs.iter().filter_map(part).collect()
    }

    /// The plan for these inputs, made if there is none yet.
    fn plan(&self, vals: &HashMap<ValueId, Val>, stats: &mut RunStats, progress: OnProgress<'_>) -> Result<Arc<Plan>> {
        loop {
            let demanded = lock(&self.demanded)?.clone();
            let key = self.key(vals, &demanded);
            let anywhere = anywhere(&key);
            {
                let mut plans = lock(&self.plans)?;
                for key in [&anywhere, &key] {
                    if let Some(plan) = plans.get(key) {
                        return Ok(plan.clone());
                    }
                }
            }
            let mut known = Known { shaders: self.compiled.get().and_then(|c| c.shaders.clone()), ..Known::default() };
            for (id, v) in self.graph.values() {
                if let Some(c) = &v.constant {
                    known.values.insert(id, c.clone());
                    known.types.insert(id, TensorType::new(c.dtype(), c.shape()));
                }
            }
            for v in &self.graph.inputs {
                let val = vals.get(v).ok_or_else(|| err!(Internal, "an input is missing"))?;
                known.types.insert(*v, val.tensor_type());
                if let Val::Host(t) = val {
                    known.host.insert(*v);
                    if demanded.contains(v) {
                        known.values.insert(*v, t.clone());
                    }
                }
            }
            let first = self.compiled.get().is_none() && !self.fixed_sizes;
            let start = first.then(|| known.clone());
            let segment = match self.segment(0, known, progress)? {
                Planned::Segment(segment) => *segment,
                Planned::Demand(inputs) => {
                    lock(&self.demanded)?.extend(inputs);
                    continue;
                }
            };
            let others = start.map(|known| self.for_other_sizes(&known)).transpose()?;
            let root = self.stage(segment, others.as_deref().unwrap_or_default(), progress)?;
            if let Some(others) = others {
                let own = root.ready.program.dispatches.iter().map(|d| d.spec.clone());
                let open = !others.is_empty();
                // kernels are chosen before it is known what they read as texels
                let plain = |s: Arc<Spec>| match s.texels.is_empty() {
                    true => s,
                    false => Arc::new(Spec { texels: vec![], ..s.as_ref().clone() }),
                };
                let specs = own.chain(others.into_iter().map(|k| k.spec));
                let shaders = open.then(|| Arc::new(specs.map(plain).collect()));
                self.compiled.get_or_init(|| Compiled { _pipelines: root.ready.pipelines.clone(), shaders });
            }
            stats.plans += 1;
            // nothing but a later segment or the caller looks at where an input lies
            let passed_on = self.graph.inputs.iter().any(|v| self.graph.outputs.contains(v));
            let key = if root.segment.end == End::Done && !passed_on { anywhere } else { key };
            let plan = Arc::new(Plan { root, spare: Mutex::default() });
            lock(&self.plans)?.insert(key, plan.clone());
            return Ok(plan);
        }
    }

    /// The pipelines that plans for other sizes need: of those sizes, what can be planned and is not split for its size.
    fn for_other_sizes(&self, known: &Known) -> Result<Vec<PipelineKey>> {
        let types: Option<Vec<TensorType>> = self.graph.inputs.iter().map(|v| known.types.get(v).cloned()).collect();
        let all = types.map(|types| sizes::others(&self.graph, &types)).unwrap_or_default();
        let most = self.gpu.0.profile.max_binding;
        let keys = cores::on_all(&all, |types| {
            let mut known = known.clone();
            for (v, t) in self.graph.inputs.iter().zip(types) {
                // data of another size are not those at hand
                if known.values.get(v).is_some_and(|data| data.shape() != t.shape) {
                    known.values.remove(v);
                }
                known.types.insert(*v, t.clone());
            }
            Ok(match plan::plan(&self.graph, &self.profile, 0, known, self.fallback) {
                Ok(Planned::Segment(s)) if s.program.buffers.iter().all(|b| b.bytes <= most) => {
                    s.program.dispatches.iter().map(PipelineKey::of).collect()
                }
                _ => vec![],
            })
        })?;
        let mut seen = HashSet::new();
        Ok(keys.into_iter().flatten().filter(|k: &PipelineKey| seen.insert(k.clone())).collect())
    }

    fn segment(&self, start: usize, known: Known, progress: OnProgress<'_>) -> Result<Planned> {
        let total = self.graph.nodes.len();
        progress(Progress { stage: session::Stage::Plan, done: start, total });
        plan::plan(&self.graph, &self.profile, start, known, self.fallback)
    }

    fn stage(&self, segment: Segment, others: &[PipelineKey], progress: OnProgress<'_>) -> Result<Arc<Stage>> {
        let kept = plan::kept(&segment);
        let program = segment.program.clone();
        let ready = Ready::new(&self.gpu, &self.weights, program, &kept, others, &self.graph.limits, progress)?;
        Ok(Arc::new(Stage { segment, ready, next: Mutex::new(Recent::new(PLANS)) }))
    }

    /// Makes the plan for these types and compiles its pipelines, as far as it goes without data.
    pub fn prepare(&self, inputs: &[Val], progress: OnProgress<'_>) -> Result<()> {
        let vals = self.graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
        self.plan(&vals, &mut RunStats::default(), progress).map(|_| ())
    }

    /// The first segment of the plan for these inputs.
    pub fn describe(&self, inputs: &[Val]) -> Result<PlanReport> {
        let vals = self.graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
        let stage = &self.plan(&vals, &mut RunStats::default(), &|_| ())?.root;
        let (program, slots, end) = (stage.ready.program.clone(), stage.ready.slots.clone(), stage.segment.end.clone());
        let view_bytes = |v: &View| v.numel() as u64 * v.device.bytes() as u64;
        let readback = self.graph.outputs.iter().filter_map(|v| stage.segment.live.get(v)).map(view_bytes).sum();
        Ok(PlanReport { program, slots, end, readback })
    }

    /// Runs the graph; gives an output for each that is wanted. One that is known on the host may stay there.
    pub async fn run(&self, inputs: Vec<Val>, wanted: &[Wanted], stats: &mut RunStats) -> Result<Vec<Val>> {
        let faults = &self.gpu.0.faults;
        faults.alive()?;
        let mark = faults.mark();
        let vals: HashMap<ValueId, Val> = self.graph.inputs.iter().copied().zip(inputs).collect();
        let plan = self.plan(&vals, stats, &|_| ())?;
        let spare = lock(&plan.spare)?.pop();
        let mut instance = match spare {
            Some(i) => i,
            None => self.instance(&plan.root, &HashMap::new())?,
        };
        let out = self.run_stages(&plan, &mut instance, vals, wanted, stats).await;
        // of what is wrong, the device's own words say most
        let out = faults.since(mark).and(out);
        if out.is_ok() {
            let mut spare = lock(&plan.spare)?;
            if spare.len() < SPARE_MEMORY {
                spare.push(instance);
            }
        }
        out
    }

    fn instance(&self, stage: &Arc<Stage>, given: &HashMap<ValueId, wgpu::Buffer>) -> Result<Instance> {
        Ok(Instance {
            stage: stage.clone(),
            memory: Memory::new(&self.gpu, &stage.ready, given)?,
            next: Recent::new(SPARE_MEMORY),
        })
    }

    async fn run_stages(
        &self,
        plan: &Plan,
        root: &mut Instance,
        mut vals: HashMap<ValueId, Val>,
        wanted: &[Wanted],
        stats: &mut RunStats,
    ) -> Result<Vec<Val>> {
        let mut stage = plan.root.clone();
        let mut instance = root;
        // buffers of earlier segments of this run, which stay where they are from run to run
        let mut given: HashMap<ValueId, wgpu::Buffer> = HashMap::new();
        let timed = stats.timings.capacity() > 0;
        loop {
            let ready = &stage.ready;
            stats.dispatches += ready.program.dispatches.len();
            stats.segments += !ready.program.dispatches.is_empty() as usize;
            stats.activation_bytes += ready.slots.total();
            stats.activation_lower_bound += ready.slots.lower_bound;

            let mut traffic = exec::Traffic::default();
            for (v, buf) in &ready.externals {
                if given.contains_key(v) {
                    continue;
                }
                match vals.get(v) {
                    Some(Val::Host(t)) => {
                        let device = self.gpu.0.profile.device_type(t.dtype())?;
                        instance.memory.write(&self.gpu, ready, *buf, device, t)?;
                    }
                    Some(Val::Device(d)) => traffic.copies.push((d.buffer.clone(), *buf)),
                    None => bail!(Internal, "{:?} is not there", self.graph.value(*v).name),
                }
            }
            let reads = self.reads(&stage, &vals, wanted);
            let views = reads.iter().filter_map(|v| stage.segment.live.get(v));
            traffic.reads = views.map(|view| (view.clone(), view.tensor_type())).collect();
            let saved = match stage.segment.end {
                End::Done => self.saves(&stage, &instance.memory, wanted, &mut traffic)?,
                _ => vec![],
            };
            let timings = if timed { Some(&mut stats.timings) } else { None };
            let idle = ready.program.dispatches.is_empty() && traffic.is_empty();
            let read = if idle {
                vec![]
            } else {
                exec::run(&self.gpu, ready, &mut instance.memory, &traffic, timings).await?
            };
            for (v, view) in &stage.segment.live {
                let buffer = instance.memory.buffer(ready, view.buf)?.clone();
                given.insert(*v, buffer.clone());
                let on = OnDevice { buffer, tensor_type: view.tensor_type(), device: view.device };
                vals.insert(*v, Val::Device(on));
            }
            for (v, t) in reads.iter().zip(read) {
                given.remove(v);
                vals.insert(*v, Val::Host(t));
            }

            let mut made: Vec<ValueId> = vec![];
            let (next, planned) = match stage.segment.end.clone() {
                End::Done => return self.outputs(&stage, &vals, saved),
                End::Read(v, next) => {
                    made.push(v);
                    (next, Data::All)
                }
                End::Host(n) => {
                    let node = &self.graph.nodes[n];
                    let out = self.on_host(&stage, n, node, &vals, stats).await.map_err(|e| e.in_node(node.path()))?;
                    for (v, val) in node.outputs.iter().zip(out) {
                        if let Some(v) = v {
                            vals.insert(*v, val);
                            made.push(*v);
                        }
                    }
                    (n + 1, if is_key(&node.operator) { Data::None } else { Data::Small })
                }
            };
            let key = follow_key(&made, &vals, planned);
            let known_next = lock(&stage.next)?.get(&key).map(|s| s.clone());
            let following = match known_next {
                Some(s) => s,
                None => {
                    let s = self.following(&stage, next, &key, &vals)?;
                    stats.plans += 1;
                    lock(&stage.next)?.insert(key.clone(), s.clone());
                    s
                }
            };
            if instance.next.get(&key).is_none_or(|i| !Arc::ptr_eq(&i.stage, &following)) {
                let fresh = self.instance(&following, &given)?;
                instance.next.insert(key.clone(), fresh);
            }
            instance = instance.next.get(&key).ok_or_else(|| err!(Internal, "no memory"))?;
            stage = following;
        }
    }

    /// The values that a segment's end wants on the host.
    fn reads(&self, stage: &Stage, vals: &HashMap<ValueId, Val>, wanted: &[Wanted]) -> Vec<ValueId> {
        let live = |v: &ValueId| stage.segment.live.contains_key(v) && !matches!(vals.get(v), Some(Val::Host(_)));
        let mut out: Vec<ValueId> = match &stage.segment.end {
            End::Done => {
                let outputs = self.graph.outputs.iter().zip(wanted);
                outputs.filter(|(_, w)| matches!(w, Wanted::Host)).map(|(v, _)| *v).filter(live).collect()
            }
            End::Read(v, _) => [*v].into_iter().filter(live).collect(),
            End::Host(n) => {
                let node = &self.graph.nodes[*n];
                let control = !node.operator.op.bodies().is_empty();
                if control { vec![] } else { node.used_inputs().filter(live).collect() }
            }
        };
        out.sort_unstable();
        out.dedup();
        out
    }

    fn following(&self, stage: &Stage, next: usize, key: &Key, vals: &HashMap<ValueId, Val>) -> Result<Arc<Stage>> {
        let mut known = stage.segment.known.clone();
        for (v, t, seen) in key {
            known.types.insert(*v, t.clone());
            match (seen, vals.get(v)) {
                (Seen::Data(_), Some(Val::Host(t))) => {
                    known.values.insert(*v, t.clone());
                }
                (Seen::Host, _) => {
                    known.host.insert(*v);
                }
                _ => {}
            }
        }
        match self.segment(next, known, &|_| ())? {
            Planned::Segment(segment) => self.stage(*segment, &[], &|_| ()),
            Planned::Demand(_) => bail!(Internal, "a later segment demanded an input"),
        }
    }

    /// Adds the copies of the outputs that are to stay on the device, as the plan's own memory is written again by the
    /// next run, and gives where they will be; nothing of those that the host has.
    fn saves(
        &self,
        stage: &Stage,
        memory: &Memory,
        wanted: &[Wanted],
        traffic: &mut exec::Traffic,
    ) -> Result<Vec<Option<OnDevice>>> {
        let mut saved = vec![];
        for (v, wanted) in self.graph.outputs.iter().zip(wanted) {
            let Some(view) = stage.segment.live.get(v) else {
                saved.push(None);
                continue;
            };
            let made = view.tensor_type();
            let to = match wanted {
                Wanted::Host | Wanted::Not => None,
                Wanted::Device(old) => Some(OnDevice::new(&self.gpu, made, view.device, old.clone())),
                Wanted::Into(to) => {
                    let (name, room) = (&self.graph.value(*v).name, &to.tensor_type);
                    ensure!(
                        *room == made,
                        InvalidInput,
                        "output {name:?}: its memory is of {room}, the run gives {made}"
                    );
                    Some(to.clone())
                }
            };
            if let Some(to) = &to {
                let from = memory.buffer(&stage.ready, view.buf)?.clone();
                traffic.saves.push((from, to.buffer.clone(), to.bytes()));
            }
            saved.push(to);
        }
        Ok(saved)
    }

    fn outputs(&self, stage: &Stage, vals: &HashMap<ValueId, Val>, saved: Vec<Option<OnDevice>>) -> Result<Vec<Val>> {
        let one = |(v, saved): (&ValueId, Option<OnDevice>)| {
            let known = stage.segment.known.values.get(v).cloned().map(Val::Host);
            let val = known.or(saved.map(Val::Device)).or_else(|| vals.get(v).cloned());
            val.ok_or_else(|| err!(Internal, "output {:?} is not there", self.graph.value(*v).name))
        };
        self.graph.outputs.iter().zip(saved).map(one).collect()
    }

    async fn on_host(
        &self,
        stage: &Stage,
        index: usize,
        node: &Node,
        vals: &HashMap<ValueId, Val>,
        stats: &mut RunStats,
    ) -> Result<Vec<Val>> {
        let known = &stage.segment.known.values;
        let get = |v: ValueId| known.get(&v).cloned().map(Val::Host).or_else(|| vals.get(&v).cloned());
        let missing = || err!(Internal, "an input is not there");
        if node.operator.op.bodies().is_empty() {
            let mut host = HashMap::new();
            for v in node.used_inputs() {
                match get(v).ok_or_else(missing)? {
                    Val::Host(t) => host.insert(v, t),
                    Val::Device(_) => bail!(Internal, "an input stayed on the device"),
                };
            }
            if !is_key(&node.operator) {
                stats.host_nodes.push(node.path());
            }
            let made = cpu::eval_within(node, &host, &mut Meter::new(self.graph.limits))?;
            return Ok(made.into_iter().map(Val::Host).collect());
        }
        let mut flow = Flow { runner: self, node: index, vals: vec![], held: 0, stats };
        let mut handles = vec![];
        for v in &node.inputs {
            handles.push(match v {
                None => None,
                Some(v) => Some(flow.add(get(*v).ok_or_else(missing)?)),
            });
        }
        let out = node.operator.op.control(&mut flow, &handles).await?;
        out.into_iter().map(|h| flow.val(h)).collect()
    }

    fn body(&self, node: usize, body: usize) -> Result<Arc<Runner>> {
        let mut bodies = lock(&self.bodies)?;
        if let Some(r) = bodies.get(&(node, body)) {
            return Ok(r.clone());
        }
        let op = &self.graph.nodes[node].operator.op;
        let Some(graph) = op.bodies().get(body).copied() else { bail!(Internal, "no body {body}") };
        let mut graph = (**graph).clone();
        passes::run(&mut graph, &[])?;
        let (gpu, weights) = (self.gpu.clone(), self.weights.clone());
        let runner = Arc::new(Runner::new(gpu, Arc::new(graph), weights, self.fallback, true));
        bodies.insert((node, body), runner.clone());
        Ok(runner)
    }
}

/// The data of the values made between two segments on which the next plan depends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Data {
    /// It was read for the plan.
    All,
    /// Few integers, which may be a shape.
    Small,
    /// The key of random draws, another in each run.
    None,
}

/// Types of the values made between two segments, and the data of those on which the plan depends.
fn follow_key(made: &[ValueId], vals: &HashMap<ValueId, Val>, planned: Data) -> Key {
    let part = |v: &ValueId| {
        let val = vals.get(v)?;
        let seen = match val {
            Val::Host(t) => {
                let shape_like = !t.dtype().is_float() && t.dtype().size() > 0 && t.len() <= FOLLOW;
                let all = planned == Data::All || planned == Data::Small && shape_like;
                if all { Seen::Data(t.bytes().to_vec()) } else { Seen::Host }
            }
            Val::Device(_) => Seen::Device,
        };
        Some((*v, val.tensor_type(), seen))
    };
    made.iter().filter_map(part).collect()
}

/// Bodies of control flow, run on the device.
struct Flow<'a> {
    runner: &'a Runner,
    node: usize,
    /// `None` once forgotten.
    vals: Vec<Option<Val>>,
    /// Bytes of those that are not.
    held: u64,
    stats: &'a mut RunStats,
}

impl Flow<'_> {
    fn add(&mut self, v: Val) -> Handle {
        self.held = self.held.saturating_add(v.bytes());
        self.vals.push(Some(v));
        Handle(self.vals.len() - 1)
    }

    fn val(&self, h: Handle) -> Result<Val> {
        self.vals.get(h.0).cloned().flatten().ok_or_else(|| err!(Internal, "unknown handle"))
    }
}

impl Flow<'_> {
    async fn run_body(&mut self, body: usize, inputs: &[Handle]) -> Result<Vec<Handle>> {
        self.stats.iterations += 1;
        let limits = self.runner.graph.limits;
        limits.iterate(self.stats.iterations)?;
        limits.hold(self.held, [&TensorType::new(crate::DType::U8, [0])], 1)?;
        let runner = self.runner.body(self.node, body)?;
        let inputs: Vec<Val> = inputs.iter().map(|h| self.val(*h)).collect::<Result<_>>()?;
        let wanted = vec![Wanted::Device(None); runner.graph.outputs.len()];
        let out = runner.run(inputs, &wanted, self.stats).await?;
        Ok(out.into_iter().map(|v| self.add(v)).collect())
    }

    async fn read_value(&mut self, value: Handle) -> Result<Tensor> {
        let val = self.val(value)?;
        let t = exec::download(&self.runner.gpu, &val).await?;
        self.vals[value.0] = Some(Val::Host(t.clone()));
        Ok(t)
    }

    async fn stack_values(&mut self, values: &[Handle], axis: usize) -> Result<Handle> {
        let mut parts = vec![];
        for h in values {
            parts.push(self.read_value(*h).await?);
        }
        let stacked = crate::ops::stack(&parts, axis)?;
        Ok(self.add(Val::Host(stacked)))
    }

    async fn take_value(&mut self, value: Handle, axis: usize, index: usize) -> Result<Handle> {
        let whole = self.read_value(value).await?;
        let taken = crate::ops::take(&whole, axis, index)?;
        Ok(self.add(Val::Host(taken)))
    }
}

impl ControlFlow for Flow<'_> {
    fn run<'a>(&'a mut self, body: usize, inputs: &'a [Handle]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.run_body(body, inputs))
    }

    fn read(&mut self, value: Handle) -> Pending<'_, Tensor> {
        Box::pin(self.read_value(value))
    }

    fn host(&mut self, value: Tensor) -> Handle {
        self.add(Val::Host(value))
    }

    fn type_of(&self, value: Handle) -> TensorType {
        let val = self.vals.get(value.0).and_then(Option::as_ref);
        val.map_or_else(|| TensorType::new(crate::DType::F32, [0]), Val::tensor_type)
    }

    fn forget(&mut self, values: &[Handle]) {
        for h in values {
            if let Some(v) = self.vals.get_mut(h.0).and_then(Option::take) {
                self.held = self.held.saturating_sub(v.bytes());
            }
        }
    }

    fn stack<'a>(&'a mut self, values: &'a [Handle], axis: usize) -> Pending<'a, Handle> {
        Box::pin(self.stack_values(values, axis))
    }

    fn take(&mut self, value: Handle, axis: usize, index: usize) -> Pending<'_, Handle> {
        Box::pin(self.take_value(value, axis, index))
    }
}
