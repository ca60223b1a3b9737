//! What the integration tests share: a device, the comparison of a result with its reference, the check of a case.
#![allow(dead_code)] // no test uses all of it

pub mod child;
pub mod folder;
pub mod onnx;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use shadernet::kernels::When;
use shadernet::ops::{CaseInput, Tolerance};
use shadernet::{DType, Gpu, GpuOptions, Rng, Session, SessionOptions, Tensor, cpu, ops};

/// The device under test, opened once; `None` where no adapter is installed.
pub fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let with = |texels| pollster::block_on(Gpu::new(GpuOptions { poison: true, texels, ..GpuOptions::from_env() }));
    // cases are too small to gain from textures
    let all = |gpu: Gpu| if gpu.profile().texels == When::Gains { with(Some(When::Always)) } else { Ok(gpu) };
    let open = || match with(GpuOptions::from_env().texels).and_then(all) {
        Ok(gpu) => Some(gpu),
        Err(e) if std::env::var_os("SHADERNET_REQUIRE_GPU").is_some() => panic!("{e}"),
        Err(e) => {
            eprintln!("no GPU: {e}");
            None
        }
    };
    GPU.get_or_init(open).as_ref()
}

/// Which operators are to be tested: all, those that `SHADERNET_OPS` lists (`Conv,MatMul`), or all but those (`-LSTM,-GRU`).
pub fn wanted() -> impl Fn(&str) -> bool {
    let filter = std::env::var("SHADERNET_OPS").unwrap_or_default();
    move |name| {
        let not = |f: &str| f.strip_prefix('-').is_some_and(|f| f == name);
        let all_but = filter.is_empty() || filter.starts_with('-');
        if all_but { !filter.split(',').any(not) } else { filter.split(',').any(|f| f == name) }
    }
}

/// What `f` makes of each item, in order, on all cores. `SHADERNET_SHARD=1/3` takes the second of every three: SwiftShader
/// compiles one kernel at a time, whatever the threads of a process.
pub fn on_all_cores<I: Sync, T: Send>(items: &[I], f: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let shard = std::env::var("SHADERNET_SHARD").unwrap_or_else(|_| "0/1".into());
    let numbers = shard.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    let (first, step): (usize, usize) = numbers.unwrap_or_else(|| panic!("SHADERNET_SHARD={shard}: expected 0/2"));
    let (next, made) = (AtomicUsize::new(first), Mutex::new(vec![]));
    let work = || {
        while let Some((i, item)) = Some(next.fetch_add(step, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            let one = f(item);
            made.lock().unwrap().push((i, one));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(work);
        }
    });
    let mut made = made.into_inner().unwrap();
    made.sort_by_key(|(i, _)| *i);
    made.into_iter().map(|(_, one)| one).collect()
}

/// What became of a case that is not wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Device and reference agree.
    Compared,
    /// The reference refuses it, and the device too.
    Refused,
    /// There is no device, or the operator or its types are the host's, or its results random.
    NotOnDevice,
}

