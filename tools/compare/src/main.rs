//! A worker for benchmark tables that run several runtimes in interleaved rounds:
//! `shadernet_bench MODEL INPUT.f32 OUTPUT.f32 DIM…` loads, runs once, writes the first output, prints one JSON line,
//! and then runs and prints a time for every line `run` on standard input.

use std::io::{BufRead, Write};
use std::time::Instant;

use shadernet::{DType, Error, ErrorKind, Gpu, GpuOptions, Model, Result, Session, SessionOptions, Tensor};

fn usage() -> Error {
    Error::new(ErrorKind::InvalidInput, "usage: shadernet_bench MODEL INPUT.f32 OUTPUT.f32 DIM...")
}

fn io(path: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{path}: {e}"))
}

fn work() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, model_path, input_path, output_path, dims @ ..] = &args[..] else { return Err(usage()) };
    let dims: Vec<usize> = dims.iter().map(|d| d.parse().map_err(|_| usage())).collect::<Result<_>>()?;
    let raw = std::fs::read(input_path).map_err(|e| io(input_path, e))?;

    let start = Instant::now();
    let gpu = pollster::block_on(Gpu::new(GpuOptions::from_env()))?;
    let model = Model::load(model_path)?;
    let session = Session::new(&gpu, &model, &SessionOptions::default())?;
    let load = start.elapsed().as_secs_f64();

    let info = model.inputs().first().ok_or_else(usage)?;
    let dtype = info.declared.as_ref().and_then(|d| d.dtype()).unwrap_or(DType::F32);
    let input = Tensor::from_bytes(DType::F32, dims.clone(), raw)?;
    let input = if dtype == DType::F32 { input } else { Tensor::from_f32s(dtype, dims, input.to_f32s()?)? };
    let run = || -> Result<(Tensor, f64)> {
        let start = Instant::now();
        let out = session.run(&[(&info.name, input.clone())])?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let first = out.into_iter().next().ok_or_else(usage)?;
        Ok((first.1, ms))
    };
    let (first, first_ms) = run()?;
    let bytes: Vec<u8> = first.to_f32s()?.into_iter().flat_map(f32::to_le_bytes).collect();
    std::fs::write(output_path, bytes).map_err(|e| io(output_path, e))?;
    println!("{}", serde_json::json!({"load_s": load, "first_ms": first_ms, "device": gpu.info().name}));
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        if line.map_err(|e| io("standard input", e))?.trim() != "run" {
            break;
        }
        println!("{}", serde_json::json!({"ms": run()?.1}));
        out.flush().map_err(|e| io("standard output", e))?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match work() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("shadernet_bench: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
