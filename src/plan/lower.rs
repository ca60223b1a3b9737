//! What an operator lowers with: views of its inputs, buffers for its outputs, dispatches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::large::window;
use super::places::Wish;
use super::{BufId, BufKind, Buffer, Constant, Dispatch, Finer, Make, Program, Span, View};
use crate::dtype::DType;
use crate::ir::{Graph, Node, TensorType, ValueId};
use crate::kernels::{self, Chosen, DeviceType, Kernel, Params, Profile, Spec, When, texels};
use crate::ops::Defer;
use crate::tensor::Tensor;
use crate::{ErrorKind, Result, ensure, err};

/// Where the data lie that a constant is made of, how it is made, and its type on the device.
type ConstantKey = (Vec<(usize, usize)>, String, kernels::DeviceType);

/// The state of lowering a segment: what is known of each value, the program so far, where each value lies.
pub struct Lowering {
    /// The graph whose nodes are lowered.
    pub graph: Arc<Graph>,
    /// What the device can do.
    pub profile: Arc<Profile>,
    /// Types of values, as inferred.
    pub types: HashMap<ValueId, TensorType>,
    /// Data of values known on the host.
    pub known: HashMap<ValueId, Tensor>,
    /// See [`super::Known::shaders`].
    pub shaders: Option<Arc<HashSet<Arc<Spec>>>>,
    /// The program so far.
    pub program: Program,
    /// Where each value lies on the device.
    pub views: HashMap<ValueId, View>,
    /// Where values lie that no view describes; readers that need one have it made, and find it in `views`.
    finer: HashMap<ValueId, Finer>,
    /// Where values are wanted that are yet to be made.
    pub(super) wishes: HashMap<ValueId, Wish>,
    /// The buffers of values in which others lie before they are made themselves.
    roots: HashMap<ValueId, View>,
    constants: HashMap<ConstantKey, BufId>,
    /// Small tensors that constants are made from, by what they hold.
    small: HashMap<(DType, Vec<usize>, Vec<u8>), Tensor>,
}

/// Bytes up to which tensors that hold the same are the same constant.
const SMALL: usize = 1 << 16;

impl Lowering {
    /// An empty program.
    pub fn new(graph: Arc<Graph>, profile: Arc<Profile>) -> Lowering {
        Lowering {
            graph,
            profile,
            types: HashMap::new(),
            known: HashMap::new(),
            shaders: None,
            program: Program::default(),
            views: HashMap::new(),
            finer: HashMap::new(),
            wishes: HashMap::new(),
            roots: HashMap::new(),
            constants: HashMap::new(),
            small: HashMap::new(),
        }
    }

    /// Adds a buffer that holds `t` densely.
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for the element type, `Limit` when it is too large for the device.
    pub fn buffer(&mut self, name: &str, t: &TensorType, kind: BufKind) -> Result<View> {
        let device = self.profile.device_type(t.dtype)?;
        // what is too large for 64 bits is too large for any device
        let bytes = (t.numel() as u64).saturating_mul(device.bytes() as u64).min(u64::MAX - 15);
        let bytes = bytes.next_multiple_of(16).max(16);
        self.check_size(name, t, bytes, &kind)?;
        self.program.buffers.push(Buffer { bytes, elements: t.numel(), kind, name: name.into() });
        Ok(View::dense(BufId(self.program.buffers.len() as u32 - 1), t, device))
    }

    /// Where the outputs of `node` lie by now, and the places that they were given.
    pub(super) fn placed(&self, node: &Node) -> [Vec<(ValueId, View)>; 2] {
        [&self.views, &self.roots].map(|m| node.used_outputs().filter_map(|v| Some((v, m.get(&v)?.clone()))).collect())
    }

    /// Forgets where the outputs of `node` lie, but for the places given.
    pub(super) fn place_again(&mut self, node: &Node, [lie, placed]: [Vec<(ValueId, View)>; 2]) {
        node.used_outputs().for_each(|v| drop(self.views.remove(&v)));
        self.views.extend(lie);
        self.roots.extend(placed);
    }

