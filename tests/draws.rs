//! Every operator on random relatives of its cases: other extents, types, attributes and values, the GPU, with no
//! fallback, against the reference. What the reference refuses the device must refuse too.
//!
//! `SHADERNET_DRAWS` sets how many draws of each operator must be compared, `SHADERNET_OPS=Conv,MatMul` which operators,
//! `SHADERNET_SEED` where the draws begin.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shadernet::ir::Attr;
use shadernet::ops::{self, Case, CaseInput};
use shadernet::{DType, Rng, Tensor};

/// Operators whose reference looks at the data of indices, regions or ratios and refuses what lies outside. The device
/// sees that data when it is too late for errors, and takes the nearest that lies inside.
const BY_DATA: &[&str] = &[
    "EmbedLayerNormalization",
    "Gather",
    "GatherElements",
    "GatherND",
    "GroupQueryAttention",
    "ScatterElements",
    "Scatter",
    "ScatterND",
    "TensorScatter",
    "MaxUnpool",
    "NonMaxSuppression",
    "RoiAlign",
    "MaxRoiPool",
    "ArrayFeatureExtractor",
    "Dropout",
    "ReverseSequence",
    "RotaryEmbedding",
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
    "LSTM",
    "GRU",
    "RNN",
    "DynamicQuantizeLSTM",
    "GatherBlockQuantized",
    "MatMulNBits",
    "QEmbedLayerNormalization",
];

/// Operators whose values grow without bound: where they overflow depends on the order of the arithmetic.
const GROWING: &[&str] = &["LSTM", "DynamicQuantizeLSTM", "GRU", "RNN", "CumProd"];

/// Elements that no input passes, and the product of their numbers, which bounds what joins all with all.
const MOST: f64 = 20_000.0;
const MOST_TOGETHER: f64 = 2e6;
/// Draws for each that must be compared, at most: many relatives are refused.
const PATIENCE: usize = 12;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn one_in(rng: &mut Rng, n: usize) -> bool {
    rng.below(n) == 0
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len())]
}

/// Extents, with 0, 1, primes and more than a workgroup among them.
fn extent(rng: &mut Rng) -> usize {
    *pick(rng, &[0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 64, 67, 130])
}

/// What the cases of an operator have between them.
struct Kin {
    cases: Vec<Case>,
    /// The values of each attribute.
    attrs: BTreeMap<String, Vec<Attr>>,
    /// The types of each input.
    dtypes: BTreeMap<usize, Vec<DType>>,
}

impl Kin {
    fn of(cases: Vec<Case>) -> Kin {
        let (mut attrs, mut dtypes): (BTreeMap<String, Vec<Attr>>, BTreeMap<usize, Vec<DType>>) = Default::default();
        for case in &cases {
            for (name, value) in &case.attrs {
                attrs.entry(name.clone()).or_default().push(value.clone());
            }
            for (i, input) in case.inputs.iter().enumerate() {
                if let CaseInput::Random { dtype, .. } = input {
                    dtypes.entry(i).or_default().push(*dtype);
                }
            }
        }
        Kin { cases, attrs, dtypes }
    }

    fn draw(&self, rng: &mut Rng) -> Case {
        let mut case = pick(rng, &self.cases).clone();
        let other = pick(rng, &self.cases);
        // a body goes with its node's inputs, and a loop ends by their values
        let whole = case.attrs.values().any(|a| matches!(a, Attr::Graph(_)));
        if !whole && one_in(rng, 4) && other.inputs.len() == case.inputs.len() && other.opset == case.opset {
            case.attrs.clone_from(&other.attrs);
        }
        if !whole {
            self.other_attrs(rng, &mut case);
        }
        self.other_types(rng, &mut case);
        if !whole && !one_in(rng, 4) {
            other_extents(rng, &mut case);
        }
        for input in &mut case.inputs {
            match input {
                CaseInput::Value(t) | CaseInput::Constant(t) if !whole && one_in(rng, 6) => nudge(rng, t),
                CaseInput::Random { low, high, .. } if one_in(rng, 8) => (*low, *high) = (*low / 2.0, *high / 2.0),
                _ => {}
            }
        }
        case
    }

