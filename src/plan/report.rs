//! A plan for people: dispatches, buffers and slots.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{BufKind, Dispatch, End, Program, Slots, texels};
use crate::ir::Graph;

/// Bytes of one write to a device's queue: staging memory is held until the copy has run.
pub(crate) const UPLOAD_CHUNK: u64 = 2 << 20;
/// Params of dispatches lie at multiples of this in one buffer.
pub(crate) const PARAM_ALIGN: u64 = 256;

/// The first segment of a plan: all of it, unless the graph needs the host in the middle.
#[derive(Debug, Clone)]
pub struct PlanReport {
    /// The dispatches and buffers.
    pub program: Program,
    /// Slots of the temporaries.
    pub slots: Slots,
    /// Why the segment ends.
    pub end: End,
    /// Bytes that are read back at its end.
    pub readback: u64,
}

/// The device memory of a plan's first segment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Constants, shared by all plans of a model.
    pub weights: u64,
    /// Inputs.
    pub inputs: u64,
    /// Activations: all slots.
    pub activations: u64,
    /// The most bytes of activations that live at once.
    pub activations_lower_bound: u64,
    /// Textures that activations are copied to, where the device reads these faster.
    pub textures: u64,
    /// Params of the dispatches.
    pub params: u64,
    /// Memory that the host maps: the largest upload at a time, or what is read back.
    pub staging: u64,
    /// All of it together.
    pub peak: u64,
}

/// Figures of a plan's first segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStats {
    /// How many dispatches.
    pub dispatches: usize,
    /// How many of them only copy.
    pub copies: usize,
    /// Bytes that the dispatches bind, each range once for each dispatch: what they move, at most, if each element is
    /// read once.
    pub bytes_bound: u64,
    /// Arithmetic operations, as far as the kernels say.
    pub flops: u64,
    /// Buffers that the temporaries share.
    pub slots: usize,
    /// Bytes of those.
    pub activation_bytes: u64,
    /// The most bytes of temporaries that live at once.
    pub activation_lower_bound: u64,
    /// Bytes of constants.
    pub constant_bytes: u64,
    /// Dispatches by kernel.
    pub kernels: BTreeMap<String, usize>,
}

impl PlanReport {
    /// The dispatches in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.program.dispatches.iter()
    }

    /// The figures of the plan.
    pub fn stats(&self) -> PlanStats {
        let mut kernels: BTreeMap<String, usize> = BTreeMap::new();
        for d in self.dispatches() {
            *kernels.entry(d.label.clone()).or_default() += 1;
        }
        let constants = self.program.buffers.iter().filter(|b| matches!(b.kind, BufKind::Constant(_)));
        PlanStats {
            dispatches: self.program.dispatches.len(),
            copies: kernels.iter().filter(|(label, _)| label.starts_with("copy")).map(|(_, n)| n).sum(),
            bytes_bound: self.dispatches().map(Dispatch::bytes).sum(),
            flops: self.dispatches().map(|d| d.flops).sum(),
            slots: self.slots.sizes.len(),
            activation_bytes: self.slots.total(),
            activation_lower_bound: self.slots.lower_bound,
            constant_bytes: constants.map(|b| b.bytes).sum(),
            kernels,
        }
    }

    /// The memory that the plan takes on the device.
    pub fn memory(&self) -> MemoryReport {
        let mut used = vec![false; self.program.buffers.len()];
        self.dispatches().flat_map(|d| &d.spans).for_each(|s| used[s.buf.0 as usize] = true);
        let of = |kind: fn(&BufKind) -> bool| {
            let all = self.program.buffers.iter().zip(&used);
            all.filter(move |(b, used)| **used && kind(&b.kind)).map(|(b, _)| b.bytes)
        };
        let constants = |k: &BufKind| matches!(k, BufKind::Constant(_));
        let (weights, inputs) = (of(constants).sum(), of(|k| matches!(k, BufKind::External(_))).sum());
        let params = self.dispatches().map(|d| (d.params.len() as u64).next_multiple_of(PARAM_ALIGN)).sum();
        let upload = of(|k| !matches!(k, BufKind::Temp)).max().unwrap_or(0).min(UPLOAD_CHUNK);
        let (activations, staging) = (self.slots.total(), upload.max(self.readback));
        let textures = texels::assign(&self.program).total();
        MemoryReport {
            weights,
            inputs,
            activations,
            activations_lower_bound: self.slots.lower_bound,
            textures,
            params,
            staging,
            peak: weights + inputs + activations + textures + params + staging,
        }
    }

    /// One line a dispatch; with `buffers`, what each binds and where it lies.
    pub fn to_text(&self, graph: &Graph, buffers: bool) -> String {
        let mut out = String::new();
        for (i, d) in self.program.dispatches.iter().enumerate() {
            let node = graph.nodes.get(d.node).map_or_else(|| "?".into(), |n| n.path());
            let _ = writeln!(out, "{i:4} {} {:?} for {node}", d.label, d.grid);
            for (at, s) in d.spans.iter().enumerate().filter(|_| buffers) {
                let b = self.program.buffer(s.buf);
                let place = match (&b.kind, self.slots.of.get(s.buf.0 as usize).copied().flatten()) {
                    (BufKind::Constant(_), _) => "constant".into(),
                    (BufKind::External(_), _) => "external".into(),
                    (BufKind::Temp, Some(place)) => format!("slot {} from {}", place.slot, place.offset),
                    (BufKind::Temp, None) => "unused".into(),
                };
                let mode = if s.write { "write" } else { "read " };
                let texels = if d.reads_texels(at) { ", as texels" } else { "" };
                let _ =
                    writeln!(out, "       {mode} {:?} {} bytes at {} in {place}{texels}", b.name, b.bytes, s.offset);
            }
        }
        let constants: u64 =
            (self.program.buffers.iter()).filter(|b| matches!(b.kind, BufKind::Constant(_))).map(|b| b.bytes).sum();
        let _ = writeln!(
            out,
            "{} dispatches; activations {} bytes in {} slots (lower bound {}); constants {constants} bytes; ends: {:?}",
            self.program.dispatches.len(),
            self.slots.total(),
            self.slots.sizes.len(),
            self.slots.lower_bound,
            self.end,
        );
        out
    }
}
