//! What the integration tests share: a device, the comparison of a result with its reference, the check of a case.
#![allow(dead_code)] // no test uses all of it

pub mod check;
pub mod child;
pub mod folder;
pub mod onnx;
pub mod specs;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use check::{Outcome, check_on};
use shadernet::kernels::When;
use shadernet::ops::CaseInput;
use shadernet::{DType, Gpu, GpuOptions, Rng, Session, SessionOptions, Tensor, cpu, ops};

/// The device under test, one of as many as there are cores: each thread takes the next, as software drivers compile all of a
/// device's kernels on one core. `None` where no adapter is installed.
pub fn gpu() -> Option<&'static Gpu> {
    static OPEN: OnceLock<Vec<OnceLock<Option<Gpu>>>> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
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
    let devices = OPEN.get_or_init(|| (0..cores()).map(|_| OnceLock::new()).collect());
    devices[OWN.with(|own| own % devices.len())].get_or_init(open).as_ref()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
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
        for _ in 0..cores() {
            scope.spawn(work);
        }
    });
    let mut made = made.into_inner().unwrap();
    made.sort_by_key(|(i, _)| *i);
    made.into_iter().map(|(_, one)| one).collect()
}

/// As [`check_on`], on the device under test.
pub fn check(case: &ops::Case, seed: u64) -> Result<Outcome, String> {
    gpu().map_or(Ok(Outcome::NotOnDevice), |gpu| pollster::block_on(check_on(gpu, case, seed)))
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
