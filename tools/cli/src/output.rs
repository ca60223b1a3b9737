//! What commands print: tensors in short, and progress where a person looks on.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use shadernet::{Error, ErrorKind, Result, Tensor};

/// The last part of a path.
pub fn last_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// What a model is called: its file, or, as many are called model.onnx, the folder of that.
pub fn model_name(path: &Path) -> String {
    match (path.file_name().and_then(|n| n.to_str()), path.parent()) {
        (Some("model.onnx"), Some(folder)) if folder.file_name().is_some() => last_name(folder),
        _ => last_name(path),
    }
}

/// Writes a report.
pub fn write_json(file: &Path, report: &serde_json::Value) -> Result<()> {
    std::fs::write(file, report.to_string()).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", file.display())))
}

/// A bar for `total` steps; silent when standard error is no terminal.
pub fn bar(total: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_string());
    bar
}

/// A spinner for work whose length is unknown; silent when standard error is no terminal.
pub fn spinner(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_message(what.to_string());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// Smallest, largest and mean element.
pub fn summary(t: &Tensor) -> String {
    let Ok(x) = t.to_f64s() else { return String::new() };
    let finite: Vec<f64> = x.iter().copied().filter(|v| v.is_finite()).collect();
    if finite.is_empty() {
        return String::new();
    }
    let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let odd = x.len() - finite.len();
    let odd = if odd > 0 { format!(", {odd} not finite") } else { String::new() };
    format!("min {min:.6} max {max:.6} mean {mean:.6}{odd}")
}

/// `12.3 MB` and the like.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut x = n as f64;
    let mut unit = 0;
    while x >= 1000.0 && unit + 1 < UNITS.len() {
        x /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{x:.1} {}", UNITS[unit]) }
}

/// The value at quantile `q` of a sorted list.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let i = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(i.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}
