//! Normalisations of rows that are written out (mean, deviations, their mean square, root, quotient, scale and bias)
//! become the operator that they spell: LayerNormalization, or RMSNormalization where no mean is subtracted.

use std::collections::{HashMap, HashSet};

use super::facts::facts;
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::{NodeInfo, spelled};

/// A normalisation that was found.
struct Found {
    /// All its nodes, ascending.
    members: Vec<usize>,
    x: ValueId,
    scale: ValueId,
    bias: Option<ValueId>,
    epsilon: f32,
    /// Whether the mean is subtracted.
    center: bool,
}

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut made: HashMap<usize, Node> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    let look = Look::new(graph);
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "Sqrt")) {
        match look.at(i) {
            Ok(found) => {
                if found.members.iter().any(|m| gone.contains(m)) {
                    continue;
                }
                let last = found.members[found.members.len() - 1];
                made.insert(last, joined(graph, &found)?);
                gone.extend(found.members);
            }
            Err(why) => log::debug!("fuse-norms: {} is no part of a normalisation: {why}", node.path()),
        }
    }
    let changed = !made.is_empty();
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    graph.nodes = nodes.filter_map(|(i, n)| made.remove(&i).or_else(|| (!gone.contains(&i)).then_some(n))).collect();
    Ok(changed)
}

fn is_op(node: &Node, name: &str) -> bool {
    node.operator.domain.is_empty() && node.operator.op_type == name
}

/// What the search looks things up in.
struct Look<'a> {
    graph: &'a Graph,
    producers: HashMap<ValueId, usize>,
    consumers: HashMap<ValueId, Vec<usize>>,
    ranks: HashMap<ValueId, usize>,
}

