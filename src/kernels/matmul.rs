//! Matrix products: `shaders/matmul_tile.wgsl` (software adapters), `matmul_shared.wgsl` (GPUs), `matmul_single.wgsl`
//! (64-bit integers). What is chosen depends on element types, strides and the extents of a matrix, never on a batch.

use std::ops::Range;
use std::sync::Arc;

use super::copy::collapse;
use super::epilogue::{self, Epilogue};
use super::{
    DeviceType, Kernel, LINEAR_WORKGROUP, MAX_GROUPS, Params, Profile, Spec, cast_expr, linear_grid, rank_class,
};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, shape};

/// Invocations of a workgroup of the tile kernel, side by side along the columns.
const LANES: usize = 8;
/// Rows that an invocation of the tile kernel makes.
const TILE_ROWS: usize = 8;
/// The same where lanes hand on what each reads.
const BROADCAST_ROWS: usize = 2 * LANES;
/// Rows and columns of a workgroup of the shared-memory kernel.
const SIDE: usize = 64;

/// `out = alpha · a × b + beta · bias` over equal batch dims: `a` is `[.., m, k]`, `b` `[.., k, n]`, `out` and `bias`
/// `[.., m, n]`. Any strides will do (0 where a batch or the bias repeats).
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
}

impl Right {
    fn columns(&self) -> usize {
        match self {
            Right::View(v) => v.shape.last().copied().unwrap_or(1),
            Right::Panels { n, .. } => *n,
            Right::Parts(parts) => parts.iter().map(Right::columns).sum(),
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
        }
    }
}

/// How many vectors of 4 columns an invocation of the tile kernel makes, for matrices of `n` columns.
fn tile_vectors(n: usize) -> usize {
    if n > LANES * 4 { 2 } else { 1 }
}

/// Input `i` as the right factor of a product, `[.., k, n]` or, `transposed`, `[.., n, k]`. A constant is laid out in
/// panels once where the kernel gains from it. Rank 2 or more.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right(cx: &mut LowerCx<'_>, i: usize, transposed: bool) -> Result<Right> {
    let dtype = cx.input_type(i)?.dtype;
    if cx.value(i).is_some() {
        return right_of(cx, i, transposed, dtype, "", |t| Ok(t.clone()));
    }
    let v = cx.input(i)?;
    Ok(Right::View(if transposed { matrix_transposed(&v) } else { v }))
}

/// As [`right`], of what `prepare` makes of constant input `i`: a tensor of the same shape and of type `dtype`. `tag`
/// names what it does.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right_of(
    cx: &mut LowerCx<'_>,
    i: usize,
    transposed: bool,
    dtype: DType,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let s = cx.input_type(i)?.shape;
    right_made(cx, i, TensorType::new(dtype, s), transposed, tag, prepare)
}

/// As [`right_of`], of a tensor of type `t` that `prepare` makes; `tag` is not empty where it changes anything.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right_made(
    cx: &mut LowerCx<'_>,
    i: usize,
    t: TensorType,
    transposed: bool,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let (dtype, s) = (t.dtype, t.shape);
    let rank = s.len();
    ensure!(rank >= 2, Internal, "a right factor of rank {rank}");
    let (mut k, mut n) = (s[rank - 2], s[rank - 1]);
    if transposed {
        (k, n) = (n, k);
    }
    let device = cx.profile().device_type(dtype)?;
    let packs = cx.profile().cpu && tiles(device) && n >= LANES;
    let width = tile_vectors(n) * 4 * LANES;
    let stack = shape::numel(&s[..rank - 2]);
    let limit = cx.profile().max_binding as usize / device.bytes();
    if stack * k * n.next_multiple_of(width) > limit {
        let most = limit / (stack * k).max(1) / width * width;
        ensure!(most > 0, Limit, "{width} columns of {s:?} are more than the device binds");
        let prepare = Arc::new(prepare);
        let part = |cx: &mut LowerCx<'_>, first: usize| {
            let range = first..n.min(first + most);
            let tag = format!("{tag} columns {range:?}");
            let prepare = prepare.clone();
            let mut shape = s.clone();
            shape[if transposed { rank - 2 } else { rank - 1 }] = range.len();
            let make = move |t: &Tensor| columns(&prepare(t)?, range.clone(), transposed);
            packed_right(cx, i, transposed, TensorType::new(dtype, shape), packs, &tag, make)
        };
        return Ok(Right::Parts((0..n).step_by(most).map(|first| part(cx, first)).collect::<Result<_>>()?));
    }
    packed_right(cx, i, transposed, TensorType::new(dtype, s), packs, tag, prepare)
}

