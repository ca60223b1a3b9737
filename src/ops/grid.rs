//! GridSample and AffineGrid.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::grid::{Interpolation, Outside, grid_sample};
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("GridSample", &[16, 20, 22], parse_sample, sample_cases),
    row(
        "AffineGrid",
        &[20],
        |a, _| Ok(Arc::new(AffineGrid { align: a.flag_or("align_corners", false)? })),
        affine_cases,
    ),
];

#[derive(Debug)]
struct GridSample {
    how: Interpolation,
    outside: Outside,
    align: bool,
}

fn parse_sample(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let default = if n.version < 20 { "bilinear" } else { "linear" };
    let how = match (a.string_or("mode", default.into())?.as_str(), n.version < 20) {
        ("nearest", _) => Interpolation::Nearest,
        ("bilinear", true) | ("linear", false) => Interpolation::Linear,
        ("bicubic", true) | ("cubic", false) => Interpolation::Cubic,
        (other, _) => bail!(InvalidNode, "attribute mode is {other:?}"),
    };
    let outside = match a.string_or("padding_mode", "zeros".into())?.as_str() {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => bail!(InvalidNode, "attribute padding_mode is {other:?}"),
    };
    Ok(Arc::new(GridSample { how, outside, align: a.flag_or("align_corners", false)? }))
}

fn sample_cases() -> Vec<Case> {
    let case =
        |d: DType| Case::new("GridSample", 20).rand(d, &[2, 3, 5, 7]).range(F32, &[2, 4, 6, 2], -1.7, 1.7).sum(16);
    let mut all = vec![case(F16), case(BF16)];
    for mode in ["nearest", "linear", "cubic"] {
        for padding in ["zeros", "border", "reflection"] {
            for align in [0, 1] {
                let flags =
                    |c: Case| c.string("mode", mode).string("padding_mode", padding).int("align_corners", align);
                all.push(flags(case(F32)));
                let volume =
                    Case::new("GridSample", 20).rand(F32, &[1, 2, 3, 4, 5]).range(F32, &[1, 2, 3, 2, 3], -1.4, 1.4);
                all.push(flags(volume.sum(64)));
            }
        }
    }
    all.push(
        Case::new("GridSample", 16).rand(F32, &[1, 1, 1, 1]).rand(F32, &[1, 2, 2, 2]).string("mode", "bicubic").sum(16),
    );
    all.push(Case::new("GridSample", 20).rand(F32, &[1, 2, 9]).rand(F32, &[1, 5, 1]).sum(9));
    all.push(Case::new("GridSample", 20).rand(F32, &[0, 2, 3, 3]).rand(F32, &[0, 2, 2, 2]));
    all
}

impl GridSample {
    fn shape(&self, x: &[usize], grid: &[usize]) -> Result<Vec<usize>> {
        let dims = x.len().saturating_sub(2);
        let fits = dims > 0 && grid.len() == x.len() && grid[0] == x[0] && grid[dims + 1] == dims;
        ensure!(fits, InvalidNode, "a grid {grid:?} for an image {x:?}");
        ensure!(!x[2..].contains(&0), InvalidNode, "samples of an image without pixels: {x:?}");
        Ok([&x[..2], &grid[1..=dims]].concat())
    }

    fn borders(&self, extent: f64) -> (f64, f64) {
        if self.align { (0.0, extent - 1.0) } else { (-0.5, extent - 0.5) }
    }

    fn mirrored(&self, x: f64, extent: f64) -> f64 {
        let (low, high) = self.borders(extent);
        let range = high - low;
        if range <= 0.0 {
            return low;
        }
        let away = (x - low).abs();
        let turns = (away / range).floor();
        let rest = away - turns * range;
        low + if turns % 2.0 == 0.0 { rest } else { range - rest }
    }

