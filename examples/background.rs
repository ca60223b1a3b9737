//! Segmentation: cuts what a photo shows out of its background, as a PNG with transparency.
//!
//!     cargo run --release --example background -- [PICTURE [OUTPUT.png [MODEL]]]

mod common;

use anyhow::{Context, Result, ensure};
use image::{GrayImage, Luma, Rgba, RgbaImage, imageops};

/// The extent of what the model takes.
const SIZE: u32 = 1024;

fn main() -> Result<()> {
    let (source, output) =
        (common::argument(1, "tests/data/pictures/coffee.jpg"), common::argument(2, "target/background.png"));
    let picture = common::picture(&source)?;
    let model = common::model(&common::argument(3, "models/isnet-f16/model.onnx"))?;
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &model)?;

    let sized = imageops::resize(&picture, SIZE, SIZE, imageops::FilterType::Triangle);
    let begun = std::time::Instant::now();
    let outputs = common::run(&session, common::pixels(&sized, [0.5; 3], [1.0; 3])?)?;
    let took = begun.elapsed().as_secs_f32();
    let mask = outputs.first().context("the model gave nothing")?;
    ensure!(mask.shape() == [1, 1, SIZE as usize, SIZE as usize], "expected one value for each pixel, got {mask:?}");

    let opacity: Vec<u8> = mask.to_f32s()?.iter().map(|v| (v * 255.0).round() as u8).collect();
    let mask = GrayImage::from_raw(SIZE, SIZE, opacity).context("a mask of another size")?;
    let mask = imageops::resize(&mask, picture.width(), picture.height(), imageops::FilterType::Triangle);
    let cut = RgbaImage::from_fn(picture.width(), picture.height(), |x, y| {
        let ([r, g, b], Luma([a])) = (picture.get_pixel(x, y).0, *mask.get_pixel(x, y));
        Rgba([r, g, b, a])
    });
    cut.save(&output)?;

    let share = mask.pixels().map(|p| p.0[0] as f64 / 255.0).sum::<f64>() / mask.len() as f64;
    println!("{}: {:.1}% of the picture is foreground, found in {took:.1} s", source.display(), 100.0 * share);
    if let Some([left, top, right, bottom]) = bounds(&mask) {
        println!("it lies between ({left}, {top}) and ({right}, {bottom})");
    }
    println!("cut out in {}", output.display());
    Ok(())
}

/// The smallest rectangle around all that is rather foreground than not.
fn bounds(mask: &GrayImage) -> Option<[u32; 4]> {
    let inside = mask.enumerate_pixels().filter(|(_, _, p)| p.0[0] > 127);
    inside.fold(None, |bounds, (x, y, _)| {
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
        Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
    })
}
