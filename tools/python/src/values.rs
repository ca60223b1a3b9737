//! Values between Python and tensors: arrays share their memory with tensors both ways.

use std::sync::Arc;

use numpy::prelude::*;
use numpy::{PyArray1, PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySequence, PyString};
use shadernet::ir::Declared;
use shadernet::{Bytes, DType, Tensor};

use crate::errors::{self, Coded, Fail, InvalidArgument};

/// The memory of an array, which lives as long as the tensor over it.
struct Borrowed {
    _array: Py<PyArray1<u8>>,
    address: usize,
    len: usize,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the array is contiguous, of `len` bytes from `address`, and numpy does not resize what is referred to.
        // That a script does not write to an array while a run reads it is the script's duty, as with any runtime.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.address), self.len) }
    }
}

/// A value fed as `declared`: arrays and what numpy makes arrays of, lists for sequences, dicts for maps, `None` for an
/// optional without a value.
pub fn from_python(value: &Bound<'_, PyAny>, declared: Option<&Declared>, name: &str) -> PyResult<Tensor> {
    match declared {
        Some(Declared::Optional(_)) if value.is_none() => Ok(Tensor::optional(None)),
        Some(Declared::Optional(item)) => Ok(Tensor::optional(Some(from_python(value, Some(item), name)?))),
        Some(Declared::Sequence(item)) => sequence(value, item, name),
        Some(Declared::Map(key, item)) => map(value, *key, item, name),
        _ => array(value, declared.and_then(Declared::dtype), name),
    }
}

fn sequence(value: &Bound<'_, PyAny>, item: &Declared, name: &str) -> PyResult<Tensor> {
    let single = value.is_instance_of::<PyString>() || value.is_instance_of::<PyUntypedArray>();
    let Some(list) = value.cast::<PySequence>().ok().filter(|_| !single) else {
        let text = format!("input with name: '{name}' expected to be of type: 3 but received a tensor");
        return Err(InvalidArgument::error(&text));
    };
    let items = list.try_iter()?.map(|v| from_python(&v?, Some(item), name)).collect::<PyResult<_>>()?;
    Ok(Tensor::sequence(items))
}

fn map(value: &Bound<'_, PyAny>, key: DType, item: &Declared, name: &str) -> PyResult<Tensor> {
    let py = value.py();
    let Ok(dict) = value.cast::<PyDict>() else {
        return Err(unable(value));
    };
    let keys = array(dict.keys().as_any(), Some(key), name)?;
    let scalar = matches!(item, Declared::Tensor { dims, .. } if dims.as_ref().is_none_or(Vec::is_empty));
    let values = if scalar && !dict.values().iter().any(|v| v.is_instance_of::<PyUntypedArray>()) {
        array(dict.values().as_any(), item.dtype(), name)?
    } else {
        sequence(PyList::new(py, dict.values())?.as_any(), item, name)?
    };
    Tensor::map(keys, values).map_err(errors::running)
}

fn unable(value: &Bound<'_, PyAny>) -> PyErr {
    PyRuntimeError::new_err(format!("Unable to handle object of type {}", value.get_type()))
}

/// A tensor over an array's memory, which is copied only where it is not in one piece or of the other byte order. Lists
/// become arrays of the `wanted` type; any object that speaks DLPack is taken.
fn array(value: &Bound<'_, PyAny>, wanted: Option<DType>, name: &str) -> PyResult<Tensor> {
    let py = value.py();
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return tensor_over(array);
    }
    if value.hasattr("__dlpack__")? {
        let taken = py.import("shadernet._dlpack")?.call_method1("to_numpy", (value,))?;
        return tensor_over(taken.cast()?);
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        let text = format!("Input must be a list of dictionaries or a single numpy array for input '{name}'.");
        return Err(PyRuntimeError::new_err(text));
    }
    if value.is_none() {
        return Err(Fail::error(&format!("Missing Input: {name}")));
    }
    if !value.is_instance_of::<PyList>() {
        return Err(unable(value));
    }
    let made = match wanted {
        Some(DType::String) | None => py.import("numpy")?.call_method1("array", (value,))?,
        Some(d) => py.import("numpy")?.call_method1("array", (value, descr(py, d)?))?,
    };
    tensor_over(made.cast()?)
}

fn tensor_over(array: &Bound<'_, PyUntypedArray>) -> PyResult<Tensor> {
    let (dtype, shape) = (array.dtype(), array.shape().to_vec());
    if matches!(dtype.kind(), b'U' | b'S' | b'O' | b'T') {
        return strings(array, shape);
    }
    let known = dtype_of(&dtype)?;
    let native = dtype.byteorder() != if cfg!(target_endian = "little") { b'>' } else { b'<' };
    let whole = if !native {
        array.call_method1("astype", (dtype.call_method1("newbyteorder", ("=",))?,))?
    } else if !array.is_c_contiguous() {
        array.call_method1("copy", ("C",))?
    } else {
        array.as_any().clone()
    };
    let flat = whole.call_method1("reshape", (-1,))?.call_method1("view", ("u1",))?.cast_into::<PyArray1<u8>>()?;
    let (address, len) = (flat.data().expose_provenance(), flat.len());
    let borrowed = Bytes::new(Arc::new(Borrowed { _array: flat.unbind(), address, len }));
    let bytes = if known.packed_bits() < 8 { canonical(known, borrowed.as_slice()).into() } else { borrowed };
    Tensor::from_bytes(known, shape, bytes).map_err(errors::running)
}

