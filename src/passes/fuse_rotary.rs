//! Rotary position embedding that is written out becomes one node: `x · cos + Concat(-high, low) · sin`, where `high` and
//! `low` are parts of x.

use std::collections::{HashMap, HashSet};

use super::spell::{Look, is_op, replace, spelling};
use crate::Result;
use crate::ir::{Attr, Graph, Node, ValueId};
use crate::ops::turned;

/// Runs the pass.
///
/// # Errors
/// Those of the operators it makes.
pub fn run(graph: &mut Graph) -> Result<bool> {
    let mut made: HashMap<usize, Node> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    let look = Look::new(graph);
    for (i, _) in graph.nodes.iter().enumerate().filter(|(_, n)| is_op(n, "Concat")) {
        let Some(found) = look.embedding(i) else { continue };
        made.insert(found.members[4], spelling(graph, &found.members, &found.reads, turned::operator()?)?);
        gone.extend(found.members);
    }
    Ok(replace(graph, made, &gone))
}

/// An embedding that was found: its nodes in ascending order, and what they read.
struct Found {
    members: [usize; 5],
    /// x, cos, sin, high, low.
    reads: [ValueId; 5],
}

impl Look<'_> {
    /// What a value is a part of.
    fn whole(&self, part: Option<ValueId>) -> Option<ValueId> {
        let maker = self.maker(part, "Slice").or_else(|| self.maker(part, "Split"))?;
        self.input(maker, 0)
    }

    /// The embedding whose halves node `concat` joins.
    fn embedding(&self, concat: usize) -> Option<Found> {
        let node = &self.graph.nodes[concat];
        let [Some(first), Some(low)] = node.inputs[..] else { return None };
        let axis = match node.operator.attrs.get("axis") {
            Some(Attr::Int(axis)) => *axis,
            _ => return None,
        };
        let rank = || self.rank(Some(first)).or(self.rank(Some(low)));
        if axis != -1 && rank().is_none_or(|rank| axis != rank as i64 - 1) {
            return None;
        }
        let neg = self.maker(Some(first), "Neg")?;
        let high = self.input(neg, 0)?;
        let x = self.whole(Some(high)).filter(|x| self.whole(Some(low)) == Some(*x))?;
        let across = self.reader(self.output(concat), "Mul")?;
        let sin = self.other(across, self.output(concat))?;
        let add = self.reader(self.output(across), "Add")?;
        let straight = self.maker(self.other(add, self.output(across)), "Mul")?;
        let cos = self.other(straight, Some(x))?;
        let mut members = [neg, concat, across, straight, add];
        members.sort_unstable();
        self.is_closed(&members).then_some(Found { members, reads: [x, cos, sin, high, low] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Vec<String> {
        let text = format!(
            "graph g(%x: float[2, 3, 8], %c: float[3, 8], %s: float[3, 8]) -> (%y) {{
                %from = int64[1] {{0}}
                %half = int64[1] {{4}}
                %end = int64[1] {{9223372036854775807}}
                %last = int64[1] {{-1}}
                {text}
            }}"
        );
        super::super::spell::after(&text, run, &[&[2, 3, 8], &[3, 8], &[3, 8]])
    }

    const SLICES: &str = "%low = Slice@13(%x, %from, %half, %last)
        %high = Slice@13(%x, %half, %end, %last)";
    const TURN: &str = "%n = Neg@13(%high)
        %t = Concat@13(%n, %low) {axis = -1}";

    #[test]
    fn halves_of_slices_and_splits_become_one() {
        let tail = "%a = Mul@13(%x, %c)\n %b = Mul@13(%t, %s)\n %y = Add@13(%a, %b)";
        assert_eq!(after(&format!("{SLICES}\n {TURN}\n {tail}")), ["Slice", "Slice", "Spelled"]);
        let split = "%low, %high = Split@13(%x) {axis = -1}";
        assert_eq!(after(&format!("{split}\n {TURN}\n {tail}")), ["Split", "Spelled"]);
        // in another order, the axis from the front
        let tail = "%b = Mul@13(%s, %t)\n %a = Mul@13(%c, %x)\n %y = Add@13(%b, %a)";
        let turn = TURN.replace("axis = -1", "axis = 2");
        assert_eq!(after(&format!("{SLICES}\n {turn}\n {tail}")), ["Slice", "Slice", "Spelled"]);
    }

    #[test]
    fn other_sums_stay() {
        let whole = |text: String| !after(&text).contains(&"Spelled".to_string());
        let tail = "%a = Mul@13(%x, %c)\n %b = Mul@13(%t, %s)";
        assert!(whole(format!("{SLICES}\n {TURN}\n {tail}\n %y = Sub@13(%a, %b)")));
        // the turned halves are read again
        assert!(whole(format!("{SLICES}\n {TURN}\n {tail}\n %d = Add@13(%a, %b)\n %y = Add@13(%d, %t)")));
        // of another value
        let other = SLICES.replace("%high = Slice@13(%x,", "%w = Exp@13(%x)\n %high = Slice@13(%w,");
        assert!(whole(format!("{other}\n {TURN}\n {tail}\n %y = Add@13(%a, %b)")));
    }
}
