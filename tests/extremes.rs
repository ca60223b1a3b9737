//! Extreme numbers in every attribute, index and shape of every operator's cases, and inputs that are left out: the reference and the planner may refuse
//! them, and must not panic, hang, call them a fault of the library, or take memory that nobody allowed.

mod common;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use common::child;
use shadernet::ir::{Attr, Attrs, Graph, Node, Operator, TensorType, ValueId};
use shadernet::kernels::Profile;
use shadernet::ops::{Case, CaseInput, NodeInfo};
use shadernet::plan::{End, Fallback, Known, Planned, plan};
use shadernet::{DType, ErrorKind, Limits, Rng, Tensor, cpu, ops, passes};

const INTS: &[i64] = &[
    0,
    -1,
    1,
    2,
    -2,
    7,
    255,
    1 << 20,
    1 << 31,
    1 << 32,
    -(1 << 31),
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
];
const FLOATS: &[f64] = &[0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 1e-40];

/// Numbers of a list that are replaced; the others are alike.
const PLACES: usize = 3;

/// The case and what was done to it.
fn variants(case: &Case) -> Vec<(String, Case, bool)> {
    let mut out = vec![];
    let mut add = |what: String, case: Case| out.push((what, case, true));
    for (name, attr) in &case.attrs {
        let mut with = |value: Attr| add(format!("{name} {value:?}"), case.clone().attr(name, value));
        match attr {
            Attr::Int(_) => INTS.iter().for_each(|i| with(Attr::Int(*i))),
            Attr::Float(_) => FLOATS.iter().for_each(|f| with(Attr::Float(*f as f32))),
            Attr::Ints(list) => {
                for at in 0..list.len().min(PLACES) {
                    for i in INTS {
                        let mut list = list.clone();
                        list[at] = *i;
                        with(Attr::Ints(list));
                    }
                }
                with(Attr::Ints(vec![]));
                with(Attr::Ints([&list[..], &[1]].concat()));
                with(Attr::Ints(list[..list.len().saturating_sub(1)].to_vec()));
            }
            Attr::Floats(list) => {
                with(Attr::Floats(vec![]));
                with(Attr::Floats(list.iter().map(|_| f32::NAN).collect()));
            }
            _ => {}
        }
    }
    for (i, input) in case.inputs.iter().enumerate() {
        let shape = matches!(input, CaseInput::Random { .. });
        let mut with = |what: String, input: CaseInput| {
            let mut case = case.clone();
            case.inputs[i] = input;
            out.push((format!("input {i} {what}"), case, shape));
        };
        let (t, constant) = match input {
            CaseInput::Constant(t) => (t, true),
            CaseInput::Value(t) => (t, false),
            CaseInput::Random { dtype, shape, low, high } => {
                for d in 0..shape.len().min(PLACES) {
                    for n in [0, 1, shape[d] + 1] {
                        let mut shape = shape.clone();
                        shape[d] = n;
                        let input = CaseInput::Random { dtype: *dtype, shape: shape.clone(), low: *low, high: *high };
                        with(format!("{shape:?}"), input);
                    }
                }
                let ranks = [vec![], [&shape[..], &[1]].concat(), vec![1; 12]];
                for shape in ranks {
                    let input = CaseInput::Random { dtype: *dtype, shape: shape.clone(), low: *low, high: *high };
                    with(format!("{shape:?}"), input);
                }
                continue;
            }
            CaseInput::Absent => continue,
        };
        let wrap = |t: Tensor| if constant { CaseInput::Constant(t) } else { CaseInput::Value(t) };
        if matches!(t.dtype(), DType::I64 | DType::I32) {
            for at in 0..t.len().min(PLACES) {
                for n in INTS {
                    let Ok(mut all) = t.to_i128s() else { continue };
                    all[at] = i128::from(*n);
                    let made = Tensor::from_i128s(t.dtype(), t.shape(), all);
                    made.into_iter().for_each(|t| with(format!("{t:?}"), wrap(t)));
                }
            }
        } else if t.dtype().is_float() {
            for f in FLOATS {
                let made = Tensor::from_f64s(t.dtype(), t.shape(), vec![*f; t.len()]);
                made.into_iter().for_each(|t| with(format!("{t:?}"), wrap(t)));
            }
        }
        let empty = Tensor::zeros(t.dtype(), [0]);
        with("empty".into(), wrap(empty));
    }
    out
}

/// A node, and what it makes.
fn function(g: &mut Graph, op: &str, inputs: &[ValueId]) -> (ValueId, Node) {
    let y = g.add_value(format!("{op} {}", g.nodes.len()), None);
    let operator = Operator::new("", op, Attrs::new(), &NodeInfo::full(13, inputs.len(), 1)).unwrap();
    let inputs = inputs.iter().copied().map(Some).collect();
    (y, Node { name: op.into(), operator, inputs, outputs: vec![Some(y)] })
}