    /// Calls `f` with the program in the hands of `inner`.
    pub(super) fn within<T>(&mut self, inner: &mut Lowering, f: impl FnOnce(&mut Lowering) -> Result<T>) -> Result<T> {
        std::mem::swap(&mut inner.program, &mut self.program);
        std::mem::swap(&mut inner.constants, &mut self.constants);
        std::mem::swap(&mut inner.small, &mut self.small);
        inner.shaders.clone_from(&self.shaders);
        let done = f(inner);
        std::mem::swap(&mut inner.program, &mut self.program);
        std::mem::swap(&mut inner.constants, &mut self.constants);
        std::mem::swap(&mut inner.small, &mut self.small);
        done
    }

    /// Drops the buffers from number `count` on, and what refers to them.
    pub(super) fn forget_buffers_from(&mut self, count: usize) {
        let gone = |b: BufId| b.0 as usize >= count;
        self.program.buffers.truncate(count);
        self.views.retain(|_, v| !gone(v.buf));
        self.finer.retain(|_, f| !gone(f.view.buf));
        self.roots.retain(|_, v| !gone(v.buf));
        self.constants.retain(|_, b| !gone(*b));
    }

    /// Whether it is known where a value lies.
    pub(super) fn lies(&self, v: ValueId) -> bool {
        self.views.contains_key(&v) || self.finer.contains_key(&v)
    }

    /// The device view of a value: where it lies already, or its constant data.
    ///
    /// # Errors
    /// As [`Lowering::buffer`]; `Internal` when the value was never made.
    pub(super) fn view(&mut self, v: ValueId) -> Result<View> {
        if let Some(view) = self.views.get(&v) {
            return Ok(view.clone());
        }
        let name = self.graph.value(v).name.clone();
        let Some(data) = self.known.get(&v).cloned() else {
            let t = self.types.get(&v).ok_or_else(|| err!(Internal, "{name:?} has no type yet"))?.clone();
            let view = self.buffer(&name, &t, BufKind::External(v))?;
            self.views.insert(v, view.clone());
            return Ok(view);
        };
        let t = TensorType::new(data.dtype(), data.shape());
        let view = self.constant(&name, vec![data], "", t, Arc::new(|t: &Tensor| Ok(t.clone())))?;
        self.views.insert(v, view.clone());
        Ok(view)
    }

    /// Lowers all nodes, in the place of node `index` of another graph, and gives where the outputs lie.
    fn lower_all(&mut self, index: usize) -> Result<Vec<View>> {
        let graph = self.graph.clone();
        for node in &graph.nodes {
            let types = node.operator.op.infer(&super::segment::infer_cx(self, node)?);
            let types = types.map_err(|d| match d {
                Defer::Error(e) => e,
                _ => err!(Internal, "{}: the shape depends on data", node.path()),
            })?;
            self.types.extend(node.outputs.iter().zip(types).filter_map(|(v, t)| Some(((*v)?, t))));
        }
        self.plan_places(&graph.nodes)?;
        for node in &graph.nodes {
            self.lower_node(node, index)?;
        }
        let outputs = graph.outputs.iter();
        match graph.nodes.last() {
            None => outputs.map(|v| self.view(*v)).collect(),
            Some(last) => outputs.map(|v| LowerCx::new(last, index, self).view(*v)).collect(),
        }
    }

    /// `sources` are what it is made from, the first of them what `make` is given.
    fn constant(&mut self, name: &str, sources: Vec<Tensor>, tag: &str, t: TensorType, make: Make) -> Result<View> {
        let device = self.profile.device_type(t.dtype)?;
        let one = |t: Tensor| match t.few_bytes(SMALL) {
            Some(bytes) if !bytes.is_empty() => {
                let key = (t.dtype(), t.shape().to_vec(), bytes.to_vec());
                self.small.entry(key).or_insert(t).clone()
            }
            _ => t,
        };
        let sources: Vec<Tensor> = sources.into_iter().map(one).collect();
        let keys: Vec<(usize, usize)> = sources.iter().map(Tensor::data_key).collect();
        // zero bytes have no address of their own
        let whole = keys.iter().all(|(_, len)| *len > 0);
        let key = (keys, format!("{tag} {}", t.dtype), device);
        if whole && let Some(buf) = self.constants.get(&key) {
            return Ok(View::dense(*buf, &t, device));
        }
        let mut others = sources;
        ensure!(!others.is_empty(), Internal, "a constant of nothing");
        let source = others.remove(0);
        let constant = Constant { source, others, tag: tag.into(), device, make };
        let view = self.buffer(name, &t, BufKind::Constant(constant))?;
        self.constants.insert(key, view.buf);
        Ok(view)
    }
}

