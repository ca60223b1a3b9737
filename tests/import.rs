//! Import of model files: what is accepted, and that whatever is wrong gives one line naming file, node and thing.

use std::path::{Path, PathBuf};

use onnx_proto::attribute_proto::AttributeType;
use onnx_proto::tensor_proto::DataLocation;
use onnx_proto::*;
use prost::Message;
use shadernet::import::{ImportOptions, Limits, tensor_to_proto};
use shadernet::{ErrorKind, Model, Result, Rng, Tensor};

// ---- small builders ----

fn s(x: &str) -> Option<String> {
    Some(x.into())
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { op_type: s(op), input: own(inputs), output: own(outputs), ..Default::default() }
}

fn named(name: &str, n: NodeProto) -> NodeProto {
    NodeProto { name: s(name), ..n }
}

fn attr(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: s(name), r#type: Some(kind as i32), ..Default::default() }
}

fn float_value(name: &str, dims: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |d: &i64| Dimension { value: Some(Value::DimValue(*d)), denotation: None };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let t = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: s(name), r#type: Some(t), ..Default::default() }
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: s(name), ..Default::default() }
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: s(domain), version: Some(version) }
}

fn graph(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: s("g"),
        input: inputs.iter().map(|n| float_value(n, &[2])).collect(),
        output: outputs.iter().map(|n| value(n)).collect(),
        node: nodes,
        ..Default::default()
    }
}

fn model(g: GraphProto) -> ModelProto {
    ModelProto { ir_version: Some(10), opset_import: vec![opset("", 17)], graph: Some(g), ..Default::default() }
}

/// `x → Relu → y`.
fn relu() -> ModelProto {
    model(graph(&["x"], &["y"], vec![named("act", node("Relu", &["x"], &["y"]))]))
}

fn import(m: &ModelProto) -> Result<Model> {
    Model::from_bytes(&m.encode_to_vec())
}

/// The error, which must be one line.
fn error(m: &ModelProto) -> shadernet::Error {
    let e = import(m).expect_err("the import should fail");
    assert!(!e.to_string().contains('\n'), "{e}");
    e
}

fn message(m: &ModelProto) -> String {
    error(m).to_string()
}

fn x() -> Tensor {
    Tensor::vector(&[-1f32, 2.0])
}

fn run(m: &ModelProto) -> Result<Vec<f64>> {
    import(m)?.reference().run(&[("x", x())])?[0].1.to_f64s()
}

/// A fresh folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("shadernet-import-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ---- what works ----

#[test]
fn a_model_tells_what_it_is_and_runs() -> Result<()> {
    let mut proto = relu();
    proto.producer_name = s("tests");
    proto.metadata_props = vec![StringStringEntryProto { key: s("k"), value: s("v") }];
    let m = import(&proto)?;
    assert_eq!(m.inputs()[0].name, "x");
    assert_eq!(m.inputs()[0].declared.as_ref().unwrap().to_string(), "float[2]");
    assert_eq!(m.outputs()[0].name, "y");
    let meta = m.metadata();
    assert_eq!((meta.ir_version, meta.producer_name.as_str()), (10, "tests"));
    assert_eq!(meta.opsets, [("ai.onnx".to_string(), 17)]);
    assert_eq!(meta.properties, [("k".to_string(), "v".to_string())]);
    assert_eq!(m.graph().nodes[0].path(), "act (Relu)");
    let out = m.reference().run(&[("x", x())])?;
    assert_eq!((out[0].0.as_str(), out[0].1.to_f64s()?), ("y", vec![0.0, 2.0]));
    assert_eq!(m.reference().run_all(&[("x", x())])?.len(), 1);
    assert_eq!(Model::from_reader(proto.encode_to_vec().as_slice())?.inputs(), m.inputs());
    Ok(())
}

#[test]
fn nodes_out_of_order_are_sorted_and_names_made_unique() -> Result<()> {
    let nodes = vec![named("n", node("Relu", &["b"], &["y"])), named("n", node("Relu", &["x"], &["b"]))];
    let m = import(&model(graph(&["x"], &["y"], nodes)))?;
    let names: Vec<&str> = m.graph().nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["n", "n_1"]);
    let m = import(&model(graph(&["x"], &["y"], vec![node("Relu", &["x"], &["y"])])))?;
    assert_eq!(m.graph().nodes[0].name, "y");
    Ok(())
}

