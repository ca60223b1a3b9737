//! Elements that are not zero: `shaders/non_zero.wgsl`.

use super::order::{Scan, scan};
use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, elementwise, linear_grid};
use crate::dtype::DType::{Bool, I32};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure, err};

#[derive(Debug)]
struct NonZero;

impl Kernel for NonZero {
    fn label(&self) -> String {
        "non zero".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("non_zero.wgsl")
    }
}

/// How many elements of `x` (none is empty) up to each are not zero, int32 in row-major order; and, of rank 0, of all.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn running_counts(cx: &mut LowerCx<'_>, x: &View) -> Result<(View, View)> {
    let flags = cx.temp(I32, &x.shape)?;
    elementwise::apply(cx, "count", std::slice::from_ref(x), &flags, |e, args| {
        let zero = e.cast(&args[0], Bool)?;
        e.cast(&zero, I32)
    })?;
    let n = flags.numel();
    let flat = flags.reshaped(&[n]).ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
    let counts = cx.temp(I32, &[n])?;
    scan(cx, Scan { product: false, reverse: false, exclusive: false }, &flat, 0, &counts)?;
    let last = counts.sliced(0, n - 1, 1, 1).reshaped(&[]).ok_or_else(|| err!(Internal, "one element is a scalar"))?;
    Ok((counts, last))
}

/// The coordinates of the elements of `x` that are not zero, in row-major order, in the first columns of dense
/// `places[rank, elements]`; gives their number, an int32 of rank 0.
///
/// # Errors
/// `Unsupported` beyond eight dims; as [`LowerCx::dispatch`].
pub fn non_zero(cx: &mut LowerCx<'_>, x: &View, places: &View) -> Result<View> {
    ensure!(x.rank() <= 8, Unsupported, "{} dims", x.rank());
    let (counts, all) = running_counts(cx, x)?;
    let params = Params::new().u32(x.numel()).u32(x.rank()).array_u32(&x.shape, 8, 1);
    let grid = linear_grid(x.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&NonZero, params, &[Bind::Read(&counts), Bind::Write(places)], grid)?;
    Ok(all)
}
