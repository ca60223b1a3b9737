//! Runs a target on mutated inputs for some time, without a nightly compiler: `fuzz TARGET SECONDS [SEED] [FOLDER…]`.
//! Folders hold first inputs. A finding is kept as `finding-TARGET-N` in the working folder, with the panic's words on
//! standard error; the exit code says whether there were any. What takes the whole process with it, or hangs, is what
//! `current-TARGET` holds afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use shadernet::Rng;
use shadernet_fuzz::{TARGETS, import, mutate};

/// An input that takes longer hangs, on a busy machine too.
const HANG: Duration = Duration::from_secs(60);
/// First inputs larger than this make runs slow.
const LARGE: u64 = 32 << 10;
/// Findings after which a run ends.
const FINDINGS: usize = 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(name), Some(seconds)) = (args.first(), args.get(1).and_then(|s| s.parse().ok())) else {
        eprintln!("fuzz TARGET SECONDS [SEED] [FOLDER…], or fuzz TARGET FILE");
        return replay(&args);
    };
    let Some((_, target)) = TARGETS.iter().find(|(n, _)| n == name) else {
        eprintln!("no target {name:?}");
        std::process::exit(2);
    };
    let seed = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(1u64);
    let mut corpus: Vec<Vec<u8>> = vec![vec![]];
    args.iter().skip(3).for_each(|f| collect(Path::new(f), name, &mut corpus));
    eprintln!("{name}: {} first inputs, {seconds} s, seed {seed}", corpus.len());
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));

    let begun = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    watch(begun.clone(), start);
    let mut rng = Rng::new(seed);
    let (mut runs, mut findings) = (0u64, 0);
    while start.elapsed().as_secs() < seconds && findings < FINDINGS {
        let input = draw(name, &corpus, &mut rng);
        let _ = std::fs::write(format!("current-{name}"), &input);
        begun.store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            findings += 1;
            let file = format!("finding-{name}-{findings}");
            eprintln!("FINDING {file}");
            let _ = std::fs::write(file, &input);
        }
        runs += 1;
    }
    let _ = std::fs::remove_file(format!("current-{name}"));
    println!("{name}: {runs} inputs in {} s, {findings} findings", start.elapsed().as_secs());
    std::process::exit(i32::from(findings > 0));
}

/// Runs a target once on a file.
fn replay(args: &[String]) {
    let [name, file] = args else { std::process::exit(2) };
    let found = TARGETS.iter().find(|(n, _)| n == name).zip(std::fs::read(file).ok());
    let Some(((_, target), data)) = found else { std::process::exit(2) };
    target(&data);
}

/// The next input: a first one, changed.
fn draw(name: &str, corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = corpus[mutate::below(rng, corpus.len())].clone();
    if name == "graphs" {
        let len = 8 + mutate::below(rng, 2);
        return (0..len).map(|_| rng.next_u64() as u8).collect();
    }
    if name == "import"
        && mutate::below(rng, 4) > 0
        && let Some(mut model) = import::decode(&data)
    {
        mutate::model(&mut model, rng);
        return model.encode_to_vec();
    }
    let other = &corpus[mutate::below(rng, corpus.len())];
    mutate::bytes(&mut data, other, rng);
    data
}

/// Files that suit a target, in whatever depth.
fn collect(folder: &Path, target: &str, out: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let suits = match target {
            "import" => extension == "onnx",
            "text" => matches!(extension, "onnx" | "txt"),
            "arrays" => matches!(extension, "npy" | "npz" | "png" | "jpg" | "pb"),
            _ => false,
        };
        if path.is_dir() {
            collect(&path, target, out);
        } else if suits && path.metadata().is_ok_and(|m| m.len() <= LARGE) {
            let Ok(data) = std::fs::read(&path) else { continue };
            match (target, extension) {
                ("text", "onnx") => out.extend(shadernet::Model::from_bytes(&data).ok().map(|m| shadernet::ir::print(m.graph()).into_bytes())),
                _ => out.push(data),
            }
        }
    }
}

/// Ends the process when an input hangs.
fn watch(begun: Arc<AtomicU64>, start: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let at = Duration::from_millis(begun.load(Ordering::Relaxed));
            if start.elapsed().saturating_sub(at) > HANG {
                eprintln!("HANGS: see current-*");
                std::process::exit(3);
            }
        }
    });
}
