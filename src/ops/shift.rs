//! Elements moved along an axis: ReverseSequence, TensorScatter, CenterCropPad.

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::pad::{Mode, pad};
use crate::kernels::shift;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("ReverseSequence", &[10, 28], parse_reverse, reverse_cases),
    row("TensorScatter", &[24], parse_tensor_scatter, tensor_cases),
    row("CenterCropPad", &[18], parse_center, center_cases),
];

/// The first elements of each sample in backward order, as many as it has.
#[derive(Debug)]
struct Reverse {
    batch: usize,
}

fn parse_reverse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    match (a.int_or("batch_axis", 1)?, a.int_or("time_axis", 0)?) {
        (batch @ 0..=1, time) if time == 1 - batch => Ok(Arc::new(Reverse { batch: batch as usize })),
        (b, t) => bail!(InvalidNode, "batch_axis {b} and time_axis {t}: expected 0 and 1 or 1 and 0"),
    }
}

fn reverse_cases() -> Vec<Case> {
    let case = |d: DType, s: &[usize], lengths: &[i64]| {
        Case::new("ReverseSequence", 10).rand(d, s).value(Tensor::vector(lengths))
    };
    let mut all: Vec<Case> =
        [F32, F16, BF16, F64, I8, I64, Bool].iter().map(|d| case(*d, &[4, 3], &[4, 1, 2])).collect();
    all.push(case(F32, &[4, 3, 5], &[4, 3, 1]));
    all.push(case(F32, &[4, 3, 5], &[3, 1, 2, 3]).int("batch_axis", 0).int("time_axis", 1));
    all.push(case(F32, &[0, 2], &[0, 0]));
    all
}

impl Reverse {
    fn check(&self, x: &[usize], lengths: &[usize]) -> Result<()> {
        ensure!(x.len() >= 2, InvalidNode, "expected rank 2 or more, got {x:?}");
        ensure!(lengths == [x[self.batch]], InvalidNode, "expected {} lengths, got {lengths:?}", x[self.batch]);
        Ok(())
    }
}

impl Op for Reverse {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.check(cx.shape(0)?, cx.shape(1)?)?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, lengths) = (need(inputs, 0)?, need(inputs, 1)?);
        self.check(x.shape(), lengths.shape())?;
        let lengths = lengths.to_i64s()?;
        let time = 1 - self.batch;
        let strides = shape::strides(x.shape());
        let mut sources = vec![];
        for mut c in shape::coords(x.shape()) {
            let n = lengths[c[self.batch]];
            ensure!((0..=x.shape()[time] as i64).contains(&n), InvalidNode, "length {n} of {}", x.shape()[time]);
            if (c[time] as i64) < n {
                c[time] = n as usize - 1 - c[time];
            }
            sources.push(c.iter().zip(&strides).map(|(c, s)| c * s).sum());
        }
        Ok(vec![x.select(x.shape(), &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, lengths) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let out = cx.output(0)?;
        shift::reverse(cx, self.batch, &x, &lengths, &out)
    }
}

/// Rows written into a cache from a place that each sample of the batch has.
#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    circular: bool,
}

fn parse_tensor_scatter(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let circular = match a.string_or("mode", "linear".into())?.as_str() {
        "linear" => false,
        "circular" => true,
        other => bail!(InvalidNode, "attribute mode: expected linear or circular, got {other:?}"),
    };
    Ok(Arc::new(TensorScatter { axis: a.int_or("axis", -2)?, circular }))
}

impl TensorScatter {
    fn axis(&self, cache: &[usize], update: &[usize]) -> Result<usize> {
        let axis = shape::axis(self.axis, cache.len())?;
        ensure!(axis > 0, InvalidNode, "axis {} is the batch", self.axis);
        let within = |(k, (u, c)): (usize, (&usize, &usize))| if k == axis { u <= c } else { u == c };
        let fits = cache.len() == update.len() && update.iter().zip(cache).enumerate().all(within);
        ensure!(fits, InvalidNode, "update {update:?} does not fit {cache:?} along axis {axis}");
        Ok(axis)
    }
}

