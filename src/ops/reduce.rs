//! Reductions over axes: ReduceSum, ReduceMax, …, ArgMax, ArgMin.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::epilogue::Ends;
use crate::kernels::reduce::{self, Fold};
use crate::plan::{LowerCx, Slicing};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

const V: &[i64] = &[1, 11, 13, 18];
const V_MAX: &[i64] = &[1, 11, 12, 13, 18, 20];

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("ReduceSum", &[1, 11, 13], |a, n| parse(Fold::Sum, 13, a, n), || cases("ReduceSum", NUMBERS)),
    row("ReduceMean", V, |a, n| parse(Fold::Mean, 18, a, n), || cases("ReduceMean", NUMBERS)),
    row("ReduceMax", V_MAX, |a, n| parse(Fold::Max, 18, a, n), || cases("ReduceMax", ORDERED)),
    row("ReduceMin", V_MAX, |a, n| parse(Fold::Min, 18, a, n), || cases("ReduceMin", ORDERED)),
    row("ReduceProd", V, |a, n| parse(Fold::Prod, 18, a, n), || cases("ReduceProd", &[F32, I32, I64])),
    row("ReduceL1", V, |a, n| parse(Fold::L1, 18, a, n), || cases("ReduceL1", NUMBERS)),
    row("ReduceL2", V, |a, n| parse(Fold::L2, 18, a, n), || cases("ReduceL2", NUMBERS)),
    row("ReduceLogSum", V, |a, n| parse(Fold::LogSum, 18, a, n), || cases("ReduceLogSum", FLOATS)),
    row("ReduceLogSumExp", V, |a, n| parse(Fold::LogSumExp, 18, a, n), || cases("ReduceLogSumExp", FLOATS)),
    row("ReduceSumSquare", V, |a, n| parse(Fold::SumSquare, 18, a, n), || cases("ReduceSumSquare", NUMBERS)),
    row("ArgMax", &[1, 11, 12, 13], |a, n| parse_arg(true, a, n), || arg_cases("ArgMax")),
    row("ArgMin", &[1, 11, 12, 13], |a, n| parse_arg(false, a, n), || arg_cases("ArgMin")),
];

const FLOATS: &[DType] = &[F32, F16, BF16];
const NUMBERS: &[DType] = &[F32, F16, I32, U32, I64, U64];
const ORDERED: &[DType] = &[F32, F16, I8, U8, I32, I64, U64, Bool];

/// A reduction; axes from an attribute, or from input 1 in newer opsets.
#[derive(Debug)]
struct Reduce {
    fold: Fold,
    axes: Option<Vec<i64>>,
    keep: bool,
    noop: bool,
}

fn parse(fold: Fold, axes_are_input: i64, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let input = n.version >= axes_are_input;
    Ok(Arc::new(Reduce {
        fold,
        axes: if input { None } else { a.ints("axes")? },
        keep: a.flag_or("keepdims", true)?,
        noop: input && a.flag_or("noop_with_empty_axes", false)?,
    }))
}

impl Reduce {
    fn axes(&self, rank: usize, given: Option<Vec<i64>>) -> Result<Vec<usize>> {
        match self.axes.clone().or(given) {
            Some(list) if !list.is_empty() => shape::axes(&list, rank),
            _ if self.noop => Ok(vec![]),
            _ => Ok((0..rank).collect()),
        }
    }

    fn is_noop(&self, given: Option<&[i64]>) -> bool {
        self.noop && given.is_none_or(<[i64]>::is_empty)
    }
}

/// The shape left when `axes` are reduced.
fn reduced(s: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let extent = |(i, d): (usize, &usize)| match (axes.contains(&i), keep) {
        (false, _) => Some(*d),
        (true, true) => Some(1),
        (true, false) => None,
    };
    s.iter().enumerate().filter_map(extent).collect()
}

