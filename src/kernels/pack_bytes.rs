//! Bytes four to a word, for products that multiply them four at a time: `shaders/pack_bytes.wgsl`.

use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, shape};

#[derive(Debug)]
struct Pack {
    vector: bool,
    flipped: bool,
}

impl Kernel for Pack {
    fn label(&self) -> String {
        format!("bytes packed{}", if self.flipped { ", less 128" } else { "" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("pack_bytes.wgsl").flag("VECTOR", self.vector).flag("FLIPPED", self.flipped)
    }
}

/// `x`, `[.., k]` of 8-bit integers, as `[.., k / 4]` words of four signed bytes along `k`, zeros beyond its end. What is
/// `unsigned` becomes less by 128.
///
/// # Errors
/// `Limit` when it is too large to bind.
pub fn pack_bytes(cx: &mut LowerCx<'_>, x: &View, unsigned: bool) -> Result<View> {
    let x = cx.dense(x)?;
    let [lead @ .., k] = &x.shape[..] else { bail!(Internal, "bytes of a scalar") };
    let (words, base) = (k.div_ceil(4), cx.base(&x) as usize);
    let y = cx.temp(DType::U32, &[lead, &[words]].concat())?;
    let vector = k.is_multiple_of(4) && base.is_multiple_of(4);
    let count = shape::numel(lead) * words;
    let params = Params::new().u32(count).u32(if vector { base / 4 } else { base }).u32(*k).u32(words);
    let grid = linear_grid(count, LINEAR_WORKGROUP);
    cx.dispatch(&Pack { vector, flipped: unsigned }, params, &[Bind::Read(&x), Bind::Write(&y)], grid)?;
    Ok(y)
}

/// The matrices of `x`, `[.., k, n]` of 32-bit integers that 8 bits hold, as `[.., k / 4, n]` words of four along `k`.
///
/// # Errors
/// `Internal` for a rank below 2 or another type.
pub fn packed_rows(x: &Tensor) -> Result<Tensor> {
    let [lead @ .., k, n] = x.shape() else { bail!(Internal, "rows of {:?}", x.shape()) };
    let (words, values) = (k.div_ceil(4), x.to_slice::<i32>()?);
    let mut packed = vec![0u32; shape::numel(lead) * words * n];
    for (at, row) in values.chunks_exact((*n).max(1)).enumerate() {
        let (matrix, row_of) = (at / k, at % k);
        let to = &mut packed[(matrix * words + row_of / 4) * n..][..*n];
        to.iter_mut().zip(row).for_each(|(word, v)| *word |= u32::from(*v as u8) << (row_of % 4 * 8));
    }
    Tensor::new([lead, &[words, *n]].concat(), packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_rows_make_a_row_of_words() {
        let x = Tensor::new([5, 2], vec![1i32, -1, 2, -2, 3, -128, 4, 127, 5, 0]).unwrap();
        let packed = packed_rows(&x).unwrap();
        assert_eq!(packed.shape(), [2, 2]);
        assert_eq!(packed.to_vec::<u32>().unwrap(), [0x0403_0201, 0x7f80_feff, 5, 0]);
    }
}
