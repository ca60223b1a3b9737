//! The models. `x` is two floats, 1 and 2; the other inputs are constants, so that shapes are known before the run.

use std::path::{Path, PathBuf};

use onnx_proto::*;
use prost::Message;
use shadernet::ErrorKind::{self, InvalidInput, InvalidModel, InvalidNode, Io, Limit, Unsupported};
use shadernet::{Limits, Model, Tensor};

use crate::common::onnx::*;

mod external;
mod files;
mod sizes;
mod structure;

/// What a case may do instead of ending in an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// It is strange, not wrong: it must only stay within its bounds.
    Success,
    /// A shader cannot raise an error; what it gives must come from the model's own data.
    OwnData,
}

/// What `OwnData` may show: the elements of `x` and of the data that cases index, and zero.
pub const OWN: &[f64] = &[0.0, 1.0, 2.0, 3.0];

pub struct Hostile {
    pub name: &'static str,
    bytes: Vec<u8>,
    /// Puts files beside the model.
    beside: fn(&Path),
    /// The kinds that fit; empty: all but `Internal`.
    pub kinds: Vec<ErrorKind>,
    allowed: Option<Allowed>,
    pub limits: Limits,
}

impl Hostile {
    fn new(name: &'static str, model: &ModelProto, kinds: &[ErrorKind]) -> Hostile {
        Hostile {
            name,
            bytes: model.encode_to_vec(),
            beside: |_| (),
            kinds: kinds.to_vec(),
            allowed: None,
            limits: Limits::default(),
        }
    }

    fn raw(name: &'static str, bytes: Vec<u8>) -> Hostile {
        Hostile {
            name,
            bytes,
            beside: |_| (),
            kinds: vec![InvalidModel, Limit],
            allowed: None,
            limits: Limits::default(),
        }
    }

    fn within(mut self, limits: Limits) -> Hostile {
        self.limits = limits;
        self
    }

    fn allow(mut self, allowed: Allowed) -> Hostile {
        self.allowed = Some(allowed);
        self
    }

    pub fn may(&self, allowed: Allowed) -> bool {
        self.allowed == Some(allowed)
    }

    /// Writes the model and what lies beside it.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let inside = folder.join("models");
        std::fs::create_dir_all(&inside).unwrap();
        (self.beside)(&inside);
        let file = inside.join("model.onnx");
        std::fs::write(&file, &self.bytes).unwrap();
        file
    }

    /// Values for the model's inputs.
    pub fn feed(&self, model: &Model) -> Vec<(&'static str, Tensor)> {
        let has = |name: &str| model.inputs().iter().any(|i| i.name == name);
        let all = [("x", Tensor::vector(&[1f32, 2.0]))];
        all.into_iter().filter(|(name, _)| has(name)).collect()
    }
}

pub fn all() -> Vec<Hostile> {
    [structure::all(), external::all(), sizes::all(), files::all()].into_iter().flatten().collect()
}

/// The model of one node from `x` and constants to `y`.
fn one(constants: Vec<TensorProto>, n: NodeProto) -> ModelProto {
    model(graph(constants, vec![n]))
}
