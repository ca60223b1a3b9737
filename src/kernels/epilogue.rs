//! Functions of single elements within other kernels: what a kernel makes goes through a generated function before it
//! is stored (an epilogue), what it reads through one when it is loaded (a prologue).
//!
//! A kernel that takes an epilogue has three insertions: `FIELDS` at the end of its params, `DECLARATIONS`, and
//! `RESULT`, which returns what is to be stored for a value.

use std::fmt::Write;

use super::copy::collapse;
use super::elementwise::{Emit, Var};
use super::{DeviceType, Number, Params, Spec, rank_class};
use crate::dtype::DType;
use crate::plan::{LowerCx, View};
use crate::{Result, ensure, err};

/// Statements beyond which a function is long.
const LONG: usize = 4;

/// A generated function, and what it reads besides the value that the kernel has made.
#[derive(Debug, Clone)]
pub struct Epilogue {
    label: String,
    /// The functions that it consists of, the first of which takes what the kernel has made.
    stages: Vec<Stage>,
    /// Whether each of its steps rounds to a type that the device only stores.
    rounds: bool,
    from: DeviceType,
    to: DeviceType,
    /// Further operands, each of which broadcasts to the result's shape.
    pub reads: Vec<View>,
}

/// A function of an epilogue. Its arguments behind the first are `x0`, `x1`, …
#[derive(Debug, Clone)]
struct Stage {
    from: DeviceType,
    to: DeviceType,
    body: String,
    result: String,
    args: Vec<Arg>,
}

#[derive(Debug, Clone)]
enum Arg {
    /// The next of the reads.
    Read,
    /// Among the params, under this number.
    Number(usize, Number),
}

