//! The tiles of products on GPUs (`shaders/common/tile.wgsl`), and which of them a product takes: matrix products and
//! convolutions choose from one table.

use super::{Chosen, Problem, Profile, Spec};

/// What a workgroup makes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Products that are summed between two loads.
    pub depth: usize,
    /// Blocks of four by four of an invocation: down, across.
    pub quads: [usize; 2],
    /// The share of the device's rate that it reaches where the device is full of it, in percent.
    share: usize,
    /// Whether it takes so many registers that a multiprocessor holds one workgroup at a time.
    single: bool,
}

const fn tile(rows: usize, columns: usize, depth: usize, quads: [usize; 2], share: usize) -> Tile {
    Tile { rows, columns, depth, quads, share, single: false }
}

/// From large to small. Shares are those measured on an H200 (benches/RESULTS.md).
pub const TILES: [Tile; 8] = [
    Tile { single: true, ..tile(128, 128, 16, [2, 2], 66) },
    tile(128, 128, 8, [2, 2], 60),
    tile(128, 64, 16, [2, 1], 55),
    tile(64, 128, 16, [1, 2], 54),
    tile(64, 64, 16, [1, 1], 48),
    tile(64, 32, 16, [1, 1], 38),
    tile(32, 64, 16, [1, 1], 38),
    tile(32, 32, 32, [1, 1], 32),
];

/// Those of cooperative matrices (`shaders/matmul_coop.wgsl`), whose blocks are matrices of 16 by 16 of a subgroup.
pub const COOP_TILES: [Tile; 6] = [
    Tile { single: true, ..tile(128, 256, 32, [4, 4], 375) },
    Tile { single: true, ..tile(256, 128, 32, [4, 4], 330) },
    tile(128, 128, 64, [2, 4], 220),
    tile(64, 128, 64, [2, 2], 180),
    tile(64, 64, 64, [2, 2], 106),
    tile(32, 64, 64, [2, 1], 80),
];

/// Those of convolutions by cooperative matrices (`shaders/common/coop_tile.wgsl`).
pub const CONV_COOP_TILES: [Tile; 6] = [
    tile(128, 128, 32, [4, 2], 190),
    tile(64, 128, 32, [2, 2], 106),
    tile(128, 64, 32, [2, 2], 129),
    tile(64, 64, 32, [2, 2], 102),
    tile(32, 64, 32, [1, 2], 60),
    tile(32, 32, 32, [1, 1], 46),
];

/// Parts that sums are made in at most.
const MOST_SPLITS: usize = 64;
/// What another dispatch costs, in seconds.
const DISPATCH: f64 = 7e-6;
/// What a workgroup waits for the next tiles, in seconds.
const LATENCY: f64 = 3.6e-7;
/// What a GPU moves of parts, in bytes a second, and what a multiprocessor of it computes, in operations a second.
const BYTES: f64 = 1.8e12;
const RATE: f64 = 5e11;

/// What comes after the sums.
#[derive(Debug, Clone, Copy)]
struct After {
    /// What passes between two workgroups where a multiprocessor holds one at a time, in seconds: the stores of the one, the
    /// first loads of the other.
    gap: f64,
    /// What an element costs that is put out by way of workgroup memory, in seconds.
    element: f64,
}

/// As measured on an H200.
const PRODUCT: After = After { gap: 2.5e-6, element: 0.0 };
const CONV: After = After { gap: 8e-6, element: 0.0 };
const COOP: After = After { gap: 8e-6, element: 0.0 };
const CONV_COOP: After = After { gap: 0.0, element: 2.6e-10 };
/// What a choice may cost beside the best, so that a new size compiles nothing.
const LITTLE_MORE: f64 = 1.5;

/// A tile, and the parts that sums are made in, by workgroups of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The tile.
    pub tile: Tile,
    /// Parts, of which each has some products: 1 or more.
    pub splits: usize,
    /// The number of the tile in its table.
    number: usize,
}

impl Choice {
    /// For what was chosen.
    pub fn chosen(&self, problem: &Problem) -> Chosen {
        Chosen { problem: problem.clone(), choice: [self.number, self.splits] }
    }
}

impl Tile {
    /// Subgroups of a workgroup that multiplies cooperative matrices.
    pub fn subgroups(&self) -> usize {
        self.rows * self.columns / (256 * self.quads[0] * self.quads[1])
    }

    /// Bytes of workgroup memory that cooperative matrices take: two tiles of float16 whose rows or columns are padded by 8,
    /// and of each subgroup `strip` matrices of sums side by side, whose rows are padded by 4.
    fn coop_bytes(&self, strip: usize) -> usize {
        self.coop_tiles_bytes() + 4 * 16 * (16 * strip + 4) * self.subgroups()
    }

    fn coop_tiles_bytes(&self) -> usize {
        let tile = |outer: usize| 2 * (outer * (self.depth + 8)).max(self.depth * (outer + 8));
        tile(self.rows) + tile(self.columns)
    }

