use std::path::PathBuf;
use std::time::Instant;

use prost::Message;
use shadernet::{Error, ErrorKind, Model, Result, Tensor};

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
    /// A text file with one label a line: prints the most likely ones of the first output.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How many labels to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Save outputs as ONNX TensorProto files `output_i.pb` in this folder.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn io(path: &std::path::Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {e}", path.display()))
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let place = args.place.open_any()?;
    let spinner = output::spinner("compiling and running");
    let runner = place.load(&model)?;
    let start = Instant::now();
    let outputs = runner.run(&named(&inputs))?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    spinner.finish_and_clear();
    if args.json {
        let rows: Vec<_> = outputs
            .iter()
            .map(|(n, t)| {
                serde_json::json!({"name": n, "type": t.dtype().name(), "shape": t.shape(), "data": t.to_f64s().ok()})
            })
            .collect();
        println!("{}", serde_json::json!({"adapter": place.names().0, "ms": ms, "outputs": rows}));
    } else {
        println!("ran on {} in {ms:.1} ms", place.names().0);
        for (name, t) in &outputs {
            println!("{name}: {t:?} {}", output::summary(t));
        }
    }
    if let Some(file) = &args.labels {
        let text = std::fs::read_to_string(file).map_err(|e| io(file, e))?;
        let labels: Vec<&str> = text.lines().collect();
        if let Some((_, t)) = outputs.first() {
            print_labels(t, &labels, args.top)?;
        }
    }
    if let Some(folder) = &args.save {
        std::fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
        for (i, (name, t)) in outputs.iter().enumerate() {
            let path = folder.join(format!("output_{i}.pb"));
            let proto = shadernet::import::tensor_to_proto(name, t);
            std::fs::write(&path, proto.encode_to_vec()).map_err(|e| io(&path, e))?;
        }
    }
    Ok(true)
}

/// Scores of each row of `[rows, classes]`, as probabilities where they are not already.
fn print_labels(t: &Tensor, labels: &[&str], top: usize) -> Result<()> {
    let scores = t.to_f64s()?;
    let classes = t.shape().iter().rev().find(|d| **d > 1).copied().unwrap_or(1);
    for row in scores.chunks(classes) {
        let sum: f64 = row.iter().sum();
        let likely = row.iter().all(|x| (0.0..=1.0).contains(x)) && (sum - 1.0).abs() < 1e-2;
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|x| (x - max).exp()).sum();
        let mut ranked: Vec<(usize, f64)> =
            row.iter().map(|x| if likely { *x } else { (x - max).exp() / total }).enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (i, p) in ranked.into_iter().take(top) {
            println!("  {:5.1}%  {}", p * 100.0, labels.get(i).copied().unwrap_or("?"));
        }
    }
    Ok(())
}
