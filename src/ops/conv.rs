//! Conv and ConvTranspose, over any number of spatial dims.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::window::{AutoPad, Geometry, Has, Window, check_taps, sizes};
use super::{Case, InferCx, Inferred, Op, OpDef, Tolerance};
use crate::cpu::gemm::Real;
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::conv as kernel;
use crate::kernels::epilogue::Ends;
use crate::plan::{LowerCx, Slicing};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Conv",
        versions: &[1, 11, 22],
        parse: |a, _| Ok(Arc::new(Conv::parse(a)?)),
        cases: conv_cases,
    },
    OpDef {
        domain: "",
        name: "ConvTranspose",
        versions: &[1, 11, 22],
        parse: |a, _| Ok(Arc::new(ConvTranspose::parse(a)?)),
        cases: transpose_cases,
    },
];

/// Elements under all windows together up to which the reference keeps where they lie.
const MOST_PLACES: usize = 1 << 28;

const HAS: Has = Has { dilations: true, ceil: false, auto_pad: true };

fn group(a: &AttrReader<'_>) -> Result<usize> {
    let group = a.int_or("group", 1)?;
    ensure!(group >= 1 && group <= u32::MAX as i64, InvalidNode, "attribute group: expected at least 1, got {group}");
    Ok(group as usize)
}

/// Shapes of a convolution, checked: `x` is [batch, group · ic, input…], the result [batch, group · oc, output…].
/// The windows lie over the larger side: Conv's input, ConvTranspose's output.
#[derive(Debug)]
pub(super) struct Shapes {
    batch: usize,
    pub group: usize,
    ic: usize,
    oc: usize,
    pub geometry: Geometry,
    transposed: bool,
}

