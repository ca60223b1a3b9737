//! Cases of row and window kernels with elementwise operators around them.

use std::sync::Arc;

use super::epilogue::{COMPARED, GATED, RESIDUAL, SUFFIX, WIDE, body, case, ramp};
use super::fused::{self, chain};
use super::{Case, spelled};
use crate::dtype::DType::{self, BF16, F16, F32, I32, I64};
use crate::ir::{Attr, Graph, Node};
use crate::tensor::Tensor;

/// A chain behind a head: operators, and the numbers of the inputs that they read.
type Tail<'a> = &'a [(&'a str, &'a [usize])];

const FLOATS: [DType; 3] = [F32, F16, BF16];

/// Cases of one head whose result has shape `y`: `new` gives the head's inputs for a type, `more` operands and a tail.
/// `thin` is a shape that broadcasts to `y` along its channels.
fn around(
    all: &mut Vec<Case>,
    new: &dyn Fn(DType, usize, Tail<'_>) -> Case,
    types: &[DType],
    y: &[usize],
    thin: &[usize],
) {
    for d in types.iter().copied() {
        all.push(new(d, 1, RESIDUAL).rand(d, y));
        all.push(new(d, 1, RESIDUAL).constant(ramp(d, thin)));
        if d.is_float() {
            all.push(new(d, 2, GATED).rand(d, thin).constant(ramp(d, &[])));
        }
    }
    let d = types[0];
    // constants of one element take no bindings
    all.push((0..5).fold(new(d, 5, WIDE), |c, i| if i == 2 { c.rand(d, y) } else { c.constant(ramp(d, &[])) }));
    // the result is wider than the head's; more operands than are bound at once
    all.push(new(d, 1, RESIDUAL).rand(d, &[&[2], y].concat()));
    all.push((0..5).fold(new(d, 5, WIDE), |c, i| c.rand(d, if i % 2 == 0 { y } else { thin })));
}

pub(super) fn reduce_cases(name: &'static str) -> Vec<Case> {
    let head = name.strip_suffix(SUFFIX).unwrap_or(name);
    let positive = head.starts_with("ReduceLog") || head == "ReduceProd";
    let mut all = vec![];
    let make = |d: DType, x: &[usize], axes: &[i64], keep: i64, more, tail: Tail<'_>| {
        let c = case(name, &[("keepdims", Attr::Int(keep))], &[true; 2], more, tail);
        let c = if positive { c.range(d, x, 0.5, 1.5) } else { c.range(d, x, -1.0, 1.0) };
        c.constant(Tensor::vector(axes)).sum(axes.iter().map(|a| x[*a as usize]).product())
    };
    let kept = |d: DType, more: usize, tail: Tail<'_>| make(d, &[3, 5, 7], &[1], 1, more, tail);
    let gone = |d: DType, more: usize, tail: Tail<'_>| make(d, &[2, 4, 6, 3], &[1, 3], 0, more, tail);
    around(&mut all, &kept, &FLOATS, &[3, 1, 7], &[3, 1, 1]);
    around(&mut all, &gone, &[F32], &[2, 6], &[6]);
    all.push(make(F32, &[3, 4], &[0, 1], 0, 1, RESIDUAL).rand(F32, &[]));
    all.push(make(F32, &[3, 0], &[0], 1, 1, RESIDUAL).rand(F32, &[1, 0]));
    if !positive {
        // in parts
        all.push(make(F32, &[2, 9001], &[1], 0, 1, RESIDUAL).rand(F32, &[2]));
    }
    if ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"].contains(&head) {
        for d in [I32, I64] {
            let c = case(name, &[], &[true; 2], 1, RESIDUAL).range(d, &[3, 5, 2], 1.0, 3.0);
            all.push(c.constant(Tensor::vector(&[1i64])).rand(d, &[3, 1, 2]));
        }
    }
    all
}