    /// The pixel's place along a dim of this extent, if there is one.
    fn pixel(&self, x: f64, extent: f64) -> Option<usize> {
        let last = extent - 1.0;
        match self.outside {
            _ if (0.0..=last).contains(&x) => Some(x as usize),
            Outside::Zeros => None,
            Outside::Border => Some(x.clamp(0.0, last) as usize),
            Outside::Reflection => Some(self.mirrored(x, extent).trunc().clamp(0.0, last) as usize),
        }
    }

    /// The first pixel along a dim, and the weights of it and those behind it.
    fn taps(&self, g: f64, extent: f64) -> (f64, Vec<f64>) {
        let mut x = if self.align { (g + 1.0) / 2.0 * (extent - 1.0) } else { ((g + 1.0) * extent - 1.0) / 2.0 };
        if self.how == Interpolation::Nearest {
            x = x.round_ties_even();
        }
        let (low, high) = self.borders(extent);
        if x < low || x > high {
            x = match self.outside {
                Outside::Zeros => x,
                Outside::Border => x.clamp(0.0, extent - 1.0),
                Outside::Reflection => self.mirrored(x, extent),
            };
        }
        let (first, f) = (x.floor(), x - x.floor());
        // Keys: "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75
        let cubic = |t: usize| {
            let (a, d) = (-0.75, (t as f64 - 1.0 - f).abs());
            if d <= 1.0 {
                ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
            } else {
                ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
            }
        };
        match self.how {
            Interpolation::Nearest => (x, vec![1.0]),
            Interpolation::Linear => (first, vec![1.0 - f, f]),
            Interpolation::Cubic => (first - 1.0, (0..4).map(cubic).collect()),
        }
    }
}

