//! Softmax that is written out (the greatest subtracted, exponentials, their sum, quotients) becomes one node.

use std::collections::{HashMap, HashSet};

use super::spell::{Look, is_op, replace, spelling};
use crate::Result;
use crate::ir::{Attr, Attrs, Graph, Node, Operator, ValueId};
use crate::ops::NodeInfo;

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut made: HashMap<usize, Node> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    let look = Look::new(graph);
    for (i, _) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "Div")) {
        let Some((members, x, axis)) = look.softmax(i) else { continue };
        let attrs = Attrs::from([("axis".into(), Attr::Int(axis))]);
        let operator = Operator::new("", "Softmax", attrs, &NodeInfo::full(13, 1, 1))?;
        made.insert(i, spelling(graph, &members, &[x], operator)?);
        gone.extend(members);
    }
    Ok(replace(graph, made, &gone))
}

impl Look<'_> {
    /// The members of the softmax that ends in the quotient `div`, what it is of, and along which axis.
    fn softmax(&self, div: usize) -> Option<([usize; 5], ValueId, i64)> {
        let powers = self.input(div, 0);
        let sum = self.maker(self.input(div, 1), "ReduceSum")?;
        let exp = self.maker(powers, "Exp").filter(|_| self.input(sum, 0) == powers)?;
        let sub = self.maker(self.input(exp, 0), "Sub")?;
        let x = self.input(sub, 0)?;
        let max = self.maker(self.input(sub, 1), "ReduceMax").filter(|i| self.input(*i, 0) == Some(x))?;
        let axis = self.kept_axis(sum).filter(|axis| self.kept_axis(max) == Some(*axis))?;
        let mut members = [max, sub, exp, sum, div];
        members.sort_unstable();
        self.is_closed(&members).then_some((members, x, axis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Vec<String> {
        let text = format!("graph g(%x: float[2, 3, 8]) -> (%y) {{ %axes = int64[1] {{-1}}\n {text} }}");
        super::super::spell::after(&text, run, &[&[2, 3, 8]])
    }

    const WRITTEN: &str = "%m = ReduceMax@13(%x) {axes = [-1]}
        %d = Sub@13(%x, %m)
        %e = Exp@13(%d)
        %s = ReduceSum@13(%e, %axes) {keepdims = 1}
        %y = Div@13(%e, %s)";

    #[test]
    fn five_steps_become_one() {
        assert_eq!(after(WRITTEN), ["Spelled"]);
        let middle = WRITTEN.replace("axes = [-1]", "axes = [1]");
        assert_eq!(after(&format!("%a = int64[1] {{1}}\n {}", middle.replace("%axes", "%a"))), ["Spelled"]);
    }

    #[test]
    fn other_axes_and_steps_that_are_read_stay() {
        assert_eq!(after(&WRITTEN.replace("axes = [-1]", "axes = [1]")).len(), 5);
        assert_eq!(
            after(&WRITTEN.replace("%y = Div@13(%e, %s)", "%q = Div@13(%e, %s)\n %y = Add@13(%q, %e)")).len(),
            6
        );
    }
}
