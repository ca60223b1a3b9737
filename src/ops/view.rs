//! Operators that only look at their input another way: Reshape, Transpose, Slice, Split, Squeeze, Expand, ….
//! On the device they are views and cost nothing.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::random::Source;
use super::sequence::MOST_PARTS;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

const V_SHAPE: &[i64] = &[1, 13, 14, 16, 19, 21, 23, 24, 25];

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Identity", V_SHAPE, |_, _| Ok(Arc::new(Same)), || types("Identity", |c| c)),
    row("Dropout", &[7, 10, 12, 13, 22], parse_dropout, dropout_cases),
    row(
        "Reshape",
        &[5, 13, 14, 19, 21, 23, 24, 25],
        |a, n| Ok(Arc::new(Reshape::To { allow_zero: n.version >= 14 && a.flag_or("allowzero", false)? })),
        reshape_cases,
    ),
    row(
        "Flatten",
        &[1, 9, 11, 13, 21, 23, 24, 25],
        |a, _| Ok(Arc::new(Reshape::Flatten { axis: a.int_or("axis", 1)? })),
        flatten_cases,
    ),
    row(
        "Squeeze",
        &[1, 11, 13, 21, 23, 24, 25],
        |a, n| Ok(Arc::new(Reshape::Squeeze { axes: if n.version < 13 { a.ints("axes")? } else { None } })),
        squeeze_cases,
    ),
    row(
        "Unsqueeze",
        &[1, 11, 13, 21, 23, 24, 25],
        |a, n| Ok(Arc::new(Reshape::Unsqueeze { axes: if n.version < 13 { a.ints("axes")? } else { None } })),
        unsqueeze_cases,
    ),
    row(
        "Transpose",
        &[1, 13, 21, 23, 24, 25],
        |a, _| Ok(Arc::new(Transpose { perm: a.ints("perm")? })),
        transpose_cases,
    ),
    row("Expand", &[8, 13], |_, _| Ok(Arc::new(Expand)), expand_cases),
    row("Slice", &[1, 10, 11, 13], parse_slice, slice_cases),
    row("Split", &[2, 11, 13, 18], parse_split, split_cases),
];

const MOVED: &[DType] = &[F32, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64, Bool, F8E4M3FN, I4];

fn types(name: &'static str, more: fn(Case) -> Case) -> Vec<Case> {
    MOVED.iter().map(|d| more(Case::new(name, 21).rand(*d, &[3, 4, 5]))).collect()
}

fn ints(v: &[i64]) -> Tensor {
    Tensor::vector(v)
}

/// The same data.
#[derive(Debug)]
struct Same;

fn parse_dropout(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version < 12 {
        // these versions never train
        a.ignore("ratio");
    }
    let source = Source::new(a)?;
    Ok(Arc::new(Dropout { mask: n.has_output(1), trains: n.has_input(2), source }))
}

/// Dropout; `trains`: input 2 says whether elements are dropped at all.
#[derive(Debug)]
struct Dropout {
    mask: bool,
    trains: bool,
    source: Source,
}

fn dropout_cases() -> Vec<Case> {
    vec![
        Case::new("Dropout", 7).rand(F32, &[3, 4]).float("ratio", 0.3),
        Case::new("Dropout", 13).rand(F32, &[3, 4]).outputs(2),
        Case::new("Dropout", 13)
            .rand(F16, &[3, 4])
            .constant(Tensor::scalar(0.5f32))
            .constant(Tensor::scalar(false))
            .outputs(2),
    ]
}

impl Op for Same {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![need(inputs, 0)?.clone()])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        cx.alias(0, x)
    }

    fn sources(&self, _: &InferCx<'_>, out: &View) -> Vec<(usize, View)> {
        vec![(0, out.clone())]
    }
}

impl Dropout {
    /// The share of elements to drop: 0 unless this is training.
    fn ratio(ratio: Option<&Tensor>, training: Option<&Tensor>) -> Result<f64> {
        let on = training.map(|t| t.to_slice::<bool>().map(|b| b.first() == Some(&true))).transpose()?;
        let ratio = ratio.map(|t| t.to_f64s()).transpose()?.and_then(|r| r.first().copied()).unwrap_or(0.5);
        ensure!((0.0..1.0).contains(&ratio), InvalidNode, "ratio is {ratio}");
        Ok(if on == Some(true) { ratio } else { 0.0 })
    }
}

