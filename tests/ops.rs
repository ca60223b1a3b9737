//! Every case of every operator: the GPU, with no fallback, against the reference.

mod common;

use shadernet::ops;

/// `SHADERNET_OPS=Conv,MatMul` tests those operators only.
#[test]
fn every_case_of_every_operator() {
    let wanted = common::wanted();
    let of = |def: &'static ops::OpDef| (def.cases)().into_iter().zip(1..);
    let cases: Vec<(ops::Case, u64)> = ops::all().filter(|d| wanted(d.name)).flat_map(of).collect();
    check_all(&cases);
}

fn check_all(cases: &[(ops::Case, u64)]) {
    let checked = common::on_all_cores(cases, |(case, seed)| common::check(case, *seed));
    let failures: Vec<String> = checked.into_iter().filter_map(Result::err).collect();
    println!("{} cases, {} wrong", cases.len(), failures.len());
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Cases of floats once more in doubles, for the operators whose kernels take them.
#[test]
fn cases_in_doubles() {
    let of = |def: &'static ops::OpDef| (def.cases)().into_iter().zip(1..);
    let all = ops::all().filter(|d| d.domain.is_empty() && ops::DOUBLES.contains(&d.name)).flat_map(of);
    let cases: Vec<_> = all.filter_map(|(case, seed)| Some((common::in_doubles(&case)?, seed))).collect();
    assert!(cases.len() > 100, "{} cases", cases.len());
    check_all(&cases);
}
