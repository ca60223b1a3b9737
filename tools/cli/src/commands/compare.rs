use std::path::PathBuf;

use shadernet::import::ImportOptions;
use shadernet::ir::{Graph, Node, ValueId};
use shadernet::{Limits, Model, Result, Session, SessionOptions, Tensor};

use crate::compare::{OF_GREATEST, RTOL, compare};
use crate::inputs::InputArgs;
use crate::output;
use crate::place::{Place, named};

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// List every node, not only those beyond their tolerance.
    #[arg(long)]
    all: bool,
    /// GiB that the reference's values, all of which are kept, may take.
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    memory: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Each node alone, on the inputs that the reference computed, so that a node is blamed for its own error only.
pub fn run(args: &Args) -> Result<bool> {
    let limits = Limits { memory: args.memory.saturating_mul(1 << 30), ..Limits::default() };
    let model = Model::load_with(&args.model, &ImportOptions { limits, ..ImportOptions::default() })?;
    let inputs = args.inputs.make(&model)?;
    let gpu = args.place.gpu()?;
    let options = args.place.session_options();
    let values = model.reference().run_values(&named(&inputs))?;
    let graph = model.graph();
    let bar = output::bar(graph.nodes.len() as u64, "comparing");
    let (mut rows, mut bad) = (vec![], 0);
    for node in &graph.nodes {
        let alone = node_alone(graph, node, |v| values.get(&v).cloned());
        let outcome = run_alone(&gpu, &alone, &options);
        bar.inc(1);
        let (status, detail, rel) = match outcome {
            Err(e) => ("error", e.to_string(), f64::NAN),
            Ok(got) => judge(&got, &alone),
        };
        bad += (status != "ok") as usize;
        if args.all || status != "ok" {
            rows.push((node.path(), status, detail, rel));
        }
    }
    bar.finish_and_clear();
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(n, s, d, r)| serde_json::json!({"node": n, "status": s, "detail": d, "max_rel": r}))
            .collect();
        println!("{}", serde_json::json!({"nodes": graph.nodes.len(), "bad": bad, "rows": rows}));
    } else {
        rows.iter().for_each(|(n, s, d, r)| println!("{s:6} {n}  max rel {r:.2e}  {d}"));
        match rows.iter().find(|r| r.1 != "ok") {
            Some((first, ..)) => println!("{bad} of {} nodes differ; the first is {first}", graph.nodes.len()),
            None => println!("all {} nodes are within their operators' tolerances", graph.nodes.len()),
        }
    }
    Ok(bad == 0)
}

/// One node as a graph, its inputs and the outputs that the reference computed.
struct Alone {
    graph: Graph,
    inputs: Vec<Tensor>,
    want: Vec<Tensor>,
}

fn node_alone(graph: &Graph, node: &Node, value: impl Fn(ValueId) -> Option<Tensor>) -> Alone {
    let mut alone = Graph::new(&node.name);
    let (mut data, mut want) = (vec![], vec![]);
    let mut copy = node.clone();
    for (slot, old) in copy.inputs.iter_mut().zip(&node.inputs) {
        let Some(old) = old else { continue };
        let (v, t) = (graph.value(*old), value(*old));
        let id = match (&v.constant, t) {
            (Some(c), _) => alone.add_constant(&v.name, c.clone()),
            (None, Some(t)) => {
                let id = alone.add_value(&v.name, None);
                alone.inputs.push(id);
                data.push(t);
                id
            }
            (None, None) => continue,
        };
        *slot = Some(id);
    }
    for (slot, old) in copy.outputs.iter_mut().zip(&node.outputs) {
        let Some(t) = old.and_then(&value) else {
            *slot = None;
            continue;
        };
        let id = alone.add_value(format!("out{}", want.len()), None);
        alone.outputs.push(id);
        want.push(t);
        *slot = Some(id);
    }
    alone.nodes.push(copy);
    Alone { graph: alone, inputs: data, want }
}

fn run_alone(gpu: &shadernet::Gpu, alone: &Alone, options: &SessionOptions) -> Result<Vec<Tensor>> {
    let session = Session::from_graph(gpu, &alone.graph, options)?;
    pollster::block_on(session.run_ordered(&alone.inputs))
}

/// Operators that draw other numbers in each session where they have no seed.
const DRAWS: [&str; 6] =
    ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"];

fn judge(got: &[Tensor], alone: &Alone) -> (&'static str, String, f64) {
    let node = &alone.graph.nodes[0];
    let seeded = node.operator.attrs.iter().any(|(name, _)| name == "seed");
    let same_shapes = || alone.want.iter().zip(got).all(|(w, g)| w.shape() == g.shape());
    if DRAWS.contains(&node.operator.op_type.as_str()) && !seeded && same_shapes() {
        return ("ok", "drawn anew".into(), f64::NAN);
    }
    // what holds a network is as exact as networks are
    let network = node.operator.op.bodies().iter().any(|b| b.nodes.len() > 1);
    // the longest sum a node can take: the elements of an input that go into one element along its first dim
    let constants = alone.graph.values().filter_map(|(_, v)| v.constant.as_ref());
    let row = |t: &Tensor| t.len() / t.shape().first().copied().unwrap_or(1).max(1);
    let sum = constants.chain(&alone.inputs).map(row).max().unwrap_or(1);
    let mut worst = 0.0f64;
    for (g, w) in got.iter().zip(&alone.want) {
        let tolerance = node.operator.op.tolerance(w.dtype(), sum);
        let scale = w.to_f64s().map_or(0.0, |x| x.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs())));
        let (rel, abs) = if network { (RTOL, OF_GREATEST) } else { (tolerance.rel, tolerance.abs) };
        let d = compare(g, w, rel, abs * scale);
        worst = worst.max(d.max_rel);
        if let Some(why) = d.wrong {
            return ("wrong", why, worst);
        }
    }
    ("ok", String::new(), worst)
}
