//! Declared types.

use onnx_proto::tensor_shape_proto::{Dimension, dimension};
use onnx_proto::{TypeProto, type_proto};

use crate::dtype::DType;
use crate::ir::{Declared, Dim};
use crate::{Result, bail, err};

/// The element type of this `TensorProto.DataType` number.
pub(super) fn dtype(number: i32) -> Result<DType> {
    match DType::from_onnx(number) {
        Some(d) => Ok(d),
        None if number == 0 => bail!(InvalidModel, "the element type is not given"),
        None => bail!(Unsupported, "element type number {number}"),
    }
}

/// The declared type, or `None` when the message says nothing.
///
/// # Errors
/// `Unsupported` for opaque types and unknown element types, `InvalidModel` for a container without an element type.
pub(super) fn declared(t: &TypeProto) -> Result<Option<Declared>> {
    use type_proto::Value;
    let Some(value) = &t.value else { return Ok(None) };
    let inner = |t: &Option<Box<TypeProto>>| {
        let element = t.as_deref().map(declared).transpose()?.flatten();
        element.map(Box::new).ok_or_else(|| err!(InvalidModel, "a container type without an element type"))
    };
    Ok(Some(match value {
        Value::TensorType(t) if t.elem_type() == 0 => return Ok(None),
        Value::TensorType(t) => {
            let dims = t.shape.as_ref().map(|s| s.dim.iter().map(dim).collect());
            Declared::Tensor { dtype: dtype(t.elem_type())?, dims }
        }
        Value::SequenceType(s) => Declared::Sequence(inner(&s.elem_type)?),
        Value::OptionalType(o) => Declared::Optional(inner(&o.elem_type)?),
        Value::MapType(m) => Declared::Map(dtype(m.key_type())?, inner(&m.value_type)?),
        Value::SparseTensorType(s) => Declared::Sparse(dtype(s.elem_type())?),
        Value::OpaqueType(o) => bail!(Unsupported, "opaque type {:?}", o.name()),
    }))
}

/// Some exporters write -1, an empty name or "?" for an extent of which they know nothing.
fn dim(d: &Dimension) -> Dim {
    match &d.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(dimension::Value::DimParam(s)) if !s.is_empty() && s != "?" => Dim::Symbol(s.clone()),
        _ => Dim::Unknown,
    }
}
