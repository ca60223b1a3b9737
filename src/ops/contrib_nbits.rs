//! Weights of few bits, quantised in blocks, of com.microsoft: MatMulNBits, GatherBlockQuantized.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::dequantised::{product_between, product_of};
use super::eval::{need, opt};
use super::infer::one;
use super::matmul::{Geometry, product_tolerance};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::{Attr, AttrReader, TensorType, ValueId};
use crate::kernels::epilogue::Ends;
use crate::kernels::matmul::{Product, product, right_made};
use crate::kernels::matmul_bits::{self, Parts, Zeros};
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "com.microsoft", name: "MatMulNBits", versions: &[1], parse: parse_matmul, cases: matmul_cases },
    OpDef {
        domain: "com.microsoft",
        name: "GatherBlockQuantized",
        versions: &[1],
        parse: parse_gather,
        cases: gather_cases,
    },
];

const B: usize = 1;
const SCALES: usize = 2;
const ZEROS: usize = 3;
const GROUPS: usize = 4;
const BIAS: usize = 5;
/// The longest sums whose blocks are counted one by one.
const MOST_ROWS: usize = 1 << 24;

/// Weights `[n, k]` of `bits` bits, in `block`s along `k` that share a scale and a zero point.
#[derive(Debug, Clone, Copy)]
struct Weights {
    n: usize,
    k: usize,
    bits: usize,
    block: usize,
}

/// A block size or a count of bits that the operators know.
fn checked(bits: i64, block: i64) -> Result<(usize, usize)> {
    ensure!(matches!(bits, 2 | 4 | 8), Unsupported, "attribute bits: expected 2, 4 or 8, got {bits}");
    let fits = (16..=1 << 30).contains(&block) && block & (block - 1) == 0;
    ensure!(fits, InvalidNode, "attribute block_size: expected a power of 2 from 16 to 2^30, got {block}");
    Ok((bits as usize, block as usize))
}

fn parse_matmul(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    // how exact the left factor must at least be; here it is exact
    a.ignore("accuracy_level");
    let packed = a.int_or("weight_prepacked", 0)?;
    ensure!(packed == 0, Unsupported, "attribute weight_prepacked: {packed}, a layout of one runtime's own");
    let count = |name: &str| {
        let v = a.required_int(name)?;
        let fits = usize::try_from(v).ok().filter(|v| *v <= u32::MAX as usize);
        fits.ok_or_else(|| err!(InvalidNode, "attribute {name} is {v}"))
    };
    let (bits, block) = checked(a.int_or("bits", 4)?, a.required_int("block_size")?)?;
    Ok(Arc::new(MatMulNBits(Weights { n: count("N")?, k: count("K")?, bits, block })))
}

