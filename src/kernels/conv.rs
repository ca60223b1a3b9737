//! Convolution: `shaders/conv_depthwise.wgsl` for one channel a group, `conv_lanes.wgsl` where the lanes of a subgroup
//! hand on what they read, `conv_shared.wgsl` on GPUs, else `conv.wgsl`; those of `winograd.rs` where these gain, and
//! products where llvmpipe convolves single pixels.

use std::sync::Arc;

use super::conv_shared::{BLOCK, Tiled};
use super::epilogue::{Ends, Epilogue, Flat, Load};
use super::matmul::{self, Product, Right};
use super::winograd;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, MAX_GROUPS, Params, Profile, Spec, When, cast_expr, linear_grid};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::plan::{Bind, LowerCx, Make, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// A convolution over depth, height and width (missing dims are 1 long). `x` is [batch, group · ic, input…], the
/// result [batch, group · oc, output…].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Shape {
    pub batch: usize,
    pub group: usize,
    /// Input channels of one group.
    pub ic: usize,
    /// Output channels of one group.
    pub oc: usize,
    /// Whether this is ConvTranspose, with weights [group · ic, oc, kernel…] instead of [group · oc, ic, kernel…].
    pub transposed: bool,
    /// Whether windows reach outside the input.
    pub padded: bool,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    pub begin: [usize; 3],
}

impl Shape {
    /// The params of `common/conv.wgsl` before those that say where operands lie: rows and tiles of output channels, a step
    /// along the pixels, the parts of sums and their steps.
    pub(super) fn params(&self, rows: [usize; 2], step: [usize; 4], parts: [usize; 2]) -> Params {
        let plane = self.output.iter().product::<usize>();
        let pixels = self.batch * plane;
        let lists = [self.input, self.output, self.kernel, self.strides, self.dilations, self.begin];
        let first = [pixels, rows[0], rows[1], self.group, self.ic, self.oc, plane];
        let elements = pixels * self.group * self.oc;
        let last = [step[0], step[1], step[2], step[3], parts[0], parts[1], elements];
        first.iter().chain(lists.iter().flatten()).chain(&last).fold(Params::new(), |p, v| p.u32(*v))
    }
}

/// Output channels from which on a convolution of single pixels is a product: a tile's rows.
const LEAST_ROWS: usize = 16;
/// Products in a part of a sum.
const PART: u32 = 64;

/// The type that products are summed in. Words are four signed bytes each.
pub(super) fn sums_of(device: DeviceType) -> DeviceType {
    if matches!(device, DeviceType::I32 | DeviceType::U32) { DeviceType::I32 } else { DeviceType::F32 }
}

/// The binding of the bias, or of the first operand of an epilogue where there is none.
pub(super) const BIAS: usize = 4;

/// What one thread makes, and the threads of a workgroup: along pixels, along tiles of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    /// Output channels, by fours.
    quads: usize,
    /// Output pixels.
    columns: usize,
    wx: usize,
    wy: usize,
}

impl Tile {
    /// By device and output channels of a group: on processors few of the loads that differ by lane (one a pixel)
    /// for many that do not (weights).
    fn choose(profile: &Profile, oc: usize) -> Tile {
        let quads = oc.div_ceil(4);
        match (profile.cpu, quads) {
            (true, 1) => Tile { quads: 1, columns: 8, wx: 8, wy: 1 },
            (true, _) => Tile { quads: 2, columns: 8, wx: 8, wy: 1 },
            (false, _) => Tile { quads: 1, columns: 4, wx: 16, wy: 4 },
        }
    }
}

/// Whether sums are made in parts.
fn in_parts(spec: Spec, parts: bool) -> Spec {
    spec.u32("PART", if parts { PART } else { u32::MAX }).flag("PARTS", parts)
}

/// What the kernels have in common.
#[derive(Debug)]
pub(super) struct Common<'a> {
    /// The type of what is read, and that of what is summed.
    pub input: DeviceType,
    pub device: DeviceType,
    pub out: DeviceType,
    pub transposed: bool,
    pub padded: bool,
    pub bias: bool,
    /// Whether sums are of more than a few parts.
    pub long: bool,
    /// Whether the epilogue is more code than should stand many times.
    pub long_end: bool,
    /// What lies outside of the input, an expression.
    pub outside: Option<String>,
    pub start: &'a Load,
    pub end: &'a Flat,
    pub suffix: String,
}

