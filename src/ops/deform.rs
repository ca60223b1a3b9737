//! DeformConv.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::window::{Geometry, Has, Window};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::cpu::gemm::Real;
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::deform::{Windows, columns};
use crate::kernels::elementwise::convert;
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "DeformConv", versions: &[19, 22], parse, cases }];

/// A convolution whose kernel's elements are moved by offsets: `x[N, C, in…]`, `w[M, C / group, k…]`,
/// `offset[N, offset_group · k… · dims, out…]`, `b[M]`, `mask[N, offset_group · k…, out…]` give `[N, M, out…]`.
/// Between pixels it takes linear interpolation, beyond the image zeros.
#[derive(Debug)]
struct DeformConv {
    window: Window,
    group: usize,
    offset_group: usize,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let count = |name: &str| -> Result<usize> {
        let v = a.int_or(name, 1)?;
        usize::try_from(v).ok().filter(|v| *v > 0).ok_or_else(|| err!(InvalidNode, "attribute {name} is {v}"))
    };
    let window = Window::parse(a, Has { dilations: true, ceil: false, auto_pad: false })?;
    Ok(Arc::new(DeformConv { window, group: count("group")?, offset_group: count("offset_group")? }))
}

/// Spatial dims: along each an element lies between two pixels.
const MOST_DIMS: usize = 8;

/// Shapes of x, w, offset and, where they are there, bias and mask.
type Shapes<'a> = [Option<&'a [usize]>; 5];

impl DeformConv {
    fn geometry(&self, [x, w, offset, bias, mask]: Shapes<'_>) -> Result<Geometry> {
        let missing = || err!(InvalidNode, "expected x, weights and offsets");
        let (x, w, offset) = (x.ok_or_else(missing)?, w.ok_or_else(missing)?, offset.ok_or_else(missing)?);
        ensure!(x.len() >= 3 && w.len() == x.len(), InvalidNode, "input {x:?} and weights {w:?}");
        let dims = x.len() - 2;
        ensure!(dims <= MOST_DIMS, Limit, "{dims} spatial dims, {MOST_DIMS} at most");
        let given = self.window.kernel.as_deref().unwrap_or(&w[2..]);
        ensure!(given == &w[2..], InvalidNode, "attribute kernel_shape is {given:?}, the weights are {w:?}");
        let (g, o) = (self.group, self.offset_group);
        let fits = Some(x[1]) == w[1].checked_mul(g) && w[0].is_multiple_of(g) && x[1].is_multiple_of(o);
        ensure!(fits, InvalidNode, "input {x:?}, weights {w:?}, {g} groups, {o} offset groups");
        let geometry = self.window.geometry(&x[2..], &w[2..])?;
        let rows = o.saturating_mul(shape::numel(&w[2..]));
        let at = |rows: usize| [&[x[0], rows], &geometry.output[..]].concat();
        let (offsets, masks) = (at(rows.saturating_mul(dims)), at(rows));
        ensure!(*offset == offsets, InvalidNode, "expected offsets of shape {offsets:?}, got {offset:?}");
        ensure!(mask.is_none_or(|m| *m == masks), InvalidNode, "expected a mask of shape {masks:?}, got {mask:?}");
        ensure!(bias.is_none_or(|b| *b == w[..1]), InvalidNode, "expected a bias of shape {:?}, got {bias:?}", &w[..1]);
        Ok(geometry)
    }
}

/// The image under each element of the kernel and window, `[N, C, taps, windows]`, with places in `narrow`
/// precision. Each `share` of the `planes` have their own offsets.
fn columns_of(
    g: &Geometry,
    [planes, share]: [usize; 2],
    [x, offset]: [&[f64]; 2],
    mask: Option<&[f64]>,
    narrow: fn(f64) -> f64,
) -> Vec<f64> {
    let dims = g.input.len();
    let (taps, windows) = (shape::numel(&g.kernel), shape::numel(&g.output));
    let mut out = vec![];
    for (plane, pixels) in x.chunks(shape::numel(&g.input).max(1)).take(planes).enumerate() {
        for (t, tap) in shape::coords(&g.kernel).enumerate() {
            for (w, at) in shape::coords(&g.output).enumerate() {
                let row = plane / share * taps + t;
                let place = |d: usize| {
                    let start = (at[d] * g.strides[d] + tap[d] * g.dilations[d]) as f64 - g.begin[d] as f64;
                    narrow(start + offset[(row * dims + d) * windows + w])
                };
                let v = interpolate(pixels, &g.input, &(0..dims).map(place).collect::<Vec<_>>());
                out.push(mask.map_or(v, |m| v * m[row * windows + w]));
            }
        }
    }
    out
}

