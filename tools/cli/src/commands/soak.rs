use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shadernet::ir::{Declared, Dim};
use shadernet::{Gpu, Model, Result, Session, SessionOptions, Tensor};

use crate::compare::{RTOL, absolute_tolerance, compare, rounding};
use crate::inputs::set_inputs;
use crate::output;
use crate::place::{Place, named};

#[derive(clap::Args)]
pub struct Args {
    /// Folders with `model.onnx` and `test_data_set_0/input_<i>.pb`.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Runs of each model, its shapes taking turns.
    #[arg(long, default_value_t = 1000)]
    runs: usize,
    /// Write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

type Named = Vec<(String, Tensor)>;

/// Resident memory may move this much without counting as growth: allocators return memory when they please.
const SLACK_KIB: u64 = 8 << 10;
/// The rounds over all shapes after which nothing may grow.
const SETTLED: usize = 10;

#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    /// The shapes that ran: those of the test data, and with each open extent and all of them grown.
    shapes: usize,
    /// Grown shapes that the reference refuses.
    refused: usize,
    runs: usize,
    /// The greatest difference from the reference, as a share of an output's greatest magnitude.
    max: f64,
    /// Pipelines after each shape's first run, and at the end.
    pipelines: [usize; 2],
    /// After [`SETTLED`] rounds, and at the end.
    resident_kib: [u64; 2],
    device_bytes: [u64; 2],
    wrong: Option<String>,
}

