//! Functions of single elements as generated WGSL: `shaders/elementwise.wgsl`. One operator or a fused chain becomes
//! one `apply` function; the inputs are read densely, as one repeated element, or by strides.

use std::collections::HashMap;
use std::fmt::Write;

use super::copy::collapse;
use super::number::Number;
use super::wgsl::finite_literal;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, cast_expr, linear_grid, rank_class};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure, err};

/// Invocations of a workgroup on GPUs.
const WIDE_WORKGROUP: u32 = 256;

/// The most statements of a function that is short.
const SHORT: usize = 4;

/// An operator whose output 0 is a function of single elements of its inputs, broadcast to the output's shape.
pub trait Elementwise {
    /// Writes the function; `args` are the inputs that are present, in order, `out` the output's element type.
    ///
    /// # Errors
    /// `Unsupported` for an element type it has not.
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var>;

    /// Inputs that are read on the host at lowering (Clip's limits in old opsets, …) and not passed to `emit`.
    fn host_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Whether inputs of these shapes (those that are present, as far as they are known) broadcast as operands of
    /// elementwise functions do.
    fn broadcasts(&self, _shapes: &[Option<&[usize]>]) -> bool {
        true
    }

    /// Whether it may be fused with its neighbours. What makes values that only the host can hold may not, lest the
    /// neighbours follow it to the host.
    fn joins(&self) -> bool {
        true
    }
}

/// A named WGSL value of a known element type.
#[derive(Debug, Clone)]
pub struct Var {
    /// Its name in the shader.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
}

/// Collects statements.
pub struct Emit<'a> {
    profile: &'a Profile,
    lines: String,
    count: usize,
    known: HashMap<String, f64>,
}

impl<'a> Emit<'a> {
    /// An empty function body.
    pub fn new(profile: &'a Profile) -> Emit<'a> {
        Emit { profile, lines: String::new(), count: 0, known: HashMap::new() }
    }

    /// Says that all elements of `var` have this value.
    pub fn set_known(&mut self, var: &Var, value: f64) {
        self.known.insert(var.name.clone(), value);
    }

    /// The value of all elements of `var`, if it is known.
    pub fn known(&self, var: &Var) -> Option<f64> {
        self.known.get(&var.name).copied()
    }

    /// What the device can do.
    pub fn profile(&self) -> &Profile {
        self.profile
    }

    /// The statements so far.
    pub fn body(&self) -> &str {
        &self.lines
    }

    /// The type that stands for `dtype` in the shader.
    ///
    /// # Errors
    /// `Unsupported` when there is none.
    pub fn device(&self, dtype: DType) -> Result<DeviceType> {
        self.profile.device_type(dtype)
    }

    /// A value of `dtype` from a WGSL expression of its storage type.
    pub fn expr(&mut self, dtype: DType, code: impl AsRef<str>) -> Var {
        let name = format!("v{}", self.count);
        self.count += 1;
        let _ = writeln!(self.lines, "    let {name} = {};", code.as_ref());
        Var { name, dtype }
    }

    /// `<type>_<function>(args)` of the type module of `dtype`, giving a value of `dtype`.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for `dtype`.
    pub fn call(&mut self, dtype: DType, function: &str, args: &[&Var]) -> Result<Var> {
        let code = self.call_text(dtype, function, args)?;
        Ok(self.expr(dtype, code))
    }

    /// A predicate of the type module of `dtype` (`lt`, `is_nan`, …), giving a bool.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for `dtype`.
    pub fn test(&mut self, dtype: DType, predicate: &str, args: &[&Var]) -> Result<Var> {
        let code = self.call_text(dtype, predicate, args)?;
        Ok(self.expr(DType::Bool, format!("u32({code})")))
    }

    fn call_text(&self, dtype: DType, function: &str, args: &[&Var]) -> Result<String> {
        let args: Vec<&str> = args.iter().map(|a| a.name.as_str()).collect();
        Ok(format!("{}_{function}({})", self.device(dtype)?.name(), args.join(", ")))
    }

    /// The value converted as the Cast operator does.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for a type.
    pub fn cast(&mut self, a: &Var, to: DType) -> Result<Var> {
        if a.dtype == to {
            return Ok(a.clone());
        }
        let device = self.device(to)?;
        let mut code = cast_expr(self.device(a.dtype)?, device, &a.name);
        if to == DType::F16 && device == DeviceType::F32 {
            code = format!("round_to_f16({code})");
        }
        Ok(self.expr(to, code))
    }

    /// A function of `common/activations.wgsl`, which computes with 32-bit floats: `args` widened, then `constants`;
    /// the result rounded to `dtype`.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for a type.
    pub fn activation(&mut self, dtype: DType, function: &str, args: &[&Var], constants: &[f32]) -> Result<Var> {
        let mut list = vec![];
        for a in args {
            list.push(self.cast(a, DType::F32)?.name);
        }
        list.extend(constants.iter().map(|c| f32_literal(*c)));
        let wide = self.expr(DType::F32, format!("act_{function}({})", list.join(", ")));
        self.cast(&wide, dtype)
    }

    /// A constant of any numeric type, rounded to it.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for `dtype`.
    pub fn float(&mut self, dtype: DType, value: f32) -> Result<Var> {
        let code = cast_expr(DeviceType::F32, self.device(dtype)?, &f32_literal(value));
        Ok(self.expr(dtype, code))
    }

    /// An integer constant of any numeric type.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for `dtype`.
    pub fn int(&mut self, dtype: DType, value: i64) -> Result<Var> {
        // a literal where it is exact: code that converts it would stand wherever the function does
        if self.device(dtype)? == DeviceType::F32 && value.unsigned_abs() < 1 << 24 {
            return Ok(self.expr(dtype, f32_literal(value as f32)));
        }
        let (low, high) = (value as u32, (value >> 32) as u32);
        let code = cast_expr(DeviceType::I64, self.device(dtype)?, &format!("vec2<u32>({low}u, {high}u)"));
        Ok(self.expr(dtype, code))
    }

    /// `yes` where `condition` (a bool) holds, else `no`; both of one type.
    pub fn select(&mut self, condition: &Var, yes: &Var, no: &Var) -> Var {
        let code = format!("select({}, {}, {} != 0u)", no.name, yes.name, condition.name);
        self.expr(yes.dtype, code)
    }
}

/// A WGSL expression with exactly these bits, infinities and NaN included (which literals cannot say).
pub fn f32_literal(v: f32) -> String {
    if v.is_finite() {
        return finite_literal(v);
    }
    // bits that are no constant expression, so that the front end does not reject them
    format!("bitcast<f32>(0x{:08x}u | (params.count & 0u))", v.to_bits())
}

/// How an input's elements are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Element i of the output's order.
    Dense,
    /// One element for all.
    Single,
    /// By strides.
    Strided,
    /// A number among the params.
    Number,
}

