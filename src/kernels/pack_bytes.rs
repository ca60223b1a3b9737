//! Bytes four to a word, for products that multiply them four at a time: `shaders/pack_bytes.wgsl`.

use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, shape};

#[derive(Debug)]
struct Pack {
    innermost: bool,
    vector: bool,
    flipped: bool,
}

impl Kernel for Pack {
    fn label(&self) -> String {
        format!("bytes packed{}", if self.flipped { ", less 128" } else { "" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        let spec = Spec::new("pack_bytes.wgsl").flag("INNERMOST", self.innermost);
        let spec = spec.flag("FOUR_WORDS", self.vector && !self.innermost);
        spec.flag("VECTOR", self.vector).flag("FLIPPED", self.flipped)
    }
}

/// `x`, `[.., k, ..]` of 8-bit integers, as `[.., k / 4, ..]` words of four signed bytes along dim `dim`, zeros beyond its
/// end. What is `unsigned` becomes less by 128.
///
/// # Errors
/// `Limit` when it is too large to bind; `Internal` when there is no such dim.
pub fn pack_bytes(cx: &mut LowerCx<'_>, x: &View, dim: usize, unsigned: bool) -> Result<View> {
    let x = cx.dense(x)?;
    let Some(&k) = x.shape.get(dim) else { bail!(Internal, "bytes along dim {dim} of {:?}", x.shape) };
    let (words, base, inner) = (k.div_ceil(4), cx.base(&x) as usize, shape::numel(&x.shape[dim + 1..]));
    let mut packed = x.shape.clone();
    packed[dim] = words;
    let y = cx.temp(DType::U32, &packed)?;
    let innermost = inner == 1;
    let vector = base.is_multiple_of(4) && if innermost { k } else { inner }.is_multiple_of(4);
    let by = if vector { 4 } else { 1 };
    let each = if innermost { 1 } else { by };
    let count = y.numel() / each;
    let params = Params::new().u32(count).u32(base / by).u32(k).u32(words).u32(inner / each);
    let kernel = Pack { innermost, vector, flipped: unsigned };
    cx.dispatch(&kernel, params, &[Bind::Read(&x), Bind::Write(&y)], linear_grid(count, LINEAR_WORKGROUP))?;
    Ok(y)
}

/// `x`, `[.., k, ..]` of 32-bit integers that 8 bits hold, as `[.., k / 4, ..]` words of four along dim `dim`, zeros beyond
/// its end.
///
/// # Errors
/// `Internal` for another type, or when there is no such dim.
pub fn packed_along(x: &Tensor, dim: usize) -> Result<Tensor> {
    let Some(&k) = x.shape().get(dim) else { bail!(Internal, "bytes along dim {dim} of {:?}", x.shape()) };
    let (words, inner, values) = (k.div_ceil(4), shape::numel(&x.shape()[dim + 1..]), x.to_slice::<i32>()?);
    let mut to = x.shape().to_vec();
    to[dim] = words;
    let mut packed = vec![0u32; shape::numel(&to)];
    for (at, row) in values.chunks_exact(inner.max(1)).enumerate() {
        let (outer, place) = (at / k, at % k);
        let to = &mut packed[(outer * words + place / 4) * inner..][..inner];
        to.iter_mut().zip(row).for_each(|(word, v)| *word |= u32::from(*v as u8) << (place % 4 * 8));
    }
    Tensor::new(to, packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_rows_make_a_row_of_words() {
        let x = Tensor::new([5, 2], vec![1i32, -1, 2, -2, 3, -128, 4, 127, 5, 0]).unwrap();
        let packed = packed_along(&x, 0).unwrap();
        assert_eq!(packed.shape(), [2, 2]);
        assert_eq!(packed.to_vec::<u32>().unwrap(), [0x0403_0201, 0x7f80_feff, 5, 0]);
        let packed = packed_along(&x.reshaped([2, 5]).unwrap(), 1).unwrap();
        assert_eq!(packed.to_vec::<u32>().unwrap(), [0xfe02_ff01, 3, 0x057f_0480, 0]);
    }
}
