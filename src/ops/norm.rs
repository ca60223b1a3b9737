//! Normalisations: BatchNormalization, LayerNormalization, InstanceNormalization, GroupNormalization, LRN, ….

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::elementwise::{self, Emit, Var};
use crate::kernels::epilogue::Ends;
use crate::kernels::norm::{self, NormPlan};
use crate::kernels::reduce::{Fold, reduce};
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

const fn microsoft(name: &'static str, parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "com.microsoft", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("BatchNormalization", &[7, 9, 14, 15], parse_batch, batch_cases),
    row(
        "InstanceNormalization",
        &[1, 6, 22],
        |a, n| {
            if n.version < 6 {
                // an optimisation hint of the first opsets, without effect
                a.ignore("consumed_inputs");
            }
            rows(Rows::Instance, a)
        },
        instance_cases,
    ),
    row("GroupNormalization", &[18, 21], parse_group, group_cases),
    row("LayerNormalization", &[1, 17], |a, n| parse_layer(true, a, n), || layer_cases("LayerNormalization", 17, "")),
    row("RMSNormalization", &[23], |a, n| parse_layer(false, a, n), || layer_cases("RMSNormalization", 23, "")),
    // exported by older tools as ai.onnx operators of opset 1
    row(
        "SimplifiedLayerNormalization",
        &[1],
        |a, n| parse_layer(false, a, n),
        || layer_cases("SimplifiedLayerNormalization", 1, ""),
    ),
    microsoft(
        "SimplifiedLayerNormalization",
        |a, n| parse_layer(false, a, n),
        || layer_cases("SimplifiedLayerNormalization", 1, "com.microsoft"),
    ),
    row(
        "MeanVarianceNormalization",
        &[9, 13],
        |a, _| Ok(Arc::new(MeanVariance { axes: a.ints_or("axes", vec![0, 2, 3])? })),
        mean_variance_cases,
    ),
    row("LRN", &[1, 13], parse_lrn, lrn_cases),
];

/// `(x - mean) / sqrt(variance + epsilon) · scale + bias` with given mean and variance.
#[derive(Debug)]
struct Batch {
    epsilon: f32,
    /// In training the batch's own statistics count, and the running ones move towards them by 1 less this.
    momentum: Option<f32>,
}

fn parse_batch(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version < 9 {
        let spatial = a.int_or("spatial", 1)?;
        ensure!(spatial == 1, Unsupported, "spatial = {spatial}");
    }
    let momentum = a.float_or("momentum", 0.9)?;
    let training = n.version >= 14 && a.flag_or("training_mode", false)?;
    let outputs = n.outputs.iter().filter(|o| **o).count();
    // before opset 14 more outputs meant training
    ensure!(training || outputs <= 1, Unsupported, "{outputs} outputs without training_mode");
    Ok(Arc::new(Batch { epsilon: a.float_or("epsilon", 1e-5)?, momentum: training.then_some(momentum) }))
}

fn batch_cases() -> Vec<Case> {
    let case = |d: DType, p: DType, s: &[usize]| {
        let c = s.get(1).copied().unwrap_or(1);
        let out = Case::new("BatchNormalization", 15).rand(d, s).rand(p, &[c]).rand(p, &[c]).rand(p, &[c]);
        out.range(p, &[c], 0.1, 2.0)
    };
    let mut all = vec![case(F32, F32, &[2, 3, 5, 7]), case(F16, F16, &[2, 3, 5]), case(BF16, BF16, &[2, 3, 5])];
    all.extend([
        case(F32, F32, &[4, 3]),
        case(F32, F32, &[2, 5, 1, 2, 3]),
        case(F16, F32, &[2, 3, 4]),
        case(F32, F32, &[0, 3, 2]),
    ]);
    all.push(case(F32, F32, &[2, 67, 9, 9]).float("epsilon", 0.1));
    all.push(case(F32, F32, &[3, 5, 4, 2]).int("training_mode", 1).float("momentum", 0.7).outputs(3).sum(24));
    all
}

