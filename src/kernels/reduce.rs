//! Reductions along axes and the index of an extreme: `shaders/reduce.wgsl`, `shaders/arg.wgsl`. Software adapters give
//! each result a thread; GPUs give it a workgroup, but for what lies so that neighbouring invocations can read neighbouring
//! elements: rows (`shaders/reduce_rows.wgsl`) and columns (`shaders/reduce_columns.wgsl`).

use super::copy::collapse;
use super::epilogue::{Epilogue, Flat};
use super::rows::{HELD, Rows};
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

    /// How often it goes through a row.
    fn passes(self) -> usize {
        if self == Fold::LogSumExp { 2 } else { 1 }
    }
}

/// Rows longer than this are reduced in parts. Software drivers end a thread's loops after 65,535 steps altogether
/// (llvmpipe's LP_MAX_TGSI_LOOP_ITERATIONS), and GPUs would leave most of their cores idle.
const LONG: usize = 4096;
/// Steps that a thread takes at most on software adapters.
const MOST_STEPS: usize = 60_000;
const PART: usize = 1024;

/// Workgroups for each multiprocessor that keep it busy.
const GROUPS: usize = 8;

/// Columns that a workgroup reads side by side, and columns of an invocation where it reads vectors.
const WIDTH: usize = 32;
const COLUMNS: usize = 4;
/// The least elements of a part of a row, and of a column.
const ROW_PART: usize = 8192;
/// Parts that are reduced by less than a workgroup.
const FEW_PARTS: usize = 1024;
const COLUMN_PART: usize = 64;

/// How what is reduced lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Anyhow; also on software adapters.
    Any,
    /// The elements of a row are neighbours. Whether rows and parts of them can be read in vectors.
    Rows(bool),
    /// The columns are neighbours, so many of them, the elements of one so far apart. Whether they are read in vectors.
    Columns { inner: usize, step: isize, vectors: bool },
}

impl Form {
    fn of(cx: &LowerCx<'_>, fold: Fold, x: &View, axes: &[usize]) -> Form {
        if cx.profile().cpu || x.numel() == 0 || fold == Fold::LogSumExp {
            return Form::Any;
        }
        let side = |inside: bool| {
            let (shape, strides) = side(x, axes, inside);
            let (shape, mut strides) = collapse(&shape, &[&strides]);
            (shape, strides.pop().unwrap_or_default())
        };
        let ((kept, kept_strides), (reduced, strides)) = (side(false), side(true));
        let fours = |list: &[isize]| list.iter().all(|s| s % 4 == 0);
        let aligned = x.device.bytes() <= 4 && cx.base(x).is_multiple_of(4);
        let (length, step) = match (&reduced[..], &strides[..]) {
            ([], _) => (1, 1),
            ([length], [step]) => (*length, *step),
            _ => return Form::Any,
        };
        let inner = match (kept.last(), kept_strides.last()) {
            (Some(inner), Some(1)) => *inner,
            _ => 1,
        };
        if length > 1 && step == 1 {
            return Form::Rows(aligned && length.is_multiple_of(4) && fours(&kept_strides));
        }
        if length > 1 && inner >= WIDTH / 2 {
            let outer = &kept_strides[..kept_strides.len() - 1];
            let wide = inner.is_multiple_of(4) && inner >= WIDTH * COLUMNS;
            return Form::Columns { inner, step, vectors: wide && aligned && step % 4 == 0 && fours(outer) };
        }
        Form::Any
    }

    /// Elements of a row or column that a workgroup takes.
    fn part(self, profile: &Profile, fold: Fold, dims: usize, length: usize, results: usize) -> usize {
        let enough = profile.units * GROUPS;
        let cut = |groups: usize, least: usize| match length {
            _ if length <= 2 * least => length,
            _ => length.div_ceil((enough / groups.max(1)).max(1)).next_multiple_of(least),
        };
        match self {
            Form::Any if length <= LONG && (!profile.cpu || length * fold.passes() * (dims + 1) <= MOST_STEPS) => {
                length
            }
            Form::Any => PART,
            Form::Rows(_) => cut(results, ROW_PART).min(length),
            Form::Columns { .. } => cut(self.across() * results / self.inner(), COLUMN_PART).min(length),
        }
    }

    fn inner(self) -> usize {
        if let Form::Columns { inner, .. } = self { inner } else { 1 }
    }

    /// Workgroups for the columns that are neighbours.
    fn across(self) -> usize {
        let vectors = matches!(self, Form::Columns { vectors: true, .. });
        self.inner().div_ceil(WIDTH * if vectors { COLUMNS } else { 1 })
    }
}