/// A generated kernel.
#[derive(Debug)]
pub struct Map {
    label: String,
    inputs: Vec<(DeviceType, Access)>,
    /// By input, those that are numbers.
    numbers: Vec<Option<Number>>,
    /// The type of each result, and its name in the body.
    outputs: Vec<(DeviceType, String)>,
    body: String,
    lanes: u32,
    /// Invocations of a workgroup.
    group: u32,
    /// Whether each makes a second vector.
    twice: bool,
    rank: usize,
    /// Whether the only result goes by strides to where it was placed.
    placed: bool,
    /// Whether two dims say it all.
    few: bool,
}

impl Kernel for Map {
    fn label(&self) -> String {
        format!("elementwise {}", self.label)
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("elementwise.wgsl")
            .u32("GROUP", self.group)
            .flag("TWICE", self.twice)
            .code("DECLARATIONS", self.declarations())
            .code("BODY", self.main_body())
    }
}

impl Map {
    fn is_strided(&self) -> bool {
        self.placed || self.inputs.iter().any(|(_, a)| *a == Access::Strided)
    }

    /// The dims that are counted: fewer where only the result is strided, as in a slice along one axis.
    fn dims(&self) -> std::ops::Range<usize> {
        let last = if self.few { 2 } else { self.rank };
        self.rank - last..self.rank
    }

    fn storage(&self, t: DeviceType, access: Access) -> String {
        if self.lanes == 4 && access == Access::Dense { format!("vec4<{}>", t.wgsl()) } else { t.wgsl().into() }
    }

