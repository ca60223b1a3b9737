//! Resize and Upsample. Each axis is resampled on its own: the host works out for every output coordinate which input
//! elements count, and how much.

use std::sync::Arc;

use super::infer::{Defer, one};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::epilogue::Ends;
use crate::kernels::resize as kernel;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Resize",
        versions: &[10, 11, 13, 18, 19],
        parse: |a, n| Ok(Arc::new(Resize::parse(a, n)?)),
        cases: resize_cases,
    },
    OpDef {
        domain: "",
        name: "Upsample",
        versions: &[7, 9],
        parse: |a, n| Ok(Arc::new(Resize::parse_upsample(a, n)?)),
        cases: upsample_cases,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// Which of two neighbours is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    HalfDown,
    HalfUp,
    Floor,
    Ceil,
    /// Before opset 11: up where the axis shrinks, else down.
    Simple,
}

/// From an output coordinate to an input coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How `sizes` are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// `x` of any rank gives the same rank, each axis scaled.
#[derive(Debug)]
struct Resize {
    mode: Mode,
    transform: Transform,
    rounding: Rounding,
    cubic_a: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f32,
    axes: Option<Vec<i64>>,
    policy: Policy,
    /// Scales from an attribute.
    scales: Option<Vec<f32>>,
    /// Which inputs are the region, scales and sizes.
    roi_input: Option<usize>,
    scales_input: Option<usize>,
    sizes_input: Option<usize>,
}

fn mode(name: &str) -> Result<Mode> {
    Ok(match name {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" => Mode::Cubic,
        other => bail!(InvalidNode, "attribute mode: unknown value {other:?}"),
    })
}

impl Resize {
    /// As before opset 11.
    fn simple(mode: Mode) -> Resize {
        Resize {
            mode,
            transform: Transform::Asymmetric,
            rounding: Rounding::Simple,
            cubic_a: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation: 0.0,
            axes: None,
            policy: Policy::Stretch,
            scales: None,
            roi_input: None,
            scales_input: None,
            sizes_input: None,
        }
    }