impl Epilogue {
    /// The function that `emit` writes for a value of type `from` and elements of `reads`. It makes values of type `to`.
    ///
    /// # Errors
    /// Those of `emit`; `Unsupported` when the device has no form for a type, or one of two words for `to`.
    pub fn new(
        cx: &LowerCx<'_>,
        label: &str,
        [from, to]: [DType; 2],
        reads: Vec<View>,
        emit: impl FnOnce(&mut Emit<'_>, Var, &[Var]) -> Result<Var>,
    ) -> Result<Epilogue> {
        let profile = cx.profile();
        let mut e = Emit::new(profile);
        let arg = |(k, v): (usize, &View)| Var { name: format!("x{k}"), dtype: v.dtype };
        let args: Vec<Var> = reads.iter().enumerate().map(arg).collect();
        let result = emit(&mut e, Var { name: "made".into(), dtype: from }, &args)?;
        ensure!(result.dtype == to, Internal, "{label} made {}, expected {to}", result.dtype);
        let (body, result) = (e.body().to_string(), result.name);
        let rounds = [from, to].iter().any(|d| d.is_float() && !matches!(d, DType::F32 | DType::F16));
        let (from, to) = (profile.device_type(from)?, profile.device_type(to)?);
        ensure!(to.bytes() <= 4, Unsupported, "epilogues of {}", to.name());
        let arg = |(k, v): (usize, &View)| Number::of(cx, v).map_or(Arg::Read, |n| Arg::Number(k, n));
        let args: Vec<Arg> = reads.iter().enumerate().map(arg).collect();
        let bound = reads.into_iter().zip(&args).filter(|(_, a)| matches!(a, Arg::Read));
        let reads = bound.map(|(v, _)| v).collect();
        let stages = vec![Stage { from, to, body, result, args }];
        Ok(Epilogue { label: label.into(), stages, rounds, from, to, reads })
    }

    /// This function, then another of what it makes.
    ///
    /// # Errors
    /// `Internal` when the other takes something else.
    pub fn then(self, next: &Epilogue) -> Result<Epilogue> {
        ensure!(self.to == next.from, Internal, "{} does not take what {} makes", next.label, self.label);
        let taken = self.stages.iter().map(|s| s.args.len()).sum::<usize>();
        let renumbered = |a: &Arg| match a {
            Arg::Read => Arg::Read,
            Arg::Number(k, n) => Arg::Number(k + taken, n.clone()),
        };
        let more = next.stages.iter().map(|s| Stage { args: s.args.iter().map(renumbered).collect(), ..s.clone() });
        Ok(Epilogue {
            label: format!("{}+{}", self.label, next.label),
            stages: self.stages.into_iter().chain(more).collect(),
            rounds: self.rounds || next.rounds,
            from: self.from,
            to: next.to,
            reads: self.reads.into_iter().chain(next.reads.iter().cloned()).collect(),
        })
    }

    fn numbers(&self) -> impl Iterator<Item = (usize, &Number)> {
        self.stages.iter().flat_map(|s| &s.args).filter_map(|a| match a {
            Arg::Number(k, n) => Some((*k, n)),
            Arg::Read => None,
        })
    }

    /// The fields of a struct of params that hold its numbers, whose names begin with `prefix`.
    fn fields(&self, prefix: &str) -> String {
        self.numbers().map(|(k, n)| n.fields(&format!("{prefix}_number{k}"))).collect()
    }

    /// The values of those fields, added to others.
    pub fn params(&self, params: Params) -> Params {
        self.numbers().fold(params, |p, (_, n)| n.params(p))
    }

    /// The expression of the function's first operand, of which all elements are the same, where the kernel's params
    /// have the bases of reads.
    pub fn first(&self) -> Option<String> {
        Some(match self.stages.first()?.args.first()? {
            Arg::Number(k, n) => n.read(&format!("more_number{k}")),
            Arg::Read => "more0[params.more0_base]".into(),
        })
    }

    /// The type of the value that the function takes.
    pub fn from(&self) -> DeviceType {
        self.from
    }

    /// The type of the value that the function makes.
    pub fn to(&self) -> DeviceType {
        self.to
    }

    /// Whether it is more code than should stand many times in a kernel.
    pub fn is_long(&self) -> bool {
        self.stages.iter().map(|s| s.body.lines().count()).sum::<usize>() > LONG
    }

    /// For the kernel's label.
    pub fn label(end: Option<&Epilogue>) -> String {
        end.map(|e| format!("+{}", e.label)).unwrap_or_default()
    }

    /// The function `prologue` of what a kernel loads, where it reads nothing else.
    ///
    /// # Errors
    /// `Unsupported` where it does.
    pub fn of_loads(&self) -> Result<String> {
        ensure!(self.reads.is_empty(), Unsupported, "a prologue that reads more than one value");
        Ok(self.function("prologue", "pre", 0))
    }

    /// The function `epilogue` and the variables `more0`, … of the reads, at bindings from `binding` on.
    pub fn declarations(&self, binding: usize) -> String {
        self.function("epilogue", "more", binding)
    }

    /// The function called `name` and the variables of the reads, whose names begin with `prefix`.
    fn function(&self, name: &str, prefix: &str, binding: usize) -> String {
        let mut s = String::from("//#include common/activations.wgsl\n");
        for (k, v) in self.reads.iter().enumerate() {
            let (slot, ty) = (binding + k, v.device.wgsl());
            let _ = writeln!(s, "@group(0) @binding({slot}) var<storage, read> {prefix}{k}: array<{ty}>;");
        }
        let (mut all, mut inner, mut read) = (String::new(), String::from("made"), 0);
        for (i, stage) in self.stages.iter().enumerate() {
            let (mut args, mut passed, mut numbers) = (String::new(), String::new(), String::new());
            for (k, arg) in stage.args.iter().enumerate() {
                if let Arg::Number(at, n) = arg {
                    let _ = writeln!(numbers, "    let x{k} = {};", n.read(&format!("{prefix}_number{at}")));
                    continue;
                }
                let ty = self.reads.get(read).map_or("f32", |v| v.device.wgsl());
                let _ = write!(args, ", x{k}: {ty}");
                let _ = write!(all, ", r{read}: {ty}");
                let _ = write!(passed, ", r{read}");
                read += 1;
            }
            let of = if self.stages.len() > 1 { format!("{name}_{i}") } else { name.to_string() };
            let (from, to) = (stage.from.wgsl(), stage.to.wgsl());
            let _ = write!(s, "fn {of}(made: {from}{args}) -> {to} {{\n{numbers}{}", stage.body);
            let _ = writeln!(s, "    return {};\n}}", stage.result);
            inner = format!("{of}({inner}{passed})");
        }
        if self.stages.len() > 1 {
            let (from, to) = (self.from.wgsl(), self.to.wgsl());
            let _ = writeln!(s, "fn {name}(made: {from}{all}) -> {to} {{\n    return {inner};\n}}");
        }
        s
    }

    /// The statement that returns the function of `value` and of the reads' elements at `places`.
    pub fn result(&self, value: &str, places: &[String]) -> String {
        let args: String = places.iter().enumerate().map(|(k, at)| format!(", more{k}[{at}]")).collect();
        format!("    return epilogue({value}{args});\n")
    }
}

/// The insertions of kernels that make matrices of a batch: `RESULT` knows the value `made`, the `Origin` `at` of the
/// matrices, the row `m` and the column `n`. Reads are bound from `binding` on.
pub fn matrices(spec: Spec, end: Option<&Epilogue>, made: &str, binding: usize) -> Spec {
    let Some(end) = end else {
        let none = ["FIELDS", "ORIGIN_FIELDS", "ORIGIN_START", "ORIGIN_STEP", "DECLARATIONS"];
        return none.into_iter().fold(spec, |s, n| s.code(n, "")).code("RESULT", format!("    return {made};\n"));
    };
    let all = 0..end.reads.len();
    let each = |f: fn(usize) -> String| all.clone().map(f).collect::<String>();
    let place = |k: usize| format!("at.more{k} + i32(m) * params.more{k}_m + i32(n) * params.more{k}_n");
    let places: Vec<String> = all.clone().map(place).collect();
    let steps = each(|k| format!("    more{k}_base: i32,\n    more{k}_m: i32,\n    more{k}_n: i32,\n"));
    let batches = each(|k| format!("    more{k}_batch: array<vec4<i32>, RANK / 4u>,\n"));
    spec.code("FIELDS", format!("    count: u32,\n{}{steps}{batches}", end.fields("more")))
        .code("ORIGIN_FIELDS", each(|k| format!("    more{k}: i32,\n")))
        .code("ORIGIN_START", each(|k| format!("    at.more{k} = params.more{k}_base;\n")))
        .code("ORIGIN_STEP", each(|k| format!("    at.more{k} += x * params.more{k}_batch[d / 4u][d % 4u];\n")))
        .code("DECLARATIONS", end.declarations(binding))
        .code("RESULT", end.result(made, &places))
}

/// What stands around a kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends<'a> {
    /// What each element of input 0 goes through when it is loaded. Padding does not.
    pub start: Option<&'a Epilogue>,
    /// What each element of output 0 goes through before it is stored.
    pub end: Option<&'a Epilogue>,
}

