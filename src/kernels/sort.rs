//! Slices in order: `shaders/sort.wgsl`, `shaders/sort_block.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType::U32;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// Loop steps of a thread that every driver takes.
const STEPS: usize = 60_000;
/// Slices that a workgroup sorts among themselves.
const BLOCK: usize = 512;
/// Comparisons that one thread makes to sort a block: 1 + 2 + … + 9.
const COMPARISONS: usize = 45;

/// Elements of a slice beyond which a thread would compare too long.
pub const LONGEST: usize = STEPS;

#[derive(Debug)]
struct Sort {
    device: DeviceType,
    block: bool,
}

impl Kernel for Sort {
    fn label(&self) -> String {
        format!("sort {}{}", self.device.name(), if self.block { " blocks" } else { "" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new(if self.block { "sort_block.wgsl" } else { "sort.wgsl" }).ty("T", self.device)
    }
}

/// The numbers (uint32) of the slices of dense `rows[n, length]` in ascending order, by their first elements that
/// differ; NaN is the greatest and equals itself; of equal slices the first comes first.
///
/// # Errors
/// `Unsupported` for slices longer than [`LONGEST`]; as [`LowerCx::dispatch`].
pub fn sort(cx: &mut LowerCx<'_>, rows: &View) -> Result<View> {
    let (n, length) = (rows.shape[0], rows.shape[1]);
    ensure!(length <= LONGEST, Unsupported, "an order of slices of {length} elements");
    ensure!(cx.base(rows) == 0, Internal, "a view that begins at {}", cx.base(rows));
    let order = cx.temp(U32, &[n])?;
    let binds = [Bind::Read(rows), Bind::Write(&order)];
    // a bitonic network: runs of `run` slices become runs of twice that, first mirrored against each other, then by
    // ever smaller distances; those within a block take one dispatch
    let blocks = (length + 1) * COMPARISONS <= STEPS;
    let step = |cx: &mut LowerCx<'_>, distance: usize, mirror: bool, first: bool| {
        let params = Params::new().u32(n).u32(length).u32(distance).u32(mirror).u32(first);
        let threads = n.div_ceil(2 * distance) * distance;
        cx.dispatch(&Sort { device: rows.device, block: false }, params, &binds, linear_grid(threads, LINEAR_WORKGROUP))
    };
    let block = |cx: &mut LowerCx<'_>, first: bool| {
        let params = Params::new().u32(n).u32(length).u32(first);
        let grid = linear_grid(n.div_ceil(BLOCK), 1);
        cx.dispatch(&Sort { device: rows.device, block: true }, params, &binds, grid)
    };
    let mut run = 1;
    if blocks {
        block(cx, true)?;
        run = BLOCK;
    } else if n == 1 {
        step(cx, 1, true, true)?;
    }
    while run < n {
        step(cx, run, true, run == 1)?;
        let mut distance = run / 2;
        while distance > 0 && !(blocks && 2 * distance <= BLOCK) {
            step(cx, distance, false, false)?;
            distance /= 2;
        }
        if blocks {
            block(cx, false)?;
        }
        run *= 2;
    }
    Ok(order)
}