/// Runs a case on the device, with no fallback, and on the reference, and compares all outputs.
pub fn check(case: &ops::Case, seed: u64) -> Result<Outcome, String> {
    let Some(gpu) = gpu() else { return Ok(Outcome::NotOnDevice) };
    let what = format!("{} @{} {:?} {:?}", ops::qualified(case.domain, case.op), case.opset, case.attrs, case.inputs);
    let what: String = what.chars().take(400).collect();
    let fail = |e: String| format!("{what}: {e}");
    let (graph, inputs) = case.build(&mut Rng::new(seed)).map_err(|e| fail(e.to_string()))?;
    let op = graph.nodes[0].operator.op.clone();
    let want = cpu::run(&graph, &inputs).map_err(|e| fail(format!("reference: {e}")))?;
    let doubles = ops::takes_doubles(&graph.nodes[0]);
    let on_host = |d: DType| d.device().is_none() || (d == DType::F64 && !doubles);
    let host_only = want.iter().chain(&inputs).any(|t| on_host(t.dtype()));
    let repeats = op.deterministic() || (op.keyed().is_some() && case.attrs.contains_key("seed"));
    if host_only || op.on_host() || !repeats {
        return Ok(Outcome::NotOnDevice);
    }
    // a graph of its own: random operators count the runs of theirs
    let (again, _) = case.build(&mut Rng::new(seed)).map_err(|e| fail(e.to_string()))?;
    let session = Session::from_graph(gpu, &again, &SessionOptions::default()).map_err(|e| fail(e.to_string()))?;
    let got = pollster::block_on(session.run_ordered(&inputs)).map_err(|e| fail(e.to_string()))?;
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let tolerance = op.tolerance(w.dtype(), case.sum);
        let forced = case.op == "Conv" && gpu.profile().winograd == When::Always;
        let times = if forced { WINOGRAD } else { 1.0 };
        let tolerance = Tolerance { rel: times * tolerance.rel, abs: times * tolerance.abs };
        // a sum carries the rounding of its terms even where they cancel
        let terms = match case.op {
            "Det" => inputs.iter().map(determinants).fold(0.0, f64::max),
            _ if case.sum > 1 => inputs.iter().map(greatest).fold(0.0, f64::max),
            _ => 0.0,
        };
        if let Some(m) = mismatch_over(g, w, tolerance, terms)
            && !(case.op == "Multinomial" && at_borders(g, w))
        {
            return Err(fail(format!("output {i}: {m}")));
        }
    }
    Ok(Outcome::Compared)
}

/// What the transforms of Winograd's algorithm round, in what sums do: of few channels, where it is not chosen, they count.
const WINOGRAD: f64 = 4.0;

/// The greatest root mean square of the determinants of random matrices with rows as long as those of a matrix here:
/// √n! √n⁻ⁿ times the product of the lengths. One much nearer to 0 is what its terms leave as they cancel.
fn determinants(t: &Tensor) -> f64 {
    let n = t.shape().last().copied().unwrap_or(1).max(1);
    let lengths: Vec<f64> = t
        .to_f64s()
        .unwrap_or_default()
        .chunks_exact(n)
        .map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt())
        .collect();
    let shrink: f64 = (1..=n).map(|i| (i as f64 / n as f64).sqrt()).product();
    lengths.chunks_exact(n).map(|l| l.iter().product::<f64>() * shrink).fold(0.0, f64::max)
}

/// Whether results differ by a class in one of a hundred samples at most: a sample whose number lies at the border of two
/// classes, but for rounding, falls to either.
fn at_borders(got: &Tensor, want: &Tensor) -> bool {
    let (Ok(g), Ok(w)) = (got.to_i128s(), want.to_i128s()) else { return false };
    let off: Vec<u128> = g.iter().zip(&w).map(|(g, w)| (g - w).unsigned_abs()).filter(|d| *d > 0).collect();
    got.shape() == want.shape() && off.iter().all(|d| *d == 1) && off.len() <= w.len().div_ceil(100)
}

/// The case with doubles for floats; `None` when it has none, or doubles are not of the operator's types.
pub fn in_doubles(case: &ops::Case) -> Option<ops::Case> {
    let double = |t: &Tensor| Tensor::from_f64s(DType::F64, t.shape(), t.to_f64s().ok()?).ok();
    let mut out = case.clone();
    let mut any = false;
    for input in &mut out.inputs {
        match input {
            CaseInput::Random { dtype: dtype @ DType::F32, .. } => *dtype = DType::F64,
            CaseInput::Value(t) | CaseInput::Constant(t) if t.dtype() == DType::F32 => *t = double(t)?,
            _ => continue,
        }
        any = true;
    }
    let takes = |(graph, inputs): (_, Vec<Tensor>)| cpu::run(&graph, &inputs).is_ok();
    (any && out.build(&mut Rng::new(1)).is_ok_and(takes)).then_some(out)
}

