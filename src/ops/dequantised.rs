//! Products with weights that are stored in few bits: what the dequantise pass makes of DequantizeLinear of constants and
//! the MatMul or Gemm that reads it. The members stand in a body graph, which the reference interprets. The device
//! multiplies the weights as they are stored; where it cannot, it runs the members one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use super::einsum::fitted;
use super::epilogue::{infer_body, lower_body};
use super::fused;
use super::matmul::{Geometry, product_tolerance};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::cpu;
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, Attrs, Graph, Node, Operator, TensorType};
use crate::kernels::epilogue::Ends;
use crate::kernels::matmul::{Product, Right, product};
use crate::kernels::matmul_bits::{self, Parts, Weights, Zeros};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The name of the operator.
pub const NAME: &str = "DequantizeLinear+MatMul";
/// The left factor; the weights, their scales and zero points; what is added.
pub const INPUTS: usize = 5;
const A: usize = 0;
const W: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const BIAS: usize = 4;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: fused::DOMAIN, name: NAME, versions: &[1], parse, cases }];

/// How weights of a matrix lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    /// Whether they are `[n, k]` and not `[k, n]`.
    pub transposed: bool,
    /// DequantizeLinear's attribute, of these two dims.
    pub axis: i64,
    /// DequantizeLinear's attribute.
    pub block_size: i64,
}

impl Stored {
    /// What the kernels call them, given the types of weights, scales and zero points; `zero` is the zero point where
    /// there is one for all.
    ///
    /// # Errors
    /// `Unsupported` when they are not of these.
    pub fn weights(
        &self,
        [w, s]: [&TensorType; 2],
        zeros: Option<&TensorType>,
        zero: Option<&Tensor>,
    ) -> Result<Weights> {
        let &[rows, columns] = &w.shape[..] else { bail!(Unsupported, "weights of {w}") };
        let (k, n) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let (bits, offset) = bits(w.dtype).ok_or_else(|| err!(Unsupported, "weights of {w}"))?;
        let summed = usize::from(self.transposed);
        let axis = crate::shape::axis(self.axis, 2)?;
        let per_tensor = self.block_size == 0 && s.numel() == 1 && s.rank() <= 1;
        let block = match self.block_size {
            0 if per_tensor => k,
            0 if axis != summed && s.shape == [n] => k,
            b if axis == summed => usize::try_from(b).unwrap_or(0),
            _ => 0,
        };
        ensure!(block > 0, Unsupported, "scales of {s} along axis {axis} of {w}");
        let mut blocked = w.shape.clone();
        blocked[summed] = k.div_ceil(block);
        ensure!(block == k || s.shape == blocked, Unsupported, "scales of {s} for {w}");
        let fits = zeros.is_none_or(|z| z.shape == s.shape && z.dtype == w.dtype);
        ensure!(fits, Unsupported, "zero points that do not fit scales of {s}");
        let zeros = match (zeros, zero.filter(|t| t.len() == 1)) {
            (None, _) => Zeros::Same(offset),
            (_, Some(t)) => Zeros::Same(t.bytes()[0].wrapping_add(offset) & mask(bits)),
            _ => Zeros::Whole,
        };
        let weights = Weights { k, n, bits, block, scales: s.dtype, zeros };
        ensure!(weights.fits() && matches!(s.dtype, F32 | F16 | BF16), Unsupported, "{weights:?}");
        Ok(weights)
    }

    /// What the weights consist of.
    fn parts(&self, w: &Weights, source: &Tensor, others: &[Tensor]) -> Result<Parts> {
        let (bits, offset) = bits(source.dtype()).ok_or_else(|| err!(Internal, "weights of {}", source.dtype()))?;
        let [scales, zeros @ ..] = others else { bail!(Internal, "weights without scales") };
        let unsigned = |b: u8| b.wrapping_add(offset) & mask(bits);
        let bytes = source.bytes();
        let q = match self.transposed {
            true => bytes.iter().map(|b| unsigned(*b)).collect(),
            false => (0..w.n * w.k).map(|i| unsigned(bytes[i % w.k * w.n + i / w.k])).collect(),
        };
        // a block's place among the scales of column c
        let blocks = w.blocks();
        let place = |i: usize| match (scales.len() == 1, self.transposed) {
            (true, _) => 0,
            (_, true) => i,
            _ => i % blocks * w.n + i / blocks,
        };
        let spread = |all: Vec<f32>| (0..w.n * blocks).map(|i| all[place(i)]).collect::<Vec<f32>>();
        let zeros = match zeros {
            [z] if w.zeros == Zeros::Whole => Some(spread(z.bytes().iter().map(|b| unsigned(*b).into()).collect())),
            _ => None,
        };
        Ok(Parts { q, scales: spread(scales.to_f32s()?), zeros })
    }
}

/// The bits of an element, and what makes it positive.
fn bits(d: DType) -> Option<(usize, u8)> {
    Some(match d {
        U8 => (8, 0),
        I8 => (8, 128),
        U4 => (4, 0),
        I4 => (4, 8),
        U2 => (2, 0),
        I2 => (2, 2),
        _ => return None,
    })
}

