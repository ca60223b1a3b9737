//! The files that a user feeds a model: npy, npz, pictures, messages.

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Parser;
use shadernet::Model;

use crate::inputs::{InputArgs, read_npy, read_pb};
use crate::refused;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    input: InputArgs,
}

/// A model of one input of open shape.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        use onnx_proto::*;
        let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
        let node = NodeProto {
            op_type: Some("Identity".into()),
            input: vec!["x".into()],
            output: vec!["y".into()],
            ..Default::default()
        };
        let graph = GraphProto { node: vec![node], input: vec![value("x")], output: vec![value("y")], ..Default::default() };
        let opset = OperatorSetIdProto { version: Some(21), ..Default::default() };
        let proto = ModelProto { ir_version: Some(10), opset_import: vec![opset], graph: Some(graph), ..Default::default() };
        Model::from_proto(&proto, &Default::default()).expect("the model is whole")
    })
}

fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| std::env::temp_dir().join(format!("shadernet-fuzz-{}", std::process::id())))
}

/// Reads the bytes as what they seem to be.
pub fn run(data: &[u8]) {
    let kind = match data {
        [b'P', b'K', ..] => "npz",
        [0x93, ..] => "npy",
        [0x89, ..] => "png",
        [0xff, 0xd8, ..] => "jpg",
        _ => "pb",
    };
    let path = file().with_extension(kind);
    if std::fs::write(&path, data).is_err() {
        return;
    }
    let made = match kind {
        "npy" => read_npy(&path).map(|_| ()),
        "pb" => read_pb(&path).map(|_| ()),
        _ => {
            let arg = format!("x={}", path.display());
            let args = Args::parse_from(["fuzz", "--input", &arg, "--shape", "x=1,3,8,8"]);
            args.input.make(model()).map(|_| ())
        }
    };
    if let Err(e) = made {
        refused(&e);
    }
}
