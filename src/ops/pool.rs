//! Pools: the greatest, the mean or the norm of the elements under a window, or of all of a channel; and MaxUnpool.

use std::sync::Arc;

use super::eval::{need, opt};
use super::window::{Geometry, Has, Window};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::epilogue::Ends;
use crate::kernels::pool as kernel;
use crate::plan::{LowerCx, Slicing};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "", name: "MaxPool", versions: &[1, 8, 10, 11, 12, 22], parse: max_pool, cases: max_cases },
    OpDef {
        domain: "",
        name: "AveragePool",
        versions: &[1, 7, 10, 11, 19, 22],
        parse: average_pool,
        cases: mean_cases,
    },
    OpDef { domain: "", name: "LpPool", versions: &[1, 2, 11, 18, 22], parse: lp_pool, cases: lp_cases },
    OpDef {
        domain: "",
        name: "GlobalMaxPool",
        versions: &[1, 22],
        parse: |_, _| {
            Ok(Arc::new(Pool { kind: Kind::Max { column_major: false }, window: None, name: "GlobalMaxPool" }))
        },
        cases: || global_cases("GlobalMaxPool"),
    },
    OpDef {
        domain: "",
        name: "GlobalAveragePool",
        versions: &[1, 22],
        parse: |_, _| {
            Ok(Arc::new(Pool { kind: Kind::Mean { count_pads: false }, window: None, name: "GlobalAveragePool" }))
        },
        cases: || global_cases("GlobalAveragePool"),
    },
    OpDef {
        domain: "",
        name: "GlobalLpPool",
        versions: &[1, 2, 22],
        parse: |a, _| Ok(Arc::new(Pool { kind: Kind::Norm { p: norm(a)? }, window: None, name: "GlobalLpPool" })),
        cases: || global_cases("GlobalLpPool"),
    },
    OpDef {
        domain: "",
        name: "MaxUnpool",
        versions: &[9, 11, 22],
        parse: |a, _| Ok(Arc::new(MaxUnpool { window: Window::parse(a, Has::default())? })),
        cases: unpool_cases,
    },
];

/// What becomes of the elements under a window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// The greatest; NaN only where there is nothing else. Its place is counted along the last spatial dim first, or,
    /// column-major, along the first.
    Max { column_major: bool },
    /// The mean, of the padding too if `count_pads`.
    Mean { count_pads: bool },
    /// `(Σ |x|ᵖ)^(1/p)`
    Norm { p: u32 },
}

/// `x[N, C, in…]` gives `[N, C, out…]`; without a window every spatial dim becomes 1 long.
#[derive(Debug)]
struct Pool {
    kind: Kind,
    window: Option<Window>,
    name: &'static str,
}

fn norm(a: &AttrReader<'_>) -> Result<u32> {
    let p = a.int_or("p", 2)?;
    ensure!((1..=1 << 20).contains(&p), InvalidNode, "attribute p: expected at least 1, got {p}");
    Ok(p as u32)
}

fn max_pool(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let has = Has { dilations: n.version >= 10, ceil: n.version >= 10, auto_pad: true };
    let column_major = n.version >= 8 && a.flag_or("storage_order", false)?;
    let window = Some(Window::parse(a, has)?);
    Ok(Arc::new(Pool { kind: Kind::Max { column_major }, window, name: "MaxPool" }))
}

fn average_pool(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let has = Has { dilations: n.version >= 19, ceil: n.version >= 10, auto_pad: true };
    let count_pads = n.version >= 7 && a.flag_or("count_include_pad", false)?;
    let window = Some(Window::parse(a, has)?);
    Ok(Arc::new(Pool { kind: Kind::Mean { count_pads }, window, name: "AveragePool" }))
}

fn lp_pool(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let has = Has { dilations: n.version >= 18, ceil: n.version >= 18, auto_pad: true };
    let (kind, window) = (Kind::Norm { p: norm(a)? }, Some(Window::parse(a, has)?));
    Ok(Arc::new(Pool { kind, window, name: "LpPool" }))
}

