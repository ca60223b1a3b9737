//! Pools over regions of interest: RoiAlign, MaxRoiPool.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Parse, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::roi::{self, Align};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[row("RoiAlign", &[10, 16, 22], parse_align, align_cases), row("MaxRoiPool", &[1, 22], parse_pool, pool_cases)];

fn extent(name: &str, v: i64) -> Result<usize> {
    ensure!((1..=1 << 16).contains(&v), InvalidNode, "attribute {name}: expected 1 to 65536, got {v}");
    Ok(v as usize)
}

/// Regions are given in the elements' own type; other types than double compute their corners in single precision, in
/// which it is decided what a region covers.
fn narrow(dtype: DType) -> fn(f64) -> f64 {
    if dtype == F64 { |v| v } else { |v| f64::from(v as f32) }
}

/// Checks `x[N, C, H, W]` and `rois[R, columns]`, gives the result's shape.
fn target(x: &[usize], rois: &[usize], columns: usize, out: [usize; 2]) -> Result<Vec<usize>> {
    let fits = x.len() == 4 && rois.len() == 2 && rois[1] == columns;
    ensure!(fits, InvalidNode, "expected x[N, C, H, W] and rois[R, {columns}], got {x:?} and {rois:?}");
    let to = vec![rois[0], x[1], out[0], out[1]];
    let pixels = shape::numel(&to) == 0 || shape::numel(x) > 0;
    ensure!(pixels, InvalidNode, "regions of an image without pixels: {x:?}");
    Ok(to)
}

fn image(at: f64, images: usize) -> Result<usize> {
    ensure!(at >= 0.0 && at < images as f64, InvalidNode, "a region of image {at} of {images}");
    Ok(at as usize)
}

// ---- RoiAlign ----

#[derive(Debug)]
struct RoiAlign(Align);

fn parse_align(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let max = match a.string_or("mode", "avg".into())?.as_str() {
        "avg" => false,
        "max" => true,
        other => bail!(InvalidNode, "attribute mode is {other:?}"),
    };
    let half_pixel = n.version >= 16
        && match a.string_or("coordinate_transformation_mode", "half_pixel".into())?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => bail!(InvalidNode, "attribute coordinate_transformation_mode is {other:?}"),
        };
    let ratio = a.int_or("sampling_ratio", 0)?;
    let fits = (0..=1 << 12).contains(&ratio);
    ensure!(fits, InvalidNode, "attribute sampling_ratio: expected 0 to 4096, got {ratio}");
    let output = [
        extent("output_height", a.int_or("output_height", 1)?)?,
        extent("output_width", a.int_or("output_width", 1)?)?,
    ];
    let scale = a.float_or("spatial_scale", 1.0)?;
    Ok(Arc::new(RoiAlign(Align { max, half_pixel, ratio: ratio as usize, output, scale })))
}

/// What one bin reads along one axis.
struct Samples {
    /// How many samples there are, those outside included.
    count: f64,
    /// The two pixels of each sample inside, and how far it is from the first.
    inside: Vec<(usize, usize, f64)>,
}

impl RoiAlign {
    fn samples(&self, [low, high]: [f64; 2], bin: usize, bins: usize, extent: usize, dtype: DType) -> Samples {
        let f = narrow(dtype);
        let (scale, offset) = (f64::from(self.0.scale), if self.0.half_pixel { 0.5 } else { 0.0 });
        let start = f(f(low * scale) - offset);
        let size = f(f(f(high * scale) - offset) - start);
        // regions without extent are one pixel wide
        let size = if self.0.half_pixel || size > 1.0 { size } else { 1.0 };
        let width = f(size / bins as f64);
        let count = if self.0.ratio > 0 { self.0.ratio as f64 } else { width.ceil().max(0.0) };
        let (origin, step) = (f(start + f(bin as f64 * width)), f(width / count));
        // of the many samples of a wide bin only those near the image are looked at
        let wide = self.0.ratio == 0;
        let first = if wide { ((-1.0 - origin) / step).floor() - 1.0 } else { 0.0 };
        let end = if wide { ((extent as f64 - origin) / step).ceil() + 1.0 } else { count };
        let pixels = |k: usize| {
            let p = f(origin + f((k as f64 + 0.5) * step));
            let inside = p >= -1.0 && p <= extent as f64;
            let p = p.max(0.0);
            let low = (p as usize).min(extent - 1);
            inside.then(|| if low + 1 < extent { (low, low + 1, p - low as f64) } else { (low, low, 0.0) })
        };
        // a step is no less than half a pixel: more samples are none, whatever numbers say that are not finite
        let most = if wide { (first as usize).saturating_add(2 * extent + 8) } else { usize::MAX };
        let range = first as usize..(end.min(count) as usize).min(most);
        Samples { count, inside: range.filter_map(pixels).collect() }
    }

