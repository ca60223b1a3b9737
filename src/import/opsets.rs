//! The operator sets that a model or function imports.

use std::collections::HashMap;

use onnx_proto::OperatorSetIdProto;

use crate::ops::MAX_OPSET;
use crate::{Result, ensure, err};

/// The newest version known of each domain of the standard.
const NEWEST: [(&str, i64); 2] = [("", MAX_OPSET), ("ai.onnx.ml", 5)];

/// The oldest ai.onnx opset whose operators are known as such. Models of an older one run when all their operators
/// still mean what they meant.
pub(super) const OLDEST: i64 = 7;

/// `ai.onnx` has two names.
pub(super) fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Version by domain.
#[derive(Debug, Default, Clone)]
pub(super) struct Opsets(HashMap<String, i64>);

impl Opsets {
    /// # Errors
    /// `Unsupported` for a version newer than the newest known, `InvalidModel` when a domain has two versions.
    pub(super) fn new(imports: &[OperatorSetIdProto]) -> Result<Opsets> {
        let mut out = HashMap::new();
        for i in imports {
            let (domain, version) = (canonical(i.domain()), i.version());
            let shown = if domain.is_empty() { "ai.onnx" } else { domain };
            let newest = NEWEST.iter().find(|(d, _)| *d == domain).map_or(i64::MAX, |(_, v)| *v);
            ensure!(version <= newest, Unsupported, "opset {version} of {shown}: the newest known is {newest}");
            ensure!(version > 0, InvalidModel, "opset {version} of {shown}");
            let other = out.insert(domain.to_string(), version).filter(|v| *v != version);
            ensure!(other.is_none(), InvalidModel, "{shown} is imported with two opsets");
        }
        Ok(Opsets(out))
    }

    /// The version of a domain.
    ///
    /// # Errors
    /// `InvalidModel` when it is not imported.
    pub(super) fn of(&self, domain: &str) -> Result<i64> {
        let domain = canonical(domain);
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        self.0.get(domain).copied().ok_or_else(|| err!(InvalidModel, "the model imports no opset of {shown}"))
    }
}
