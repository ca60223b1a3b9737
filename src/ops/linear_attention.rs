//! LinearAttention.

use std::sync::Arc;

use super::eval::{need, opt};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{AttrReader, TensorType};
use crate::kernels::elementwise::convert;
use crate::kernels::linear_attention::{Extents, linear_attention};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

const NAME: &str = "LinearAttention";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: NAME, versions: &[27], parse, cases }];

/// Attention whose keys and values are summed up in a state `[batch, heads, d_k, d_v]`. Inputs: query, key, value, past
/// state, decay, beta, all but the state packed as `[batch, steps, heads · elements]`.
#[derive(Debug)]
struct LinearAttention {
    heads: usize,
    /// Heads of queries for each head of keys.
    group: usize,
    scale: f32,
    decay: bool,
    delta: bool,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let (decay, delta) = match a.string_or("update_rule", "gated_delta".into())?.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => bail!(InvalidNode, "attribute update_rule: unknown rule {other}"),
    };
    // how the steps are grouped, without effect on the result
    a.ignore("chunk_size");
    let (q, kv) = (a.required_int("q_num_heads")?, a.required_int("kv_num_heads")?);
    let shared = q > 0 && kv > 0 && q % kv == 0;
    ensure!(shared, InvalidNode, "{q} heads of queries are no positive multiple of {kv} heads of keys");
    let scale = a.float_or("scale", 0.0)?;
    Ok(Arc::new(LinearAttention { heads: kv as usize, group: (q / kv) as usize, scale, decay, delta }))
}

impl LinearAttention {
    fn extents(&self, shapes: [Option<&[usize]>; 6]) -> Result<Extents> {
        let packed = |i: usize, name: &str| match shapes[i] {
            Some(&[b, t, last]) => Ok([b, t, last]),
            Some(s) => bail!(InvalidNode, "{name} is {s:?}, expected [batch, steps, elements]"),
            None => Err(err!(InvalidNode, "{name} is missing")),
        };
        let [batch, length, width] = packed(0, "query")?;
        let per = |name: &str, n: usize, heads: usize| {
            ensure!(n.is_multiple_of(heads), InvalidNode, "{name} of {n} elements for {heads} heads");
            Ok(n / heads)
        };
        let heads = self.heads;
        let rows = per("query", width, heads * self.group)?;
        let [.., keys] = packed(1, "key")?;
        ensure!(keys == heads * rows, InvalidNode, "key of {keys} elements, expected {}", heads * rows);
        let [.., values] = packed(2, "value")?;
        let columns = per("value", values, heads)?;
        let (mut decays, mut betas) = (1, 1);
        for (i, name, used) in [(1, "key", true), (2, "value", true), (4, "decay", self.decay), (5, "beta", self.delta)]
        {
            ensure!(
                shapes[i].is_some() == used,
                InvalidNode,
                "{name} does not go with this update rule, or is missing"
            );
            if used {
                let [b, t, last] = packed(i, name)?;
                ensure!((b, t) == (batch, length), InvalidNode, "{name} [{b}, {t}, …] for [{batch}, {length}, …]");
                match i {
                    4 if last == heads => decays = 1,
                    4 if last == heads * rows => decays = rows,
                    5 if last == heads || last == 1 => betas = last,
                    4 | 5 => bail!(InvalidNode, "{name} of {last} elements for {heads} heads of {rows}"),
                    _ => {}
                }
            }
        }
        let e = Extents { batch, length, heads, group: self.group, rows, columns, decays, betas };
        let fits = shapes[3].is_none_or(|s| s == state(&e));
        ensure!(fits, InvalidNode, "past state {:?}, expected {:?}", shapes[3], state(&e));
        Ok(e)
    }

    fn scale(&self, e: &Extents) -> f64 {
        if self.scale == 0.0 { 1.0 / (e.rows as f64).sqrt() } else { self.scale as f64 }
    }
}

fn state(e: &Extents) -> [usize; 4] {
    [e.batch, e.heads, e.rows, e.columns]
}

fn output(e: &Extents) -> [usize; 3] {
    [e.batch, e.length, (e.heads * e.group).saturating_mul(e.columns)]
}

