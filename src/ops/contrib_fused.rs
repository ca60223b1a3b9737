//! Products and convolutions with what follows them: FusedMatMul, TransposeMatMul, FusedGemm, FusedConv.

use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::eval::need;
use super::infer::one;
use super::matmul::{Geometry, product_tolerance};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, BF16, F16, F32, F64, I32};
use crate::ir::{Attr, AttrReader, ValueId};
use crate::kernels::matmul::{Product, Right, product, right};
use crate::plan::{LowerCx, View, dense_strides};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, parse: super::Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "com.microsoft", name, versions: &[1], parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("FusedMatMul", parse_matmul, || matmul_cases("FusedMatMul")),
    row("TransposeMatMul", parse_matmul, || matmul_cases("TransposeMatMul")),
    row("FusedGemm", parse_gemm, gemm_cases),
    row("FusedConv", parse_conv, conv_cases),
];

/// How a factor's dims stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    /// Rows and columns are exchanged.
    transposed: bool,
    /// Rows come first of all, before the dims of the batch.
    rows_first: bool,
}

impl Side {
    /// The order of dims that makes it `[batch.., rows, columns]`.
    fn order(self, rank: usize) -> Result<Vec<usize>> {
        let mut order: Vec<usize> = (0..rank).collect();
        if self.rows_first {
            ensure!(rank >= 3, InvalidNode, "transBatch takes rank 3 or more, got {rank}");
            order[..rank - 1].rotate_left(1);
        }
        // a vector stays what it is
        if self.transposed && rank >= 2 {
            order.swap(rank - 2, rank - 1);
        }
        Ok(order)
    }

    fn shape(self, s: &[usize]) -> Result<Vec<usize>> {
        Ok(self.order(s.len())?.into_iter().map(|i| s[i]).collect())
    }

    fn tensor(self, t: &Tensor) -> Result<Tensor> {
        let dense = dense_strides(t.shape());
        let (s, strides): (Vec<usize>, Vec<isize>) =
            self.order(t.rank())?.into_iter().map(|i| (t.shape()[i], dense[i])).unzip();
        t.select(s.clone(), &shape::strided_indices(&s, &strides, 0))
    }

    fn view(self, v: &View) -> Result<View> {
        Ok(v.permuted(&self.order(v.rank())?))
    }
}

/// `alpha · a × b` by NumPy's rules.
#[derive(Debug)]
struct FusedMatMul {
    alpha: f32,
    sides: [Side; 2],
}

fn parse_matmul(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let on = |name: &str| Ok(a.int_or(name, 0)? != 0);
    let side = |turned: &str, first: &str| Ok(Side { transposed: on(turned)?, rows_first: on(first)? });
    let sides = [side("transA", "transBatchA")?, side("transB", "transBatchB")?];
    Ok(Arc::new(FusedMatMul { alpha: a.float_or("alpha", 1.0)?, sides }))
}

impl FusedMatMul {
    fn geometry(&self, a: &[usize], b: &[usize]) -> Result<Geometry> {
        let batched = self.sides.iter().any(|s| s.rows_first);
        ensure!(!batched || a.len() == b.len(), InvalidNode, "transBatch of {a:?} and {b:?}, whose ranks differ");
        Geometry::new(&self.sides[0].shape(a)?, &self.sides[1].shape(b)?)
    }
}

