//! Values of any declared type, tensors or not, as the files of ONNX test cases hold them.

use onnx_proto::{MapProto, OptionalProto, SequenceProto, TensorProto, tensor_proto};
use prost::Message;

use super::tensor::tensor_from_proto;
use super::types::dtype;
use crate::dtype::DType;
use crate::ir::Declared;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The value of a message of the declared type: a `TensorProto`, `SequenceProto`, `OptionalProto` or `MapProto`. An
/// optional may also be the bare message of its value.
///
/// # Errors
/// `InvalidModel` when the bytes are not such a message, `Unsupported` for sparse tensors; those of tensors.
pub fn value_from_bytes(declared: &Declared, bytes: &[u8]) -> Result<Tensor> {
    match declared {
        Declared::Tensor { .. } => tensor_from_proto(&decode::<TensorProto>(bytes)?),
        Declared::Sequence(_) => sequence(&decode(bytes)?),
        Declared::Optional(inner) => match decode::<OptionalProto>(bytes).and_then(|o| optional(&o)) {
            Ok(value) => Ok(value),
            Err(_) => Ok(Tensor::optional(Some(value_from_bytes(inner, bytes)?))),
        },
        Declared::Map(..) => map(&decode(bytes)?),
        Declared::Sparse(_) => bail!(Unsupported, "sparse values"),
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|e| err!(InvalidModel, "{e}"))
}

/// The enumeration's member, of either message.
fn kind<K: TryFrom<i32>>(number: i32) -> Result<K> {
    K::try_from(number).map_err(|_| err!(InvalidModel, "element type {number}"))
}

fn sequence(s: &SequenceProto) -> Result<Tensor> {
    use onnx_proto::sequence_proto::DataType;
    let items: Vec<Tensor> = match kind(s.elem_type())? {
        DataType::Undefined | DataType::Tensor => {
            s.tensor_values.iter().map(tensor_from_proto).collect::<Result<_>>()?
        }
        DataType::Sequence => s.sequence_values.iter().map(sequence).collect::<Result<_>>()?,
        DataType::Map => s.map_values.iter().map(map).collect::<Result<_>>()?,
        DataType::Optional => s.optional_values.iter().map(optional).collect::<Result<_>>()?,
        DataType::SparseTensor => bail!(Unsupported, "a sequence of sparse tensors"),
    };
    Ok(Tensor::sequence(items))
}

fn optional(o: &OptionalProto) -> Result<Tensor> {
    use onnx_proto::optional_proto::DataType;
    let value = match kind(o.elem_type())? {
        DataType::Undefined => None,
        DataType::Tensor => o.tensor_value.as_ref().map(tensor_from_proto),
        DataType::Sequence => o.sequence_value.as_ref().map(|s| sequence(s)),
        DataType::Map => o.map_value.as_ref().map(|m| map(m)),
        DataType::Optional => o.optional_value.as_ref().map(|o| optional(o)),
        DataType::SparseTensor => bail!(Unsupported, "an optional sparse tensor"),
    };
    ensure!(o.name.is_some() || value.is_some() || o.elem_type.is_some(), InvalidModel, "an empty message");
    Ok(Tensor::optional(value.transpose()?))
}

fn map(m: &MapProto) -> Result<Tensor> {
    let keys = match dtype(m.key_type())? {
        DType::String => {
            let text =
                |k: &Vec<u8>| String::from_utf8(k.clone()).map_err(|_| err!(Unsupported, "a key that is not UTF-8"));
            Tensor::from_strings([m.string_keys.len()], m.string_keys.iter().map(text).collect::<Result<_>>()?)?
        }
        d => {
            ensure!(d.is_int(), InvalidModel, "a map with keys of type {d}");
            Tensor::from_i128s(d, [m.keys.len()], m.keys.iter().map(|k| i128::from(*k)).collect())?
        }
    };
    let values = m.values.as_ref().ok_or_else(|| err!(InvalidModel, "a map without values"))?;
    let values = if values.tensor_values.is_empty() && values.elem_type() == 0 {
        tensor_from_proto(&TensorProto {
            dims: vec![0],
            data_type: Some(tensor_proto::DataType::Float as i32),
            ..Default::default()
        })?
    } else {
        sequence(values)?
    };
    Tensor::map(keys, values)
}
