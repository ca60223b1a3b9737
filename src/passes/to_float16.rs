//! Turns the float32 arithmetic of a model into that of float16, for callers who ask for it: products, convolutions and what
//! moves or follows their results. Kernels sum in 32 bits all the same. What loses most by it stays in float32: powers,
//! exponentials, sums, recurrent layers, coordinates, and all that reads nothing else. Inputs and outputs keep their types;
//! casts stand between the two, which others take as prologues and epilogues. What is too large for float16 becomes its
//! largest, not an infinity, so that masks stay masks.

use std::collections::{HashMap, HashSet};

use super::spell::is_op;
use crate::Result;
use crate::dtype::DType;
use crate::ir::{Attr, Attrs, Declared, Graph, Node, Operator, TensorType, ValueId};
use crate::ops::{NodeInfo, fused, spelled};
use crate::tensor::Tensor;

/// The largest finite float16, and the least that is normal.
const MOST: f32 = 65504.0;
const LEAST: f32 = 6.103_515_6e-5;
/// Elements from which a table of constants is worth its conversion.
const TABLE: usize = 1 << 16;
const MICROSOFT: &str = "com.microsoft";

/// What decides whether an operator computes in float16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Always,
    /// Where something it reads is in float16 already.
    Follows,
}

/// The inputs that are of the type it computes in.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// All: they are of one type.
    All,
    /// All that are known to be float32.
    Float32,
    /// Those at these places.
    At(&'static [usize]),
}

/// Operators of a domain, when and with which inputs they compute in float16, and which outputs are then float16 (none named:
/// all).
struct Row {
    domain: &'static str,
    names: &'static str,
    when: When,
    takes: Takes,
    makes: &'static [usize],
}

const fn row(names: &'static str, when: When, takes: Takes) -> Row {
    Row { domain: "", names, when, takes, makes: &[0] }
}

const ROWS: &[Row] = &[
    row("Conv ConvTranspose Einsum Gemm MatMul", When::Always, Takes::All),
    Row { makes: &[0, 1, 2, 3], ..row("Attention", When::Always, Takes::Float32) },
    row(
        "Abs Add Celu Clip Div Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Max Mean Min Mish Mul Neg PRelu Relu Selu Shrink \
         Sigmoid Softplus Softsign Sub Sum Swish Tanh ThresholdedRelu",
        When::Follows,
        Takes::All,
    ),
    // sums of these are made in 32 bits
    row(
        "GroupNormalization InstanceNormalization LRN LayerNormalization LogSoftmax RMSNormalization \
         SimplifiedLayerNormalization Softmax SwiGLU",
        When::Follows,
        Takes::All,
    ),
    row("RotaryEmbedding", When::Follows, Takes::Float32),
    row(
        "AveragePool DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND GlobalAveragePool GlobalMaxPool \
         Identity MaxPool ReduceMax ReduceMean ReduceMin Reshape Resize Slice SpaceToDepth Squeeze Tile Transpose Trilu \
         Unsqueeze Upsample",
        When::Follows,
        Takes::At(&[0]),
    ),
    Row { makes: &[], ..row("Split", When::Follows, Takes::At(&[0])) },
    row("Concat", When::Follows, Takes::All),
    row("Pad ScatterElements ScatterND", When::Follows, Takes::At(&[0, 2])),
    row("TensorScatter", When::Follows, Takes::At(&[0, 1])),
    row("Where", When::Follows, Takes::At(&[1, 2])),
    Row {
        domain: MICROSOFT,
        ..row("FusedConv FusedGemm FusedMatMul MatMulNBits TransposeMatMul", When::Always, Takes::Float32)
    },
    Row {
        domain: MICROSOFT,
        makes: &[0, 1, 2, 3],
        ..row("GroupQueryAttention MultiHeadAttention", When::Always, Takes::Float32)
    },
    Row { domain: MICROSOFT, ..row("BiasGelu FastGelu Gelu QuickGelu RotaryEmbedding", When::Follows, Takes::Float32) },
    Row {
        domain: MICROSOFT,
        makes: &[0, 3],
        ..row("SkipLayerNormalization SkipSimplifiedLayerNormalization", When::Follows, Takes::All)
    },
    Row { domain: fused::DOMAIN, ..row("Spelled Turned", When::Follows, Takes::All) },
];