pub(super) fn pool_cases(name: &'static str) -> Vec<Case> {
    let global = name.starts_with("Global");
    let attrs = [("kernel_shape", Attr::Ints(vec![3, 2])), ("pads", Attr::Ints(vec![1, 0, 1, 1]))];
    let attrs = if global { &[][..] } else { &attrs[..] };
    let (h, w) = if global { (1, 1) } else { (6, 7) };
    let new = |d: DType, more: usize, tail: Tail<'_>| {
        case(name, attrs, &[true], more, tail).range(d, &[2, 5, 6, 7], -1.0, 1.0).sum(if global { 42 } else { 6 })
    };
    let mut all = vec![];
    around(&mut all, &new, &FLOATS, &[2, 5, h, w], &[5, 1, 1]);
    all.push(new(F32, 1, RESIDUAL).rand(F32, &[2, 1, h, w]));
    if name.contains("Max") {
        all.push(new(F32, 1, COMPARED).rand(F32, &[5, 1, 1]));
    }
    all.push(case(name, attrs, &[true], 1, RESIDUAL).rand(F32, &[0, 2, 6, 7]).rand(F32, &[0, 2, h, w]));
    all
}

pub(super) fn norm_cases(name: &'static str) -> Vec<Case> {
    let head = name.strip_suffix(SUFFIX).unwrap_or(name);
    let (layer, bias) = (head.starts_with("Layer"), head != "RMSNormalization");
    let attrs = if head.starts_with("Group") { &[("num_groups", Attr::Int(2))][..] } else { &[][..] };
    let x: &[usize] = if bias && !layer { &[2, 4, 5, 7] } else { &[2, 5, 37] };
    let scale: &[usize] = if bias && !layer { &[4] } else { &[37] };
    let thin: &[usize] = if bias && !layer { &[4, 1, 1] } else { &[37] };
    let make = |d: DType, biased: bool, more: usize, tail: Tail<'_>| {
        let c = case(name, attrs, &[true, true, biased], more, tail).rand(d, x).constant(ramp(d, scale));
        if biased { c.constant(ramp(d, scale)) } else { c.absent() }.sum(70)
    };
    let mut all = vec![];
    around(&mut all, &|d, more, tail| make(d, bias, more, tail), &FLOATS, x, thin);
    if layer {
        all.push(make(F32, false, 1, RESIDUAL).rand(F32, x));
    }
    all
}

pub(super) fn spelled_cases() -> Vec<Case> {
    let name = "Spelled+Elementwise";
    let new = |d: DType, center: bool, more: usize, tail: Tail<'_>| {
        let [written, means] = spelled::normalisation(d, center).unwrap_or_default();
        let attrs = [("body", written), ("means", means)].map(|(k, g)| (k, Attr::Graph(Arc::new(g))));
        let body = spelled_body(&attrs, center, more, tail);
        let c = Case::new(name, 1).domain(fused::DOMAIN).attr("body", Attr::Graph(Arc::new(body)));
        let c = c.rand(d, &[2, 5, 37]).rand(d, &[37]);
        if center { c.rand(d, &[37]) } else { c.absent() }.sum(37)
    };
    let mut all = vec![];
    for center in [true, false] {
        around(&mut all, &|d, more, tail| new(d, center, more, tail), &FLOATS, &[2, 5, 37], &[37]);
    }
    all
}

/// As [`body`], with the inputs that a written normalisation has.
fn spelled_body(attrs: &[(&str, Attr)], center: bool, more: usize, tail: Tail<'_>) -> Graph {
    let present = [true, true, true];
    let mut made = body(spelled::NAME, attrs, &present[..2 + usize::from(center)], more, tail).unwrap_or_default();
    if let Some(head) = made.nodes.first_mut() {
        head.inputs.resize(3, None);
    }
    made
}

pub(super) fn softmax_cases(name: &'static str) -> Vec<Case> {
    let new = |d: DType, axis: i64, more: usize, tail: Tail<'_>| {
        case(name, &[("axis", Attr::Int(axis))], &[true], more, tail).rand(d, &[3, 5, 7])
    };
    let mut all = vec![];
    around(&mut all, &|d, more, tail| new(d, -1, more, tail), &FLOATS, &[3, 5, 7], &[5, 1]);
    all.push(new(F32, 1, 1, RESIDUAL).rand(F32, &[3, 5, 7]));
    all.push(case(name, &[], &[true], 1, RESIDUAL).rand(F32, &[2, 9001]).rand(F32, &[2, 1]).sum(9001));
    all
}

