use std::path::PathBuf;

use serde_json::json;
use shadernet::kernels::tiles::{CONV_COOP_TILES, COOP_TILES, TILES};
use shadernet::{Model, Result, Session, Tuned};

use crate::inputs::InputArgs;
use crate::place::{Place, named};

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A tile by its number, and the parts of the sums.
fn name(t: &Tuned, [number, parts]: [usize; 2]) -> String {
    let table = match &t.best.problem.kernel {
        k if !k.contains(" coop ") => &TILES[..],
        k if k.starts_with("conv") => &CONV_COOP_TILES,
        _ => &COOP_TILES,
    };
    let tile = table.get(number).map_or_else(|| number.to_string(), |t| t.name());
    if parts > 1 { format!("{tile} in {parts}") } else { tile }
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let session = Session::new(&args.place.gpu()?, &model, &args.place.session_options())?;
    let found = session.tune(&named(&inputs))?;
    if args.json {
        let row = |t: &Tuned| {
            json!({"problem": t.best.problem.to_string(), "modelled": name(t, t.modelled), "best": name(t, t.best.choice),
                   "modelled_us": t.modelled_nanos / 1e3, "best_us": t.nanos / 1e3})
        };
        println!("{}", serde_json::Value::from_iter(found.iter().map(row)));
        return Ok(true);
    }
    for t in &found {
        let [modelled, best] = [t.modelled, t.best.choice].map(|c| name(t, c));
        let [before, after] = [t.modelled_nanos, t.nanos].map(|n| n / 1e3);
        println!("{before:10.1} us {modelled:18} {after:10.1} us {best:18} {}", t.best.problem);
    }
    let before = found.iter().map(|t| t.modelled_nanos).sum::<f64>() / 1e6;
    let after = found.iter().map(|t| t.nanos).sum::<f64>() / 1e6;
    println!("{} products and convolutions: {before:.3} ms a run before, {after:.3} ms now", found.len());
    Ok(true)
}