/// Elements under eight bits as tensors hold them: signed ones extended, the bits above others zero.
fn canonical(dtype: DType, codes: &[u8]) -> Vec<u8> {
    let spare = 8 - dtype.packed_bits();
    let one = |b: &u8| if dtype.is_signed_int() { ((b << spare) as i8 >> spare) as u8 } else { (b << spare) >> spare };
    codes.iter().map(one).collect()
}

fn strings(array: &Bound<'_, PyUntypedArray>, shape: Vec<usize>) -> PyResult<Tensor> {
    let text = |item: Bound<'_, PyAny>| -> PyResult<String> {
        match item.cast::<PyBytes>() {
            Ok(bytes) => Ok(String::from_utf8(bytes.as_bytes().to_vec())?),
            Err(_) => item.str()?.extract(),
        }
    };
    let flat = array.call_method1("reshape", (-1,))?.call_method0("tolist")?;
    let all = flat.try_iter()?.map(|item| text(item?)).collect::<PyResult<_>>()?;
    Tensor::from_strings(shape, all).map_err(errors::running)
}

/// numpy's name of each element type that it, or ml_dtypes, has.
fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::F8E4M3FN => "float8_e4m3fn",
        DType::F8E4M3FNUZ => "float8_e4m3fnuz",
        DType::F8E5M2 => "float8_e5m2",
        DType::F8E5M2FNUZ => "float8_e5m2fnuz",
        DType::F8E8M0 => "float8_e8m0fnu",
        DType::F4E2M1 => "float4_e2m1fn",
        DType::String => "object",
        other => other.name(),
    }
}

fn dtype_of(descr: &Bound<'_, PyArrayDescr>) -> PyResult<DType> {
    let name: String = descr.getattr("name")?.extract()?;
    let found = array_types().find(|d| numpy_name(*d) == name);
    found.ok_or_else(|| PyRuntimeError::new_err(format!("arrays of type {name} stand for no ONNX type")))
}

fn array_types() -> impl Iterator<Item = DType> {
    (1..=26).filter_map(DType::from_onnx).filter(|d| *d != DType::String)
}

/// numpy's, or ml_dtypes', type.
pub fn descr(py: Python<'_>, dtype: DType) -> PyResult<Bound<'_, PyArrayDescr>> {
    let name = numpy_name(dtype);
    if dtype.packed_bits() < 8 || dtype == DType::BF16 || dtype.is_small_float() {
        return PyArrayDescr::new(py, py.import("ml_dtypes")?.getattr(name)?);
    }
    PyArrayDescr::new(py, name)
}

/// A value as ONNX Runtime gives it: arrays, lists, dicts of plain keys and values, `None`.
pub fn to_python<'py>(py: Python<'py>, value: Tensor) -> PyResult<Bound<'py, PyAny>> {
    match value.dtype() {
        DType::Sequence => {
            let items = value.items().map_err(errors::running)?.iter();
            let items = items.map(|item| to_python(py, item.clone())).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, items)?.into_any())
        }
        DType::Optional => match value.items().map_err(errors::running)?.first() {
            Some(item) => to_python(py, item.clone()),
            None => Ok(py.None().into_bound(py)),
        },
        DType::Map => {
            let [keys, values] = value.items().map_err(errors::running)? else {
                return Err(errors::RuntimeException::error("a map without keys and values"));
            };
            let plain = |t: &Tensor| to_python(py, t.clone())?.call_method0("tolist");
            let values =
                if values.dtype() == DType::Sequence { to_python(py, values.clone())? } else { plain(values)? };
            let all = PyDict::new(py);
            for (k, v) in plain(keys)?.try_iter()?.zip(values.try_iter()?) {
                all.set_item(k?, v?)?;
            }
            Ok(all.into_any())
        }
        DType::String => {
            let strings = value.strings().map_err(errors::running)?;
            let items = strings.iter().map(|s| PyString::new(py, s).into_any().unbind()).collect();
            PyArray1::<Py<PyAny>>::from_vec(py, items).call_method1("reshape", (value.shape().to_vec(),))
        }
        dtype => {
            let shape = value.shape().to_vec();
            let bytes = PyArray1::<u8>::from_vec(py, value.into_bytes());
            bytes.call_method1("view", (descr(py, dtype)?,))?.call_method1("reshape", (shape,))
        }
    }
}