    fn parse_upsample(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Resize> {
        let simple = Resize::simple(mode(&a.string_or("mode", "nearest".into())?)?);
        if n.version >= 9 {
            return Ok(Resize { scales_input: Some(1), ..simple });
        }
        let scales = a.floats("scales")?.ok_or_else(|| err!(InvalidNode, "attribute scales is missing"))?;
        Ok(Resize { scales: Some(scales), ..simple })
    }

    fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Resize> {
        let simple = Resize::simple(mode(&a.string_or("mode", "nearest".into())?)?);
        if n.version < 11 {
            return Ok(Resize { scales_input: Some(1), ..simple });
        }
        let transform = a.string_or("coordinate_transformation_mode", "half_pixel".into())?;
        let rounding = a.string_or("nearest_mode", "round_prefer_floor".into())?;
        let policy = match n.version >= 18 {
            true => a.string_or("keep_aspect_ratio_policy", "stretch".into())?,
            false => "stretch".into(),
        };
        let input = |i: usize| n.has_input(i).then_some(i);
        Ok(Resize {
            transform: match transform.as_str() {
                "half_pixel" => Transform::HalfPixel,
                "half_pixel_symmetric" if n.version >= 19 => Transform::HalfPixelSymmetric,
                "pytorch_half_pixel" => Transform::PytorchHalfPixel,
                "align_corners" => Transform::AlignCorners,
                "asymmetric" => Transform::Asymmetric,
                "tf_half_pixel_for_nn" if n.version < 13 => Transform::TfHalfPixelForNn,
                "tf_crop_and_resize" => Transform::TfCropAndResize,
                other => bail!(InvalidNode, "attribute coordinate_transformation_mode: unknown value {other:?}"),
            },
            rounding: match rounding.as_str() {
                "round_prefer_floor" => Rounding::HalfDown,
                "round_prefer_ceil" => Rounding::HalfUp,
                "floor" => Rounding::Floor,
                "ceil" => Rounding::Ceil,
                other => bail!(InvalidNode, "attribute nearest_mode: unknown value {other:?}"),
            },
            cubic_a: f64::from(a.float_or("cubic_coeff_a", -0.75)?),
            exclude_outside: a.flag_or("exclude_outside", false)?,
            antialias: n.version >= 18 && a.flag_or("antialias", false)?,
            extrapolation: a.float_or("extrapolation_value", 0.0)?,
            axes: if n.version >= 18 { a.ints("axes")? } else { None },
            policy: match policy.as_str() {
                "stretch" => Policy::Stretch,
                "not_larger" => Policy::NotLarger,
                "not_smaller" => Policy::NotSmaller,
                other => bail!(InvalidNode, "attribute keep_aspect_ratio_policy: unknown value {other:?}"),
            },
            roi_input: if transform == "tf_crop_and_resize" { input(1) } else { None },
            scales_input: input(2),
            sizes_input: input(3),
            ..simple
        })
    }

    /// How each axis of `x` changes. `value` gives an input's data.
    fn resampling<E: From<crate::Error>>(
        &self,
        x: &[usize],
        value: impl Fn(usize) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Vec<Axis>, E> {
        let given = |i: Option<usize>| i.map(&value).transpose().map(|t| t.filter(|t| !t.is_empty()));
        let (roi, scales, sizes) = (given(self.roi_input)?, given(self.scales_input)?, given(self.sizes_input)?);
        let scales = match (&self.scales, scales) {
            (Some(s), _) => Some(s.clone()),
            (None, s) => s.map(|s| s.to_f32s()).transpose()?,
        };
        let (roi, sizes) = (roi.map(|r| r.to_f64s()).transpose()?, sizes.map(|s| s.to_i64s()).transpose()?);
        Ok(self.axes(x, roi, scales, sizes)?)
    }

    fn axes(
        &self,
        x: &[usize],
        roi: Option<Vec<f64>>,
        scales: Option<Vec<f32>>,
        sizes: Option<Vec<i64>>,
    ) -> Result<Vec<Axis>> {
        let mut all: Vec<Axis> = x.iter().map(|len| Axis::unchanged(*len)).collect();
        let axes = match &self.axes {
            Some(list) => shape::axes(list, x.len())?,
            None => (0..x.len()).collect(),
        };
        let n = axes.len();
        match (scales, sizes) {
            (Some(scales), None) => {
                ensure!(scales.len() == n, InvalidNode, "expected {n} scales, got {scales:?}");
                for (d, s) in axes.iter().zip(scales) {
                    ensure!(s > 0.0 && s.is_finite(), InvalidNode, "a scale is {s}");
                    // in f32, as exporters work it out: 10 × 0.7 is 7
                    let out = (s * x[*d] as f32).floor();
                    let fits = f64::from(out) < f64::from(u32::MAX);
                    ensure!(fits, Limit, "axis {d} of {x:?} scaled by {s}");
                    (all[*d].out, all[*d].scale) = (out as usize, f64::from(s));
                }
            }
            (None, Some(sizes)) => {
                ensure!(sizes.len() == n, InvalidNode, "expected {n} sizes, got {sizes:?}");
                let fits = sizes.iter().all(|s| (0..u32::MAX as i64).contains(s));
                ensure!(fits, InvalidNode, "sizes are {sizes:?}");
                let scale = |(d, s): (&usize, &i64)| *s as f64 / x[*d].max(1) as f64;
                let scales: Vec<f64> = axes.iter().zip(&sizes).map(scale).collect();
                let common = match self.policy {
                    Policy::Stretch => None,
                    Policy::NotLarger => scales.iter().copied().reduce(f64::min),
                    Policy::NotSmaller => scales.iter().copied().reduce(f64::max),
                };
                for (i, d) in axes.iter().enumerate() {
                    all[*d].scale = common.unwrap_or(scales[i]);
                    all[*d].out = common.map_or(sizes[i] as usize, |s| (s * x[*d] as f64 + 0.5).floor() as usize);
                }
            }
            _ => bail!(InvalidNode, "expected either scales or sizes"),
        }
        if self.transform == Transform::TfCropAndResize {
            let roi = roi.ok_or_else(|| err!(InvalidNode, "tf_crop_and_resize takes a roi"))?;
            ensure!(roi.len() == 2 * n, InvalidNode, "expected {} numbers as roi, got {roi:?}", 2 * n);
            axes.iter().enumerate().for_each(|(i, d)| all[*d].roi = (roi[i], roi[n + i]));
        }
        for (d, a) in all.iter().enumerate() {
            ensure!(a.len > 0 || a.out == 0, InvalidNode, "axis {d} is empty and cannot grow to {}", a.out);
        }
        Ok(all)
    }

    /// The input coordinate under output coordinate `y`.
    fn source(&self, a: &Axis, y: usize) -> f64 {
        let (y, len, out) = (y as f64, a.len as f64, a.out as f64);
        let wide = a.scale * len;
        let half_pixel = (y + 0.5) / a.scale - 0.5;
        let x = match self.transform {
            Transform::HalfPixel => half_pixel,
            Transform::HalfPixelSymmetric => len / 2.0 * (1.0 - out / wide) + half_pixel,
            Transform::PytorchHalfPixel if a.out > 1 => half_pixel,
            Transform::PytorchHalfPixel => 0.0,
            Transform::AlignCorners if wide == 1.0 => 0.0,
            Transform::AlignCorners => y * (len - 1.0) / (wide - 1.0),
            Transform::Asymmetric => y / a.scale,
            Transform::TfHalfPixelForNn => (y + 0.5) / a.scale,
            Transform::TfCropAndResize if a.out > 1 => (a.roi.0 + y * (a.roi.1 - a.roi.0) / (out - 1.0)) * (len - 1.0),
            Transform::TfCropAndResize => 0.5 * (a.roi.0 + a.roi.1) * (len - 1.0),
        };
        // scales are given in f32: 1 / (1/3) is 3
        f64::from(x as f32)
    }

    /// Weight of an element `t` away from the coordinate.
    fn weight(&self, t: f64) -> f64 {
        let (t, a) = (t.abs(), self.cubic_a);
        match self.mode {
            Mode::Cubic if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
            Mode::Cubic if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
            Mode::Cubic => 0.0,
            _ => (1.0 - t).max(0.0),
        }
    }

    fn samples(&self, a: &Axis) -> Samples {
        if a.out == 0 {
            return Samples { taps: 1, index: vec![], weight: vec![] };
        }
        let last = a.len as f64 - 1.0;
        let shrink = if self.antialias { a.scale.min(1.0) } else { 1.0 };
        let reach = if self.mode == Mode::Cubic { 2.0 } else { 1.0 };
        let first = (-reach / shrink).floor() as i64 + 1;
        let taps = if self.mode == Mode::Nearest { 1 } else { (2 - 2 * first) as usize };
        let mut s = Samples { taps, index: vec![], weight: vec![] };
        for y in 0..a.out {
            let x = self.source(a, y);
            if self.transform == Transform::TfCropAndResize && !(0.0..=last).contains(&x) {
                s.index.extend(vec![None; taps]);
                s.weight.extend(vec![0.0; taps]);
                continue;
            }
            let inside = |i: f64| Some(i.clamp(0.0, last) as usize);
            if self.mode == Mode::Nearest {
                let at = match self.rounding {
                    Rounding::HalfDown => (x - 0.5).ceil(),
                    Rounding::HalfUp => (x + 0.5).floor(),
                    Rounding::Simple if a.scale < 1.0 => x.ceil(),
                    Rounding::Floor | Rounding::Simple => x.floor(),
                    Rounding::Ceil => x.ceil(),
                };
                s.index.push(inside(at));
                s.weight.push(1.0);
                continue;
            }
            // the element before x, so that the ratio lies in 0 (excluded) to 1
            let base = x.ceil() - 1.0;
            let at = |k: usize| base + (first + k as i64) as f64;
            let mut weights: Vec<f64> = (0..taps).map(|k| self.weight((at(k) - x) * shrink)).collect();
            if self.exclude_outside {
                let outside = |k: usize| !(0.0..=last).contains(&at(k));
                weights.iter_mut().enumerate().filter(|(k, _)| outside(*k)).for_each(|(_, w)| *w = 0.0);
            }
            let sum: f64 = weights.iter().sum();
            if (self.exclude_outside || shrink < 1.0) && sum != 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            }
            s.index.extend((0..taps).map(|k| inside(at(k))));
            s.weight.extend(weights);
        }
        s
    }

    fn changed(&self, axes: &[Axis]) -> Vec<usize> {
        (0..axes.len()).filter(|d| axes[*d] != Axis::unchanged(axes[*d].len)).collect()
    }
}

/// One axis before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    len: usize,
    out: usize,
    scale: f64,
    /// The part that is seen, of 0 to 1.
    roi: (f64, f64),
}

