//! Reductions along axes and the index of an extreme: `shaders/reduce.wgsl`, `shaders/arg.wgsl`. Software adapters give
//! each result a thread; GPUs give it a workgroup.

use super::epilogue::{Epilogue, Flat};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, cast_expr, linear_grid, rank_class};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// What is made of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Fold {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
    /// The root of a sum: the second step of a long L2.
    RootSum,
}

impl Fold {
    /// The folds of a long row's parts, and of their results.
    fn in_two(self) -> (Fold, Fold) {
        match self {
            Fold::Mean => (Fold::Sum, Fold::Mean),
            Fold::L1 => (Fold::L1, Fold::Sum),
            Fold::L2 => (Fold::SumSquare, Fold::RootSum),
            Fold::SumSquare => (Fold::SumSquare, Fold::Sum),
            Fold::LogSum => (Fold::Sum, Fold::LogSum),
            f => (f, f),
        }
    }
}

/// Rows longer than this are reduced in parts. Software drivers end a thread's loops after 65,535 steps altogether
/// (llvmpipe's LP_MAX_TGSI_LOOP_ITERATIONS), and GPUs would leave most of their cores idle.
const LONG: usize = 4096;
const PART: usize = 1024;

#[derive(Debug)]
struct Reduce<'a> {
    fold: Fold,
    device: DeviceType,
    out: DeviceType,
    kept: usize,
    reduced: usize,
    end: &'a Flat,
}

impl Kernel for Reduce<'_> {
    fn label(&self) -> String {
        format!("reduce {:?} {}{}", self.fold, self.device.name(), self.end.label())
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let is = |list: &[Fold]| list.contains(&self.fold);
        let float = self.device.is_float();
        let sum = accumulator(self.fold, self.device, self.out);
        let spec = self.end.spec(Spec::new("reduce.wgsl"));
        spec.ty("T", self.device)
            .ty("R", self.out)
            .ty("Y", self.end.stores(self.out))
            .ty("A", sum)
            .code("LOAD", format!("    return {};\n", cast_expr(self.device, sum, "source[at]")))
            .code("STORE", format!("    return {};\n", cast_expr(sum, self.out, "y")))
            .u32("KEPT", self.kept as u32)
            .u32("REDUCED", self.reduced as u32)
            .flag("FLOAT", float)
            .flag("GROUP", !profile.cpu)
            .flag("MAX", is(&[Fold::Max]))
            .flag("MIN", is(&[Fold::Min]))
            .flag("PROD", is(&[Fold::Prod]))
            .flag("ABS", is(&[Fold::L1]))
            .flag("SQUARE", is(&[Fold::L2, Fold::SumSquare]))
            .flag("EXP", is(&[Fold::LogSumExp]))
            .flag("MEAN", is(&[Fold::Mean]))
            .flag("ROOT", is(&[Fold::L2, Fold::RootSum]))
            .flag("LOG", is(&[Fold::LogSum, Fold::LogSumExp]))
            .flag("SUM", !is(&[Fold::Max, Fold::Min, Fold::Prod]))
    }
}

/// The type that results are gathered in: what is divided or rooted later must not have wrapped before.
fn accumulator(fold: Fold, device: DeviceType, out: DeviceType) -> DeviceType {
    match device {
        DeviceType::F64 => DeviceType::F64,
        d if d.is_float() => DeviceType::F32,
        DeviceType::U64 => DeviceType::U64,
        _ if out == DeviceType::I64 || matches!(fold, Fold::L2 | Fold::RootSum | Fold::Mean) => DeviceType::I64,
        d => d,
    }
}

/// Reduces `axes` of `x` into `out`, a dense view.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn reduce(cx: &mut LowerCx<'_>, fold: Fold, x: &View, axes: &[usize], out: &View) -> Result<()> {
    reduce_to(cx, fold, x, axes, out, None)
}

