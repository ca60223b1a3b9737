//! Models that mean harm. Each must end in an error of a fitting kind within a second and 200 MB, on every way in: the
//! loader, `check`, a session on the device, the reference. They run in a process of their own, so that one that aborts
//! or hangs is a failure with a name.

mod common;
#[path = "hostile/models.rs"]
mod models;

use std::collections::HashMap;
use std::time::Instant;

use common::child;
use common::folder::Folder;
use models::{Allowed, Hostile};
use shadernet::import::ImportOptions;
use shadernet::{Error, ErrorKind, Fallback, Model, Result, Tensor};

/// What a case may take.
const SECONDS: f64 = 1.0;
const GROWTH: u64 = 200 << 20;
/// Only cases with this in their names.
const ONLY: &str = "SHADERNET_HOSTILE_ONLY";

#[test]
fn every_hostile_model_ends_in_an_error() {
    let total = models::all().len();
    let failures = child::run_all("the_child", total);
    assert!(failures.is_empty(), "{} of {total}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
#[ignore = "what the test above runs in a process of its own"]
fn the_child() {
    let only = std::env::var(ONLY).ok();
    let gpu = common::gpu();
    let cases = models::all();
    let names: Vec<String> = cases.iter().map(|c| c.name.to_string()).collect();
    child::each(&names, |i| {
        let case = &cases[i];
        if only.as_ref().is_some_and(|o| !case.name.contains(o)) {
            return String::new();
        }
        let folder = Folder::new(case.name);
        let file = case.write(folder.path());
        // begins a new high-water mark
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let (before, start, cpu) = (memory("VmRSS"), Instant::now(), cpu_seconds());
        let mut faults: Vec<String> = judge(case, &file, gpu).into_iter().collect();
        // a busy machine says nothing about the case
        let took = start.elapsed().as_secs_f64().min(cpu_seconds() - cpu);
        let grew = memory("VmHWM").saturating_sub(before);
        println!("TOOK: {took:.3} s, {} MB, {}", grew >> 20, case.name);
        let slow = if cfg!(debug_assertions) { 4.0 } else { 1.0 };
        if took > SECONDS * slow {
            faults.push(format!("takes {took:.2} s"));
        }
        if grew > GROWTH {
            faults.push(format!("takes {} MB", grew >> 20));
        }
        faults.join("; ")
    });
}

/// What is wrong with how the case ended.
fn judge(case: &Hostile, file: &std::path::Path, gpu: Option<&shadernet::Gpu>) -> Option<String> {
    let options = ImportOptions { limits: case.limits, ..ImportOptions::default() };
    let model = match Model::load_with(file, &options) {
        Ok(model) => model,
        Err(e) => {
            let named = e.file().is_some_and(|f| f.ends_with("model.onnx"));
            return if named { misfit(case, "load", &e) } else { Some(format!("load: no file in {e}")) };
        }
    };
    let inputs = case.feed(&model);
    let mut faults = vec![];
    let mut ended = |way: &str, got: Result<Vec<(String, Tensor)>>| {
        println!("{way}: {}", got.as_ref().map_or_else(|e| format!("{e:.160}"), |_| "no error".into()));
        match got {
            Err(e) => faults.extend(misfit(case, way, &e)),
            Ok(_) if case.may(Allowed::Success) => {}
            Ok(made) if case.may(Allowed::OwnData) && way != "reference" => {
                let own = |t: &Tensor| t.to_f64s().is_ok_and(|v| v.iter().all(|x| models::OWN.contains(x)));
                if !made.iter().all(|(_, t)| own(t)) {
                    faults.push(format!("{way}: foreign data in {made:?}"));
                }
            }
            Ok(_) => faults.push(format!("{way}: no error")),
        }
    };
    ended("reference", model.reference().run(&inputs));
    if let Some(gpu) = gpu {
        let _ = model.check(gpu);
        for fallback in [Fallback::Deny, Fallback::Allow] {
            let session = pollster::block_on(model.session(gpu).fallback(fallback).build());
            ended("session", session.and_then(|s| s.run(&inputs)));
        }
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn misfit(case: &Hostile, way: &str, e: &Error) -> Option<String> {
    let fits = if case.kinds.is_empty() { e.kind() != ErrorKind::Internal } else { case.kinds.contains(&e.kind()) };
    (!fits || e.to_string().contains('\n')).then(|| format!("{way}: {e}"))
}

/// Bytes, from the system's own books; 0 where it keeps none.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let fields: HashMap<&str, &str> = status.lines().filter_map(|l| l.split_once(':')).collect();
    let kb = fields.get(key).and_then(|v| v.trim().split(' ').next()?.parse::<u64>().ok());
    kb.unwrap_or(0) << 10
}

/// Processor time of all threads; endless where the system keeps none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split(' ').filter_map(|f| f.parse().ok()).collect();
    // utime and stime, in hundredths; the state before them is no number
    if fields.len() > 12 { (fields[10] + fields[11]) / 100.0 } else { f64::INFINITY }
}
