//! The session: plans by shape, threads, shared weights, placement, errors.

mod common;

use shadernet::ir::{Graph, parse};
use shadernet::kernels::When;
use shadernet::ops;
use shadernet::{
    DType, Destination, ErrorKind, Fallback, Gpu, GpuOptions, Model, PipelineCache, Result, Rng, RunStats, Session,
    SessionOptions, Stage, Tensor, Value, cpu,
};

/// Convolution, pooling, a normalised product and a residual, at any batch size.
const NET: &str = "graph net(%x: float[N, 3, 12, 12], %w, %v) -> (%y) {
    %c = Conv@13(%x, %w) {pads = [1, 1, 1, 1]}
    %r = Relu@13(%c)
    %p = MaxPool@12(%r) {kernel_shape = [2, 2], strides = [2, 2]}
    %f = Flatten@13(%p)
    %m = MatMul@13(%f, %v)
    %s = Softmax@13(%m)
    %t = Tanh@13(%m)
    %y = Add@13(%s, %t)
}";

/// Attention of four heads, of any batch and length.
const ENCODER: &str = "graph encoder(%x: float[batch, sequence, 32], %w, %v) -> (%y) {
    %p = MatMul@13(%x, %w)
    %q, %k, %u = Split@18(%p) {axis = -1, num_outputs = 3}
    %a = Attention@23(%q, %k, %u) {q_num_heads = 4, kv_num_heads = 4}
    %m = MatMul@13(%a, %v)
    %r = Add@14(%m, %x)
    %y = Relu@14(%r)
}";

fn net(rng: &mut Rng) -> Result<(Graph, Vec<Tensor>)> {
    let graph = parse(NET)?;
    let weights = [rng.tensor(DType::F32, &[8, 3, 3, 3], -0.5, 0.5)?, rng.tensor(DType::F32, &[288, 10], -0.2, 0.2)?];
    Ok((graph, weights.into()))
}

fn inputs(weights: &[Tensor], batch: usize, rng: &mut Rng) -> Result<Vec<Tensor>> {
    Ok([&[rng.tensor(DType::F32, &[batch, 3, 12, 12], -1.0, 1.0)?], weights].concat())
}

fn on_gpu(session: &Session, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    pollster::block_on(session.run_ordered(inputs))
}

fn assert_near(got: &[Tensor], want: &[Tensor]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert_eq!(g.shape(), w.shape());
        for (a, b) in g.to_f64s().unwrap().iter().zip(w.to_f64s().unwrap()) {
            approx::assert_abs_diff_eq!(*a, b, epsilon = 1e-5);
        }
    }
}

/// A device of this test alone, so that its pipelines are counted alone.
fn own_gpu() -> Option<Gpu> {
    own_gpu_with(GpuOptions::from_env())
}

fn own_gpu_with(options: GpuOptions) -> Option<Gpu> {
    common::gpu()?;
    pollster::block_on(Gpu::new(options)).ok()
}

/// As [`own_gpu`], with the kernels for GPUs, where their compiler does not take minutes for each.
fn own_gpu_with_tiles(winograd: Option<When>) -> Option<Gpu> {
    let quick = |gpu: &&Gpu| gpu.info().kind != "cpu" || gpu.info().driver.starts_with("llvmpipe");
    common::gpu().filter(quick)?;
    own_gpu_with(GpuOptions { gpu_kernels: true, winograd, ..GpuOptions::from_env() })
}

/// Runs on inputs of several sizes, the first of which alone may compile.
fn compiles_once(gpu: &Gpu, graph: &Graph, all: &[Vec<Tensor>]) -> Result<()> {
    let session = Session::from_graph(gpu, graph, &SessionOptions::default())?;
    let mut first = None;
    for x in all {
        assert_near(&on_gpu(&session, x)?, &cpu::run(graph, x)?);
        let count = gpu.pipeline_count();
        assert_eq!(*first.get_or_insert(count), count, "pipelines after {:?}", x[0].shape());
    }
    Ok(())
}

