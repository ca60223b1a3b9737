//! Every shader that any case of any operator chooses on any profile: composed, validated, and emitted to SPIR-V, MSL
//! and HLSL, which is how Metal and DX12 are guarded without their hardware.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use shadernet::ir::TensorType;
use shadernet::kernels::{Profile, Spec, compose};
use shadernet::plan::{Fallback, Known, Planned, plan};
use shadernet::{Rng, ops};

fn specs(case: &ops::Case, profile: &Arc<Profile>) -> Vec<Arc<Spec>> {
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

fn emit(wgsl: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(wgsl))?;
    naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None)
        .map_err(|e| format!("SPIR-V: {e}"))?;
    // cooperative matrices of 16 by 16 are Vulkan's alone
    if wgsl.contains("coop_mat16x16") {
        return Ok(());
    }
    let msl = naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    naga::back::msl::write_string(&module, &info, &msl, &Default::default()).map_err(|e| format!("MSL: {e}"))?;
    let hlsl = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    let (mut out, pipeline) = (String::new(), Default::default());
    naga::back::hlsl::Writer::new(&mut out, &hlsl, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

#[test]
fn every_variant_of_every_profile_is_valid_everywhere() {
    let profiles: Vec<Arc<Profile>> = Profile::all().into_iter().map(Arc::new).collect();
    let of = |profile: &Arc<Profile>| -> HashSet<Arc<Spec>> {
        ops::all().flat_map(|d| (d.cases)()).flat_map(|case| specs(&case, profile)).collect()
    };
    let all: HashSet<Arc<Spec>> = common::on_all_cores(&profiles, of).into_iter().flatten().collect();
    assert!(all.len() > 10, "only {} shaders", all.len());
    let all: Vec<Arc<Spec>> = all.into_iter().collect();
    let failure = |spec: &Arc<Spec>| {
        let text = compose(spec).map_err(|e| format!("{spec:?}: {e}"));
        text.and_then(|text| emit(&text).map_err(|e| format!("{}: {e}", spec.file))).err()
    };
    let failures: Vec<String> = common::on_all_cores(&all, failure).into_iter().flatten().collect();
    println!("{} shaders", all.len());
    assert!(failures.is_empty(), "{} of {} shaders:\n{}", failures.len(), all.len(), failures.join("\n"));
}

#[test]
fn bytes_are_multiplied_four_at_a_time_where_the_device_can() {
    for profile in Profile::all().into_iter().map(Arc::new) {
        for op in ["MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv"] {
            let cases = ops::all().filter(|d| d.name == op).flat_map(|d| (d.cases)());
            let specs: Vec<_> = cases.flat_map(|case| specs(&case, &profile)).collect();
            let by_bytes = specs.iter().any(|spec| compose(spec).is_ok_and(|text| text.contains("dot4I8Packed(")));
            assert_eq!(by_bytes, profile.bytes, "{op} on {}", profile.name);
        }
    }
}
