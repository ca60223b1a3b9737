//! Builders of ONNX messages.

use onnx_proto::attribute_proto::AttributeType;
use onnx_proto::*;
use shadernet::Tensor;
use shadernet::import::tensor_to_proto;

pub fn s(x: &str) -> Option<String> {
    Some(x.into())
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { op_type: s(op), input: own(inputs), output: own(outputs), ..Default::default() }
}

/// A node with attributes.
pub fn with(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto { attribute, ..node(op, inputs, outputs) }
}

fn attr(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: s(name), r#type: Some(kind as i32), ..Default::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attr(name, AttributeType::Int) }
}

pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attr(name, AttributeType::Ints) }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attr(name, AttributeType::Float) }
}

pub fn text(name: &str, bytes: &[u8]) -> AttributeProto {
    AttributeProto { s: Some(bytes.to_vec()), ..attr(name, AttributeType::String) }
}

pub fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(g), ..attr(name, AttributeType::Graph) }
}

/// A value of an element type (`None`: of no declared type) and shape.
pub fn value(name: &str, kind: Option<tensor_proto::DataType>, dims: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |d: &i64| Dimension { value: Some(Value::DimValue(*d)), denotation: None };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = |k| type_proto::Tensor { elem_type: Some(k as i32), shape: Some(shape) };
    let t = kind.map(|k| TypeProto { value: Some(type_proto::Value::TensorType(tensor(k))), denotation: None });
    ValueInfoProto { name: s(name), r#type: t, ..Default::default() }
}

pub fn floats(name: &str, dims: &[i64]) -> ValueInfoProto {
    value(name, Some(tensor_proto::DataType::Float), dims)
}

pub fn open(name: &str) -> ValueInfoProto {
    value(name, None, &[])
}

/// `x` (two floats) and the constants given to the output `y`.
pub fn graph(constants: Vec<TensorProto>, node: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: s("g"),
        input: vec![floats("x", &[2])],
        output: vec![open("y")],
        initializer: constants,
        node,
        ..Default::default()
    }
}

pub fn constant(name: &str, t: Tensor) -> TensorProto {
    tensor_to_proto(name, &t)
}

pub fn longs(name: &str, values: &[i64]) -> TensorProto {
    constant(name, Tensor::vector(values))
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: s(domain), version: Some(version) }
}

pub fn model(g: GraphProto) -> ModelProto {
    let opset_import = vec![opset("", 21), opset("ai.onnx.ml", 3), opset("f", 1)];
    ModelProto { ir_version: Some(10), opset_import, graph: Some(g), ..Default::default() }
}

/// A local function of domain `f` from `a` to `b`.
pub fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: s(name),
        domain: s("f"),
        input: own(&["a"]),
        output: own(&["b"]),
        node: nodes,
        opset_import: vec![opset("", 21), opset("f", 1)],
        ..Default::default()
    }
}

/// A call of a local function.
pub fn call(name: &str, from: &str, to: &str) -> NodeProto {
    NodeProto { domain: s("f"), ..node(name, &[from], &[to]) }
}