impl Axis {
    fn unchanged(len: usize) -> Axis {
        Axis { len, out: len, scale: 1.0, roi: (0.0, 1.0) }
    }
}

/// For each output coordinate, `taps` input coordinates (`None` at all of them: beyond the input, where the
/// extrapolation value stands) with their weights.
#[derive(Debug, Clone, PartialEq)]
struct Samples {
    taps: usize,
    index: Vec<Option<usize>>,
    weight: Vec<f64>,
}

/// A sum as an integer: to nearest, ties to even, saturated. First to the nearest 1/1024, so that rounding errors of
/// the sum do not decide.
fn to_integer(sum: f64, (low, high): (i128, i128)) -> f64 {
    ((sum * 1024.0).round_ties_even() / 1024.0).round_ties_even().clamp(low as f64, high as f64)
}

impl Op for Resize {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        let axes = self.resampling(&x.shape, |i| Ok::<_, Defer>(cx.value(i)?.clone()))?;
        let number = x.dtype.is_float() || x.dtype.is_int();
        if self.mode != Mode::Nearest && !number {
            return Err(err!(Unsupported, "interpolation of {}", x.dtype).into());
        }
        one(x.dtype, axes.iter().map(|a| a.out).collect::<Vec<_>>())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let given = |i: usize| {
            inputs.get(i).copied().flatten().cloned().ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
        };
        let x = given(0)?;
        let axes = self.resampling(x.shape(), given)?;
        if axes.iter().any(|a| a.out == 0) {
            return Ok(vec![Tensor::zeros(x.dtype(), axes.iter().map(|a| a.out).collect::<Vec<_>>())]);
        }
        if self.mode == Mode::Nearest {
            return Ok(vec![self.pick(&x, &axes)?]);
        }
        let (mut data, mut now) = (x.to_f64s()?, x.shape().to_vec());
        for d in self.changed(&axes) {
            let s = self.samples(&axes[d]);
            let (outer, inner) = (shape::numel(&now[..d]), shape::numel(&now[d + 1..]));
            let (len, out) = (axes[d].len, axes[d].out);
            let mut next = Vec::with_capacity(outer * out * inner);
            for (o, y, i) in (0..outer * out * inner).map(|n| (n / inner / out, n / inner % out, n % inner)) {
                let taps = y * s.taps..(y + 1) * s.taps;
                let term = |k: usize| Some(data[(o * len + s.index[k]?) * inner + i] * s.weight[k]);
                next.push(taps.map(term).sum::<Option<f64>>().unwrap_or(f64::from(self.extrapolation)));
            }
            (data, now[d]) = (next, out);
        }
        if let Some(range) = x.dtype().int_range() {
            data.iter_mut().for_each(|v| *v = to_integer(*v, range));
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), now, data)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let x = cx.input_type(0)?;
        let axes = self.resampling(&x.shape, |i| {
            cx.value(i).cloned().ok_or_else(|| err!(Unsupported, "input {i} is not known before the run"))
        })?;
        let changed = self.changed(&axes);
        if changed.is_empty() {
            ensure!(ends.start.is_none() && ends.end.is_none(), Unsupported, "no axis changes");
            let view = cx.input(0)?;
            return cx.alias(0, view);
        }
        let wide = x.dtype.is_int() && x.dtype.size() > 2;
        ensure!(self.mode == Mode::Nearest || !wide, Unsupported, "interpolation of {}", x.dtype);
        if axes.iter().any(|a| a.out == 0) {
            cx.output(0)?;
            return Ok(());
        }
        let passes: Vec<kernel::Pass> = changed
            .into_iter()
            .map(|axis| {
                let s = self.samples(&axes[axis]);
                let index = s.index.iter().map(|i| i.map_or(u32::MAX, |i| i as u32)).collect();
                let weight = s.weight.iter().map(|w| *w as f32).collect();
                kernel::Pass { axis, out: axes[axis].out, taps: s.taps, index, weight }
            })
            .collect();
        match self.mode {
            Mode::Nearest => kernel::nearest(cx, &passes, self.extrapolation, ends.no_start()?),
            _ => kernel::interpolate(cx, passes, self.extrapolation, ends),
        }
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        match self.mode {
            Mode::Nearest => Tolerance::EXACT,
            // weights and products of each axis are rounded
            _ => Tolerance::ulps(dtype, if dtype == F32 { 16.0 } else { 2.0 }),
        }
    }
}

