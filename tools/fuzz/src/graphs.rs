//! Random valid graphs of random operators, the device against the interpreter, and both against the interpreter in
//! doubles. The bytes seed the draw.
//!
//! Two kinds of graphs. Whole ones hold small whole numbers and operators that keep them whole: there every result must
//! be equal. Smooth ones hold any numbers and operators without jumps: there a result may lie as far from the exact one as
//! the reference's own rounding lets expect.

use std::sync::OnceLock;

use shadernet::ir::{Attr, Attrs, Graph, Node, Operator, TensorType, ValueId, print};
use shadernet::ops::{InferCx, NodeInfo};
use shadernet::{DType, Fallback, Gpu, GpuOptions, Rng, Session, SessionOptions, Tensor, cpu};

use crate::mutate::below;

const OPSET: i64 = 21;
/// Elements of one value.
const ELEMENTS: usize = 3000;
/// Whole numbers beyond which sums in float32 are not exact any more, with room for one more product.
const WHOLE: f64 = 2048.0;

struct Draw {
    rng: Rng,
    graph: Graph,
    types: Vec<(ValueId, TensorType)>,
    whole: bool,
}

fn seed(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let options = GpuOptions { poison: true, ..GpuOptions::from_env() };
    GPU.get_or_init(|| pollster::block_on(Gpu::new(options)).ok()).as_ref()
}

/// Draws a graph and compares.
pub fn run(data: &[u8]) {
    let mut d = Draw { rng: Rng::new(seed(data)), graph: Graph::new("drawn"), types: vec![], whole: data.len() % 2 == 0 };
    let inputs = d.draw();
    let Draw { graph, whole, .. } = d;
    let Ok(want) = cpu::run(&graph, &inputs) else { return };
    let Some(gpu) = gpu() else { return };
    let options = SessionOptions { fallback: Fallback::Allow, ..SessionOptions::default() };
    let fail = |what: String| -> ! { panic!("{what}\n{}\n{inputs:?}", print(&graph)) };
    let session = Session::from_graph(gpu, &graph, &options).unwrap_or_else(|e| fail(e.to_string()));
    let got = pollster::block_on(session.run_ordered(&inputs)).unwrap_or_else(|e| fail(e.to_string()));
    let exact = if whole { None } else { in_doubles(&graph, &inputs) };
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let exact = exact.as_ref().map(|(all, noise)| (&all[i], *noise));
        if let Some(why) = differs(g, w, exact, whole) {
            fail(format!("output {i}: {why}: got {g:?}, want {w:?}"));
        }
    }
}

/// The outputs of the same graph and inputs in float64, and what rounding may come to: that of the greatest magnitude on
/// the way there, by as much as a LayerNormalization of nearly equal values enlarges it.
fn in_doubles(graph: &Graph, inputs: &[Tensor]) -> Option<(Vec<Tensor>, f64)> {
    let wide = |t: &Tensor| match t.dtype() {
        DType::F32 => Tensor::from_f64s(DType::F64, t.shape(), t.to_f64s().ok()?).ok(),
        _ => Some(t.clone()),
    };
    let mut g = graph.clone();
    let ids: Vec<ValueId> = g.values().map(|(id, _)| id).collect();
    for id in ids {
        if let Some(c) = &g.value(id).constant {
            let c = wide(c)?;
            g.value_mut(id).constant = Some(c);
        }
    }
    let normed = |n: &Node| (n.operator.op_type == "LayerNormalization").then(|| n.inputs.first().copied().flatten()).flatten();
    let normed: Vec<ValueId> = graph.nodes.iter().filter_map(normed).collect();
    g.outputs.extend(normed.iter().copied().chain(graph.nodes.iter().flat_map(|n| n.used_outputs())));
    let mut all = cpu::run(&g, &inputs.iter().map(wide).collect::<Option<Vec<_>>>()?).ok()?;
    let of = |t: &Tensor| t.to_f64s().unwrap_or_default().into_iter().map(f64::abs).filter(|x| x.is_finite());
    let greatest = all.iter().chain(inputs).flat_map(of).fold(0.0, f64::max);
    let enlarged = all[graph.outputs.len()..][..normed.len()].iter().map(enlargement).fold(1.0, f64::max);
    all.truncate(graph.outputs.len());
    Some((all, greatest * enlarged))
}

