//! The interpreter's inner product.

use std::ops::AddAssign;

use crate::dtype::Element;

/// The number types that the interpreter multiplies matrices in.
pub(crate) trait Real: Element + Copy + Default + AddAssign {
    /// Row-major `c[m, n] += a[m, k] · b[k, n]`; slices shorter than that give no change.
    fn gemm(m: usize, k: usize, n: usize, a: &[Self], b: &[Self], c: &mut [Self]);
}

macro_rules! real {
    ($t:ty, $f:path) => {
        impl Real for $t {
            fn gemm(m: usize, k: usize, n: usize, a: &[$t], b: &[$t], c: &mut [$t]) {
                if m * k * n == 0 || a.len() < m * k || b.len() < k * n || c.len() < m * n {
                    return;
                }
                let (k1, n1) = (k as isize, n as isize);
                // SAFETY: the strides keep within the slices, whose lengths were just compared.
                unsafe { $f(m, k, n, 1.0, a.as_ptr(), k1, 1, b.as_ptr(), n1, 1, 1.0, c.as_mut_ptr(), n1, 1) }
            }
        }
    };
}
real!(f32, matrixmultiply::sgemm);
real!(f64, matrixmultiply::dgemm);