pub(super) fn resize_cases(name: &'static str) -> Vec<Case> {
    let (begun, ended) = (name.starts_with("Elementwise+"), name.ends_with(SUFFIX));
    let mut all = vec![];
    let make = |mode: &str, from: DType, d: DType, scales: &[f32], more: usize, tail: Tail<'_>| {
        let attrs = [("mode", Attr::Str(mode.into()))];
        let mut body = body("Resize", &attrs, &[true, false, true, false], more, tail).unwrap_or_default();
        if !ended {
            body.nodes.truncate(1);
            body.outputs = body.nodes.first().into_iter().flat_map(Node::used_outputs).collect();
        }
        if begun {
            let cast = chain(1, &[("Relu", &[])]).and_then(|mut g| {
                let to = ("to".to_string(), Attr::Int(d as i64));
                g.nodes[0].operator =
                    crate::ir::Operator::new("", "Cast", [to].into(), &super::NodeInfo::full(13, 1, 1))?;
                fused::operator(g)
            });
            if let (Ok(operator), Some(loaded)) = (cast, body.inputs.first().copied()) {
                let from = body.add_value("from", None);
                body.inputs[0] = from;
                let node =
                    Node { name: "start".into(), operator, inputs: vec![Some(from)], outputs: vec![Some(loaded)] };
                body.nodes.insert(0, node);
            }
        }
        let c = Case::new(name, 1).domain(fused::DOMAIN).attr("body", Attr::Graph(Arc::new(body)));
        c.rand(if begun { from } else { d }, &[1, 3, 5, 4]).absent().constant(Tensor::vector(scales)).absent()
    };
    let twice = [1.0, 1.0, 2.0, 2.0];
    let modes = if begun { &["linear", "cubic"][..] } else { &["linear", "nearest"][..] };
    for mode in modes {
        if ended {
            let new = |d: DType, more: usize, tail: Tail<'_>| make(mode, F16, d, &twice, more, tail);
            around(&mut all, &new, &FLOATS, &[1, 3, 10, 8], &[3, 1, 1]);
            all.push(make(mode, F16, F32, &[1.0, 1.0, 1.0, 1.5], 1, RESIDUAL).rand(F32, &[1, 3, 5, 6]));
            // nothing changes
            all.push(make(mode, F16, F32, &[1.0; 4], 1, RESIDUAL).rand(F32, &[1, 3, 5, 4]));
        } else {
            for (from, d) in [(F16, F32), (BF16, F32), (F32, F16), (I32, F32)] {
                all.push(make(mode, from, d, &twice, 0, &[]));
            }
            all.push(make(mode, F16, F32, &[1.0; 4], 0, &[]));
        }
    }
    if !begun {
        all.push(make("nearest", F16, I32, &twice, 1, RESIDUAL).rand(I32, &[1, 3, 10, 8]));
        all.push(make("nearest", F16, F32, &twice, 1, COMPARED).rand(F32, &[3, 1, 1]));
    }
    all
}

pub(super) fn gather_cases() -> Vec<Case> {
    let name = "Gather+Elementwise";
    let new = |d: DType, more: usize, tail: Tail<'_>| {
        let c = case(name, &[("axis", Attr::Int(1))], &[true; 2], more, tail);
        c.rand(d, &[3, 9, 4]).range(I64, &[2, 5], -9.0, 9.0)
    };
    let mut all = vec![];
    around(&mut all, &new, &[F32, F16, BF16, I32, I64], &[3, 2, 5, 4], &[5, 1]);
    all.push(new(F32, 1, COMPARED).rand(F32, &[4]));
    // what is picked is a view; what is read is known
    let known = |more| case(name, &[], &[true; 2], more, RESIDUAL);
    all.push(known(1).rand(F32, &[6, 4]).constant(Tensor::scalar(3i64)).rand(F32, &[4]));
    all.push(known(1).constant(ramp(F32, &[6, 4])).constant(Tensor::vector(&[3i64, 1])).rand(F32, &[2, 4]));
    all.push(known(1).constant(ramp(F32, &[6, 4])).range(I64, &[3], 0.0, 6.0).rand(F32, &[3, 4]));
    all
}
