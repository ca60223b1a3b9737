//! Signals: DFT, STFT, windows, MelWeightMatrix.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::eval::{need, opt};
use super::fourier;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::elementwise::apply;
use crate::kernels::fft::Transform;
use crate::kernels::pad::{Mode, pad};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("DFT", &[17, 20], parse_dft, dft_cases),
    row("STFT", &[17], |a, _| Ok(Arc::new(Stft { onesided: a.flag_or("onesided", true)? })), stft_cases),
    row("HannWindow", &[17], |a, _| parse_window(a, &[0.5, 0.5]), || window_cases("HannWindow")),
    row("HammingWindow", &[17], |a, _| parse_window(a, &[25.0 / 46.0, 21.0 / 46.0]), || window_cases("HammingWindow")),
    row("BlackmanWindow", &[17], |a, _| parse_window(a, &[0.42, 0.5, 0.08]), || window_cases("BlackmanWindow")),
    row("MelWeightMatrix", &[17], parse_mel, mel_cases),
];

fn one_int(v: &[i64], what: &str) -> Result<i64> {
    match v {
        [k] => Ok(*k),
        other => bail!(InvalidNode, "expected one {what}, got {other:?}"),
    }
}

fn extent(n: i64, what: &str) -> Result<usize> {
    usize::try_from(n).map_err(|_| err!(InvalidNode, "{what} is {n}"))
}

// ---- DFT ----

#[derive(Debug)]
struct Dft {
    /// Before opset 20 an attribute, then an input.
    axis: Option<i64>,
    inverse: bool,
    onesided: bool,
}

fn parse_dft(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let axis = if n.version < 20 { Some(a.int_or("axis", 1)?) } else { None };
    Ok(Arc::new(Dft { axis, inverse: a.flag_or("inverse", false)?, onesided: a.flag_or("onesided", false)? }))
}

fn dft_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize]| Case::new("DFT", 20).rand(d, s).sum(s[1] * 2);
    let axis = |c: Case, a: i64| c.absent().constant(Tensor::scalar(a));
    vec![
        case(F32, &[2, 10, 1]),
        case(F16, &[1, 8, 2]),
        case(F32, &[2, 7, 2]).int("inverse", 1),
        case(F32, &[2, 10, 1]).int("onesided", 1),
        case(F32, &[2, 6, 2]).int("onesided", 1).int("inverse", 1),
        case(F32, &[2, 6, 1]).int("onesided", 1).int("inverse", 1),
        case(F32, &[1, 8 * 9 * 7, 2]),
        case(F32, &[1, 16 * 11, 2]).int("inverse", 1),
        // large factors
        case(F32, &[2, 34, 1]),
        case(F32, &[2, 18, 2]).int("onesided", 1).int("inverse", 1),
        axis(case(F32, &[3, 5, 4, 1]), 1),
        axis(case(F32, &[3, 5, 4, 2]), -4),
        case(F32, &[2, 10, 1]).constant(Tensor::scalar(16i64)),
        case(F32, &[2, 10, 2]).constant(Tensor::scalar(6i64)).constant(Tensor::scalar(1i64)),
        Case::new("DFT", 17).rand(F32, &[2, 5, 3, 1]).int("axis", 2).sum(6),
    ]
}

impl Dft {
    fn plan(&self, x: &[usize], length: Option<i64>, axis: Option<i64>) -> Result<(usize, Transform)> {
        let rank = x.len();
        ensure!(rank >= 2 && matches!(x[rank - 1], 1 | 2), InvalidNode, "expected [.., 1 or 2], got {x:?}");
        let axis = shape::axis(self.axis.or(axis).unwrap_or(-2), rank)?;
        ensure!(axis + 1 < rank, InvalidNode, "axis {axis} is that of the components");
        let real_out = self.inverse && self.onesided;
        let default = if real_out { 2 * x[axis].saturating_sub(1) } else { x[axis] };
        let n = length.map_or(Ok(default), |n| extent(n, "dft_length"))?;
        ensure!(n > 0, InvalidNode, "a transform of no places");
        let complex = x[rank - 1] == 2;
        ensure!(!self.onesided || self.inverse || !complex, InvalidNode, "one side of a complex signal's spectrum");
        let bins = if self.onesided && !self.inverse { n / 2 + 1 } else { n };
        Ok((axis, fourier::check(Transform { n, bins, complex, inverse: self.inverse, real_out })?))
    }