#[test]
fn initialisers_are_constants_even_when_they_are_inputs() -> Result<()> {
    let mut proto = model(graph(&["w"], &["y"], vec![node("Relu", &["w"], &["y"])]));
    proto.graph.as_mut().unwrap().initializer.push(tensor_to_proto("w", &x()));
    let m = import(&proto)?;
    assert!(m.inputs().is_empty());
    assert_eq!(m.reference().run(&[])?[0].1.to_f64s()?, [0.0, 2.0]);
    Ok(())
}

#[test]
fn old_broadcasts_align_at_their_axis() -> Result<()> {
    if shadernet::ops::find("", "Add").is_none() {
        return Ok(());
    }
    let int = |name: &str, i: i64| AttributeProto { i: Some(i), ..attr(name, AttributeType::Int) };
    let add = NodeProto { attribute: vec![int("broadcast", 1), int("axis", 0)], ..node("Add", &["x", "w"], &["y"]) };
    let mut m = model(graph(&[], &["y"], vec![add]));
    m.opset_import = vec![opset("", 6)];
    let g = m.graph.as_mut().unwrap();
    g.input = vec![float_value("x", &[2, 3])];
    g.initializer = vec![tensor_to_proto("w", &Tensor::vector(&[10f32, 20.0]))];
    let x = Tensor::new([2, 3], vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
    let y = import(&m)?.reference().run(&[("x", x)])?;
    assert_eq!(y[0].1.to_f64s()?, [10.0, 11.0, 12.0, 23.0, 24.0, 25.0]);
    Ok(())
}

#[test]
fn sparse_initialisers_are_written_out() -> Result<()> {
    let mut proto = model(graph(&[], &["y"], vec![node("Relu", &["w"], &["y"])]));
    proto.graph.as_mut().unwrap().sparse_initializer.push(SparseTensorProto {
        values: Some(tensor_to_proto("w", &Tensor::vector(&[3f32, -1.0]))),
        indices: Some(tensor_to_proto("", &Tensor::vector(&[1i64, 3]))),
        dims: vec![2, 2],
    });
    assert_eq!(import(&proto)?.reference().run(&[])?[0].1.to_f64s()?, [0.0, 3.0, 0.0, 0.0]);
    Ok(())
}

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: s(name),
        domain: s("local"),
        input: own(&["a"]),
        output: own(&["b"]),
        node: nodes,
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..Default::default()
    }
}

fn calling(mut n: NodeProto, functions: Vec<FunctionProto>) -> ModelProto {
    n.domain = s("local");
    let mut m = model(graph(&["x"], &["y"], vec![named("call", n)]));
    m.functions = functions;
    m.opset_import.push(opset("local", 1));
    m
}

fn local(mut n: NodeProto) -> NodeProto {
    n.domain = s("local");
    n
}

#[test]
fn functions_are_inlined() -> Result<()> {
    let inner = function("Inner", vec![node("Relu", &["a"], &["b"])]);
    let outer = vec![local(node("Inner", &["a"], &["t"])), node("Relu", &["t"], &["b"])];
    let m = import(&calling(node("Outer", &["x"], &["y"]), vec![inner, function("Outer", outer)]))?;
    let paths: Vec<String> = m.graph().nodes.iter().map(|n| n.path()).collect();
    assert_eq!(paths, ["call/t/b (Relu)", "call/b (Relu)"]);
    assert_eq!(m.reference().run(&[("x", x())])?[0].0, "y");
    Ok(())
}