/// By how much a LayerNormalization over the last axis enlarges differences, with the epsilon that it has by default.
fn enlargement(t: &Tensor) -> f64 {
    let row = t.shape().last().copied().unwrap_or(1).max(1);
    let variance = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / row.len() as f64
    };
    t.to_f64s().unwrap_or_default().chunks(row).map(|r| 1.0 / (variance(r) + 1e-5).sqrt()).fold(1.0, f64::max)
}

fn differs(got: &Tensor, want: &Tensor, exact: Option<(&Tensor, f64)>, whole: bool) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some("another type".into());
    }
    let (Ok(g), Ok(w)) = (got.to_f64s(), want.to_f64s()) else { return None };
    if whole || !want.dtype().is_float() {
        let i = g.iter().zip(&w).position(|(a, b)| a != b && !(a.is_nan() && b.is_nan()))?;
        return Some(format!("element {i} is not equal"));
    }
    let (exact, noise) = exact?;
    let exact = exact.to_f64s().ok()?;
    // beyond these magnitudes float32 has its own ways
    if exact.iter().any(|x| !x.is_finite() || x.abs() > 1e18) {
        return None;
    }
    let scale = exact.iter().fold(1e-5f64, |m, x| m.max(x.abs()));
    let rounding = w.iter().zip(&exact).fold(0.0f64, |m, (w, x)| m.max((w - x).abs()));
    // what cancels leaves the rounding of what it was made of
    let allowed = 64.0 * rounding + 3e-5 * scale + 4.0 * f64::from(f32::EPSILON) * noise;
    let i = g.iter().zip(&exact).position(|(g, x)| (g - x).abs() > allowed || g.is_nan())?;
    Some(format!("element {i}: {} for {}, {allowed:e} allowed", g[i], exact[i]))
}

impl Draw {
    fn draw(&mut self) -> Vec<Tensor> {
        let rank = 1 + below(&mut self.rng, 4);
        let shape: Vec<usize> = (0..rank).map(|_| 1 + below(&mut self.rng, 7)).collect();
        let mut inputs = vec![];
        for i in 0..1 + below(&mut self.rng, 3) {
            // extents of 1 broadcast
            let own: Vec<usize> = shape.iter().map(|n| if i > 0 && below(&mut self.rng, 4) == 0 { 1 } else { *n }).collect();
            let t = self.data(&own);
            let id = self.graph.add_value(format!("x{i}"), None);
            self.graph.inputs.push(id);
            self.types.push((id, TensorType::new(t.dtype(), t.shape())));
            inputs.push(t);
        }
        for _ in 0..2 + below(&mut self.rng, 12) {
            self.node();
        }
        // what nobody reads goes out, and sometimes what somebody does
        let read: Vec<ValueId> = self.graph.nodes.iter().flat_map(|n| n.used_inputs()).collect();
        let made: Vec<ValueId> = self.graph.nodes.iter().flat_map(|n| n.used_outputs()).collect();
        let out: Vec<ValueId> =
            made.into_iter().filter(|v| !read.contains(v) || below(&mut self.rng, 8) == 0).collect();
        self.graph.outputs = out;
        inputs
    }

    /// Numbers of the graph's kind.
    fn data(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        let whole = self.whole;
        let values = (0..count).map(|_| match whole {
            true => (below(&mut self.rng, 7) as f64) - 3.0,
            false => self.rng.unit() * 4.0 - 2.0,
        });
        let values: Vec<f64> = values.collect();
        Tensor::from_f64s(DType::F32, shape, values).unwrap_or_else(|e| panic!("{e}"))
    }

    fn constant(&mut self, t: Tensor) -> ValueId {
        let name = format!("c{}", self.graph.value_count());
        let ty = TensorType::new(t.dtype(), t.shape());
        let id = self.graph.add_constant(name, t);
        self.types.push((id, ty));
        id
    }

