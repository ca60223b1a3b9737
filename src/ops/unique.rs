//! Unique: the slices that differ, where each stands first, which of them stands where, how often each does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bounded::{Bounded, padded};
use super::eval::need;
use super::order::Numbers;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::gather::gather;
use crate::kernels::unique::unique;
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "Unique", versions: &[11], parse, cases }];

/// The slices along an axis (or the elements of the flattened input), each once.
#[derive(Debug, Clone, Copy)]
struct Unique {
    axis: Option<i64>,
    sorted: bool,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Unique { axis: a.int("axis")?, sorted: a.flag_or("sorted", true)? }))
}

fn cases() -> Vec<Case> {
    const NUMBERS: &[DType] = &[F32, F16, BF16, F64, I8, U8, I16, U16, I32, U32, I64, U64, Bool];
    let case = |d: DType, s: &[usize], high: f64| Case::new("Unique", 11).range(d, s, 0.0, high).outputs(4);
    let unsorted = |c: Case| c.int("sorted", 0);
    let mut all: Vec<Case> = NUMBERS.iter().map(|d| case(*d, &[4, 5], 4.0)).collect();
    let odd = [0f32, -0.0, f32::NAN, 3.0, f32::NEG_INFINITY, f32::NAN, f32::INFINITY, 3.0, -1e30, f32::INFINITY];
    all.extend([
        case(Bool, &[3, 4, 2], 2.0).int("axis", 1),
        case(I32, &[3, 2, 2], 2.0).int("axis", -1).int("sorted", 0),
        case(I64, &[7, 2], 2.0).int("axis", 0),
        case(U8, &[2, 41, 3], 2.0).int("axis", 1),
        unsorted(case(I32, &[700, 2], 4.0).int("axis", 0)),
        unsorted(case(I64, &[4, 5], 4.0)),
        case(F32, &[], 1.0),
        case(F32, &[1], 1.0),
        case(F32, &[0], 1.0),
        case(F32, &[0, 3], 1.0).int("axis", 0),
        case(F32, &[0, 3], 1.0).int("axis", 1),
        case(I32, &[512], 100.0),
        unsorted(case(I32, &[513], 100.0)),
        unsorted(case(I64, &[1031], 50.0)),
        unsorted(case(I16, &[70_001], 3000.0)),
        case(F32, &[66_000], 1.0),
        case(I8, &[5, 2000], 2.0).int("axis", 0),
        Case::new("Unique", 11).value(Tensor::vector(&odd)).outputs(4),
        unsorted(Case::new("Unique", 11).value(Tensor::vector(&odd)).outputs(3)),
        Case::new("Unique", 11).value(Tensor::vector(&odd)).outputs(2),
        Case::new("Unique", 11).range(I64, &[30], 0.0, 9.0),
    ]);
    all
}

impl Unique {
    /// The shape whose slices count, and the axis along which.
    fn slices(&self, x: &[usize]) -> Result<(Vec<usize>, usize)> {
        Ok(match self.axis {
            Some(a) => (x.to_vec(), shape::axis(a, x.len())?),
            None => (vec![shape::numel(x)], 0),
        })
    }
}

impl Op for Unique {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.input(0)?;
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (mut to, axis) = self.slices(x.shape())?;
        let numbers = Numbers::of(x)?;
        let (n, inner) = (to[axis], shape::numel(&to[axis + 1..]));
        let outer = shape::numel(&to[..axis]);
        let elements = |s: usize| (0..outer * inner).map(move |e| (e / inner * n + s) * inner + e % inner);
        let compare = |a: usize, b: usize| {
            let mut differs = elements(a).zip(elements(b)).map(|(i, j)| numbers.compare(i, j));
            differs.find(|o| *o != Ordering::Equal).unwrap_or(Ordering::Equal)
        };
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| compare(*a, *b));
        // slices of equal content, each with the first place at which it stands
        let mut groups: Vec<Vec<usize>> = vec![];
        for s in order {
            match groups.last_mut().filter(|g| compare(g[0], s) == Ordering::Equal) {
                Some(g) => g.push(s),
                None => groups.push(vec![s]),
            }
        }
        if !self.sorted {
            groups.sort_by_key(|g| g[0]);
        }
        let mut inverse = vec![0i64; n];
        groups.iter().enumerate().for_each(|(i, g)| g.iter().for_each(|s| inverse[*s] = i as i64));
        to[axis] = groups.len();
        let sources: Vec<usize> = (0..outer)
            .flat_map(|o| groups.iter().flat_map(move |g| (0..inner).map(move |i| (o * n + g[0]) * inner + i)))
            .collect();
        let ints = |f: &dyn Fn(&Vec<usize>) -> i64| Tensor::vector(&groups.iter().map(f).collect::<Vec<_>>());
        let counts = ints(&|g| g.len() as i64);
        Ok(vec![x.select(to, &sources)?, ints(&|g| g[0] as i64), Tensor::vector(&inverse), counts])
    }

    fn bounded(&self, _: &[bool]) -> Option<Bounded> {
        let axes = vec![self.axis.or(Some(0)), Some(0), None, Some(0)];
        Some(Bounded { op: Arc::new(UniqueMost(*self)), axes })
    }
}

/// What Unique makes, followed by anything where there are fewer than all slices; and how many there are.
#[derive(Debug)]
struct UniqueMost(Unique);

impl Op for UniqueMost {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (to, axis) = self.0.slices(cx.shape(0)?)?;
        let ints = || TensorType::new(I64, [to[axis]]);
        Ok(vec![TensorType::new(cx.dtype(0)?, to.clone()), ints(), ints(), ints(), TensorType::new(I32, [])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (to, axis) = self.0.slices(need(inputs, 0)?.shape())?;
        let [slices, firsts, inverse, counts] = &self.0.eval(inputs)?[..] else {
            bail!(Internal, "Unique has four results")
        };
        let n = to[axis];
        let count = Tensor::scalar(firsts.len() as i32);
        Ok(vec![padded(slices, axis, n)?, padded(firsts, 0, n)?, inverse.clone(), padded(counts, 0, n)?, count])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.dense_input(0)?;
        let (to, axis) = self.0.slices(&x.shape)?;
        let flat =
            |v: &View, to: &[usize]| v.reshaped(to).ok_or_else(|| err!(Internal, "a dense view did not reshape"));
        let x = flat(&x, &to)?;
        let n = to[axis];
        let mut ints = vec![];
        for i in 1..4 {
            ints.push(if cx.has_output(i) { cx.output(i)? } else { cx.temp(I64, &[n])? });
        }
        if n == 0 {
            if cx.has_output(0) {
                cx.output(0)?;
            }
            let none = cx.constant(Tensor::scalar(0i32))?;
            return cx.alias(4, none);
        }
        // slices side by side
        let mut perm: Vec<usize> = (0..to.len()).collect();
        perm.remove(axis);
        perm.insert(0, axis);
        let rows = cx.dense(&x.permuted(&perm))?;
        let rows = flat(&rows, &[n, shape::numel(&to) / n])?;
        let count = unique(cx, &rows, self.0.sorted, [&ints[0], &ints[1], &ints[2]])?;
        cx.alias(4, count)?;
        if cx.has_output(0) {
            // what lies behind the first places is any place, which the gathering takes to the nearest there is
            let out = cx.output(0)?;
            gather(cx, &x, axis, &ints[0], &out)?;
        }
        Ok(())
    }
}
