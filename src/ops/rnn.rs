//! Recurrent networks: LSTM, GRU, RNN.

use std::sync::Arc;

use super::eval::{need, opt};
use super::quant::{dynamic_scale, quantized};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, BF16, F16, F32, F64};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::rnn::lower;
use crate::plan::LowerCx;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "LSTM",
        versions: &[7, 14, 22],
        parse: |a, n| parse(Cell::Lstm, a, n),
        cases: || cases("LSTM", 4),
    },
    OpDef {
        domain: "",
        name: "GRU",
        versions: &[7, 14, 22],
        parse: |a, n| parse(Cell::Gru { linear_before_reset: false }, a, n),
        cases: || cases("GRU", 3),
    },
    OpDef {
        domain: "",
        name: "RNN",
        versions: &[7, 14, 22],
        parse: |a, n| parse(Cell::Rnn, a, n),
        cases: || cases("RNN", 1),
    },
];

/// What one step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Gates i, o, f, c and a cell state.
    Lstm,
    /// Gates z, r, h.
    Gru {
        /// The reset gate scales the recurrent product, not the state before it.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn,
}

impl Cell {
    /// The number of gates.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// The functions of one direction (f, g, h), by name.
    fn defaults(self) -> &'static [&'static str] {
        match self {
            Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Cell::Gru { .. } => &["Sigmoid", "Tanh"],
            Cell::Rnn => &["Tanh"],
        }
    }
}

/// A function that may stand in the attribute `activations`.
struct Function {
    name: &'static str,
    /// The defaults of those of alpha and beta that it takes.
    alpha: Option<f32>,
    beta: Option<f32>,
    eval: fn(f64, f64, f64) -> f64,
    /// Of `x`, with `ALPHA` and `BETA` for the numbers.
    wgsl: &'static str,
}

#[rustfmt::skip]
const FUNCTIONS: &[Function] = &[
    Function { name: "Relu", alpha: None, beta: None, eval: |x, _, _| x.max(0.0), wgsl: "max(x, 0.0)" },
    Function { name: "Tanh", alpha: None, beta: None, eval: |x, _, _| x.tanh(), wgsl: "f32_tanh(x)" },
    Function { name: "Sigmoid", alpha: None, beta: None, eval: |x, _, _| 1.0 / (1.0 + (-x).exp()),
               wgsl: "f32_sigmoid(x)" },
    Function { name: "Affine", alpha: Some(1.0), beta: Some(0.0), eval: |x, a, b| a * x + b, wgsl: "ALPHA * x + BETA" },
    Function { name: "LeakyRelu", alpha: Some(0.01), beta: None, eval: |x, a, _| if x < 0.0 { a * x } else { x },
               wgsl: "select(x, ALPHA * x, x < 0.0)" },
    Function { name: "ThresholdedRelu", alpha: Some(1.0), beta: None,
               eval: |x, a, _| if x >= a { x } else { 0.0 }, wgsl: "select(0.0, x, x >= ALPHA)" },
    Function { name: "ScaledTanh", alpha: Some(1.0), beta: Some(1.0), eval: |x, a, b| a * (b * x).tanh(),
               wgsl: "ALPHA * f32_tanh(BETA * x)" },
    Function { name: "HardSigmoid", alpha: Some(0.2), beta: Some(0.5), eval: |x, a, b| (a * x + b).clamp(0.0, 1.0),
               wgsl: "clamp(ALPHA * x + BETA, 0.0, 1.0)" },
    Function { name: "Elu", alpha: Some(1.0), beta: None, eval: |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x },
               wgsl: "select(x, ALPHA * f32_expm1(x), x < 0.0)" },
    Function { name: "Softsign", alpha: None, beta: None, eval: |x, _, _| x / (1.0 + x.abs()),
               wgsl: "x / (1.0 + abs(x))" },
    Function { name: "Softplus", alpha: None, beta: None, eval: |x, _, _| x.max(0.0) + (-x.abs()).exp().ln_1p(),
               wgsl: "f32_softplus(x)" },
];

/// A function with its numbers.
#[derive(Clone, Copy)]
pub struct Activation {
    function: &'static Function,
    alpha: f32,
    beta: f32,
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}, {})", self.function.name, self.alpha, self.beta)
    }
}