impl Common<'_> {
    pub fn label(&self, tile: &str) -> String {
        let what = if self.transposed { "conv transposed" } else { "conv" };
        format!("{what} {tile}{}{}", if self.padded { " padded" } else { "" }, self.suffix)
    }

    /// Whether four channels are multiplied at a time, bytes of a word.
    pub fn bytes(&self) -> bool {
        self.device == DeviceType::U32
    }

    pub fn spec(&self, file: &'static str) -> Spec {
        let spec = self.start.spec(self.end, Spec::new(file));
        let acc = sums_of(self.device);
        let made = if self.bytes() { acc } else { self.device };
        spec.wgsl("X", self.input.wgsl())
            .wgsl("T", self.device.wgsl())
            .ty("Acc", acc)
            .wgsl("Y", self.out.wgsl())
            .code("MADE", format!("let v = {};\n", cast_expr(acc, made, "sum")))
            .code("OUTSIDE", format!("return {};\n", self.outside.as_deref().unwrap_or("Acc()")))
            .code("ADDED", format!("return {};\n", cast_expr(self.device, acc, "bias[channel]")))
            .flag("BIAS", self.bias)
            .flag("TRANSPOSED", self.transposed)
            .flag("PADDED", self.padded)
    }
}

#[derive(Debug)]
struct Direct<'a> {
    common: Common<'a>,
    tile: Tile,
}

impl Kernel for Direct<'_> {
    fn label(&self) -> String {
        self.common.label(&format!("{}x{}", 4 * self.tile.quads, self.tile.columns))
    }

    fn spec(&self, profile: &Profile) -> Spec {
        // sums in parts take twice the registers, which only software adapters have for the asking
        in_parts(self.common.spec("conv.wgsl"), profile.cpu && self.common.long)
            .u32("QUADS", self.tile.quads as u32)
            .u32("COLUMNS", self.tile.columns as u32)
            .u32("SUMS", (self.tile.quads * self.tile.columns) as u32)
            .u32("MOVED", (self.tile.quads * self.tile.columns) as u32 - 1)
            .flag("ONCE", self.common.end.is_long() && profile.compiles_slowly())
            .flag("Y_VEC", false)
            .u32("WX", self.tile.wx as u32)
            .u32("WY", self.tile.wy as u32)
    }
}

/// The channels and pixels of a workgroup of lanes that hand on what they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shared {
    lanes: usize,
    /// Pixels that each lane reads.
    own: usize,
    /// Vectors of four channels that each lane makes.
    vectors: usize,
}

impl Shared {
    /// By device and output channels of a group; `None` where few channels would leave most lanes idle.
    fn choose(profile: &Profile, oc: usize) -> Option<Shared> {
        let lanes = profile.broadcasts? as usize;
        match oc {
            ..=8 => None,
            _ if oc <= 4 * lanes => Some(Shared { lanes, own: 4, vectors: 1 }),
            _ => Some(Shared { lanes, own: 2, vectors: 2 }),
        }
    }
}

#[derive(Debug)]
struct Lanes<'a> {
    common: Common<'a>,
    tile: Shared,
    y_vec: bool,
    /// Input channels that are summed at a time, and whether some are left over.
    unroll: usize,
    rest: bool,
}

impl Kernel for Lanes<'_> {
    fn label(&self) -> String {
        let Shared { lanes, own, vectors } = self.tile;
        self.common.label(&format!("lanes {}x{}", own * lanes, 4 * vectors * lanes))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let Shared { lanes, own, vectors } = self.tile;
        in_parts(self.common.spec("conv_lanes.wgsl"), self.common.long)
            .u32("LANES", lanes as u32)
            .u32("OWN", own as u32)
            .u32("VECTORS", vectors as u32)
            .u32("UNROLL", self.unroll as u32)
            .flag("UNROLL_2", self.unroll > 1)
            .flag("UNROLL_3", self.unroll == 3)
            .flag("UNROLL_4", self.unroll == 4)
            .u32("BLOCK", (self.unroll * vectors) as u32)
            .u32("FOUR", 4)
            .u32("PIXELS", (own * lanes) as u32)
            .u32("SUMS", (own * lanes * vectors) as u32)
            .u32("QUADS", (own * lanes / 4) as u32)
            .flag("REST", self.rest)
            .flag("Y_VEC", self.y_vec)
    }
}