impl Op for FusedMatMul {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        if !matches!(a.dtype, F32 | F64 | F16 | BF16) || a.dtype != b.dtype {
            return Err(err!(Unsupported, "a product of {a} and {b}").into());
        }
        one(a.dtype, self.geometry(&a.shape, &b.shape)?.out)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, 1)?);
        let g = self.geometry(a.shape(), b.shape())?;
        let (x, y) = (self.sides[0].tensor(a)?.to_f64s()?, self.sides[1].tensor(b)?.to_f64s()?);
        let out = g.floats(&x, &y).into_iter().map(|v| v * f64::from(self.alpha)).collect();
        Ok(vec![Tensor::from_f64s(a.dtype(), g.out, out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let [left, rhs] = self.sides;
        let (a, wide) = (cx.input(0)?, cx.input_type(1)?.shape.len());
        let b = if rhs.rows_first || wide < 2 {
            let b = cx.input(1)?;
            let b = rhs.view(&b)?;
            let shape = if let [k] = b.shape[..] { vec![k, 1] } else { b.shape.clone() };
            Right::View(fit(&b, &shape)?)
        } else {
            right(cx, 1, rhs.transposed)?
        };
        let g = self.geometry(&a.shape, &cx.input_type(1)?.shape)?;
        let a = fit(&left.view(&a)?, &g.a)?.broadcast(&[&g.batch[..], &[g.m, g.k]].concat());
        let out = cx.output(0)?;
        let out = fit(&out, &[&g.batch[..], &[g.m, g.n]].concat())?;
        product(cx, &Product { alpha: self.alpha, ..Product::new(a, b.broadcast(&g.batch), out) })
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }
}

/// A view under a shape that only adds or drops extents of 1.
fn fit(v: &View, to: &[usize]) -> Result<View> {
    if v.shape == to {
        return Ok(v.clone());
    }
    v.reshaped(to).ok_or_else(|| err!(Internal, "{:?} is not {to:?}", v.shape))
}

fn matmul_cases(name: &'static str) -> Vec<Case> {
    let new = || Case::new(name, 1).domain("com.microsoft");
    let mut all = vec![];
    for flags in 0..16i64 {
        let on = |bit: i64| flags >> bit & 1;
        if name == "TransposeMatMul" && flags > 3 {
            break;
        }
        let dims = |rows: usize, columns: usize, turned: i64, first: i64| {
            let (r, c) = if turned == 1 { (columns, rows) } else { (rows, columns) };
            if first == 1 { [r, 2, 3, c] } else { [2, 3, r, c] }
        };
        let (a, b) = (dims(5, 7, on(0), on(2)), dims(7, 6, on(1), on(3)));
        let mut c = new().rand(F32, &a).rand(F32, &b).sum(7).int("transA", on(0)).int("transB", on(1));
        if name == "FusedMatMul" {
            c = c.int("transBatchA", on(2)).int("transBatchB", on(3)).float("alpha", 0.125);
        }
        all.push(c);
    }
    let weights = |d: DType, s: &[usize]| {
        let values = (0..shape::numel(s)).map(|i| ((i * 7 + 3) % 11) as f64 / 4.0 - 1.0).collect();
        Tensor::from_f64s(d, s, values).unwrap_or_else(|_| Tensor::zeros(d, s))
    };
    for d in [F32, F16, BF16, F64] {
        all.push(
            new().rand(d, &[2, 9, 16]).constant(weights(d, &[33, 16])).int("transB", 1).float("alpha", 0.5).sum(16),
        );
        all.push(new().rand(d, &[2, 16, 9]).rand(d, &[2, 16, 12]).int("transA", 1).float("alpha", -2.0).sum(16));
    }
    all.extend([
        new().rand(F32, &[5]).rand(F32, &[5, 4]).int("transA", 1).sum(5),
        new().rand(F32, &[4, 5]).rand(F32, &[5]).int("transB", 1).float("alpha", 3.0).sum(5),
        new().rand(F32, &[2, 3, 4]).rand(F32, &[5, 4]).int("transB", 1).sum(4),
        new().rand(F32, &[0, 4]).rand(F32, &[5, 4]).int("transB", 1),
        new().rand(F32, &[3, 0]).rand(F32, &[0, 5]),
    ]);
    all
}

/// A function by name, with its numbers in the order of its attributes.
#[derive(Debug)]
struct Activation {
    name: String,
    numbers: Vec<f32>,
}

/// The activations and the names of their numbers.
const ACTIVATIONS: &[(&str, &[&str])] = &[
    ("Relu", &[]),
    ("Tanh", &[]),
    ("Sigmoid", &[]),
    ("Softplus", &[]),
    ("Softsign", &[]),
    ("HardSwish", &[]),
    ("LeakyRelu", &["alpha"]),
    ("Elu", &["alpha"]),
    ("ThresholdedRelu", &["alpha"]),
    ("HardSigmoid", &["alpha", "beta"]),
    ("Clip", &["min", "max"]),
    ("Selu", &["alpha", "gamma"]),
    ("ParametricSoftplus", &["alpha", "beta"]),
    ("ScaledTanh", &["alpha", "beta"]),
];

impl Activation {
    fn new(name: String, number: impl Fn(usize, &str) -> Result<Option<f32>>) -> Result<Activation> {
        let known = ACTIVATIONS.iter().find(|(n, _)| *n == name);
        let Some((_, names)) = known else { bail!(Unsupported, "activation {name:?}") };
        let missing = |n: &str| err!(InvalidNode, "activation {name} needs its {n}");
        let numbers = names.iter().enumerate().map(|(i, n)| number(i, n)?.ok_or_else(|| missing(n)));
        Ok(Activation { numbers: numbers.collect::<Result<_>>()?, name })
    }

    fn of(&self, b: &mut Body<'_>, x: ValueId, d: DType) -> Result<ValueId> {
        let scaled = |b: &mut Body<'_>, v: ValueId, by: f32| {
            let by = b.float(d, f64::from(by))?;
            b.op("Mul", &[v, by])
        };
        match (&self.name[..], &self.numbers[..]) {
            ("Clip", &[low, high]) => {
                let (low, high) = (b.float(d, f64::from(low))?, b.float(d, f64::from(high))?);
                b.op("Clip", &[x, low, high])
            }
            (name @ ("ParametricSoftplus" | "ScaledTanh"), &[alpha, beta]) => {
                let inner = scaled(b, x, beta)?;
                let bent = b.op(if name == "ScaledTanh" { "Tanh" } else { "Softplus" }, &[inner])?;
                scaled(b, bent, alpha)
            }
            (name, numbers) => {
                let names = ACTIVATIONS.iter().find(|(n, _)| *n == name).map_or(&[] as &[&str], |a| a.1);
                let attrs: Vec<(&str, Attr)> =
                    names.iter().copied().zip(numbers.iter().map(|n| Attr::Float(*n))).collect();
                b.with(name, &[x], &attrs)
            }
        }
    }
}

