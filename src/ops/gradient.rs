//! Gradient of ai.onnx.preview.training, by reverse-mode differentiation of a part of the graph.

use std::collections::HashMap;
use std::sync::Arc;

use super::body::{Body, Defined, Function};
use super::{Case, Defer, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType;
use crate::import::FUNCTION;
use crate::ir::{Attr, AttrReader, Graph, Node, ValueId};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] =
    &[OpDef { domain: "ai.onnx.preview.training", name: "Gradient", versions: &[1], parse, cases: Vec::<Case>::new }];

/// The derivatives of the sum of `y`'s elements by each of `xs`. The inputs are the values of `xs`, those of `zs`, and
/// what else the function uses.
#[derive(Debug)]
struct Gradient {
    function: Arc<Graph>,
    xs: usize,
}

fn parse(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let xs = a.strings("xs")?.ok_or_else(|| err!(InvalidNode, "attribute xs is missing"))?.len();
    for name in ["y", "zs"] {
        // the importer has made the function from them
        a.ignore(name);
    }
    let function = a.graph(FUNCTION)?.ok_or_else(|| err!(InvalidNode, "there is no graph to differentiate"))?;
    ensure!(n.outputs.len() <= xs, InvalidNode, "{} outputs for {xs} variables", n.outputs.len());
    Ok(Arc::new(Defined(Gradient { function, xs })))
}

impl Function for Gradient {
    fn define(&self, b: &mut Body<'_>) -> Result<Vec<ValueId>, Defer> {
        let mut at: HashMap<ValueId, ValueId> = HashMap::new();
        for (i, v) in self.function.inputs.iter().enumerate() {
            at.insert(*v, b.need(i)?);
        }
        for (v, value) in self.function.values() {
            if let Some(c) = &value.constant {
                at.insert(v, b.constant(c.clone()));
            }
        }
        for node in &self.function.nodes {
            let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|v| at.get(&(*v)?).copied()).collect();
            let made = b.node(&node.operator, &inputs, node.outputs.len())?;
            at.extend(node.outputs.iter().zip(made).filter_map(|(v, m)| Some(((*v)?, m))));
        }
        let [y] = self.function.outputs[..] else { return Err(err!(Internal, "a function has one value").into()) };
        let mut slopes: HashMap<ValueId, ValueId> = HashMap::new();
        let one = like(b, at[&y], 1.0)?;
        slopes.insert(y, one);
        for node in self.function.nodes.iter().rev() {
            let Some(slope) = node.outputs.first().copied().flatten().and_then(|v| slopes.get(&v).copied()) else {
                continue;
            };
            let terms = terms(b, &self.function, node, &at, slope).map_err(|e| e.in_node(node.path()))?;
            for (v, term) in node.inputs.iter().zip(terms) {
                let (Some(v), Some(term)) = (*v, term) else { continue };
                let sum = match slopes.get(&v) {
                    Some(other) => b.op("Add", &[*other, term])?,
                    None => term,
                };
                slopes.insert(v, sum);
            }
        }
        let mut out = vec![];
        for v in &self.function.inputs[..self.xs] {
            out.push(match slopes.get(v) {
                Some(slope) => *slope,
                None => like(b, at[v], 0.0)?,
            });
        }
        Ok(out)
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 64.0 + (k as f64).sqrt())
    }
}

/// A tensor of one number, of a value's shape and type.
fn like(b: &mut Body<'_>, v: ValueId, number: f64) -> Result<ValueId> {
    let (d, to) = (b.dtype(v)?, b.shape(v));
    let c = b.float(d, number)?;
    b.expand(c, &to)
}