impl Activation {
    fn apply(&self, x: f64) -> f64 {
        (self.function.eval)(x, self.alpha as f64, self.beta as f64)
    }

    /// As a WGSL expression of `x`, an f32.
    pub fn wgsl(&self) -> String {
        let number = |v: f32| crate::kernels::elementwise::f32_literal(v);
        self.function.wgsl.replace("ALPHA", &number(self.alpha)).replace("BETA", &number(self.beta))
    }
}

/// LSTM, GRU or RNN with its attributes.
#[derive(Debug, Clone)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// `hidden_size`.
    hidden: Option<usize>,
    /// 1 or 2.
    pub directions: usize,
    /// The first direction runs from the end.
    pub reverse: bool,
    /// f, g, h of the first direction, then of the second.
    pub activations: Vec<Activation>,
    /// The inputs of activations stay within ± this.
    pub clip: Option<f32>,
    /// The forget gate is 1 - the input gate.
    pub input_forget: bool,
    /// Batch before time in all tensors (`layout`).
    pub batch_first: bool,
}

/// The extents of a run.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    /// Time steps.
    pub steps: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Elements of one input.
    pub input: usize,
    /// Elements of the hidden state.
    pub hidden: usize,
}

fn parse(cell: Cell, a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(recurrent(cell, n.version >= 14, a)?))
}

/// The attributes of a network; `layout` among them where it `has_layout`.
pub(super) fn recurrent(mut cell: Cell, has_layout: bool, a: &AttrReader<'_>) -> Result<Recurrent> {
    let (directions, reverse) = match a.string_or("direction", "forward".into())?.as_str() {
        "forward" => (1, false),
        "reverse" => (1, true),
        "bidirectional" => (2, false),
        other => bail!(InvalidNode, "attribute direction: expected forward, reverse or bidirectional, got {other:?}"),
    };
    if let Cell::Gru { linear_before_reset } = &mut cell {
        *linear_before_reset = a.flag_or("linear_before_reset", false)?;
    }
    let hidden = a.int("hidden_size")?;
    let positive = |h: i64| usize::try_from(h).map_err(|_| err!(InvalidNode, "attribute hidden_size is {h}"));
    let clip = a.float("clip")?;
    ensure!(clip.is_none_or(|c| c >= 0.0 && c.is_finite()), InvalidNode, "attribute clip is {clip:?}");
    Ok(Recurrent {
        cell,
        hidden: hidden.map(positive).transpose()?,
        directions,
        reverse,
        activations: activations(cell, directions, a)?,
        clip,
        input_forget: cell == Cell::Lstm && a.flag_or("input_forget", false)?,
        batch_first: has_layout && a.flag_or("layout", false)?,
    })
}

fn activations(cell: Cell, directions: usize, a: &AttrReader<'_>) -> Result<Vec<Activation>> {
    let each = cell.defaults();
    let mut names = a.strings_or("activations", each.repeat(directions).iter().map(|s| s.to_string()).collect())?;
    let want = each.len() * directions;
    if cell == Cell::Rnn && names.len() == 2 {
        // the attribute's written default serves both directions
        names.truncate(want);
    }
    ensure!(names.len() == want, InvalidNode, "attribute activations: expected {want} names, got {names:?}");
    // each function that takes a number takes the next one given, or else its default
    let (mut alphas, mut betas) =
        (a.floats_or("activation_alpha", vec![])?.into_iter(), a.floats_or("activation_beta", vec![])?.into_iter());
    let mut out = vec![];
    for name in &names {
        let function = FUNCTIONS.iter().find(|f| f.name.eq_ignore_ascii_case(name));
        let function = function.ok_or_else(|| err!(InvalidNode, "attribute activations: unknown function {name:?}"))?;
        let number = |default: Option<f32>, given: &mut dyn Iterator<Item = f32>| match default {
            Some(default) => given.next().unwrap_or(default),
            None => 0.0,
        };
        let (alpha, beta) = (number(function.alpha, &mut alphas), number(function.beta, &mut betas));
        ensure!(alpha.is_finite() && beta.is_finite(), InvalidNode, "{name} with alpha {alpha} and beta {beta}");
        out.push(Activation { function, alpha, beta });
    }
    Ok(out)
}

