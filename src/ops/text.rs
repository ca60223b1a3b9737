//! Strings. They live on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use super::eval::need;
use super::infer::one;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef, Parse};
use crate::dtype::DType;
use crate::ir::AttrReader;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const fn row(name: &'static str, versions: &'static [i64], parse: Parse, cases: fn() -> Vec<Case>) -> OpDef {
    OpDef { domain: "", name, versions, parse, cases }
}

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    row(
        "StringConcat",
        &[20],
        |_, _| Ok(Arc::new(Concat)),
        || vec![Case::new("StringConcat", 20).value(strings(&["a", "b"])).value(strings(&["-"]))],
    ),
    row("StringSplit", &[20], parse_split, split_cases),
    row("StringNormalizer", &[10], parse_normalizer, normalizer_cases),
    row("RegexFullMatch", &[20], parse_match, || {
        vec![Case::new("RegexFullMatch", 20).value(strings(&["ab", "abab", "x"])).string("pattern", "(ab)+")]
    }),
    row("TfIdfVectorizer", &[9], parse_tf_idf, tf_idf_cases),
];

fn strings(values: &[&str]) -> Tensor {
    let values: Vec<String> = values.iter().map(|s| s.to_string()).collect();
    Tensor::from_strings([values.len()], values).unwrap_or_else(|_| Tensor::zeros(DType::String, [0]))
}

#[derive(Debug)]
struct Concat;

impl Op for Concat {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::String, shape::broadcast(&[cx.shape(0)?, cx.shape(1)?])?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (need(inputs, 0)?, need(inputs, 1)?);
        let to = shape::broadcast(&[a.shape(), b.shape()])?;
        let (i, j) = (shape::broadcast_indices(a.shape(), &to), shape::broadcast_indices(b.shape(), &to));
        let (a, b) = (a.strings()?, b.strings()?);
        Ok(vec![Tensor::from_strings(to, i.into_iter().zip(j).map(|(i, j)| format!("{}{}", a[i], b[j])).collect())?])
    }
}

/// Substrings along a new last axis, padded with empty strings, and how many there are.
#[derive(Debug)]
struct Split {
    /// Empty: runs of white space.
    delimiter: String,
    most: Option<usize>,
}

fn parse_split(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let most =
        a.int("maxsplit")?.map(|n| usize::try_from(n).map_err(|_| err!(InvalidNode, "attribute maxsplit is {n}")));
    Ok(Arc::new(Split { delimiter: a.string_or("delimiter", String::new())?, most: most.transpose()? }))
}

fn split_cases() -> Vec<Case> {
    let case = |s: &[&str]| Case::new("StringSplit", 20).value(strings(s)).outputs(2);
    vec![
        case(&["a b  c", " x ", ""]),
        case(&["a,b,,c", "", "d"]).string("delimiter", ","),
        case(&["a b c", "d e"]).int("maxsplit", 1),
        case(&[]),
    ]
}

impl Split {
    fn of<'s>(&self, s: &'s str) -> Vec<&'s str> {
        let most = self.most.unwrap_or(usize::MAX);
        if !self.delimiter.is_empty() {
            // an empty string has no substrings
            return if s.is_empty() { vec![] } else { s.splitn(most.saturating_add(1), &self.delimiter).collect() };
        }
        let (mut out, mut rest) = (vec![], s.trim_start());
        while !rest.is_empty() {
            match rest.find(char::is_whitespace).filter(|_| out.len() < most) {
                Some(end) => {
                    out.push(&rest[..end]);
                    rest = rest[end..].trim_start();
                }
                None => {
                    out.push(if out.len() < most { rest } else { rest.trim_end() });
                    rest = "";
                }
            }
        }
        out
    }
}

impl Op for Split {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.input(0)?;
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let parts: Vec<Vec<&str>> = x.strings()?.iter().map(|s| self.of(s)).collect();
        let widest = parts.iter().map(Vec::len).max().unwrap_or(0);
        let padded =
            |p: &Vec<&str>| (0..widest).map(|i| p.get(i).copied().unwrap_or("").to_string()).collect::<Vec<_>>();
        let texts = Tensor::from_strings([x.shape(), &[widest]].concat(), parts.iter().flat_map(padded).collect())?;
        let counts = Tensor::new(x.shape(), parts.iter().map(|p| p.len() as i64).collect())?;
        Ok(vec![texts, counts])
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    None,
    Lower,
    Upper,
}