impl Resize {
    /// Elements picked from `x`, of any type.
    fn pick(&self, x: &Tensor, axes: &[Axis]) -> Result<Tensor> {
        let mut sources = vec![Some(0)];
        for a in axes {
            let index = self.samples(a).index;
            let step = |base: Option<usize>, i: Option<usize>| Some(base? * a.len + i?);
            sources = sources.iter().flat_map(|base| index.iter().map(move |i| step(*base, *i))).collect();
        }
        let out: Vec<usize> = axes.iter().map(|a| a.out).collect();
        if sources.iter().all(Option::is_some) {
            return x.select(out, &sources.into_iter().flatten().collect::<Vec<_>>());
        }
        let fill = match x.dtype() {
            d @ (String | C64 | C128) => Tensor::zeros(d, [1]),
            d => Tensor::from_f64s(d, [1], vec![f64::from(self.extrapolation)])?,
        };
        x.select_or(out, &sources, &fill)
    }
}

const X: [usize; 4] = [1, 2, 5, 7];

fn scaled(dtype: DType, x: &[usize], scales: &[f32]) -> Case {
    Case::new("Resize", 19).rand(dtype, x).absent().value(Tensor::vector(scales))
}

fn sized(dtype: DType, x: &[usize], sizes: &[i64]) -> Case {
    Case::new("Resize", 19).rand(dtype, x).absent().absent().value(Tensor::vector(sizes))
}

