//! What a model file holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use crate::cpu;
use crate::dtype::DType;
use crate::gpu::{Gpu, Weights};
use crate::import::{self, ImportOptions, Imported};
use crate::ir::{Declared, Dim, Graph, TensorType, ValueId};
use crate::limits::Limits;
use crate::passes::{self, Arithmetic};
use crate::session::SessionBuilder;
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// A model: its graph, what goes in and out, and who made it. Cloning shares everything.
///
/// ```no_run
/// # fn main() -> shadernet::Result<()> {
/// let model = shadernet::Model::load("m.onnx")?;
/// let x = shadernet::Tensor::new([1, 2], vec![0.5f32, 1.0])?;
/// for (name, value) in model.reference().run(&[("x", x)])? {
///     println!("{name}: {value:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Model(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    graph: Arc<Graph>,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    metadata: Metadata,
    /// Constants on devices, shared by the sessions that are alive.
    weights: Mutex<Vec<(Gpu, Weak<Weights>)>>,
    /// The graph after the passes: sessions share what these folded.
    optimised: Mutex<Variants>,
}

/// Graphs by the passes left out and what they compute in.
type Variants = HashMap<(Vec<String>, Arithmetic), Arc<Graph>>;

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// The name.
    pub name: String,
    /// What the model promises of it, if anything.
    pub declared: Option<Declared>,
}

impl ValueInfo {
    /// Makes an optional of a tensor that is given bare for one.
    pub(crate) fn wrap(&self, t: &mut Tensor) {
        if matches!(self.declared, Some(Declared::Optional(_))) && t.dtype() != DType::Optional {
            *t = Tensor::optional(Some(t.clone()));
        }
    }
}

/// Who made a model, and what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Version of the ONNX intermediate representation.
    pub ir_version: i64,
    /// Domain (`ai.onnx` spelt out) and version of each operator set.
    pub opsets: Vec<(String, i64)>,
    /// The tool that made it.
    pub producer_name: String,
    /// That tool's version.
    pub producer_version: String,
    /// The model's name space, in reverse-DNS form.
    pub domain: String,
    /// The model's own version.
    pub model_version: i64,
    /// Its description.
    pub doc: String,
    /// Further keys and values.
    pub properties: Vec<(String, String)>,
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opsets: Vec<String> = self.opsets.iter().map(|(d, v)| format!("{d} {v}")).collect();
        write!(f, "ONNX IR {}, opsets {}", self.ir_version, opsets.join(", "))?;
        if !self.producer_name.is_empty() {
            write!(f, ", made by {} {}", self.producer_name, self.producer_version)?;
        }
        self.properties.iter().try_for_each(|(k, v)| write!(f, "\n{k}: {v}"))
    }
}