impl Weights {
    fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }

    /// Zero points of a row, packed.
    fn zero_bytes(&self) -> usize {
        (self.blocks() * self.bits).div_ceil(8)
    }

    fn check(&self, of: &dyn Fn(usize) -> Option<TensorType>) -> Result<()> {
        let (n, blocks) = (self.n, self.blocks());
        let bad = |i: usize, t: &TensorType| err!(InvalidNode, "input {i}: {t} does not fit {self:?}");
        let t = of(B).ok_or_else(|| err!(InvalidNode, "input 1 is missing"))?;
        ensure!(t.dtype == U8, InvalidNode, "weights of {}", t.dtype);
        let whole = [n, blocks, self.block * self.bits / 8];
        let fits = t.shape == whole || (t.shape.len() == 3 && self.absent(&t.shape));
        ensure!(fits, InvalidNode, "expected weights of {whole:?}, got {:?}", t.shape);
        if let Some(bias) = of(BIAS) {
            (bias.shape == [n]).then_some(()).ok_or_else(|| bad(BIAS, &bias))?;
        }
        if self.absent(&t.shape) {
            return Ok(());
        }
        let rows = |s: &[usize], m: usize| s == [n, m] || s == [n * m];
        let s = of(SCALES).ok_or_else(|| err!(InvalidNode, "input 2 is missing"))?;
        rows(&s.shape, blocks).then_some(()).ok_or_else(|| bad(SCALES, &s))?;
        if let Some(z) = of(ZEROS) {
            let fits = if z.dtype == U8 {
                rows(&z.shape, self.zero_bytes())
            } else {
                z.dtype == s.dtype && rows(&z.shape, blocks)
            };
            fits.then_some(()).ok_or_else(|| bad(ZEROS, &z))?;
        }
        if let Some(g) = of(GROUPS) {
            let fits = g.dtype == I32 && (g.shape == [self.k] || g.shape == [blocks * self.block]);
            fits.then_some(()).ok_or_else(|| bad(GROUPS, &g))?;
        }
        Ok(())
    }

    /// Whether the weights are left out: then the product is 0.
    fn absent(&self, s: &[usize]) -> bool {
        shape::numel(s) == 0 && self.n * self.k > 0
    }

    /// What the weights consist of.
    fn parts(&self, b: &Tensor, scales: Option<&Tensor>, zeros: Option<&Tensor>) -> Result<Parts> {
        let (blocks, bits) = (self.blocks(), self.bits);
        let mask = ((1u32 << bits) - 1) as u8;
        let element = |bytes: &[u8], i: usize| bytes[i * bits / 8] >> (i * bits % 8) & mask;
        let scales = scales.ok_or_else(|| err!(InvalidNode, "input 2 is missing"))?.to_f32s()?;
        let zeros = match zeros {
            None => None,
            Some(z) if z.dtype() == U8 => {
                let rows = z.bytes().chunks(self.zero_bytes().max(1));
                Some(rows.flat_map(|row| (0..blocks).map(move |i| element(row, i) as f32)).collect())
            }
            Some(z) => Some(z.to_f32s()?),
        };
        let row = blocks * self.block * bits / 8;
        let mut q = Vec::with_capacity(self.n * self.k);
        for n in 0..self.n {
            let bytes = &b.bytes()[n * row..][..row];
            q.extend((0..self.k).map(|k| element(bytes, k)));
        }
        Ok(Parts { q, scales, zeros })
    }

    /// The weights as numbers, `[n, k]`.
    fn values(&self, b: &Tensor, [scales, zeros, groups]: [Option<&Tensor>; 3]) -> Result<Vec<f32>> {
        let blocks = self.blocks();
        let Parts { q, scales, zeros } = self.parts(b, scales, zeros)?;
        let groups = groups.map(Tensor::to_i64s).transpose()?;
        let middle = (1u32 << (self.bits - 1)) as f32;
        let mut out = Vec::with_capacity(q.len());
        for (i, q) in q.into_iter().enumerate() {
            let (n, k) = (i / self.k, i % self.k);
            let group = groups.as_ref().map_or((k / self.block) as i64, |g| g[k]);
            let inside = usize::try_from(group).ok().filter(|g| *g < blocks);
            let group = inside.ok_or_else(|| err!(InvalidInput, "g_idx {group} of {blocks} blocks"))?;
            let at = n * blocks + group;
            out.push((q as f32 - zeros.as_ref().map_or(middle, |z| z[at])) * scales[at]);
        }
        Ok(out)
    }

    /// Whether blocks lie one behind the other.
    fn in_order(&self, groups: &Tensor) -> Result<bool> {
        Ok(groups.to_i64s()?.iter().take(self.k).enumerate().all(|(k, g)| *g == (k / self.block) as i64))
    }
}

/// `A × Wᵀ + bias`
#[derive(Debug, Clone, Copy)]
struct MatMulNBits(Weights);

impl MatMulNBits {
    fn geometry(&self, a: &[usize]) -> Result<Geometry> {
        Geometry::new(a, &[self.0.k, self.0.n])
    }

    /// Whether there are weights, and they are known before the run.
    fn known(&self, cx: &LowerCx<'_>) -> Result<bool> {
        let known = |i: &usize| !cx.has_input(*i) || cx.value(*i).is_some();
        let all = [SCALES, ZEROS, GROUPS].iter().all(known);
        Ok(cx.value(B).is_some() && all && !self.0.absent(&cx.input_type(B)?.shape))
    }

