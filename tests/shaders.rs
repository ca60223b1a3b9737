//! Every shader that any case of any operator chooses on any profile: composed, validated, and emitted to SPIR-V, MSL
//! and HLSL, which is how Metal and DX12 are guarded without their hardware.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use shadernet::kernels::{Profile, Spec, compose};
use shadernet::ops;

use common::specs::specs;

/// A variable of a loop without a value to begin with: some browsers leave it as the last iteration did. Cooperative
/// matrices, which no browser has, are as they are.
fn left_over(wgsl: &str) -> Option<&str> {
    let (mut depth, mut loops, mut begun) = (0, vec![], false);
    for line in wgsl.lines().map(str::trim) {
        let open = line.starts_with("var ") && line.contains(':') && line.ends_with(';') && !line.contains('=');
        if open && !loops.is_empty() && !line.contains("coop_mat") {
            return Some(line);
        }
        begun |= ["for ", "while ", "loop "].iter().any(|word| line.starts_with(word));
        for c in line.chars() {
            match c {
                '{' => {
                    depth += 1;
                    if std::mem::take(&mut begun) {
                        loops.push(depth);
                    }
                }
                '}' => {
                    loops.pop_if(|l| *l == depth);
                    depth -= 1;
                }
                _ => {}
            }
        }
    }
    None
}

#[test]
fn what_loops_leave_over_is_found() {
    let text = |line: &str| {
        format!(
            "fn f() {{\n    var a: f32;\n    for (;;) {{\n        if x {{\n        }}\n        {line}\n    }}\n    var b: u32;\n}}"
        )
    };
    assert_eq!(left_over(&text("var c: array<f32, 4>;")), Some("var c: array<f32, 4>;"));
    assert_eq!(left_over(&text("var c = array<f32, 4>();")), None);
}

fn emit(wgsl: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(wgsl))?;
    if let Some(line) = left_over(wgsl) {
        return Err(format!("{line:?} stands in a loop and has no value to begin with"));
    }
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
