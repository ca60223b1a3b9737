//! Preparation of features in ai.onnx.ml: scaling, encoding, selecting, maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::ml_scores::{Labels, case};
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType;
use crate::ir::{Attr, AttrReader};
use crate::kernels::elementwise::{Elementwise, Emit, Var};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "ai.onnx.ml", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row("Scaler", &[1], parse_scaler, scaler_cases),
    row(
        "Binarizer",
        &[1],
        |a, _| Ok(Arc::new(Binarizer { threshold: a.float_or("threshold", 0.0)? })),
        || {
            vec![
                case("Binarizer", 1).rand(DType::F32, &[3, 5]).float("threshold", 0.5),
                case("Binarizer", 1).rand(DType::F32, &[]),
            ]
        },
    ),
    row("Normalizer", &[1], parse_normalizer, normalizer_cases),
    row("Imputer", &[1], parse_imputer, imputer_cases),
    row("LabelEncoder", &[1, 2, 4], parse_label_encoder, label_encoder_cases),
    row("CategoryMapper", &[1], parse_category_mapper, category_mapper_cases),
    row("OneHotEncoder", &[1], parse_one_hot, one_hot_cases),
    row(
        "ArrayFeatureExtractor",
        &[1],
        |_, _| Ok(Arc::new(Extractor)),
        || {
            let at = Tensor::vector(&[2i64, 0]);
            vec![
                case("ArrayFeatureExtractor", 1).rand(DType::F32, &[2, 3]).value(at.clone()),
                case("ArrayFeatureExtractor", 1).rand(DType::I64, &[4]).value(at),
            ]
        },
    ),
    row("FeatureVectorizer", &[1], parse_feature_vectorizer, || {
        vec![
            case("FeatureVectorizer", 1)
                .rand(DType::F32, &[3, 2])
                .rand(DType::F32, &[3, 1])
                .ints("inputdimensions", &[2, 1]),
        ]
    }),
    row("DictVectorizer", &[1], parse_dict_vectorizer, dict_cases),
    row("CastMap", &[1], parse_cast_map, cast_map_cases),
    row("ZipMap", &[1], parse_zip_map, || {
        vec![case("ZipMap", 1).rand(DType::F32, &[2, 3]).ints("classlabels_int64s", &[5, 6, 7])]
    }),
];

/// One number for all features, or one a feature.
fn per_feature(list: &[f32], j: usize, features: usize, what: &str) -> Result<f64> {
    match list.len() {
        1 => Ok(f64::from(list[0])),
        n if n == features => Ok(f64::from(list[j])),
        n => bail!(InvalidNode, "{n} items of {what} for {features} features"),
    }
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    if x.dtype().is_float() { x.to_f64s() } else { Ok(x.to_i64s()?.into_iter().map(|v| v as f64).collect()) }
}

/// `(x - offset) · scale`
#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

fn parse_scaler(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let or = |list: Option<Vec<f32>>, default: f32| list.filter(|l| !l.is_empty()).unwrap_or_else(|| vec![default]);
    Ok(Arc::new(Scaler { offset: or(a.floats("offset")?, 0.0), scale: or(a.floats("scale")?, 1.0) }))
}

fn scaler_cases() -> Vec<Case> {
    let case = || case("Scaler", 1).attr("offset", Attr::Floats(vec![0.5, -1.0, 2.0]));
    vec![
        case().rand(DType::F32, &[4, 3]).attr("scale", Attr::Floats(vec![2.0, 0.5, 1.5])),
        case().rand(DType::I64, &[3]).attr("scale", Attr::Floats(vec![0.25])),
        super::ml_scores::case("Scaler", 1).rand(DType::F32, &[2, 2]),
    ]
}

