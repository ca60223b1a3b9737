//! Caches of keys and values: `shaders/cache.wgsl`.

use super::copy::word;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

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

/// Writes to `out`, a dense `[batch, heads, room, depth]`, what stands in `old` (a dense `[batch, heads, past, depth]`) before
/// each sequence's place in `starts` (int32, one for each of the batch), from there on `new` of `[batch, heads, length, depth]`,
/// and zeros.
///
/// # Errors
/// `Internal` where they do not fit each other; as [`LowerCx::dispatch`].
pub fn update(cx: &mut LowerCx<'_>, new: &View, starts: &View, old: Option<&View>, out: &View) -> Result<()> {
    let (&[batch, heads, length, depth], &[_, _, room, _]) = (&new.shape[..], &out.shape[..]) else {
        ensure!(false, Internal, "a cache of {:?} with {:?}", out.shape, new.shape);
        return Ok(());
    };
    let past = old.map_or(0, |o| o.shape[2]);
    let dense = out.is_dense() && old.is_none_or(View::is_dense) && starts.is_dense() && starts.numel() == batch;
    ensure!(dense && out.shape == [batch, heads, room, depth], Internal, "a cache of {:?}", out.shape);
    let even = |v: &View| cx.base(v).is_multiple_of(4);
    let fours = new.device.bytes() <= 4
        && depth.is_multiple_of(4)
        && new.strides[3] == 1
        && new.strides[..3].iter().all(|s| s % 4 == 0)
        && [Some(new), old, Some(out)].into_iter().flatten().all(even);
    let width = if fours { 4 } else { 1 };
    let count = out.numel() / width;
    let base = |v: &View| cx.base(v) / width as u32;
    let mut steps: Vec<isize> = new.strides.iter().map(|s| s / width as isize).collect();
    steps[3] = if fours { 1 } else { new.strides[3] };
    let params = Params::new()
        .u32(count)
        .u32(heads)
        .u32(room)
        .u32(depth / width)
        .u32(length)
        .u32(past)
        .u32(base(new))
        .u32(cx.base(starts))
        .u32(old.map_or(0, base))
        .u32(base(out))
        .array_i32(&steps, 4);
    let binds = [Bind::Read(new), Bind::Read(starts)].into_iter().chain(old.map(Bind::Read)).chain([Bind::Write(out)]);
    let binds: Vec<Bind<'_>> = binds.collect();
    let kernel = Cache { device: new.device, fours, old: old.is_some() };
    cx.dispatch(&kernel, params, &binds, linear_grid(count, LINEAR_WORKGROUP))
}
