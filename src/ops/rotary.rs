//! RotaryEmbedding: pairs of elements rotated by their position's angle.

use std::sync::Arc;

use super::einsum::fitted;
use super::eval::{need, opt};
use super::infer::one;
use super::quant::apply;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::copy::copy;
use crate::kernels::gather::gather;
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "RotaryEmbedding", versions: &[23], parse, cases }];

#[derive(Debug)]
struct Rotary {
    interleaved: bool,
    /// Elements of a head that are rotated; 0 is all.
    rotated: usize,
    /// Heads of an input of rank 3.
    heads: Option<usize>,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let count = |name: &str| {
        let n = a.int_or(name, 0)?;
        usize::try_from(n).map_err(|_| err!(InvalidNode, "attribute {name}: expected 0 or more, got {n}"))
    };
    let heads = count("num_heads")?;
    Ok(Arc::new(Rotary {
        interleaved: a.flag_or("interleaved", false)?,
        rotated: count("rotary_embedding_dim")?,
        heads: (heads > 0).then_some(heads),
    }))
}

/// The extents of one application.
#[derive(Debug, Clone, Copy)]
struct Extents {
    batch: usize,
    length: usize,
    heads: usize,
    depth: usize,
    /// Pairs that are rotated.
    pairs: usize,
    /// Whether heads stand before positions (rank 4) or after.
    heads_first: bool,
}

impl Extents {
    /// The input's shape with its heads apart, in its own order.
    fn split(&self) -> [usize; 4] {
        let [b, l, h, d] = [self.batch, self.length, self.heads, self.depth];
        if self.heads_first { [b, h, l, d] } else { [b, l, h, d] }
    }
}

impl Rotary {
    fn extents(&self, x: &[usize], caches: [&[usize]; 2], ids: Option<&[usize]>) -> Result<Extents> {
        let (batch, length, heads, depth, heads_first) = match *x {
            [b, h, l, d] => (b, l, h, d, true),
            [b, l, all] => {
                let h = self.heads.filter(|h| all.is_multiple_of(*h));
                let h = h.ok_or_else(|| err!(InvalidNode, "{all} elements do not make heads {:?}", self.heads))?;
                (b, l, h, all / h, false)
            }
            _ => bail!(InvalidNode, "expected rank 3 or 4, got {x:?}"),
        };
        let rotated = if self.rotated == 0 { depth } else { self.rotated };
        let fits = rotated.is_multiple_of(2) && rotated <= depth;
        ensure!(fits, InvalidNode, "cannot rotate {rotated} of {depth} elements in pairs");
        let pairs = rotated / 2;
        for cache in caches {
            let fits = match (cache, ids) {
                (&[_, n], Some(ids)) => n == pairs && ids == [batch, length],
                (&[b, l, n], None) => [b, l, n] == [batch, length, pairs],
                _ => false,
            };
            ensure!(
                fits,
                InvalidNode,
                "a cache of {cache:?} and position_ids {ids:?} do not fit {pairs} pairs of {x:?}"
            );
        }
        Ok(Extents { batch, length, heads, depth, pairs, heads_first })
    }
}