#[test]
fn function_attributes_are_substituted() {
    // Relu takes no attribute, so the substituted one shows up in the error; a left-out one must not
    let mut body = node("Relu", &["a"], &["b"]);
    body.attribute = vec![AttributeProto { ref_attr_name: s("k"), ..attr("alpha", AttributeType::Int) }];
    let mut f = function("F", vec![body]);
    f.attribute = own(&["k"]);
    assert!(import(&calling(node("F", &["x"], &["y"]), vec![f.clone()])).is_ok());
    let mut call = node("F", &["x"], &["y"]);
    call.attribute = vec![AttributeProto { i: Some(3), ..attr("k", AttributeType::Int) }];
    let text = message(&calling(call.clone(), vec![f.clone()]));
    assert!(text.contains("unknown attribute alpha") && text.contains("call (local::F)"), "{text}");
    call.attribute[0].name = s("other");
    assert!(message(&calling(call, vec![f.clone()])).contains("unknown attribute other"));
    f.attribute.clear();
    f.attribute_proto = vec![AttributeProto { i: Some(3), ..attr("k", AttributeType::Int) }];
    assert!(message(&calling(node("F", &["x"], &["y"]), vec![f])).contains("unknown attribute alpha"));
}

#[test]
fn recursive_functions_and_explosions_are_refused() {
    let f = function("F", vec![local(node("F", &["a"], &["b"]))]);
    assert!(message(&calling(node("F", &["x"], &["y"]), vec![f])).contains("\"F\" calls itself"));

    // each function calls the next twice: 2^30 nodes
    let level = |i: usize| {
        let next = format!("F{}", i + 1);
        let body = if i == 30 {
            vec![node("Relu", &["a"], &["b"])]
        } else {
            vec![local(node(&next, &["a"], &["t"])), local(node(&next, &["t"], &["b"]))]
        };
        function(&format!("F{i}"), body)
    };
    let m = calling(node("F0", &["x"], &["y"]), (0..=30).map(level).collect());
    let limits = Limits { nodes: 1000, ..Limits::default() };
    let e = Model::from_proto(&m, &ImportOptions { limits, ..Default::default() }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Limit, "{e}");
}

#[test]
fn bodies_list_the_outer_values_they_use() -> Result<()> {
    if shadernet::ops::find("", "If").is_none() {
        return Ok(());
    }
    let then = graph(&[], &["t"], vec![node("Relu", &["x"], &["t"])]);
    let nested = graph(&[], &["n"], vec![node("Exp", &["u"], &["n"])]);
    let branch = |c: &str, then: GraphProto, otherwise: GraphProto, out: &str| NodeProto {
        attribute: vec![
            AttributeProto { g: Some(then), ..attr("then_branch", AttributeType::Graph) },
            AttributeProto { g: Some(otherwise), ..attr("else_branch", AttributeType::Graph) },
        ],
        ..node("If", &[c], &[out])
    };
    let otherwise = graph(&[], &["e"], vec![branch("c", nested.clone(), nested, "e")]);
    let mut proto = model(graph(&["x"], &["y"], vec![]));
    let g = proto.graph.as_mut().unwrap();
    // the If stands before the node whose output only a nested body reads
    g.node = vec![branch("c", then, otherwise, "y"), node("Relu", &["x"], &["u"])];
    g.input.push(value("c"));
    let m = import(&proto)?;
    let text = shadernet::ir::print(m.graph());
    let node = m.graph().nodes.last().unwrap();
    assert_eq!(node.inputs.len(), 4, "c, and the captured x, u, c: {text}");
    for body in node.operator.op.bodies() {
        assert_eq!((body.captures, body.inputs.len()), (3, 3), "{text}");
    }
    assert_eq!(shadernet::ir::print(&shadernet::ir::parse(&text)?), text);
    for (c, want) in [(true, [0.0, 2.0]), (false, [1.0, 2f64.exp()])] {
        let out = m.reference().run(&[("x", x()), ("c", Tensor::scalar(c))])?;
        out[0].1.to_f64s()?.iter().zip(want).for_each(|(a, b)| assert!((a - b).abs() < 1e-5));
    }
    Ok(())
}

#[test]
fn a_model_needs_no_standard_opset() {
    let mut m = model(graph(&["x"], &["x"], vec![]));
    m.opset_import = vec![opset("ai.onnx.ml", 3)];
    assert!(import(&m).is_ok());
    m.graph.as_mut().unwrap().node = vec![node("Relu", &["x"], &["r"])];
    assert!(message(&m).contains("node r (Relu): invalid model: the model imports no opset of ai.onnx"));
}

// ---- what is refused ----

