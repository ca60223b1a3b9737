//! Control flow: If, Loop, Scan. Their inputs end with the values that the bodies capture (see [`crate::ir`]).

use std::sync::Arc;

use super::{Case, ControlFlow, Defer, Handle, InferCx, Inferred, NodeInfo, Op, OpDef, Pending, Tolerance};
use crate::dtype::DType;
use crate::ir::{AttrReader, Dim, Graph, TensorType, ValueId};
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

const VERSIONS: &[i64] = &[1, 11, 13, 16, 19, 21, 23, 24, 25];

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[
    OpDef { domain: "", name: "If", versions: VERSIONS, parse: parse_if, cases: if_cases },
    OpDef { domain: "", name: "Loop", versions: VERSIONS, parse: parse_loop, cases: loop_cases },
    OpDef {
        domain: "",
        name: "Scan",
        versions: &[8, 9, 11, 16, 19, 21, 23, 24, 25],
        parse: parse_scan,
        cases: scan_cases,
    },
];

fn body(a: &AttrReader<'_>, name: &str) -> Result<Arc<Graph>> {
    a.graph(name)?.ok_or_else(|| err!(InvalidNode, "attribute {name} is missing"))
}

/// The node's own inputs and the captured ones.
fn split<'a>(graph: &Graph, inputs: &'a [Option<Handle>]) -> Result<(&'a [Option<Handle>], Vec<Handle>)> {
    let own = inputs.len().checked_sub(graph.captures);
    let own = own.ok_or_else(|| err!(InvalidNode, "{} inputs, {} are captured", inputs.len(), graph.captures))?;
    let captured = inputs[own..].iter().copied().collect::<Option<Vec<_>>>();
    Ok((&inputs[..own], captured.ok_or_else(|| err!(InvalidNode, "a captured value is missing"))?))
}

fn present(inputs: &[Option<Handle>], what: &str) -> Result<Vec<Handle>> {
    let all = inputs.iter().copied().collect::<Option<Vec<_>>>();
    all.ok_or_else(|| err!(InvalidNode, "{what} is missing"))
}

/// The one element of a bool tensor.
async fn truth(flow: &mut dyn ControlFlow, value: Handle) -> Result<bool> {
    let t = flow.read(value).await?;
    match t.to_slice::<bool>()?.as_ref() {
        [b] => Ok(*b),
        _ => bail!(InvalidNode, "expected one bool for a condition, got {t:?}"),
    }
}

/// The type of one iteration's output `v`, which no iteration has made: what the body declares, 0 for open extents.
fn promised(graph: &Graph, v: ValueId) -> Result<TensorType> {
    let value = graph.value(v);
    if let Some(c) = &value.constant {
        return Ok(TensorType::new(c.dtype(), c.shape()));
    }
    let known = |d: &Dim| if let Dim::Known(n) = d { *n } else { 0 };
    let declared = value.declared.as_ref();
    let dtype = declared.and_then(|d| d.dtype());
    let dtype = dtype.ok_or_else(|| err!(Unsupported, "no iteration, and {:?} declares no type", value.name))?;
    let dims = declared.and_then(|d| d.dims()).unwrap_or(&[]);
    Ok(TensorType::new(dtype, dims.iter().map(known).collect::<Vec<_>>()))
}

/// The outputs `v` of all iterations stacked along `axis` (negative: from the end).
async fn stacked(flow: &mut dyn ControlFlow, body: &Graph, v: ValueId, parts: &[Handle], axis: i64) -> Result<Handle> {
    let one = match parts.first() {
        Some(first) => flow.type_of(*first),
        None => promised(body, v)?,
    };
    let axis = shape::axis(axis, one.rank() + 1)?;
    if parts.is_empty() {
        let mut all = one.shape;
        all.insert(axis, 0);
        shape::checked_numel(&all)?;
        return Ok(flow.host(Tensor::zeros(one.dtype, all)));
    }
    flow.stack(parts, axis).await
}

// ---- If ----

#[derive(Debug)]
struct If {
    then_branch: Arc<Graph>,
    else_branch: Arc<Graph>,
}

