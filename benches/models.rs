//! Trained models on their test data, which `tools/models.sh` fetches and makes: the folders in SHADERNET_MODELS, or in
//! target/models. `cargo bench --bench models -- silero`.

use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use prost::Message;
use shadernet::import::tensor_from_proto;
use shadernet::{Error, ErrorKind, Fallback, Gpu, GpuOptions, Model, Result, Tensor};

/// The inputs of the first data set, in the model's order; those that are no tensors are none.
fn inputs(folder: &Path, model: &Model) -> Result<Vec<(String, Tensor)>> {
    let mut all = vec![];
    for (i, info) in model.inputs().iter().enumerate() {
        let file = folder.join(format!("test_data_set_0/input_{i}.pb"));
        let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Io, format!("{}: {e}", file.display()));
        let bytes = std::fs::read(&file).map_err(|e| failed(&e))?;
        let proto = onnx_proto::TensorProto::decode(&*bytes).map_err(|e| failed(&e))?;
        all.push((info.name.clone(), tensor_from_proto(&proto)?));
    }
    Ok(all)
}

fn models(c: &mut Criterion) {
    let gpu = match pollster::block_on(Gpu::new(GpuOptions::from_env())) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("{e}"),
    };
    let root = std::env::var("SHADERNET_MODELS").unwrap_or_else(|_| "target/models".into());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path()).collect();
    folders.sort();
    let mut group = c.benchmark_group(gpu.info().name.clone());
    group.sample_size(10);
    for folder in folders.iter().filter(|f| f.join("model.onnx").exists()) {
        let run = || -> Result<_> {
            let model = Model::load(folder.join("model.onnx"))?;
            let session = pollster::block_on(model.session(&gpu).fallback(Fallback::Allow).build())?;
            Ok((inputs(folder, &model)?, session))
        };
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (inputs, session) = match run() {
            Ok(ready) => ready,
            Err(e) => {
                eprintln!("{name}: {e}");
                continue;
            }
        };
        let named: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        group.bench_function(name, |b| b.iter(|| session.run(&named).expect("a run")));
    }
}

criterion_group!(benches, models);
criterion_main!(benches);