fn mask(bits: usize) -> u8 {
    u8::MAX >> (8 - bits)
}

#[derive(Debug)]
struct Dequantised {
    body: Arc<Graph>,
    stored: Stored,
    /// Which inputs of the node the body's inputs are.
    inputs: Vec<usize>,
}

/// The operator whose members are the nodes of `body`, with weights that are stored in this way; `inputs` tells which of
/// its inputs are present.
///
/// # Errors
/// `InvalidNode` when there are others.
pub fn operator(body: Graph, stored: Stored, inputs: Vec<bool>) -> Result<Operator> {
    let attrs = Attrs::from([
        ("axis".into(), Attr::Int(stored.axis)),
        ("block_size".into(), Attr::Int(stored.block_size)),
        ("body".into(), Attr::Graph(Arc::new(body))),
        ("transposed".into(), Attr::Int(stored.transposed.into())),
    ]);
    Operator::new(fused::DOMAIN, NAME, attrs, &NodeInfo { inputs, ..NodeInfo::full(1, 0, 1) })
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = a.graph("body")?.ok_or_else(|| err!(InvalidNode, "attribute body is missing"))?;
    let inputs: Vec<usize> = (0..n.inputs.len()).filter(|i| n.inputs[*i]).collect();
    let whole = body.captures == 0 && body.outputs.len() == 1 && body.inputs.len() == inputs.len();
    ensure!(whole && n.inputs.len() <= INPUTS, InvalidNode, "the body's inputs are not the node's");
    let stored = Stored {
        transposed: a.int_or("transposed", 0)? != 0,
        axis: a.int_or("axis", 1)?,
        block_size: a.int_or("block_size", 0)?,
    };
    Ok(Arc::new(Dequantised { body, stored, inputs }))
}

impl Dequantised {
    /// The product of weights as they are stored.
    fn product(&self, cx: &mut LowerCx<'_>) -> Result<Product> {
        let (w, s) = (cx.input_type(W)?, cx.input_type(SCALES)?);
        let zeros = cx.has_input(ZEROS).then(|| cx.input_type(ZEROS)).transpose()?;
        let stored = self.stored;
        let weights = stored.weights([&w, &s], zeros.as_ref(), cx.value(ZEROS))?;
        let others: Vec<usize> = [SCALES, ZEROS].into_iter().filter(|i| cx.has_input(*i)).collect();
        let tag = format!("{stored:?}");
        let parts = move |w: &Tensor, others: &[Tensor]| stored.parts(&weights, w, others);
        let b = matmul_bits::right(cx, W, &others, weights, &tag, parts)?;
        product_of(cx, A, b, [weights.k, weights.n], BIAS)
    }
}

/// The product of input `a` and `b`, a matrix of these extents, with input `bias` added, where there is one.
pub(super) fn product_of(
    cx: &mut LowerCx<'_>,
    a: usize,
    b: Right,
    extents: [usize; 2],
    bias: usize,
) -> Result<Product> {
    let a = cx.input(a)?;
    let g = Geometry::new(&a.shape, &extents)?;
    let whole = [&g.batch[..], &[g.m, g.n]].concat();
    let out = cx.output(0)?;
    let out = fitted(cx, &out, &whole)?;
    let a = fitted(cx, &a, &[&g.batch[..], &[g.m, g.k]].concat())?;
    let bias = cx.try_input(bias)?.map(|v| v.broadcast(&whole));
    Ok(Product { bias, ..Product::new(a, b.broadcast(&g.batch), out) })
}

/// As [`Op::lower_between`], of a product whose result is `p.out`.
pub(super) fn product_between(cx: &mut LowerCx<'_>, ends: Ends<'_>, p: Product) -> Result<()> {
    let end = ends.only_end()?;
    let shape = cx.output_type(0)?.shape;
    let reads = end.reads.iter().map(|v| fitted(cx, &v.broadcast(&shape), &p.out.shape)).collect::<Result<_>>()?;
    product(cx, &Product { end: Some(Arc::new(end.clone())), reads, ..p })
}

impl Op for Dequantised {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        infer_body(cx, &self.body, &self.inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&self.body, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let whole = |cx: &mut LowerCx<'_>| {
            let p = self.product(cx)?;
            product(cx, &p)
        };
        if cx.attempt(whole)? {
            return Ok(());
        }
        lower_body(cx, &self.body, &self.inputs)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        let p = self.product(cx)?;
        product_between(cx, ends, p)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }
}

