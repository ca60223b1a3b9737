//! The command as scripts see it: output, exit codes, and one line for whatever is wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onnx_proto::attribute_proto::AttributeType;
use onnx_proto::tensor_proto::DataLocation;
use onnx_proto::*;
use prost::Message;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/text-direction/model.onnx");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/text-direction/ticket.png");
const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/text-direction/labels.txt");

fn shadernet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shadernet")).args(args).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a call that must succeed.
fn ok(args: &[&str]) -> String {
    let out = shadernet(args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// The error of a call that must fail with exit code 1 and one line that has all `parts`.
fn fails(args: &[&str], parts: &[&str]) {
    let out = shadernet(args);
    let all = text(&out.stderr);
    let lines: Vec<&str> = all.lines().filter(|l| l.starts_with("shadernet: ")).collect();
    assert_eq!(out.status.code(), Some(1), "{args:?}: {all}");
    assert_eq!(lines.len(), 1, "{all}");
    assert!(!all.contains("panicked"), "{all}");
    parts.iter().for_each(|p| assert!(lines[0].contains(p), "{p:?} is not in {:?}", lines[0]));
}

/// A fresh folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("shadernet-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn npy<T: ndarray_npy::WritableElement>(&self, name: &str, shape: &[usize], values: Vec<T>) -> String {
        let path = self.0.join(name);
        ndarray_npy::write_npy(&path, &ndarray::ArrayD::from_shape_vec(shape, values).unwrap()).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |d: &i64| Dimension { value: Some(Value::DimValue(*d)), denotation: None };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let t = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(t), ..Default::default() }
}

/// `x, w → op → y`, `w` an initialiser.
fn model(op: &str, attribute: Vec<AttributeProto>, w: TensorProto) -> Vec<u8> {
    let node = NodeProto {
        name: Some("middle".into()),
        op_type: Some(op.into()),
        input: vec!["x".into(), "w".into()],
        output: vec!["y".into()],
        attribute,
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![value("x", &[2, 3])],
        output: vec![value("y", &[2, 3])],
        initializer: vec![w],
        node: vec![node],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
        .encode_to_vec()
}

fn weights() -> TensorProto {
    let float_data = vec![1.0, 2.0, 3.0];
    TensorProto { name: Some("w".into()), data_type: Some(1), dims: vec![3], float_data, ..Default::default() }
}

const CPU: [&str; 2] = ["--backend", "cpu"];

fn run<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", model], &CPU[..], more].concat()
}

#[test]
fn a_picture_gets_its_label() {
    let flags = ["--shape", "x=1,3,48,192", "--channels", "bgr", "--mean", "0.5", "--std", "0.5", "--labels", LABELS];
    let input = format!("x={PICTURE}");
    for backend in ["cpu", "auto"] {
        let out = ok(&[&["run", MODEL, "--backend", backend, "--input", &input], &flags[..]].concat());
        let best = out.lines().find(|l| l.contains('%')).unwrap_or_default();
        assert!(best.contains("upside down"), "{out}");
    }
}

#[test]
fn info_names_what_goes_in_and_out() {
    let out = ok(&["info", MODEL]);
    assert!(out.contains('x') && out.contains("float["), "{out}");
    assert!(out.contains("Conv"), "{out}");
}

#[test]
fn graphs_and_shaders_are_text() {
    assert!(ok(&["graph", MODEL, "--stage", "import"]).contains("= Conv@"));
}

