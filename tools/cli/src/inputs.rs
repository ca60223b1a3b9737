//! Inputs of a run: from npy, npz, pb and image files, or seeded random.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use prost::Message;
use shadernet::import::value_from_bytes;
use shadernet::ir::{Declared, Dim};
use shadernet::{DType, Error, ErrorKind, Model, Result, Rng, Tensor, ValueInfo};

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// The order of an image's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Channels before rows and columns.
    Nchw,
    /// Channels last.
    Nhwc,
}

/// The order of an image's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Channels {
    Rgb,
    Bgr,
    Gray,
}

/// Flags that say where inputs come from.
#[derive(Debug, Clone, Args)]
pub struct InputArgs {
    /// `NAME=FILE` (or FILE alone for the first input): .npy, .npz, .pb, .png or .jpg. Repeatable; an .npz feeds every
    /// input it has an array for. Inputs without a file are seeded random.
    #[arg(short, long = "input", value_name = "NAME=FILE")]
    pub files: Vec<String>,
    /// The extents of an input, for random data and images: `NAME=1,3,224,224`.
    #[arg(long = "shape", value_name = "NAME=DIMS")]
    pub shapes: Vec<String>,
    /// A named extent of the model, for random data: `batch=4`.
    #[arg(long = "dim", value_name = "NAME=N")]
    pub dims: Vec<String>,
    /// The range of random data: `NAME=LOW,HIGH`.
    #[arg(long = "range", value_name = "NAME=LOW,HIGH")]
    pub ranges: Vec<String>,
    /// The seed of random data.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Images: the order of axes; by default what the declared shape looks like.
    #[arg(long, value_enum)]
    pub layout: Option<Layout>,
    /// Images: the order of channels.
    #[arg(long, value_enum, default_value = "rgb")]
    pub channels: Channels,
    /// Images: what 8-bit values are multiplied with first.
    #[arg(long, default_value_t = 1.0 / 255.0)]
    pub scale: f32,
    /// Images: subtracted after scaling, one number or one a channel.
    #[arg(long, value_delimiter = ',', default_value = "0", allow_hyphen_values = true)]
    pub mean: Vec<f32>,
    /// Images: divided by after that, one number or one a channel.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub std: Vec<f32>,
}

/// Seeded data is uniform in this range unless told otherwise.
const FLOAT_RANGE: (f64, f64) = (0.0, 1.0);
const INT_RANGE: (f64, f64) = (0.0, 2.0);

fn pairs(list: &[String], what: &str) -> Result<Vec<(String, String)>> {
    let split = |s: &String| {
        let (n, v) = s.rsplit_once('=').ok_or_else(|| bad(format!("--{what} {s:?}: expected NAME=…")))?;
        Ok((n.to_string(), v.to_string()))
    };
    list.iter().map(split).collect()
}

fn numbers<T: std::str::FromStr>(text: &str, what: &str) -> Result<Vec<T>> {
    if text.is_empty() {
        return Ok(vec![]);
    }
    let one = |s: &str| s.trim().parse().map_err(|_| bad(format!("--{what}: {s:?} is no number")));
    text.split(',').map(one).collect()
}

impl InputArgs {
    /// A tensor for every input of the model.
    pub fn make(&self, model: &Model) -> Result<Vec<(String, Tensor)>> {
        let mut out: Vec<(String, Tensor)> = vec![];
        for f in &self.files {
            self.read(model, f, &mut out)?;
        }
        let mut rng = Rng::new(self.seed);
        for info in model.inputs() {
            if !out.iter().any(|(n, _)| *n == info.name) {
                out.push((info.name.clone(), self.random(&info.name, info.declared.as_ref(), &mut rng)?));
            }
        }
        Ok(out)
    }

    fn read(&self, model: &Model, arg: &str, out: &mut Vec<(String, Tensor)>) -> Result<()> {
        let (name, file) = match arg.rsplit_once('=') {
            Some((n, f)) => (Some(n.to_string()), f),
            None => (None, arg),
        };
        let path = Path::new(file);
        let first = model.inputs().first().map(|i| i.name.clone());
        let name = name.or(first).ok_or_else(|| bad("the model has no inputs"))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        match extension.as_str() {
            "npz" => {
                for (n, t) in read_npz(path)? {
                    let n = n.strip_prefix("in:").unwrap_or(&n).to_string();
                    if model.inputs().iter().any(|i| i.name == n) {
                        out.push((n, t));
                    }
                }
            }
            "npy" => out.push((name, read_npy(path)?)),
            "pb" => out.push((name, read_pb(path)?)),
            "png" | "jpg" | "jpeg" => {
                let declared = model.inputs().iter().find(|i| i.name == name).and_then(|i| i.declared.clone());
                let image = self.image(path, &name, declared.as_ref())?;
                out.push((name, image));
            }
            _ => return Err(bad(format!("{file}: expected .npy, .npz, .pb, .png or .jpg"))),
        }
        Ok(())
    }

