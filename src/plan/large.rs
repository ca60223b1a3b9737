//! Nodes whose operands are larger than the device binds at once. A large value lies in one buffer all the same; what a
//! dispatch binds is the window that its views reach. A node that does not fit is lowered in halves along an axis of its
//! output, each again in halves where it must; constants are cut with it, so that each part is a buffer of its own.

use std::ops::Range;
use std::sync::Arc;

use super::lower::{LowerCx, Lowering};
use super::segment::infer_cx;
use super::{BufKind, View};
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::ops::InferCx;
use crate::{Error, ErrorKind, Result, err};

/// An axis of an operator's output 0 along which parts of the output follow from parts of the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slicing {
    /// The axis of the output.
    pub axis: usize,
    /// The axis of each input that is cut at the same places; `None` (or missing) where all of the input is needed.
    pub inputs: Vec<Option<usize>>,
}

impl Slicing {
    /// These axes, which output 0 and input 0 have in common.
    pub fn shared(axes: impl IntoIterator<Item = usize>) -> Vec<Slicing> {
        axes.into_iter().map(|axis| Slicing { axis, inputs: vec![Some(axis)] }).collect()
    }

    /// All axes of `out`, to which the inputs broadcast.
    pub fn broadcast(cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        let input = |i: usize, axis: usize| Slicing::place(&cx.try_input(i)?.shape, out.len(), axis);
        let along = |axis: usize| Slicing { axis, inputs: (0..cx.len()).map(|i| input(i, axis)).collect() };
        (0..out.len()).map(along).collect()
    }

    /// Where `axis` of a result of `rank` dims stands in a shape that broadcasts to it, unless it is repeated there.
    pub fn place(shape: &[usize], rank: usize, axis: usize) -> Option<usize> {
        (axis + shape.len()).checked_sub(rank).filter(|a| shape[*a] != 1)
    }
}

impl Lowering {
    /// Lowers a node, in slices where it is too large for the device as it is.
    pub(super) fn lower_node(&mut self, node: &Node, index: usize) -> Result<()> {
        let (dispatches, buffers) = (self.program.dispatches.len(), self.program.buffers.len());
        let placed = self.placed(node);
        match node.operator.op.lower(&mut LowerCx::new(node, index, self)) {
            Err(e) if e.kind() == ErrorKind::Limit => {
                self.program.dispatches.truncate(dispatches);
                self.forget_buffers_from(buffers);
                self.place_again(node, placed);
                self.lower_halves(node, index, e)
            }
            done => done,
        }
    }

    /// Lowers a node that failed with `why` in two halves.
    fn lower_halves(&mut self, node: &Node, index: usize, why: Error) -> Result<()> {
        let &[Some(out), ref rest @ ..] = node.outputs.as_slice() else { return Err(why) };
        if rest.iter().any(Option::is_some) {
            return Err(why);
        }
        let Some(t) = self.types.get(&out).cloned() else { return Err(why) };
        // what is cut lies in one piece where only extents of one stand before it
        let whole = |s: &Slicing| t.shape[..s.axis].iter().all(|d| *d == 1) && t.shape[s.axis] > 1;
        let Some(slicing) = node.operator.op.slices(&infer_cx(self, node)?, &t.shape).into_iter().find(whole) else {
            return Err(why);
        };
        let view = LowerCx::new(node, index, self).output(0)?;
        let (n, align) = (t.shape[slicing.axis], self.profile.offset_align as usize);
        // where the device can bind the second half, if it can near the middle
        let step = view.strides[slicing.axis].unsigned_abs() * view.device.bytes();
        let unit = (1..=n / 2).find(|k| (k * step).is_multiple_of(align)).unwrap_or(1);
        let middle = n / 2 / unit * unit;
        for range in [0..middle, middle..n] {
            self.lower_slice(node, index, &slicing, range, &view, &why)?;
        }
        Ok(())
    }

    fn lower_slice(
        &mut self,
        node: &Node,
        index: usize,
        slicing: &Slicing,
        range: Range<usize>,
        out: &View,
        why: &Error,
    ) -> Result<()> {
        let mut graph = Graph::new("slice");
        let (mut inputs, mut known, mut views) = (vec![], vec![], vec![]);
        for (i, v) in node.inputs.iter().enumerate() {
            let Some(v) = v else {
                inputs.push(None);
                continue;
            };
            let id = graph.add_value(self.graph.value(*v).name.clone(), None);
            inputs.push(Some(id));
            let axis = slicing.inputs.get(i).copied().flatten();
            match (self.known.get(v), axis) {
                (Some(t), Some(axis)) => known.push((id, t.sliced(axis, range.clone())?)),
                (Some(t), None) => known.push((id, t.clone())),
                (None, axis) => {
                    let v = LowerCx::new(node, index, self).view(*v)?;
                    views.push((id, axis.map_or(v.clone(), |axis| v.sliced(axis, range.start, 1, range.len()))));
                }
            }
        }
        let to = graph.add_value(self.graph.value(node.used_outputs().next().unwrap_or(ValueId(0))).name.clone(), None);
        let part = Node { inputs, outputs: vec![Some(to)], ..node.clone() };
        let place = out.sliced(slicing.axis, range.start, 1, range.len());

        let mut inner = Lowering::new(Arc::new(graph), self.profile.clone());
        inner.types.extend(known.iter().map(|(v, t)| (*v, TensorType::new(t.dtype(), t.shape()))));
        inner.types.extend(views.iter().map(|(v, view)| (*v, view.tensor_type())));
        inner.known.extend(known);
        inner.views.extend(views);
        let made = node.operator.op.infer(&infer_cx(&inner, &part)?);
        let fits = made.is_ok_and(|t| t.first() == Some(&place.tensor_type()));
        if !fits {
            return Err(why.clone());
        }
        inner.types.insert(to, place.tensor_type());
        // kernels write what is dense from where the device binds it
        let bytes = place.offset * place.device.bytes();
        if place.is_dense() && (bytes as u64).is_multiple_of(self.profile.offset_align) {
            inner.place_again(&part, [vec![], vec![(to, place.clone())]]);
        }
        self.within(&mut inner, |inner| {
            inner.lower_node(&part, index)?;
            let made = LowerCx::new(&part, index, inner).view(to)?;
            if made.same_place(&place) {
                return Ok(());
            }
            LowerCx::new(&part, index, inner).copy_apart(&made, &place)
        })
    }

    /// Checks that one buffer can hold `bytes`.
    pub(super) fn check_size(&self, name: &str, t: &TensorType, bytes: u64, kind: &BufKind) -> Result<()> {
        let limit = self.profile.max_buffer;
        // a constant is cut before it is uploaded
        let limit = if matches!(kind, BufKind::Constant(_)) { limit.min(self.profile.max_binding) } else { limit };
        if bytes > limit {
            return Err(err!(Limit, "{name:?}: {t} takes {bytes} bytes, the device holds at most {limit} in a buffer"));
        }
        Ok(())
    }
}

/// The bytes of its buffer that a view reaches, from the last place before it at which the device can bind.
pub(super) fn window(view: &View, size: u64, align: u64) -> Range<u64> {
    let word = view.device.bytes() as u64;
    let (mut first, mut last) = (view.offset as i64, view.offset as i64);
    for (d, s) in view.shape.iter().zip(&view.strides) {
        let way = *s as i64 * (*d as i64 - 1).max(0);
        first += way.min(0);
        last += way.max(0);
    }
    let start = first.max(0) as u64 * word / align * align;
    // kernels may read whole vectors at the end
    start..((last + 1) as u64 * word).next_multiple_of(16).min(size)
}
