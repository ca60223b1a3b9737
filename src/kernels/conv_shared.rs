//! Convolutions on GPUs: `shaders/conv_shared.wgsl`, and `conv_sum.wgsl` where sums are made in parts by workgroups of
//! their own. Which tile and how many parts depends on the pixels too, of which few leave most of a GPU idle; there are
//! few variants all the same.

use super::conv::{Common, Shape, sums_of};
use super::tiles::{self, Choice, Tile};
use super::{Chosen, DeviceType, Kernel, LINEAR_WORKGROUP, MAX_GROUPS, Params, Problem, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx};
use crate::{Result, ensure};

/// Output channels that weights lie in blocks of, which all tiles are made of.
pub(super) const BLOCK: usize = 32;
/// Output channels of a group below which most of a tile would be idle.
const FEW: usize = 8;
/// The depth of all tiles of cooperative matrices.
const COOP_DEPTH: usize = 32;
/// Steps of all loops of an invocation, at most.
const MOST_STEPS: usize = 60_000;

/// What a workgroup makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tiled {
    pub tile: Tile,
    /// Whether by cooperative matrices.
    coop: bool,
    /// Whether steps go through taps and channels together, for few channels.
    small: bool,
    /// Parts of the sums, and the steps of each.
    pub parts: usize,
    pub part_steps: usize,
    chosen: Chosen,
}

/// Whether steps of so many channels of one tap would be empty for the most part.
fn few_channels(s: &Shape, taps: usize, depth: usize) -> bool {
    taps > 1 && 2 * s.ic.next_multiple_of(depth) > 3 * s.ic
}

impl Tiled {
    /// What this convolution goes by, if by tiles.
    pub fn choose(cx: &LowerCx<'_>, s: &Shape, common: &Common<'_>) -> Option<Tiled> {
        let (profile, taps) = (cx.profile(), s.kernel.iter().product::<usize>());
        if profile.cpu || s.oc < FEW || s.ic == 0 || s.input.contains(&0) {
            return None;
        }
        let pixels = s.batch * s.output.iter().product::<usize>();
        let even = |t: &Tile| t.threads().is_multiple_of(t.columns / 4) && t.depth * t.columns / 4 >= t.threads();
        let fits = |t: &Tile| t.rows <= s.oc.next_multiple_of(BLOCK) && even(t);
        let problem = |what: &str| {
            let way = format!("{what} {} of {:?} by {:?}", common.device.name(), s.kernel, s.strides);
            Problem { kernel: common.label(&way), size: [s.oc, pixels, taps * s.ic], count: s.group }
        };
        // not of few channels, whose steps go through taps and channels together; single elements of vectors are written
        let halves = profile.coop && profile.components && [common.input, common.device] == [DeviceType::F16; 2];
        if halves && !few_channels(s, taps, COOP_DEPTH) {
            let problem = problem("coop");
            let of = |c: &Choice| Tiled::of(profile, s, pixels, c, &problem, true);
            let fits = |t: &Tile| t.rows <= s.oc.next_multiple_of(BLOCK);
            let compiled = |c: &Choice| of(c).is_some_and(|tiled| cx.is_compiled(&Shared { common, tiled }));
            if let Some(tiled) = tiles::choose_conv_coop(profile, &problem, fits, compiled).and_then(|c| of(&c)) {
                return Some(tiled);
            }
        }
        let problem = problem("");
        let of = |c: &Choice| Tiled::of(profile, s, pixels, c, &problem, false);
        let compiled = |c: &Choice| of(c).is_some_and(|tiled| cx.is_compiled(&Shared { common, tiled }));
        of(&tiles::choose_conv(profile, &problem, fits, compiled))
    }

    fn of(
        profile: &Profile,
        s: &Shape,
        pixels: usize,
        choice: &Choice,
        problem: &Problem,
        coop: bool,
    ) -> Option<Tiled> {
        let Choice { tile, splits, .. } = *choice;
        let taps = s.kernel.iter().product::<usize>();
        let chunked = s.ic.next_multiple_of(tile.depth);
        let small = few_channels(s, taps, tile.depth);
        let steps = if small { (taps * s.ic).div_ceil(tile.depth) } else { taps * chunked / tile.depth };
        // what a binding holds of parts, and the steps that a part must not pass
        let elements = s.group * s.oc * pixels;
        let bound = (profile.max_binding as usize / 4 / elements.max(1)).max(1);
        let least = steps.div_ceil(MOST_STEPS / (tile.depth + 1));
        let part_steps = steps.div_ceil(splits.min(bound).max(least));
        let parts = steps.div_ceil(part_steps);
        (parts <= bound).then(|| Tiled { tile, coop, small, parts, part_steps, chosen: choice.chosen(problem) })
    }

