use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;
use serde::{Deserialize, Serialize};
use shadernet::{Error, ErrorKind, Model, Result, passes};

use crate::compare::{RTOL, absolute_tolerance, compare, rounding};
use crate::inputs::{data_set, data_sets, read_value, set_inputs};
use crate::output;
use crate::place::{Place, Where, named};

#[derive(clap::Args)]
pub struct Args {
    /// Folders of cases (`<case>/model.onnx` with `test_data_set_<n>/{input,output}_<i>.pb`), searched in depth; a
    /// `manifest.jsonl` in one gives categories and tolerances.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Only cases whose name this matches.
    #[arg(long, value_name = "REGEX")]
    filter: Option<String>,
    /// Relative tolerance, instead of the manifest's (1e-3 where there is none).
    #[arg(long)]
    rtol: Option<f64>,
    /// Absolute tolerance, instead of the manifest's (1e-4 of an output's greatest magnitude where there is none, two last
    /// places of a narrower type; of a model with weights of 8 bits 1/128, or as far as the expected output itself is
    /// from a run with all floats in 64 bits).
    #[arg(long)]
    atol: Option<f64>,
    /// Each case with all passes, with none, and with each one alone left out that changes its graph.
    #[arg(long)]
    each_pass: bool,
    /// Time each case's first data set by so many further runs, or those of ten seconds.
    #[arg(long, default_value_t = 0)]
    runs: usize,
    /// Run so many cases at a time, each on a device of its own: a software driver compiles a device's kernels on one core.
    #[arg(short, long, default_value_t = 1, conflicts_with = "runs")]
    jobs: usize,
    /// Write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The cases that are known not to pass, a line each: name, status, reason. Then success is that exactly these do
    /// not pass, in that way.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Print only the summary.
    #[arg(short, long)]
    quiet: bool,
}

/// What a manifest says of one case.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    name: String,
    path: String,
    category: String,
    rtol: f64,
    atol: f64,
    comparable: bool,
}

struct Case {
    name: String,
    category: String,
    folder: PathBuf,
    rtol: f64,
    atol: Option<f64>,
    comparable: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    category: String,
    status: &'static str,
    detail: String,
    max_abs: f64,
    max_rel: f64,
    nodes: usize,
    dispatches: usize,
    host_nodes: usize,
    /// All data sets' first runs, compiling included.
    ms: f64,
    /// The median of `--runs` runs.
    median_ms: Option<f64>,
}

/// The time after which no further run is begun.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(args: &Args) -> Result<bool> {
    let filter = args.filter.as_deref().map(Regex::new).transpose();
    let filter = filter.map_err(|e| Error::new(ErrorKind::InvalidInput, format!("--filter: {e}")))?;
    let mut cases = vec![];
    for dir in &args.dirs {
        find_cases(dir, &manifest(dir)?, &mut cases)?;
    }
    cases.retain(|c| filter.as_ref().is_none_or(|f| f.is_match(&c.name)));
    cases.sort_by(|a, b| (&a.category, &a.name).cmp(&(&b.category, &b.name)));
    let places = (0..args.jobs.max(1)).map(|_| args.place.open()).collect::<Result<Vec<Where>>>()?;
    let (adapter, driver) = places[0].names();
    let arithmetic = args.each_pass.then(|| args.place.arithmetic());
    let bar = output::bar(cases.len() as u64, "testing");
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let work = |mut place: Where| {
        while let Some((at, case)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, cases.get(i)?))) {
            bar.inc(1);
            let own = (String::new(), args.place.disabled_passes.clone());
            let others = arithmetic.map_or_else(Vec::new, |arithmetic| left_out(case, arithmetic));
            for (label, passes) in [own].iter().chain(&others) {
                if let Where::Gpu(_, options) = &mut place {
                    options.disabled_passes.clone_from(passes);
                }
                let mut row = run_case(&place, case, args);
                row.name += label;
                if !args.quiet && (row.status != "pass" || !row.detail.is_empty()) {
                    bar.suspend(|| println!("{:11} {} {}", row.status, row.name, row.detail));
                }
                if let Ok(mut rows) = rows.lock() {
                    rows.push((at, row));
                }
            }
        }
    };
    std::thread::scope(|scope| places.into_iter().for_each(|place| drop(scope.spawn(|| work(place)))));
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    bar.finish_and_clear();
    summarise(&rows);
    if let Some(file) = &args.json {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|r| *counts.entry(r.status).or_default() += 1);
        let doc = serde_json::json!({"adapter": adapter, "driver": driver, "counts": counts, "cases": rows});
        output::write_json(file, &doc)?;
    }
    let expected = args.expect.as_deref().map_or_else(|| Ok(BTreeMap::new()), expectations)?;
    Ok(!rows.is_empty() && as_expected(&rows, &expected))
}

