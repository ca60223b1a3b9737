//! The `shadernet` command: run, compare, test, time and inspect ONNX models.

mod commands;
mod compare;
mod inputs;
mod output;
mod place;
mod rates;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "shadernet", version, about = "Runs ONNX models as WGSL compute shaders on any GPU")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a model holds: inputs, outputs, operators, weights.
    Info(commands::info::Args),
    /// Whether a model runs on this device, and what would not.
    Check(commands::check::Args),
    /// Runs a model and prints or saves its outputs.
    Run(commands::run::Args),
    /// Runs a model node by node on the device and on the reference, and names the first node that differs.
    Compare(commands::compare::Args),
    /// Errors of models against a run in 64 bits, beside those of the runtime that made their test data.
    Accuracy(commands::accuracy::Args),
    /// Times models on one or more backends.
    Bench(commands::bench::Args),
    /// Measures which tiles the products and convolutions of a model go best by on this device, and keeps them for later
    /// sessions.
    Tune(commands::tune::Args),
    /// The device memory that a plan takes: weights, activations, staging, in bytes.
    Memory(commands::memory::Args),
    /// GPU time of every dispatch.
    Profile(commands::profile::Args),
    /// The graph after import or passes, or the plan for given input shapes.
    Graph(commands::graph::Args),
    /// The shaders of a node, in WGSL, SPIR-V, MSL or HLSL.
    Shader(commands::shader::Args),
    /// The adapters of this machine.
    Devices(commands::devices::Args),
    /// The operators there are, as a table in Markdown.
    Ops(commands::ops::Args),
    /// Runs models many times with changing shapes: against the reference, and for growth.
    Soak(commands::soak::Args),
    /// Runs a model step by step with its state on the device, beside the reference.
    Steps(commands::steps::Args),
    /// Runs folders in the ONNX test format.
    Test(commands::test::Args),
}

fn main() -> ExitCode {
    // a reader that goes away ends the command, as it does elsewhere
    sigpipe::reset();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let done = match Cli::parse().command {
        Command::Info(a) => commands::info::run(&a),
        Command::Check(a) => commands::check::run(&a),
        Command::Run(a) => commands::run::run(&a),
        Command::Compare(a) => commands::compare::run(&a),
        Command::Accuracy(a) => commands::accuracy::run(&a),
        Command::Bench(a) => commands::bench::run(&a),
        Command::Tune(a) => commands::tune::run(&a),
        Command::Memory(a) => commands::memory::run(&a),
        Command::Profile(a) => commands::profile::run(&a),
        Command::Graph(a) => commands::graph::run(&a),
        Command::Shader(a) => commands::shader::run(&a),
        Command::Devices(a) => commands::devices::run(&a),
        Command::Ops(a) => commands::ops::run(&a),
        Command::Soak(a) => commands::soak::run(&a),
        Command::Steps(a) => commands::steps::run(&a),
        Command::Test(a) => commands::test::run(&a),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("shadernet: {e}");
            ExitCode::FAILURE
        }
    }
}