    /// The extents of an input: as given, else as declared with named extents filled in (1 where nothing is said).
    fn shape(&self, name: &str, declared: Option<&Declared>) -> Result<Vec<usize>> {
        if let Some((_, dims)) = pairs(&self.shapes, "shape")?.into_iter().find(|(n, _)| n == name) {
            return numbers(&dims, "shape");
        }
        let known = pairs(&self.dims, "dim")?;
        let dims = declared.and_then(Declared::dims);
        let dims = dims.ok_or_else(|| bad(format!("input {name:?} has no declared shape; give --shape {name}=…")))?;
        let extent = |d: &Dim| match d {
            Dim::Known(n) => Ok(*n),
            Dim::Symbol(s) => match known.iter().find(|(n, _)| n == s) {
                Some((_, v)) => v.parse().map_err(|_| bad(format!("--dim {s}={v}: expected a whole number"))),
                None => Ok(1),
            },
            Dim::Unknown => Ok(1),
        };
        dims.iter().map(extent).collect()
    }

    fn random(&self, name: &str, declared: Option<&Declared>, rng: &mut Rng) -> Result<Tensor> {
        let dtype = declared.and_then(Declared::dtype);
        let dtype = dtype.ok_or_else(|| bad(format!("input {name:?} is no tensor: give it a file")))?;
        let shape = self.shape(name, declared)?;
        let (low, high) = match pairs(&self.ranges, "range")?.into_iter().find(|(n, _)| n == name) {
            Some((_, r)) => match numbers::<f64>(&r, "range")?[..] {
                [low, high] => (low, high),
                _ => return Err(bad(format!("--range {name}={r}: expected LOW,HIGH"))),
            },
            None if dtype.is_float() => FLOAT_RANGE,
            None => INT_RANGE,
        };
        rng.tensor(dtype, &shape, low, high)
    }

    fn image(&self, path: &Path, name: &str, declared: Option<&Declared>) -> Result<Tensor> {
        let dtype = declared.and_then(Declared::dtype).unwrap_or(DType::F32);
        let image = image::open(path).map_err(|e| bad(format!("{}: {e}", path.display())))?;
        let depth = if self.channels == Channels::Gray { 1 } else { 3 };
        let mut shape = self.shape(name, declared)?;
        if shape.len() == 3 {
            shape.insert(0, 1);
        }
        let [_, a, b, c] = shape[..] else {
            return Err(bad(format!("input {name:?} of shape {shape:?} takes no image: expected 4 dims")));
        };
        let guess = if c == depth && a != depth { Layout::Nhwc } else { Layout::Nchw };
        let layout = self.layout.unwrap_or(guess);
        let (rows, cols) = match layout {
            Layout::Nchw => (b, c),
            Layout::Nhwc => (a, b),
        };
        // an extent that the model leaves open is the image's own
        let pick = |n: usize, own: u32| if n <= 1 { own } else { n as u32 };
        let (rows, cols) = (pick(rows, image.height()), pick(cols, image.width()));
        let sized = image.resize_exact(cols, rows, image::imageops::FilterType::Triangle);
        let rgb = sized.to_rgb8();
        let channel = |list: &[f32], k: usize| list.get(k).or(list.first()).copied().unwrap_or(0.0);
        let value = |x: u32, y: u32, k: usize| {
            let p = rgb.get_pixel(x, y).0;
            let raw = match self.channels {
                Channels::Rgb => p[k] as f32,
                Channels::Bgr => p[2 - k] as f32,
                Channels::Gray => 0.299 * p[0] as f32 + 0.587 * p[1] as f32 + 0.114 * p[2] as f32,
            };
            (raw * self.scale - channel(&self.mean, k)) / channel(&self.std, k)
        };
        let mut data = Vec::with_capacity(depth * (rows * cols) as usize);
        match layout {
            Layout::Nchw => {
                for k in 0..depth {
                    data.extend((0..rows).flat_map(|y| (0..cols).map(move |x| (x, y))).map(|(x, y)| value(x, y, k)));
                }
            }
            Layout::Nhwc => {
                for y in 0..rows {
                    data.extend((0..cols).flat_map(|x| (0..depth).map(move |k| (x, k))).map(|(x, k)| value(x, y, k)));
                }
            }
        }
        let (r, c) = (rows as usize, cols as usize);
        let shape = match layout {
            Layout::Nchw => vec![1, depth, r, c],
            Layout::Nhwc => vec![1, r, c, depth],
        };
        Tensor::from_f32s(dtype, shape, data)
    }
}