/// Linear interpolation of an image between its pixels at `at`, zero beyond it.
fn interpolate(pixels: &[f64], extents: &[usize], at: &[f64]) -> f64 {
    if at.iter().zip(extents).any(|(p, e)| !(*p > -1.0 && *p < *e as f64)) {
        return 0.0;
    }
    let corner = |far: usize| {
        let (mut weight, mut place) = (1.0, 0);
        for (d, (p, e)) in at.iter().zip(extents).enumerate() {
            let (low, far) = (p.floor(), (far >> d & 1) as f64);
            weight *= if far > 0.0 { p - low } else { 1.0 - (p - low) };
            let pixel = low + far;
            if weight == 0.0 || pixel < 0.0 || pixel >= *e as f64 {
                return 0.0;
            }
            place = place * e + pixel as usize;
        }
        weight * pixels[place]
    };
    (0..1 << at.len()).map(corner).sum()
}

impl Op for DeformConv {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let shape = |i: usize| cx.try_input(i).map(|t| t.shape.as_slice());
        let g = self.geometry([shape(0), shape(1), shape(2), shape(3), shape(4)])?;
        one(cx.dtype(0)?, [&[cx.shape(0)?[0], cx.shape(1)?[0]], &g.output[..]].concat())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = |i: usize| opt(inputs, i).map(Tensor::shape);
        let g = self.geometry([shape(0), shape(1), shape(2), shape(3), shape(4)])?;
        let (x, w, offset) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?);
        let mask = opt(inputs, 4).map(Tensor::to_f64s).transpose()?;
        let bias = opt(inputs, 3).map(Tensor::to_f64s).transpose()?;
        let narrow: fn(f64) -> f64 = if x.dtype() == F64 { |v| v } else { |v| f64::from(v as f32) };
        let (data, offsets, weights) = (x.to_f64s()?, offset.to_f64s()?, w.to_f64s()?);
        let (batch, channels, features) = (x.shape()[0], x.shape()[1], w.shape()[0]);
        let planes = [batch * channels, channels / self.offset_group];
        let columns = columns_of(&g, planes, [&data, &offsets], mask.as_deref(), narrow);
        let (taps, windows) = (shape::numel(&g.kernel), shape::numel(&g.output));
        let (k, m) = (channels / self.group * taps, features / self.group);
        let mut out = vec![0.0; batch * features * windows];
        let images = if out.is_empty() { 0 } else { batch * self.group };
        for i in 0..images {
            let group = i % self.group;
            let to = &mut out[i * m * windows..(i + 1) * m * windows];
            for (row, plane) in to.chunks_mut(windows.max(1)).enumerate() {
                plane.fill(bias.as_ref().map_or(0.0, |b| b[group * m + row]));
            }
            let (a, b) = (&weights[group * m * k..][..m * k], &columns[i * k * windows..][..k * windows]);
            f64::gemm(m, k, windows, a, b, to);
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), [&[batch, features], &g.output[..]].concat(), out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let mut shapes: [Option<Vec<usize>>; 5] = Default::default();
        for (i, shape) in shapes.iter_mut().enumerate().take(cx.input_count()) {
            if cx.has_input(i) {
                *shape = Some(cx.input_type(i)?.shape);
            }
        }
        let g = self.geometry(shapes.each_ref().map(|s| s.as_deref()))?;
        let (x, w, offset) = (cx.dense_input(0)?, cx.dense_input(1)?, cx.dense_input(2)?);
        let mask = if shapes[4].is_some() { Some(cx.dense_input(4)?) } else { None };
        let (batch, channels, features) = (x.shape[0], x.shape[1], w.shape[0]);
        let (taps, windows) = (shape::numel(&g.kernel), shape::numel(&g.output));
        let cols = cx.temp(F32, &[batch, channels, taps, windows])?;
        let lie = Windows {
            input: &g.input,
            kernel: &g.kernel,
            output: &g.output,
            strides: &g.strides,
            dilations: &g.dilations,
            pads: &g.begin,
        };
        columns(cx, lie, self.offset_group, [&x, &offset], mask.as_ref(), &cols)?;
        let single = |cx: &mut LowerCx<'_>, v: &View| -> Result<View> {
            if v.dtype == F32 {
                return Ok(v.clone());
            }
            let to = cx.temp(F32, &v.shape)?;
            convert(cx, v, &to)?;
            Ok(to)
        };
        let (k, m) = (channels / self.group * taps, features / self.group);
        let out = cx.output(0)?;
        let made = if out.dtype == F32 { out.clone() } else { cx.temp(F32, &out.shape)? };
        let as_matrices = |v: &View, to: &[usize]| {
            v.reshaped(to).ok_or_else(|| err!(Internal, "a dense view that does not take shape {to:?}"))
        };
        let matrices = [batch, self.group, m, windows];
        let a = as_matrices(&single(cx, &w)?, &[self.group, m, k])?.broadcast(&[batch, self.group, m, k]);
        let b = as_matrices(&cols, &[batch, self.group, k, windows])?;
        let mut p = Product::new(a, Right::View(b), as_matrices(&made, &matrices)?);
        if shapes[3].is_some() {
            let bias = cx.dense_input(3)?;
            p.bias = Some(as_matrices(&single(cx, &bias)?, &[self.group, m, 1])?.broadcast(&matrices));
        }
        product(cx, &p)?;
        if out.dtype == F32 { Ok(()) } else { convert(cx, &made, &out) }
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        match dtype {
            F16 | BF16 => Tolerance::ulps(dtype, 2.0),
            d => Tolerance::ulps(d, 16.0 + (k as f64).sqrt()),
        }
    }
}