/// Drops stop words and changes case.
#[derive(Debug)]
struct Normalizer {
    change: Change,
    case_sensitive: bool,
    stop: BTreeSet<String>,
}

fn parse_normalizer(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let change = match a.string_or("case_change_action", "NONE".into())?.as_str() {
        "NONE" => Change::None,
        "LOWER" => Change::Lower,
        "UPPER" => Change::Upper,
        other => bail!(InvalidNode, "attribute case_change_action is {other:?}"),
    };
    let case_sensitive = a.flag_or("is_case_sensitive", false)?;
    let locale = a.string_or("locale", String::new())?;
    // the languages whose letters change case in ways of their own
    let special = ["tr", "az", "lt"].iter().any(|l| locale.to_lowercase().starts_with(l));
    ensure!(!special || (change == Change::None && case_sensitive), Unsupported, "case in locale {locale:?}");
    let stop = a.strings_or("stopwords", vec![])?;
    let stop = stop.into_iter().map(|s| if case_sensitive { s } else { s.to_lowercase() }).collect();
    Ok(Arc::new(Normalizer { change, case_sensitive, stop }))
}

fn normalizer_cases() -> Vec<Case> {
    let case = || {
        let words = vec!["monday".to_string(), "tuesday".into()];
        Case::new("StringNormalizer", 10)
            .value(strings(&["Monday", "tuesday", "Friday"]))
            .attr("stopwords", crate::ir::Attr::Strs(words))
    };
    vec![
        case(),
        case().int("is_case_sensitive", 1).string("case_change_action", "UPPER"),
        case().string("case_change_action", "LOWER"),
    ]
}

impl Op for Normalizer {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.input(0)?;
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let rows = matches!(x.shape(), [_] | [1, _]);
        ensure!(rows, InvalidNode, "expected shape [C] or [1, C], got {:?}", x.shape());
        let stops =
            |s: &&String| !self.stop.contains(&if self.case_sensitive { s.to_string() } else { s.to_lowercase() });
        let change = |s: &String| match self.change {
            Change::None => s.clone(),
            Change::Lower => s.to_lowercase(),
            Change::Upper => s.to_uppercase(),
        };
        let mut kept: Vec<String> = x.strings()?.iter().filter(stops).map(change).collect();
        if kept.is_empty() {
            kept.push(String::new());
        }
        let mut to = x.shape().to_vec();
        if let Some(last) = to.last_mut() {
            *last = kept.len();
        }
        Ok(vec![Tensor::from_strings(to, kept)?])
    }
}

#[derive(Debug)]
struct Match {
    pattern: Regex,
}

fn parse_match(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let text = a.string("pattern")?.ok_or_else(|| err!(InvalidNode, "attribute pattern is missing"))?;
    // Python's and RE2's names of ends and groups that the regex crate has under others
    let pattern = Regex::new(&format!(r"\A(?:{text})\z"));
    let pattern = pattern.map_err(|_| err!(InvalidNode, "attribute pattern is no regular expression: {text:?}"))?;
    Ok(Arc::new(Match { pattern }))
}