/// A tensor from an ONNX TensorProto file.
pub fn read_pb(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", path.display())))?;
    let proto = onnx_proto::TensorProto::decode(&bytes[..]).map_err(|e| bad(format!("{}: {e}", path.display())))?;
    shadernet::import::tensor_from_proto(&proto).map_err(|e| e.in_file(path.display().to_string()))
}

macro_rules! try_types {
    ($read:expr, $($t:ty),*) => {
        $(
            if let Ok(a) = $read.map(|a: ndarray::ArrayD<$t>| a) {
                let shape = a.shape().to_vec();
                return Tensor::new(shape, a.into_iter().collect::<Vec<$t>>());
            }
        )*
    };
}

/// A tensor from a NumPy array file.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let open = || std::fs::File::open(path).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", path.display())));
    open()?;
    use ndarray_npy::ReadNpyExt;
    let read = std::fs::read(path).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", path.display())))?;
    try_types!(ndarray::ArrayD::read_npy(&read[..]), f32, f64, i64, i32, bool, u8, i8, i16, u16, u32, u64);
    Err(bad(format!("{}: no array of a known element type", path.display())))
}

fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let file = std::fs::File::open(path).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", path.display())))?;
    let wrong = |e: String| bad(format!("{}: {e}", path.display()));
    let mut npz = ndarray_npy::NpzReader::new(file).map_err(|e| wrong(e.to_string()))?;
    let names = npz.names().map_err(|e| wrong(e.to_string()))?;
    let mut out = vec![];
    for name in names {
        let t = read_entry(&mut npz, &name).map_err(|e| wrong(e.to_string()))?;
        out.push((name.strip_suffix(".npy").unwrap_or(&name).to_string(), t));
    }
    Ok(out)
}

fn read_entry(npz: &mut ndarray_npy::NpzReader<std::fs::File>, name: &str) -> Result<Tensor> {
    try_types!(npz.by_name(name), f32, f64, i64, i32, bool, u8, i8, i16, u16, u32, u64);
    Err(bad(format!("array {name:?} has no known element type")))
}

/// A value of the declared type (a tensor if none is) from a file of an ONNX test case.
pub fn read_value(info: Option<&ValueInfo>, path: &Path) -> Result<Tensor> {
    match info.and_then(|i| i.declared.as_ref()) {
        Some(declared @ (Declared::Sequence(_) | Declared::Optional(_) | Declared::Map(..))) => {
            let bytes =
                std::fs::read(path).map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", path.display())))?;
            value_from_bytes(declared, &bytes)
                .or_else(|e| read_pb(path).map_err(|_| e))
                .map_err(|e| e.in_file(path.display().to_string()))
        }
        _ => read_pb(path),
    }
}

/// The test data sets of a model's folder, in order.
pub fn data_sets(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (0..).map(|n| folder.join(format!("test_data_set_{n}"))).take_while(|p| p.is_dir())
}

/// The inputs of a test data set, with the model's names.
pub fn set_inputs(model: &Model, set: &Path) -> Result<Vec<(String, Tensor)>> {
    let read = |(info, file): (&ValueInfo, PathBuf)| Ok((info.name.clone(), read_value(Some(info), &file)?));
    model.inputs().iter().zip(data_set(set, "input")).map(read).collect()
}

/// The `input_i.pb` or `output_i.pb` files of a test data set, in order.
pub fn data_set(folder: &Path, stem: &str) -> Vec<PathBuf> {
    (0..).map(|i| folder.join(format!("{stem}_{i}.pb"))).take_while(|p| p.is_file()).collect()
}
