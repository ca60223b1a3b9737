//! Matrix products: `shaders/matmul_tile.wgsl` (software adapters), `matmul_single.wgsl` (64-bit integers), and those of
//! `matmul_gpu.rs`. What is chosen depends on element types, strides and the extents of a matrix.

use std::sync::Arc;

use super::copy::collapse;
use super::epilogue::{self, Epilogue};
use super::matmul_bits::{self, Bits};
pub use super::matmul_pack::{right, right_made, right_of};
use super::{
    DeviceType, Kernel, LINEAR_WORKGROUP, MAX_GROUPS, Params, Profile, Spec, cast_expr, linear_grid, matmul_gpu,
    rank_class,
};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, bail, ensure, shape};

/// Invocations of a workgroup of the tile kernel, side by side along the columns.
pub(super) const LANES: usize = 8;
/// Rows that an invocation of the tile kernel makes.
const TILE_ROWS: usize = 8;
/// The same where lanes hand on what each reads.
const BROADCAST_ROWS: usize = 2 * LANES;

/// `out = alpha · a × b + beta · bias` over equal batch dims: `a` is `[.., m, k]`, `b` `[.., k, n]`, `out` and `bias`
/// `[.., m, n]`. Any strides will do (0 where a batch or the bias repeats). Factors of 32-bit words whose product is
/// signed are four bytes a word (`pack_bytes.rs`), on GPUs only.
#[derive(Debug, Clone)]
pub struct Product {
    /// Left factor.
    pub a: View,
    /// Right factor.
    pub b: Right,
    /// Result; no two of its elements at one place.
    pub out: View,
    /// Added to the result.
    pub bias: Option<View>,
    /// Scales the product; must be 1 for integers.
    pub alpha: f32,
    /// Scales the bias; must be 1 for integers.
    pub beta: f32,
    /// What elements go through at the end.
    pub end: Option<Arc<Epilogue>>,
    /// The operands of `end`, broadcast to the result's shape.
    pub reads: Vec<View>,
}

impl Product {
    /// A product and nothing else.
    pub fn new(a: View, b: Right, out: View) -> Product {
        Product { a, b, out, bias: None, alpha: 1.0, beta: 1.0, end: None, reads: vec![] }
    }
}

/// The right factor: a view as it is, or a constant in panels.
#[derive(Debug, Clone)]
pub enum Right {
    /// `[.., k, n]`
    View(View),
    /// `[.., panels, k, width]`: columns in panels as wide as a workgroup's tile, zeros beyond `n`.
    Panels {
        /// The panels.
        view: View,
        /// The columns that there are.
        n: usize,
    },
    /// A constant larger than the device binds at once: its columns from left to right.
    Parts(Vec<Right>),
    /// A constant of few bits an element, for every matrix of a batch.
    Bits(Bits),
}

impl Right {
    fn columns(&self) -> usize {
        match self {
            Right::View(v) => v.shape.last().copied().unwrap_or(1),
            Right::Panels { n, .. } => *n,
            Right::Parts(parts) => parts.iter().map(Right::columns).sum(),
            Right::Bits(bits) => bits.extents()[1],
        }
    }

    /// The same with its batch dims repeated to `batch`.
    pub fn broadcast(self, batch: &[usize]) -> Right {
        let wide = |v: &View, inner: usize| {
            let tail = &v.shape[v.rank() - inner..];
            v.broadcast(&[batch, tail].concat())
        };
        match self {
            Right::View(v) => Right::View(wide(&v, 2)),
            Right::Panels { view, n } => Right::Panels { view: wide(&view, 3), n },
            Right::Parts(parts) => Right::Parts(parts.into_iter().map(|p| p.broadcast(batch)).collect()),
            Right::Bits(bits) => Right::Bits(bits),
        }
    }
}

/// How many vectors of 4 columns an invocation of the tile kernel makes, for matrices of `n` columns.
pub(super) fn tile_vectors(n: usize) -> usize {
    if n > LANES * 4 { 2 } else { 1 }
}

/// Whether WGSL's own operators multiply the type.
pub(super) fn tiles(t: DeviceType) -> bool {
    !matches!(t, DeviceType::I64 | DeviceType::U64 | DeviceType::F64)
}