    /// One element of the result.
    fn pooled(&self, plane: &[f64], width: usize, y: &Samples, x: &Samples) -> f64 {
        let all = y.count * x.count;
        if all <= 0.0 {
            return 0.0;
        }
        let mut each = vec![];
        for (y0, y1, fy) in &y.inside {
            for (x0, x1, fx) in &x.inside {
                each.push([
                    (1.0 - fy) * (1.0 - fx) * plane[y0 * width + x0],
                    (1.0 - fy) * fx * plane[y0 * width + x1],
                    fy * (1.0 - fx) * plane[y1 * width + x0],
                    fy * fx * plane[y1 * width + x1],
                ]);
            }
        }
        if !self.0.max {
            return each.iter().map(|e| e.iter().sum::<f64>()).sum::<f64>() / all;
        }
        // as the reference implementations have it: the greatest of the weighted pixels, not of the samples; samples
        // outside count as 0
        let first = if (each.len() as f64) < all { 0.0 } else { f64::NEG_INFINITY };
        each.into_iter().flatten().fold(first, |best, v| if v > best { v } else { best })
    }
}

impl Op for RoiAlign {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let to = target(cx.shape(0)?, cx.shape(1)?, 4, self.0.output)?;
        if cx.shape(2)? != [to[0]] {
            return Err(err!(InvalidNode, "{:?} batch indices for {} regions", cx.shape(2)?, to[0]).into());
        }
        one(cx.dtype(0)?, to)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, rois, images) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?.to_i64s()?);
        let to = target(x.shape(), rois.shape(), 4, self.0.output)?;
        ensure!(images.len() == to[0], InvalidNode, "{} batch indices for {} regions", images.len(), to[0]);
        if shape::numel(&to) == 0 {
            return Ok(vec![Tensor::zeros(x.dtype(), to)]);
        }
        let (height, width) = (x.shape()[2], x.shape()[3]);
        let (data, corners) = (x.to_f64s()?, rois.to_f64s()?);
        let mut out = vec![];
        for (r, at) in corners.chunks(4).zip(images) {
            let first = image(at as f64, x.shape()[0])? * to[1];
            let axis = |a: usize, extent: usize, bins: usize| -> Vec<Samples> {
                (0..bins).map(|b| self.samples([r[a], r[a + 2]], b, bins, extent, x.dtype())).collect()
            };
            let (ys, xs) = (axis(1, height, to[2]), axis(0, width, to[3]));
            for plane in (first..first + to[1]).map(|p| &data[p * height * width..][..height * width]) {
                ys.iter().for_each(|y| out.extend(xs.iter().map(|x| self.pooled(plane, width, y, x))));
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), to, out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, rois, images) = (cx.dense_input(0)?, cx.dense_input(1)?, cx.dense_input(2)?);
        let out = cx.output(0)?;
        if out.numel() == 0 {
            return Ok(());
        }
        roi::align(cx, self.0, [&x, &rois, &images], &out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        match dtype {
            F16 | BF16 => Tolerance::ulps(dtype, 2.0),
            // a sample's place is off by a few units of the coordinate's last place, and its weights with it
            d => Tolerance::ulps(d, 64.0 + (k as f64).sqrt()),
        }
    }
}