impl Batch {
    /// Mean and variance of each channel of the batch.
    fn statistics(&self, cx: &mut LowerCx<'_>, x: &View) -> Result<[View; 2]> {
        let axes: Vec<usize> = (0..x.rank()).filter(|d| *d != 1).collect();
        let channels = x.shape.get(1).copied().unwrap_or(1);
        let (mean, variance) = (cx.temp(F32, &[channels])?, cx.temp(F32, &[channels])?);
        reduce(cx, Fold::Mean, x, &axes, &mean)?;
        let squares = cx.temp(F32, &x.shape)?;
        let mut s = vec![1; x.rank() - 1];
        s[0] = channels;
        let column = mean.reshaped(&s).ok_or_else(|| err!(Internal, "a vector did not reshape"))?;
        elementwise::apply(cx, "deviation", &[x.clone(), column], &squares, |e, args| {
            let v = e.cast(&args[0], F32)?;
            let d = e.call(F32, "sub", &[&v, &args[1]])?;
            e.call(F32, "mul", &[&d, &d])
        })?;
        reduce(cx, Fold::Mean, &squares, &axes, &variance)?;
        Ok([mean, variance])
    }
}

impl Op for Batch {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        let c = x.shape.get(1).copied().unwrap_or(1);
        for i in 1..5 {
            if cx.shape(i)? != [c] {
                return Err(err!(InvalidNode, "input {i}: expected [{c}], got {:?}", cx.shape(i)?).into());
            }
        }
        if self.momentum.is_some() {
            return Ok(vec![x.clone(), cx.input(3)?.clone(), cx.input(4)?.clone()]);
        }
        one(x.dtype, x.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let p = |i: usize| need(inputs, i)?.to_f64s();
        let (scale, bias, mut mean, mut variance) = (p(1)?, p(2)?, p(3)?, p(4)?);
        let inner: usize = x.shape().iter().skip(2).product();
        let channels = x.shape().get(1).copied().unwrap_or(1);
        let mut moved = vec![];
        if let Some(momentum) = self.momentum {
            let v = x.to_f64s()?;
            let count = x.len().checked_div(channels).unwrap_or(0) as f64;
            let (mut m, mut s) = (vec![0.0; channels], vec![0.0; channels]);
            let channel = |i: usize| i / inner.max(1) % channels.max(1);
            if count == 0.0 {
                (m, s) = (vec![f64::NAN; channels], vec![f64::NAN; channels]);
            }
            v.iter().enumerate().for_each(|(i, x)| m[channel(i)] += x / count);
            v.iter().enumerate().for_each(|(i, x)| s[channel(i)] += (x - m[channel(i)]).powi(2) / count);
            for (i, (running, now)) in [(&mean, &m), (&variance, &s)].into_iter().enumerate() {
                let t = need(inputs, 3 + i)?;
                let k = f64::from(momentum);
                let to = running.iter().zip(now).map(|(r, n)| r * k + n * (1.0 - k)).collect();
                moved.push(Tensor::from_f64s(t.dtype(), t.shape(), to)?);
            }
            (mean, variance) = (m, s);
        }
        let one = |(i, x): (usize, f64)| {
            let c = i / inner.max(1) % channels.max(1);
            (x - mean[c]) / (variance[c] + self.epsilon as f64).sqrt() * scale[c] + bias[c]
        };
        let y = Tensor::from_f64s(x.dtype(), x.shape(), x.to_f64s()?.into_iter().enumerate().map(one).collect())?;
        Ok([vec![y], moved].concat())
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        // per-channel vectors as [C, 1, 1, …], which broadcast to x
        let column = |v: View| -> Result<View> {
            let mut s = vec![1; x.rank().saturating_sub(1).max(1)];
            s[0] = v.numel();
            v.reshaped(&s).ok_or_else(|| err!(Internal, "a vector did not reshape"))
        };
        let mut views = vec![x.clone()];
        for i in 1..5 {
            views.push(column(cx.dense_input(i)?)?);
        }
        if let Some(momentum) = self.momentum {
            let statistics = self.statistics(cx, &x)?;
            for (i, now) in statistics.into_iter().enumerate() {
                let now = column(now)?;
                if cx.has_output(1 + i) {
                    let out = column(cx.output(1 + i)?)?;
                    elementwise::apply(cx, "running", &[views[3 + i].clone(), now.clone()], &out, |e, args| {
                        let (r, n) = (e.cast(&args[0], F32)?, e.cast(&args[1], F32)?);
                        let k = momentum;
                        let v = e.expr(F32, format!("{} * {k:?} + {} * {:?}", r.name, n.name, 1.0 - k));
                        e.cast(&v, args[0].dtype)
                    })?;
                }
                views[3 + i] = now;
            }
            if !cx.has_output(0) {
                return Ok(());
            }
        }
        let profile = cx.profile().clone();
        let mut e = Emit::new(&profile);
        let args: Vec<Var> =
            views.iter().enumerate().map(|(k, v)| Var { name: format!("x{k}"), dtype: v.dtype }).collect();
        let wide = args.iter().map(|a| e.cast(a, F32)).collect::<Result<Vec<_>>>()?;
        let epsilon = e.float(F32, self.epsilon)?;
        let variance = e.call(F32, "add", &[&wide[4], &epsilon])?;
        let deviation = e.call(F32, "sqrt", &[&variance])?;
        let y = e.call(F32, "sub", &[&wide[0], &wide[3]])?;
        let y = e.call(F32, "div", &[&y, &deviation])?;
        let y = e.call(F32, "mul", &[&y, &wide[1]])?;
        let y = e.call(F32, "add", &[&y, &wide[2]])?;
        let y = e.cast(&y, x.dtype)?;
        let out = cx.output_placed(0, |_| true)?;
        elementwise::map(cx, "BatchNormalization", e.body(), &y, &views, &out)
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        Tolerance::ulps(dtype, 32.0)
    }
}

