use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use shadernet::{Destination, DeviceTensor, Error, ErrorKind, Gpu, Model, Result, Session, Tensor, Value};

use crate::inputs::InputArgs;
use crate::output::{self, quantile};
use crate::place::{Backend, Place, Runner, Where, named};
use crate::rates::{Rates, wake};
use crate::report;

#[derive(clap::Args)]
pub struct Args {
    /// The models.
    #[arg(required = true)]
    models: Vec<PathBuf>,
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
    /// Time loading and the first run without compiled pipelines of earlier processes, too.
    #[arg(long)]
    cold: bool,
    /// Leave inputs and outputs on the device: runs without transfers.
    #[arg(long)]
    resident: bool,
    /// Print JSON: one object for one model and place, else an array.
    #[arg(long)]
    json: bool,
    /// Write a page with a table and plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What was measured of a model in a place.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub model: String,
    pub adapter: String,
    pub driver: String,
    pub backend: String,
    /// Loading, and the first run, without pipelines of earlier processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_ms: Option<[f64; 2]>,
    pub load_ms: f64,
    pub first_ms: f64,
    pub median_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub runs: usize,
    pub dispatches: usize,
    pub pipelines: usize,
    pub host_nodes: usize,
    pub weights_bytes: u64,
    pub activation_bytes: u64,
    pub activation_lower_bound: u64,
    /// What the median run does in a second, and what the device reaches at best.
    #[serde(flatten)]
    pub work: Option<Work>,
    /// The timed runs in their order.
    pub times_ms: Vec<f64>,
}

/// Arithmetic and traffic of a run beside the device's ceilings. Of plans that need the host in the middle, their first
/// segment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Work {
    pub gflops: f64,
    pub gb_per_s: f64,
    /// The least time that the dispatches can take.
    pub floor_ms: f64,
    /// Of the median.
    pub floor_share: f64,
    pub ceiling_gflops: f64,
    pub ceiling_gb_per_s: f64,
}

struct Contender {
    row: Row,
    runner: Runner,
    gpu: Option<Gpu>,
    resident: Option<Resident>,
}

/// Inputs that lie on the device, and memory there that outputs go into.
struct Resident {
    inputs: Vec<(String, Value)>,
    outputs: Vec<(String, Destination)>,
}

impl Resident {
    fn new(session: &Session, inputs: &[(String, Tensor)]) -> Result<Resident> {
        let upload =
            |(name, t): &(String, Tensor)| Ok((name.clone(), Value::Device(DeviceTensor::new(session.gpu(), t)?)));
        let inputs = inputs.iter().map(upload).collect::<Result<_>>()?;
        let outputs = session.outputs().iter().map(|o| (o.name.clone(), Destination::Device)).collect();
        let mut resident = Resident { inputs, outputs };
        let made = resident.run(session)?;
        for ((_, to), value) in resident.outputs.iter_mut().zip(made) {
            if let Value::Device(d) = value {
                *to = Destination::Into(d);
            }
        }
        Ok(resident)
    }

    fn run(&self, session: &Session) -> Result<Vec<Value>> {
        let inputs: Vec<(&str, Value)> = self.inputs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        let outputs: Vec<(&str, Destination)> = self.outputs.iter().map(|(n, d)| (n.as_str(), d.clone())).collect();
        let made = session.run_values(&inputs, &outputs)?;
        session.gpu().wait()?;
        Ok(made)
    }
}