impl Op for Dropout {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        if self.trains {
            cx.value(2)?;
        }
        let t = cx.input(0)?.clone();
        let mask = TensorType::new(Bool, t.shape.clone());
        Ok(if self.mask { vec![t, mask] } else { vec![t] })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let ratio = if self.trains { Dropout::ratio(opt(inputs, 1), opt(inputs, 2))? } else { 0.0 };
        if ratio == 0.0 {
            return Ok(vec![x.clone(), Tensor::new(x.shape(), vec![true; x.len()])?]);
        }
        let mut rng = self.source.next();
        let kept: Vec<bool> = (0..x.len()).map(|_| rng.unit() >= ratio).collect();
        let scaled = x.to_f64s()?.into_iter().zip(&kept).map(|(v, k)| if *k { v / (1.0 - ratio) } else { 0.0 });
        Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), scaled.collect())?, Tensor::new(x.shape(), kept)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if self.trains {
            ensure!(Dropout::ratio(None, cx.value(2))? == 0.0, Unsupported, "training");
        }
        let x = cx.input(0)?;
        if self.mask && cx.has_output(1) {
            let on = cx.constant(Tensor::scalar(true))?;
            cx.alias(1, on.broadcast(&x.shape))?;
        }
        cx.alias(0, x)
    }

    fn deterministic(&self) -> bool {
        !self.trains
    }

    fn on_host(&self) -> bool {
        self.trains
    }
}

/// The same elements in the same order under another shape.
#[derive(Debug)]
enum Reshape {
    To { allow_zero: bool },
    Flatten { axis: i64 },
    Squeeze { axes: Option<Vec<i64>> },
    Unsqueeze { axes: Option<Vec<i64>> },
}

impl Reshape {
    /// The new shape; `wanted` is input 1.
    fn target(&self, from: &[usize], wanted: Option<Vec<i64>>) -> Result<Vec<usize>> {
        let rank = from.len();
        match self {
            Reshape::To { allow_zero } => {
                let wanted = wanted.ok_or_else(|| err!(InvalidNode, "input 1 is missing"))?;
                reshape_target(from, &wanted, *allow_zero)
            }
            Reshape::Flatten { axis } => {
                let r = rank as i64;
                ensure!((-r..=r).contains(axis), InvalidNode, "axis {axis} is outside -{r}..={r}");
                let at = if *axis < 0 { axis + r } else { *axis } as usize;
                Ok(vec![shape::numel(&from[..at]), shape::numel(&from[at..])])
            }
            Reshape::Squeeze { axes } => match axes.clone().or(wanted) {
                None => Ok(from.iter().copied().filter(|d| *d != 1).collect()),
                Some(axes) => {
                    let axes = shape::axes(&axes, rank)?;
                    if let Some(a) = axes.iter().find(|a| from[**a] != 1) {
                        bail!(InvalidNode, "axis {a} of {from:?} has extent {}, expected 1", from[*a]);
                    }
                    Ok((0..rank).filter(|i| !axes.contains(i)).map(|i| from[i]).collect())
                }
            },
            Reshape::Unsqueeze { axes } => {
                let axes = axes.clone().or(wanted).ok_or_else(|| err!(InvalidNode, "axes are missing"))?;
                let rank = rank + axes.len();
                let axes = shape::axes(&axes, rank)?;
                let mut rest = from.iter().copied();
                Ok((0..rank).map(|i| if axes.contains(&i) { 1 } else { rest.next().unwrap_or(1) }).collect())
            }
        }
    }
}

fn reshape_target(from: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let count = shape::numel(from);
    let mut out = vec![];
    let mut open = None;
    for (i, d) in wanted.iter().enumerate() {
        out.push(match *d {
            -1 => {
                ensure!(open.replace(i).is_none(), InvalidNode, "shape {wanted:?} has more than one -1");
                1
            }
            0 if !allow_zero => {
                *from.get(i).ok_or_else(|| err!(InvalidNode, "shape {wanted:?} copies dim {i} of {from:?}"))?
            }
            d => usize::try_from(d).map_err(|_| err!(InvalidNode, "shape {wanted:?} has a negative extent"))?,
        });
    }
    let known = shape::checked_numel(&out)?;
    if let Some(i) = open {
        let fits = known > 0 && count.is_multiple_of(known);
        ensure!(fits, InvalidNode, "cannot view {from:?} as {wanted:?}");
        out[i] = count / known;
    }
    let got = shape::checked_numel(&out)?;
    ensure!(got == count, InvalidNode, "cannot view {from:?} ({count} elements) as {wanted:?} ({got} elements)");
    Ok(out)
}

