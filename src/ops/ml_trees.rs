//! Decision trees of ai.onnx.ml: TreeEnsemble and its forerunners TreeEnsembleClassifier and TreeEnsembleRegressor.

use std::collections::HashMap;
use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::ml_scores::{Labels, Post, binary, lower_classes};
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType;
use crate::ir::{Attr, AttrReader, TensorType};
use crate::kernels::elementwise::apply;
use crate::kernels::reduce::{Fold, reduce};
use crate::kernels::trees::{self, Words};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

const ML: &str = "ai.onnx.ml";

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: ML, name: "TreeEnsemble", versions: &[5], parse: parse_ensemble, cases: ensemble_cases },
    OpDef {
        domain: ML,
        name: "TreeEnsembleClassifier",
        versions: &[1, 3, 5],
        parse: parse_classifier,
        cases: classifier_cases,
    },
    OpDef {
        domain: ML,
        name: "TreeEnsembleRegressor",
        versions: &[1, 3, 5],
        parse: parse_regressor,
        cases: regressor_cases,
    },
];

/// How a node compares a feature with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    Equal,
    NotEqual,
    Member,
}

/// Where a branch leads.
#[derive(Debug, Clone, Copy)]
enum To {
    Node(usize),
    Leaf(usize),
}

#[derive(Debug, Clone)]
struct Branch {
    feature: usize,
    mode: Mode,
    value: f64,
    /// The values of a set, for [`Mode::Member`].
    members: Vec<f64>,
    /// Whether NaN counts as true.
    missing: bool,
    yes: To,
    no: To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

/// Trees, and what each leaf adds to which targets.
#[derive(Debug)]
struct Forest {
    roots: Vec<To>,
    branches: Vec<Branch>,
    leaves: Vec<Vec<(usize, f64)>>,
    targets: usize,
}

impl Branch {
    fn takes(&self, x: f64) -> bool {
        if x.is_nan() && self.missing {
            return true;
        }
        match self.mode {
            Mode::LessEqual => x <= self.value,
            Mode::Less => x < self.value,
            Mode::GreaterEqual => x >= self.value,
            Mode::Greater => x > self.value,
            Mode::Equal => x == self.value,
            Mode::NotEqual => x != self.value,
            Mode::Member => self.members.contains(&x),
        }
    }
}

impl Forest {
    /// Every tree's leaf is reached, features exist, and no path comes back.
    fn check(self) -> Result<Forest> {
        let whole = |to: &To| match to {
            To::Node(n) => *n < self.branches.len(),
            To::Leaf(l) => *l < self.leaves.len(),
        };
        let inside = self.branches.iter().all(|b| whole(&b.yes) && whole(&b.no)) && self.roots.iter().all(whole);
        ensure!(inside, InvalidNode, "a branch that leads nowhere");
        let target = self.leaves.iter().flatten().map(|(t, _)| *t).max().map_or(0, |t| t + 1);
        ensure!(target <= self.targets, InvalidNode, "a leaf of target {}, there are {}", target - 1, self.targets);
        let mut state = vec![0u8; self.branches.len()];
        for root in &self.roots {
            let mut path = vec![(*root, false)];
            while let Some((to, done)) = path.pop() {
                let To::Node(n) = to else { continue };
                if done {
                    state[n] = 2;
                    continue;
                }
                ensure!(state[n] != 1, InvalidNode, "node {n} is its own ancestor");
                if state[n] == 0 {
                    state[n] = 1;
                    path.extend([(to, true), (self.branches[n].yes, false), (self.branches[n].no, false)]);
                }
            }
        }
        Ok(self)
    }

