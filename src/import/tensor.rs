//! Tensors: `TensorProto` to [`Tensor`] and back.

use onnx_proto::tensor_proto::DataLocation;
use onnx_proto::{SparseTensorProto, TensorProto};

use super::external::External;
use super::types::dtype;
use crate::bytes::Bytes;
use crate::dtype::DType;
use crate::shape;
use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result, bail, ensure, err};

/// The tensor of a message that holds its data itself (raw, typed or strings).
///
/// # Errors
/// `InvalidModel` when data and shape contradict each other, `Unsupported` for segments and unknown element types,
/// `Io` when the data lies in another file.
pub fn tensor_from_proto(t: &TensorProto) -> Result<Tensor> {
    read(t, &External::default())
}

/// The message of a tensor, its data raw (strings: as strings).
pub fn tensor_to_proto(name: &str, t: &Tensor) -> TensorProto {
    let mut proto = TensorProto {
        name: Some(name.into()),
        data_type: Some(t.dtype() as i32),
        dims: t.shape().iter().map(|d| *d as i64).collect(),
        ..TensorProto::default()
    };
    match t.strings() {
        Ok(s) => proto.string_data = s.iter().map(|s| s.clone().into_bytes()).collect(),
        Err(_) => proto.raw_data = Some(t.to_packed().into_owned().into()),
    }
    proto
}

/// As [`tensor_from_proto`], with files beside the model; errors name the tensor.
pub(super) fn read(t: &TensorProto, external: &External) -> Result<Tensor> {
    read_unnamed(t, external).map_err(|e| named("tensor", t.name(), e))
}

/// A sparse tensor with its zeros written out.
///
/// # Errors
/// As [`read`]; `Limit` when the dense form has more than `limit` elements.
pub(super) fn read_sparse(t: &SparseTensorProto, external: &External, limit: usize) -> Result<Tensor> {
    let name = t.values.as_ref().map_or("", |v| v.name());
    read_sparse_unnamed(t, external, limit).map_err(|e| named("sparse tensor", name, e))
}

fn named(what: &str, name: &str, e: Error) -> Error {
    // whatever does not fit here is the file's fault, not that of the run's inputs
    let kind = if e.kind() == ErrorKind::InvalidInput { ErrorKind::InvalidModel } else { e.kind() };
    Error::new(kind, format!("{what} {name:?}: {}", e.message()))
}

fn dims(dims: &[i64]) -> Result<Vec<usize>> {
    let dim = |d: &i64| usize::try_from(*d).map_err(|_| err!(InvalidModel, "extent {d}"));
    dims.iter().map(dim).collect()
}

fn read_unnamed(t: &TensorProto, external: &External) -> Result<Tensor> {
    ensure!(t.segment.is_none(), Unsupported, "data in segments");
    let (dtype, shape) = (dtype(t.data_type())?, dims(&t.dims)?);
    let count = shape::checked_numel(&shape)?;
    let bits = count.checked_mul(dtype.packed_bits());
    let bits = bits.ok_or_else(|| err!(Limit, "{dtype}{shape:?} is too large"))?;
    if t.data_location() == DataLocation::External {
        ensure!(dtype != DType::String, InvalidModel, "strings cannot be external data");
        return Tensor::from_packed(dtype, shape, external.bytes(&t.external_data, bits.div_ceil(8))?);
    }
    if dtype == DType::String {
        let text =
            |s: &Vec<u8>| String::from_utf8(s.clone()).map_err(|_| err!(Unsupported, "a string that is not UTF-8"));
        return Tensor::from_strings(shape, t.string_data.iter().map(text).collect::<Result<_>>()?);
    }
    match &t.raw_data {
        // some writers leave an empty raw_data beside the typed field
        Some(raw) if !raw.is_empty() || count == 0 => {
            Tensor::from_packed(dtype, shape, Bytes::new(std::sync::Arc::new(raw.clone())))
        }
        _ => Tensor::from_packed(dtype, shape, typed(t, dtype)?),
    }
}

/// The typed field that belongs to `dtype`, as packed bytes.
fn typed(t: &TensorProto, dtype: DType) -> Result<Vec<u8>> {
    use DType::*;
    macro_rules! bytes {
        ($field:ident) => {
            bytemuck::cast_slice(&t.$field).to_vec()
        };
        ($field:ident as $narrow:ty) => {
            t.$field.iter().flat_map(|x| (*x as $narrow).to_le_bytes()).collect()
        };
    }
    Ok(match dtype {
        F32 | C64 => bytes!(float_data),
        F64 | C128 => bytes!(double_data),
        I64 => bytes!(int64_data),
        U64 => bytes!(uint64_data),
        U32 => bytes!(uint64_data as u32),
        I32 => bytes!(int32_data),
        Bool => t.int32_data.iter().map(|x| (*x != 0) as u8).collect(),
        I16 | U16 | F16 | BF16 => bytes!(int32_data as u16),
        // one byte each, which for types under eight bits holds several elements
        I8 | U8 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | U4 | I4 | F4E2M1 | U2 | I2 => {
            bytes!(int32_data as u8)
        }
        String | Sequence | Optional | Map => bail!(Internal, "{dtype} has no packed form"),
    })
}