impl Op for Rotary {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let d = cx.dtype(0)?;
        if !matches!(d, F32 | F16 | BF16) {
            return Err(err!(Unsupported, "RotaryEmbedding of {d}").into());
        }
        for (i, want) in [(1, d), (2, d), (3, I64)] {
            let got = cx.try_input(i).map_or(want, |t| t.dtype);
            if got != want {
                return Err(err!(InvalidNode, "input {i}: expected {want}, got {got}").into());
            }
        }
        self.extents(cx.shape(0)?, [cx.shape(1)?, cx.shape(2)?], cx.try_input(3).map(|t| &t.shape[..]))?;
        one(d, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, cos, sin, ids) = (need(inputs, 0)?, need(inputs, 1)?, need(inputs, 2)?, opt(inputs, 3));
        let e = self.extents(x.shape(), [cos.shape(), sin.shape()], ids.map(Tensor::shape))?;
        let d = x.dtype();
        // the row of the caches for each position
        let rows: Vec<usize> = match ids {
            Some(ids) => {
                let count = cos.shape()[0].min(sin.shape()[0]) as i64;
                let row = |i: &i64| {
                    let at = if *i < 0 { i + count } else { *i };
                    ensure!((0..count).contains(&at), InvalidNode, "position {i} of {count}");
                    Ok(at as usize)
                };
                ids.to_i64s()?.iter().map(row).collect::<Result<_>>()?
            }
            None => (0..e.batch * e.length).collect(),
        };
        let (x, cos, sin) = (x.to_f64s()?, cos.to_f64s()?, sin.to_f64s()?);
        let mut y = x.clone();
        // the products are rounded before they are added
        let narrow = |v: Vec<f64>| if d == F32 { Ok(v) } else { Tensor::from_f64s(d, [v.len()], v)?.to_f64s() };
        for (at, c) in shape::coords(&e.split()[..3]).enumerate() {
            let position = if e.heads_first { c[2] } else { c[1] };
            let row = rows[c[0] * e.length + position] * e.pairs;
            for p in 0..e.pairs {
                let [i, j] = if self.interleaved { [2 * p, 2 * p + 1] } else { [p, p + e.pairs] };
                let [i, j] = [i, j].map(|k| at * e.depth + k);
                let (c, s) = (cos[row + p], sin[row + p]);
                let parts = narrow(vec![c * x[i], s * x[j], s * x[i], c * x[j]])?;
                (y[i], y[j]) = (parts[0] - parts[1], parts[2] + parts[3]);
            }
        }
        Ok(vec![Tensor::from_f64s(d, need(inputs, 0)?.shape(), y)?])
    }

    /// With the two elements of a pair along a dim of their own: `x · cos ± partner · sin`, the partner being the same
    /// view backwards.
    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let mut shapes = vec![];
        for i in 0..3 {
            shapes.push(cx.input_type(i)?.shape);
        }
        let ids = if cx.has_input(3) { Some(cx.input_type(3)?.shape) } else { None };
        let e = self.extents(&shapes[0], [&shapes[1], &shapes[2]], ids.as_deref())?;
        let x = cx.input(0)?;
        let x = fitted(cx, &x, &e.split())?;
        let y = cx.output(0)?;
        if e.pairs == 0 {
            let y = fitted(cx, &y, &e.split())?;
            return copy(cx, &x, &y);
        }
        // (.., pairs, 2) or (.., 2, pairs)
        let side = if self.interleaved { 4 } else { 3 };
        let mut apart = [&e.split()[..3], &[e.pairs]].concat();
        apart.insert(side, 2);
        let used = x.sliced(3, 0, 1, 2 * e.pairs);
        let used = fitted(cx, &used, &apart)?;
        let partner = used.sliced(side, 1, -1, 2);
        let mut views = vec![used, partner];
        for i in [1, 2] {
            let rows = self.rows(cx, i, &e)?;
            views.push(rows.reshaped_around(&e, side));
        }
        let signs = Tensor::from_f64s(x.dtype, if side == 4 { vec![2] } else { vec![2, 1] }, vec![-1.0, 1.0])?;
        views.push(cx.constant(signs)?);
        let whole = 2 * e.pairs == e.depth;
        let turned = if whole { y.clone() } else { cx.temp(x.dtype, &apart)? };
        let turned = fitted(cx, &turned, &apart)?;
        let d = x.dtype;
        apply(cx, &views, &turned, |e, a| {
            let straight = e.call(d, "mul", &[&a[0], &a[2]])?;
            let across = e.call(d, "mul", &[&a[1], &a[3]])?;
            let signed = e.call(d, "mul", &[&across, &a[4]])?;
            e.call(d, "add", &[&straight, &signed])
        })?;
        if whole {
            return Ok(());
        }
        let y = fitted(cx, &y, &e.split())?;
        let rotated = [&e.split()[..3], &[2 * e.pairs]].concat();
        let turned = fitted(cx, &turned, &rotated)?;
        copy(cx, &turned, &y.sliced(3, 0, 1, 2 * e.pairs))?;
        let rest = |v: &View| v.sliced(3, 2 * e.pairs, 1, e.depth - 2 * e.pairs);
        copy(cx, &rest(&x), &rest(&y))
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        // the two products may cancel
        let t = Tolerance::ulps(dtype, 4.0);
        Tolerance { abs: t.rel, ..t }
    }
}

/// Rows of a cache, `[batch, length, pairs]`.
struct Rows(View);