    /// What the kernel reads, with values rounded so that no float compares otherwise than it does with the double.
    fn words(&self) -> Words {
        let code = |to: &To| match to {
            To::Node(n) => *n as i32,
            To::Leaf(l) => -1 - *l as i32,
        };
        let (mut members, mut branches) = (vec![], vec![]);
        for b in &self.branches {
            let near = b.value as f32;
            let wide = f64::from(near);
            let value = match b.mode {
                Mode::LessEqual | Mode::Greater if wide > b.value => near.next_down(),
                Mode::Less | Mode::GreaterEqual if wide < b.value => near.next_up(),
                Mode::Equal | Mode::NotEqual if wide != b.value => f32::NAN,
                _ => near,
            };
            let start = members.len() as u32;
            members.extend(b.members.iter().map(|m| *m as f32).filter(|m| b.members.contains(&f64::from(*m))));
            let to = [code(&b.yes) as u32, code(&b.no) as u32, u32::from(b.missing), start, members.len() as u32];
            let head = [b.feature as u32, b.mode as u32, value.to_bits()];
            branches.push([head[0], head[1], head[2], to[0], to[1], to[2], to[3], to[4]]);
        }
        let (mut leaves, mut weights) = (vec![0], vec![]);
        for leaf in &self.leaves {
            weights.extend(leaf.iter().map(|(t, w)| [*t as u32, (*w as f32).to_bits()]));
            leaves.push(weights.len() as u32);
        }
        let sets = self.branches.iter().map(|b| b.members.len()).max().unwrap_or(0);
        let most = self.leaves.iter().map(Vec::len).max().unwrap_or(0);
        let steps = self.depth() * (1 + sets) + most + 1;
        Words { roots: self.roots.iter().map(code).collect(), branches, leaves, weights, members, steps }
    }

    /// The most nodes on the way from a root to a leaf.
    fn depth(&self) -> usize {
        let mut depths = vec![None; self.branches.len()];
        let mut most = 0;
        for root in &self.roots {
            let mut path = vec![*root];
            while let Some(To::Node(n)) = path.last().copied() {
                let children = [self.branches[n].yes, self.branches[n].no];
                let known = |to: &To| match to {
                    To::Leaf(_) => Some(0),
                    To::Node(n) => depths[*n],
                };
                match children.iter().find(|c| known(c).is_none()) {
                    Some(open) => path.push(*open),
                    None => {
                        depths[n] = children.iter().filter_map(known).max().map(|d: usize| d + 1);
                        most = most.max(depths[n].unwrap_or(0));
                        path.pop();
                    }
                }
            }
        }
        most
    }

    /// The rows of input 0, which have all features that are looked at.
    fn rows(&self, cx: &InferCx<'_>) -> Result<usize> {
        let f = cx.shape(0)?.last().copied().unwrap_or(1);
        let feature = self.branches.iter().map(|b| b.feature).max().map_or(0, |m| m + 1);
        ensure!(feature <= f, InvalidNode, "feature {} of {f}", feature - 1);
        row_count(cx)
    }

    /// The sums for all rows of input 0, plus `base`, divided by `trees`: `[n, targets]`.
    fn lower(&self, cx: &mut LowerCx<'_>, base: &[f64], trees: usize) -> Result<View> {
        let x = cx.input(0)?;
        let f = x.shape.last().copied().unwrap_or(1);
        let n = x.numel().checked_div(f).unwrap_or(0);
        let rows = cx.temp(DType::F32, &[n, f])?;
        let flat = x.reshaped(&[n, f]).ok_or_else(|| err!(Unsupported, "rows of {:?}", x.shape))?;
        apply(cx, "cast", &[flat], &rows, |e, args| e.cast(&args[0], DType::F32))?;
        let sums = cx.temp(DType::F32, &[n, self.targets])?;
        trees::sums(cx, &self.words(), &rows, &sums)?;
        if base.is_empty() && trees == 1 {
            return Ok(sums);
        }
        let base: Vec<f32> = (0..self.targets).map(|t| base.get(t).copied().unwrap_or(0.0) as f32).collect();
        let (base, out) = (cx.constant(Tensor::vector(&base))?, cx.temp(DType::F32, &[n, self.targets])?);
        apply(cx, "base", &[sums, base], &out, |e, args| {
            Ok(e.expr(DType::F32, format!("{} / {:?} + {}", args[0].name, trees as f32, args[1].name)))
        })?;
        Ok(out)
    }