/// `x`, a sum, by a factor of the params.
fn scaled(acc: DeviceType, x: &str, factor: &str) -> String {
    match acc {
        DeviceType::F64 => format!("f64_mul(f64_from_f32(params.{factor}), {x})"),
        _ => format!("params.{factor} * {x}"),
    }
}

/// The type that sums are kept in.
fn accumulator(out: DeviceType) -> DeviceType {
    use super::device_type::StorageClass;
    match out.class() {
        StorageClass::F32 | StorageClass::F16 => DeviceType::F32,
        StorageClass::I32 => DeviceType::I32,
        StorageClass::U32 => DeviceType::U32,
        StorageClass::I64 => DeviceType::I64,
        StorageClass::U64 => DeviceType::U64,
        StorageClass::F64 => DeviceType::F64,
    }
}

/// How the tile kernel reads its right factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Vectors of 4 columns.
    Rows,
    /// Vectors of 4 rows.
    Columns,
    /// Single elements.
    Single,
}

/// The variant that all three kernels have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub a: DeviceType,
    pub b: DeviceType,
    pub bias: Option<DeviceType>,
    /// The type of the product itself.
    pub made: DeviceType,
    pub out: DeviceType,
    pub end: Option<Arc<Epilogue>>,
    pub rank: usize,
    pub scales: bool,
    pub scales_bias: bool,
}

impl Common {
    pub fn acc(&self) -> DeviceType {
        accumulator(self.made)
    }

    /// Whether the factors are words of four bytes along the summed dim.
    pub fn bytes(&self) -> bool {
        self.a == DeviceType::U32 && self.acc() == DeviceType::I32
    }

    pub fn label(&self, variant: &str) -> String {
        let bias = if self.bias.is_some() { "+bias" } else { "" };
        let end = Epilogue::label(self.end.as_deref());
        format!("product {variant} {}x{}>{}{bias}{end}", self.a.name(), self.b.name(), self.out.name())
    }

    pub fn spec(&self, file: &'static str) -> Spec {
        let acc = self.acc();
        let mut scaling = String::new();
        if self.scales {
            scaling += &format!("    value = {};\n", scaled(acc, "value", "alpha"));
        }
        if let Some(c) = self.bias {
            scaling += "    let c = at.c + i32(m) * params.c_m + i32(n) * params.c_n;\n";
            let c = cast_expr(c, acc, "bias[c]");
            let c = if self.scales_bias { scaled(acc, &c, "beta") } else { c };
            scaling += &format!("    value = {}_add(value, {c});\n", acc.name());
        }
        let made = cast_expr(acc, self.made, "value");
        let binding = 4 + usize::from(self.bias.is_some());
        let spec = epilogue::matrices(Spec::new(file), self.end.as_deref(), &made, binding);
        spec.ty("Acc", acc)
            .ty("Y", self.out)
            .u32("RANK", self.rank as u32)
            .flag("BIAS", self.bias.is_some())
            .wgsl("Bias", self.bias.unwrap_or(DeviceType::F32).wgsl())
            .code("EPILOGUE", scaling)
    }

    fn elements(&self, file: &'static str) -> Spec {
        self.spec(file).wgsl("A", self.a.wgsl()).wgsl("B", self.b.wgsl()).wgsl("Out", self.out.wgsl())
    }
}

#[derive(Debug)]
struct Tile {
    common: Common,
    a_vec: bool,
    b: Access,
    y_vec: bool,
    k_rest: bool,
    vectors: usize,
}

/// Whether the lanes of a workgroup hand on what each reads.
fn broadcasts(profile: &Profile) -> bool {
    profile.broadcasts == Some(LANES as u32)
}

fn tile_rows(profile: &Profile) -> usize {
    if broadcasts(profile) { BROADCAST_ROWS } else { TILE_ROWS }
}

pub(super) fn storage(t: DeviceType, vec: bool) -> String {
    if vec { format!("vec4<{}>", t.wgsl()) } else { t.wgsl().into() }
}