/// Constant input `i` as what `prepare` makes of it, of type `t`; in panels where it `packs`.
fn packed_right(
    cx: &mut LowerCx<'_>,
    i: usize,
    transposed: bool,
    t: TensorType,
    packs: bool,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let [batch @ .., rows, columns] = t.shape.as_slice() else { bail!(Internal, "a right factor of {t}") };
    let (k, n) = if transposed { (*columns, *rows) } else { (*rows, *columns) };
    if !packs {
        let v = if tag.is_empty() { cx.input(i)? } else { cx.prepacked(i, tag, t, prepare)? };
        return Ok(Right::View(if transposed { matrix_transposed(&v) } else { v }));
    }
    let width = tile_vectors(n) * 4 * LANES;
    let packed = [batch, &[n.div_ceil(width), k, width]].concat();
    let tag = format!("{tag} panels of {width}{}", if transposed { ", transposed" } else { "" });
    let to = TensorType::new(t.dtype, packed.clone());
    let make = move |source: &Tensor| panels(&prepare(source)?, &packed, n, transposed);
    Ok(Right::Panels { view: cx.prepacked(i, &tag, to, make)?, n })
}

/// Some columns of the matrices of `source`, which are rows of it where it is `transposed`.
fn columns(source: &Tensor, range: Range<usize>, transposed: bool) -> Result<Tensor> {
    let [batch @ .., rows, columns] = source.shape() else { bail!(Internal, "columns of {:?}", source.shape()) };
    let (size, row) = (source.dtype().size(), columns * source.dtype().size());
    let mut bytes = vec![];
    for matrix in 0..shape::numel(batch) {
        let matrix = matrix * rows * row;
        if transposed {
            bytes.extend_from_slice(&source.bytes()[matrix + range.start * row..matrix + range.end * row]);
        } else {
            for r in 0..*rows {
                let from = matrix + r * row;
                bytes.extend_from_slice(&source.bytes()[from + range.start * size..from + range.end * size]);
            }
        }
    }
    let kept = if transposed { [range.len(), *columns] } else { [*rows, range.len()] };
    Tensor::from_bytes(source.dtype(), [batch, &kept].concat(), bytes)
}

/// The matrices of `source` with their columns in panels.
fn panels(source: &Tensor, packed: &[usize], n: usize, transposed: bool) -> Result<Tensor> {
    let [batch @ .., count, k, width] = packed else { bail!(Internal, "panels of rank {}", packed.len()) };
    let (count, k, width, size) = (*count, *k, *width, source.dtype().size());
    let (step_k, step_n) = if transposed { (1, k) } else { (n, 1) };
    let from = source.bytes();
    let mut to = vec![0u8; shape::numel(packed) * size];
    for b in 0..shape::numel(batch) {
        for panel in 0..count {
            let columns = (n - panel * width).min(width);
            for row in 0..k {
                let target = ((b * count + panel) * k + row) * width;
                for c in 0..columns {
                    let s = b * k * n + row * step_k + (panel * width + c) * step_n;
                    let t = target + c;
                    to[t * size..(t + 1) * size].copy_from_slice(&from[s * size..(s + 1) * size]);
                }
            }
        }
    }
    Tensor::from_bytes(source.dtype(), packed, to)
}