fn parse_if(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let (then_branch, else_branch) = (body(a, "then_branch")?, body(a, "else_branch")?);
    let (yes, no) = (then_branch.outputs.len(), else_branch.outputs.len());
    ensure!(yes == no, InvalidNode, "then_branch gives {yes} outputs, else_branch {no}");
    for branch in [&then_branch, &else_branch] {
        let formal = branch.inputs.len() - branch.captures;
        ensure!(formal == 0, InvalidNode, "branch {:?} takes {formal} inputs", branch.name);
    }
    Ok(Arc::new(If { then_branch, else_branch }))
}

impl If {
    async fn branch(&self, flow: &mut dyn ControlFlow, inputs: &[Option<Handle>]) -> Result<Vec<Handle>> {
        let (own, captured) = split(&self.then_branch, inputs)?;
        let [Some(condition)] = own else { bail!(InvalidNode, "expected a condition, got {} inputs", own.len()) };
        let yes = truth(flow, *condition).await?;
        flow.run(!yes as usize, &captured).await
    }
}

impl Op for If {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        bail!(Internal, "If runs its bodies")
    }

    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.then_branch, &self.else_branch]
    }

    fn control<'a>(&'a self, flow: &'a mut dyn ControlFlow, inputs: &'a [Option<Handle>]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.branch(flow, inputs))
    }

    fn tolerance(&self, dtype: DType, _: usize) -> Tolerance {
        Tolerance::ulps(dtype, 4.0)
    }
}

// ---- Loop ----

#[derive(Debug)]
struct Loop {
    body: Arc<Graph>,
    /// The body's condition is true whenever the one it is given is.
    steady: bool,
}

fn parse_loop(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = body(a, "body")?;
    let formal = body.inputs.len() - body.captures;
    ensure!(formal >= 2, InvalidNode, "the body takes {formal} inputs, expected at least 2");
    let (carried, made) = (formal - 2, body.outputs.len());
    ensure!(made > carried, InvalidNode, "the body gives {made} outputs, expected at least {}", carried + 1);
    let steady = is_steady(&body);
    Ok(Arc::new(Loop { body, steady }))
}

/// Whether the body's condition is a constant true or the condition it was given, so that nobody needs to read it.
fn is_steady(body: &Graph) -> bool {
    let mut v = body.outputs[0];
    // every step goes to an earlier node
    for node in body.nodes.iter().rev() {
        if node.outputs.first() == Some(&Some(v)) && matches!(node.operator.op_type.as_str(), "Identity" | "Cast") {
            let Some(Some(from)) = node.inputs.first() else { return false };
            v = *from;
        }
    }
    let constant = body.value(v).constant.as_ref().and_then(|c| c.to_f64s().ok());
    v == body.inputs[1] || constant.is_some_and(|c| c.len() == 1 && c[0] != 0.0)
}

impl Loop {
    /// A scalar, or a vector of one element where the body declares its input so.
    fn formal(&self, i: usize, value: Tensor) -> Result<Tensor> {
        let declared = self.body.value(self.body.inputs[i]).declared.as_ref();
        let rank = declared.and_then(|d| d.dims()).map_or(0, <[Dim]>::len);
        value.reshaped(vec![1; rank.min(1)])
    }

    async fn repeat(&self, flow: &mut dyn ControlFlow, inputs: &[Option<Handle>]) -> Result<Vec<Handle>> {
        let (own, captured) = split(&self.body, inputs)?;
        let limit = match own.first().copied().flatten() {
            Some(m) => match flow.read(m).await?.to_i64s()?.as_slice() {
                [m] => Some(usize::try_from(*m).unwrap_or(0)),
                other => bail!(InvalidNode, "expected one trip count, got {other:?}"),
            },
            None => None,
        };
        let condition = own.get(1).copied().flatten();
        let mut going = match condition {
            Some(c) => truth(flow, c).await?,
            None => true,
        };
        let endless = self.steady && limit.is_none() && going;
        ensure!(!endless, InvalidNode, "a loop without a trip count whose condition never changes");
        if let (true, true, Some(steps)) = (self.steady, going, limit) {
            self.body.limits.iterate(steps)?;
        }
        let mut carried = present(own.get(2..).unwrap_or(&[]), "a loop-carried value")?;
        let formal = self.body.inputs.len() - self.body.captures - 2;
        let got = carried.len();
        ensure!(got == formal, InvalidNode, "the body carries {formal} values, the node gives {got}");
        let outputs = &self.body.outputs[1 + formal..];
        let mut scans: Vec<Vec<Handle>> = vec![vec![]; outputs.len()];
        let mut i = 0;
        while going && limit.is_none_or(|m| i < m) {
            let mut args = vec![
                flow.host(self.formal(0, Tensor::scalar(i as i64))?),
                flow.host(self.formal(1, Tensor::scalar(true))?),
            ];
            args.extend(carried.iter().chain(&captured));
            let mut made = flow.run(0, &args).await?;
            ensure!(made.len() == self.body.outputs.len(), Internal, "the body gave {} outputs", made.len());
            flow.forget(&args[..2 + formal]);
            let scanned = made.split_off(1 + formal);
            scans.iter_mut().zip(scanned).for_each(|(list, h)| list.push(h));
            // without a condition of the node's own, the body's is ignored
            if condition.is_some() && !self.steady {
                going = truth(flow, made[0]).await?;
            }
            carried = made.split_off(1);
            i += 1;
        }
        let mut out = carried;
        for (v, parts) in outputs.iter().zip(&scans) {
            out.push(stacked(flow, &self.body, *v, parts, 0).await?);
        }
        Ok(out)
    }
}

