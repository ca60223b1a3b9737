//! Random shapes and attributes: the GPU, with no fallback, against the reference. Draws that an operator refuses must
//! be refused by both. `PROPTEST_CASES` sets the number of draws.

mod common;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shadernet::DType::{self, *};
use shadernet::Tensor;
use shadernet::ops::Case;

/// Extents, with 0, 1 and primes among them.
fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..8, 1 => Just(0), 1 => Just(13), 1 => Just(67)]
}

/// A shape of not too many elements.
fn shape(ranks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(extent(), ranks).prop_map(|mut shape| {
        let mut budget = 5000;
        for d in &mut shape {
            *d = (*d).min(budget);
            budget /= (*d).max(1);
        }
        shape
    })
}

/// An axis of `shape`, negative or not.
fn axis(rank: usize) -> impl Strategy<Value = i64> {
    -(rank as i64)..rank as i64
}

/// A shape that broadcasts to `to`: extents replaced by 1, leading ones left out.
fn broadcastable(to: Vec<usize>) -> impl Strategy<Value = Vec<usize>> {
    let rank = to.len();
    (prop::collection::vec(any::<bool>(), rank), 0..=rank).prop_map(move |(ones, skip)| {
        to.iter().zip(&ones).skip(skip).map(|(d, one)| if *one { 1 } else { *d }).collect()
    })
}

fn unary() -> impl Strategy<Value = Case> {
    let ops =
        ["Abs", "Neg", "Exp", "Tanh", "Sigmoid", "Relu", "Floor", "Ceil", "Erf", "Softplus", "Sqrt", "Sign", "Round"];
    let dtypes = select(vec![F32, F16, BF16]);
    (select(ops.to_vec()), dtypes, shape(0..=5)).prop_map(|(op, d, s)| Case::new(op, 22).rand(d, &s))
}

fn binary() -> impl Strategy<Value = Case> {
    let ops = select(vec!["Add", "Sub", "Mul", "Less", "Equal", "GreaterOrEqual", "Max", "Min"]);
    let dtypes = select(vec![F32, F16, I8, U8, I16, I32, I64, U64]);
    (ops, dtypes, shape(0..=5)).prop_flat_map(|(op, d, s)| {
        (broadcastable(s.clone()), Just(s), any::<bool>()).prop_map(move |(small, s, swap)| {
            let (a, b) = if swap { (small, s) } else { (s, small) };
            Case::new(op, 19).rand(d, &a).rand(d, &b)
        })
    })
}

fn where_() -> impl Strategy<Value = Case> {
    shape(0..=4).prop_flat_map(|s| {
        let part = || broadcastable(s.clone());
        (part(), part(), part(), select(vec![F32, I64, U8, Bool]))
            .prop_map(|(c, x, y, d)| Case::new("Where", 16).rand(Bool, &c).rand(d, &x).rand(d, &y))
    })
}

fn cast() -> impl Strategy<Value = Case> {
    let types = vec![F32, F16, BF16, I8, U8, I16, U16, I32, U32, I64, U64, Bool];
    (select(types.clone()), select(types), shape(0..=3)).prop_map(|(from, to, s)| {
        let (low, high) = if from.is_float() { (0.0, 100.0) } else { (0.0, 2.0) };
        Case::new("Cast", 19).range(from, &s, low, high).int("to", to as i64)
    })
}

fn conv(op: &'static str) -> impl Strategy<Value = Case> {
    let n = 1usize..=3;
    n.prop_flat_map(move |n| {
        let small = || prop::collection::vec(1usize..=3, n);
        let ints = || prop::collection::vec(1i64..=3, n);
        let pads = prop::collection::vec(0i64..=2, 2 * n);
        let data = prop::collection::vec(1usize..=11, n);
        (
            0usize..=3,
            1usize..=3,
            1usize..=5,
            1usize..=5,
            data,
            small(),
            ints(),
            ints(),
            pads,
            any::<bool>(),
            select(vec![F32, F16]),
        )
    })
    .prop_map(move |(batch, group, ic, oc, data, kernel, strides, dilations, pads, bias, dtype)| {
        let x = [&[batch, ic * group], &data[..]].concat();
        let w = if op == "Conv" { [oc * group, ic] } else { [ic * group, oc] };
        let w = [&w[..], &kernel].concat();
        let sum = ic * kernel.iter().product::<usize>();
        let case = Case::new(op, 22).rand(dtype, &x).rand(dtype, &w);
        let case = if bias { case.rand(dtype, &[oc * group]) } else { case };
        case.int("group", group as i64)
            .ints("strides", &strides)
            .ints("dilations", &dilations)
            .ints("pads", &pads)
            .sum(sum)
    })
}

