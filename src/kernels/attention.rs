//! Attention that keeps its scores in workgroup memory: in one dispatch `shaders/attention.wgsl` for GPUs and
//! `attention_tile.wgsl` for software adapters; on GPUs for a few queries `attention_split.wgsl`, whose workgroups share the
//! keys, and `attention_join.wgsl`, which joins what they make.

use super::copy::collapse;
use super::epilogue::{self, Epilogue};
use super::matmul::{Steps, read_params};
use super::{DeviceType, Kernel, Params, Profile, Spec, cast_expr, linear_grid, rank_class};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure, shape};

const THREADS: usize = 64;
/// Invocations and rows of a workgroup on software adapters.
const STRIP_LANES: usize = 8;
const STRIP_ROWS: usize = 8;
/// Elements that a row of queries, keys or values may have: more would not leave room for a tile of keys.
const MOST_WIDTH: usize = 128;
/// Bytes of scores that GPUs keep from stage to stage.
const MOST_SCORES: usize = 128 << 20;
/// Steps of a thread's loops that software adapters run to their end.
const MOST_STEPS: usize = 60_000;

/// Invocations of a workgroup of the kernels for a few queries, and keys that it multiplies at a time.
const SPLIT_THREADS: usize = 128;
const SPLIT_KEYS: usize = 32;
/// Rows of queries with the same keys that are few.
const FEW_ROWS: usize = 32;
/// Elements that a row may have there.
const SPLIT_WIDTH: usize = 256;
/// Their workgroups for each multiprocessor that keep its loads under way.
const SPLIT_GROUPS: usize = 4;

/// What becomes of rows of logits that softmax has no weights for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// NaN, as the formula has it.
    Nan,
    /// Zeros, where the row is nothing but -inf.
    Zero,
    /// Zeros, also where a logit is NaN.
    Guarded,
}

/// `out = softmax(end(alpha · q × kᵀ)) × v` over equal batch dims: `q` is `[.., m, d]`, `k` `[.., n, d]`, `v` `[.., n, w]`,
/// `out` `[.., m, w]`; any strides will do.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Queries.
    pub q: View,
    /// Keys.
    pub k: View,
    /// Values.
    pub v: View,
    /// The result.
    pub out: View,
    /// Scales the scores.
    pub alpha: f32,
    /// What the scores go through; its reads are broadcast to `[.., m, n]`.
    pub end: Option<&'a Epilogue>,
    /// What rows without weights become.
    pub hidden: Hidden,
}

/// The variant that the kernels have in common.
#[derive(Debug, Clone, Copy)]
struct Common<'a> {
    device: DeviceType,
    end: Option<&'a Epilogue>,
    hidden: Hidden,
    rank: usize,
}

impl Common<'_> {
    fn label(&self, variant: &str) -> String {
        format!("attention {variant} {}{}", self.device.name(), Epilogue::label(self.end))
    }

    fn spec(&self, file: &'static str) -> Spec {
        let made = self.end.map_or("score".into(), |end| cast_expr(DeviceType::F32, end.from(), "score"));
        epilogue::matrices(Spec::new(file), self.end, &made, 5)
            .ty("T", self.device)
            .ty("L", self.end.map_or(DeviceType::F32, Epilogue::to))
            .u32("RANK", self.rank as u32)
            .flag("ZERO", self.hidden != Hidden::Nan)
            .flag("GUARD", self.hidden == Hidden::Guarded)
            .flag("SPLIT", false)
            .flag("JOIN", false)
    }

    /// The element of factors that are read by vectors or by elements.
    fn storage(&self, vector: bool) -> String {
        let element = self.device.wgsl();
        if vector { format!("vec4<{element}>") } else { element.into() }
    }
}

/// For GPUs: tiles of all three matrices in workgroup memory.
#[derive(Debug)]
struct Shared<'a> {
    common: Common<'a>,
    tile: Tile,
}

/// How much a workgroup takes at a time.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// Vectors of 4 along the depth.
    depth: usize,
    /// Vectors of 4 along the width, and up to a power of two.
    columns: usize,
    queries: usize,
    keys: usize,
}

impl Tile {
    /// As much as fits 16 KiB of workgroup memory, which every device has.
    fn new(depth: usize, width: usize) -> Tile {
        let (depth, columns) = (depth.div_ceil(4), width.div_ceil(4).next_power_of_two());
        let (queries, keys) = match depth.max(columns) {
            0..=8 => (32, 32),
            9..=16 => (32, 16),
            _ => (16, 8),
        };
        Tile { depth, columns: columns.max(THREADS / queries), queries, keys }
    }
}

impl Kernel for Shared<'_> {
    fn label(&self) -> String {
        self.common.label("shared")
    }

    fn spec(&self, _: &Profile) -> Spec {
        let t = self.tile;
        self.common
            .spec("attention.wgsl")
            .u32("QUERIES", t.queries as u32)
            .u32("KEYS", t.keys as u32)
            .u32("DEPTH", t.depth as u32)
            .u32("COLUMNS", t.columns as u32)
            .u32("SCORES", (t.queries * t.keys / THREADS) as u32)
            .u32("ROWS", (t.queries * t.columns / THREADS) as u32)
    }
}