/// As of products, but what a bounded activation gives may be far smaller than the sums whose rounding it carries.
fn activated_tolerance(dtype: DType, k: usize) -> Tolerance {
    let t = product_tolerance(dtype, k);
    Tolerance { abs: t.abs * (k as f64).sqrt(), ..t }
}

/// Attributes of a member, as they were given.
type Given = Vec<(&'static str, Attr)>;

/// `activation(alpha · a × b + beta · c)`
#[derive(Debug)]
struct FusedGemm {
    gemm: Given,
    activation: Activation,
}

fn parse_gemm(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mut gemm: Given = vec![];
    for name in ["alpha", "beta"] {
        gemm.extend(a.float(name)?.map(|v| (name, Attr::Float(v))));
    }
    for name in ["transA", "transB"] {
        gemm.extend(a.int(name)?.map(|v| (name, Attr::Int(v))));
    }
    let name = a.string("activation")?.ok_or_else(|| err!(InvalidNode, "attribute activation is missing"))?;
    let activation = Activation::new(name, |_, n| match n {
        "alpha" | "beta" | "gamma" => a.float(&format!("activation_{n}")),
        _ => Ok(None),
    })?;
    // numbers that the activation does not have
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        a.ignore(name);
    }
    Ok(Arc::new(Defined(FusedGemm { gemm, activation })))
}

