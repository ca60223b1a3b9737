//! Timings as a page: a table, and for each model how its runs went in each place.

use std::fmt::Write;

use plotters::prelude::*;
use shadernet::{Error, ErrorKind, Result};

use crate::commands::bench::Row;

const SIZE: (u32, u32) = (900, 280);

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>shadernet bench</title>
<style>
body { font: 15px system-ui, sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse }
th, td { padding: .25em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
svg { display: block; margin: 1em 0 2em }
</style>
<h1>shadernet bench</h1>
"#;

/// The page.
///
/// # Errors
/// `Internal` when a plot cannot be drawn.
pub fn page(rows: &[Row]) -> Result<String> {
    let mut out = String::from(HEAD);
    let columns = [
        "model",
        "place",
        "load, ms",
        "first, ms",
        "median, ms",
        "P90",
        "P99",
        "Gflop/s",
        "GB/s",
        "floor, ms",
        "its share",
    ];
    let heads: String = columns.iter().map(|c| format!("<th>{c}")).collect();
    let _ = writeln!(out, "<table>\n<tr>{heads}");
    for r in rows {
        let start = |i: usize, warm: f64| match r.cold_ms {
            Some(cold) => format!("{warm:.1} (cold {:.1})", cold[i]),
            None => format!("{warm:.1}"),
        };
        let _ = write!(out, "<tr><td>{}<td>{}", escaped(&r.model), escaped(&place(r)));
        let _ = write!(out, "<td>{}<td>{}", start(0, r.load_ms), start(1, r.first_ms));
        let _ = write!(out, "<td>{:.2}<td>{:.2}<td>{:.2}", r.median_ms, r.p90_ms, r.p99_ms);
        let _ = match r.work {
            Some(w) => writeln!(
                out,
                "<td>{:.1}<td>{:.1}<td>{:.2}<td>{:.0}%",
                w.gflops,
                w.gb_per_s,
                w.floor_ms,
                w.floor_share * 100.0
            ),
            None => writeln!(out, "<td><td><td><td>"),
        };
    }
    out.push_str("</table>\n<p>The floor is the least time in which the device could move what the dispatches bind, or do their\n");
    out.push_str("arithmetic, at the rates that it reaches in a large elementwise operator and a large product.\n");
    let mut models: Vec<&str> = rows.iter().map(|r| r.model.as_str()).collect();
    models.dedup();
    for model in models {
        let rows: Vec<&Row> = rows.iter().filter(|r| r.model == model).collect();
        let svg = runs(&rows).map_err(|e| Error::new(ErrorKind::Internal, format!("the plot of {model}: {e}")))?;
        let _ = writeln!(out, "<h2>{}</h2>\n{svg}", escaped(model));
    }
    out.push_str("</html>\n");
    Ok(out)
}

fn place(r: &Row) -> String {
    format!("{} ({})", r.adapter, r.backend)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The time of each run, one line a place.
fn runs(rows: &[&Row]) -> Result<String, Box<dyn std::error::Error>> {
    let count = rows.iter().map(|r| r.times_ms.len()).max().unwrap_or(0).max(2);
    let most = rows.iter().flat_map(|r| &r.times_ms).copied().fold(0.0, f64::max).max(1e-3);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(1..count, 0.0..most * 1.1)?;
        chart.configure_mesh().x_desc("run").y_desc("ms").draw()?;
        for (i, r) in rows.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points = r.times_ms.iter().enumerate().map(|(k, t)| (k + 1, *t));
            let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            line.label(r.adapter.clone())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color.stroke_width(2)));
        }
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
        area.present()?;
    }
    Ok(svg)
}