impl Op for TensorScatter {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.axis(cx.shape(0)?, cx.shape(1)?)?;
        if let Some(t) = cx.try_input(2)
            && (t.shape != cx.shape(0)?[..1] || t.dtype != I64)
        {
            return Err(err!(InvalidNode, "expected one int64 for each sample, got {t}").into());
        }
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (cache, update) = (need(inputs, 0)?, need(inputs, 1)?);
        let axis = self.axis(cache.shape(), update.shape())?;
        let (n, rows) = (cache.shape()[axis], update.shape()[axis]);
        let places = match opt(inputs, 2) {
            Some(t) => t.to_i64s()?,
            None => vec![0; cache.shape()[0]],
        };
        let first = |p: &i64| match usize::try_from(*p) {
            Ok(p) if self.circular || p + rows <= n => Ok(p),
            _ => Err(err!(InvalidNode, "{rows} rows from {p} on do not fit {n}")),
        };
        let places: Vec<usize> = places.iter().map(first).collect::<Result<_>>()?;
        let strides = shape::strides(cache.shape());
        let mut at = vec![];
        for mut c in shape::coords(update.shape()) {
            c[axis] = (places[c[0]] + c[axis]) % n;
            at.push(c.iter().zip(&strides).map(|(c, s)| c * s).sum());
        }
        let mut sources: Vec<usize> = (0..cache.len()).collect();
        at.into_iter().enumerate().for_each(|(u, to): (usize, usize)| sources[to] = cache.len() + u);
        let both = Tensor::concat(&[cache.reshaped([cache.len()])?, update.reshaped([update.len()])?])?;
        Ok(vec![both.select(cache.shape(), &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (cache, update) = (cx.input(0)?, cx.input(1)?);
        let axis = self.axis(&cache.shape, &update.shape)?;
        let places = if cx.has_input(2) { Some(cx.dense_input(2)?) } else { None };
        let out = cx.output(0)?;
        copy(cx, &cache, &out)?;
        match places {
            Some(places) => shift::tensor_scatter(cx, self.circular, axis, &update, &places, &out),
            None => copy(cx, &update, &out.sliced(axis, 0, 1, update.shape[axis])),
        }
    }
}

fn tensor_cases() -> Vec<Case> {
    let case = |d: DType, mode: &str, places: &[i64]| {
        let c = Case::new("TensorScatter", 24).string("mode", mode).rand(d, &[2, 3, 7, 5]).rand(d, &[2, 3, 4, 5]);
        c.value(Tensor::vector(places))
    };
    let mut all: Vec<Case> = [F32, F16, BF16, I8, I64].iter().map(|d| case(*d, "linear", &[3, 0])).collect();
    all.extend([
        case(F32, "circular", &[5, 20]),
        Case::new("TensorScatter", 24).rand(F32, &[2, 7, 5]).rand(F32, &[2, 4, 5]),
        Case::new("TensorScatter", 24)
            .int("axis", 1)
            .rand(F32, &[3, 7, 5, 2])
            .rand(F32, &[3, 1, 5, 2])
            .value(Tensor::vector(&[6i64, 0, 3])),
    ]);
    all
}

/// The middle of some axes, or zeros around them.
#[derive(Debug)]
struct Center {
    axes: Option<Vec<i64>>,
}

fn parse_center(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Center { axes: a.ints("axes")? }))
}

fn center_cases() -> Vec<Case> {
    let case =
        |d: DType, s: &[usize], to: &[i64]| Case::new("CenterCropPad", 18).rand(d, s).constant(Tensor::vector(to));
    vec![
        case(F32, &[5, 7, 3], &[3, 10, 3]),
        case(I64, &[4, 6], &[7, 3]),
        case(U8, &[4, 6], &[2]).ints("axes", &[1]),
        case(F16, &[4, 6, 2], &[9, 1]).ints("axes", &[-3, -1]),
        case(F32, &[3], &[0]),
    ]
}

impl Center {
    /// The result's shape, and how many elements stand before the source's first in each axis.
    fn place(&self, x: &[usize], to: &[i64]) -> Result<(Vec<usize>, Vec<isize>)> {
        let axes: Vec<usize> = match &self.axes {
            Some(a) => a.iter().map(|a| shape::axis(*a, x.len())).collect::<Result<_>>()?,
            None => (0..x.len()).collect(),
        };
        ensure!(axes.len() == to.len(), InvalidNode, "{} extents for {} axes", to.len(), axes.len());
        let (mut out, mut before) = (x.to_vec(), vec![0; x.len()]);
        for (axis, n) in axes.into_iter().zip(to) {
            out[axis] = usize::try_from(*n).map_err(|_| err!(InvalidNode, "extent {n}"))?;
            let (from, to) = (x[axis] as isize, out[axis] as isize);
            // the odd one out is cropped or padded at the end
            before[axis] = if to < from { -((from - to) / 2) } else { (to - from) / 2 };
        }
        Ok((out, before))
    }
}

impl Op for Center {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let to = cx.ints(1)?.ok_or_else(|| err!(InvalidNode, "input 1 is missing"))?;
        one(cx.dtype(0)?, self.place(cx.shape(0)?, &to)?.0)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (out, before) = self.place(x.shape(), &need(inputs, 1)?.to_i64s()?)?;
        let strides = shape::strides(x.shape());
        let source = |c: Vec<usize>| {
            let inside = c
                .iter()
                .zip(&before)
                .zip(x.shape())
                .map(|((c, b), n)| usize::try_from(*c as isize - b).ok().filter(|i| i < n));
            let at: Option<Vec<usize>> = inside.collect();
            Some(at?.iter().zip(&strides).map(|(c, s)| c * s).sum())
        };
        let sources: Vec<Option<usize>> = shape::coords(&out).map(source).collect();
        Ok(vec![x.select_or(out, &sources, &Tensor::zeros(x.dtype(), []))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let (_, before) = self.place(&x.shape, &cx.ints(1)?.unwrap_or_default())?;
        let (fill, out) = (cx.constant(Tensor::zeros(x.dtype, []))?, cx.output(0)?);
        pad(cx, Mode::Constant, &x, &fill, &before, &out)
    }
}