impl Op for Loop {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        bail!(Internal, "Loop runs its body")
    }

    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn control<'a>(&'a self, flow: &'a mut dyn ControlFlow, inputs: &'a [Option<Handle>]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.repeat(flow, inputs))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 4.0 * k as f64)
    }
}

// ---- Scan ----

#[derive(Debug)]
struct Scan {
    body: Arc<Graph>,
    /// How many of the inputs are scanned.
    scanned: usize,
    input_axes: Vec<i64>,
    output_axes: Vec<i64>,
    /// Whether each is taken (or put together) from the end.
    input_reversed: Vec<bool>,
    output_reversed: Vec<bool>,
    /// Opset 8: all values have a batch dim in front, and lengths may come first.
    batched: bool,
}

fn parse_scan(a: &AttrReader<'_>, n: &NodeInfo) -> Result<Arc<dyn Op>> {
    let body = body(a, "body")?;
    let count = a.required_int("num_scan_inputs")?;
    let formal = body.inputs.len() - body.captures;
    let scanned = usize::try_from(count).ok().filter(|c| (1..=formal).contains(c));
    let scanned = scanned.ok_or_else(|| err!(InvalidNode, "num_scan_inputs is {count}, the body takes {formal}"))?;
    let states = formal - scanned;
    let made = body.outputs.len().checked_sub(states);
    let made = made.ok_or_else(|| err!(InvalidNode, "the body gives fewer outputs than its {states} states"))?;
    let batched = n.version < 9;
    let list = |name: &str, len: usize| {
        let given = a.ints_or(name, vec![0; len])?;
        ensure!(given.len() == len, InvalidNode, "attribute {name}: expected {len} values, got {given:?}");
        Ok(given)
    };
    let flags = |name: &str, len: usize| {
        let given = list(name, len)?;
        ensure!(given.iter().all(|d| [0, 1].contains(d)), InvalidNode, "attribute {name}: {given:?} is not 0 or 1");
        Ok(given.into_iter().map(|d| d == 1).collect::<Vec<bool>>())
    };
    if batched {
        return Ok(Arc::new(Scan {
            body,
            scanned,
            input_axes: vec![0; scanned],
            output_axes: vec![0; made],
            input_reversed: flags("directions", scanned)?,
            output_reversed: vec![false; made],
            batched,
        }));
    }
    Ok(Arc::new(Scan {
        body,
        scanned,
        input_axes: list("scan_input_axes", scanned)?,
        output_axes: list("scan_output_axes", made)?,
        input_reversed: flags("scan_input_directions", scanned)?,
        output_reversed: flags("scan_output_directions", made)?,
        batched,
    }))
}

impl Scan {
    fn states(&self) -> usize {
        self.body.inputs.len() - self.body.captures - self.scanned
    }

