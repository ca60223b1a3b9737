//! The messages against bytes derived by hand, and against tables of every field and enumeration value of the format.

use std::collections::BTreeSet;
use std::fmt::Debug;

use onnx_proto::attribute_proto::AttributeType;
use onnx_proto::tensor_proto::{DataLocation, DataType};
use onnx_proto::tensor_shape_proto::{Dimension, dimension};
use onnx_proto::*;
use prost::Message;
use prost::bytes::Bytes;

/// Checks both ways between a message and its bytes.
fn check<M: Message + Default + PartialEq + Debug>(message: M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M::decode(bytes).unwrap(), message);
}

#[test]
fn node_bytes() {
    let node = NodeProto {
        input: vec!["x".into(), "".into()],
        output: vec!["y".into()],
        op_type: Some("Relu".into()),
        domain: Some("d".into()),
        overload: Some("o".into()),
        ..Default::default()
    };
    let mut want = vec![0x0a, 1, b'x', 0x0a, 0, 0x12, 1, b'y', 0x22, 4];
    want.extend(b"Relu");
    want.extend([0x3a, 1, b'd', 0x42, 1, b'o']);
    check(node, &want);
}

#[test]
fn attribute_bytes() {
    let attribute = AttributeProto {
        name: Some("pads".into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: vec![3, -1],
        ..Default::default()
    };
    let mut want = vec![0x0a, 4, b'p', b'a', b'd', b's', 0x40, 3, 0x40];
    want.extend([0xff; 9]);
    // number 20 needs a tag of two bytes: 20 << 3 = 160
    want.extend([0x01, 0xa0, 0x01, 7]);
    check(attribute, &want);

    let attribute = AttributeProto { f: Some(1.0), i: Some(300), s: Some(vec![0xff]), ..Default::default() };
    check(attribute, &[0x15, 0, 0, 0x80, 0x3f, 0x18, 0xac, 0x02, 0x22, 1, 0xff]);
}

#[test]
fn tensor_bytes() {
    let tensor = TensorProto {
        dims: vec![1, 2],
        data_type: Some(DataType::Float as i32),
        float_data: vec![1.0, -2.0],
        name: Some("w".into()),
        ..Default::default()
    };
    check(tensor, &[0x08, 1, 0x08, 2, 0x10, 1, 0x22, 8, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0x42, 1, b'w']);

    let entry = StringStringEntryProto { key: Some("location".into()), value: Some("w.bin".into()) };
    let tensor = TensorProto {
        data_type: Some(DataType::Int4 as i32),
        raw_data: Some(Bytes::from_static(&[0x21])),
        external_data: vec![entry],
        data_location: Some(DataLocation::External as i32),
        ..Default::default()
    };
    let mut want = vec![0x10, 22, 0x4a, 1, 0x21, 0x6a, 17, 0x0a, 8];
    want.extend(b"location");
    want.extend([0x12, 5]);
    want.extend(b"w.bin");
    want.extend([0x70, 1]);
    check(tensor, &want);
}

#[test]
fn type_bytes() {
    let dim = |value| Dimension { value, denotation: None };
    let shape = TensorShapeProto {
        dim: vec![
            dim(Some(dimension::Value::DimValue(3))),
            dim(Some(dimension::Value::DimParam("N".into()))),
            dim(None),
        ],
    };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    let tensor = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    let tensor_bytes = [0x0a, 15, 0x08, 1, 0x12, 11, 0x0a, 2, 0x08, 3, 0x0a, 3, 0x12, 1, b'N', 0x0a, 0];
    check(tensor.clone(), &tensor_bytes);

    // the element is 17 bytes long with its own tag and length
    let sequence = type_proto::Sequence { elem_type: Some(Box::new(tensor)) };
    let sequence = TypeProto { value: Some(type_proto::Value::SequenceType(Box::new(sequence))), denotation: None };
    let mut want = vec![0x22, 19, 0x0a, 17];
    want.extend(tensor_bytes);
    check(sequence, &want);
}

#[test]
fn model_bytes() {
    let model = ModelProto {
        ir_version: Some(Version::IrVersion2024325 as i64),
        opset_import: vec![OperatorSetIdProto { domain: Some("".into()), version: Some(21) }],
        graph: Some(GraphProto { name: Some("g".into()), ..Default::default() }),
        functions: vec![FunctionProto { overload: Some("o".into()), ..Default::default() }],
        configuration: vec![DeviceConfigurationProto { num_devices: Some(2), ..Default::default() }],
        ..Default::default()
    };
    check(
        model,
        &[
            0x08, 10, 0x3a, 3, 0x12, 1, b'g', 0x42, 4, 0x0a, 0, 0x10, 21, 0xca, 0x01, 3, 0x6a, 1, b'o', 0xd2, 0x01, 2,
            0x10, 2,
        ],
    );
}

#[test]
fn packed_and_unpacked_lists_are_both_read() {
    let ints = AttributeProto::decode(&[0x42, 2, 3, 4][..]).unwrap();
    assert_eq!(ints.ints, [3, 4]);
    let floats = TensorProto::decode(&[0x25, 0, 0, 0x80, 0x3f, 0x25, 0, 0, 0, 0x40][..]).unwrap();
    assert_eq!(floats.float_data, [1.0, 2.0]);
}

#[test]
fn raw_data_is_shared_with_the_bytes_decoded() {
    let raw = vec![7u8; 4096];
    let tensor = TensorProto { raw_data: Some(raw.clone().into()), ..Default::default() };
    let graph = GraphProto { initializer: vec![tensor], ..Default::default() };
    let bytes = Bytes::from(ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec());
    let model = ModelProto::decode(bytes.clone()).unwrap();
    let shared = model.graph.unwrap().initializer[0].raw_data.clone().unwrap();
    assert_eq!(shared, raw);
    assert!(bytes.as_ptr_range().contains(&shared.as_ptr()), "the weights were copied");
}

#[test]
fn damaged_bytes_are_refused() {
    // a string cut short, a field of another wire type, and messages nested without end
    assert!(NodeProto::decode(&[0x0a, 5, b'x'][..]).is_err());
    assert!(ModelProto::decode(&[0x0a, 1, 0][..]).is_err());
    let mut deep = vec![];
    for _ in 0..1000 {
        let mut outer = vec![];
        put(&mut outer, 7, &Value::Bytes(deep));
        deep = outer;
    }
    assert!(OptionalProto::decode(&deep[..]).is_err());
}

/// What a field of the wire holds.
#[derive(Clone)]
enum Value {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The value alone, without its tag.
fn put_bare(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Varint(v) => varint(out, *v),
        Value::Fixed32(v) => out.extend(v.to_le_bytes()),
        Value::Fixed64(v) => out.extend(v.to_le_bytes()),
        Value::Bytes(v) => {
            varint(out, v.len() as u64);
            out.extend(v);
        }
    }
}

fn put(out: &mut Vec<u8>, number: u32, value: &Value) {
    let wire = match value {
        Value::Varint(_) => 0,
        Value::Fixed64(_) => 1,
        Value::Bytes(_) => 2,
        Value::Fixed32(_) => 5,
    };
    varint(out, u64::from(number) << 3 | wire);
    put_bare(out, value);
}

/// A line of the table of fields.
#[derive(Debug)]
struct Field {
    message: &'static str,
    name: &'static str,
    number: u32,
    kind: &'static str,
    label: &'static str,
}

fn lines(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|l| !l.starts_with('#')).map(|l| l.split(' ').collect())
}

