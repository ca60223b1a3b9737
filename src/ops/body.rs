//! Operators that are said in terms of ai.onnx operators: with the inputs' concrete types given, each writes a body,
//! which the reference interprets and the device runs in the node's place, after the graph passes.

use std::collections::HashMap;
use std::fmt;

use super::{Defer, InferCx, Inferred, NodeInfo, Op, Tolerance};
use crate::dtype::DType;
use crate::ir::{Attr, Graph, Node, Operator, TensorType, ValueId};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, cpu, ensure, err, passes, shape};

/// The ai.onnx opset of the members.
const OPSET: i64 = 25;
/// The longest count that a body holds: it is written before anybody asks for the bounds of results.
const MOST_NUMBERS: usize = 1 << 24;

/// What an operator is in terms of others.
pub(super) trait Function: fmt::Debug + Send + Sync {
    /// Writes the members and gives all outputs, in order.
    ///
    /// # Errors
    /// As [`Op::infer`].
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer>;

    /// As [`Op::tolerance`].
    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance;
}

/// The operator that a function defines.
#[derive(Debug)]
pub(super) struct Defined<F>(pub F);

/// A body being written.
pub(super) struct Body<'a> {
    cx: &'a InferCx<'a>,
    graph: Graph,
    types: HashMap<ValueId, TensorType>,
    inputs: Vec<Option<ValueId>>,
}

impl<'a> Body<'a> {
    /// An empty one. Inputs whose data is known become constants if `known` says so, and parameters otherwise.
    fn new(cx: &'a InferCx<'a>, known: bool) -> Body<'a> {
        let mut b = Body { cx, graph: Graph::new("body"), types: HashMap::new(), inputs: vec![] };
        for i in 0..cx.len() {
            let input = cx.try_input(i).map(|t| {
                let data = cx.try_value(i).filter(|_| known).cloned();
                let v = match data {
                    Some(data) => b.graph.add_constant(format!("in{i}"), data),
                    None => {
                        let v = b.graph.add_value(format!("in{i}"), None);
                        b.graph.inputs.push(v);
                        v
                    }
                };
                b.types.insert(v, t.clone());
                v
            });
            b.inputs.push(input);
        }
        b
    }

    /// The inputs' types and data.
    pub fn cx(&self) -> &'a InferCx<'a> {
        self.cx
    }

    /// Input `i`, if it is present.
    pub fn opt(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Input `i`.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out.
    pub fn need(&self, i: usize) -> Result<ValueId> {
        self.opt(i).ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
    }

    /// The shape of a value.
    pub fn shape(&self, v: ValueId) -> Vec<usize> {
        self.types.get(&v).map(|t| t.shape.clone()).unwrap_or_default()
    }

    /// The element type of a value.
    ///
    /// # Errors
    /// `Internal` when it is not of this body.
    pub fn dtype(&self, v: ValueId) -> Result<DType> {
        self.types.get(&v).map(|t| t.dtype).ok_or_else(|| err!(Internal, "a value that was never made"))
    }

    /// A constant.
    pub fn constant(&mut self, t: Tensor) -> ValueId {
        let ty = TensorType::new(t.dtype(), t.shape());
        let v = self.graph.add_constant(format!("c{}", self.graph.value_count()), t);
        self.types.insert(v, ty);
        v
    }

    /// A constant of rank 0.
    ///
    /// # Errors
    /// `Unsupported` when `d` is no float type.
    pub fn float(&mut self, d: DType, value: f64) -> Result<ValueId> {
        Ok(self.constant(Tensor::from_f64s(d, [], vec![value])?))
    }

    /// The numbers from 0 on, as int32 under a shape.
    ///
    /// # Errors
    /// `Limit` when they are too many.
    pub fn iota(&mut self, shape: &[usize]) -> Result<ValueId> {
        let n = shape::checked_numel(shape)?;
        ensure!(n <= MOST_NUMBERS, Limit, "a count to {n}, {MOST_NUMBERS} at most");
        Ok(self.constant(Tensor::new(shape, (0..n as i32).collect())?))
    }

    /// An int32 of rank 0.
    pub fn int(&mut self, value: usize) -> ValueId {
        self.constant(Tensor::scalar(i32::try_from(value).unwrap_or(i32::MAX)))
    }

    /// The outputs of a member.
    ///
    /// # Errors
    /// Those of its parser and of its inference.
    pub fn ops(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attrs: &[(&str, Attr)],
        outputs: usize,
    ) -> Result<Vec<ValueId>> {
        let attrs = attrs.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
        let present = inputs.iter().map(Option::is_some).collect();
        let operator =
            Operator::new("", op, attrs, &NodeInfo { inputs: present, ..NodeInfo::full(OPSET, 0, outputs) })?;
        self.node(&operator, inputs, outputs)
    }

    /// The outputs of a member that is parsed already.
    ///
    /// # Errors
    /// Those of its inference; `Limit` when an output has too many elements.
    pub fn node(&mut self, operator: &Operator, inputs: &[Option<ValueId>], outputs: usize) -> Result<Vec<ValueId>> {
        let op = operator.op_type.as_str();
        let of = |v: &Option<ValueId>| {
            v.and_then(|v| Some((self.types.get(&v)?, self.graph.value(v).constant.as_ref()))) // absent: None
        };
        let types = match operator.op.infer(&InferCx::new(inputs.iter().map(of).collect())) {
            Ok(types) => types,
            Err(Defer::Error(e)) => return Err(e),
            Err(_) => return Err(err!(Unsupported, "{op}, whose shape depends on data")),
        };
        ensure!(types.len() >= outputs, InvalidNode, "{op} has {} outputs, {outputs} are used", types.len());
        types.iter().try_for_each(|t| shape::checked_numel(&t.shape).map(drop))?;
        let mut made = vec![];
        for t in types.into_iter().take(outputs) {
            let v = self.graph.add_value(format!("v{}", self.graph.value_count()), None);
            self.types.insert(v, t);
            made.push(v);
        }
        let name = format!("{op}{}", self.graph.nodes.len());
        let outputs = made.iter().copied().map(Some).collect();
        self.graph.nodes.push(Node { name, operator: operator.clone(), inputs: inputs.to_vec(), outputs });
        Ok(made)
    }

    /// The output of a member with attributes.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn with(&mut self, op: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> Result<ValueId> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.ops(op, &inputs, attrs, 1)?.pop().ok_or_else(|| err!(Internal, "{op} has no output"))
    }

    /// The output of a member without attributes.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn op(&mut self, op: &str, inputs: &[ValueId]) -> Result<ValueId> {
        self.with(op, inputs, &[])
    }

    /// A value in another element type.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn cast(&mut self, v: ValueId, to: DType) -> Result<ValueId> {
        if self.types.get(&v).is_some_and(|t| t.dtype == to) {
            return Ok(v);
        }
        self.with("Cast", &[v], &[("to", Attr::Int(to as i64))])
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// `InvalidNode` when their numbers differ.
    pub fn reshape(&mut self, v: ValueId, to: &[usize]) -> Result<ValueId> {
        let to: Vec<i64> = to.iter().map(|d| *d as i64).collect();
        let to = self.constant(Tensor::vector(&to));
        self.with("Reshape", &[v, to], &[("allowzero", Attr::Int(1))])
    }

    /// The dims in another order.
    ///
    /// # Errors
    /// `InvalidNode` when `order` is no permutation.
    pub fn transpose(&mut self, v: ValueId, order: &[usize]) -> Result<ValueId> {
        let order = order.iter().map(|d| *d as i64).collect();
        self.with("Transpose", &[v], &[("perm", Attr::Ints(order))])
    }

    /// Broadcast to a shape.
    ///
    /// # Errors
    /// `InvalidNode` when it does not broadcast.
    pub fn expand(&mut self, v: ValueId, to: &[usize]) -> Result<ValueId> {
        let to: Vec<i64> = to.iter().map(|d| *d as i64).collect();
        let to = self.constant(Tensor::vector(&to));
        self.op("Expand", &[v, to])
    }

    /// The elements `start..end` along an axis.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn slice(&mut self, v: ValueId, axis: usize, start: usize, end: usize) -> Result<ValueId> {
        let [start, end, axis] = [start, end, axis].map(|x| self.constant(Tensor::vector(&[x as i64])));
        self.op("Slice", &[v, start, end, axis])
    }

    /// Parts of these sizes along an axis.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn split(&mut self, v: ValueId, axis: usize, sizes: &[usize]) -> Result<Vec<ValueId>> {
        let mut start = 0;
        let mut part = |size: &usize| {
            let from = start;
            start += size;
            self.slice(v, axis, from, start)
        };
        sizes.iter().map(&mut part).collect()
    }

    /// Values one behind the other along an axis.
    ///
    /// # Errors
    /// As [`Body::ops`].
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        self.with("Concat", parts, &[("axis", Attr::Int(axis as i64))])
    }
}