impl Shapes {
    pub fn output(&self) -> Vec<usize> {
        let spatial = if self.transposed { &self.geometry.input } else { &self.geometry.output };
        [&[self.batch, self.group.saturating_mul(self.oc)], spatial.as_slice()].concat()
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, w) = (need(inputs, 0)?, need(inputs, 1)?);
        let b = opt(inputs, 2);
        let dtype = x.dtype();
        let same = w.dtype() == dtype && b.is_none_or(|b| b.dtype() == dtype);
        ensure!(same, InvalidNode, "expected weights and bias of {dtype}, got {}", w.dtype());
        self.check_table()?;
        let y = match dtype {
            F64 => {
                let bias = b.map(Tensor::to_f64s).transpose()?;
                Tensor::from_f64s(dtype, self.output(), self.compute(&x.to_f64s()?, &w.to_f64s()?, bias))
            }
            F32 | F16 | BF16 => {
                let bias = b.map(Tensor::to_f32s).transpose()?;
                Tensor::from_f32s(dtype, self.output(), self.compute(&x.to_f32s()?, &w.to_f32s()?, bias))
            }
            d => bail!(Unsupported, "convolution of {d}"),
        };
        Ok(vec![y?])
    }

    /// Refuses what would take the reference gigabytes to keep where each window lies.
    fn check_table(&self) -> Result<()> {
        let places = shape::numel(&self.geometry.output).saturating_mul(shape::numel(&self.geometry.kernel));
        ensure!(places <= MOST_PLACES, Limit, "windows of {places} elements in all, {MOST_PLACES} at most");
        Ok(())
    }

    fn compute<T: Real>(&self, x: &[T], w: &[T], bias: Option<Vec<T>>) -> Vec<T> {
        let (pixels, taps) = (shape::numel(&self.output()[2..]), shape::numel(&self.geometry.kernel));
        let inputs = if self.transposed { &self.geometry.output } else { &self.geometry.input };
        let inputs = shape::numel(inputs);
        let mut y = vec![T::default(); shape::numel(&self.output())];
        for (c, plane) in y.chunks_mut(pixels.max(1)).enumerate() {
            plane.fill(bias.as_ref().map_or(T::default(), |b| b[c % (self.group * self.oc)]));
        }
        let images = if y.is_empty() { 0 } else { self.batch * self.group };
        let sources = if images > 0 { self.geometry.all_sources() } else { vec![] };
        for i in 0..images {
            let g = i % self.group;
            let x = &x[i * self.ic * inputs..(i + 1) * self.ic * inputs];
            let w = &w[g * self.oc * self.ic * taps..(g + 1) * self.oc * self.ic * taps];
            let y = &mut y[i * self.oc * pixels..(i + 1) * self.oc * pixels];
            if self.transposed { self.scatter(x, w, y, &sources) } else { self.gather(x, w, y, &sources) }
        }
        y
    }

    /// One image and group of Conv: the windows as columns, so many at a time, times the weights.
    fn gather<T: Real>(&self, x: &[T], w: &[T], y: &mut [T], sources: &[Vec<Option<usize>>]) {
        const COLUMN_ELEMENTS: usize = 1 << 22;
        let (inputs, pixels) = (x.len() / self.ic.max(1), y.len() / self.oc.max(1));
        let rows = self.ic * sources.len();
        let block = (COLUMN_ELEMENTS / rows.max(1)).max(64);
        for start in (0..pixels).step_by(block) {
            let len = block.min(pixels - start);
            let mut columns = vec![T::default(); rows * len];
            for (row, column) in columns.chunks_mut(len).enumerate() {
                let plane = &x[row / sources.len() * inputs..];
                let from = &sources[row % sources.len()][start..start + len];
                column.iter_mut().zip(from).for_each(|(c, s)| *c = s.map_or(T::default(), |s| plane[s]));
            }
            let mut part = vec![T::default(); self.oc * len];
            T::gemm(self.oc, rows, len, w, &columns, &mut part);
            for (to, from) in y.chunks_mut(pixels).zip(part.chunks(len)) {
                to[start..start + len].iter_mut().zip(from).for_each(|(t, f)| *t += *f);
            }
        }
    }

    /// One image and group of ConvTranspose: the weights times each input pixel, added where its window lies.
    fn scatter<T: Real>(&self, x: &[T], w: &[T], y: &mut [T], sources: &[Vec<Option<usize>>]) {
        let (inputs, pixels) = (x.len() / self.ic.max(1), y.len() / self.oc.max(1));
        let rows = self.oc * sources.len();
        let turned: Vec<T> = (0..rows * self.ic).map(|i| w[i % self.ic * rows + i / self.ic]).collect();
        let mut columns = vec![T::default(); rows * inputs];
        T::gemm(rows, self.ic, inputs, &turned, x, &mut columns);
        for (row, column) in columns.chunks(inputs.max(1)).enumerate() {
            let plane = &mut y[row / sources.len() * pixels..];
            let at = &sources[row % sources.len()];
            column.iter().zip(at).for_each(|(c, s)| {
                if let Some(s) = s {
                    plane[*s] += *c
                }
            });
        }
    }

    fn lower(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        kernel::lower(cx, &self.kernel()?, ends)
    }

    /// For the kernel, which has three spatial dims.
    pub fn kernel(&self) -> Result<kernel::Shape> {
        let g = &self.geometry;
        let rank = g.kernel.len();
        ensure!(rank <= 3, Unsupported, "convolution over {rank} spatial dims");
        // missing dims of extent 1 in front
        let three = |list: &[usize], fill: usize| {
            let mut out = [fill; 3];
            out[3 - rank..].copy_from_slice(list);
            out
        };
        let (input, output) = if self.transposed { (&g.output, &g.input) } else { (&g.input, &g.output) };
        Ok(kernel::Shape {
            batch: self.batch,
            group: self.group,
            ic: self.ic,
            oc: self.oc,
            transposed: self.transposed,
            padded: self.transposed || !g.inside(),
            input: three(input, 1),
            output: three(output, 1),
            kernel: three(&g.kernel, 1),
            strides: three(&g.strides, 1),
            dilations: three(&g.dilations, 1),
            begin: three(&g.begin, 0),
        })
    }
}

/// Shapes of the inputs: x, w and, if present, the bias.
pub(super) type Inputs<'a> = (&'a [usize], &'a [usize], Option<&'a [usize]>);