    fn declarations(&self) -> String {
        let mut s = String::from("struct Params {\n    count: u32,\n");
        for (k, number) in self.numbers.iter().enumerate() {
            s += &number.as_ref().map_or(format!("    base{k}: u32,\n"), |n| n.fields(&format!("number{k}")));
        }
        if self.is_strided() {
            let n = self.rank / 4;
            s += &format!("    shape: array<vec4<u32>, {n}>,\n");
            for (k, _) in self.inputs.iter().enumerate().filter(|(_, (_, a))| *a == Access::Strided) {
                s += &format!("    strides{k}: array<vec4<i32>, {n}>,\n");
            }
            if self.placed {
                s += &format!("    to_strides: array<vec4<i32>, {n}>,\n    to_base: u32,\n");
            }
        }
        s += "}\n@group(0) @binding(0) var<uniform> params: Params;\n";
        let mut slot = 1;
        for (k, (t, access)) in self.inputs.iter().enumerate().filter(|(_, (_, a))| *a != Access::Number) {
            let ty = self.storage(*t, *access);
            s += &format!("@group(0) @binding({slot}) var<storage, read> in{k}: array<{ty}>;\n");
            slot += 1;
        }
        for (k, (t, _)) in self.outputs.iter().enumerate() {
            let ty = self.storage(*t, if self.placed { Access::Strided } else { Access::Dense });
            s += &format!("@group(0) @binding({}) var<storage, read_write> result{k}: array<{ty}>;\n", slot + k);
        }
        let fields = self.outputs.iter().enumerate().map(|(k, (t, _))| format!("    y{k}: {},\n", t.wgsl()));
        s += &format!("struct Made {{\n{}}}\n", fields.collect::<String>());
        let args: Vec<String> =
            self.inputs.iter().enumerate().map(|(k, (t, _))| format!("x{k}: {}", t.wgsl())).collect();
        s += &format!("fn apply({}) -> Made {{\n", args.join(", "));
        let results: Vec<&str> = self.outputs.iter().map(|(_, name)| name.as_str()).collect();
        s + &self.body + &format!("    return Made({});\n}}\n", results.join(", "))
    }

    fn main_body(&self) -> String {
        let mut s = String::new();
        if self.is_strided() {
            s += &format!("    var rest = i * {}u;\n", self.lanes);
            for (k, (_, access)) in self.inputs.iter().enumerate() {
                if *access == Access::Strided {
                    s += &format!("    var at{k} = i32(params.base{k});\n");
                }
            }
            if self.placed {
                s += "    var to = i32(params.to_base);\n";
            }
            for d in self.dims().rev() {
                let pick = format!("[{}][{}]", d / 4, d % 4);
                s += &format!("    let c{d} = i32(rest % params.shape{pick});\n    rest /= params.shape{pick};\n");
                for (k, (_, access)) in self.inputs.iter().enumerate() {
                    if *access == Access::Strided {
                        s += &format!("    at{k} += c{d} * params.strides{k}{pick};\n");
                    }
                }
                if self.placed {
                    s += &format!("    to += c{d} * params.to_strides{pick};\n");
                }
            }
        }
        let last = format!("[{}][{}]", (self.rank - 1) / 4, (self.rank - 1) % 4);
        for (k, (t, access)) in self.inputs.iter().enumerate() {
            let element = match access {
                Access::Dense if self.twice => {
                    s += &format!("    let f{k} = in{k}[min(i + GROUP, params.count - 1u)];\n");
                    format!("in{k}[i]")
                }
                Access::Dense if self.lanes == 4 => format!("in{k}[i]"),
                Access::Dense => format!("in{k}[params.base{k} + i]"),
                Access::Single => format!("in{k}[params.base{k}]"),
                Access::Strided if self.lanes == 4 => {
                    let step = format!("params.strides{k}{last}");
                    let at = |n: usize| format!("in{k}[at{k} + {n} * {step}]");
                    format!("vec4<{}>({}, {}, {}, {})", t.wgsl(), at(0), at(1), at(2), at(3))
                }
                Access::Strided => format!("in{k}[at{k}]"),
                Access::Number => self.numbers[k].as_ref().map_or(String::new(), |n| n.read(&format!("number{k}"))),
            };
            s += &format!("    let e{k} = {element};\n");
        }
        let call = |vector: &str, lane: &str| {
            let args: Vec<String> = (self.inputs.iter().enumerate())
                .map(|(k, (_, a))| match a {
                    Access::Single | Access::Number => format!("e{k}"),
                    _ => format!("{vector}{k}{lane}"),
                })
                .collect();
            format!("apply({})", args.join(", "))
        };
        if self.lanes == 1 {
            let to = if self.placed { "to" } else { "i" };
            s += &format!("    let made = {};\n", call("e", ""));
            for k in 0..self.outputs.len() {
                s += &format!("    result{k}[{to}] = made.y{k};\n");
            }
            return s;
        }
        let lanes = ["x", "y", "z", "w"];
        let made = |vector: &str| {
            let one = |lane: &str| format!("    let {vector}_{lane} = {};\n", call(vector, &format!(".{lane}")));
            lanes.map(one).concat()
        };
        let vectors = |vector: &str, at: &str| {
            let one = |(k, (t, _)): (usize, &(DeviceType, String))| {
                let all = lanes.map(|lane| format!("{vector}_{lane}.y{k}")).join(", ");
                format!("    result{k}[{at}] = vec4<{}>({all});\n", t.wgsl())
            };
            self.outputs.iter().enumerate().map(one).collect::<String>()
        };
        s += &made("e");
        if self.placed {
            for (n, lane) in lanes.iter().enumerate() {
                s += &format!("    result0[to + {n} * params.to_strides{last}] = e_{lane}.y0;\n");
            }
            return s;
        }
        s += &vectors("e", "i");
        if self.twice {
            let more = made("f") + &vectors("f", "i + GROUP");
            s += &format!("    if i + GROUP < params.count {{\n{more}    }}\n");
        }
        s
    }
}