/// With the kernels of this device, with those for GPUs, whose tiles depend on sizes, and with Winograd's.
#[test]
fn another_size_compiles_nothing() -> Result<()> {
    for gpu in [own_gpu(), own_gpu_with_tiles(None), own_gpu_with_tiles(Some(When::Always))].into_iter().flatten() {
        let mut rng = Rng::new(1);
        let (graph, weights) = net(&mut rng)?;
        let batches = [1, 4, 2, 7, 30, 1].map(|batch| inputs(&weights, batch, &mut rng));
        compiles_once(&gpu, &graph, &batches.into_iter().collect::<Result<Vec<_>>>()?)?;

        let graph = parse(ENCODER)?;
        let weights = [rng.tensor(DType::F32, &[32, 96], -0.3, 0.3)?, rng.tensor(DType::F32, &[32, 32], -0.3, 0.3)?];
        let sizes = [[2, 16], [1, 32], [3, 16], [5, 64], [1, 8], [1, 1]];
        let sized = |[batch, sequence]: [usize; 2]| {
            let x = rng.tensor(DType::F32, &[batch, sequence, 32], -1.0, 1.0)?;
            Ok([&[x], weights.as_slice()].concat())
        };
        compiles_once(&gpu, &graph, &sizes.map(sized).into_iter().collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}

/// Where sizes are said to stay, no more is compiled than the first one needs, and others compile what they need.
#[test]
fn fixed_sizes_compile_what_they_need() -> Result<()> {
    let Some(gpu) = own_gpu_with_tiles(None) else { return Ok(()) };
    let mut rng = Rng::new(1);
    let (graph, weights) = net(&mut rng)?;
    let options = SessionOptions { fixed_sizes: true, ..SessionOptions::default() };
    let session = Session::from_graph(&gpu, &graph, &options)?;
    let mut counts = vec![];
    for batch in [1, 64] {
        let x = inputs(&weights, batch, &mut rng)?;
        assert_near(&on_gpu(&session, &x)?, &cpu::run(&graph, &x)?);
        counts.push(gpu.pipeline_count());
    }
    assert!(counts[0] < counts[1], "{counts:?}");
    Ok(())
}

/// What was measured is kept for other sessions and processes on the same device, and computes the same.
#[test]
fn tiles_are_measured_once() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("shadernet-tuned-{}", std::process::id()));
    let open = || {
        let pipeline_cache = PipelineCache::Folder(folder.clone());
        pollster::block_on(Gpu::new(GpuOptions { gpu_kernels: true, pipeline_cache, ..GpuOptions::from_env() }))
    };
    if own_gpu_with_tiles(None).is_none() {
        return Ok(());
    }
    let gpu = open()?;
    let graph = parse(
        "graph g(%x: float[N, 64], %w: float[64, 48], %v: float[48, 96]) -> (%y) {
            %h = MatMul@13(%x, %w)
            %r = Relu@14(%h)
            %y = MatMul@13(%r, %v)
        }",
    )?;
    let mut rng = Rng::new(1);
    let mut inputs = vec![];
    for shape in [[40, 64], [64, 48], [48, 96]] {
        inputs.push(rng.tensor(DType::F32, &shape, -1.0, 1.0)?);
    }
    let named: Vec<(&str, Tensor)> = ["x", "w", "v"].into_iter().zip(inputs.iter().cloned()).collect();
    let session = Session::from_graph(&gpu, &graph, &SessionOptions::default())?;
    let want = cpu::run(&graph, &inputs)?;
    assert_near(&on_gpu(&session, &inputs)?, &want);
    let found = session.tune(&named)?;
    assert_eq!(found.len(), 2, "{found:?}");
    for t in &found {
        assert!(t.nanos > 0.0 && t.nanos <= t.modelled_nanos, "{t:?}");
        assert_eq!(gpu.profile().choices.get(&t.best.problem), Some(t.best.choice));
    }
    assert_near(&on_gpu(&session, &inputs)?, &want);
    let again = open()?;
    for t in &found {
        assert_eq!(again.profile().choices.get(&t.best.problem), Some(t.best.choice), "{t:?}");
    }
    let session = Session::from_graph(&again, &graph, &SessionOptions::default())?;
    assert_near(&on_gpu(&session, &inputs)?, &want);
    std::fs::remove_dir_all(folder).unwrap();
    Ok(())
}

#[test]
fn activations_lie_within_a_quarter_of_the_least() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let session = Session::new(gpu, &model, &SessionOptions::default())?;
    for batch in [1, 3] {
        session.run(&[("x", Rng::new(1).tensor(DType::F32, &[batch, 3, 48, 192], -1.0, 1.0)?)])?;
        let RunStats { activation_bytes, activation_lower_bound, segments, host_nodes, .. } = session.last_run();
        assert_eq!((segments, host_nodes.len()), (1, 0));
        assert!(activation_lower_bound > 0);
        assert!(
            activation_bytes as f64 <= 1.25 * activation_lower_bound as f64,
            "{activation_bytes} bytes for {activation_lower_bound}"
        );
    }
    Ok(())
}