/// For software adapters: register tiles, only the scores in workgroup memory.
#[derive(Debug)]
struct Strips<'a> {
    common: Common<'a>,
    vector: bool,
    vectors: usize,
}

impl Kernel for Strips<'_> {
    fn label(&self) -> String {
        self.common.label("strips")
    }

    fn spec(&self, profile: &Profile) -> Spec {
        self.common
            .spec("attention_tile.wgsl")
            .wgsl("In", self.common.storage(self.vector))
            .u32("VECTORS", self.vectors as u32)
            .u32("ROWS", STRIP_ROWS as u32)
            .u32("MADE", (STRIP_ROWS * self.vectors) as u32)
            .flag("VECTOR", self.vector)
            .flag("BROADCAST", profile.broadcasts == Some(STRIP_LANES as u32))
    }
}

/// For a few queries on GPUs: a part of the keys.
#[derive(Debug)]
struct Split<'a> {
    common: Common<'a>,
    /// Rows of a workgroup.
    rows: usize,
    /// Keys of a part at most.
    keys: usize,
    /// Vectors of 4 along the depth, and along the width up to a power of two.
    depth: usize,
    columns: usize,
    vector: bool,
    /// Whether there are several.
    parts: bool,
}

impl Kernel for Split<'_> {
    fn label(&self) -> String {
        self.common.label(if self.parts { "parts" } else { "few" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        self.common
            .spec("attention_split.wgsl")
            .wgsl("In", self.common.storage(self.vector))
            .u32("ROWS", self.rows as u32)
            .u32("FINISHED", (self.rows * SPLIT_KEYS).div_ceil(SPLIT_THREADS) as u32)
            .u32("KEYS", self.keys as u32)
            .u32("DEPTH", self.depth as u32)
            .u32("COLUMNS", self.columns as u32)
            .u32("HELD", (self.rows * SPLIT_THREADS) as u32)
            .u32("AHEAD", 4)
            .flag("VECTOR", self.vector)
            .flag("SPLIT", true)
            .flag("PARTS", self.parts)
    }
}

/// Joins the parts.
#[derive(Debug)]
struct Join<'a> {
    common: Common<'a>,
    columns: usize,
}

impl Kernel for Join<'_> {
    fn label(&self) -> String {
        self.common.label("join")
    }

    fn spec(&self, _: &Profile) -> Spec {
        let spec = self.common.spec("attention_join.wgsl").u32("COLUMNS", self.columns as u32);
        spec.flag("SPLIT", true).flag("JOIN", true)
    }
}