/// Lowers a node whose operator is elementwise: one dispatch.
///
/// # Errors
/// `Unsupported` when the device has no form for a type.
pub fn lower(cx: &mut LowerCx<'_>, op: &dyn Elementwise) -> Result<()> {
    let mut views = vec![];
    for i in 0..cx.input_count() {
        if cx.has_input(i) && !op.host_inputs().contains(&i) {
            views.push(cx.input(i)?);
        }
    }
    let label = cx.op_label();
    let out = cx.output_type(0)?.dtype;
    lower_views(cx, &label, &views, |e, args| op.emit(e, args, out))
}

/// Makes output 0 by one dispatch of the function that `emit` writes for arguments that are elements of `views`.
///
/// # Errors
/// Those of `emit` and of [`map`].
pub fn lower_views(
    cx: &mut LowerCx<'_>,
    label: &str,
    views: &[View],
    emit: impl FnOnce(&mut Emit<'_>, &[Var]) -> Result<Var>,
) -> Result<()> {
    let shape = cx.output_type(0)?.shape;
    let split =
        |v: &View, to: &[usize]| if v.numel() == 1 { Some(v.clone()) } else { v.broadcast(&shape).reshaped(to) };
    let all = |to: &[usize]| views.iter().map(|v| split(v, to)).collect::<Option<Vec<View>>>();
    let out = cx.output_ordered(0, |v| v.shape == shape || all(&v.shape).is_some())?;
    match all(&out.shape).filter(|_| out.shape != shape) {
        Some(views) => apply(cx, label, &views, &out, emit),
        None => apply(cx, label, views, &out, emit),
    }
}

/// Makes `out` by one dispatch of the function that `emit` writes for arguments that are elements of `views`, each of
/// which broadcasts to its shape.
///
/// # Errors
/// Those of `emit` and of [`map`].
pub fn apply(
    cx: &mut LowerCx<'_>,
    label: &str,
    views: &[View],
    out: &View,
    emit: impl FnOnce(&mut Emit<'_>, &[Var]) -> Result<Var>,
) -> Result<()> {
    apply_all(cx, label, views, std::slice::from_ref(out), |e, args| Ok(vec![emit(e, args)?]))
}

/// As [`apply`], of a function of several results, which go to `outs`; see [`map_all`].
///
/// # Errors
/// As [`apply`].
pub fn apply_all(
    cx: &mut LowerCx<'_>,
    label: &str,
    views: &[View],
    outs: &[View],
    emit: impl FnOnce(&mut Emit<'_>, &[Var]) -> Result<Vec<Var>>,
) -> Result<()> {
    let profile = cx.profile().clone();
    let mut e = Emit::new(&profile);
    let args: Vec<Var> = views.iter().enumerate().map(|(k, v)| Var { name: format!("x{k}"), dtype: v.dtype }).collect();
    let results = emit(&mut e, &args)?;
    let fits = results.iter().map(|r| r.dtype).eq(outs.iter().map(|v| v.dtype));
    ensure!(fits, Internal, "{label} made {results:?}");
    map_all(cx, label, e.body(), &results, views, outs)
}

/// Applies a generated function to `views`, each of which broadcasts to the shape of `out`.
/// The function's arguments are `x0`, `x1`, …
///
/// # Errors
/// `Limit` when there are more inputs than the device binds.
pub fn map(cx: &mut LowerCx<'_>, label: &str, body: &str, result: &Var, views: &[View], out: &View) -> Result<()> {
    map_all(cx, label, body, std::slice::from_ref(result), views, std::slice::from_ref(out))
}

/// As [`map`], with a function of several results: all of one shape, and each a buffer of its own, if there are more
/// than one.
///
/// # Errors
/// As [`map`].
pub fn map_all(
    cx: &mut LowerCx<'_>,
    label: &str,
    body: &str,
    results: &[Var],
    views: &[View],
    outs: &[View],
) -> Result<()> {
    let out = outs.first().ok_or_else(|| err!(Internal, "{label} makes nothing"))?;
    let whole = outs.len() == 1 || outs.iter().all(|v| v.shape == out.shape && cx.is_whole(v));
    ensure!(whole && results.len() == outs.len(), Internal, "{label} makes results that do not fit each other");
    let numbers: Vec<Option<Number>> = views.iter().map(|v| Number::of(cx, v)).collect();
    let access = |cx: &LowerCx<'_>, (v, number): (&View, &Option<Number>)| {
        // a part of a buffer may be dense at one batch size only
        if number.is_some() {
            Access::Number
        } else if v.shape == out.shape && cx.is_whole(v) {
            Access::Dense
        } else if v.rank() == 0 || (v.numel() == 1 && cx.is_constant(v)) {
            Access::Single
        } else {
            Access::Strided
        }
    };
    let broadcast: Vec<View> = views.iter().map(|v| v.broadcast(&out.shape)).collect();
    let mut lists: Vec<&[isize]> = broadcast.iter().map(|v| v.strides.as_slice()).collect();
    let placed = !cx.is_whole(out);
    if placed {
        lists.push(&out.strides);
    }
    let (shape, strides) = collapse(&out.shape, &lists);
    let rank = rank_class(shape.len());

    // four elements a thread, unless they straddle rows or are two words each
    let mut accesses: Vec<Access> = views.iter().zip(&numbers).map(|v| access(cx, v)).collect();
    let few = !accesses.contains(&Access::Strided) && shape.len() <= 2;
    let strided = placed || accesses.contains(&Access::Strided);
    let rows = !strided || shape.last().is_some_and(|inner| inner.is_multiple_of(4));
    let words = views.iter().chain(outs).all(|v| v.device.bytes() <= 4);
    let unaligned = |v: &View, a: &Access| *a == Access::Dense && cx.base(v) != 0;
    let mut lanes = if rows && words { 4 } else { 1 };
    if lanes == 4 && views.iter().zip(&accesses).any(|(v, a)| unaligned(v, a)) {
        if strided {
            let all = views.iter().zip(&mut accesses);
            all.filter(|(v, a)| unaligned(v, a)).for_each(|(_, a)| *a = Access::Strided);
        } else {
            lanes = 1;
        }
    }
    let inputs: Vec<(DeviceType, Access)> = views.iter().map(|v| v.device).zip(accesses).collect();
    let threads = out.numel().div_ceil(lanes as usize);
    // a long function does not stand eight times
    let twice = !cx.profile().cpu && lanes == 4 && !strided && body.lines().count() <= SHORT;

    let mut params = Params::new().u32(threads);
    for (v, number) in views.iter().zip(&numbers) {
        params = match number {
            Some(n) => n.params(params),
            None => params.u32(cx.base(v)),
        };
    }
    if strided {
        params = params.array_u32(&shape, rank, 1);
        for (s, _) in strides.iter().zip(&inputs).filter(|(_, (_, a))| *a == Access::Strided) {
            params = params.array_i32(s, rank);
        }
    }
    if let Some(s) = strides.last().filter(|_| placed) {
        params = params.array_i32(s, rank).u32(cx.base(out));
    }
    let outputs = outs.iter().zip(results).map(|(v, r)| (v.device, r.name.clone())).collect();
    let (label, body) = (label.into(), body.into());
    let bound = views.iter().zip(&numbers).filter(|(_, n)| n.is_none());
    let mut binds: Vec<Bind<'_>> = bound.map(|(v, _)| Bind::Read(v)).collect();
    // on GPUs few workgroups that do much each
    let group = if cx.profile().cpu { LINEAR_WORKGROUP } else { WIDE_WORKGROUP };
    let grid = linear_grid(threads, if twice { 2 * group } else { group });
    let kernel = Map { label, inputs, numbers, outputs, body, lanes, group, twice, rank, placed, few };
    binds.extend(outs.iter().map(Bind::Write));
    cx.dispatch(&kernel, params, &binds, grid)
}

/// Every element of `from`, which broadcasts to `to`, converted as the Cast operator does.
///
/// # Errors
/// As [`map`].
pub fn convert(cx: &mut LowerCx<'_>, from: &View, to: &View) -> Result<()> {
    let profile = cx.profile().clone();
    let mut e = Emit::new(&profile);
    let y = e.cast(&Var { name: "x0".into(), dtype: from.dtype }, to.dtype)?;
    map(cx, "convert", e.body(), &y, std::slice::from_ref(from), to)
}

/// The sole argument of a unary function.
///
/// # Errors
/// `InvalidNode` when it is missing.
pub fn arg(args: &[Var], i: usize) -> Result<&Var> {
    args.get(i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
}