impl<'a> Ends<'a> {
    /// The epilogue of a kernel that takes nothing else.
    ///
    /// # Errors
    /// `Unsupported` where there is a prologue, or nothing.
    pub fn only_end(&self) -> Result<&'a Epilogue> {
        match (self.start, self.end) {
            (None, Some(end)) => Ok(end),
            _ => Err(err!(Unsupported, "it takes no prologue")),
        }
    }

    /// The epilogue of a kernel that takes no prologue.
    ///
    /// # Errors
    /// `Unsupported` where there is one.
    pub fn no_start(&self) -> Result<Option<&'a Epilogue>> {
        ensure!(self.start.is_none(), Unsupported, "it takes no prologue");
        Ok(self.end)
    }

    /// For the kernel's label.
    pub fn label(&self) -> String {
        let start = self.start.map(|s| format!(" of {}", s.label)).unwrap_or_default();
        start + &Epilogue::label(self.end)
    }
}

/// How a read is found from an element's place in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The same place.
    Dense,
    /// The channel.
    Channel,
    /// One element for all.
    Single,
    /// By strides.
    Strided,
}

/// The insertions of kernels that count through a dense result: `RESULT` knows the value `v`, its place `at` and, unless
/// it is one of [`Flat::rows`], its `channel`.
#[derive(Debug, Default)]
pub struct Flat {
    label: String,
    to: Option<DeviceType>,
    long: bool,
    fields: String,
    declarations: String,
    result: String,
    bases: Vec<u32>,
    shape: Vec<usize>,
    strides: Vec<Vec<isize>>,
    rank: usize,
    numbers: Params,
}