/// As [`reduce`], with the results put through `end`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn reduce_to(
    cx: &mut LowerCx<'_>,
    fold: Fold,
    x: &View,
    axes: &[usize],
    out: &View,
    end: Option<&Epilogue>,
) -> Result<()> {
    let logarithm = matches!(fold, Fold::LogSum | Fold::LogSumExp);
    ensure!(x.device.is_float() || !logarithm, Unsupported, "logarithms of integers");
    let length: usize = axes.iter().map(|a| x.shape[*a]).product();
    if !cx.binds(x) {
        return large(cx, fold, x, axes, length, (out, end));
    }
    if length <= LONG {
        return step(cx, fold, x, axes, [length, length], (out, end));
    }
    let (first, second) = fold.in_two();
    let chunks = length.div_ceil(PART);
    let wide = between(second, x, made(out, end));
    let parts = cx.temp(wide, &[out.numel(), chunks])?;
    step(cx, first, x, axes, [PART, length], (&parts, None))?;
    if chunks <= LONG {
        return step(cx, second, &parts, &[1], [chunks, length], (out, end));
    }
    let again = cx.temp(wide, &[out.numel(), chunks.div_ceil(PART)])?;
    let middle = if second == Fold::LogSumExp || matches!(second, Fold::Max | Fold::Min | Fold::Prod) {
        second
    } else {
        Fold::Sum
    };
    step(cx, middle, &parts, &[1], [PART, length], (&again, None))?;
    step(cx, second, &again, &[1], [again.shape[1], length], (out, end))
}

/// The type of results before they go through `end`.
fn made(out: &View, end: Option<&Epilogue>) -> DeviceType {
    end.map_or(out.device, Epilogue::from)
}

/// The type of results of parts.
fn between(fold: Fold, x: &View, out: DeviceType) -> DType {
    match accumulator(fold, x.device, out) {
        DeviceType::F32 => DType::F32,
        DeviceType::F64 => DType::F64,
        DeviceType::I64 => DType::I64,
        _ => x.dtype,
    }
}

/// Reduces what is too large to bind in parts along the outermost of the axes, and then their results.
fn large(
    cx: &mut LowerCx<'_>,
    fold: Fold,
    x: &View,
    axes: &[usize],
    length: usize,
    (out, end): (&View, Option<&Epilogue>),
) -> Result<()> {
    let (first, second) = fold.in_two();
    let far = |d: &usize| x.strides[*d].unsigned_abs() * (x.shape[*d].max(1) - 1);
    let axis = axes.iter().copied().max_by_key(far).unwrap_or(0);
    let n = x.shape.get(axis).copied().unwrap_or(1);
    let mut count = 2;
    while count < n && !cx.binds(&x.sliced(axis, 0, 1, n.div_ceil(count))) {
        count *= 2;
    }
    let each = n.div_ceil(count.min(n));
    let slice = |i: usize| x.sliced(axis, i, 1, each.min(n - i));
    let starts: Vec<usize> = (0..n).step_by(each).collect();
    ensure!(starts.len() > 1 && cx.binds(&slice(0)), Limit, "a reduction of {} along {axes:?}", x.tensor_type());
    let parts = cx.temp(between(second, x, made(out, end)), &[starts.len(), out.numel()])?;
    for (row, i) in starts.into_iter().enumerate() {
        // results are written densely to the start of a buffer
        let made = cx.temp(parts.dtype, &[1, out.numel()])?;
        reduce(cx, first, &slice(i), axes, &made)?;
        super::copy::copy(cx, &made, &parts.sliced(0, row, 1, 1))?;
    }
    step(cx, second, &parts, &[0], [parts.shape[0], length], (out, end))
}