/// Which elements make a row, and how it is scaled.
#[derive(Debug, Clone)]
enum Rows {
    /// All positions of one channel of one example.
    Instance,
    /// All positions of a group of channels; scale and bias by channel, or (in opset 18) by group.
    Group { groups: usize, by_group: bool },
    /// The dims from an axis on.
    Layer { axis: i64, center: bool },
}

#[derive(Debug)]
struct Normalise {
    rows: Rows,
    epsilon: f32,
    /// The type of Mean and InvStdDev.
    stash: DType,
}

fn rows(rows: Rows, a: &AttrReader<'_>) -> Result<Arc<dyn Op>> {
    let stash = a.int_or("stash_type", 1)?;
    let stash = match DType::from_onnx(stash as i32) {
        Some(d @ (F32 | BF16 | F16 | F64)) => d,
        _ => bail!(InvalidNode, "attribute stash_type: {stash} is no float type"),
    };
    Ok(Arc::new(Normalise { rows, epsilon: a.float_or("epsilon", 1e-5)?, stash }))
}

fn parse_group(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let groups = a.required_int("num_groups")?;
    let groups = usize::try_from(groups).ok().filter(|g| *g > 0);
    let groups = groups.ok_or_else(|| err!(InvalidNode, "attribute num_groups must be positive"))?;
    rows(Rows::Group { groups, by_group: n.version < 21 }, a)
}

fn parse_layer(center: bool, a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    rows(Rows::Layer { axis: a.int_or("axis", -1)?, center }, a)
}

impl Normalise {
    fn plan(&self, s: &[usize], scale: usize) -> Result<NormPlan> {
        let spatial: usize = s.iter().skip(2).product();
        let channels = s.get(1).copied().unwrap_or(1);
        let base = NormPlan {
            rows: 0,
            length: 0,
            channels: scale,
            row_step: 0,
            inner: 1,
            epsilon: self.epsilon,
            center: true,
            outside: false,
        };
        Ok(match self.rows {
            Rows::Instance => {
                ensure!(s.len() >= 3 && scale == channels, InvalidNode, "{scale} scales for {s:?}");
                NormPlan { rows: s[0] * channels, length: spatial, row_step: 1, inner: spatial, ..base }
            }
            Rows::Group { groups, by_group } => {
                ensure!(s.len() >= 2 && channels.is_multiple_of(groups), InvalidNode, "{groups} groups of {s:?}");
                let each = channels / groups;
                let (row_step, inner) = if by_group { (1, each * spatial) } else { (each, spatial) };
                let want = if by_group { groups } else { channels };
                ensure!(scale == want, InvalidNode, "expected {want} scales, got {scale}");
                NormPlan { rows: s[0] * groups.min(channels), length: each * spatial, row_step, inner, ..base }
            }
            Rows::Layer { axis, center } => {
                let axis = shape::axis(axis, s.len())?;
                let (rows, length) = (shape::numel(&s[..axis]), shape::numel(&s[axis..]));
                NormPlan { rows, length, center, ..base }
            }
        })
    }

