//! Matrix products with weights of few bits, which stay packed on the device (`shaders/common/bits.wgsl`): of a few rows
//! `shaders/matmul_bits.wgsl`, which reads each weight once; of many rows the kernels of other products. On GPUs those make
//! floats of what they load; software adapters and cooperative matrices take columns that `shaders/unpack_bits.wgsl` makes
//! floats of, some at a time.

use super::matmul::{Call, Common, Cut, LANES, Product, Right, product, storage, tile_vectors};
use super::matmul_gpu::{self, FEW, THREADS, in_parts, of_parts, parts};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// Rows of the matrix that an invocation takes at a time, unless a block is smaller.
const UNIT: usize = 32;
/// Rows up to which weights are multiplied as they are.
const MOST_ROWS: usize = 16;
/// Columns of a matrix that are cut off together.
const COLUMNS: usize = 128;
/// Columns side by side in a workgroup on GPUs: a line of the cache.
const LINE: usize = 16;
/// Workgroups for each multiprocessor up to which the loads of what comes next gain more than the registers cost that they
/// take (benches/RESULTS.md).
const AHEAD_GROUPS: usize = 3;
/// The least units of a part of a sum, of those that an invocation takes one after the other.
const FEW_UNITS: usize = 8;
/// Rows up to which GPUs make floats of what they load: each tile of rows does so again.
const MOST_PACKED: usize = 512;
/// Weights that are made floats of at a time.
const UNPACKED: usize = 1 << 24;
/// The rows of a block that is the only one: more than there are.
const ONE_BLOCK: u32 = 1 << 31;
/// Steps of a loop that software adapters do not end (ARCHITECTURE.md, 12).
const LONGEST: usize = 60_000;

/// Where the zero points of weights stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zeros {
    /// One for all weights.
    Same(u8),
    /// One a block, a whole number under 256.
    Whole,
    /// One a block, any float.
    Fractions,
}

/// A constant `[k, n]` of `bits` bits an element, of which `block` along `k` have a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weights {
    /// Rows: the length of the sums.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// 2, 4 or 8.
    pub bits: usize,
    /// Rows that share a scale: a multiple of 16, or all.
    pub block: usize,
    /// The element type of the scales.
    pub scales: DType,
    /// Their zero points.
    pub zeros: Zeros,
}

/// What such a constant consists of.
#[derive(Debug)]
pub struct Parts {
    /// `[n, k]`, each less than `1 << bits`.
    pub q: Vec<u8>,
    /// `[n, blocks]`
    pub scales: Vec<f32>,
    /// `[n, blocks]`, where each block has its own.
    pub zeros: Option<Vec<f32>>,
}

impl Weights {
    /// Whether the kernels take them.
    pub fn fits(&self) -> bool {
        matches!(self.bits, 2 | 4 | 8) && self.k > 0 && (self.block >= self.k || self.block.is_multiple_of(16))
    }

    /// How many scales a column has.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }

    /// Weights in a word.
    fn per(&self) -> usize {
        32 / self.bits
    }

    fn unit(&self) -> usize {
        if self.block.is_multiple_of(UNIT) || self.block >= self.k { UNIT } else { 16 }
    }

    /// Rows of words.
    fn rows(&self) -> usize {
        self.k.div_ceil(self.unit()) * self.unit() / self.per()
    }

    /// Whether zero points lie in the bits of the scales that these leave free.
    fn packed(&self) -> bool {
        matches!(self.scales, DType::F16 | DType::BF16) && self.zeros == Zeros::Whole
    }

    /// Whether zero points have rows of their own.
    fn apart(&self) -> bool {
        !self.packed() && !matches!(self.zeros, Zeros::Same(_))
    }

    fn height(&self) -> usize {
        self.rows() + self.blocks() * (1 + usize::from(self.apart()))
    }

    /// The words of the columns from `first` to `last`.
    fn pack(&self, parts: &Parts, first: usize, last: usize) -> Result<Tensor> {
        let (width, blocks, per) = ((last - first).next_multiple_of(4), self.blocks(), self.per());
        let sound = parts.q.len() == self.n * self.k && parts.scales.len() == self.n * blocks;
        ensure!(sound, Internal, "{} weights and {} scales of {self:?}", parts.q.len(), parts.scales.len());
        let mut words = vec![0u32; self.height() * width];
        for c in first..last {
            let column = &parts.q[c * self.k..][..self.k];
            for (k, q) in column.iter().enumerate() {
                words[k / per * width + c - first] |= u32::from(*q) << (k % per * self.bits);
            }
            for block in 0..blocks {
                let scale = parts.scales[c * blocks + block].to_bits();
                let zero = parts.zeros.as_ref().map_or(0.0, |z| z[c * blocks + block]);
                let row = self.rows() + block * (1 + usize::from(self.apart()));
                let at = row * width + c - first;
                words[at] = if self.packed() { scale | zero as u32 } else { scale };
                if self.apart() {
                    words[at + width] = zero.to_bits();
                }
            }
        }
        Tensor::new([self.height(), width], words)
    }
}

