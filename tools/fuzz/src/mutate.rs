//! Changes to inputs: of bytes, and of models whose messages stay whole.

use onnx_proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use shadernet::Rng;

/// Numbers at which code goes wrong.
const EDGES: &[i64] = &[
    0, 1, -1, 2, -2, 3, 7, 8, 16, 127, 128, 255, 256, -128, 32_767, 65_535, 65_536, 1 << 20, i32::MAX as i64,
    i32::MIN as i64, 1 << 31, 1 << 32, 1 << 33, 1 << 40, 1 << 62, i64::MAX, i64::MIN, i64::MIN + 1, i64::MAX - 1,
];

/// A number below `n` (0 where that is 0).
pub fn below(rng: &mut Rng, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

fn pick<'a, T>(rng: &mut Rng, all: &'a mut [T]) -> Option<&'a mut T> {
    let i = below(rng, all.len());
    all.get_mut(i)
}

/// A few changes of bytes, some with parts of `other`.
pub fn bytes(data: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..1 + below(rng, 6) {
        let at = below(rng, data.len());
        let len = (1 + below(rng, 16)).min(data.len() - at.min(data.len()));
        match below(rng, 7) {
            0 if !data.is_empty() => data[at] ^= 1 << below(rng, 8),
            1 if !data.is_empty() => data[at] = rng.next_u64() as u8,
            2 => drop(data.drain(at..at + len)),
            3 => {
                let copy = data[at..at + len].to_vec();
                data.splice(at..at, copy);
            }
            4 if !other.is_empty() => {
                let from = below(rng, other.len());
                let part = &other[from..(from + 1 + below(rng, 64)).min(other.len())];
                data.splice(at..at + len, part.iter().copied());
            }
            5 => {
                let edge = EDGES[below(rng, EDGES.len())].to_le_bytes();
                let n = [1, 2, 4, 8][below(rng, 4)].min(len);
                data.splice(at..at + n, edge[..n].iter().copied());
            }
            _ => data.truncate(at + len),
        }
    }
}

/// A few changes within a model.
pub fn model(m: &mut ModelProto, rng: &mut Rng) {
    for _ in 0..1 + below(rng, 4) {
        if below(rng, 12) == 0
            && let Some(o) = pick(rng, &mut m.opset_import)
        {
            o.version = Some(below(rng, 30) as i64);
        } else if below(rng, 6) == 0
            && let Some(f) = pick(rng, &mut m.functions)
        {
            nodes(&mut f.node, rng);
        } else if let Some(g) = &mut m.graph {
            graph(g, rng);
        }
    }
}

fn graph(g: &mut GraphProto, rng: &mut Rng) {
    match below(rng, 8) {
        0 | 1 => {
            if let Some(t) = pick(rng, &mut g.initializer) {
                tensor(t, rng);
            }
        }
        2 => {
            // an input becomes a constant: then shapes may depend on its data
            if !g.input.is_empty() {
                let v = g.input.remove(below(rng, g.input.len()));
                let kinds = [1, 6, 7, 9, 10, 11];
                let dims: Vec<i64> = (0..below(rng, 3)).map(|_| below(rng, 4) as i64).collect();
                let t = TensorProto { name: v.name, data_type: Some(kinds[below(rng, 6)]), dims, ..Default::default() };
                g.initializer.push(filled(t, rng));
            }
        }
        3 => {
            if let Some(v) = pick(rng, &mut g.input) {
                use onnx_proto::type_proto::Value::TensorType;
                if let Some(TensorType(t)) = v.r#type.as_mut().and_then(|t| t.value.as_mut()) {
                    match below(rng, 3) {
                        0 => t.elem_type = Some(below(rng, 26) as i32),
                        _ => {
                            if let Some(d) = t.shape.as_mut().and_then(|s| pick(rng, &mut s.dim)) {
                                d.value = Some(onnx_proto::tensor_shape_proto::dimension::Value::DimValue(below(rng, 6) as i64));
                            }
                        }
                    }
                }
            }
        }
        _ => nodes(&mut g.node, rng),
    }
}

