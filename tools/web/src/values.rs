//! Values between JavaScript and tensors.
//!
//! A tensor is an object with `type` (as ONNX Runtime's JavaScript API has it: `float32` and `float64`, else ONNX's
//! name), `dims` and `data`, which is any typed array with the elements' bits, in ONNX's packed form under eight bits,
//! or an array of strings; what comes back has its bits in a `Uint8Array` of its own. A sequence is an array, an
//! optional without a value `null`, a map an array of its keys and its values under `map`.

use js_sys::{Array, Object, Reflect, Uint8Array};
use shadernet::ir::{Declared, Dim};
use shadernet::{DType, Tensor, ValueInfo};
use wasm_bindgen::{JsCast, JsValue};

use crate::errors::{misfit, thrown};

/// ONNX Runtime's name of an element type.
pub fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        other => other.name(),
    }
}

fn type_of(name: &str) -> Option<DType> {
    match name {
        "float32" => Some(DType::F32),
        "float64" => Some(DType::F64),
        "float" | "double" => None,
        other => DType::from_name(other),
    }
}

fn get(object: &JsValue, key: &str) -> Result<JsValue, JsValue> {
    Reflect::get(object, &key.into())
}

fn set(object: &Object, key: &str, value: impl Into<JsValue>) -> Result<(), JsValue> {
    Reflect::set(object, &key.into(), &value.into()).map(|_| ())
}

/// What `name` is fed.
pub fn from_js(value: &JsValue, name: &str) -> Result<Tensor, JsValue> {
    if value.is_null() {
        return Ok(Tensor::optional(None));
    }
    if let Some(items) = value.dyn_ref::<Array>() {
        let items = items.iter().map(|item| from_js(&item, name)).collect::<Result<_, _>>()?;
        return Ok(Tensor::sequence(items));
    }
    if !value.is_object() {
        return Err(misfit(format!("{name}: expected a tensor")));
    }
    let map = get(value, "map")?;
    if let Some(pair) = map.dyn_ref::<Array>().filter(|p| p.length() == 2) {
        return Tensor::map(from_js(&pair.get(0), name)?, from_js(&pair.get(1), name)?).map_err(thrown);
    }
    let dtype = get(value, "type")?.as_string().as_deref().and_then(type_of);
    let dtype = dtype.ok_or_else(|| misfit(format!("{name}: its type is not one of ONNX")))?;
    let dims = get(value, "dims")?;
    let dims = dims.dyn_ref::<Array>().ok_or_else(|| misfit(format!("{name}: its dims are no array")))?;
    let extent = |d: JsValue| d.as_f64().filter(|d| *d >= 0.0 && d.fract() == 0.0).map(|d| d as usize);
    let shape: Option<Vec<usize>> = dims.iter().map(extent).collect();
    let shape = shape.ok_or_else(|| misfit(format!("{name}: its dims are no sizes")))?;
    let data = get(value, "data")?;
    let made = if dtype == DType::String {
        let items = data.dyn_ref::<Array>().ok_or_else(|| misfit(format!("{name}: its data is no array")))?;
        let strings: Option<Vec<String>> = items.iter().map(|s| s.as_string()).collect();
        Tensor::from_strings(shape, strings.ok_or_else(|| misfit(format!("{name}: its data holds no strings")))?)
    } else {
        if !js_sys::ArrayBuffer::is_view(&data) {
            return Err(misfit(format!("{name}: its data is no typed array")));
        }
        let at = |key| Ok::<u32, JsValue>(get(&data, key)?.as_f64().unwrap_or(0.0) as u32);
        let buffer = get(&data, "buffer")?;
        let view = Uint8Array::new_with_byte_offset_and_length(&buffer, at("byteOffset")?, at("byteLength")?);
        Tensor::from_packed(dtype, shape, view.to_vec())
    };
    made.map_err(|e| misfit(format!("{name}: {}", e.message())))
}

/// A value that a run made.
pub fn to_js(value: &Tensor) -> Result<JsValue, JsValue> {
    let items = || value.items().map_err(thrown);
    match value.dtype() {
        DType::Sequence => {
            let all = Array::new();
            for item in items()? {
                all.push(&to_js(item)?);
            }
            Ok(all.into())
        }
        DType::Optional => items()?.first().map_or(Ok(JsValue::NULL), to_js),
        DType::Map => {
            let pair = Array::new();
            for part in items()? {
                pair.push(&to_js(part)?);
            }
            let object = Object::new();
            set(&object, "map", pair)?;
            Ok(object.into())
        }
        dtype => {
            let dims: Array = value.shape().iter().map(|d| JsValue::from(*d as f64)).collect();
            let data: JsValue = if dtype == DType::String {
                value.strings().map_err(thrown)?.iter().map(|s| JsValue::from(s.as_str())).collect::<Array>().into()
            } else {
                Uint8Array::from(&*value.to_packed()).into()
            };
            tensor(dtype, dims, data)
        }
    }
}

fn tensor(dtype: DType, dims: Array, data: JsValue) -> Result<JsValue, JsValue> {
    let object = Object::new();
    set(&object, "type", type_name(dtype))?;
    set(&object, "dims", dims)?;
    set(&object, "data", data)?;
    Ok(object.into())
}

/// Name, type and shape of an input or output, as ONNX Runtime's `ValueMetadata`: extents that the model leaves open are
/// their names, or empty strings.
pub fn metadata(info: &ValueInfo) -> Result<JsValue, JsValue> {
    let object = Object::new();
    set(&object, "name", info.name.as_str())?;
    let bare = match &info.declared {
        Some(Declared::Optional(inner)) => Some(&**inner),
        other => other.as_ref(),
    };
    let Some(Declared::Tensor { dtype, dims }) = bare else {
        set(&object, "isTensor", false)?;
        return Ok(object.into());
    };
    let extent = |d: &Dim| match d {
        Dim::Known(n) => JsValue::from(*n as f64),
        Dim::Symbol(s) => JsValue::from(s.as_str()),
        Dim::Unknown => JsValue::from(""),
    };
    set(&object, "isTensor", true)?;
    set(&object, "type", type_name(*dtype))?;
    set(&object, "shape", dims.iter().flatten().map(extent).collect::<Array>())?;
    Ok(object.into())
}
