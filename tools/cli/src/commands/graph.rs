use std::path::PathBuf;

use shadernet::{Model, Result, Session, ir, passes};

use crate::inputs::InputArgs;
use crate::place::{Place, named};

#[derive(Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// As read from the file.
    Import,
    /// After the passes.
    Passes,
    /// The dispatches for the inputs' shapes.
    Lower,
    /// Dispatches with buffers and slots.
    Plan,
}

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// Which stage to print.
    #[arg(long, value_enum, default_value = "passes")]
    stage: Stage,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    match args.stage {
        Stage::Import => println!("{}", ir::print_elided(model.graph())),
        Stage::Passes => {
            let mut graph = (**model.graph()).clone();
            passes::run(&mut graph, &args.place.disabled_passes)?;
            println!("{}", ir::print_elided(&graph));
        }
        Stage::Lower | Stage::Plan => {
            let inputs = args.inputs.make(&model)?;
            let session = Session::new(&args.place.gpu()?, &model, &args.place.session_options())?;
            let detail = matches!(args.stage, Stage::Plan);
            print!("{}", session.plan(&named(&inputs))?.to_text(session.graph(), detail));
        }
    }
    Ok(true)
}
