//! Cases in a process of their own, so that one that aborts or hangs is a failure with a name.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Address space of the child in KiB: what asks for more is an abort instead of a machine that swaps.
const ADDRESSES: u64 = 24 << 20;
const SKIP: &str = "SHADERNET_SKIP";

/// Runs all cases of the ignored test `test` of this program; gives what failed. Starts again behind a case that takes
/// the process with it.
pub fn run_all(test: &str, total: usize) -> Vec<String> {
    let (mut failures, mut done) = (vec![], 0);
    while done < total {
        let (last, mut found) = run_from(test, done);
        failures.append(&mut found);
        assert!(last > done, "the child did nothing: {failures:?}");
        done = last;
    }
    failures
}

/// Runs the cases from number `skip` on; gives the number behind the last that was begun, and what failed.
fn run_from(test: &str, skip: usize) -> (usize, Vec<String>) {
    let exe = std::env::current_exe().unwrap();
    let run = format!("ulimit -v {ADDRESSES} 2>/dev/null; exec \"$0\" --ignored --exact {test} --nocapture");
    let mut command = Command::new("sh");
    command.arg("-c").arg(run).arg(exe).env(SKIP, skip.to_string());
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let (send, lines) = mpsc::channel();
    let out = BufReader::new(process.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(|l| l.ok()).try_for_each(|l| send.send(l)));
    let (mut begun, mut at, mut within, mut failures) = (skip, String::new(), String::new(), vec![]);
    let mut whole = false;
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(l) => match l.split_once(": ") {
                Some(("BEGIN", name)) => (begun, at, within) = (begun + 1, name.into(), String::new()),
                Some(("WITHIN", part)) => within = format!(" {part}"),
                Some(("END", "")) => at.clear(),
                Some(("END", fault)) => failures.push(format!("{}: {fault}", std::mem::take(&mut at))),
                Some(("WHOLE", _)) => whole = true,
                _ => {}
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {
                failures.push(format!("{at}{within}: hangs"));
                at.clear();
                let _ = process.kill();
                break;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = process.wait().unwrap();
    if !whole && !at.is_empty() {
        failures.push(format!("{at}{within}: ends the process: {status}"));
    }
    (begun, failures)
}

/// In the child: tells which part of a case comes now.
pub fn within(part: &str) {
    println!("WITHIN: {}", part.replace('\n', " "));
}

/// In the child: calls `judge` for each case that is left, with its number; it gives what is wrong, or nothing.
pub fn each(names: &[String], mut judge: impl FnMut(usize) -> String) {
    let skip = std::env::var(SKIP).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for (i, name) in names.iter().enumerate().skip(skip) {
        println!("BEGIN: {name}");
        println!("END: {}", judge(i).replace('\n', " "));
    }
    println!("WHOLE: {}", names.len());
}