impl Contender {
    fn run(&self, inputs: &[(String, Tensor)]) -> Result<()> {
        match (&self.runner, &self.resident) {
            (Runner::Gpu(session), Some(resident)) => resident.run(session).map(drop),
            _ => self.runner.run(&named(inputs)).map(drop),
        }
    }
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

pub fn run(args: &Args) -> Result<bool> {
    let places = if args.places.is_empty() {
        vec![args.place.clone()]
    } else {
        args.places.iter().map(|p| place(args, p)).collect()
    };
    let mut rates: Vec<(Gpu, Rates)> = vec![];
    let mut rows = vec![];
    for path in &args.models {
        let inputs = args.inputs.make(&Model::load(path)?)?;
        for mut c in timed(args, path, &inputs, &places)? {
            if let (Runner::Gpu(session), Some(gpu)) = (&c.runner, &c.gpu) {
                let rates = ceilings(&mut rates, gpu)?;
                let plan = session.plan(&named(&inputs))?;
                c.row.work = rates.map(|r| work(&r, &plan, c.row.median_ms));
            }
            rows.push(c.row);
        }
    }
    if let Some(file) = &args.html {
        let page = report::page(&rows)?;
        std::fs::write(file, page).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", file.display())))?;
    }
    if args.json {
        let text = if let [row] = &rows[..] { serde_json::to_string(row) } else { serde_json::to_string(&rows) };
        println!("{}", text.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?);
        return Ok(true);
    }
    rows.iter().for_each(print);
    Ok(true)
}

fn print(r: &Row) {
    let cold =
        r.cold_ms.map(|[load, first]| format!("cold: load {load:.1} ms, first {first:.1} ms; ")).unwrap_or_default();
    println!(
        "{} on {} ({}): {cold}load {:.1} ms, first {:.1} ms, median {:.2} ms, p90 {:.2}, p99 {:.2} over {} runs; {} dispatches, {} pipelines",
        r.model,
        r.adapter,
        r.backend,
        r.load_ms,
        r.first_ms,
        r.median_ms,
        r.p90_ms,
        r.p99_ms,
        r.runs,
        r.dispatches,
        r.pipelines,
    );
    println!(
        "  weights {}, activations {} (lower bound {})",
        output::bytes(r.weights_bytes),
        output::bytes(r.activation_bytes),
        output::bytes(r.activation_lower_bound),
    );
    if let Some(w) = r.work {
        println!(
            "  {:.1} Gflop/s and {:.1} GB/s, where the device reaches {:.1} and {:.1}: the floor, {:.2} ms, is {:.0}% of the median",
            w.gflops,
            w.gb_per_s,
            w.ceiling_gflops,
            w.ceiling_gb_per_s,
            w.floor_ms,
            w.floor_share * 100.0,
        );
    }
}

/// Times a model in all places, in rounds that take turns.
fn timed(args: &Args, path: &Path, inputs: &[(String, Tensor)], places: &[Place]) -> Result<Vec<Contender>> {
    let mut all = vec![];
    for p in places {
        all.push(prepare(args, p, path, inputs)?);
    }
    for c in &all {
        if let Some(gpu) = &c.gpu {
            wake(gpu, || c.run(inputs))?;
        }
    }
    let bar = output::bar(((args.warmup + args.runs) * all.len()) as u64, "timing");
    for round in 0..args.warmup + args.runs {
        for c in &mut all {
            let start = Instant::now();
            c.run(inputs)?;
            if round >= args.warmup {
                c.row.times_ms.push(ms(start));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    for c in &mut all {
        let (row, stats) = (&mut c.row, c.runner.stats());
        let mut sorted = row.times_ms.clone();
        sorted.sort_by(f64::total_cmp);
        [row.median_ms, row.p90_ms, row.p99_ms] = [0.5, 0.9, 0.99].map(|q| quantile(&sorted, q));
        row.runs = sorted.len();
        row.dispatches = stats.dispatches;
        row.pipelines = c.gpu.as_ref().map_or(0, Gpu::pipeline_count);
        row.host_nodes = stats.host_nodes.len();
        row.activation_bytes = stats.activation_bytes;
        row.activation_lower_bound = stats.activation_lower_bound;
    }
    Ok(all)
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

/// Loads a model and runs it once; tells what it was loaded on, and how long both took.
fn start(place: &Place, path: &Path, inputs: &[(&str, Tensor)]) -> Result<(Where, Runner, [f64; 2])> {
    let open = place.open()?;
    let start = Instant::now();
    let runner = open.load(&Model::load(path)?)?;
    let load_ms = ms(start);
    let start = Instant::now();
    runner.run(inputs)?;
    Ok((open, runner, [load_ms, ms(start)]))
}

fn prepare(args: &Args, place: &Place, path: &Path, inputs: &[(String, Tensor)]) -> Result<Contender> {
    let cold_ms = match args.cold {
        true => Some(start(&Place { pipeline_cache: Some("off".into()), ..place.clone() }, path, &named(inputs))?.2),
        false => None,
    };
    let (open, runner, [load_ms, first_ms]) = start(place, path, &named(inputs))?;
    let resident = match &runner {
        Runner::Gpu(session) if args.resident => Some(Resident::new(session, inputs)?),
        _ => None,
    };
    let (adapter, driver) = open.names();
    let backend = open.backend().to_string();
    let weights_bytes = match &runner {
        Runner::Gpu(s) => s.weights_bytes(),
        Runner::Cpu(_) => 0,
    };
    let gpu = match open {
        Where::Gpu(gpu, _) => Some(gpu),
        Where::Cpu => None,
    };
    let row = Row {
        model: output::model_name(path),
        adapter,
        driver,
        backend,
        cold_ms,
        load_ms,
        first_ms,
        median_ms: f64::NAN,
        p90_ms: f64::NAN,
        p99_ms: f64::NAN,
        runs: 0,
        dispatches: 0,
        pipelines: 0,
        host_nodes: 0,
        weights_bytes,
        activation_bytes: 0,
        activation_lower_bound: 0,
        work: None,
        times_ms: vec![],
    };
    Ok(Contender { row, runner, gpu, resident })
}

/// The ceilings of a device, measured once for all its models; none where it cannot tell times.
fn ceilings(known: &mut Vec<(Gpu, Rates)>, gpu: &Gpu) -> Result<Option<Rates>> {
    let same = |other: &Gpu| other.info() == gpu.info();
    let rates = match known.iter().find(|(g, _)| same(g)) {
        Some((_, rates)) => *rates,
        None => {
            let rates = Rates::new(gpu, None, None)?;
            known.push((gpu.clone(), rates));
            rates
        }
    };
    Ok((rates.bytes > 0.0 && rates.flops > 0.0).then_some(rates))
}

fn work(rates: &Rates, plan: &shadernet::plan::PlanReport, median_ms: f64) -> Work {
    let stats = plan.stats();
    let floor_ms = plan.dispatches().map(|d| rates.floor(d.bytes(), d.flops)).sum::<f64>() / 1e6;
    Work {
        gflops: stats.flops as f64 / median_ms / 1e6,
        gb_per_s: stats.bytes_bound as f64 / median_ms / 1e6,
        floor_ms,
        floor_share: floor_ms / median_ms,
        ceiling_gflops: rates.flops,
        ceiling_gb_per_s: rates.bytes,
    }
}
