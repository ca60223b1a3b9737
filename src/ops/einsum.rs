//! Einsum: sums of products named by labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::infer::one;
use super::matmul::product_tolerance;
use super::quant::apply;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, BF16, F16, F32, F64, I8, I16, I32, I64, U8, U32, U64};
use crate::ir::AttrReader;
use crate::kernels::matmul::{Product, Right, product};
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "Einsum", versions: &[12, 28], parse, cases }];

/// One dim of a term: a letter, or the dims that an ellipsis stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Letter(char),
    Ellipsis,
}

#[derive(Debug)]
struct Einsum {
    terms: Vec<Vec<Part>>,
    /// `None`: the letters that come once, in alphabetical order, after the ellipsis.
    output: Option<Vec<Part>>,
}

fn term(text: &str) -> Result<Vec<Part>> {
    let mut parts = vec![];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            ensure!(!parts.contains(&Part::Ellipsis), InvalidNode, "two ellipses in term {text:?}");
            parts.push(Part::Ellipsis);
            rest = after;
        } else {
            ensure!(c.is_ascii_alphabetic(), InvalidNode, "{c:?} in term {text:?}");
            parts.push(Part::Letter(c));
            rest = &rest[1..];
        }
    }
    Ok(parts)
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let Some(equation) = a.string("equation")? else { bail!(InvalidNode, "attribute equation is missing") };
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l, Some(term(r)?)),
        None => (text.as_str(), None),
    };
    Ok(Arc::new(Einsum { terms: left.split(',').map(term).collect::<Result<_>>()?, output: right }))
}

/// Products that the reference adds up, of all elements and of one.
const TERMS: u64 = 1 << 40;
const INNER: usize = 1 << 26;

/// A label: the letter's code, or beyond all letters the place of an ellipsis' dim, counted from its end.
type Label = u32;

fn dot(place_from_end: usize) -> Label {
    0x1000 + place_from_end as u32
}

/// The equation with its labels given extents.
#[derive(Debug)]
struct Labels {
    terms: Vec<Vec<Label>>,
    output: Vec<Label>,
    extents: BTreeMap<Label, usize>,
}

impl Labels {
    fn shape(&self, labels: &[Label]) -> Vec<usize> {
        labels.iter().map(|l| self.extents.get(l).copied().unwrap_or(1)).collect()
    }
}

impl Einsum {
    fn labels(&self, shapes: &[&[usize]]) -> Result<Labels> {
        let count = self.terms.len();
        ensure!(shapes.len() == count, InvalidNode, "{count} terms for {} inputs", shapes.len());
        let mut extents = BTreeMap::new();
        let mut terms = vec![];
        let mut widest = 0;
        for (term, s) in self.terms.iter().zip(shapes) {
            let letters = term.iter().filter(|p| **p != Part::Ellipsis).count();
            let dots = s.len().checked_sub(letters);
            let exact = term.len() != letters || dots == Some(0);
            let Some(dots) = dots.filter(|_| exact) else { bail!(InvalidNode, "{letters} labels for shape {s:?}") };
            widest = widest.max(dots);
            let expand = |p: &Part| match p {
                Part::Letter(c) => vec![*c as Label],
                Part::Ellipsis => (0..dots).rev().map(dot).collect(),
            };
            let labels: Vec<Label> = term.iter().flat_map(expand).collect();
            for (l, d) in labels.iter().zip(s.iter()) {
                let known = extents.entry(*l).or_insert(*d);
                if *known == 1 {
                    *known = *d;
                }
                ensure!(*d == 1 || *d == *known, InvalidNode, "a label is {d} long in {s:?}, {known} elsewhere");
            }
            terms.push(labels);
        }
        let dots = (0..widest).rev().map(dot);
        let output: Vec<Label> = match &self.output {
            Some(parts) => {
                let expand = |p: &Part| match p {
                    Part::Letter(c) => vec![*c as Label],
                    Part::Ellipsis => dots.clone().collect(),
                };
                parts.iter().flat_map(expand).collect()
            }
            None => {
                let times = |l: &Label| terms.iter().flatten().filter(|t| *t == l).count();
                dots.chain(extents.keys().copied().filter(|l| *l < dot(0) && times(l) == 1)).collect()
            }
        };
        for (i, l) in output.iter().enumerate() {
            let fits = extents.contains_key(l) && !output[..i].contains(l);
            ensure!(fits, InvalidNode, "a label of the output is unknown or comes twice");
        }
        Ok(Labels { terms, output, extents })
    }
}