/// How a dispatch uses a view.
#[derive(Debug, Clone, Copy)]
pub enum Bind<'a> {
    /// `var<storage, read>`
    Read(&'a View),
    /// `var<storage, read_write>`
    Write(&'a View),
}

/// One node being lowered.
pub struct LowerCx<'a> {
    node: &'a Node,
    index: usize,
    low: &'a mut Lowering,
}

impl<'a> LowerCx<'a> {
    /// Lowers `node`, which stands at `index` of the graph's nodes.
    pub fn new(node: &'a Node, index: usize, low: &'a mut Lowering) -> LowerCx<'a> {
        LowerCx { node, index, low }
    }

    /// What the device can do.
    pub fn profile(&self) -> &Profile {
        &self.low.profile
    }

    /// Whether a choice by sizes may fall on this kernel without anything being compiled.
    pub fn is_compiled(&self, kernel: &dyn Kernel) -> bool {
        self.low.shaders.as_ref().is_none_or(|made| made.contains(&kernel.spec(&self.low.profile)))
    }

    /// The operator's name, for labels.
    pub fn op_label(&self) -> String {
        self.node.operator.qualified()
    }

    /// Whether a view lies in a constant.
    pub fn is_constant(&self, view: &View) -> bool {
        matches!(self.low.program.buffer(view.buf).kind, BufKind::Constant(_))
    }

    /// What a view repeats, where it lies in a constant of one element.
    pub fn number(&self, view: &View) -> Option<Tensor> {
        match self.low.program.buffer(view.buf) {
            Buffer { elements: 1, kind: BufKind::Constant(c), .. } => (c.make)(&c.source).ok(),
            _ => None,
        }
    }

    /// The number of inputs, left-out ones included.
    pub fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// Whether input `i` is present.
    pub fn has_input(&self, i: usize) -> bool {
        self.node.inputs.get(i).copied().flatten().is_some()
    }

    /// Whether output `i` is used.
    pub fn has_output(&self, i: usize) -> bool {
        self.node.outputs.get(i).copied().flatten().is_some()
    }

    fn input_id(&self, i: usize) -> Result<ValueId> {
        self.node.inputs.get(i).copied().flatten().ok_or_else(|| err!(InvalidNode, "input {i} is missing"))
    }

    fn output_id(&self, i: usize) -> Result<ValueId> {
        self.node.outputs.get(i).copied().flatten().ok_or_else(|| err!(Internal, "output {i} is not used"))
    }

    /// Where input `i` lies: any strides, any offset.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out, `Unsupported` when the device has no form for its type.
    pub fn input(&mut self, i: usize) -> Result<View> {
        let id = self.input_id(i)?;
        self.view(id)
    }

    /// Input `i` where it may be a value that no view describes, for operators that take more dims as well.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub fn finer_input(&mut self, i: usize) -> Result<Finer> {
        let id = self.input_id(i)?;
        match self.low.finer.get(&id).filter(|_| !self.low.views.contains_key(&id)) {
            Some(finer) => Ok(finer.clone()),
            None => self.view(id).map(|view| Finer { parts: vec![1; view.rank()], view }),
        }
    }

    /// Where a value lies, which is copied where no view describes it.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub(super) fn view(&mut self, v: ValueId) -> Result<View> {
        let Some(finer) = self.low.finer.get(&v).filter(|_| !self.low.views.contains_key(&v)).cloned() else {
            return self.low.view(v);
        };
        let shape = self.low.types.get(&v).map(|t| t.shape.clone()).unwrap_or_default();
        let view = self.dense(&finer.view)?.reshaped(&shape);
        let view = view.ok_or_else(|| err!(Internal, "a dense view did not reshape"))?;
        self.low.views.insert(v, view.clone());
        Ok(view)
    }

    /// Input `i`, or `None` when it is left out.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub fn try_input(&mut self, i: usize) -> Result<Option<View>> {
        if self.has_input(i) { self.input(i).map(Some) } else { Ok(None) }
    }

    /// Input `i` in row-major order at a bindable offset; copied when it is not so already.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub fn dense_input(&mut self, i: usize) -> Result<View> {
        let v = self.input(i)?;
        self.dense(&v)
    }

    /// Input `i` with whatever stands under its first dim in row-major order, at any offset; copied when it is not so
    /// already.
    ///
    /// # Errors
    /// As [`LowerCx::input`].
    pub fn images_input(&mut self, i: usize) -> Result<View> {
        let v = self.input(i)?;
        if v.has_dense_images() { Ok(v) } else { self.dense(&v) }
    }

    /// The type of input `i`.
    ///
    /// # Errors
    /// `InvalidNode` when it is left out.
    pub fn input_type(&self, i: usize) -> Result<TensorType> {
        let id = self.input_id(i)?;
        if let Some(t) = self.low.known.get(&id) {
            return Ok(TensorType::new(t.dtype(), t.shape()));
        }
        self.low.types.get(&id).cloned().ok_or_else(|| err!(Internal, "input {i} has no type yet"))
    }

    /// The data of input `i` where it is known on the host (initialisers, folded values).
    pub fn value(&self, i: usize) -> Option<&Tensor> {
        self.low.known.get(&self.input_id(i).ok()?)
    }

    /// The data of input `i` as `i64`s; `None` when it is left out.
    ///
    /// # Errors
    /// `Unsupported` when it is present but not known on the host.
    pub fn ints(&self, i: usize) -> Result<Option<Vec<i64>>> {
        if !self.has_input(i) {
            return Ok(None);
        }
        let t = self.value(i).ok_or_else(|| err!(Unsupported, "input {i} is not known before the run"))?;
        t.to_i64s().map(Some)
    }

    /// The inferred type of output `i`.
    ///
    /// # Errors
    /// `Internal` when the output is not used.
    pub fn output_type(&self, i: usize) -> Result<TensorType> {
        let id = self.output_id(i)?;
        self.low.types.get(&id).cloned().ok_or_else(|| err!(Internal, "output {i} has no type yet"))
    }

    /// A fresh dense buffer for output `i`. Call once per used output (or [`LowerCx::alias`]).
    ///
    /// # Errors
    /// `Unsupported` when the device has no form for its type, `Limit` when it is too large to bind.
    pub fn output(&mut self, i: usize) -> Result<View> {
        let (id, t) = (self.output_id(i)?, self.output_type(i)?);
        let view = match self.low.roots.remove(&id) {
            Some(root) => root,
            None => {
                let name = self.low.graph.value(id).name.clone();
                self.low.buffer(&name, &t, BufKind::Temp)?
            }
        };
        self.low.views.insert(id, view.clone());
        Ok(view)
    }

    /// As [`LowerCx::output`], for a kernel that writes at any offset, by strides, and nothing beyond the view: where
    /// the output is wanted if `takes` holds for the view there, else a fresh dense buffer.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn output_placed(&mut self, i: usize, takes: impl FnOnce(&View) -> bool) -> Result<View> {
        let shape = self.output_type(i)?.shape;
        self.output_ordered(i, |v| v.shape == shape && takes(v))
    }

    /// As [`LowerCx::output_placed`], where the view may have another shape of as many elements in the same order.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn output_ordered(&mut self, i: usize, takes: impl FnOnce(&View) -> bool) -> Result<View> {
        let id = self.output_id(i)?;
        let Some(wish) = self.low.wishes.get(&id).filter(|w| takes(&w.view)).cloned() else { return self.output(i) };
        let root = match self.low.roots.get(&wish.root) {
            Some(root) => root.buf,
            None if self.low.views.contains_key(&wish.root) => return self.output(i),
            None => {
                let Some(t) = self.low.types.get(&wish.root).cloned() else { return self.output(i) };
                let name = self.low.graph.value(wish.root).name.clone();
                let Ok(root) = self.low.buffer(&name, &t, BufKind::Temp) else { return self.output(i) };
                let buf = root.buf;
                self.low.roots.insert(wish.root, root);
                buf
            }
        };
        // no dispatch reads and writes one buffer, nor writes it twice
        let views = &self.low.views;
        let used = self.node.used_inputs().chain(self.node.used_outputs()).filter_map(|v| views.get(&v));
        if used.into_iter().any(|v| v.buf == root) {
            return self.output(i);
        }
        let view = View { buf: root, ..wish.view };
        self.low.views.insert(id, view.clone());
        Ok(view)
    }

    /// Whether output `i` is wanted in a place within another value.
    pub fn has_place(&self, i: usize) -> bool {
        self.output_id(i).is_ok_and(|id| self.low.wishes.contains_key(&id) || self.low.roots.contains_key(&id))
    }

    /// Output `i` as the inputs lie in it that were written in place: a dense buffer, or where it is wanted itself.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn output_joined(&mut self, i: usize) -> Result<View> {
        let id = self.output_id(i)?;
        match self.low.wishes.get(&id).cloned() {
            Some(wish) if let Some(root) = self.low.roots.get(&wish.root).cloned() => {
                let view = View { buf: root.buf, ..wish.view };
                self.low.views.insert(id, view.clone());
                Ok(view)
            }
            _ => self.output_placed(i, |_| true),
        }
    }

    /// Whether a view covers its buffer in row-major order.
    pub fn is_whole(&self, view: &View) -> bool {
        view.is_dense() && view.offset == 0 && view.numel() == self.low.program.buffer(view.buf).elements
    }

    /// Copies between views of one shape, by way of a third where both lie in one buffer.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn copy_apart(&mut self, from: &View, to: &View) -> Result<()> {
        if from.buf != to.buf {
            return kernels::copy::copy(self, from, to);
        }
        let between = self.temp(from.dtype, &from.shape)?;
        kernels::copy::copy(self, from, &between)?;
        kernels::copy::copy(self, &between, to)
    }

    /// Says that output `i` is `view`: no dispatch, no copy.
    ///
    /// # Errors
    /// `Internal` when the view's type is not the one inferred.
    pub fn alias(&mut self, i: usize, view: View) -> Result<()> {
        let (id, t) = (self.output_id(i)?, self.output_type(i)?);
        let got = view.tensor_type();
        ensure!(got == t, Internal, "output {i} was inferred as {t}, lowered as {got}");
        self.low.views.insert(id, view);
        Ok(())
    }

    /// As [`LowerCx::alias`], of a value that no view describes. It is copied once a reader needs a view.
    ///
    /// # Errors
    /// `Internal` when it has not as many elements as inferred.
    pub fn alias_finer(&mut self, i: usize, finer: Finer) -> Result<()> {
        let (id, t) = (self.output_id(i)?, self.output_type(i)?);
        let fits = finer.view.numel() == t.numel() && finer.view.dtype == t.dtype && finer.parts.len() == t.shape.len();
        ensure!(fits, Internal, "output {i} was inferred as {t}, lowered as {}", finer.view.tensor_type());
        self.low.finer.insert(id, finer);
        Ok(())
    }

    /// A dense buffer for an intermediate result.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn temp(&mut self, dtype: DType, shape: &[usize]) -> Result<View> {
        let name = format!("{} temp", self.node.name);
        self.low.buffer(&name, &TensorType::new(dtype, shape), BufKind::Temp)
    }

    /// A constant that lowering itself makes.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn constant(&mut self, tensor: Tensor) -> Result<View> {
        let t = TensorType::new(tensor.dtype(), tensor.shape());
        let name = format!("{} constant", self.node.name);
        self.low.constant(&name, vec![tensor], "", t, Arc::new(|t: &Tensor| Ok(t.clone())))
    }

    /// The data of input `i`, known on the host, rearranged by `make` into a tensor of type `t` and uploaded once for
    /// all programs of the model. `tag` names the rearrangement: equal tags must mean equal results.
    ///
    /// # Errors
    /// `Unsupported` when the input is not known on the host; as [`LowerCx::output`].
    pub fn prepacked(
        &mut self,
        i: usize,
        tag: &str,
        t: TensorType,
        make: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<View> {
        self.prepacked_with(i, &[], tag, t, move |t, _| make(t))
    }

    /// As [`LowerCx::prepacked`], from the inputs `others` besides, which are known on the host as well.
    ///
    /// # Errors
    /// As [`LowerCx::prepacked`].
    pub fn prepacked_with(
        &mut self,
        i: usize,
        others: &[usize],
        tag: &str,
        t: TensorType,
        make: impl Fn(&Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<View> {
        let known = |i: &usize| {
            let id = self.input_id(*i)?;
            let found = self.low.known.get(&id).cloned();
            found.ok_or_else(|| err!(Unsupported, "input {i} is not known before the run"))
        };
        let sources: Vec<Tensor> = [i].iter().chain(others).map(known).collect::<Result<_>>()?;
        let name = format!("{} {tag}", self.low.graph.value(self.input_id(i)?).name);
        let rest = sources[1..].to_vec();
        let make = move |t: &Tensor| make(t, &rest);
        self.low.constant(&name, sources, tag, t, Arc::new(make))
    }

    /// Lowers the nodes of `body` in this node's place. Its inputs are the node's inputs with the numbers `inputs`, its
    /// outputs the node's outputs with the numbers `outputs`.
    ///
    /// # Errors
    /// Those of the nodes.
    pub fn inline(&mut self, body: Graph, inputs: &[usize], outputs: &[usize]) -> Result<()> {
        let body = Arc::new(body);
        let mut inner = Lowering::new(body.clone(), self.low.profile.clone());
        for (id, v) in body.values() {
            if let Some(data) = &v.constant {
                inner.types.insert(id, TensorType::new(data.dtype(), data.shape()));
                inner.known.insert(id, data.clone());
            }
        }
        for (id, i) in body.inputs.iter().zip(inputs) {
            inner.types.insert(*id, self.input_type(*i)?);
            let finer = self.finer_input(*i)?;
            if finer.is_plain() {
                inner.views.insert(*id, finer.view);
            } else {
                inner.finer.insert(*id, finer);
            }
        }
        let index = self.index;
        let made = self.low.within(&mut inner, |inner| inner.lower_all(index))?;
        for (view, i) in made.into_iter().zip(outputs) {
            self.alias(*i, view)?;
        }
        Ok(())
    }

    /// Lowers by `f`, or emits nothing and gives `false` where that is `Unsupported` or beyond a `Limit`.
    ///
    /// # Errors
    /// All others of `f`.
    pub fn attempt(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
        let (dispatches, buffers) = (self.low.program.dispatches.len(), self.low.program.buffers.len());
        let placed = self.low.placed(self.node);
        match f(self) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::Limit) => {
                log::debug!("{}: lowered in parts: {e}", self.node.path());
                self.low.program.dispatches.truncate(dispatches);
                self.low.forget_buffers_from(buffers);
                self.low.place_again(self.node, placed);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// `view` in row-major order at an offset that the device can bind; copied when it is not so already.
    ///
    /// # Errors
    /// As [`LowerCx::output`].
    pub fn dense(&mut self, view: &View) -> Result<View> {
        let byte_offset = view.offset as u64 * view.device.bytes() as u64;
        if view.is_dense() && byte_offset.is_multiple_of(self.low.profile.offset_align) {
            return Ok(view.clone());
        }
        let out = self.temp(view.dtype, &view.shape)?;
        kernels::copy::copy(self, view, &out)?;
        Ok(out)
    }

    /// One dispatch. Params go to binding 0 as a uniform (none when empty), the views to the bindings after it, in
    /// order. A view whose offset the device can bind is bound from there (and the shader counts from 0 when
    /// [`LowerCx::base`] says 0); otherwise from the buffer's start. An empty grid emits nothing.
    ///
    /// # Errors
    /// `Internal` when one buffer is bound both to read and to write, `Limit` when the device binds fewer buffers.
    pub fn dispatch(&mut self, kernel: &dyn Kernel, params: Params, binds: &[Bind<'_>], grid: [u32; 3]) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let profile = self.low.profile.clone();
        let most = profile.max_storage_buffers as usize;
        ensure!(binds.len() <= most, Limit, "{} binds {} buffers, the device {most}", kernel.label(), binds.len());
        let span = |b: &Bind<'_>| {
            let (v, write) = match b {
                Bind::Read(v) => (v, false),
                Bind::Write(v) => (v, true),
            };
            let buffer = self.low.program.buffer(v.buf);
            let range = match buffer.bytes > profile.max_binding {
                true => window(v, buffer.bytes, profile.offset_align),
                false => (v.offset - self.low.base(v)) as u64 * v.device.bytes() as u64..buffer.bytes,
            };
            let (bytes, limit) = (range.end - range.start, profile.max_binding);
            let label = kernel.label();
            ensure!(bytes <= limit, Limit, "{label}: {:?} takes {bytes} bytes, the device binds {limit}", buffer.name);
            Ok(Span { buf: v.buf, offset: range.start, bytes, write })
        };
        let spans: Vec<Span> = binds.iter().map(span).collect::<Result<_>>()?;
        let clash = spans.iter().any(|a| a.write && spans.iter().filter(|b| b.buf == a.buf).count() > 1);
        ensure!(!clash, Internal, "{} binds a buffer it writes a second time", kernel.label());
        let (mut spec, params) = (kernel.spec(&profile), params.finish());
        if profile.texels != When::Never && kernel.texels() {
            let first = u32::from(!params.is_empty());
            let words = |b: &Bind<'_>| matches!(b, Bind::Read(v) if v.device != DeviceType::F16);
            let all = (first..).zip(binds).filter(|(_, b)| words(b)).map(|(binding, _)| binding);
            spec.texels = all.take(texels::MOST_BOUND).collect();
        }
        self.low.program.dispatches.push(Dispatch {
            node: self.index,
            label: kernel.label(),
            spec: Arc::new(spec),
            params,
            flops: spans.iter().filter(|s| s.write).map(|s| s.bytes / 4).sum(),
            spans,
            grid,
            chosen: None,
        });
        Ok(())
    }

    /// Emits by `f` what was chosen.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn choosing(&mut self, chosen: Chosen, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let first = self.low.program.dispatches.len();
        f(self)?;
        let chosen = Arc::new(chosen);
        self.low.program.dispatches[first..].iter_mut().for_each(|d| d.chosen = Some(chosen.clone()));
        Ok(())
    }

    /// Says how many arithmetic operations the last dispatch takes.
    pub fn takes_flops(&mut self, flops: usize) {
        if let Some(d) = self.low.program.dispatches.last_mut() {
            d.flops = flops as u64;
        }
    }

    /// The element at which a shader finds coordinate zero of `view` in the range that [`LowerCx::dispatch`] binds:
    /// 0 when the device can bind the view's offset, else the offset, counted from a window if the buffer is large.
    pub fn base(&self, view: &View) -> u32 {
        self.low.base(view) as u32
    }

    /// Whether a dispatch can bind what the view reaches.
    pub fn binds(&self, view: &View) -> bool {
        let (size, profile) = (self.low.program.buffer(view.buf).bytes, &self.low.profile);
        let range = window(view, size, profile.offset_align);
        size <= profile.max_binding || range.end - range.start <= profile.max_binding
    }
}

impl Lowering {
    fn base(&self, view: &View) -> usize {
        let (size, align) = (self.program.buffer(view.buf).bytes, self.profile.offset_align);
        if size > self.profile.max_binding {
            return view.offset - (window(view, size, align).start / view.device.bytes() as u64) as usize;
        }
        let reversed = view.strides.iter().any(|s| *s < 0);
        let bytes = view.offset as u64 * view.device.bytes() as u64;
        if !reversed && bytes.is_multiple_of(align) { 0 } else { view.offset }
    }
}
