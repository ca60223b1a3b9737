//! The operators, one file per family. An operator is a struct whose fields are its attributes; its faces stand
//! together: `parse`, `infer`, `eval` (the reference), `lower` (to dispatches), `tolerance` and `cases`.

mod cache;
mod case;
mod eval;
mod infer;

pub(crate) mod attended;
mod attention;
mod attention_stages;
mod binary;
mod bitcast;
mod body;
mod bounded;
mod boxes;
mod causal_conv;
mod col2im;
mod contrib_attention;
mod contrib_fused;
mod contrib_gqa;
mod contrib_lstm;
mod contrib_nbits;
mod contrib_norm;
mod contrib_pointwise;
mod contrib_qbert;
mod contrib_qlinear;
mod contrib_quant;
mod control;
mod conv;
mod deform;
pub mod dequantised;
mod det;
mod einsum;
pub(crate) mod epilogue;
mod epilogue_rows;
mod flex;
mod fourier;
pub(crate) mod fused;
mod gather;
mod glu;
mod gradient;
mod grid;
mod image_decoder;
mod join;
mod linear_attention;
mod logic;
mod loss;
mod lp_norm;
mod matmul;
mod ml_features;
mod ml_linear;
mod ml_scores;
mod ml_trees;
mod non_zero;
mod norm;
mod order;
mod pool;
mod quant;
pub(crate) mod quant_convs;
pub(crate) mod quant_products;
mod random;
mod reduce;
mod resize;
pub(crate) mod rnn;
mod roi;
mod rotary;
mod scatter;
mod select;
mod sequence;
mod shape_of;
mod shift;
mod signal;
mod softmax;
pub(crate) mod spelled;
mod text;
mod training;
pub mod turned;
mod unary;
mod unique;
mod view;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

pub use bounded::Bounded;
pub(crate) use bounded::is_bound;
pub use case::{Case, CaseInput};
pub use infer::{Defer, InferCx, Inferred};
pub use random::Keyed;
pub(crate) use random::is_key;

use crate::dtype::DType;
use crate::ir::{AttrReader, Attrs, Graph};
use crate::kernels::elementwise::Elementwise;
use crate::kernels::epilogue::Ends;
use crate::plan::{LowerCx, Slicing, View};
use crate::tensor::Tensor;
use crate::{Result, bail, err};

/// The newest ai.onnx opset whose operators are known here.
pub const MAX_OPSET: i64 = 28;

/// Lengths of rows that kernels treat differently, or nearly so: for cases.
const LENGTHS: [usize; 16] = [1, 3, 4, 16, 31, 32, 33, 100, 255, 256, 257, 1024, 2047, 4100, 8192, 10_007];

/// Every family of operators.
const FAMILIES: &[&[OpDef]] = &[
    attended::FAMILY,
    attention::FAMILY,
    binary::FAMILY,
    boxes::FAMILY,
    bitcast::FAMILY,
    col2im::FAMILY,
    contrib_attention::FAMILY,
    contrib_fused::FAMILY,
    contrib_gqa::FAMILY,
    contrib_norm::FAMILY,
    conv::FAMILY,
    cache::FAMILY,
    causal_conv::FAMILY,
    contrib_lstm::FAMILY,
    contrib_pointwise::FAMILY,
    contrib_nbits::FAMILY,
    dequantised::FAMILY,
    contrib_qbert::FAMILY,
    contrib_qlinear::FAMILY,
    contrib_quant::FAMILY,
    control::FAMILY,
    deform::FAMILY,
    det::FAMILY,
    einsum::FAMILY,
    epilogue::FAMILY,
    flex::FAMILY,
    fused::FAMILY,
    gather::FAMILY,
    glu::FAMILY,
    gradient::FAMILY,
    grid::FAMILY,
    image_decoder::FAMILY,
    join::FAMILY,
    linear_attention::FAMILY,
    logic::FAMILY,
    loss::FAMILY,
    lp_norm::FAMILY,
    matmul::FAMILY,
    ml_features::FAMILY,
    ml_linear::FAMILY,
    ml_trees::FAMILY,
    non_zero::FAMILY,
    norm::FAMILY,
    order::FAMILY,
    pool::FAMILY,
    quant::FAMILY,
    random::FAMILY,
    reduce::FAMILY,
    resize::FAMILY,
    rnn::FAMILY,
    roi::FAMILY,
    rotary::FAMILY,
    turned::FAMILY,
    scatter::FAMILY,
    select::FAMILY,
    sequence::FAMILY,
    shape_of::FAMILY,
    shift::FAMILY,
    signal::FAMILY,
    softmax::FAMILY,
    spelled::FAMILY,
    text::FAMILY,
    training::FAMILY,
    unary::FAMILY,
    unique::FAMILY,
    view::FAMILY,
];