    /// The shape of Mean and InvStdDev.
    fn stat_shape(&self, s: &[usize]) -> Result<Vec<usize>> {
        let Rows::Layer { axis, .. } = self.rows else { bail!(InvalidNode, "there is only one output") };
        let axis = shape::axis(axis, s.len())?;
        Ok(s.iter().enumerate().map(|(i, d)| if i < axis { *d } else { 1 }).collect())
    }
}

impl Op for Normalise {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let x = cx.input(0)?;
        let scales = cx.input(1)?.numel();
        self.plan(&x.shape, scales)?;
        let bias = cx.try_input(2).filter(|_| !matches!(self.rows, Rows::Layer { .. }));
        if let Some(bias) = bias.filter(|b| b.numel() != scales) {
            return Err(err!(InvalidNode, "{scales} scales, but bias {bias}").into());
        }
        if let Rows::Layer { axis, .. } = self.rows {
            let tail = &x.shape[shape::axis(axis, x.rank())?..];
            for t in [1, 2].into_iter().filter_map(|i| cx.try_input(i)) {
                if shape::broadcast(&[&t.shape, tail]).ok().as_deref() != Some(tail) {
                    return Err(err!(Unsupported, "scale or bias {t} for rows of {tail:?}").into());
                }
            }
        }
        let mut out = vec![TensorType::new(x.dtype, x.shape.clone())];
        if let Rows::Layer { .. } = self.rows {
            let t = TensorType::new(self.stash, self.stat_shape(&x.shape)?);
            out.extend([t.clone(), t]);
        }
        Ok(out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let scale = need(inputs, 1)?;
        let p = self.plan(x.shape(), scale.len())?;
        // a layer's scale and bias may be any shape that broadcasts to the normalised dims
        let full = |t: &Tensor| -> Result<Vec<f64>> {
            let v = t.to_f64s()?;
            match self.rows {
                Rows::Layer { axis, .. } => {
                    let tail = &x.shape()[shape::axis(axis, x.rank())?..];
                    Ok(shape::broadcast_indices(t.shape(), tail).into_iter().map(|i| v[i]).collect())
                }
                _ => Ok(v),
            }
        };
        let (scale, bias) = (full(scale)?, opt(inputs, 2).map(full).transpose()?);
        let v = x.to_f64s()?;
        let (mut y, mut means, mut inverses) = (Vec::with_capacity(v.len()), vec![], vec![]);
        for r in 0..p.rows {
            let row = &v[r * p.length..(r + 1) * p.length];
            let n = p.length as f64;
            let mean = if p.center { row.iter().sum::<f64>() / n } else { 0.0 };
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let inverse = 1.0 / (variance + p.epsilon as f64).sqrt();
            for (j, x) in row.iter().enumerate() {
                let c = (r * p.row_step + j / p.inner.max(1)) % scale.len().max(1);
                y.push((x - mean) * inverse * scale[c] + bias.as_ref().map_or(0.0, |b| b[c]));
            }
            means.push(mean);
            inverses.push(inverse);
        }
        let mut out = vec![Tensor::from_f64s(x.dtype(), x.shape(), y)?];
        if let Rows::Layer { .. } = self.rows {
            let s = self.stat_shape(x.shape())?;
            out.push(Tensor::from_f64s(self.stash, s.clone(), means)?);
            out.push(Tensor::from_f64s(self.stash, s, inverses)?);
        }
        Ok(out)
    }

