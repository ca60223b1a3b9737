//! Fast Fourier transforms, a dispatch a factor: `shaders/fft.wgsl`.

use std::f64::consts::TAU;

use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType::F32;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, err};

/// The largest prime factor that has a step of its own: a thread holds as many elements.
const LARGEST: usize = 13;

/// A transform of `n` places along rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// The number of places.
    pub n: usize,
    /// The number of results that are kept.
    pub bins: usize,
    /// Whether elements are complex.
    pub complex: bool,
    /// Whether angles turn the other way, and results are divided by `n`.
    pub inverse: bool,
    /// Whether half a spectrum is read, its other half being the conjugates, and the results are real.
    pub real_out: bool,
}

impl Transform {
    /// The elements that it reads of a row.
    pub fn taken(&self) -> usize {
        if self.real_out { self.n / 2 + 1 } else { self.n }
    }

    /// The numbers in an element read, and in a result.
    pub fn components(&self) -> (usize, usize) {
        (if self.complex { 2 } else { 1 }, if self.real_out { 1 } else { 2 })
    }

    /// The factors of `n` in the order of the steps, where all are small: fours, a two before them, then odd primes.
    /// The order, and that of the sums in a step, is that of pocketfft, whose rounding ONNX's own cases hold.
    pub fn factors(&self) -> Option<Vec<usize>> {
        let (mut left, mut factors) = (self.n, vec![]);
        while left > 0 && left.is_multiple_of(4) {
            factors.push(4);
            left /= 4;
        }
        if left > 0 && left.is_multiple_of(2) {
            factors.push(2);
            left /= 2;
            let last = factors.len() - 1;
            factors.swap(0, last);
        }
        for p in (3..=LARGEST).step_by(2) {
            while left > 1 && left.is_multiple_of(p) {
                factors.push(p);
                left /= p;
            }
        }
        (left == 1 && !factors.is_empty()).then_some(factors)
    }

    /// `e^(2πim/n)` for each `m`.
    pub fn roots(&self) -> Vec<[f64; 2]> {
        let angle = |m: usize| TAU * m as f64 / self.n as f64;
        (0..self.n).map(|m| [angle(m).cos(), angle(m).sin()]).collect()
    }
}

#[derive(Debug)]
struct Step {
    radix: usize,
    first: bool,
    last: bool,
    transform: Transform,
}

impl Kernel for Step {
    fn label(&self) -> String {
        format!("fft {}", self.radix)
    }

    fn spec(&self, _: &Profile) -> Spec {
        let t = &self.transform;
        Spec::new("fft.wgsl")
            .u32("RADIX", self.radix as u32)
            .u32("PAIRS", self.radix as u32 / 2)
            .flag("TWO", self.radix == 2)
            .flag("FOUR", self.radix == 4)
            .flag("ODD", self.radix % 2 == 1)
            .flag("INVERSE", t.inverse)
            .flag("REAL", self.first && !t.complex)
            .flag("HALF", self.first && t.real_out)
            .flag("SCALED", self.last && t.inverse)
            .flag("REAL_OUT", self.last && t.real_out)
            .flag("OF_REAL", self.last && !t.complex && !t.real_out)
    }
}

/// `out` `[rows, bins · components]` of `x` `[rows, taken · components]`, both dense float32. `t` has factors.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn fft(cx: &mut LowerCx<'_>, t: &Transform, x: &View, out: &View) -> Result<()> {
    let factors = t.factors().ok_or_else(|| err!(Internal, "{} has large factors", t.n))?;
    let rows = x.shape.first().copied().unwrap_or(0);
    let roots = Tensor::from_f64s(F32, [t.n, 2], t.roots().into_flattened())?;
    let roots = cx.constant(roots)?;
    let (mut from, mut done) = (x.clone(), 1);
    for (i, radix) in factors.iter().enumerate() {
        let step = Step { radix: *radix, first: i == 0, last: i + 1 == factors.len(), transform: *t };
        let to = if step.last { out.clone() } else { cx.temp(F32, &[rows, t.n, 2])? };
        let threads = rows * t.n / radix;
        let params = Params::new()
            .u32(threads)
            .u32(t.n)
            .u32(done)
            .u32(t.n / done / radix)
            .u32(if step.first { t.taken() } else { t.n })
            .u32(if step.last { t.bins } else { t.n })
            .u32(cx.base(&from))
            .u32(cx.base(&to))
            .f32((1.0 / t.n as f64) as f32);
        let binds = [Bind::Read(&from), Bind::Read(&roots), Bind::Write(&to)];
        cx.dispatch(&step, params, &binds, linear_grid(threads, LINEAR_WORKGROUP))?;
        from = to;
        done *= radix;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_small_and_in_order() {
        let of = |n: usize| Transform { n, bins: n, complex: true, inverse: false, real_out: false }.factors();
        assert_eq!(of(10), Some(vec![2, 5]));
        assert_eq!(of(512), Some(vec![2, 4, 4, 4, 4]));
        assert_eq!(of(4 * 9 * 13), Some(vec![4, 3, 3, 13]));
        assert_eq!((of(0), of(1), of(34)), (None, None, None));
    }
}