fn text_direction() -> Result<Model> {
    Model::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/text-direction/model.onnx"))
}

#[test]
fn many_threads_share_a_session() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let mut rng = Rng::new(2);
    let (graph, weights) = net(&mut rng)?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    std::thread::scope(|scope| {
        let run = |seed: u64| {
            let (session, graph, weights) = (&session, &graph, &weights);
            scope.spawn(move || -> Result<()> {
                let mut rng = Rng::new(seed);
                for turn in 0..8 {
                    let x = inputs(weights, 1 + (seed as usize + turn) % 3, &mut rng)?;
                    assert_near(&on_gpu(session, &x)?, &cpu::run(graph, &x)?);
                }
                Ok(())
            })
        };
        let threads: Vec<_> = (10..16).map(run).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a thread panicked"))
    })
}

#[test]
fn sessions_of_a_model_share_its_weights() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let x = Rng::new(3).tensor(DType::F32, &[1, 3, 48, 192], -1.0, 1.0)?;
    let first = Session::new(gpu, &model, &SessionOptions::default())?;
    let a = first.run(&[("x", x.clone())])?;
    let bytes = first.weights_bytes();
    assert!(bytes > 100_000, "{bytes} bytes of weights");
    let second = pollster::block_on(model.session(gpu).build())?;
    let b = pollster::block_on(second.run_async(&[("x", x)]))?;
    // what a plan computes for itself is its own
    assert!(second.weights_bytes() < bytes + bytes / 10, "{} bytes after {bytes}", second.weights_bytes());
    assert!(a[0].1.same_bits(&b[0].1));
    Ok(())
}

#[test]
fn an_empty_batch_gives_an_empty_result() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let mut rng = Rng::new(4);
    let (graph, weights) = net(&mut rng)?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let out = on_gpu(&session, &inputs(&weights, 0, &mut rng)?)?;
    assert_eq!(out[0].shape(), [0, 10]);
    Ok(())
}

#[test]
fn shapes_that_depend_on_data_are_followed() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let graph = parse(
        "graph g(%x, %shape, %n) -> (%y, %z) {
            %r = Reshape@13(%x, %shape)
            %e = Exp@13(%r)
            %s = Shape@13(%e)
            %y = Expand@13(%n, %s)
            %z = Tile@13(%e, %s)
        }",
    )?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let x = Rng::new(5).tensor(DType::F32, &[12], -1.0, 1.0)?;
    for shape in [[3i64, 4], [2, 6], [12, 1], [3, 4]] {
        let inputs = [x.clone(), Tensor::vector(&shape), Tensor::scalar(7.0f32)];
        assert_near(&on_gpu(&session, &inputs)?, &cpu::run(&graph, &inputs)?);
    }
    Ok(())
}

/// What no device has a form for stays on the host, which is said, or refused.
#[test]
fn nodes_that_no_device_runs_are_placed_on_the_host_or_named() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let graph = parse(
        "graph g(%x) -> (%y) {
            %d = Cast@13(%x) {to = 11}
            %e = Tanh@13(%d) \"in double\"
            %f = Cast@13(%e) {to = 1}
            %y = Relu@13(%f)
        }",
    )?;
    let x = [Tensor::vector(&[0f32, 1.0])];
    let deny = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let e = on_gpu(&deny, &x).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.to_string().contains("in double (Tanh)"), "{e}");
    let options = SessionOptions { fallback: Fallback::Allow, ..SessionOptions::default() };
    let allow = Session::from_graph(gpu, &graph, &options)?;
    assert_near(&on_gpu(&allow, &x)?, &cpu::run(&graph, &x)?);
    let hosts = allow.last_run().host_nodes;
    assert!(hosts.iter().any(|h| h == "in double (Tanh)"), "{hosts:?}");
    assert!(!hosts.iter().any(|h| h.contains("Relu")), "{hosts:?}");
    Ok(())
}