impl Pool {
    fn geometry(&self, x: &[usize], dtype: DType) -> Result<Geometry> {
        ensure!(x.len() >= 2, InvalidNode, "expected an input of rank 2 or more, got {x:?}");
        let small = matches!((self.kind, dtype), (Kind::Max { .. }, I8 | U8)) && self.window.is_some();
        let fits = matches!(dtype, F32 | F16 | BF16 | F64) || small;
        ensure!(fits, Unsupported, "{} of {dtype}", self.name);
        let spatial = &x[2..];
        match &self.window {
            Some(w) => {
                let kernel = w.kernel.as_ref().ok_or_else(|| err!(InvalidNode, "attribute kernel_shape is missing"))?;
                let fits = kernel.len() == spatial.len();
                ensure!(fits, InvalidNode, "kernel_shape {kernel:?} for spatial dims {spatial:?}");
                let g = w.geometry(spatial, kernel)?;
                let empty = spatial.contains(&0) && !x[..2].contains(&0) && !g.output.contains(&0);
                ensure!(!empty, InvalidNode, "windows over padding alone: the input is {x:?}");
                Ok(g)
            }
            None => Ok(Geometry {
                input: spatial.to_vec(),
                output: vec![1; spatial.len()],
                kernel: spatial.to_vec(),
                strides: vec![1; spatial.len()],
                dilations: vec![1; spatial.len()],
                begin: vec![0; spatial.len()],
                end: vec![0; spatial.len()],
            }),
        }
    }

    /// Over the elements of a plane under one window, `count` of whose elements lie in the input with its padding.
    fn reduce(&self, x: &[f64], window: &[usize], count: usize, lowest: f64) -> (f64, usize) {
        let under = window.iter().map(|i| (x[*i], *i));
        match self.kind {
            Kind::Max { .. } => {
                let first = (lowest, window.first().copied().unwrap_or(0));
                under.fold(first, |best, (v, i)| if v > best.0 { (v, i) } else { best })
            }
            Kind::Mean { count_pads } => {
                let count = if count_pads { count } else { window.len() };
                (under.map(|(v, _)| v).sum::<f64>() / count as f64, 0)
            }
            Kind::Norm { p } => (under.map(|(v, _)| v.abs().powi(p as i32)).sum::<f64>().powf(1.0 / f64::from(p)), 0),
        }
    }
}

/// For each window, in order, the elements under it, and how many of its elements lie in the input with its padding. All
/// of them at once could be more than memory holds.
fn windows(g: &Geometry) -> impl Iterator<Item = (Vec<usize>, usize)> {
    let axis = |d: usize| {
        let place = move |o: usize| {
            let taps = (0..g.kernel[d]).map(move |tap| o * g.strides[d] + tap * g.dilations[d]);
            let inside = taps.clone().filter_map(|at| at.checked_sub(g.begin[d])).filter(|i| *i < g.input[d]);
            let padded = taps.filter(|at| *at < g.begin[d] + g.input[d] + g.end[d]).count();
            (inside.collect::<Vec<usize>>(), padded)
        };
        (0..g.output[d]).map(place).collect::<Vec<_>>()
    };
    let axes: Vec<_> = (0..g.input.len()).map(axis).collect();
    let input = g.input.clone();
    shape::coords(&g.output).map(move |at| {
        let (mut under, mut count) = (vec![0], 1);
        for (d, (axis, o)) in axes.iter().zip(at).enumerate() {
            let (inside, padded) = &axis[o];
            let step = input[d];
            under = under.iter().flat_map(|base| inside.iter().map(move |i| base * step + i)).collect();
            count *= padded;
        }
        (under, count)
    })
}