    /// The product of weights that are known: as they are, or as floats where blocks do not lie in order.
    fn product(&self, cx: &mut LowerCx<'_>) -> Result<Product> {
        let w = self.0;
        let scales = cx.input_type(SCALES)?.dtype;
        let zeros = match cx.has_input(ZEROS).then(|| cx.input_type(ZEROS)).transpose()? {
            None => Zeros::Same(1 << (w.bits - 1)),
            Some(t) if t.dtype == U8 => Zeros::Whole,
            Some(_) => Zeros::Fractions,
        };
        let weights = matmul_bits::Weights { k: w.k, n: w.n, bits: w.bits, block: w.block, scales, zeros };
        let in_order = cx.value(GROUPS).map_or(Ok(true), |g| w.in_order(g))?;
        let others: Vec<usize> = [SCALES, ZEROS].into_iter().filter(|i| cx.has_input(*i)).collect();
        let b = if in_order && weights.fits() {
            matmul_bits::right(cx, B, &others, weights, "", move |b, others| w.parts(b, others.first(), others.get(1)))?
        } else {
            let of = [SCALES, ZEROS, GROUPS].map(|i| cx.value(i).cloned());
            let mut hash = DefaultHasher::new();
            of.iter().flatten().for_each(|t| hash.write(t.bytes()));
            let tag = format!("{w:?} of {:016x}", hash.finish());
            right_made(cx, B, TensorType::new(F32, [w.n, w.k]), true, &tag, move |b| {
                Tensor::new([w.n, w.k], w.values(b, [0, 1, 2].map(|i| of[i].as_ref()))?)
            })?
        };
        product_of(cx, 0, b, [w.k, w.n], BIAS)
    }
}

impl Op for MatMulNBits {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.0.check(&|i| cx.try_input(i).cloned())?;
        let d = cx.dtype(0)?;
        if !matches!(d, F32 | F16 | BF16) {
            return Err(err!(Unsupported, "a product of {d}").into());
        }
        one(d, self.geometry(cx.shape(0)?)?.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, B)?);
        let (w, g) = (self.0, self.geometry(a.shape())?);
        let weights = match w.absent(b.shape()) {
            true => vec![0.0; w.n * w.k],
            false => w.values(b, [SCALES, ZEROS, GROUPS].map(|i| opt(inputs, i)))?,
        };
        let columns: Vec<f64> = (0..w.n * w.k).map(|i| weights[i % w.n * w.k + i / w.n] as f64).collect();
        let mut y = g.floats(&a.to_f64s()?, &columns);
        if let Some(bias) = opt(inputs, BIAS) {
            let bias = bias.to_f64s()?;
            y.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i % w.n]);
        }
        Ok(vec![Tensor::from_f64s(a.dtype(), g.out, y)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if !self.known(cx)? {
            return Defined(*self).lower(cx);
        }
        let p = self.product(cx)?;
        product(cx, &p)
    }

    fn lower_between(&self, cx: &mut LowerCx<'_>, ends: Ends<'_>) -> Result<()> {
        ensure!(self.known(cx)?, Unsupported, "weights that are not known before the run");
        let p = self.product(cx)?;
        product_between(cx, ends, p)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }
}

/// Bytes as the numbers of `bits` bits that they hold, low ones first, along the last dim.
fn unpacked(b: &mut Body<'_>, v: ValueId, bits: usize) -> Result<ValueId> {
    if bits == 8 {
        return Ok(v);
    }
    let mut s = b.shape(v);
    let last = s.len() - 1;
    let split = [&s[..], &[1]].concat();
    let mask = b.constant(Tensor::scalar(((1u32 << bits) - 1) as u8));
    let mut parts = vec![];
    for shift in (0..8).step_by(bits) {
        let by = b.constant(Tensor::scalar(shift as u8));
        let moved = b.with("BitShift", &[v, by], &[("direction", Attr::Str("RIGHT".into()))])?;
        let part = b.op("BitwiseAnd", &[moved, mask])?;
        parts.push(b.reshape(part, &split)?);
    }
    let all = b.concat(&parts, last + 1)?;
    s[last] *= 8 / bits;
    b.reshape(all, &s)
}

