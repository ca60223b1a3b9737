//! Recurrent networks: the inputs of all steps projected as one matrix product, then `shaders/rnn.wgsl`, which loops
//! over time within a workgroup where the states fit its memory and steps by dispatches where they do not. Lengths and
//! batches are data; the hidden size is a weight's extent.

use super::elementwise::{Emit, Var, apply, map};
use super::matmul::{Product, product, right};
use super::wgsl::finite_literal;
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::ops::rnn::{Cell, Extents, Recurrent};
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure};

/// Units up to which one workgroup serves a sequence; beyond, a step is spread over workgroups.
const LOOP_UNITS: usize = 256;
/// Loop steps of a thread that every driver takes.
const LOOP_STEPS: usize = 60_000;

/// Which part of a step a dispatch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All steps.
    Loop,
    /// One step.
    Step,
    /// The gates z and r of a step of GRU.
    Reset,
    /// What follows them.
    Candidate,
}

/// One buffer of a dispatch.
struct Slot<'a> {
    name: &'static str,
    bind: Bind<'a>,
    /// Elements are vectors of four.
    wide: bool,
}

#[derive(Debug)]
struct Rnn {
    form: Form,
    cell: Cell,
    declarations: String,
    activations: String,
    input_forget: bool,
    /// The optional inputs that are there: lens, h0, c0, extra.
    present: Vec<&'static str>,
    device: DeviceType,
    weights: DeviceType,
    units: usize,
}

impl Kernel for Rnn {
    fn label(&self) -> String {
        format!("{:?} {:?} {}", self.cell, self.form, self.device.name())
    }

    fn spec(&self, _: &Profile) -> Spec {
        let has = |name: &str| self.present.contains(&name);
        let vector = |t: &str| if self.cell == Cell::Rnn { t.to_string() } else { format!("vec4<{t}>") };
        let linear = self.cell == Cell::Gru { linear_before_reset: true };
        let reset_first = self.cell == Cell::Gru { linear_before_reset: false };
        let mut spec = Spec::new("rnn.wgsl")
            .ty("T", self.device)
            .wgsl("Gates", vector("f32"))
            .wgsl("Weights", vector(self.weights.wgsl()))
            .flag("LOOP", self.form == Form::Loop)
            .flag("QUANTISED", has("quantised"))
            .flag("LENS", has("lens"))
            .flag("EXTRA", has("extra"))
            .flag("LSTM", self.cell == Cell::Lstm)
            .flag("GRU", matches!(self.cell, Cell::Gru { .. }))
            .flag("LINEAR", linear)
            .flag("RESET", reset_first && self.form != Form::Candidate)
            .flag("CANDIDATE", self.form == Form::Candidate)
            .flag("RNN", self.cell == Cell::Rnn)
            .flag("INPUT_FORGET", self.input_forget)
            .flag("H0", has("h0"))
            .flag("C0", has("c0"))
            .code("DECLARATIONS", self.declarations.as_str())
            .code("ACTIVATIONS", self.activations.as_str());
        // declared in the file whether or not they are kept
        let threads = self.units.next_power_of_two().clamp(32, 256);
        let held = held(self.cell) * self.units;
        spec = spec.u32("WG", threads as u32).u32("UNITS", self.units as u32).u32("HELD", held as u32);
        spec
    }
}

/// States that a workgroup of the looped form holds.
fn held(cell: Cell) -> usize {
    match cell {
        Cell::Lstm | Cell::Gru { linear_before_reset: false } => 3,
        _ => 2,
    }
}

/// `act0`, `act1`, …: the functions of each direction, of clipped arguments.
fn activations(op: &Recurrent) -> String {
    let limit = |x: &str| match op.clip {
        Some(c) => format!("clamp({x}, {}, {})", finite_literal(-c), finite_literal(c)),
        None => x.into(),
    };
    let mut code = String::new();
    for (i, first) in op.functions(0).iter().enumerate() {
        let first = first.wgsl();
        let second = op.functions(op.directions - 1)[i].wgsl();
        code += &format!("fn act{i}(value: f32, d: u32) -> f32 {{\n    let x = {};\n", limit("value"));
        if first != second {
            code += &format!("    if d == 1u {{\n        return {second};\n    }}\n");
        }
        code += &format!("    return {first};\n}}\n");
    }
    code
}

