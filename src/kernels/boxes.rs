//! The best boxes that do not overlap: `shaders/nms_rects.wgsl`, `shaders/nms_keys.wgsl`, `shaders/nms_select.wgsl`,
//! `shaders/nms_triples.wgsl`.

use super::order::{Scan, scan};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType::{F32, I32, U32};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure, err};

/// Loop steps of a thread that every driver takes.
const STEPS: usize = 60_000;
/// Loop steps of a selection besides those over the boxes.
const OVERHEAD: usize = 10;

/// Boxes as corners and areas.
#[derive(Debug)]
struct Rects {
    centers: bool,
}

impl Kernel for Rects {
    fn label(&self) -> String {
        "boxes' corners".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("nms_rects.wgsl").ty("T", DeviceType::F32).flag("CENTERS", self.centers)
    }
}

/// Scores as ordered numbers.
#[derive(Debug)]
struct Keys {
    threshold: bool,
}

impl Kernel for Keys {
    fn label(&self) -> String {
        "boxes' scores".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("nms_keys.wgsl").flag("THRESHOLD", self.threshold)
    }
}

/// Threads of a workgroup that selects: few on software adapters, which run them one after the other between barriers.
fn lanes(profile: &Profile) -> usize {
    if profile.cpu { 32 } else { 256 }
}

/// The best boxes of each class.
#[derive(Debug)]
struct Select;

impl Kernel for Select {
    fn label(&self) -> String {
        "select boxes".into()
    }

    fn spec(&self, profile: &Profile) -> Spec {
        Spec::new("nms_select.wgsl").ty("T", DeviceType::F32).u32("LANES", lanes(profile) as u32)
    }
}

/// What was selected, side by side.
#[derive(Debug)]
struct Triples;

impl Kernel for Triples {
    fn label(&self) -> String {
        "selected boxes".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("nms_triples.wgsl")
    }
}

/// Which boxes there are to select from, and how; all float32, dense, none of them empty.
pub struct Boxes<'a> {
    /// `[batches, n, 4]`.
    pub boxes: &'a View,
    /// `[batches, classes, n]`.
    pub scores: &'a View,
    /// The overlap beyond which a box gives way to a better one, from 0 to 1.
    pub overlap: &'a View,
    /// What scores have to exceed.
    pub least: Option<&'a View>,
    /// Boxes as center and size instead of two corners.
    pub centers: bool,
    /// How many boxes of a class are selected at most: from 1 to n.
    pub most: usize,
}

/// The best boxes of each class of each batch that overlap no better one too much: batch, class and box in the first
/// rows of dense int64 `triples[batches · classes · most, 3]`. Gives their number, an int32 of rank 0.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn select(cx: &mut LowerCx<'_>, b: &Boxes<'_>, triples: &View) -> Result<View> {
    let (batches, n, classes) = (b.boxes.shape[0], b.boxes.shape[1], b.scores.shape[1]);
    let rows = batches * classes;
    for v in [Some(b.boxes), Some(b.scores), Some(b.overlap), b.least].into_iter().flatten() {
        ensure!(cx.base(v) == 0, Internal, "a view that begins at {}", cx.base(v));
    }
    let (rects, areas) = (cx.temp(F32, &[batches * n, 4])?, cx.temp(F32, &[batches * n])?);
    let binds = [Bind::Read(b.boxes), Bind::Write(&rects), Bind::Write(&areas)];
    let grid = linear_grid(batches * n, LINEAR_WORKGROUP);
    cx.dispatch(&Rects { centers: b.centers }, Params::new().u32(batches * n), &binds, grid)?;

    let keys = cx.temp(U32, &[rows * n])?;
    let mut binds = vec![Bind::Read(b.scores), Bind::Write(&keys)];
    binds.extend(b.least.map(Bind::Read));
    let kernel = Keys { threshold: b.least.is_some() };
    cx.dispatch(&kernel, Params::new().u32(rows * n), &binds, linear_grid(rows * n, LINEAR_WORKGROUP))?;

    let (found, counts) = (cx.temp(U32, &[rows * b.most])?, cx.temp(I32, &[rows])?);
    let steps = (STEPS / (n.div_ceil(lanes(cx.profile())) + OVERHEAD)).max(1);
    for first in (0..b.most).step_by(steps) {
        let steps = steps.min(b.most - first);
        let params = Params::new().u32(rows).u32(n).u32(classes).u32(b.most).u32(first).u32(steps);
        let mut binds = vec![Bind::Read(&rects), Bind::Read(&areas), Bind::Read(b.overlap)];
        binds.extend([Bind::Write(&keys), Bind::Write(&found), Bind::Write(&counts)]);
        cx.dispatch(&Select, params, &binds, linear_grid(rows, 1))?;
    }

    let totals = cx.temp(I32, &[rows])?;
    scan(cx, Scan { product: false, reverse: false, exclusive: false }, &counts, 0, &totals)?;
    let params = Params::new().u32(rows).u32(classes).u32(b.most);
    let binds = [Bind::Read(&found), Bind::Read(&totals), Bind::Write(triples)];
    cx.dispatch(&Triples, params, &binds, linear_grid(rows * b.most, LINEAR_WORKGROUP))?;
    totals.sliced(0, rows - 1, 1, 1).reshaped(&[]).ok_or_else(|| err!(Internal, "one element is a scalar"))
}