impl Op for LinearAttention {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let e = self.extents(std::array::from_fn(|i| cx.try_input(i).map(|t| t.shape.as_slice())))?;
        let d = cx.dtype(0)?;
        let kept = cx.try_input(3).map_or(d, |t| t.dtype);
        Ok(vec![TensorType::new(d, output(&e)), TensorType::new(kept, state(&e))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let e = self.extents(std::array::from_fn(|i| opt(inputs, i).map(Tensor::shape)))?;
        let d = need(inputs, 0)?.dtype();
        let floats = |i: usize| opt(inputs, i).map_or(Ok(vec![]), Tensor::to_f64s);
        let (query, key, value, decay, beta) = (floats(0)?, floats(1)?, floats(2)?, floats(4)?, floats(5)?);
        let (rows, columns, scale) = (e.rows, e.columns, self.scale(&e));
        let mut all = if opt(inputs, 3).is_some() { floats(3)? } else { vec![0.0; state(&e).iter().product()] };
        let mut y = vec![0.0; output(&e).iter().product()];
        let steps = if columns > 0 { e.batch * e.length } else { 0 };
        for (step, head) in (0..steps).flat_map(|s| (0..e.heads).map(move |h| (s, h))) {
            let now = step * e.heads + head;
            let matrix = step / e.length * e.heads + head;
            let s = &mut all[matrix * rows * columns..(matrix + 1) * rows * columns];
            let k = &key[now * rows..(now + 1) * rows];
            let mut v = value[now * columns..(now + 1) * columns].to_vec();
            if self.decay {
                let g = |row: usize| decay[now * e.decays + row % e.decays].exp();
                (0..rows * columns).for_each(|i| s[i] *= g(i / columns));
            }
            if self.delta {
                let b = beta[step * e.betas + head % e.betas];
                for (c, v) in v.iter_mut().enumerate() {
                    *v = b * (*v - (0..rows).map(|r| s[r * columns + c] * k[r]).sum::<f64>());
                }
            }
            (0..rows * columns).for_each(|i| s[i] += k[i / columns] * v[i % columns]);
            for reader in now * e.group..(now + 1) * e.group {
                let q = &query[reader * rows..(reader + 1) * rows];
                for c in 0..columns {
                    let sum: f64 = (0..rows).map(|r| q[r] * s[r * columns + c]).sum();
                    y[reader * columns + c] = scale * sum;
                }
            }
        }
        let kept = opt(inputs, 3).map_or(d, Tensor::dtype);
        Ok(vec![Tensor::from_f64s(d, output(&e), y)?, Tensor::from_f64s(kept, state(&e), all)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let mut shapes = vec![];
        for i in 0..6 {
            shapes.push(if cx.has_input(i) { Some(cx.input_type(i)?.shape) } else { None });
        }
        let e = self.extents(std::array::from_fn(|i| shapes[i].as_deref()))?;
        let past = match cx.try_input(3)? {
            Some(view) => view,
            None => cx.constant(Tensor::zeros(F32, []))?,
        };
        // the state is kept in 32 bits between steps, whatever its type
        let kept = cx.has_output(1).then(|| cx.output_type(1)).transpose()?;
        let wide = kept.as_ref().is_some_and(|t| t.dtype == F32);
        let all = if wide { cx.output(1)? } else { cx.temp(F32, &state(&e))? };
        convert(cx, &past, &all)?;
        let (query, key, value) = (cx.dense_input(0)?, cx.dense_input(1)?, cx.dense_input(2)?);
        let decay = if self.decay { Some(cx.dense_input(4)?) } else { None };
        let beta = if self.delta { Some(cx.dense_input(5)?) } else { None };
        let out = if cx.has_output(0) { cx.output(0)? } else { cx.temp(query.dtype, &output(&e))? };
        let gates = [decay.as_ref(), beta.as_ref()];
        if e.columns > 0 {
            linear_attention(cx, &e, self.scale(&e) as f32, [&query, &key, &value], gates, &all, &out)?;
        }
        if kept.is_some() && !wide {
            let present = cx.output(1)?;
            convert(cx, &all, &present)?;
        }
        Ok(())
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 16.0 + 2.0 * (k as f64).sqrt())
    }
}

/// Batch, steps, heads of queries and of keys, elements of keys and of values; decays and betas a head.
fn case(rule: &str, d: DType, [b, t, q, kv, rows, columns]: [usize; 6], past: Option<DType>, wide: bool) -> Case {
    let c = Case::new(NAME, 27).string("update_rule", rule).int("q_num_heads", q as i64).int("kv_num_heads", kv as i64);
    // keys as short as normalised ones, so that the delta rule stays stable
    let most = 1.0 / (rows as f64).sqrt();
    let c = c.rand(d, &[b, t, q * rows]).range(d, &[b, t, kv * rows], -most, most).rand(d, &[b, t, kv * columns]);
    let c = if let Some(s) = past { c.rand(s, &[b, kv, rows, columns]) } else { c.absent() };
    let decays = if wide { kv * rows } else { kv };
    let c = if rule.starts_with("gated") { c.range(d, &[b, t, decays], -1.0, 0.0) } else { c.absent() };
    let betas = if wide { kv } else { 1 };
    let c = if rule.ends_with("delta") { c.range(d, &[b, t, betas], 0.0, 1.0) } else { c };
    c.outputs(2).sum(rows * t.max(1))
}

fn cases() -> Vec<Case> {
    let mut all = vec![];
    for rule in ["linear", "gated", "delta", "gated_delta"] {
        for wide in [false, true] {
            all.push(case(rule, F32, [2, 5, 4, 2, 7, 3], Some(F32), wide));
            all.push(case(rule, F32, [1, 1, 3, 3, 8, 67], None, wide));
            all.push(case(rule, F16, [2, 3, 2, 1, 4, 5], Some(F16), wide));
        }
        all.push(case(rule, F32, [1, 300, 2, 1, 64, 4], None, true));
        all.push(case(rule, F32, [2, 0, 2, 2, 3, 4], Some(F32), true));
    }
    all.push(case("gated_delta", BF16, [2, 3, 2, 2, 4, 5], Some(F32), true));
    all.push(case("gated", F16, [2, 3, 2, 2, 4, 5], None, true).float("scale", 0.3));
    all.push(case("linear", F32, [0, 3, 2, 2, 4, 5], None, true).int("chunk_size", 2));
    all
}
