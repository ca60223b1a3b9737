//! What a script feeds, checked as ONNX Runtime checks it, and with its words.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shadernet::ir::{Declared, Dim};
use shadernet::{Tensor, ValueInfo};

use crate::errors::{Coded, InvalidArgument, running};
use crate::values::from_python;

const ADVICE: &str = "Please fix either the inputs/outputs or the model.";

/// Names and tensors of everything in `feed`.
pub fn tensors(feed: &Bound<'_, PyDict>, known: &[&ValueInfo]) -> PyResult<Vec<(String, Tensor)>> {
    let mut all = Vec::with_capacity(feed.len());
    for (name, value) in feed {
        let name: String = name.extract()?;
        let Some(info) = known.iter().find(|i| i.name == name) else {
            return Err(InvalidArgument::error(&format!("Invalid input name: {name}")));
        };
        let value = from_python(&value, info.declared.as_ref(), &name)?;
        if let Some(declared) = &info.declared {
            fits(&name, declared, &value)?;
        }
        all.push((name, value));
    }
    Ok(all)
}

fn fits(name: &str, declared: &Declared, value: &Tensor) -> PyResult<()> {
    if let Declared::Sequence(item) = declared {
        return value.items().map_err(running)?.iter().try_for_each(|v| fits(name, item, v));
    }
    let Declared::Tensor { dtype, dims } = declared else { return Ok(()) };
    if *dtype != value.dtype() {
        let actual = value.dtype();
        let text = format!("Unexpected input data type. Actual: (tensor({actual})) , expected: (tensor({dtype}))");
        return Err(InvalidArgument::error(&text));
    }
    // any tensor of one element may stand for a scalar
    let Some(dims) = dims.as_ref().filter(|d| !(d.is_empty() && value.len() == 1)) else { return Ok(()) };
    if dims.len() != value.rank() {
        let (got, want) = (value.rank(), dims.len());
        let text = format!("Invalid rank for input: {name} Got: {got} Expected: {want} {ADVICE}");
        return Err(InvalidArgument::error(&text));
    }
    let wrong = |(i, (dim, got)): (usize, (&Dim, &usize))| match dim {
        Dim::Known(want) if want != got => Some(format!(" index: {i} Got: {got} Expected: {want}\n")),
        _ => None,
    };
    let wrong: String = dims.iter().zip(value.shape()).enumerate().filter_map(wrong).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let text = format!("Got invalid dimensions for input: {name} for the following indices\n{wrong} {ADVICE}");
    Err(InvalidArgument::error(&text))
}
