use std::path::{Path, PathBuf};

use serde::Serialize;
use shadernet::{DType, Error, ErrorKind, Model, Result, Tensor};

use crate::compare::greatest;
use crate::inputs::{data_set, data_sets, read_value, set_inputs};
use crate::output;
use crate::place::{Place, Where, named};

#[derive(clap::Args)]
pub struct Args {
    /// Folders with `model.onnx` and `test_data_set_<n>/{input,output}_<i>.pb`; the outputs are another runtime's.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// The name of the runtime that made the outputs.
    #[arg(long, default_value = "ONNX Runtime")]
    other: String,
    /// The most that the root mean square error may be, as a multiple of the other runtime's.
    #[arg(long, default_value_t = 2.0)]
    most: f64,
    /// Write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The errors of one model's float outputs against a run in 64 bits, each output's as a share of its greatest magnitude.
#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    /// The greatest error of an element.
    max: f64,
    other_max: f64,
    /// The root of the mean square error of the worst output, over all data sets.
    rms: f64,
    other_rms: f64,
    /// Half of the last place of the outputs' type, which no runtime is within.
    place: f64,
    /// The number of nodes that the run in 64 bits computed in their own types.
    narrow: usize,
    /// The worst output's root mean square error, over the other runtime's or half of the last place.
    ratio: f64,
}

pub fn run(args: &Args) -> Result<bool> {
    let place = args.place.open()?;
    let (bar, mut rows) = (output::bar(args.dirs.len() as u64, "measuring"), vec![]);
    println!("{:32} {:>9} {:>9} {:>9} {:>9} {:>6}", "model", "max", "other's", "rms", "other's", "ratio");
    let mut good = true;
    for dir in args.dirs.iter().filter(|d| d.join("model.onnx").is_file()) {
        let row = measure(&place, dir).map_err(|e| e.in_file(dir.display().to_string()))?;
        let Row { name, max, other_max, rms, other_rms, ratio, .. } = &row;
        bar.suspend(|| println!("{name:32} {max:9.1e} {other_max:9.1e} {rms:9.1e} {other_rms:9.1e} {ratio:6.2}"));
        good &= row.ratio <= args.most;
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(file) = &args.json {
        let (adapter, driver) = place.names();
        let doc = serde_json::json!({"adapter": adapter, "driver": driver, "other": args.other, "models": rows});
        output::write_json(file, &doc)?;
    }
    Ok(good && !rows.is_empty())
}

fn measure(place: &Where, dir: &Path) -> Result<Row> {
    let model = Model::load(dir.join("model.onnx"))?;
    let runner = place.load(&model)?;
    let mut row = Row { name: output::last_name(dir), ..Row::default() };
    let mut all: Vec<Errors> = vec![];
    for set in data_sets(dir) {
        let inputs = set_inputs(&model, &set)?;
        let inputs = named(&inputs);
        let got = runner.run(&inputs)?;
        let wide = model.reference().run_wide(&inputs)?;
        row.narrow = row.narrow.max(wide.narrow.len());
        for (i, file) in data_set(&set, "output").iter().enumerate() {
            let other = read_value(model.outputs().get(i), file)?;
            let (Some((_, got)), Some(exact)) = (got.get(i), wide.outputs.get(i)) else { continue };
            if exact.dtype() != DType::F64 || !got.dtype().is_float() {
                continue;
            }
            all.resize_with(all.len().max(i + 1), Errors::default);
            all[i].half = half_place(got.dtype());
            all[i].own.add(got, exact)?;
            all[i].other.add(&other, exact)?;
        }
    }
    for e in all.iter().filter(|e| e.own.count > 0.0) {
        let (rms, other_rms) = (e.own.rms(), e.other.rms());
        row.place = row.place.max(e.half);
        row.max = row.max.max(e.own.max);
        row.other_max = row.other_max.max(e.other.max);
        row.rms = row.rms.max(rms);
        row.other_rms = row.other_rms.max(other_rms);
        row.ratio = row.ratio.max(rms / other_rms.max(e.half));
    }
    Ok(row)
}

/// Errors of one output over all data sets.
#[derive(Debug, Default)]
struct Errors {
    half: f64,
    own: Sum,
    other: Sum,
}

/// Errors as shares of the greatest magnitude of their data set, of the places where both are finite.
#[derive(Debug, Default)]
struct Sum {
    max: f64,
    squares: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, got: &Tensor, exact: &Tensor) -> Result<()> {
        let (g, e) = (got.to_f64s()?, exact.to_f64s()?);
        if g.len() != e.len() {
            let what = format!("expected {:?}, got {:?}", exact.shape(), got.shape());
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        let scale = greatest(exact).max(f64::MIN_POSITIVE);
        for (g, e) in g.iter().zip(&e).filter(|(g, e)| g.is_finite() && e.is_finite()) {
            let error = (g - e).abs() / scale;
            self.max = self.max.max(error);
            self.squares += error * error;
            self.count += 1.0;
        }
        Ok(())
    }

    fn rms(&self) -> f64 {
        (self.squares / self.count.max(1.0)).sqrt()
    }
}

/// Half of a type's last place at 1.
fn half_place(d: DType) -> f64 {
    match d {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        DType::F64 => 2f64.powi(-53),
        _ => 2f64.powi(-24),
    }
}
