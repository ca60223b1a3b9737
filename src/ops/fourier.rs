//! The discrete Fourier transform of rows: by the factors of their length where these are small, else a product with a
//! matrix.

use std::f64::consts::TAU;

use crate::dtype::DType::{self, F32, F64};
use crate::kernels::copy::copy;
use crate::kernels::elementwise::apply;
use crate::kernels::fft::{Transform, fft};
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// Neither the roots of unity nor the matrix may outgrow memory.
///
/// # Errors
/// `Limit`.
pub(super) fn check(t: Transform) -> Result<Transform> {
    let size = match t.factors() {
        Some(_) => t.n,
        None => t.taken().saturating_mul(t.bins).saturating_mul(4),
    };
    ensure!(size <= 1 << 26, Limit, "a transform of {} places", t.n);
    Ok(t)
}

/// As a matrix: rows are the components of what it reads, columns those of what it makes.
fn matrix(t: &Transform) -> Vec<f64> {
    let (from, to) = t.components();
    let sign = if t.inverse { 1.0 } else { -1.0 };
    let scale = if t.inverse { 1.0 / t.n as f64 } else { 1.0 };
    let mut m = vec![];
    for j in 0..t.taken() {
        for part in 0..from {
            for k in 0..t.bins {
                // the product is taken modulo n, so that large ones keep their precision
                let angle = sign * TAU * (j * k % t.n) as f64 / t.n as f64;
                let (re, im) = (angle.cos() * scale, angle.sin() * scale);
                if t.real_out {
                    // all but the first and the middle bin stand for their conjugates too
                    let twice = if j == 0 || 2 * j == t.n { 1.0 } else { 2.0 };
                    m.push(twice * if part == 0 { re } else { -im });
                } else if part == 0 {
                    m.extend([re, im]);
                } else {
                    m.extend([-im, re]);
                }
            }
        }
    }
    debug_assert_eq!(m.len(), t.taken() * from * t.bins * to);
    m
}

/// Rows of `taken · components` numbers to rows of `bins · components`. Transforms by factors round as float32 does
/// after each operation, but those of doubles.
pub(super) fn rows(t: &Transform, dtype: DType, x: &[f64]) -> Vec<f64> {
    let (from, to) = t.components();
    let mut out = vec![];
    if let Some(factors) = t.factors() {
        let round = if dtype == F64 { |v: f64| v } else { |v: f64| f64::from(v as f32) };
        let steps = Steps { t, factors, roots: t.roots().into_iter().map(|r| r.map(round)).collect(), round };
        x.chunks((t.taken() * from).max(1)).for_each(|row| steps.row(row, &mut out));
        return out;
    }
    let (wide, m) = (t.bins * to, matrix(t));
    for row in x.chunks((t.taken() * from).max(1)) {
        let mut sums = vec![0.0; wide];
        for (v, line) in row.iter().zip(m.chunks(wide.max(1))) {
            sums.iter_mut().zip(line).for_each(|(s, w)| *s += v * w);
        }
        out.extend(sums);
    }
    out
}

/// A transform by factors.
struct Steps<'a, R> {
    t: &'a Transform,
    factors: Vec<usize>,
    roots: Vec<[f64; 2]>,
    round: R,
}

type Complex = [f64; 2];