impl Recurrent {
    /// The extents, from the shapes of X, W and R.
    ///
    /// # Errors
    /// `InvalidNode` when they contradict each other.
    pub fn extents(&self, x: &[usize], w: &[usize], r: &[usize]) -> Result<Extents> {
        let [a, b, input] = *x else { bail!(InvalidNode, "expected X of rank 3, got {x:?}") };
        let (steps, batch) = if self.batch_first { (b, a) } else { (a, b) };
        let [_, _, hidden] = *r else { bail!(InvalidNode, "expected R of rank 3, got {r:?}") };
        let rows = self.cell.gates().saturating_mul(hidden);
        let d = self.directions;
        ensure!(w == [d, rows, input], InvalidNode, "expected W of {:?}, got {w:?}", [d, rows, input]);
        ensure!(r == [d, rows, hidden], InvalidNode, "expected R of {:?}, got {r:?}", [d, rows, hidden]);
        let same = self.hidden.is_none_or(|h| h == hidden);
        ensure!(same, InvalidNode, "hidden_size is {:?}, R has {hidden}", self.hidden);
        Ok(Extents { steps, batch, input, hidden })
    }

    /// The shape of Y.
    pub fn sequence_shape(&self, e: &Extents) -> Vec<usize> {
        let d = self.directions;
        if self.batch_first { vec![e.batch, e.steps, d, e.hidden] } else { vec![e.steps, d, e.batch, e.hidden] }
    }

    /// The shape of Y_h, Y_c and the initial states.
    pub fn state_shape(&self, e: &Extents) -> Vec<usize> {
        let d = self.directions;
        if self.batch_first { vec![e.batch, d, e.hidden] } else { vec![d, e.batch, e.hidden] }
    }

    /// Steps in elements along (time, direction, batch) of Y.
    pub fn sequence_steps(&self, e: &Extents) -> [usize; 3] {
        let (d, h) = (self.directions, e.hidden);
        if self.batch_first { [d * h, h, e.steps * d * h] } else { [d * e.batch * h, e.batch * h, h] }
    }

    /// Steps in elements along (direction, batch) of the states.
    pub fn state_steps(&self, e: &Extents) -> [usize; 2] {
        if self.batch_first { [e.hidden, self.directions * e.hidden] } else { [e.batch * e.hidden, e.hidden] }
    }

    /// The functions of one direction.
    pub fn functions(&self, direction: usize) -> &[Activation] {
        let n = self.activations.len() / self.directions;
        &self.activations[direction * n..(direction + 1) * n]
    }

    pub(super) fn check(&self, e: &Extents, shape: &dyn Fn(usize) -> Option<Vec<usize>>) -> Result<()> {
        let (d, h, states) = (self.directions, e.hidden, self.state_shape(e));
        let wanted = [
            (3, "B", vec![d, 2 * self.cell.gates() * h]),
            (4, "sequence_lens", vec![e.batch]),
            (5, "initial_h", states.clone()),
            (6, "initial_c", states),
            (7, "P", vec![d, 3 * h]),
        ];
        for (i, name, want) in wanted {
            let got = shape(i).unwrap_or_else(|| want.clone());
            ensure!(got == want, InvalidNode, "expected {name} of {want:?}, got {got:?}");
        }
        Ok(())
    }

