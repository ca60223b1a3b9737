//! Convolutions of quantised tensors: ConvInteger, QLinearConv.

use std::sync::Arc;

use super::conv::Conv;
use super::epilogue;
use super::eval::{need, opt};
use super::infer::one;
use super::quant_products::{
    ADDED, QUANTISED, SCALED, Scales, W_SCALE, X_SCALE, Y_SCALE, Y_ZERO, centred, is_bytes, is_known, less_tag, number,
    ramp, shifted, shifted_view, widened, zero_point,
};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType;
use crate::dtype::DType::{F32, I8, I32, U8, U32};
use crate::ir::{Attr, AttrReader, TensorType};
use crate::kernels::conv::{self, Around, Filters, Operands, Shape};
use crate::kernels::epilogue::{Ends, Epilogue};
use crate::kernels::pack_bytes::{pack_bytes, packed_along};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// ConvInteger's row of the registry.
pub(super) const CONV_INTEGER: OpDef = OpDef {
    domain: "",
    name: "ConvInteger",
    versions: &[10],
    parse: |a, _| Ok(Arc::new(ConvInteger(Convolution::parse(a)?))),
    cases: conv_integer_cases,
};
/// QLinearConv's row of the registry.
pub(super) const QLINEAR_CONV: OpDef = OpDef {
    domain: "",
    name: "QLinearConv",
    versions: &[10],
    parse: |a, _: &NodeInfo| Ok(Arc::new(QLinearConv(Convolution::parse(a)?))),
    cases: qlinear_conv_cases,
};

/// A parameter of the filters of a convolution, as it broadcasts to a tensor of `rank` dims in which they are dim `d`.
fn by_filters(p: &[usize], d: usize, rank: usize) -> Vec<usize> {
    match p {
        [filters] if *filters != 1 => {
            let mut s = vec![1; rank];
            s[d] = *filters;
            s
        }
        _ => vec![],
    }
}

/// Inputs with so many elements, where they are present.
fn ensure_counts(cx: &InferCx<'_>, inputs: &[usize], counts: &[usize]) -> Result<()> {
    for (i, t) in inputs.iter().filter_map(|i| Some((i, cx.try_input(*i)?))) {
        ensure!(counts.contains(&t.numel()), InvalidNode, "input {i}: expected one of {counts:?} elements, got {t}");
    }
    Ok(())
}

/// Convolution of integers, with Conv's attributes.
#[derive(Debug)]
struct Convolution(Conv);

impl Convolution {
    fn parse(a: &AttrReader<'_>) -> Result<Convolution> {
        Ok(Convolution(Conv::parse(a)?))
    }

    fn output(&self, x: &[usize], w: &[usize]) -> Result<Vec<usize>> {
        ensure!(x.len() >= 3, InvalidNode, "cannot convolve {x:?} with {w:?}");
        Ok(self.0.shapes((x, w, None))?.output())
    }

    fn eval(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let shapes = self.0.shapes((x.shape(), w.shape(), None))?;
        let (out, groups, win) = (shapes.output(), shapes.group, shapes.geometry);
        let (xs, ws) = (x.to_i128s()?, w.to_i128s()?);
        let bias = bias.map(Tensor::to_i128s).transpose()?;
        let (sx, sw) = (shape::strides(x.shape()), shape::strides(w.shape()));
        let depth = w.shape()[1];
        let mut values = Vec::with_capacity(shape::numel(&out));
        for at in shape::coords(&out) {
            let first = at[1] / (out[1] / groups) * depth;
            let mut sum = bias.as_ref().map_or(0, |b| b[at[1]]);
            for k in shape::coords(&win.kernel) {
                let place = |d: usize| (at[d + 2] * win.strides[d] + k[d] * win.dilations[d]).checked_sub(win.begin[d]);
                let inside: Option<Vec<usize>> =
                    (0..k.len()).map(|d| place(d).filter(|p| *p < x.shape()[d + 2])).collect();
                let Some(p) = inside else { continue };
                let spot: usize = p.iter().zip(&sx[2..]).map(|(p, s)| p * s).sum();
                let tap: usize = k.iter().zip(&sw[2..]).map(|(k, s)| k * s).sum();
                for c in 0..depth {
                    sum += xs[at[0] * sx[0] + (first + c) * sx[1] + spot] * ws[at[1] * sw[0] + c * sw[1] + tap];
                }
            }
            values.push(sum);
        }
        Tensor::from_i128s(I32, out, values)
    }