/// For each output element, the indices of the elements that go into it.
fn groups(s: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let dense = crate::plan::dense_strides(s);
    let side = |inside: bool| {
        let pick: Vec<usize> = (0..s.len()).filter(|i| axes.contains(i) == inside).collect();
        let shape: Vec<usize> = pick.iter().map(|i| s[*i]).collect();
        let strides: Vec<isize> = pick.iter().map(|i| dense[*i]).collect();
        shape::strided_indices(&shape, &strides, 0)
    };
    let outer = side(false);
    // where nothing is made, what would go into it may be more than memory holds
    let inner = if outer.is_empty() { vec![] } else { side(true) };
    (outer, inner)
}

fn fold_floats(fold: Fold, v: impl Iterator<Item = f64> + Clone, n: usize) -> f64 {
    match fold {
        Fold::Sum => v.sum(),
        Fold::Mean => v.sum::<f64>() / n as f64,
        Fold::Max => v.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
        Fold::Min => v.fold(f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b }),
        Fold::Prod => v.product(),
        Fold::L1 => v.map(f64::abs).sum(),
        Fold::L2 => v.map(|x| x * x).sum::<f64>().sqrt(),
        Fold::LogSum => v.sum::<f64>().ln(),
        Fold::SumSquare => v.map(|x| x * x).sum(),
        Fold::RootSum => v.sum::<f64>().sqrt(),
        Fold::LogSumExp => {
            let max = v.clone().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b });
            if max.is_infinite() { max } else { max + v.map(|x| (x - max).exp()).sum::<f64>().ln() }
        }
    }
}

fn fold_ints(fold: Fold, mut v: impl Iterator<Item = i128>, n: usize, d: DType) -> Result<i128> {
    let (low, high) = d.int_range().unwrap_or((i128::MIN, i128::MAX));
    Ok(match fold {
        Fold::Sum => v.sum(),
        Fold::Mean => v.sum::<i128>() / n.max(1) as i128,
        Fold::Max => v.fold(low, i128::max),
        Fold::Min => v.fold(high, i128::min),
        Fold::Prod => {
            // wrapped step by step so that long products stay in range
            v.try_fold(1i128, |a, b| Tensor::from_i128s(d, [], vec![a.wrapping_mul(b)])?.to_i128s().map(|x| x[0]))?
        }
        Fold::L1 => v.map(i128::abs).sum(),
        Fold::SumSquare => v.fold(0, |sum: i128, x| sum.wrapping_add(x.wrapping_mul(x))),
        Fold::L2 => v.fold(0, |sum: i128, x| sum.saturating_add(x.saturating_mul(x))).isqrt(),
        Fold::RootSum => v.sum::<i128>().isqrt(),
        Fold::LogSum => (v.sum::<i128>() as f64).ln() as i128,
        Fold::LogSumExp => fold_floats(fold, v.map(|x| x as f64).collect::<Vec<_>>().into_iter(), n) as i128,
    })
}

fn settled_axes(inputs: &[Option<&Tensor>]) -> Result<Option<Vec<i64>>> {
    opt(inputs, 1).map(Tensor::to_i64s).transpose()
}

impl Op for Reduce {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let s = cx.shape(0)?;
        let axes = self.axes(s.len(), cx.ints(1)?)?;
        one(cx.dtype(0)?, reduced(s, &axes, self.keep))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let given = settled_axes(inputs)?;
        if self.is_noop(given.as_deref()) {
            return Ok(vec![x.clone()]);
        }
        let axes = self.axes(x.rank(), given)?;
        let (outer, inner) = groups(x.shape(), &axes);
        let (d, to) = (x.dtype(), reduced(x.shape(), &axes, self.keep));
        if d.is_float() {
            let v = x.to_f64s()?;
            let one = |o: &usize| fold_floats(self.fold, inner.iter().map(|i| v[o + i]), inner.len());
            return Ok(vec![Tensor::from_f64s(d, to, outer.iter().map(one).collect())?]);
        }
        let v = x.to_i128s()?;
        let one = |o: &usize| fold_ints(self.fold, inner.iter().map(|i| v[o + i]), inner.len(), d);
        Ok(vec![Tensor::from_i128s(d, to, outer.iter().map(one).collect::<Result<_>>()?)?])
    }

    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let (Ok(x), Ok(given)) = (cx.shape(0), cx.ints(1)) else { return vec![] };
        let Ok(axes) = self.axes(x.len(), given) else { return vec![] };
        let kept = (0..x.len()).filter(|d| !axes.contains(d));
        let to = |d: usize| if self.keep { d } else { d - axes.iter().filter(|a| **a < d).count() };
        kept.map(|d| Slicing { axis: to(d), inputs: vec![Some(d)] }).filter(|s| s.axis < out.len()).collect()
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.no_start()?;
        let x = cx.input(0)?;
        let given = cx.ints(1)?;
        if self.is_noop(given.as_deref()) {
            ensure!(end.is_none(), Unsupported, "nothing is reduced");
            return cx.alias(0, x);
        }
        let axes = self.axes(x.rank(), given)?;
        let out = cx.output(0)?;
        reduce::reduce_to(cx, self.fold, &x, &axes, &out, end)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        // a product's relative error grows with its length, a sum's with its root
        let k = k as f64;
        Tolerance::ulps(dtype, if self.fold == Fold::Prod { 4.0 + k } else { 8.0 + k.sqrt() })
    }
}