/// The row of an operator, if it has one.
fn row_of(o: &Operator) -> Option<&'static Row> {
    ROWS.iter().find(|r| r.domain == o.domain && r.names.split_whitespace().any(|n| n == o.op_type))
}

/// Runs the pass.
///
/// # Errors
/// None; as all casts can be made.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut to = Conversion { types: types(graph), ..Conversion::default() };
    let nodes = std::mem::take(&mut graph.nodes);
    let mut changed = false;
    for node in nodes {
        match to.converted(graph, &node) {
            Ok((inputs, outputs, operator)) => {
                changed = true;
                to.convert(graph, node, &inputs, &outputs, operator)?;
            }
            Err(why) => {
                log::debug!("to-float16: {} stays: {why}", node.path());
                to.keep(graph, node)?;
            }
        }
    }
    for v in graph.outputs.clone() {
        to.restore(graph, v)?;
    }
    graph.nodes = to.nodes;
    Ok(changed)
}

/// Element types, as scalars, of what is declared or constant.
fn types(graph: &Graph) -> HashMap<ValueId, TensorType> {
    let of = |(id, v): (ValueId, &crate::ir::Value)| {
        let declared = || v.declared.as_ref().and_then(Declared::dtype);
        Some((id, TensorType::new(v.constant.as_ref().map(Tensor::dtype).or_else(declared)?, [])))
    };
    graph.values().filter_map(of).collect()
}

#[derive(Default)]
struct Conversion {
    /// The types of values, as far as they are known, as scalars.
    types: HashMap<ValueId, TensorType>,
    /// The float16 forms of float32 values.
    halves: HashMap<ValueId, ValueId>,
    /// Float32 values that nothing makes any more but their float16 form.
    lost: HashSet<ValueId>,
    /// The nodes so far.
    nodes: Vec<Node>,
    /// The constants -65504 and 65504.
    bounds: Option<[ValueId; 2]>,
}

impl Conversion {
    fn is_float32(&self, v: ValueId) -> bool {
        self.halves.contains_key(&v) || self.types.get(&v).is_some_and(|t| t.dtype == DType::F32)
    }

