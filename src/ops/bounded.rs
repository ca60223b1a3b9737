//! Results whose extent only the data tells: an operator that makes the most there can be, and the cut behind it.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{InferCx, Inferred, Op};
use crate::ir::{Attr, Attrs, Operator};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The domain of operators that only graph passes make.
pub const DOMAIN: &str = "shadernet";
/// What stands behind the name of the operator that makes the most.
pub const MOST: &str = "Most";

/// How an operator's results are made on the device.
pub struct Bounded {
    /// Makes each result at its greatest extent, then, as an int32 of rank 0, how much of them there is. What stands
    /// behind that is not read.
    pub op: Arc<dyn Op>,
    /// The axis along which each result is cut, if it is.
    pub axes: Vec<Option<i64>>,
}

impl Bounded {
    /// The operator that makes the most, in place of `of`.
    pub fn operator(&self, of: &Operator) -> Operator {
        Operator {
            domain: DOMAIN.into(),
            op_type: format!("{}{MOST}", of.op_type),
            opset: of.opset,
            attrs: of.attrs.clone(),
            op: self.op.clone(),
        }
    }

    /// The operator that cuts a result along `axis`.
    pub fn cut(&self, axis: i64) -> Operator {
        let attrs = Attrs::from([("axis".to_string(), Attr::Int(axis))]);
        Operator { domain: DOMAIN.into(), op_type: "Cut".into(), opset: 1, attrs, op: Arc::new(Cut { axis }) }
    }
}

/// Whether an operator makes the most there can be, and counts.
pub fn is_bound(of: &Operator) -> bool {
    of.domain == DOMAIN && of.op_type.ends_with(MOST)
}

/// The first elements of input 0 along an axis, as many as input 1 says.
#[derive(Debug)]
struct Cut {
    axis: i64,
}

impl Cut {
    fn shape(&self, from: &[usize], count: &Tensor) -> Result<Vec<usize>> {
        let n = count.to_i64s()?.first().and_then(|n| usize::try_from(*n).ok());
        let n = n.ok_or_else(|| err!(Internal, "a count of {count:?}"))?;
        let axis = shape::axis(self.axis, from.len())?;
        ensure!(n <= from[axis], Internal, "{n} of {from:?} along axis {axis}");
        let mut to = from.to_vec();
        to[axis] = n;
        Ok(to)
    }
}

impl Op for Cut {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.shape(cx.shape(0)?, cx.value(1)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let to = self.shape(x.shape(), need(inputs, 1)?)?;
        let strides = shape::strides(x.shape());
        let strides: Vec<isize> = strides.iter().map(|s| *s as isize).collect();
        Ok(vec![x.select(to.clone(), &shape::strided_indices(&to, &strides, 0))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let to = cx.output_type(0)?.shape;
        let x = cx.input(0)?;
        let axis = shape::axis(self.axis, to.len())?;
        cx.alias(0, x.sliced(axis, 0, 1, to[axis]))
    }
}

/// `tensor` with zeros behind it along `axis`, `extent` elements in all.
///
/// # Errors
/// `Internal` when it is longer.
pub(super) fn padded(tensor: &Tensor, axis: usize, extent: usize) -> Result<Tensor> {
    let mut rest = tensor.shape().to_vec();
    rest[axis] =
        extent.checked_sub(rest[axis]).ok_or_else(|| err!(Internal, "{:?} beyond {extent}", tensor.shape()))?;
    let zeros = Tensor::zeros(tensor.dtype(), rest);
    let mut to = tensor.shape().to_vec();
    to[axis] = extent;
    let both = Tensor::concat(&[tensor.reshaped([tensor.len()])?, zeros.reshaped([zeros.len()])?])?;
    let (n, inner) = (tensor.shape()[axis], shape::numel(&to[axis + 1..]));
    let source = |(i, c): (usize, Vec<usize>)| {
        let (outer, at) = (i / (inner * extent).max(1), c[axis]);
        if at < n { (outer * n + at) * inner + i % inner.max(1) } else { tensor.len() }
    };
    let at: Vec<usize> = shape::coords(&to).enumerate().map(source).collect();
    both.select(to, &at)
}