    /// Emits the convolution: of its operands the first is what is convolved and the third its result, of so many pixels
    /// in the batch, tiles of channels in all groups, and elements.
    pub fn convolve(
        self,
        cx: &mut LowerCx<'_>,
        common: &Common<'_>,
        params: Params,
        binds: &[Bind<'_>],
        [pixels, rows, elements]: [usize; 3],
        flops: usize,
    ) -> Result<()> {
        let grid = linear_grid(pixels.div_ceil(self.tile.columns) * rows * self.parts, 1);
        ensure!(grid[1] <= MAX_GROUPS, Limit, "{rows} tiles of output channels, of {pixels} pixels");
        let (chosen, several) = (self.chosen.clone(), self.parts);
        let kernel = Shared { common, tiled: self };
        cx.choosing(chosen, |cx| kernel.emit(cx, params, binds, [grid[0], grid[1]], [several, elements], flops))
    }
}

impl Shared<'_> {
    fn emit(
        &self,
        cx: &mut LowerCx<'_>,
        params: Params,
        binds: &[Bind<'_>],
        grid: [u32; 2],
        [parts, elements]: [usize; 2],
        flops: usize,
    ) -> Result<()> {
        let (common, grid) = (self.common, [grid[0], grid[1], 1]);
        if parts == 1 {
            cx.dispatch(self, params, binds, grid)?;
            cx.takes_flops(flops);
            return Ok(());
        }
        let sums = if sums_of(common.device) == DeviceType::I32 { DType::I32 } else { DType::F32 };
        let parts = cx.temp(sums, &[parts, elements])?;
        let mut others = binds.to_vec();
        others[2] = Bind::Write(&parts);
        cx.dispatch(self, params.clone(), &others, grid)?;
        cx.takes_flops(flops);
        let mut others = binds.to_vec();
        others[0] = Bind::Read(&parts);
        cx.dispatch(&Sum(common), params, &others, linear_grid(elements, LINEAR_WORKGROUP))
    }
}

#[derive(Debug)]
struct Shared<'a> {
    common: &'a Common<'a>,
    tiled: Tiled,
}

impl Kernel for Shared<'_> {
    fn label(&self) -> String {
        let Tiled { tile, coop, small, parts, .. } = &self.tiled;
        let by = if *coop { "coop" } else { "shared" };
        let bytes = if self.common.bytes() { " bytes" } else { "" };
        let few = if *small { " few channels" } else { "" };
        let split = if *parts > 1 { " parts" } else { "" };
        self.common.label(&format!("{by} {}{bytes}{few}{split}", tile.name()))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let (c, t) = (self.common, &self.tiled.tile);
        let (acc, split) = (sums_of(c.device), self.tiled.parts > 1);
        let [m, n] = t.quads.map(|q| q as u32);
        let coop = self.tiled.coop;
        let threads = if coop { 32 * t.subgroups() } else { t.threads() };
        let vectors = |extent: usize| (t.depth * extent / 4 / threads) as u32;
        let spec = c.spec("conv_shared.wgsl").flag("COOP", coop);
        let spec = match coop {
            true => t.coop_spec(spec).u32("EACH", 8),
            false => {
                let spec =
                    t.spec(spec, acc.is_float(), [false; 2]).flag("BYTES", c.bytes()).u32("MOVED", 4 * m * n - n);
                spec.u32("OWN_ROWS", 4 * m).u32("OWN_COLUMNS", 4 * n)
            }
        };
        let spec = if split { spec.wgsl("Y", acc.wgsl()) } else { spec };
        spec.u32("FOUR", 4)
            .u32("BLOCK", BLOCK as u32)
            .u32("LEFT_LOADS", vectors(t.rows))
            .u32("RIGHT_LOADS", vectors(t.columns))
            .flag("SMALL", self.tiled.small)
            .flag("SPLIT", split)
            .flag("LONG", c.long_end && !split)
            .flag("Y_VEC", false)
    }
}

#[derive(Debug)]
struct Sum<'a>(&'a Common<'a>);

impl Kernel for Sum<'_> {
    fn label(&self) -> String {
        self.0.label("sum")
    }

    fn spec(&self, _: &Profile) -> Spec {
        let acc = sums_of(self.0.device);
        let mut spec = self.0.spec("conv_sum.wgsl").wgsl("X", acc.wgsl()).flag("Y_VEC", false);
        // it reads nothing that a prologue would take
        ["READS", "LOAD"].into_iter().for_each(|insert| drop(spec.params.remove(insert)));
        spec
    }
}