/// A tile of pixels whose input stays in registers, of one channel a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plane {
    /// Tiles of a workgroup, side by side.
    lanes: u32,
    rows: usize,
    columns: usize,
    /// Height and width each.
    kernel: [usize; 2],
    strides: [usize; 2],
}

impl Plane {
    /// Elements of the input under a tile that are read at most: each is a register.
    const UNDER: usize = 80;

    /// A load for each product is what costs, on software adapters and on GPUs.
    fn choose(profile: &Profile, s: &Shape) -> Option<Plane> {
        let flat = s.kernel[0] == 1 && s.input[0] == 1 && s.output[0] == 1 && s.begin[0] == 0;
        let single = s.ic == 1 && s.oc == 1 && !s.transposed && s.dilations[1..] == [1, 1];
        if !flat || !single || s.input.contains(&0) {
            return None;
        }
        let tile = |rows| Plane {
            lanes: if profile.cpu { 8 } else { LINEAR_WORKGROUP },
            rows,
            columns: 4,
            kernel: [s.kernel[1], s.kernel[2]],
            strides: [s.strides[1], s.strides[2]],
        };
        [4, 2, 1].map(tile).into_iter().find(|t| t.under(0) * t.under(1) <= Plane::UNDER)
    }

    /// Rows (0) or columns (1) of the input under a tile.
    fn under(&self, d: usize) -> usize {
        ([self.rows, self.columns][d] - 1) * self.strides[d] + self.kernel[d]
    }

    fn grid(&self, s: &Shape) -> [u32; 3] {
        let tiles = s.output[1].div_ceil(self.rows) * s.output[2].div_ceil(self.columns);
        linear_grid(s.batch * s.group * tiles, self.lanes)
    }
}

#[derive(Debug)]
struct Depthwise<'a> {
    common: Common<'a>,
    tile: Plane,
    y_vec: bool,
}

impl Kernel for Depthwise<'_> {
    fn label(&self) -> String {
        let Plane { rows, columns, kernel: [kh, kw], strides: [sh, sw], .. } = self.tile;
        format!("conv depthwise {rows}x{columns} of {kh}x{kw} by {sh}x{sw}{}", self.common.suffix)
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let t = &self.tile;
        self.common
            .spec("conv_depthwise.wgsl")
            .u32("LANES", t.lanes)
            .u32("ROWS", t.rows as u32)
            .u32("COLUMNS", t.columns as u32)
            .u32("KERNEL_H", t.kernel[0] as u32)
            .u32("KERNEL_W", t.kernel[1] as u32)
            .u32("STRIDE_H", t.strides[0] as u32)
            .u32("STRIDE_W", t.strides[1] as u32)
            .u32("UNDER_H", t.under(0) as u32)
            .u32("UNDER_W", t.under(1) as u32)
            .u32("UNDER", (t.under(0) * t.under(1)) as u32)
            .u32("SUMS", (t.rows * t.columns) as u32)
            .u32("MOVED", (t.rows * t.columns) as u32 - 1)
            .flag("ONCE", self.common.end.is_long() && profile.compiles_slowly())
            .flag("Y_VEC", self.y_vec)
    }
}

#[derive(Debug)]
struct Pack {
    device: DeviceType,
    quads: usize,
    transposed: bool,
}

impl Kernel for Pack {
    fn label(&self) -> String {
        "conv weights".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        let spec = Spec::new("conv_pack.wgsl").ty("T", self.device).u32("QUADS", self.quads as u32);
        spec.flag("TRANSPOSED", self.transposed)
    }
}

/// The weights of a convolution: `[group · oc, ic, kernel…]`, for ConvTranspose `[group · ic, oc, kernel…]`.
pub enum Filters {
    /// What `make` makes of a constant input, of type `dtype`; `tag` says what that is.
    #[allow(missing_docs)]
    Constant { input: usize, dtype: DType, tag: String, make: Make },
    /// A dense view.
    View(View),
}