/// All passes, and each one alone that changes the case's graph, with what a case's name is followed by when they are
/// left out. None of a model that cannot be loaded, which the case itself reports.
fn left_out(case: &Case, arithmetic: passes::Arithmetic) -> Vec<(String, Vec<String>)> {
    let Ok(model) = Model::load(case.folder.join("model.onnx")) else { return vec![] };
    let Ok(effective) = passes::run_for(&mut (**model.graph()).clone(), &[], arithmetic) else { return vec![] };
    let all = passes::PASSES.iter().map(|p| p.name.to_string()).collect();
    let each = effective.into_iter().map(|n| (format!(" without {n}"), vec![n.to_string()]));
    [(" without passes".to_string(), all)].into_iter().chain(each).collect()
}

/// The lines of a file of expectations: status by name. `#` begins a comment.
fn expectations(file: &Path) -> Result<BTreeMap<String, String>> {
    let text =
        std::fs::read_to_string(file).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", file.display())))?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(name), Some(status @ ("wrong" | "unsupported" | "error")), Some(_)) => {
                Ok((name.into(), status.into()))
            }
            _ => {
                let what = format!("{}: expected a name, wrong|unsupported|error, a reason: {line:?}", file.display());
                Err(Error::new(ErrorKind::InvalidInput, what))
            }
        }
    };
    lines.map(entry).collect()
}

/// Whether those cases that are expected to fail do, in the expected way, and all others pass. Says which differ.
fn as_expected(rows: &[Row], expected: &BTreeMap<String, String>) -> bool {
    let mut same = true;
    for r in rows {
        let good = matches!(r.status, "pass" | "ran");
        match expected.get(&r.name) {
            None if good => continue,
            Some(status) if status == r.status => continue,
            Some(status) => println!("{}: expected {status}, is {}", r.name, r.status),
            None if !expected.is_empty() => println!("{}: expected to pass, is {}", r.name, r.status),
            None => {}
        }
        same = false;
    }
    same
}

/// Entries by canonical folder, from `manifest.jsonl` in `dir` or the folder above it.
fn manifest(dir: &Path) -> Result<HashMap<PathBuf, Entry>> {
    let above = dir.parent().map(Path::to_path_buf).unwrap_or_default();
    for root in [dir, &above] {
        let Ok(text) = std::fs::read_to_string(root.join("manifest.jsonl")) else { continue };
        // the first line describes the suite, not a case
        let entries = text.lines().filter_map(|l| serde_json::from_str::<Entry>(l).ok());
        let place = |e: &Entry| root.join(&e.path).canonicalize().unwrap_or_else(|_| root.join(&e.path));
        return Ok(entries.map(|e| (place(&e), e)).collect());
    }
    Ok(HashMap::new())
}

fn find_cases(dir: &Path, manifest: &HashMap<PathBuf, Entry>, out: &mut Vec<Case>) -> Result<()> {
    if dir.join("model.onnx").is_file() {
        let entry = dir.canonicalize().ok().and_then(|d| manifest.get(&d).cloned());
        let own = || output::last_name(dir);
        let above = || dir.parent().map_or_else(String::new, output::last_name);
        out.push(match entry {
            Some(e) => Case {
                name: e.name,
                category: e.category,
                folder: dir.into(),
                rtol: e.rtol,
                atol: Some(e.atol),
                comparable: e.comparable,
            },
            None => {
                Case { name: own(), category: above(), folder: dir.into(), rtol: RTOL, atol: None, comparable: true }
            }
        });
        return Ok(());
    }
    let fail = |e: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {e}", dir.display()));
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            find_cases(&path, manifest, out)?;
        }
    }
    Ok(())
}