    fn leaf(&self, root: To, row: &[f64]) -> Result<usize> {
        let mut at = root;
        loop {
            match at {
                To::Leaf(l) => return Ok(l),
                To::Node(n) => {
                    let b = &self.branches[n];
                    let x = row
                        .get(b.feature)
                        .ok_or_else(|| err!(InvalidNode, "feature {} of {}", b.feature, row.len()))?;
                    at = if b.takes(*x) { b.yes } else { b.no };
                }
            }
        }
    }

    /// The aggregated weights of a row, and which targets any tree spoke of.
    fn scores(&self, row: &[f64], how: Aggregate, base: &[f64]) -> Result<Vec<f64>> {
        let mut sums: Vec<Option<f64>> = vec![None; self.targets];
        for root in &self.roots {
            for (target, weight) in &self.leaves[self.leaf(*root, row)?] {
                sums[*target] = Some(match (sums[*target], how) {
                    (None, _) => *weight,
                    (Some(s), Aggregate::Sum | Aggregate::Average) => s + weight,
                    (Some(s), Aggregate::Min) => s.min(*weight),
                    (Some(s), Aggregate::Max) => s.max(*weight),
                });
            }
        }
        let trees = if how == Aggregate::Average { self.roots.len().max(1) as f64 } else { 1.0 };
        Ok(sums
            .iter()
            .enumerate()
            .map(|(i, s)| s.unwrap_or(0.0) / trees + base.get(i).copied().unwrap_or(0.0))
            .collect())
    }
}

/// Rows of features: `[n, features]`, or one row.
fn rows(x: &Tensor) -> Result<(usize, usize, Vec<f64>)> {
    let values = if x.dtype().is_float() { x.to_f64s()? } else { x.to_i64s()?.into_iter().map(|v| v as f64).collect() };
    match x.shape() {
        [n, f] => Ok((*n, *f, values)),
        [f] => Ok((1, *f, values)),
        other => bail!(InvalidNode, "expected rows of features, got {other:?}"),
    }
}

fn row_count(cx: &InferCx<'_>) -> Result<usize> {
    match cx.shape(0)? {
        [n, _] => Ok(*n),
        [_] => Ok(1),
        other => bail!(InvalidNode, "expected rows of features, got {other:?}"),
    }
}

fn index(n: i64, what: &str) -> Result<usize> {
    usize::try_from(n).map_err(|_| err!(InvalidNode, "{what} {n}"))
}

// ---- TreeEnsemble ----

#[derive(Debug)]
struct Ensemble {
    forest: Forest,
    how: Aggregate,
    post: Post,
}

fn parse_ensemble(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    // statistics of training
    a.ignore("nodes_hitrates");
    let need_ints = |name: &str| a.ints(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"));
    let need_tensor = |name: &str| a.tensor(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"));
    let (modes, splits) = (need_tensor("nodes_modes")?.to_i64s()?, need_tensor("nodes_splits")?.to_f64s()?);
    let (features, yes, no) =
        (need_ints("nodes_featureids")?, need_ints("nodes_truenodeids")?, need_ints("nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (need_ints("nodes_trueleafs")?, need_ints("nodes_falseleafs")?);
    let missing = a.ints("nodes_missing_value_tracks_true")?.unwrap_or_else(|| vec![0; modes.len()]);
    let n = modes.len();
    let lists = [splits.len(), features.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len(), missing.len()];
    ensure!(lists.iter().all(|l| *l == n), InvalidNode, "lists of {lists:?} items for {n} nodes");
    let sets = a.tensor("membership_values")?.map(|t| t.to_f64s()).transpose()?.unwrap_or_default();
    let mut sets = sets.split(|v| v.is_nan());
    let mut branches = vec![];
    for i in 0..n {
        let mode = match modes[i] {
            0 => Mode::LessEqual,
            1 => Mode::Less,
            2 => Mode::GreaterEqual,
            3 => Mode::Greater,
            4 => Mode::Equal,
            5 => Mode::NotEqual,
            6 => Mode::Member,
            m => bail!(InvalidNode, "node mode {m}"),
        };
        let members = if mode == Mode::Member { sets.next().unwrap_or(&[]).to_vec() } else { vec![] };
        let to = |id: i64, leaf: i64| -> Result<To> {
            let id = index(id, "node")?;
            Ok(if leaf != 0 { To::Leaf(id) } else { To::Node(id) })
        };
        branches.push(Branch {
            feature: index(features[i], "feature")?,
            mode,
            value: splits[i],
            members,
            missing: missing[i] != 0,
            yes: to(yes[i], yes_leaf[i])?,
            no: to(no[i], no_leaf[i])?,
        });
    }
    let (ids, weights) = (need_ints("leaf_targetids")?, need_tensor("leaf_weights")?.to_f64s()?);
    let leaf = |(t, w): (&i64, &f64)| Ok(vec![(index(*t, "target")?, *w)]);
    let leaves: Vec<Vec<(usize, f64)>> = ids.iter().zip(&weights).map(leaf).collect::<Result<_>>()?;
    // a tree that is one leaf is said as a node whose branches are both that leaf
    let roots = need_ints("tree_roots")?.into_iter().map(|r| Ok(To::Node(index(r, "root")?))).collect::<Result<_>>()?;
    let most = leaves.iter().flatten().map(|(t, _)| t + 1).max().unwrap_or(1);
    let targets = a.int("n_targets")?.map_or(Ok(most), |n| index(n, "n_targets"))?;
    let how = match a.int_or("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => bail!(InvalidNode, "attribute aggregate_function is {other}"),
    };
    let post = Post::numbered(a.int_or("post_transform", 0)?)?;
    Ok(Arc::new(Ensemble { forest: Forest { roots, branches, leaves, targets }.check()?, how, post }))
}

impl Op for Ensemble {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(cx.dtype(0)?, [self.forest.rows(cx)?, self.forest.targets])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (n, f, v) = rows(x)?;
        let mut out = vec![];
        for r in 0..n {
            let mut scores = self.forest.scores(&v[r * f..(r + 1) * f], self.how, &[])?;
            self.post.apply(&mut scores);
            out.extend(scores);
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), [n, self.forest.targets], out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let trees = if self.how == Aggregate::Average { self.forest.roots.len().max(1) } else { 1 };
        let scores = self.forest.lower(cx, &[], trees)?;
        let out = cx.output(0)?;
        self.post.lower(cx, &scores, &out)
    }

    fn on_host(&self) -> bool {
        !self.post.has_gpu_form() || matches!(self.how, Aggregate::Min | Aggregate::Max)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 16.0 + k as f64)
    }
}

// ---- the forerunners ----

/// The lists `nodes_*`, and leaves that give weights to `{what}_ids`.
fn parse_forest(a: &AttrReader<'_>, what: &str, targets: usize) -> Result<Forest> {
    a.ignore("nodes_hitrates");
    a.ignore("nodes_hitrates_as_tensor");
    let ints = |name: &str| a.ints_or(name, vec![]);
    // of the later versions: doubles as tensors
    let floats = |name: &str| -> Result<Vec<f64>> {
        match a.tensor(&format!("{name}_as_tensor"))? {
            Some(t) => t.to_f64s(),
            None => Ok(a.floats_or(name, vec![])?.into_iter().map(f64::from).collect()),
        }
    };
    let (trees, nodes) = (ints("nodes_treeids")?, ints("nodes_nodeids")?);
    let (features, values, modes) =
        (ints("nodes_featureids")?, floats("nodes_values")?, a.strings_or("nodes_modes", vec![])?);
    let (yes, no) = (ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?);
    let n = trees.len();
    let missing = a.ints("nodes_missing_value_tracks_true")?.filter(|m| !m.is_empty()).unwrap_or_else(|| vec![0; n]);
    let lists = [nodes.len(), features.len(), values.len(), modes.len(), yes.len(), no.len(), missing.len()];
    ensure!(lists.iter().all(|l| *l == n), InvalidNode, "lists of {lists:?} items for {n} nodes");

    let mut places: HashMap<(i64, i64), To> = HashMap::new();
    let (mut branch_count, mut leaf_count) = (0, 0);
    for i in 0..n {
        let counter = if modes[i] == "LEAF" { &mut leaf_count } else { &mut branch_count };
        let to = if modes[i] == "LEAF" { To::Leaf(*counter) } else { To::Node(*counter) };
        *counter += 1;
        let fresh = places.insert((trees[i], nodes[i]), to).is_none();
        ensure!(fresh, InvalidNode, "node {} of tree {} comes twice", nodes[i], trees[i]);
    }
    let find = |tree: i64, node: i64| {
        places.get(&(tree, node)).copied().ok_or_else(|| err!(InvalidNode, "tree {tree} has no node {node}"))
    };
    let (mut branches, mut roots) = (vec![], vec![]);
    let mut children = std::collections::HashSet::new();
    for i in 0..n {
        let mode = match modes[i].as_str() {
            "BRANCH_LEQ" => Mode::LessEqual,
            "BRANCH_LT" => Mode::Less,
            "BRANCH_GTE" => Mode::GreaterEqual,
            "BRANCH_GT" => Mode::Greater,
            "BRANCH_EQ" => Mode::Equal,
            "BRANCH_NEQ" => Mode::NotEqual,
            "LEAF" => continue,
            other => bail!(InvalidNode, "node mode {other:?}"),
        };
        children.extend([(trees[i], yes[i]), (trees[i], no[i])]);
        branches.push(Branch {
            feature: index(features[i], "feature")?,
            mode,
            value: values[i],
            members: vec![],
            missing: missing[i] != 0,
            yes: find(trees[i], yes[i])?,
            no: find(trees[i], no[i])?,
        });
    }
    for i in 0..n {
        if !children.contains(&(trees[i], nodes[i])) {
            roots.push(find(trees[i], nodes[i])?);
        }
    }
    let mut leaves = vec![vec![]; leaf_count];
    let (in_trees, in_nodes, ids) =
        (ints(&format!("{what}_treeids"))?, ints(&format!("{what}_nodeids"))?, ints(&format!("{what}_ids"))?);
    let weights = floats(&format!("{what}_weights"))?;
    let lists = [in_trees.len(), in_nodes.len(), ids.len()];
    ensure!(
        lists.iter().all(|l| *l == weights.len()),
        InvalidNode,
        "lists of {lists:?} items for {} weights",
        weights.len()
    );
    for i in 0..weights.len() {
        let To::Leaf(leaf) = find(in_trees[i], in_nodes[i])? else {
            bail!(InvalidNode, "a weight for node {} of tree {}, which is no leaf", in_nodes[i], in_trees[i])
        };
        leaves[leaf].push((index(ids[i], "target")?, weights[i]));
    }
    Forest { roots, branches, leaves, targets }.check()
}

fn base_values(a: &AttrReader<'_>) -> Result<Vec<f64>> {
    match a.tensor("base_values_as_tensor")? {
        Some(t) => t.to_f64s(),
        None => Ok(a.floats_or("base_values", vec![])?.into_iter().map(f64::from).collect()),
    }
}

#[derive(Debug)]
struct Regressor {
    forest: Forest,
    how: Aggregate,
    post: Post,
    base: Vec<f64>,
}

fn parse_regressor(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let ids = a.ints_or("target_ids", vec![])?;
    let most = ids.iter().max().map_or(1, |m| m.saturating_add(1));
    let targets = index(a.int_or("n_targets", most)?, "n_targets")?;
    let how = match a.string_or("aggregate_function", "SUM".into())?.as_str() {
        "AVERAGE" => Aggregate::Average,
        "SUM" => Aggregate::Sum,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => bail!(InvalidNode, "attribute aggregate_function is {other:?}"),
    };
    let (forest, post, base) = (parse_forest(a, "target", targets)?, Post::read(a)?, base_values(a)?);
    Ok(Arc::new(Regressor { forest, how, post, base }))
}

impl Op for Regressor {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        one(DType::F32, [self.forest.rows(cx)?, self.forest.targets])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let mut out = vec![];
        for r in 0..n {
            let mut scores = self.forest.scores(&v[r * f..(r + 1) * f], self.how, &self.base)?;
            self.post.apply(&mut scores);
            out.extend(scores);
        }
        Ok(vec![Tensor::from_f64s(DType::F32, [n, self.forest.targets], out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let trees = if self.how == Aggregate::Average { self.forest.roots.len().max(1) } else { 1 };
        let scores = self.forest.lower(cx, &self.base, trees)?;
        let out = cx.output(0)?;
        self.post.lower(cx, &scores, &out)
    }

    fn on_host(&self) -> bool {
        !self.post.has_gpu_form() || matches!(self.how, Aggregate::Min | Aggregate::Max)
    }
}

#[derive(Debug)]
struct Classifier {
    forest: Forest,
    post: Post,
    base: Vec<f64>,
    labels: Labels,
    /// Two labels, and leaves that speak of one of them alone.
    binary: bool,
    /// No leaf's weight is negative: sums are probabilities.
    positive: bool,
}

fn parse_classifier(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let labels = Labels::read(a, "classlabels_int64s", "classlabels_strings")?;
    let (forest, post, base) = (parse_forest(a, "class", labels.len())?, Post::read(a)?, base_values(a)?);
    let mut spoken: Vec<usize> = forest.leaves.iter().flatten().map(|(t, _)| *t).collect();
    spoken.sort_unstable();
    spoken.dedup();
    let positive = forest.leaves.iter().flatten().all(|(_, w)| *w >= 0.0);
    let binary = labels.len() == 2 && spoken.len() == 1;
    Ok(Arc::new(Classifier { forest, post, base, labels, binary, positive }))
}

impl Classifier {
    fn base_of_the_second(&self) -> f64 {
        self.base.get(1).or(self.base.first()).copied().unwrap_or(0.0)
    }
}

impl Op for Classifier {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let n = self.forest.rows(cx)?;
        Ok(vec![TensorType::new(self.labels.dtype(), [n]), TensorType::new(DType::F32, [n, self.labels.len()])])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (n, f, v) = rows(need(inputs, 0)?)?;
        let (mut chosen, mut out) = (vec![], vec![]);
        for r in 0..n {
            let row = &v[r * f..(r + 1) * f];
            if self.binary {
                let sums = self.forest.scores(row, Aggregate::Sum, &[])?;
                let score = sums.iter().sum::<f64>() + self.base_of_the_second();
                chosen.push(usize::from(score > if self.positive { 0.5 } else { 0.0 }));
                out.extend(binary(self.post, score, self.positive));
            } else {
                let mut scores = self.forest.scores(row, Aggregate::Sum, &self.base)?;
                chosen.push(super::ml_scores::greatest(&scores));
                self.post.apply(&mut scores);
                out.extend(scores);
            }
        }
        Ok(vec![self.labels.pick(&chosen)?, Tensor::from_f64s(DType::F32, [n, self.labels.len()], out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        if !self.binary {
            let scores = self.forest.lower(cx, &self.base, 1)?;
            return lower_classes(cx, &scores, &self.labels, self.post, None);
        }
        let scores = self.forest.lower(cx, &[], 1)?;
        let n = scores.shape[0];
        let (all, one) = (cx.temp(DType::F32, &[n, 1])?, cx.temp(DType::F32, &[n, 1])?);
        reduce(cx, Fold::Sum, &scores, &[1], &all)?;
        let base = self.base_of_the_second() as f32;
        apply(cx, "base", &[all], &one, |e, args| Ok(e.expr(DType::F32, format!("{} + {base:?}", args[0].name))))?;
        let threshold = if self.positive { 0.5 } else { 0.0 };
        lower_classes(cx, &one, &self.labels, self.post, Some((threshold, self.positive)))
    }

    fn on_host(&self) -> bool {
        !self.post.has_gpu_form()
    }
}

// ---- cases ----

fn texts(values: &[&str]) -> Attr {
    Attr::Strs(values.iter().map(|s| s.to_string()).collect())
}

/// Two trees over three features: one of depth two, one of depth one.
fn two_trees(op: &'static str, what: &str) -> Case {
    Case::new(op, 3)
        .domain(ML)
        .rand(DType::F32, &[7, 3])
        .ints("nodes_treeids", &[0, 0, 0, 0, 0, 1, 1, 1])
        .ints("nodes_nodeids", &[0, 1, 2, 3, 4, 0, 1, 2])
        .ints("nodes_featureids", &[0, 2, 0, 0, 0, 1, 0, 0])
        .attr("nodes_values", Attr::Floats(vec![0.1, -0.3, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]))
        .attr("nodes_modes", texts(&["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]))
        .ints("nodes_truenodeids", &[1, 3, 0, 0, 0, 1, 0, 0])
        .ints("nodes_falsenodeids", &[2, 4, 0, 0, 0, 2, 0, 0])
        .ints(&format!("{what}_treeids"), &[0, 0, 0, 1, 1])
        .ints(&format!("{what}_nodeids"), &[2, 3, 4, 1, 2])
        .attr(&format!("{what}_weights"), Attr::Floats(vec![0.15, 0.55, 0.12, 0.3, 0.4]))
}

fn regressor_cases() -> Vec<Case> {
    let case = || two_trees("TreeEnsembleRegressor", "target").ints("target_ids", &[0, 1, 0, 1, 0]).int("n_targets", 2);
    let base = || Attr::Floats(vec![0.25, -0.5]);
    vec![
        case(),
        case().string("aggregate_function", "MAX"),
        case().string("aggregate_function", "AVERAGE").attr("base_values", base()),
        case().string("post_transform", "SOFTMAX"),
    ]
}

fn classifier_cases() -> Vec<Case> {
    let case = || two_trees("TreeEnsembleClassifier", "class");
    vec![
        case().ints("class_ids", &[0, 1, 2, 1, 0]).ints("classlabels_int64s", &[10, 20, 30]),
        case().ints("class_ids", &[0, 1, 2, 1, 0]).attr("classlabels_strings", texts(&["a", "b", "c"])),
        case().ints("class_ids", &[0; 5]).ints("classlabels_int64s", &[0, 1]),
        case().ints("class_ids", &[0; 5]).ints("classlabels_int64s", &[0, 1]).string("post_transform", "LOGISTIC"),
    ]
}

fn ensemble_cases() -> Vec<Case> {
    let bytes = |v: &[u8]| Attr::Tensor(Tensor::vector(v));
    let floats = |v: &[f32]| Attr::Tensor(Tensor::vector(v));
    let case = || {
        Case::new("TreeEnsemble", 5)
            .domain(ML)
            .rand(DType::F32, &[9, 2])
            .int("n_targets", 2)
            .ints("tree_roots", &[0, 1])
            .attr("nodes_modes", bytes(&[0, 6]))
            .ints("nodes_featureids", &[0, 1])
            .attr("nodes_splits", floats(&[0.2, 0.0]))
            .attr("membership_values", floats(&[1.0, -1.0, f32::NAN]))
            .ints("nodes_truenodeids", &[0, 2])
            .ints("nodes_falsenodeids", &[1, 0])
            .ints("nodes_trueleafs", &[1, 1])
            .ints("nodes_falseleafs", &[1, 1])
            .ints("leaf_targetids", &[0, 1, 0])
            .attr("leaf_weights", floats(&[0.5, 1.5, -2.0]))
    };
    vec![
        case(),
        case().int("aggregate_function", 0),
        case().int("aggregate_function", 2),
        case().int("post_transform", 1),
    ]
}