/// What a parser may know of the node besides its attributes.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The domain's opset that the model imports.
    pub opset: i64,
    /// The operator's version: the greatest of its `versions` that is not above the opset.
    pub version: i64,
    /// Which inputs are present.
    pub inputs: Vec<bool>,
    /// Which outputs are used.
    pub outputs: Vec<bool>,
}

impl NodeInfo {
    /// A node whose inputs and outputs are all present.
    pub fn full(opset: i64, inputs: usize, outputs: usize) -> NodeInfo {
        NodeInfo { opset, version: opset, inputs: vec![true; inputs], outputs: vec![true; outputs] }
    }

    /// Whether input `i` is present.
    pub fn has_input(&self, i: usize) -> bool {
        self.inputs.get(i).copied().unwrap_or(false)
    }

    /// Whether output `i` is used.
    pub fn has_output(&self, i: usize) -> bool {
        self.outputs.get(i).copied().unwrap_or(false)
    }
}

/// Reads an operator's attributes.
pub type Parse = fn(&AttrReader<'_>, &NodeInfo) -> Result<Arc<dyn Op>>;

/// One row of the registry.
pub struct OpDef {
    /// `""` is ai.onnx.
    pub domain: &'static str,
    /// The ONNX name.
    pub name: &'static str,
    /// The opsets that changed the operator, ascending (`since_version`).
    pub versions: &'static [i64],
    /// Reads the attributes.
    pub parse: Parse,
    /// Cases for tests and benches.
    pub cases: fn() -> Vec<Case>,
}

/// How far a result may lie from the reference: `|a - b| <= abs + rel * |b|`. Of integers, `abs` counts units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Relative part.
    pub rel: f64,
    /// Absolute part, in units of the largest magnitude of the reference output (so it scales with the data).
    pub abs: f64,
}

impl Tolerance {
    /// Equal bits (NaN equals NaN).
    pub const EXACT: Tolerance = Tolerance { rel: 0.0, abs: 0.0 };

    /// Of what is made in two steps.
    pub fn plus(self, other: Tolerance) -> Tolerance {
        Tolerance { rel: self.rel + other.rel, abs: self.abs + other.abs }
    }

    /// `ulps` units in the last place of `dtype`, relative to the value and to the output's largest magnitude.
    /// Exact for integers, bool and strings.
    pub fn ulps(dtype: DType, ulps: f64) -> Tolerance {
        let eps = match dtype {
            DType::F64 | DType::C128 => f64::EPSILON,
            DType::F32 | DType::C64 => f32::EPSILON as f64,
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
            DType::F8E4M3FN | DType::F8E4M3FNUZ => 0.125,
            DType::F8E5M2 | DType::F8E5M2FNUZ => 0.25,
            DType::F4E2M1 => 0.5,
            _ => 0.0,
        };
        // elements near zero next to large ones: denormals may be flushed, hence the absolute part
        Tolerance { rel: ulps * eps, abs: ulps * eps * 0.25 }
    }
}

/// An operator with its attributes read.
pub trait Op: fmt::Debug + Send + Sync {
    /// Element types and shapes of the outputs. Asks `cx.value(i)` for an input's data where a shape depends on it.
    ///
    /// # Errors
    /// [`Defer::Error`] when inputs contradict the specification, [`Defer::NeedsValue`] from `cx.value`,
    /// [`Defer::DataDependent`] when the shape is known only after running.
    fn infer(&self, cx: &InferCx<'_>) -> Inferred;

    /// The reference: plain and slow. `inputs[i]` is `None` where an optional input is left out. Gives every output
    /// up to the last used one.
    ///
    /// # Errors
    /// `InvalidNode` when inputs contradict the specification, `Unsupported` for an element type it has not.
    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>>;

    /// Emits the dispatches (or views) that make the outputs.
    ///
    /// # Errors
    /// `Unsupported` when the device cannot do it.
    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        match self.elementwise() {
            Some(e) => crate::kernels::elementwise::lower(cx, e),
            None => bail!(Unsupported, "no GPU form"),
        }
    }

    /// As [`Op::lower`], with input 0 and output 0 put through what stands at the ends.
    ///
    /// # Errors
    /// `Unsupported` when it takes no such ends.
    fn lower_between(&self, _cx: &mut LowerCx<'_>, _ends: Ends<'_>) -> Result<()> {
        bail!(Unsupported, "it takes no prologue or epilogue")
    }

    /// How far a device's result may lie from [`Op::eval`]'s. `k` is the length of the longest sum in it.
    fn tolerance(&self, dtype: DType, k: usize) -> Tolerance {
        Tolerance::ulps(dtype, 4.0 + (k as f64).sqrt())
    }