fn inferred<'a>(cx: &InferCx<'a>) -> Result<Inputs<'a>> {
    let d = cx.dtype(0)?;
    for t in [1, 2].into_iter().filter_map(|i| cx.try_input(i)) {
        ensure!(t.dtype == d, InvalidNode, "expected weights and bias of {d}, got {}", t.dtype);
    }
    Ok((cx.shape(0)?, cx.shape(1)?, cx.try_input(2).map(|b| b.shape.as_slice())))
}

fn evaluated<'a>(inputs: &[Option<&'a Tensor>]) -> Result<Inputs<'a>> {
    let bias = opt(inputs, 2);
    Ok((need(inputs, 0)?.shape(), need(inputs, 1)?.shape(), bias.map(Tensor::shape)))
}

/// Ranks, `kernel_shape` and bias agree.
fn check(window: &Window, (x, w, b): Inputs<'_>, oc: usize) -> Result<()> {
    ensure!(x.len() >= 2, InvalidNode, "expected an input of rank 2 or more, got {x:?}");
    ensure!(x.len() == w.len(), InvalidNode, "input {x:?} and weights {w:?} differ in rank");
    let fits = window.kernel.as_ref().is_none_or(|k| *k == w[2..]);
    ensure!(fits, InvalidNode, "attribute kernel_shape is {:?}, the weights are {w:?}", window.kernel);
    ensure!(!w[2..].contains(&0), InvalidNode, "the kernel of the weights {w:?} is empty");
    ensure!(b.is_none_or(|b| b == [oc]), InvalidNode, "expected a bias of shape [{oc}], got {b:?}");
    Ok(())
}

/// Sums are made in f32 in any order, then rounded once to a narrower type.
fn tolerance(dtype: DType, k: usize) -> Tolerance {
    match dtype {
        F16 | BF16 => Tolerance::ulps(dtype, 2.0),
        d => Tolerance::ulps(d, 4.0 + (k as f64).sqrt()),
    }
}

/// Conv: `x[N, C, in…]`, `w[M, C / group, k…]`, `b[M]` give `[N, M, out…]`.
#[derive(Debug)]
pub(super) struct Conv {
    window: Window,
    group: usize,
}

impl Conv {
    pub fn parse(a: &AttrReader<'_>) -> Result<Conv> {
        Ok(Conv { window: Window::parse(a, HAS)?, group: group(a)? })
    }

    pub fn shapes(&self, inputs: Inputs<'_>) -> Result<Shapes> {
        let (x, w, _) = inputs;
        check(&self.window, inputs, w.first().copied().unwrap_or(0))?;
        let g = self.group;
        let fits = Some(x[1]) == w[1].checked_mul(g) && w[0].is_multiple_of(g);
        ensure!(fits, InvalidNode, "input {x:?} and weights {w:?} do not fit in {g} groups");
        let geometry = self.window.geometry(&x[2..], &w[2..])?;
        Ok(Shapes { batch: x[0], group: g, ic: w[1], oc: w[0] / g, geometry, transposed: false })
    }
}

impl Op for Conv {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.shapes(inferred(cx)?)?.output())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        self.shapes(evaluated(inputs)?)?.eval(inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, w) = (cx.input_type(0)?, cx.input_type(1)?);
        self.shapes((&x.shape, &w.shape, None))?.lower(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let (x, w) = (cx.input_type(0)?, cx.input_type(1)?);
        self.shapes((&x.shape, &w.shape, None))?.lower(cx, ends)
    }

    fn slices(&self, _: &InferCx<'_>, _: &[usize]) -> Vec<Slicing> {
        let channels = Slicing { axis: 1, inputs: vec![None, Some(0), Some(0)] };
        Slicing::shared([0]).into_iter().chain((self.group == 1).then_some(channels)).collect()
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        tolerance(dtype, k)
    }
}

/// ConvTranspose: `x[N, C, in…]`, `w[C, M / group, k…]`, `b[M]` give `[N, M, out…]`.
#[derive(Debug)]
struct ConvTranspose {
    window: Window,
    group: usize,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
}