impl<'a> Look<'a> {
    fn new(graph: &'a Graph) -> Look<'a> {
        let ranks = facts(graph).into_iter().map(|(v, (_, rank))| (v, rank)).collect();
        Look { graph, producers: graph.producers(), consumers: graph.consumers(), ranks }
    }

    fn input(&self, i: usize, k: usize) -> Option<ValueId> {
        self.graph.nodes[i].inputs.get(k).copied().flatten()
    }

    fn output(&self, i: usize) -> Option<ValueId> {
        self.graph.nodes[i].outputs.first().copied().flatten()
    }

    /// The node of this name that makes a value.
    fn maker(&self, v: Option<ValueId>, name: &str) -> Option<usize> {
        self.producers.get(&v?).copied().filter(|i| is_op(&self.graph.nodes[*i], name))
    }

    /// The only reader of a value, if it has this name.
    fn reader(&self, v: Option<ValueId>, name: &str) -> Option<usize> {
        let [i] = self.consumers.get(&v?)?[..] else { return None };
        is_op(&self.graph.nodes[i], name).then_some(i)
    }

    /// The number that a constant of one element holds.
    fn number(&self, v: Option<ValueId>) -> Option<f64> {
        let all = self.graph.value(v?).constant.as_ref().filter(|t| t.len() == 1)?.to_f64s().ok()?;
        all.first().copied()
    }

    /// Whether a value is known to have one dim at most.
    fn flat(&self, v: ValueId) -> bool {
        self.ranks.get(&v).is_some_and(|rank| *rank <= 1)
    }

    /// The node that makes a mean along the last axis, which stays.
    fn mean(&self, v: Option<ValueId>) -> Option<usize> {
        let i = self.maker(v, "ReduceMean")?;
        let node = &self.graph.nodes[i];
        let attrs = &node.operator.attrs;
        if matches!(attrs.get("keepdims"), Some(Attr::Int(0))) {
            return None;
        }
        let axes = match (attrs.get("axes"), self.input(i, 1)) {
            (Some(Attr::Ints(axes)), _) => axes.clone(),
            (_, Some(v)) => self.graph.value(v).constant.as_ref()?.to_i64s().ok()?,
            _ => return None,
        };
        let &[axis] = &axes[..] else { return None };
        let rank = || self.input(i, 0).and_then(|x| self.ranks.get(&x)).copied();
        (axis == -1 || rank().is_some_and(|rank| axis == rank as i64 - 1)).then_some(i)
    }

    /// The other input of a node with two.
    fn other(&self, i: usize, v: Option<ValueId>) -> Option<ValueId> {
        match (self.input(i, 0), self.input(i, 1)) {
            (a, b) if a == v && b != v => b,
            (a, b) if b == v && a != v => a,
            _ => None,
        }
    }

    /// The normalisation whose deviation the root `sqrt` makes, or why there is none.
    fn at(&self, sqrt: usize) -> Result<Found, &'static str> {
        let sum = self.maker(self.input(sqrt, 0), "Add").ok_or("nothing is added below the root")?;
        let (a, b) = (self.input(sum, 0), self.input(sum, 1));
        let (variance, epsilon) = match (self.number(a), self.number(b)) {
            (_, Some(e)) => (a, e),
            (Some(e), _) => (b, e),
            _ => return Err("what is added below the root is no constant"),
        };
        let mean_square = self.mean(variance).ok_or("below the root is no mean of rows")?;
        let squares = self.input(mean_square, 0);
        let (square, d) = if let Some(i) = self.maker(squares, "Pow") {
            if self.number(self.input(i, 1)) != Some(2.0) {
                return Err("the power is no square");
            }
            (i, self.input(i, 0))
        } else {
            let i = self.maker(squares, "Mul").ok_or("the mean is not one of squares")?;
            if self.input(i, 0) != self.input(i, 1) {
                return Err("the mean is not one of squares");
            }
            (i, self.input(i, 0))
        };
        let mut members = vec![sqrt, sum, mean_square, square];

        // x / deviation, or x times its reciprocal
        let deviation = self.output(sqrt);
        let inverse = self
            .reader(deviation, "Reciprocal")
            .or_else(|| self.reader(deviation, "Div").filter(|i| self.number(self.input(*i, 0)) == Some(1.0)));
        let quotient = match inverse {
            Some(i) => {
                members.push(i);
                let product = self.reader(self.output(i), "Mul").ok_or("the reciprocal has other readers")?;
                product_of(self.other(product, self.output(i)), d).then_some(product)
            }
            None => self.reader(deviation, "Div").filter(|i| product_of(self.input(*i, 0), d)),
        };
        let quotient = quotient.ok_or("the root does not divide what was squared")?;
        members.push(quotient);
        let scaled = self.reader(self.output(quotient), "Mul").ok_or("the quotient is not scaled")?;
        members.push(scaled);
        let scale = self.other(scaled, self.output(quotient)).filter(|v| self.flat(*v)).ok_or("the scale is no row")?;

        let mut found = Found {
            members,
            x: d.ok_or("nothing is squared")?,
            scale,
            bias: None,
            epsilon: epsilon as f32,
            center: false,
        };
        if let Some(sub) = self.maker(d, "Sub")
            && let Some(mean) = self.mean(self.input(sub, 1))
            && self.input(mean, 0) == self.input(sub, 0)
        {
            found.x = self.input(sub, 0).ok_or("nothing is squared")?;
            found.center = true;
            found.members.extend([sub, mean]);
            if let Some(add) = self.reader(self.output(scaled), "Add")
                && let Some(bias) = self.other(add, self.output(scaled)).filter(|v| self.flat(*v))
            {
                found.bias = Some(bias);
                found.members.push(add);
            }
        }
        found.members.sort_unstable();
        found.members.dedup();
        let last = found.members[found.members.len() - 1];
        let inside = |i: &usize| {
            let kept = self.output(*i).is_some_and(|v| self.graph.outputs.contains(&v));
            let readers = self.output(*i).and_then(|v| self.consumers.get(&v)).map_or(&[][..], Vec::as_slice);
            *i == last || (!kept && readers.iter().all(|r| found.members.contains(r)))
        };
        if !found.members.iter().all(inside) {
            return Err("a step has other readers");
        }
        Ok(found)
    }
}

fn product_of(a: Option<ValueId>, b: Option<ValueId>) -> bool {
    a.is_some() && a == b
}