impl<F: Function> Op for Defined<F> {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let mut b = Body::new(cx, false);
        let outputs = self.0.define(&mut b)?;
        Ok(outputs.iter().filter_map(|v| b.types.get(v).cloned()).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types: Vec<_> = inputs.iter().map(|t| t.map(|t| TensorType::new(t.dtype(), t.shape()))).collect();
        let cx = InferCx::new(types.iter().zip(inputs).map(|(t, d)| t.as_ref().map(|t| (t, *d))).collect());
        let (graph, _) = write(&self.0, &cx, false)?;
        let inputs: Vec<Tensor> = inputs.iter().flatten().copied().cloned().collect();
        cpu::run(&graph, &inputs)
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let (mut types, mut data) = (vec![], vec![]);
        for i in 0..cx.input_count() {
            types.push(if cx.has_input(i) { Some(cx.input_type(i)?) } else { None });
            data.push(if cx.has_input(i) { cx.value(i).cloned() } else { None });
        }
        let known = types.iter().zip(&data).map(|(t, d)| t.as_ref().map(|t| (t, d.as_ref()))).collect();
        let (mut graph, inputs) = write(&self.0, &InferCx::new(known), true)?;
        let outputs: Vec<usize> = (0..graph.outputs.len()).filter(|i| cx.has_output(*i)).collect();
        graph.outputs = outputs.iter().map(|i| graph.outputs[*i]).collect();
        passes::run(&mut graph, &[])?;
        cx.inline(graph, &inputs, &outputs)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        self.0.tolerance(dtype, k)
    }
}

/// A function's body, and which inputs its parameters are.
fn write(f: &dyn Function, cx: &InferCx<'_>, known: bool) -> Result<(Graph, Vec<usize>)> {
    let mut b = Body::new(cx, known);
    let outputs = f.define(&mut b).map_err(|defer| match defer {
        Defer::Error(e) => e,
        Defer::NeedsValue(i) => err!(Unsupported, "input {i} is not known before the run"),
        Defer::DataDependent => err!(Unsupported, "the shape depends on data"),
    })?;
    b.graph.outputs = outputs;
    let parameters = |i: &usize| b.inputs[*i].is_some_and(|v| b.graph.inputs.contains(&v));
    let inputs = (0..b.inputs.len()).filter(parameters).collect();
    Ok((b.graph, inputs))
}