    /// The operator as a function of single elements, which fuses with its neighbours.
    fn elementwise(&self) -> Option<&dyn Elementwise> {
        None
    }

    /// Outputs that are known from the inputs' types alone (Shape, Size), or from some of their values.
    ///
    /// # Errors
    /// `InvalidNode` when inputs contradict the specification.
    fn fold(&self, _cx: &InferCx<'_>) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// The axes of output 0, of shape `out`, along which it can be made in parts, where a device cannot bind it whole.
    fn slices(&self, cx: &InferCx<'_>, out: &[usize]) -> Vec<Slicing> {
        if self.elementwise().is_some() { Slicing::broadcast(cx, out) } else { vec![] }
    }

    /// Whether output 0 is made by moving inputs, unless they lie where [`Op::sources`] says.
    fn moves(&self) -> bool {
        false
    }

    /// Inputs and where each should lie so that it need not be moved when output 0 lies at `out`: in its buffer, no two
    /// at one place, in the input's own shape, or in another of as many elements in the same order.
    fn sources(&self, _cx: &InferCx<'_>, _out: &View) -> Vec<(usize, View)> {
        vec![]
    }

    /// The input whose parts the outputs are, and where it should lie so that they lie at `outs`, in one buffer.
    fn whole(&self, _cx: &InferCx<'_>, _outs: &[View]) -> Option<(usize, View)> {
        None
    }

    /// Whether equal inputs give equal outputs (random operators do not).
    fn deterministic(&self) -> bool {
        true
    }

    /// Whether its place is the host even where the caller denies fallback: text, pictures, lookups by name.
    fn on_host(&self) -> bool {
        false
    }

    /// How the device makes results whose extent the data tells; which inputs are constants is given.
    fn bounded(&self, _constant: &[bool]) -> Option<Bounded> {
        None
    }

    /// A random operator as one that draws with a key.
    fn keyed(&self) -> Option<Keyed> {
        None
    }

    /// Bodies, run by [`Op::control`].
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![]
    }

    /// Drives the bodies of a control-flow operator: `run(body, inputs)` runs one on whatever device the outer graph
    /// runs on; `read` brings a value to the host.
    ///
    /// # Errors
    /// Those of the bodies.
    fn control<'a>(
        &'a self,
        _flow: &'a mut dyn ControlFlow,
        _inputs: &'a [Option<Handle>],
    ) -> Pending<'a, Vec<Handle>> {
        Box::pin(async { bail!(Internal, "not a control-flow operator") })
    }
}

/// A value held by whoever runs a control-flow operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub usize);

/// What will be there once the device has done its part. In the browser nothing of a device leaves its thread.
#[cfg(not(target_arch = "wasm32"))]
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
/// What will be there once the device has done its part. In the browser nothing of a device leaves its thread.
#[cfg(target_arch = "wasm32")]
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// `Send` wherever a device may be used from several threads: everywhere but in the browser.
#[cfg(not(target_arch = "wasm32"))]
pub use std::marker::Send as Movable;
/// `Send` wherever a device may be used from several threads: everywhere but in the browser.
#[cfg(target_arch = "wasm32")]
pub trait Movable {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> Movable for T {}

/// What a control-flow operator may ask of whoever runs it (interpreter or GPU session).
pub trait ControlFlow: Movable {
    /// Runs body `index` of [`Op::bodies`] on these inputs (formal ones first, then the captured ones).
    ///
    /// # Errors
    /// Those of the nodes within.
    fn run<'a>(&'a mut self, body: usize, inputs: &'a [Handle]) -> Pending<'a, Vec<Handle>>;
    /// The value on the host.
    ///
    /// # Errors
    /// `Device` when it cannot be read back.
    fn read(&mut self, value: Handle) -> Pending<'_, Tensor>;
    /// A host value for use by a body.
    fn host(&mut self, value: Tensor) -> Handle;
    /// Lets go of values that nobody will ask for again.
    fn forget(&mut self, values: &[Handle]);
    /// The type of a value.
    fn type_of(&self, value: Handle) -> crate::ir::TensorType;
    /// Stacks equal-shaped values along a new leading axis (scan outputs).
    ///
    /// # Errors
    /// `InvalidNode` when their shapes differ.
    fn stack<'a>(&'a mut self, values: &'a [Handle], axis: usize) -> Pending<'a, Handle>;
    /// Element `index` along `axis`, that axis removed.
    ///
    /// # Errors
    /// `InvalidNode` when it lies outside.
    fn take(&mut self, value: Handle, axis: usize, index: usize) -> Pending<'_, Handle>;
}

/// `Conv`, or `com.microsoft::Gelu` outside ai.onnx.
pub fn qualified(domain: &str, op_type: &str) -> String {
    if domain.is_empty() || domain == "ai.onnx" { op_type.into() } else { format!("{domain}::{op_type}") }
}

/// ai.onnx operators whose kernels compute doubles as doubles, or only move them.
pub const DOUBLES: &[&str] = &[
    "Abs",
    "Add",
    "ArgMax",
    "ArgMin",
    "BitCast",
    "Cast",
    "CastLike",
    "Ceil",
    "CenterCropPad",
    "Compress",
    "Concat",
    "ConstantOfShape",
    "CumProd",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Einsum",
    "Equal",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "OneHot",
    "Pad",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "ReverseSequence",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Sign",
    "Size",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "TensorScatter",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unique",
    "Unsqueeze",
    "Where",
];

/// Whether a node's kernels take doubles.
pub fn takes_doubles(node: &crate::ir::Node) -> bool {
    let name = node.operator.op_type.as_str();
    match node.operator.domain.as_str() {
        "" | "ai.onnx" => DOUBLES.contains(&name),
        fused::DOMAIN => match node.operator.attrs.get("body") {
            Some(crate::ir::Attr::Graph(body)) => body.nodes.iter().all(takes_doubles),
            _ => name == "Cut" || name.strip_suffix(bounded::MOST).is_some_and(|n| DOUBLES.contains(&n)),
        },
        "com.microsoft" => matches!(name, "FusedMatMul" | "TransposeMatMul"),
        _ => false,
    }
}

/// Every row of the registry.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    FAMILIES.iter().flat_map(|f| f.iter())
}