/// Recurrent weights as `[direction, from unit, to unit, lane]`, a lane a gate.
fn recurrent_weights(cx: &mut LowerCx<'_>, op: &Recurrent, e: &Extents) -> Result<View> {
    let (d, h, gates) = (op.directions, e.hidden, op.cell.gates());
    let lanes = if gates == 1 { 1 } else { 4 };
    let t = cx.input_type(2)?;
    let packed = vec![d, h, h, lanes];
    if cx.value(2).is_some() {
        let make = move |source: &Tensor| {
            let (from, size) = (source.bytes(), source.dtype().size());
            let mut to = vec![0u8; d * h * h * lanes * size];
            for (row, weights) in from.chunks_exact(h * size).enumerate() {
                let (direction, gate, unit) = (row / h / gates, row / h % gates, row % h);
                for (k, element) in weights.chunks_exact(size).enumerate() {
                    let at = (((direction * h + k) * h + unit) * lanes + gate) * size;
                    to[at..at + size].copy_from_slice(element);
                }
            }
            Tensor::from_bytes(source.dtype(), [d, h, h, lanes], to)
        };
        return cx.prepacked(2, &format!("{gates} gates of a unit together"), TensorType::new(t.dtype, packed), make);
    }
    let r = cx.dense_input(2)?;
    let rows = View::dense(r.buf, &TensorType::new(t.dtype, [d, gates, h, h]), r.device);
    let by_unit = View { offset: r.offset, ..rows }.permuted(&[0, 3, 2, 1]);
    let out = cx.temp(t.dtype, &packed)?;
    super::copy::copy(cx, &by_unit, &out.sliced(3, 0, 1, gates))?;
    Ok(out)
}

/// What the projection adds, `[directions, gates · hidden]`: both biases, or the first where the second has another
/// place.
fn bias(cx: &mut LowerCx<'_>, op: &Recurrent, n: usize) -> Result<Option<View>> {
    if !cx.has_input(3) {
        return Ok(None);
    }
    let d = op.directions;
    let input = cx.input(3)?;
    let halves = [input.sliced(1, 0, 1, n), input.sliced(1, n, 1, n)];
    if op.cell == (Cell::Gru { linear_before_reset: true }) {
        let [first, _] = halves;
        return Ok(Some(first));
    }
    if cx.value(3).is_some() {
        let make = move |source: &Tensor| {
            let b = source.to_f64s()?;
            let sum = |i: usize| b[i / n * 2 * n + i % n] + b[i / n * 2 * n + n + i % n];
            Tensor::from_f64s(DType::F32, [d, n], (0..d * n).map(sum).collect())
        };
        return cx.prepacked(3, "sum of both biases", TensorType::new(DType::F32, [d, n]), make).map(Some);
    }
    let out = cx.temp(DType::F32, &[d, n])?;
    let profile = cx.profile().clone();
    let mut emit = Emit::new(&profile);
    let mut wide = |k: usize| emit.cast(&Var { name: format!("x{k}"), dtype: input.dtype }, DType::F32);
    let (a, b) = (wide(0)?, wide(1)?);
    let sum = emit.call(DType::F32, "add", &[&a, &b])?;
    map(cx, "sum of biases", emit.body(), &sum, &halves, &out)?;
    Ok(Some(out))
}

/// `from`, converted, into `to`.
fn convert(cx: &mut LowerCx<'_>, from: &View, to: &View) -> Result<()> {
    let profile = cx.profile().clone();
    let mut emit = Emit::new(&profile);
    let result = emit.cast(&Var { name: "x0".into(), dtype: from.dtype }, to.dtype)?;
    map(cx, "convert", emit.body(), &result, std::slice::from_ref(from), to)
}