impl<R: Fn(f64) -> f64> Steps<'_, R> {
    fn add(&self, a: Complex, b: Complex) -> Complex {
        [(self.round)(a[0] + b[0]), (self.round)(a[1] + b[1])]
    }

    fn sub(&self, a: Complex, b: Complex) -> Complex {
        [(self.round)(a[0] - b[0]), (self.round)(a[1] - b[1])]
    }

    fn by(&self, w: f64, v: Complex) -> Complex {
        v.map(|v| (self.round)(w * v))
    }

    /// By the imaginary unit, in the transform's direction.
    fn turned(&self, [re, im]: Complex) -> Complex {
        if self.t.inverse { [-im, re] } else { [im, -re] }
    }

    fn row(&self, x: &[f64], out: &mut Vec<f64>) {
        let (t, n) = (self.t, self.t.n);
        let half = |j: usize| if t.real_out && j >= t.taken() { (n - j, -1.0) } else { (j, 1.0) };
        let element = |j: usize| -> Complex {
            let (j, side) = half(j);
            match t.complex {
                true if t.real_out && (j == 0 || 2 * j == n) => [x[2 * j], 0.0],
                true => [x[2 * j], side * x[2 * j + 1]],
                false => [x[j], 0.0],
            }
        };
        let (mut v, mut done): (Vec<Complex>, _) = ((0..n).map(element).collect(), 1);
        for radix in &self.factors {
            v = self.step(&v, *radix, done);
            done *= radix;
        }
        let of_real = !t.complex && !t.real_out;
        for (k, y) in v.into_iter().take(t.bins).enumerate() {
            let mut y = if t.inverse { self.by((self.round)(1.0 / n as f64), y) } else { y };
            if of_real && (k == 0 || 2 * k == n) {
                y[1] = 0.0;
            }
            out.extend(&y[..t.components().1]);
        }
    }

    /// As in `shaders/fft.wgsl`.
    fn step(&self, x: &[Complex], radix: usize, done: usize) -> Vec<Complex> {
        let left = x.len() / done / radix;
        let mut out = vec![[0.0; 2]; x.len()];
        for k in 0..done {
            for i in 0..left {
                let v: Vec<Complex> = (0..radix).map(|j| x[i + left * (j + radix * k)]).collect();
                for (j, y) in self.butterfly(&v).into_iter().enumerate() {
                    let w = self.roots[done * j * i];
                    let turned = self.add(self.by(w[0], y), self.turned(self.by(w[1], y)));
                    out[i + left * (k + done * j)] = if i * j == 0 { y } else { turned };
                }
            }
        }
        out
    }

    fn butterfly(&self, v: &[Complex]) -> Vec<Complex> {
        let radix = v.len();
        if radix == 2 {
            return vec![self.add(v[0], v[1]), self.sub(v[0], v[1])];
        }
        if radix == 4 {
            let (even, odd) = (self.add(v[0], v[2]), self.add(v[1], v[3]));
            let (over, aside) = (self.sub(v[0], v[2]), self.turned(self.sub(v[1], v[3])));
            return vec![self.add(even, odd), self.add(over, aside), self.sub(even, odd), self.sub(over, aside)];
        }
        let pairs = 1..radix / 2 + 1;
        let sums: Vec<Complex> = pairs.clone().map(|j| self.add(v[j], v[radix - j])).collect();
        let differences: Vec<Complex> = pairs.clone().map(|j| self.sub(v[j], v[radix - j])).collect();
        let mut out = vec![sums.iter().fold(v[0], |a, s| self.add(a, *s)); radix];
        for m in pairs {
            let (mut along, mut across) = (v[0], [0.0; 2]);
            for (j, (sum, difference)) in sums.iter().zip(&differences).enumerate() {
                let w = self.roots[self.t.n / radix * ((j + 1) * m % radix)];
                along = self.add(along, self.by(w[0], *sum));
                across = self.add(across, self.by(w[1], *difference));
            }
            out[m] = self.add(along, self.turned(across));
            out[radix - m] = self.sub(along, self.turned(across));
        }
        out
    }
}

/// `out` `[.., bins, components]`, any strides, of `x` `[.., taken, components]`.
pub(super) fn transform(cx: &mut LowerCx<'_>, t: &Transform, x: &View, out: &View) -> Result<()> {
    let (from, to) = t.components();
    let rows: usize = x.shape[..x.rank() - 2].iter().product();
    let dense = cx.temp(F32, &x.shape)?;
    apply(cx, "cast", std::slice::from_ref(x), &dense, |e, args| e.cast(&args[0], F32))?;
    let flat = |v: &View, wide: usize| v.reshaped(&[rows, wide]).ok_or_else(|| err!(Internal, "{:?} in rows", v.shape));
    let made = cx.temp(F32, &out.shape)?;
    let (a, y) = (flat(&dense, t.taken() * from)?, flat(&made, t.bins * to)?);
    if t.factors().is_some() {
        fft(cx, t, &a, &y)?;
    } else {
        let matrix = Tensor::from_f64s(F32, [t.taken() * from, t.bins * to], matrix(t))?;
        let b = cx.constant(matrix)?;
        product(cx, &Product::new(a, Right::View(b), y))?;
    }
    if out.dtype == F32 {
        return copy(cx, &made, out);
    }
    let narrow = cx.temp(out.dtype, &out.shape)?;
    let to_type = out.dtype;
    apply(cx, "cast", &[made], &narrow, |e, args| e.cast(&args[0], to_type))?;
    copy(cx, &narrow, out)
}