/// The registry's row for an operator.
pub fn find(domain: &str, op_type: &str) -> Option<&'static OpDef> {
    static INDEX: OnceLock<HashMap<(&str, &str), &OpDef>> = OnceLock::new();
    let domain = if domain == "ai.onnx" { "" } else { domain };
    INDEX.get_or_init(|| all().map(|d| ((d.domain, d.name), d)).collect()).get(&(domain, op_type)).copied()
}

/// Resolves the version and reads the attributes.
///
/// # Errors
/// `Unsupported` for an unknown operator, opset or attribute; `InvalidNode` for an attribute out of range.
pub fn parse(domain: &str, op_type: &str, attrs: &Attrs, info: &NodeInfo) -> Result<Arc<dyn Op>> {
    let name = qualified(domain, op_type);
    let def = find(domain, op_type).ok_or_else(|| err!(Unsupported, "unknown operator {name}"))?;
    let version = def.versions.iter().rev().find(|v| **v <= info.opset);
    let version = *version.ok_or_else(|| err!(Unsupported, "{name} does not exist in opset {}", info.opset))?;
    let reader = AttrReader::new(attrs);
    let op = (def.parse)(&reader, &NodeInfo { version, ..info.clone() })?;
    reader.finish()?;
    Ok(op)
}

/// Equal-shaped tensors stacked along a new axis.
///
/// # Errors
/// `InvalidNode` when shapes or element types differ, or there is none.
pub fn stack(parts: &[Tensor], axis: usize) -> Result<Tensor> {
    let Some(first) = parts.first() else { bail!(InvalidNode, "nothing to stack") };
    if let Some(p) = parts.iter().find(|p| p.shape() != first.shape()) {
        bail!(InvalidNode, "cannot stack {:?} and {:?}", first.shape(), p.shape());
    }
    let all = Tensor::concat(parts)?;
    let mut shape = first.shape().to_vec();
    crate::ensure!(axis <= shape.len(), InvalidNode, "axis {axis} of rank {}", shape.len());
    shape.insert(axis, parts.len());
    let inner = crate::shape::strides(first.shape());
    let mut strides: Vec<isize> = inner.iter().map(|s| *s as isize).collect();
    strides.insert(axis, first.len() as isize);
    all.select(shape.clone(), &crate::shape::strided_indices(&shape, &strides, 0))
}

/// Element `index` along `axis`, that axis removed.
///
/// # Errors
/// `InvalidNode` when it lies outside.
pub fn take(t: &Tensor, axis: usize, index: usize) -> Result<Tensor> {
    let mut shape = t.shape().to_vec();
    let inside = shape.get(axis).is_some_and(|d| index < *d);
    crate::ensure!(inside, InvalidNode, "element {index} along axis {axis} of {:?}", t.shape());
    let mut strides: Vec<isize> = crate::shape::strides(&shape).iter().map(|s| *s as isize).collect();
    let offset = index * strides.remove(axis) as usize;
    shape.remove(axis);
    t.select(shape.clone(), &crate::shape::strided_indices(&shape, &strides, offset))
}
