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

#[cfg(test)]
mod tests {
    use super::*;

    fn adds<T: Real + PartialEq + std::fmt::Debug + From<u8>>() {
        let t = |v: &[u8]| v.iter().map(|x| T::from(*x)).collect::<Vec<T>>();
        let (a, b, mut c) = (t(&[1, 2, 3, 4, 5, 6]), t(&[1, 0, 2, 1, 0, 3]), t(&[10, 20, 30, 40]));
        T::gemm(2, 3, 2, &a, &b, &mut c);
        assert_eq!(c, t(&[15, 31, 44, 63]));
        // too short for these extents, and extents of nothing
        T::gemm(2, 3, 3, &a, &b, &mut c);
        T::gemm(2, 0, 2, &[], &[], &mut c);
        assert_eq!(c, t(&[15, 31, 44, 63]));
    }

    #[test]
    fn products_add_to_what_is_there() {
        adds::<f32>();
        adds::<f64>();
    }
}