fn cases(name: &'static str, types: &[DType]) -> Vec<Case> {
    let opset = 20;
    let axes = |v: &[i64]| Tensor::vector(v);
    let positive = matches!(name, "ReduceLogSum");
    let input = |c: Case, d: DType, s: &[usize]| match d {
        _ if positive => c.range(d, s, 0.1, 2.0),
        d if d.is_int() && name == "ReduceProd" => c.range(d, s, 1.0, 3.0),
        _ => c.rand(d, s),
    };
    let mut all: Vec<Case> =
        types.iter().map(|d| input(Case::new(name, opset), *d, &[3, 5, 7]).constant(axes(&[1])).sum(5)).collect();
    for (s, a) in [
        (&[3, 5, 7][..], &[0, -1][..]),
        (&[2, 3, 4, 5], &[1, 3]),
        (&[4, 1000], &[1]),
        (&[1000, 4], &[0]),
        (&[2, 0, 3], &[0]),
        (&[7], &[0]),
        (&[2, 3, 2, 3, 2], &[0, 2, 4]),
    ] {
        let k = a.iter().map(|a| s[if *a < 0 { s.len() - 1 } else { *a as usize }]).product();
        for keep in [0, 1] {
            all.push(input(Case::new(name, opset), F32, s).constant(axes(a)).int("keepdims", keep).sum(k));
        }
    }
    all.push(input(Case::new(name, opset), F32, &[3, 4]).sum(12));
    all.push(input(Case::new(name, opset), F32, &[3, 4]).int("noop_with_empty_axes", 1));
    all.push(input(Case::new(name, 11), F32, &[3, 4]).ints("axes", &[0]).sum(3));
    all.push(input(Case::new(name, opset), F32, &[]).constant(axes(&[])));
    if name == "ReduceProd" {
        for (s, axis) in [(&[3, 40][..], 1), (&[40, 36], 0)] {
            let c = Case::new(name, opset).range(F32, s, 0.9, 1.1);
            all.push(c.constant(axes(&[axis])).sum(40));
        }
    } else {
        let sums = matches!(name, "ReduceSum" | "ReduceMax" | "ReduceL2");
        for n in super::LENGTHS.into_iter().filter(|_| sums) {
            all.push(input(Case::new(name, opset), F32, &[3, n]).constant(axes(&[1])).sum(n));
        }
        for (s, axis) in [
            (&[5, 16][..], 0),
            (&[70, 33], 0),
            (&[2, 9, 3, 128], 1),
            (&[3, 700, 132], 1),
            (&[3, 700, 50], 1),
            (&[20_000, 20], 0),
            (&[2, 3, 5000], 2),
            (&[2, 40_004], 1),
        ] {
            for d in types.iter().copied().filter(|d| sums || *d == F32) {
                all.push(input(Case::new(name, opset), d, s).constant(axes(&[axis])).sum(s[axis as usize]));
            }
        }
        all.push(input(Case::new(name, opset), F32, &[300_001]).sum(300_001));
        // many dims, as one and apart: more steps for each element
        all.push(input(Case::new(name, opset), F32, &[8, 5, 2, 7, 7]).sum(3920));
        let apart = axes(&[0, 2, 4, 6, 8, 10]);
        let many = &[4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4];
        all.push(input(Case::new(name, opset), F32, many).constant(apart).sum(4096));
        let odd = [f32::NAN, 1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, f32::INFINITY];
        if let Ok(t) = Tensor::new([4, 2], odd.to_vec()) {
            all.push(Case::new(name, opset).value(t).constant(axes(&[1])));
        }
    }
    if matches!(name, "ReduceSum" | "ReduceMax" | "ReduceMin") {
        let int = |d| input(Case::new(name, opset), d, &[2, 0]).constant(axes(&[1]));
        if name == "ReduceSum" {
            all.push(int(F32));
        }
    }
    all
}

