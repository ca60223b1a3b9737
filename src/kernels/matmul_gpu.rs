//! Matrix products on GPUs: `shaders/matmul_shared.wgsl` by tiles in workgroup memory, of float16
//! `matmul_coop.wgsl` by cooperative matrices; of a few rows `matmul_rows.wgsl` and `matmul_dots.wgsl`, which read the
//! right factor once. Where a result is small for its sums, workgroups make parts of these, which `matmul_sum.wgsl` adds.

use super::matmul::{Call, Common, Cut, Steps, storage};
use super::matmul_bits::{self, Weights};
use super::tiles::{self, Choice, Tile};
use super::{DeviceType, Kernel, Problem, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::plan::LowerCx;
use crate::{Result, bail};

/// Rows that are few.
pub(super) const FEW: usize = 4;
/// Columns of a workgroup that reads dense columns of the right factor.
const DOTS_COLUMNS: usize = 8;
/// Invocations of a workgroup of the kernels for few rows.
pub(super) const THREADS: usize = 256;
/// Rows of the right factor that an invocation has under way.
const AHEAD: usize = 4;
/// The least products in a part of a sum of few rows: as many as the slices of a workgroup have under way at a time.
const FEW_PART: usize = 32;
/// Workgroups of few rows for each multiprocessor that keep its loads under way.
const FEW_GROUPS: usize = 4;
/// Bytes that neighbouring invocations read of a row of the right factor: a line of the cache, or, of matrices that the
/// cache cannot hold, a run that memory is quick at.
const LINE: usize = 64;
const RUN: usize = 512;
const CACHED: usize = 1 << 27;
/// Loads one after the other that take no longer than another dispatch.
const FEW_STEPS: usize = 16;

/// Elements that an invocation loads at once of factors that are multiplied as cooperative matrices.
const WIDE: usize = 8;

/// How a kernel reads a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    /// Whether neighbouring invocations read along the summed dim.
    along_k: bool,
    /// Whether in vectors of 4.
    vec: bool,
}

#[derive(Debug)]
struct Shared {
    common: Common,
    tile: Tile,
    a: Read,
    b: Read,
    y_vec: bool,
    /// Whether the last tile has fewer products than others.
    k_rest: bool,
    /// Whether it makes parts of sums.
    split: bool,
    /// The right factor, where it is one of few bits.
    bits: Option<Weights>,
}

impl Kernel for Shared {
    fn label(&self) -> String {
        let parts = if self.split { " parts" } else { "" };
        let bits = self.bits.map(|w| format!(" {} bits", w.bits)).unwrap_or_default();
        self.common.label(&format!("shared {}{bits}{parts}", self.tile.name()))
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let (c, t) = (&self.common, &self.tile);
        let loads = |outer: usize| (outer * t.depth / 4 / t.threads()) as u32;
        let single = [self.a, self.b].map(|r| r.along_k && !profile.components);
        let rows = 4 * t.quads[0] as u32;
        let long = c.end.as_ref().is_some_and(|e| e.is_long() || t.quads != [1, 1]);
        let spec = t.spec(c.spec("matmul_shared.wgsl"), c.acc() == DeviceType::F32, single);
        let spec = match &self.bits {
            Some(weights) => matmul_bits::spec(spec, weights),
            None => spec.wgsl("B", storage(c.b, self.b.vec)),
        };
        spec.wgsl("A", storage(c.a, self.a.vec))
            .flag("BYTES", c.bytes())
            .flag("B_BITS", self.bits.is_some())
            .wgsl("Out", storage(c.out, self.y_vec || self.split))
            .u32("LOADS_A", loads(t.rows))
            .u32("LOADS_B", loads(t.columns))
            .u32("OWN_ROWS", rows)
            .u32("MOVED", rows - 1)
            .flag("A_ALONG_K", self.a.along_k)
            .flag("A_VEC", self.a.vec)
            .flag("A_ONE", self.a.vec || self.a.along_k)
            .flag("B_ALONG_K", self.b.along_k)
            .flag("B_VEC", self.b.vec)
            .flag("B_ONE", self.b.vec || self.b.along_k)
            .flag("K_REST", self.k_rest)
            .flag("Y_VEC", self.y_vec)
            .flag("SPLIT", self.split)
            .flag("LONG", long)
    }
}