/// Convolves input 0, through `ends.start`, with weights, input 1, and a bias, input 2 if present, into output 0,
/// through `ends.end`.
///
/// # Errors
/// As [`convolve`].
pub fn lower(cx: &mut LowerCx<'_>, s: &Shape, ends: Ends<'_>) -> Result<()> {
    let (x, plane) = (cx.input(0)?, s.output.iter().product::<usize>());
    let filters = match cx.value(1).is_some() {
        true => Filters::Constant {
            input: 1,
            dtype: cx.input_type(1)?.dtype,
            tag: "conv".into(),
            make: Arc::new(|w| Ok(w.clone())),
        },
        false => Filters::View(cx.dense_input(1)?),
    };
    let bias = if cx.has_input(2) { Some(cx.dense_input(2)?) } else { None };
    let out = cx.output_ordered(0, |v| v.reshaped(&[s.batch, s.group, s.oc, plane]).is_some())?;
    convolve(cx, s, &Operands { x, filters, bias, around: Around::default() }, &out, ends)
}

/// What lies outside of what is convolved, if not zeros. Where words are convolved it is each of the four bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    /// The epilogue's first operand, a single int32.
    pub first: bool,
    /// That, or zero, less this.
    pub less: i32,
}

impl Around {
    /// As an expression; `None` for zeros.
    fn expr(self, end: Option<&Epilogue>, bytes: bool) -> Option<String> {
        let first = end.filter(|_| self.first).and_then(Epilogue::first);
        let value = match (first, self.less) {
            (None, 0) => return None,
            (first, less) => format!("({}) - ({less})", first.as_deref().unwrap_or("0")),
        };
        Some(if bytes { format!("i32(pack4xI8(vec4<i32>({value})))") } else { value })
    }
}

/// What is convolved.
pub struct Operands {
    /// Floats, int32s, or words of four signed bytes of neighbouring channels (`pack_bytes.rs`), on GPUs only.
    pub x: View,
    /// Of the same type, as are the sums.
    pub filters: Filters,
    /// Dense, an element for each output channel.
    pub bias: Option<View>,
    /// What lies outside of `x`.
    pub around: Around,
}