/// Inputs of all steps times the input weights, `[directions, rows, gates · hidden]` in f32, a row an input.
fn project(cx: &mut LowerCx<'_>, op: &Recurrent, e: &Extents) -> Result<View> {
    let (d, rows, n) = (op.directions, e.steps * e.batch, op.cell.gates() * e.hidden);
    let x = cx.dense_input(0)?;
    let rows_of_x =
        View { offset: x.offset, ..View::dense(x.buf, &TensorType::new(x.dtype, [1, rows, e.input]), x.device) };
    let a = rows_of_x.broadcast(&[d, rows, e.input]);
    let b = right(cx, 1, true)?;
    let out = cx.temp(DType::F32, &[d, rows, n])?;
    let bias = bias(cx, op, n)?.map(|v| {
        let strides = vec![v.strides[0], 0, v.strides[1]];
        View { shape: vec![d, rows, n], strides, ..v }
    });
    product(cx, &Product { bias, ..Product::new(a, b, out.clone()) })?;
    Ok(out)
}

/// Everything that a dispatch of any form needs.
struct Plan<'a> {
    op: &'a Recurrent,
    e: Extents,
    projection: View,
    weights: View,
    extra: Option<View>,
    lens: Option<View>,
    /// Of quantised weights: their scales, `[directions, hidden, 4]`.
    scales: Option<View>,
    y: View,
}