fn align_cases() -> Vec<Case> {
    let rois =
        |d: DType, r: &[f64]| Tensor::from_f64s(d, [r.len() / 4, 4], r.to_vec()).unwrap_or(Tensor::zeros(d, [0, 4]));
    let some =
        [0.3, 1.2, 7.6, 8.9, -3.0, -2.5, 4.4, 5.7, 5.2, 3.1, 5.3, 3.2, 6.0, 7.0, 2.0, 1.0, -90.0, 2.0, 130.0, 4.5];
    let case = |d: DType, opset: i64| {
        let c = Case::new("RoiAlign", opset).rand(d, &[2, 3, 9, 10]).value(rois(d, &some));
        c.value(Tensor::vector(&[0i64, 1, 1, 0, 1])).int("output_height", 3).int("output_width", 2).sum(400)
    };
    let mut all = vec![case(F32, 10), case(F16, 16), case(BF16, 22), case(F64, 22)];
    for mode in ["avg", "max"] {
        for at in ["half_pixel", "output_half_pixel"] {
            for ratio in [0, 1, 3] {
                let c = case(F32, 16).string("mode", mode).string("coordinate_transformation_mode", at);
                all.push(c.int("sampling_ratio", ratio).float("spatial_scale", 0.5));
            }
        }
    }
    let plain = |x: &[usize], r: &[f64], images: &[i64]| {
        Case::new("RoiAlign", 16).rand(F32, x).value(rois(F32, r)).value(Tensor::vector(images))
    };
    all.extend([
        plain(&[1, 2, 1, 1], &[0.0, 0.0, 1.0, 1.0], &[0]),
        plain(&[1, 2, 3, 3], &[], &[]),
        plain(&[1, 70, 30, 30], &[1.3, 2.6, 22.8, 25.1], &[0]).int("output_height", 7).int("output_width", 7),
        // more samples than a thread may go through
        plain(&[1, 1, 400, 300], &[0.7, 0.2, 299.3, 399.6], &[0]).sum(120_000),
    ]);
    all
}

// ---- MaxRoiPool ----

#[derive(Debug)]
struct MaxRoiPool {
    output: [usize; 2],
    scale: f32,
}

fn parse_pool(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let output = match a.ints("pooled_shape")?.as_deref() {
        Some([h, w]) => [extent("pooled_shape", *h)?, extent("pooled_shape", *w)?],
        other => bail!(InvalidNode, "attribute pooled_shape: expected height and width, got {other:?}"),
    };
    Ok(Arc::new(MaxRoiPool { output, scale: a.float_or("spatial_scale", 1.0)? }))
}

impl MaxRoiPool {
    /// The pixels of each bin along one axis. Bins of a region that cannot be divided evenly overlap.
    fn bins(&self, [low, high]: [f64; 2], bins: usize, extent: usize, dtype: DType) -> Vec<(usize, usize)> {
        let far = roi::FAR as f64;
        let place = |v: f64| narrow(dtype)(v * f64::from(self.scale)).round().clamp(-far, far) as i64;
        let (start, bins) = (place(low), bins as i64);
        let size = (place(high) - start + 1).max(1);
        let pixel = |p: i64| (start + p).clamp(0, extent as i64) as usize;
        (0..bins).map(|b| (pixel(b * size / bins), pixel(((b + 1) * size + bins - 1) / bins))).collect()
    }
}