fn check_type(d: DType) -> Result<()> {
    ensure!(d.is_int() || matches!(d, F32 | F64 | F16 | BF16), Unsupported, "Einsum of {d}");
    Ok(())
}

/// `Σ Π` over all coordinates of output and summed labels. `strides` of each operand follow `extents`, of which the
/// first `outer` make the output.
fn sum_products<T: Copy>(
    data: &[Vec<T>],
    strides: &[Vec<usize>],
    extents: &[usize],
    outer: usize,
    [zero, unit]: [T; 2],
    add: fn(T, T) -> T,
    mul: fn(T, T) -> T,
) -> Vec<T> {
    let signed = |s: &[usize]| s.iter().map(|x| *x as isize).collect::<Vec<_>>();
    let (out, inner) = extents.split_at(outer);
    let starts: Vec<Vec<usize>> =
        strides.iter().map(|s| shape::strided_indices(out, &signed(&s[..outer]), 0)).collect();
    let steps: Vec<Vec<usize>> =
        strides.iter().map(|s| shape::strided_indices(inner, &signed(&s[outer..]), 0)).collect();
    let term = |o: usize, i: usize| (0..data.len()).fold(unit, |p, t| mul(p, data[t][starts[t][o] + steps[t][i]]));
    let sum = |o: usize| (0..shape::numel(inner)).fold(zero, |s, i| add(s, term(o, i)));
    (0..shape::numel(out)).map(sum).collect()
}

impl Op for Einsum {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let shapes: Vec<&[usize]> = (0..cx.len()).map(|i| cx.shape(i)).collect::<Result<_>>()?;
        let d = cx.dtype(0)?;
        check_type(d)?;
        for i in 1..cx.len() {
            if cx.dtype(i)? != d {
                return Err(err!(InvalidNode, "expected one element type, got {d} and {}", cx.dtype(i)?).into());
            }
        }
        let labels = self.labels(&shapes)?;
        one(d, labels.shape(&labels.output))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all: Option<Vec<&Tensor>> = inputs.iter().copied().collect();
        let Some(all) = all.filter(|a| !a.is_empty()) else { bail!(InvalidNode, "an input is missing") };
        let shapes: Vec<&[usize]> = all.iter().map(|t| t.shape()).collect();
        let labels = self.labels(&shapes)?;
        let mut order = labels.output.clone();
        order.extend(labels.extents.keys().filter(|l| !labels.output.contains(l)));
        let strides: Vec<Vec<usize>> = labels
            .terms
            .iter()
            .zip(&shapes)
            .map(|(term, s)| {
                let dense = shape::strides(s);
                let step = |l: &Label| (0..s.len()).filter(|d| term[*d] == *l && s[*d] != 1).map(|d| dense[d]).sum();
                order.iter().map(step).collect()
            })
            .collect();
        let (extents, outer) = (labels.shape(&order), labels.output.len());
        let (terms, inner) = (shape::numel(&extents), shape::numel(&extents[outer..]));
        ensure!(terms as u64 <= TERMS && inner <= INNER, Limit, "{terms} products of {inner} for each element");
        let (d, out) = (all[0].dtype(), labels.shape(&labels.output));
        if d.is_float() {
            let data: Vec<Vec<f64>> = all.iter().map(|t| t.to_f64s()).collect::<Result<_>>()?;
            let y = sum_products(&data, &strides, &extents, outer, [0.0, 1.0], |a, b| a + b, |a, b| a * b);
            return Ok(vec![Tensor::from_f64s(d, out, y)?]);
        }
        let data: Vec<Vec<i128>> = all.iter().map(|t| t.to_i128s()).collect::<Result<_>>()?;
        let y = sum_products(&data, &strides, &extents, outer, [0, 1], i128::wrapping_add, i128::wrapping_mul);
        Ok(vec![Tensor::from_i128s(d, out, y)?])
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        product_tolerance(dtype, k)
    }

    /// Two operands at a time, left to right: each pair is a stack of matrix products over permuted views.
    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let views: Vec<View> = (0..cx.input_count()).map(|i| cx.input(i)).collect::<Result<_>>()?;
        let shapes: Vec<&[usize]> = views.iter().map(|v| &v.shape[..]).collect();
        let labels = self.labels(&shapes)?;
        let t = cx.output_type(0)?;
        // sums of narrow floats are rounded once, at the end
        let work = if t.dtype.is_float() && t.dtype != F64 { F32 } else { t.dtype };
        let mut operands: Vec<Operand> = views.iter().zip(&labels.terms).map(|(v, l)| Operand::new(v, l)).collect();
        let last = operands.len() - 1;
        let mut done = operands.remove(0);
        for i in 0..=last {
            let mut keep = labels.output.clone();
            keep.extend(operands.iter().flat_map(|o| o.labels.iter().copied()));
            if i == 0 {
                let out = if last == 0 { t.dtype } else { work };
                done = done.summed(cx, &keep, out)?;
                continue;
            }
            let mut next = operands.remove(0);
            let mut beyond = labels.output.clone();
            beyond.extend(operands.iter().flat_map(|o| o.labels.iter().copied()));
            let here: Vec<Label> = beyond.iter().chain(&done.labels).copied().collect();
            next = next.summed(cx, &here, work)?;
            done = contract(cx, &done, &next, &beyond, if i == last { t.dtype } else { work })?;
        }
        let view = done.ordered(&labels.output, &t.shape)?;
        if view.dtype == t.dtype {
            return cx.alias(0, view);
        }
        bail!(Internal, "Einsum made {}", view.tensor_type())
    }
}