/// The members of a body by its inputs that are present: DequantizeLinear, then MatMul or (transposed, or with something
/// added) Gemm.
pub(super) fn body(stored: Stored, present: [bool; INPUTS]) -> Result<Graph> {
    let mut body = Graph::new("body");
    let mut inner = HashMap::new();
    for i in (0..INPUTS).filter(|i| present[*i]) {
        let v = body.add_value(format!("x{i}"), None);
        body.inputs.push(v);
        inner.insert(i, v);
    }
    let of = |i: usize| inner.get(&i).copied();
    let (w, y) = (body.add_value("w", None), body.add_value("y", None));
    let attrs = [("axis", stored.axis), ("block_size", stored.block_size)];
    let attrs = attrs.into_iter().map(|(k, v)| (k.to_string(), Attr::Int(v))).collect();
    let inputs = vec![of(W), of(SCALES), of(ZEROS)];
    let info = NodeInfo { inputs: inputs.iter().map(Option::is_some).collect(), ..NodeInfo::full(25, 0, 1) };
    let operator = Operator::new("", "DequantizeLinear", attrs, &info)?;
    body.nodes.push(Node { name: "weights".into(), operator, inputs, outputs: vec![Some(w)] });
    let (name, attrs, inputs) = match stored.transposed || present[BIAS] {
        true => {
            let attrs = Attrs::from([("transB".into(), Attr::Int(stored.transposed.into()))]);
            ("Gemm", attrs, vec![of(A), Some(w), of(BIAS)])
        }
        false => ("MatMul", Attrs::new(), vec![of(A), Some(w)]),
    };
    let info = NodeInfo { inputs: inputs.iter().map(Option::is_some).collect(), ..NodeInfo::full(13, 0, 1) };
    let operator = Operator::new("", name, attrs, &info)?;
    body.nodes.push(Node { name: "product".into(), operator, inputs, outputs: vec![Some(y)] });
    body.outputs.push(y);
    Ok(body)
}

fn cases() -> Vec<Case> {
    let mut all = vec![];
    for (i, d) in [U8, I8, U4, I4, U2, I2].into_iter().enumerate() {
        let shapes: [(&[usize], usize, usize, usize); 4] =
            [(&[1], 64, 40, 32), (&[3], 96, 36, 16), (&[2, 3], 50, 33, 48), (&[21], 70, 9, 32)];
        for (rows, k, n, block) in shapes {
            for form in 0..4 {
                let float = [F32, F16, BF16][(i + form) % 3];
                let matrix = rows.len() == 1;
                let transposed = form % 2 == 1 && matrix;
                let w = if transposed { [n, k] } else { [k, n] };
                let summed = usize::from(transposed);
                // one scale for all, one a column, one a block
                let (s, axis, block) = match form {
                    0 => (vec![], 1, 0),
                    1 | 2 => (vec![n], 1 - summed as i64, 0),
                    _ => {
                        let mut s = w.to_vec();
                        s[summed] = k.div_ceil(block);
                        (s, summed as i64, block as i64)
                    }
                };
                let stored = Stored { transposed, axis, block_size: block };
                let (zeros, bias) = ((i + form) % 2 == 0, form != 0 && matrix);
                let (low, high) = d.int_range().map_or((0.0, 1.0), |(a, b)| (a as f64, b as f64));
                let fill = |s: &[usize], by: usize| {
                    let span = (high - low + 1.0) as usize;
                    let values = (0..crate::shape::numel(s)).map(|i| low + ((i * 37 + by) % span) as f64).collect();
                    Tensor::from_f64s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
                };
                let present = [true, true, true, zeros, bias];
                let body = Attr::Graph(Arc::new(body(stored, present).unwrap_or_default()));
                let case = Case::new(NAME, 1).domain(fused::DOMAIN).sum(k).attr("body", body);
                let case = case.int("axis", axis).int("block_size", block).int("transposed", transposed.into());
                let case = case.rand(float, &[rows, &[k]].concat()).constant(fill(&w, 5));
                let case = case.constant(super::epilogue::ramp(float, &s));
                let case = if zeros { case.constant(fill(&s, 2)) } else { case.absent() };
                all.push(if bias { case.rand(float, &[n]) } else { case });
            }
        }
    }
    all
}

/// Cases of such products with an epilogue.
pub(super) fn ended_cases() -> Vec<Case> {
    let mut all = vec![];
    for (m, k, n) in [(1, 64, 40), (6, 96, 36), (20, 40, 33)] {
        for (i, d) in [F32, F16].into_iter().enumerate() {
            // a scale a column, or one for all
            let stored = Stored { transposed: i == 0, axis: 0, block_size: 0 };
            let present = [true, true, true, false, i == 0];
            let attrs = [
                ("axis", Attr::Int(stored.axis)),
                ("transposed", Attr::Int(stored.transposed.into())),
                ("body", Attr::Graph(Arc::new(body(stored, present).unwrap_or_default()))),
            ];
            let name = "DequantizeLinear+MatMul+Elementwise";
            let case = super::epilogue::case(name, &attrs, &present, 1, super::epilogue::RESIDUAL).sum(k);
            let w: Vec<i8> = (0..k * n).map(|i| (i * 37 % 251) as u8 as i8).collect();
            let w = Tensor::new(if stored.transposed { [n, k] } else { [k, n] }, w);
            let case = case.rand(d, &[m, k]).constant(w.unwrap_or_else(|_| Tensor::zeros(I8, [k, n])));
            let s = if stored.transposed { vec![n] } else { vec![] };
            let case = case.constant(super::epilogue::ramp(d, &s)).absent();
            let case = if present[BIAS] { case.rand(d, &[n]) } else { case.absent() };
            all.push(case.rand(d, &[m, n]));
        }
    }
    all
}