#[derive(Debug)]
struct Coop {
    common: Common,
    tile: Tile,
    a: Read,
    b: Read,
    y_vec: bool,
    k_rest: bool,
    /// Whether it makes parts of sums.
    split: bool,
}

impl Kernel for Coop {
    fn label(&self) -> String {
        let parts = if self.split { " parts" } else { "" };
        self.common.label(&format!("coop {}{parts}", self.tile.name()))
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let (c, t) = (&self.common, &self.tile);
        let loads = |outer: usize| (outer * t.depth / WIDE / (32 * t.subgroups())) as u32;
        let strip = t.strip(profile.max_workgroup_memory as usize);
        let long = c.end.as_ref().is_some_and(|e| e.is_long());
        t.coop_spec(c.spec("matmul_coop.wgsl"))
            .wgsl("Out", storage(c.out, self.y_vec || self.split))
            .u32("LOADS_A", loads(t.rows))
            .u32("LOADS_B", loads(t.columns))
            .u32("STRIP", strip as u32)
            .u32("STRIPS", (t.quads[1] / strip) as u32)
            .u32("EACH", 2 * strip as u32)
            .flag("LONG", long)
            .flag("A_ALONG_K", self.a.along_k)
            .flag("B_ALONG_K", self.b.along_k)
            .flag("K_REST", self.k_rest)
            .flag("Y_VEC", self.y_vec)
            .flag("SPLIT", self.split)
    }
}

#[derive(Debug)]
struct Sum {
    common: Common,
    y_vec: bool,
}

impl Kernel for Sum {
    fn label(&self) -> String {
        self.common.label("sum of parts")
    }

    fn spec(&self, _: &Profile) -> Spec {
        let c = &self.common;
        c.spec("matmul_sum.wgsl").wgsl("Out", storage(c.out, self.y_vec)).flag("Y_VEC", self.y_vec)
    }
}

#[derive(Debug)]
struct Rows {
    common: Common,
    few: usize,
    /// Invocations side by side.
    across: usize,
    b_vec: bool,
    split: bool,
}