/// A view with a label for each dim; no label twice, no extents of 1.
#[derive(Debug, Clone)]
struct Operand {
    view: View,
    labels: Vec<Label>,
}

impl Operand {
    /// Labels that come twice become the diagonal; extents of 1 go.
    fn new(v: &View, labels: &[Label]) -> Operand {
        let mut out = Operand { view: View { shape: vec![], strides: vec![], ..v.clone() }, labels: vec![] };
        for (d, l) in labels.iter().enumerate().filter(|(d, _)| v.shape[*d] != 1) {
            match out.labels.iter().position(|x| x == l) {
                Some(at) => out.view.strides[at] += v.strides[d],
                None => {
                    out.labels.push(*l);
                    out.view.shape.push(v.shape[d]);
                    out.view.strides.push(v.strides[d]);
                }
            }
        }
        out
    }

    /// The view with its dims in the order of `labels`, which all must be there.
    fn permuted(&self, labels: &[Label]) -> View {
        let perm: Vec<usize> = labels.iter().filter_map(|l| self.labels.iter().position(|x| x == l)).collect();
        self.view.permuted(&perm)
    }

    /// The view in the order of `labels` and of `shape`; repeated where a label is missing.
    fn ordered(&self, labels: &[Label], shape: &[usize]) -> Result<View> {
        let mut v = View { shape: shape.to_vec(), strides: vec![0; shape.len()], ..self.view.clone() };
        for (l, s) in self.labels.iter().zip(&self.view.strides) {
            let at = labels.iter().position(|x| x == l);
            let at = at.ok_or_else(|| err!(Internal, "a label is left over"))?;
            v.strides[at] = *s;
        }
        Ok(v)
    }

    /// Without the labels that are not in `keep`, summed over.
    fn summed(self, cx: &mut LowerCx<'_>, keep: &[Label], to: DType) -> Result<Operand> {
        let (kept, gone): (Vec<Label>, Vec<Label>) = self.labels.iter().partition(|l| keep.contains(l));
        if gone.is_empty() {
            return Ok(self);
        }
        let unit = Tensor::from_f64s(self.view.dtype, [1, 1], vec![1.0])?;
        let v = self.permuted(&[&kept[..], &gone[..]].concat());
        let (rows, k) = (v.shape[..kept.len()].to_vec(), shape::numel(&v.shape[kept.len()..]));
        // the last label that stays runs along the rows of the product
        let a = [&rows[..], if rows.is_empty() { &[1] } else { &[] }, &[k]].concat();
        let a = fitted(cx, &v, &a)?;
        let batch = a.shape[..a.rank() - 2].to_vec();
        let b = cx.constant(unit)?.broadcast(&[&batch[..], &[k, 1]].concat());
        let out = cx.temp(to, &rows)?;
        let whole = [&a.shape[..a.rank() - 1], &[1]].concat();
        let target = fitted(cx, &out, &whole)?;
        product(cx, &Product::new(a, Right::View(b), target))?;
        Ok(Operand { view: out, labels: kept })
    }
}