fn nodes(all: &mut Vec<NodeProto>, rng: &mut Rng) {
    let names: Vec<String> = all.iter().flat_map(|n| n.input.iter().chain(&n.output)).cloned().collect();
    let other = all.get(below(rng, all.len())).cloned();
    let Some(n) = pick(rng, all) else { return };
    match below(rng, 10) {
        0..=4 => {
            if let Some(a) = pick(rng, &mut n.attribute) {
                attribute(a, rng);
            }
        }
        5 => {
            if let Some(i) = pick(rng, &mut n.input) {
                *i = names.get(below(rng, names.len())).cloned().unwrap_or_default();
            }
        }
        6 => drop(n.input.pop()),
        7 => drop(n.attribute.pop()),
        8 => {
            if let Some(o) = other {
                n.op_type = o.op_type;
                n.domain = o.domain;
            }
        }
        _ => {
            let ops: Vec<_> = shadernet::ops::all().collect();
            let op = ops[below(rng, ops.len())];
            (n.op_type, n.domain) = (Some(op.name.into()), Some(op.domain.into()));
        }
    }
}

fn attribute(a: &mut AttributeProto, rng: &mut Rng) {
    let edge = EDGES[below(rng, EDGES.len())];
    if a.i.is_some() {
        a.i = Some(edge);
    } else if a.f.is_some() {
        let floats = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0, edge as f32];
        a.f = Some(floats[below(rng, floats.len())]);
    } else if !a.ints.is_empty() {
        match below(rng, 4) {
            0 => drop(a.ints.pop()),
            1 => a.ints.push(edge),
            _ => {
                if let Some(i) = pick(rng, &mut a.ints) {
                    *i = edge;
                }
            }
        }
    } else if let Some(s) = &mut a.s {
        bytes(s, b"", rng);
    } else if let Some(t) = &mut a.t {
        tensor(t, rng);
    } else if let Some(g) = &mut a.g {
        graph(g, rng);
    } else {
        bytes_of_floats(&mut a.floats, rng);
    }
}

fn bytes_of_floats(all: &mut Vec<f32>, rng: &mut Rng) {
    match below(rng, 3) {
        0 => drop(all.pop()),
        1 => all.push(f32::NAN),
        _ => {
            if let Some(f) = pick(rng, all) {
                *f = EDGES[below(rng, EDGES.len())] as f32;
            }
        }
    }
}

fn tensor(t: &mut TensorProto, rng: &mut Rng) {
    let edge = EDGES[below(rng, EDGES.len())];
    match below(rng, 6) {
        0 => {
            if let Some(d) = pick(rng, &mut t.dims) {
                *d = edge;
            }
        }
        1 => t.data_type = Some(below(rng, 28) as i32),
        2 => t.raw_data = None,
        3 => *t = filled(std::mem::take(t), rng),
        _ => {
            if let Some(raw) = &mut t.raw_data {
                let mut data = raw.to_vec();
                let at = below(rng, data.len() / 8 + 1) * 8;
                if let Some(place) = data.get_mut(at..at + 8) {
                    place.copy_from_slice(&edge.to_le_bytes());
                }
                *raw = data.into();
            } else if let Some(i) = pick(rng, &mut t.int64_data) {
                *i = edge;
            }
        }
    }
}

/// The tensor with data that fits its type and extents, if those are small.
fn filled(t: TensorProto, rng: &mut Rng) -> TensorProto {
    let count = t.dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d)).filter(|n| (0..4096).contains(n));
    let (Some(count), Some(dtype)) = (count, shadernet::DType::from_onnx(t.data_type())) else { return t };
    let edge = |rng: &mut Rng| EDGES[below(rng, 12)];
    let shape: Vec<usize> = t.dims.iter().map(|d| *d as usize).collect();
    let values: Vec<i128> = (0..count).map(|_| i128::from(edge(rng))).collect();
    match shadernet::Tensor::from_i128s(dtype, shape, values) {
        Ok(made) => shadernet::import::tensor_to_proto(t.name(), &made),
        Err(_) => t,
    }
}
