//! What the examples share: arguments, the device, pictures in and out.
#![allow(dead_code)] // no example uses all of it

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::{Rgb, RgbImage};
use shadernet::{Gpu, GpuOptions, Model, Session, Tensor};

/// The `n`-th argument, counted from 1, or the default.
pub fn argument(n: usize, default: &str) -> PathBuf {
    std::env::args_os().nth(n).map_or_else(|| default.into(), PathBuf::from)
}

/// The machine's GPU, or what is to be done where there is none.
pub fn gpu() -> Result<Gpu> {
    pollster::block_on(Gpu::new(GpuOptions::from_env())).context(
        "there is no GPU that can be used; a software driver does as well (Debian: apt-get install mesa-vulkan-drivers)",
    )
}

/// The model of a file, or how to get the file.
pub fn model(path: &Path) -> Result<Model> {
    ensure_there(path, "model")?;
    Ok(Model::load(path)?)
}

/// A model made ready for the GPU.
pub fn session(gpu: &Gpu, model: &Model) -> Result<Session> {
    pollster::block_on(model.session(gpu).build()).context("the model does not fit the GPU")
}

/// What a model file says of itself under a key.
pub fn property<'a>(model: &'a Model, key: &str) -> Result<&'a str> {
    let found = model.metadata().properties.iter().find(|(k, _)| k == key);
    Ok(&found.with_context(|| format!("the model has no property {key:?}"))?.1)
}

/// An error that says how to get the file, unless it is there.
pub fn ensure_there(path: &Path, what: &str) -> Result<()> {
    ensure!(
        path.is_file(),
        "the {what} {} is not there: examples/fetch.sh brings the examples' models, or name another file",
        path.display()
    );
    Ok(())
}

/// Runs a model that takes one tensor and gives one or several.
pub fn run(session: &Session, input: Tensor) -> Result<Vec<Tensor>> {
    let names: Vec<&str> = session.inputs().iter().map(|i| i.name.as_str()).collect();
    ensure!(names.len() == 1, "expected a model with one input, this one has {names:?}");
    let given = format!("{}{:?}", input.dtype(), input.shape());
    let outputs = session.run(&[(names[0], input)]).with_context(|| format!("the model does not run on {given}"))?;
    Ok(outputs.into_iter().map(|(_, t)| t).collect())
}

/// The picture of a file, in colour.
pub fn picture(path: &Path) -> Result<RgbImage> {
    Ok(image::open(path).with_context(|| format!("cannot read the picture {}", path.display()))?.to_rgb8())
}

/// A picture as float[1, 3, height, width]: `(value - mean) / deviation` of each channel, with values from 0 to 1.
pub fn pixels(picture: &RgbImage, mean: [f32; 3], deviation: [f32; 3]) -> Result<Tensor> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let channel = |c: usize| picture.pixels().map(move |p| (p.0[c] as f32 / 255.0 - mean[c]) / deviation[c]);
    Ok(Tensor::new([1, 3, height, width], (0..3).flat_map(channel).collect())?)
}

/// Swaps red and blue, for models that were trained on such pictures.
pub fn bgr(mut picture: RgbImage) -> RgbImage {
    picture.pixels_mut().for_each(|p| p.0.reverse());
    picture
}

/// Draws a frame around `[left, top, right, bottom]`, with a caption above its upper left corner.
pub fn frame(picture: &mut RgbImage, bounds: [f32; 4], colour: Rgb<u8>, caption: &str) {
    let [left, top, right, bottom] = bounds.map(|v| v.round() as i64);
    for y in top - 3..bottom + 3 {
        for x in left - 3..right + 3 {
            if !((left - 1..right + 1).contains(&x) && (top - 1..bottom + 1).contains(&y)) {
                dot(picture, x, y, colour);
            }
        }
    }
    write(picture, left - 3, top - 17, colour, caption);
}

/// Writes white letters, 8 × 8 with a margin, on a ground of this colour.
fn write(picture: &mut RgbImage, left: i64, top: i64, ground: Rgb<u8>, text: &str) {
    use font8x8::UnicodeFonts;
    let (left, top) = (left.max(0), top.max(0));
    for (i, letter) in text.chars().enumerate() {
        let rows = font8x8::BASIC_FONTS.get(letter).unwrap_or_default();
        for y in -3..11 {
            for x in -2..9 {
                let lit = (0..8).contains(&x) && (0..8).contains(&y) && rows[y as usize] >> x & 1 == 1;
                let colour = if lit { Rgb([255; 3]) } else { ground };
                // a letter's right margin is the next one's left
                if x >= 0 || i == 0 {
                    dot(picture, left + 2 + 8 * i as i64 + x, top + 3 + y, colour);
                }
            }
        }
    }
}

fn dot(picture: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
    {
        *pixel = colour;
    }
}
