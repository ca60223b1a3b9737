//! Every operator on the device at the largest of its cases, grouped by domain: what each costs, a run's own cost included.
//! `cargo bench --bench cases -- Conv`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shadernet::ops::{self, Case, CaseInput};
use shadernet::{DType, Gpu, GpuOptions, Rng, Session, SessionOptions};

/// Elements that a case reads, if they are of 32-bit floats or of a type that has no floats.
fn size(case: &Case) -> usize {
    let of = |input: &CaseInput| match input {
        CaseInput::Absent => (0, false),
        CaseInput::Random { dtype, shape, .. } => (shape.iter().product(), dtype.is_float() && *dtype != DType::F32),
        CaseInput::Value(t) | CaseInput::Constant(t) => (t.len(), t.dtype().is_float() && t.dtype() != DType::F32),
    };
    let all: Vec<(usize, bool)> = case.inputs.iter().map(of).collect();
    if all.iter().any(|(_, other)| *other) { 0 } else { all.iter().map(|(n, _)| n).sum() }
}

fn cases(c: &mut Criterion) {
    let gpu = match pollster::block_on(Gpu::new(GpuOptions::from_env())) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("{e}"),
    };
    for def in ops::all() {
        let Some(case) = (def.cases)().into_iter().max_by_key(size) else { continue };
        let Ok((graph, inputs)) = case.build(&mut Rng::new(1)) else { continue };
        // what runs on the host is none of this
        let Ok(session) = Session::from_graph(&gpu, &graph, &SessionOptions::default()) else { continue };
        let Ok(made) = pollster::block_on(session.run_ordered(&inputs)) else { continue };
        if session.last_run().dispatches == 0 {
            continue;
        }
        let domain = if def.domain.is_empty() { "ai.onnx" } else { def.domain };
        let mut group = c.benchmark_group(domain);
        group.sample_size(10).warm_up_time(std::time::Duration::from_millis(200));
        group.measurement_time(std::time::Duration::from_millis(500));
        group.throughput(Throughput::Elements(made.iter().map(|t| t.len() as u64).sum()));
        let shapes: Vec<String> = inputs.iter().map(|t| format!("{:?}", t.shape())).collect();
        group.bench_function(BenchmarkId::new(def.name, shapes.join(" ")), |b| {
            b.iter(|| pollster::block_on(session.run_ordered(&inputs)).expect("a run"));
        });
    }
}

criterion_group!(benches, cases);
criterion_main!(benches);