/// Convolves into `out`, which can be seen as `[batch, group, oc, pixels]`: floats, or int32s that wrap. Where `x` is of
/// words, so are the shape's input channels.
///
/// # Errors
/// `Unsupported` when the device has no form for the element type, or there is no kernel for words of this shape, `Limit`
/// beyond what it can bind or dispatch.
pub fn convolve(
    cx: &mut LowerCx<'_>,
    s: &Shape,
    Operands { x, filters, bias, around }: &Operands,
    out: &View,
    ends: Ends<'_>,
) -> Result<()> {
    let [d, h, w] = s.input;
    // where it is wanted the output may have another shape, which what the ends read does not have
    let shape = cx.output_type(0)?.shape;
    let five = x.reshaped(&[s.batch, s.group * s.ic, d, h, w]);
    let x = five.ok_or_else(|| err!(Internal, "{:?} has no room for dims of extent 1", x.shape))?;
    let plane = s.output.iter().product::<usize>();
    // by image, group, channel of the group and pixel
    let four = out.reshaped(&[s.batch, s.group, s.oc, plane]);
    let out = four.ok_or_else(|| err!(Internal, "{:?} has no such channels", out.shape))?;
    if out.numel() == 0 {
        return Ok(());
    }
    let summed = ends.start.map_or(x.device, Epilogue::to);
    if let Some(kernels) = winograd::choose(cx.profile(), s, filters, summed) {
        return kernels.convolve(cx, s, [&x, &out], filters, bias.as_ref(), ends);
    }
    if let Some(product) = pointwise(cx, s, [&x, &out], filters, bias.as_ref(), ends)? {
        return matmul::product(cx, &product);
    }
    let (lanes, planes) = (Shared::choose(cx.profile(), s.oc), Plane::choose(cx.profile(), s));
    let tile = match lanes {
        Some(l) => Tile { quads: l.vectors * l.lanes, columns: l.own, wx: l.lanes, wy: 1 },
        None => Tile::choose(cx.profile(), s.oc),
    };
    let pixels = s.batch * plane;
    let single = lanes.is_none() && planes.is_none();
    let reads = ends.end.map_or(0, |e| e.reads.len());
    let first = BIAS + usize::from(bias.is_some());
    let flat = Flat::new(cx, ends.end, &shape, first);
    let load = Load::new(cx, ends.start, &flat, shape.len(), first + reads)?;
    let (transposed, padded, suffix) = (s.transposed, s.padded, ends.label());
    let long = s.ic * s.kernel.iter().product::<usize>() > 4 * PART as usize;
    let (device, out_device) = (summed, out.device);
    let outside = around.expr(ends.end, summed == DeviceType::U32);
    let (start, end, bias_there) = (&load, &flat, bias.is_some());
    let long_end = ends.end.is_some_and(Epilogue::is_long);
    let common = Common {
        input: x.device,
        device,
        out: out_device,
        transposed,
        padded,
        bias: bias_there,
        long,
        long_end,
        outside,
        start,
        end,
        suffix,
    };
    let tiled = if single { Tiled::choose(cx, s, &common) } else { None };
    ensure!(tiled.is_some() || !common.bytes(), Unsupported, "a convolution of words that is no product of tiles");
    let weights = packed(cx, s, filters, tiled.as_ref().map_or(tile.quads, |_| BLOCK / 4))?;
    let tiles = s.oc.div_ceil(tiled.as_ref().map_or(4 * tile.quads, |t| t.tile.rows));
    let rows = s.group * tiles;
    let mut step = [0; 4];
    let mut rest = tile.wx;
    for d in (0..3).rev() {
        step[d + 1] = rest % s.output[d];
        rest /= s.output[d];
    }
    step[0] = rest;
    let parts = tiled.as_ref().map_or([1, 0], |t| [t.parts, t.part_steps]);
    let mut params = s.params([rows, tiles], step, parts);
    for v in [&x, &out] {
        params = v.strides.iter().fold(params.u32(cx.base(v)), |p, step| p.i32(*step));
    }
    params = flat.params(load.params(params));

    let [gx, gz, _] = linear_grid(pixels.div_ceil(tile.columns), tile.wx as u32);
    let gy = rows.div_ceil(tile.wy);
    ensure!(gy <= MAX_GROUPS as usize, Limit, "{rows} tiles of output channels");
    let mut binds = vec![Bind::Read(&x), Bind::Read(&weights), Bind::Write(&out)];
    binds.extend(bias.as_ref().map(Bind::Read));
    binds.extend([ends.end, ends.start].into_iter().flatten().flat_map(|e| &e.reads).map(Bind::Read));
    let sides = if s.transposed { &s.input } else { &s.output };
    let each = if common.bytes() { 8 } else { 2 };
    let flops = each * s.batch * s.group * s.oc * s.ic * sides.iter().chain(&s.kernel).product::<usize>();
    if let Some(tiled) = tiled {
        return tiled.convolve(cx, &common, params, &binds, [pixels, rows, out.numel()], flops);
    }
    // vectors of four pixels, which lie in one row or plane
    let vectors = |extent: usize| {
        let bounds = [out.offset as isize, out.strides[0], out.strides[1], out.strides[2], extent as isize];
        out.strides[3] == 1 && out.device.bytes() <= 4 && bounds.iter().all(|s| s % 4 == 0)
    };
    // tiles of ConvTranspose take the pixels of a row in another order
    let in_order = !s.transposed || s.strides[2] == 1;
    let (unroll, y_vec) = (s.ic.clamp(1, 4), in_order && vectors(plane));
    let (kernel, grid): (Box<dyn Kernel + '_>, _) = match (planes, lanes) {
        (Some(tile), _) => (Box::new(Depthwise { common, tile, y_vec: vectors(s.output[2]) }), tile.grid(s)),
        (_, Some(tile)) => {
            let rest = !s.ic.is_multiple_of(unroll);
            (Box::new(Lanes { common, tile, y_vec, unroll, rest }), [gx, gy as u32, gz])
        }
        _ => (Box::new(Direct { common, tile }), [gx, gy as u32, gz]),
    };
    cx.dispatch(kernel.as_ref(), params, &binds, grid)?;
    cx.takes_flops(flops);
    Ok(())
}