fn auto_pad() -> impl Strategy<Value = Case> {
    let modes = select(vec!["SAME_UPPER", "SAME_LOWER", "VALID"]);
    let ops = select(vec!["Conv", "MaxPool", "AveragePool", "ConvTranspose"]);
    (ops, modes, 3usize..=12, 3usize..=12, 1usize..=3, 1usize..=3, 1i64..=3).prop_map(|(op, mode, h, w, kh, kw, s)| {
        let case = Case::new(op, 22).rand(F32, &[2, 3, h, w]).string("auto_pad", mode).ints("strides", &[s, s]);
        match op {
            "Conv" | "ConvTranspose" => case.rand(F32, &[3, 3, kh, kw]).sum(3 * kh * kw),
            _ => case.ints("kernel_shape", &[kh as i64, kw as i64]).sum(kh * kw),
        }
    })
}

fn pool() -> impl Strategy<Value = Case> {
    (1usize..=3)
        .prop_flat_map(|n| {
            let data = prop::collection::vec(3usize..=11, n);
            let ints = |max: i64| prop::collection::vec(1i64..=max, n);
            let ops = select(vec!["MaxPool", "AveragePool", "LpPool"]);
            (
                ops,
                0usize..=2,
                1usize..=4,
                data,
                ints(3),
                ints(3),
                ints(2),
                prop::collection::vec(0i64..=1, 2 * n),
                any::<bool>(),
            )
        })
        .prop_map(|(op, batch, channels, data, kernel, strides, dilations, pads, ceil)| {
            let x = [&[batch, channels], &data[..]].concat();
            let sum = kernel.iter().product::<i64>() as usize;
            // a window that lies in padding alone has no greatest element
            let pads: Vec<i64> = pads.iter().enumerate().map(|(i, p)| (*p).min(kernel[i % kernel.len()] - 1)).collect();
            let case = Case::new(op, 22).rand(F32, &x).ints("kernel_shape", &kernel).ints("strides", &strides).sum(sum);
            case.ints("dilations", &dilations).ints("pads", &pads).int("ceil_mode", i64::from(ceil))
        })
}

fn matmul() -> impl Strategy<Value = Case> {
    let dims = (extent(), prop_oneof![extent(), Just(129)], extent());
    let batch = prop::collection::vec(0usize..=5, 0..=2);
    (dims, batch, select(vec![F32, F16, I32, I64])).prop_flat_map(|((m, k, n), batch, d)| {
        (broadcastable(batch.clone()), Just(batch), any::<bool>()).prop_map(move |(small, batch, swap)| {
            let (a, b) = if swap { (&batch, &small) } else { (&small, &batch) };
            let (a, b) = ([a.as_slice(), &[m, k]].concat(), [b.as_slice(), &[k, n]].concat());
            Case::new("MatMul", 13).rand(d, &a).rand(d, &b).sum(k)
        })
    })
}

fn gemm() -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (extent(), extent(), extent(), flags, select(vec![0.5f32, 1.0, 2.0])).prop_flat_map(
        |(m, k, n, (ta, tb, constant), alpha)| {
            broadcastable(vec![m, n]).prop_map(move |c| {
                let a = if ta { [k, m] } else { [m, k] };
                let b = if tb { [n, k] } else { [k, n] };
                let case = Case::new("Gemm", 13).rand(F32, &a);
                let case = if constant { case.constant(ramp(&b)) } else { case.rand(F32, &b) };
                case.rand(F32, &c)
                    .int("transA", i64::from(ta))
                    .int("transB", i64::from(tb))
                    .float("alpha", alpha)
                    .sum(k)
            })
        },
    )
}

fn ramp(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_f64s(F32, shape, (0..n).map(|i| (i * 7 % 13) as f64 / 6.5 - 1.0).collect()).unwrap()
}

fn reduce() -> impl Strategy<Value = Case> {
    let ops = [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ];
    let dtypes = select(vec![F32, F16, I32, I64]);
    (select(ops.to_vec()), dtypes, prop::collection::vec(1usize..=9, 0..=5)).prop_flat_map(|(op, d, s)| {
        let axes = subsequence((0..s.len() as i64).collect::<Vec<_>>(), 0..=s.len());
        (axes, any::<bool>(), any::<bool>()).prop_map(move |(axes, keep, none)| {
            let sum: usize = s.iter().product();
            let float_only = op == "ReduceLogSumExp";
            let case = Case::new(op, 18).range(if float_only { F32 } else { d }, &s, -1.0, 2.0).sum(sum);
            let case = if none { case } else { case.value(Tensor::vector(&axes)) };
            case.int("keepdims", i64::from(keep))
        })
    })
}

fn softmax() -> impl Strategy<Value = Case> {
    let ops = select(vec!["Softmax", "LogSoftmax", "Hardmax"]);
    (ops, shape(1..=4)).prop_flat_map(|(op, s)| {
        axis(s.len()).prop_map(move |a| Case::new(op, 13).rand(F32, &s).int("axis", a).sum(64))
    })
}

fn transpose() -> impl Strategy<Value = Case> {
    let dtypes = select(vec![F32, F16, I64, U8, Bool]);
    (shape(0..=6), dtypes).prop_flat_map(|(s, d)| {
        let perm = Just((0..s.len() as i64).collect::<Vec<_>>()).prop_shuffle();
        perm.prop_map(move |p| Case::new("Transpose", 21).rand(d, &s).ints("perm", &p))
    })
}