impl Model {
    /// Reads a model file; external data is looked for beside it. The files are mapped, not copied: they must not be
    /// truncated or rewritten while the model or anything made from it lives.
    ///
    /// # Errors
    /// `Io` when a file cannot be read, and those of [`import::import`]; all name the file.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: impl AsRef<std::path::Path>) -> Result<Model> {
        Model::load_with(path, &ImportOptions::default())
    }

    /// As [`Model::load`], with bounds; a folder in the options is where external data is looked for instead.
    ///
    /// # Errors
    /// As [`Model::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_with(path: impl AsRef<std::path::Path>, options: &ImportOptions) -> Result<Model> {
        let path = path.as_ref();
        let read = || {
            let mapped = import::map(path).map_err(|e| err!(Io, "{e}"))?;
            let beside = || path.parent().map(std::path::Path::to_path_buf);
            let folder = options.folder.clone().or_else(beside);
            let options = ImportOptions { folder, ..options.clone() };
            import::import_bytes(prost::bytes::Bytes::from_owner(mapped), &options)
        };
        read().map(Model::new).map_err(|e| e.in_file(path.display().to_string()))
    }

    /// A model from the bytes of its file. External data is an error: see [`Model::from_bytes_with`].
    ///
    /// # Errors
    /// Those of [`import::import`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Model> {
        Model::from_bytes_with(bytes, &ImportOptions::default())
    }

    /// A model from the bytes of its file, with a folder for external data and bounds.
    ///
    /// # Errors
    /// Those of [`import::import`].
    pub fn from_bytes_with(bytes: &[u8], options: &ImportOptions) -> Result<Model> {
        import::import_bytes(prost::bytes::Bytes::copy_from_slice(bytes), options).map(Model::new)
    }

    /// As [`Model::from_bytes_with`], of bytes that become the model's own.
    ///
    /// # Errors
    /// Those of [`import::import`].
    pub fn from_vec(bytes: Vec<u8>, options: &ImportOptions) -> Result<Model> {
        import::import_bytes(bytes.into(), options).map(Model::new)
    }

    /// A model from a stream, read to its end.
    ///
    /// # Errors
    /// `Io` when reading fails, and those of [`import::import`].
    pub fn from_reader(mut reader: impl std::io::Read) -> Result<Model> {
        let mut bytes = vec![];
        reader.read_to_end(&mut bytes).map_err(|e| err!(Io, "{e}"))?;
        Model::from_vec(bytes, &ImportOptions::default())
    }

    /// A model from a decoded message.
    ///
    /// # Errors
    /// Those of [`import::import`].
    pub fn from_proto(proto: &onnx_proto::ModelProto, options: &ImportOptions) -> Result<Model> {
        import::import(proto, options).map(Model::new)
    }

    fn new(imported: Imported) -> Model {
        let Imported { graph, inputs, outputs, metadata } = imported;
        let (weights, optimised) = (Mutex::default(), Mutex::default());
        Model(Arc::new(Inner { graph: Arc::new(graph), inputs, outputs, metadata, weights, optimised }))
    }

    /// What a run takes, in the graph's order; initialisers are not among them.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.0.inputs
    }

    /// What a run gives, in the graph's order.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.0.outputs
    }

    /// Who made it, and what it needs.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The graph as imported, before any pass.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.0.graph
    }

    /// Makes the model ready for a device.
    pub fn session<'a>(&'a self, gpu: &'a Gpu) -> SessionBuilder<'a> {
        SessionBuilder::new(gpu, self)
    }

    /// Plans the model for a device with the declared input shapes (1 where an extent is open) and says what the device
    /// cannot run.
    ///
    /// # Errors
    /// `Unsupported` naming every such node; `Limit` for an input that is larger than the model may hold; those of the
    /// operators.
    pub fn check(&self, gpu: &Gpu) -> Result<()> {
        let stand_in = |i| stand_in(i, &self.graph().limits);
        let inputs: Vec<(&str, Tensor)> = self.inputs().iter().map(stand_in).collect::<Result<_>>()?;
        crate::Session::new(gpu, self, &Default::default())?.plan(&inputs).map(|_| ())
    }

    /// The graph after all passes but those `disabled`, for a device that computes in this way.
    pub(crate) fn optimised(&self, disabled: &[String], arithmetic: Arithmetic) -> Result<Arc<Graph>> {
        let key = (disabled.to_vec(), arithmetic);
        let mut made =
            self.0.optimised.lock().map_err(|_| err!(Internal, "a thread failed while it ran the passes"))?;
        if let Some(graph) = made.get(&key) {
            return Ok(graph.clone());
        }
        let mut graph = (*self.0.graph).clone();
        passes::run_for(&mut graph, disabled, arithmetic)?;
        Ok(made.entry(key).or_insert(Arc::new(graph)).clone())
    }

    pub(crate) fn weights_on(&self, gpu: &Gpu) -> Arc<Weights> {
        let Ok(mut all) = self.0.weights.lock() else { return Arc::default() };
        all.retain(|(_, w)| w.strong_count() > 0);
        let found = all.iter().find(|(g, _)| Arc::ptr_eq(&g.0, &gpu.0)).and_then(|(_, w)| w.upgrade());
        found.unwrap_or_else(|| {
            let fresh = Arc::<Weights>::default();
            all.push((gpu.clone(), Arc::downgrade(&fresh)));
            fresh
        })
    }

    /// The CPU interpreter on this model.
    pub fn reference(&self) -> Reference {
        Reference { model: self.clone() }
    }
}

