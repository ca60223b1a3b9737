//! A trained model in a browser, beside what another runtime made of the same inputs.

use js_sys::Uint8Array;
use shadernet::import::value_from_bytes;
use shadernet::{Model, Result, Tensor, ValueInfo, ir::Declared};
use wasm_bindgen::prelude::*;

use crate::Cases;

/// A value of a model's test data, a tensor where the model does not say what it is.
fn value(info: &ValueInfo, bytes: &Uint8Array) -> Result<Tensor> {
    let tensor = Declared::Tensor { dtype: shadernet::DType::F32, dims: None };
    value_from_bytes(info.declared.as_ref().unwrap_or(&tensor), &bytes.to_vec())
}

/// The greatest difference over the greatest magnitude of `want`.
fn apart(got: &Tensor, want: &Tensor) -> Result<f64> {
    if got.same_bits(want) {
        return Ok(0.0);
    }
    let (got, want) = (got.to_f64s()?, want.to_f64s()?);
    let scale = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let pairs = got.iter().zip(&want).filter(|(g, w)| g != w && !(g.is_nan() && w.is_nan()));
    // what is no number differs without measure
    let off = |(g, w): (&f64, &f64)| if (g - w).is_nan() { f64::INFINITY } else { (g - w).abs() / scale };
    Ok(pairs.map(off).fold(0.0, f64::max))
}

#[wasm_bindgen]
impl Cases {
    /// Runs a model on the device, with no fallback, on the values of a folder of test data. Gives how far at most an output
    /// is from what is there, over its greatest magnitude, and how far what is there is from a run with all floats in 64
    /// bits. Throws where types or shapes differ.
    pub async fn golden(
        &self,
        model: Vec<u8>,
        inputs: Vec<Uint8Array>,
        outputs: Vec<Uint8Array>,
    ) -> Result<Vec<f64>, JsError> {
        let model = Model::from_vec(model, &Default::default())?;
        let given = model.inputs().iter().zip(&inputs).map(|(info, b)| Ok((info.name.as_str(), value(info, b)?)));
        let given = given.collect::<Result<Vec<_>>>()?;
        let made = model.session(&self.gpu).build().await?.run_async(&given).await?;
        let exact = model.reference().run_wide(&given)?.outputs;
        let [mut off, mut theirs] = [0f64; 2];
        for (((info, bytes), (name, got)), exact) in model.outputs().iter().zip(&outputs).zip(&made).zip(&exact) {
            let want = value(info, bytes)?;
            if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
                return Err(JsError::new(&format!("{name}: got {got:?}, want {want:?}")));
            }
            (off, theirs) = (off.max(apart(got, &want)?), theirs.max(apart(exact, &want)?));
        }
        Ok(vec![off, theirs])
    }
}