    /// The places of the inputs and outputs of a node that become float16, and its operator, or why it stays.
    fn converted(&self, graph: &Graph, node: &Node) -> Result<(Vec<usize>, Vec<usize>, Operator), &'static str> {
        let o = &node.operator;
        let row = row_of(o).ok_or("it computes in float32")?;
        let at = |i: usize| node.inputs.get(i).copied().flatten();
        let places: Vec<usize> = match row.takes {
            Takes::All => (0..node.inputs.len()).filter(|i| at(*i).is_some()).collect(),
            Takes::Float32 => (0..node.inputs.len()).filter(|i| at(*i).is_some_and(|v| self.is_float32(v))).collect(),
            Takes::At(all) => all.iter().copied().filter(|i| at(*i).is_some()).collect(),
        };
        let values: Vec<ValueId> = places.iter().filter_map(|i| at(*i)).collect();
        let another =
            |v: &ValueId| !self.halves.contains_key(v) && self.types.get(v).is_some_and(|t| t.dtype != DType::F32);
        if !values.iter().any(|v| self.is_float32(*v)) || values.iter().any(another) {
            return Err("its type is another, or not known");
        }
        let constant = |v: &ValueId| graph.value(*v).constant.as_ref();
        if row.when == When::Follows {
            let table = |v: &ValueId| is_op(node, "Gather") && constant(v).is_some_and(|t| t.len() >= TABLE);
            if !values.iter().any(|v| self.halves.contains_key(v) && constant(v).is_none() || table(v)) {
                return Err("what it reads is float32");
            }
            let tiny = |t: &Tensor| {
                let number = t.len() == 1 && t.dtype() == DType::F32;
                number && t.to_f32s().is_ok_and(|n| n.iter().any(|n| *n != 0.0 && n.abs() < LEAST))
            };
            if values.iter().filter_map(constant).any(tiny) {
                return Err("a number is too small");
            }
            if is_op(node, "Mul") && values.len() == 2 && values[0] == values[1] {
                return Err("squares may be too large");
            }
        }
        let used = |o: &usize| node.outputs.get(*o).is_some_and(Option::is_some);
        let outputs = match row.makes {
            [] => (0..node.outputs.len()).filter(used).collect(),
            some => some.iter().copied().filter(used).collect(),
        };
        let operator = match o.op_type == spelled::NAME && o.domain == fused::DOMAIN {
            true => spelled_in_float16(o).ok_or("it casts inside")?,
            false => o.clone(),
        };
        Ok((places, outputs, operator))
    }

    /// Adds a node with these inputs and outputs in float16.
    fn convert(
        &mut self,
        graph: &mut Graph,
        mut node: Node,
        inputs: &[usize],
        outputs: &[usize],
        operator: Operator,
    ) -> Result<()> {
        node.operator = operator;
        for (i, v) in node.inputs.iter_mut().enumerate() {
            let Some(v) = v else { continue };
            if inputs.contains(&i) {
                *v = self.half(graph, *v)?;
            } else {
                self.restore(graph, *v)?;
            }
        }
        for (i, v) in node.outputs.iter_mut().enumerate() {
            let Some(v) = v else { continue };
            if outputs.contains(&i) {
                self.lost.insert(*v);
                *v = self.add_half(graph, *v, None);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Adds a node as it is.
    fn keep(&mut self, graph: &mut Graph, node: Node) -> Result<()> {
        for v in node.used_inputs() {
            self.restore(graph, v)?;
        }
        let made = match node.operator.op.elementwise() {
            Some(_) => fused::infer_member(&node, &self.types).ok(),
            None => self.made(&node).map(|dtype| vec![TensorType::new(dtype, [])]),
        };
        for (v, t) in node.outputs.iter().zip(made.unwrap_or_default()) {
            v.map(|v| self.types.entry(v).or_insert(t));
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The type of the first output of operators that are not elementwise, where it is plain.
    fn made(&self, node: &Node) -> Option<DType> {
        let of = |i: usize| Some(self.types.get(&node.inputs.get(i).copied().flatten()?)?.dtype);
        let o = &node.operator;
        match (row_of(o).map(|r| r.takes), o.domain.as_str(), o.op_type.as_str()) {
            (Some(Takes::All | Takes::Float32), ..) => (0..node.inputs.len()).filter_map(of).find(|d| d.is_float()),
            (Some(Takes::At(all)), ..) => all.iter().copied().find_map(of),
            (None, "", "DequantizeLinear") => of(1),
            (None, "", "ConstantOfShape") => match o.attrs.get("value") {
                Some(Attr::Tensor(t)) => Some(t.dtype()),
                _ => Some(DType::F32),
            },
            (None, "", "BatchNormalization" | "GRU" | "LSTM" | "RNN" | "CumSum" | "Range" | "GridSample") => of(0),
            (None, "", name) if name.starts_with("Reduce") || name.starts_with("Global") => of(0),
            _ => None,
        }
    }

    fn add_half(&mut self, graph: &mut Graph, v: ValueId, constant: Option<Tensor>) -> ValueId {
        let name = format!("{}/float16", graph.value(v).name);
        let half = match constant {
            Some(t) => graph.add_constant(name, t),
            None => graph.add_value(name, None),
        };
        self.halves.insert(v, half);
        self.types.insert(half, TensorType::new(DType::F16, []));
        half
    }

    /// The float16 form of a float32 value.
    fn half(&mut self, graph: &mut Graph, v: ValueId) -> Result<ValueId> {
        if let Some(half) = self.halves.get(&v) {
            return Ok(*half);
        }
        if let Some(t) = graph.value(v).constant.clone() {
            let t = half_of(t)?;
            return Ok(self.add_half(graph, v, Some(t)));
        }
        let [low, high] = *self.bounds.get_or_insert_with(|| {
            [("least", -MOST), ("most", MOST)]
                .map(|(name, n)| graph.add_constant(format!("{name}/float16"), Tensor::scalar(n)))
        });
        let name = graph.value(v).name.clone();
        let bounded = graph.add_value(format!("{name}/bounded"), None);
        self.push(&format!("{name}/bounded"), "Clip", Attrs::new(), &[v, low, high], bounded)?;
        let half = self.add_half(graph, v, None);
        self.cast(&name, bounded, half, DType::F16)?;
        Ok(half)
    }

    /// Makes a float32 value of its float16 form, if that is all there is.
    fn restore(&mut self, graph: &Graph, v: ValueId) -> Result<()> {
        let Some(half) = self.halves.get(&v).copied().filter(|_| self.lost.remove(&v)) else { return Ok(()) };
        self.types.insert(v, TensorType::new(DType::F32, []));
        self.cast(&graph.value(v).name.clone(), half, v, DType::F32)
    }

    fn cast(&mut self, name: &str, from: ValueId, to: ValueId, dtype: DType) -> Result<()> {
        let attrs = Attrs::from([("to".to_string(), Attr::Int(dtype as i64))]);
        self.push(&format!("{name}/{dtype}"), "Cast", attrs, &[from], to)
    }

    fn push(&mut self, name: &str, op: &str, attrs: Attrs, inputs: &[ValueId], output: ValueId) -> Result<()> {
        let operator = Operator::new("", op, attrs, &NodeInfo::full(13, inputs.len(), 1))?;
        let inputs = inputs.iter().copied().map(Some).collect();
        self.nodes.push(Node { name: name.into(), operator, inputs, outputs: vec![Some(output)] });
        Ok(())
    }
}

/// A float32 constant in float16; what is finite stays so.
fn half_of(t: Tensor) -> Result<Tensor> {
    if t.dtype() != DType::F32 {
        return Ok(t);
    }
    let shape = t.shape().to_vec();
    let make = move || {
        let passing = t.passing()?;
        let bounded = |v: &f32| if v.is_finite() { v.clamp(-MOST, MOST) } else { *v };
        let values: Vec<half::f16> =
            passing.to_slice::<f32>()?.iter().map(|v| half::f16::from_f32(bounded(v))).collect();
        t.release();
        Ok(bytemuck::cast_slice(&values).to_vec())
    };
    Tensor::deferred(DType::F16, &shape, make)
}

/// An operator that is written out, with its numbers in float16; `None` where it fixes types.
fn spelled_in_float16(o: &Operator) -> Option<Operator> {
    let graph = |name: &str| {
        let Some(Attr::Graph(body)) = o.attrs.get(name) else { return None };
        let mut body = Graph::clone(body);
        let fixed = |n: &Node| matches!(n.operator.op_type.as_str(), "Cast" | "CastLike" | "ConstantOfShape");
        if body.nodes.iter().any(fixed) {
            return None;
        }
        for id in body.values().map(|(id, _)| id).collect::<Vec<_>>() {
            let value = body.value_mut(id);
            value.declared = None;
            value.constant = value.constant.take().map(half_of).transpose().ok()?;
        }
        Some(body)
    };
    spelled::operator(graph("body")?, graph("means")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{parse, verify};
    use crate::passes::{fold_constants, fuse_norms};
    use crate::{Rng, cpu};

    /// The operators after the pass over a graph of `%x: float[4, 8]`, whose results must stay near what they were; `*` marks
    /// those that make float16.
    fn after(text: &str, x: &Tensor, constants: &[(&str, &[usize])]) -> String {
        let mut graph = parse(text).unwrap();
        let mut rng = Rng::new(3);
        for (name, shape) in constants {
            let v = graph.find(name).unwrap();
            graph.inputs.retain(|i| *i != v);
            graph.value_mut(v).constant = Some(rng.tensor(DType::F32, shape, -0.5, 0.5).unwrap());
        }
        let inputs = [x.clone()];
        let want = cpu::run(&graph, &inputs).unwrap();
        fold_constants::run(&mut graph).unwrap();
        fuse_norms::run(&mut graph).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        for (g, w) in got.iter().zip(&want) {
            assert_eq!((g.dtype(), g.shape()), (w.dtype(), w.shape()));
            let most = w.to_f64s().unwrap().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (a, b) in g.to_f64s().unwrap().iter().zip(w.to_f64s().unwrap()) {
                assert!((a - b).abs() <= 4e-3 * most, "{a} for {b}");
            }
        }
        let half = |n: &Node| graph.value(n.outputs[0].unwrap()).name.ends_with("/float16");
        let name = |n: &Node| format!("{}{}", n.operator.op_type, if half(n) { "*" } else { "" });
        graph.nodes.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    fn x() -> Tensor {
        Rng::new(9).tensor(DType::F32, &[4, 8], -2.0, 2.0).unwrap()
    }

    const W: (&str, &[usize]) = ("w", &[8, 8]);

    #[test]
    fn what_follows_a_product_is_in_float16_and_casts_stand_at_the_ends() {
        let text = "graph g(%x: float[4, 8], %w, %b) -> (%y, %s) {
            %m = MatMul@13(%x, %w)
            %a = Add@14(%m, %b)
            %r = Relu@14(%a)
            %n = MatMul@13(%r, %w)
            %y = Add@14(%n, %m)
            %s = Shape@15(%n)
        }";
        let made = after(text, &x(), &[W, ("b", &[8])]);
        assert_eq!(made, "Clip Cast* MatMul* Add* Relu* MatMul* Add* Cast Shape Cast");
    }

    #[test]
    fn what_float16_would_spoil_stays() {
        // a norm that is not recognised as one: its squares, its small number and its root
        let text = "graph g(%x: float[4, 8], %w) -> (%y) {
            %e = float[] {1e-6}
            %m = MatMul@13(%x, %w)
            %q = Mul@14(%m, %m)
            %s = ReduceMax@13(%q) {axes = [1], keepdims = 1}
            %t = Add@14(%s, %e)
            %u = Sqrt@13(%t)
            %y = Div@14(%m, %u)
        }";
        let made = after(text, &x(), &[W]);
        assert_eq!(made, "Clip Cast* MatMul* Cast Mul ReduceMax Add Sqrt Clip Cast* Div* Cast");
        let alone = "graph g(%x: float[4, 8]) -> (%y) {
            %a = Exp@13(%x)
            %y = Neg@13(%a)
        }";
        assert_eq!(after(alone, &x(), &[]), "Exp Neg");
    }

    #[test]
    fn a_norm_that_is_written_out_follows_as_one() {
        let text = "graph g(%x: float[4, 8], %w, %k, %b) -> (%y) {
            %e = float[] {1e-6}
            %two = float[] {2.0}
            %x0 = MatMul@13(%x, %w)
            %m = ReduceMean@13(%x0) {axes = [-1]}
            %d = Sub@14(%x0, %m)
            %q = Pow@13(%d, %two)
            %v = ReduceMean@13(%q) {axes = [-1]}
            %t = Add@14(%v, %e)
            %u = Sqrt@13(%t)
            %n = Div@14(%d, %u)
            %p = Mul@14(%n, %k)
            %y = Add@14(%p, %b)
        }";
        let made = after(text, &x(), &[W, ("k", &[8]), ("b", &[8])]);
        assert_eq!(made, "Clip Cast* MatMul* Spelled* Cast");
    }

    #[test]
    fn masks_and_large_values_stay_finite() {
        let text = "graph g(%x: float[4, 8], %w, %mask: bool[8]) -> (%y) {
            %low = float[] {-3.4e38}
            %m = MatMul@13(%x, %w)
            %s = Where@16(%mask, %m, %low)
            %y = Softmax@13(%s) {axis = 1}
        }";
        let mut graph = parse(text).unwrap();
        let w = graph.find("w").unwrap();
        graph.inputs.retain(|i| *i != w);
        graph.value_mut(w).constant = Some(Tensor::new([8, 8], vec![1e30f32; 64]).unwrap());
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let mask = Tensor::new([8], vec![false; 8]).unwrap();
        let out = cpu::run(&graph, &[x(), mask]).unwrap();
        assert!(out[0].to_f64s().unwrap().iter().all(|v| *v == 0.125), "{out:?}");
    }

    #[test]
    fn other_types_and_coordinates_stay() {
        let text = "graph g(%x: float[4, 8], %i: int64[4], %w, %sizes: float[2]) -> (%y, %z) {
            %m = MatMul@13(%x, %w)
            %g = Gather@13(%m, %i)
            %y = Resize@13(%g, _, %sizes) {mode = \"nearest\"}
            %z = Add@14(%i, %i)
        }";
        let mut graph = parse(text).unwrap();
        let w = graph.find("w").unwrap();
        graph.inputs.retain(|i| *i != w);
        graph.value_mut(w).constant = Some(Rng::new(1).tensor(DType::F32, &[8, 8], -1.0, 1.0).unwrap());
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let i = Tensor::new([4], vec![3i64, 2, 1, 0]).unwrap();
        let out = cpu::run(&graph, &[x(), i, Tensor::new([2], vec![2.0f32, 1.0]).unwrap()]).unwrap();
        assert_eq!((out[0].dtype(), out[0].shape()), (DType::F32, &[8, 8][..]));
        assert_eq!(out[1].dtype(), DType::I64);
    }
}