/// An input's name, and zeros of its declared shape.
///
/// # Errors
/// `Limit` when they are more than a run may hold.
fn stand_in<'a>(i: &'a ValueInfo, limits: &Limits) -> Result<(&'a str, Tensor)> {
    let dims = i.declared.as_ref().and_then(Declared::dims).unwrap_or(&[]);
    let extent = |d: &Dim| if let Dim::Known(n) = d { *n } else { 1 };
    let dtype = i.declared.as_ref().and_then(Declared::dtype).unwrap_or(DType::F32);
    let t = TensorType::new(dtype, dims.iter().map(extent).collect::<Vec<_>>());
    let least = if dtype == DType::String { size_of::<String>() } else { 1 };
    limits.hold(0, [&t], least)?;
    Ok((i.name.as_str(), Tensor::zeros(t.dtype, t.shape)))
}

/// The plain CPU interpreter on one model: says what the right answer is.
#[derive(Debug, Clone)]
pub struct Reference {
    model: Model,
}

impl Reference {
    /// Runs on inputs by name; gives the outputs in the model's order.
    ///
    /// # Errors
    /// `InvalidInput` when the inputs do not fit the model; those of the operators, with the node's path.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let inputs = check_inputs(self.model.inputs(), inputs)?;
        let made = cpu::run(self.model.graph(), &inputs)?;
        Ok(self.model.outputs().iter().map(|o| o.name.clone()).zip(made).collect())
    }

    /// Runs with every float value in 64 bits from node to node: the measure for what rounding does to a model. The
    /// outputs are in the model's order.
    ///
    /// # Errors
    /// As [`Reference::run`].
    pub fn run_wide(&self, inputs: &[(&str, Tensor)]) -> Result<cpu::Wide> {
        cpu::run_wide(self.model.graph(), &check_inputs(self.model.inputs(), inputs)?)
    }

    /// Runs and gives every value of [`Model::graph`] by id.
    ///
    /// # Errors
    /// As [`Reference::run`].
    pub fn run_values(&self, inputs: &[(&str, Tensor)]) -> Result<HashMap<ValueId, Tensor>> {
        cpu::run_all(self.model.graph(), &check_inputs(self.model.inputs(), inputs)?)
    }

    /// Runs and gives every value that a node makes, in the order in which they are made. Bodies of control flow are
    /// not looked into.
    ///
    /// # Errors
    /// As [`Reference::run`].
    pub fn run_all(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let inputs = check_inputs(self.model.inputs(), inputs)?;
        let graph = self.model.graph();
        let mut made = cpu::run_all(graph, &inputs)?;
        let order = graph.nodes.iter().flat_map(|n| n.used_outputs());
        Ok(order.filter_map(|id| Some((graph.value(id).name.clone(), made.remove(&id)?))).collect())
    }
}

/// Inputs by name put into the model's order.
///
/// # Errors
/// `InvalidInput` for an input that is missing, unknown or given twice, of another element type, rank or extent than
/// declared (though any tensor of one element may stand for a scalar), or when one symbolic extent would have two values. What is declared optional may be given bare.
pub(crate) fn check_inputs(expected: &[ValueInfo], inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
    let mut all = in_order(expected, inputs)?;
    for (info, t) in expected.iter().zip(&mut all) {
        info.wrap(t);
    }
    check_types(expected, &all.iter().map(|t| TensorType::new(t.dtype(), t.shape())).collect::<Vec<_>>())?;
    Ok(all)
}

/// Inputs by name, in the model's order.
///
/// # Errors
/// `InvalidInput` for an input that is missing, unknown or given twice.
pub(crate) fn in_order<T: Clone>(expected: &[ValueInfo], inputs: &[(&str, T)]) -> Result<Vec<T>> {
    let mut given: HashMap<&str, &T> = HashMap::new();
    for (name, value) in inputs {
        ensure!(given.insert(name, value).is_none(), InvalidInput, "input {name:?} is given twice");
        find(expected, name, "input")?;
    }
    let one = |info: &ValueInfo| given.get(info.name.as_str()).map(|v| (*v).clone()).ok_or_else(|| missing(info));
    expected.iter().map(one).collect()
}

/// Where an input or output, which is `what` it is, stands in the model's order.
pub(crate) fn find(all: &[ValueInfo], name: &str, what: &str) -> Result<usize> {
    let at = all.iter().position(|i| i.name == name);
    at.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|i| i.name.as_str()).collect();
        err!(InvalidInput, "the model has no {what} {name:?}, it has {names:?}")
    })
}

