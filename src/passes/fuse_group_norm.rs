//! Group normalisation that is written out becomes one node: an InstanceNormalization of groups, between two Reshapes,
//! whose own scale and bias do nothing, then scale and bias of the channels.

use std::collections::{HashMap, HashSet};

use super::spell::{Look, is_op, replace, spelling};
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;
use crate::tensor::Tensor;

/// A normalisation that was found.
struct Found {
    members: [usize; 5],
    x: ValueId,
    /// A number for each channel.
    scale: Tensor,
    bias: Tensor,
    groups: i64,
    epsilon: f32,
}

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let look = Look::new(graph);
    let norms = graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "InstanceNormalization"));
    let all: Vec<Found> = norms.filter_map(|(i, _)| look.group_norm(i)).collect();
    let mut made: HashMap<usize, Node> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    for found in all {
        let attrs = [("num_groups", Attr::Int(found.groups)), ("epsilon", Attr::Float(found.epsilon))];
        let attrs = Attrs::from(attrs.map(|(k, v)| (k.to_string(), v)));
        let operator = Operator::new("", "GroupNormalization", attrs, &NodeInfo::full(21, 3, 1))?;
        let last = found.members[4];
        let name = graph.nodes[last].name.clone();
        let scale = graph.add_constant(format!("{name} scale"), found.scale);
        let bias = graph.add_constant(format!("{name} bias"), found.bias);
        made.insert(last, spelling(graph, &found.members, &[found.x, scale, bias], operator)?);
        gone.extend(found.members);
    }
    Ok(replace(graph, made, &gone))
}

impl Look<'_> {
    /// Whether a constant holds nothing but this number.
    fn all_are(&self, v: Option<ValueId>, x: f64) -> bool {
        let all = v.and_then(|v| self.graph.value(v).constant.as_ref()).and_then(|t| t.to_f64s().ok());
        all.is_some_and(|all| all.iter().all(|v| *v == x))
    }

    /// A constant that has a number for each channel of values of this rank, as a vector.
    fn channels(&self, v: Option<ValueId>, rank: usize) -> Option<Tensor> {
        let t = self.graph.value(v?).constant.as_ref()?;
        let at = t.rank().checked_sub(rank - 1)?;
        let fits = t.rank() <= rank && t.shape().iter().enumerate().all(|(i, d)| i == at || *d == 1);
        fits.then(|| t.clone().reshaped([t.len()]).ok()).flatten()
    }

    /// The normalisation of which `norm` is the middle.
    fn group_norm(&self, norm: usize) -> Option<Found> {
        if !self.all_are(self.input(norm, 1), 1.0) || !self.all_are(self.input(norm, 2), 0.0) {
            return None;
        }
        let split = self.maker(self.input(norm, 0), "Reshape")?;
        let [0, groups, -1] = self.ints(self.input(split, 1))?[..] else { return None };
        let x = self.input(split, 0)?;
        let back = self.reader(self.output(norm), "Reshape").filter(|i| self.input(*i, 0) == self.output(norm))?;
        let mul = self.reader(self.output(back), "Mul")?;
        let add = self.reader(self.output(mul), "Add")?;
        let rank = self.rank(Some(x)).or_else(|| Some(self.ints(self.input(back, 1))?.len())).filter(|r| *r >= 3)?;
        let scale = self.channels(self.other(mul, self.output(back)), rank)?;
        let bias = self.channels(self.other(add, self.output(mul)), rank)?;
        let epsilon = match self.graph.nodes[norm].operator.attrs.get("epsilon") {
            Some(Attr::Float(e)) => *e,
            _ => 1e-5,
        };
        let members = [split, norm, back, mul, add];
        self.is_closed(&members).then_some(Found { members, x, scale, bias, groups, epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Vec<String> {
        let text = format!(
            "graph g(%x: float[2, 6, 3, 4]) -> (%y) {{
                %split = int64[3] {{0, 3, -1}}
                %back = int64[4] {{2, 6, 3, 4}}
                %one = float[3] {{1.0, 1.0, 1.0}}
                %zero = float[3] {{0.0, 0.0, 0.0}}
                %s = float[6, 1, 1] {{1.0, 2.0, 3.0, -1.0, 0.5, 0.25}}
                %b = float[1, 6, 1, 1] {{0.0, 1.0, 0.5, 0.0, -2.0, 1.0}}
                {text}
            }}"
        );
        super::super::spell::after(&text, run, &[&[2, 6, 3, 4]])
    }

    const WRITTEN: &str = "%g = Reshape@13(%x, %split)
        %n = InstanceNormalization@6(%g, %one, %zero) {epsilon = 0.01}
        %r = Reshape@13(%n, %back)
        %m = Mul@13(%r, %s)
        %y = Add@13(%m, %b)";

    #[test]
    fn groups_become_one_node() {
        assert_eq!(after(WRITTEN), ["Spelled"]);
        let shape = WRITTEN.replace("%r = Reshape@13(%n, %back)", "%h = Shape@13(%x)\n %r = Reshape@13(%n, %h)");
        assert_eq!(after(&shape), ["Shape", "Spelled"]);
    }

    #[test]
    fn other_scales_stay() {
        assert_eq!(after(&WRITTEN.replace("%one, %zero", "%zero, %zero")).len(), 5);
        let row = WRITTEN.replace("Mul@13(%r, %s)", "Mul@13(%r, %w)");
        assert_eq!(after(&format!("%w = float[4] {{1.0, 2.0, 3.0, 4.0}}\n {row}")).len(), 5);
    }
}