/// Weights of few bits on the device.
#[derive(Debug, Clone)]
pub struct Bits {
    weights: Weights,
    /// `[rows of words and of scales, columns]`
    pub(super) words: View,
}

impl Bits {
    /// The length of the sums, and the columns.
    pub(super) fn extents(&self) -> [usize; 2] {
        [self.weights.k, self.weights.n]
    }
}

/// Input `i`, a constant, as the right factor of a product: `parts` tells what it consists of, given it and the inputs
/// `others`, constants as well; `tag` names how.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right(
    cx: &mut LowerCx<'_>,
    i: usize,
    others: &[usize],
    weights: Weights,
    tag: &str,
    parts: impl Fn(&Tensor, &[Tensor]) -> Result<Parts> + Clone + Send + Sync + 'static,
) -> Result<Right> {
    ensure!(weights.fits(), Unsupported, "weights of {weights:?}");
    let Weights { n, .. } = weights;
    let limit = cx.profile().max_binding as usize / 4 / weights.height() / COLUMNS * COLUMNS;
    ensure!(limit > 0, Limit, "{COLUMNS} columns of {weights:?} are more than the device binds");
    let mut all = vec![];
    for first in (0..n).step_by(limit) {
        let (parts, last) = (parts.clone(), n.min(first + limit));
        let t = TensorType::new(DType::U32, [weights.height(), (last - first).next_multiple_of(4)]);
        let tag = format!("{tag} {weights:?} {first}");
        let make = move |t: &Tensor, others: &[Tensor]| weights.pack(&parts(t, others)?, first, last);
        let words = cx.prepacked_with(i, others, &tag, t, make)?;
        all.push(Right::Bits(Bits { weights: Weights { n: last - first, ..weights }, words }));
    }
    Ok(if all.len() == 1 { all.remove(0) } else { Right::Parts(all) })
}

/// The params of `common/bits.wgsl`.
pub(super) fn spec(spec: Spec, w: &Weights) -> Spec {
    let zero = if let Zeros::Same(z) = w.zeros { z } else { 0 };
    spec.u32("BITS", w.bits as u32)
        .u32("PER", w.per() as u32)
        .u32("UNIT", w.unit() as u32)
        .u32("WORDS", (w.unit() / w.per()) as u32)
        .u32("BLOCK", if w.block < w.k { w.block as u32 } else { ONE_BLOCK })
        .u32("ZERO", zero.into())
        .flag("PACKED", w.packed())
        .flag("ZEROS", w.apart())
        .flag("FRACTIONS", w.zeros == Zeros::Fractions)
}

#[derive(Debug)]
struct Few {
    common: Common,
    weights: Weights,
    few: usize,
    a_vec: bool,
    k_rest: bool,
    split: bool,
    /// Invocations side by side, and those that share a sum.
    across: usize,
    slices: usize,
    broadcast: bool,
    /// Whether what comes next is loaded while the present is multiplied.
    ahead: bool,
}

impl Kernel for Few {
    fn label(&self) -> String {
        let parts = if self.split { " parts" } else { "" };
        self.common.label(&format!("{} bits{parts}", self.weights.bits))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let c = &self.common;
        spec(c.spec("matmul_bits.wgsl"), &self.weights)
            .wgsl("A", storage(c.a, self.a_vec))
            .wgsl("Out", storage(c.out, self.split))
            .u32("QUARTERS", self.weights.per() as u32 / 4)
            .u32("FEW", self.few as u32)
            .u32("MOVED", self.few as u32 - 1)
            .u32("ACROSS", self.across as u32)
            .u32("SLICES", self.slices as u32)
            .flag("A_VEC", self.a_vec)
            .flag("K_REST", self.k_rest)
            .flag("Y_VEC", false)
            .flag("SPLIT", self.split)
            .flag("SLICED", self.slices > 1)
            .flag("AHEAD", self.ahead)
            .flag("BROADCAST", self.broadcast)
    }
}

/// Makes floats of some columns.
#[derive(Debug)]
struct Unpack {
    weights: Weights,
    to: DeviceType,
}

