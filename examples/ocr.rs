//! Text in a picture: one model finds the lines, one says which of them stand upside down, one reads them.
//!
//!     cargo run --release --example ocr -- [PICTURE [DETECTOR [CLASSIFIER [READER]]]]

mod common;

use anyhow::{Context, Result, ensure};
use image::{RgbImage, imageops};
use shadernet::{Session, Tensor};

/// The height of the lines that the classifier and the reader take.
const HEIGHT: u32 = 48;
/// What the detector holds for text lies above this.
const THRESHOLD: f32 = 0.3;

/// A line of text: its middle, half its extents along and across, and its direction.
struct Line {
    middle: [f32; 2],
    half: [f32; 2],
    along: [f32; 2],
}

fn main() -> Result<()> {
    let source = common::argument(1, "tests/data/pictures/ticket.jpg");
    let picture = common::bgr(common::picture(&source)?);
    let detector = common::model(&common::argument(2, "models/ppocr4-det/model.onnx"))?;
    let classifier = common::model(&common::argument(3, "tests/data/text-direction/model.onnx"))?;
    let reader = common::model(&common::argument(4, "models/ppocr4-rec/model.onnx"))?;
    // class 0 stands between letters, the last one is a space
    let letters: Vec<&str> =
        [""].into_iter().chain(common::property(&reader, "character")?.split('\n')).chain([" "]).collect();
    let gpu = common::gpu()?;
    let detector = common::session(&gpu, &detector)?;
    let classifier = common::session(&gpu, &classifier)?;
    let reader = common::session(&gpu, &reader)?;

    let mut rows: Vec<(f32, String)> = vec![];
    let mut row_of_last = usize::MAX;
    for (row, line) in in_reading_order(lines(&detector, &picture)?) {
        let crop = crop(&picture, &line);
        let width = (HEIGHT * crop.width() / crop.height()).next_multiple_of(160).clamp(320, 3200);
        let read = |crop: &RgbImage| decode(&on_line(&reader, crop, width)?, &letters);
        let (mut text, mut sure) = read(&crop)?;
        // [upright, upside down]; some words, as 606, are both, so that the surer reading counts
        let way = on_line(&classifier, &crop, 192)?.to_f32s()?;
        if way.len() == 2 && way[1] > 0.9 {
            let (turned, surer) = read(&imageops::rotate180(&crop))?;
            if surer > sure {
                (text, sure) = (format!("{turned} (upside down)"), surer);
            }
        }
        if sure < 0.5 {
            continue; // no letters after all
        }
        match rows.last_mut() {
            Some((least, before)) if row == row_of_last => {
                *least = least.min(sure);
                *before = format!("{before}   {text}");
            }
            _ => rows.push((sure, text)),
        }
        row_of_last = row;
    }
    println!("{} rows of text in {}:", rows.len(), source.display());
    rows.iter().for_each(|(sure, text)| println!("{:4.0}%  {text}", 100.0 * sure));
    Ok(())
}

/// Runs a model on a line of text at the height that it takes, with grey to the right of short lines.
fn on_line(session: &Session, line: &RgbImage, width: u32) -> Result<Tensor> {
    let own = (HEIGHT as f32 * line.width() as f32 / line.height() as f32).ceil() as u32;
    let sized = imageops::resize(line, own.clamp(1, width), HEIGHT, imageops::FilterType::Triangle);
    let mut filled = RgbImage::from_pixel(width, HEIGHT, image::Rgb([128; 3]));
    imageops::replace(&mut filled, &sized, 0, 0);
    common::run(session, common::pixels(&filled, [0.5; 3], [0.5; 3])?)?
        .into_iter()
        .next()
        .context("the model gave nothing")
}

/// The lines of text, in no order.
fn lines(detector: &Session, picture: &RgbImage) -> Result<Vec<Line>> {
    let (width, height) = picture.dimensions();
    let scale = (736.0 / width.min(height) as f32).max(1.0);
    let extent = |n: u32| ((n as f32 * scale / 32.0).round() as u32 * 32).max(32);
    let (w, h) = (extent(width), extent(height));
    let sized = imageops::resize(picture, w, h, imageops::FilterType::Triangle);
    let heat = common::run(detector, common::pixels(&sized, [0.5; 3], [0.5; 3])?)?.into_iter().next();
    let heat = heat.context("the detector gave nothing")?;
    ensure!(heat.shape() == [1, 1, h as usize, w as usize], "expected one value for each pixel, got {heat:?}");
    let mut heat = heat.to_f32s()?;

    let (w, h) = (w as usize, h as usize);
    let (across, down) = (width as f32 / w as f32, height as f32 / h as f32);
    let mut found = vec![];
    for start in 0..heat.len() {
        if heat[start] < THRESHOLD {
            continue;
        }
        // everything that hangs together above the threshold
        let (mut open, mut points, mut sum) = (vec![start], vec![], 0.0);
        while let Some(at) = open.pop() {
            if heat[at] < THRESHOLD {
                continue;
            }
            let (x, y) = (at % w, at / w);
            sum += std::mem::take(&mut heat[at]);
            points.push([x as f32 * across, y as f32 * down]);
            for y in y.saturating_sub(1)..=(y + 1).min(h - 1) {
                open.extend((x.saturating_sub(1)..=(x + 1).min(w - 1)).map(|x| y * w + x));
            }
        }
        let mut line = match points.len() {
            0..10 => continue,
            n if sum / (n as f32) < 0.5 => continue,
            _ => rectangle(&points),
        };
        // the detector marks the core of a line only
        let [a, b] = line.half;
        let margin = 1.6 * a * b / (a + b);
        line.half = [a + margin, b + margin];
        found.push(line);
    }
    Ok(found)
}