impl Op for GridSample {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.shape(cx.shape(0)?, cx.shape(1)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, grid) = (need(inputs, 0)?, need(inputs, 1)?);
        let to = self.shape(x.shape(), grid.shape())?;
        let extents = &x.shape()[2..];
        let (dims, pixels) = (extents.len(), extents.iter().product::<usize>());
        let places: usize = to[2..].iter().product();
        let float = |t: &Tensor| {
            if t.dtype().is_float() { t.to_f64s() } else { Ok(t.to_i64s()?.into_iter().map(|v| v as f64).collect()) }
        };
        let (v, g) = (float(x)?, grid.to_f64s()?);
        let mut out = vec![0.0; shape::numel(&to)];
        for n in 0..to[0] {
            for p in 0..places {
                let at = |d: usize| g[(n * places + p) * dims + dims - 1 - d];
                let taps: Vec<(f64, Vec<f64>)> = (0..dims).map(|d| self.taps(at(d), extents[d] as f64)).collect();
                let counts: Vec<usize> = taps.iter().map(|t| t.1.len()).collect();
                for t in shape::coords(&counts) {
                    let weight: f64 = t.iter().zip(&taps).map(|(t, (_, w))| w[*t]).product();
                    let place = t.iter().zip(&taps).zip(extents).try_fold(0, |at, ((t, (first, _)), e)| {
                        Some(at * e + self.pixel(first + *t as f64, *e as f64)?)
                    });
                    let Some(place) = place else { continue };
                    for c in 0..to[1] {
                        let image = n * to[1] + c;
                        out[image * places + p] += weight * v[image * pixels + place];
                    }
                }
            }
        }
        if x.dtype().is_float() {
            return Ok(vec![Tensor::from_f64s(x.dtype(), to, out)?]);
        }
        Ok(vec![Tensor::from_i128s(x.dtype(), to, out.into_iter().map(|v| v as i128).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        ensure!(cx.input_type(0)?.dtype.is_float(), Unsupported, "samples of {}", cx.input_type(0)?.dtype);
        let mut dense = |i: usize| {
            let v = cx.input(i)?;
            let d = cx.temp(v.dtype, &v.shape)?;
            copy(cx, &v, &d)?;
            Ok(d)
        };
        let (x, grid) = (dense(0)?, dense(1)?);
        let out = cx.output(0)?;
        grid_sample(cx, self.how, self.outside, self.align, [&x, &grid], &out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        // places are computed in f32, as large as the image: an error there is one of the image's slope
        Tolerance::ulps(dtype, 256.0 + 16.0 * k as f64)
    }
}

/// Places of an affine map: `theta` times the homogeneous coordinates of each pixel.
#[derive(Debug)]
struct AffineGrid {
    align: bool,
}

fn affine_cases() -> Vec<Case> {
    let case = |theta: &[usize], size: &[i64]| {
        Case::new("AffineGrid", 20).rand(F32, theta).constant(Tensor::vector(size)).sum(4)
    };
    vec![
        case(&[2, 2, 3], &[2, 3, 4, 5]),
        case(&[2, 2, 3], &[2, 3, 4, 5]).int("align_corners", 1),
        case(&[1, 3, 4], &[1, 1, 2, 3, 4]),
        case(&[1, 2, 3], &[1, 1, 1, 1]).int("align_corners", 1),
    ]
}

impl AffineGrid {
    /// `[n, extents..]`
    fn size(&self, theta: &[usize], size: &[i64]) -> Result<Vec<usize>> {
        let size: Vec<usize> = size.iter().map(|s| usize::try_from(*s).ok()).collect::<Option<_>>().unwrap_or_default();
        let dims = size.len().saturating_sub(2);
        let fits = (2..=3).contains(&dims) && theta == [size[0], dims, dims + 1];
        ensure!(fits, InvalidNode, "theta {theta:?} for size {size:?}");
        Ok([&size[..1], &size[2..]].concat())
    }

    /// Homogeneous coordinates of each pixel, the innermost dim's first: `[pixels, dims + 1]`.
    fn pixels(&self, extents: &[usize]) -> Vec<f64> {
        let along = |i: usize, n: usize| match (self.align, n) {
            (true, 1) => 0.0,
            (true, n) => 2.0 * i as f64 / (n - 1) as f64 - 1.0,
            (false, n) => (2 * i + 1) as f64 / n as f64 - 1.0,
        };
        let one = |c: Vec<usize>| {
            let inner_first = c.iter().zip(extents).rev().map(|(i, n)| along(*i, *n)).collect::<Vec<_>>();
            inner_first.into_iter().chain([1.0])
        };
        shape::coords(extents).flat_map(one).collect()
    }
}

impl Op for AffineGrid {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let size = cx.ints(1)?.ok_or_else(|| err!(InvalidNode, "input 1 is missing"))?;
        let mut to = self.size(cx.shape(0)?, &size)?;
        to.push(to.len() - 1);
        one(cx.dtype(0)?, to)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let theta = need(inputs, 0)?;
        let mut to = self.size(theta.shape(), &need(inputs, 1)?.to_i64s()?)?;
        let dims = to.len() - 1;
        let (pixels, m) = (self.pixels(&to[1..]), theta.to_f64s()?);
        let mut out = vec![];
        for n in 0..to[0] {
            for p in pixels.chunks(dims + 1) {
                for r in 0..dims {
                    let row = &m[(n * dims + r) * (dims + 1)..][..dims + 1];
                    out.push(row.iter().zip(p).map(|(a, b)| a * b).sum());
                }
            }
        }
        to.push(dims);
        Ok(vec![Tensor::from_f64s(theta.dtype(), to, out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let theta = cx.input(0)?;
        let size = self.size(&theta.shape, &cx.ints(1)?.unwrap_or_default())?;
        let (n, dims) = (size[0], size.len() - 1);
        let count: usize = size[1..].iter().product();
        let pixels = Tensor::from_f64s(F32, [1, count, dims + 1], self.pixels(&size[1..]))?;
        let pixels = cx.constant(pixels)?.broadcast(&[n, count, dims + 1]);
        let out = cx.output(0)?;
        let target = out.reshaped(&[n, count, dims]).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        product(cx, &Product::new(pixels, Right::View(theta.permuted(&[0, 2, 1])), target))
    }
}
