//! The comparison of two tensors.

use shadernet::Tensor;

/// How two tensors differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// The largest absolute difference.
    pub max_abs: f64,
    /// The largest absolute difference over the largest magnitude of the wanted tensor.
    pub max_rel: f64,
    /// What is wrong, in words; `None` when all elements are within tolerance.
    pub wrong: Option<String>,
}

/// Compares by `|a - b| <= atol + rtol * |b|`; NaN equals NaN, and non-floats must be equal.
pub fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Difference {
    let wrong = |s: String| Difference { wrong: Some(s), max_abs: f64::INFINITY, max_rel: f64::INFINITY };
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return wrong(format!("expected {}{:?}, got {}{:?}", want.dtype(), want.shape(), got.dtype(), got.shape()));
    }
    if let (Ok(a), Ok(b)) = (got.items(), want.items()) {
        return compare_items(a, b, rtol, atol);
    }
    if let (Ok(a), Ok(b)) = (got.strings(), want.strings()) {
        return if a == b { Difference::default() } else { wrong(format!("expected {want:?}, got {got:?}")) };
    }
    let (Ok(g), Ok(w)) = (got.to_f64s(), want.to_f64s()) else {
        // complex numbers and the like: bits
        return if got.same_bits(want) { Difference::default() } else { wrong("bits differ".into()) };
    };
    let exact = !want.dtype().is_float();
    let mut out = Difference::default();
    let scale = greatest(want);
    let (mut bad, mut first) = (0usize, None);
    for (i, (a, b)) in g.iter().zip(&w).enumerate() {
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        let d = (a - b).abs();
        let d = if d.is_nan() { f64::INFINITY } else { d };
        out.max_abs = out.max_abs.max(d);
        let within = if exact { false } else { d <= atol + rtol * b.abs() };
        if !within {
            bad += 1;
            first.get_or_insert((i, *a, *b));
        }
    }
    out.max_rel = if scale > 0.0 { out.max_abs / scale } else { out.max_abs };
    out.wrong = first.map(|(i, a, b)| {
        format!("{bad} of {} elements, first {i}: expected {b}, got {a}; max abs {:.3e}", g.len(), out.max_abs)
    });
    out
}

/// Values of two containers, one by one.
fn compare_items(got: &[Tensor], want: &[Tensor], rtol: f64, atol: f64) -> Difference {
    let mut out = Difference::default();
    if got.len() != want.len() {
        out.wrong = Some(format!("expected {} items, got {}", want.len(), got.len()));
    }
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let d = compare(g, w, rtol, atol);
        out.max_abs = out.max_abs.max(d.max_abs);
        out.max_rel = out.max_rel.max(d.max_rel);
        out.wrong = out.wrong.or(d.wrong.map(|w| format!("item {i}: {w}")));
    }
    out
}

/// The greatest magnitude among the finite elements; 0 of what is not numbers.
pub fn greatest(t: &Tensor) -> f64 {
    let values = t.to_f64s().unwrap_or_default();
    values.iter().filter(|x| x.is_finite()).fold(0.0, |m, x| m.max(x.abs()))
}