fn resize_cases() -> Vec<Case> {
    let mut all = vec![];
    let transforms = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"];
    for mode in ["nearest", "linear", "cubic"] {
        for t in transforms {
            let c = |scales: &[f32]| scaled(F32, &X, scales).string("coordinate_transformation_mode", t);
            all.push(c(&[1.0, 1.0, 0.6, 2.5]).string("mode", mode));
            all.push(c(&[1.0, 1.5, 2.0, 0.15]).string("mode", mode).int("exclude_outside", (mode == "cubic") as i64));
        }
        let crop = |sizes: &[i64]| {
            let roi = Tensor::vector(&[0.0f32, 0.0, 0.2, -0.3, 1.0, 1.0, 0.9, 1.2]);
            let c = Case::new("Resize", 13).rand(F32, &X).value(roi).absent().value(Tensor::vector(sizes));
            c.string("coordinate_transformation_mode", "tf_crop_and_resize").float("extrapolation_value", 7.5)
        };
        all.push(crop(&[1, 2, 4, 9]).string("mode", mode));
        all.push(crop(&[1, 2, 1, 8]).string("mode", mode));
        all.push(sized(F32, &[3, 4], &[7, 4]).string("mode", mode));
        all.push(sized(F32, &[2, 3, 4, 5, 3], &[2, 5, 4, 2, 6]).string("mode", mode));
        all.push(scaled(F32, &[0, 3], &[1.0, 2.0]).string("mode", mode));
        all.push(scaled(F32, &[6, 3], &[1.0, 1.0]).string("mode", mode));
        for policy in ["not_larger", "not_smaller"] {
            let c = sized(F32, &X, &[9, 8]).ints("axes", &[-1, 2]).string("mode", mode);
            all.push(c.string("keep_aspect_ratio_policy", policy));
        }
    }
    for mode in ["linear", "cubic"] {
        all.push(scaled(F32, &X, &[1.0, 1.0, 0.35, 0.6]).string("mode", mode).int("antialias", 1));
        all.push(
            scaled(F32, &X, &[1.0, 1.0, 2.0, 0.3]).string("mode", mode).int("antialias", 1).int("exclude_outside", 1),
        );
        all.push(scaled(F32, &X, &[1.0, 1.0, 2.0, 1.7]).string("mode", mode).float("cubic_coeff_a", -0.5));
        for d in [F16, BF16, F64, I8, U8, I16, U16] {
            all.push(scaled(d, &X, &[1.0, 1.0, 0.6, 2.5]).string("mode", mode));
        }
    }
    for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
        let c = scaled(F32, &X, &[1.0, 1.0, 0.5, 2.0]).string("nearest_mode", rounding);
        all.push(c.clone().string("coordinate_transformation_mode", "asymmetric"));
        all.push(c);
    }
    all.extend(
        [F16, BF16, F64, I8, U8, I16, U16, I32, U32, I64, U64, Bool, String]
            .map(|d| scaled(d, &X, &[1.0, 1.0, 0.6, 2.5])),
    );
    all.push(scaled(F32, &[1, 3, 300, 301], &[1.0, 1.0, 2.0, 2.0]).string("mode", "linear"));
    all.push(scaled(F32, &[1, 3, 300, 301], &[1.0, 1.0, 2.0, 2.0]));
    for (mode, scales) in [("nearest", [1.0f32, 1.0, 0.6, 0.6]), ("linear", [1.0, 1.0, 2.0, 3.0])] {
        all.push(Case::new("Resize", 10).rand(F32, &X).value(Tensor::vector(&scales)).string("mode", mode));
    }
    let nn = Case::new("Resize", 11).rand(F32, &X).absent().value(Tensor::vector(&[1.0f32, 1.0, 2.0, 0.5]));
    all.push(nn.string("coordinate_transformation_mode", "tf_half_pixel_for_nn").string("nearest_mode", "floor"));
    all
}

