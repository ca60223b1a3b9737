//! Pools: `shaders/pool.wgsl`, on GPUs those of small windows `shaders/pool_window.wgsl`; and MaxUnpool:
//! `shaders/max_unpool.wgsl`.

use super::copy::with_word;
use super::epilogue::{Epilogue, Flat};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// Windows over depth, height and width (missing dims are 1 long) of each channel of each image.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Shape {
    pub images: usize,
    /// Of one image.
    pub channels: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    pub begin: [usize; 3],
    pub end: [usize; 3],
}

/// What becomes of the elements under a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The greatest, and its place if output 1 is used.
    Max {
        /// Whether places count along the first spatial dim first.
        column_major: bool,
    },
    /// The mean.
    Mean {
        /// Whether padding counts.
        count_pads: bool,
    },
    /// `(Σ |x|ᵖ)^(1/p)`
    Norm {
        /// At least 1.
        p: u32,
    },
}

/// Elements of a window whose loops are written out, at most.
const SMALL: usize = 25;
const WINDOW_WORKGROUP: u32 = 256;

#[derive(Debug)]
struct Pool<'a> {
    device: DeviceType,
    what: What,
    places: bool,
    /// Height and width of a window that is small.
    window: Option<[usize; 2]>,
    end: &'a Flat,
}

impl Kernel for Pool<'_> {
    fn label(&self) -> String {
        let what = match self.what {
            What::Max { .. } => "max",
            What::Mean { .. } => "mean",
            What::Norm { .. } => "norm",
        };
        format!("pool {what}{}", self.end.label())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let p = if let What::Norm { p } = self.what { p } else { 1 };
        let spec = match self.window {
            Some([h, w]) => {
                Spec::new("pool_window.wgsl").u32("ROWS", h as u32).u32("COLUMNS", w as u32).u32("TAPS", (h * w) as u32)
            }
            None => Spec::new("pool.wgsl")
                .u32("P", p)
                .flag("NORM", matches!(self.what, What::Norm { .. }))
                .flag("INDICES", self.places),
        };
        self.end
            .spec(spec)
            .ty("T", self.device)
            .ty("Y", self.end.stores(self.device))
            .flag("MAX", matches!(self.what, What::Max { .. }))
    }
}

/// Pools input 0 into output 0, through `end`, and the places of maxima into output 1, where there is no `end`.
///
/// # Errors
/// `Unsupported` when the device has no form for the element type, `Limit` when an output is too large to bind.
pub fn lower(cx: &mut LowerCx<'_>, s: &Shape, what: What, end: Option<&Epilogue>) -> Result<()> {
    let x = cx.images_input(0)?;
    let out = if cx.has_output(0) {
        cx.output_placed(0, View::has_dense_images)?
    } else {
        cx.temp(x.dtype, &[&[s.images, s.channels], s.output.as_slice()].concat())?
    };
    let places = if end.is_none() && cx.has_output(1) { Some(cx.output(1)?) } else { None };
    let mut params = Params::new().u32(out.numel());
    let reach: [usize; 3] = std::array::from_fn(|d| s.begin[d] + s.input[d] + s.end[d]);
    let window = window(s, what).filter(|_| !cx.profile().compiles_slowly() && places.is_none() && x.numel() > 0);
    // of a small window neither the depth nor its extents
    let first = if window.is_some() { 1 } else { 0 };
    for list in [&s.input, &s.output, &s.kernel, &s.strides, &s.dilations, &s.begin, &reach] {
        if window.is_none() || !std::ptr::eq(list, &s.kernel) {
            params = list[first..].iter().fold(params, |p, v| p.u32(*v));
        }
    }
    params = params.u32(what == What::Mean { count_pads: true });
    if window.is_none() {
        params = params.u32(what == What::Max { column_major: true });
    }
    params = params.u32(s.channels);
    params = params.u32(cx.base(&x)).u32(x.strides[0]).u32(cx.base(&out)).u32(out.strides[0]);
    let grid = linear_grid(out.numel(), if window.is_some() { WINDOW_WORKGROUP } else { LINEAR_WORKGROUP });
    let flat = Flat::new(cx, end, &out.shape, 3);
    let kernel = Pool { device: x.device, what, places: places.is_some(), window, end: &flat };
    let mut binds = vec![Bind::Read(&x), Bind::Write(&out)];
    binds.extend(places.as_ref().map(Bind::Write));
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    cx.dispatch(&kernel, flat.params(params), &binds, grid)
}

/// Height and width of a window that is small and no deeper than one. One that is all of the input may be another with each
/// size, so no shader is made for it.
fn window(s: &Shape, what: What) -> Option<[usize; 2]> {
    let flat = [s.input[0], s.output[0], s.kernel[0]] == [1; 3];
    let [h, w] = [s.kernel[1], s.kernel[2]];
    let small = h * w <= SMALL && s.kernel != s.input;
    (flat && small && !matches!(what, What::Norm { .. })).then_some([h, w])
}

#[derive(Debug)]
struct Unpool {
    device: DeviceType,
    scatter: bool,
}

impl Kernel for Unpool {
    fn label(&self) -> String {
        if self.scatter { "unpool".into() } else { "unpool zeros".into() }
    }

    fn spec(&self, _: &Profile) -> Spec {
        with_word(Spec::new("max_unpool.wgsl"), self.device).flag("SCATTER", self.scatter)
    }
}

/// Puts the elements of input 0 at the places in input 1, which count in the shape `places`, into output 0, whose
/// other elements become zero.
///
/// # Errors
/// As [`lower`]; `Unsupported` beyond rank 8.
pub fn unpool(cx: &mut LowerCx<'_>, places: &[usize]) -> Result<()> {
    const RANK: usize = 8;
    ensure!(places.len() <= RANK, Unsupported, "MaxUnpool of rank {}", places.len());
    let (x, at, out) = (cx.dense_input(0)?, cx.dense_input(1)?, cx.output(0)?);
    let count = places.iter().product::<usize>();
    for scatter in [false, true] {
        let threads = if scatter { x.numel() } else { out.numel() };
        let params = Params::new().u32(threads).u32(count).u32(places.len());
        let params = params.array_u32(places, RANK, 1).array_u32(&out.shape, RANK, 1);
        let kernel = Unpool { device: x.device, scatter };
        let binds = [Bind::Read(&x), Bind::Read(&at), Bind::Write(&out)];
        let binds = if scatter { &binds[..] } else { &binds[2..] };
        cx.dispatch(&kernel, params, binds, linear_grid(threads, LINEAR_WORKGROUP))?;
    }
    Ok(())
}