    /// The reference, from the factors of its products; inputs 3 to 7 are taken from `inputs`.
    pub(super) fn run(
        &self,
        inputs: &[Option<&Tensor>],
        e: &Extents,
        dtype: DType,
        factors: &Factors,
    ) -> Result<Vec<Tensor>> {
        let (n, rows) = (e.hidden, self.cell.gates() * e.hidden);
        let or_zeros = |i: usize, len: usize| opt(inputs, i).map_or(Ok(vec![0.0; len]), Tensor::to_f64s);
        let states = self.directions * e.batch * n;
        let (b, peepholes) = (or_zeros(3, self.directions * 2 * rows)?, or_zeros(7, 0)?);
        let (mut h, mut c) = (or_zeros(5, states)?, or_zeros(6, states)?);
        let lens = opt(inputs, 4).map_or(Ok(vec![e.steps as i64; e.batch]), Tensor::to_i64s)?;
        let Factors { x, w, r, scales } = factors;
        let mut y = vec![0.0; e.steps * states];
        let ([y_t, y_d, y_b], [s_d, s_b]) = (self.sequence_steps(e), self.state_steps(e));
        for (d, batch) in (0..self.directions).flat_map(|d| (0..e.batch).map(move |b| (d, b))) {
            let bias = &b[d * 2 * rows..][..2 * rows];
            let unit = Unit {
                op: self,
                functions: self.functions(d),
                hidden: n,
                r: &r[d * rows * n..][..rows * n],
                rb: &bias[rows..],
                scales: scales.as_ref().map(|(_, r)| &r[d * rows..][..rows]),
                peepholes: peepholes.get(d * 3 * n..(d + 1) * 3 * n).unwrap_or(&[]),
            };
            let len = lens[batch];
            let inside = usize::try_from(len).ok().filter(|l| *l <= e.steps);
            let len = inside.ok_or_else(|| err!(InvalidInput, "a sequence of {len} steps of {}", e.steps))?;
            let backwards = (d == 1) != self.reverse;
            let at = d * s_d + batch * s_b;
            for s in 0..len {
                let t = if backwards { len - 1 - s } else { s };
                let row = if self.batch_first { batch * e.steps + t } else { t * e.batch + batch };
                let now = &x[row * e.input..][..e.input];
                let product = |k: usize| -> f64 {
                    let weights = &w[(d * rows + k) * e.input..][..e.input];
                    weights.iter().zip(now).map(|(a, b)| a * b).sum()
                };
                let factor = |k: usize| scales.as_ref().map_or(1.0, |(w, _)| w[d * rows + k] as f64);
                let wide: Vec<f64> = (0..rows).map(|k| product(k) * factor(k) + bias[k]).collect();
                unit.step(&wide, &mut h[at..at + n], &mut c[at..at + n]);
                y[t * y_t + d * y_d + batch * y_b..][..n].copy_from_slice(&h[at..at + n]);
            }
        }
        let mut out = vec![
            Tensor::from_f64s(dtype, self.sequence_shape(e), y)?,
            Tensor::from_f64s(dtype, self.state_shape(e), h)?,
        ];
        if self.cell == Cell::Lstm {
            out.push(Tensor::from_f64s(dtype, self.state_shape(e), c)?);
        }
        Ok(out)
    }
}

/// The factors of a network's products, in the order of X, W and R.
pub(super) struct Factors {
    pub x: Vec<f64>,
    pub w: Vec<f64>,
    pub r: Vec<f64>,
    /// Where they are integers: for each row of W what scales its products, for each row of R its scale.
    pub scales: Option<(Vec<f32>, Vec<f32>)>,
}

/// A state brought to 8 bits, less its zero point, and its scale.
fn centred(h: &[f64]) -> (Vec<f64>, f32) {
    let h: Vec<f32> = h.iter().map(|v| *v as f32).collect();
    let (scale, zero) = dynamic_scale(&h);
    (h.iter().map(|v| quantized(DType::U8, (v / scale) as f64, zero) - zero).collect(), scale)
}

/// What one step of one sequence in one direction computes with.
struct Unit<'a> {
    op: &'a Recurrent,
    functions: &'a [Activation],
    hidden: usize,
    /// `[gates · hidden, hidden]`
    r: &'a [f64],
    /// Recurrent bias.
    rb: &'a [f64],
    peepholes: &'a [f64],
    /// Scales of the rows of `r`, integers, where it is quantised.
    scales: Option<&'a [f32]>,
}