impl Kernel for Tile {
    fn label(&self) -> String {
        self.common.label("tile")
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let (c, broadcasts) = (&self.common, broadcasts(profile));
        let long = c.end.as_ref().is_some_and(|e| e.is_long());
        c.spec("matmul_tile.wgsl")
            .wgsl("A", storage(c.a, self.a_vec))
            .wgsl("B", storage(c.b, self.b != Access::Single))
            .wgsl("Out", storage(c.out, self.y_vec))
            .u32("LANES", LANES as u32)
            .u32("ROWS", tile_rows(profile) as u32)
            .u32("MOVED", tile_rows(profile) as u32 - 1)
            .u32("OWN", (BROADCAST_ROWS / LANES) as u32)
            .u32("FEW", if broadcasts { 1 } else { 2 })
            .flag("BROADCAST", broadcasts)
            .flag("WIDE", self.vectors == 2)
            .flag("A_VEC", self.a_vec)
            .flag("B_ROWS", self.b == Access::Rows)
            .flag("B_COLUMNS", self.b == Access::Columns)
            .flag("Y_VEC", self.y_vec)
            .flag("K_REST", self.k_rest)
            .flag("LONG", long)
            .flag("ONCE", long && profile.compiles_slowly())
    }
}

#[derive(Debug)]
struct Single(Common);

impl Kernel for Single {
    fn label(&self) -> String {
        self.0.label("single")
    }

    fn spec(&self, _: &Profile) -> Spec {
        self.0.elements("matmul_single.wgsl")
    }
}

/// One matrix (or stack of them) as the kernels address it.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    pub base: i64,
    pub row: i64,
    pub column: i64,
    tile: i64,
    pub batch: Vec<isize>,
}

impl Steps {
    pub fn new(cx: &LowerCx<'_>, v: &View, inner: usize, batch: Vec<isize>) -> Steps {
        let r = v.rank();
        // the step along a single element says nothing, and should not rule out vectors
        let step = |d: usize| if v.shape[d] == 1 { 0 } else { v.strides[d] as i64 };
        let tile = if inner == 3 { step(r - 3) } else { 0 };
        Steps { base: cx.base(v) as i64, row: step(r - 2), column: step(r - 1), tile, batch }
    }

    /// Whether vectors of 4 along the step `unit` are whole and aligned, the other steps being `others`.
    pub fn vectors(&self, unit: i64, others: &[i64]) -> bool {
        self.wide(4, unit, others)
    }

    /// As [`Steps::vectors`], of vectors of `width`.
    pub fn wide(&self, width: i64, unit: i64, others: &[i64]) -> bool {
        let whole = |s: &i64| s % width == 0;
        unit == 1 && whole(&self.base) && others.iter().all(whole) && self.batch.iter().all(|s| whole(&(*s as i64)))
    }

    /// Counts in vectors of 4.
    pub fn count_vectors(&mut self) {
        self.count_wide(4);
    }

    /// Counts in vectors of `width`.
    pub fn count_wide(&mut self, width: i64) {
        [&mut self.base, &mut self.row, &mut self.column, &mut self.tile].into_iter().for_each(|s| *s /= width);
        self.batch.iter_mut().for_each(|s| *s /= width as isize);
    }
}

/// The params of [`epilogue::matrices`].
pub(super) fn read_params(params: Params, end: Option<&Epilogue>, reads: &[Steps], class: usize) -> Params {
    let Some(end) = end else { return params };
    let one = |p: Params, s: &Steps| p.i32(s.base).i32(s.row).i32(s.column);
    let params = reads.iter().fold(end.params(params.u32(0u32)), one);
    reads.iter().fold(params, |p, s| p.array_i32(&s.batch, class))
}

pub(super) fn matrix_transposed(v: &View) -> View {
    let r = v.rank();
    let perm: Vec<usize> = (0..r - 2).chain([r - 1, r - 2]).collect();
    v.permuted(&perm)
}