impl Rotary {
    /// The rows of cache `i` for each position.
    fn rows(&self, cx: &mut LowerCx<'_>, i: usize, e: &Extents) -> Result<Rows> {
        if !cx.has_input(3) {
            return cx.input(i).map(Rows);
        }
        // places that are known, one behind the other and the same for all, are a part of the cache
        let known = if cx.value(3).is_some() { cx.ints(3)?.unwrap_or_default() } else { vec![] };
        if let Some(first) = known.first().and_then(|p| usize::try_from(*p).ok())
            && known.iter().enumerate().all(|(at, p)| *p == (first + at % e.length) as i64)
            && first + e.length <= cx.input_type(i)?.shape[0]
        {
            let rows = cx.input(i)?.sliced(0, first, 1, e.length);
            let part = View { shape: vec![1, e.length, e.pairs], strides: [&[0], &rows.strides[..]].concat(), ..rows };
            return Ok(Rows(part.broadcast(&[e.batch, e.length, e.pairs])));
        }
        let (cache, ids) = (cx.dense_input(i)?, cx.dense_input(3)?);
        let out = cx.temp(cache.dtype, &[e.batch, e.length, e.pairs])?;
        gather(cx, &cache, 0, &ids, &out)?;
        Ok(Rows(out))
    }
}

impl Rows {
    /// With an extent of 1 for the heads and one for the sides of a pair.
    fn reshaped_around(self, e: &Extents, side: usize) -> View {
        let mut v = self.0;
        let heads = if e.heads_first { 1 } else { 2 };
        for at in [heads, side] {
            v.shape.insert(at, 1);
            v.strides.insert(at, 0);
        }
        v
    }
}

fn cases() -> Vec<Case> {
    let ids = |shape: &[usize], most: i64| {
        let n: usize = shape.iter().product();
        Tensor::new(shape, (0..n as i64).map(|i| i * 7 % most).collect::<Vec<_>>())
            .unwrap_or_else(|_| Tensor::scalar(0i64))
    };
    let case = |d: DType, x: &[usize], pairs: usize| {
        let positions = if x.len() == 4 { [x[0], x[2]] } else { [x[0], x[1]] };
        let c = Case::new("RotaryEmbedding", 23).rand(d, x).range(d, &[50, pairs], -1.0, 1.0);
        c.range(d, &[50, pairs], -1.0, 1.0).value(ids(&positions, 50))
    };
    let direct = |d: DType, x: &[usize], pairs: usize| {
        let rows = if x.len() == 4 { [x[0], x[2], pairs] } else { [x[0], x[1], pairs] };
        Case::new("RotaryEmbedding", 23).rand(d, x).range(d, &rows, -1.0, 1.0).range(d, &rows, -1.0, 1.0)
    };
    let mut all = vec![];
    for d in [F32, F16, BF16] {
        for interleaved in [0, 1] {
            all.push(case(d, &[2, 3, 5, 8], 4).int("interleaved", interleaved));
            all.push(direct(d, &[2, 3, 5, 8], 4).int("interleaved", interleaved));
            all.push(case(d, &[2, 5, 24], 4).int("interleaved", interleaved).int("num_heads", 3));
            let part = case(d, &[2, 3, 5, 10], 3).int("interleaved", interleaved);
            all.push(part.int("rotary_embedding_dim", 6));
            let part = direct(d, &[2, 5, 30], 2).int("interleaved", interleaved).int("num_heads", 3);
            all.push(part.int("rotary_embedding_dim", 4));
        }
    }
    all.extend([
        case(F32, &[1, 1, 1, 2], 1),
        case(F32, &[1, 2, 67, 64], 32),
        case(F32, &[0, 2, 3, 4], 2),
        case(F32, &[2, 2, 0, 4], 2),
        case(F32, &[2, 2, 3, 0], 0),
        direct(F32, &[1, 3, 26], 13).int("num_heads", 1),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_swaps_the_pair() {
        let x = Tensor::new([1, 1, 1, 4], vec![1f32, 2., 3., 4.]).unwrap();
        let cos = Tensor::new([2, 2], vec![1f32, 1., 0., 0.]).unwrap();
        let sin = Tensor::new([2, 2], vec![0f32, 0., 1., 1.]).unwrap();
        let turn = |interleaved, id: i64| {
            let ids = Tensor::new([1, 1], vec![id]).unwrap();
            let op = Rotary { interleaved, rotated: 0, heads: None };
            op.eval(&[Some(&x), Some(&cos), Some(&sin), Some(&ids)]).unwrap()[0].to_vec::<f32>().unwrap()
        };
        assert_eq!(turn(false, 0), [1., 2., 3., 4.]);
        assert_eq!(turn(false, 1), [-3., -4., 1., 2.]);
        assert_eq!(turn(true, 1), [-2., 1., -4., 3.]);
    }
}