impl Unit<'_> {
    /// The activation `f` of a clipped value.
    fn f(&self, f: usize, x: f64) -> f64 {
        let c = self.op.clip.map_or(f64::INFINITY, |c| c as f64);
        // as max then min, which pass NaN on
        let x = if x > c { c } else { x };
        self.functions[f].apply(if x < -c { -c } else { x })
    }

    fn dot(&self, gate: usize, j: usize, h: &[f64]) -> f64 {
        let row = (gate * self.hidden + j) * self.hidden;
        self.r[row..row + self.hidden].iter().zip(h).map(|(a, b)| a * b).sum()
    }

    /// The next state, given the projected input with its bias.
    fn step(&self, x: &[f64], h: &mut [f64], c: &mut [f64]) {
        let n = self.hidden;
        let (before, scale) = match self.scales {
            Some(_) => centred(h),
            None => (h.to_vec(), 1.0),
        };
        let factor = |row: usize| self.scales.map_or(1.0, |s| (scale * s[row]) as f64);
        let sum = |g: usize, j: usize| {
            let row = g * n + j;
            x[row] + self.dot(g, j, &before) * factor(row) + self.rb[row]
        };
        match self.op.cell {
            Cell::Rnn => (0..n).for_each(|j| h[j] = self.f(0, sum(0, j))),
            Cell::Gru { linear_before_reset } => {
                let reset: Vec<f64> = (0..n).map(|j| self.f(0, sum(1, j))).collect();
                let scaled: Vec<f64> = reset.iter().zip(&before).map(|(r, h)| r * h).collect();
                for j in 0..n {
                    let z = self.f(0, sum(0, j));
                    let (wide, bias) = (x[2 * n + j], self.rb[2 * n + j]);
                    let candidate = if linear_before_reset {
                        self.f(1, wide + reset[j] * (self.dot(2, j, &before) + bias))
                    } else {
                        self.f(1, wide + self.dot(2, j, &scaled) + bias)
                    };
                    h[j] = (1.0 - z) * candidate + z * before[j];
                }
            }
            Cell::Lstm => {
                let peep = |g: usize, j: usize| self.peepholes.get(g * n + j).copied().unwrap_or(0.0);
                for j in 0..n {
                    let i = self.f(0, sum(0, j) + peep(0, j) * c[j]);
                    let forget = if self.op.input_forget { 1.0 - i } else { self.f(0, sum(2, j) + peep(2, j) * c[j]) };
                    let candidate = self.f(1, sum(3, j));
                    c[j] = forget * c[j] + i * candidate;
                    let o = self.f(0, sum(1, j) + peep(1, j) * c[j]);
                    h[j] = o * self.f(2, c[j]);
                }
            }
        }
    }
}

impl Op for Recurrent {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let e = self.extents(cx.shape(0)?, cx.shape(1)?, cx.shape(2)?)?;
        self.check(&e, &|i| cx.try_input(i).map(|t| t.shape.clone()))?;
        let dtype = cx.dtype(0)?;
        // all but the lengths of the sequences
        for t in [1, 2, 3, 5, 6, 7].into_iter().filter_map(|i| cx.try_input(i)) {
            if t.dtype != dtype {
                return Err(err!(InvalidNode, "the sequence is of {dtype}, an operand of {}", t.dtype).into());
            }
        }
        let state = TensorType::new(dtype, self.state_shape(&e));
        let mut out = vec![TensorType::new(dtype, self.sequence_shape(&e)), state.clone()];
        if self.cell == Cell::Lstm {
            out.push(state);
        }
        Ok(out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, w, r) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?);
        let e = self.extents(x.shape(), w.shape(), r.shape())?;
        self.check(&e, &|i| opt(inputs, i).map(|t| t.shape().to_vec()))?;
        let factors = Factors { x: x.to_f64s()?, w: w.to_f64s()?, r: r.to_f64s()?, scales: None };
        self.run(inputs, &e, x.dtype(), &factors)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        lower(cx, self)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        // errors of the state feed on themselves through the steps
        Tolerance::ulps(dtype, 16.0 + 4.0 * (k as f64).sqrt())
    }
}

/// One case under construction: extents, and which optional inputs are there.
struct Draft {
    name: &'static str,
    gates: usize,
    dtype: DType,
    extents: [usize; 4],
    directions: usize,
    opset: i64,
    batch_first: bool,
    constant: bool,
    bias: bool,
    lens: Option<Vec<i32>>,
    states: bool,
    peepholes: bool,
}

impl Draft {
    fn new(name: &'static str, gates: usize, steps: usize, batch: usize, input: usize, hidden: usize) -> Draft {
        let extents = [steps, batch, input, hidden];
        let (dtype, lens) = (F32, None);
        let (batch_first, constant, bias, states, peepholes) = (false, true, true, false, false);
        let (directions, opset) = (1, 14);
        #[rustfmt::skip]
        return Draft { name, gates, dtype, extents, directions, opset, batch_first, constant, bias, lens, states,
                       peepholes };
    }