#[test]
fn no_file_and_no_model() {
    let e = Model::load("/does/not/exist.onnx").unwrap_err();
    assert_eq!((e.kind(), e.file()), (ErrorKind::Io, Some("/does/not/exist.onnx")));
    let folder = Folder::new("nomodel");
    for (name, bytes) in [("empty.onnx", &b""[..]), ("text.onnx", b"hello, this is text")] {
        let path = folder.write(name, bytes);
        let e = Model::load(&path).unwrap_err();
        assert_eq!((e.kind(), e.file()), (ErrorKind::InvalidModel, path.to_str()), "{e}");
    }
    assert_eq!(Model::load(&folder.0).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_truncated_file_names_itself() {
    let folder = Folder::new("truncated");
    let bytes = relu().encode_to_vec();
    let path = folder.write("cut.onnx", &bytes[..bytes.len() - 12]);
    let text = Model::load(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: invalid model: not an ONNX model, or cut short", path.display())), "{text}");
}

#[test]
fn all_unknown_operators_are_named_at_once() {
    let nodes = vec![
        named("a", node("NoSuchOp", &["x"], &["t"])),
        named("b", node("NoSuchOp", &["t"], &["u"])),
        named("c", NodeProto { domain: s("com.example"), ..node("Other", &["u"], &["y"]) }),
    ];
    let mut m = model(graph(&["x"], &["y"], nodes));
    m.opset_import.push(opset("com.example", 2));
    assert_eq!(
        message(&m),
        "unsupported: unknown operator NoSuchOp, opset 17 (node a (NoSuchOp) and 1 more); \
         unknown operator com.example::Other, opset 2 (node c (com.example::Other))"
    );
    let one = model(graph(&["x"], &["y"], vec![named("a", node("NoSuchOp", &["x"], &["y"]))]));
    assert_eq!(message(&one), "node a (NoSuchOp): unsupported: unknown operator NoSuchOp, opset 17");
}

#[test]
fn an_attribute_that_nobody_reads() {
    let mut m = relu();
    m.graph.as_mut().unwrap().node[0].attribute =
        vec![AttributeProto { i: Some(1), ..attr("slope", AttributeType::Int) }];
    assert_eq!(message(&m), "node act (Relu): unsupported: unknown attribute slope, opset 17");
    let twice = m.graph.as_ref().unwrap().node[0].attribute[0].clone();
    m.graph.as_mut().unwrap().node[0].attribute.push(twice);
    assert_eq!(message(&m), "node act (Relu): invalid model: attribute slope is given twice");
    let outside = AttributeProto { ref_attr_name: s("k"), ..attr("slope", AttributeType::Int) };
    m.graph.as_mut().unwrap().node[0].attribute = vec![outside];
    assert!(message(&m).contains("attribute slope: refers to \"k\" outside a function"));
}

#[test]
fn opsets_beyond_what_is_known() {
    let mut m = relu();
    m.opset_import = vec![opset("", 999)];
    assert_eq!(message(&m), "unsupported: opset 999 of ai.onnx: the newest known is 28");
    m.opset_import = vec![opset("", 13), opset("ai.onnx", 14)];
    assert_eq!(message(&m), "invalid model: ai.onnx is imported with two opsets");
    m.opset_import = vec![opset("", 3)];
    m.graph.as_mut().unwrap().node[0].op_type = s("NoSuchOp");
    assert!(message(&m).contains("since opset 7"));
}

#[test]
fn names_that_come_twice() {
    let two = |a: NodeProto, b: NodeProto| message(&model(graph(&["x"], &["y"], vec![a, b])));
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to]);
    let text = two(named("p", relu("x", "y")), named("q", relu("x", "y")));
    assert_eq!(text, "invalid model: value \"y\" is made by p (Relu) and by q (Relu)");
    let text = two(named("p", relu("x", "x")), named("q", relu("x", "y")));
    assert!(text.contains("\"x\" is defined twice") || text.contains("cycle"), "{text}");
    assert!(message(&model(graph(&["x", "x"], &["x"], vec![]))).contains("\"x\" is defined twice"));
    let mut m = model(graph(&[], &["w"], vec![]));
    m.graph.as_mut().unwrap().initializer = vec![tensor_to_proto("w", &x()), tensor_to_proto("w", &x())];
    assert!(message(&m).contains("\"w\" is defined twice"));
}

#[test]
fn cycles_and_values_from_nowhere() {
    let nodes = vec![named("p", node("Relu", &["b"], &["a"])), named("q", node("Relu", &["a"], &["b"]))];
    let text = message(&model(graph(&["x"], &["b"], nodes)));
    assert!(text.contains("cycle through p (Relu)") || text.contains("cycle through q (Relu)"), "{text}");
    let m = model(graph(&["x"], &["y"], vec![named("p", node("Relu", &["gone"], &["y"]))]));
    assert_eq!(message(&m), "node p (Relu): invalid model: input 0: nothing makes \"gone\"");
    assert!(message(&model(graph(&["x"], &["y"], vec![]))).contains("output \"y\" is never made"));
}

// ---- external data ----

fn external(location: &str, offset: &str, length: Option<&str>) -> ModelProto {
    let entry = |k: &str, v: &str| StringStringEntryProto { key: s(k), value: s(v) };
    let mut entries = vec![entry("location", location), entry("offset", offset)];
    entries.extend(length.map(|l| entry("length", l)));
    let mut m = model(graph(&[], &["y"], vec![named("act", node("Relu", &["w"], &["y"]))]));
    m.graph.as_mut().unwrap().initializer.push(TensorProto {
        name: s("w"),
        data_type: Some(1),
        dims: vec![2],
        data_location: Some(DataLocation::External as i32),
        external_data: entries,
        ..Default::default()
    });
    m
}

fn load_external(folder: &Folder, m: &ModelProto) -> Result<Model> {
    let path = folder.write("models/m.onnx", &m.encode_to_vec());
    Model::load(path)
}

#[test]
fn external_data_is_read_in_place() -> Result<()> {
    let folder = Folder::new("external");
    let floats: Vec<u8> = [9f32, -1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    folder.write("models/data/w.bin", &floats);
    for (offset, length, want) in [("4", Some("8"), [0.0, 2.0]), ("0", None, [9.0, 0.0])] {
        let m = load_external(&folder, &external("data/w.bin", offset, length))?;
        assert_eq!(m.reference().run(&[])?[0].1.to_f64s()?, want);
    }
    let fails = |offset: &str, length: Option<&str>, part: &str| {
        let e = load_external(&folder, &external("data/w.bin", offset, length)).unwrap_err();
        let text = e.to_string();
        assert_eq!(e.kind(), ErrorKind::InvalidModel, "{text}");
        assert!(text.contains("m.onnx") && text.contains("\"w\"") && text.contains(part), "{text}");
    };
    fails("8", Some("8"), "lie beyond its 12 bytes");
    fails("18446744073709551615", None, "lie beyond its 12 bytes");
    fails("0", Some("4"), "8 bytes expected, length is 4");
    fails("-1", None, "offset \"-1\"");
    let bytes = external("data/w.bin", "0", None).encode_to_vec();
    assert_eq!(Model::from_bytes(&bytes).unwrap_err().kind(), ErrorKind::Io);
    Ok(())
}

/// What the caller has in memory goes before the folder, and needs none.
#[test]
fn external_data_may_be_in_memory() -> Result<()> {
    let bytes = |x: [f32; 2]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let folder = Folder::new("external-memory");
    folder.write("data/w.bin", &bytes([1.0, 2.0]));
    let m = external("data/w.bin", "0", None).encode_to_vec();
    let mut files = [("data/w.bin".to_string(), bytes([3.0, -4.0]).into())].into();
    for folder in [None, Some(folder.0.clone())] {
        let options = ImportOptions { folder, files, ..Default::default() };
        let made = Model::from_vec(m.clone(), &options)?.reference().run(&[])?;
        assert_eq!(made[0].1.to_f64s()?, [3.0, 0.0]);
        files = options.files;
    }
    let short = [("data/w.bin".to_string(), vec![0; 7].into())].into();
    let e = Model::from_vec(m, &ImportOptions { files: short, ..Default::default() }).unwrap_err();
    assert!(e.to_string().contains("8 bytes from 0 lie beyond its 7 bytes"), "{e}");
    Ok(())
}

#[test]
fn external_data_stays_in_the_folder() {
    let folder = Folder::new("climb");
    let secret = folder.write("secret.bin", &[0; 8]);
    folder.write("models/inside.bin", &[0; 8]);
    let refused = |location: &str| {
        let e = load_external(&folder, &external(location, "0", None)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel, "{e}");
        let text = e.to_string();
        assert!(text.contains("leaves the model's folder") && text.contains(location), "{text}");
        assert!(text.contains("m.onnx") && !text.contains('\n'), "{text}");
    };
    refused("../secret.bin");
    refused("sub/../../secret.bin");
    refused(secret.to_str().unwrap());
    refused("");
    #[cfg(unix)]
    {
        let link =
            |from: &Path, name: &str| std::os::unix::fs::symlink(from, folder.0.join("models").join(name)).unwrap();
        link(&secret, "link.bin");
        link(&folder.0, "up");
        link(Path::new("inside.bin"), "alias.bin");
        refused("link.bin");
        refused("up/secret.bin");
        assert!(load_external(&folder, &external("alias.bin", "0", None)).is_ok());
    }
    let gone = load_external(&folder, &external("gone.bin", "0", None)).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Io, "{gone}");
    let directory = load_external(&folder, &external(".", "0", None)).unwrap_err();
    assert_eq!(directory.kind(), ErrorKind::Io, "{directory}");
}

// ---- damaged bytes ----

fn rich() -> ModelProto {
    let mut m = calling(node("F", &["x"], &["y"]), vec![function("F", vec![node("Relu", &["a"], &["b"])])]);
    let g = m.graph.as_mut().unwrap();
    g.initializer = vec![tensor_to_proto("w", &x()), tensor_to_proto("i", &Tensor::vector(&[1i64, 2, 3]))];
    g.sparse_initializer = vec![SparseTensorProto {
        values: Some(tensor_to_proto("z", &x())),
        indices: Some(tensor_to_proto("", &Tensor::vector(&[1i64, 3]))),
        dims: vec![2, 2],
    }];
    g.value_info = vec![float_value("w", &[2])];
    let body = graph(&[], &["t"], vec![node("Relu", &["x"], &["t"])]);
    let with_body = AttributeProto { g: Some(body), ..attr("then_branch", AttributeType::Graph) };
    g.node.push(NodeProto { attribute: vec![with_body], ..node("If", &["w"], &["v"]) });
    m
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = rich().encode_to_vec();
    let limits = Limits { sparse_elements: 1 << 16, nodes: 1000, ..Limits::default() };
    let options = ImportOptions { limits, ..Default::default() };
    for end in 0..bytes.len() {
        let _ = Model::from_bytes_with(&bytes[..end], &options);
    }
    let mut rng = Rng::new(7);
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(damaged.len());
            damaged[at] = rng.next_u64() as u8;
        }
        let _ = Model::from_bytes_with(&damaged, &options);
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let mut g = graph(&[], &[], vec![]);
    for _ in 0..200 {
        let a = AttributeProto { g: Some(g), ..attr("body", AttributeType::Graph) };
        g = graph(&[], &[], vec![NodeProto { attribute: vec![a], ..node("If", &[], &[]) }]);
    }
    let m = model(g);
    assert!(import(&m).is_err());
    let e = Model::from_proto(&m, &ImportOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Limit);
}

#[test]
fn the_runner_checks_inputs() {
    let m = import(&relu()).unwrap();
    let e = m.reference().run(&[("z", x())]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert_eq!(run(&relu()).unwrap(), [0.0, 2.0]);
}

/// Models that once panicked, or blamed the library (`tools/fuzz.sh`); their inputs are numbers.
#[test]
fn what_fuzzing_found_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/findings");
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let m = Model::load(&file).unwrap();
        let inputs: Vec<(&str, Tensor)> =
            m.inputs().iter().map(|i| (i.name.as_str(), Tensor::scalar(1.5f32))).collect();
        let e = m.reference().run(&inputs).map(|_| ()).unwrap_err();
        assert_ne!(e.kind(), ErrorKind::Internal, "{}: {e}", file.display());
    }
}