    /// One scan; `steps` of the sequences' elements, or all. Outputs are padded with zeros to the sequences' length.
    async fn run(
        &self,
        flow: &mut dyn ControlFlow,
        own: &[Handle],
        captured: &[Handle],
        steps: Option<usize>,
    ) -> Result<Vec<Handle>> {
        let count = self.states() + self.scanned;
        ensure!(own.len() == count, InvalidNode, "the body takes {count} values, the node gives {}", own.len());
        let (states, sequences) = own.split_at(self.states());
        let mut axes = vec![];
        let mut length = None;
        for (s, axis) in sequences.iter().zip(&self.input_axes) {
            let t = flow.type_of(*s);
            let axis = shape::axis(*axis, t.rank())?;
            let len = *length.get_or_insert(t.shape[axis]);
            ensure!(len == t.shape[axis], InvalidNode, "sequences of {len} and of {} elements", t.shape[axis]);
            axes.push(axis);
        }
        let length = length.unwrap_or(0);
        let steps = steps.unwrap_or(length);
        ensure!(steps <= length, InvalidNode, "{steps} steps of a sequence of {length}");
        self.body.limits.iterate(steps)?;
        let mut states = states.to_vec();
        let outputs = &self.body.outputs[self.states()..];
        let mut scans: Vec<Vec<Handle>> = vec![vec![]; outputs.len()];
        for i in 0..steps {
            let mut args = states;
            for ((s, axis), reversed) in sequences.iter().zip(&axes).zip(&self.input_reversed) {
                let at = if *reversed { steps - 1 - i } else { i };
                args.push(flow.take(*s, *axis, at).await?);
            }
            args.extend(captured);
            let mut made = flow.run(0, &args).await?;
            ensure!(made.len() == self.body.outputs.len(), Internal, "the body gave {} outputs", made.len());
            // the first states are the node's inputs, which a batch may need again
            flow.forget(&args[if i > 0 { 0 } else { self.states() }..count]);
            let scanned = made.split_off(self.states());
            scans.iter_mut().zip(scanned).for_each(|(list, h)| list.push(h));
            states = made;
        }
        let mut out = states;
        for (((v, mut parts), axis), reversed) in
            outputs.iter().zip(scans).zip(&self.output_axes).zip(&self.output_reversed)
        {
            if let Some(first) = parts.first().filter(|_| steps < length) {
                let t = flow.type_of(*first);
                let all = TensorType::new(t.dtype, [&[length], &t.shape[..]].concat());
                self.body.limits.hold(0, [&all], size_of::<Handle>())?;
                let padding = flow.host(Tensor::zeros(t.dtype, t.shape));
                parts.resize(length, padding);
            }
            if *reversed {
                parts.reverse();
            }
            out.push(stacked(flow, &self.body, *v, &parts, *axis).await?);
        }
        Ok(out)
    }

    /// Opset 8: each sequence of the batch on its own.
    async fn run_batched(
        &self,
        flow: &mut dyn ControlFlow,
        own: &[Option<Handle>],
        captured: &[Handle],
    ) -> Result<Vec<Handle>> {
        let Some((lens, own)) = own.split_first() else { bail!(InvalidNode, "expected sequences, got no input") };
        let own = present(own, "a state or sequence")?;
        let lens = match lens {
            Some(l) => Some(flow.read(*l).await?.to_i64s()?),
            None => None,
        };
        let first = own.last().map(|h| flow.type_of(*h));
        let batch = first.and_then(|t| t.shape.first().copied());
        let batch = batch.ok_or_else(|| err!(InvalidNode, "expected sequences with a batch dim"))?;
        ensure!(batch > 0, Unsupported, "a batch of no sequences");
        self.body.limits.iterate(batch)?;
        let mut rows: Vec<Vec<Handle>> = vec![vec![]; self.body.outputs.len()];
        for b in 0..batch {
            let mut one = vec![];
            for h in &own {
                one.push(flow.take(*h, 0, b).await?);
            }
            let steps = match &lens {
                Some(l) => {
                    let len = l.get(b).and_then(|n| usize::try_from(*n).ok());
                    Some(len.ok_or_else(|| err!(InvalidNode, "sequence_lens {l:?} for a batch of {batch}"))?)
                }
                None => None,
            };
            let made = self.run(flow, &one, captured, steps).await?;
            rows.iter_mut().zip(made).for_each(|(list, h)| list.push(h));
        }
        let mut out = vec![];
        for parts in &rows {
            out.push(flow.stack(parts, 0).await?);
        }
        Ok(out)
    }

    async fn scan(&self, flow: &mut dyn ControlFlow, inputs: &[Option<Handle>]) -> Result<Vec<Handle>> {
        let (own, captured) = split(&self.body, inputs)?;
        if self.batched {
            return self.run_batched(flow, own, &captured).await;
        }
        let own = present(own, "a state or sequence")?;
        self.run(flow, &own, &captured, None).await
    }
}