/// Emits the dispatch, or those of a few queries.
///
/// # Errors
/// `Unsupported` where one dispatch would not do or would not gain, `Internal` when shapes do not fit each other.
pub fn attention(cx: &mut LowerCx<'_>, p: &Attention<'_>) -> Result<()> {
    let rank = p.out.rank();
    let (m, w) = (p.out.shape[rank - 2], p.out.shape[rank - 1]);
    let (n, d) = (p.k.shape[rank - 2], p.k.shape[rank - 1]);
    let batch = &p.out.shape[..rank - 2];
    let wants = [(&p.q, [m, d]), (&p.k, [n, d]), (&p.v, [n, w])];
    let fits = wants.iter().all(|(v, s)| v.shape[..rank - 2] == *batch && v.shape[rank - 2..] == s[..]);
    ensure!(fits, Internal, "{:?}, {:?}, {:?} do not make {:?}", p.q.shape, p.k.shape, p.v.shape, p.out.shape);
    let device = p.out.device;
    ensure!(matches!(device, DeviceType::F32 | DeviceType::F16), Unsupported, "{} in one dispatch", device.name());
    ensure!([&p.q, &p.k, &p.v].iter().all(|v| v.device == device), Unsupported, "types that differ");
    ensure!(p.out.numel() > 0 && n > 0 && d > 0, Unsupported, "an extent of 0");
    // the heads that share keys and values
    let lead = batch.len();
    let shared = |d: &usize| p.k.strides[*d] == 0 && p.v.strides[*d] == 0;
    let shared_by: usize = (0..lead).rev().take_while(|d| batch[*d] == 1 || shared(d)).map(|d| batch[d]).product();
    let few = !cx.profile().cpu && shared_by * m <= FEW_ROWS && d.max(w) <= SPLIT_WIDTH;
    if !few {
        whole_fits(cx.profile(), [m, n, d, w], shape::numel(batch))?;
    }

    let scores = [batch, &[m, n]].concat();
    let reads: Vec<View> = p.end.iter().flat_map(|e| &e.reads).map(|v| v.broadcast(&scores)).collect();
    let all: Vec<&View> = [&p.q, &p.k, &p.v, &p.out].into_iter().chain(&reads).collect();
    let leads: Vec<&[isize]> = all.iter().map(|v| &v.strides[..batch.len()]).collect();
    let (extents, steps) = collapse(batch, &leads);
    let mut steps: Vec<Steps> = all.iter().zip(steps).map(|(v, s)| Steps::new(cx, v, 2, s)).collect();
    let class = rank_class(extents.len());
    let stacked = shape::numel(&extents);
    let common = Common { device, end: p.end, hidden: p.hidden, rank: class };
    let vector = (few || cx.profile().cpu)
        && [d, w].iter().all(|e| e.is_multiple_of(4))
        && steps[..3].iter().all(|s| s.vectors(s.column, &[s.row]));
    if vector {
        steps[..3].iter_mut().for_each(Steps::count_vectors);
    }
    let params = |tiles: [usize; 2], split: Option<[usize; 3]>, end: Option<&Epilogue>| {
        let mut params = Params::new();
        for extent in [m, n, d, w].into_iter().chain(tiles) {
            params = params.u32(extent);
        }
        params = params.f32(p.alpha);
        for s in &steps[..4] {
            params = params.i32(s.base).i32(s.row).i32(s.column);
        }
        params = split.into_iter().flatten().fold(params, Params::u32);
        params = params.array_u32(&extents, class, 1);
        for s in &steps[..4] {
            params = params.array_i32(&s.batch, class);
        }
        read_params(params, end, &steps[4..], class)
    };
    let to = |out| {
        let bind = |(i, v)| if i == 3 { Bind::Write(out) } else { Bind::Read(v) };
        all.iter().copied().enumerate().map(bind).collect::<Vec<Bind<'_>>>()
    };
    let flops = 2 * stacked * m * n * (d + w);
    if few {
        let columns = w.div_ceil(4).next_power_of_two();
        let most = if d.max(w) > MOST_WIDTH { 4 } else { 8 };
        let rows = (shared_by * m).next_power_of_two().min(most);
        let keys = if rows > 4 { 128 } else { 256 };
        let tiles_m = (shared_by * m).div_ceil(rows);
        let tiles = tiles_m * stacked / shared_by;
        let parts = (SPLIT_GROUPS * cx.profile().units).div_ceil(tiles);
        let parts = cx.profile().forced.map_or(parts, |(_, parts)| parts);
        let part = n.div_ceil(parts).next_multiple_of(SPLIT_KEYS).min(keys);
        let parts = n.div_ceil(part);
        let split = Some([part, parts, shared_by]);
        let depth = d.div_ceil(4);
        let kernel = Split { common, rows, keys, depth, columns, vector, parts: parts > 1 };
        let made = params([tiles_m, tiles * parts], split, p.end);
        if parts == 1 {
            cx.dispatch(&kernel, made, &to(&p.out), linear_grid(tiles, 1))?;
            cx.takes_flops(flops);
            return Ok(());
        }
        let between = cx.temp(DType::F32, &[stacked * m, parts, w.div_ceil(4) + 1, 4])?;
        cx.dispatch(&kernel, made, &to(&between), linear_grid(tiles * parts, 1))?;
        cx.takes_flops(flops);
        let join = Join { common: Common { end: None, ..common }, columns };
        let joined = params([1, stacked * m], split, None);
        return cx.dispatch(&join, joined, &[Bind::Read(&between), Bind::Write(&p.out)], linear_grid(stacked * m, 1));
    }
    let (kernel, rows): (Box<dyn Kernel + '_>, usize) = if cx.profile().cpu {
        (Box::new(Strips { common, vector, vectors: w.div_ceil(4 * STRIP_LANES) }), STRIP_ROWS)
    } else {
        let tile = Tile::new(d, w);
        (Box::new(Shared { common, tile }), tile.queries)
    };
    let tiles_m = m.div_ceil(rows);
    let made = params([tiles_m, tiles_m * stacked], None, p.end);
    cx.dispatch(kernel.as_ref(), made, &to(&p.out), linear_grid(tiles_m * stacked, 1))?;
    cx.takes_flops(flops);
    Ok(())
}

/// Whether one dispatch does, and gains.
fn whole_fits(profile: &Profile, [m, n, d, w]: [usize; 4], stacked: usize) -> Result<()> {
    // a few queries of many keys leave most of a device idle
    ensure!(m >= 4 || n <= 256, Unsupported, "{m} queries of {n} keys");
    ensure!(d.max(w) <= MOST_WIDTH, Unsupported, "depth {d}, width {w}");
    // GPUs multiply whole matrices faster than strips of them, and scores in their caches cost little
    let bytes = 4 * stacked * m * n;
    ensure!(profile.cpu || profile.forced.is_some() || bytes > MOST_SCORES, Unsupported, "{bytes} bytes of scores");
    let steps = n.div_ceil(STRIP_LANES * 4) * d.next_multiple_of(4) * 5 / 4 + 4 * n;
    ensure!(!profile.cpu || steps < MOST_STEPS, Unsupported, "{n} keys in one loop");
    Ok(())
}