impl Flat {
    /// For a result of shape `out`, reads bound from `binding` on.
    pub fn new(cx: &LowerCx<'_>, end: Option<&Epilogue>, out: &[usize], binding: usize) -> Flat {
        Flat::make(cx, end, out, binding, true)
    }

    /// As [`Flat::new`], for kernels that know no channel.
    pub fn rows(cx: &LowerCx<'_>, end: Option<&Epilogue>, out: &[usize], binding: usize) -> Flat {
        Flat::make(cx, end, out, binding, false)
    }

    fn make(cx: &LowerCx<'_>, end: Option<&Epilogue>, out: &[usize], binding: usize, channels: bool) -> Flat {
        let Some(end) = end else { return Flat { result: "    return v;\n".into(), ..Flat::default() } };
        let access = |v: &View| {
            // by what stays when the batch is another
            let lead = out.len() - v.rank();
            let by_channel = |(d, extent): (usize, &usize)| *extent == 1 || (lead + d == 1 && v.strides[d] == 1);
            match () {
                () if v.rank() == 0 || (v.numel() == 1 && cx.is_constant(v)) => Access::Single,
                () if channels && cx.is_constant(v) && v.shape.iter().enumerate().all(by_channel) => Access::Channel,
                // a part of a buffer may be dense at one batch size only
                () if v.shape == out && cx.is_whole(v) => Access::Dense,
                () => Access::Strided,
            }
        };
        let accesses: Vec<Access> = end.reads.iter().map(access).collect();
        let strided = |k: &usize| accesses[*k] == Access::Strided;
        let list: Vec<usize> = (0..accesses.len()).filter(strided).collect();
        let wide: Vec<View> = list.iter().map(|k| end.reads[*k].broadcast(out)).collect();
        let lists: Vec<&[isize]> = wide.iter().map(|v| v.strides.as_slice()).collect();
        let (shape, strides) = collapse(out, &lists);
        // of the class that the rank says, whatever extents of 1 collapse at this batch size
        let rank = rank_class(out.len());

        let mut fields = format!("    more_count: u32,\n{}", end.fields("more"));
        (0..accesses.len()).for_each(|k| fields += &format!("    more{k}_base: u32,\n"));
        let mut declarations = end.declarations(binding);
        if !list.is_empty() {
            let _ = writeln!(fields, "    more_shape: array<vec4<u32>, {}>,", rank / 4);
        }
        for k in &list {
            let _ = writeln!(fields, "    more{k}_steps: array<vec4<i32>, {}>,", rank / 4);
            let _ = write!(declarations, "fn more{k}_at(place: u32) -> u32 {{\n    var rest = place;\n");
            let _ = writeln!(declarations, "    var at = i32(params.more{k}_base);");
            for d in (0..rank).rev() {
                let pick = format!("[{}][{}]", d / 4, d % 4);
                let _ = writeln!(
                    declarations,
                    "    at += i32(rest % params.more_shape{pick}) * params.more{k}_steps{pick};\n    rest /= params.more_shape{pick};"
                );
            }
            declarations += "    return u32(at);\n}\n";
        }
        let place = |(k, a): (usize, &Access)| match a {
            Access::Dense => format!("params.more{k}_base + at"),
            Access::Channel => format!("params.more{k}_base + channel"),
            Access::Single => format!("params.more{k}_base"),
            Access::Strided => format!("more{k}_at(at)"),
        };
        let places: Vec<String> = accesses.iter().enumerate().map(place).collect();
        let bases = end.reads.iter().map(|v| cx.base(v)).collect();
        let strides = if list.is_empty() { vec![] } else { strides };
        let numbers = end.params(Params::new().u32(0u32));
        let (label, to) = (Epilogue::label(Some(end)), Some(end.to()));
        let (result, long) = (end.result("v", &places), end.is_long());
        Flat { label, to, long, fields, declarations, result, bases, shape, strides, rank, numbers }
    }