impl Function for MatMulNBits {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let w = self.0;
        let (a, d) = (b.need(0)?, b.cx().dtype(0)?);
        let shape = self.geometry(&b.shape(a))?.out;
        let mut y = if w.absent(b.cx().shape(B)?) {
            let zero = b.float(F32, 0.0)?;
            b.expand(zero, &shape)?
        } else {
            let (n, blocks) = (w.n, w.blocks());
            let packed = b.reshape(b.need(B)?, &[n, blocks * w.block * w.bits / 8])?;
            let q = unpacked(b, packed, w.bits)?;
            let q = b.slice(q, 1, 0, w.k)?;
            let q = b.cast(q, F32)?;
            let zeros = match b.opt(ZEROS) {
                None => b.float(F32, (1u32 << (w.bits - 1)) as f64)?,
                Some(z) if b.cx().dtype(ZEROS)? == U8 => {
                    let rows = b.reshape(z, &[n, w.zero_bytes()])?;
                    let z = unpacked(b, rows, w.bits)?;
                    let z = b.slice(z, 1, 0, blocks)?;
                    b.cast(z, F32)?
                }
                Some(z) => {
                    let z = b.reshape(z, &[n, blocks])?;
                    b.cast(z, F32)?
                }
            };
            let scales = b.reshape(b.need(SCALES)?, &[n, blocks])?;
            let scales = b.cast(scales, F32)?;
            let groups = match b.opt(GROUPS) {
                Some(g) => b.slice(g, 0, 0, w.k)?,
                None => {
                    if w.k > MOST_ROWS {
                        return Err(err!(Limit, "sums of {} products, {MOST_ROWS} at most", w.k).into());
                    }
                    b.constant(Tensor::new([w.k], (0..w.k).map(|k| (k / w.block) as i32).collect())?)
                }
            };
            let along = [("axis", Attr::Int(1))];
            let zeros = if b.shape(zeros).is_empty() { zeros } else { b.with("Gather", &[zeros, groups], &along)? };
            let scales = b.with("Gather", &[scales, groups], &along)?;
            let q = b.op("Sub", &[q, zeros])?;
            let weights = b.op("Mul", &[q, scales])?;
            let columns = b.transpose(weights, &[1, 0])?;
            let a = b.cast(a, F32)?;
            b.op("MatMul", &[a, columns])?
        };
        if let Some(bias) = b.opt(BIAS) {
            let bias = b.cast(bias, F32)?;
            y = b.op("Add", &[y, bias])?;
        }
        Ok(vec![b.cast(y, d)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }
}

/// Slices of a quantised table, as numbers.
#[derive(Debug)]
struct GatherBlockQuantized {
    bits: i64,
    block: i64,
    gather_axis: i64,
    quantize_axis: i64,
}

fn parse_gather(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Defined(GatherBlockQuantized {
        bits: a.int_or("bits", 4)?,
        block: a.int_or("block_size", 128)?,
        gather_axis: a.int_or("gather_axis", 0)?,
        quantize_axis: a.int_or("quantize_axis", 1)?,
    })))
}

impl GatherBlockQuantized {
    /// Which bits an element has, which elements a block, along an axis of length `n`.
    fn layout(&self, d: DType, n: usize) -> Result<(usize, usize)> {
        if d.is_small_float() {
            let block = if self.block == 0 { n.max(1) } else { checked(4, self.block)?.1 };
            return Ok((8, block));
        }
        let (bits, block) = checked(self.bits, self.block)?;
        ensure!(matches!(d, U4 | I4 | U8), Unsupported, "a table of {d}");
        ensure!(d == U8 || bits == 4, InvalidNode, "attribute bits: {bits}, for a table of {d}");
        Ok((if d == U8 { bits } else { 8 }, block))
    }
}