    /// Sums of inputs `x` and `w` less their zero points, through `end`.
    fn lower(
        &self,
        cx: &mut LowerCx<'_>,
        [x, w]: [usize; 2],
        zeros: [usize; 2],
        bias: usize,
        out: &View,
        end: Option<&Epilogue>,
    ) -> Result<()> {
        let (tx, tw) = (cx.input_type(x)?, cx.input_type(w)?);
        let bias = if cx.has_input(bias) { Some(cx.dense_input(bias)?) } else { None };
        let shapes = self.0.shapes((&tx.shape, &tw.shape, None))?.kernel()?;
        let zero = zero_point(cx, zeros[0])?.and_then(|z| z.reshaped(&[]));
        if cx.attempt(|cx| convolve_bytes(cx, &shapes, [x, w, zeros[1]], zero.as_ref(), bias.as_ref(), out, end))? {
            return Ok(());
        }
        let sums = if zero.is_some() { filter_sums(cx, w, zeros[1])? } else { None };
        let (vx, end, first) = match zero.zip(sums) {
            Some((zero, sums)) => (widened(&cx.input(x)?), Some(centred(cx, Some(&zero), 0, sums, end)?), true),
            None => (shifted_view(cx, x, zeros[0], |_| vec![])?, end.cloned(), false),
        };
        let filters = filters(cx, w, zeros[1])?;
        let ends = Ends { start: None, end: end.as_ref() };
        let around = Around { first, less: 0 };
        conv::convolve(cx, &shapes, &Operands { x: vx, filters, bias, around }, out, ends)
    }
}

/// Products in a sum, and output channels of a group, below which four bytes at a time gain nothing.
const LEAST_BYTES: usize = 32;
const LEAST_CHANNELS: usize = 8;

/// Whether a convolution with filters of this shape gains by four bytes of neighbouring channels at a time.
pub(crate) fn gains(group: usize, w: &[usize]) -> bool {
    let &[filters, channels, ref taps @ ..] = w else { return false };
    let (words, depth) = (channels.div_ceil(4), channels * shape::numel(taps));
    filters / group.max(1) >= LEAST_CHANNELS && depth >= LEAST_BYTES && channels >= 2 * words
}

/// The convolution of inputs `x` and `w` by words of four bytes of neighbouring channels: for constant filters that are
/// signed bytes once they are less their zero point. Unsigned `x` become signed, less 128, as does their `zero` point.
fn convolve_bytes(
    cx: &mut LowerCx<'_>,
    s: &Shape,
    [x, w, w_zero]: [usize; 3],
    zero: Option<&View>,
    bias: Option<&View>,
    out: &View,
    end: Option<&Epilogue>,
) -> Result<()> {
    let words = s.ic.div_ceil(4);
    ensure!(cx.profile().bytes && is_bytes(cx, w, w_zero)?, Unsupported, "filters that are no signed bytes");
    ensure!(gains(s.group, &cx.input_type(w)?.shape), Unsupported, "few bytes");
    let (vx, rank) = (cx.input(x)?, cx.input_type(w)?.rank());
    let less = if vx.dtype == U8 { 128 } else { 0 };
    let end = match zero.is_some() || less > 0 {
        true => {
            let sums = filter_sums(cx, w, w_zero)?.ok_or_else(|| err!(Unsupported, "filters that are not known"))?;
            Some(centred(cx, zero, less, sums, end)?)
        }
        false => end.cloned(),
    };
    let lie = [&[s.batch, s.group, s.ic], &s.input[..]].concat();
    let by_group = vx.reshaped(&lie).ok_or_else(|| err!(Internal, "{:?} is not {lie:?}", vx.shape))?;
    let packed = pack_bytes(cx, &by_group, 2, less > 0)?;
    let z = cx.value(w_zero).cloned();
    let tag = format!("bytes {}", less_tag(z.as_ref()));
    let make = Arc::new(move |w: &Tensor| packed_along(&shifted(w, z.as_ref(), |p| by_filters(p, 0, rank))?, 1));
    let filters = Filters::Constant { input: w, dtype: U32, tag, make };
    let around = Around { first: zero.is_some(), less };
    let shape = Shape { ic: words, ..s.clone() };
    let operands = Operands { x: packed, filters, bias: bias.cloned(), around };
    conv::convolve(cx, &shape, &operands, out, Ends { start: None, end: end.as_ref() })
}

