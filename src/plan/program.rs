//! What lowering makes: buffers by number and dispatches over them, nothing of any GPU library.

use std::fmt;
use std::sync::Arc;

use crate::Result;
use crate::ir::ValueId;
use crate::kernels::{Chosen, DeviceType, Spec};
use crate::tensor::Tensor;

/// A buffer's place in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// What a buffer is for.
#[derive(Debug, Clone)]
pub enum BufKind {
    /// Made and used up within the program; shares a slot with others by lifetime.
    Temp,
    /// A constant, uploaded once and shared by programs.
    Constant(Constant),
    /// A value that was there before (a graph input, or made by an earlier segment).
    External(ValueId),
}

/// One buffer.
#[derive(Debug, Clone)]
pub struct Buffer {
    /// Size in bytes, a multiple of 16 (so that kernels may read whole vectors at the end).
    pub bytes: u64,
    /// The elements that it holds.
    pub elements: usize,
    /// What it is for.
    pub kind: BufKind,
    /// The value or temporary it holds, for people.
    pub name: String,
}

/// Makes the tensor to upload from the one in the model.
pub type Make = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// A constant in device form.
#[derive(Clone)]
pub struct Constant {
    /// The tensor it is made from; its address is part of the identity.
    pub source: Tensor,
    /// What else it is made from; likewise.
    pub others: Vec<Tensor>,
    /// How it was rearranged (`""`: not at all). Equal sources, tag and device type mean equal bytes.
    pub tag: String,
    /// Its type on the device.
    pub device: DeviceType,
    /// Makes the tensor to upload.
    pub make: Make,
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constant({:?} {:?} as {:?})", self.source, self.tag, self.device)
    }
}

/// A range of a buffer that a dispatch binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The buffer.
    pub buf: BufId,
    /// First byte, a multiple of the device's offset alignment.
    pub offset: u64,
    /// Length in bytes, a multiple of 4.
    pub bytes: u64,
    /// Whether the shader writes it (`read_write`) or only reads it (`read`).
    pub write: bool,
}

/// One compute dispatch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The node it belongs to, by index into the graph's nodes.
    pub node: usize,
    /// The kernel's label.
    pub label: String,
    /// The shader.
    pub spec: Arc<Spec>,
    /// The uniform at binding 0 (empty: none is bound).
    pub params: Vec<u8>,
    /// Bindings from 1 on (from 0 on without params).
    pub spans: Vec<Span>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Arithmetic operations, as far as the kernel says; else one for each word that it writes.
    pub flops: u64,
    /// What its tile was chosen for, and by, where there was a choice.
    pub chosen: Option<Arc<Chosen>>,
}

impl Dispatch {
    /// Bytes of the ranges that it binds: what it moves, at most, if each element is read once.
    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|s| s.bytes).sum()
    }
}

/// Buffers and dispatches in order.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// The dispatches in the order of execution.
    pub dispatches: Vec<Dispatch>,
}

impl Program {
    /// A buffer.
    pub fn buffer(&self, id: BufId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }
}
