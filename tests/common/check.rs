//! The check of a case, and the comparison of a result with its reference.

use shadernet::kernels::When;
use shadernet::ops::Tolerance;
use shadernet::{DType, Gpu, Rng, Session, SessionOptions, Tensor, cpu, ops};

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
pub async fn check_on(gpu: &Gpu, case: &ops::Case, seed: u64) -> Result<Outcome, String> {
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
    let got = session.run_ordered(&inputs).await.map_err(|e| fail(e.to_string()))?;
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
