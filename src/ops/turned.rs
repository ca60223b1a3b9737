//! Rotary position embedding as exporters write it out: `x · cos + turned · sin`, `turned` being the two halves of x in
//! each other's place, the first negated. What the fuse-rotary pass makes; the halves are views of x, so it is one dispatch.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::quant::apply;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance, fused};
use crate::dtype::DType::{self, BF16, F16, F32, F64};
use crate::ir::{AttrReader, Attrs, Operator};
use crate::kernels::elementwise::{Emit, Var};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

const NAME: &str = "Turned";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: fused::DOMAIN, name: NAME, versions: &[1], parse, cases }];

const X: usize = 0;
const COS: usize = 1;
const SIN: usize = 2;
const HIGH: usize = 3;
const LOW: usize = 4;

/// `x · cos + (-high ‖ low) · sin`, joined along the last dim, for inputs x, cos, sin, high, low.
#[derive(Debug)]
struct Turned;

/// The operator.
///
/// # Errors
/// None; as all operators are made.
pub fn operator() -> Result<Operator> {
    Operator::new(fused::DOMAIN, NAME, Attrs::new(), &NodeInfo::full(1, 5, 1))
}

fn parse(_: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    ensure!(n.inputs == [true; 5], InvalidNode, "expected x, cos, sin and two halves");
    Ok(Arc::new(Turned))
}

/// The shapes of the halves joined, and of the result.
fn shapes(of: [&[usize]; 5]) -> Result<[Vec<usize>; 2]> {
    let ([lead @ .., h], [same @ .., l]) = (of[HIGH], of[LOW]) else {
        return Err(err!(InvalidNode, "the halves are scalars"));
    };
    ensure!(lead == same, InvalidNode, "halves of {:?} and {:?}", of[HIGH], of[LOW]);
    let joined = [lead, &[h + l]].concat();
    let out = shape::broadcast(&[of[X], of[COS], &joined, of[SIN]])?;
    ensure!(out.last() == joined.last(), InvalidNode, "halves of {joined:?} are repeated to {out:?}");
    Ok([joined, out])
}

/// `a · cos ± b · sin`, each step rounded.
fn sum(e: &mut Emit<'_>, d: DType, [a, cos, b, sin]: [&Var; 4], last: &str) -> Result<Var> {
    let straight = e.call(d, "mul", &[a, cos])?;
    let across = e.call(d, "mul", &[b, sin])?;
    e.call(d, last, &[&straight, &across])
}

/// Two views of one shape and buffer as one, with a dim of 2 before the last.
fn stacked(first: &View, second: &View) -> Option<View> {
    let at = first.rank() - 1;
    if first.buf != second.buf || first.shape != second.shape || first.strides != second.strides {
        return None;
    }
    let mut both = first.clone();
    both.shape.insert(at, 2);
    both.strides.insert(at, second.offset as isize - first.offset as isize);
    Some(both)
}

