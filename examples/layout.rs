//! Detection: where are the titles, paragraphs, figures and tables on a scanned page? Prints them and draws them into
//! a PNG.
//!
//!     cargo run --release --example layout -- [PICTURE [OUTPUT.png [MODEL]]]

mod common;

use anyhow::{Result, ensure};
use image::{Rgb, imageops};
use shadernet::{Session, Tensor};

/// What the model takes.
const WIDTH: u32 = 608;
const HEIGHT: u32 = 800;
/// Pixels between the places at which each of its heads looks.
const STRIDES: [usize; 4] = [8, 16, 32, 64];
/// What is less likely is not shown.
const SURE: f32 = 0.4;
const COLOURS: [[u8; 3]; 8] = [
    [31, 119, 180],
    [214, 39, 40],
    [44, 160, 44],
    [23, 150, 130],
    [148, 103, 189],
    [200, 80, 160],
    [140, 86, 75],
    [220, 110, 14],
];

/// What was found: a label's number, its probability, and `[left, top, right, bottom]` in parts of the picture.
struct Found {
    label: usize,
    probability: f32,
    bounds: [f32; 4],
}

fn main() -> Result<()> {
    let (source, output) =
        (common::argument(1, "tests/data/pictures/page.jpg"), common::argument(2, "target/layout.png"));
    let mut picture = common::picture(&source)?;
    let model = common::model(&common::argument(3, "models/layout-cdla/model.onnx"))?;
    let names: Vec<String> = common::property(&model, "character")?.lines().map(|l| l.replace('_', " ")).collect();
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &model)?;

    let sized = imageops::resize(&picture, WIDTH, HEIGHT, imageops::FilterType::Triangle);
    let input = common::pixels(&sized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])?;
    let mut found = best_of_each_place(candidates(&session, input, names.len())?);
    found.sort_by(|a, b| a.bounds[1].total_cmp(&b.bounds[1]));

    let (width, height) = (picture.width() as f32, picture.height() as f32);
    println!("{} parts in {}:", found.len(), source.display());
    for Found { label, probability, bounds: [left, top, right, bottom] } in &found {
        let bounds = [left * width, top * height, right * width, bottom * height];
        let (x, y) = (bounds[0].round(), bounds[1].round());
        let (name, percent) = (&names[*label], 100.0 * probability);
        println!("  {percent:3.0}%  {name:15} {:4.0} × {:<4.0} at ({x}, {y})", bounds[2] - x, bounds[3] - y);
        common::frame(&mut picture, bounds, Rgb(COLOURS[label % COLOURS.len()]), &format!("{name} {percent:.0}%"));
    }
    picture.save(&output)?;
    println!("drawn in {}", output.display());
    Ok(())
}

/// Everything that may be something: at each place, the model gives the probability of every label, and of each side's
/// distance a distribution over multiples of the stride.
fn candidates(session: &Session, input: Tensor, names: usize) -> Result<Vec<Found>> {
    let outputs = common::run(session, input)?;
    ensure!(outputs.len() == 2 * STRIDES.len(), "expected labels and distances of four heads, got {outputs:?}");
    let mut found = vec![];
    for (head, stride) in STRIDES.into_iter().enumerate() {
        let columns = (WIDTH as usize).div_ceil(stride);
        let places = columns * (HEIGHT as usize).div_ceil(stride);
        let (labels, distances) = (&outputs[head], &outputs[head + STRIDES.len()]);
        ensure!(labels.shape() == [1, places, names], "expected labels of {places} places, got {labels:?}");
        let (labels, distances) = (labels.to_f32s()?, distances.to_f32s()?);
        let steps = distances.len() / places / 4;
        for (place, labels) in labels.chunks(names).enumerate() {
            let Some((label, probability)) = (0..).zip(labels).max_by(|a, b| a.1.total_cmp(b.1)) else { continue };
            if *probability < SURE {
                continue;
            }
            let expected = |side: usize| {
                let weights = distances[(4 * place + side) * steps..][..steps].iter().map(|logit| logit.exp());
                let (sum, total) = (0..).zip(weights).fold((0.0, 0.0), |(s, t), (k, w)| (s + k as f32 * w, t + w));
                sum / total * stride as f32
            };
            let x = ((place % columns) as f32 + 0.5) * stride as f32;
            let y = ((place / columns) as f32 + 0.5) * stride as f32;
            let (width, height) = (WIDTH as f32, HEIGHT as f32);
            let bounds = [
                (x - expected(0)).max(0.0) / width,
                (y - expected(1)).max(0.0) / height,
                (x + expected(2)).min(width) / width,
                (y + expected(3)).min(height) / height,
            ];
            found.push(Found { label, probability: *probability, bounds });
        }
    }
    Ok(found)
}

/// Non-maximum suppression: leaves out what overlaps something more likely by half, whatever its label.
fn best_of_each_place(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let mut kept: Vec<Found> = vec![];
    for f in found {
        if kept.iter().all(|k| overlap(&k.bounds, &f.bounds) < 0.5) {
            kept.push(f);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |r: &[f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let both = area(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(a) + area(b) - both)
}
