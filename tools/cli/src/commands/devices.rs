use serde_json::json;
use shadernet::{Gpu, GpuOptions, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<bool> {
    let all = pollster::block_on(Gpu::adapters(&GpuOptions::from_env()))?;
    if args.json {
        let rows: Vec<_> = all
            .iter()
            .map(|a| {
                let [name, backend, kind, driver] = [&a.name, &a.backend, &a.kind, &a.driver];
                json!({"name": name, "backend": backend, "kind": kind, "driver": driver, "matrices": a.matrices})
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(true);
    }
    for (i, a) in all.iter().enumerate() {
        println!("{i}: {a}");
        if !a.matrices.is_empty() {
            println!("   cooperative matrices: {}", a.matrices.join(", "));
        }
    }
    if all.is_empty() {
        println!("no adapters: is a Vulkan, Metal or DX12 driver installed?");
    }
    Ok(true)
}