/// `slope` summed over the dims along which a value of shape `to` was broadcast.
fn summed(b: &mut Body<'_>, slope: ValueId, to: &[usize]) -> Result<ValueId> {
    let from = b.shape(slope);
    if from == to {
        return Ok(slope);
    }
    let lead = from.len() - to.len();
    let wide = |i: &usize| *i < lead || (to[*i - lead] == 1 && from[*i] != 1);
    let axes: Vec<i64> = (0..from.len()).filter(wide).map(|i| i as i64).collect();
    let axes = b.constant(Tensor::vector(&axes));
    let sum = b.with("ReduceSum", &[slope, axes], &[("noop_with_empty_axes", Attr::Int(1))])?;
    b.reshape(sum, to)
}

/// The last two dims exchanged.
fn turned(b: &mut Body<'_>, v: ValueId) -> Result<ValueId> {
    let rank = b.shape(v).len();
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 1, rank - 2);
    b.transpose(v, &order)
}

/// What a node's first output's slope adds to the slope of each of its inputs; `None` where an input has none.
fn terms(
    b: &mut Body<'_>,
    function: &Graph,
    node: &Node,
    at: &HashMap<ValueId, ValueId>,
    slope: ValueId,
) -> Result<Vec<Option<ValueId>>> {
    let value = |v: Option<ValueId>| {
        v.and_then(|v| at.get(&v).copied()).ok_or_else(|| err!(InvalidNode, "an input or output is missing"))
    };
    let input = |i: usize| value(node.inputs.get(i).copied().flatten());
    let (x, y) = (input(0)?, value(node.outputs.first().copied().flatten())?);
    let to = b.shape(x);
    let number = |b: &mut Body<'_>, n: f64| {
        let d = b.dtype(x)?;
        b.float(d, n)
    };
    let name = node.operator.op_type.as_str();
    ensure!(node.operator.domain.is_empty(), Unsupported, "no gradient of {}", node.operator.qualified());
    Ok(match name {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" => {
            let z = input(1)?;
            let (left, right) = match name {
                "Add" => (slope, slope),
                "Sub" => (slope, b.op("Neg", &[slope])?),
                "Mul" => (b.op("Mul", &[slope, z])?, b.op("Mul", &[slope, x])?),
                "Div" => {
                    let left = b.op("Div", &[slope, z])?;
                    let right = b.op("Mul", &[left, y])?;
                    (left, b.op("Neg", &[right])?)
                }
                _ => {
                    let one = b.dtype(z).and_then(|d| b.float(d, 1.0))?;
                    let less = b.op("Sub", &[z, one])?;
                    let power = b.op("Pow", &[x, less])?;
                    let left = b.op("Mul", &[z, power])?;
                    let log = b.op("Log", &[x])?;
                    let right = b.op("Mul", &[y, log])?;
                    (b.op("Mul", &[slope, left])?, b.op("Mul", &[slope, right])?)
                }
            };
            let other = b.shape(z);
            vec![Some(summed(b, left, &to)?), Some(summed(b, right, &other)?)]
        }
        "Sum" => {
            let mut all = vec![];
            for i in 0..node.inputs.len() {
                let to = input(i).map(|v| b.shape(v))?;
                all.push(Some(summed(b, slope, &to)?));
            }
            all
        }
        "MatMul" => {
            let z = input(1)?;
            let right = b.shape(z);
            // vectors as matrices of one row or column
            let (mut wide, mut tall, mut out) = (to.clone(), right.clone(), b.shape(y));
            if right.len() == 1 {
                tall.push(1);
                out.push(1);
            }
            if to.len() == 1 {
                wide.insert(0, 1);
                out.insert(out.len() - 1, 1);
            }
            let (x, z, slope) = (b.reshape(x, &wide)?, b.reshape(z, &tall)?, b.reshape(slope, &out)?);
            let (xt, zt) = (turned(b, x)?, turned(b, z)?);
            let (left, other) = (b.op("MatMul", &[slope, zt])?, b.op("MatMul", &[xt, slope])?);
            let (left, other) = (summed(b, left, &wide)?, summed(b, other, &tall)?);
            vec![Some(b.reshape(left, &to)?), Some(b.reshape(other, &right)?)]
        }
        "Gemm" => {
            let z = input(1)?;
            let attr = |name: &str| node.operator.attrs.get(name);
            let flag = |name: &str| matches!(attr(name), Some(Attr::Int(v)) if *v != 0);
            let scale = |name: &str| if let Some(Attr::Float(v)) = attr(name) { f64::from(*v) } else { 1.0 };
            let (alpha, beta) = (number(b, scale("alpha"))?, number(b, scale("beta"))?);
            let scaled = b.op("Mul", &[slope, alpha])?;
            let (xt, zt) = (flag("transA"), flag("transB"));
            let side = |b: &mut Body<'_>, v: ValueId, turn: bool| if turn { turned(b, v) } else { Ok(v) };
            // of the factors as they are multiplied, then turned back
            let (xs, zs) = (side(b, x, !xt)?, side(b, z, !zt)?);
            let (left, right) = (b.op("MatMul", &[scaled, zs])?, b.op("MatMul", &[xs, scaled])?);
            let (left, right) = (side(b, left, xt)?, side(b, right, zt)?);
            let mut all = vec![Some(left), Some(right)];
            if let Ok(bias) = input(2) {
                let (to, slope) = (b.shape(bias), b.op("Mul", &[slope, beta])?);
                all.push(Some(summed(b, slope, &to)?));
            }
            all
        }
        "ReduceSum" | "ReduceMean" => {
            let count = shape::numel(&to) as f64 / shape::numel(&b.shape(y)).max(1) as f64;
            let kept = kept_dims(node, function, &to)?;
            let mut wide = b.reshape(slope, &kept)?;
            if name == "ReduceMean" {
                let count = number(b, count)?;
                wide = b.op("Div", &[wide, count])?;
            }
            let mut all = vec![Some(b.expand(wide, &to)?)];
            all.resize(node.inputs.len(), None);
            all
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Identity" => {
            let mut all = vec![Some(b.reshape(slope, &to)?)];
            all.resize(node.inputs.len(), None);
            all
        }
        "Transpose" => {
            let order: Vec<usize> = match node.operator.attrs.get("perm") {
                Some(Attr::Ints(list)) => list.iter().map(|i| *i as usize).collect(),
                _ => (0..to.len()).rev().collect(),
            };
            let mut back = vec![0; order.len()];
            order.iter().enumerate().for_each(|(i, o)| back[*o] = i);
            vec![Some(b.transpose(slope, &back)?)]
        }
        "Concat" => {
            let Some(Attr::Int(axis)) = node.operator.attrs.get("axis") else { bail!(InvalidNode, "no axis") };
            let axis = shape::axis(*axis, to.len())?;
            let mut sizes = vec![];
            for i in 0..node.inputs.len() {
                sizes.push(input(i).map(|v| b.shape(v)[axis])?);
            }
            b.split(slope, axis, &sizes)?.into_iter().map(Some).collect()
        }
        _ => {
            let rate = rate(b, name, x, y)?;
            vec![Some(b.op("Mul", &[slope, rate])?)]
        }
    })
}