pub fn run(args: &Args) -> Result<bool> {
    let gpu = args.place.gpu()?;
    let (bar, mut rows) = (output::bar(args.dirs.len() as u64, "soaking"), vec![]);
    println!(
        "{:32} {:>6} {:>7} {:>8} {:>9} {:>15} {:>19}",
        "model", "shapes", "refused", "max", "pipelines", "resident, MiB", "device memory, MiB"
    );
    for dir in args.dirs.iter().filter(|d| d.join("model.onnx").is_file()) {
        let row = soak(&gpu, dir, args).map_err(|e| e.in_file(dir.display().to_string()))?;
        let of = |[a, b]: [u64; 2], unit: f64| format!("{:.1} → {:.1}", a as f64 / unit, b as f64 / unit);
        let (mib, kib) = (of(row.device_bytes, (1 << 20) as f64), of(row.resident_kib, 1024.0));
        let pipelines = format!("{} → {}", row.pipelines[0], row.pipelines[1]);
        bar.suspend(|| {
            println!(
                "{:32} {:6} {:7} {:8.1e} {pipelines:>9} {kib:>15} {mib:>19} {}",
                row.name,
                row.shapes,
                row.refused,
                row.max,
                row.wrong.as_deref().unwrap_or("")
            );
        });
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(file) = &args.json {
        let (adapter, driver) = (&gpu.info().name, &gpu.info().driver);
        let doc = serde_json::json!({"adapter": adapter, "driver": driver, "models": rows});
        output::write_json(file, &doc)?;
    }
    Ok(!rows.is_empty() && rows.iter().all(|r| r.wrong.is_none()))
}

fn soak(gpu: &Gpu, dir: &Path, args: &Args) -> Result<Row> {
    let model = Model::load(dir.join("model.onnx"))?;
    let session = Session::new(gpu, &model, &SessionOptions { fixed_sizes: false, ..args.place.session_options() })?;
    let inputs = set_inputs(&model, &dir.join("test_data_set_0"))?;
    let mut row = Row { name: output::last_name(dir), runs: args.runs, ..Row::default() };
    let wrong = |row: &mut Row, what: String| row.wrong = row.wrong.take().or(Some(what));

    let mut shapes: Vec<(Named, Vec<Tensor>)> = vec![];
    for (i, inputs) in grown(&model, inputs)?.into_iter().enumerate() {
        let want = match model.reference().run(&named(&inputs)) {
            Ok(want) => want,
            Err(e) if i == 0 => return Err(e),
            Err(_) => {
                row.refused += 1;
                continue;
            }
        };
        let got = session.run(&named(&inputs))?;
        for (k, ((name, got), (_, want))) in got.iter().zip(&want).enumerate() {
            let d = compare(got, want, RTOL, absolute_tolerance(&model, want));
            row.max = row.max.max(d.max_rel);
            let Some(why) = d.wrong else { continue };
            if rounding(&model, &named(&inputs), k, [want])?.is_none_or(|[far]| d.max_abs > far) {
                wrong(&mut row, format!("{:?}, output {name:?}: {why}", extents(&inputs)));
            }
        }
        shapes.push((inputs, got.into_iter().map(|(_, t)| t).collect()));
    }
    row.shapes = shapes.len();
    row.pipelines[0] = gpu.pipeline_count();

    let settled = (SETTLED * shapes.len()).min(args.runs / 2);
    for i in 0..args.runs {
        if i == settled {
            (row.resident_kib[0], row.device_bytes[0]) = (resident_kib(), gpu.allocated_bytes().unwrap_or(0));
        }
        let (inputs, first) = &shapes[i % shapes.len()];
        let got = session.run(&named(inputs))?;
        if got.iter().zip(first).any(|((_, g), f)| !g.same_bits(f)) {
            wrong(&mut row, format!("{:?}: run {i} gives other bits than the first", extents(inputs)));
        }
    }
    row.pipelines[1] = gpu.pipeline_count();
    (row.resident_kib[1], row.device_bytes[1]) = (resident_kib(), gpu.allocated_bytes().unwrap_or(0));
    if row.pipelines[0] != row.pipelines[1] {
        wrong(&mut row, "pipelines were compiled for shapes that had run".into());
    }
    if row.device_bytes[1] > row.device_bytes[0] || row.resident_kib[1] > row.resident_kib[0] + SLACK_KIB {
        wrong(&mut row, "memory grew".into());
    }
    Ok(row)
}

fn extents(inputs: &[(String, Tensor)]) -> Vec<&[usize]> {
    inputs.iter().map(|(_, t)| t.shape()).collect()
}

/// The inputs, and inputs with each open extent and all of them grown by half, their data repeating.
fn grown(model: &Model, inputs: Named) -> Result<Vec<Named>> {
    let mut symbols: BTreeMap<String, usize> = BTreeMap::new();
    let mut axes: Vec<Vec<Option<String>>> = vec![];
    for (info, (_, t)) in model.inputs().iter().zip(&inputs) {
        let Some(Declared::Tensor { dims: Some(dims), .. }) = &info.declared else {
            axes.push(vec![]);
            continue;
        };
        let symbol = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Known(_) => None,
            Dim::Symbol(s) => Some(s.clone()),
            Dim::Unknown => Some(format!("{}.{axis}", info.name)),
        };
        let own: Vec<Option<String>> = dims.iter().enumerate().map(symbol).collect();
        symbols.extend(own.iter().zip(t.shape()).filter_map(|(s, n)| Some((s.clone()?, *n))));
        axes.push(own);
    }
    let each = symbols.keys().map(|s| vec![s.clone()]);
    let all: Vec<String> = symbols.keys().cloned().collect();
    let sets: Vec<Vec<String>> = if all.len() > 1 { each.chain([all.clone()]).collect() } else { each.collect() };
    let mut out = vec![inputs.clone()];
    for set in sets {
        let grow = |(axes, (name, t)): (&Vec<Option<String>>, &(String, Tensor))| {
            let grows = |axis: usize| axes.get(axis).and_then(Option::as_ref).is_some_and(|s| set.contains(s));
            let shape: Vec<usize> =
                t.shape().iter().enumerate().map(|(d, n)| if grows(d) { more(*n) } else { *n }).collect();
            Ok((name.clone(), repeated(t, &shape)?))
        };
        out.push(axes.iter().zip(&inputs).map(grow).collect::<Result<_>>()?);
    }
    Ok(out)
}

/// Half as much again, in the steps of 32 that networks of pictures like.
fn more(n: usize) -> usize {
    if n > 0 && n.is_multiple_of(32) { (n + n / 2).div_ceil(32) * 32 } else { n + n.div_ceil(2) }
}

/// `t` repeating along its dims up to `shape`.
fn repeated(t: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let source = |mut i: usize| {
        let (mut at, mut step) = (0, 1);
        for (n, own) in shape.iter().zip(t.shape()).rev() {
            at += i % n % own.max(&1) * step;
            i /= n;
            step *= own;
        }
        at
    };
    t.select(shape, &(0..count).map(source).collect::<Vec<_>>())
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_repeat_along_grown_dims() -> Result<()> {
        let t = Tensor::new([2, 2], vec![1i64, 2, 3, 4])?;
        let got = repeated(&t, &[3, 3])?;
        assert!(got.same_bits(&Tensor::new([3, 3], vec![1i64, 2, 1, 3, 4, 3, 1, 2, 1])?));
        assert_eq!([more(1), more(24), more(64), more(640)], [2, 36, 96, 960]);
        Ok(())
    }
}