fn wanted(info: &ValueInfo) -> String {
    info.declared.as_ref().map_or("a tensor".to_string(), Declared::to_string)
}

/// That an input was not given.
pub(crate) fn missing(info: &ValueInfo) -> crate::Error {
    err!(InvalidInput, "input {:?} is missing: expected {}", info.name, wanted(info))
}

/// Checks the types of all inputs, in the model's order, against its declaration.
///
/// # Errors
/// As [`check_inputs`].
pub(crate) fn check_types(expected: &[ValueInfo], types: &[TensorType]) -> Result<()> {
    let mut symbols: HashMap<&str, (usize, &str)> = HashMap::new();
    for (info, t) in expected.iter().zip(types) {
        let name = info.name.as_str();
        let misfit = || err!(InvalidInput, "input {name:?}: expected {}, got {t}", wanted(info));
        if let Some(declared) = &info.declared {
            ensure_fits(declared, t, name, &mut symbols, misfit)?;
        }
    }
    Ok(())
}

fn ensure_fits<'a>(
    declared: &'a Declared,
    t: &TensorType,
    name: &'a str,
    symbols: &mut HashMap<&'a str, (usize, &'a str)>,
    misfit: impl Fn() -> crate::Error,
) -> Result<()> {
    if declared.dtype() != Some(t.dtype) {
        return Err(misfit());
    }
    let Some(dims) = declared.dims() else { return Ok(()) };
    // a vector of one for a scalar is common in exported models' own examples
    if dims.is_empty() && t.numel() == 1 {
        return Ok(());
    }
    if dims.len() != t.rank() {
        return Err(misfit());
    }
    for (dim, got) in dims.iter().zip(&t.shape) {
        match dim {
            Dim::Known(n) if n != got => return Err(misfit()),
            Dim::Symbol(s) => {
                let (first, at) = *symbols.entry(s).or_insert((*got, name));
                ensure!(
                    first == *got,
                    InvalidInput,
                    "input {name:?}: got {t}, expected {declared} where {s} is {first} (from input {at:?})"
                );
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn info(name: &str, dims: Vec<Dim>) -> ValueInfo {
        ValueInfo { name: name.into(), declared: Some(Declared::Tensor { dtype: DType::F32, dims: Some(dims) }) }
    }

    #[test]
    fn inputs_are_checked() {
        let batch = || Dim::Symbol("N".into());
        let expected = [info("a", vec![batch(), Dim::Known(2)]), info("b", vec![batch(), Dim::Unknown])];
        let t = |shape: &[usize]| Tensor::zeros(DType::F32, shape);
        let ok = check_inputs(&expected, &[("b", t(&[3, 7])), ("a", t(&[3, 2]))]).unwrap();
        assert_eq!(ok[0].shape(), [3, 2]);
        let fails = |inputs: &[(&str, Tensor)], message: &str| {
            let e = check_inputs(&expected, inputs).unwrap_err();
            assert_eq!(e.to_string(), format!("invalid input: {message}"));
        };
        fails(&[("a", t(&[3, 2]))], "input \"b\" is missing: expected float[N, ?]");
        fails(&[("x", t(&[1]))], "the model has no input \"x\", it has [\"a\", \"b\"]");
        fails(&[("a", t(&[1])), ("a", t(&[1]))], "input \"a\" is given twice");
        fails(&[("a", t(&[3])), ("b", t(&[3, 1]))], "input \"a\": expected float[N, 2], got float[3]");
        fails(&[("a", t(&[3, 4])), ("b", t(&[3, 1]))], "input \"a\": expected float[N, 2], got float[3, 4]");
        fails(
            &[("a", t(&[3, 2])), ("b", t(&[4, 1]))],
            "input \"b\": got float[4, 1], expected float[N, ?] where N is 3 (from input \"a\")",
        );
        let int = Tensor::vector(&[1i32]);
        fails(&[("a", int), ("b", t(&[4, 1]))], "input \"a\": expected float[N, 2], got int32[1]");
    }

    #[test]
    fn models_are_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>() {}
        shared::<Model>();
        shared::<Reference>();
    }
}