#[test]
fn wrong_inputs_are_named() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let session = Session::new(gpu, &model, &SessionOptions::default())?;
    let fails = |inputs: &[(&str, Tensor)], part: &str| {
        let e = session.run(inputs).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        assert!(e.to_string().contains(part) && !e.to_string().contains('\n'), "{e}");
    };
    fails(&[], "input \"x\" is missing: expected float[");
    fails(&[("image", Tensor::scalar(1f32))], "no input \"image\", it has [\"x\"]");
    fails(&[("x", Tensor::zeros(DType::I32, [1, 3, 48, 192]))], "got int32[1, 3, 48, 192]");
    fails(&[("x", Tensor::zeros(DType::F32, [1, 4, 48, 192]))], "got float[1, 4, 48, 192]");
    fails(&[("x", Tensor::zeros(DType::F32, [3, 48, 192]))], "got float[3, 48, 192]");
    Ok(())
}

/// A shape that contradicts a node in the middle names that node.
#[test]
fn a_contradiction_inside_names_its_node() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let graph = parse("graph g(%a, %b) -> (%y) {\n  %m = MatMul@13(%a, %b) \"product\"\n  %y = Relu@13(%m)\n}")?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let bad = [Tensor::zeros(DType::F32, [2, 3]), Tensor::zeros(DType::F32, [4, 5])];
    let e = on_gpu(&session, &bad).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidNode);
    assert!(e.to_string().contains("product (MatMul)"), "{e}");
    // and the session still works
    let good = [Tensor::zeros(DType::F32, [2, 3]), Tensor::zeros(DType::F32, [3, 5])];
    assert_eq!(on_gpu(&session, &good)?[0].shape(), [2, 5]);
    Ok(())
}

#[test]
fn profiling_times_dispatches() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let session = Session::new(gpu, &model, &SessionOptions::default())?;
    let stats = session.profile(&[("x", Tensor::zeros(DType::F32, [1, 3, 48, 192]))])?;
    assert!(stats.dispatches > 10);
    assert!(stats.timings.is_empty() || stats.timings.len() == stats.dispatches);
    Ok(())
}

#[test]
fn sessions_may_be_shared_and_sent() {
    fn both<T: Send + Sync>() {}
    both::<Session>();
    both::<Model>();
    both::<Gpu>();
    both::<Tensor>();
}

/// Unseeded random operators draw anew in every run and in every node, on the device, and after their law.
#[test]
fn random_operators_draw_anew() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    const N: usize = 100_000;
    let moments = |v: &[f64]| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
    };
    for (op, mean, variance) in [("RandomNormal", 0.0, 1.0), ("RandomUniform", 0.5, 1.0 / 12.0)] {
        let (graph, _) = ops::Case::new(op, 22).ints("shape", &[N as i64]).build(&mut Rng::new(1))?;
        let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
        let run = || pollster::block_on(session.run_ordered(&[]))?[0].to_f64s();
        let (first, second) = (run()?, run()?);
        assert_ne!(first, second);
        assert!(session.last_run().host_nodes.is_empty(), "{:?}", session.last_run().host_nodes);
        assert_eq!(session.last_run().plans, 0, "{op} was planned anew");
        for v in [first, second] {
            let (m, s) = moments(&v);
            // beyond six standard deviations of the estimates
            assert!((m - mean).abs() < 6.0 * (variance / N as f64).sqrt(), "{op}: mean {m}");
            assert!((s / variance - 1.0).abs() < 6.0 * (2.0 / N as f64).sqrt(), "{op}: variance {s}");
            // a law's tenths, each as full as the others: Pearson's chi squared with nine degrees of freedom
            let tenth = |x: f64| if op == "RandomUniform" { x } else { 0.5 * (1.0 + erf(x / 2f64.sqrt())) };
            let mut counts = [0.0; 10];
            v.iter().for_each(|x| counts[((tenth(*x) * 10.0) as usize).min(9)] += 1.0);
            let expected = N as f64 / 10.0;
            let chi: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
            assert!(chi < 50.0, "{op}: chi squared {chi}");
        }
    }
    let coins = Tensor::new([N], vec![0.3f32; N])?;
    let (graph, inputs) = ops::Case::new("Bernoulli", 22).value(coins).build(&mut Rng::new(1))?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let ones: f64 = pollster::block_on(session.run_ordered(&inputs))?[0].to_f64s()?.iter().sum();
    assert!((ones / N as f64 - 0.3).abs() < 6.0 * (0.21 / N as f64).sqrt(), "{ones}");
    Ok(())
}