#[derive(Debug)]
struct Reduce<'a> {
    fold: Fold,
    device: DeviceType,
    out: DeviceType,
    kept: usize,
    reduced: usize,
    form: Form,
    rows: Option<Rows>,
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
        let spec = match self.form {
            Form::Any => Spec::new("reduce.wgsl").u32("REDUCED", self.reduced as u32).flag("GROUP", !profile.cpu),
            Form::Rows(_) => self.rows.iter().fold(Spec::new("reduce_rows.wgsl"), |spec, rows| rows.spec(spec)),
            Form::Columns { vectors, .. } => Spec::new("reduce_columns.wgsl")
                .u32("COLUMNS", if vectors { COLUMNS as u32 } else { 1 })
                .u32("AHEAD", if vectors { 4 } else { 8 })
                .flag("VECTORS", vectors),
        };
        self.end
            .spec(spec)
            .ty("T", self.device)
            .ty("R", self.out)
            .ty("Y", self.end.stores(self.out))
            .ty("A", sum)
            .code("LOAD", format!("    return {};\n", cast_expr(self.device, sum, "x")))
            .code("STORE", format!("    return {};\n", cast_expr(sum, self.out, "y")))
            .u32("KEPT", self.kept as u32)
            .flag("FLOAT", float)
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
    let form = Form::of(cx, fold, x, axes);
    let dims = reduced_dims(x, axes).0.len();
    let part = form.part(cx.profile(), fold, rank_class(dims), length, out.numel());
    if part >= length {
        return step(cx, fold, x, axes, [length, length], (out, end));
    }
    let (first, second) = fold.in_two();
    let chunks = length.div_ceil(part);
    let wide = between(second, x, made(out, end));
    if matches!(form, Form::Columns { .. }) {
        let parts = cx.temp(wide, &[chunks, out.numel()])?;
        step(cx, first, x, axes, [part, length], (&parts, None))?;
        return step(cx, second, &parts, &[0], [chunks, length], (out, end));
    }
    let parts = cx.temp(wide, &[out.numel(), chunks])?;
    step(cx, first, x, axes, [part, length], (&parts, None))?;
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

/// The extents and strides of the dims that are reduced, or of the others.
fn side(x: &View, axes: &[usize], inside: bool) -> (Vec<usize>, Vec<isize>) {
    let pick: Vec<usize> = (0..x.rank()).filter(|i| axes.contains(i) == inside).collect();
    (pick.iter().map(|i| x.shape[*i]).collect(), pick.iter().map(|i| x.strides[*i]).collect())
}

/// What is reduced, with those dims as one that step as one.
fn reduced_dims(x: &View, axes: &[usize]) -> (Vec<usize>, Vec<isize>) {
    let (shape, strides) = side(x, axes, true);
    let (shape, mut strides) = collapse(&shape, &[&strides]);
    (shape, strides.pop().unwrap_or_default())
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
    let form = Form::of(cx, fold, x, axes);
    let ((mut kept, mut kept_strides), (reduced, reduced_strides)) = (side(x, axes, false), reduced_dims(x, axes));
    let (a, b) = (rank_class(kept.len()), rank_class(reduced.len()));
    let length: usize = reduced.iter().product();
    let chunks = length.div_ceil(chunk.max(1)).max(1);
    let columns = matches!(form, Form::Columns { .. });
    let mut results = out.numel();
    if columns {
        // the innermost dim is counted apart
        let (shape, mut strides) = collapse(&kept, &[&kept_strides]);
        (kept, kept_strides) = (shape, strides.pop().unwrap_or_default());
        kept.pop();
        kept_strides.pop();
        results /= chunks;
    }
    let params = Params::new().u32(results).u32(length).u32(cx.base(x)).u32(chunks).u32(chunk).u32(divisor);
    // the number of parts, which the batch tells, chooses no shader
    let rows = match form {
        Form::Rows(aligned) if chunk < length => Some(Rows::of(2 * HELD, aligned)),
        Form::Rows(_) if length != divisor => {
            Some(Rows::of(if length <= FEW_PARTS { FEW_PARTS } else { 2 * HELD }, false))
        }
        Form::Rows(aligned) => Some(Rows::of(length, aligned)),
        _ => None,
    };
    let (params, grid) = match form {
        Form::Any => (params, rows_grid(cx.profile(), results)),
        Form::Rows(_) => (params, rows.map_or([0; 3], |rows| rows.grid(results))),
        Form::Columns { inner, step, .. } => {
            let groups = form.across() * (results / inner) * chunks;
            let params = params.u32(inner).u32(form.across()).u32(groups).i32(step);
            (params, linear_grid(groups, 1))
        }
    };
    let params = params.array_u32(&kept, a, 1).array_i32(&kept_strides, a);
    let params = match form {
        Form::Any => params.array_u32(&reduced, b, 1).array_i32(&reduced_strides, b),
        _ => params,
    };
    let flat = Flat::rows(cx, end, &out.shape, 3);
    let kernel = Reduce { fold, device: x.device, out: made(out, end), kept: a, reduced: b, form, rows, end: &flat };
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
