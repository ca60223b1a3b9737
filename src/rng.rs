//! Seeded random tensors for cases, benches and the command line: SplitMix64
//! (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).

use crate::Result;
use crate::dtype::DType;
use crate::shape;
use crate::tensor::Tensor;

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that gives the same numbers for the same seed on every platform.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n` (0 when `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next_u64() % n as u64) as usize }
    }

    /// A tensor of uniform values in `low..high`; whole numbers for integer types, a coin for bool.
    ///
    /// # Errors
    /// `Unsupported` for complex numbers.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], low: f64, high: f64) -> Result<Tensor> {
        let n = shape::checked_numel(shape)?;
        match dtype {
            DType::String => Tensor::from_strings(shape, (0..n).map(|_| format!("s{}", self.below(10))).collect()),
            DType::Bool => Tensor::new(shape, (0..n).map(|_| self.next_u64() & 1 == 1).collect()),
            d if d.is_int() => {
                let span = (high - low).max(1.0);
                let draw = |r: &mut Rng| low as i128 + (r.unit() * span) as i128;
                Tensor::from_i128s(d, shape, (0..n).map(|_| draw(self)).collect())
            }
            d => Tensor::from_f64s(d, shape, (0..n).map(|_| low + (high - low) * self.unit()).collect()),
        }
    }
}
