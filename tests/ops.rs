//! Every case of every operator: the GPU, with no fallback, against the reference.

mod common;

use shadernet::ops;

/// `SHADERNET_OPS=Conv,MatMul` tests those operators only.
#[test]
fn every_case_of_every_operator() {
    let wanted = common::wanted();
    let (mut cases, mut failures) = (0, vec![]);
    for def in ops::all().filter(|d| wanted(d.name)) {
        for (i, case) in (def.cases)().iter().enumerate() {
            cases += 1;
            failures.extend(common::check(case, i as u64 + 1).err());
        }
    }
    println!("{cases} cases, {} wrong", failures.len());
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Cases of floats once more in doubles, for the operators whose kernels take them.
#[test]
fn cases_in_doubles() {
    let (mut cases, mut failures) = (0, vec![]);
    for def in ops::all().filter(|d| d.domain.is_empty() && ops::DOUBLES.contains(&d.name)) {
        for (i, case) in (def.cases)().iter().enumerate() {
            let Some(case) = common::in_doubles(case) else { continue };
            cases += 1;
            failures.extend(common::check(&case, i as u64 + 1).err());
        }
    }
    assert!(cases > 100, "{cases} cases");
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
}