/// Where the innermost dims of the batch have one right factor, they are only more rows, if strides can say so.
fn batch_as_rows(p: &Product) -> Option<Product> {
    let rank = p.out.rank();
    let (b, inner) = match &p.b {
        Right::View(v) => (v, 2),
        Right::Panels { view, .. } => (view, 3),
        Right::Parts(_) | Right::Bits(_) => return None,
    };
    let lead = b.rank() - inner;
    let shared = (0..lead).rev().take_while(|d| b.shape[*d] == 1 || b.strides[*d] == 0).count();
    if shared == 0 || p.out.numel() == 0 {
        return None;
    }
    let apart = lead - shared;
    let rows: usize = p.out.shape[apart..rank - 1].iter().product();
    let flat = |v: &View| v.reshaped(&[&v.shape[..apart], &[rows, v.shape[rank - 1]]].concat());
    let keep = |all: &[usize]| [&all[..apart], &all[lead..]].concat();
    let strides = [&b.strides[..apart], &b.strides[lead..]].concat();
    let view = View { shape: keep(&b.shape), strides, ..b.clone() };
    let b = match &p.b {
        Right::Panels { n, .. } => Right::Panels { view, n: *n },
        _ => Right::View(view),
    };
    let bias = match &p.bias {
        Some(v) => Some(flat(v)?),
        None => None,
    };
    let reads = p.reads.iter().map(flat).collect::<Option<_>>()?;
    Some(Product { a: flat(&p.a)?, b, out: flat(&p.out)?, bias, reads, ..p.clone() })
}

/// Emits the product.
///
/// # Errors
/// `Internal` when the shapes do not fit each other, `Unsupported` for scaled integers.
pub fn product(cx: &mut LowerCx<'_>, p: &Product) -> Result<()> {
    if let Right::Parts(parts) = &p.b {
        let mut first = 0;
        for b in parts {
            let columns = |v: &View| v.sliced(v.rank() - 1, first, 1, b.columns());
            let (out, bias) = (columns(&p.out), p.bias.as_ref().map(columns));
            let reads = p.reads.iter().map(columns).collect();
            product(cx, &Product { b: b.clone(), out, bias, reads, ..p.clone() })?;
            first += b.columns();
        }
        return Ok(());
    }
    if let Right::Bits(bits) = &p.b {
        return matmul_bits::emit(cx, p, bits);
    }
    if let Some(flat) = batch_as_rows(p) {
        return product(cx, &flat);
    }
    let rows = p.out.shape[p.out.rank() - 2];
    let few_columns = match cx.profile().cpu {
        true => p.b.columns() < LANES,
        false => p.b.columns() <= matmul_gpu::FEW && rows > matmul_gpu::FEW,
    };
    if let (true, Right::View(b)) = (few_columns, &p.b) {
        // invocations lie along the columns: of few columns and many rows make many columns and few rows
        let flip = matrix_transposed;
        let bias = p.bias.as_ref().map(flip);
        let reads = p.reads.iter().map(flip).collect();
        let swapped = Product { a: flip(b), b: Right::View(flip(&p.a)), out: flip(&p.out), bias, reads, ..p.clone() };
        return emit(cx, &swapped);
    }
    emit(cx, p)
}

/// A product in the kernels' terms.
pub(super) struct Call<'p> {
    p: &'p Product,
    right: &'p View,
    pub common: Common,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Columns that can be read of the right factor.
    n_read: usize,
    extents: Vec<usize>,
    pub a: Steps,
    pub b: Steps,
    c: Steps,
    pub y: Steps,
    reads: Vec<Steps>,
}

/// How a kernel cuts a product.
pub(super) struct Cut {
    /// Tiles along rows, along columns, and in all.
    pub tiles: [usize; 3],
    /// Products that a workgroup sums.
    pub part: usize,
    pub grid: [u32; 3],
}

impl<'p> Call<'p> {
    pub fn new(cx: &LowerCx<'_>, p: &'p Product) -> Result<Call<'p>> {
        let (b, inner) = match &p.b {
            Right::View(v) => (v, 2),
            Right::Panels { view, .. } => (view, 3),
            Right::Bits(bits) => (&bits.words, 2),
            Right::Parts(_) => bail!(Internal, "a right factor in parts"),
        };
        let rank = p.out.rank();
        let (m, n) = (p.out.shape[rank - 2], p.out.shape[rank - 1]);
        let k = p.a.shape[rank - 1];
        let batch = &p.out.shape[..rank - 2];
        let b_lead = b.rank() - inner;
        let (b_k, columns) =
            (if let Right::Bits(b) = &p.b { b.extents()[0] } else { b.shape[b.rank() - 2] }, p.b.columns());
        let fits = p.a.shape[..rank - 1] == p.out.shape[..rank - 1] && b.shape[..b_lead] == *batch;
        let made_of = (&p.a.shape, b_k, columns, &p.out.shape);
        ensure!(fits && b_k == k && columns == n, Internal, "{made_of:?} is no product");
        let made = p.end.as_ref().map_or(p.out.device, |e| e.from());
        let float = made.is_float();
        ensure!(float || (p.alpha == 1.0 && p.beta == 1.0), Unsupported, "scaled products of {}", p.out.dtype);

