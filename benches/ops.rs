//! Operators on the device, at the sizes that trained models have. `cargo bench --bench ops -- Conv`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shadernet::DType::{F32, I64};
use shadernet::ops::Case;
use shadernet::{Gpu, GpuOptions, Rng, Session, SessionOptions, Tensor};

/// A case, and the floating-point operations or elements of one run.
fn cases() -> Vec<(String, Case, Throughput)> {
    let mut all = vec![];
    for n in [256usize, 512, 1024] {
        let flops = Throughput::Elements(2 * (n * n * n) as u64);
        let fed = Case::new("MatMul", 13).rand(F32, &[n, n]).rand(F32, &[n, n]);
        all.push((format!("MatMul {n}"), fed, flops));
    }
    // convolutions of ResNet-50: channels, extent, kernel, stride
    for (ic, oc, side, kernel, stride) in
        [(3, 64, 224, 7, 2), (64, 64, 56, 3, 1), (64, 256, 56, 1, 1), (512, 512, 7, 3, 1)]
    {
        let weights = Tensor::zeros(F32, [oc, ic, kernel, kernel]);
        let pad = (kernel / 2) as i64;
        let case = Case::new("Conv", 11).rand(F32, &[1, ic, side, side]).constant(weights);
        let case = case.ints("pads", &[pad; 4]).ints("strides", &[stride as i64; 2]);
        let out = side / stride;
        let flops = 2 * oc * out * out * ic * kernel * kernel;
        all.push((format!("Conv {ic}x{side} {oc} {kernel}x{kernel}"), case, Throughput::Elements(flops as u64)));
    }
    let depthwise = Case::new("Conv", 11).rand(F32, &[1, 128, 56, 56]).constant(Tensor::zeros(F32, [128, 1, 3, 3]));
    let depthwise = depthwise.int("group", 128).ints("pads", &[1; 4]);
    all.push(("Conv depthwise".into(), depthwise, Throughput::Elements(2 * 128 * 56 * 56 * 9)));
    let elements = |n: usize| Throughput::Elements(n as u64);
    let rows = [128usize, 768];
    let wide = rows.iter().product();
    all.push(("Add".into(), Case::new("Add", 14).rand(F32, &rows).rand(F32, &rows), elements(wide)));
    all.push(("Add broadcast".into(), Case::new("Add", 14).rand(F32, &rows).rand(F32, &[768]), elements(wide)));
    all.push(("Erf".into(), Case::new("Erf", 13).rand(F32, &rows), elements(wide)));
    all.push(("Softmax".into(), Case::new("Softmax", 13).rand(F32, &[12, 128, 128]), elements(12 * 128 * 128)));
    let norm = Case::new("LayerNormalization", 17).rand(F32, &rows).rand(F32, &[768]).rand(F32, &[768]);
    all.push(("LayerNormalization".into(), norm, elements(wide)));
    let transposed = Case::new("Transpose", 13).rand(F32, &[128, 12, 64]).ints("perm", &[1, 0, 2]);
    all.push(("Transpose".into(), transposed, elements(128 * 12 * 64)));
    let axes = Tensor::vector(&[1i64]);
    all.push(("ReduceMean".into(), Case::new("ReduceMean", 18).rand(F32, &rows).constant(axes), elements(wide)));
    let gather = Case::new("Gather", 13).rand(F32, &[30_000, 384]).range(I64, &[128], 0.0, 30_000.0);
    all.push(("Gather".into(), gather, elements(128 * 384)));
    all
}

fn ops(c: &mut Criterion) {
    let gpu = match pollster::block_on(Gpu::new(GpuOptions::from_env())) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("{e}"),
    };
    let mut group = c.benchmark_group(gpu.info().name.clone());
    group.sample_size(20);
    for (name, case, work) in cases() {
        let (graph, inputs) = case.build(&mut Rng::new(1)).expect("a valid case");
        let session = Session::from_graph(&gpu, &graph, &SessionOptions::default()).expect("a session");
        group.throughput(work);
        group.bench_function(name, |b| b.iter(|| pollster::block_on(session.run_ordered(&inputs)).expect("a run")));
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
