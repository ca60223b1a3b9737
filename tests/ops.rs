//! Every case of every operator: the GPU, with no fallback, against the reference.

mod common;

use shadernet::{Rng, Session, SessionOptions, cpu, ops};

fn check(case: &ops::Case, seed: u64) -> Result<(), String> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let what = format!("{} @{} {:?} {:?}", ops::qualified(case.domain, case.op), case.opset, case.attrs, case.inputs);
    let what: String = what.chars().take(400).collect();
    let fail = |e: String| format!("{what}: {e}");
    let (graph, inputs) = case.build(&mut Rng::new(seed)).map_err(|e| fail(e.to_string()))?;
    let op = graph.nodes[0].operator.op.clone();
    let want = cpu::run(&graph, &inputs).map_err(|e| fail(format!("reference: {e}")))?;
    let host_only = want.iter().chain(&inputs).any(|t| t.dtype().device().is_none());
    if host_only || !op.deterministic() {
        return Ok(());
    }
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default()).map_err(|e| fail(e.to_string()))?;
    let got = pollster::block_on(session.run_ordered(&inputs)).map_err(|e| fail(e.to_string()))?;
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let tolerance = op.tolerance(w.dtype(), case.sum);
        if let Some(m) = common::mismatch(g, w, tolerance) {
            return Err(fail(format!("output {i}: {m}")));
        }
    }
    Ok(())
}

/// `SHADERNET_OPS=Conv,MatMul` tests those operators only.
#[test]
fn every_case_of_every_operator() {
    let filter = std::env::var("SHADERNET_OPS").unwrap_or_default();
    let wanted = |name: &str| filter.is_empty() || filter.split(',').any(|f| f == name);
    let (mut cases, mut failures) = (0, vec![]);
    for def in ops::all().filter(|d| wanted(d.name)) {
        for (i, case) in (def.cases)().iter().enumerate() {
            cases += 1;
            failures.extend(check(case, i as u64 + 1).err());
        }
    }
    println!("{cases} cases, {} wrong", failures.len());
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}
