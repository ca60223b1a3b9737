//! Resampling: `shaders/resize.wgsl` along one axis at a time, `shaders/resize_nearest.wgsl` along all at once. The
//! tables of coordinates and weights are made on the host.

use super::copy::with_word;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid, rank_class};
use crate::Result;
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx};
use crate::tensor::Tensor;

/// How one axis changes.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The axis.
    pub axis: usize,
    /// Its extent in the output.
    pub out: usize,
    /// Input coordinates for each output coordinate.
    pub taps: usize,
    /// `out · taps` input coordinates; [`u32::MAX`] where the extrapolation value stands.
    pub index: Vec<u32>,
    /// Their weights.
    pub weight: Vec<f32>,
}

#[derive(Debug)]
struct Along {
    source: DeviceType,
    target: DeviceType,
    round: bool,
}

impl Kernel for Along {
    fn label(&self) -> String {
        format!("resize {} to {}", self.source.name(), self.target.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("resize.wgsl").ty("S", self.source).ty("T", self.target).flag("ROUND", self.round)
    }
}

/// Weighted sums along the axis of each pass, from input 0 to output 0; between passes in f32.
///
/// # Errors
/// `Unsupported` when the device has no form for the element type, `Limit` when a result is too large to bind.
pub fn interpolate(cx: &mut LowerCx<'_>, mut passes: Vec<Pass>, extrapolation: f32) -> Result<()> {
    let mut now = cx.dense_input(0)?;
    let range = now.dtype.int_range();
    let (low, high) = range.unwrap_or_default();
    // those that shrink first, so that the others have less to do
    passes.sort_by(|a, b| (a.out * now.shape[b.axis]).cmp(&(b.out * now.shape[a.axis])));
    let last = passes.len().saturating_sub(1);
    for (i, pass) in passes.into_iter().enumerate() {
        let mut shape = now.shape.clone();
        let len = shape[pass.axis];
        let inner: usize = shape[pass.axis + 1..].iter().product();
        shape[pass.axis] = pass.out;
        let next = if i == last { cx.output(0)? } else { cx.temp(DType::F32, &shape)? };
        let index = cx.constant(Tensor::vector(&pass.index))?;
        let weight = cx.constant(Tensor::vector(&pass.weight))?;
        let params = Params::new().u32(next.numel()).u32(len).u32(pass.out).u32(inner).u32(pass.taps);
        let params = params.f32(extrapolation).f32(low as f32).f32(high as f32);
        let kernel = Along { source: now.device, target: next.device, round: range.is_some() && i == last };
        let binds = [Bind::Read(&now), Bind::Read(&index), Bind::Read(&weight), Bind::Write(&next)];
        cx.dispatch(&kernel, params, &binds, linear_grid(next.numel(), LINEAR_WORKGROUP))?;
        now = next;
    }
    Ok(())
}

#[derive(Debug)]
struct Nearest {
    device: DeviceType,
    rank: usize,
}

impl Kernel for Nearest {
    fn label(&self) -> String {
        "resize nearest".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("resize_nearest.wgsl"), self.device).u32("RANK", self.rank as u32)
    }
}

/// Picks elements of input 0, which may have any strides, for output 0.
///
/// # Errors
/// As [`interpolate`].
pub fn nearest(cx: &mut LowerCx<'_>, passes: &[Pass], extrapolation: f32) -> Result<()> {
    let (x, out) = (cx.input(0)?, cx.output(0)?);
    if out.numel() == 0 {
        return Ok(());
    }
    let rank = rank_class(out.rank());
    // entry 0 is for the dims that the rank's class adds in front
    let (mut table, mut starts) = (vec![0], vec![]);
    for (d, extent) in out.shape.iter().enumerate() {
        starts.push(table.len());
        match passes.iter().find(|p| p.axis == d) {
            Some(p) => table.extend(&p.index),
            None => table.extend(0..*extent as u32),
        }
    }
    let table = cx.constant(Tensor::vector(&table))?;
    let fill = cx.constant(Tensor::from_f64s(x.dtype, [1], vec![f64::from(extrapolation)])?)?;
    let params = Params::new()
        .u32(out.numel())
        .u32(cx.base(&x))
        .array_u32(&out.shape, rank, 1)
        .array_u32(&starts, rank, 0)
        .array_i32(&x.strides, rank);
    let kernel = Nearest { device: x.device, rank };
    let binds = [Bind::Read(&x), Bind::Read(&table), Bind::Read(&fill), Bind::Write(&out)];
    cx.dispatch(&kernel, params, &binds, linear_grid(out.numel(), LINEAR_WORKGROUP))
}
