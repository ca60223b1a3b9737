//! What the host spends: planning a known graph for a new size, and running a plan of many dispatches that take the
//! device no time. `cargo bench --bench host`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use shadernet::ir::{Graph, TensorType};
use shadernet::kernels::Profile;
use shadernet::plan::{Fallback, Known, Planned, plan};
use shadernet::{DType, Gpu, GpuOptions, Session, SessionOptions, Tensor, ir};

/// `count` nodes in a row, no two of which fuse.
fn chain(count: usize) -> Graph {
    let ops = ["MatMul@13(%x, %w)", "Softmax@13(%x)", "ReduceMax@13(%x) {axes = [1]}", "Gemm@13(%x, %w)"];
    let mut text = "graph g(%x0, %w) -> (%y) {\n".to_string();
    for i in 0..count {
        // a reduction's result is widened again by the next sum
        let op = if i % 4 == 2 { "Add@14(%x, %w1)" } else { ops[i % 4] };
        text += &format!("    %x{} = {}\n", i + 1, op.replace("%x", &format!("%x{i}")).replace("%w1", "%x0"));
    }
    text += &format!("    %y = Neg@13(%x{count})\n}}");
    ir::parse(&text).expect("a valid graph")
}

const SIDE: usize = 8;

fn planning(c: &mut Criterion) {
    let graph = Arc::new(chain(99));
    let profile = Arc::new(Profile::base());
    let size = AtomicUsize::new(1);
    let plan = |mut known: Known| {
        let rows = size.fetch_add(1, Ordering::Relaxed) % 1000 + 1;
        known.types.insert(graph.inputs[0], TensorType::new(DType::F32, [rows, SIDE]));
        known.types.insert(graph.inputs[1], TensorType::new(DType::F32, [SIDE, SIDE]));
        match plan(&graph, &profile, 0, known, Fallback::Deny) {
            Ok(Planned::Segment(s)) => s.program,
            Ok(Planned::Demand(_)) => unreachable!("no shape depends on data"),
            Err(e) => panic!("{e}"),
        }
    };
    assert!(plan(Known::default()).dispatches.len() >= 99);
    let programs = (0..100).map(|_| plan(Known::default()));
    let shaders = Arc::new(programs.flat_map(|p| p.dispatches).map(|d| d.spec).collect());
    let compiled = || Known { shaders: Some(Arc::clone(&shaders)), ..Known::default() };
    c.bench_function("plan 100 nodes for a new size", |b| b.iter(|| plan(compiled())));
}

fn running(c: &mut Criterion) {
    let gpu = match pollster::block_on(Gpu::new(GpuOptions::from_env())) {
        Ok(gpu) => gpu,
        Err(e) => return eprintln!("{e}"),
    };
    let inputs = [Tensor::zeros(DType::F32, [1, SIDE]), Tensor::zeros(DType::F32, [SIDE, SIDE])];
    // the difference between the two is the cost of dispatches, here and in the driver
    for count in [0, 99] {
        let session = Session::from_graph(&gpu, &chain(count), &SessionOptions::default()).expect("a session");
        pollster::block_on(session.run_ordered(&inputs)).expect("a run");
        let name = format!("run {} dispatches on {}", session.last_run().dispatches, gpu.info().name);
        c.bench_function(&name, |b| b.iter(|| pollster::block_on(session.run_ordered(&inputs)).expect("a run")));
    }
}

criterion_group!(benches, planning, running);
criterion_main!(benches);
