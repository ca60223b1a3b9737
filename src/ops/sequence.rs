//! Sequences and optionals. They live on the host: their items are host tensors.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, ControlFlow, Defer, Handle, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Pending};
use crate::dtype::DType;
use crate::ir::{AttrReader, Graph};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row(
        "SequenceEmpty",
        &[11],
        |a, _| {
            // the items' type: none are there yet
            a.ignore("dtype");
            Ok(Arc::new(Construct))
        },
        || vec![Case::new("SequenceEmpty", 11)],
    ),
    row(
        "SequenceConstruct",
        &[11],
        |_, _| Ok(Arc::new(Construct)),
        || vec![Case::new("SequenceConstruct", 11).rand(DType::F32, &[2, 3]).rand(DType::F32, &[0])],
    ),
    row("SequenceInsert", &[11], |_, _| Ok(Arc::new(Insert)), insert_cases),
    row("SequenceErase", &[11], |_, _| Ok(Arc::new(Erase)), || at_cases("SequenceErase")),
    row("SequenceAt", &[11], |_, _| Ok(Arc::new(At)), || at_cases("SequenceAt")),
    row(
        "SequenceLength",
        &[11],
        |_, _| Ok(Arc::new(Length)),
        || {
            vec![
                Case::new("SequenceLength", 11).value(three()),
                Case::new("SequenceLength", 11).value(Tensor::sequence(vec![])),
            ]
        },
    ),
    row("SplitToSequence", &[11, 24], parse_split, split_cases),
    row("ConcatFromSequence", &[11], parse_concat, concat_cases),
    row("SequenceMap", &[17], parse_map, Vec::new),
    row(
        "Optional",
        &[15, 28],
        |a, n| {
            let declared = a.type_proto("type")?;
            ensure!(n.has_input(0) || declared.is_some(), InvalidNode, "neither an input nor attribute type");
            Ok(Arc::new(Optional))
        },
        || vec![Case::new("Optional", 15).rand(DType::F32, &[2])],
    ),
    row(
        "OptionalHasElement",
        &[15, 18, 28],
        |_, _| Ok(Arc::new(HasElement)),
        || {
            let case = || Case::new("OptionalHasElement", 18);
            let full = Tensor::optional(Some(Tensor::scalar(1f32)));
            vec![case(), case().rand(DType::F32, &[2]), case().value(full), case().value(Tensor::optional(None))]
        },
    ),
    row(
        "OptionalGetElement",
        &[15, 18, 28],
        |_, _| Ok(Arc::new(GetElement)),
        || {
            let full = Tensor::optional(Some(Tensor::scalar(1f32)));
            vec![
                Case::new("OptionalGetElement", 18).rand(DType::F32, &[2, 3]),
                Case::new("OptionalGetElement", 18).value(full),
            ]
        },
    ),
];

fn three() -> Tensor {
    Tensor::sequence((0..3).map(|i| Tensor::vector(&vec![i as f32; i + 1])).collect())
}

fn insert_cases() -> Vec<Case> {
    let case = || Case::new("SequenceInsert", 11).value(three()).value(Tensor::vector(&[7f32]));
    vec![
        case(),
        case().value(Tensor::scalar(0i64)),
        case().value(Tensor::scalar(-3i32)),
        case().value(Tensor::scalar(3i64)),
    ]
}

fn at_cases(op: &'static str) -> Vec<Case> {
    [0i64, 2, -1, -3].map(|i| Case::new(op, 11).value(three()).value(Tensor::scalar(i))).into()
}

/// Where position `p` points in a sequence of `len` items; from the end when negative.
fn position(p: &Tensor, len: usize, past: bool) -> Result<usize> {
    let [p] = p.to_i64s()?[..] else { bail!(InvalidNode, "expected one position, got {p:?}") };
    let at = if p < 0 { p + len as i64 } else { p };
    let limit = len as i64 + i64::from(past);
    ensure!((0..limit).contains(&at), InvalidNode, "position {p} of a sequence of {len}");
    Ok(at as usize)
}

#[derive(Debug)]
struct Construct;

impl Op for Construct {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Sequence, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let items: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        if let Some(odd) = items.iter().find(|t| t.dtype() != items[0].dtype()) {
            bail!(InvalidNode, "a sequence of {} and {}", items[0].dtype(), odd.dtype());
        }
        Ok(vec![Tensor::sequence(items)])
    }
}

#[derive(Debug)]
struct Insert;

impl Op for Insert {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Sequence, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let mut items = need(inputs, 0)?.items()?.to_vec();
        let item = need(inputs, 1)?;
        if let Some(first) = items.first().filter(|f| f.dtype() != item.dtype()) {
            bail!(InvalidNode, "a {} into a sequence of {}", item.dtype(), first.dtype());
        }
        let at = opt(inputs, 2).map_or(Ok(items.len()), |p| position(p, items.len(), true))?;
        items.insert(at, item.clone());
        Ok(vec![Tensor::sequence(items)])
    }
}