impl Function for GatherBlockQuantized {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let (data, indices, scales) = (b.cx().input(0)?, b.cx().input(1)?, b.cx().input(2)?);
        let (d, rank) = (data.dtype, data.rank());
        let (g, q) = (shape::axis(self.gather_axis, rank)?, shape::axis(self.quantize_axis, rank)?);
        let (bits, block) = self.layout(d, data.shape[q])?;
        let fits = d != U8 || (g == 0 && q == rank - 1 && rank > 1);
        if !fits {
            return Err(err!(InvalidNode, "bytes are gathered along axis 0 and quantised along the last").into());
        }
        if d.is_small_float() && b.opt(3).is_some() {
            return Err(err!(InvalidNode, "zero points of {d}").into());
        }
        // a number of scales, one a block, or one for all where floats have it
        let mut whole = data.shape.clone();
        whole[q] = data.shape[q].saturating_mul(8 / bits).div_ceil(block);
        let blocks = whole[q];
        let wide = shape::broadcast(&[&scales.shape, &whole]).is_ok_and(|s| s == whole);
        let same = scales.rank() == rank && scales.shape[q] == blocks;
        if !same || !(scales.shape == whole || (d.is_small_float() && wide)) {
            return Err(err!(InvalidNode, "expected scales of {whole:?}, got {:?}", scales.shape).into());
        }
        let mut packed = whole.clone();
        packed[q] = (blocks * bits).div_ceil(8);
        if d != U8 {
            packed[q] = blocks;
        }
        if let Some(z) = b.cx().try_input(3).filter(|z| z.dtype != d || z.shape != packed) {
            return Err(err!(InvalidNode, "expected zero points {d}{packed:?}, got {z}").into());
        }
        let mut scale = b.need(2)?;
        if scales.shape != whole {
            scale = b.expand(scale, &whole)?;
        }
        let gathered = |b: &mut Body<'_>, v: ValueId| {
            if g == q { Ok(v) } else { b.with("Gather", &[v, b.need(1)?], &[("axis", Attr::Int(g as i64))]) }
        };
        let x = gathered(b, b.need(0)?)?;
        let x = unpacked(b, x, bits)?;
        scale = gathered(b, scale)?;
        let zeros = match b.opt(3) {
            Some(z) => {
                let z = gathered(b, z)?;
                let z = unpacked(b, z, bits)?;
                let axis = b.shape(z).len() - 1;
                Some(if d == U8 { b.slice(z, axis, 0, blocks)? } else { z })
            }
            None if d == U8 => {
                let middle = b.constant(Tensor::scalar((1u32 << (bits - 1)) as u8));
                Some(b.expand(middle, &b.shape(scale))?)
            }
            None => None,
        };
        let axis = if g == q || q < g { q } else { q + indices.rank() - 1 };
        let attrs = [("axis", Attr::Int(axis as i64)), ("block_size", Attr::Int(block as i64))];
        let made = b.ops("DequantizeLinear", &[Some(x), Some(scale), zeros], &attrs, 1)?;
        let y = made.into_iter().next().ok_or_else(|| err!(Internal, "no output"))?;
        if g != q {
            return Ok(vec![y]);
        }
        Ok(vec![b.with("Gather", &[y, b.need(1)?], &[("axis", Attr::Int(g as i64))])?])
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        Tolerance::ulps(dtype, 1.0)
    }
}

fn bytes(s: &[usize], seed: usize) -> Tensor {
    let values = (0..shape::numel(s)).map(|i| ((i + seed) * 37 % 251) as u8).collect();
    Tensor::new(s, values).unwrap_or_else(|_| Tensor::zeros(U8, s))
}

fn floats(d: DType, s: &[usize]) -> Tensor {
    let values = (0..shape::numel(s)).map(|i| (i % 7 + 1) as f64 / 64.0).collect();
    Tensor::from_f64s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
}

fn matmul_cases() -> Vec<Case> {
    let mut all = vec![];
    let case = |d: DType, a: &[usize], [n, k]: [usize; 2], bits: usize, block: usize, constant: bool| {
        let add = |c: Case, t: Tensor| if constant { c.constant(t) } else { c.value(t) };
        let blocks = k.div_ceil(block);
        let c = Case::new("MatMulNBits", 1).domain("com.microsoft").int("bits", bits as i64).int("K", k as i64);
        let c = c.int("N", n as i64).int("block_size", block as i64).sum(k).rand(d, &[a, &[k]].concat());
        add(add(c, bytes(&[n, blocks, block * bits / 8], 0)), floats(d, &[n, blocks]))
    };
    // of few rows and of many, of widths and lengths that are no multiple of anything, of large blocks
    let shapes: [(&[usize], [usize; 2], usize); 7] = [
        (&[1], [260, 128], 32),
        (&[1, 3], [36, 200], 128),
        (&[5, 3], [132, 320], 64),
        (&[4, 5], [130, 96], 32),
        (&[33], [68, 80], 16),
        (&[2], [7, 37], 16),
        (&[17], [9, 21], 32),
    ];
    for (i, (a, of, block)) in shapes.into_iter().enumerate() {
        for bits in [2, 4, 8] {
            let d = [F32, F16, BF16][(i + bits / 2) % 3];
            let new = || case(d, a, of, bits, block, true);
            let blocks = of[1].div_ceil(block);
            all.push(new());
            all.push(new().constant(bytes(&[of[0], (blocks * bits).div_ceil(8)], 7)));
            all.push(new().constant(floats(d, &[of[0], blocks])).absent().rand(d, &of[..1]));
        }
    }
    for constant in [true, false] {
        let add = |c: Case, t: Tensor| if constant { c.constant(t) } else { c.value(t) };
        for bits in [2, 4, 8] {
            all.push(case(F32, &[2, 3], [9, 40], bits, 16, constant));
            let packed = bytes(&[33, (3 * bits).div_ceil(8)], 5);
            all.push(add(case(F32, &[5], [33, 70], bits, 32, constant), packed));
        }
        all.push(add(case(F32, &[4], [8, 32], 4, 16, constant), floats(F32, &[8, 2])).absent().rand(F32, &[8]));
        let groups = Tensor::vector(&(0..40).map(|i| i * 7 % 3).collect::<Vec<i32>>());
        all.push(add(case(F32, &[4], [8, 40], 4, 16, constant).absent(), groups));
        all.push(case(F16, &[3], [8, 32], 4, 32, constant).absent().absent().rand(F16, &[8]));
    }
    all.push(case(BF16, &[3], [8, 32], 8, 16, true).int("accuracy_level", 4));
    all.push(case(F32, &[0], [8, 32], 4, 16, true));
    let none = Case::new("MatMulNBits", 1).domain("com.microsoft").int("K", 32).int("N", 8).int("block_size", 16);
    let none = none.rand(F32, &[2, 32]).constant(Tensor::zeros(U8, [0, 2, 8])).constant(Tensor::zeros(F32, [0]));
    all.push(none.absent().absent().rand(F32, &[8]));
    all
}