impl Kernel for Unpack {
    fn label(&self) -> String {
        format!("weights of {} bits>{}", self.weights.bits, self.to.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        spec(Spec::new("unpack_bits.wgsl"), &self.weights).wgsl("Out", self.to.wgsl())
    }
}

/// `v` as a matrix of these extents; copied where strides cannot say it.
fn matrix(cx: &mut LowerCx<'_>, v: &View, to: [usize; 2]) -> Result<View> {
    if let Some(flat) = v.reshaped(&to) {
        return Ok(flat);
    }
    let whole = cx.dense(v)?;
    whole.reshaped(&to).ok_or_else(|| err!(Internal, "{:?} is not {to:?}", v.shape))
}

/// Emits the product; its result must be one matrix by strides.
///
/// # Errors
/// `Internal` where it is not.
pub(super) fn emit(cx: &mut LowerCx<'_>, p: &Product, bits: &Bits) -> Result<()> {
    let [k, n] = bits.extents();
    let rows = p.out.numel() / n.max(1);
    if rows == 0 {
        return Ok(());
    }
    let out = p.out.reshaped(&[rows, n]);
    let out = out.ok_or_else(|| err!(Internal, "{:?} is not one matrix", p.out.shape))?;
    let a = matrix(cx, &p.a, [rows, k])?;
    let bias = p.bias.as_ref().map(|v| matrix(cx, v, [rows, n])).transpose()?;
    let reads = p.reads.iter().map(|v| matrix(cx, v, [rows, n])).collect::<Result<_>>()?;
    let flat = Product { a, out, bias, reads, ..p.clone() };
    let long = cx.profile().cpu && k.div_ceil(bits.weights.unit()) > LONGEST;
    if rows <= MOST_ROWS && !long { few_rows(cx, &flat, bits) } else { many_rows(cx, &flat, bits) }
}

fn few_rows(cx: &mut LowerCx<'_>, p: &Product, bits: &Bits) -> Result<()> {
    let mut call = Call::new(cx, p)?;
    ensure!(call.common.acc() == DeviceType::F32, Unsupported, "a product of {}", call.common.made.name());
    let (m, n, k, weights) = (call.m, call.n, call.k, bits.weights);
    let a_vec = k.is_multiple_of(4) && call.a.vectors(call.a.column, &[call.a.row]);
    if a_vec {
        call.a.count_vectors();
    }
    call.b.count_vectors();
    let unit = weights.unit();
    let few = if m == 1 { 1 } else { FEW };
    let (across, slices) = if cx.profile().cpu { (LANES, 1) } else { (LINE / 4, THREADS / (LINE / 4)) };
    let broadcast = cx.profile().broadcasts == Some(LANES as u32) && a_vec && unit == 4 * LANES;
    let (tiles_m, tiles_n) = (m.div_ceil(few), n.div_ceil(4 * across));
    let units = cx.profile().units;
    let wanted = if k > FEW_UNITS * unit * slices { units.div_ceil(4 * tiles_n) } else { 1 };
    let wanted = if cx.profile().cpu { 1 } else { wanted };
    let wanted = cx.profile().forced.map_or(wanted, |(_, splits)| splits);
    let most = (cx.profile().max_binding as usize / (4 * m * n.next_multiple_of(4))).max(1);
    let (part, splits) = in_parts(k, unit * slices, wanted.min(most));
    let all = tiles_m * tiles_n * splits;
    let cut = Cut { tiles: [tiles_m, tiles_n, all], part, grid: linear_grid(all, 1) };
    let common = if splits > 1 { of_parts(&call.common) } else { call.common.clone() };
    let (k_rest, split) = (!k.is_multiple_of(unit), splits > 1);
    let ahead = slices > 1 && tiles_n <= AHEAD_GROUPS * units;
    let kernel = Few { common, weights, few, a_vec, k_rest, split, across, slices, broadcast, ahead };
    match split {
        true => parts(cx, call, &kernel, &cut, splits, DType::F32),
        false => call.dispatch(cx, &kernel, &cut),
    }
}

fn many_rows(cx: &mut LowerCx<'_>, p: &Product, bits: &Bits) -> Result<()> {
    let (weights, [k, n]) = (bits.weights, bits.extents());
    let halves = cx.profile().coop && p.a.device == DeviceType::F16;
    if !cx.profile().cpu && !halves && p.out.shape[0] <= MOST_PACKED {
        let call = Call::new(cx, p)?;
        ensure!(call.common.acc() == DeviceType::F32, Unsupported, "a product of {}", call.common.made.name());
        return matmul_gpu::tiled(cx, call, DType::F32, Some(weights));
    }
    let dtype = if halves { DType::F16 } else { DType::F32 };
    let to = cx.profile().device_type(dtype)?;
    let step = bits.words.shape[1] / 4;
    let most = (UNPACKED / k / COLUMNS).max(1) * COLUMNS;
    for first in (0..n).step_by(most) {
        let columns = most.min(n - first);
        let vectors = columns.div_ceil(4);
        let width = if cx.profile().cpu { 4 * LANES * tile_vectors(columns) } else { 4 * vectors };
        let panels = (4 * vectors).div_ceil(width);
        let whole = cx.temp(dtype, &[panels, k, width])?;
        let count = k.div_ceil(weights.per()) * vectors;
        let params = Params::new().u32(count).u32(k).u32(vectors).u32(first / 4);
        let params = params.u32(cx.base(&bits.words) / 4).u32(step).u32(width / 4);
        let binds = [Bind::Write(&whole), Bind::Read(&bits.words)];
        cx.dispatch(&Unpack { weights, to }, params, &binds, linear_grid(count, LINEAR_WORKGROUP))?;
        let b = match cx.profile().cpu {
            true => Right::Panels { view: whole, n: columns },
            false => {
                let all = whole.reshaped(&[k, width]).ok_or_else(|| err!(Internal, "one panel is no matrix"))?;
                Right::View(all.sliced(1, 0, 1, columns))
            }
        };
        let some = |v: &View| v.sliced(1, first, 1, columns);
        let (out, bias) = (some(&p.out), p.bias.as_ref().map(some));
        product(cx, &Product { b, out, bias, reads: p.reads.iter().map(some).collect(), ..p.clone() })?;
    }
    Ok(())
}