    fn longs(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::vector(values))
    }

    /// Adds a node, if its inputs suit it.
    fn node(&mut self) {
        let floats: Vec<(ValueId, TensorType)> = self.types.iter().filter(|(_, t)| t.dtype == DType::F32).cloned().collect();
        // the latest values come oftener, or graphs would be flat
        let back = below(&mut self.rng, 3).min(floats.len() - 1);
        let (a, ta) = floats[floats.len() - 1 - back].clone();
        let (rank, shape) = (ta.rank(), ta.shape.clone());
        let axis = below(&mut self.rng, rank.max(1));
        let mut attrs = Attrs::new();
        let mut set = |name: &str, value: Attr| drop(attrs.insert(name.into(), value));
        let mut outputs = 1;
        let (op, inputs): (&str, Vec<ValueId>) = match below(&mut self.rng, 26) {
            0..=3 => {
                let exact = ["Relu", "Neg", "Abs", "Identity", "Sign", "Floor"];
                let smooth = ["Tanh", "Sigmoid", "Sin", "Cos", "Erf", "Softplus", "Gelu", "Mish", "Atan", "Softsign", "LeakyRelu", "HardSwish"];
                let op = if self.whole { exact[below(&mut self.rng, 6)] } else { smooth[below(&mut self.rng, 12)] };
                (op, vec![a])
            }
            4..=7 => {
                let all = ["Add", "Sub", "Mul", "Max", "Min", "Sum"];
                (all[below(&mut self.rng, 6)], vec![a, floats[below(&mut self.rng, floats.len())].0])
            }
            8 => {
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                (1..rank).rev().for_each(|i| perm.swap(i, below(&mut self.rng, i + 1)));
                set("perm", Attr::Ints(perm));
                ("Transpose", vec![a])
            }
            9 => {
                let (n, cut) = (ta.numel() as i64, [1, 2, 3, 4, 5, 6, 7][below(&mut self.rng, 7)]);
                let to = if n % cut == 0 { vec![cut, -1] } else { vec![-1] };
                let to = self.longs(&to);
                ("Reshape", vec![a, to])
            }
            10 => {
                let n = shape.get(axis).copied().unwrap_or(1) as i64;
                let (from, to) = (below(&mut self.rng, n as usize) as i64, n - below(&mut self.rng, 2) as i64);
                let step = [1, 1, 2, -1][below(&mut self.rng, 4)];
                let ends = if step > 0 { [from, to] } else { [to, from - n - 1] };
                let rest = [ends[0], ends[1], axis as i64, step].map(|x| self.longs(&[x]));
                ("Slice", [&[a][..], &rest].concat())
            }
            11 => {
                set("axis", Attr::Int(axis as i64));
                ("Concat", vec![a, floats[below(&mut self.rng, floats.len())].0, a])
            }
            12 => {
                let pads: Vec<i64> = (0..2 * rank).map(|_| below(&mut self.rng, 3) as i64 - i64::from(below(&mut self.rng, 5) == 0)).collect();
                let modes = ["constant", "reflect", "edge", "wrap"];
                set("mode", Attr::Str(modes[below(&mut self.rng, 4)].into()));
                let pads = self.longs(&pads);
                ("Pad", vec![a, pads])
            }
            13 | 14 => {
                let exact = ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1"];
                let smooth = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"];
                let op = if self.whole { exact[below(&mut self.rng, 4)] } else { smooth[below(&mut self.rng, 6)] };
                set("keepdims", Attr::Int(below(&mut self.rng, 2) as i64));
                let axes = self.longs(&[axis as i64]);
                (op, vec![a, axes])
            }
            15 if !self.whole => {
                set("axis", Attr::Int(axis as i64));
                (["Softmax", "LogSoftmax"][below(&mut self.rng, 2)], vec![a])
            }
            15 => {
                set("axis", Attr::Int(axis as i64));
                set("keepdims", Attr::Int(below(&mut self.rng, 2) as i64));
                (["ArgMax", "ArgMin"][below(&mut self.rng, 2)], vec![a])
            }
            16 | 17 if rank > 0 => {
                let k = *shape.last().unwrap_or(&1);
                let n = 1 + below(&mut self.rng, 6);
                let w = self.data(&[k, n]);
                let w = self.constant(w);
                ("MatMul", vec![a, w])
            }
            18 if (3..=4).contains(&rank) => {
                let k = 1 + 2 * below(&mut self.rng, 2);
                let out = 1 + below(&mut self.rng, 4);
                let dims: Vec<usize> = [out, shape[1]].into_iter().chain(vec![k; rank - 2]).collect();
                let w = self.data(&dims);
                let w = self.constant(w);
                let b = self.data(&[out]);
                let b = self.constant(b);
                set("pads", Attr::Ints(vec![(k / 2) as i64; 2 * (rank - 2)]));
                set("strides", Attr::Ints(vec![1 + below(&mut self.rng, 2) as i64; rank - 2]));
                ("Conv", vec![a, w, b])
            }
            19 if (3..=4).contains(&rank) => {
                set("kernel_shape", Attr::Ints(vec![1 + below(&mut self.rng, 2) as i64; rank - 2]));
                set("strides", Attr::Ints(vec![1 + below(&mut self.rng, 2) as i64; rank - 2]));
                (if self.whole { "MaxPool" } else { "AveragePool" }, vec![a])
            }
            20 => {
                let n = shape.get(axis).copied().unwrap_or(1);
                let at: Vec<i64> = (0..1 + below(&mut self.rng, 4)).map(|_| below(&mut self.rng, 2 * n) as i64 - n as i64).collect();
                set("axis", Attr::Int(axis as i64));
                let at = self.longs(&at);
                ("Gather", vec![a, at])
            }
            21 => {
                let n: Vec<i64> = (0..rank).map(|_| 1 + below(&mut self.rng, 2) as i64).collect();
                let n = self.longs(&n);
                ("Tile", vec![a, n])
            }
            22 => {
                set("axis", Attr::Int(axis as i64));
                set("num_outputs", Attr::Int(2));
                outputs = 2;
                ("Split", vec![a])
            }
            23 => {
                set("exclusive", Attr::Int(below(&mut self.rng, 2) as i64));
                set("reverse", Attr::Int(below(&mut self.rng, 2) as i64));
                let axis = self.constant(Tensor::scalar(axis as i64));
                ("CumSum", vec![a, axis])
            }
            24 if !self.whole && rank > 0 => {
                let n = *shape.last().unwrap_or(&1);
                let scale = self.data(&[n]);
                let scale = self.constant(scale);
                set("axis", Attr::Int(-1));
                ("LayerNormalization", vec![a, scale])
            }
            _ => {
                let k = 1 + below(&mut self.rng, 3);
                set("axis", Attr::Int(axis as i64));
                outputs = if self.whole { 2 } else { 1 };
                let k = self.longs(&[k.min(shape.get(axis).copied().unwrap_or(1)) as i64]);
                ("TopK", vec![a, k])
            }
        };
        self.add(op, attrs, inputs, outputs);
    }

    fn add(&mut self, op: &str, attrs: Attrs, inputs: Vec<ValueId>, outputs: usize) {
        let Ok(operator) = Operator::new("", op, attrs, &NodeInfo::full(OPSET, inputs.len(), outputs)) else { return };
        let types = {
            let of = |v: &ValueId| {
                let t = self.types.iter().find(|(id, _)| id == v).map(|(_, t)| t)?;
                Some((t, self.graph.value(*v).constant.as_ref()))
            };
            let Ok(types) = operator.op.infer(&InferCx::new(inputs.iter().map(of).collect())) else { return };
            types
        };
        if types.len() < outputs || types.iter().any(|t| t.numel() > ELEMENTS || (t.numel() == 0 && self.whole)) {
            return;
        }
        let out: Vec<ValueId> = types[..outputs]
            .iter()
            .map(|t| {
                let id = self.graph.add_value(format!("v{}", self.graph.value_count()), None);
                self.types.push((id, t.clone()));
                id
            })
            .collect();
        let name = format!("n{}", self.graph.nodes.len());
        let outputs = out.iter().copied().map(Some).collect();
        self.graph.nodes.push(Node { name, operator, inputs: inputs.into_iter().map(Some).collect(), outputs });
        if self.whole && !self.stays_small(&out) {
            self.graph.nodes.pop();
            self.types.retain(|(id, _)| !out.contains(id));
        }
    }

    /// Whether the last node's values are small whole numbers for some inputs, and with room for others.
    fn stays_small(&self, out: &[ValueId]) -> bool {
        let mut graph = self.graph.clone();
        graph.outputs = out.to_vec();
        let extreme = |v: &ValueId| {
            let t = &self.types.iter().find(|(id, _)| id == v)?.1;
            Tensor::from_f64s(DType::F32, t.shape.clone(), vec![3.0; t.numel()]).ok()
        };
        let Some(inputs) = graph.inputs.iter().map(extreme).collect::<Option<Vec<_>>>() else { return false };
        let Ok(made) = cpu::run(&graph, &inputs) else { return false };
        let small = |t: &Tensor| t.to_f64s().is_ok_and(|v| v.iter().all(|x| x.abs() <= WHOLE));
        made.iter().all(small)
    }
}
