//! ImageDecoder: pictures from the bytes of their files, on the host.

use std::sync::Arc;

use image::DynamicImage;

use super::eval::need;
use super::{Case, Defer, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType;
use crate::ir::AttrReader;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "ImageDecoder", versions: &[20], parse, cases }];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pixels {
    Rgb,
    Bgr,
    Grayscale,
}

/// Bytes of a BMP, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP file to `[height, width, channels]` of uint8.
#[derive(Debug)]
struct ImageDecoder {
    pixels: Pixels,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let pixels = match a.string_or("pixel_format", "RGB".into())?.as_str() {
        "RGB" => Pixels::Rgb,
        "BGR" => Pixels::Bgr,
        "Grayscale" => Pixels::Grayscale,
        other => bail!(InvalidNode, "attribute pixel_format is {other:?}"),
    };
    Ok(Arc::new(ImageDecoder { pixels }))
}

fn cases() -> Vec<Case> {
    // two pixels of a binary PPM
    let file = Tensor::vector(b"P6 2 1 255\n\x01\x02\x03\xff\x80\x00");
    let case = |format: &str| Case::new("ImageDecoder", 20).value(file.clone()).string("pixel_format", format);
    ["RGB", "BGR", "Grayscale"].map(case).into()
}

/// The signatures of a JPEG 2000 file and of its bare code stream.
const JPEG_2000: [&[u8]; 2] = [&[0, 0, 0, 12, b'j', b'P', b' ', b' '], &[0xff, 0x4f, 0xff, 0x51]];

/// Pixels of the largest picture: a file of a few bytes may claim any number, or hold them by compression.
const PIXELS: u64 = 1 << 27;

fn ensure_size(width: u64, height: u64) -> Result<()> {
    let fits = width.checked_mul(height).is_some_and(|n| n <= PIXELS);
    ensure!(fits, Limit, "a picture of {width} x {height}: more than {PIXELS} pixels");
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    if JPEG_2000.iter().any(|s| bytes.starts_with(s)) {
        return decode_jpeg_2000(bytes);
    }
    if bytes.starts_with(&[0xff, 0xd8]) {
        return decode_jpeg(bytes);
    }
    let bad = |e: String| err!(InvalidInput, "the picture cannot be read: {e}");
    let reader = || image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let (w, h) = reader().map_err(|e| bad(e.to_string()))?.into_dimensions().map_err(|e| bad(e.to_string()))?;
    ensure_size(w.into(), h.into())?;
    reader().map_err(|e| bad(e.to_string()))?.decode().map_err(|e| bad(e.to_string()))
}

/// The operator's text asks for the chroma upsampling of libjpeg-turbo; this decoder has its arithmetic, bit for bit.
fn decode_jpeg(bytes: &[u8]) -> Result<DynamicImage> {
    use libjpeg_turbo_rs::{Decoder, PixelFormat, decompress, decompress_to};
    let bad = |e: String| err!(InvalidInput, "the JPEG picture cannot be read: {e}");
    let decoder = Decoder::new(bytes).map_err(|e| bad(e.to_string()))?;
    ensure_size(decoder.header().width.into(), decoder.header().height.into())?;
    let picture = decompress(bytes).map_err(|e| bad(e.to_string()))?;
    let gray = picture.pixel_format == PixelFormat::Grayscale;
    let picture =
        if gray { picture } else { decompress_to(bytes, PixelFormat::Rgb).map_err(|e| bad(e.to_string()))? };
    let (w, h) = (picture.width as u32, picture.height as u32);
    let whole = if gray {
        image::GrayImage::from_raw(w, h, picture.data).map(DynamicImage::ImageLuma8)
    } else {
        image::RgbImage::from_raw(w, h, picture.data).map(DynamicImage::ImageRgb8)
    };
    whole.ok_or_else(|| bad("it is incomplete".into()))
}

fn decode_jpeg_2000(bytes: &[u8]) -> Result<DynamicImage> {
    use hayro_jpeg2000::{DecodeSettings, Image};
    let bad = |e: String| err!(InvalidInput, "the JPEG 2000 picture cannot be read: {e}");
    let picture = Image::new(bytes, &DecodeSettings::default()).map_err(|e| bad(format!("{e:?}")))?;
    let (w, h) = (picture.width(), picture.height());
    ensure_size(w.into(), h.into())?;
    let data = picture.decode().map_err(|e| bad(format!("{e:?}")))?;
    let whole = match data.len().checked_div(w as usize * h as usize) {
        Some(1) => image::GrayImage::from_raw(w, h, data).map(DynamicImage::ImageLuma8),
        Some(3) => image::RgbImage::from_raw(w, h, data).map(DynamicImage::ImageRgb8),
        Some(4) => image::RgbaImage::from_raw(w, h, data).map(DynamicImage::ImageRgba8),
        _ => None,
    };
    whole.ok_or_else(|| bad("its channels are not 1, 3 or 4".into()))
}

/// Luma after ITU-R 601-2, in the fixed-point arithmetic of common decoders.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

impl Op for ImageDecoder {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        cx.input(0)?;
        Err(Defer::DataDependent)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let file = need(inputs, 0)?;
        let is_file = file.dtype() == DType::U8 && file.rank() == 1;
        ensure!(is_file, InvalidNode, "expected uint8 of rank 1, got {}{:?}", file.dtype(), file.shape());
        let picture = decode(file.bytes())?;
        let (w, h) = (picture.width() as usize, picture.height() as usize);
        if let (Pixels::Grayscale, DynamicImage::ImageLuma8(gray)) = (self.pixels, &picture) {
            return Ok(vec![Tensor::new([h, w, 1], gray.as_raw().clone())?]);
        }
        let mut rgb = picture.into_rgb8().into_raw();
        Ok(vec![match self.pixels {
            Pixels::Rgb => Tensor::new([h, w, 3], rgb)?,
            Pixels::Bgr => {
                rgb.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
                Tensor::new([h, w, 3], rgb)?
            }
            Pixels::Grayscale => {
                Tensor::new([h, w, 1], rgb.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect())?
            }
        }])
    }

    fn on_host(&self) -> bool {
        true
    }
}