impl ConvTranspose {
    fn parse(a: &AttrReader<'_>) -> Result<ConvTranspose> {
        Ok(ConvTranspose {
            window: Window::parse(a, HAS)?,
            group: group(a)?,
            output_padding: sizes(a, "output_padding", 0)?,
            output_shape: sizes(a, "output_shape", 0)?.filter(|s| !s.is_empty()),
        })
    }

    fn shapes(&self, inputs: Inputs<'_>) -> Result<Shapes> {
        let (x, w, _) = inputs;
        let g = self.group;
        check(&self.window, inputs, w.get(1).copied().unwrap_or(0).saturating_mul(g))?;
        let fits = x[1] == w[0] && w[0].is_multiple_of(g);
        ensure!(fits, InvalidNode, "input {x:?} and weights {w:?} do not fit in {g} groups");
        let geometry = self.geometry(&x[2..], &w[2..])?;
        Ok(Shapes { batch: x[0], group: g, ic: w[0] / g, oc: w[1], geometry, transposed: true })
    }

    fn geometry(&self, small: &[usize], kernel: &[usize]) -> Result<Geometry> {
        let rank = small.len();
        check_taps(kernel)?;
        let strides = Window::list("strides", &self.window.strides, rank, 1)?;
        let dilations = Window::list("dilations", &self.window.dilations, rank, 1)?;
        let extra = Window::list("output_padding", &self.output_padding, rank, 0)?;
        let wanted = match (&self.output_shape, self.window.auto_pad) {
            (Some(_), _) => Some(Window::list("output_shape", &self.output_shape, rank, 0)?),
            (None, AutoPad::SameUpper | AutoPad::SameLower) => {
                Some(small.iter().zip(&strides).map(|(i, s)| i.saturating_mul(*s)).collect())
            }
            _ => None,
        };
        let mut pads = match (&wanted, self.window.auto_pad) {
            (None, AutoPad::NotSet) => Window::list("pads", &self.window.pads, 2 * rank, 0)?,
            _ => vec![0; 2 * rank],
        };
        let mut large = vec![0; rank];
        for d in 0..rank {
            if small[d] == 0 {
                large[d] = wanted.as_ref().map_or(0, |w| w[d]);
                continue;
            }
            let last = strides[d].checked_mul(small[d] - 1);
            let full = last.and_then(|n| n.checked_add(extra[d] + (kernel[d] - 1) * dilations[d] + 1));
            let full = full.ok_or_else(|| err!(Limit, "windows reach too far along spatial axis {d} of {small:?}"))?;
            if let Some(wanted) = &wanted {
                let total = full.saturating_sub(wanted[d]);
                let (less, more) = (total / 2, total - total / 2);
                let upper = self.window.auto_pad == AutoPad::SameUpper;
                (pads[d], pads[rank + d]) = if upper { (less, more) } else { (more, less) };
                large[d] = wanted[d];
                continue;
            }
            let cut = pads[d] + pads[rank + d];
            ensure!(cut <= full, InvalidNode, "pads of {cut} cut away more than the {full} along spatial axis {d}");
            large[d] = full - cut;
        }
        let (output, end) = (small.to_vec(), pads.split_off(rank));
        Ok(Geometry { input: large, output, kernel: kernel.to_vec(), strides, dilations, begin: pads, end })
    }
}

impl Op for ConvTranspose {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.shapes(inferred(cx)?)?.output())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        self.shapes(evaluated(inputs)?)?.eval(inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, w) = (cx.input_type(0)?, cx.input_type(1)?);
        self.shapes((&x.shape, &w.shape, None))?.lower(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let (x, w) = (cx.input_type(0)?, cx.input_type(1)?);
        self.shapes((&x.shape, &w.shape, None))?.lower(cx, ends)
    }

    fn slices(&self, _: &InferCx<'_>, _: &[usize]) -> Vec<Slicing> {
        Slicing::shared([0])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        tolerance(dtype, k)
    }
}

