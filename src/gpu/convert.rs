//! Between host bytes and device words: narrow integers, bools and small floats take a whole word on the device.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::dtype::{DType, small_float};
use crate::ir::TensorType;
use crate::kernels::DeviceType;
use crate::tensor::Tensor;
use crate::{Result, bail, err};

/// Elements that are converted at a time.
const CHUNK: usize = 4096;

fn words<T: bytemuck::NoUninit>(values: impl ExactSizeIterator<Item = T>) -> Cow<'static, [u8]> {
    let mut bytes = vec![0; values.len() * size_of::<T>()];
    bytes.chunks_exact_mut(size_of::<T>()).zip(values).for_each(|(to, v)| to.copy_from_slice(bytemuck::bytes_of(&v)));
    Cow::Owned(bytes)
}

/// Floats of 16 bits in 32, by the processor's own instructions where it has them.
fn widened<H>(halves: &[H]) -> Cow<'static, [u8]>
where
    [H]: HalfFloatSliceExt,
{
    let mut bytes = Vec::with_capacity(halves.len() * 4);
    let mut floats = [0f32; CHUNK];
    for chunk in halves.chunks(CHUNK) {
        let floats = &mut floats[..chunk.len()];
        chunk.convert_to_f32_slice(floats);
        bytes.extend_from_slice(bytemuck::cast_slice(floats));
    }
    Cow::Owned(bytes)
}

/// The bytes of `t` as `device` has them.
///
/// # Errors
/// `Unsupported` for types that have no device form.
pub fn to_device(t: &Tensor, device: DeviceType) -> Result<Cow<'_, [u8]>> {
    let d = t.dtype();
    Ok(match (d, device) {
        (DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64, _)
        | (DType::F16, DeviceType::F16) => Cow::Borrowed(t.bytes()),
        (DType::F16, _) => widened(&t.to_slice::<f16>()?),
        (DType::BF16, _) => widened(&t.to_slice::<bf16>()?),
        (d, _) if d.is_small_float() => words(t.bytes().iter().map(|c| small_float::decode(d, *c))),
        (DType::U8 | DType::U4 | DType::U2 | DType::Bool, _) => words(t.bytes().iter().map(|x| *x as u32)),
        (DType::I8 | DType::I4 | DType::I2, _) => words(t.bytes().iter().map(|x| *x as i8 as i32)),
        (DType::U16, _) => words(t.to_slice::<u16>()?.iter().map(|x| *x as u32)),
        (DType::I16, _) => words(t.to_slice::<i16>()?.iter().map(|x| *x as i32)),
        (d, _) => bail!(Unsupported, "{d} has no form on the GPU"),
    })
}

/// A host tensor of type `t` from device bytes.
///
/// # Errors
/// `Internal` when there are too few bytes.
pub fn from_device(t: &TensorType, device: DeviceType, bytes: &[u8]) -> Result<Tensor> {
    let n = t.numel();
    let bytes = bytes.get(..n * device.bytes()).ok_or_else(|| err!(Internal, "{t}: too few bytes came back"))?;
    let u32s = || bytemuck::pod_collect_to_vec::<u8, u32>(bytes);
    let f32s = || bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
    match (t.dtype, device) {
        (DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64, _)
        | (DType::F16, DeviceType::F16) => Tensor::from_bytes(t.dtype, t.shape.clone(), bytes.to_vec()),
        (d, _) if d.is_small_float() => {
            // the device keeps values on the type's grid, infinities included, so nothing is left to saturate
            let codes: Vec<u8> = f32s().into_iter().map(|x| small_float::encode(d, x, false)).collect();
            Tensor::from_bytes(d, t.shape.clone(), codes)
        }
        (d, _) if d.is_float() => Tensor::from_f32s(d, t.shape.clone(), f32s()),
        (DType::U16 | DType::I16, _) => {
            let narrow: Vec<u8> = u32s().into_iter().flat_map(|x| (x as u16).to_le_bytes()).collect();
            Tensor::from_bytes(t.dtype, t.shape.clone(), narrow)
        }
        (DType::Bool, _) => Tensor::new(t.shape.clone(), u32s().into_iter().map(|x| x != 0).collect()),
        (d, _) if d.size() == 1 => {
            Tensor::from_bytes(d, t.shape.clone(), u32s().into_iter().map(|x| x as u8).collect::<Vec<_>>())
        }
        (d, _) => bail!(Unsupported, "{d} has no form on the GPU"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::ALL;
    use crate::rng::Rng;

    #[test]
    fn every_type_goes_and_comes_back() -> Result<()> {
        let mut rng = Rng::new(1);
        for d in ALL {
            let Some(device) = d.device() else { continue };
            let (low, high) = d.int_range().map_or((-2.0, 2.0), |(l, h)| (l.max(-100) as f64, h.min(100) as f64 + 1.0));
            let t = rng.tensor(d, &[3, 5], low.max(if d == DType::F8E8M0 { 0.5 } else { f64::MIN }), high)?;
            let back = from_device(&TensorType::new(d, [3, 5]), device, &to_device(&t, device)?)?;
            assert!(back.same_bits(&t), "{d}: {t:?} came back as {back:?}");
        }
        Ok(())
    }
}
