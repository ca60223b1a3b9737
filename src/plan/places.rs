//! Where results are wanted: in a slice of what Concat or Pad makes of them, or in the order that a Transpose brings
//! them to. A producer that can writes its result there, and nothing is moved later.

use std::collections::HashMap;

use super::lower::Lowering;
use super::segment::infer_cx;
use super::{BufId, View};
use crate::Result;
use crate::ir::{Node, ValueId};

/// A wish: where a value should lie.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The value whose buffer it lies in.
    pub root: ValueId,
    /// Where in it; the buffer's number is that of the root, not of a buffer.
    pub view: View,
}

impl Lowering {
    /// Finds where the results of `nodes` are wanted, from the last node to the first: what joins most comes last, as
    /// the joins of a dense block do, each a beginning of the next. All types must be known.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for an element type.
    pub(super) fn plan_places(&mut self, nodes: &[Node]) -> Result<()> {
        let made: HashMap<ValueId, &Node> = nodes.iter().flat_map(|n| n.used_outputs().map(move |v| (v, n))).collect();
        let mut uses: HashMap<ValueId, usize> = HashMap::new();
        let read = nodes.iter().flat_map(|n| n.used_inputs()).chain(self.graph.outputs.iter().copied());
        read.for_each(|v| *uses.entry(v).or_default() += 1);
        let mut wishes: HashMap<ValueId, Wish> = HashMap::new();
        for node in nodes.iter().rev() {
            if let Some((v, wish)) = self.split(node, &wishes)?
                && made.contains_key(&v)
                && !self.known.contains_key(&v)
            {
                wishes.entry(v).or_insert(wish);
            }
            let Some(Some(out)) = node.outputs.first().copied() else { continue };
            if self.known.contains_key(&out) {
                continue;
            }
            let wish = match wishes.get(&out) {
                Some(wish) => wish.clone(),
                None if node.operator.op.moves() => {
                    let Some(t) = self.types.get(&out) else { continue };
                    let Ok(device) = self.profile.device_type(t.dtype) else { continue };
                    Wish { root: out, view: View::dense(BufId(0), t, device) }
                }
                None => match self.reordered(node, out, &made)? {
                    Some(view) => Wish { root: out, view },
                    None => continue,
                },
            };
            let foreign = self.types.get(&out).is_none_or(|t| t.shape != wish.view.shape);
            if foreign || wish.view.numel() == 0 {
                continue;
            }
            let sources = node.operator.op.sources(&infer_cx(self, node)?, &wish.view);
            for (i, view) in sources {
                let Some(v) = node.inputs.get(i).copied().flatten() else { continue };
                let foreign = self.types.get(&v).is_none_or(|t| t.shape != view.shape);
                if foreign && (uses.get(&v) != Some(&1)) {
                    continue;
                }
                if made.contains_key(&v) && !self.known.contains_key(&v) && !wishes.contains_key(&v) {
                    wishes.insert(v, Wish { root: wish.root, view });
                }
            }
        }
        // a whole buffer in its own order is what every result gets anyway
        let rest =
            |w: &Wish| self.types.get(&w.root).is_some_and(|t| t.numel() != w.view.numel() || !w.view.is_dense());
        self.wishes = wishes.into_iter().filter(|(_, w)| rest(w)).collect();
        Ok(())
    }

    /// The input of `node` whose parts are its outputs, and where it is wanted, if all of those are wanted where its
    /// parts would be.
    fn split(&self, node: &Node, wishes: &HashMap<ValueId, Wish>) -> Result<Option<(ValueId, Wish)>> {
        let wished: Option<Vec<&Wish>> = node.outputs.iter().map(|v| wishes.get(&(*v)?)).collect();
        let Some(wished @ [first, _, ..]) = wished.as_deref() else { return Ok(None) };
        let alike = |(v, w): (ValueId, &&Wish)| {
            w.root == first.root && self.types.get(&v).is_some_and(|t| t.shape == w.view.shape)
        };
        if !node.used_outputs().zip(wished).all(alike) {
            return Ok(None);
        }
        let views: Vec<View> = wished.iter().map(|w| w.view.clone()).collect();
        let whole = node.operator.op.whole(&infer_cx(self, node)?, &views);
        Ok(whole.and_then(|(i, view)| Some((node.inputs.get(i).copied().flatten()?, Wish { root: first.root, view }))))
    }

    /// Where output `out` of `node`, which keeps the order of its input, lies, if the input has an order of its own that
    /// the node would have to undo by a copy.
    fn reordered(&self, node: &Node, out: ValueId, made: &HashMap<ValueId, &Node>) -> Result<Option<View>> {
        let Some(t) = self.types.get(&out).filter(|t| t.numel() > 0) else { return Ok(None) };
        let Ok(device) = self.profile.device_type(t.dtype) else { return Ok(None) };
        let whole = View::dense(BufId(0), t, device);
        let source = |node: &Node, view: &View| -> Result<Option<(ValueId, View)>> {
            let first = node.operator.op.sources(&infer_cx(self, node)?, view).into_iter().next();
            Ok(first.and_then(|(i, v)| Some((node.inputs.get(i).copied().flatten()?, v))))
        };
        let Some((input, view)) = source(node, &whole)? else { return Ok(None) };
        let Some(before) = made.get(&input).filter(|n| !n.operator.op.moves() && view.is_dense()) else {
            return Ok(None);
        };
        let Some((_, back)) = source(before, &view)? else { return Ok(None) };
        // what the order makes of a dense tensor, and whether that takes the shape as it is
        let mut perm: Vec<usize> = (0..back.rank()).collect();
        perm.sort_by_key(|d| std::cmp::Reverse(back.strides[*d]));
        let dense = View::dense(BufId(0), &back.tensor_type(), device);
        let free = dense.permuted(&perm).reshaped(&t.shape).is_some();
        Ok((!free && !back.is_dense()).then_some(whole))
    }
}
