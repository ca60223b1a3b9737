//! Protobuf, import, passes, the reference and plans for a device, on whatever bytes.

use prost::Message;
use shadernet::import::ImportOptions;
use shadernet::ir::{Declared, Dim, Graph, TensorType};
use shadernet::kernels::Profile;
use shadernet::passes::{self, Arithmetic};
use shadernet::plan::{Fallback, Known, plan};
use shadernet::{DType, Model, Rng, Tensor, ValueInfo};

use crate::{limits, refused};

/// Elements of an input that is made up for a model.
const ELEMENTS: usize = 1 << 12;

/// Imports, optimises, evaluates and plans.
pub fn run(data: &[u8]) {
    let options = ImportOptions { limits: limits(), ..ImportOptions::default() };
    let model = match Model::from_bytes_with(data, &options) {
        Ok(model) => model,
        Err(e) => return refused(&e),
    };
    let mut rng = Rng::new(data.len() as u64);
    let Some(inputs) = model.inputs().iter().map(|i| value(i, &mut rng)).collect::<Option<Vec<Tensor>>>() else { return };
    let named: Vec<(&str, Tensor)> = model.inputs().iter().map(|i| i.name.as_str()).zip(inputs.iter().cloned()).collect();
    if let Err(e) = model.reference().run(&named) {
        refused(&e);
    }
    let graph: &Graph = model.graph();
    planned(graph.clone(), &inputs, Arithmetic::default(), |p| p.cpu);
    planned(graph.clone(), &inputs, Arithmetic { float16: true, bytes: true }, |p| p.bytes && p.coop);
}

/// Optimises for such arithmetic, and plans for two of those profiles.
fn planned(mut graph: Graph, inputs: &[Tensor], arithmetic: Arithmetic, profiles: impl Fn(&Profile) -> bool) {
    if let Err(e) = passes::run_for(&mut graph, &[], arithmetic) {
        return refused(&e);
    }
    let mut known = Known::default();
    for (id, v) in graph.values() {
        if let Some(c) = &v.constant {
            known.types.insert(id, TensorType::new(c.dtype(), c.shape()));
            known.values.insert(id, c.clone());
        }
    }
    for (id, t) in graph.inputs.iter().zip(inputs) {
        known.types.insert(*id, TensorType::new(t.dtype(), t.shape()));
        known.values.insert(*id, t.clone());
    }
    for profile in Profile::all().into_iter().filter(profiles).take(2) {
        if let Err(e) = plan(&graph.clone().into(), &profile.into(), 0, known.clone(), Fallback::Allow) {
            refused(&e);
        }
    }
}

/// A small value of the declared type; `None` when it would not be small.
fn value(info: &ValueInfo, rng: &mut Rng) -> Option<Tensor> {
    let declared = info.declared.as_ref();
    let dtype = declared.and_then(Declared::dtype).unwrap_or(DType::F32);
    let extent = |d: &Dim| if let Dim::Known(n) = d { *n } else { 2 };
    let shape: Vec<usize> = declared.and_then(Declared::dims).unwrap_or(&[]).iter().map(extent).collect();
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    if count > ELEMENTS || dtype.is_container() {
        return None;
    }
    if dtype == DType::String {
        return Some(Tensor::zeros(dtype, shape));
    }
    rng.tensor(dtype, &shape, 0.0, 3.0).ok()
}

/// The message, if the bytes are one.
pub fn decode(data: &[u8]) -> Option<onnx_proto::ModelProto> {
    onnx_proto::ModelProto::decode(data).ok()
}