#[derive(Debug)]
struct Erase;

impl Op for Erase {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Sequence, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let mut items = need(inputs, 0)?.items()?.to_vec();
        ensure!(!items.is_empty(), InvalidNode, "nothing to erase");
        let at = opt(inputs, 1).map_or(Ok(items.len() - 1), |p| position(p, items.len(), false))?;
        items.remove(at);
        Ok(vec![Tensor::sequence(items)])
    }
}

#[derive(Debug)]
struct At;

impl Op for At {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let items = need(inputs, 0)?.items()?;
        Ok(vec![items[position(need(inputs, 1)?, items.len(), false)?].clone()])
    }
}

#[derive(Debug)]
struct Length;

impl Op for Length {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::I64, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::scalar(need(inputs, 0)?.items()?.len() as i64)])
    }
}

/// Tensors that one is split into at most: each takes memory, though it be empty.
pub(super) const MOST_PARTS: usize = 1 << 20;

/// Pieces along an axis: of the extents given, of one extent, or of extent 1 (the axis then kept or not).
#[derive(Debug)]
struct Split {
    axis: i64,
    keep: bool,
}

fn parse_split(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Split { axis: a.int_or("axis", 0)?, keep: a.flag_or("keepdims", true)? }))
}

fn split_cases() -> Vec<Case> {
    let case = || Case::new("SplitToSequence", 24).rand(DType::F32, &[5, 4]);
    vec![
        case(),
        case().int("keepdims", 0).int("axis", 1),
        case().constant(Tensor::scalar(2i64)),
        case().constant(Tensor::vector(&[1i32, 4])).int("keepdims", 0),
    ]
}

impl Op for Split {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Sequence, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let axis = shape::axis(self.axis, x.rank())?;
        let extent = x.shape()[axis];
        let size = |n: i64| usize::try_from(n).map_err(|_| err!(InvalidNode, "a part of {n}"));
        let few = |count: usize| -> Result<()> {
            ensure!(
                count <= MOST_PARTS,
                Limit,
                "axis {axis} of {:?} in {count} parts, more than {MOST_PARTS}",
                x.shape()
            );
            Ok(())
        };
        let parts: Vec<usize> = match opt(inputs, 1) {
            None => {
                few(extent)?;
                vec![1; extent]
            }
            Some(s) if s.rank() == 0 => {
                let n = size(s.to_i64s()?[0])?;
                ensure!(n > 0, InvalidNode, "parts of 0");
                few(extent.div_ceil(n))?;
                (0..extent).step_by(n).map(|at| n.min(extent - at)).collect()
            }
            Some(s) => s.to_i64s()?.into_iter().map(size).collect::<Result<_>>()?,
        };
        let sum = parts.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
        ensure!(sum == Some(extent), InvalidNode, "parts {parts:?} of axis {axis} of {:?}", x.shape());
        let strides: Vec<isize> = shape::strides(x.shape()).iter().map(|s| *s as isize).collect();
        let mut at = 0;
        let mut items = vec![];
        for n in parts {
            let mut to = x.shape().to_vec();
            to[axis] = n;
            let part = x.select(to.clone(), &shape::strided_indices(&to, &strides, at * strides[axis] as usize))?;
            if !self.keep && opt(inputs, 1).is_none() {
                to.remove(axis);
            }
            items.push(part.reshaped(to)?);
            at += n;
        }
        Ok(vec![Tensor::sequence(items)])
    }
}

#[derive(Debug)]
struct Concat {
    axis: i64,
    new_axis: bool,
}

fn parse_concat(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Concat { axis: a.required_int("axis")?, new_axis: a.flag_or("new_axis", false)? }))
}

fn concat_cases() -> Vec<Case> {
    let pair = Tensor::sequence(vec![Tensor::zeros(DType::F32, [2, 3]), Tensor::zeros(DType::F32, [2, 3])]);
    let case = |axis: i64, new: i64| {
        Case::new("ConcatFromSequence", 11).value(pair.clone()).int("axis", axis).int("new_axis", new)
    };
    vec![
        case(0, 0),
        case(-1, 0),
        case(-1, 1),
        case(0, 1),
        Case::new("ConcatFromSequence", 11).value(three()).int("axis", 0),
    ]
}

