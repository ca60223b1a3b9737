//! The comparison of two tensors.

use shadernet::{DType, Model, Result, Tensor};

/// The relative tolerance of ONNX's backend tests, of cases that state none.
pub const RTOL: f64 = 1e-3;
/// A model's small values carry the rounding of its large ones: a share of an output's greatest magnitude.
pub const OF_GREATEST: f64 = 1e-4;
/// A step of 8 bits: what an activation moves by that another runtime rounds the other way.
const STEP_OF_8_BITS: f64 = 1.0 / 128.0;

/// The absolute tolerance of an output where none is stated, by its greatest magnitude: of types narrower than float32 two
/// last places, as both runtimes may be one off, whether outputs or weights are of them; of models with weights of 8
/// bits, whose activations are rounded too, a step of those.
pub fn absolute_tolerance(model: &Model, want: &Tensor) -> f64 {
    let weights = model.graph().values().filter_map(|(_, v)| v.constant.as_ref()).filter(|t| t.rank() > 1);
    let share = |d: DType| match d {
        DType::F16 => 2f64.powi(-9),
        DType::BF16 => 2f64.powi(-6),
        DType::I8 | DType::U8 => STEP_OF_8_BITS,
        _ => OF_GREATEST,
    };
    weights.map(|t| share(t.dtype())).fold(share(want.dtype()), f64::max) * greatest(want)
}

/// How far at most output `i`, as each of `made` has it on these inputs, is from a run with all floats in 64 bits: what rounding
/// does to a model with weights of 8 bits, where one activation that is rounded the other way moves others. `None` of other
/// models.
///
/// # Errors
/// Those of the run.
pub fn rounding<const N: usize>(
    model: &Model,
    inputs: &[(&str, Tensor)],
    i: usize,
    made: [&Tensor; N],
) -> Result<Option<[f64; N]>> {
    let mut weights = model.graph().values().filter_map(|(_, v)| v.constant.as_ref()).filter(|t| t.rank() > 1);
    if !weights.any(|t| matches!(t.dtype(), DType::I8 | DType::U8)) {
        return Ok(None);
    }
    let wide = model.reference().run_wide(inputs)?;
    let fits = |t: &&Tensor| made.iter().all(|m| m.shape() == t.shape());
    let Some(exact) = wide.outputs.get(i).filter(fits) else { return Ok(None) };
    let exact = exact.to_f64s()?;
    let mut far = [0.0; N];
    for (far, made) in far.iter_mut().zip(made) {
        let differences = exact.iter().zip(made.to_f64s()?).map(|(a, b)| (a - b).abs());
        // NaN beside a number is as far as can be
        *far = differences.fold(0.0, |far, d| if d.is_nan() { f64::INFINITY } else { far.max(d) });
    }
    Ok(Some(far).filter(|far| far.iter().all(|d| d.is_finite())))
}

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

/// Compares by `|a - b| <= atol + rtol * |b|`; NaN equals NaN, and non-floats must be equal. A sequence of maps also equals
/// the tensor `[maps, keys]` of their values by ascending keys, as which test data hold the probabilities of classifiers.
pub fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Difference {
    let wrong = |s: String| Difference { wrong: Some(s), max_abs: f64::INFINITY, max_rel: f64::INFINITY };
    if want.items().is_err()
        && let Some(rows) = table(got)
    {
        return compare(&rows, want, rtol, atol);
    }
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

/// The float values of maps with the same keys, `[maps, keys]` by ascending keys; `None` of anything else.
fn table(maps: &Tensor) -> Option<Tensor> {
    let maps = maps.items().ok().filter(|m| m.iter().all(|m| m.dtype() == DType::Map))?;
    let keys = maps.first()?.items().ok()?.first()?;
    let mut order: Vec<usize> = (0..keys.len()).collect();
    match keys.strings() {
        Ok(names) => order.sort_by_key(|i| &names[*i]),
        Err(_) => {
            let numbers = keys.to_i64s().ok()?;
            order.sort_by_key(|i| numbers[*i]);
        }
    }
    let mut cells = vec![];
    for map in maps {
        let [own, values] = map.items().ok()? else { return None };
        if !own.same_bits(keys) || values.dtype() != DType::F32 {
            return None;
        }
        let values = values.to_f64s().ok()?;
        cells.extend(order.iter().map(|i| values[*i]));
    }
    Tensor::from_f64s(DType::F32, [maps.len(), order.len()], cells).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(rows: &[[f32; 2]], keys: &[Tensor]) -> Tensor {
        let row = |(r, k): (&[f32; 2], &Tensor)| {
            Tensor::map(k.clone(), Tensor::new([2], r.to_vec()).unwrap_or_else(|e| panic!("{e}")))
                .unwrap_or_else(|e| panic!("{e}"))
        };
        Tensor::sequence(rows.iter().zip(keys).map(row).collect())
    }

    #[test]
    fn maps_equal_the_table_of_their_values() -> shadernet::Result<()> {
        let keys = Tensor::new([2], vec![7i64, 3])?;
        let got = maps(&[[0.25, 0.75], [1.0, 0.0]], &[keys.clone(), keys.clone()]);
        let want = Tensor::new([2, 2], vec![0.75f32, 0.25, 0.0, 1.0])?;
        assert_eq!(compare(&got, &want, 0.0, 0.0), Difference::default());
        let by_place = Tensor::new([2, 2], vec![0.25f32, 0.75, 1.0, 0.0])?;
        assert!(compare(&got, &by_place, 0.0, 0.0).wrong.is_some());
        let other = maps(&[[0.25, 0.75], [1.0, 0.0]], &[keys, Tensor::new([2], vec![7i64, 4])?]);
        assert!(compare(&other, &want, 0.0, 0.0).wrong.is_some());
        Ok(())
    }
}
