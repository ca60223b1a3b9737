//! How GPUs share out rows that lie densely: `shaders/common/rows.wgsl`.

use super::{Spec, linear_grid};

/// Elements of a row that the invocations of a workgroup hold at most.
pub(super) const HELD: usize = 8192;

/// The invocations of a row, and what each has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    lanes: u32,
    /// Values that a lane combines in the first of two steps.
    first: u32,
    quads: u32,
    threads: u32,
    /// Whether there are more elements than are held.
    pub long: bool,
    /// Whether quads of neighbours are read and written at once.
    pub vectors: bool,
}

impl Rows {
    /// For rows of `length` elements, at least one; `aligned` where all of them begin at a multiple of four elements if
    /// their length is one.
    pub fn of(length: usize, aligned: bool) -> Rows {
        let (lanes, first, quads) = match length {
            0..=16 => (4, 2, 1),
            17..=64 => (16, 4, 1),
            65..=128 => (32, 4, 1),
            129..=256 => (32, 4, 2),
            257..=512 => (32, 4, 4),
            513..=1024 => (64, 8, 4),
            1025..=2048 => (128, 8, 4),
            2049..=4096 => (256, 16, 4),
            4097..=HELD => (256, 16, 8),
            _ => (256, 16, 4),
        };
        let vectors = aligned && length.is_multiple_of(4);
        Rows { lanes, first, quads, threads: lanes.max(128), long: length > HELD, vectors }
    }

    /// The kernel's spec with what `rows.wgsl` names, but for the types.
    pub fn spec(&self, spec: Spec) -> Spec {
        spec.u32("THREADS", self.threads)
            .u32("LANES", self.lanes)
            .u32("FIRST", self.first)
            .u32("QUADS", self.quads)
            .flag("VECTORS", self.vectors)
    }

    /// Workgroups for so many rows.
    pub fn grid(&self, rows: usize) -> [u32; 3] {
        linear_grid(rows, self.threads / self.lanes)
    }
}