fn upsample_cases() -> Vec<Case> {
    let attr = |m: &str| {
        let c = Case::new("Upsample", 7).rand(F32, &X).string("mode", m);
        c.attr("scales", crate::ir::Attr::Floats(vec![1.0, 1.0, 2.0, 3.0]))
    };
    let input = |d, m: &str| {
        Case::new("Upsample", 9).rand(d, &X).value(Tensor::vector(&[1.0f32, 1.0, 2.5, 2.0])).string("mode", m)
    };
    vec![attr("nearest"), attr("linear"), input(F32, "nearest"), input(F32, "linear"), input(I64, "nearest")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(len: usize, out: usize) -> Axis {
        Axis { len, out, scale: out as f64 / len as f64, roi: (0.0, 1.0) }
    }

    fn op(mode: Mode, transform: Transform, rounding: Rounding) -> Resize {
        Resize { transform, rounding, ..Resize::simple(mode) }
    }

    #[test]
    fn nearest_picks_one_element() {
        let picked = |r: Resize, a| r.samples(&a).index.into_iter().flatten().collect::<Vec<_>>();
        let half = |r| op(Mode::Nearest, Transform::HalfPixel, r);
        assert_eq!(picked(half(Rounding::HalfDown), axis(2, 4)), [0, 0, 1, 1]);
        assert_eq!(picked(half(Rounding::HalfDown), axis(4, 2)), [0, 2]);
        assert_eq!(picked(half(Rounding::HalfUp), axis(4, 2)), [1, 3]);
        let third = Axis { scale: f64::from(1.0f32 / 3.0), ..axis(9, 3) };
        assert_eq!(picked(op(Mode::Nearest, Transform::Asymmetric, Rounding::Floor), third), [0, 3, 6]);
    }

    #[test]
    fn weights_sum_to_one() {
        for mode in [Mode::Linear, Mode::Cubic] {
            for antialias in [false, true] {
                let r = Resize { antialias, ..op(mode, Transform::HalfPixel, Rounding::Floor) };
                let s = r.samples(&axis(11, 4));
                for w in s.weight.chunks(s.taps) {
                    assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{w:?}");
                }
            }
        }
    }
}