    fn build(&self) -> Case {
        let [t, b, i, h] = self.extents;
        let (d, rows, dtype) = (self.directions, self.gates * h, self.dtype);
        let direction = if d == 2 { "bidirectional" } else { "forward" };
        let mut case = Case::new(self.name, self.opset).string("direction", direction);
        case = case.int("hidden_size", h as i64).outputs(if self.gates == 4 { 3 } else { 2 }).sum((i + h) * t.max(1));
        if self.batch_first {
            case = case.int("layout", 1);
        }
        case = case.rand(dtype, &if self.batch_first { [b, t, i] } else { [t, b, i] });
        // so that wide states stay as tame as those of trained networks
        let scale = (2.0 / (h as f64).sqrt()).min(0.5);
        let weight = |case: Case, shape: &[usize], seed: u64| {
            let constant = Rng::new(seed).tensor(dtype, shape, -scale, scale).ok().filter(|_| self.constant);
            match constant {
                Some(t) => case.constant(t),
                None => case.range(dtype, shape, -scale, scale),
            }
        };
        case = weight(weight(case, &[d, rows, i], 1), &[d, rows, h], 2);
        case = if self.bias { weight(case, &[d, 2 * rows], 3) } else { case.absent() };
        case = match &self.lens {
            Some(lens) => case.value(Tensor::vector(lens)),
            None => case.absent(),
        };
        let state = if self.batch_first { [b, d, h] } else { [d, b, h] };
        if self.states {
            case = case.rand(dtype, &state);
        }
        if self.gates == 4 {
            case = match (self.states, self.peepholes) {
                (true, _) => case.rand(dtype, &state),
                (false, true) => case.absent().absent(),
                _ => case,
            };
            if self.peepholes {
                case = weight(case, &[d, 3 * h], 4);
            }
        }
        case
    }
}