fn slice() -> impl Strategy<Value = Case> {
    shape(1..=4).prop_flat_map(|s| {
        let rank = s.len();
        let steps = prop::collection::vec(select(vec![-3i64, -1, 1, 2]), rank);
        let ends = || prop::collection::vec(-15i64..15, rank);
        (Just(s), ends(), ends(), steps).prop_map(|(s, starts, ends, steps)| {
            let axes: Vec<i64> = (0..s.len() as i64).collect();
            let vector = |v: &[i64]| Tensor::vector(v);
            let case = Case::new("Slice", 13).rand(F32, &s).value(vector(&starts)).value(vector(&ends));
            case.value(vector(&axes)).value(vector(&steps))
        })
    })
}

fn pad() -> impl Strategy<Value = Case> {
    let modes = select(vec!["constant", "reflect", "edge", "wrap"]);
    (modes, prop::collection::vec(3usize..=7, 1..=4), select(vec![F32, I64])).prop_flat_map(|(mode, s, d)| {
        let pads = prop::collection::vec(-1i64..=2, 2 * s.len());
        pads.prop_map(move |p| {
            let case = Case::new("Pad", 21).rand(d, &s).value(Tensor::vector(&p)).string("mode", mode);
            if mode == "constant" { case.rand(d, &[]) } else { case }
        })
    })
}

fn gather() -> impl Strategy<Value = Case> {
    let shapes = prop::collection::vec(1usize..=7, 1..=4);
    (shapes, shape(0..=3), select(vec![F32, I64, U8]), any::<bool>()).prop_flat_map(|(s, at, d, wide)| {
        axis(s.len()).prop_map(move |a| {
            let extent = s[a.rem_euclid(s.len() as i64) as usize] as f64;
            let index: DType = if wide { I64 } else { I32 };
            Case::new("Gather", 13).rand(d, &s).range(index, &at, -extent, extent).int("axis", a)
        })
    })
}

fn concat() -> impl Strategy<Value = Case> {
    (shape(1..=4), prop::collection::vec(0usize..=5, 1..=9), select(vec![F32, I64, U8])).prop_flat_map(
        |(s, parts, d)| {
            axis(s.len()).prop_map(move |a| {
                let mut case = Case::new("Concat", 13).int("axis", a);
                for n in &parts {
                    let mut part = s.clone();
                    part[a.rem_euclid(s.len() as i64) as usize] = *n;
                    case = case.rand(d, &part);
                }
                case
            })
        },
    )
}

fn resize() -> impl Strategy<Value = Case> {
    let modes = select(vec!["nearest", "linear", "cubic"]);
    let transforms = select(vec!["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]);
    (modes, transforms, 1usize..=7, 1usize..=7, 1i64..=15, 1i64..=15, any::<bool>()).prop_map(
        |(mode, t, h, w, oh, ow, anti)| {
            let case = Case::new("Resize", 19).rand(F32, &[1, 2, h, w]).absent().absent();
            let case = case.value(Tensor::vector(&[1, 2, oh, ow])).string("mode", mode);
            let case = if anti && mode != "nearest" { case.int("antialias", 1) } else { case };
            case.string("coordinate_transformation_mode", t).sum(64)
        },
    )
}

fn normalise() -> impl Strategy<Value = Case> {
    let s = (1usize..=3, 1usize..=6, 1usize..=20);
    (select(vec!["LayerNormalization", "InstanceNormalization", "BatchNormalization"]), s).prop_map(
        |(op, (n, c, w))| {
            let (x, sum) = ([n, c, w], w);
            match op {
                "LayerNormalization" => Case::new(op, 17).rand(F32, &x).rand(F32, &[w]).rand(F32, &[w]).sum(sum),
                "InstanceNormalization" => Case::new(op, 22).rand(F32, &x).rand(F32, &[c]).rand(F32, &[c]).sum(sum),
                _ => {
                    let case = Case::new(op, 15).rand(F32, &x).rand(F32, &[c]).rand(F32, &[c]);
                    case.rand(F32, &[c]).range(F32, &[c], 0.1, 2.0)
                }
            }
        },
    )
}

fn draws() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(32)
}

macro_rules! equals_the_reference {
    ($($name:ident: $cases:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: draws(), failure_persistence: None, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(case in $cases, seed in 0u64..1000) {
                    common::check_or_refuse(&case, seed, false).map_err(TestCaseError::fail)?;
                }
            )*
        }
    };
}

equals_the_reference! {
    unary_functions: unary();
    binary_functions_broadcast: binary();
    where_broadcasts: where_();
    casts: cast();
    convolutions: conv("Conv");
    transposed_convolutions: conv("ConvTranspose");
    automatic_padding: auto_pad();
    pools: pool();
    matrix_products: matmul();
    general_matrix_products: gemm();
    reductions: reduce();
    softmaxes: softmax();
    transposes: transpose();
    slices: slice();
    pads: pad();
    gathers: gather();
    concatenations: concat();
    resizes: resize();
    normalisations: normalise();
}
