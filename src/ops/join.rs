//! Operators that put tensors together, repeat or rearrange them: Concat, Pad, Tile, DepthToSpace, Trilu, ….

use std::sync::Arc;

use super::eval::{need, opt};
use super::infer::one;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType::*;
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::join::join;
use crate::kernels::pad::{self, Mode};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Concat", &[4, 11, 13], |a, _| Ok(Arc::new(Concat { axis: a.required_int("axis")? })), concat_cases),
    row("Pad", &[2, 11, 13, 18, 19, 21, 23, 24, 25], parse_pad, pad_cases),
    row("Tile", &[6, 13], |_, _| Ok(Arc::new(Tile)), tile_cases),
    row("DepthToSpace", &[1, 11, 13], parse_depth, depth_cases),
    row("SpaceToDepth", &[1, 13, 28], parse_space, || {
        let case = || Case::new("SpaceToDepth", 28).rand(F32, &[2, 3, 4, 6]).int("blocksize", 2);
        vec![case(), case().string("mode", "CRD"), case().string("mode", "DCR")]
    }),
    row("Trilu", &[14], |a, _| Ok(Arc::new(Trilu { upper: a.flag_or("upper", true)? })), trilu_cases),
];

fn ints(v: &[i64]) -> Tensor {
    Tensor::vector(v)
}

#[derive(Debug)]
struct Concat {
    axis: i64,
}

fn concat_cases() -> Vec<Case> {
    let types = [F32, F16, BF16, I8, U8, I16, I32, I64, U64, Bool];
    let mut all: Vec<Case> = types
        .iter()
        .map(|d| Case::new("Concat", 13).rand(*d, &[2, 3, 5]).rand(*d, &[2, 4, 5]).int("axis", 1))
        .collect();
    all.push(Case::new("Concat", 13).rand(F32, &[2, 3]).rand(F32, &[2, 0]).rand(F32, &[2, 1]).int("axis", -1));
    all.push(Case::new("Concat", 13).rand(F32, &[3]).int("axis", 0));
    let many = (0..12).fold(Case::new("Concat", 13).int("axis", 0), |c, i| c.rand(F32, &[i % 3, 7]));
    all.push(many);
    all
}