fn fields() -> Vec<Field> {
    lines(include_str!("fields.txt"))
        .map(|columns| {
            let [message, name, number, kind, label] = columns[..] else { panic!("{columns:?}") };
            assert!(["optional", "oneof", "repeated", "packed"].contains(&label), "{label}");
            Field { message, name, number: number.parse().unwrap(), kind, label }
        })
        .collect()
}

/// The value that presence alone tells from absence.
fn zero(kind: &str) -> Value {
    match kind {
        "int32" | "int64" | "uint64" | "enum" => Value::Varint(0),
        "float" => Value::Fixed32(0),
        "double" => Value::Fixed64(0),
        _ => Value::Bytes(vec![]),
    }
}

/// A value that a narrower or otherwise wrong type would not give back; `depth` levels of messages are filled.
fn full(fields: &[Field], kind: &str, depth: usize) -> Value {
    match kind {
        "int32" => Value::Varint(-7i64 as u64),
        "int64" => Value::Varint(i64::MIN as u64 + 5),
        "uint64" => Value::Varint(u64::MAX),
        "enum" => Value::Varint(1),
        "float" => Value::Fixed32(1.5f32.to_bits()),
        "double" => Value::Fixed64(0.1f64.to_bits()),
        "string" => Value::Bytes("é".into()),
        "bytes" => Value::Bytes(vec![0xff, 0x00]),
        message => Value::Bytes(if depth == 0 { vec![] } else { full_message(fields, message, depth - 1) }),
    }
}