/// One dispatch: parts of `chunk` elements; a mean divides by `divisor`.
fn step(
    cx: &mut LowerCx<'_>,
    fold: Fold,
    x: &View,
    axes: &[usize],
    [chunk, divisor]: [usize; 2],
    (out, end): (&View, Option<&Epilogue>),
) -> Result<()> {
    let side = |inside: bool| {
        let pick: Vec<usize> = (0..x.rank()).filter(|i| axes.contains(i) == inside).collect();
        let shape: Vec<usize> = pick.iter().map(|i| x.shape[*i]).collect();
        let strides: Vec<isize> = pick.iter().map(|i| x.strides[*i]).collect();
        (shape, strides)
    };
    let ((kept, kept_strides), (reduced, reduced_strides)) = (side(false), side(true));
    let (a, b) = (rank_class(kept.len()), rank_class(reduced.len()));
    let length: usize = reduced.iter().product();
    let params = Params::new()
        .u32(out.numel())
        .u32(length)
        .u32(cx.base(x))
        .u32(length.div_ceil(chunk.max(1)).max(1))
        .u32(chunk)
        .u32(divisor)
        .array_u32(&kept, a, 1)
        .array_i32(&kept_strides, a)
        .array_u32(&reduced, b, 1)
        .array_i32(&reduced_strides, b);
    let grid = rows_grid(cx.profile(), out.numel());
    let flat = Flat::rows(cx, end, &out.shape, 3);
    let kernel = Reduce { fold, device: x.device, out: made(out, end), kept: a, reduced: b, end: &flat };
    let mut binds = vec![Bind::Read(x), Bind::Write(out)];
    binds.extend(end.iter().flat_map(|e| &e.reads).map(Bind::Read));
    cx.dispatch(&kernel, flat.params(params), &binds, grid)?;
    cx.takes_flops(x.numel());
    Ok(())
}

/// Workgroups for `rows` rows: a thread each on software adapters, else a workgroup each.
pub fn rows_grid(profile: &Profile, rows: usize) -> [u32; 3] {
    if profile.cpu { linear_grid(rows, LINEAR_WORKGROUP) } else { linear_grid(rows, 1) }
}

#[derive(Debug)]
struct Arg {
    max: bool,
    last: bool,
    device: DeviceType,
    rank: usize,
    among: bool,
}

impl Kernel for Arg {
    fn label(&self) -> String {
        format!("arg{} {}", if self.max { "max" } else { "min" }, self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("arg.wgsl")
            .ty("T", self.device)
            .u32("KEPT", self.rank as u32)
            .flag("MAX", self.max)
            .flag("LAST", self.last)
            .flag("AMONG", self.among)
    }
}

/// The index of the largest or smallest element along `axis`, as int64, into dense `out`.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn arg(cx: &mut LowerCx<'_>, max: bool, last: bool, x: &View, axis: usize, out: &View) -> Result<()> {
    let others: Vec<usize> = (0..x.rank()).filter(|i| *i != axis).collect();
    let shape: Vec<usize> = others.iter().map(|i| x.shape[*i]).collect();
    let strides: Vec<isize> = others.iter().map(|i| x.strides[*i]).collect();
    let rank = rank_class(shape.len());
    let (rows, mut length, mut found) = (out.numel(), x.shape[axis], None::<View>);
    loop {
        let part = if length <= LONG { length } else { PART };
        let parts = length.div_ceil(part.max(1)).max(1);
        let to = if parts == 1 { out.clone() } else { cx.temp(out.dtype, &[rows, parts])? };
        let params = Params::new()
            .u32(rows * parts)
            .u32(length)
            .u32(part)
            .u32(parts)
            .u32(cx.base(x))
            .i32(x.strides[axis])
            .array_u32(&shape, rank, 1)
            .array_i32(&strides, rank);
        let kernel = Arg { max, last, device: x.device, rank, among: found.is_some() };
        let binds = [Some(Bind::Read(x)), Some(Bind::Write(&to)), found.as_ref().map(Bind::Read)];
        let binds: Vec<Bind> = binds.into_iter().flatten().collect();
        cx.dispatch(&kernel, params, &binds, linear_grid(rows * parts, LINEAR_WORKGROUP))?;
        if parts == 1 {
            return Ok(());
        }
        (length, found) = (parts, Some(to));
    }
}
