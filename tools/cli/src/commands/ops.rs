use std::collections::{BTreeMap, BTreeSet};

use shadernet::ops::{self, CaseInput, OpDef};
use shadernet::{DType, Result, Rng, Tensor, cpu};

#[derive(clap::Args)]
pub struct Args {}

/// The operators of the registry as a table in Markdown.
pub fn run(_: &Args) -> Result<bool> {
    let mut domains: BTreeMap<&str, Vec<&OpDef>> = BTreeMap::new();
    for def in ops::all() {
        domains.entry(def.domain).or_default().push(def);
    }
    println!("# Operators\n\nMade by `shadernet ops` from the registry; a test holds it to that.\n");
    println!("*Opsets*: those in which the operator changed; each later opset up to the newest is understood too.");
    println!("*Types*: element types of the operands in its test cases; with 64-bit floats in software where `double`");
    println!(
        "stands among them. *Place*: `host` operators run on the interpreter inside a GPU session, as they have no"
    );
    println!("form for a device; `both` depends on attributes or types.");
    for (domain, mut defs) in domains {
        defs.sort_by_key(|d| d.name);
        println!("\n## {}\n", if domain.is_empty() { "ai.onnx" } else { domain });
        println!("| operator | opsets | types | place |\n|---|---|---|---|");
        for def in defs {
            let versions: Vec<String> = def.versions.iter().map(i64::to_string).collect();
            let (types, place) = facts(def);
            println!("| {} | {} | {types} | {place} |", def.name, versions.join(", "));
        }
    }
    Ok(true)
}

/// The types of an operator's operands in its cases, and where it runs.
fn facts(def: &OpDef) -> (String, &'static str) {
    let (mut types, mut host, mut device) = (BTreeSet::new(), false, false);
    for case in (def.cases)() {
        types.extend(case.inputs.iter().filter_map(|input| match input {
            CaseInput::Random { dtype, .. } => Some(*dtype),
            CaseInput::Value(t) | CaseInput::Constant(t) => Some(t.dtype()),
            CaseInput::Absent => None,
        }));
        let Ok((graph, inputs)) = case.build(&mut Rng::new(1)) else { continue };
        let made = cpu::run(&graph, &inputs).unwrap_or_default();
        let of_the_host = |t: &Tensor| t.dtype().is_container() || t.dtype() == DType::String;
        let on_host = graph.nodes[0].operator.op.on_host() || inputs.iter().chain(&made).any(of_the_host);
        host |= on_host;
        device |= !on_host;
    }
    if def.domain.is_empty() && ops::DOUBLES.contains(&def.name) {
        types.insert(DType::F64);
    }
    let names: Vec<&str> = types.into_iter().filter(|t| !t.is_container()).map(DType::name).collect();
    let place = match (host, device) {
        (true, true) => "both",
        (true, false) => "host",
        (false, true) => "device",
        // without cases: what works on sequences and maps, trains, or is folded away
        _ => {
            if def.name == "Constant" {
                "device"
            } else {
                "host"
            }
        }
    };
    (names.join(", "), place)
}