/// `v` under another shape, copied where strides cannot say so.
pub(super) fn fitted(cx: &mut LowerCx<'_>, v: &View, to: &[usize]) -> Result<View> {
    if let Some(v) = v.reshaped(to) {
        return Ok(v);
    }
    let dense = cx.dense(v)?;
    dense.reshaped(to).ok_or_else(|| err!(Internal, "{:?} is not {to:?}", v.shape))
}

/// The product of two operands, summed over the labels that both have and `keep` has not.
fn contract(cx: &mut LowerCx<'_>, a: &Operand, b: &Operand, keep: &[Label], to: DType) -> Result<Operand> {
    let shared = |l: &Label| a.labels.contains(l) && b.labels.contains(l);
    let (batch, k): (Vec<Label>, Vec<Label>) = a.labels.iter().filter(|l| shared(l)).partition(|l| keep.contains(l));
    let m: Vec<Label> = a.labels.iter().copied().filter(|l| !shared(l)).collect();
    let n: Vec<Label> = b.labels.iter().copied().filter(|l| !shared(l)).collect();
    let va = a.permuted(&[&batch[..], &m, &k].concat());
    let vb = b.permuted(&[&batch[..], &k, &n].concat());
    let stack = va.shape[..batch.len()].to_vec();
    let shape_m = va.shape[batch.len()..batch.len() + m.len()].to_vec();
    let shape_n = vb.shape[batch.len() + k.len()..].to_vec();
    let labels = [&batch[..], &m, &n].concat();
    let out = cx.temp(to, &[&stack[..], &shape_m, &shape_n].concat())?;
    if k.is_empty() {
        let views = [a.ordered(&labels, &out.shape)?, b.ordered(&labels, &out.shape)?];
        apply(cx, &views, &out, |e, args| {
            let wide = if to.is_float() && to != F64 { F32 } else { to };
            let (x, y) = (e.cast(&args[0], wide)?, e.cast(&args[1], wide)?);
            let xy = e.call(wide, "mul", &[&x, &y])?;
            e.cast(&xy, to)
        })?;
        return Ok(Operand { view: out, labels });
    }
    let [rows, columns, depth] =
        [shape::numel(&shape_m), shape::numel(&shape_n), shape::numel(&va.shape[batch.len() + m.len()..])];
    let va = fitted(cx, &va, &[&stack[..], &[rows, depth]].concat())?;
    let vb = fitted(cx, &vb, &[&stack[..], &[depth, columns]].concat())?;
    let target = fitted(cx, &out, &[&stack[..], &[rows, columns]].concat())?;
    product(cx, &Product::new(va, Right::View(vb), target))?;
    Ok(Operand { view: out, labels })
}