/// Abramowitz and Stegun 7.1.26, good to 1.5e-7.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    (1.0 - p.iter().fold(0.0, |sum, a| sum * t + a) * t * (-x * x).exp()).copysign(x)
}

/// The driver's cache is kept in a file for the next process; a damaged one is ignored, and replaced.
#[test]
fn pipelines_are_kept_between_devices() -> Result<()> {
    if common::gpu().is_none() {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("shadernet-session-{}", std::process::id()));
    let options = || GpuOptions { pipeline_cache: PipelineCache::Folder(folder.clone()), ..GpuOptions::from_env() };
    let files = || -> Vec<_> {
        let all = std::fs::read_dir(&folder).into_iter().flatten();
        all.flatten().map(|f| f.path()).collect()
    };
    let model = text_direction()?;
    let x = Rng::new(3).tensor(DType::F32, &[1, 3, 48, 192], -1.0, 1.0)?;
    let run = || -> Result<Vec<(String, Tensor)>> {
        let gpu = pollster::block_on(Gpu::new(options()))?;
        Session::new(&gpu, &model, &SessionOptions::default())?.run(&[("x", x.clone())])
    };
    let first = run()?;
    if let [file] = &files()[..] {
        let whole = std::fs::read(file).expect("a cache");
        for bad in [&b"damaged"[..], &whole[..whole.len() / 2]] {
            std::fs::write(file, bad).expect("a folder to write to");
            assert!(run()?[0].1.same_bits(&first[0].1));
            assert_eq!(files().len(), 1);
            assert!(std::fs::read(file).expect("a cache").len() > bad.len());
        }
        assert!(run()?[0].1.same_bits(&first[0].1));
    } else {
        assert!(files().is_empty(), "{:?}", files());
        eprintln!("the driver keeps no pipelines");
    }
    // nobody minds a folder that is none
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

#[test]
fn building_tells_how_far_it_is() -> Result<()> {
    let Some(gpu) = own_gpu() else { return Ok(()) };
    let seen = std::sync::Mutex::new(vec![]);
    let model = text_direction()?;
    let session = model.session(&gpu).dim("N", 1).on_progress(|p| seen.lock().expect("a list").push(p));
    let session = pollster::block_on(session.build())?;
    drop(session);
    let seen = seen.into_inner().expect("a list");
    assert!(seen.iter().all(|p| p.done <= p.total), "{seen:?}");
    let compiled = seen.iter().filter(|p| p.stage == Stage::Compile).count();
    assert!(compiled == gpu.pipeline_count(), "{compiled} of {}", gpu.pipeline_count());
    Ok(())
}

#[test]
fn the_memory_report_says_what_is_there() -> Result<()> {
    let Some(gpu) = own_gpu() else { return Ok(()) };
    let model = text_direction()?;
    let session = Session::new(&gpu, &model, &SessionOptions::default())?;
    let x = [("x", Tensor::zeros(DType::F32, [2, 3, 48, 192]))];
    let m = session.memory(&x)?;
    session.run(&x)?;
    assert_eq!(m.weights, session.weights_bytes());
    assert_eq!(m.activations, session.last_run().activation_bytes);
    assert_eq!(m.inputs, 2 * 3 * 48 * 192 * 4);
    assert!(m.activations_lower_bound <= m.activations && m.staging > 0 && m.peak > m.weights + m.activations);
    assert_eq!(m.textures > 0, gpu.profile().texels == When::Gains);
    let stats = session.plan(&x)?.stats();
    assert!(stats.flops > 1_000_000 && stats.bytes_bound > m.inputs);
    Ok(())
}

/// What is asked for in float16 keeps its types and three digits, and takes half the memory.
#[test]
fn float16_keeps_three_digits_in_half_the_memory() -> Result<()> {
    let Some(gpu) = own_gpu_with_tiles(None).filter(Gpu::has_float16) else { return Ok(()) };
    let model = text_direction()?;
    let x = Rng::new(3).tensor(DType::F32, &[2, 3, 48, 192], -1.0, 1.0)?;
    let full = model.reference().run(&[("x", x.clone())])?;
    let mut bytes = vec![];
    for float16 in [false, true] {
        let session = Session::new(&gpu, &model, &SessionOptions { float16, ..SessionOptions::default() })?;
        let made = session.run(&[("x", x.clone())])?;
        for ((name, g), (_, w)) in made.iter().zip(&full) {
            assert_eq!((g.dtype(), g.shape()), (w.dtype(), w.shape()), "{name}");
            for (a, b) in g.to_f64s()?.iter().zip(w.to_f64s()?) {
                approx::assert_abs_diff_eq!(*a, b, epsilon = if float16 { 1e-2 } else { 1e-5 });
            }
        }
        bytes.push((session.weights_bytes(), session.last_run().activation_bytes));
    }
    assert!(bytes[1].0 * 100 < bytes[0].0 * 55 && bytes[1].1 * 100 < bytes[0].1 * 65, "{bytes:?}");
    Ok(())
}

/// Where float16 would gain nothing, as on software adapters, it is not used.
#[test]
fn software_adapters_compute_in_float32_whatever_is_asked() -> Result<()> {
    let Some(gpu) = own_gpu().filter(|gpu| !gpu.has_float16()) else { return Ok(()) };
    let model = text_direction()?;
    let x = Rng::new(3).tensor(DType::F32, &[1, 3, 48, 192], -1.0, 1.0)?;
    let run = |float16| {
        let options = SessionOptions { float16, ..SessionOptions::default() };
        Session::new(&gpu, &model, &options)?.run(&[("x", x.clone())])
    };
    let same = run(true)?.iter().zip(run(false)?).all(|((_, a), (_, b))| a.same_bits(&b));
    assert!(same);
    Ok(())
}

/// A plan that goes on behind control flow must not take what one run left on the host for what another leaves on the
/// device: a loop that makes no step passes its input on.
#[test]
fn where_values_lie_is_part_of_what_a_plan_knows() -> Result<()> {
    use common::onnx;
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let within = onnx_proto::GraphProto {
        name: onnx::s("within"),
        input: vec![onnx::open("i"), onnx::open("going"), onnx::open("a")],
        output: vec![onnx::open("less"), onnx::open("b")],
        node: vec![
            onnx::node("Add", &["a", "a"], &["b"]),
            onnx::with("ReduceSum", &["b"], &["sum"], vec![onnx::int("keepdims", 0)]),
            onnx::node("Less", &["sum", "limit"], &["less"]),
        ],
        ..Default::default()
    };
    let graph = onnx_proto::GraphProto {
        name: onnx::s("g"),
        input: vec![onnx::floats("x", &[2]), onnx::floats("limit", &[])],
        output: vec![onnx::open("y"), onnx::open("x")],
        initializer: vec![onnx::longs("most", &[100])],
        node: vec![
            onnx::with("ReduceSum", &["x"], &["sum"], vec![onnx::int("keepdims", 0)]),
            onnx::node("Less", &["sum", "limit"], &["first"]),
            onnx::with("Loop", &["most", "first", "x"], &["y"], vec![onnx::body("body", within)]),
        ],
        ..Default::default()
    };
    let model = Model::from_proto(&onnx::model(graph), &Default::default())?;
    let session = Session::new(gpu, &model, &SessionOptions::default())?;
    let (x, limit) = (Tensor::vector(&[1f32, 2.0]), |l: f32| Tensor::scalar(l));
    let on_device = shadernet::DeviceTensor::new(gpu, &x)?;
    for (most, want) in [(2.0, [1f32, 2.0]), (20.0, [8.0, 16.0]), (2.0, [1.0, 2.0]), (3000.0, [1024.0, 2048.0])] {
        for x in [Value::Host(x.clone()), Value::Device(on_device.clone())] {
            let inputs = [("x", x), ("limit", Value::Host(limit(most)))];
            let made = session.run_values(&inputs, &[("y", Destination::Host), ("x", Destination::Host)])?;
            let made: Vec<Vec<f64>> = made.iter().map(|v| host(v).to_f64s().unwrap()).collect();
            assert_eq!(made, [want.map(f64::from).to_vec(), vec![1.0, 2.0]], "limit {most}");
        }
    }
    Ok(())
}

/// Runs may be handed from thread to thread.
#[test]
fn runs_are_send() {
    fn sent<T: Send>(_: &T) {}
    let _ = |session: &Session, x: &[(&str, Tensor)]| sent(&session.run_async(x));
    let _ = |session: &Session, x: &[(&str, Value)]| sent(&session.run_values_async(x, &[]));
}

fn host(value: &Value) -> &Tensor {
    match value {
        Value::Host(t) => t,
        Value::Device(_) => panic!("a value stayed on the device"),
    }
}