    /// For the kernel's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it is more code than should stand many times in a kernel.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// The type that is stored where the kernel makes `made`.
    pub fn stores(&self, made: DeviceType) -> DeviceType {
        self.to.unwrap_or(made)
    }

    /// The kernel's spec with the insertions.
    pub fn spec(&self, spec: Spec) -> Spec {
        spec.code("FIELDS", &*self.fields).code("DECLARATIONS", &*self.declarations).code("RESULT", &*self.result)
    }

    /// The kernel's params with those of the insertions.
    pub fn params(&self, params: Params) -> Params {
        if self.fields.is_empty() {
            return params;
        }
        let params = self.bases.iter().fold(params.then(&self.numbers), |p, b| p.u32(*b));
        if self.strides.is_empty() {
            return params;
        }
        let params = params.array_u32(&self.shape, self.rank, 1);
        self.strides.iter().fold(params, |p, s| p.array_i32(s, self.rank))
    }
}

/// The insertions of a kernel for what it loads: `FIELDS` at the end of its params, `DECLARATIONS`, `READS` before the
/// loads of a `channel`, and `LOAD`, which makes the `v` of type `Acc` of what was `loaded`.
#[derive(Debug, Default)]
pub struct Load {
    fields: String,
    declarations: String,
    reads: String,
    load: String,
    params: Params,
}

impl Load {
    /// For reads bound from `binding` on, each a constant with an element for each channel, or with one for all.
    ///
    /// # Errors
    /// `Unsupported` when a read is something else, and when the function rounds to a type that the device only
    /// stores: the loads are unrolled, and drivers take minutes to compile that much code.
    pub fn new(cx: &LowerCx<'_>, start: Option<&Epilogue>, flat: &Flat, rank: usize, binding: usize) -> Result<Load> {
        let Some(start) = start else { return Ok(Load { load: "let v = Acc(loaded);\n".into(), ..Load::default() }) };
        ensure!(!start.rounds, Unsupported, "a prologue that rounds at each step");
        let mut l = Load { declarations: start.function("prologue", "pre", binding), ..Load::default() };
        let mut args = String::new();
        if flat.fields.is_empty() {
            l.fields += "    more_count: u32,\n";
            l.params = l.params.u32(0u32);
        }
        l.fields += &start.fields("pre");
        l.params = start.params(l.params);
        for (k, v) in start.reads.iter().enumerate() {
            let lead = rank.saturating_sub(v.rank());
            let by_channel = |(d, extent): (usize, &usize)| *extent == 1 || (lead + d == 1 && v.strides[d] == 1);
            let fits = cx.is_constant(v) && v.shape.iter().enumerate().all(by_channel);
            ensure!(fits, Unsupported, "an operand of a prologue that is not by channel");
            let at = if v.numel() == 1 { "" } else { " + channel" };
            l.fields += &format!("    pre{k}_base: u32,\n");
            l.reads += &format!("let in{k} = pre{k}[params.pre{k}_base{at}];\n");
            args += &format!(", in{k}");
            l.params = l.params.u32(cx.base(v));
        }
        l.load = format!("let v = Acc(prologue(loaded{args}));\n");
        Ok(l)
    }

    /// The kernel's spec with the insertions; those that an epilogue has too are joined with its.
    pub fn spec(&self, flat: &Flat, spec: Spec) -> Spec {
        spec.code("FIELDS", format!("{}{}", self.fields, flat.fields))
            .code("DECLARATIONS", format!("{}{}", self.declarations, flat.declarations))
            .code("RESULT", &*flat.result)
            .code("READS", &*self.reads)
            .code("LOAD", &*self.load)
    }

    /// The kernel's params with those of the insertions, to be followed by those of the epilogue.
    pub fn params(&self, params: Params) -> Params {
        params.then(&self.params)
    }
}