/// Lines with the number of their row, from top to bottom and from left to right as the longest of them runs.
fn in_reading_order(lines: Vec<Line>) -> Vec<(usize, Line)> {
    let longest = lines.iter().max_by(|a, b| a.half[0].total_cmp(&b.half[0]));
    let [x, y] = longest.map_or([1.0, 0.0], |l| l.along);
    let along = |l: &Line| l.middle[0] * x + l.middle[1] * y;
    let across = |l: &Line| l.middle[1] * x - l.middle[0] * y;
    let mut lines: Vec<(usize, Line)> = lines.into_iter().map(|l| (0, l)).collect();
    lines.sort_by(|(_, a), (_, b)| across(a).total_cmp(&across(b)));
    for i in 1..lines.len() {
        let ((row, before), (_, line)) = (&lines[i - 1], &lines[i]);
        let next = across(line) - across(before) > 0.6 * line.half[1].min(before.half[1]);
        lines[i].0 = row + next as usize;
    }
    lines.sort_by(|(r, a), (s, b)| r.cmp(s).then(along(a).total_cmp(&along(b))));
    lines
}

/// The smallest rectangle around points, at any angle; its longer side is the line's direction.
fn rectangle(points: &[[f32; 2]]) -> Line {
    let at_angle = |degrees: i32| {
        let (sin, cos) = (degrees as f32).to_radians().sin_cos();
        let range = |direction: [f32; 2]| {
            let along = points.iter().map(|p| p[0] * direction[0] + p[1] * direction[1]);
            along.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((left, right), (top, bottom)) = (range([cos, sin]), range([-sin, cos]));
        let (u, v) = ((left + right) / 2.0, (top + bottom) / 2.0);
        let half = [(right - left + 1.0) / 2.0, (bottom - top + 1.0) / 2.0];
        Line { middle: [u * cos - v * sin, u * sin + v * cos], half, along: [cos, sin] }
    };
    let area = |l: &Line| l.half[0] * l.half[1];
    let best = (-44..=45).map(at_angle).min_by(|a, b| area(a).total_cmp(&area(b))).unwrap_or_else(|| at_angle(0));
    if best.half[1] > 1.5 * best.half[0] {
        // written upwards
        let Line { middle, half: [a, b], along: [x, y] } = best;
        return Line { middle, half: [b, a], along: [y, -x] };
    }
    best
}

/// The picture of a line, upright.
fn crop(picture: &RgbImage, line: &Line) -> RgbImage {
    let Line { middle, half, along: [x, y] } = line;
    let (width, height) = ((2.0 * half[0]).ceil().max(1.0), (2.0 * half[1]).ceil().max(1.0));
    RgbImage::from_fn(width as u32, height as u32, |i, j| {
        let (u, v) = (i as f32 + 0.5 - width / 2.0, j as f32 + 0.5 - height / 2.0);
        let (px, py) = (middle[0] + u * x - v * y, middle[1] + u * y + v * x);
        let (px, py) = (px.clamp(0.0, picture.width() as f32 - 1.0), py.clamp(0.0, picture.height() as f32 - 1.0));
        imageops::interpolate_bilinear(picture, px, py).unwrap_or(image::Rgb([128; 3]))
    })
}

/// The text of the likeliest class at each step, repeats and blanks left out (CTC), and how sure that is.
fn decode(steps: &Tensor, letters: &[&str]) -> Result<(String, f32)> {
    let classes = letters.len();
    ensure!(steps.rank() == 3 && steps.shape()[2] == classes, "expected {classes} classes a step, got {steps:?}");
    let (mut text, mut last, mut sum, mut count) = (String::new(), 0, 0.0, 0.0);
    for step in steps.to_f32s()?.chunks(classes) {
        let likeliest = step.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((mut class, p)) = likeliest else { continue };
        // the reader spreads a space over several steps, so that none of them outweighs the blank
        if class == 0 && step[classes - 1] > 0.1 {
            class = classes - 1;
        }
        if class != last && class != 0 {
            text.push_str(letters[class]);
            if class != classes - 1 {
                (sum, count) = (sum + p, count + 1.0);
            }
        }
        last = class;
    }
    Ok((text.trim().to_string(), if count > 0.0 { sum / count } else { 0.0 }))
}
