//! Images from blocks: `shaders/col2im.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// How blocks lie on an image; one number a dim, up to four dims.
#[derive(Debug, Clone)]
pub struct Blocks {
    /// Extents of the image.
    pub image: Vec<usize>,
    /// Extents of a block.
    pub block: Vec<usize>,
    /// Blocks along each dim.
    pub counts: Vec<usize>,
    /// Elements between neighbouring blocks.
    pub strides: Vec<usize>,
    /// Elements between neighbouring elements of a block.
    pub dilations: Vec<usize>,
    /// Padding before the image.
    pub pads: Vec<usize>,
}

#[derive(Debug)]
struct Col2Im {
    device: DeviceType,
    dims: usize,
}

impl Kernel for Col2Im {
    fn label(&self) -> String {
        format!("col2im {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("col2im.wgsl").ty("T", self.device).u32("DIMS", self.dims as u32)
    }
}

/// `out` `[planes.., image..]` of dense `columns` `[planes.., block.., counts..]`.
///
/// # Errors
/// `Unsupported` beyond four dims; as [`LowerCx::dispatch`].
pub fn col2im(cx: &mut LowerCx<'_>, b: &Blocks, columns: &View, out: &View) -> Result<()> {
    let dims = b.image.len();
    ensure!((1..=4).contains(&dims), Unsupported, "{dims} dims");
    ensure!(cx.base(columns) == 0, Internal, "a view that begins at {}", cx.base(columns));
    let product = |v: &[usize]| v.iter().product::<usize>();
    let planes = out.numel().checked_div(product(&b.image)).unwrap_or(0);
    let mut params = Params::new().u32(out.numel()).u32(planes).u32(product(&b.block)).u32(product(&b.counts));
    for list in [&b.image, &b.block, &b.counts, &b.strides, &b.dilations, &b.pads] {
        let mut four = [1; 4];
        four[..dims].copy_from_slice(list);
        params = params.array_u32(&four, 4, 1);
    }
    let kernel = Col2Im { device: out.device, dims };
    let grid = linear_grid(out.numel(), LINEAR_WORKGROUP);
    cx.dispatch(&kernel, params, &[Bind::Read(columns), Bind::Write(out)], grid)
}