    fn slices(&self, _: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let rows = match self.rows {
            Rows::Layer { axis, .. } => shape::axis(axis, out.len()).unwrap_or(0),
            _ => 1,
        };
        Slicing::shared(0..rows)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        self.lower_between(cx, Ends::default())
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.no_start()?;
        let x = cx.dense_input(0)?;
        let tail = |cx: &mut LowerCx<'_>, v: View| match self.rows {
            Rows::Layer { axis, .. } => {
                let tail = x.shape[shape::axis(axis, x.rank())?..].to_vec();
                if v.shape == tail { cx.dense(&v) } else { cx.dense(&v.broadcast(&tail)) }
            }
            _ => cx.dense(&v),
        };
        let scale = cx.input(1)?;
        let scale = tail(cx, scale)?;
        let bias = match cx.try_input(2)? {
            Some(b) => Some(tail(cx, b)?),
            None => None,
        };
        let plan = self.plan(&x.shape, scale.numel())?;
        let out = cx.output(0)?;
        let mean = if cx.has_output(1) { Some(cx.output(1)?) } else { None };
        let deviation = if cx.has_output(2) { Some(cx.output(2)?) } else { None };
        norm::norm(cx, &plan, &x, [Some(&scale), bias.as_ref()], (&out, end), [mean.as_ref(), deviation.as_ref()])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 64.0 + (k as f64).sqrt())
    }
}

fn instance_cases() -> Vec<Case> {
    let case =
        |d: DType, s: &[usize]| Case::new("InstanceNormalization", 22).rand(d, s).rand(d, &[s[1]]).rand(d, &[s[1]]);
    vec![
        case(F32, &[2, 3, 5, 7]),
        case(F16, &[2, 3, 50]),
        case(F32, &[1, 5, 2, 3, 4]),
        case(F32, &[1, 2, 100, 101]).sum(10100),
    ]
}

fn group_cases() -> Vec<Case> {
    let case = |opset: i64, n: usize, d: DType| {
        Case::new("GroupNormalization", opset).rand(d, &[2, 6, 5, 7]).rand(d, &[n]).rand(d, &[n]).int("num_groups", 3)
    };
    let wide = Case::new("GroupNormalization", 21).rand(F32, &[2, 6, 8, 33]).rand(F32, &[6]).rand(F32, &[6]);
    vec![case(21, 6, F32), case(18, 3, F32), case(21, 6, F16), wide.int("num_groups", 2).sum(792)]
}

fn layer_cases(name: &'static str, opset: i64, domain: &'static str) -> Vec<Case> {
    let case = |d: DType, s: &[usize], axis: usize| {
        let c = Case::new(name, opset).domain(domain).rand(d, s).rand(d, &s[axis..]).int("axis", axis as i64);
        c.sum(shape::numel(s))
    };
    let mut all = vec![
        case(F32, &[2, 3, 64], 2),
        case(F16, &[4, 65], 1),
        case(F32, &[2, 3, 5, 7], 2),
        case(F32, &[2, 10000], 1).sum(10000),
    ];
    if name != "SimplifiedLayerNormalization" {
        all.extend(super::LENGTHS.iter().map(|n| case(F32, &[3, *n], 1)));
    }
    all.push(case(F32, &[3, 4], 0).float("epsilon", 0.1));
    if name == "LayerNormalization" {
        all = all.into_iter().map(|c| c.rand(F32, &[1])).collect();
        all[1] = case(F16, &[4, 65], 1).rand(F16, &[65]);
        all.push(case(F32, &[2, 3, 64], 2).rand(F32, &[64]).outputs(3));
        all.push(case(F32, &[2, 3, 64], 2));
        all.push(case(F16, &[3, 768], 1).rand(F16, &[768]));
        let mut odd = vec![0.5f32; 4 * 40];
        (odd[3], odd[77], odd[100]) = (-1.5, f32::NAN, f32::INFINITY);
        odd[120] = f32::NEG_INFINITY;
        all.extend(Tensor::new([4, 40], odd).map(|t| Case::new(name, 17).value(t).rand(F32, &[40])).ok());
    }
    all
}

/// `(x - mean) / (deviation + 1e-9)` over some axes.
#[derive(Debug)]
struct MeanVariance {
    axes: Vec<i64>,
}

const MEAN_VARIANCE_EPSILON: f32 = 1e-9;

fn mean_variance_cases() -> Vec<Case> {
    let case = || Case::new("MeanVarianceNormalization", 13).rand(F32, &[2, 3, 5, 7]);
    vec![case(), case().ints("axes", &[1]), case().ints("axes", &[-1, 0])]
}

