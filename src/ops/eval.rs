//! What the references of many operators share: access to inputs, maps over elements with broadcasting.

use crate::dtype::DType;
use crate::shape;
use crate::tensor::Tensor;
use crate::{Result, bail, err};

/// Input `i`.
///
/// # Errors
/// `InvalidNode` when it is left out.
pub fn need<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Result<&'a Tensor> {
    opt(inputs, i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
}

/// Input `i`, if present.
pub fn opt<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Option<&'a Tensor> {
    inputs.get(i).copied().flatten()
}

/// The elements of one or more tensors, broadcast to a common shape.
pub enum Elements {
    /// Of a float type.
    Float(Vec<f64>),
    /// Of an integer type or bool.
    Int(Vec<i128>),
}

/// All elements of `t` at the coordinates of `out`, to which it broadcasts.
///
/// # Errors
/// `Unsupported` for strings and complex numbers.
pub fn broadcast(t: &Tensor, out: &[usize]) -> Result<Elements> {
    let wide = |len: usize| (t.shape() != out).then(|| shape::broadcast_indices(t.shape(), out)).filter(|_| len > 0);
    Ok(if t.dtype().is_float() {
        let x = t.to_f64s()?;
        match wide(x.len()) {
            Some(at) => Elements::Float(at.into_iter().map(|i| x[i]).collect()),
            None => Elements::Float(x),
        }
    } else {
        let x = t.to_i128s()?;
        match wide(x.len()) {
            Some(at) => Elements::Int(at.into_iter().map(|i| x[i]).collect()),
            None => Elements::Int(x),
        }
    })
}

/// `f(a, b)` over two broadcast tensors of one type, giving `out`.
///
/// # Errors
/// `InvalidNode` when shapes do not broadcast, `Unsupported` when there is no function for the type.
pub fn zip(
    a: &Tensor,
    b: &Tensor,
    out: DType,
    float: Option<&dyn Fn(f64, f64) -> f64>,
    int: Option<&dyn Fn(i128, i128) -> i128>,
) -> Result<Tensor> {
    let s = shape::broadcast(&[a.shape(), b.shape()])?;
    match (broadcast(a, &s)?, broadcast(b, &s)?, float, int) {
        (Elements::Float(x), Elements::Float(y), Some(f), _) => {
            let r: Vec<f64> = x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect();
            Tensor::from_f64s(out, s, r)
        }
        (Elements::Int(x), Elements::Int(y), _, Some(f)) => {
            Tensor::from_i128s(out, s, x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect())
        }
        _ => bail!(Unsupported, "{} with {}", a.dtype(), b.dtype()),
    }
}