impl Op for Scan {
    fn infer(&self, _: &InferCx<'_>) -> Inferred {
        Err(Defer::DataDependent)
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        bail!(Internal, "Scan runs its body")
    }

    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn control<'a>(&'a self, flow: &'a mut dyn ControlFlow, inputs: &'a [Option<Handle>]) -> Pending<'a, Vec<Handle>> {
        Box::pin(self.scan(flow, inputs))
    }

    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 4.0 * k as f64)
    }
}

// ---- cases ----

/// A case whose attributes are bodies in the text form.
fn with_bodies(mut case: Case, bodies: &[(&str, &str)]) -> Option<Case> {
    for (name, text) in bodies {
        case = case.attr(name, crate::ir::Attr::Graph(Arc::new(crate::ir::parse(text).ok()?)));
    }
    Some(case)
}

fn if_cases() -> Vec<Case> {
    let yes = "graph yes(; %a, %b) -> (%s) { %s = Add@14(%a, %b) }";
    let no = "graph no(; %a, %b) -> (%s) { %s = Mul@14(%b, %b) }";
    let case = |opset: i64, condition: Tensor| {
        let case = Case::new("If", opset).value(condition).rand(DType::F32, &[3]).rand(DType::F32, &[2, 3]);
        with_bodies(case, &[("then_branch", yes), ("else_branch", no)])
    };
    let made = "graph made() -> (%c) { %c = float[2] {1.5, -2.0} }";
    let other = "graph other() -> (%c) { %c = float[1] {3.0} }";
    let constant = Case::new("If", 13).value(Tensor::scalar(false));
    [
        case(16, Tensor::scalar(true)),
        case(16, Tensor::scalar(false)),
        case(11, Tensor::vector(&[true])),
        with_bodies(constant, &[("then_branch", made), ("else_branch", other)]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn loop_cases() -> Vec<Case> {
    // x doubles and grows by an outer value until it is large; scans x and i
    let double = "graph body(%i: int64[], %c: bool[], %x; %o) -> (%d, %z, %z2, %i2) {
        %limit = float[] {1000.0}
        %t = Add@14(%x, %x)
        %z = Add@14(%t, %o)
        %z2: float[2] = Identity@14(%z)
        %i2: int64[] = Identity@14(%i)
        %s = ReduceSum@13(%z) {keepdims = 0}
        %d = Less@13(%s, %limit)
    }";
    let count = "graph body(%i, %c, %n) -> (%c, %m, %f) {
        %one = int64[] {1}
        %m = Add@14(%n, %one)
        %f = Cast@13(%m) {to = 1}
    }";
    let grow = "graph body(%i, %c, %x) -> (%c, %y) { %y = Concat@13(%x, %x) {axis = 0} }";
    let looped = |m: Option<i64>, c: Option<bool>, opset: i64| {
        let case = Case::new("Loop", opset).outputs(3).sum(16);
        let case = m.map_or_else(|| case.clone().absent(), |m| case.clone().value(Tensor::scalar(m)));
        let case = c.map_or_else(|| case.clone().absent(), |c| case.clone().value(Tensor::scalar(c)));
        with_bodies(case.range(DType::F32, &[2], 1.0, 2.0).range(DType::F32, &[2], 0.0, 1.0), &[("body", double)])
    };
    let counted = Case::new("Loop", 13).outputs(2).value(Tensor::vector(&[5i64])).value(Tensor::scalar(true));
    let growing = Case::new("Loop", 16).value(Tensor::scalar(3i64)).absent().rand(DType::F32, &[3]);
    [
        looped(Some(4), Some(true), 13),
        looped(Some(4), None, 11),
        looped(Some(i64::MAX), Some(true), 13),
        looped(None, Some(true), 19),
        looped(Some(0), Some(true), 13),
        looped(Some(3), Some(false), 13),
        with_bodies(counted.value(Tensor::scalar(7i64)), &[("body", count)]),
        with_bodies(growing, &[("body", grow)]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn scan_cases() -> Vec<Case> {
    let sum = "graph body(%s, %x; %k) -> (%t, %y) {
        %t = Add@13(%s, %x)
        %y: float[2] = Mul@13(%t, %k)
    }";
    let scan = |shape: &[usize]| {
        let case = Case::new("Scan", 16).int("num_scan_inputs", 1).outputs(2).sum(8);
        let case = case.rand(DType::F32, &[2]).rand(DType::F32, shape).rand(DType::F32, &[1]);
        with_bodies(case, &[("body", sum)])
    };
    let old = |lens: Option<Tensor>| {
        let case = Case::new("Scan", 8).int("num_scan_inputs", 1).outputs(2).sum(8);
        let case = lens.map_or_else(|| case.clone().absent(), |l| case.clone().value(l));
        let case = case.rand(DType::F32, &[2, 2]).rand(DType::F32, &[2, 3, 2]).rand(DType::F32, &[1]);
        with_bodies(case.ints("directions", &[1]), &[("body", sum)])
    };
    let turned = scan(&[2, 5]).map(|c| {
        let c = c.ints("scan_input_axes", &[-1]).ints("scan_output_axes", &[1]);
        c.ints("scan_input_directions", &[1]).ints("scan_output_directions", &[1])
    });
    let all = [scan(&[4, 2]), scan(&[0, 2]), turned, old(None), old(Some(Tensor::vector(&[3i64, 1])))];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn run(case: &Case) -> Vec<Tensor> {
        let (graph, data) = case.build(&mut Rng::new(3)).unwrap();
        crate::cpu::run(&graph, &data).unwrap()
    }

    #[test]
    fn every_case_has_its_bodies() {
        assert_eq!((if_cases().len(), loop_cases().len(), scan_cases().len()), (4, 8, 5));
    }

    #[test]
    fn loops_stop_where_the_table_says() {
        let body = "graph b(%i: int64[], %c, %x) -> (%d, %y, %i) {
            %one = int64[] {1}
            %y = Add@13(%x, %one)
            %three = int64[] {3}
            %d = Less@13(%y, %three)
        }";
        let trips = |m: Option<i64>, c: Option<bool>| {
            let case = Case::new("Loop", 13).outputs(2);
            let case = m.map_or_else(|| case.clone().absent(), |m| case.clone().value(Tensor::scalar(m)));
            let case = c.map_or_else(|| case.clone().absent(), |c| case.clone().value(Tensor::scalar(c)));
            let out = run(&with_bodies(case.value(Tensor::scalar(0i64)), &[("body", body)]).unwrap());
            assert_eq!(out[1].to_i64s().unwrap(), (0..out[1].len() as i64).collect::<Vec<_>>());
            out[0].to_i64s().unwrap()[0]
        };
        assert_eq!(trips(Some(10), Some(true)), 3);
        assert_eq!(trips(Some(2), Some(true)), 2);
        assert_eq!(trips(Some(10), Some(false)), 0);
        assert_eq!(trips(None, Some(true)), 3);
        assert_eq!(trips(Some(5), None), 5);
        assert_eq!(trips(Some(-1), None), 0);
    }

    #[test]
    fn no_iteration_gives_empty_scans_of_the_declared_type() {
        let out = run(&loop_cases()[4]);
        assert_eq!((out[1].dtype(), out[1].shape()), (DType::F32, &[0, 2][..]));
        let out = run(&scan_cases()[1]);
        assert_eq!(out[1].shape(), [0, 2]);
    }

    #[test]
    fn endless_loops_are_refused() {
        let body = "graph b(%i, %c, %x) -> (%c, %x) {}";
        let case = Case::new("Loop", 13).absent().value(Tensor::scalar(true)).value(Tensor::scalar(0i64));
        let (graph, data) = with_bodies(case, &[("body", body)]).unwrap().build(&mut Rng::new(0)).unwrap();
        assert!(crate::cpu::run(&graph, &data).is_err());
    }

    #[test]
    fn scans_go_backwards_along_any_axis() {
        let body = "graph b(%s, %x) -> (%t, %u) { %t = Add@13(%s, %x) %u = Identity@13(%t) }";
        let case = Case::new("Scan", 9).int("num_scan_inputs", 1).outputs(2);
        let case = case.ints("scan_input_axes", &[1]).ints("scan_input_directions", &[1]);
        let case = case.value(Tensor::vector(&[0f32])).value(Tensor::new([1, 3], vec![1f32, 2.0, 4.0]).unwrap());
        let out = run(&with_bodies(case, &[("body", body)]).unwrap());
        assert_eq!(out[0].to_f64s().unwrap(), [7.0]);
        assert_eq!(out[1].to_f64s().unwrap(), [4.0, 6.0, 7.0]);
    }
}