/// A convolution of single pixels as a product of its filters and each image's channels, where a software adapter gains
/// from it: pixels that lie side by side are read as vectors.
fn pointwise(
    cx: &mut LowerCx<'_>,
    s: &Shape,
    [x, out]: [&View; 2],
    filters: &Filters,
    bias: Option<&View>,
    ends: Ends<'_>,
) -> Result<Option<Product>> {
    const ONE: [usize; 3] = [1; 3];
    let vectors = cx.profile().cpu && cx.profile().texels != When::Never;
    let single = s.kernel == ONE && s.strides == ONE && !s.padded && !s.transposed;
    let plane = s.output.iter().product::<usize>();
    let floats = [x.device, out.device].iter().all(|d| *d == DeviceType::F32);
    if !vectors || !single || !floats || !plane.is_multiple_of(4) || s.oc < LEAST_ROWS || ends.start.is_some() {
        return Ok(None);
    }
    let (shape, full) = (cx.output_type(0)?.shape, [s.batch, s.group, s.oc, plane]);
    let reads: Option<Vec<View>> =
        ends.end.iter().flat_map(|e| &e.reads).map(|v| v.broadcast(&shape).reshaped(&full)).collect();
    let (Some(reads), Some(x)) = (reads, x.reshaped(&[s.batch, s.group, s.ic, plane])) else { return Ok(None) };
    let rows = [s.group, s.oc, s.ic];
    let a = match filters {
        Filters::Constant { input, dtype, tag, make } => {
            let make = make.clone();
            let made = move |w: &Tensor| make(w)?.reshaped(rows);
            (*dtype == DType::F32)
                .then(|| cx.prepacked(*input, &format!("{tag} rows"), TensorType::new(*dtype, rows), made))
        }
        Filters::View(w) => w.reshaped(&rows).map(Ok),
    };
    let bias = bias.map(|b| b.reshaped(&[1, s.group, s.oc, 1]).map(|b| b.broadcast(&full)));
    let (Some(a), None | Some(Some(_))) = (a.transpose()?, &bias) else { return Ok(None) };
    let a = a.broadcast(&[s.batch, s.group, s.oc, s.ic]);
    let end = ends.end.map(|e| Arc::new(e.clone()));
    Ok(Some(Product { bias: bias.flatten(), end, reads, ..Product::new(a, Right::View(x), out.clone()) }))
}

/// The weights as [group, tile, tap, ic, 4 · quads], zeros beyond the last output channel.
fn packed(cx: &mut LowerCx<'_>, s: &Shape, filters: &Filters, quads: usize) -> Result<View> {
    let (taps, tiles) = (s.kernel.iter().product::<usize>(), s.oc.div_ceil(4 * quads));
    let shape = [s.group, tiles, taps, s.ic, 4 * quads];
    let w = match filters {
        Filters::Constant { input, dtype, tag, make } => {
            let tag = format!("{tag} {quads} of {} groups{}", s.group, if s.transposed { " transposed" } else { "" });
            let (s, t, make, dtype) = (s.clone(), TensorType::new(*dtype, shape), make.clone(), *dtype);
            return cx.prepacked(*input, &tag, t, move |w| {
                let w = make(w)?;
                let bytes = match dtype.size() {
                    1 => pack::<1>(&s, shape, w.bytes()),
                    2 => pack::<2>(&s, shape, w.bytes()),
                    4 => pack::<4>(&s, shape, w.bytes()),
                    _ => pack::<8>(&s, shape, w.bytes()),
                };
                Tensor::from_bytes(dtype, shape, bytes)
            });
        }
        Filters::View(w) => w,
    };
    let to = cx.temp(w.dtype, &shape)?;
    let params = Params::new().u32(to.numel()).u32(tiles).u32(taps).u32(s.ic).u32(s.oc);
    let grid = linear_grid(to.numel(), LINEAR_WORKGROUP);
    let kernel = Pack { device: w.device, quads, transposed: s.transposed };
    cx.dispatch(&kernel, params, &[Bind::Read(w), Bind::Write(&to)], grid)?;
    Ok(to)
}

/// The weights in `from`, of `N` bytes each, in the order in which tiles of output channels read them; zero where there is
/// no channel.
fn pack<const N: usize>(s: &Shape, [group, tiles, taps, ic, width]: [usize; 5], from: &[u8]) -> Vec<u8> {
    let (from, _) = from.as_chunks::<N>();
    let mut to = vec![[0u8; N]; group * tiles * taps * ic * width];
    for (i, block) in to.chunks_exact_mut((ic * width).max(1)).enumerate() {
        let (g, tile, tap) = (i / taps / tiles, i / taps % tiles, i % taps);
        let channels = tile * width..s.oc.min((tile + 1) * width);
        for (k, lanes) in block.chunks_exact_mut(width).enumerate() {
            for (o, lane) in channels.clone().zip(lanes) {
                let row = if s.transposed { (g * ic + k) * s.oc + o } else { (g * s.oc + o) * ic + k };
                *lane = from[row * taps + tap];
            }
        }
    }
    to.into_flattened()
}