/// The sums of the filters, input `w`, constants, less their zero points; as they broadcast to the result.
fn filter_sums(cx: &mut LowerCx<'_>, w: usize, zero: usize) -> Result<Option<View>> {
    let t = cx.input_type(w)?;
    if !is_known(cx, w, zero) {
        return Ok(None);
    }
    let (z, rank, filters) = (cx.value(zero).cloned(), t.rank(), t.shape.first().copied().unwrap_or(0));
    let mut wide = vec![1; rank.saturating_sub(1)];
    if let Some(d) = wide.first_mut() {
        *d = filters;
    }
    let (to, tag) = (TensorType::new(I32, wide.clone()), format!("sums {}", less_tag(z.as_ref())));
    let make = move |x: &Tensor| {
        let less = shifted(x, z.as_ref(), |p| by_filters(p, 0, rank))?;
        let values = less.to_slice::<i32>()?;
        let taps = values.chunks((x.len() / filters.max(1)).max(1));
        let sums: Vec<i32> = taps.map(|t| t.iter().fold(0i32, |sum, v| sum.wrapping_add(*v))).collect();
        Tensor::new(wide.clone(), sums)
    };
    cx.prepacked(w, &tag, to, make).map(Some)
}

/// The filters, input `w`, less their zero points; made once where both are constant.
fn filters(cx: &mut LowerCx<'_>, w: usize, zero: usize) -> Result<Filters> {
    let rank = cx.input_type(w)?.rank();
    let wide = move |p: &[usize]| by_filters(p, 0, rank);
    if is_known(cx, w, zero) {
        let z = cx.value(zero).cloned();
        let tag = format!("filters {}", less_tag(z.as_ref()));
        let make = Arc::new(move |x: &Tensor| shifted(x, z.as_ref(), wide));
        return Ok(Filters::Constant { input: w, dtype: I32, tag, make });
    }
    let v = shifted_view(cx, w, zero, wide)?;
    Ok(Filters::View(cx.dense(&v)?))
}

#[derive(Debug)]
struct ConvInteger(Convolution);

fn check_conv(cx: &InferCx<'_>, x: usize, w: usize) -> Result<()> {
    let (x, w) = (cx.dtype(x)?, cx.dtype(w)?);
    ensure!(matches!(x, I8 | U8) && matches!(w, I8 | U8), Unsupported, "integer convolution of {x} with {w}");
    Ok(())
}