impl Op for Turned {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(X)?;
        if !matches!(d, F32 | F16 | BF16 | F64) {
            return Err(err!(Unsupported, "{NAME} of {d}").into());
        }
        for i in 1..5 {
            let got = cx.dtype(i)?;
            if got != d {
                return Err(err!(InvalidNode, "input {i}: expected {d}, got {got}").into());
            }
        }
        let [_, out] = shapes([cx.shape(X)?, cx.shape(COS)?, cx.shape(SIN)?, cx.shape(HIGH)?, cx.shape(LOW)?])?;
        one(d, out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all = (0..5).map(|i| need(inputs, i)).collect::<Result<Vec<_>>>()?;
        let d = all[X].dtype();
        let [joined, out] = shapes([0, 1, 2, 3, 4].map(|i| all[i].shape()))?;
        let wide = |t: &Tensor| -> Result<Vec<f64>> {
            let values = t.to_f64s()?;
            Ok(shape::broadcast_indices(t.shape(), &out).into_iter().map(|i| values[i]).collect())
        };
        let (high, low) = (all[HIGH].to_f64s()?, all[LOW].to_f64s()?);
        let width = |t: &Tensor| t.shape().last().copied().unwrap_or(1);
        let (h, l) = (width(all[HIGH]), width(all[LOW]));
        let rows = shape::numel(&joined) / (h + l).max(1);
        let mut turned = vec![];
        for row in 0..rows {
            turned.extend(high[row * h..][..h].iter().map(|x| -x));
            turned.extend(&low[row * l..][..l]);
        }
        let product = |a: Vec<f64>, b: Vec<f64>| {
            Tensor::from_f64s(d, &out[..], a.iter().zip(b).map(|(a, b)| a * b).collect())?.to_f64s()
        };
        let straight = product(wide(all[X])?, wide(all[COS])?)?;
        let across = product(wide(&Tensor::from_f64s(d, joined, turned)?)?, wide(all[SIN])?)?;
        let y = straight.iter().zip(across).map(|(a, b)| a + b).collect();
        Ok(vec![Tensor::from_f64s(d, out, y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let mut v = vec![];
        for i in 0..5 {
            v.push(cx.input(i)?);
        }
        let out = cx.output_placed(0, |_| true)?;
        let (d, last) = (out.dtype, out.rank() - 1);
        let (h, l) = (v[HIGH].shape[v[HIGH].rank() - 1], v[LOW].shape[v[LOW].rank() - 1]);
        let wide = |v: &View, n: usize| v.broadcast(&[&out.shape[..last], &[n]].concat());
        let all = [&v[X], &v[COS], &v[SIN]].map(|v| wide(v, h + l));
        let apart = [&out.shape[..last], &[2, h]].concat();
        if h == l
            && out.numel() > 0
            && let Some(both) = stacked(&v[HIGH], &v[LOW])
            && let [Some(x), Some(cos), Some(sin), Some(y)] =
                [&all[0], &all[1], &all[2], &out].map(|v| v.reshaped(&apart))
        {
            let signs = cx.constant(Tensor::from_f64s(d, [2, 1], vec![-1.0, 1.0])?)?;
            return apply(cx, &[x, cos, both.broadcast(&apart), sin, signs], &y, |e, a| {
                let turned = e.call(d, "mul", &[&a[2], &a[4]])?;
                sum(e, d, [&a[0], &a[1], &turned, &a[3]], "add")
            });
        }
        for (half, at, n, last_step) in [(&v[HIGH], 0, h, "sub"), (&v[LOW], h, l, "add")] {
            let part = |v: &View| v.sliced(last, at, 1, n);
            let views = [part(&all[0]), part(&all[1]), wide(half, n), part(&all[2])];
            apply(cx, &views, &part(&out), |e, a| sum(e, d, [&a[0], &a[1], &a[2], &a[3]], last_step))?;
        }
        Ok(())
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        // the two products may cancel
        let t = Tolerance::ulps(dtype, 4.0);
        Tolerance { abs: t.rel, ..t }
    }
}

fn cases() -> Vec<Case> {
    let case = |d: DType, x: &[usize], angles: &[usize], [h, l]: [usize; 2]| {
        let half = |n: usize| [&x[..x.len() - 1], &[n]].concat();
        let c = Case::new(NAME, 1).domain(fused::DOMAIN).rand(d, x).range(d, angles, -1.0, 1.0);
        c.range(d, angles, -1.0, 1.0).rand(d, &half(h)).rand(d, &half(l))
    };
    let mut all: Vec<Case> = [F32, F16, BF16, F64].map(|d| case(d, &[2, 3, 5, 8], &[2, 1, 5, 8], [4, 4])).into();
    all.extend([
        case(F32, &[2, 3, 5, 7], &[5, 7], [3, 4]),
        case(F32, &[7, 66], &[3, 1, 66], [33, 33]),
        case(F32, &[4], &[4], [2, 2]),
        case(F32, &[3, 4], &[3, 4], [0, 4]),
        case(F32, &[0, 4], &[1, 4], [2, 2]),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_turn_about_each_other() {
        let t = |v: &[f32]| Tensor::vector(v);
        let (x, cos, sin) = (t(&[1., 2., 3., 4.]), t(&[0.5; 4]), t(&[1., 1., 2., 2.]));
        let (high, low) = (t(&[3., 4.]), t(&[1., 2.]));
        let y = Turned.eval(&[Some(&x), Some(&cos), Some(&sin), Some(&high), Some(&low)]).unwrap();
        assert_eq!(y[0].to_vec::<f32>().unwrap(), [-2.5, -3., 3.5, 6.]);
    }
}
