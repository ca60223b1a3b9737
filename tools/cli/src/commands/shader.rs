use std::path::PathBuf;

use shadernet::{Error, ErrorKind, Model, Result, Session};

use crate::inputs::InputArgs;
use crate::place::{Place, named};

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    Wgsl,
    /// SPIR-V, as text words in hexadecimal.
    Spv,
    /// Metal shading language.
    Msl,
    /// HLSL.
    Hlsl,
}

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inputs: InputArgs,
    /// The node: its name, or its index in `graph --stage passes`.
    #[arg(long)]
    node: String,
    /// The language.
    #[arg(long, value_enum, default_value = "wgsl")]
    to: Target,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let inputs = args.inputs.make(&model)?;
    let session = Session::new(&args.place.gpu()?, &model, &args.place.session_options())?;
    let plan = session.plan(&named(&inputs))?;
    let graph = session.graph();
    let wanted = |i: usize| args.node.parse() == Ok(i) || graph.nodes.get(i).is_some_and(|n| n.name == args.node);
    let mut found = false;
    for d in plan.dispatches().filter(|d| wanted(d.node)) {
        found = true;
        println!("// {} {:?}", d.label, d.grid);
        let wgsl = shadernet::kernels::compose(&d.spec).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        println!("{}", translate(&wgsl, args.to)?);
    }
    if !found {
        let why = format!("no dispatch for node {:?}: it is folded, a view, or not there", args.node);
        return Err(Error::new(ErrorKind::InvalidInput, why));
    }
    Ok(true)
}

fn translate(wgsl: &str, to: Target) -> Result<String> {
    let fail = |e: String| Error::new(ErrorKind::Internal, e);
    if let Target::Wgsl = to {
        return Ok(wgsl.into());
    }
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| fail(e.emit_to_string(wgsl)))?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    let info = validator.validate(&module).map_err(|e| fail(e.to_string()))?;
    match to {
        Target::Wgsl => Ok(wgsl.into()),
        Target::Spv => {
            let words = naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None);
            let words = words.map_err(|e| fail(e.to_string()))?;
            Ok(words
                .chunks(8)
                .map(|c| c.iter().map(|w| format!("{w:08x}")).collect::<Vec<_>>().join(" ") + "\n")
                .collect())
        }
        Target::Msl => {
            let (options, pipeline) =
                (naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() }, Default::default());
            let out = naga::back::msl::write_string(&module, &info, &options, &pipeline);
            out.map(|(s, _)| s).map_err(|e| fail(e.to_string()))
        }
        Target::Hlsl => {
            let mut out = String::new();
            let options = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
            let pipeline = Default::default();
            let mut writer = naga::back::hlsl::Writer::new(&mut out, &options, &pipeline);
            writer.write(&module, &info, None).map_err(|e| fail(e.to_string()))?;
            Ok(out)
        }
    }
}
