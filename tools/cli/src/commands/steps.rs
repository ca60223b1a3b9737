use std::collections::HashMap;
use std::path::PathBuf;

use shadernet::{DType, Error, ErrorKind, Model, Result, Rng, Session, SessionOptions, Tensor};

use crate::compare::greatest;
use crate::inputs::set_inputs;
use crate::output;
use crate::place::{Place, named};

#[derive(clap::Args)]
pub struct Args {
    /// A folder with `model.onnx` and `test_data_set_0/input_<i>.pb`.
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
    /// An input and the output that a step makes for it, which stays on the device.
    #[arg(long, value_name = "INPUT=OUTPUT", required = true, value_parser = pair)]
    state: Vec<(String, String)>,
    /// Steps.
    #[arg(long, default_value_t = 1000)]
    steps: usize,
    /// The most that an output may differ from the reference's, as a share of its greatest magnitude over all steps.
    #[arg(long, default_value_t = 1e-4)]
    most: f64,
}

/// Steps after which no memory may grow.
const SETTLED: usize = 10;

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (input, output) = text.split_once('=').ok_or("expected INPUT=OUTPUT")?;
    Ok((input.into(), output.into()))
}

/// Runs a model step by step on fresh inputs, its state on the device, beside the reference, which keeps a state of its own.
pub fn run(args: &Args) -> Result<bool> {
    let gpu = args.place.gpu()?;
    let model = Model::load(args.dir.join("model.onnx"))?;
    let session = Session::new(&gpu, &model, &SessionOptions { fixed_sizes: false, ..args.place.session_options() })?;
    let given = set_inputs(&model, &args.dir.join("test_data_set_0"))?;
    let states: HashMap<&str, &str> = args.state.iter().map(|(i, o)| (i.as_str(), o.as_str())).collect();
    for input in states.keys() {
        if !given.iter().any(|(name, _)| name == input) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the test data has no input {input:?}")));
        }
    }

    let (mut rng, bar) = (Rng::new(1), output::bar(args.steps as u64, "steps"));
    let mut binding = session.bind();
    for (input, output) in &args.state {
        binding.alias_state(input, output)?;
    }
    let mut reference = given.clone();
    for (name, t) in given.iter().filter(|(name, _)| states.contains_key(name.as_str())) {
        binding.input(name, t.clone())?;
    }
    // by output: the greatest magnitude, and the greatest difference
    let mut seen: Vec<(String, f64, f64)> = vec![];
    let mut held = [0, 0];
    let mut pipelines = [0, 0];
    for step in 0..args.steps {
        for (name, t) in given.iter().filter(|(name, _)| !states.contains_key(name.as_str())) {
            let t = fresh(&mut rng, t)?;
            reference.iter_mut().filter(|(n, _)| n == name).for_each(|(_, r)| *r = t.clone());
            binding.input(name, t)?;
        }
        let got = binding.run()?;
        let want = model.reference().run(&named(&reference))?;
        for (name, t) in &want {
            for (input, _) in args.state.iter().filter(|(_, output)| output == name) {
                reference.iter_mut().filter(|(n, _)| n == input).for_each(|(_, r)| *r = t.clone());
            }
        }
        for (name, got) in got {
            let Some((_, want)) = want.iter().find(|(n, _)| *n == name) else { continue };
            note(&mut seen, &name, &got, want)?;
        }
        if step + 1 == args.steps {
            for (name, want) in want.iter().filter(|(n, _)| args.state.iter().any(|(_, o)| o == n)) {
                note(&mut seen, name, &binding.read(name)?, want)?;
            }
        }
        let now = (gpu.allocated_bytes().unwrap_or(0), gpu.pipeline_count());
        if step < SETTLED.min(args.steps - 1) {
            (held[0], pipelines[0]) = now;
        }
        (held[1], pipelines[1]) = now;
        bar.inc(1);
    }
    bar.finish_and_clear();

    let mut good = held[1] <= held[0] && pipelines[0] == pipelines[1];
    for (name, magnitude, difference) in &seen {
        let share = difference / magnitude.max(f64::MIN_POSITIVE);
        good &= share <= args.most;
        println!("{name:24} greatest {magnitude:.3e}, greatest difference {difference:.1e} ({share:.1e} of it)");
    }
    let host = session.last_run().host_nodes.len();
    println!(
        "{} steps on {}: {} pipelines after {SETTLED} and {} in the end, {} and {} of device memory, {host} nodes on the host",
        args.steps,
        gpu.info().name,
        pipelines[0],
        pipelines[1],
        output::bytes(held[0]),
        output::bytes(held[1])
    );
    Ok(good && !seen.is_empty())
}

fn note(seen: &mut Vec<(String, f64, f64)>, name: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    if !want.dtype().is_float() {
        return Ok(());
    }
    let (got, wanted) = (got.to_f64s()?, want.to_f64s()?);
    let differ = got.iter().zip(&wanted).map(|(g, w)| if g.to_bits() == w.to_bits() { 0.0 } else { (g - w).abs() });
    // a NaN on one side only is a difference without bound
    let difference = differ.map(|d| if d.is_nan() { f64::INFINITY } else { d }).fold(0.0, f64::max);
    let difference = if got.len() == wanted.len() { difference } else { f64::INFINITY };
    match seen.iter_mut().find(|(n, ..)| n == name) {
        Some((_, m, d)) => (*m, *d) = (m.max(greatest(want)), d.max(difference)),
        None => seen.push((name.into(), greatest(want), difference)),
    }
    Ok(())
}

/// Floats between the least and the greatest of `t`; other types as they are.
fn fresh(rng: &mut Rng, t: &Tensor) -> Result<Tensor> {
    if !matches!(t.dtype(), DType::F32 | DType::F16 | DType::F64) {
        return Ok(t.clone());
    }
    let values = t.to_f64s()?;
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    if low >= high {
        return Ok(t.clone());
    }
    rng.tensor(t.dtype(), t.shape(), low, high)
}
