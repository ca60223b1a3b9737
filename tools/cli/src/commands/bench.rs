use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use shadernet::{Model, Result, Tensor};

use crate::inputs::InputArgs;
use crate::output::{self, quantile};
use crate::place::{Backend, Place, Runner, named};

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// Timed runs.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Runs before the timed ones.
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Compare several backends in interleaved rounds: `gpu`, `cpu`, or an adapter's name or number.
    #[arg(long, value_delimiter = ',', value_name = "PLACE,…")]
    places: Vec<String>,
    /// Print JSON: one object for one place, else an array.
    #[arg(long)]
    json: bool,
}

struct Contender {
    adapter: String,
    driver: String,
    backend: String,
    runner: Runner,
    gpu: Option<shadernet::Gpu>,
    load_ms: f64,
    first_ms: f64,
    times: Vec<f64>,
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let places = if args.places.is_empty() {
        vec![args.place.clone()]
    } else {
        args.places.iter().map(|p| place(args, p)).collect()
    };
    let mut all = vec![];
    for p in &places {
        all.push(prepare(p, &args.model, &named(&inputs))?);
    }
    let bar = output::bar(((args.warmup + args.runs) * all.len()) as u64, "timing");
    for round in 0..args.warmup + args.runs {
        for c in &mut all {
            let start = Instant::now();
            c.runner.run(&named(&inputs))?;
            if round >= args.warmup {
                c.times.push(ms(start));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let rows: Vec<_> = all.iter_mut().map(row).collect();
    if args.json {
        let doc = if rows.len() == 1 { rows[0].clone() } else { rows.into() };
        println!("{doc}");
        return Ok(true);
    }
    for r in &rows {
        println!(
            "{} ({}): load {:.1} ms, first {:.1} ms, median {:.2} ms, p90 {:.2}, p99 {:.2} over {} runs; {} dispatches, {} pipelines",
            r["adapter"].as_str().unwrap_or(""),
            r["backend"].as_str().unwrap_or(""),
            r["load_ms"].as_f64().unwrap_or(f64::NAN),
            r["first_ms"].as_f64().unwrap_or(f64::NAN),
            r["median_ms"].as_f64().unwrap_or(f64::NAN),
            r["p90_ms"].as_f64().unwrap_or(f64::NAN),
            r["p99_ms"].as_f64().unwrap_or(f64::NAN),
            r["runs"],
            r["dispatches"],
            r["pipelines"],
        );
        println!(
            "  weights {}, activations {} (lower bound {})",
            output::bytes(r["weights_bytes"].as_u64().unwrap_or(0)),
            output::bytes(r["activation_bytes"].as_u64().unwrap_or(0)),
            output::bytes(r["activation_lower_bound"].as_u64().unwrap_or(0)),
        );
    }
    Ok(true)
}

fn place(args: &Args, name: &str) -> Place {
    let mut p = args.place.clone();
    match name {
        "cpu" => p.backend = Backend::Cpu,
        "gpu" => p.backend = Backend::Gpu,
        adapter => {
            p.backend = Backend::Gpu;
            p.adapter = Some(adapter.into());
        }
    }
    p
}

fn prepare(place: &Place, path: &std::path::Path, inputs: &[(&str, Tensor)]) -> Result<Contender> {
    let open = place.open()?;
    let (adapter, driver) = open.names();
    let backend = open.backend().to_string();
    let start = Instant::now();
    let model = Model::load(path)?;
    let runner = open.load(&model)?;
    let load_ms = ms(start);
    let start = Instant::now();
    runner.run(inputs)?;
    let gpu = match open {
        crate::place::Where::Gpu(gpu, _) => Some(gpu),
        crate::place::Where::Cpu => None,
    };
    Ok(Contender { adapter, driver, backend, runner, gpu, load_ms, first_ms: ms(start), times: vec![] })
}

fn row(c: &mut Contender) -> serde_json::Value {
    c.times.sort_by(f64::total_cmp);
    let stats = c.runner.stats();
    let weights = match &c.runner {
        Runner::Gpu(s) => s.weights_bytes(),
        Runner::Cpu(_) => 0,
    };
    json!({
        "adapter": c.adapter, "driver": c.driver, "backend": c.backend,
        "load_ms": c.load_ms, "first_ms": c.first_ms,
        "median_ms": quantile(&c.times, 0.5), "p90_ms": quantile(&c.times, 0.9), "p99_ms": quantile(&c.times, 0.99),
        "runs": c.times.len(), "dispatches": stats.dispatches,
        "pipelines": c.gpu.as_ref().map_or(0, |g| g.pipeline_count()),
        "host_nodes": stats.host_nodes.len(), "weights_bytes": weights,
        "activation_bytes": stats.activation_bytes, "activation_lower_bound": stats.activation_lower_bound,
    })
}