        let none = vec![0; batch.len()];
        let c_strides = p.bias.as_ref().map_or(&none[..], |c| &c.strides[..batch.len()]);
        let lead = |v: &View| v.strides[..batch.len()].to_vec();
        let (a_lead, b_lead, y_lead) = (lead(&p.a), lead(b), lead(&p.out));
        let mut leads = vec![&a_lead[..], &b_lead, c_strides, &y_lead];
        leads.extend(p.reads.iter().map(|v| &v.strides[..batch.len()]));
        let (extents, mut steps) = collapse(batch, &leads);
        let read_batches = steps.split_off(4);
        let [a_batch, b_batch, c_batch, y_batch] = steps.try_into().unwrap_or_default();
        let common = Common {
            a: p.a.device,
            b: b.device,
            bias: p.bias.as_ref().map(|c| c.device),
            made,
            out: p.out.device,
            end: p.end.clone(),
            rank: rank_class(extents.len()),
            scales: p.alpha != 1.0,
            scales_bias: p.beta != 1.0,
        };
        Ok(Call {
            right: b,
            common,
            m,
            n,
            k,
            n_read: n,
            a: Steps::new(cx, &p.a, 2, a_batch),
            b: Steps::new(cx, b, inner, b_batch),
            c: p.bias.as_ref().map(|c| Steps::new(cx, c, 2, c_batch)).unwrap_or_default(),
            y: Steps::new(cx, &p.out, 2, y_batch),
            reads: p.reads.iter().zip(read_batches).map(|(v, s)| Steps::new(cx, v, 2, s)).collect(),
            extents,
            p,
        })
    }

    /// How many matrices the product has.
    pub fn stacked(&self) -> usize {
        shape::numel(&self.extents)
    }

    fn flops(&self) -> usize {
        let products = if self.common.bytes() { 4 * self.k } else { self.k };
        2 * self.stacked() * self.m * self.n * products
    }

    /// Whether rows of the result are whole vectors of 4.
    pub fn y_vec(&self) -> bool {
        self.n.is_multiple_of(4) && self.p.out.device.bytes() <= 4 && self.y.vectors(self.y.column, &[self.y.row])
    }

    /// The params of a kernel that ends in `end`.
    fn params(&self, cut: &Cut, end: Option<&Epilogue>) -> Params {
        let class = self.common.rank;
        let mut params = Params::new();
        let [tiles_m, tiles_n, tiles] = cut.tiles;
        for extent in [self.m, self.n, self.k, self.n_read, tiles_m, tiles_n, tiles, self.stacked(), cut.part] {
            params = params.u32(extent);
        }
        let (a, b, c, y) = (&self.a, &self.b, &self.c, &self.y);
        for step in [a.base, a.row, a.column, b.base, b.row, b.column, b.tile] {
            params = params.i32(step);
        }
        for step in [c.base, c.row, c.column, y.base, y.row, y.column] {
            params = params.i32(step);
        }
        params = params.f32(self.p.alpha).f32(self.p.beta).array_u32(&self.extents, class, 1);
        for steps in [a, b, c, y] {
            params = params.array_i32(&steps.batch, class);
        }
        read_params(params, end, &self.reads, class)
    }

    /// Dispatches a kernel that makes the result from what `from` binds: the factors, or parts of sums.
    fn finish(&self, cx: &mut LowerCx<'_>, kernel: &dyn Kernel, cut: &Cut, from: [&View; 2]) -> Result<()> {
        ensure!(cut.grid[1] <= MAX_GROUPS, Limit, "{} tiles in one product", cut.tiles[2]);
        let mut binds: Vec<Bind<'_>> = from.into_iter().map(Bind::Read).collect();
        binds.extend(self.p.bias.as_ref().map(Bind::Read));
        binds.push(Bind::Write(&self.p.out));
        binds.extend(self.p.reads.iter().map(Bind::Read));
        cx.dispatch(kernel, self.params(cut, self.p.end.as_deref()), &binds, cut.grid)
    }

    /// Dispatches a kernel that makes the result.
    pub fn dispatch(&self, cx: &mut LowerCx<'_>, kernel: &dyn Kernel, cut: &Cut) -> Result<()> {
        self.finish(cx, kernel, cut, [&self.p.a, self.right])?;
        cx.takes_flops(self.flops());
        Ok(())
    }

    /// Dispatches a kernel that makes parts of the sums, and one that adds these and makes the result.
    pub fn dispatch_parts(
        &self,
        cx: &mut LowerCx<'_>,
        [kernel, sum]: [&dyn Kernel; 2],
        cut: &Cut,
        parts: &View,
    ) -> Result<()> {
        ensure!(cut.grid[1] <= MAX_GROUPS, Limit, "{} tiles in one product", cut.tiles[2]);
        let binds = [Bind::Read(&self.p.a), Bind::Read(self.right), Bind::Write(parts)];
        cx.dispatch(kernel, self.params(cut, None), &binds, cut.grid)?;
        cx.takes_flops(self.flops());
        let grid = linear_grid(parts.numel() / parts.shape[0] / 4, LINEAR_WORKGROUP);
        // where other kernels bind the second factor, this one has nothing to bind
        self.finish(cx, sum, &Cut { tiles: cut.tiles, part: parts.shape[0], grid }, [parts, parts])
    }
}