impl Op for Pool {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        let g = self.geometry(&x.shape, x.dtype)?;
        let out = [&x.shape[..2], &g.output].concat();
        Ok(vec![TensorType::new(x.dtype, out.clone()), TensorType::new(I64, out)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let g = self.geometry(x.shape(), x.dtype())?;
        let (plane, planes) = (shape::numel(&g.input), shape::numel(&x.shape()[..2]));
        let data = x.to_f64s()?;
        let lowest = x.dtype().int_range().map_or(f64::NEG_INFINITY, |(low, _)| low as f64);
        let made = shape::numel(&g.output);
        let (mut values, mut places) = (vec![0.0; planes * made], vec![0; planes * made]);
        for (o, (window, count)) in windows(&g).enumerate().take_while(|_| planes > 0) {
            for channel in 0..planes {
                let start = channel * plane;
                let (v, i) = self.reduce(&data[start..start + plane], &window, count, lowest);
                let place = match self.kind {
                    Kind::Max { column_major: true } => column_major(i, &g.input),
                    _ => i,
                };
                values[channel * made + o] = v;
                places[channel * made + o] = (start + place) as i64;
            }
        }
        let out = [&x.shape()[..2], &g.output].concat();
        Ok(vec![Tensor::from_f64s(x.dtype(), out.clone(), values)?, Tensor::new(out, places)?])
    }

    fn slices(&self, _: &InferCx<'_>, _: &[usize]) -> Vec<Slicing> {
        Slicing::shared([0, 1])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.no_start()?;
        let x = cx.input_type(0)?;
        let g = self.geometry(&x.shape, x.dtype)?;
        let rank = g.kernel.len();
        ensure!(rank <= 3, Unsupported, "pool over {rank} spatial dims");
        let three = |list: &[usize], fill: usize| {
            let mut out = [fill; 3];
            out[3 - rank..].copy_from_slice(list);
            out
        };
        let shape = kernel::Shape {
            images: x.shape[0],
            channels: x.shape[1],
            input: three(&g.input, 1),
            output: three(&g.output, 1),
            kernel: three(&g.kernel, 1),
            strides: three(&g.strides, 1),
            dilations: three(&g.dilations, 1),
            begin: three(&g.begin, 0),
            end: three(&g.end, 0),
        };
        let what = match self.kind {
            Kind::Max { column_major } => kernel::What::Max { column_major },
            Kind::Mean { count_pads } => kernel::What::Mean { count_pads },
            Kind::Norm { p } => kernel::What::Norm { p },
        };
        kernel::lower(cx, &shape, what, end)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        match (self.kind, dtype) {
            (Kind::Max { .. }, _) => Tolerance::EXACT,
            (_, F16 | BF16) => Tolerance::ulps(dtype, 2.0),
            (Kind::Mean { .. }, d) => Tolerance::ulps(d, 4.0 + (k as f64).sqrt()),
            // a power function, its inverse and a sum
            (Kind::Norm { .. }, d) => Tolerance::ulps(d, 32.0 + (k as f64).sqrt()),
        }
    }
}

/// Where element `i` of a row-major plane stands when its first dim counts fastest.
fn column_major(mut i: usize, plane: &[usize]) -> usize {
    let mut place = 0;
    for d in (0..plane.len()).rev() {
        place = place * plane[d] + i % plane[d];
        i /= plane[d];
    }
    place
}

/// `x[N, C, in…]` and the places of its elements in `[N, C, out…]` give the latter, zero elsewhere.
#[derive(Debug)]
struct MaxUnpool {
    window: Window,
}

impl MaxUnpool {
    /// The shape that the places count in.
    fn places(&self, x: &[usize]) -> Result<Vec<usize>> {
        ensure!(x.len() >= 2, InvalidNode, "expected an input of rank 2 or more, got {x:?}");
        let rank = x.len() - 2;
        let kernel =
            self.window.kernel.clone().ok_or_else(|| err!(InvalidNode, "attribute kernel_shape is missing"))?;
        let kernel = Window::list("kernel_shape", &Some(kernel), rank, 1)?;
        let strides = Window::list("strides", &self.window.strides, rank, 1)?;
        let pads = Window::list("pads", &self.window.pads, 2 * rank, 0)?;
        let mut out = x[..2].to_vec();
        for d in 0..rank {
            let full = x[d + 2].saturating_sub(1).saturating_mul(strides[d]).saturating_add(kernel[d]);
            let size = full.checked_sub(pads[d] + pads[rank + d]);
            out.push(size.ok_or_else(|| err!(InvalidNode, "pads {pads:?} leave nothing along spatial axis {d}"))?);
        }
        shape::checked_numel(&out)?;
        Ok(out)
    }