impl Op for MaxRoiPool {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, target(cx.shape(0)?, cx.shape(1)?, 5, self.output)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, rois) = (need(inputs, 0)?, need(inputs, 1)?);
        let to = target(x.shape(), rois.shape(), 5, self.output)?;
        let (height, width) = (x.shape()[2], x.shape()[3]);
        let data = x.to_f64s()?;
        let mut out = vec![];
        for r in rois.to_f64s()?.chunks(5) {
            let first = image(r[0], x.shape()[0])? * to[1];
            let (xs, ys) =
                (self.bins([r[1], r[3]], to[3], width, x.dtype()), self.bins([r[2], r[4]], to[2], height, x.dtype()));
            for plane in (first..first + to[1]).map(|p| &data[p * height * width..][..height * width]) {
                for (y, x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                    let empty = y.0 >= y.1 || x.0 >= x.1;
                    let under = (y.0..y.1).flat_map(|row| plane[row * width + x.0..row * width + x.1].iter());
                    let best = under.fold(f64::NEG_INFINITY, |best, v| if *v > best { *v } else { best });
                    out.push(if empty { 0.0 } else { best });
                }
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), to, out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (x, rois) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let out = cx.output(0)?;
        if out.numel() == 0 {
            return Ok(());
        }
        roi::max_pool(cx, self.scale, [&x, &rois], &out)
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

fn pool_cases() -> Vec<Case> {
    let case = |d: DType, opset: i64, x: &[usize], r: &[f64], pooled: [i64; 2]| {
        let rois = Tensor::from_f64s(d, [r.len() / 5, 5], r.to_vec()).unwrap_or(Tensor::zeros(d, [0, 5]));
        Case::new("MaxRoiPool", opset).rand(d, x).value(rois).ints("pooled_shape", &pooled)
    };
    let some = [
        [0.0, 1.0, 2.0, 6.0, 7.0],
        [1.0, -3.0, 2.5, 5.0, 4.0],
        [1.0, 5.0, 5.0, 5.0, 5.0],
        [0.0, 7.0, 8.0, 2.0, 1.0],
        [1.0, 40.0, 2.0, 60.0, 4.0],
    ]
    .concat();
    let mut all: Vec<Case> = [(F32, 7), (F32, 22), (F16, 22), (BF16, 22), (F64, 22)]
        .into_iter()
        .map(|(d, opset)| case(d, opset, &[2, 3, 9, 10], &some, [3, 4]))
        .collect();
    all.extend([
        case(F32, 7, &[2, 3, 9, 10], &some, [1, 1]).float("spatial_scale", 0.5),
        case(F32, 22, &[2, 3, 9, 10], &some, [13, 17]).float("spatial_scale", 2.0),
        case(F32, 22, &[1, 2, 3, 3], &[], [2, 2]),
        case(F32, 22, &[1, 70, 20, 20], &[0.0, 1.0, 1.0, 18.0, 17.0], [7, 7]),
        // more pixels than a thread may go through
        case(F32, 22, &[1, 2, 400, 300], &[0.0, 0.0, 0.0, 299.0, 399.0], [1, 1]),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Attrs;

    fn run(case: Case) -> Result<Tensor> {
        let (graph, data) = case.build(&mut crate::rng::Rng::new(1))?;
        let out = graph.nodes[0].operator.op.eval(&data.iter().map(Some).collect::<Vec<_>>())?;
        out.into_iter().next().ok_or_else(|| err!(Internal, "no output"))
    }

    fn ramp(h: usize, w: usize) -> Tensor {
        Tensor::from_f64s(F32, [1, 1, h, w], (0..h * w).map(|i| i as f64).collect()).unwrap()
    }

    #[test]
    fn aligned_mean_of_a_ramp_is_its_middle() {
        let rois = Tensor::new([1, 4], vec![1.0f32, 1.0, 3.0, 3.0]).unwrap();
        let c = Case::new("RoiAlign", 16).value(ramp(5, 5)).value(rois).value(Tensor::vector(&[0i64]));
        // the region's middle is (2, 2) in corners, (1.5, 1.5) in pixels' middles
        assert_eq!(run(c).unwrap().to_f64s().unwrap(), [1.5 * 5.0 + 1.5]);
    }

    #[test]
    fn greatest_of_each_bin() {
        let rois = Tensor::new([1, 5], vec![0.0f32, 0.0, 0.0, 2.0, 3.0]).unwrap();
        let c = Case::new("MaxRoiPool", 22).value(ramp(5, 5)).value(rois).ints("pooled_shape", &[2, 2]);
        assert_eq!(run(c).unwrap().to_f64s().unwrap(), [6.0, 7.0, 16.0, 17.0]);
    }

    #[test]
    fn faulty_nodes_are_refused() {
        let rois = Tensor::new([1, 4], vec![0.0f32; 4]).unwrap();
        let c = Case::new("RoiAlign", 16).value(ramp(5, 5)).value(rois).value(Tensor::vector(&[1i64]));
        assert!(run(c).is_err());
        assert!(super::super::parse("", "MaxRoiPool", &Attrs::new(), &NodeInfo::full(22, 2, 1)).is_err());
    }
}