fn cases(name: &'static str, gates: usize) -> Vec<Case> {
    let draft = |t, b, i, h| Draft::new(name, gates, t, b, i, h);
    let small = || draft(3, 2, 4, 5);
    let mut all = vec![
        small().build(),
        small().build().string("direction", "reverse"),
        Draft { opset: 7, directions: 2, ..small() }.build(),
        Draft { opset: 22, bias: false, ..draft(1, 1, 1, 1) }.build(),
        Draft { lens: Some(vec![0, 3, 2]), directions: 2, states: true, ..draft(3, 3, 2, 7) }.build(),
        Draft { batch_first: true, directions: 2, states: true, lens: Some(vec![2, 4]), ..draft(4, 2, 3, 6) }.build(),
        Draft { constant: false, directions: 2, peepholes: true, ..draft(3, 2, 5, 6) }.build(),
        Draft { constant: false, states: true, bias: false, ..small() }.build(),
        Draft { dtype: F16, peepholes: true, states: true, ..draft(3, 2, 5, 8) }.build(),
        Draft { dtype: BF16, opset: 22, ..small() }.build(),
        Draft { dtype: F64, opset: 22, ..small() }.build(),
        Draft { states: true, ..draft(0, 2, 4, 5) }.build(),
        draft(2, 0, 4, 5).build(),
        // as many units as a workgroup has invocations, and more
        Draft { lens: Some(vec![2, 3]), ..draft(3, 2, 7, 256) }.build(),
        draft(3, 2, 7, 300).build(),
        // more steps than a thread may loop through
        draft(1100, 1, 1, 60).build().outputs(2),
        Draft { lens: Some(vec![1, 3]), batch_first: true, states: true, directions: 2, ..draft(3, 2, 3, 260) }.build(),
        Draft { dtype: F16, peepholes: true, ..draft(3, 2, 7, 260) }.build(),
        small().build().outputs(1),
        small().build().float("clip", 0.25),
    ];
    let strings = |case: Case, names: &[&str]| {
        let names = names.iter().map(|n| n.to_string()).collect();
        case.attr("activations", crate::ir::Attr::Strs(names))
    };
    let each = if gates == 4 { 3 } else { gates.min(2) };
    let functions: Vec<&str> = FUNCTIONS.iter().map(|f| f.name).collect();
    for names in functions.chunks(each).filter(|c| c.len() == each) {
        all.push(strings(small().build(), names));
    }
    let numbers = |case: Case| {
        let floats = |v: &[f32]| crate::ir::Attr::Floats(v.to_vec());
        case.attr("activation_alpha", floats(&[0.5, 0.75])).attr("activation_beta", floats(&[0.25]))
    };
    let both = [["HardSigmoid", "LeakyRelu", "Tanh"], ["Sigmoid", "ScaledTanh", "Elu"]];
    let both: Vec<&str> = both.iter().flat_map(|b| &b[..each]).copied().collect();
    all.push(numbers(strings(Draft { directions: 2, ..small() }.build(), &both)));
    match gates {
        3 => {
            let linear = |d: Draft| d.build().int("linear_before_reset", 1);
            all.push(linear(small()));
            all.push(linear(Draft { bias: false, ..small() }));
            all.push(linear(Draft { constant: false, directions: 2, states: true, ..small() }));
            all.push(linear(Draft { lens: Some(vec![1, 3]), dtype: F16, ..small() }));
            all.push(linear(draft(2, 2, 3, 260)));
        }
        4 => {
            all.push(small().build().int("input_forget", 1));
            all.push(Draft { peepholes: true, ..small() }.build().int("input_forget", 1).float("clip", 0.5));
            all.push(Draft { peepholes: true, states: true, ..draft(2, 1, 3, 600) }.build());
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::parse;

    fn run(case: &Case) -> Vec<Tensor> {
        let (graph, data) = case.build(&mut Rng::new(1)).unwrap();
        crate::cpu::run(&graph, &data).unwrap()
    }

    #[test]
    fn one_unit_by_hand() {
        let one = |shape: &[usize], v: &[f32]| Tensor::new(shape, v.to_vec()).unwrap();
        let rnn = Case::new("RNN", 14).int("hidden_size", 1).outputs(2);
        let rnn = rnn.value(one(&[2, 1, 1], &[1.0, 0.0])).constant(one(&[1, 1, 1], &[0.5]));
        let y = run(&rnn.constant(one(&[1, 1, 1], &[2.0])).constant(one(&[1, 2], &[0.25, 0.125])));
        let first = 0.875f64.tanh();
        let second = (2.0 * first + 0.375).tanh();
        let got = y[0].to_f64s().unwrap();
        assert!((got[0] - first).abs() < 1e-6 && (got[1] - second).abs() < 1e-6, "{got:?}");
        assert_eq!(y[1].to_f64s().unwrap(), [got[1]]);
    }

    #[test]
    fn sequences_end_and_reverse_within_their_length() {
        let w = |v: f32| Tensor::new([1, 1, 1], vec![v]).unwrap();
        let x = Tensor::new([3, 2, 1], vec![1f32, 1.0, 2.0, 2.0, 4.0, 4.0]).unwrap();
        let names = crate::ir::Attr::Strs(vec!["Affine".into()]);
        let case = Case::new("RNN", 14).int("hidden_size", 1).attr("activations", names).outputs(2);
        let case = case.string("direction", "reverse").value(x).constant(w(1.0)).constant(w(10.0)).absent();
        let y = run(&case.value(Tensor::vector(&[3i32, 2])));
        assert_eq!(y[0].to_f64s().unwrap(), [421.0, 21.0, 42.0, 2.0, 4.0, 0.0]);
        assert_eq!(y[1].to_f64s().unwrap(), [421.0, 21.0]);
    }

    #[test]
    fn wrong_attributes_are_refused() {
        let info = NodeInfo::full(14, 3, 1);
        for (name, value) in [("direction", "sideways"), ("activations", "Tanh")] {
            let attr = match name {
                "direction" => crate::ir::Attr::Str(value.into()),
                _ => crate::ir::Attr::Strs(vec![value.into()]),
            };
            let attrs = [(name.to_string(), attr)].into();
            assert!(parse("", "LSTM", &attrs, &info).is_err(), "{name}");
        }
        let layout = [("layout".to_string(), crate::ir::Attr::Int(1))].into();
        assert!(parse("", "GRU", &layout, &NodeInfo::full(13, 3, 1)).is_err());
    }
}
