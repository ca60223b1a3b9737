//! Sums over decision trees: `shaders/trees.wgsl`.

use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::kernels::reduce::{Fold, reduce};
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure};

/// A forest in the words that the shader reads.
#[derive(Debug, Clone)]
pub struct Words {
    /// The root of each tree; leaves as -1 less their number.
    pub roots: Vec<i32>,
    /// Nodes of eight words: feature, comparison, value, where true and false lead, whether NaN is true, and where the
    /// members of its set begin and end.
    pub branches: Vec<[u32; 8]>,
    /// Where the weights of each leaf begin, and behind the last where they end.
    pub leaves: Vec<u32>,
    /// Target and value of each weight.
    pub weights: Vec<[u32; 2]>,
    /// Members of sets.
    pub members: Vec<f32>,
    /// The most steps that one tree takes for one row.
    pub steps: usize,
}

#[derive(Debug)]
struct Trees;

impl Kernel for Trees {
    fn label(&self) -> String {
        "trees".into()
    }

    /// A branch is more than four words.
    fn texels(&self) -> bool {
        false
    }

    fn spec(&self, _: &Profile) -> Spec {
        Spec::new("trees.wgsl")
    }
}

/// Loop steps of a thread that every driver takes.
const STEPS: usize = 50_000;

/// `out` `[n, targets]` receives the sums of all trees over the dense float rows `x` `[n, features]`.
///
/// # Errors
/// `Limit` when one tree takes more steps than drivers do; as [`LowerCx::dispatch`].
pub fn sums(cx: &mut LowerCx<'_>, words: &Words, x: &View, out: &View) -> Result<()> {
    ensure!(words.steps <= STEPS, Limit, "a tree of {} steps", words.steps);
    let (rows, targets) = (out.shape[0], out.shape[1]);
    let trees = words.roots.len();
    let chunk = (STEPS / words.steps.max(1)).clamp(1, 256);
    let chunks = trees.div_ceil(chunk).max(1);
    let some = |mut v: Vec<u32>| {
        // a binding is never empty
        v.resize(v.len().max(8), 0);
        Tensor::vector(&v)
    };
    let roots = cx.constant(some(words.roots.iter().map(|r| *r as u32).collect()))?;
    let branches = cx.constant(some(words.branches.concat()))?;
    let leaves = cx.constant(some(words.leaves.clone()))?;
    let weights = cx.constant(some(words.weights.concat()))?;
    let members = cx.constant(some(words.members.iter().map(|m| m.to_bits()).collect()))?;
    let parts = cx.temp(DType::F32, &[rows, targets, chunks])?;
    let params = Params::new().u32(parts.numel()).u32(targets).u32(x.shape[1]).u32(trees).u32(chunk).u32(chunks);
    let reads = [x, &roots, &branches, &leaves, &weights, &members].map(Bind::Read);
    let binds = [&reads[..], &[Bind::Write(&parts)]].concat();
    cx.dispatch(&Trees, params, &binds, linear_grid(parts.numel(), LINEAR_WORKGROUP))?;
    reduce(cx, Fold::Sum, &parts, &[2], out)
}
