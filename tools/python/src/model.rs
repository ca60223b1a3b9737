//! Model files, and what scripts ask of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnx_proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use prost::Message;
use prost::bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use shadernet::import::{ImportOptions, map};
use shadernet::ir::{Declared, Dim};
use shadernet::{Model, ValueInfo};

use crate::errors::{self, Coded, Fail, InvalidArgument, InvalidProtobuf, NoSuchFile};

/// Where a model comes from.
#[derive(FromPyObject)]
pub enum Source {
    Path(PathBuf),
    Bytes(PyBackedBytes),
}

/// A model, with what the library does not keep of its message.
pub struct Loaded {
    pub model: Model,
    /// Initialisers that are inputs too, hence may be fed.
    pub overridable: Vec<ValueInfo>,
    graph_name: String,
    graph_doc: String,
    version: Option<i64>,
    /// The message and how it was imported, kept where an initialiser may be overridden.
    message: Option<(ModelProto, ImportOptions)>,
}

impl Loaded {
    /// `folder` holds the external data of a model that comes as bytes; that of a file lies beside it.
    pub fn read(py: Python<'_>, source: Source, folder: Option<PathBuf>) -> PyResult<Loaded> {
        let (bytes, folder, from) = match source {
            Source::Path(path) => {
                let from = format!("Load model from {} failed:", path.display());
                let bytes = open(&path, &from)?;
                (bytes, path.parent().map(Path::to_path_buf), from)
            }
            Source::Bytes(bytes) => (Bytes::from_owner(bytes), folder, String::new()),
        };
        py.detach(|| Loaded::decode(bytes, folder, &from))
    }

    fn decode(bytes: Bytes, folder: Option<PathBuf>, from: &str) -> PyResult<Loaded> {
        let proto = ModelProto::decode(bytes)
            .map_err(|e| InvalidProtobuf::error(&format!("{from}Protobuf parsing failed: {e}")))?;
        let Some(graph) = &proto.graph else {
            return Err(InvalidArgument::error(&format!("{from}No graph was found in the protobuf.")));
        };
        let options = ImportOptions { folder, ..ImportOptions::default() };
        let model = Model::from_proto(&proto, &options).map_err(errors::loading)?;
        let overridable = if proto.ir_version() < 4 { vec![] } else { overridable(graph) };
        let (graph_name, graph_doc) = (graph.name().to_string(), graph.doc_string().to_string());
        let version = proto.model_version;
        let message = (!overridable.is_empty()).then_some((proto, options));
        let overridable = overridable.into_iter().map(|(name, declared)| ValueInfo { name, declared }).collect();
        Ok(Loaded { model, overridable, graph_name, graph_doc, version, message })
    }

    /// The same model, to which these initialisers are fed.
    pub fn overridden(&self, names: &[&str]) -> PyResult<Model> {
        let Some((proto, options)) = &self.message else {
            return Err(InvalidArgument::error(&format!("Invalid input name: {}", names.join(", "))));
        };
        let mut proto = proto.clone();
        if let Some(graph) = &mut proto.graph {
            graph.initializer.retain(|t| !names.contains(&t.name()));
        }
        Model::from_proto(&proto, options).map_err(errors::loading)
    }

    /// What ONNX Runtime's `ModelMetadata` tells, by its names.
    pub fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let m = self.model.metadata();
        let properties: BTreeMap<&str, &str> = m.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let all = pyo3::types::PyDict::new(py);
        all.set_item("custom_metadata_map", properties)?;
        all.set_item("description", &m.doc)?;
        all.set_item("domain", &m.domain)?;
        all.set_item("graph_description", &self.graph_doc)?;
        all.set_item("graph_name", &self.graph_name)?;
        all.set_item("producer_name", &m.producer_name)?;
        // ONNX Runtime's number for a model without a version
        all.set_item("version", self.version.unwrap_or(i64::MAX))?;
        Ok(all.into_any())
    }
}

fn open(path: &Path, from: &str) -> PyResult<Bytes> {
    if !path.exists() {
        let text = format!("{from}Load model {} failed. File doesn't exist", path.display());
        return Err(NoSuchFile::error(&text));
    }
    if path.is_dir() {
        return Err(InvalidProtobuf::error(&format!("{from}Protobuf parsing failed: it is a folder.")));
    }
    // an empty file cannot be mapped
    match path.metadata() {
        Ok(m) if m.len() == 0 => Ok(Bytes::new()),
        _ => map(path).map(Bytes::from_owner).map_err(|e| Fail::error(&format!("{from}{e}"))),
    }
}

fn overridable(graph: &GraphProto) -> Vec<(String, Option<Declared>)> {
    let initialiser = |info: &&ValueInfoProto| graph.initializer.iter().find(|t| t.name() == info.name());
    graph.input.iter().filter_map(|i| Some((i.name().to_string(), Some(stored(initialiser(&i)?)?)))).collect()
}

fn stored(t: &TensorProto) -> Option<Declared> {
    let dtype = shadernet::DType::from_onnx(t.data_type())?;
    let dims = t.dims.iter().map(|d| Some(Dim::Known(usize::try_from(*d).ok()?))).collect::<Option<_>>();
    Some(Declared::Tensor { dtype, dims })
}

/// A type as ONNX Runtime writes it, such as `tensor(float)` and `seq(map(string,tensor(float)))`.
pub fn type_text(declared: &Declared) -> String {
    match declared {
        Declared::Tensor { dtype, .. } => format!("tensor({dtype})"),
        Declared::Sequence(item) => format!("seq({})", type_text(item)),
        Declared::Optional(item) => format!("optional({})", type_text(item)),
        Declared::Map(key, value) => format!("map({key},{})", type_text(value)),
        Declared::Sparse(dtype) => format!("sparse_tensor({dtype})"),
    }
}

/// Name, type and extents of an input or output: numbers, names, or `None`.
pub type Described = (String, String, Vec<Extent>);

/// One extent.
#[derive(IntoPyObject)]
pub enum Extent {
    Known(usize),
    Named(String),
    Open(Option<usize>),
}

pub fn described(info: &ValueInfo) -> Described {
    fn dims(declared: &Declared) -> &[Dim] {
        match declared {
            Declared::Optional(item) => dims(item),
            other => other.dims().unwrap_or(&[]),
        }
    }
    let extent = |d: &Dim| match d {
        Dim::Known(n) => Extent::Known(*n),
        Dim::Symbol(s) => Extent::Named(s.clone()),
        Dim::Unknown => Extent::Open(None),
    };
    let shape = info.declared.as_ref().map_or(&[][..], dims).iter().map(extent).collect();
    (info.name.clone(), info.declared.as_ref().map_or(String::new(), type_text), shape)
}
