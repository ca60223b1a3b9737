//! Small models for the tests of the package, as bytes of their files.

use onnx_proto::tensor_proto::DataType;
use onnx_proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use prost::Message;
use shadernet::Tensor;
use wasm_bindgen::prelude::*;

use crate::onnx::{body, int, longs, model, node, opset, value, with};

fn bytes(g: GraphProto) -> Vec<u8> {
    ModelProto { opset_import: vec![opset("", 23)], ..model(g) }.encode_to_vec()
}

fn of_type(number: i32) -> Result<DataType, JsError> {
    DataType::try_from(number).map_err(|e| JsError::new(&e.to_string()))
}

/// `y = Identity(x)` of an element type by its ONNX number, any shape of one dim.
#[wasm_bindgen]
pub fn identity(number: i32) -> Result<Vec<u8>, JsError> {
    let mut x = value("x", Some(of_type(number)?), &[1]);
    let mut y = value("y", Some(of_type(number)?), &[1]);
    for v in [&mut x, &mut y] {
        let shape = v.r#type.as_mut().and_then(|t| match &mut t.value {
            Some(onnx_proto::type_proto::Value::TensorType(t)) => t.shape.as_mut(),
            _ => None,
        });
        for d in shape.into_iter().flat_map(|s| &mut s.dim) {
            d.value = Some(onnx_proto::tensor_shape_proto::dimension::Value::DimParam("n".into()));
        }
    }
    let node = vec![node("Identity", &["x"], &["y"])];
    Ok(bytes(GraphProto { name: Some("g".into()), input: vec![x], output: vec![y], node, ..Default::default() }))
}

/// `next = state + x` and `twice = 2 next`, of 4 floats: state that a page keeps on the device.
#[wasm_bindgen]
pub fn running_sum() -> Vec<u8> {
    let float = |name| value(name, Some(DataType::Float), &[4]);
    bytes(GraphProto {
        name: Some("g".into()),
        input: vec![float("x"), float("state")],
        output: vec![float("next"), float("twice")],
        node: vec![node("Add", &["x", "state"], &["next"]), node("Add", &["next", "next"], &["twice"])],
        ..Default::default()
    })
}

/// `y` is `x` doubled until its sum is at least `limit`: how often, only the device's data tell.
#[wasm_bindgen]
pub fn doubled_until() -> Vec<u8> {
    let float = |name| value(name, Some(DataType::Float), &[2]);
    let within = GraphProto {
        name: Some("within".into()),
        input: vec![value("i", Some(DataType::Int64), &[]), value("going", Some(DataType::Bool), &[]), float("a")],
        output: vec![value("less", Some(DataType::Bool), &[]), float("b")],
        node: vec![
            node("Add", &["a", "a"], &["b"]),
            with("ReduceSum", &["b"], &["sum"], vec![int("keepdims", 0)]),
            node("Less", &["sum", "limit"], &["less"]),
        ],
        ..Default::default()
    };
    bytes(GraphProto {
        name: Some("g".into()),
        input: vec![float("x"), value("limit", Some(DataType::Float), &[])],
        output: vec![float("y")],
        initializer: vec![longs("most", &[100])],
        node: vec![
            with("ReduceSum", &["x"], &["sum"], vec![int("keepdims", 0)]),
            node("Less", &["sum", "limit"], &["first"]),
            with("Loop", &["most", "first", "x"], &["y"], vec![body("body", within)]),
        ],
        ..Default::default()
    })
}

/// `y = x + w` where `w`, 4 floats, lies in the file `weights.bin` from byte 16 on.
#[wasm_bindgen]
pub fn external() -> Vec<u8> {
    let float = |name| value(name, Some(DataType::Float), &[4]);
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let w = TensorProto {
        name: Some("w".into()),
        dims: vec![4],
        data_type: Some(DataType::Float as i32),
        external_data: vec![entry("location", "weights.bin"), entry("offset", "16"), entry("length", "16")],
        data_location: Some(onnx_proto::tensor_proto::DataLocation::External as i32),
        ..Default::default()
    };
    bytes(GraphProto {
        name: Some("g".into()),
        input: vec![float("x")],
        output: vec![float("y")],
        initializer: vec![w],
        node: vec![node("Add", &["x", "w"], &["y"])],
        ..Default::default()
    })
}

/// `y = x W` of n × 64 floats, `W` twice the identity.
#[wasm_bindgen]
pub fn doubling_product() -> Result<Vec<u8>, JsError> {
    let w: Vec<f32> = (0..64 * 64).map(|i| if i % 65 == 0 { 2.0 } else { 0.0 }).collect();
    let w = shadernet::import::tensor_to_proto("w", &Tensor::new([64, 64], w)?);
    Ok(bytes(GraphProto {
        name: Some("g".into()),
        input: vec![value("x", Some(DataType::Float), &[5, 64])],
        output: vec![value("y", Some(DataType::Float), &[5, 64])],
        initializer: vec![w],
        node: vec![node("MatMul", &["x", "w"], &["y"])],
        ..Default::default()
    }))
}