    fn shape(x: &[usize], axis: usize, t: &Transform) -> Vec<usize> {
        let mut to = x.to_vec();
        to[axis] = t.bins;
        to[x.len() - 1] = t.components().1;
        to
    }
}

fn scalar(t: Option<&Tensor>, what: &str) -> Result<Option<i64>> {
    t.map(|t| one_int(&t.to_i64s()?, what)).transpose()
}

impl Op for Dft {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let known = |i: usize, what: &str| match cx.ints(i)? {
            Some(v) => Ok::<_, super::Defer>(Some(one_int(&v, what)?)),
            None => Ok(None),
        };
        let (length, axis) = (known(1, "dft_length")?, known(2, "axis")?);
        let (axis, t) = self.plan(cx.shape(0)?, length, axis)?;
        one(cx.dtype(0)?, Dft::shape(cx.shape(0)?, axis, &t))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (length, axis) = (scalar(opt(inputs, 1), "dft_length")?, scalar(opt(inputs, 2), "axis")?);
        let (axis, t) = self.plan(x.shape(), length, axis)?;
        let (n, from) = (x.shape()[axis], *x.shape().last().unwrap_or(&1));
        let inner: usize = x.shape()[axis + 1..x.rank() - 1].iter().product();
        let outer: usize = x.shape()[..axis].iter().product();
        let v = x.to_f64s()?;
        let mut out = vec![0.0; outer * inner * t.bins * t.components().1];
        for o in 0..outer {
            for i in 0..inner {
                let at = |j: usize, c: usize| if j < n { v[((o * n + j) * inner + i) * from + c] } else { 0.0 };
                let row: Vec<f64> = (0..t.taken()).flat_map(|j| (0..from).map(move |c| at(j, c))).collect();
                let to = t.components().1;
                for (e, y) in fourier::rows(&t, x.dtype(), &row).into_iter().enumerate() {
                    out[((o * t.bins + e / to) * inner + i) * to + e % to] = y;
                }
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), Dft::shape(x.shape(), axis, &t), out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let known = |v: Option<Vec<i64>>, what: &str| v.map(|v| one_int(&v, what)).transpose();
        let (length, axis) = (known(cx.ints(1)?, "dft_length")?, known(cx.ints(2)?, "axis")?);
        let (axis, t) = self.plan(&x.shape, length, axis)?;
        let out = cx.output(0)?;
        // the axis next to the components, of as many elements as are read
        let rank = x.rank();
        let perm: Vec<usize> = (0..rank - 1).filter(|d| *d != axis).chain([axis, rank - 1]).collect();
        let moved = fitted(cx, &x.permuted(&perm), t.taken())?;
        fourier::transform(cx, &t, &moved, &out.permuted(&perm))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 16.0 + k as f64)
    }
}

/// `v` with `n` elements along its last axis but one: cut, or with zeros behind.
fn fitted(cx: &mut LowerCx<'_>, v: &View, n: usize) -> Result<View> {
    let axis = v.rank() - 2;
    if v.shape[axis] >= n {
        return Ok(v.sliced(axis, 0, 1, n));
    }
    let mut to = v.shape.clone();
    to[axis] = n;
    let (fill, out) = (cx.constant(Tensor::zeros(v.dtype, []))?, cx.temp(v.dtype, &to)?);
    pad(cx, Mode::Constant, v, &fill, &vec![0; to.len()], &out)?;
    Ok(out)
}

// ---- STFT ----

#[derive(Debug)]
struct Stft {
    onesided: bool,
}

fn stft_cases() -> Vec<Case> {
    let case = |s: &[usize], step: i64| Case::new("STFT", 17).rand(F32, s).constant(Tensor::scalar(step)).sum(32);
    vec![
        case(&[2, 32, 1], 4).absent().constant(Tensor::scalar(8i64)),
        case(&[1, 30, 1], 5).rand(F32, &[10]),
        case(&[2, 20, 2], 3).rand(F32, &[8]).constant(Tensor::scalar(8i64)).int("onesided", 0),
    ]
}