impl Op for Scaler {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let features = cx.shape(0)?.last().copied().unwrap_or(1);
        for (list, what) in [(&self.offset, "offset"), (&self.scale, "scale")] {
            per_feature(list, 0, features, what)?;
        }
        one(DType::F32, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let features = x.shape().last().copied().unwrap_or(1);
        let mut out = numbers(x)?;
        for (i, v) in out.iter_mut().enumerate() {
            let j = i % features;
            *v = (*v - per_feature(&self.offset, j, features, "offset")?)
                * per_feature(&self.scale, j, features, "scale")?;
        }
        Ok(vec![Tensor::from_f64s(DType::F32, x.shape(), out)?])
    }

    fn lower(&self, cx: &mut crate::plan::LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let features = x.shape.last().copied().unwrap_or(1);
        for (list, what) in [(&self.offset, "offset"), (&self.scale, "scale")] {
            per_feature(list, 0, features, what)?;
        }
        let list = |l: &[f32]| if l.len() == 1 { Tensor::scalar(l[0]) } else { Tensor::vector(l) };
        let (offset, scale) = (cx.constant(list(&self.offset))?, cx.constant(list(&self.scale))?);
        crate::kernels::elementwise::lower_views(cx, "Scaler", &[x, offset, scale], |e, args| {
            let x = e.cast(&args[0], DType::F32)?;
            Ok(e.expr(DType::F32, format!("({} - {}) * {}", x.name, args[1].name, args[2].name)))
        })
    }
}

/// 1 above the threshold, else 0.
#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

impl Op for Binarizer {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let t = f64::from(self.threshold);
        let out: Vec<f64> = numbers(x)?.into_iter().map(|v| f64::from(u8::from(v > t))).collect();
        if x.dtype().is_float() {
            return Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), out)?]);
        }
        Ok(vec![Tensor::from_i128s(x.dtype(), x.shape(), out.into_iter().map(|v| v as i128).collect())?])
    }

    fn elementwise(&self) -> Option<&dyn Elementwise> {
        Some(self)
    }
}