impl Function for FusedGemm {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let inputs = [Some(b.need(0)?), Some(b.need(1)?), b.opt(2)];
        let y = b.ops("Gemm", &inputs, &self.gemm, 1)?[0];
        let d = b.cx().dtype(0)?;
        Ok(vec![self.activation.of(b, y, d)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        activated_tolerance(dtype, k)
    }
}

fn gemm_cases() -> Vec<Case> {
    let new = |d: DType| Case::new("FusedGemm", 1).domain("com.microsoft").rand(d, &[5, 7]).rand(d, &[7, 12]).sum(7);
    let mut all = vec![];
    for (name, numbers) in ACTIVATIONS.iter().filter(|(n, _)| *n != "Clip") {
        let c = new(F32).rand(F32, &[12]).string("activation", name);
        all.push(numbers.iter().zip([0.3, 0.7]).fold(c, |c, (n, v)| c.float(&format!("activation_{n}"), v)));
    }
    let turned = Case::new("FusedGemm", 1).domain("com.microsoft").rand(F32, &[7, 5]).rand(F32, &[12, 7]).sum(7);
    let turned = turned.rand(F32, &[5, 1]).int("transA", 1).int("transB", 1).float("alpha", 0.5).float("beta", 2.0);
    all.push(turned.string("activation", "Relu").float("activation_alpha", 9.0));
    for d in [F16, F64, I32] {
        all.push(new(d).string("activation", "Relu"));
    }
    all
}

/// `activation(conv(x, w, b) + z)`
#[derive(Debug)]
struct FusedConv {
    conv: Given,
    activation: Option<Activation>,
}

fn parse_conv(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let mut conv: Given = vec![];
    for name in ["dilations", "kernel_shape", "pads", "strides"] {
        conv.extend(a.ints(name)?.map(|v| (name, Attr::Ints(v))));
    }
    conv.extend(a.int("group")?.map(|v| ("group", Attr::Int(v))));
    conv.extend(a.string("auto_pad")?.map(|v| ("auto_pad", Attr::Str(v))));
    let numbers = a.floats_or("activation_params", vec![])?;
    let named = a.string("activation")?.filter(|n| !n.is_empty());
    let activation = named.map(|n| Activation::new(n, |i, _| Ok(numbers.get(i).copied()))).transpose()?;
    Ok(Arc::new(Defined(FusedConv { conv, activation })))
}

impl Function for FusedConv {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let inputs = [Some(b.need(0)?), Some(b.need(1)?), b.opt(2)];
        let mut y = b.ops("Conv", &inputs, &self.conv, 1)?[0];
        let d = b.cx().dtype(0)?;
        if let Some(z) = b.opt(3) {
            let (t, want) = (b.cx().input(3)?, b.shape(y));
            if t.dtype != d || t.shape != want {
                return Err(err!(InvalidNode, "input 3: expected {d} of {want:?}, got {t}").into());
            }
            y = b.op("Add", &[y, z])?;
        }
        Ok(vec![match &self.activation {
            Some(f) => f.of(b, y, d)?,
            None => y,
        }])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        activated_tolerance(dtype, k)
    }
}

fn conv_cases() -> Vec<Case> {
    let new = |d: DType| {
        let c = Case::new("FusedConv", 1).domain("com.microsoft").rand(d, &[2, 4, 7, 9]).rand(d, &[6, 4, 3, 3]).sum(36);
        c.ints("pads", &[1, 1, 1, 1])
    };
    let numbers: &[(&str, &[f32])] = &[
        ("Relu", &[]),
        ("Tanh", &[]),
        ("Sigmoid", &[]),
        ("HardSwish", &[]),
        ("LeakyRelu", &[0.2]),
        ("Clip", &[-0.5, 1.5]),
        ("HardSigmoid", &[0.3, 0.6]),
    ];
    let mut all = vec![];
    for (name, numbers) in numbers {
        let c = new(F32).rand(F32, &[6]).string("activation", name);
        all.push(if numbers.is_empty() { c } else { c.attr("activation_params", Attr::Floats(numbers.to_vec())) });
    }
    for d in [F32, F16, F64] {
        all.push(new(d).absent().rand(d, &[2, 6, 7, 9]).string("activation", "Relu"));
    }
    let grouped = Case::new("FusedConv", 1).domain("com.microsoft").rand(F32, &[1, 4, 9, 9]).rand(F32, &[4, 1, 3, 3]);
    let grouped = grouped.rand(F32, &[4]).rand(F32, &[1, 4, 4, 4]).int("group", 4).ints("strides", &[2, 2]).sum(9);
    all.extend([grouped.string("activation", "LeakyRelu").attr("activation_params", Attr::Floats(vec![0.1]))]);
    all.push(new(F32).rand(F32, &[6]).ints("dilations", &[2, 2]).string("auto_pad", "NOTSET"));
    all
}