#[test]
fn files_that_are_no_models() {
    let folder = Folder::new("files");
    let whole = std::fs::read(MODEL).unwrap();
    let cut = folder.write("cut.onnx", &whole[..whole.len() / 2]);
    fails(&run(&cut, &[]), &["cut.onnx", "invalid model"]);
    fails(&run("/nowhere/m.onnx", &[]), &["/nowhere/m.onnx"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let folder = Folder::new("inputs");
    let m = folder.write("m.onnx", &model("Add", vec![], weights()));
    let good = folder.npy("good.npy", &[2, 3], vec![0f32; 6]);
    assert!(ok(&run(&m, &["--input", &good])).contains('y'));
    let wrong = folder.npy("wrong.npy", &[2, 3], vec![0i32; 6]);
    fails(&run(&m, &["--input", &wrong]), &["\"x\"", "expected float[2, 3]", "got int32[2, 3]"]);
    let long = folder.npy("long.npy", &[2, 4], vec![0f32; 8]);
    fails(&run(&m, &["--input", &long]), &["\"x\"", "expected float[2, 3]", "got float[2, 4]"]);
    fails(&run(&m, &["--input", &format!("z={good}")]), &["\"z\"", "\"x\""]);
    fails(&run(&m, &["--input", "x=/nowhere/x.npy"]), &["/nowhere/x.npy"]);
    // what is random elsewhere must be given to `test`: a data set without its input
    let case = folder.0.join("case");
    std::fs::create_dir_all(case.join("test_data_set_0")).unwrap();
    std::fs::write(case.join("model.onnx"), model("Add", vec![], weights())).unwrap();
    let out = shadernet(&["test", &folder.0.display().to_string(), "--backend", "cpu"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("input \"x\" is missing: expected float[2, 3]"), "{}", text(&out.stdout));
}

#[test]
fn models_that_cannot_run() {
    let folder = Folder::new("models");
    let unknown = folder.write("unknown.onnx", &model("Frobnicate", vec![], weights()));
    fails(&run(&unknown, &[]), &["unknown.onnx", "middle (Frobnicate)", "unknown operator"]);
    let attribute = AttributeProto {
        name: Some("extra".into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..Default::default()
    };
    let unread = folder.write("unread.onnx", &model("Add", vec![attribute], weights()));
    fails(&run(&unread, &[]), &["unread.onnx", "middle (Add)", "extra"]);
    let contradiction = TensorProto { dims: vec![4], float_data: vec![0.0; 4], ..weights() };
    let shapes = folder.write("shapes.onnx", &model("Add", vec![], contradiction));
    fails(&run(&shapes, &[]), &["middle (Add)", "[2, 3]", "[4]"]);
}

#[test]
fn external_data_stays_in_the_folder() {
    let folder = Folder::new("external");
    folder.write("secret.bin", &[0; 12]);
    let entry = |k: &str, v: &str| StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    let w = TensorProto {
        float_data: vec![],
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "../secret.bin")],
        ..weights()
    };
    let m = folder.write("models/m.onnx", &model("Add", vec![], w));
    fails(&run(&m, &[]), &["m.onnx", "../secret.bin"]);
}

#[test]
fn resident_runs_are_timed() {
    let backend = if std::env::var_os("SHADERNET_REQUIRE_GPU").is_some() { "gpu" } else { "cpu" };
    let shape = ["--shape", "x=1,3,48,192", "--runs", "3", "--warmup", "0"];
    let out = ok(&[&["bench", MODEL, "--backend", backend, "--resident", "--json"], &shape[..]].concat());
    let doc: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(doc["times_ms"].as_array().map(Vec::len), Some(3), "{doc}");
}

#[test]
fn json_reports_keep_their_fields() {
    let out =
        ok(&["bench", MODEL, "--backend", "cpu", "--shape", "x=1,3,48,192", "--runs", "2", "--warmup", "0", "--json"]);
    let doc: serde_json::Value = serde_json::from_str(&out).unwrap();
    let fields = [
        "adapter",
        "driver",
        "backend",
        "load_ms",
        "first_ms",
        "median_ms",
        "p90_ms",
        "p99_ms",
        "runs",
        "dispatches",
        "pipelines",
        "host_nodes",
        "weights_bytes",
        "activation_bytes",
        "activation_lower_bound",
    ];
    fields.iter().for_each(|f| assert!(doc.get(f).is_some(), "{f} is not in {doc}"));
    let folder = Folder::new("json");
    let x = folder.npy("x.npy", &[2, 3], vec![1f32; 6]);
    let m = folder.write("case/model.onnx", &model("Add", vec![], weights()));
    // its own output as the golden one
    let set = folder.0.join("case/test_data_set_0");
    ok(&run(&m, &["--input", &x, "--save", &set.display().to_string()]));
    let proto = shadernet::import::tensor_to_proto("x", &shadernet::Tensor::new([2, 3], vec![1f32; 6]).unwrap());
    std::fs::write(set.join("input_0.pb"), proto.encode_to_vec()).unwrap();
    let report = folder.0.join("report.json").display().to_string();
    ok(&["test", &folder.0.display().to_string(), "--backend", "cpu", "--json", &report]);
    let doc: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(doc["counts"]["pass"], 1);
    for f in ["name", "category", "status", "detail", "max_abs", "max_rel", "host_nodes", "ms"] {
        assert!(doc["cases"][0].get(f).is_some(), "{f} is not in {doc}");
    }
}

#[test]
fn the_table_of_operators_is_true() {
    let kept =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../OPERATORS.md")).expect("OPERATORS.md");
    assert_eq!(ok(&["ops"]), kept, "make it again: shadernet ops > OPERATORS.md");
}
