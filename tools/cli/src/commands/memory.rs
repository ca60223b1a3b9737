use std::path::PathBuf;

use shadernet::{Model, Result, Session};

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

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let session = Session::new(&args.place.gpu()?, &model, &args.place.session_options())?;
    let m = session.memory(&named(&inputs))?;
    let rows = [
        ("weights", m.weights),
        ("inputs", m.inputs),
        ("activations", m.activations),
        ("activations_lower_bound", m.activations_lower_bound),
        ("textures", m.textures),
        ("params", m.params),
        ("staging", m.staging),
        ("peak", m.peak),
    ];
    if args.json {
        let rows: serde_json::Map<String, serde_json::Value> =
            rows.iter().map(|(k, v)| ((*k).to_string(), (*v).into())).collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(true);
    }
    for (what, bytes) in rows {
        println!("{:24} {bytes:14}", what.replace('_', " "));
    }
    Ok(true)
}
