//! What a script feeds, checked as ONNX Runtime checks it, and with its words.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shadernet::ir::{Declared, Dim};
use shadernet::{DType, Gpu, Tensor, Value, ValueInfo};

use crate::device_value::DeviceValue;
use crate::errors::{Coded, InvalidArgument, running};
use crate::values::from_python;

const ADVICE: &str = "Please fix either the inputs/outputs or the model.";

/// Names and values of everything in `feed`, for a session on `gpu`, or on the interpreter. What is on another device
/// comes by way of the host.
pub fn values(feed: &Bound<'_, PyDict>, known: &[&ValueInfo], gpu: Option<&Gpu>) -> PyResult<Vec<(String, Value)>> {
    let mut all = Vec::with_capacity(feed.len());
    for (name, value) in feed {
        let name: String = name.extract()?;
        let Some(info) = known.iter().find(|i| i.name == name) else {
            return Err(InvalidArgument::error(&format!("Invalid input name: {name}")));
        };
        let value = match value.cast::<DeviceValue>() {
            Err(_) => Value::Host(from_python(&value, info.declared.as_ref(), &name)?),
            Ok(on) if gpu.is_some_and(|g| *g == on.get().gpu) => Value::Device(on.get().tensor.clone()),
            Ok(on) => Value::Host(on.get().host(feed.py())?),
        };
        if let Some(declared) = &info.declared {
            match &value {
                Value::Host(t) => all_fit(&name, declared, t)?,
                Value::Device(d) => fits(&name, declared, d.dtype, &d.shape)?,
            }
        }
        all.push((name, value));
    }
    Ok(all)
}

fn all_fit(name: &str, declared: &Declared, value: &Tensor) -> PyResult<()> {
    match declared {
        Declared::Sequence(item) => value.items().map_err(running)?.iter().try_for_each(|v| all_fit(name, item, v)),
        _ => fits(name, declared, value.dtype(), value.shape()),
    }
}

fn fits(name: &str, declared: &Declared, actual: DType, shape: &[usize]) -> PyResult<()> {
    let Declared::Tensor { dtype, dims } = declared else { return Ok(()) };
    if *dtype != actual {
        let text = format!("Unexpected input data type. Actual: (tensor({actual})) , expected: (tensor({dtype}))");
        return Err(InvalidArgument::error(&text));
    }
    // any tensor of one element may stand for a scalar
    let Some(dims) = dims.as_ref().filter(|d| !(d.is_empty() && shape.iter().all(|n| *n == 1))) else { return Ok(()) };
    if dims.len() != shape.len() {
        let (got, want) = (shape.len(), dims.len());
        let text = format!("Invalid rank for input: {name} Got: {got} Expected: {want} {ADVICE}");
        return Err(InvalidArgument::error(&text));
    }
    let wrong = |(i, (dim, got)): (usize, (&Dim, &usize))| match dim {
        Dim::Known(want) if want != got => Some(format!(" index: {i} Got: {got} Expected: {want}\n")),
        _ => None,
    };
    let wrong: String = dims.iter().zip(shape).enumerate().filter_map(wrong).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let text = format!("Got invalid dimensions for input: {name} for the following indices\n{wrong} {ADVICE}");
    Err(InvalidArgument::error(&text))
}