impl Op for Match {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::Bool, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        Ok(vec![Tensor::new(x.shape(), x.strings()?.iter().map(|s| self.pattern.is_match(s)).collect())?])
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Gram {
    Int(i64),
    Text(String),
}

/// Counts of n-grams of a pool, weighted.
#[derive(Debug)]
struct TfIdf {
    /// Where in the result each n-gram of the pool is counted, and which it is in the pool.
    pool: BTreeMap<Vec<Gram>, (usize, usize)>,
    width: usize,
    /// Whether counts count more than once.
    counts: bool,
    weights: Option<Vec<f32>>,
    lengths: std::ops::RangeInclusive<usize>,
    skips: usize,
}

fn parse_tf_idf(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let size = |name: &str| -> Result<usize> {
        let n = a.required_int(name)?;
        usize::try_from(n).map_err(|_| err!(InvalidNode, "attribute {name} is {n}"))
    };
    let list = |name: &str| a.ints(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"));
    let (weights, mode) = (a.floats("weights")?, a.string("mode")?);
    let (counts, weights) = match mode.as_deref() {
        Some("TF") => (true, None),
        Some("IDF") => (false, weights),
        Some("TFIDF") => (true, weights),
        other => bail!(InvalidNode, "attribute mode is {other:?}"),
    };
    let grams: Vec<Gram> = match (a.ints("pool_int64s")?, a.strings("pool_strings")?) {
        (Some(ints), None) => ints.into_iter().map(Gram::Int).collect(),
        (None, Some(texts)) => texts.into_iter().map(Gram::Text).collect(),
        _ => bail!(InvalidNode, "expected one of attributes pool_int64s and pool_strings"),
    };
    let starts = list("ngram_counts")?;
    let places = list("ngram_indexes")?;
    let width = places.iter().max().map_or(0, |m| usize::try_from(*m).unwrap_or(0).saturating_add(1));
    let mut pool = BTreeMap::new();
    let mut number = 0;
    for (n, start) in starts.iter().enumerate() {
        let (start, end) = (*start as usize, starts.get(n + 1).map_or(grams.len(), |e| *e as usize));
        let part = grams
            .get(start..end)
            .ok_or_else(|| err!(InvalidNode, "ngram_counts {starts:?} of {} items", grams.len()))?;
        for gram in part.chunks_exact(n + 1) {
            let place = places.get(number).and_then(|p| usize::try_from(*p).ok());
            let place = place.ok_or_else(|| err!(InvalidNode, "ngram_indexes has no place for n-gram {number}"))?;
            pool.insert(gram.to_vec(), (place, number));
            number += 1;
        }
    }
    if let Some(w) = weights.as_ref().filter(|w| w.len() < number) {
        bail!(InvalidNode, "{} weights for {number} n-grams", w.len());
    }
    let lengths = size("min_gram_length")?..=size("max_gram_length")?;
    Ok(Arc::new(TfIdf { pool, width, counts, weights, lengths, skips: size("max_skip_count")? }))
}

fn tf_idf_cases() -> Vec<Case> {
    let case = |mode: &str, skips: i64| {
        Case::new("TfIdfVectorizer", 9)
            .value(Tensor::vector(&[1i64, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]))
            .string("mode", mode)
            .ints("ngram_counts", &[0, 4])
            .ints("ngram_indexes", &[0, 1, 2, 3, 4, 5, 6])
            .ints("pool_int64s", &[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])
            .int("min_gram_length", 1)
            .int("max_gram_length", 2)
            .int("max_skip_count", skips)
    };
    vec![case("TF", 0), case("TF", 5), case("IDF", 1), case("TFIDF", 5)]
}

impl TfIdf {
    fn count(&self, row: &[Gram]) -> Vec<f32> {
        let mut found = vec![0f32; self.width];
        let mut add = |gram: &[Gram]| {
            if let Some((place, number)) = self.pool.get(gram) {
                let weight = self.weights.as_ref().map_or(1.0, |w| w[*number]);
                found[*place] = if self.counts { found[*place] + weight } else { weight };
            }
        };
        let (shortest, longest) = (*self.lengths.start(), *self.lengths.end());
        for n in shortest.max(1)..=longest.min(row.len()) {
            // single items have nothing to skip, and no step leads out of the row
            let steps = (row.len() - 1).checked_div(n - 1).map_or(1, |most| most.min(self.skips.saturating_add(1)));
            for step in 1..=steps {
                for start in 0..row.len().saturating_sub((n - 1) * step) {
                    let gram: Vec<Gram> = (0..n).map(|i| row[start + i * step].clone()).collect();
                    add(&gram);
                }
            }
        }
        found
    }
}

impl Op for TfIdf {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        match cx.shape(0)? {
            [_] => one(DType::F32, [self.width]),
            [n, _] => one(DType::F32, [*n, self.width]),
            other => Err(err!(InvalidNode, "expected rank 1 or 2, got {other:?}").into()),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let grams: Vec<Gram> = match x.strings() {
            Ok(s) => s.iter().cloned().map(Gram::Text).collect(),
            Err(_) => x.to_i64s()?.into_iter().map(Gram::Int).collect(),
        };
        let to = match x.shape() {
            [_] => vec![self.width],
            [n, _] => vec![*n, self.width],
            other => bail!(InvalidNode, "expected rank 1 or 2, got {other:?}"),
        };
        let length = x.shape()[x.rank() - 1];
        let rows = x.len().checked_div(length).unwrap_or(if x.rank() == 1 { 1 } else { x.shape()[0] });
        let values = (0..rows).flat_map(|r| self.count(&grams[r * length..(r + 1) * length])).collect();
        Ok(vec![Tensor::new(to, values)?])
    }

    fn on_host(&self) -> bool {
        true
    }
}