impl Op for Concat {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let mut s = cx.shape(0)?.to_vec();
        let axis = shape::axis(self.axis, s.len())?;
        s[axis] = 0;
        for i in 0..cx.len() {
            let part = cx.input(i)?;
            let others =
                |x: &[usize]| x.iter().enumerate().filter(|(k, _)| *k != axis).map(|(_, d)| *d).collect::<Vec<_>>();
            if part.rank() != s.len() || others(&part.shape) != others(&s) || part.dtype != cx.dtype(0)? {
                return Err(err!(InvalidNode, "cannot join {} and {part} along axis {axis}", cx.input(0)?).into());
            }
            s[axis] = s[axis].saturating_add(part.shape[axis]);
        }
        one(cx.dtype(0)?, s)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let parts: Vec<Tensor> = (0..inputs.len()).map(|i| need(inputs, i).cloned()).collect::<Result<_>>()?;
        let first = need(inputs, 0)?;
        let axis = shape::axis(self.axis, first.rank())?;
        let mut s = first.shape().to_vec();
        s[axis] = parts.iter().map(|p| p.shape()[axis]).sum();
        let outer = shape::numel(&s[..axis]);
        let mut starts = vec![];
        parts.iter().fold(0, |at, p| {
            starts.push(at);
            at + p.len()
        });
        let mut sources = Vec::with_capacity(shape::numel(&s));
        for o in 0..outer {
            for (p, start) in parts.iter().zip(&starts) {
                let row = p.len() / outer;
                sources.extend(start + o * row..start + (o + 1) * row);
            }
        }
        Ok(vec![Tensor::concat(&parts)?.select(s, &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let parts = (0..cx.input_count()).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
        let t = cx.output_type(0)?;
        let axis = shape::axis(self.axis, t.rank())?;
        if let Some(view) = side_by_side(&parts, axis, &t.shape) {
            return cx.alias(0, view);
        }
        let out = cx.output_joined(0)?;
        let slices = slices(&out, axis, parts.iter().map(|p| p.shape[axis]));
        let moved = parts.into_iter().zip(slices).filter(|(p, slice)| !p.same_place(slice));
        let (within, apart): (Vec<_>, Vec<_>) = moved.partition(|(p, _)| p.buf == out.buf);
        within.iter().try_for_each(|(p, slice)| cx.copy_apart(p, slice))?;
        join(cx, &apart, &out)
    }

    fn moves(&self) -> bool {
        true
    }

    fn sources(&self, cx: &InferCx<'_>, out: &View) -> Vec<(usize, View)> {
        let Ok(axis) = shape::axis(self.axis, out.rank()) else { return vec![] };
        let extents: Vec<usize> = (0..cx.len()).filter_map(|i| Some(cx.try_input(i)?.shape[axis])).collect();
        slices(out, axis, extents.into_iter()).into_iter().enumerate().filter(|(_, v)| v.numel() > 0).collect()
    }
}

/// Slices of `out` along an axis, one behind the other.
fn slices(out: &View, axis: usize, extents: impl Iterator<Item = usize>) -> Vec<View> {
    let mut at = 0;
    let slice = |n| {
        at += n;
        out.sliced(axis, at - n, 1, n)
    };
    extents.map(slice).collect()
}

/// What `parts` make along `axis`, where they lie in one buffer just so.
pub(super) fn side_by_side(parts: &[View], axis: usize, shape: &[usize]) -> Option<View> {
    let mut some = parts.iter().filter(|p| p.numel() > 0);
    let first = some.next()?;
    let mut whole = View { shape: shape.to_vec(), ..first.clone() };
    if let Some(second) = some.next() {
        let step = second.offset as isize - first.offset as isize;
        whole.strides[axis] = step / first.shape[axis] as isize;
    }
    let slices = slices(&whole, axis, parts.iter().map(|p| p.shape[axis]));
    (whole.strides[axis] != 0 && parts.iter().zip(&slices).all(|(p, s)| p.same_place(s))).then_some(whole)
}

/// Pads from attributes (before opset 11) or inputs.
#[derive(Debug)]
struct Pad {
    mode: Mode,
    given: Option<(Vec<i64>, f32)>,
}

fn parse_pad(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mode = match a.string_or("mode", "constant".into())?.as_str() {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" if n.version >= 19 => Mode::Wrap,
        other => bail!(InvalidNode, "attribute mode: expected constant, reflect, edge or wrap, got {other:?}"),
    };
    let given = if n.version < 11 {
        let pads = a.ints("pads")?.ok_or_else(|| err!(InvalidNode, "attribute pads is missing"))?;
        Some((pads, a.float_or("value", 0.0)?))
    } else {
        None
    };
    Ok(Arc::new(Pad { mode, given }))
}

impl Pad {
    /// Elements added before and after each axis; negative ones are removed.
    fn pads(
        &self,
        rank: usize,
        input: &dyn Fn(usize) -> Result<Option<Vec<i64>>, Defer>,
    ) -> Result<Vec<(i64, i64)>, Defer> {
        let (pads, axes) = match &self.given {
            Some((pads, _)) => (pads.clone(), None),
            None => (input(1)?.ok_or_else(|| Defer::Error(err!(InvalidNode, "input 1 is missing")))?, input(3)?),
        };
        let all: Vec<i64> = (0..rank as i64).collect();
        let axes = shape::axes(&axes.unwrap_or(all), rank)?;
        if pads.len() != axes.len() * 2 {
            return Err(err!(InvalidNode, "expected {} pads, got {pads:?}", axes.len() * 2).into());
        }
        let mut out = vec![(0, 0); rank];
        for (i, a) in axes.iter().enumerate() {
            out[*a] = (pads[i], pads[i + axes.len()]);
        }
        Ok(out)
    }

    fn shape(&self, from: &[usize], pads: &[(i64, i64)]) -> Result<Vec<usize>> {
        let extent = |(d, (a, b)): (&usize, &(i64, i64))| {
            let n = (*d as i64).checked_add(*a).and_then(|x| x.checked_add(*b)).unwrap_or(-1);
            ensure!(
                *d > 0 || n <= 0 || self.mode == Mode::Constant,
                InvalidNode,
                "cannot {:?} an empty axis",
                self.mode
            );
            usize::try_from(n).map_err(|_| err!(InvalidNode, "pads {pads:?} make an extent of {from:?} negative"))
        };
        from.iter().zip(pads).map(extent).collect()
    }
}

fn settled<T>(r: Result<T, Defer>) -> Result<T> {
    r.map_err(|d| match d {
        Defer::Error(e) => e,
        _ => err!(Internal, "data is missing"),
    })
}

/// The source coordinate for coordinate `i` of an axis of extent `n` (counted before padding), or `None` for the fill.
fn source(mode: Mode, i: i64, n: i64) -> Option<i64> {
    let inside = (0..n).contains(&i);
    match mode {
        _ if inside => Some(i),
        Mode::Constant => None,
        Mode::Edge => Some(i.clamp(0, n - 1)),
        Mode::Wrap => Some(i.rem_euclid(n)),
        Mode::Reflect if n == 1 => Some(0),
        Mode::Reflect => {
            let period = 2 * (n - 1);
            let j = i.rem_euclid(period);
            Some(if j < n { j } else { period - j })
        }
    }
}

impl Op for Pad {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let from = cx.shape(0)?;
        let pads = self.pads(from.len(), &|i| cx.ints(i))?;
        if let Some(fill) = cx.try_input(2).filter(|f| f.dtype != cx.dtype(0).unwrap_or(f.dtype)) {
            return Err(err!(InvalidNode, "expected {} to fill with, got {fill}", cx.dtype(0)?).into());
        }
        one(cx.dtype(0)?, self.shape(from, &pads)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let pads = settled(self.pads(x.rank(), &|i| Ok(opt(inputs, i).map(Tensor::to_i64s).transpose()?)))?;
        let to = self.shape(x.shape(), &pads)?;
        let strides = shape::strides(x.shape());
        let mut at = vec![];
        for c in shape::coords(&to) {
            let axis = |k: usize| source(self.mode, (c[k] as i64).saturating_sub(pads[k].0), x.shape()[k] as i64);
            at.push((0..c.len()).try_fold(0usize, |sum, k| Some(sum + axis(k)? as usize * strides[k])));
        }
        let fill = match (&self.given, opt(inputs, 2)) {
            (Some((_, v)), _) => Tensor::from_f64s(x.dtype(), [], vec![*v as f64])?,
            (None, Some(v)) => v.reshaped([1])?,
            (None, None) => Tensor::zeros(x.dtype(), []),
        };
        Ok(vec![x.select_or(to, &at, &fill)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let pads = settled(self.pads(x.rank(), &|i| Ok(cx.ints(i)?)))?;
        let fill = match (&self.given, cx.has_input(2)) {
            (Some((_, v)), _) => cx.constant(Tensor::from_f64s(x.dtype, [], vec![*v as f64])?)?,
            (None, true) => cx.input(2)?,
            (None, false) => cx.constant(Tensor::zeros(x.dtype, []))?,
        };
        let out = cx.output(0)?;
        let before: Vec<isize> = pads.iter().map(|p| p.0 as isize).collect();
        pad::pad(cx, self.mode, &x, &fill, &before, &out)
    }
}

fn pad_cases() -> Vec<Case> {
    let mut all = vec![];
    for d in [F32, F16, BF16, I8, U8, I32, I64, U64, Bool] {
        let fill = Tensor::from_i128s(d, [], vec![1]).unwrap_or_else(|_| Tensor::zeros(d, []));
        all.push(Case::new("Pad", 21).rand(d, &[3, 4]).constant(ints(&[1, 0, 2, 3])).constant(fill));
    }
    for mode in ["constant", "reflect", "edge", "wrap"] {
        let case =
            |s: &[usize], pads: &[i64]| Case::new("Pad", 19).string("mode", mode).rand(F32, s).constant(ints(pads));
        all.push(case(&[4, 5], &[3, 2, 1, 3]));
        all.push(case(&[4, 5, 3], &[-1, 0, 1, 2, -2, 0]));
        all.push(case(&[2, 1, 3, 2, 2], &[0, 0, 1, 1, 0, 0, 0, 1, 0, 1]));
        all.push(case(&[67], &[0, 300]));
    }
    all.push(Case::new("Pad", 18).rand(F32, &[2, 3, 4]).constant(ints(&[1, 2])).absent().constant(ints(&[-1])));
    all.push(Case::new("Pad", 2).rand(F32, &[2, 3]).ints("pads", &[0, 1, 1, 0]).float("value", 1.5));
    all.push(Case::new("Pad", 13).rand(F32, &[0, 3]).constant(ints(&[1, 0, 1, 0])));
    all.push(Case::new("Pad", 13).rand(F32, &[3]).value(ints(&[1, 2])).value(Tensor::scalar(9.0f32)));
    all
}

#[derive(Debug)]
struct Tile;

impl Tile {
    fn target(from: &[usize], repeats: &[i64]) -> Result<Vec<usize>> {
        ensure!(repeats.len() == from.len(), InvalidNode, "repeats {repeats:?} do not fit {from:?}");
        let times = |(d, r): (&usize, &i64)| {
            let r = usize::try_from(*r).map_err(|_| err!(InvalidNode, "repeats {repeats:?} are negative"))?;
            d.checked_mul(r).ok_or_else(|| err!(Limit, "repeats {repeats:?} are too large"))
        };
        from.iter().zip(repeats).map(times).collect()
    }
}

impl Op for Tile {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let repeats = cx.value(1)?.to_i64s()?;
        one(cx.dtype(0)?, Tile::target(cx.shape(0)?, &repeats)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let to = Tile::target(x.shape(), &need(inputs, 1)?.to_i64s()?)?;
        let strides = shape::strides(x.shape());
        let at = |c: Vec<usize>| c.iter().enumerate().map(|(k, i)| i % x.shape()[k] * strides[k]).sum();
        let sources: Vec<usize> = shape::coords(&to).map(at).collect();
        Ok(vec![x.select(to, &sources)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        // [a, b] repeated [m, n] times is [1, a, 1, b] expanded to [m, a, n, b]
        let (x, t) = (cx.input(0)?, cx.output_type(0)?);
        if x.numel() == 0 || t.numel() == 0 {
            cx.output(0)?;
            return Ok(());
        }
        let (mut wide, mut full) = (vec![], vec![]);
        for (d, n) in x.shape.iter().zip(&t.shape) {
            wide.extend([1, *d]);
            full.extend([n / d, *d]);
        }
        let view = x.reshaped(&wide).map_or_else(|| cx.dense(&x), Ok)?;
        let view = view.reshaped(&wide).unwrap_or(view).broadcast(&full);
        let out = cx.output(0)?;
        let flat = out.reshaped(&full).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        copy(cx, &view, &flat)
    }
}

fn tile_cases() -> Vec<Case> {
    let case = |s: &[usize], r: &[i64]| Case::new("Tile", 13).rand(F32, s).constant(ints(r));
    let mut all: Vec<Case> =
        [F16, I8, I64, Bool].iter().map(|d| Case::new("Tile", 13).rand(*d, &[2, 3]).constant(ints(&[2, 2]))).collect();
    all.extend([case(&[2, 3, 4], &[1, 3, 2]), case(&[], &[]), case(&[2, 3], &[0, 1]), case(&[0, 3], &[2, 1])]);
    all.push(case(&[1, 2, 1, 2, 2], &[2, 1, 2, 1, 3]));
    all
}

/// Which way blocks of `size` × `size` pixels and channels are exchanged.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Depth, column, row.
    Dcr,
    /// Column, row, depth.
    Crd,
    /// From space to depth, in the order of [`Order::Dcr`].
    SpaceDcr,
    /// From space to depth, in the order of [`Order::Crd`].
    SpaceCrd,
}

#[derive(Debug)]
struct Blocks {
    size: usize,
    order: Order,
}

fn block(a: &AttrReader<'_>) -> Result<usize> {
    let n = a.required_int("blocksize")?;
    // no image has larger ones, and their squares must be numbers
    let fits = usize::try_from(n).ok().filter(|n| (1..1 << 15).contains(n));
    fits.ok_or_else(|| err!(InvalidNode, "attribute blocksize is {n}"))
}

fn parse_depth(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mode = if n.version >= 11 { a.string_or("mode", "DCR".into())? } else { "DCR".into() };
    let order = match mode.as_str() {
        "DCR" => Order::Dcr,
        "CRD" => Order::Crd,
        other => bail!(InvalidNode, "attribute mode: expected DCR or CRD, got {other:?}"),
    };
    Ok(Arc::new(Blocks { size: block(a)?, order }))
}

fn parse_space(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mode = if n.version >= 28 { a.string_or("mode", "DCR".into())? } else { "DCR".into() };
    let order = match mode.as_str() {
        "DCR" => Order::SpaceDcr,
        "CRD" => Order::SpaceCrd,
        other => bail!(InvalidNode, "attribute mode: expected DCR or CRD, got {other:?}"),
    };
    Ok(Arc::new(Blocks { size: block(a)?, order }))
}

impl Blocks {
    /// The six-dimensional view, its permutation, and the shape of the result.
    fn steps(&self, from: &[usize]) -> Result<([usize; 6], [usize; 6], [usize; 4])> {
        let [n, c, h, w] = from[..] else { bail!(InvalidNode, "expected 4 dims, got {from:?}") };
        let b = self.size;
        if let Order::SpaceDcr | Order::SpaceCrd = self.order {
            ensure!(h.is_multiple_of(b) && w.is_multiple_of(b), InvalidNode, "{from:?} has no blocks of {b}");
            let perm = if let Order::SpaceCrd = self.order { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
            return Ok(([n, c, h / b, b, w / b, b], perm, [n, c.saturating_mul(b * b), h / b, w / b]));
        }
        ensure!(c.is_multiple_of(b * b), InvalidNode, "{c} channels do not make blocks of {b}");
        let (d, to) = (c / (b * b), [n, c / (b * b), h.saturating_mul(b), w.saturating_mul(b)]);
        Ok(match self.order {
            Order::Crd => ([n, d, b, b, h, w], [0, 1, 4, 2, 5, 3], to),
            _ => ([n, b, b, d, h, w], [0, 3, 4, 1, 5, 2], to),
        })
    }
}

impl Op for Blocks {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, self.steps(cx.shape(0)?)?.2)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (six, perm, to) = self.steps(x.shape())?;
        let dense = shape::strides(&six);
        let (s, strides): (Vec<usize>, Vec<isize>) = perm.iter().map(|p| (six[*p], dense[*p] as isize)).unzip();
        Ok(vec![x.select(to, &shape::strided_indices(&s, &strides, 0))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.dense_input(0)?;
        let (six, perm, to) = self.steps(&x.shape)?;
        let view = x.reshaped(&six).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?.permuted(&perm);
        match view.reshaped(&to) {
            Some(v) => cx.alias(0, v),
            None => {
                let dense = cx.dense(&view)?;
                let v = dense.reshaped(&to).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
                cx.alias(0, v)
            }
        }
    }
}

fn depth_cases() -> Vec<Case> {
    let mut all = vec![];
    for mode in ["DCR", "CRD"] {
        for d in [F32, F16, I64] {
            all.push(Case::new("DepthToSpace", 13).rand(d, &[2, 8, 3, 5]).int("blocksize", 2).string("mode", mode));
        }
    }
    all
}

#[derive(Debug)]
struct Trilu {
    upper: bool,
}

impl Op for Trilu {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.ints(1)?;
        if cx.shape(0)?.len() < 2 {
            return Err(err!(InvalidNode, "expected at least 2 dims, got {:?}", cx.shape(0)?).into());
        }
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        ensure!(x.rank() >= 2, InvalidNode, "expected at least 2 dims, got {:?}", x.shape());
        let k = opt(inputs, 1).map(Tensor::to_i64s).transpose()?.and_then(|v| v.first().copied()).unwrap_or(0);
        let (rows, cols) = (x.shape()[x.rank() - 2], x.shape()[x.rank() - 1]);
        let keep = |i: usize| {
            let (r, c) = ((i / cols % rows) as i64, (i % cols) as i64);
            let on = if self.upper { c >= r.saturating_add(k) } else { c <= r.saturating_add(k) };
            on.then_some(i)
        };
        let at: Vec<Option<usize>> = (0..x.len()).map(keep).collect();
        Ok(vec![x.select_or(x.shape(), &at, &Tensor::zeros(x.dtype(), []))?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.dense_input(0)?;
        let k = cx.ints(1)?.and_then(|v| v.first().copied()).unwrap_or(0);
        let out = cx.output(0)?;
        pad::trilu(cx, self.upper, k, &x, &out)
    }
}

fn trilu_cases() -> Vec<Case> {
    let mut all = vec![];
    for upper in [0, 1] {
        for k in [-2, 0, 1, 100] {
            all.push(
                Case::new("Trilu", 14).rand(F32, &[2, 5, 7]).constant(Tensor::scalar(k as i64)).int("upper", upper),
            );
        }
        all.push(Case::new("Trilu", 14).rand(I64, &[4, 3]).int("upper", upper));
        all.push(Case::new("Trilu", 14).rand(Bool, &[4, 3]).int("upper", upper));
    }
    all
}