/// Whether WGSL's own operators multiply the type.
fn tiles(t: DeviceType) -> bool {
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
#[derive(Debug)]
struct Common {
    a: DeviceType,
    b: DeviceType,
    bias: Option<DeviceType>,
    /// The type of the product itself.
    made: DeviceType,
    out: DeviceType,
    end: Option<Arc<Epilogue>>,
    rank: usize,
    scales: bool,
    scales_bias: bool,
}

impl Common {
    fn acc(&self) -> DeviceType {
        accumulator(self.made)
    }

    fn label(&self, variant: &str) -> String {
        let bias = if self.bias.is_some() { "+bias" } else { "" };
        let end = Epilogue::label(self.end.as_deref());
        format!("product {variant} {}x{}>{}{bias}{end}", self.a.name(), self.b.name(), self.out.name())
    }

    fn spec(&self, file: &'static str) -> Spec {
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
            .wgsl("C", self.bias.unwrap_or(DeviceType::F32).wgsl())
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

fn storage(t: DeviceType, vec: bool) -> String {
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
struct Shared(Common);

impl Kernel for Shared {
    fn label(&self) -> String {
        self.0.label("shared")
    }

    fn spec(&self, _: &Profile) -> Spec {
        self.0.elements("matmul_shared.wgsl")
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
        unit == 1 && self.base % 4 == 0 && others.iter().all(|s| s % 4 == 0) && self.batch.iter().all(|s| s % 4 == 0)
    }

    /// Counts in vectors of 4.
    pub fn count_vectors(&mut self) {
        [&mut self.base, &mut self.row, &mut self.column, &mut self.tile].into_iter().for_each(|s| *s /= 4);
        self.batch.iter_mut().for_each(|s| *s /= 4);
    }

    fn in_vectors(mut self) -> Steps {
        self.count_vectors();
        self
    }
}

/// The params of [`epilogue::matrices`].
pub(super) fn read_params(params: Params, end: Option<&Epilogue>, reads: &[Steps], class: usize) -> Params {
    let Some(end) = end else { return params };
    let one = |p: Params, s: &Steps| p.i32(s.base).i32(s.row).i32(s.column);
    let params = reads.iter().fold(end.params(params.u32(0u32)), one);
    reads.iter().fold(params, |p, s| p.array_i32(&s.batch, class))
}

fn matrix_transposed(v: &View) -> View {
    let r = v.rank();
    let perm: Vec<usize> = (0..r - 2).chain([r - 1, r - 2]).collect();
    v.permuted(&perm)
}

/// With one right factor for the whole batch, the batch is only more rows, if strides can say so.
fn batch_as_rows(p: &Product) -> Option<Product> {
    let rank = p.out.rank();
    if rank == 2 {
        return None;
    }
    let (b, inner) = match &p.b {
        Right::View(v) => (v, 2),
        Right::Panels { view, .. } => (view, 3),
        Right::Parts(_) => return None,
    };
    let lead = b.rank() - inner;
    let shared = (0..lead).all(|d| b.shape[d] == 1 || b.strides[d] == 0);
    if !shared || p.out.numel() == 0 {
        return None;
    }
    let rows: usize = p.out.shape[..rank - 1].iter().product();
    let flat = |v: &View| v.reshaped(&[rows, v.shape[rank - 1]]);
    let view = View { shape: b.shape[lead..].to_vec(), strides: b.strides[lead..].to_vec(), ..b.clone() };
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
    if let Some(flat) = batch_as_rows(p) {
        return product(cx, &flat);
    }
    let few_columns = p.b.columns() < LANES && cx.profile().cpu;
    if let (true, Right::View(b)) = (few_columns, &p.b) {
        // lanes lie along the columns: of few columns and many rows make many columns and few rows
        let flip = matrix_transposed;
        let bias = p.bias.as_ref().map(flip);
        let reads = p.reads.iter().map(flip).collect();
        let swapped = Product { a: flip(b), b: Right::View(flip(&p.a)), out: flip(&p.out), bias, reads, ..p.clone() };
        return emit(cx, &swapped);
    }
    emit(cx, p)
}

fn emit(cx: &mut LowerCx<'_>, p: &Product) -> Result<()> {
    let (b, inner) = match &p.b {
        Right::View(v) => (v, 2),
        Right::Panels { view, .. } => (view, 3),
        Right::Parts(_) => bail!(Internal, "a right factor in parts"),
    };
    let rank = p.out.rank();
    let (m, n) = (p.out.shape[rank - 2], p.out.shape[rank - 1]);
    let k = p.a.shape[rank - 1];
    let batch = &p.out.shape[..rank - 2];
    let b_lead = b.rank() - inner;
    let b_k = b.shape[b.rank() - 2];
    let fits = p.a.shape[..rank - 1] == p.out.shape[..rank - 1] && b.shape[..b_lead] == *batch && b_k == k;
    ensure!(fits && p.b.columns() == n, Internal, "{:?} x {:?} does not make {:?}", p.a.shape, b.shape, p.out.shape);
    let made = p.end.as_ref().map_or(p.out.device, |e| e.from());
    let float = made.is_float();
    ensure!(float || (p.alpha == 1.0 && p.beta == 1.0), Unsupported, "scaled products of {}", p.out.dtype);
    if p.out.numel() == 0 {
        return Ok(());
    }

    let none = vec![0; batch.len()];
    let c_strides = p.bias.as_ref().map_or(&none[..], |c| &c.strides[..batch.len()]);
    let lead = |v: &View| v.strides[..batch.len()].to_vec();
    let (a_lead, b_lead, y_lead) = (lead(&p.a), lead(b), lead(&p.out));
    let mut leads = vec![&a_lead[..], &b_lead, c_strides, &y_lead];
    leads.extend(p.reads.iter().map(|v| &v.strides[..batch.len()]));
    let (extents, mut steps) = collapse(batch, &leads);
    let read_batches = steps.split_off(4);
    let [a_batch, b_batch, c_batch, y_batch] = steps.try_into().unwrap_or_default();
    let reads: Vec<Steps> = p.reads.iter().zip(read_batches).map(|(v, s)| Steps::new(cx, v, 2, s)).collect();
    let mut sa = Steps::new(cx, &p.a, 2, a_batch);
    let mut sb = Steps::new(cx, b, inner, b_batch);
    let sc = p.bias.as_ref().map(|c| Steps::new(cx, c, 2, c_batch)).unwrap_or_default();
    let mut sy = Steps::new(cx, &p.out, 2, y_batch);

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
    let class = common.rank;
    let stacked = shape::numel(&extents);
    let mut n_read = n;
    let (kernel, tiles_m, tiles_n, grid): (Box<dyn Kernel>, usize, usize, [u32; 3]);
    if !tiles(common.acc()) {
        let single = [p.a.device, b.device].iter().all(|t| t.class() == common.acc().class());
        ensure!(single, Internal, "a product of {} and {}", p.a.device.name(), b.device.name());
        (tiles_m, tiles_n) = (m, n);
        grid = linear_grid(m * n * stacked, LINEAR_WORKGROUP);
        kernel = Box::new(Single(common));
    } else if cx.profile().cpu {
        let vectors = tile_vectors(n);
        let width = vectors * 4 * LANES;
        let whole = k.is_multiple_of(4);
        let a_vec = whole && sa.vectors(sa.column, &[sa.row]);
        let access = match p.b {
            Right::Panels { .. } => Access::Rows,
            _ if n.is_multiple_of(4) && sb.vectors(sb.column, &[sb.row]) => Access::Rows,
            _ if whole && sb.vectors(sb.row, &[sb.column]) => Access::Columns,
            _ => Access::Single,
        };
        let y_vec = n.is_multiple_of(4) && p.out.device.bytes() <= 4 && sy.vectors(sy.column, &[sy.row]);
        match p.b {
            Right::Panels { .. } => n_read = n.next_multiple_of(width),
            _ => sb.tile = sb.column * width as i64,
        }
        if access != Access::Single {
            sb = sb.in_vectors();
        }
        if access == Access::Rows {
            sb.column = 1;
        }
        sa = if a_vec { sa.in_vectors() } else { sa };
        sy = if y_vec { sy.in_vectors() } else { sy };
        (tiles_m, tiles_n) = (m.div_ceil(tile_rows(cx.profile())), n.div_ceil(width));
        grid = linear_grid(tiles_m * tiles_n * stacked * LANES, LANES as u32);
        kernel = Box::new(Tile { common, a_vec, b: access, y_vec, k_rest: !whole, vectors });
    } else {
        (tiles_m, tiles_n) = (m.div_ceil(SIDE), n.div_ceil(SIDE));
        grid = linear_grid(tiles_m * tiles_n * stacked, 1);
        kernel = Box::new(Shared(common));
    }
    ensure!(grid[1] <= MAX_GROUPS, Limit, "{} tiles in one product", tiles_m * tiles_n * stacked);
    let mut params = Params::new();
    for extent in [m, n, k, n_read, tiles_m, tiles_n, tiles_m * tiles_n * stacked] {
        params = params.u32(extent);
    }
    for step in [sa.base, sa.row, sa.column, sb.base, sb.row, sb.column, sb.tile] {
        params = params.i32(step);
    }
    for step in [sc.base, sc.row, sc.column, sy.base, sy.row, sy.column] {
        params = params.i32(step);
    }
    params = params.f32(p.alpha).f32(p.beta).array_u32(&extents, class, 1);
    for steps in [sa.batch, sb.batch, sc.batch, sy.batch] {
        params = params.array_i32(&steps, class);
    }
    params = read_params(params, p.end.as_deref(), &reads, class);
    let mut binds = vec![Bind::Read(&p.a), Bind::Read(b)];
    binds.extend(p.bias.as_ref().map(Bind::Read));
    binds.push(Bind::Write(&p.out));
    binds.extend(p.reads.iter().map(Bind::Read));
    cx.dispatch(kernel.as_ref(), params, &binds, grid)?;
    cx.takes_flops(2 * stacked * m * n * k);
    Ok(())
}