/// As [`check`], but what the reference refuses the device must refuse too, unless it may do so `by_data`.
pub fn check_or_refuse(case: &ops::Case, seed: u64, by_data: bool) -> Result<Outcome, String> {
    let Ok((graph, inputs)) = case.build(&mut Rng::new(seed)) else { return Ok(Outcome::Refused) };
    let Err(e) = cpu::run(&graph, &inputs) else { return check(case, seed) };
    let Some(gpu) = gpu() else { return Ok(Outcome::Refused) };
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default());
    match session.and_then(|s| pollster::block_on(s.run_ordered(&inputs))) {
        Ok(_) if by_data => Ok(Outcome::Refused),
        Ok(made) => {
            let what = format!("{} @{} {:?} {:?}", case.op, case.opset, case.attrs, case.inputs);
            Err(format!("{what:.400}: the reference says {e}; the device gives {made:?}"))
        }
        Err(_) => Ok(Outcome::Refused),
    }
}

/// The largest violation of the tolerance, in words; `None` when `got` is close enough to `want`.
pub fn mismatch(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Option<String> {
    mismatch_over(got, want, tolerance, 0.0)
}

/// The greatest finite magnitude; 0 of what is not floats.
fn greatest(t: &Tensor) -> f64 {
    let floats = if t.dtype().is_float() { t.to_f64s().unwrap_or_default() } else { vec![] };
    floats.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()))
}

/// As [`mismatch`], of a result made from terms of up to the magnitude `terms`.
fn mismatch_over(got: &Tensor, want: &Tensor, tolerance: Tolerance, terms: f64) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some(format!("got {:?}, want {:?}", got, want));
    }
    if !want.dtype().is_float() {
        let near = tolerance.abs >= 1.0 && {
            let (g, w) = (got.to_i128s().unwrap(), want.to_i128s().unwrap());
            g.iter().zip(&w).all(|(g, w)| (g - w).unsigned_abs() as f64 <= tolerance.abs)
        };
        if near || got.same_bits(want) {
            return None;
        }
        let differs = got.to_i128s().ok().zip(want.to_i128s().ok()).and_then(|(g, w)| {
            let i = g.iter().zip(&w).position(|(g, w)| g != w)?;
            Some(format!("element {i}: got {}, want {}; ", g[i], w[i]))
        });
        return Some(format!("{}got {got:?}, want {want:?}", differs.unwrap_or_default()));
    }
    let (g, w) = (got.to_f64s().unwrap(), want.to_f64s().unwrap());
    let scale = greatest(want).max(terms);
    let mut worst: Option<(f64, usize)> = None;
    for (i, (a, b)) in g.iter().zip(&w).enumerate() {
        let allowed = tolerance.abs * scale + tolerance.rel * b.abs() + subnormal(want.dtype());
        let same = a == b || (a.is_nan() && b.is_nan());
        let beyond = a.is_infinite() && a.signum() == b.signum() && b.abs() + allowed >= largest(want.dtype());
        if same || (a - b).abs() <= allowed || beyond {
            continue;
        }
        let excess = if a.is_finite() && b.is_finite() { (a - b).abs() / allowed.max(1e-300) } else { f64::INFINITY };
        if worst.is_none_or(|(e, _)| excess > e) {
            worst = Some((excess, i));
        }
    }
    worst
        .map(|(e, i)| format!("element {i}: got {}, want {}, {e:.1} x the tolerance; {got:?} for {want:?}", g[i], w[i]))
}

/// The greatest finite value.
fn largest(d: DType) -> f64 {
    match d {
        DType::F32 => f32::MAX as f64,
        DType::BF16 => half::bf16::MAX.to_f64(),
        DType::F16 => half::f16::MAX.to_f64(),
        _ => f64::MAX,
    }
}

/// Devices may flush subnormals.
fn subnormal(d: DType) -> f64 {
    match d {
        DType::F32 | DType::BF16 => f32::MIN_POSITIVE as f64,
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2f64.powi(-14),
        _ => 0.0,
    }
}