impl Plan<'_> {
    fn params(&self, step: usize) -> Params {
        let (op, e) = (self.op, &self.e);
        let (row_t, row_b) = if op.batch_first { (1, e.steps) } else { (e.batch, 1) };
        let ([y_t, y_d, y_b], [s_d, s_b]) = (op.sequence_steps(e), op.state_steps(e));
        let head = [e.steps, step, e.batch, e.hidden, op.directions, op.reverse as usize];
        let tail = [e.steps * e.batch, row_t, row_b, y_t, y_d, y_b, s_d, s_b, op.directions * e.batch * e.hidden];
        head.into_iter().chain(tail).fold(Params::new(), Params::u32)
    }

    /// The buffers that all forms read.
    fn slots(&self) -> Vec<Slot<'_>> {
        let wide = self.op.cell != Cell::Rnn;
        let read = |name, view| Slot { name, bind: Bind::Read(view), wide: false };
        let mut slots =
            vec![read("projection", &self.projection), Slot { name: "weights", bind: Bind::Read(&self.weights), wide }];
        slots.extend(self.extra.as_ref().map(|v| read("extra", v)));
        slots.extend(self.lens.as_ref().map(|v| read("lens", v)));
        slots
    }

    fn emit(&self, cx: &mut LowerCx<'_>, form: Form, step: usize, slots: &[Slot<'_>], grid: [u32; 3]) -> Result<()> {
        let mut declarations = String::new();
        for (i, s) in slots.iter().enumerate() {
            let (access, view) = match s.bind {
                Bind::Read(v) => ("read", v),
                Bind::Write(v) => ("read_write", v),
            };
            let ty = view.device.wgsl();
            let ty = if s.wide { format!("vec4<{ty}>") } else { ty.into() };
            let (slot, name) = (i + 1, s.name);
            declarations += &format!("@group(0) @binding({slot}) var<storage, {access}> {name}: array<{ty}>;\n");
        }
        let kernel = Rnn {
            form,
            cell: self.op.cell,
            declarations,
            activations: activations(self.op),
            input_forget: self.op.input_forget,
            present: slots.iter().map(|s| s.name).collect(),
            device: self.y.device,
            weights: self.weights.device,
            units: self.e.hidden.next_multiple_of(32),
        };
        let binds: Vec<Bind<'_>> = slots.iter().map(|s| s.bind).collect();
        cx.dispatch(&kernel, self.params(step), &binds, grid)
    }

    /// Gives Y_h and Y_c their places in `states`, which holds both.
    fn state_outputs(&self, cx: &mut LowerCx<'_>, states: &View) -> Result<()> {
        for (k, i) in [1, 2].into_iter().enumerate().filter(|(k, _)| *k < states.shape[0]) {
            if cx.has_output(i) {
                let mut one = states.sliced(0, k, 1, 1);
                one.shape.remove(0);
                one.strides.remove(0);
                cx.alias(i, one)?;
            }
        }
        Ok(())
    }

    fn looped(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let kinds = if self.op.cell == Cell::Lstm { 2 } else { 1 };
        let states = cx.temp(self.y.dtype, &[&[kinds], &self.op.state_shape(&self.e)[..]].concat())?;
        let initial = [(5, "h0"), (6, "c0")].map(|(i, name)| (cx.has_input(i).then(|| cx.dense_input(i)), name));
        let mut slots = self.slots();
        let mut views = vec![];
        for (view, name) in initial {
            views.extend(view.transpose()?.map(|v| (v, name)));
        }
        slots.extend(views.iter().map(|(v, name)| Slot { name, bind: Bind::Read(v), wide: false }));
        slots.push(Slot { name: "y", bind: Bind::Write(&self.y), wide: false });
        slots.push(Slot { name: "state_out", bind: Bind::Write(&states), wide: false });
        let grid = linear_grid(self.op.directions * self.e.batch, 1);
        self.emit(cx, Form::Loop, 0, &slots, grid)?;
        self.state_outputs(cx, &states)
    }

    fn stepped(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (op, e) = (self.op, &self.e);
        let kinds = if op.cell == Cell::Lstm { 2 } else { 1 };
        let shape = [kinds, op.directions, e.batch, e.hidden];
        let mut state = self.initial(cx, kinds)?;
        let grid = linear_grid(shape[1..].iter().product(), LINEAR_WORKGROUP);
        for step in 0..e.steps {
            let next = cx.temp(DType::F32, &shape)?;
            let state_in = Slot { name: "state_in", bind: Bind::Read(&state), wide: false };
            let ends = [("y", &self.y), ("state_out", &next)];
            let ends = ends.map(|(name, v)| Slot { name, bind: Bind::Write(v), wide: false });
            let quantised = self.quantised_state(cx, &state)?;
            let mut slots = self.slots();
            slots.extend(quantised.as_ref().map(|v| Slot { name: "quantised", bind: Bind::Read(v), wide: false }));
            slots.push(state_in);
            if op.cell == (Cell::Gru { linear_before_reset: false }) {
                let scaled = cx.temp(DType::F32, &[2, op.directions, e.batch, e.hidden])?;
                slots.push(Slot { name: "scaled_out", bind: Bind::Write(&scaled), wide: false });
                self.emit(cx, Form::Reset, step, &slots, grid)?;
                slots.pop();
                slots.push(Slot { name: "scaled", bind: Bind::Read(&scaled), wide: false });
                slots.extend(ends);
                self.emit(cx, Form::Candidate, step, &slots, grid)?;
            } else {
                slots.extend(ends);
                self.emit(cx, Form::Step, step, &slots, grid)?;
            }
            state = next;
        }
        let ordered = if op.batch_first { state.permuted(&[0, 2, 1, 3]) } else { state };
        let states = if self.y.device == DeviceType::F32 && self.y.dtype == DType::F32 {
            ordered
        } else {
            let out = cx.temp(self.y.dtype, &ordered.shape)?;
            convert(cx, &ordered, &out)?;
            out
        };
        self.state_outputs(cx, &states)
    }

    /// Where weights are quantised: the hidden state so too, a row a sequence and direction.
    fn quantised_state(&self, cx: &mut LowerCx<'_>, state: &View) -> Result<Option<View>> {
        let Some(scales) = &self.scales else { return Ok(None) };
        let (rows, hidden) = (self.op.directions * self.e.batch, self.e.hidden);
        let out = cx.temp(DType::F32, &[rows, 5 * hidden])?;
        let params = Params::new().u32(rows).u32(hidden).u32(self.e.batch).u32(cx.base(scales));
        let binds = [Bind::Read(state), Bind::Read(scales), Bind::Write(&out)];
        cx.dispatch(&QuantiseState, params, &binds, linear_grid(rows, 1))?;
        Ok(Some(out))
    }

    /// The states before the first step, `[kinds, directions, batch, hidden]` in f32.
    fn initial(&self, cx: &mut LowerCx<'_>, kinds: usize) -> Result<View> {
        let (op, e) = (self.op, &self.e);
        let all = cx.temp(DType::F32, &[kinds, op.directions, e.batch, e.hidden])?;
        for (k, i) in [5, 6].into_iter().enumerate().take(kinds) {
            let part = if cx.has_input(i) {
                let v = cx.input(i)?;
                let v = if op.batch_first { v.permuted(&[1, 0, 2]) } else { v };
                let wide = cx.temp(DType::F32, &v.shape)?;
                convert(cx, &v, &wide)?;
                wide
            } else {
                cx.constant(Tensor::scalar(0f32))?.broadcast(&[op.directions, e.batch, e.hidden])
            };
            let mut to = all.sliced(0, k, 1, 1);
            to.shape.remove(0);
            to.strides.remove(0);
            super::copy::copy(cx, &part, &to)?;
        }
        Ok(all)
    }
}