fn emit(cx: &mut LowerCx<'_>, p: &Product) -> Result<()> {
    let mut call = Call::new(cx, p)?;
    if p.out.numel() == 0 {
        return Ok(());
    }
    let (m, n, k, stacked) = (call.m, call.n, call.k, call.stacked());
    let common = call.common.clone();
    if !tiles(common.acc()) {
        let single = [common.a, common.b].iter().all(|t| t.class() == common.acc().class());
        ensure!(single, Internal, "a product of {} and {}", common.a.name(), common.b.name());
        let grid = linear_grid(m * n * stacked, LINEAR_WORKGROUP);
        return call.dispatch(cx, &Single(common), &Cut { tiles: [m, n, m * n * stacked], part: k, grid });
    }
    if !cx.profile().cpu {
        return matmul_gpu::emit(cx, call);
    }
    let vectors = tile_vectors(n);
    let width = vectors * 4 * LANES;
    let whole = k.is_multiple_of(4);
    let a_vec = whole && call.a.vectors(call.a.column, &[call.a.row]);
    let access = match p.b {
        Right::Panels { .. } => Access::Rows,
        _ if n.is_multiple_of(4) && call.b.vectors(call.b.column, &[call.b.row]) => Access::Rows,
        _ if whole && call.b.vectors(call.b.row, &[call.b.column]) => Access::Columns,
        _ => Access::Single,
    };
    let y_vec = call.y_vec();
    match p.b {
        Right::Panels { .. } => call.n_read = n.next_multiple_of(width),
        _ => call.b.tile = call.b.column * width as i64,
    }
    if access != Access::Single {
        call.b.count_vectors();
    }
    if access == Access::Rows {
        call.b.column = 1;
    }
    [(a_vec, &mut call.a), (y_vec, &mut call.y)]
        .into_iter()
        .filter(|(vec, _)| *vec)
        .for_each(|(_, s)| s.count_vectors());
    let (tiles_m, tiles_n) = (m.div_ceil(tile_rows(cx.profile())), n.div_ceil(width));
    let all = tiles_m * tiles_n * stacked;
    let cut = Cut { tiles: [tiles_m, tiles_n, all], part: k, grid: linear_grid(all * LANES, LANES as u32) };
    call.dispatch(cx, &Tile { common, a_vec, b: access, y_vec, k_rest: !whole, vectors }, &cut)
}