impl Kernel for Rows {
    fn label(&self) -> String {
        self.common.label(if self.split { "rows parts" } else { "rows" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        let c = &self.common;
        c.spec("matmul_rows.wgsl")
            .wgsl("A", c.a.wgsl())
            .wgsl("B", storage(c.b, self.b_vec))
            .wgsl("Out", storage(c.out, self.split))
            .u32("FEW", self.few as u32)
            .u32("AHEAD", AHEAD as u32)
            .u32("ACROSS", self.across as u32)
            .u32("SLICES", (THREADS / self.across) as u32)
            .flag("BYTES", c.bytes())
            .flag("FLOAT", c.acc() == DeviceType::F32)
            .flag("B_VEC", self.b_vec)
            .flag("Y_VEC", false)
            .flag("SPLIT", self.split)
    }
}

#[derive(Debug)]
struct Dots {
    common: Common,
    few: usize,
    a_vec: bool,
}

impl Kernel for Dots {
    fn label(&self) -> String {
        self.common.label("dots")
    }

    fn spec(&self, _: &Profile) -> Spec {
        let c = &self.common;
        c.spec("matmul_dots.wgsl")
            .wgsl("A", storage(c.a, self.a_vec))
            .wgsl("B", storage(c.b, true))
            .wgsl("Out", c.out.wgsl())
            .u32("FEW", self.few as u32)
            .u32("HELD", (self.few * THREADS) as u32)
            .u32("AHEAD", 2)
            .flag("A_VEC", self.a_vec)
    }
}

/// The kernels of a product whose sums are made in parts: the parts themselves are a product and nothing else.
pub(super) fn of_parts(common: &Common) -> Common {
    let acc = common.acc();
    Common { bias: None, end: None, made: acc, out: acc, scales: false, scales_bias: false, ..common.clone() }
}

/// Parts of sums that the device can bind.
fn most_parts(cx: &LowerCx<'_>, call: &Call<'_>) -> usize {
    let part_bytes = 4 * (call.stacked() * call.m * call.n.next_multiple_of(4)) as u64;
    (cx.profile().max_binding / part_bytes.max(1)).max(1) as usize
}

/// Emits the product of floats, 32-bit integers or words of four bytes.
///
/// # Errors
/// `Limit` beyond what the device can bind or dispatch.
pub(super) fn emit(cx: &mut LowerCx<'_>, mut call: Call<'_>) -> Result<()> {
    let (m, n, k, stacked) = (call.m, call.n, call.k, call.stacked());
    let k_vec = k.is_multiple_of(4);
    let b_dense = k_vec && call.b.vectors(call.b.row, &[call.b.column]);
    if m <= FEW && b_dense && n > 1 {
        let a_vec = call.a.vectors(call.a.column, &[call.a.row]);
        if a_vec {
            call.a.count_vectors();
        }
        call.b.count_vectors();
        let few = if m == 1 { 1 } else { FEW };
        let tiles_n = n.div_ceil(DOTS_COLUMNS);
        let all = tiles_n * stacked;
        let cut = Cut { tiles: [1, tiles_n, all], part: k, grid: linear_grid(all, 1) };
        return call.dispatch(cx, &Dots { common: call.common.clone(), few, a_vec }, &cut);
    }
    let acc = match call.common.acc() {
        DeviceType::F32 => DType::F32,
        DeviceType::I32 => DType::I32,
        DeviceType::U32 => DType::U32,
        other => bail!(Internal, "products summed in {}", other.name()),
    };
    if m <= FEW {
        let most = most_parts(cx, &call);
        let b_vec = n.is_multiple_of(4) && call.b.vectors(call.b.column, &[call.b.row]);
        if b_vec {
            call.b.count_vectors();
        }
        let few = if m == 1 { 1 } else { FEW };
        let four = 4 * call.common.b.bytes();
        let across = if k * n / 4 * four > CACHED { RUN } else { LINE } / four;
        let (tiles_n, slices) = (n.div_ceil(4 * across), THREADS / across);
        let wanted = match k.div_ceil(slices * AHEAD) > FEW_STEPS {
            true => (FEW_GROUPS * cx.profile().units).div_ceil(tiles_n * stacked),
            false => 1,
        };
        let wanted = cx.profile().forced.map_or(wanted, |(_, splits)| splits);
        let (part, splits) = in_parts(k, FEW_PART, wanted.min(most));
        let all = tiles_n * stacked * splits;
        let cut = Cut { tiles: [1, tiles_n, all], part, grid: linear_grid(all, 1) };
        if splits == 1 {
            return call.dispatch(cx, &Rows { common: call.common.clone(), few, across, b_vec, split: false }, &cut);
        }
        let kernel = Rows { common: of_parts(&call.common), few, across, b_vec, split: true };
        return parts(cx, call, &kernel, &cut, splits, acc);
    }

    tiled(cx, call, acc, None)
}

/// Emits the product by tiles; `bits` tells what the right factor is, where it is one of few bits.
///
/// # Errors
/// As [`emit`].
pub(super) fn tiled(cx: &mut LowerCx<'_>, mut call: Call<'_>, acc: DType, bits: Option<Weights>) -> Result<()> {
    let (m, n, k, stacked) = (call.m, call.n, call.k, call.stacked());
    let k_vec = k.is_multiple_of(4);
    let most = most_parts(cx, &call);
    let a_along_k = call.a.column == 1 || call.a.row != 1;
    let b_along_k = call.b.row == 1 && call.b.column != 1;
    let a_vec = match a_along_k {
        true => k_vec && call.a.vectors(call.a.column, &[call.a.row]),
        false => m.is_multiple_of(4) && call.a.vectors(call.a.row, &[call.a.column]),
    };
    let b_vec = match b_along_k {
        _ if bits.is_some() => true,
        true => k_vec && call.b.vectors(call.b.row, &[call.b.column]),
        false => n.is_multiple_of(4) && call.b.vectors(call.b.column, &[call.b.row]),
    };
    let wide = |along_k: bool, s: &Steps, [outer, outer_step, k_step]: [i64; 3]| match along_k {
        true => k.is_multiple_of(WIDE) && s.wide(WIDE as i64, k_step, &[outer_step]),
        false => outer % WIDE as i64 == 0 && s.wide(WIDE as i64, outer_step, &[k_step]),
    };
    let halves = cx.profile().coop
        && bits.is_none()
        && [call.common.a, call.common.b] == [DeviceType::F16; 2]
        && acc == DType::F32
        && wide(a_along_k, &call.a, [m as i64, call.a.row, call.a.column])
        && wide(b_along_k, &call.b, [n as i64, call.b.column, call.b.row]);
    let (a, b) = (Read { along_k: a_along_k, vec: a_vec }, Read { along_k: b_along_k, vec: b_vec });
    let y_vec = call.y_vec();
    let kernel = |Choice { tile, splits, .. }: Choice, coop: bool| -> Box<dyn Kernel> {
        let split = in_parts(k, tile.depth, splits.min(most)).1 > 1;
        let (y_vec, k_rest) = (y_vec && !split, k == 0 || !k.is_multiple_of(tile.depth));
        let common = if split { of_parts(&call.common) } else { call.common.clone() };
        match coop {
            true => Box::new(Coop { common, tile, a, b, y_vec, k_rest, split }),
            false => Box::new(Shared { common, tile, a, b, y_vec, k_rest, split, bits }),
        }
    };
    let compiled = |coop: bool| {
        let (cx, kernel) = (&*cx, &kernel);
        move |c: &Choice| cx.is_compiled(kernel(*c, coop).as_ref())
    };
    let packed = bits.map(|w| format!("{} bits", w.bits)).unwrap_or_default();
    let kernel_of = |what: &str| Problem { kernel: call.common.label(what), size: [m, n, k], count: stacked };
    let (profile, [matrix, plain]) = (cx.profile(), ["coop", &packed].map(kernel_of));
    let matrices = if halves { tiles::choose_coop(profile, &matrix, compiled(true)) } else { None };
    let (coop, width) = (matrices.is_some(), if matrices.is_some() { WIDE as i64 } else { 4 });
    let choice = matrices.unwrap_or_else(|| tiles::choose(profile, &plain, compiled(false)));
    let chosen = choice.chosen(if coop { &matrix } else { &plain });
    let (kernel, Choice { tile, splits, .. }) = (kernel(choice, coop), choice);
    let (part, splits) = in_parts(k, tile.depth, splits.min(most));
    let (tiles_m, tiles_n) = (m.div_ceil(tile.rows), n.div_ceil(tile.columns));
    let all = tiles_m * tiles_n * stacked * splits;
    let cut = Cut { tiles: [tiles_m, tiles_n, all], part, grid: linear_grid(all, 1) };
    [(a_vec, &mut call.a), (b_vec, &mut call.b)].into_iter().filter(|(v, _)| *v).for_each(|(_, s)| s.count_wide(width));
    let split = splits > 1;
    if y_vec && !split {
        call.y.count_vectors();
    }
    cx.choosing(chosen, |cx| match split {
        true => parts(cx, call, kernel.as_ref(), &cut, splits, acc),
        false => call.dispatch(cx, kernel.as_ref(), &cut),
    })
}

/// The products of each of `splits` parts of a sum of `k`, a multiple of `unit`, and how many parts that makes.
pub(super) fn in_parts(k: usize, unit: usize, splits: usize) -> (usize, usize) {
    let part = k.div_ceil(splits.max(1)).next_multiple_of(unit).max(unit);
    (part, k.div_ceil(part).max(1))
}

/// Dispatches `kernel`, which makes `splits` parts of the sums, and what adds these.
///
/// # Errors
/// As [`Call::dispatch_parts`].
pub(super) fn parts(
    cx: &mut LowerCx<'_>,
    mut call: Call<'_>,
    kernel: &dyn Kernel,
    cut: &Cut,
    splits: usize,
    acc: DType,
) -> Result<()> {
    let made = cx.temp(acc, &[splits, call.stacked(), call.m, call.n.next_multiple_of(4)])?;
    let y_vec = call.y_vec();
    if y_vec {
        call.y.count_vectors();
    }
    let sum = Sum { common: call.common.clone(), y_vec };
    call.dispatch_parts(cx, [kernel, &sum], cut, &made)
}