/// One case: the shapes of x and w, a bias if `bias` is not 0 long; weights fed at run time, or constant.
fn case(op: &'static str, dtype: DType, x: &[usize], w: &[usize], bias: usize, constant: bool) -> Case {
    let data =
        |seed, s: &[usize]| Rng::new(seed).tensor(dtype, s, -1.0, 1.0).unwrap_or_else(|_| Tensor::zeros(dtype, s));
    let opset = if dtype == BF16 { 22 } else { 11 };
    let mut case = Case::new(op, opset).rand(dtype, x).sum(shape::numel(&w[1..]));
    let mut add = |seed, s: &[usize]| {
        let c = case.clone();
        case = if constant { c.constant(data(seed, s)) } else { c.range(dtype, s, -1.0, 1.0) };
    };
    add(1, w);
    if bias > 0 {
        add(2, &[bias]);
    }
    case
}

fn conv_cases() -> Vec<Case> {
    let new = |x: &[usize], w: &[usize], constant| case("Conv", F32, x, w, w[0], constant);
    let plain = |x: &[usize], w: &[usize]| case("Conv", F32, x, w, 0, true);
    let mut all = vec![
        new(&[1, 3, 7, 9], &[5, 3, 3, 3], true).ints("pads", &[1, 1, 1, 1]),
        new(&[2, 5, 7, 9], &[7, 5, 3, 2], false).ints("pads", &[0, 2, 1, 0]).ints("strides", &[2, 1]),
        plain(&[1, 64, 13, 11], &[33, 64, 1, 1]),
        plain(&[3, 16, 5, 5], &[8, 16, 1, 1]).ints("strides", &[2, 2]),
        plain(&[1, 3, 29, 31], &[16, 3, 7, 7]).ints("strides", &[2, 2]).ints("pads", &[3, 3, 3, 3]),
        new(&[1, 8, 10, 12], &[12, 4, 3, 3], true).int("group", 2).ints("dilations", &[2, 3]),
        new(&[2, 6, 9, 9], &[6, 1, 3, 3], true).int("group", 6).ints("pads", &[1, 1, 1, 1]),
        new(&[2, 6, 9, 9], &[6, 1, 5, 3], false).int("group", 6).ints("strides", &[2, 2]).ints("pads", &[2, 1, 2, 1]),
        plain(&[1, 3, 8, 21], &[6, 1, 3, 3]).int("group", 3).ints("dilations", &[2, 2]),
        plain(&[1, 40, 6, 6], &[40, 10, 3, 3]).int("group", 4).ints("pads", &[1, 1, 1, 1]),
        new(&[2, 3, 17], &[4, 3, 5], true).ints("pads", &[2, 2]).ints("strides", &[3]),
        plain(&[1, 8, 50], &[8, 1, 4]).int("group", 8).ints("pads", &[3, 0]),
        new(&[1, 2, 5, 6, 7], &[3, 2, 3, 2, 3], true).ints("pads", &[1, 0, 1, 1, 1, 1]).ints("strides", &[2, 1, 1]),
        plain(&[1, 4, 5, 6, 7], &[4, 1, 3, 3, 3]).int("group", 4).ints("pads", &[1, 1, 1, 1, 1, 1]),
        new(&[2, 3], &[4, 3], true),
        new(&[0, 3, 8, 8], &[4, 3, 3, 3], true),
        new(&[1, 3, 0, 8], &[4, 3, 1, 1], true),
        plain(&[1, 1, 1, 70_000], &[1, 1, 1, 2]),
        plain(&[1, 0, 4, 4], &[2, 0, 3, 3]),
        plain(&[40, 7, 3, 1], &[9, 7, 3, 1]),
        plain(&[1, 2, 300, 301], &[3, 2, 3, 3]).ints("pads", &[1, 1, 1, 1]),
        // tiles of channels and pixels that are not full, sums in parts, channels left over
        new(&[2, 50, 12, 12], &[70, 50, 3, 3], true).ints("pads", &[1, 1, 1, 1]),
        new(&[1, 9, 7, 7], &[40, 9, 2, 2], false).ints("strides", &[2, 2]),
        new(&[1, 8, 9, 8], &[72, 4, 3, 3], true).int("group", 2).ints("pads", &[0, 1, 0, 1]),
        // tiles in workgroup memory: channels left over, windows outside, several images and groups in a tile
        new(&[1, 40, 9, 11], &[48, 40, 3, 3], true).ints("pads", &[2, 2, 2, 2]).ints("dilations", &[2, 2]),
        new(&[3, 33, 7, 7], &[130, 33, 3, 3], true).ints("pads", &[1, 1, 1, 1]),
        new(&[2, 6, 13, 10], &[24, 3, 3, 3], true).int("group", 2).ints("pads", &[1, 1, 1, 1]),
        plain(&[2, 130, 7, 7], &[100, 130, 1, 1]),
        new(&[1, 10, 3, 8, 7], &[20, 10, 2, 3, 3], false).ints("pads", &[1, 1, 1, 0, 1, 1]),
        // one channel a group: tiles that are not full, windows outside on all sides
        new(&[2, 5, 11, 16], &[5, 1, 7, 7], true).int("group", 5).ints("pads", &[3, 3, 3, 3]),
        plain(&[1, 3, 9, 30], &[3, 1, 3, 5]).int("group", 3).ints("pads", &[1, 4, 2, 4]).ints("strides", &[1, 2]),
        plain(&[1, 2, 40, 40], &[2, 1, 11, 11]).int("group", 2),
        // windows that reach outside by more than Winograd's tiles would have to; and enough tiles and channels for these
        plain(&[2, 5, 6, 9], &[6, 5, 3, 3]).ints("pads", &[4, 0, 1, 5]),
        new(&[2, 128, 23, 24], &[256, 128, 3, 3], true).ints("pads", &[1, 1, 1, 1]),
    ];
    for auto in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
        let c = plain(&[1, 2, 8, 11], &[3, 2, 4, 3]).ints("strides", &[2, 3]);
        all.push(c.ints("kernel_shape", &[4, 3]).string("auto_pad", auto));
    }
    for dtype in [F16, BF16, F64] {
        all.push(case("Conv", dtype, &[1, 9, 11, 7], &[10, 9, 3, 3], 10, true).ints("pads", &[1, 1, 1, 1]));
        all.push(case("Conv", dtype, &[1, 6, 11, 7], &[6, 1, 3, 3], 6, false).int("group", 6));
    }
    // by cooperative matrices: no tile is full, steps of a part of the channels, groups, sums in parts
    all.extend([
        case("Conv", F16, &[2, 40, 9, 11], &[70, 40, 3, 3], 70, true).ints("pads", &[1, 1, 1, 1]),
        case("Conv", F16, &[1, 64, 12, 12], &[128, 64, 1, 1], 128, true).ints("strides", &[2, 2]),
        case("Conv", F16, &[3, 64, 7, 5], &[48, 32, 3, 2], 48, false).int("group", 2).ints("dilations", &[2, 1]),
        case("Conv", F16, &[1, 256, 7, 7], &[33, 256, 1, 1], 33, true),
    ]);
    all
}

