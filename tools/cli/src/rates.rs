//! What a device reaches at best, as a ceiling for what it does with a model.

use std::time::{Duration, Instant};

use shadernet::{DType, Gpu, Result, Session, SessionOptions, Tensor, Timing, ir};

/// How long a GPU works before its clocks are up: at least, in steps of, and at most. Small work raises them slowly.
const WAKING: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(100);
const AWAKE: Duration = Duration::from_secs(2);
/// What a step gains on those before it while clocks rise.
const RISING: f64 = 0.98;

/// Whether clocks follow the load: those of GPUs do.
fn sleeps(gpu: &Gpu) -> bool {
    gpu.info().kind != "cpu"
}

/// Has a GPU do `run` until its clocks are up, as they fall while it idles: until it does not become faster.
pub fn wake(gpu: &Gpu, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while sleeps(gpu) && start.elapsed() < AWAKE {
        let (step, mut now) = (Instant::now(), f64::INFINITY);
        while step.elapsed() < STEP {
            let one = Instant::now();
            run()?;
            now = now.min(one.elapsed().as_secs_f64());
        }
        if start.elapsed() >= WAKING && now > RISING * best {
            break;
        }
        best = best.min(now);
    }
    Ok(())
}

/// What the device does in a nanosecond at best: bytes moved, arithmetic operations.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub bytes: f64,
    pub flops: f64,
}

impl Rates {
    /// Bandwidth in GB/s and arithmetic in Gflop/s, measured where they are not given: by an elementwise operator on
    /// 128 MiB and a product of 2048 × 2048 matrices, on software adapters on 32 MiB and of 768 × 768. Zero on adapters without timestamps.
    pub fn new(gpu: &Gpu, bandwidth: Option<f64>, rate: Option<f64>) -> Result<Rates> {
        let measure = |text: &str, inputs: &[Tensor], of: fn(&Timing) -> u64| -> Result<f64> {
            let graph = ir::parse(text)?;
            let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
            wake(gpu, || pollster::block_on(session.run_ordered(inputs)).map(drop))?;
            let mut best = 0f64;
            for _ in 0..3 {
                pollster::block_on(session.profile_ordered(inputs))?;
                let rates = session.last_run().timings.into_iter().map(|t| of(&t) as f64 / t.nanos.max(1.0));
                best = rates.fold(best, f64::max);
            }
            Ok(best)
        };
        let (floats, side) = if sleeps(gpu) { (32 << 20, 2048) } else { (8 << 20, 768) };
        let bytes = match bandwidth {
            Some(b) => b,
            None => {
                let x = Tensor::zeros(DType::F32, [floats]);
                measure("graph g(%x) -> (%y) { %y = Neg@13(%x) }", &[x], |t| t.bytes)?
            }
        };
        let flops = match rate {
            Some(f) => f,
            None => {
                let x = Tensor::zeros(DType::F32, [side, side]);
                measure("graph g(%a, %b) -> (%y) { %y = MatMul@13(%a, %b) }", &[x.clone(), x], |t| t.flops)?
            }
        };
        Ok(Rates { bytes, flops })
    }

    /// The least nanoseconds that a dispatch can take.
    pub fn floor(&self, bytes: u64, flops: u64) -> f64 {
        (bytes as f64 / self.bytes).max(flops as f64 / self.flops)
    }
}