    fn other_attrs(&self, rng: &mut Rng, case: &mut Case) {
        let names: Vec<&String> = self.attrs.keys().collect();
        if !names.is_empty() && one_in(rng, 3) {
            let name = pick(rng, &names);
            if case.attrs.contains_key(*name) && one_in(rng, 2) {
                case.attrs.remove(*name);
            } else {
                case.attrs.insert((*name).clone(), pick(rng, &self.attrs[*name]).clone());
            }
        }
        for value in case.attrs.values_mut() {
            match value {
                Attr::Int(v) if one_in(rng, 6) => *v += rng.below(3) as i64 - 1,
                Attr::Ints(list) if !list.is_empty() && one_in(rng, 4) => {
                    let at = rng.below(list.len());
                    list[at] += rng.below(3) as i64 - 1;
                }
                Attr::Float(v) if one_in(rng, 4) => *v *= 0.5 + rng.unit() as f32,
                _ => {}
            }
        }
    }

    /// One type of the cases for another, wherever it stands.
    fn other_types(&self, rng: &mut Rng, case: &mut Case) {
        let random = |i: &CaseInput| if let CaseInput::Random { dtype, .. } = i { Some(*dtype) } else { None };
        let Some((i, from)) = case.inputs.iter().enumerate().find_map(|(i, input)| Some((i, random(input)?))) else {
            return;
        };
        let to = *pick(rng, &self.dtypes[&i]);
        // a type as an attribute, or constants of the same type, stay behind: then the reference refuses
        for (i, input) in case.inputs.iter_mut().enumerate() {
            match input {
                CaseInput::Random { dtype, low, high, .. } if *dtype == from && self.dtypes[&i].contains(&to) => {
                    *dtype = to;
                    if let Some((least, greatest)) = to.int_range() {
                        *low = low.max(least as f64).min(greatest as f64);
                        *high = high.min(greatest as f64 + 1.0).max(*low + 1.0);
                    }
                }
                CaseInput::Value(t) | CaseInput::Constant(t)
                    if t.dtype() == from && from.is_float() && to.is_float() =>
                {
                    if let Some(moved) = t.to_f64s().ok().and_then(|v| Tensor::from_f64s(to, t.shape(), v).ok()) {
                        *t = moved;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Extents for others, equal ones for equal ones, so that what fits stays fitting.
fn other_extents(rng: &mut Rng, case: &mut Case) {
    let largest =
        |case: &Case| case.inputs.iter().filter_map(random_shape).flatten().copied().max().unwrap_or(1).max(1);
    let before = largest(case);
    let mut map = BTreeMap::new();
    let once = one_in(rng, 2);
    let mut changed = false;
    for input in &mut case.inputs {
        let CaseInput::Random { shape, .. } = input else { continue };
        for d in shape.iter_mut() {
            let keep = (once && changed) || *d == 1 || one_in(rng, 3);
            let to = *map.entry(*d).or_insert_with(|| {
                changed |= !keep;
                if keep { *d } else { extent(rng) }
            });
            *d = to;
        }
    }
    // halved wherever they stand
    loop {
        let shapes: Vec<&Vec<usize>> = case.inputs.iter().filter_map(random_shape).collect();
        let sizes = shapes.iter().map(|s| s.iter().map(|d| *d as f64).product::<f64>().max(1.0));
        let (greatest, all) = sizes.fold((0.0, 1.0), |(g, all), n| (n.max(g), all * n));
        let largest = shapes.iter().flat_map(|s| s.iter()).copied().max().unwrap_or(0);
        if largest < 2 || (greatest <= MOST && all <= MOST_TOGETHER) {
            // sums may be over any of the dims
            case.sum = case.sum.max(1) * largest.div_ceil(before).max(1);
            return;
        }
        for input in &mut case.inputs {
            if let CaseInput::Random { shape, .. } = input {
                shape.iter_mut().filter(|d| **d == largest).for_each(|d| *d = largest.div_ceil(2));
            }
        }
    }
}

fn random_shape(input: &CaseInput) -> Option<&Vec<usize>> {
    if let CaseInput::Random { shape, .. } = input { Some(shape) } else { None }
}

/// One element of a tensor a little greater or smaller.
fn nudge(rng: &mut Rng, t: &mut Tensor) {
    if t.is_empty() || !(t.dtype().is_float() || t.dtype().int_range().is_some()) {
        return;
    }
    let at = rng.below(t.len());
    let step = rng.below(3) as f64 - 1.0;
    let moved = t.to_f64s().ok().and_then(|mut v| {
        v[at] += step;
        Tensor::from_f64s(t.dtype(), t.shape(), v).ok()
    });
    if let Some(moved) = moved {
        *t = moved;
    }
}

#[test]
fn relatives_of_every_case() {
    if common::gpu().is_none() {
        return;
    }
    let (draws, seed) = (setting("SHADERNET_DRAWS", 12), setting("SHADERNET_SEED", 1) as u64);
    let wanted = common::wanted();
    let all = ops::all().filter(|d| wanted(d.name)).map(|d| (d.name, Kin::of((d.cases)())));
    let all: Vec<(&str, Kin)> = all.filter(|(_, kin)| !kin.cases.is_empty()).collect();
    let drawn = common::on_all_cores(&all, |(name, kin)| (*name, relatives(name, kin, draws, seed)));
    let compared: usize = drawn.iter().map(|(_, d)| d.compared).sum();
    let failures: Vec<&str> = drawn.iter().flat_map(|(_, d)| &d.failures).map(String::as_str).collect();
    let few = drawn.iter().filter(|(_, d)| d.compared < draws || d.refused > 0);
    let few: Vec<String> =
        few.map(|(name, d)| format!("{name} {} ({} not on the device)", d.compared, d.refused)).collect();
    println!("{} pipelines", common::gpu().map_or(0, |g| g.pipeline_count()));
    println!("{compared} draws compared, {} wrong; fewer than {draws} or not all: {}", failures.len(), few.join(", "));
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

/// What became of the draws of an operator.
#[derive(Default)]
struct Drawn {
    compared: usize,
    /// Told to the caller, who may allow the host instead.
    refused: usize,
    failures: Vec<String>,
}

fn relatives(name: &str, kin: &Kin, draws: usize, seed: u64) -> Drawn {
    let mut drawn = Drawn::default();
    for i in 0..(draws * PATIENCE) as u64 {
        let draw = seed.wrapping_mul(1_000_003).wrapping_add(i);
        let case = kin.draw(&mut Rng::new(draw));
        let tried = catch_unwind(AssertUnwindSafe(|| common::check_or_refuse(&case, draw, BY_DATA.contains(&name))));
        match tried.unwrap_or_else(|_| Err(format!("panic: {case:?}"))) {
            Ok(common::check::Outcome::Compared) => drawn.compared += 1,
            Ok(common::check::Outcome::Refused) => {}
            Ok(common::check::Outcome::NotOnDevice) if i > 20 && drawn.compared == 0 => break,
            Ok(common::check::Outcome::NotOnDevice) => {}
            Err(e) if e.contains("not on this GPU") => drawn.refused += 1,
            Err(e)
                if GROWING.contains(&name)
                    && ["got inf", "got NaN", "want inf", "want NaN"].iter().any(|s| e.contains(s)) => {}
            Err(e) => drawn.failures.push(format!("{name} draw {i}: {e}")),
        }
        if drawn.compared >= draws || drawn.failures.len() >= 3 {
            break;
        }
    }
    drawn
}