fn read_sparse_unnamed(t: &SparseTensorProto, external: &External, limit: usize) -> Result<Tensor> {
    let part = |p: &Option<TensorProto>, what| match p {
        Some(p) => read_unnamed(p, external),
        None => bail!(InvalidModel, "no {what}"),
    };
    let values = part(&t.values, "values")?;
    let shape = dims(&t.dims)?;
    let count = shape::checked_numel(&shape)?;
    ensure!(count <= limit, Limit, "{shape:?} has more than {limit} elements when written out");
    let nonzero = values.len();
    let flat: Vec<i64> = if nonzero == 0 && t.indices.is_none() {
        vec![]
    } else {
        let indices = part(&t.indices, "indices")?;
        let all = indices.to_i64s()?;
        match indices.rank() {
            1 => all,
            2 if indices.shape()[1] == shape.len() => {
                let inside = |at: &[i64]| at.iter().zip(&shape).all(|(i, d)| *i >= 0 && (*i as usize) < *d);
                let rows: Vec<&[i64]> = all.chunks(shape.len().max(1)).collect();
                ensure!(rows.iter().all(|r| inside(r)), InvalidModel, "an index lies outside {shape:?}");
                let strides = shape::strides(&shape);
                let flat = |at: &[i64]| at.iter().zip(&strides).map(|(i, s)| i * *s as i64).sum();
                rows.into_iter().map(flat).collect()
            }
            _ => bail!(InvalidModel, "indices of shape {:?} into {shape:?}", indices.shape()),
        }
    };
    ensure!(flat.len() == nonzero, InvalidModel, "{nonzero} values but {} indices", flat.len());
    let mut sources = vec![None; count];
    for (i, at) in flat.into_iter().enumerate() {
        let slot = usize::try_from(at).ok().and_then(|at| sources.get_mut(at));
        *slot.ok_or_else(|| err!(InvalidModel, "index {at} lies outside {shape:?}"))? = Some(i);
    }
    values.select_or(shape, &sources, &Tensor::zeros(values.dtype(), [1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_round_trips_raw() -> Result<()> {
        for d in crate::dtype::ALL {
            let t = match d {
                DType::String => Tensor::from_strings([3], vec!["a".into(), String::new(), "ü".into()])?,
                DType::Bool => Tensor::new([3], vec![true, false, true])?,
                d => Tensor::from_bytes(d, [3], (0..3 * d.size()).map(|i| (i % 2) as u8).collect::<Vec<_>>())?,
            };
            let proto = tensor_to_proto("t", &t);
            assert!(tensor_from_proto(&proto)?.same_bits(&t), "{d}");
            let mut short = proto.clone();
            short.dims = vec![9];
            assert_eq!(tensor_from_proto(&short).unwrap_err().kind(), ErrorKind::InvalidModel, "{d}");
            short.dims = vec![-1];
            assert!(tensor_from_proto(&short).is_err());
            short.dims = vec![i64::MAX, 4];
            assert!(tensor_from_proto(&short).is_err());
        }
        Ok(())
    }

    #[test]
    fn typed_fields() -> Result<()> {
        let base = |d: DType, n: i64| TensorProto { data_type: Some(d as i32), dims: vec![n], ..Default::default() };
        let ints =
            |d, n, v: &[i32]| tensor_from_proto(&TensorProto { int32_data: v.to_vec(), ..base(d, n) })?.to_f64s();
        assert_eq!(ints(DType::I8, 2, &[-1, 127])?, [-1.0, 127.0]);
        assert_eq!(ints(DType::U16, 1, &[65535])?, [65535.0]);
        assert_eq!(ints(DType::Bool, 2, &[0, 5])?, [0.0, 1.0]);
        assert_eq!(ints(DType::F16, 1, &[0x3c00])?, [1.0]);
        assert_eq!(ints(DType::BF16, 1, &[0x3f80])?, [1.0]);
        assert_eq!(ints(DType::I4, 3, &[0xf1, 0x08])?, [1.0, -1.0, -8.0]);
        assert_eq!(ints(DType::U2, 4, &[0b1110_0100])?, [0.0, 1.0, 2.0, 3.0]);
        let t = TensorProto { uint64_data: vec![7], ..base(DType::U32, 1) };
        assert_eq!(tensor_from_proto(&t)?.to_i64s()?, [7]);
        let t = TensorProto { float_data: vec![1.0, 2.0], ..base(DType::C64, 1) };
        assert_eq!(tensor_from_proto(&t)?.bytes().len(), 8);
        Ok(())
    }

    #[test]
    fn sparse_is_written_out() -> Result<()> {
        let mut sparse = SparseTensorProto {
            values: Some(tensor_to_proto("s", &Tensor::vector(&[5f32, 6.0]))),
            indices: Some(tensor_to_proto("", &Tensor::new([2, 2], vec![0i64, 1, 1, 0])?)),
            dims: vec![2, 3],
        };
        let none = External::default();
        assert_eq!(read_sparse(&sparse, &none, 100)?.to_f64s()?, [0.0, 5.0, 0.0, 6.0, 0.0, 0.0]);
        sparse.indices = Some(tensor_to_proto("", &Tensor::vector(&[2i64, 5])));
        assert_eq!(read_sparse(&sparse, &none, 100)?.to_f64s()?, [0.0, 0.0, 5.0, 0.0, 0.0, 6.0]);
        sparse.indices = Some(tensor_to_proto("", &Tensor::vector(&[2i64, 6])));
        assert!(read_sparse(&sparse, &none, 100).is_err());
        sparse.dims = vec![1 << 40];
        assert_eq!(read_sparse(&sparse, &none, 100).unwrap_err().kind(), ErrorKind::Limit);
        Ok(())
    }
}