/// One node for what was found.
fn joined(graph: &Graph, found: &Found) -> Result<Node> {
    let outer: Vec<ValueId> = [Some(found.x), Some(found.scale), found.bias].into_iter().flatten().collect();
    let mut body = Graph::new("body");
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    for v in &outer {
        let id = body.add_value(graph.value(*v).name.clone(), None);
        inner.insert(*v, id);
        body.inputs.push(id);
    }
    for m in &found.members {
        let mut node = graph.nodes[*m].clone();
        for v in node.used_inputs().chain(node.used_outputs()) {
            let name = || graph.value(v).name.clone();
            inner.entry(v).or_insert_with(|| match &graph.value(v).constant {
                Some(t) => body.add_constant(name(), t.clone()),
                None => body.add_value(name(), None),
            });
        }
        for v in node.inputs.iter_mut().chain(&mut node.outputs) {
            *v = v.and_then(|v| inner.get(&v).copied());
        }
        body.nodes.push(node);
    }
    let last = &graph.nodes[found.members[found.members.len() - 1]];
    body.outputs = last.used_outputs().filter_map(|v| inner.get(&v).copied()).collect();

    let (name, opset) = if found.center { ("LayerNormalization", 17) } else { ("RMSNormalization", 23) };
    let mut means = Graph::new("means");
    means.inputs = outer.iter().map(|v| means.add_value(graph.value(*v).name.clone(), None)).collect();
    let attrs = Attrs::from([("axis".into(), Attr::Int(-1)), ("epsilon".into(), Attr::Float(found.epsilon))]);
    let operator = Operator::new("", name, attrs, &NodeInfo::full(opset, outer.len(), 1))?;
    let y = means.add_value("y", None);
    let inputs = means.inputs.iter().copied().map(Some).collect();
    means.nodes.push(Node { name: last.name.clone(), operator, inputs, outputs: vec![Some(y)] });
    means.outputs.push(y);

    let inputs = outer.into_iter().map(Some).collect();
    let operator = spelled::operator(body, means)?;
    Ok(Node { name: last.name.clone(), operator, inputs, outputs: last.outputs.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ir::{parse, verify};
    use crate::{Rng, Tensor, cpu};

    /// The operators after the pass; results must stay as they were, and what is meant be what was written.
    fn after(text: &str) -> Vec<String> {
        let mut graph =
            parse(&format!("graph g(%x: float[2, 3, 8], %s: float[8], %b: float[8]) -> (%y) {{ {text} }}")).unwrap();
        let mut rng = Rng::new(3);
        let shapes: [&[usize]; 3] = [&[2, 3, 8], &[8], &[8]];
        let inputs: Vec<Tensor> = shapes.iter().map(|s| rng.tensor(DType::F32, s, -1.0, 1.0).unwrap()).collect();
        let want = cpu::run(&graph, &inputs).unwrap();
        run(&mut graph).unwrap();
        verify(&graph).unwrap();
        let got = cpu::run(&graph, &inputs).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| a.same_bits(b)), "{got:?} for {want:?}");
        for node in &graph.nodes {
            let graph = |name: &str| match node.operator.attrs.get(name) {
                Some(Attr::Graph(g)) => Some(cpu::run(g, &inputs[..g.inputs.len()]).unwrap()),
                _ => None,
            };
            let (Some(written), Some(meant)) = (graph("body"), graph("means")) else { continue };
            let pairs = |a: &Tensor, b: &Tensor| {
                let (a, b) = (a.to_f64s().unwrap(), b.to_f64s().unwrap());
                a.into_iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
            };
            assert!(pairs(&meant[0], &written[0]), "{meant:?} for {written:?}");
        }
        graph.nodes.iter().map(|n| n.operator.op_type.clone()).collect()
    }

    const LAYER: &str = "%two = float[] {2.0}
        %e = float[] {0.01}
        %m = ReduceMean@13(%x) {axes = [2]}
        %d = Sub@13(%x, %m)
        %q = Pow@13(%d, %two)
        %v = ReduceMean@13(%q) {axes = [-1], keepdims = 1}
        %w = Add@13(%e, %v)
        %r = Sqrt@13(%w)
        %n = Div@13(%d, %r)
        %t = Mul@13(%s, %n)";

    #[test]
    fn layer_normalisation_becomes_one() {
        assert_eq!(after(&format!("{LAYER}\n %y = Add@13(%t, %b)")), ["Spelled"]);
        assert_eq!(after(&format!("{LAYER}\n %y = Relu@13(%t)")), ["Spelled", "Relu"]);
    }

    #[test]
    fn root_mean_square_normalisation_becomes_one() {
        let rms = "%axes = int64[1] {-1}
            %one = float[] {1.0}
            %e = float[] {0.01}
            %q = Mul@13(%x, %x)
            %v = ReduceMean@18(%q, %axes) {keepdims = 1}
            %w = Add@13(%v, %e)
            %r = Sqrt@13(%w)
            %i = Div@13(%one, %r)
            %n = Mul@13(%x, %i)
            %t = Mul@13(%n, %s)";
        assert_eq!(after(&format!("{rms}\n %y = Add@13(%t, %b)")), ["Spelled", "Add"]);
        let reciprocal = rms.replace("Div@13(%one, %r)", "Reciprocal@13(%r)");
        assert_eq!(after(&format!("{reciprocal}\n %y = Add@13(%t, %b)")), ["Spelled", "Add"]);
    }

    #[test]
    fn other_axes_and_steps_that_are_read_stay() {
        let axis = LAYER.replace("axes = [-1]", "axes = [1]");
        assert!(!after(&format!("{axis}\n %y = Add@13(%t, %b)")).contains(&"Spelled".to_string()));
        let read = format!("{LAYER}\n %y = Add@13(%t, %r)");
        assert!(!after(&read).contains(&"Spelled".to_string()));
    }
}