impl Elementwise for Binarizer {
    fn emit(&self, e: &mut Emit<'_>, args: &[Var], out: DType) -> Result<Var> {
        let x = e.cast(&args[0], DType::F32)?;
        let above = e.expr(DType::F32, format!("f32(f32_gt({}, f32({:?})))", x.name, self.threshold));
        e.cast(&above, out)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    Max,
    L1,
    L2,
}

/// Rows divided by their norm; a row of norm 0 stays.
#[derive(Debug)]
struct Normalizer {
    norm: Norm,
}

fn parse_normalizer(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let norm = match a.string_or("norm", "MAX".into())?.as_str() {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => bail!(InvalidNode, "attribute norm is {other:?}"),
    };
    Ok(Arc::new(Normalizer { norm }))
}

fn normalizer_cases() -> Vec<Case> {
    let case = |n: &str| case("Normalizer", 1).rand(DType::F32, &[5, 4]).string("norm", n).sum(4);
    vec![
        case("MAX"),
        case("L1"),
        case("L2"),
        super::ml_scores::case("Normalizer", 1).rand(DType::I64, &[3]).string("norm", "L1"),
    ]
}

impl Op for Normalizer {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::F32, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let mut v = numbers(x)?;
        for row in v.chunks_mut(x.shape().last().copied().unwrap_or(1).max(1)) {
            let norm = match self.norm {
                // as ONNX Runtime has it: the greatest, not the greatest magnitude
                Norm::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Norm::L1 => row.iter().map(|x| x.abs()).sum(),
                Norm::L2 => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
            };
            if norm != 0.0 {
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
        Ok(vec![Tensor::from_f64s(DType::F32, x.shape(), v)?])
    }

    fn lower(&self, cx: &mut crate::plan::LowerCx<'_>) -> Result<()> {
        use crate::kernels::{elementwise, reduce};
        let given = cx.input(0)?;
        ensure!(given.rank() > 0, Unsupported, "a scalar");
        let x = cx.temp(DType::F32, &given.shape)?;
        crate::kernels::elementwise::apply(cx, "Cast", &[given], &x, |e, args| e.cast(&args[0], DType::F32))?;
        let mut kept = x.shape.clone();
        kept[x.rank() - 1] = 1;
        let norms = cx.temp(DType::F32, &kept)?;
        let fold = match self.norm {
            Norm::Max => reduce::Fold::Max,
            Norm::L1 => reduce::Fold::L1,
            Norm::L2 => reduce::Fold::L2,
        };
        reduce::reduce(cx, fold, &x, &[x.rank() - 1], &norms)?;
        elementwise::lower_views(cx, "Normalizer", &[x, norms], |e, args| {
            let (x, n) = (&args[0].name, &args[1].name);
            Ok(e.expr(DType::F32, format!("{x} / select({n}, 1.0, {n} == 0.0)")))
        })
    }
}

/// One value replaced by one a feature.
#[derive(Debug)]
struct Imputer {
    /// Of floats; NaN stands for NaN.
    floats: Option<(f32, Vec<f32>)>,
    ints: Option<(i64, Vec<i64>)>,
}

fn parse_imputer(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let (from, to) = (a.float_or("replaced_value_float", 0.0)?, a.floats("imputed_value_floats")?);
    let (from_int, to_int) = (a.int_or("replaced_value_int64", 0)?, a.ints("imputed_value_int64s")?);
    let floats = to.filter(|t| !t.is_empty()).map(|t| (from, t));
    let ints = to_int.filter(|t| !t.is_empty()).map(|t| (from_int, t));
    ensure!(
        floats.is_some() != ints.is_some(),
        InvalidNode,
        "expected one of imputed_value_floats and imputed_value_int64s"
    );
    Ok(Arc::new(Imputer { floats, ints }))
}

fn imputer_cases() -> Vec<Case> {
    let gaps = Tensor::new([2, 3], vec![1f32, f32::NAN, 3.0, f32::NAN, 5.0, f32::NAN])
        .unwrap_or_else(|_| Tensor::scalar(0f32));
    let ints = Tensor::vector(&[3i64, -1, 7]);
    let nan = || case("Imputer", 1).value(gaps.clone()).float("replaced_value_float", f32::NAN);
    vec![
        nan().attr("imputed_value_floats", Attr::Floats(vec![0.5, 1.5, 2.5])),
        nan().attr("imputed_value_floats", Attr::Floats(vec![9.0])),
        case("Imputer", 1).value(ints).int("replaced_value_int64", -1).ints("imputed_value_int64s", &[4]),
    ]
}

impl Op for Imputer {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let features = x.shape().last().copied().unwrap_or(1);
        if let (true, Some((from, to))) = (x.dtype().is_float(), &self.floats) {
            let mut v = x.to_f64s()?;
            for (i, v) in v.iter_mut().enumerate() {
                if *v == f64::from(*from) || (from.is_nan() && v.is_nan()) {
                    *v = per_feature(to, i % features, features, "imputed_value_floats")?;
                }
            }
            return Ok(vec![Tensor::from_f64s(x.dtype(), x.shape(), v)?]);
        }
        let (from, to) = self.ints.as_ref().ok_or_else(|| err!(InvalidNode, "no value to impute for {}", x.dtype()))?;
        ensure!(to.len() == 1 || to.len() == features, InvalidNode, "{} values for {features} features", to.len());
        let pick = |(i, v): (usize, i64)| i128::from(if v == *from { to[i % features % to.len()] } else { v });
        Ok(vec![Tensor::from_i128s(x.dtype(), x.shape(), x.to_i64s()?.into_iter().enumerate().map(pick).collect())?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// A key of a lookup: floats by their bits, so that NaN finds NaN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bits(u64),
    Int(i128),
    Text(String),
}

fn keys(t: &Tensor) -> Result<Vec<Key>> {
    // all NaNs are one, and so are both zeros
    let bits = |x: f64| Key::Bits(if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() });
    Ok(match t.dtype() {
        DType::String => t.strings()?.iter().cloned().map(Key::Text).collect(),
        d if d.is_float() => t.to_f64s()?.into_iter().map(bits).collect(),
        _ => t.to_i128s()?.into_iter().map(Key::Int).collect(),
    })
}

/// Elements replaced after a table.
#[derive(Debug)]
struct LabelEncoder {
    table: BTreeMap<Key, usize>,
    /// The table's values, and the default behind them.
    values: Tensor,
}

impl LabelEncoder {
    fn new(from: &Tensor, to: &Tensor, default: &Tensor) -> Result<LabelEncoder> {
        ensure!(from.len() == to.len(), InvalidNode, "{} keys and {} values", from.len(), to.len());
        let mut table = BTreeMap::new();
        // of equal keys the first counts
        for (i, k) in keys(from)?.into_iter().enumerate() {
            table.entry(k).or_insert(i);
        }
        let values = Tensor::concat(&[to.reshaped([to.len()])?, default.reshaped([1])?])?;
        Ok(LabelEncoder { table, values })
    }
}

fn texts(list: Vec<String>) -> Result<Tensor> {
    Tensor::from_strings([list.len()], list)
}

fn parse_label_encoder(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    if n.version == 1 {
        let (text, int) = (a.string_or("default_string", "_Unused".into())?, a.int_or("default_int64", -1)?);
        let classes = texts(a.strings("classes_strings")?.unwrap_or_default())?;
        let numbers = Tensor::vector(&(0..classes.len() as i64).collect::<Vec<_>>());
        let to_ints = LabelEncoder::new(&classes, &numbers, &Tensor::vector(&[int]))?;
        let to_texts = LabelEncoder::new(&numbers, &classes, &texts(vec![text])?)?;
        return Ok(Arc::new(Categories { to_ints, to_texts }));
    }
    let list = |what: &str| -> Result<Option<Tensor>> {
        let mut found = vec![];
        if let Some(t) = a.tensor(&format!("{what}_tensor"))? {
            found.push(t);
        }
        found.extend(a.ints(&format!("{what}_int64s"))?.map(|l| Tensor::vector(&l)));
        found.extend(a.floats(&format!("{what}_floats"))?.map(|l| Tensor::vector(&l)));
        if let Some(l) = a.strings(&format!("{what}_strings"))? {
            found.push(texts(l)?);
        }
        ensure!(found.len() <= 1, InvalidNode, "{} lists of {what}", found.len());
        Ok(found.pop())
    };
    let missing = |what: &str| err!(InvalidNode, "no {what}");
    let (from, to) = (list("keys")?.ok_or_else(|| missing("keys"))?, list("values")?.ok_or_else(|| missing("values"))?);
    let (text, int) = (a.string_or("default_string", "_Unused".into())?, a.int_or("default_int64", -1)?);
    let float = a.float_or("default_float", -0.0)?;
    let default = match (a.tensor("default_tensor")?, to.dtype()) {
        (Some(t), _) => t,
        (None, DType::String) => texts(vec![text])?,
        (None, d) if d.is_float() => Tensor::from_f64s(d, [1], vec![f64::from(float)])?,
        (None, d) => Tensor::from_i128s(d, [1], vec![i128::from(int)])?,
    };
    Ok(Arc::new(LabelEncoder::new(&from, &to, &default)?))
}

fn label_encoder_cases() -> Vec<Case> {
    let case = || case("LabelEncoder", 4).value(Tensor::vector(&[2i64, 5, 9, 2])).ints("keys_int64s", &[2, 5]);
    vec![
        case().attr("values_floats", Attr::Floats(vec![0.5, 1.5])).float("default_float", -7.0),
        case().ints("values_int64s", &[7, 8]),
        case().attr("values_strings", Attr::Strs(vec!["a".into(), "b".into()])),
    ]
}

impl Op for LabelEncoder {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(self.values.dtype(), cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let default = self.values.len() - 1;
        let at: Vec<usize> = keys(x)?.iter().map(|k| self.table.get(k).copied().unwrap_or(default)).collect();
        Ok(vec![self.values.select(x.shape(), &at)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// Strings to their numbers and numbers to their strings, whichever is given.
#[derive(Debug)]
struct Categories {
    to_ints: LabelEncoder,
    to_texts: LabelEncoder,
}

fn parse_category_mapper(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let numbers = Tensor::vector(&a.ints_or("cats_int64s", vec![])?);
    let names = texts(a.strings_or("cats_strings", vec![])?)?;
    let int = Tensor::vector(&[a.int_or("default_int64", -1)?]);
    let text = texts(vec![a.string_or("default_string", "_Unused".into())?])?;
    let to_texts = LabelEncoder::new(&numbers, &names, &text)?;
    Ok(Arc::new(Categories { to_ints: LabelEncoder::new(&names, &numbers, &int)?, to_texts }))
}

fn category_mapper_cases() -> Vec<Case> {
    let case = || {
        let names = Attr::Strs(vec!["x".into(), "y".into()]);
        case("CategoryMapper", 1).ints("cats_int64s", &[3, 4]).attr("cats_strings", names)
    };
    vec![
        case().value(Tensor::vector(&[3i64, 5, 4])),
        case().value(texts(vec!["y".into(), "z".into()]).unwrap_or_else(|_| Tensor::scalar(0f32))),
    ]
}

impl Op for Categories {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(if cx.dtype(0)? == DType::String { DType::I64 } else { DType::String }, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let by = if need(inputs, 0)?.dtype() == DType::String { &self.to_ints } else { &self.to_texts };
        by.eval(inputs)
    }

    fn on_host(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct OneHot {
    ints: Option<Vec<i64>>,
    texts: Option<Vec<String>>,
    zeros: bool,
}

fn parse_one_hot(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let (ints, texts) = (a.ints("cats_int64s")?, a.strings("cats_strings")?);
    ensure!(ints.is_some() != texts.is_some(), InvalidNode, "expected one of cats_int64s and cats_strings");
    Ok(Arc::new(OneHot { ints, texts, zeros: a.flag_or("zeros", true)? }))
}

fn one_hot_cases() -> Vec<Case> {
    let case = || case("OneHotEncoder", 1).ints("cats_int64s", &[1, 3, 5]);
    vec![case().value(Tensor::vector(&[5i64, 2, 1])), case().value(Tensor::vector(&[3f32, 1.0]))]
}

impl OneHot {
    fn len(&self) -> usize {
        self.ints.as_ref().map_or_else(|| self.texts.as_ref().map_or(0, Vec::len), Vec::len)
    }
}

impl Op for OneHot {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::F32, [cx.shape(0)?, &[self.len()]].concat())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let at: Vec<Option<usize>> = match (&self.ints, &self.texts) {
            (Some(c), _) => numbers(x)?.iter().map(|v| c.iter().position(|c| *c == *v as i64)).collect(),
            (_, Some(c)) => x.strings()?.iter().map(|v| c.iter().position(|c| c == v)).collect(),
            _ => vec![],
        };
        let mut out = vec![0f32; at.len() * self.len()];
        for (i, at) in at.iter().enumerate() {
            match at {
                Some(c) => out[i * self.len() + c] = 1.0,
                None => ensure!(self.zeros, InvalidNode, "element {i} is of no category"),
            }
        }
        Ok(vec![Tensor::new([x.shape(), &[self.len()]].concat(), out)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// Columns of the last axis.
#[derive(Debug)]
struct Extractor;

impl Op for Extractor {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (x, n) = (cx.shape(0)?, cx.input(1)?.numel());
        let lead = if x.len() <= 1 { &[1][..] } else { &x[..x.len() - 1] };
        one(cx.dtype(0)?, [lead, &[n]].concat())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, at) = (need(inputs, 0)?, need(inputs, 1)?.to_i64s()?);
        let width = x.shape().last().copied().unwrap_or(1);
        let bad = at.iter().find(|i| !(0..width as i64).contains(*i));
        ensure!(bad.is_none(), InvalidNode, "column {bad:?} of {width}");
        let lead = if x.rank() <= 1 { vec![1] } else { x.shape()[..x.rank() - 1].to_vec() };
        let rows: usize = lead.iter().product();
        let sources: Vec<usize> = (0..rows).flat_map(|r| at.iter().map(move |i| r * width + *i as usize)).collect();
        Ok(vec![x.select([lead, vec![at.len()]].concat(), &sources)?])
    }

    fn lower(&self, cx: &mut crate::plan::LowerCx<'_>) -> Result<()> {
        let (x, at) = (cx.dense_input(0)?, cx.dense_input(1)?);
        let x = if x.rank() == 0 { x.reshaped(&[1]).unwrap_or(x) } else { x };
        let out = cx.output(0)?;
        crate::kernels::gather::gather(cx, &x, x.rank() - 1, &at, &out)
    }
}

/// All inputs' columns side by side, as floats.
#[derive(Debug)]
struct FeatureVectorizer {
    dims: Option<Vec<i64>>,
}

fn parse_feature_vectorizer(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(FeatureVectorizer { dims: a.ints("inputdimensions")? }))
}

impl FeatureVectorizer {
    fn width(&self, i: usize, shape: &[usize]) -> Result<(usize, usize)> {
        let (rows, columns) = match shape {
            [n, c] => (*n, *c),
            [c] => (1, *c),
            other => bail!(InvalidNode, "expected rows of features, got {other:?}"),
        };
        let wanted = self.dims.as_ref().map_or(Some(columns as i64), |d| d.get(i).copied());
        ensure!(wanted == Some(columns as i64), InvalidNode, "input {i} has {columns} columns, expected {wanted:?}");
        Ok((rows, columns))
    }
}

impl Op for FeatureVectorizer {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let (mut rows, mut columns) = (1, 0usize);
        for i in 0..cx.len() {
            let (n, c) = self.width(i, cx.shape(i)?)?;
            (rows, columns) = (n, columns.saturating_add(c));
        }
        one(DType::F32, [rows, columns])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (mut parts, mut rows) = (vec![], 1);
        for (i, x) in inputs.iter().flatten().enumerate() {
            let (n, c) = self.width(i, x.shape())?;
            ensure!(i == 0 || n == rows, InvalidNode, "input {i} has {n} rows, expected {rows}");
            rows = n;
            parts.push((c, numbers(x)?));
        }
        let columns = parts.iter().map(|(c, _)| c).sum::<usize>();
        let row =
            |r: usize| parts.iter().flat_map(move |(c, v)| v[r * c..(r + 1) * c].iter().copied()).collect::<Vec<_>>();
        Ok(vec![Tensor::from_f64s(DType::F32, [rows, columns], (0..rows).flat_map(row).collect())?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// The values of a map, in the order of a vocabulary.
#[derive(Debug)]
struct DictVectorizer {
    vocabulary: Vec<Key>,
}

fn parse_dict_vectorizer(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let vocabulary = match (a.ints("int64_vocabulary")?, a.strings("string_vocabulary")?) {
        (Some(l), None) => l.into_iter().map(|i| Key::Int(i128::from(i))).collect(),
        (None, Some(l)) => l.into_iter().map(Key::Text).collect(),
        _ => bail!(InvalidNode, "expected one of int64_vocabulary and string_vocabulary"),
    };
    Ok(Arc::new(DictVectorizer { vocabulary }))
}

fn number_map() -> Tensor {
    let made = Tensor::map(Tensor::vector(&[3i64, 1]), Tensor::vector(&[0.5f32, 2.0]));
    made.unwrap_or_else(|_| Tensor::scalar(0f32))
}

fn dict_cases() -> Vec<Case> {
    vec![case("DictVectorizer", 1).value(number_map()).ints("int64_vocabulary", &[1, 2, 3])]
}

/// A map's keys and values; values in a sequence are one element each.
fn entries(map: &Tensor) -> Result<(Vec<Key>, Tensor)> {
    let [k, v] = map.items()? else { bail!(InvalidNode, "expected a map, got {map:?}") };
    let values = if v.dtype() == DType::Sequence { Tensor::concat(v.items()?)? } else { v.clone() };
    Ok((keys(k)?, values))
}

impl Op for DictVectorizer {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (keys, values) = entries(need(inputs, 0)?)?;
        let at: Vec<Option<usize>> = self.vocabulary.iter().map(|w| keys.iter().position(|k| k == w)).collect();
        Ok(vec![values.select_or([1, at.len()], &at, &Tensor::zeros(values.dtype(), []))?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct CastMap {
    to: DType,
    /// The width of a sparse map's result; `None`: dense.
    sparse: Option<usize>,
}

/// Columns of a map written out.
const COLUMNS: usize = 1 << 24;

fn parse_cast_map(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let to = match a.string_or("cast_to", "TO_FLOAT".into())?.as_str() {
        "TO_FLOAT" => DType::F32,
        "TO_STRING" => DType::String,
        "TO_INT64" => DType::I64,
        other => bail!(InvalidNode, "attribute cast_to is {other:?}"),
    };
    let most = a.int_or("max_map", 1)?;
    let sparse = match a.string_or("map_form", "DENSE".into())?.as_str() {
        "DENSE" => None,
        "SPARSE" => {
            let count = usize::try_from(most).ok().filter(|n| *n <= COLUMNS);
            Some(count.ok_or_else(|| err!(InvalidNode, "attribute max_map is {most}"))?)
        }
        other => bail!(InvalidNode, "attribute map_form is {other:?}"),
    };
    Ok(Arc::new(CastMap { to, sparse }))
}

fn cast_map_cases() -> Vec<Case> {
    let case = || case("CastMap", 1).value(number_map());
    vec![case(), case().string("map_form", "SPARSE").int("max_map", 5), case().string("cast_to", "TO_INT64")]
}

impl Op for CastMap {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (keys, values) = entries(need(inputs, 0)?)?;
        let mut order: Vec<(i128, usize)> = vec![];
        for (i, k) in keys.iter().enumerate() {
            let Key::Int(k) = k else { bail!(InvalidNode, "CastMap takes maps from int64") };
            order.push((*k, i));
        }
        order.sort_unstable();
        let at: Vec<Option<usize>> = match self.sparse {
            None => order.iter().map(|(_, i)| Some(*i)).collect(),
            Some(n) => {
                let mut at = vec![None; n];
                for (key, i) in order.iter().rev() {
                    if let Some(slot) = usize::try_from(*key).ok().and_then(|k| at.get_mut(k)) {
                        *slot = Some(*i);
                    }
                }
                at
            }
        };
        let picked = values.select_or([1, at.len()], &at, &Tensor::zeros(values.dtype(), []))?;
        Ok(vec![super::select::cast(&picked, self.to, true)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}

/// A sequence of maps from label to score, one a row.
#[derive(Debug)]
struct ZipMap {
    labels: Labels,
}

fn parse_zip_map(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(ZipMap { labels: Labels::read(a, "classlabels_int64s", "classlabels_strings")? }))
}

impl Op for ZipMap {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        one(DType::Sequence, [])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (columns, labels) = (x.shape().last().copied().unwrap_or(1), self.labels.len());
        ensure!(columns == labels, InvalidNode, "{columns} scores for {labels} labels");
        let keys = self.labels.pick(&(0..labels).collect::<Vec<_>>())?;
        let row = |r: usize| {
            Tensor::map(keys.clone(), x.select([columns], &(r * columns..(r + 1) * columns).collect::<Vec<_>>())?)
        };
        let rows = x.len().checked_div(columns).unwrap_or(0);
        Ok(vec![Tensor::sequence((0..rows).map(row).collect::<Result<_>>()?)])
    }

    fn on_host(&self) -> bool {
        true
    }
}
