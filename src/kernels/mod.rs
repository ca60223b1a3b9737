//! The Rust half of each WGSL file: one struct per kernel is its parameter list, its pipeline key and its label;
//! the choice of variant by device profile; the grid.

mod choices;
mod compose;
mod device_type;
mod number;
mod profile;

pub mod attention;
pub mod bitcast;
pub mod boxes;
pub mod cache;
pub mod causal_conv;
pub mod col2im;
pub mod conv;
mod conv_shared;
pub mod copy;
pub mod deform;
pub mod det;
pub mod elementwise;
pub mod epilogue;
pub mod fft;
pub mod gather;
pub mod grid;
pub mod join;
pub mod linear_attention;
pub mod loss;
pub mod matmul;
pub mod matmul_bits;
mod matmul_gpu;
mod matmul_pack;
pub mod non_zero;
pub mod norm;
pub mod order;
pub mod pack_bytes;
pub mod pad;
pub mod pool;
pub mod quant;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod rnn;
pub mod roi;
mod rows;
pub mod shift;
pub mod sort;
pub mod texels;
pub mod tiles;
pub mod trees;
pub mod unique;
mod wgsl;
mod winograd;

pub use choices::{Choices, Chosen, Problem};
pub use compose::{ComposeError, Param, Spec, compose, version};
pub use device_type::{DeviceType, cast_expr, cast_wrap_expr};
pub use number::Number;
pub use profile::{Profile, When};

/// A kernel with everything that is baked into its shader.
pub trait Kernel {
    /// A short name for profiles and error messages.
    fn label(&self) -> String;
    /// The shader to compose.
    fn spec(&self, profile: &Profile) -> Spec;
    /// Whether its inputs can be texels where the device reads these faster.
    fn texels(&self) -> bool {
        true
    }
}

/// Threads of a workgroup of one-dimensional kernels (`@workgroup_size(64)`).
pub const LINEAR_WORKGROUP: u32 = 64;

/// Workgroups per grid dimension that every WebGPU device takes.
pub const MAX_GROUPS: u32 = 65_535;

/// Workgroups for `threads` threads in groups of `workgroup`, folded into y beyond [`MAX_GROUPS`]. Shaders count with
/// `linear_id` of `common/linear_id.wgsl` and return beyond their own count. No threads give an empty grid.
pub fn linear_grid(threads: usize, workgroup: u32) -> [u32; 3] {
    let groups = threads.div_ceil(workgroup as usize);
    let rows = groups.div_ceil(MAX_GROUPS as usize);
    if rows == 0 {
        return [0, 0, 0];
    }
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

/// The smallest of the ranks that shaders are compiled for (4, 8, 12, …) that holds `rank` dims: few classes, so
/// that a new shape needs no new shader.
pub fn rank_class(rank: usize) -> usize {
    rank.next_multiple_of(4).max(4)
}

/// The uniform of a dispatch, laid out as WGSL's `var<uniform>` struct of 32-bit scalars and `array<vec4<u32>, N>`.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<u8>);

impl Params {
    /// No params.
    pub fn new() -> Params {
        Params::default()
    }

    /// A `u32` field. Sizes beyond 2³² cannot be bound by any device, so truncation cannot happen.
    pub fn u32(mut self, v: impl TryInto<u32>) -> Params {
        self.0.extend(v.try_into().unwrap_or(u32::MAX).to_le_bytes());
        self
    }

    /// An `i32` field.
    pub fn i32(mut self, v: impl TryInto<i32>) -> Params {
        self.0.extend(v.try_into().unwrap_or(i32::MAX).to_le_bytes());
        self
    }

    /// An `f32` field.
    pub fn f32(mut self, v: f32) -> Params {
        self.0.extend(v.to_le_bytes());
        self
    }

    /// An `array<vec4<u32>, len / 4>` field: `values` at the end, `pad` before them up to `len` (a multiple of 4).
    pub fn array_u32(self, values: &[usize], len: usize, pad: u32) -> Params {
        let values: Vec<u32> = values.iter().map(|v| u32::try_from(*v).unwrap_or(u32::MAX)).collect();
        self.array(&values, len, pad)
    }

    /// An `array<vec4<i32>, len / 4>` field, zeros before `values` up to `len` (a multiple of 4).
    pub fn array_i32(self, values: &[isize], len: usize) -> Params {
        let values: Vec<u32> = values.iter().map(|v| i32::try_from(*v).unwrap_or(i32::MAX) as u32).collect();
        self.array(&values, len, 0)
    }

    fn array(mut self, values: &[u32], len: usize, pad: u32) -> Params {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        for _ in values.len()..len {
            self.0.extend(pad.to_le_bytes());
        }
        values.iter().for_each(|v| self.0.extend(v.to_le_bytes()));
        self
    }

    /// Fields of one word each that stand behind these.
    pub fn then(mut self, others: &Params) -> Params {
        self.0.extend(&others.0);
        self
    }

    /// The bytes, padded to a multiple of 16.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_fold_and_cover() {
        for threads in [0, 1, 64, 65, 65_535 * 64, 65_535 * 64 + 1, 1 << 31] {
            let [x, y, z] = linear_grid(threads, 64);
            assert!(x <= MAX_GROUPS && y <= MAX_GROUPS);
            assert!(x as usize * y as usize * z as usize * 64 >= threads);
            assert_eq!(threads == 0, x == 0);
        }
    }

    #[test]
    fn params_align_arrays() {
        let p = Params::new().u32(7u32).array_u32(&[2, 3], 4, 1).i32(-1).finish();
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&p);
        assert_eq!(words, [7, 0, 0, 0, 1, 1, 2, 3, u32::MAX, 0, 0, 0]);
    }
}