impl Op for Reshape {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let wanted = cx.ints(1)?;
        one(cx.dtype(0)?, self.target(cx.shape(0)?, wanted)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let wanted = opt(inputs, 1).map(Tensor::to_i64s).transpose()?;
        Ok(vec![x.reshaped(self.target(x.shape(), wanted)?)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, t) = (cx.input(0)?, cx.output_type(0)?);
        if let Some(view) = x.reshaped(&t.shape) {
            return cx.alias(0, view);
        }
        if let Some(finer) = x.refined(&t.shape) {
            return cx.alias_finer(0, finer);
        }
        let view = cx.dense(&x)?.reshaped(&t.shape);
        let view = view.ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        cx.alias(0, view)
    }

    fn sources(&self, cx: &InferCx<'_>, out: &View) -> Vec<(usize, View)> {
        let view = cx.shape(0).ok().and_then(|s| out.reshaped(s));
        vec![(0, view.unwrap_or_else(|| out.clone()))]
    }
}

fn reshape_cases() -> Vec<Case> {
    let to = |from: &[usize], to: &[i64]| Case::new("Reshape", 14).rand(F32, from).constant(ints(to));
    let mut all = types("Reshape", |c| c.constant(ints(&[4, -1])));
    all.extend([to(&[2, 3, 4], &[0, -1]), to(&[1], &[]), to(&[], &[1, 1]), to(&[2, 0, 3], &[0, 0, 5])]);
    all.push(Case::new("Reshape", 14).rand(F32, &[0, 3]).constant(ints(&[3, 0])).int("allowzero", 1));
    all.push(Case::new("Reshape", 14).rand(F32, &[2, 6]).value(ints(&[3, 4])));
    all
}

fn flatten_cases() -> Vec<Case> {
    (-3..=3).map(|axis| Case::new("Flatten", 13).rand(F32, &[2, 3, 4]).int("axis", axis)).collect()
}

fn squeeze_cases() -> Vec<Case> {
    vec![
        Case::new("Squeeze", 11).rand(F32, &[1, 3, 1, 2]).ints("axes", &[0, -2]),
        Case::new("Squeeze", 13).rand(F32, &[1, 3, 1, 2]).constant(ints(&[2])),
        Case::new("Squeeze", 13).rand(I64, &[1, 3, 1, 2]),
        Case::new("Squeeze", 13).rand(F32, &[1]),
    ]
}

fn unsqueeze_cases() -> Vec<Case> {
    vec![
        Case::new("Unsqueeze", 11).rand(F32, &[3, 2]).ints("axes", &[0, 3]),
        Case::new("Unsqueeze", 13).rand(F32, &[3, 2]).constant(ints(&[-1, 0])),
        Case::new("Unsqueeze", 13).rand(F32, &[]).constant(ints(&[0])),
    ]
}

#[derive(Debug)]
struct Transpose {
    perm: Option<Vec<i64>>,
}

impl Transpose {
    fn perm(&self, rank: usize) -> Result<Vec<usize>> {
        let perm = match &self.perm {
            None => (0..rank).rev().collect(),
            Some(p) => shape::axes(p, rank)?,
        };
        ensure!(perm.len() == rank, InvalidNode, "perm {:?} does not fit rank {rank}", self.perm);
        Ok(perm)
    }
}

impl Op for Transpose {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let s = cx.shape(0)?;
        one(cx.dtype(0)?, self.perm(s.len())?.into_iter().map(|p| s[p]).collect::<Vec<_>>())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let dense = shape::strides(x.shape());
        let perm = self.perm(x.rank())?;
        let to: Vec<usize> = perm.iter().map(|p| x.shape()[*p]).collect();
        let strides: Vec<isize> = perm.iter().map(|p| dense[*p] as isize).collect();
        Ok(vec![x.select(to.clone(), &shape::strided_indices(&to, &strides, 0))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.finer_input(0)?;
        let y = x.permuted(&self.perm(x.parts.len())?);
        if y.is_plain() { cx.alias(0, y.view) } else { cx.alias_finer(0, y) }
    }

    fn sources(&self, _: &InferCx<'_>, out: &View) -> Vec<(usize, View)> {
        let Ok(perm) = self.perm(out.rank()) else { return vec![] };
        let mut back = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(i, p)| back[*p] = i);
        vec![(0, out.permuted(&back))]
    }
}

fn transpose_cases() -> Vec<Case> {
    let mut all = types("Transpose", |c| c.ints("perm", &[2, 0, 1]));
    all.push(Case::new("Transpose", 13).rand(F32, &[2, 3, 4, 5]));
    all.push(Case::new("Transpose", 13).rand(F32, &[2, 3, 2, 3, 2, 2]).ints("perm", &[5, 1, 0, 3, 2, 4]));
    for d in [F32, F16, I64, U8] {
        all.push(Case::new("Transpose", 13).rand(d, &[3, 33, 70]).ints("perm", &[0, 2, 1]));
        all.push(Case::new("Transpose", 13).rand(d, &[65, 2, 3, 40]).ints("perm", &[3, 2, 1, 0]));
    }
    all.push(Case::new("Transpose", 13).rand(F32, &[16, 2, 17, 16]).ints("perm", &[2, 1, 3, 0]));
    all.push(Case::new("Transpose", 13).rand(F32, &[]));
    all.push(Case::new("Transpose", 13).rand(F32, &[0, 3]));
    all.push(Case::new("Transpose", 13).rand(F32, &[67, 129]));
    all
}

#[derive(Debug)]
struct Expand;

impl Expand {
    fn target(from: &[usize], wanted: &[i64]) -> Result<Vec<usize>> {
        let extent =
            |d: &i64| usize::try_from(*d).map_err(|_| err!(InvalidNode, "shape {wanted:?} has a negative extent"));
        let wanted: Vec<usize> = wanted.iter().map(extent).collect::<Result<_>>()?;
        shape::broadcast(&[from, &wanted])
    }
}

impl Op for Expand {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let wanted = cx.value(1)?.to_i64s()?;
        one(cx.dtype(0)?, Expand::target(cx.shape(0)?, &wanted)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let to = Expand::target(x.shape(), &need(inputs, 1)?.to_i64s()?)?;
        Ok(vec![x.select(to.clone(), &shape::broadcast_indices(x.shape(), &to))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, t) = (cx.input(0)?, cx.output_type(0)?);
        cx.alias(0, x.broadcast(&t.shape))
    }
}

fn expand_cases() -> Vec<Case> {
    let to = |from: &[usize], to: &[i64]| Case::new("Expand", 13).rand(F32, from).constant(ints(to));
    let mut all = types("Expand", |c| c.constant(ints(&[2, 1, 1, 1])));
    all.extend([to(&[3, 1], &[2, 1, 6]), to(&[], &[3]), to(&[1, 3], &[0, 3]), to(&[3], &[1])]);
    all
}

/// Ranges from attributes (before opset 10) or from inputs 1 to 4.
#[derive(Debug)]
struct Slice {
    given: Option<Ranges>,
}

/// Starts, ends and, if given, axes.
type Ranges = (Vec<i64>, Vec<i64>, Option<Vec<i64>>);

fn parse_slice(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version >= 10 {
        return Ok(Arc::new(Slice { given: None }));
    }
    let list = |name: &str| a.ints(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"));
    Ok(Arc::new(Slice { given: Some((list("starts")?, list("ends")?, a.ints("axes")?)) }))
}

/// Along one axis: the first element, the step and the number of elements.
struct Range {
    axis: usize,
    start: usize,
    step: isize,
    len: usize,
}

fn ranges(
    from: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Range>> {
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let axes = shape::axes(axes.unwrap_or(&all), from.len())?;
    let same = starts.len() == ends.len() && ends.len() == axes.len() && steps.is_none_or(|s| s.len() == axes.len());
    ensure!(same, InvalidNode, "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in length");
    let mut out = vec![];
    for (i, axis) in axes.iter().enumerate() {
        let n = from[*axis] as i64;
        let step = steps.map_or(1, |s| s[i]);
        ensure!(step != 0, InvalidNode, "step 0 along axis {axis}");
        let wrap = |x: i64| if x < 0 { x.saturating_add(n) } else { x };
        let (start, len) = if step > 0 {
            let (start, end) = (wrap(starts[i]).clamp(0, n), wrap(ends[i]).clamp(0, n));
            (start, if end > start { (end - start - 1) / step + 1 } else { 0 })
        } else {
            let (start, end) = (wrap(starts[i]).clamp(-1, n - 1), wrap(ends[i]).clamp(-1, n - 1));
            (start, if start > end { (start - end - 1) / step.saturating_neg() + 1 } else { 0 })
        };
        let step = step.clamp(-n.max(1), n.max(1)) as isize;
        out.push(Range { axis: *axis, start: start.max(0) as usize, step, len: len as usize });
    }
    Ok(out)
}

impl Slice {
    fn ranges(
        &self,
        from: &[usize],
        input: &dyn Fn(usize) -> Result<Option<Vec<i64>>, Defer>,
    ) -> Result<Vec<Range>, Defer> {
        if let Some((starts, ends, axes)) = &self.given {
            return Ok(ranges(from, starts, ends, axes.as_deref(), None)?);
        }
        let list = |i: usize| input(i)?.ok_or_else(|| Defer::Error(err!(InvalidNode, "input {i} is missing")));
        let (axes, steps) = (input(3)?, input(4)?);
        Ok(ranges(from, &list(1)?, &list(2)?, axes.as_deref(), steps.as_deref())?)
    }
}

fn settled<T>(r: Result<T, Defer>) -> Result<T> {
    r.map_err(|d| match d {
        Defer::Error(e) => e,
        _ => err!(Internal, "data is missing"),
    })
}

impl Op for Slice {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let mut s = cx.shape(0)?.to_vec();
        for r in self.ranges(cx.shape(0)?, &|i| cx.ints(i))? {
            s[r.axis] = r.len;
        }
        one(cx.dtype(0)?, s)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let ints = |i: usize| Ok(opt(inputs, i).map(Tensor::to_i64s).transpose()?);
        let (mut s, mut strides) = (x.shape().to_vec(), crate::plan::dense_strides(x.shape()));
        let mut offset = 0usize;
        for r in settled(self.ranges(x.shape(), &ints))? {
            s[r.axis] = r.len;
            offset += r.start * strides[r.axis] as usize;
            strides[r.axis] *= r.step;
        }
        Ok(vec![x.select(s.clone(), &shape::strided_indices(&s, &strides, offset))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let mut view = cx.input(0)?;
        let from = view.shape.clone();
        for r in settled(self.ranges(&from, &|i| Ok(cx.ints(i)?)))? {
            view = view.sliced(r.axis, r.start, r.step, r.len);
        }
        cx.alias(0, view)
    }
}

fn slice_cases() -> Vec<Case> {
    let case = |from: &[usize], s: &[i64], e: &[i64], axes: &[i64], steps: &[i64]| {
        let c = Case::new("Slice", 13).rand(F32, from);
        c.constant(ints(s)).constant(ints(e)).constant(ints(axes)).constant(ints(steps))
    };
    let mut all = types("Slice", |c| c.constant(ints(&[1])).constant(ints(&[-1])).constant(ints(&[1])));
    all.extend([
        case(&[20, 10, 5], &[0, 0], &[3, 10], &[0, 1], &[1, 1]),
        case(&[20, 10], &[20, -2], &[-100, 0], &[0, 1], &[-3, -1]),
        case(&[7], &[1], &[i64::MAX], &[0], &[2]),
        case(&[7], &[i64::MAX], &[i64::MIN], &[0], &[-1]),
        case(&[7], &[5], &[2], &[0], &[1]),
        case(&[0, 3], &[0], &[5], &[0], &[1]),
    ]);
    all.push(
        Case::new("Slice", 9).rand(F32, &[5, 6]).ints("starts", &[1, -3]).ints("ends", &[4, 6]).ints("axes", &[0, 1]),
    );
    all.push(Case::new("Slice", 13).rand(I64, &[9]).value(ints(&[2])).value(ints(&[7])));
    all
}

/// `sizes` from an attribute (before opset 13) or input 1; else equal parts.
#[derive(Debug)]
struct Split {
    axis: i64,
    sizes: Option<Vec<i64>>,
    parts: usize,
    /// How many of the parts the node uses.
    used: usize,
}

fn parse_split(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let sizes = if n.version < 13 { a.ints("split")? } else { None };
    let used = n.outputs.len();
    let mut parts = used;
    if n.version >= 18
        && let Some(wanted) = a.int("num_outputs")?
    {
        let wanted = usize::try_from(wanted).unwrap_or(0);
        ensure!(wanted >= parts.max(1), InvalidNode, "num_outputs is {wanted}, the node has {parts} outputs");
        parts = wanted;
    }
    Ok(Arc::new(Split { axis: a.int_or("axis", 0)?, sizes, parts, used }))
}

impl Split {
    /// The axis and the extents of the parts along it.
    fn sizes(&self, from: &[usize], given: Option<Vec<i64>>) -> Result<(usize, Vec<usize>)> {
        let axis = shape::axis(self.axis, from.len())?;
        let n = from[axis];
        let sizes: Vec<usize> = match self.sizes.clone().or(given) {
            Some(list) => list
                .iter()
                .map(|s| usize::try_from(*s).map_err(|_| err!(InvalidNode, "split {list:?} has a negative size")))
                .collect::<Result<_>>()?,
            None => {
                let most = n.max(self.used);
                ensure!(self.parts <= most, InvalidNode, "{} parts of {n} elements", self.parts);
                ensure!(self.parts <= MOST_PARTS, Limit, "{} parts, more than {MOST_PARTS}", self.parts);
                let each = n.div_ceil(self.parts.max(1));
                (0..self.parts).map(|i| each.min(n.saturating_sub(i * each))).collect()
            }
        };
        let total = sizes.iter().try_fold(0usize, |sum, s| sum.checked_add(*s));
        ensure!(total == Some(n), InvalidNode, "split {sizes:?} does not add up to axis {axis} of {from:?}");
        Ok((axis, sizes))
    }
}

impl Op for Split {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (from, d) = (cx.shape(0)?, cx.dtype(0)?);
        let (axis, sizes) = self.sizes(from, cx.ints(1)?)?;
        let part = |n: usize| {
            let mut s = from.to_vec();
            s[axis] = n;
            TensorType::new(d, s)
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (axis, sizes) = self.sizes(x.shape(), opt(inputs, 1).map(Tensor::to_i64s).transpose()?)?;
        let strides = crate::plan::dense_strides(x.shape());
        let mut at = 0;
        let mut out = vec![];
        for n in sizes {
            let mut s = x.shape().to_vec();
            s[axis] = n;
            let offset = at * strides[axis] as usize;
            out.push(x.select(s.clone(), &shape::strided_indices(&s, &strides, offset))?);
            at += n;
        }
        Ok(out)
    }

    fn whole(&self, cx: &InferCx<'_>, outs: &[View]) -> Option<(usize, View)> {
        let from = cx.shape(0).ok()?;
        let axis = shape::axis(self.axis, from.len()).ok()?;
        Some((0, super::join::side_by_side(outs, axis, from)?))
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x: View = cx.input(0)?;
        let (axis, sizes) = self.sizes(&x.shape, cx.ints(1)?)?;
        let mut at = 0;
        for (i, n) in sizes.into_iter().enumerate() {
            if cx.has_output(i) {
                cx.alias(i, x.sliced(axis, at, 1, n))?;
            }
            at += n;
        }
        Ok(())
    }
}

fn split_cases() -> Vec<Case> {
    let mut all = types("Split", |c| c.constant(ints(&[1, 3])).int("axis", 1).outputs(2));
    all.extend([
        Case::new("Split", 11).rand(F32, &[6, 2]).ints("split", &[2, 4]).outputs(2),
        Case::new("Split", 13).rand(F32, &[6, 2]).outputs(3),
        Case::new("Split", 18).rand(F32, &[7, 2]).int("num_outputs", 4).outputs(4),
        Case::new("Split", 18).rand(F32, &[2, 7]).int("num_outputs", 2).int("axis", -1).outputs(2),
        Case::new("Split", 13).rand(F32, &[0, 2]).constant(ints(&[0, 0])).outputs(2),
    ]);
    all
}
