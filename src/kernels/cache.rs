//! Caches of keys and values: `shaders/cache.wgsl`.

use super::copy::word;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, bail, ensure};

#[derive(Debug)]
struct Cache {
    device: DeviceType,
    /// Whether a word is four elements.
    fours: bool,
    old: bool,
}

impl Kernel for Cache {
    fn label(&self) -> String {
        format!("cache {}", word(self.device))
    }

    fn spec(&self, _: &Profile) -> Spec {
        let word = word(self.device);
        let word = if self.fours { format!("vec4<{word}>") } else { word.into() };
        Spec::new("cache.wgsl").wgsl("Word", word).flag("OLD", self.old)
    }
}

/// Whether the rows of each head of `[batch, heads, places, depth]` lie densely.
pub fn takes(v: &View) -> bool {
    let depth = v.shape[3] as isize;
    (v.shape[3] <= 1 || v.strides[3] == 1) && (v.shape[2] <= 1 || v.strides[2] == depth)
}

/// Writes to `out`, `[batch, heads, room, depth]`, what stands in `old`, `[batch, heads, past, depth]`, before each sequence's place
/// in `starts` (dense int32, one for each of the batch), from there on `new`, `[batch, heads, length, depth]`, and zeros.
/// `old` and `out` are as [`takes`] says.
///
/// # Errors
/// `Internal` where they do not fit each other; as [`LowerCx::dispatch`].
pub fn update(cx: &mut LowerCx<'_>, new: &View, starts: &View, old: Option<&View>, out: &View) -> Result<()> {
    let (&[batch, heads, length, depth], &[_, _, room, _]) = (&new.shape[..], &out.shape[..]) else {
        bail!(Internal, "a cache of {:?} with {:?}", out.shape, new.shape);
    };
    let whole = takes(out) && old.is_none_or(takes) && starts.is_dense() && starts.numel() == batch;
    ensure!(whole && out.shape == [batch, heads, room, depth], Internal, "a cache of {:?}", out.shape);
    let even = |v: &View, dims: usize| cx.base(v).is_multiple_of(4) && v.strides[..dims].iter().all(|s| s % 4 == 0);
    let fours = new.device.bytes() <= 4
        && depth.is_multiple_of(4)
        && new.strides[3] == 1
        && even(new, 3)
        && even(out, 2)
        && old.is_none_or(|o| even(o, 2));
    let width = if fours { 4 } else { 1 };
    let count = out.numel() / width;
    let base = |v: &View| cx.base(v) / width as u32;
    let steps = |v: &View, dims: usize| v.strides[..dims].iter().map(|s| s / width as isize).collect::<Vec<isize>>();
    let along = if fours { 1 } else { new.strides[3] };
    let params = Params::new()
        .u32(count)
        .u32(heads)
        .u32(room)
        .u32(depth / width)
        .u32(length)
        .u32(old.map_or(0, |o| o.shape[2]))
        .u32(base(new))
        .u32(cx.base(starts))
        .u32(old.map_or(0, base))
        .u32(base(out))
        .array_i32(&[steps(new, 3), vec![along]].concat(), 4)
        .array_i32(&[old.map_or(vec![0; 2], |o| steps(o, 2)), vec![0; 2]].concat(), 4)
        .array_i32(&[steps(out, 2), vec![0; 2]].concat(), 4);
    let binds = [Bind::Read(new), Bind::Read(starts)].into_iter().chain(old.map(Bind::Read)).chain([Bind::Write(out)]);
    let binds: Vec<Bind<'_>> = binds.collect();
    let kernel = Cache { device: new.device, fours, old: old.is_some() };
    cx.dispatch(&kernel, params, &binds, linear_grid(count, LINEAR_WORKGROUP))
}