    fn output(places: &[usize], wanted: Option<Vec<i64>>) -> Result<Vec<usize>> {
        let Some(wanted) = wanted else { return Ok(places.to_vec()) };
        let fits = wanted.len() == places.len() && wanted.iter().all(|d| (0..=u32::MAX as i64).contains(d));
        ensure!(fits, InvalidNode, "output_shape {wanted:?} for {places:?}");
        Ok(wanted.into_iter().map(|d| d as usize).collect())
    }
}

impl Op for MaxUnpool {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (x, at) = (cx.input(0)?, cx.input(1)?);
        if at.shape != x.shape {
            return Err(err!(InvalidNode, "places of {at} for elements of {x}").into());
        }
        let places = self.places(&x.shape)?;
        super::infer::one(cx.dtype(0)?, MaxUnpool::output(&places, cx.ints(2)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, at) = (need(inputs, 0)?, need(inputs, 1)?.to_i64s()?);
        let places = self.places(x.shape())?;
        let wanted = opt(inputs, 2).map(Tensor::to_i64s).transpose()?;
        let out = MaxUnpool::output(&places, wanted)?;
        ensure!(at.len() == x.len(), InvalidNode, "{} places for {} elements", at.len(), x.len());
        let (count, steps) = (shape::numel(&places), shape::strides(&out));
        let mut sources = vec![None; shape::numel(&out)];
        for (i, at) in at.into_iter().enumerate() {
            let inside = (0..count as i64).contains(&at);
            ensure!(inside, InvalidNode, "place {at} lies outside {places:?}");
            let (mut rest, mut to) = (at as usize, Some(0));
            for d in (0..places.len()).rev() {
                let c = rest % places[d];
                to = to.filter(|_| c < out[d]).map(|t| t + c * steps[d]);
                rest /= places[d];
            }
            to.into_iter().for_each(|t: usize| sources[t] = Some(i));
        }
        let zero = Tensor::zeros(x.dtype(), [1]);
        Ok(vec![x.select_or(out, &sources, &zero)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let places = self.places(&cx.input_type(0)?.shape)?;
        kernel::unpool(cx, &places)
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

fn max_cases() -> Vec<Case> {
    let new = |x: &[usize], k: &[i64]| Case::new("MaxPool", 12).rand(F32, x).ints("kernel_shape", k);
    let mut all = vec![
        new(&[1, 3, 9, 11], &[3, 2]).outputs(2),
        new(&[2, 3, 9, 11], &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]).outputs(2),
        new(&[2, 3, 9, 11], &[3, 2]).int("storage_order", 1).ints("strides", &[1, 3]).outputs(2),
        new(&[1, 2, 4, 4], &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        new(&[1, 1, 2, 2], &[1, 1]).ints("strides", &[2, 2]).ints("pads", &[0, 0, 0, 1]).int("ceil_mode", 1),
        new(&[1, 2, 9, 9], &[2, 3]).ints("dilations", &[3, 2]),
        new(&[2, 5, 17], &[4]).ints("pads", &[2, 1]).outputs(2),
        new(&[1, 2, 5, 6, 7], &[2, 3, 2]).ints("strides", &[2, 1, 2]).int("storage_order", 1).outputs(2),
        new(&[0, 2, 5, 5], &[2, 2]),
        new(&[1, 1, 300, 301], &[5, 5]).ints("strides", &[1, 1]),
        Case::new("MaxPool", 8).rand(F32, &[1, 2, 6, 6]).ints("kernel_shape", &[2, 2]),
    ];
    for auto in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
        all.push(new(&[1, 2, 8, 11], &[4, 3]).ints("strides", &[2, 3]).string("auto_pad", auto).outputs(2));
    }
    for d in [F16, BF16, F64, I8, U8] {
        let c = Case::new("MaxPool", 22).rand(d, &[1, 3, 7, 8]).ints("kernel_shape", &[3, 3]);
        all.push(c.ints("pads", &[1, 1, 1, 1]).outputs(2));
    }
    let special = [f32::NAN, -1.0, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    if let Ok(x) = Tensor::new([1, 1, 6], special.to_vec()) {
        all.push(Case::new("MaxPool", 12).value(x).ints("kernel_shape", &[2]).outputs(2));
    }
    all
}

fn mean_cases() -> Vec<Case> {
    let new = |x: &[usize], k: &[i64]| {
        let sum = k.iter().product::<i64>() as usize;
        Case::new("AveragePool", 19).rand(F32, x).ints("kernel_shape", k).sum(sum)
    };
    let mut all = vec![new(&[2, 3, 9, 11], &[3, 2]), new(&[1, 2, 31], &[4]), new(&[0, 3, 9, 9], &[3, 3])];
    for include in [0, 1] {
        let more = [
            new(&[2, 3, 9, 11], &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 2, 0, 1]),
            new(&[1, 2, 4, 6], &[3, 3]).ints("strides", &[2, 2]).int("ceil_mode", 1).ints("pads", &[1, 1, 1, 1]),
            new(&[1, 2, 9, 12], &[3, 2]).ints("dilations", &[2, 3]).ints("pads", &[1, 2, 1, 2]),
            new(&[1, 2, 5, 6, 7], &[2, 3, 2]).ints("strides", &[2, 1, 2]).ints("pads", &[1, 1, 0, 0, 1, 1]),
            new(&[1, 2, 8, 11], &[4, 3]).ints("strides", &[2, 3]).string("auto_pad", "SAME_LOWER"),
        ];
        all.extend(more.map(|c| c.int("count_include_pad", include)));
    }
    for d in [F16, BF16, F64] {
        let c = Case::new("AveragePool", 22).rand(d, &[1, 3, 7, 8]).ints("kernel_shape", &[3, 3]);
        all.push(c.ints("pads", &[1, 1, 1, 1]));
    }
    all
}

fn lp_cases() -> Vec<Case> {
    let new = |x: &[usize], k: &[i64]| Case::new("LpPool", 18).rand(F32, x).ints("kernel_shape", k).sum(9);
    let mut all = vec![
        new(&[2, 3, 9, 11], &[3, 2]),
        new(&[1, 2, 9], &[3]).int("p", 1).ints("pads", &[1, 1]).ints("dilations", &[2]),
        new(&[1, 2, 9, 8], &[3, 3]).int("p", 3).ints("strides", &[2, 2]).int("ceil_mode", 1),
        new(&[1, 2, 5, 6, 7], &[2, 3, 2]).string("auto_pad", "SAME_UPPER"),
    ];
    all.extend([F16, BF16, F64].map(|d| Case::new("LpPool", 22).rand(d, &[1, 3, 7, 8]).ints("kernel_shape", &[3, 3])));
    all
}

fn global_cases(op: &'static str) -> Vec<Case> {
    let shapes: [&[usize]; 6] =
        [&[2, 5, 7, 7], &[1, 3, 257], &[1, 2, 3, 4, 5], &[3, 4], &[0, 2, 3, 3], &[300, 250, 1, 1]];
    let mut all: Vec<Case> = shapes.map(|s| Case::new(op, 2).rand(F32, s).sum(shape::numel(&s[2..]))).into();
    all.push(Case::new(op, 2).rand(F32, &[1, 3, 200, 201]).sum(40_200));
    all.extend([F16, BF16, F64].map(|d| Case::new(op, 22).rand(d, &[1, 3, 7, 8]).sum(56)));
    all
}

fn unpool_cases() -> Vec<Case> {
    let places = |list: &[i64]| Tensor::new([1, 1, 2, 2], list.to_vec()).unwrap_or_else(|_| Tensor::vector(list));
    let new = |d| {
        let c = Case::new("MaxUnpool", if d == BF16 { 22 } else { 11 }).rand(d, &[1, 1, 2, 2]);
        c.value(places(&[5, 7, 13, 15])).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2])
    };
    let mut all: Vec<Case> = [F32, F16, BF16, F64].map(new).into();
    all.push(new(F32).constant(Tensor::vector(&[1i64, 1, 5, 5])));
    all.push(new(F32).constant(Tensor::vector(&[1i64, 1, 3, 4])));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_major_places() {
        assert_eq!((0..6).map(|i| column_major(i, &[2, 3])).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn padding_counts_up_to_its_end() {
        let window = Window {
            kernel: None,
            strides: Some(vec![2]),
            dilations: None,
            pads: Some(vec![1, 1]),
            auto_pad: super::super::window::AutoPad::NotSet,
            ceil: true,
        };
        let g = window.geometry(&[4], &[3]).unwrap();
        let all: Vec<_> = windows(&g).collect();
        assert_eq!(all, [(vec![0, 1], 3), (vec![1, 2, 3], 3), (vec![3], 2)]);
    }
}