fn cases() -> Vec<Case> {
    let case = |d: DType, equation: &str, shapes: &[&[usize]], k: usize| {
        shapes.iter().fold(Case::new("Einsum", 28).string("equation", equation), |c, s| c.rand(d, s)).sum(k)
    };
    let mut all: Vec<Case> = [
        ("ij->ji", vec![&[3usize, 4] as &[usize]], 1),
        ("ii->i", vec![&[5, 5]], 1),
        ("ii", vec![&[5, 5]], 5),
        ("ij->i", vec![&[3, 40]], 40),
        ("ij->", vec![&[3, 40]], 120),
        ("ij->j", vec![&[30, 4]], 30),
        ("...ii->...i", vec![&[2, 3, 4, 4]], 1),
        ("...ij->...", vec![&[2, 3, 4, 5]], 20),
        ("->", vec![&[]], 1),
        (",ij->ij", vec![&[], &[2, 3]], 1),
        ("ij,jk", vec![&[3, 4], &[4, 5]], 4),
        ("ij,jk->ki", vec![&[13, 8], &[8, 17]], 8),
        ("bij,bjk->bik", vec![&[2, 3, 8], &[2, 8, 12]], 8),
        ("bshd,bthd->bhst", vec![&[2, 5, 3, 8], &[2, 7, 3, 8]], 8),
        ("bhst,bthd->bshd", vec![&[2, 3, 5, 7], &[2, 7, 3, 8]], 7),
        ("i,i", vec![&[9], &[9]], 9),
        ("i,j->ij", vec![&[3], &[4]], 1),
        ("bij,bij->bij", vec![&[2, 3, 4], &[2, 3, 4]], 1),
        ("abc,cd->abd", vec![&[2, 3, 4], &[4, 5]], 4),
        ("ij,kl->jl", vec![&[2, 3], &[4, 5]], 8),
        ("iij,jkk->ik", vec![&[2, 2, 3], &[3, 4, 4]], 3),
        ("ijkl,klmn->nmji", vec![&[2, 3, 4, 5], &[4, 5, 3, 2]], 20),
        ("ikjl,lmkn->mnij", vec![&[2, 4, 3, 5], &[5, 3, 4, 2]], 20),
        ("...ij,...jk->...ik", vec![&[2, 1, 3, 4], &[5, 4, 6]], 4),
        ("i...,...j->ij...", vec![&[3, 4, 5], &[4, 5, 6]], 1),
        ("ij,jk,kl->il", vec![&[2, 3], &[3, 4], &[4, 5]], 12),
        ("ij,ik,il->jkl", vec![&[7, 2], &[7, 3], &[7, 4]], 7),
        ("bn,anm,bm->ba", vec![&[2, 5], &[3, 5, 7], &[2, 7]], 35),
        ("ij,jk->ik", vec![&[3, 1], &[4, 5]], 4),
        ("ij,jk->ik", vec![&[3, 0], &[0, 5]], 1),
        ("ij,jk->ik", vec![&[0, 3], &[3, 5]], 3),
        ("Ab, bA -> A", vec![&[3, 4], &[4, 3]], 4),
    ]
    .iter()
    .map(|(e, s, k)| case(F32, e, s, *k))
    .collect();
    for d in [F16, BF16, F64, I8, U8, I16, I32, U32, I64, U64] {
        all.push(case(d, "ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 5]], 12));
        all.push(case(d, "bij->bj", &[&[2, 9, 5]], 9));
        all.push(case(d, "i,j->ij", &[&[3], &[4]], 1));
        all.push(case(d, "ij->ji", &[&[3, 4]], 1));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn einsum(equation: &str, inputs: &[&Tensor]) -> Result<Tensor> {
        let mut attrs = crate::ir::Attrs::new();
        attrs.insert("equation".into(), crate::ir::Attr::Str(equation.into()));
        let op = super::super::parse("", "Einsum", &attrs, &NodeInfo::full(12, inputs.len(), 1))?;
        let inputs: Vec<_> = inputs.iter().map(|t| Some(*t)).collect();
        Ok(op.eval(&inputs)?.remove(0))
    }

    #[test]
    fn labels_name_sums_and_diagonals() {
        let x = Tensor::new([2, 2], vec![1i32, 2, 3, 4]).unwrap();
        assert_eq!(einsum("ii->i", &[&x]).unwrap().to_vec::<i32>().unwrap(), [1, 4]);
        assert_eq!(einsum("ii", &[&x]).unwrap().to_vec::<i32>().unwrap(), [5]);
        assert_eq!(einsum("ba", &[&x]).unwrap().to_vec::<i32>().unwrap(), [1, 3, 2, 4]);
        assert_eq!(einsum("ij,jk", &[&x, &x]).unwrap().to_vec::<i32>().unwrap(), [7, 10, 15, 22]);
        assert_eq!(einsum("...j->...", &[&x]).unwrap().to_vec::<i32>().unwrap(), [3, 7]);
    }

    #[test]
    fn wrong_equations_are_errors() {
        let x = Tensor::zeros(F32, [2, 3]);
        for e in ["ii", "ijk", "i", "ij->k", "ij->ii", "i1", "......", "ij,jk"] {
            assert!(einsum(e, &[&x]).is_err(), "{e}");
        }
    }
}