#[derive(Debug)]
struct QuantiseState;

impl Kernel for QuantiseState {
    fn label(&self) -> String {
        "quantise states".into()
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("rnn_quantise.wgsl").ty("T", DeviceType::F32)
    }
}

/// What takes the place of a network's weights where they are quantised.
#[derive(Debug)]
pub struct QuantisedWeights {
    /// The inputs of all steps times the input weights, `[directions, rows, gates · hidden]` in f32, without a bias.
    pub projection: View,
    /// Recurrent weights less their zero points, int32s `[direction, from unit, to unit, gate]`, dense.
    pub weights: View,
    /// Their scales, f32 `[directions, hidden, gates]`, dense.
    pub scales: View,
}

/// Lowers an LSTM of quantised weights, whose hidden state is quantised in every step, each sequence by its own range.
/// Inputs 3 to 7 are LSTM's.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn lower_quantised(cx: &mut LowerCx<'_>, op: &Recurrent, e: Extents, q: QuantisedWeights) -> Result<()> {
    ensure!(e.hidden > 0, Unsupported, "a hidden state of no elements");
    let n = op.cell.gates() * e.hidden;
    let projection = match bias(cx, op, n)? {
        Some(bias) => {
            let strides = vec![bias.strides[0], 0, bias.strides[1]];
            let bias = View { shape: q.projection.shape.clone(), strides, ..bias };
            let out = cx.temp(DType::F32, &bias.shape)?;
            apply(cx, "add bias", &[q.projection, bias], &out, |e, x| e.call(DType::F32, "add", &[&x[0], &x[1]]))?;
            out
        }
        None => q.projection,
    };
    let dense = |cx: &mut LowerCx<'_>, i: usize| cx.has_input(i).then(|| cx.dense_input(i)).transpose();
    let (extra, lens) = (dense(cx, 7)?, dense(cx, 4)?);
    let y = if cx.has_output(0) { cx.output(0)? } else { cx.temp(DType::F32, &op.sequence_shape(&e))? };
    let scales = Some(q.scales);
    Plan { op, e, projection, weights: q.weights, extra, lens, scales, y }.stepped(cx)
}

/// Lowers LSTM, GRU and RNN.
///
/// # Errors
/// As [`LowerCx::dispatch`].
pub fn lower(cx: &mut LowerCx<'_>, op: &Recurrent) -> Result<()> {
    let shape = |cx: &LowerCx<'_>, i: usize| cx.input_type(i).map(|t| t.shape);
    let e = op.extents(&shape(cx, 0)?, &shape(cx, 1)?, &shape(cx, 2)?)?;
    ensure!(e.hidden > 0, Unsupported, "a hidden state of no elements");
    let dtype = cx.input_type(0)?.dtype;
    let projection = project(cx, op, &e)?;
    let weights = recurrent_weights(cx, op, &e)?;
    let dense = |cx: &mut LowerCx<'_>, i: usize| cx.has_input(i).then(|| cx.dense_input(i)).transpose();
    let extra = match op.cell {
        Cell::Lstm => dense(cx, 7)?,
        Cell::Gru { linear_before_reset: true } => dense(cx, 3)?,
        _ => None,
    };
    let lens = dense(cx, 4)?;
    let y = if cx.has_output(0) { cx.output(0)? } else { cx.temp(dtype, &op.sequence_shape(&e))? };
    let plan = Plan { op, e, projection, weights, extra, lens, scales: None, y };
    let memory = held(op.cell) * e.hidden.next_multiple_of(32) * 4;
    // products of a state and weights in a step, and what llvmpipe lets a thread loop
    let products = if op.cell == (Cell::Gru { linear_before_reset: false }) { 2 } else { 1 };
    let long = cx.profile().cpu && e.steps * (products * (e.hidden + 2) + 2) > LOOP_STEPS;
    let fits = memory <= cx.profile().max_workgroup_memory as usize && !long;
    if fits && e.hidden <= LOOP_UNITS { plan.looped(cx) } else { plan.stepped(cx) }
}