    /// Matrices of sums that a subgroup puts out at a time where there is this `room`.
    pub fn strip(&self, room: usize) -> usize {
        let fits = |strip: &usize| self.quads[1].is_multiple_of(*strip) && self.coop_bytes(*strip) <= room;
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// The bytes of convolutions, whose subgroups put out a row of matrices at a time.
    pub fn coop_conv_bytes(&self) -> usize {
        self.coop_tiles_bytes() + 1024 * self.subgroups() * self.quads[1]
    }

    /// Invocations of a workgroup.
    pub fn threads(&self) -> usize {
        self.rows * self.columns / (16 * self.quads[0] * self.quads[1])
    }

    /// The constants of `common/tile.wgsl`, for sums of floats or integers; `single` says whether the left and the right
    /// tile lie in workgroup memory by elements.
    pub fn spec(&self, spec: Spec, float: bool, single: [bool; 2]) -> Spec {
        let [m, n] = self.quads.map(|q| q as u32);
        spec.u32("ROWS", self.rows as u32)
            .u32("COLUMNS", self.columns as u32)
            .u32("DEPTH", self.depth as u32)
            .u32("QUADS_M", m)
            .u32("QUADS_N", n)
            .u32("SUMS", 4 * m * n)
            .flag("FLOAT", float)
            .flag("BYTES", false)
            .flag("LEFT_SINGLE", single[0])
            .flag("RIGHT_SINGLE", single[1])
            .flag("AHEAD", self.quads == [2, 2])
    }

    /// The constants of `common/coop_tile.wgsl`.
    pub fn coop_spec(&self, spec: Spec) -> Spec {
        let [m, n] = self.quads.map(|q| q as u32);
        spec.u32("ROWS", self.rows as u32)
            .u32("COLUMNS", self.columns as u32)
            .u32("DEPTH", self.depth as u32)
            .u32("FRAGS_M", m)
            .u32("FRAGS_N", n)
            .u32("FRAGS", m * n)
    }

    /// For labels.
    pub fn name(&self) -> String {
        format!("{}x{}x{}", self.rows, self.columns, self.depth)
    }

    /// Bytes of workgroup memory that two tiles of 32-bit elements take.
    pub fn bytes(&self) -> usize {
        4 * self.depth * (self.rows + self.columns + 8)
    }

    /// Seconds that `count` products of `rows` by `k` by `columns` take in `splits` parts, about: those of one workgroup
    /// after the other where there are many, else those of one.
    fn cost(&self, units: usize, [rows, columns, k]: [usize; 3], count: usize, splits: usize, after: After) -> f64 {
        let groups = rows.div_ceil(self.rows) * columns.div_ceil(self.columns) * count * splits;
        let steps = k.div_ceil(self.depth).div_ceil(splits) as f64;
        let step = 2.0 * (self.rows * self.columns * self.depth) as f64 / (RATE * self.share as f64 / 100.0);
        let end = after.element * (self.rows * self.columns) as f64;
        let gap = if self.single { after.gap } else { 0.0 };
        let alone = (steps + 1.0) * (LATENCY + step) + end;
        let together = groups.div_ceil(units) as f64 * (steps * step + end + gap);
        let parts = 8.0 * (rows * columns * count * splits) as f64 / BYTES;
        alone.max(together) + if splits > 1 { DISPATCH + parts } else { 0.0 }
    }
}

/// The tile for a product, and the parts of its sums: what was measured to be the best, else what should be. `compiled` says
/// which choices need no compiling: of these one is taken that should cost little more than the best.
pub fn choose(profile: &Profile, problem: &Problem, compiled: impl Fn(&Choice) -> bool) -> Choice {
    choose_tile(PRODUCT, profile, problem, |_| true, compiled)
}

/// As [`choose`], for a convolution; `fits` says which tiles the operands take.
pub fn choose_conv(
    profile: &Profile,
    problem: &Problem,
    fits: impl Fn(&Tile) -> bool,
    compiled: impl Fn(&Choice) -> bool,
) -> Choice {
    choose_tile(CONV, profile, problem, fits, compiled)
}

fn choose_tile(
    after: After,
    profile: &Profile,
    problem: &Problem,
    fits: impl Fn(&Tile) -> bool,
    compiled: impl Fn(&Choice) -> bool,
) -> Choice {
    let room = profile.max_workgroup_memory as usize;
    let choice = choose_of(&TILES, after, profile, problem, |t| t.bytes() <= room && fits(t), compiled);
    let number = TILES.len() - 1;
    choice.unwrap_or(Choice { tile: TILES[number], splits: 1, number })
}

/// As [`choose`], from the table of cooperative matrices; `None` where the device has no room for any.
pub fn choose_coop(profile: &Profile, problem: &Problem, compiled: impl Fn(&Choice) -> bool) -> Option<Choice> {
    let room = profile.max_workgroup_memory as usize;
    choose_of(&COOP_TILES, COOP, profile, problem, |t| t.coop_bytes(1) <= room, compiled)
}

/// As [`choose_coop`], from the table for convolutions.
pub fn choose_conv_coop(
    profile: &Profile,
    problem: &Problem,
    fits: impl Fn(&Tile) -> bool,
    compiled: impl Fn(&Choice) -> bool,
) -> Option<Choice> {
    let room = profile.max_workgroup_memory as usize;
    let threads = profile.max_invocations as usize;
    let fits = |t: &Tile| t.coop_conv_bytes() <= room && 32 * t.subgroups() <= threads && fits(t);
    choose_of(&CONV_COOP_TILES, CONV_COOP, profile, problem, fits, compiled)
}

fn choose_of(
    table: &[Tile],
    after: After,
    profile: &Profile,
    problem: &Problem,
    fits: impl Fn(&Tile) -> bool,
    compiled: impl Fn(&Choice) -> bool,
) -> Option<Choice> {
    let Problem { size, count, .. } = *problem;
    let most = |t: &Tile| size[2].div_ceil(t.depth).clamp(1, MOST_SPLITS);
    let given = |number: usize, splits: usize| {
        let tile = table.get(number).filter(|t| fits(t))?;
        Some(Choice { tile: *tile, splits: splits.clamp(1, most(tile)), number })
    };
    if let Some(forced) = profile.forced.and_then(|(tile, splits)| given(tile % table.len(), splits)) {
        return Some(forced);
    }
    let measured = profile.choices.get(problem).filter(|_| profile.rank.is_none());
    if let Some(measured) = measured.and_then(|[tile, splits]| given(tile, splits)) {
        return Some(measured);
    }
    let splits = |t: &Tile| (0..).map(|s| 1 << s).take_while(|s| *s <= most(t)).collect::<Vec<_>>();
    let all = table.iter().enumerate().filter(|(_, t)| fits(t));
    let choices =
        all.flat_map(|(number, t)| splits(t).into_iter().map(move |splits| Choice { tile: *t, splits, number }));
    let cost = |c: Choice| (c.tile.cost(profile.units, size, count, c.splits, after), c);
    let mut costs: Vec<(f64, Choice)> = choices.map(cost).collect();
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let &(least, best) = costs.first()?;
    if let Some(rank) = profile.rank {
        return Some(costs[rank.min(costs.len() - 1)].1);
    }
    let little_more = costs.iter().take_while(|(cost, _)| *cost <= LITTLE_MORE * least);
    Some(little_more.map(|(_, c)| *c).find(compiled).unwrap_or(best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Choices;

    fn problem(size: [usize; 3]) -> Problem {
        Problem { kernel: "product".into(), size, count: 1 }
    }

    #[test]
    fn all_tiles_but_the_largest_fit_every_device() {
        let base = Profile::base();
        for t in TILES {
            assert!(t.threads() <= base.max_invocations as usize, "{t:?}");
            assert_eq!(t.bytes() <= base.max_workgroup_memory as usize, t != TILES[0], "{t:?}");
        }
    }

    #[test]
    fn cooperative_tiles_fit_what_drivers_give() {
        assert!(CONV_COOP_TILES.iter().all(|t| t.coop_conv_bytes() <= 48 << 10 && 32 * t.subgroups() <= 256));
        for t in COOP_TILES {
            assert!(t.coop_bytes(1) <= 48 << 10 && 32 * t.subgroups() <= 256, "{t:?}");
        }
        // where none fits, float16 goes by tiles of float32
        let tight = Profile { max_workgroup_memory: 1 << 10, ..Profile::base() };
        assert_eq!(choose_coop(&tight, &problem([64; 3]), |_| true), None);
    }

    #[test]
    fn large_products_take_large_tiles_and_small_ones_are_split() {
        let profile = Profile::base();
        let large = choose(&profile, &problem([4096; 3]), |_| true);
        assert_eq!((large.tile.rows, large.splits), (128, 1));
        let small = choose(&profile, &problem([128, 128, 8192]), |_| true);
        assert!(small.splits > 1, "{small:?}");
    }

    #[test]
    fn what_is_compiled_is_taken_where_it_costs_little_more() {
        let profile = Profile::base();
        let of = |rows: usize| choose(&profile, &problem([1024; 3]), |c| c.tile.rows == rows).tile;
        let best = choose(&profile, &problem([1024; 3]), |_| true).tile;
        assert_eq!((of(best.rows), of(1)), (best, best));
        assert_eq!((best.rows, of(64).rows, of(32)), (128, 64, best));
    }

    #[test]
    fn what_was_measured_is_taken_and_ranks_are_all_there_are() {
        let profile = Profile { choices: Choices::default(), ..Profile::base() };
        let of = |profile: &Profile| choose(profile, &problem([300; 3]), |_| true);
        let best = of(&profile);
        let ranked = |rank| of(&Profile { rank: Some(rank), ..profile.clone() });
        assert_eq!(ranked(0), best);
        assert_ne!(ranked(1), best);
        assert_eq!(ranked(1000), ranked(2000));
        let other = ranked(3);
        profile.choices.put([other.chosen(&problem([300; 3]))]);
        assert_eq!((of(&profile), ranked(0)), (other, best));
    }
}