/// Every field of a message, but of a oneof only the first, in the order of their numbers.
fn full_message(fields: &[Field], message: &str, depth: usize) -> Vec<u8> {
    let mut own: Vec<_> = fields.iter().filter(|f| f.message == message).collect();
    assert!(!own.is_empty(), "{message} is not in the table");
    own.sort_by_key(|f| f.number);
    let mut out = vec![];
    let mut oneof = false;
    for field in own {
        if field.label != "oneof" || !std::mem::replace(&mut oneof, true) {
            put_field(&mut out, fields, field, depth);
        }
    }
    out
}

/// One field, twice if it may repeat.
fn put_field(out: &mut Vec<u8>, fields: &[Field], field: &Field, depth: usize) {
    let value = full(fields, field.kind, depth);
    match field.label {
        "repeated" => {
            put(out, field.number, &value);
            put(out, field.number, &value);
        }
        "packed" => {
            let mut items = vec![];
            put_bare(&mut items, &value);
            put_bare(&mut items, &value);
            put(out, field.number, &Value::Bytes(items));
        }
        _ => put(out, field.number, &value),
    }
}

/// A message of the crate, by its name in the format.
struct Ours {
    name: &'static str,
    /// Bytes through the message and back.
    again: fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>,
    /// The message that the bytes hold as text.
    text: fn(&[u8]) -> Result<String, prost::DecodeError>,
}

fn messages() -> Vec<Ours> {
    fn ours<M: Message + Default + Debug>(name: &'static str) -> Ours {
        Ours {
            name,
            again: |bytes| M::decode(bytes).map(|m| m.encode_to_vec()),
            text: |bytes| M::decode(bytes).map(|m| format!("{m:?}")),
        }
    }
    macro_rules! table {
        ($($name:literal: $message:ty,)*) => { vec![$(ours::<$message>($name)),*] };
    }
    table! {
        "AttributeProto": AttributeProto,
        "ValueInfoProto": ValueInfoProto,
        "NodeProto": NodeProto,
        "IntIntListEntryProto": IntIntListEntryProto,
        "NodeDeviceConfigurationProto": NodeDeviceConfigurationProto,
        "ShardingSpecProto": ShardingSpecProto,
        "ShardedDimProto": ShardedDimProto,
        "SimpleShardedDimProto": SimpleShardedDimProto,
        "TrainingInfoProto": TrainingInfoProto,
        "ModelProto": ModelProto,
        "DeviceConfigurationProto": DeviceConfigurationProto,
        "StringStringEntryProto": StringStringEntryProto,
        "TensorAnnotation": TensorAnnotation,
        "GraphProto": GraphProto,
        "TensorProto": TensorProto,
        "TensorProto.Segment": tensor_proto::Segment,
        "SparseTensorProto": SparseTensorProto,
        "TensorShapeProto": TensorShapeProto,
        "TensorShapeProto.Dimension": tensor_shape_proto::Dimension,
        "TypeProto": TypeProto,
        "TypeProto.Tensor": type_proto::Tensor,
        "TypeProto.Sequence": type_proto::Sequence,
        "TypeProto.Map": type_proto::Map,
        "TypeProto.Optional": type_proto::Optional,
        "TypeProto.SparseTensor": type_proto::SparseTensor,
        "TypeProto.Opaque": type_proto::Opaque,
        "OperatorSetIdProto": OperatorSetIdProto,
        "FunctionProto": FunctionProto,
        "SequenceProto": SequenceProto,
        "MapProto": MapProto,
        "OptionalProto": OptionalProto,
    }
}

#[test]
fn every_message_is_there() {
    let fields = fields();
    let listed: BTreeSet<_> = fields.iter().map(|f| f.message).collect();
    let ours: BTreeSet<_> = messages().iter().map(|m| m.name).collect();
    assert_eq!(ours, listed);
}

#[test]
fn every_field_is_kept() {
    let fields = fields();
    for Ours { name: message, again, .. } in messages() {
        for field in fields.iter().filter(|f| f.message == message) {
            for depth in 0..3 {
                let mut probe = vec![];
                put_field(&mut probe, &fields, field, depth);
                assert_eq!(again(&probe).as_ref(), Ok(&probe), "{field:?}, {depth} levels deep");
            }
        }
    }
}

