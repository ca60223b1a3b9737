use std::path::PathBuf;

use shadernet::plan::PlanStats;
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
    /// Instead of the plan its figures: dispatches, copies, bytes, slots.
    #[arg(long)]
    stats: bool,
    /// Figures as JSON.
    #[arg(long, requires = "stats")]
    json: bool,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    match args.stage {
        Stage::Import => println!("{}", ir::print_elided(model.graph())),
        Stage::Passes => {
            let mut graph = (**model.graph()).clone();
            passes::run_for(&mut graph, &args.place.disabled_passes, args.place.arithmetic())?;
            println!("{}", ir::print_elided(&graph));
        }
        Stage::Lower | Stage::Plan => {
            let inputs = args.inputs.make(&model)?;
            let session = Session::new(&args.place.gpu()?, &model, &args.place.session_options())?;
            let plan = session.plan(&named(&inputs))?;
            if args.stats {
                print_stats(&plan.stats(), args.json);
                return Ok(true);
            }
            let detail = matches!(args.stage, Stage::Plan);
            print!("{}", plan.to_text(session.graph(), detail));
        }
    }
    Ok(true)
}

fn print_stats(s: &PlanStats, json: bool) {
    if json {
        let doc = serde_json::json!({
            "dispatches": s.dispatches, "copies": s.copies, "bytes_bound": s.bytes_bound, "flops": s.flops,
            "slots": s.slots,
            "activation_bytes": s.activation_bytes, "activation_lower_bound": s.activation_lower_bound,
            "constant_bytes": s.constant_bytes, "kernels": s.kernels,
        });
        println!("{doc}");
        return;
    }
    println!("dispatches   {:12}, {} of them copies", s.dispatches, s.copies);
    println!("bytes bound  {:12}", s.bytes_bound);
    println!("flops        {:12}", s.flops);
    println!(
        "activations  {:12} bytes in {} slots, at least {}",
        s.activation_bytes, s.slots, s.activation_lower_bound
    );
    println!("constants    {:12} bytes", s.constant_bytes);
    for (label, n) in &s.kernels {
        println!("  {n:5} {label}");
    }
}
