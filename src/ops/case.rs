//! One application of an operator, used for correctness and for speed alike.

use crate::Result;
use crate::dtype::DType;
use crate::ir::{Attr, Attrs, Graph, Node, Operator};
use crate::ops::NodeInfo;
use crate::rng::Rng;
use crate::tensor::Tensor;

/// Where an input's data comes from.
#[derive(Debug, Clone)]
pub enum CaseInput {
    /// Left out.
    Absent,
    /// Fresh random values in `low..high`, uniform (integers whole; bool a coin).
    Random {
        /// Element type.
        dtype: DType,
        /// Extents.
        shape: Vec<usize>,
        /// Smallest value.
        low: f64,
        /// Values stay below this.
        high: f64,
    },
    /// These values, fed at run time.
    Value(Tensor),
    /// These values, as an initialiser of the model.
    Constant(Tensor),
}

/// An operator, its attributes and inputs.
#[derive(Debug, Clone)]
pub struct Case {
    /// `""` is ai.onnx.
    pub domain: &'static str,
    /// The ONNX name.
    pub op: &'static str,
    /// The domain's opset.
    pub opset: i64,
    /// Attributes.
    pub attrs: Attrs,
    /// Inputs in order.
    pub inputs: Vec<CaseInput>,
    /// How many outputs are asked for.
    pub outputs: usize,
    /// The length of the longest sum, for the tolerance.
    pub sum: usize,
}

impl Case {
    /// An ai.onnx operator at this opset, without inputs.
    pub fn new(op: &'static str, opset: i64) -> Case {
        Case { domain: "", op, opset, attrs: Attrs::new(), inputs: vec![], outputs: 1, sum: 1 }
    }

    /// Moves it to another domain.
    pub fn domain(mut self, domain: &'static str) -> Case {
        self.domain = domain;
        self
    }

    /// Adds an attribute.
    pub fn attr(mut self, name: &str, value: Attr) -> Case {
        self.attrs.insert(name.into(), value);
        self
    }

    /// Adds an int attribute.
    pub fn int(self, name: &str, value: i64) -> Case {
        self.attr(name, Attr::Int(value))
    }

    /// Adds an ints attribute.
    pub fn ints(self, name: &str, value: &[i64]) -> Case {
        self.attr(name, Attr::Ints(value.to_vec()))
    }

    /// Adds a float attribute.
    pub fn float(self, name: &str, value: f32) -> Case {
        self.attr(name, Attr::Float(value))
    }

    /// Adds a string attribute.
    pub fn string(self, name: &str, value: &str) -> Case {
        self.attr(name, Attr::Str(value.into()))
    }

    /// Adds an input of random values between -2 and 2 (integers: -100..100, unsigned: 0..100).
    pub fn rand(self, dtype: DType, shape: &[usize]) -> Case {
        let (low, high) = match dtype {
            d if d.is_float() => (-2.0, 2.0),
            d => d.int_range().map_or((0.0, 1.0), |(lo, hi)| (lo.max(-100) as f64, (hi + 1).min(100) as f64)),
        };
        self.range(dtype, shape, low, high)
    }

    /// Adds an input of random values in `low..high`.
    pub fn range(mut self, dtype: DType, shape: &[usize], low: f64, high: f64) -> Case {
        self.inputs.push(CaseInput::Random { dtype, shape: shape.to_vec(), low, high });
        self
    }

    /// Adds an input with these values, fed at run time.
    pub fn value(mut self, value: Tensor) -> Case {
        self.inputs.push(CaseInput::Value(value));
        self
    }

    /// Adds an initialiser.
    pub fn constant(mut self, value: Tensor) -> Case {
        self.inputs.push(CaseInput::Constant(value));
        self
    }

    /// Leaves an optional input out.
    pub fn absent(mut self) -> Case {
        self.inputs.push(CaseInput::Absent);
        self
    }

    /// Asks for this many outputs.
    pub fn outputs(mut self, n: usize) -> Case {
        self.outputs = n;
        self
    }

    /// States the length of the longest sum, for the tolerance.
    pub fn sum(mut self, k: usize) -> Case {
        self.sum = k;
        self
    }

    /// A graph of this one node, and the data for its inputs drawn with `rng`.
    ///
    /// # Errors
    /// Those of parsing the operator.
    pub fn build(&self, rng: &mut Rng) -> Result<(Graph, Vec<Tensor>)> {
        let mut graph = Graph::new(self.op);
        let (mut data, mut ids) = (vec![], vec![]);
        for (i, input) in self.inputs.iter().enumerate() {
            let name = format!("in{i}");
            ids.push(match input {
                CaseInput::Absent => None,
                CaseInput::Constant(t) => Some(graph.add_constant(name, t.clone())),
                CaseInput::Value(t) => {
                    data.push(t.clone());
                    Some(graph.add_value(name, None))
                }
                CaseInput::Random { dtype, shape, low, high } => {
                    data.push(rng.tensor(*dtype, shape, *low, *high)?);
                    Some(graph.add_value(name, None))
                }
            });
            if let (Some(id), CaseInput::Value(_) | CaseInput::Random { .. }) = (ids[i], input) {
                graph.inputs.push(id);
            }
        }
        let info = NodeInfo {
            inputs: ids.iter().map(Option::is_some).collect(),
            ..NodeInfo::full(self.opset, 0, self.outputs)
        };
        let operator = Operator::new(self.domain, self.op, self.attrs.clone(), &info)?;
        let outputs: Vec<_> = (0..self.outputs).map(|i| graph.add_value(format!("out{i}"), None)).collect();
        graph.outputs.clone_from(&outputs);
        let outputs = outputs.into_iter().map(Some).collect();
        graph.nodes.push(Node { name: self.op.into(), operator, inputs: ids, outputs });
        Ok((graph, data))
    }
}