/// The index of the largest or smallest element along an axis.
#[derive(Debug)]
struct Arg {
    max: bool,
    axis: i64,
    keep: bool,
    last: bool,
}

fn parse_arg(max: bool, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let last = n.version >= 12 && a.flag_or("select_last_index", false)?;
    Ok(Arc::new(Arg { max, axis: a.int_or("axis", 0)?, keep: a.flag_or("keepdims", true)?, last }))
}

impl Arg {
    fn pick<T: PartialOrd + Copy>(&self, v: &[T], outer: &[usize], inner: &[usize], nan: fn(T) -> bool) -> Vec<i64> {
        let better = |a: T, b: T| {
            let ahead = if self.max { a > b } else { a < b };
            !nan(b) && (ahead || nan(a) || (self.last && a == b))
        };
        let one = |o: &usize| {
            let mut best = 0;
            for i in 1..inner.len() {
                if better(v[o + inner[i]], v[o + inner[best]]) {
                    best = i;
                }
            }
            best as i64
        };
        outer.iter().map(one).collect()
    }
}

impl Op for Arg {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let s = cx.shape(0)?;
        let axis = shape::axis(self.axis, s.len())?;
        let to = reduced(s, &[axis], self.keep);
        if s.get(axis) == Some(&0) && shape::numel(&to) > 0 {
            return Err(err!(InvalidNode, "axis {axis} of {s:?} is empty").into());
        }
        one(I64, to)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let to = reduced(x.shape(), &[axis], self.keep);
        let (outer, inner) = groups(x.shape(), &[axis]);
        if inner.is_empty() && !outer.is_empty() {
            bail!(InvalidNode, "axis {axis} of {:?} is empty", x.shape());
        }
        let found = if x.dtype().is_float() {
            self.pick(&x.to_f64s()?, &outer, &inner, f64::is_nan)
        } else {
            self.pick(&x.to_i128s()?, &outer, &inner, |_| false)
        };
        Ok(vec![Tensor::new(to, found)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let out = cx.output(0)?;
        reduce::arg(cx, self.max, self.last, &x, axis, &out)
    }
}

fn arg_cases(name: &'static str) -> Vec<Case> {
    let mut all: Vec<Case> = [F32, F16, I8, U8, I32, I64, U64]
        .iter()
        .map(|d| Case::new(name, 13).range(*d, &[3, 50], 0.0, 9.0).int("axis", 1))
        .collect();
    for last in [0, 1] {
        for (axis, keep) in [(0, 1), (1, 0), (-1, 1)] {
            let c = Case::new(name, 13).range(I32, &[4, 7, 5], 0.0, 3.0).int("axis", axis);
            all.push(c.int("keepdims", keep).int("select_last_index", last));
        }
    }
    let odd = Tensor::vector(&[1.0f32, f32::NAN, 5.0, f32::INFINITY, f32::NAN]);
    all.push(Case::new(name, 13).value(odd));
    all.push(Case::new(name, 13).rand(F32, &[70_001]));
    all.push(Case::new(name, 13).range(I32, &[2, 70_001], 0.0, 3.0).int("axis", 1).int("select_last_index", 1));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_of_elements_that_are_not_there() {
        assert_eq!(groups(&[0, usize::MAX / 2], &[1]), (vec![], vec![]));
        assert_eq!(groups(&[2, 0], &[1]), (vec![0, 0], vec![]));
    }
}