impl Op for Concat {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let items = need(inputs, 0)?.items()?;
        let first = items.first().ok_or_else(|| err!(InvalidNode, "an empty sequence has no type"))?;
        if self.new_axis {
            return Ok(vec![super::stack(items, shape::axis(self.axis, first.rank() + 1)?)?]);
        }
        let axis = shape::axis(self.axis, first.rank())?;
        let mut to = first.shape().to_vec();
        to[axis] = 0;
        for t in items {
            let mut same = t.shape().to_vec();
            ensure!(same.len() == to.len(), InvalidNode, "cannot join {:?} and {:?}", first.shape(), t.shape());
            to[axis] = to[axis].saturating_add(std::mem::replace(&mut same[axis], first.shape()[axis]));
            ensure!(same == first.shape(), InvalidNode, "cannot join {:?} and {:?}", first.shape(), t.shape());
        }
        // what is empty may have rows without end
        if shape::checked_numel(&to)? == 0 {
            return Ok(vec![Tensor::zeros(first.dtype(), to)]);
        }
        let mut pieces: Vec<Vec<Tensor>> = vec![vec![]; shape::numel(&to[..axis])];
        for t in items {
            let run = t.len() / pieces.len();
            for (o, piece) in pieces.iter_mut().enumerate() {
                piece.push(t.select([run], &(o * run..(o + 1) * run).collect::<Vec<_>>())?);
            }
        }
        Ok(vec![Tensor::concat(&pieces.concat())?.reshaped(to)?])
    }
}

/// The body applied to every item; further inputs are sequences of as many items, or the same for all.
#[derive(Debug)]
struct Map {
    body: Arc<Graph>,
}

fn parse_map(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
    Ok(Arc::new(Map { body }))
}

impl Map {
    async fn map(&self, flow: &mut dyn ControlFlow, inputs: &[Option<Handle>]) -> Result<Vec<Handle>> {
        let inputs = inputs.iter().copied().collect::<Option<Vec<_>>>();
        let inputs = inputs.ok_or_else(|| err!(InvalidNode, "an input is missing"))?;
        let formal = self.body.inputs.len() - self.body.captures;
        ensure!(inputs.len() == self.body.inputs.len(), InvalidNode, "the body takes {formal} inputs");
        let (own, captured) = inputs.split_at(formal);
        let count = match own.first() {
            Some(s) => flow.read(*s).await?.items()?.len(),
            None => bail!(InvalidNode, "no sequence to map"),
        };
        let mut made: Vec<Vec<Tensor>> = vec![vec![]; self.body.outputs.len()];
        for i in 0..count {
            let mut args = vec![];
            for (k, h) in own.iter().enumerate() {
                if flow.type_of(*h).dtype != DType::Sequence {
                    args.push(*h);
                    continue;
                }
                let s = flow.read(*h).await?;
                let item = s.items()?.get(i).cloned();
                let item = item.ok_or_else(|| err!(InvalidNode, "input {k} has fewer items than input 0, {count}"))?;
                args.push(flow.host(item));
            }
            args.extend(captured);
            for (all, h) in made.iter_mut().zip(flow.run(0, &args).await?) {
                all.push(flow.read(h).await?);
            }
        }
        Ok(made.into_iter().map(|items| flow.host(Tensor::sequence(items))).collect())
    }
}

impl Op for Map {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        bail!(Internal, "SequenceMap runs its body")
    }

    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn control<'a>(&'a self, flow: &'a mut dyn ControlFlow, inputs: &'a [Option<Handle>]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.map(flow, inputs))
    }
}

#[derive(Debug)]
struct Optional;

impl Op for Optional {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Optional, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::optional(opt(inputs, 0).cloned())])
    }
}

#[derive(Debug)]
struct HasElement;

impl HasElement {
    /// Anything but an optional is its own element.
    fn of(dtype: Option<DType>, value: Option<&Tensor>) -> Result<Option<bool>> {
        Ok(match (dtype, value) {
            (None, _) => Some(false),
            (Some(DType::Optional), None) => None,
            (Some(DType::Optional), Some(t)) => Some(!t.items()?.is_empty()),
            _ => Some(true),
        })
    }
}

impl Op for HasElement {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Bool, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = opt(inputs, 0);
        let there = HasElement::of(x.map(Tensor::dtype), x)?;
        Ok(vec![Tensor::scalar(there.unwrap_or(false))])
    }

    fn fold(&self, cx: &InferCx<'_>) -> Result<Option<Vec<Tensor>>> {
        let there = HasElement::of(cx.try_input(0).map(|t| t.dtype), cx.try_value(0))?;
        Ok(there.map(|b| vec![Tensor::scalar(b)]))
    }
}

#[derive(Debug)]
struct GetElement;

impl Op for GetElement {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        match cx.input(0)? {
            t if t.dtype == DType::Optional => Err(Defer::DataDependent),
            t => Ok(vec![t.clone()]),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        if x.dtype() != DType::Optional {
            return Ok(vec![x.clone()]);
        }
        let value = x.items()?.first().ok_or_else(|| err!(InvalidNode, "the optional has no element"))?;
        Ok(vec![value.clone()])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        cx.alias(0, x)
    }
}
