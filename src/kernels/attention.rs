//! Attention in one dispatch: the scores stay in workgroup memory. `shaders/attention.wgsl` for GPUs,
//! `attention_tile.wgsl` for software adapters.

use super::copy::collapse;
use super::epilogue::{self, Epilogue};
use super::matmul::{Steps, read_params};
use super::{DeviceType, Kernel, Params, Profile, Spec, cast_expr, linear_grid, rank_class};
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

/// The variant that both kernels have in common.
#[derive(Debug)]
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
        let element = self.common.device.wgsl();
        let storage = if self.vector { format!("vec4<{element}>") } else { element.into() };
        self.common
            .spec("attention_tile.wgsl")
            .wgsl("In", storage)
            .u32("VECTORS", self.vectors as u32)
            .u32("ROWS", STRIP_ROWS as u32)
            .u32("MADE", (STRIP_ROWS * self.vectors) as u32)
            .flag("VECTOR", self.vector)
            .flag("BROADCAST", profile.broadcasts == Some(STRIP_LANES as u32))
    }
}

/// Emits the dispatch.
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
    // a few queries of many keys leave most of a device idle
    ensure!(m >= 4 || n <= 256, Unsupported, "{m} queries of {n} keys");
    ensure!(d.max(w) <= MOST_WIDTH, Unsupported, "depth {d}, width {w}");
    // GPUs multiply whole matrices faster than strips of them, and scores in their caches cost little
    let bytes = shape::numel(&[&[4], batch, &[m, n]].concat());
    let profile = cx.profile();
    ensure!(profile.cpu || profile.forced.is_some() || bytes > MOST_SCORES, Unsupported, "{bytes} bytes of scores");
    let steps = n.div_ceil(STRIP_LANES * 4) * d.next_multiple_of(4) * 5 / 4 + 4 * n;
    ensure!(!cx.profile().cpu || steps < MOST_STEPS, Unsupported, "{n} keys in one loop");

    let scores = [batch, &[m, n]].concat();
    let reads: Vec<View> = p.end.iter().flat_map(|e| &e.reads).map(|v| v.broadcast(&scores)).collect();
    let all: Vec<&View> = [&p.q, &p.k, &p.v, &p.out].into_iter().chain(&reads).collect();
    let leads: Vec<&[isize]> = all.iter().map(|v| &v.strides[..batch.len()]).collect();
    let (extents, steps) = collapse(batch, &leads);
    let mut steps: Vec<Steps> = all.iter().zip(steps).map(|(v, s)| Steps::new(cx, v, 2, s)).collect();
    let class = rank_class(extents.len());
    let stacked = shape::numel(&extents);
    let common = Common { device, end: p.end, hidden: p.hidden, rank: class };
    let (kernel, rows): (Box<dyn Kernel + '_>, usize) = if cx.profile().cpu {
        let vector =
            d.is_multiple_of(4) && w.is_multiple_of(4) && steps[..3].iter().all(|s| s.vectors(s.column, &[s.row]));
        if vector {
            steps[..3].iter_mut().for_each(Steps::count_vectors);
        }
        (Box::new(Strips { common, vector, vectors: w.div_ceil(4 * STRIP_LANES) }), STRIP_ROWS)
    } else {
        let tile = Tile::new(d, w);
        (Box::new(Shared { common, tile }), tile.queries)
    };
    let tiles_m = m.div_ceil(rows);

    let mut params = Params::new();
    for extent in [m, n, d, w, tiles_m, tiles_m * stacked] {
        params = params.u32(extent);
    }
    params = params.f32(p.alpha);
    for s in &steps[..4] {
        params = params.i32(s.base).i32(s.row).i32(s.column);
    }
    params = params.array_u32(&extents, class, 1);
    for s in &steps[..4] {
        params = params.array_i32(&s.batch, class);
    }
    params = read_params(params, p.end, &steps[4..], class);
    let binds: Vec<Bind<'_>> =
        all.iter().enumerate().map(|(i, v)| if i == 3 { Bind::Write(v) } else { Bind::Read(v) }).collect();
    cx.dispatch(kernel.as_ref(), params, &binds, linear_grid(tiles_m * stacked, 1))?;
    cx.takes_flops(2 * stacked * m * n * (d + w));
    Ok(())
}