/// The shape of a reduction's result with the reduced dims kept.
fn kept_dims(node: &Node, function: &Graph, from: &[usize]) -> Result<Vec<usize>> {
    let axes = match (node.operator.attrs.get("axes"), node.inputs.get(1).copied().flatten()) {
        (Some(Attr::Ints(list)), _) => Some(list.clone()),
        (_, Some(v)) => match &function.value(v).constant {
            Some(c) => Some(c.to_i64s()?),
            None => bail!(Unsupported, "no gradient of a reduction over axes that are computed"),
        },
        _ => None,
    };
    let axes = axes.filter(|a| !a.is_empty()).unwrap_or_else(|| (0..from.len() as i64).collect());
    let axes = axes.iter().map(|a| shape::axis(*a, from.len())).collect::<Result<Vec<_>>>()?;
    Ok(from.iter().enumerate().map(|(i, d)| if axes.contains(&i) { 1 } else { *d }).collect())
}

/// The derivative of `y = f(x)`, element by element.
fn rate(b: &mut Body<'_>, name: &str, x: ValueId, y: ValueId) -> Result<ValueId> {
    let one = like(b, x, 1.0)?;
    match name {
        "Neg" => b.op("Neg", &[one]),
        "Exp" => Ok(y),
        "Log" => b.op("Div", &[one, x]),
        "Reciprocal" => {
            let square = b.op("Mul", &[y, y])?;
            b.op("Neg", &[square])
        }
        "Sqrt" => {
            let double = b.op("Add", &[y, y])?;
            b.op("Div", &[one, double])
        }
        "Sin" => b.op("Cos", &[x]),
        "Cos" => {
            let sine = b.op("Sin", &[x])?;
            b.op("Neg", &[sine])
        }
        "Abs" => b.op("Sign", &[x]),
        "Tanh" => {
            let square = b.op("Mul", &[y, y])?;
            b.op("Sub", &[one, square])
        }
        "Sigmoid" => {
            let rest = b.op("Sub", &[one, y])?;
            b.op("Mul", &[y, rest])
        }
        "Softplus" => b.op("Sigmoid", &[x]),
        "Relu" => {
            let zero = like(b, x, 0.0)?;
            let above = b.op("Greater", &[x, zero])?;
            let d = b.dtype(x)?;
            b.cast(above, d)
        }
        _ => bail!(Unsupported, "no gradient of {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attrs, Operator};
    use crate::rng::Rng;
    use crate::{cpu, ops};

    /// An operator, the values it reads, its attributes.
    type Step<'a> = (&'a str, &'a [usize], &'a [(&'a str, Attr)]);

    /// A graph over `shapes` in doubles; nodes read by number: inputs first, then earlier nodes.
    fn function(shapes: &[&[usize]], nodes: &[Step<'_>]) -> Graph {
        let mut g = Graph::new("f");
        let mut all: Vec<ValueId> = (0..shapes.len()).map(|i| g.add_value(format!("x{i}"), None)).collect();
        g.inputs.clone_from(&all);
        for (k, (op, inputs, attrs)) in nodes.iter().enumerate() {
            let attrs: Attrs = attrs.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
            let operator = Operator::new("", op, attrs, &NodeInfo::full(13, inputs.len(), 1)).unwrap();
            let out = g.add_value(format!("v{k}"), None);
            let inputs = inputs.iter().map(|i| Some(all[*i])).collect();
            g.nodes.push(Node { name: format!("n{k}"), operator, inputs, outputs: vec![Some(out)] });
            all.push(out);
        }
        g.outputs.push(*all.last().unwrap());
        g
    }

    /// The gradient against central differences of the sum of the function's elements.
    fn check(shapes: &[&[usize]], nodes: &[Step<'_>]) {
        let g = function(shapes, nodes);
        let mut rng = Rng::new(5);
        let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F64, s, 0.5, 1.5).unwrap()).collect();
        let sum = |inputs: &[Tensor]| cpu::run(&g, inputs).unwrap()[0].to_f64s().unwrap().iter().sum::<f64>();
        let op = Defined(Gradient { function: Arc::new(g.clone()), xs: shapes.len() });
        let got = op.eval(&inputs.iter().map(Some).collect::<Vec<_>>()).unwrap();
        for (i, slope) in got.iter().enumerate() {
            assert_eq!(slope.shape(), shapes[i]);
            for (k, slope) in slope.to_f64s().unwrap().into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut inputs = inputs.clone();
                    let mut v = inputs[i].to_f64s().unwrap();
                    v[k] += by;
                    inputs[i] = Tensor::from_f64s(DType::F64, shapes[i], v).unwrap();
                    sum(&inputs)
                };
                let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((slope - want).abs() < 1e-6 * want.abs().max(1.0), "{nodes:?} x{i}[{k}]: {slope}, not {want}");
            }
        }
    }

    #[test]
    fn equals_central_differences() {
        for op in ["Add", "Sub", "Mul", "Div", "Pow", "Sum"] {
            check(&[&[2, 3], &[3]], &[(op, &[0, 1], &[])]);
            check(&[&[2, 1], &[4, 1, 3]], &[(op, &[0, 1], &[]), ("Mul", &[2, 0], &[])]);
        }
        for op in
            ["Neg", "Exp", "Log", "Reciprocal", "Sqrt", "Sin", "Cos", "Abs", "Tanh", "Sigmoid", "Softplus", "Relu"]
        {
            check(&[&[2, 3]], &[(op, &[0], &[]), ("Mul", &[1, 0], &[])]);
        }
        check(&[&[2, 3], &[3, 4]], &[("MatMul", &[0, 1], &[]), ("Tanh", &[2], &[])]);
        check(&[&[3], &[5, 3, 4]], &[("MatMul", &[0, 1], &[]), ("Tanh", &[2], &[])]);
        check(&[&[2, 3], &[3]], &[("MatMul", &[0, 1], &[]), ("Tanh", &[2], &[])]);
        check(&[&[2, 1, 2, 3], &[4, 3, 2]], &[("MatMul", &[0, 1], &[]), ("Tanh", &[2], &[])]);
        for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (x, w): (&[usize], &[usize]) = (&[[2, 3], [3, 2]][a], &[[3, 4], [4, 3]][b]);
            let attrs = [
                ("transA", Attr::Int(a as i64)),
                ("transB", Attr::Int(b as i64)),
                ("alpha", Attr::Float(0.5)),
                ("beta", Attr::Float(2.0)),
            ];
            check(&[x, w, &[4]], &[("Gemm", &[0, 1, 2], &attrs), ("Tanh", &[3], &[])]);
        }
        check(&[&[2, 3, 4]], &[("ReduceSum", &[0], &[]), ("Tanh", &[1], &[])]);
        let axes = [("axes", Attr::Ints(vec![-1])), ("keepdims", Attr::Int(0))];
        check(&[&[2, 3, 4]], &[("ReduceMean", &[0], &axes), ("Exp", &[1], &[])]);
        check(&[&[2, 3, 4]], &[("Transpose", &[0], &[("perm", Attr::Ints(vec![2, 0, 1]))]), ("Exp", &[1], &[])]);
        check(&[&[2, 3, 4]], &[("Flatten", &[0], &[]), ("Exp", &[1], &[])]);
        check(&[&[2, 3], &[2, 1]], &[("Concat", &[0, 1], &[("axis", Attr::Int(1))]), ("Exp", &[2], &[])]);
        // a variable that the function does not use
        check(&[&[2], &[3]], &[("Exp", &[0], &[])]);
    }

    #[test]
    fn other_operators_are_refused() {
        let g = function(&[&[2]], &[("Erf", &[0], &[])]);
        let op = Defined(Gradient { function: Arc::new(g), xs: 1 });
        let e = op.eval(&[Some(&Tensor::zeros(DType::F32, [2]))]).unwrap_err();
        assert!(e.to_string().contains("no gradient of Erf"), "{e}");
        // axes that are a variable
        let g = function(&[&[1, 2], &[1]], &[("Squeeze", &[0, 1], &[])]);
        let op = Defined(Gradient { function: Arc::new(g), xs: 2 });
        let e =
            op.eval(&[[1, 2].as_slice(), &[1]].map(|s| Tensor::zeros(DType::F32, s)).each_ref().map(Some)).unwrap_err();
        assert_ne!(e.kind(), crate::ErrorKind::Internal, "{e}");
        assert!(ops::parse("ai.onnx.preview.training", "Gradient", &Attrs::new(), &NodeInfo::full(1, 1, 1)).is_err());
    }
}