fn cases() -> Vec<Case> {
    let case = |d: DType, x: &[usize], w: &[usize], groups: usize, output: &[usize], opset: i64| {
        let (taps, dims) = (shape::numel(&w[2..]), w.len() - 2);
        let offset = [&[x[0], groups * taps * dims], output].concat();
        let c = Case::new("DeformConv", opset).rand(d, x).rand(d, w).range(d, &offset, -2.5, 2.5);
        (c.int("offset_group", groups as i64).sum(w[1] * taps), [&[x[0], groups * taps], output].concat())
    };
    let mut all = vec![];
    for (d, opset) in [(F32, 19), (F32, 22), (F16, 22), (BF16, 22), (F64, 22)] {
        let (c, mask) = case(d, &[2, 4, 6, 7], &[6, 2, 3, 2], 2, &[4, 6], opset);
        all.push(c.rand(d, &[6]).rand(d, &mask).int("group", 2));
    }
    let plain = |x: &[usize], w: &[usize], groups: usize, output: &[usize]| case(F32, x, w, groups, output, 19).0;
    all.extend([
        plain(&[1, 3, 5, 5], &[2, 3, 3, 3], 1, &[5, 5]).ints("pads", &[1, 1, 1, 1]),
        plain(&[1, 3, 9, 8], &[5, 3, 3, 3], 3, &[3, 3]).ints("dilations", &[2, 1]).ints("strides", &[2, 2]),
        plain(&[2, 3, 11], &[4, 3, 3], 1, &[11]).ints("pads", &[0, 2]),
        plain(&[1, 2, 4, 5, 6], &[3, 2, 2, 2, 3], 2, &[3, 4, 4]),
        plain(&[1, 2, 1, 1], &[3, 2, 1, 1], 1, &[1, 1]),
        plain(&[0, 2, 3, 3], &[3, 2, 1, 1], 1, &[3, 3]),
        plain(&[1, 64, 40, 41], &[2, 64, 3, 3], 1, &[38, 39]),
    ]);
    let (c, mask) = case(F32, &[1, 2, 5, 5], &[2, 2, 2, 2], 1, &[4, 4], 22);
    all.push(c.absent().rand(F32, &mask));
    all
}