/// The case's operator without some or all of its inputs, between functions of single elements that passes may join to it.
fn left_out(case: &Case) -> Vec<(String, Graph, Vec<Tensor>)> {
    let Ok((graph, mut inputs)) = case.build(&mut Rng::new(1)) else { return vec![] };
    inputs.push(Tensor::vector(&[2f32]));
    let whole = graph.nodes[0].inputs.clone();
    let mut lists: Vec<Vec<Option<ValueId>>> = (0..whole.len()).map(|n| whole[..n].to_vec()).collect();
    for i in 0..whole.len() {
        let mut list = whole.clone();
        list[i] = None;
        lists.push(list);
    }
    let mut out = vec![];
    for list in lists {
        let present: Vec<bool> = list.iter().map(Option::is_some).collect();
        let what = format!("inputs {present:?}");
        let info = NodeInfo { inputs: present, ..NodeInfo::full(case.opset, 0, case.outputs) };
        let Ok(operator) = Operator::new(case.domain, case.op, case.attrs.clone(), &info) else { continue };
        let mut g = graph.clone();
        g.nodes[0] = Node { operator, inputs: list, ..g.nodes[0].clone() };
        let by = g.add_value("by", None);
        g.inputs.push(by);
        if let Some(first) = g.nodes[0].inputs.first().copied().flatten() {
            let (x, relu) = function(&mut g, "Relu", &[first]);
            g.nodes[0].inputs[0] = Some(x);
            g.nodes.insert(0, relu);
        }
        for op in ["Mul", "Sub"] {
            let read = [g.outputs[0], by];
            let (y, node) = function(&mut g, op, &read);
            g.nodes.push(node);
            g.outputs = vec![y];
        }
        out.push((what, g, inputs.clone()));
    }
    out
}

/// What is wrong with how the reference and the planner take it; `of_types` says that only types and attributes are odd,
/// so that what the one refuses the other must refuse too.
fn judge(case: &Case, of_types: bool) -> Option<String> {
    let (graph, inputs) = case.build(&mut Rng::new(1)).ok()?;
    judge_graph(graph, &inputs, of_types)
}

fn judge_graph(mut graph: Graph, inputs: &[Tensor], of_types: bool) -> Option<String> {
    graph.limits = Limits { memory: 8 << 20, iterations: 100, ..Limits::default() };
    let internal = |way: &str, e: shadernet::Error| (e.kind() == ErrorKind::Internal).then(|| format!("{way}: {e}"));
    match (cpu::run(&graph, inputs), planned(&graph, inputs)) {
        // shaders do not check what is planned
        (Err(e), Ok(true)) if of_types && e.kind() == ErrorKind::InvalidNode && !of_data(&e) => {
            Some(format!("planned in spite of {e}"))
        }
        (a, b) => a.err().and_then(|e| internal("reference", e)).or_else(|| b.err().and_then(|e| internal("plan", e))),
    }
}

/// Whether it is the data that is refused: numbers that lead outside a table, which kernels clamp.
fn of_data(e: &shadernet::Error) -> bool {
    ["index ", "position ", "element ", "place ", "column ", "a region of image", "length "]
        .iter()
        .any(|w| e.message().starts_with(w))
        || e.message().contains(" rows from ")
}

/// Plans, and tells whether all of it is for the device.
fn planned(graph: &Graph, inputs: &[Tensor]) -> shadernet::Result<bool> {
    let mut graph = graph.clone();
    passes::run(&mut graph, &[])?;
    let mut known = Known::default();
    for (id, v) in graph.values() {
        if let Some(c) = &v.constant {
            known.types.insert(id, TensorType::new(c.dtype(), c.shape()));
            known.values.insert(id, c.clone());
        }
    }
    for (id, t) in graph.inputs.iter().zip(inputs) {
        known.types.insert(*id, TensorType::new(t.dtype(), t.shape()));
        // small integers are known to a plan, floats are not
        if !t.dtype().is_float() {
            known.values.insert(*id, t.clone());
        }
    }
    plan(&Arc::new(graph), &Arc::new(Profile::base()), 0, known, Fallback::Deny)
        .map(|p| matches!(p, Planned::Segment(s) if s.end == End::Done))
}

/// All operators, each once: the process is begun anew behind one that ends it.
fn names() -> Vec<String> {
    let wanted = common::wanted();
    ops::all().filter(|d| wanted(d.name)).map(|d| ops::qualified(d.domain, d.name)).collect()
}

#[test]
fn no_number_breaks_an_operator() {
    let failures = child::run_all("the_child", names().len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "what the test above runs in a process of its own"]
fn the_child() {
    let wanted = common::wanted();
    let all: Vec<_> = ops::all().filter(|d| wanted(d.name)).collect();
    let mut count = 0;
    let place = Arc::new(Mutex::new(String::new()));
    let seen = place.clone();
    std::panic::set_hook(Box::new(move |info| *seen.lock().unwrap() = info.to_string()));
    child::each(&names(), |i| {
        let (mut faults, mut known) = (vec![], HashSet::new());
        let cases = (all[i].cases)();
        let lists = cases.iter().take(8).flat_map(left_out);
        let lists = lists.map(|(what, g, inputs)| {
            let judge: Box<dyn Fn() -> Option<String>> = Box::new(move || judge_graph(g.clone(), &inputs, false));
            (what, judge)
        });
        let odd = cases.iter().flat_map(variants).map(|(what, case, of_types)| {
            let judge: Box<dyn Fn() -> Option<String>> = Box::new(move || judge(&case, of_types));
            (what, judge)
        });
        for (what, judge) in lists.chain(odd) {
            count += 1;
            child::within(&format!("{what:.80}"));
            let start = std::time::Instant::now();
            let got = catch_unwind(AssertUnwindSafe(judge));
            let fault = got.unwrap_or_else(|_| Some(place.lock().unwrap().clone()));
            if let Some(f) = fault.filter(|f| known.insert(f.clone())) {
                faults.push(format!("{what:.80}: {f:.200}"));
            }
            if start.elapsed().as_secs() >= 5 {
                faults.push(format!("{what:.80}: takes {:?}", start.elapsed()));
            }
        }
        faults.truncate(6);
        faults.join("; ")
    });
    let _ = std::panic::take_hook();
    println!("{count} cases");
}