impl MeanVariance {
    /// The order of dims that brings the axes to the end, and how many stay before them.
    fn order(&self, rank: usize) -> Result<(Vec<usize>, usize)> {
        let axes = shape::axes(&self.axes, rank)?;
        let mut order: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
        let kept = order.len();
        let mut sorted = axes;
        sorted.sort_unstable();
        order.extend(sorted);
        Ok((order, kept))
    }
}

impl Op for MeanVariance {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.order(cx.input(0)?.rank())?;
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (order, kept) = self.order(x.rank())?;
        let dense = crate::plan::dense_strides(x.shape());
        let (s, strides): (Vec<usize>, Vec<isize>) = order.iter().map(|i| (x.shape()[*i], dense[*i])).unzip();
        let at = shape::strided_indices(&s, &strides, 0);
        let (v, n) = (x.to_f64s()?, shape::numel(&s[kept..]).max(1));
        let mut y = vec![0.0; v.len()];
        for row in at.chunks(n) {
            let mean = row.iter().map(|i| v[*i]).sum::<f64>() / n as f64;
            let variance = row.iter().map(|i| (v[*i] - mean).powi(2)).sum::<f64>() / n as f64;
            row.iter().for_each(|i| y[*i] = (v[*i] - mean) / (variance.sqrt() + MEAN_VARIANCE_EPSILON as f64));
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let (order, kept) = self.order(x.rank())?;
        let moved = cx.dense(&x.permuted(&order))?;
        let plan = NormPlan {
            rows: shape::numel(&moved.shape[..kept]),
            length: shape::numel(&moved.shape[kept..]),
            channels: 1,
            row_step: 0,
            inner: 1,
            epsilon: MEAN_VARIANCE_EPSILON,
            center: true,
            outside: true,
        };
        let out = cx.temp(x.dtype, &moved.shape)?;
        norm::norm(cx, &plan, &moved, [None; 2], (&out, None), [None; 2])?;
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(i, o)| back[*o] = i);
        cx.alias(0, out.permuted(&back))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 64.0 + (k as f64).sqrt())
    }
}

/// Local response normalisation across channels.
#[derive(Debug)]
struct Lrn {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
}

fn parse_lrn(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let size = a.required_int("size")?;
    let size = usize::try_from(size).ok().filter(|s| *s > 0);
    Ok(Arc::new(Lrn {
        alpha: a.float_or("alpha", 1e-4)?,
        beta: a.float_or("beta", 0.75)?,
        bias: a.float_or("bias", 1.0)?,
        size: size.ok_or_else(|| err!(InvalidNode, "attribute size must be positive"))?,
    }))
}

fn lrn_cases() -> Vec<Case> {
    let case = |size: i64| Case::new("LRN", 13).rand(F32, &[2, 7, 5, 3]).int("size", size);
    let mut all: Vec<Case> = [1, 2, 3, 5, 20].into_iter().map(case).collect();
    all.push(case(3).float("alpha", 0.5).float("beta", 0.6).float("bias", 2.0));
    all
}

impl Op for Lrn {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        if cx.input(0)?.rank() < 2 {
            return Err(err!(InvalidNode, "expected at least 2 dims, got {:?}", cx.shape(0)?).into());
        }
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (channels, inner) = (x.shape()[1], x.shape()[2..].iter().product::<usize>());
        let v = x.to_f64s()?;
        let one = |(i, x): (usize, &f64)| {
            let c = i / inner % channels;
            let (low, high) = (c.saturating_sub((self.size - 1) / 2), (c + self.size / 2).min(channels - 1));
            let sum: f64 = (low..=high).map(|k| v[i + k * inner - c * inner].powi(2)).sum();
            x / (self.bias as f64 + self.alpha as f64 / self.size as f64 * sum).powf(self.beta as f64)
        };
        Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), v.iter().enumerate().map(one).collect())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.dense_input(0)?;
        let out = cx.output(0)?;
        norm::lrn(cx, &x, self.size, self.alpha, self.beta, self.bias, &out)
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        Tolerance::ulps(dtype, 32.0)
    }
}
