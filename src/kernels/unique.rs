//! Groups of equal slices: `shaders/unique_heads.wgsl`, `shaders/unique_starts.wgsl`, `shaders/unique_groups.wgsl`.

use super::order::{Scan, scan};
use super::sort::sort;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::Result;
use crate::dtype::DType::{I32, U32};
use crate::err;
use crate::plan::{Bind, LowerCx, View};

/// Where neighbours in the order differ.
#[derive(Debug)]
struct Heads {
    device: DeviceType,
}

impl Kernel for Heads {
    fn label(&self) -> String {
        format!("unique heads {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("unique_heads.wgsl").ty("T", self.device)
    }
}

/// Where each group starts in the order, and which slices are the first of a group.
#[derive(Debug)]
struct Starts;

impl Kernel for Starts {
    fn label(&self) -> String {
        "unique starts".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("unique_starts.wgsl")
    }
}

/// What is to be known of each group.
#[derive(Debug)]
struct Groups {
    sorted: bool,
}

impl Kernel for Groups {
    fn label(&self) -> String {
        "unique groups".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("unique_groups.wgsl").flag("SORTED", self.sorted)
    }
}

/// Of the groups of equal slices of dense `rows[n, length]`, n > 0, in ascending order or in that of their first
/// slices: the first slice of each, then, for every slice, its group, then how many slices each has; all are int64 of
/// `n` elements, of which the first and the last hold anything behind the groups. Gives the number of groups, an int32
/// of rank 0. NaN equals itself.
///
/// # Errors
/// `Unsupported` for slices longer than [`super::sort::LONGEST`]; as [`LowerCx::dispatch`].
pub fn unique(cx: &mut LowerCx<'_>, rows: &View, sorted: bool, [firsts, inverse, counts]: [&View; 3]) -> Result<View> {
    let (n, length) = (rows.shape[0], rows.shape[1]);
    let grid = linear_grid(n, LINEAR_WORKGROUP);
    let order = sort(cx, rows)?;
    let heads = cx.temp(I32, &[n])?;
    let params = Params::new().u32(n).u32(length);
    let binds = [Bind::Read(rows), Bind::Read(&order), Bind::Write(&heads)];
    cx.dispatch(&Heads { device: rows.device }, params, &binds, grid)?;
    let sums = Scan { product: false, reverse: false, exclusive: false };
    let groups = cx.temp(I32, &[n])?;
    scan(cx, sums, &heads, 0, &groups)?;
    let (starts, leads) = (cx.temp(U32, &[n + 1])?, cx.temp(I32, &[n])?);
    let binds = [Bind::Read(&groups), Bind::Read(&order), Bind::Write(&starts), Bind::Write(&leads)];
    cx.dispatch(&Starts, Params::new().u32(n), &binds, grid)?;
    let mut binds = vec![Bind::Read(&groups), Bind::Read(&order), Bind::Read(&starts)];
    binds.extend([Bind::Write(firsts), Bind::Write(inverse), Bind::Write(counts)]);
    let ranks;
    if !sorted {
        ranks = cx.temp(I32, &[n])?;
        scan(cx, sums, &leads, 0, &ranks)?;
        binds.push(Bind::Read(&ranks));
    }
    cx.dispatch(&Groups { sorted }, Params::new().u32(n), &binds, grid)?;
    groups.sliced(0, n - 1, 1, 1).reshaped(&[]).ok_or_else(|| err!(Internal, "one element is a scalar"))
}
