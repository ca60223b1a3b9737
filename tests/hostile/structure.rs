//! Graphs, names, functions, control flow and messages that contradict themselves or do not end.

use super::*;

fn relu(from: &str, to: &str) -> NodeProto {
    node("Relu", &[from], &[to])
}

/// Messages within each other: the fields of `path`, then those of `cycle` again and again.
fn nested(path: &[u8], cycle: &[u8], depth: usize) -> Vec<u8> {
    let mut bytes = vec![];
    let fields: Vec<u8> = path.iter().chain(cycle.iter().cycle()).copied().take(depth).collect();
    for field in fields.into_iter().rev() {
        let mut out = vec![];
        prost::encoding::encode_key(field.into(), prost::encoding::WireType::LengthDelimited, &mut out);
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.append(&mut bytes);
        bytes = out;
    }
    bytes
}

/// `If` within `If`, `depth` deep.
fn nested_ifs(depth: usize) -> GraphProto {
    let inner = match depth {
        0 => relu("x", "y"),
        _ => {
            let branch = || GraphProto { input: vec![], ..nested_ifs(depth - 1) };
            // one branch only is deep, or the file would be
            let other = GraphProto { input: vec![], ..graph(vec![], vec![relu("x", "y")]) };
            with("If", &["c"], &["y"], vec![body("then_branch", branch()), body("else_branch", other)])
        }
    };
    graph(vec![constant("c", Tensor::scalar(true))], vec![inner])
}

/// A loop's body: condition `next` from the nodes, `s` carried to `t`.
fn step(nodes: Vec<NodeProto>, next: &str, scans: &[&str]) -> AttributeProto {
    let scalar = |name, kind| value(name, Some(kind), &[]);
    let input = vec![scalar("i", tensor_proto::DataType::Int64), scalar("c", tensor_proto::DataType::Bool), open("s")];
    let output = [next, "t"].iter().chain(scans).map(|n| open(n)).collect();
    body("body", GraphProto { name: s("body"), input, output, node: nodes, ..Default::default() })
}

/// A loop from `x` to `y`; `trips` and the condition are constants, or left out.
fn looped(trips: Option<i64>, condition: bool, step: AttributeProto, outputs: &[&str]) -> ModelProto {
    let mut constants = vec![constant("go", Tensor::scalar(true))];
    constants.extend(trips.map(|m| constant("m", Tensor::scalar(m))));
    let (m, go) = (if trips.is_some() { "m" } else { "" }, if condition { "go" } else { "" });
    one(constants, with("Loop", &[m, go, "x"], outputs, vec![step]))
}

/// True as long as numbers are no less than themselves: no pass sees that.
fn always() -> Vec<NodeProto> {
    vec![
        node("Add", &["s", "s"], &["t"]),
        node("ReduceMax", &["t"], &["top"]),
        node("Reshape", &["top", "none"], &["flat"]),
        node("GreaterOrEqual", &["flat", "flat"], &["next"]),
    ]
}

fn functions(name: &'static str, functions: Vec<FunctionProto>) -> Hostile {
    let m = ModelProto { functions, ..one(vec![], call("F0", "x", "y")) };
    Hostile::new(name, &m, &[InvalidModel, Limit])
}

fn name(i: usize) -> String {
    format!("F{i}")
}

