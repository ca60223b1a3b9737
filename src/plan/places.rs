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
        let mut wishes: HashMap<ValueId, Wish> = HashMap::new();
        for node in nodes.iter().rev() {
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
                None => continue,
            };
            if wish.view.numel() == 0 {
                continue;
            }
            let sources = node.operator.op.sources(&infer_cx(self, node)?, &wish.view);
            for (i, view) in sources {
                let Some(v) = node.inputs.get(i).copied().flatten() else { continue };
                if made.contains_key(&v) && !self.known.contains_key(&v) && !wishes.contains_key(&v) {
                    wishes.insert(v, Wish { root: wish.root, view });
                }
            }
        }
        // a whole buffer in its own order is what every result gets anyway
        let rest = |w: &Wish| self.types.get(&w.root).is_some_and(|t| t.numel() != w.view.numel() || !w.view.is_dense());
        self.wishes = wishes.into_iter().filter(|(_, w)| rest(w)).collect();
        Ok(())
    }
}
