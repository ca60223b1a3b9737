//! TopK and cumulative sums: `shaders/top_k.wgsl`, `shaders/scan.wgsl`.

use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, cast_expr, linear_grid};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// Loop steps of a thread that every driver takes.
const STEPS: usize = 60_000;
/// Elements that one thread of a scan goes through.
const CHUNK: usize = 256;

#[derive(Debug)]
struct TopK {
    largest: bool,
    device: DeviceType,
}

impl Kernel for TopK {
    fn label(&self) -> String {
        format!("top k {}", self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("top_k.wgsl").ty("T", self.device).flag("LARGEST", self.largest)
    }
}

/// The first elements along `axis` of dense `x` in descending or ascending order, and where they were (int64).
///
/// # Errors
/// `Limit` for axes longer than a thread can count; as [`LowerCx::dispatch`].
pub fn top_k(cx: &mut LowerCx<'_>, largest: bool, x: &View, axis: usize, values: &View, places: &View) -> Result<()> {
    let (n, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    ensure!(n <= STEPS, Limit, "an axis of {n} elements");
    ensure!(cx.base(x) == 0, Internal, "a view that begins at {}", cx.base(x));
    let params = Params::new().u32(x.numel()).u32(n).u32(inner).u32(values.shape[axis]);
    let grid = linear_grid(x.numel(), LINEAR_WORKGROUP);
    let kernel = TopK { largest, device: x.device };
    cx.dispatch(&kernel, params, &[Bind::Read(x), Bind::Write(values), Bind::Write(places)], grid)
}

/// How a scan goes.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// Products instead of sums.
    pub product: bool,
    /// An element does not count for its own result.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

#[derive(Debug)]
struct Chunks {
    scan: Scan,
    from: DeviceType,
    to: DeviceType,
    sums: DeviceType,
    offsets: bool,
    totals: bool,
}

impl Kernel for Chunks {
    fn label(&self) -> String {
        format!("scan {}{}", self.from.name(), if self.totals { " totals" } else { "" })
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("scan.wgsl")
            .ty("T", self.from)
            .ty("A", self.sums)
            .ty("R", self.to)
            .code("LOAD", format!("        let x = {};\n", cast_expr(self.from, self.sums, "source[at]")))
            .code("STORE", format!("        result[at] = {};\n", cast_expr(self.sums, self.to, "sum")))
            .flag("PRODUCT", self.scan.product)
            .flag("REVERSE", self.scan.reverse)
            .flag("EXCLUSIVE", self.scan.exclusive && !self.totals)
            .flag("EACH", !self.totals)
            .flag("TOTALS", self.totals)
            .flag("OFFSETS", self.offsets)
    }
}

/// Cumulative sums or products along `axis` of dense `x`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn scan(cx: &mut LowerCx<'_>, how: Scan, x: &View, axis: usize, out: &View) -> Result<()> {
    ensure!(cx.base(x) == 0, Internal, "a view that begins at {}", cx.base(x));
    let sums = match x.device {
        DeviceType::F64 => DType::F64,
        d if d.is_float() => DType::F32,
        _ => x.dtype,
    };
    let (n, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    let rows = x.numel().checked_div(n).unwrap_or(0);
    let chunks = n.div_ceil(CHUNK).max(1);
    let params = || Params::new().u32(rows * chunks).u32(n).u32(inner).u32(CHUNK).u32(chunks);
    let grid = linear_grid(rows * chunks, LINEAR_WORKGROUP);
    let sum_type = cx.profile().device_type(sums)?;
    let (from, to) = (x.device, out.device);
    if chunks == 1 {
        let kernel = Chunks { scan: how, from, to, sums: sum_type, offsets: false, totals: false };
        return cx.dispatch(&kernel, params(), &[Bind::Read(x), Bind::Write(out)], grid);
    }
    let totals = cx.temp(sums, &[rows, chunks])?;
    let kernel = Chunks { scan: how, from, to: sum_type, sums: sum_type, offsets: false, totals: true };
    cx.dispatch(&kernel, params(), &[Bind::Read(x), Bind::Write(&totals)], grid)?;
    let before = cx.temp(sums, &[rows, chunks])?;
    scan(cx, Scan { exclusive: false, reverse: false, ..how }, &totals, 1, &before)?;
    let kernel = Chunks { scan: how, from, to, sums: sum_type, offsets: true, totals: false };
    cx.dispatch(&kernel, params(), &[Bind::Read(x), Bind::Read(&before), Bind::Write(out)], grid)
}
