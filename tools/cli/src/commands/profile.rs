use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use shadernet::{Error, ErrorKind, Model, Result, Session};

use crate::inputs::InputArgs;
use crate::output::quantile;
use crate::place::{Place, named};
use crate::rates::{Rates, wake};

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// Profiled runs, of whose times medians are taken.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Lines of the table by node.
    #[arg(long, default_value_t = 25)]
    top: usize,
    /// Write a trace for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Memory bandwidth in GB/s, for the floor of each dispatch; measured where it is not given.
    #[arg(long, value_name = "GB/S")]
    bandwidth: Option<f64>,
    /// Arithmetic in Gflop/s, likewise.
    #[arg(long, value_name = "GFLOP/S")]
    rate: Option<f64>,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let gpu = args.place.gpu()?;
    let session = Session::new(&gpu, &model, &args.place.session_options())?;
    session.run(&named(&inputs))?;
    wake(&gpu, || session.run(&named(&inputs)).map(drop))?;
    let mut stats = session.profile(&named(&inputs))?;
    let mut times: Vec<Vec<f64>> = stats.timings.iter().map(|t| vec![t.nanos]).collect();
    for _ in 1..args.runs {
        let again = session.profile(&named(&inputs))?;
        times.iter_mut().zip(again.timings).for_each(|(all, t)| all.push(t.nanos));
    }
    for (t, all) in stats.timings.iter_mut().zip(&mut times) {
        all.sort_by(f64::total_cmp);
        t.nanos = quantile(all, 0.5);
    }
    if stats.timings.is_empty() {
        let why = format!("{} has no timestamps", gpu.info().name);
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let rates = Rates::new(&gpu, args.bandwidth, args.rate)?;
    let graph = session.graph();
    let name = |i: usize| graph.nodes.get(i).map_or_else(|| "?".into(), |n| n.path());
    if let Some(file) = &args.trace {
        let events: Vec<_> = stats
            .timings
            .iter()
            .map(|t| {
                json!({"name": t.kernel, "cat": name(t.node), "ph": "X", "pid": 1, "tid": 1,
                       "ts": t.start / 1e3, "dur": t.nanos / 1e3})
            })
            .collect();
        let doc = json!({"traceEvents": events}).to_string();
        std::fs::write(file, doc).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", file.display())))?;
    }
    if args.json {
        let rows: Vec<_> = stats
            .timings
            .iter()
            .map(|t| {
                json!({"node": name(t.node), "kernel": t.kernel, "us": t.nanos / 1e3, "bytes": t.bytes,
                           "flops": t.flops, "floor_us": rates.floor(t.bytes, t.flops) / 1e3})
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(true);
    }
    let total: f64 = stats.timings.iter().map(|t| t.nanos).sum();
    println!("{} dispatches, {:.3} ms on {}", stats.timings.len(), total / 1e6, gpu.info().name);
    let floor: f64 = stats.timings.iter().map(|t| rates.floor(t.bytes, t.flops)).sum();
    println!(
        "floor {:.3} ms ({:.0}%) at {:.1} GB/s and {:.1} Gflop/s",
        floor / 1e6,
        floor / total * 100.0,
        rates.bytes,
        rates.flops
    );
    let mut kernels: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for t in &stats.timings {
        let e = kernels.entry(&t.kernel).or_default();
        *e = (e.0 + 1, e.1 + t.nanos);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    println!("by kernel:");
    for (k, (n, ns)) in kernels {
        println!("  {:9.3} ms {:5.1}% {n:5} x {k}", ns / 1e6, ns / total * 100.0);
    }
    let mut rows: Vec<_> = stats.timings.iter().collect();
    rows.sort_by(|a, b| b.nanos.total_cmp(&a.nanos));
    println!("slowest dispatches (time, of all, the floor's share of it):");
    for t in rows.into_iter().take(args.top) {
        let (part, floor) = (t.nanos / total * 100.0, rates.floor(t.bytes, t.flops) / t.nanos * 100.0);
        println!("  {:9.3} ms {part:5.1}% {floor:4.0}% {}  {}", t.nanos / 1e6, t.kernel, name(t.node));
    }
    Ok(true)
}
