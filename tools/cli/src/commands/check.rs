use std::path::PathBuf;

use shadernet::{Model, Result, Session};

use crate::inputs::InputArgs;
use crate::place::{Place, Where};

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let place = args.place.open()?;
    if let Where::Gpu(gpu, options) = &place {
        let inputs = args.inputs.make(&model)?;
        let session = Session::new(gpu, &model, options)?;
        session.plan(&crate::place::named(&inputs))?;
    }
    println!("{}: every node runs on {}", args.model.display(), place.names().0);
    Ok(true)
}