#[test]
fn every_field_has_its_name() {
    let fields = fields();
    for Ours { name: message, text, .. } in messages() {
        let empty = text(&[]).unwrap();
        for field in fields.iter().filter(|f| f.message == message) {
            let mut probe = vec![];
            put_field(&mut probe, &fields, field, 0);
            let set = text(&probe).unwrap();
            // the texts part where the value of the field that was set begins
            let same = empty.bytes().zip(set.bytes()).take_while(|(a, b)| a == b).count();
            let (before, _) = set[..same].rsplit_once(": ").unwrap();
            let name = before.rsplit([' ', '{', ',']).next().unwrap();
            if field.label == "oneof" {
                let variant = set[same..].replace("Some(", "").to_lowercase();
                assert!(variant.starts_with(&field.name.replace('_', "")), "{field:?} is {set}");
            } else {
                assert_eq!(name.trim_start_matches("r#"), field.name, "{field:?} is {set}");
            }
        }
    }
}

#[test]
fn optional_fields_tell_zero_from_absent_and_hold_one_value() {
    let fields = fields();
    for Ours { name: message, again, .. } in messages() {
        for field in fields.iter().filter(|f| f.message == message && ["optional", "oneof"].contains(&f.label)) {
            let mut once = vec![];
            put(&mut once, field.number, &zero(field.kind));
            assert_eq!(again(&once.repeat(2)).as_ref(), Ok(&once), "{field:?}");
        }
    }
}

#[test]
fn of_a_oneof_the_last_stays() {
    let fields = fields();
    for Ours { name: message, again, .. } in messages() {
        let mut all = vec![];
        let mut last = vec![];
        for field in fields.iter().filter(|f| f.message == message && f.label == "oneof") {
            last.clear();
            put_field(&mut last, &fields, field, 1);
            all.extend(&last);
        }
        assert_eq!(again(&all).as_ref(), Ok(&last), "{message}");
    }
}

#[test]
fn integers_and_strings_have_their_own_types() {
    let fields = fields();
    for Ours { name: message, again, .. } in messages() {
        for field in fields.iter().filter(|f| f.message == message) {
            let probe = |value| {
                let mut bytes = vec![];
                put(&mut bytes, field.number, &value);
                bytes
            };
            match field.kind {
                // the high half of the wire's integer is dropped
                "int32" if field.label == "optional" => {
                    let wide = again(&probe(Value::Varint(1 << 40 | 5)));
                    assert_eq!(wide, Ok(probe(Value::Varint(5))), "{field:?}");
                }
                "string" => assert!(again(&probe(Value::Bytes(vec![0xff]))).is_err(), "{field:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn no_message_has_fields_of_its_own() {
    let fields = fields();
    for Ours { name: message, again, .. } in messages() {
        let known: BTreeSet<_> = fields.iter().filter(|f| f.message == message).map(|f| f.number).collect();
        for number in (1..128).filter(|n| !known.contains(n)) {
            for value in [Value::Varint(1), Value::Fixed32(1), Value::Fixed64(1), Value::Bytes(vec![])] {
                let mut probe = vec![];
                put(&mut probe, number, &value);
                assert_eq!(again(&probe), Ok(vec![]), "{message}, number {number}");
            }
        }
    }
}

/// Checks an enumeration against the table: each number, its name, and no number more.
fn check_enum<E: TryFrom<i32> + Debug>(name: &str) {
    let plain = |s: &str| s.replace('_', "").to_lowercase();
    let mut numbers = BTreeSet::new();
    for columns in lines(include_str!("enums.txt")) {
        let [enumeration, value, number] = columns[..] else { panic!("{columns:?}") };
        if enumeration == name {
            let number = number.parse().unwrap();
            let Ok(ours) = E::try_from(number) else { panic!("{name} lacks {value} = {number}") };
            assert_eq!(plain(&format!("{ours:?}")), plain(value), "{name}, number {number}");
            numbers.insert(number);
        }
    }
    assert!(!numbers.is_empty(), "{name} is not in the table");
    for number in (-1..256).filter(|n| !numbers.contains(n)) {
        assert!(E::try_from(number).is_err(), "{name} has {number} of its own");
    }
}

#[test]
fn every_enumeration_value_is_there() {
    let mut ours = BTreeSet::new();
    macro_rules! check_all {
        ($($name:literal: $enumeration:ty,)*) => {
            $(check_enum::<$enumeration>($name); ours.insert($name);)*
        };
    }
    check_all! {
        "Version": Version,
        "OperatorStatus": OperatorStatus,
        "AttributeProto.AttributeType": AttributeType,
        "TensorProto.DataType": DataType,
        "TensorProto.DataLocation": DataLocation,
        "SequenceProto.DataType": sequence_proto::DataType,
        "OptionalProto.DataType": optional_proto::DataType,
    }
    let listed: BTreeSet<_> = lines(include_str!("enums.txt")).map(|columns| columns[0]).collect();
    assert_eq!(ours, listed);
}