impl Stft {
    /// Step, frames and the transform of one.
    fn plan(
        &self,
        x: &[usize],
        step: i64,
        window: Option<&[usize]>,
        length: Option<i64>,
    ) -> Result<(usize, usize, Transform)> {
        let [_, len, c] = x[..] else { bail!(InvalidNode, "expected [batch, length, 1 or 2], got {x:?}") };
        ensure!([1, 2].contains(&c), InvalidNode, "expected [batch, length, 1 or 2], got {x:?}");
        let step = extent(step, "frame_step")?;
        let n = match (length, window) {
            (Some(n), _) => extent(n, "frame_length")?,
            (None, Some([n])) => *n,
            _ => bail!(InvalidNode, "neither a window nor a frame length"),
        };
        if let Some(w) = window {
            ensure!(w == [n], InvalidNode, "a window {w:?} for frames of {n}");
        }
        ensure!(step > 0 && n > 0 && n <= len, InvalidNode, "frames of {n} every {step} in {len}");
        ensure!(!self.onesided || c == 1, InvalidNode, "one side of a complex signal's spectrum");
        let bins = if self.onesided { n / 2 + 1 } else { n };
        let t = Transform { n, bins, complex: c == 2, inverse: false, real_out: false };
        Ok((step, 1 + (len - n) / step, fourier::check(t)?))
    }
}

impl Op for Stft {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let step = one_int(&cx.value(1)?.to_i64s()?, "frame_step")?;
        let length = cx.ints(3)?.map(|v| one_int(&v, "frame_length")).transpose()?;
        let window = cx.try_input(2).map(|t| t.shape.as_slice());
        let (_, frames, t) = self.plan(cx.shape(0)?, step, window, length)?;
        one(cx.dtype(0)?, [cx.shape(0)?[0], frames, t.bins, 2])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (step, length) =
            (scalar(opt(inputs, 1), "frame_step")?.unwrap_or(0), scalar(opt(inputs, 3), "frame_length")?);
        let (step, frames, t) = self.plan(x.shape(), step, opt(inputs, 2).map(Tensor::shape), length)?;
        let (len, c) = (x.shape()[1], x.shape()[2]);
        let window = opt(inputs, 2).map(Tensor::to_f64s).transpose()?.unwrap_or_else(|| vec![1.0; t.n]);
        let v = x.to_f64s()?;
        let mut rows = vec![];
        for b in 0..x.shape()[0] {
            for f in 0..frames {
                rows.extend((0..t.n * c).map(|e| v[(b * len + f * step) * c + e] * window[e / c]));
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), [x.shape()[0], frames, t.bins, 2], fourier::rows(&t, x.dtype(), &rows))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let one_of = |v: Option<Vec<i64>>| v.map(|v| one_int(&v, "integer")).transpose();
        let (step, length) = (one_of(cx.ints(1)?)?.unwrap_or(0), one_of(cx.ints(3)?)?);
        let window = cx.try_input(2)?;
        let (step, frames, t) = self.plan(&x.shape, step, window.as_ref().map(|w| w.shape.as_slice()), length)?;
        let [by_batch, by_place, by_part] = x.strides[..] else { bail!(Internal, "a view of rank {}", x.rank()) };
        // frames that overlap read the same elements
        let framed = View {
            shape: vec![x.shape[0], frames, t.n, x.shape[2]],
            strides: vec![by_batch, if frames > 1 { by_place * step as isize } else { 0 }, by_place, by_part],
            ..x
        };
        let out = cx.output(0)?;
        let Some(window) = window else { return fourier::transform(cx, &t, &framed, &out) };
        let window = window.reshaped(&[t.n, 1]).ok_or_else(|| err!(Unsupported, "a strided window"))?;
        let weighted = cx.temp(F32, &framed.shape)?;
        apply(cx, "window", &[framed, window], &weighted, |e, args| {
            let (x, w) = (e.cast(&args[0], F32)?, e.cast(&args[1], F32)?);
            Ok(e.expr(F32, format!("{} * {}", x.name, w.name)))
        })?;
        fourier::transform(cx, &t, &weighted, &out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 16.0 + k as f64)
    }
}

// ---- windows ----

/// `Σ (-1)^k a_k cos(2πkn / N)`
#[derive(Debug)]
struct Window {
    terms: &'static [f64],
    periodic: bool,
    dtype: DType,
}