pub fn all() -> Vec<Hostile> {
    let invalid = &[InvalidModel][..];
    let graphs = [
        ("no graph", ModelProto { graph: None, ..model(GraphProto::default()) }),
        ("cycle", model(graph(vec![], vec![relu("b", "y"), relu("y", "b")]))),
        ("node feeds itself", model(graph(vec![], vec![relu("y", "y")]))),
        ("value made twice", model(graph(vec![], vec![relu("x", "y"), relu("x", "y")]))),
        ("value made over an input", model(graph(vec![], vec![relu("x", "x"), relu("x", "y")]))),
        ("initialiser twice", one(vec![longs("k", &[1]), longs("k", &[2])], relu("x", "y"))),
        ("output never made", model(graph(vec![], vec![relu("x", "z")]))),
        ("input never made", model(graph(vec![], vec![relu("nowhere", "y")]))),
        ("input twice", {
            let mut m = model(graph(vec![], vec![relu("x", "y")]));
            m.graph.as_mut().unwrap().input.push(floats("x", &[2]));
            m
        }),
        ("opset twice", {
            let mut m = model(graph(vec![], vec![relu("x", "y")]));
            m.opset_import.push(opset("", 9));
            m
        }),
        ("attribute twice", one(vec![], with("Softmax", &["x"], &["y"], vec![int("axis", 0), int("axis", 1)]))),
    ];
    let mut all: Vec<Hostile> = graphs.iter().map(|(name, m)| Hostile::new(name, m, invalid)).collect();

    all.push(Hostile::new("ifs too deep", &model(nested_ifs(32)), &[InvalidModel, Limit]));
    all.push(Hostile::raw("graphs in graphs in the message", nested(&[7], &[1, 5, 6], 60_000)));
    all.push(Hostile::raw("types in types in the message", nested(&[7, 11, 2], &[4, 1], 60_000)));
    all.push(Hostile::raw("groups in groups in the message", vec![0x0b; 1 << 20]));
    all.push(Hostile::raw("no message", vec![0xff; 4096]));
    all.push(Hostile::raw("a length beyond the file", [&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x07][..], &[0; 64]].concat()));
    all.push(Hostile::raw("an empty file", vec![]));
    let long = model(graph(vec![], vec![relu("x", "y")])).encode_to_vec();
    all.push(Hostile::raw("cut short", long[..long.len() - 9].to_vec()));
    // a name of bytes that are no text
    let mut bytes = long;
    let at = bytes.windows(4).position(|w| w == b"Relu").unwrap();
    bytes[at] = 0xff;
    all.push(Hostile::raw("a name that is not UTF-8", bytes));

    all.push(functions("function calls itself", vec![function("F0", vec![call("F0", "a", "b")])]));
    let two = ["F0", "F1"].map(|f| function(f, vec![call(if f == "F0" { "F1" } else { "F0" }, "a", "b")]));
    all.push(functions("functions call each other", two.into()));
    let doubling = |i: usize| {
        let next = if i == 40 { "Last".to_string() } else { name(i + 1) };
        function(&name(i), vec![call(&next, "a", "m"), call(&next, "m", "b")])
    };
    let mut laughs: Vec<FunctionProto> = (0..=40).map(doubling).collect();
    laughs.push(function("Last", vec![relu("a", "b")]));
    // depth alone would stop forty levels, so that a shallow one is wide as well
    all.push(functions("functions double forty times", laughs));
    let wide = |i: usize| {
        let next = if i == 9 { "Last".to_string() } else { name(i + 1) };
        let names: Vec<String> = (0..9).map(|k| format!("m{k}")).collect();
        let names: Vec<&str> = std::iter::once("a").chain(names.iter().map(String::as_str)).chain(["b"]).collect();
        function(&name(i), names.windows(2).map(|w| call(&next, w[0], w[1])).collect())
    };
    let mut billion: Vec<FunctionProto> = (0..=9).map(wide).collect();
    billion.push(function("Last", vec![relu("a", "b")]));
    all.push(functions("functions of ten calls of ten calls", billion));
    let deep =
        |i: usize| function(&name(i), vec![if i == 99_999 { relu("a", "b") } else { call(&name(i + 1), "a", "b") }]);
    all.push(functions("calls a hundred thousand deep", (0..100_000).map(deep).collect()));

    let limit = &[Limit][..];
    // where only running tells, a second is a matter of the bounds that the caller sets
    let few = Limits { iterations: 1 << 10, ..Limits::default() };
    let little = Limits { memory: 16 << 20, ..Limits::default() };
    let same = || vec![node("Identity", &["s"], &["t"])];
    all.push(Hostile::new("a billion steps", &looped(Some(1 << 30), true, step(same(), "c", &[]), &["y"]), limit));
    all.push(Hostile::new("endless steps", &looped(Some(i64::MAX), true, step(same(), "c", &[]), &["y"]), limit));
    let endless = looped(None, true, step(same(), "c", &[]), &["y"]);
    all.push(Hostile::new("no end at all", &endless, &[InvalidNode, Limit]));
    let scans = looped(Some(1 << 40), true, step(same(), "c", &["s"]), &["z", "y"]);
    all.push(Hostile::new("a scan of endless steps", &scans, limit));
    let grow = vec![with("Concat", &["s", "s"], &["t"], vec![int("axis", 0)])];
    all.push(
        Hostile::new("doubles in each step", &looped(Some(64), true, step(grow, "c", &[]), &["y"]), limit)
            .within(little),
    );
    let mut never = looped(None, true, step(always(), "next", &[]), &["y"]);
    never.graph.as_mut().unwrap().initializer.push(longs("none", &[]));
    all.push(Hostile::new("a condition that never turns", &never, limit).within(few));
    let inner = |depth: usize| {
        let mut nodes = same();
        for _ in 0..depth {
            nodes = vec![with("Loop", &["m", "go", "s"], &["t"], vec![step(nodes, "c", &[])])];
        }
        looped(Some(3000), true, step(nodes, "c", &[]), &["y"])
    };
    all.push(Hostile::new("loops in loops in loops", &inner(2), limit).within(few));
    let scan = GraphProto {
        input: vec![open("s")],
        output: vec![open("y")],
        node: vec![relu("s", "y")],
        ..Default::default()
    };
    let nodes = vec![
        node("Expand", &["x", "many"], &["long"]),
        with("Scan", &["long"], &["y"], vec![int("num_scan_inputs", 1), body("body", scan)]),
    ];
    all.push(Hostile::new("a scan of millions", &model(graph(vec![longs("many", &[1 << 21, 2])], nodes)), limit));
    all
}
