//! Normalisations of rows that are written out (mean, deviations, their mean square, root, quotient, scale and bias)
//! become the operator that they spell: LayerNormalization, or RMSNormalization where no mean is subtracted.

use std::collections::{HashMap, HashSet};

use super::spell::{Look, is_op, replace, spelling};
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;

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
        match look.norm(i) {
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
    Ok(replace(graph, made, &gone))
}

impl Look<'_> {
    /// Whether a value is known to have one dim at most.
    fn flat(&self, v: ValueId) -> bool {
        self.rank(Some(v)).is_some_and(|rank| rank <= 1)
    }

    /// The node that makes a mean along the last axis, which stays.
    fn mean(&self, v: Option<ValueId>) -> Option<usize> {
        let i = self.maker(v, "ReduceMean")?;
        let axis = self.kept_axis(i)?;
        let rank = || self.rank(self.input(i, 0));
        (axis == -1 || rank().is_some_and(|rank| axis == rank as i64 - 1)).then_some(i)
    }

    /// The normalisation whose deviation the root `sqrt` makes, or why there is none.
    fn norm(&self, sqrt: usize) -> Result<Found, &'static str> {
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
        if !self.is_closed(&found.members) {
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
    let reads: Vec<ValueId> = [Some(found.x), Some(found.scale), found.bias].into_iter().flatten().collect();
    let (name, opset) = if found.center { ("LayerNormalization", 17) } else { ("RMSNormalization", 23) };
    let attrs = Attrs::from([("axis".into(), Attr::Int(-1)), ("epsilon".into(), Attr::Float(found.epsilon))]);
    let operator = Operator::new("", name, attrs, &NodeInfo::full(opset, reads.len(), 1))?;
    spelling(graph, &found.members, &reads, operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Vec<String> {
        let text = format!("graph g(%x: float[2, 3, 8], %s: float[8], %b: float[8]) -> (%y) {{ {text} }}");
        super::super::spell::after(&text, run, &[&[2, 3, 8], &[8], &[8]])
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
