//! The shaders that a case chooses on a profile, without a device.

use std::collections::HashMap;
use std::sync::Arc;

use shadernet::ir::TensorType;
use shadernet::kernels::{Profile, Spec};
use shadernet::plan::{Fallback, Known, Planned, plan};
use shadernet::{Rng, ops};

/// One for each dispatch.
pub fn specs(case: &ops::Case, profile: &Arc<Profile>) -> Vec<Arc<Spec>> {
    let Ok((graph, inputs)) = case.build(&mut Rng::new(1)) else { return vec![] };
    let mut known = Known::default();
    for (id, v) in graph.values() {
        if let Some(c) = &v.constant {
            known.values.insert(id, c.clone());
            known.types.insert(id, TensorType::new(c.dtype(), c.shape()));
        }
    }
    for (v, t) in graph.inputs.iter().zip(&inputs) {
        known.types.insert(*v, TensorType::new(t.dtype(), t.shape()));
        known.host.insert(*v);
    }
    let values: HashMap<_, _> = graph.inputs.iter().copied().zip(inputs).collect();
    let graph = Arc::new(graph);
    for _ in 0..2 {
        match plan(&graph, profile, 0, known.clone(), Fallback::Allow) {
            Ok(Planned::Segment(s)) => return s.program.dispatches.iter().map(|d| d.spec.clone()).collect(),
            Ok(Planned::Demand(inputs)) => {
                for v in inputs {
                    known.values.insert(v, values[&v].clone());
                }
            }
            Err(e) => panic!("{} on {}: {e}", case.op, profile.name),
        }
    }
    vec![]
}
