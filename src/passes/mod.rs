//! `Graph` → `Graph`, one file per pass, in an ordered, named list. Each can be switched off; debug builds verify the
//! graph after each.

mod bound_sizes;
mod dead_code;
mod dequantise;
mod epilogues;
mod expand_skip_norms;
mod facts;
mod fold_batch_norm;
mod fold_constants;
mod fold_pad;
mod fold_pool;
mod fuse_attention;
mod fuse_elementwise;
mod fuse_group_norm;
mod fuse_norms;
mod fuse_rotary;
mod fuse_softmax;
mod key_random;
mod lift_elementwise;
mod merge_convs;
mod merge_elementwise;
mod merge_products;
mod multiply_bytes;
mod prologues;
mod spell;
mod to_float16;
mod unroll_loops;

use crate::Result;
use crate::ir::{Graph, verify};

/// One pass.
pub struct Pass {
    /// The name for `--disable-pass` and logs.
    pub name: &'static str,
    /// Changes the graph; tells whether it did.
    pub run: fn(&mut Graph) -> Result<bool>,
}

/// The passes that only run for some arithmetic.
const TO_FLOAT16: &str = "to-float16";
const MULTIPLY_BYTES: &str = "multiply-bytes";

/// What a device computes in, and is asked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    /// In float16 what the model has in float32.
    pub float16: bool,
    /// Products of bytes, where these stand behind floats, as bytes.
    pub bytes: bool,
}

/// All passes that need no shapes, in order.
pub const PASSES: &[Pass] = &[
    Pass { name: "unroll-loops", run: unroll_loops::run },
    Pass { name: MULTIPLY_BYTES, run: multiply_bytes::run },
    Pass { name: "dequantise", run: dequantise::run },
    Pass { name: "fold-constants", run: fold_constants::run },
    Pass { name: "dead-code", run: dead_code::run },
    Pass { name: "key-random", run: key_random::run },
    Pass { name: "bound-sizes", run: bound_sizes::run },
    Pass { name: "fold-batch-norm", run: fold_batch_norm::run },
    Pass { name: "fold-pad", run: fold_pad::run },
    Pass { name: "fold-pool", run: fold_pool::run },
    Pass { name: "merge-convs", run: merge_convs::run },
    Pass { name: "merge-products", run: merge_products::run },
    Pass { name: "expand-skip-norms", run: expand_skip_norms::run },
    Pass { name: "fuse-norms", run: fuse_norms::run },
    Pass { name: "fuse-group-norm", run: fuse_group_norm::run },
    Pass { name: "fuse-softmax", run: fuse_softmax::run },
    Pass { name: "fuse-rotary", run: fuse_rotary::run },
    Pass { name: TO_FLOAT16, run: to_float16::run },
    Pass { name: "fuse-elementwise", run: fuse_elementwise::run },
    Pass { name: "lift-elementwise", run: lift_elementwise::run },
    Pass { name: "epilogues", run: epilogues::run },
    Pass { name: "fuse-attention", run: fuse_attention::run },
    Pass { name: "prologues", run: prologues::run },
    Pass { name: "merge-elementwise", run: merge_elementwise::run },
];

/// Drops nodes whose results nobody reads, of a graph that a pass or an operator makes.
///
/// # Errors
/// None.
pub(crate) fn without_dead_code(graph: &mut Graph) -> Result<()> {
    dead_code::run(graph).map(drop)
}

/// Runs every pass whose name is not in `disabled`, for any device. Returns the names of those that changed the graph:
/// without another one it would be the same.
///
/// # Errors
/// Those of the passes; in debug builds those of the verifier.
pub fn run(graph: &mut Graph, disabled: &[String]) -> Result<Vec<&'static str>> {
    run_for(graph, disabled, Arithmetic::default())
}

/// As [`run`], for a device that computes in this way.
///
/// # Errors
/// As [`run`].
pub fn run_for(graph: &mut Graph, disabled: &[String], arithmetic: Arithmetic) -> Result<Vec<&'static str>> {
    let mut effective = vec![];
    let wanted = |p: &&Pass| match p.name {
        TO_FLOAT16 => arithmetic.float16,
        MULTIPLY_BYTES => arithmetic.bytes,
        _ => true,
    };
    let enabled = |p: &&Pass| !disabled.iter().any(|d| d == p.name);
    for pass in PASSES.iter().filter(wanted).filter(enabled) {
        let changed = (pass.run)(graph)?;
        effective.extend(changed.then_some(pass.name));
        log::debug!("pass {}: {}", pass.name, if changed { "changed the graph" } else { "nothing to do" });
        if cfg!(debug_assertions) {
            verify(graph).map_err(|e| e.in_node(format!("after pass {}", pass.name)))?;
        }
    }
    Ok(effective)
}