/// Cases of products with an epilogue.
pub(super) fn ended_cases() -> Vec<Case> {
    let mut all = vec![];
    for (rows, n, k) in [(&[1][..], 40, 64), (&[2, 3], 36, 96), (&[19], 70, 40)] {
        let attrs = [("bits", 4), ("K", k as i64), ("N", n as i64), ("block_size", 32)].map(|(a, v)| (a, Attr::Int(v)));
        let out = [rows, &[n]].concat();
        for d in [F32, F16] {
            let new = |present: &[bool], more, tail| {
                let c = super::epilogue::case("MatMulNBits+Elementwise", &attrs, present, more, tail).sum(k);
                let c = c.rand(d, &[rows, &[k]].concat()).constant(bytes(&[n, k.div_ceil(32), 16], 0));
                c.constant(floats(d, &[n, k.div_ceil(32)]))
            };
            let all_but = [true, true, true, false, false, true];
            let residual = new(&all_but, 1, super::epilogue::RESIDUAL).absent().absent();
            all.push(residual.constant(floats(d, &[n])).rand(d, &out));
            let gated = new(&[true, true, true, false, false, false], 2, super::epilogue::GATED);
            all.push(gated.absent().absent().absent().rand(d, &out).rand(d, &[n]));
        }
    }
    all
}

fn gather_cases() -> Vec<Case> {
    let case = || Case::new("GatherBlockQuantized", 1).domain("com.microsoft").int("block_size", 16);
    let mut all = vec![];
    for bits in [2usize, 4, 8] {
        let c = || case().int("bits", bits as i64).constant(bytes(&[5, 40 * bits / 8], 0));
        all.push(c().range(I64, &[2, 3], -5.0, 5.0).constant(floats(F32, &[5, 3])));
        let zeros = bytes(&[5, (3 * bits).div_ceil(8)], 3);
        all.push(c().range(I32, &[4], 0.0, 5.0).constant(floats(F16, &[5, 3])).constant(zeros));
    }
    for d in [U4, I4] {
        let c = || case().rand(d, &[3, 40, 4]);
        all.push(c().range(I64, &[2], 0.0, 3.0).constant(floats(F32, &[3, 3, 4])).rand(d, &[3, 3, 4]));
        let last = c().int("gather_axis", -1).int("quantize_axis", 1).range(I64, &[2, 2], 0.0, 4.0);
        all.push(last.constant(floats(BF16, &[3, 3, 4])));
        let same = c().int("gather_axis", 1).range(I64, &[3], 0.0, 40.0);
        all.push(same.constant(floats(F32, &[3, 3, 4])));
    }
    for d in [F8E4M3FN, F4E2M1] {
        let c = || case().rand(d, &[3, 40]).range(I64, &[2], 0.0, 3.0);
        all.push(c().constant(floats(F32, &[3, 3])));
        all.push(c().int("block_size", 0).constant(floats(F32, &[1, 1])));
    }
    all
}