fn run_case(place: &Where, case: &Case, args: &Args) -> Row {
    let mut row = Row {
        name: case.name.clone(),
        category: case.category.clone(),
        status: "pass",
        detail: String::new(),
        max_abs: 0.0,
        max_rel: 0.0,
        nodes: 0,
        dispatches: 0,
        host_nodes: 0,
        ms: 0.0,
        median_ms: None,
    };
    if let Err(e) = try_case(place, case, args, &mut row) {
        row.status = if e.kind() == ErrorKind::Unsupported { "unsupported" } else { "error" };
        row.detail = e.to_string();
    }
    row
}

fn try_case(place: &Where, case: &Case, args: &Args, row: &mut Row) -> Result<()> {
    let model = Model::load(case.folder.join("model.onnx"))?;
    let runner = place.load(&model)?;
    row.nodes = model.graph().nodes.len();
    for (n, set) in data_sets(&case.folder).enumerate() {
        let inputs = set_inputs(&model, &set)?;
        let inputs = named(&inputs);
        let start = Instant::now();
        let got = runner.run(&inputs)?;
        row.ms += start.elapsed().as_secs_f64() * 1e3;
        let stats = runner.stats();
        row.dispatches = row.dispatches.max(stats.dispatches);
        row.host_nodes = row.host_nodes.max(stats.host_nodes.len());
        if n == 0 && args.runs > 0 {
            let (begun, mut times) = (Instant::now(), vec![]);
            while times.len() < args.runs && begun.elapsed() < PATIENCE {
                let start = Instant::now();
                runner.run(&inputs)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            row.median_ms = times.get(times.len() / 2).copied();
        }
        for (i, file) in data_set(&set, "output").iter().enumerate() {
            let want = read_value(model.outputs().get(i), file)?;
            let Some((name, got)) = got.get(i) else {
                row.status = "wrong";
                row.detail = format!("the model has no output {i}");
                return Ok(());
            };
            if !case.comparable {
                row.status = "ran";
                continue;
            }
            let rtol = args.rtol.unwrap_or(case.rtol);
            let atol = args.atol.or(case.atol).unwrap_or_else(|| absolute_tolerance(&model, &want));
            let d = compare(got, &want, rtol, atol);
            row.max_abs = row.max_abs.max(d.max_abs);
            row.max_rel = row.max_rel.max(d.max_rel);
            let Some(why) = d.wrong else { continue };
            let stated = args.atol.or(case.atol).is_some();
            let far = if stated { None } else { rounding(&model, &inputs, i, [got, &want])? };
            if let Some([own, other]) = far.filter(|[own, other]| own <= other) {
                row.detail = format!("{name:?}: {own:.1e} off a run in 64 bits, expected is {other:.1e} off");
            } else {
                row.status = "wrong";
                row.detail = format!("output {name:?}: {why}");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn summarise(rows: &[Row]) {
    const STATUS: [&str; 5] = ["pass", "ran", "wrong", "unsupported", "error"];
    let mut table: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for r in rows {
        if let Some(k) = STATUS.iter().position(|s| *s == r.status) {
            table.entry(&r.category).or_default()[k] += 1;
            table.entry("total").or_default()[k] += 1;
        }
    }
    println!("{:24} {:>6} {:>6} {:>6} {:>11} {:>6}", "category", "pass", "ran", "wrong", "unsupported", "error");
    let total = table.remove("total");
    for (name, c) in table.iter().map(|(n, c)| (*n, *c)).chain(total.map(|t| ("total", t))) {
        println!("{name:24} {:6} {:6} {:6} {:11} {:6}", c[0], c[1], c[2], c[3], c[4]);
    }
}