fn output_type(a: &AttrReader<'_>) -> Result<DType> {
    let number = a.int_or("output_datatype", 1)?;
    let found = i32::try_from(number).ok().and_then(DType::from_onnx);
    found.ok_or_else(|| err!(InvalidNode, "attribute output_datatype is {number}"))
}

fn parse_window(a: &AttrReader<'_>, terms: &'static [f64]) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Window { terms, periodic: a.flag_or("periodic", true)?, dtype: output_type(a)? }))
}

fn window_cases(op: &'static str) -> Vec<Case> {
    let case = |n: i64| Case::new(op, 17).constant(Tensor::scalar(n));
    vec![case(10), case(9).int("periodic", 0), case(1), case(0), case(8).int("output_datatype", 10)]
}

/// A tensor of this type, truncated for integers.
fn typed(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor> {
    if dtype.is_float() {
        return Tensor::from_f64s(dtype, shape, values);
    }
    Tensor::from_i128s(dtype, shape, values.into_iter().map(|v| v as i128).collect())
}

impl Op for Window {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.dtype, [extent(one_int(&cx.value(0)?.to_i64s()?, "size")?, "size")?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let n = extent(one_int(&need(inputs, 0)?.to_i64s()?, "size")?, "size")?;
        let period = if self.periodic { n } else { n.saturating_sub(1) }.max(1) as f64;
        let term = |i: usize, k: usize, a: f64| {
            let c = (TAU * (k * i) as f64 / period).cos();
            if k.is_multiple_of(2) { a * c } else { -a * c }
        };
        let at = |i: usize| self.terms.iter().enumerate().map(|(k, a)| term(i, k, *a)).sum();
        Ok(vec![typed(self.dtype, vec![n], (0..n).map(at).collect())?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

// ---- MelWeightMatrix ----

#[derive(Debug)]
struct Mel {
    dtype: DType,
}

fn parse_mel(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Mel { dtype: output_type(a)? }))
}

fn mel_cases() -> Vec<Case> {
    let case = Case::new("MelWeightMatrix", 17)
        .constant(Tensor::scalar(8i64))
        .constant(Tensor::scalar(16i64))
        .constant(Tensor::scalar(8192i64))
        .constant(Tensor::scalar(0f32))
        .constant(Tensor::scalar(4096f32));
    vec![case]
}

impl Op for Mel {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let size =
            |i: usize, what: &str| Ok::<_, super::Defer>(extent(one_int(&cx.value(i)?.to_i64s()?, what)?, what)?);
        one(self.dtype, [size(1, "dft_length")? / 2 + 1, size(0, "num_mel_bins")?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let int = |i: usize, what: &str| extent(one_int(&need(inputs, i)?.to_i64s()?, what)?, what);
        let hertz = |i: usize| -> Result<f64> {
            let v = need(inputs, i)?.to_f64s()?;
            v.first().copied().ok_or_else(|| err!(InvalidNode, "input {i} is empty"))
        };
        let (bins, length, rate) = (int(0, "num_mel_bins")?, int(1, "dft_length")?, int(2, "sample_rate")?);
        ensure!(rate > 0, InvalidNode, "sample_rate is 0");
        let rows = length / 2 + 1;
        let mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
        let (low, high) = (mel(hertz(3)?), mel(hertz(4)?));
        let step = (high - low) / (bins + 2) as f64;
        let place = |i: usize| {
            let f = 700.0 * (10f64.powf((low + step * i as f64) / 2595.0) - 1.0);
            ((length + 1) as f64 * f / rate as f64).floor() as usize
        };
        let mut out = vec![0.0; rows * bins];
        for i in 0..bins {
            let (left, center, right) = (place(i), place(i + 1), place(i + 2));
            let mut set = |j: usize, v: f64| {
                if j < rows {
                    out[j * bins + i] = v;
                }
            };
            if center == left {
                set(center, 1.0);
            }
            // filters may reach beyond the spectrum, and have nothing to say there
            for j in left..=center.min(rows) {
                if center > left {
                    set(j, (j - left) as f64 / (center - left) as f64);
                }
            }
            for j in center..right.min(rows) {
                set(j, (right - j) as f64 / (right - center) as f64);
            }
        }
        Ok(vec![typed(self.dtype, vec![rows, bins], out)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}