fn transpose_cases() -> Vec<Case> {
    let new = |x: &[usize], w: &[usize], bias| case("ConvTranspose", F32, x, w, bias, true);
    let mut all = vec![
        new(&[1, 3, 5, 7], &[3, 5, 3, 3], 5),
        new(&[2, 3, 5, 7], &[3, 4, 3, 3], 0).ints("strides", &[3, 2]).ints("pads", &[1, 0, 2, 1]),
        new(&[1, 16, 9, 9], &[16, 8, 2, 2], 8).ints("strides", &[2, 2]),
        new(&[1, 4, 6, 6], &[4, 3, 3, 3], 6).int("group", 2).ints("strides", &[2, 2]).ints("output_padding", &[1, 1]),
        new(&[1, 1, 3, 3], &[1, 2, 3, 3], 0).ints("strides", &[3, 2]).ints("output_shape", &[10, 8]),
        new(&[1, 1, 3, 3], &[1, 2, 3, 3], 2).ints("strides", &[3, 2]).ints("output_shape", &[12, 8]),
        new(&[1, 2, 3, 3], &[2, 1, 2, 2], 0).ints("dilations", &[2, 2]),
        new(&[1, 12, 6, 6], &[12, 40, 3, 3], 40).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        new(&[2, 20, 5, 7], &[20, 9, 3, 4], 9).ints("strides", &[2, 3]).ints("pads", &[1, 1, 0, 2]),
        new(&[1, 4, 5, 5], &[4, 12, 3, 3], 24).int("group", 2).ints("strides", &[2, 1]),
        new(&[2, 3, 6], &[3, 2, 4], 2).ints("strides", &[2]).ints("pads", &[1, 1]),
        new(&[1, 2, 3, 4, 5], &[2, 3, 2, 3, 3], 3).ints("strides", &[1, 2, 3]),
        new(&[1, 6, 5, 5], &[6, 1, 4, 4], 0).int("group", 6).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]),
        new(&[0, 3, 5, 7], &[3, 5, 3, 3], 5),
        case("ConvTranspose", F32, &[1, 3, 5, 7], &[3, 5, 3, 3], 5, false),
        case("ConvTranspose", F16, &[1, 3, 5, 7], &[3, 5, 3, 3], 5, true),
        case("ConvTranspose", BF16, &[1, 3, 5, 7], &[3, 5, 3, 3], 5, false),
        case("ConvTranspose", F64, &[1, 3, 5, 7], &[3, 5, 3, 3], 5, true),
    ];
    for auto in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
        all.push(new(&[1, 2, 4, 5], &[2, 3, 4, 3], 0).ints("strides", &[2, 2]).string("auto_pad", auto));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::NodeInfo;
    use super::*;
    use crate::ir::{Attr, Attrs};

    fn run(attrs: &[(&str, &[i64])], transposed: bool, inputs: &[&Tensor]) -> Tensor {
        let mut map = Attrs::new();
        for (k, v) in attrs {
            let v = if *k == "group" { Attr::Int(v[0]) } else { Attr::Ints(v.to_vec()) };
            map.insert((*k).into(), v);
        }
        let op = super::super::parse(
            "",
            if transposed { "ConvTranspose" } else { "Conv" },
            &map,
            &NodeInfo::full(11, inputs.len(), 1),
        );
        let inputs: Vec<_> = inputs.iter().map(|t| Some(*t)).collect();
        op.unwrap().eval(&inputs).unwrap().remove(0)
    }

    fn ramp(shape: &[usize]) -> Tensor {
        let n = shape::numel(shape);
        Tensor::new(shape, (0..n).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn conv_with_padding() {
        let y = run(&[("pads", &[1, 1, 1, 1])], false, &[&ramp(&[1, 1, 3, 3]), &ramp(&[1, 1, 1, 1])]);
        assert_eq!(y.shape(), [1, 1, 5, 5]);
        let ones = Tensor::new([1, 1, 3, 3], vec![1f32; 9]).unwrap();
        let bias = Tensor::vector(&[0.5f32]);
        let y = run(&[("pads", &[1, 1, 1, 1])], false, &[&ramp(&[1, 1, 3, 3]), &ones, &bias]);
        assert_eq!(y.to_vec::<f32>().unwrap(), [8.5, 15.5, 12.5, 21.5, 36.5, 27.5, 20.5, 33.5, 24.5]);
    }

    #[test]
    fn conv_over_four_spatial_dims_and_groups() {
        let y = run(&[("group", &[2])], false, &[&ramp(&[1, 2, 2, 1, 1, 2]), &ramp(&[2, 1, 2, 1, 1, 2])]);
        assert_eq!(y.to_vec::<f32>().unwrap(), [14.0, 126.0]);
    }

    #[test]
    fn transpose_spreads_each_pixel() {
        let ones = Tensor::new([1, 1, 2, 2], vec![1f32; 4]).unwrap();
        let y = run(&[], true, &[&ramp(&[1, 1, 2, 2]), &ones]);
        assert_eq!(y.to_vec::<f32>().unwrap(), [0.0, 1.0, 1.0, 2.0, 6.0, 4.0, 2.0, 5.0, 3.0]);
        let y = run(&[("output_shape", &[3, 3]), ("strides", &[2, 2])], true, &[&ramp(&[1, 1, 2, 2]), &ones]);
        assert_eq!(y.shape(), [1, 1, 3, 3]);
    }
}
