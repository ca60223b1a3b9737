//! Messages to [`Graph`]: names become ids, operators are resolved at the imported opsets, initialisers become
//! tensors, local functions are inlined, bodies list the outer values they use.
//!
//! Nothing in a file is trusted: counts, depths and sizes are bounded, data outside the model's folder is out of
//! reach, and whatever does not fit is an [`crate::Error`]. An initialiser that is also a graph input (as IR versions below 4
//! demanded, and later ones allow for defaults that a caller may override) is a constant. Training information is not
//! read.

mod attrs;
mod external;
mod functions;
mod gradient;
mod graph;
mod legacy;
mod opsets;
mod order;
mod tensor;
mod types;
mod value;

use std::collections::HashMap;
use std::path::PathBuf;

use onnx_proto::{ModelProto, ValueInfoProto};
use prost::Message;

pub use crate::limits::Limits;
pub(crate) use gradient::FUNCTION;
pub use tensor::{tensor_from_proto, tensor_to_proto};
pub use value::value_from_bytes;

#[cfg(not(target_arch = "wasm32"))]
pub use crate::mapped::{Mapped, map};

use crate::Bytes;
use crate::ir::{Graph, verify};
use crate::model::{Metadata, ValueInfo};
use crate::{Error, ErrorKind, Result, err};

/// How a model is read.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Where external data lies; `None` refuses what is not among the files.
    pub folder: Option<PathBuf>,
    /// External data that is in memory, by the location that the model has for it.
    pub files: HashMap<String, Bytes>,
    /// Bounds.
    pub limits: Limits,
}

/// A model read into a graph.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The graph; inputs and outputs stand in the same order as below.
    pub graph: Graph,
    /// Inputs that a caller feeds.
    pub inputs: Vec<ValueInfo>,
    /// Outputs, by the names that the model gives them.
    pub outputs: Vec<ValueInfo>,
    /// Who made it, and for which operator sets.
    pub metadata: Metadata,
}

/// One operator that could not be parsed.
struct Refused {
    opset: i64,
    node: String,
    message: String,
}

/// Decodes and imports. Tensors share `bytes` where they lie in it.
///
/// # Errors
/// `InvalidModel` when the bytes are not a model; those of [`import`].
pub fn import_bytes(bytes: prost::bytes::Bytes, options: &ImportOptions) -> Result<Imported> {
    let model = ModelProto::decode(bytes).map_err(|e| err!(InvalidModel, "not an ONNX model, or cut short: {e}"))?;
    import(&model, options)
}

/// Imports a decoded model.
///
/// # Errors
/// `InvalidModel` when it contradicts itself or the format, `Unsupported` naming all operators that are not known,
/// `InvalidNode` for attributes out of range, `Io` when external data cannot be read, `Limit` beyond the bounds.
pub fn import(model: &ModelProto, options: &ImportOptions) -> Result<Imported> {
    let proto = model.graph.as_ref().ok_or_else(|| err!(InvalidModel, "the model has no graph"))?;
    let opsets = opsets::Opsets::new(&model.opset_import)?;
    let external = external::External::new(options.folder.clone(), options.files.clone());
    let functions = functions::table(model)?;
    functions::count(&proto.node, &functions, &options.limits)?;
    let mut importer = graph::Importer::new(options.limits, external, functions);
    let graph = importer.main(proto, opsets.clone())?;
    if let Some(e) = refusal(&importer.refused, &opsets) {
        return Err(e);
    }
    verify(&graph)?;

    let info = |names: Vec<&str>, ids: &[crate::ir::ValueId]| -> Vec<ValueInfo> {
        let one = |(name, id): (&str, &crate::ir::ValueId)| ValueInfo {
            name: name.into(),
            declared: graph.value(*id).declared.clone(),
        };
        names.into_iter().zip(ids).map(one).collect()
    };
    let inputs = info(graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect(), &graph.inputs);
    let outputs = info(proto.output.iter().map(ValueInfoProto::name).collect(), &graph.outputs);
    Ok(Imported { inputs, outputs, metadata: metadata(model), graph })
}

fn metadata(model: &ModelProto) -> Metadata {
    let pair = |p: &onnx_proto::StringStringEntryProto| (p.key().to_string(), p.value().to_string());
    let opset = |o: &onnx_proto::OperatorSetIdProto| {
        let domain = if o.domain().is_empty() { "ai.onnx" } else { o.domain() };
        (domain.to_string(), o.version())
    };
    Metadata {
        ir_version: model.ir_version(),
        opsets: model.opset_import.iter().map(opset).collect(),
        producer_name: model.producer_name().into(),
        producer_version: model.producer_version().into(),
        domain: model.domain().into(),
        model_version: model.model_version(),
        doc: model.doc_string().into(),
        properties: model.metadata_props.iter().map(pair).collect(),
    }
}

/// One error for all operators that could not be parsed, each (operator, opset, reason) once.
fn refusal(refused: &[Refused], opsets: &opsets::Opsets) -> Option<Error> {
    let mut groups: Vec<(&Refused, usize)> = vec![];
    for r in refused {
        match groups.iter_mut().find(|(g, _)| (g.opset, &g.message) == (r.opset, &r.message)) {
            Some((_, count)) => *count += 1,
            None => groups.push((r, 1)),
        }
    }
    let old = match opsets.of("") {
        Ok(v) if v < opsets::OLDEST => {
            format!("; operators of ai.onnx opset {v} differ from those since opset {}", opsets::OLDEST)
        }
        _ => String::new(),
    };
    let error = |m: String| Error::new(ErrorKind::Unsupported, m);
    match groups.as_slice() {
        [] => None,
        [(r, 1)] => Some(error(format!("{}, opset {}{old}", r.message, r.opset)).in_node(&r.node)),
        many => {
            let one = |(r, n): &(&Refused, usize)| {
                let more = if *n > 1 { format!(" and {} more", n - 1) } else { String::new() };
                format!("{}, opset {} (node {}{more})", r.message, r.opset, r.node)
            };
            let list: Vec<String> = many.iter().map(one).collect();
            Some(error(format!("{}{old}", list.join("; "))))
        }
    }
}