impl Op for ConvInteger {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        check_conv(cx, 0, 1)?;
        ensure_counts(cx, &[2], &[1])?;
        ensure_counts(cx, &[3], &[1, cx.shape(1)?.first().copied().unwrap_or(0)])?;
        one(I32, self.0.output(cx.shape(0)?, cx.shape(1)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = shifted(need(inputs, 0)?, opt(inputs, 2), |_| vec![])?;
        let w = shifted(need(inputs, 1)?, opt(inputs, 3), |p| by_filters(p, 0, x.rank()))?;
        Ok(vec![self.0.eval(&x, &w, None)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        self.0.lower(cx, [0, 1], [2, 3], usize::MAX, &out, None)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let end = ends.only_end()?;
        let out = cx.output(0)?;
        self.0.lower(cx, [0, 1], [2, 3], usize::MAX, &out, Some(end))
    }
}

#[derive(Debug)]
struct QLinearConv(Convolution);

const BIAS: usize = 8;

impl QLinearConv {
    fn scales(&self, w_scale: &[usize], rank: usize) -> Scales {
        Scales { x: vec![], w: by_filters(w_scale, 1, rank), y: vec![], zero: vec![] }
    }
}

impl Op for QLinearConv {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        check_conv(cx, 0, 3)?;
        let y = cx.dtype(Y_ZERO)?;
        if !matches!(y, I8 | U8) {
            return Err(err!(Unsupported, "quantising to {y}").into());
        }
        let filters = cx.shape(3)?.first().copied().unwrap_or(0);
        ensure_counts(cx, &[X_SCALE, 2, Y_SCALE, Y_ZERO], &[1])?;
        ensure_counts(cx, &[W_SCALE, 5], &[1, filters])?;
        if let Some(t) =
            [W_SCALE, 5].into_iter().filter_map(|i| cx.try_input(i)).find(|t| t.numel() > 1 && t.rank() > 1)
        {
            return Err(err!(InvalidNode, "expected a value for each filter, got {t}").into());
        }
        ensure_counts(cx, &[BIAS], &[filters])?;
        one(y, self.0.output(cx.shape(0)?, cx.shape(3)?)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = shifted(need(inputs, 0)?, opt(inputs, 2), |_| vec![])?;
        let w = shifted(need(inputs, 3)?, opt(inputs, 5), |p| by_filters(p, 0, x.rank()))?;
        let sums = self.0.eval(&x, &w, opt(inputs, BIAS))?;
        let scales = self.scales(need(inputs, W_SCALE)?.shape(), x.rank());
        Ok(vec![scales.eval(&sums, inputs)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let out = cx.output(0)?;
        let scales = self.scales(&cx.input_type(W_SCALE)?.shape, out.rank());
        let as_one = cx.attempt(|cx| {
            let end = scales.end(cx, I32, out.dtype)?;
            self.0.lower(cx, [0, 3], [2, 5], BIAS, &out, Some(&end))
        })?;
        if as_one {
            return Ok(());
        }
        let sums = cx.temp(I32, &out.shape)?;
        self.0.lower(cx, [0, 3], [2, 5], BIAS, &sums, None)?;
        scales.lower(cx, sums, &out)
    }
}

fn conv_integer_cases() -> Vec<Case> {
    let case = || Case::new("ConvInteger", 10);
    vec![
        case().rand(U8, &[1, 1, 3, 3]).rand(U8, &[1, 1, 2, 2]).rand(U8, &[]),
        case()
            .rand(U8, &[2, 4, 5, 6])
            .rand(I8, &[6, 2, 3, 3])
            .rand(U8, &[])
            .rand(I8, &[6])
            .int("group", 2)
            .ints("pads", &[1, 0, 2, 1]),
        case()
            .rand(I8, &[1, 3, 11])
            .rand(I8, &[2, 3, 3])
            .ints("strides", &[2])
            .ints("dilations", &[2])
            .string("auto_pad", "SAME_LOWER"),
        case().rand(I8, &[1, 2, 4, 5, 6]).rand(U8, &[3, 2, 2, 2, 2]).string("auto_pad", "SAME_UPPER"),
        case().rand(I8, &[2, 6, 5, 5]).constant(ramp(I8, &[6, 1, 3, 3])).constant(ramp(I8, &[])).int("group", 6),
        case().rand(U8, &[2, 8, 6, 7]).rand(U8, &[12, 8, 1, 1]).rand(U8, &[]),
        case()
            .rand(U8, &[1, 3, 13, 9])
            .constant(ramp(U8, &[8, 3, 3, 3]))
            .rand(U8, &[])
            .constant(ramp(U8, &[1]))
            .ints("strides", &[2, 2]),
        case().rand(I8, &[0, 2, 4]).rand(U8, &[3, 2, 2]),
        // four channels to a word: some left over, groups, windows outside, one pixel, few and many channels
        case()
            .rand(U8, &[2, 10, 9, 7])
            .constant(ramp(I8, &[12, 5, 3, 3]))
            .rand(U8, &[])
            .int("group", 2)
            .ints("pads", &[1; 4]),
        case().rand(I8, &[1, 72, 6, 6]).constant(ramp(I8, &[40, 72, 3, 3])).rand(I8, &[]).ints("pads", &[1; 4]),
        case().rand(U8, &[3, 130, 1, 1]).constant(ramp(I8, &[9, 130, 1, 1])).rand(U8, &[]),
        case().rand(I8, &[1, 33, 5, 5]).constant(ramp(I8, &[70, 33, 1, 1])).ints("pads", &[0, 1, 1, 0]),
        case().rand(U8, &[1, 6, 11]).constant(ramp(I8, &[8, 6, 4])).ints("pads", &[3, 1]).ints("dilations", &[2]),
        case()
            .rand(U8, &[1, 3, 17, 13])
            .constant(ramp(I8, &[16, 3, 7, 7]))
            .rand(U8, &[])
            .ints("strides", &[2, 2])
            .ints("pads", &[3; 4]),
        case()
            .rand(I8, &[1, 4, 5, 4, 6])
            .constant(ramp(I8, &[33, 4, 2, 3, 2]))
            .rand(I8, &[])
            .ints("pads", &[1, 1, 0, 0, 1, 1]),
    ]
}

fn qlinear_conv_cases() -> Vec<Case> {
    let case = |x: DType, w: DType, per: &[usize]| {
        let c = Case::new("QLinearConv", 10).rand(x, &[2, 4, 7, 6]).range(F32, &[], 0.01, 0.02).rand(x, &[]);
        let c = c.rand(w, &[6, 4, 3, 3]).range(F32, per, 0.01, 0.02).range(w, per, 0.0, 9.0);
        c.range(F32, &[], 0.03, 0.06).rand(x, &[]).ints("pads", &[1, 1, 1, 1])
    };
    let known = |x: DType, w: Tensor, zero: Tensor| {
        let filters = w.shape()[0];
        let c = Case::new("QLinearConv", 10).rand(x, &[2, 12, 7, 6]).range(F32, &[], 0.01, 0.02).rand(x, &[]);
        let c = c.constant(w).range(F32, &[filters], 0.01, 0.02).constant(zero).range(F32, &[], 0.03, 0.06);
        c.rand(x, &[]).rand(I32, &[filters]).ints("pads", &[1, 0, 1, 2])
    };
    vec![
        case(U8, U8, &[]),
        case(U8, I8, &[6]).rand(I32, &[6]),
        case(I8, I8, &[1]).rand(I32, &[6]).ints("strides", &[2, 1]),
        known(U8, ramp(I8, &[40, 12, 3, 3]), Tensor::zeros(I8, [40])),
        known(I8, ramp(I8, &[20, 6, 2, 3]), Tensor::zeros(I8, [])).int("group", 2),
        known(U8, ramp(U8, &[8, 12, 3, 3]), number(U8, 128.0)),
    ]
}

/// Cases of ConvInteger with an epilogue.
pub(super) fn ended_conv_cases() -> Vec<Case> {
    let new = |attrs: &[(&str, Attr)], more, tail, w: &[usize]| {
        let c = epilogue::case("ConvInteger+Elementwise", attrs, &[true; 4], more, tail);
        c.sum(w[1..].iter().product())
    };
    let ints = |v: &[i64]| Attr::Ints(v.to_vec());
    let pads = [("pads", ints(&[1, 1, 0, 2]))];
    let depthwise = [("group", Attr::Int(6)), ("pads", ints(&[1, 1, 1, 1]))];
    let scale = || number(F32, 0.01);
    let mut all = vec![];
    for (w, attrs) in [([5, 3, 3, 3], &pads[..]), ([40, 3, 1, 1], &[]), ([6, 1, 3, 3], &depthwise)] {
        let channels = if w[1] == 1 { 6 } else { 3 };
        let x = [2, channels, 6, 7];
        let made = [2, w[0], 6, if attrs.len() == 1 { 8 } else { 7 }];
        let made = if attrs.len() == 1 { [2, w[0], 5, made[3]] } else { made };
        let bias = [w[0], 1, 1];
        // the zero point of x is fed, known or zero, the filters are known or fed
        let fed = |more, tail| new(attrs, more, tail, &w).rand(U8, &x).constant(ramp(I8, &w)).rand(U8, &[]);
        all.push(fed(2, SCALED).constant(ramp(I8, &w[..1])).range(F32, &[], 0.005, 0.02).constant(ramp(F32, &bias)));
        let all_there = fed(3, ADDED).constant(number(I8, 0.0)).range(F32, &[], 0.005, 0.02);
        all.push(all_there.constant(ramp(F32, &bias)).rand(F32, &made));
        let known = new(attrs, 2, SCALED, &w).rand(I8, &x).constant(ramp(U8, &w)).constant(number(I8, -3.0));
        all.push(known.constant(number(U8, 7.0)).constant(scale()).constant(ramp(F32, &bias)));
        let open = new(attrs, 2, SCALED, &w).rand(U8, &x).rand(I8, &w).rand(U8, &[]).rand(I8, &w[..1]);
        all.push(open.constant(scale()).rand(F32, &bias));
        let back = fed(3, QUANTISED).constant(number(I8, 0.0)).constant(number(F32, 0.25));
        all.push(back.constant(number(F32, 16.0)).constant(number(U8, 100.0)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_tile_are_padded() {
        let attrs = [("auto_pad".to_string(), Attr::Str("SAME_UPPER".into())), ("strides".into(), Attr::Ints(vec![2]))];
        let attrs = attrs.into();
        let none = Convolution::parse(&AttrReader::new(&attrs)).unwrap();
        let out = none.output(&[1, 1, 4], &[1, 1, 3]).unwrap();
        assert_eq!(out, [1, 1, 2]);
        assert!(none.output(&[1, 2, 4], &[1, 1, 3]).is_err());
    }
}
