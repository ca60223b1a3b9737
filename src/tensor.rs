//! Host tensors: an element type, a shape and shared bytes (or strings), in row-major order.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use crate::bytes::Bytes;
use crate::dtype::{DType, Element, small_float};
use crate::shape;
use crate::{Result, bail, ensure, err};

/// A tensor in host memory, or a value made of tensors: a rank-0 one whose element type is a container
/// ([`DType::is_container`]) and whose data are [items](Tensor::items). Cloning shares the data.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    Strings(Arc<[String]>),
    Items(Arc<[Tensor]>),
}

impl Tensor {
    /// A tensor of `T`'s element type. `values` are in row-major order.
    ///
    /// # Errors
    /// `InvalidInput` when the number of values is not the product of `shape`.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, values: Vec<T>) -> Result<Tensor> {
        Tensor::from_bytes(T::DTYPE, shape, bytemuck::cast_slice(&values).to_vec())
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor { dtype: T::DTYPE, shape: vec![], data: Data::Bytes(bytemuck::bytes_of(&value).to_vec().into()) }
    }

    /// A tensor of rank 1.
    pub fn vector<T: Element>(values: &[T]) -> Tensor {
        let data = Data::Bytes(bytemuck::cast_slice(values).to_vec().into());
        Tensor { dtype: T::DTYPE, shape: vec![values.len()], data }
    }

    /// A tensor over existing bytes in host layout: little endian, one byte per element for types under eight
    /// bits, bools 0 or 1.
    ///
    /// # Errors
    /// `InvalidInput` when the byte count does not fit, the type is `string`, or a bool is neither 0 nor 1.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: impl Into<Bytes>) -> Result<Tensor> {
        let (shape, bytes) = (shape.into(), bytes.into());
        ensure!(dtype != DType::String, InvalidInput, "a string tensor has no byte form");
        let count = shape::checked_numel(&shape)?;
        let want = count.checked_mul(dtype.size()).ok_or_else(|| err!(Limit, "{dtype}{shape:?} overflows"))?;
        let have = bytes.as_slice().len();
        ensure!(have == want, InvalidInput, "{dtype}{shape:?} takes {want} bytes, got {have}");
        if dtype == DType::Bool {
            ensure!(
                bytes.as_slice().iter().all(|b| *b < 2),
                InvalidInput,
                "a bool tensor holds bytes other than 0 and 1"
            );
        }
        Ok(Tensor { dtype, shape, data: Data::Bytes(bytes) })
    }

    /// A tensor from ONNX's packed bytes (`raw_data`): 4- and 2-bit elements lie two and four to a byte, low bits
    /// first.
    ///
    /// # Errors
    /// `InvalidInput` when the byte count does not fit.
    pub fn from_packed(dtype: DType, shape: impl Into<Vec<usize>>, bytes: impl Into<Bytes>) -> Result<Tensor> {
        let (shape, bytes) = (shape.into(), bytes.into());
        let bits = dtype.packed_bits();
        if bits.is_multiple_of(8) {
            if dtype == DType::Bool {
                let canonical: Vec<u8> = bytes.as_slice().iter().map(|b| (*b != 0) as u8).collect();
                return Tensor::from_bytes(dtype, shape, canonical);
            }
            return Tensor::from_bytes(dtype, shape, bytes);
        }
        let count = shape::checked_numel(&shape)?;
        let (per_byte, have) = (8 / bits, bytes.as_slice().len());
        let want = count.div_ceil(per_byte);
        ensure!(have == want, InvalidInput, "{dtype}{shape:?} takes {want} packed bytes, got {have}");
        let signed = dtype.is_signed_int();
        let unpacked: Vec<u8> = (0..count)
            .map(|i| {
                let code = bytes.as_slice()[i / per_byte] >> (i % per_byte * bits) & ((1u16 << bits) - 1) as u8;
                if signed { ((code << (8 - bits)) as i8 >> (8 - bits)) as u8 } else { code }
            })
            .collect();
        Tensor::from_bytes(dtype, shape, unpacked)
    }

    /// ONNX's packed bytes of this tensor, the inverse of [`Tensor::from_packed`]. Strings give nothing.
    pub fn to_packed(&self) -> Cow<'_, [u8]> {
        let bits = self.dtype.packed_bits();
        if bits == 0 || bits.is_multiple_of(8) {
            return Cow::Borrowed(self.bytes());
        }
        let per_byte = 8 / bits;
        let mask = ((1u16 << bits) - 1) as u8;
        let pack = |chunk: &[u8]| chunk.iter().enumerate().fold(0, |acc, (i, b)| acc | (b & mask) << (i * bits));
        Cow::Owned(self.bytes().chunks(per_byte).map(pack).collect())
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// `InvalidInput` when the number of values is not the product of `shape`.
    pub fn from_strings(shape: impl Into<Vec<usize>>, values: Vec<String>) -> Result<Tensor> {
        let shape = shape.into();
        let count = shape::checked_numel(&shape)?;
        ensure!(count == values.len(), InvalidInput, "string{shape:?} takes {count} values, got {}", values.len());
        Ok(Tensor { dtype: DType::String, shape, data: Data::Strings(values.into()) })
    }

    /// A sequence of these values.
    pub fn sequence(items: Vec<Tensor>) -> Tensor {
        Tensor { dtype: DType::Sequence, shape: vec![], data: Data::Items(items.into()) }
    }

    /// An optional, with a value or without.
    pub fn optional(value: Option<Tensor>) -> Tensor {
        Tensor { dtype: DType::Optional, shape: vec![], data: Data::Items(value.into_iter().collect()) }
    }

    /// A map: as many values (a tensor of rank 1 or a sequence) as keys.
    ///
    /// # Errors
    /// `InvalidInput` when keys and values differ in number.
    pub fn map(keys: Tensor, values: Tensor) -> Result<Tensor> {
        let count = if values.dtype == DType::Sequence { values.items()?.len() } else { values.len() };
        ensure!(keys.len() == count, InvalidInput, "a map of {} keys and {count} values", keys.len());
        Ok(Tensor { dtype: DType::Map, shape: vec![], data: Data::Items(vec![keys, values].into()) })
    }

    /// What a container is made of: a sequence's values, an optional's one or none, a map's keys and values.
    ///
    /// # Errors
    /// `InvalidInput` for a tensor.
    pub fn items(&self) -> Result<&[Tensor]> {
        match &self.data {
            Data::Items(items) => Ok(items),
            _ => bail!(InvalidInput, "expected a sequence, optional or map, got {}{:?}", self.dtype, self.shape),
        }
    }

    /// A tensor whose bytes are all zero (empty strings, containers without items).
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Tensor {
        let shape = shape.into();
        let count = shape::numel(&shape);
        let data = match dtype {
            DType::String => Data::Strings(vec![String::new(); count].into()),
            d if d.is_container() => Data::Items(vec![].into()),
            _ => Data::Bytes(vec![0u8; count * dtype.size()].into()),
        };
        Tensor { dtype, shape, data }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        shape::numel(&self.shape)
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in host layout; empty for strings and containers.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(b) => b.as_slice(),
            Data::Strings(_) | Data::Items(_) => &[],
        }
    }

    /// The bytes in host layout, if they are there, not made when they are asked for, and no more than `most`.
    pub(crate) fn few_bytes(&self, most: usize) -> Option<&[u8]> {
        match &self.data {
            Data::Bytes(b) if b.len() <= most && b.are_there() => Some(b.as_slice()),
            _ => None,
        }
    }

    /// The bytes in host layout, as [`Bytes::into_vec`] gives them; empty for strings and containers.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.data {
            Data::Bytes(b) => b.into_vec(),
            Data::Strings(_) | Data::Items(_) => vec![],
        }
    }

    /// A tensor whose bytes in host layout `make` gives when they are asked for.
    pub(crate) fn deferred(
        dtype: DType,
        shape: &[usize],
        make: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let len = shape::checked_numel(shape)?.checked_mul(dtype.size());
        let len = len.ok_or_else(|| err!(Limit, "{dtype}{shape:?} overflows"))?;
        Ok(Tensor { dtype, shape: shape.to_vec(), data: Data::Bytes(Bytes::deferred(len, None, Box::new(make))) })
    }

    /// As [`Bytes::remade`].
    pub(crate) fn remade(self, make: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) -> Tensor {
        let data = match self.data {
            Data::Bytes(b) => Data::Bytes(b.remade(Box::new(make))),
            other => other,
        };
        Tensor { data, ..self }
    }

    /// The parts, of one element type and `rows` rows each, row by row side by side. They are put together when they are
    /// asked for.
    pub(crate) fn beside(parts: Vec<Tensor>, rows: usize, shape: &[usize]) -> Result<Tensor> {
        let dtype = parts.first().map_or(DType::F32, Tensor::dtype);
        let fits = parts.iter().all(|p| p.dtype == dtype && dtype.size() > 0 && p.len() % rows.max(1) == 0);
        let all = parts.iter().map(Tensor::len).fold(0, usize::saturating_add);
        ensure!(fits && all == shape::checked_numel(shape)?, Internal, "parts that are not {dtype}{shape:?}");
        let make = move || {
            let made: Vec<Tensor> = parts.iter().map(Tensor::passing).collect::<Result<_>>()?;
            let row = |t: &Tensor| t.bytes().len() / rows.max(1);
            let mut bytes = Vec::with_capacity(made.iter().map(|t| t.bytes().len()).sum());
            for r in 0..rows {
                made.iter().for_each(|t| bytes.extend_from_slice(&t.bytes()[r * row(t)..(r + 1) * row(t)]));
            }
            parts.iter().for_each(Tensor::release);
            Ok(bytes)
        };
        Tensor::deferred(dtype, shape, make)
    }

    /// As [`Bytes::passing`].
    ///
    /// # Errors
    /// Those of making the data.
    pub(crate) fn passing(&self) -> Result<Tensor> {
        let data = match &self.data {
            Data::Bytes(b) => Data::Bytes(b.passing()?),
            other => other.clone(),
        };
        Ok(Tensor { dtype: self.dtype, shape: self.shape.clone(), data })
    }

    /// As [`Bytes::release`].
    pub(crate) fn release(&self) {
        if let Data::Bytes(b) = &self.data {
            b.release();
        }
    }

    /// An address that two tensors have in common when they share their data.
    pub(crate) fn data_key(&self) -> (usize, usize) {
        match &self.data {
            Data::Bytes(b) => b.key(),
            Data::Strings(s) => (s.as_ptr() as usize, s.len()),
            Data::Items(items) => (items.as_ptr() as usize, items.len()),
        }
    }

    /// The strings of a string tensor.
    ///
    /// # Errors
    /// `InvalidInput` for any other element type.
    pub fn strings(&self) -> Result<&[String]> {
        match &self.data {
            Data::Strings(s) => Ok(s),
            _ => bail!(InvalidInput, "expected a string tensor, got {}", self.dtype),
        }
    }

    /// The elements as `T`, borrowed where the alignment allows.
    ///
    /// # Errors
    /// `InvalidInput` when `T` is not this tensor's element type.
    pub fn to_slice<T: Element>(&self) -> Result<Cow<'_, [T]>> {
        ensure!(T::DTYPE == self.dtype, InvalidInput, "expected {}, got {}", T::DTYPE, self.dtype);
        if let Ok(slice) = bytemuck::checked::try_cast_slice(self.bytes()) {
            return Ok(Cow::Borrowed(slice));
        }
        let size = size_of::<T>().max(1);
        Ok(Cow::Owned(self.bytes().chunks_exact(size).map(bytemuck::checked::pod_read_unaligned).collect()))
    }

    /// The elements as `T`, copied.
    ///
    /// # Errors
    /// `InvalidInput` when `T` is not this tensor's element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        Ok(self.to_slice()?.into_owned())
    }

    /// The same data under another shape of as many elements.
    ///
    /// # Errors
    /// `InvalidNode` when the element counts differ.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Tensor> {
        let shape = shape.into();
        let (from, to) = (self.len(), shape::checked_numel(&shape)?);
        ensure!(from == to, InvalidNode, "cannot view {:?} ({from} elements) as {shape:?} ({to} elements)", self.shape);
        Ok(Tensor { dtype: self.dtype, shape, data: self.data.clone() })
    }

    /// The elements `range` along an axis; they share this tensor's data where they lie in one piece.
    ///
    /// # Errors
    /// `Internal` when the range lies outside.
    pub(crate) fn sliced(&self, axis: usize, range: Range<usize>) -> Result<Tensor> {
        let inside = self.shape.get(axis).is_some_and(|d| range.start <= range.end && range.end <= *d);
        ensure!(inside, Internal, "elements {range:?} along axis {axis} of {:?}", self.shape);
        let mut shape = self.shape.clone();
        shape[axis] = range.len();
        let strides = shape::strides(&self.shape);
        if let (Data::Bytes(b), true) = (&self.data, self.shape[..axis].iter().all(|d| *d == 1)) {
            let step = strides[axis].saturating_mul(self.dtype.size());
            if let Some(part) = b.slice(range.start * step..range.end * step) {
                return Ok(Tensor { dtype: self.dtype, shape, data: Data::Bytes(part) });
            }
        }
        let offset = range.start * strides[axis];
        let strides: Vec<isize> = strides.into_iter().map(|s| s as isize).collect();
        let sources = shape::strided_indices(&shape, &strides, offset);
        self.select(shape, &sources)
    }

    /// Every element as `f64` (exact for all real types but 64-bit integers beyond 2⁵³).
    ///
    /// # Errors
    /// `Unsupported` for strings and complex numbers.
    pub fn to_f64s(&self) -> Result<Vec<f64>> {
        macro_rules! all {
            ($t:ty, $f:expr) => {
                self.to_slice::<$t>()?.iter().map($f).collect()
            };
        }
        let d = self.dtype;
        Ok(match d {
            DType::F32 => all!(f32, |x| *x as f64),
            DType::F64 => self.to_vec()?,
            DType::F16 => all!(f16, |x| x.to_f64()),
            DType::BF16 => all!(bf16, |x| x.to_f64()),
            _ if d.is_small_float() => self.bytes().iter().map(|c| small_float::decode(d, *c) as f64).collect(),
            _ => self.to_i128s()?.into_iter().map(|x| x as f64).collect(),
        })
    }

    /// Every element as `f32`, rounded to nearest.
    ///
    /// # Errors
    /// `Unsupported` for strings and complex numbers.
    pub fn to_f32s(&self) -> Result<Vec<f32>> {
        match self.dtype {
            DType::F32 => self.to_vec(),
            DType::F16 => Ok(self.to_slice::<f16>()?.iter().map(|x| x.to_f32()).collect()),
            _ => Ok(self.to_f64s()?.into_iter().map(|x| x as f32).collect()),
        }
    }

    /// Every element of an integer or bool tensor.
    ///
    /// # Errors
    /// `Unsupported` for any other element type.
    pub fn to_i128s(&self) -> Result<Vec<i128>> {
        macro_rules! all {
            ($t:ty) => {
                self.to_slice::<$t>()?.iter().map(|x| *x as i128).collect()
            };
        }
        Ok(match self.dtype {
            DType::I8 => all!(i8),
            DType::U8 => all!(u8),
            DType::I16 => all!(i16),
            DType::U16 => all!(u16),
            DType::I32 => all!(i32),
            DType::U32 => all!(u32),
            DType::I64 => all!(i64),
            DType::U64 => all!(u64),
            DType::Bool => all!(bool),
            DType::I4 | DType::I2 => self.bytes().iter().map(|b| *b as i8 as i128).collect(),
            DType::U4 | DType::U2 => self.bytes().iter().map(|b| *b as i128).collect(),
            d => bail!(Unsupported, "expected an integer tensor, got {d}"),
        })
    }

    /// Every element of an integer or bool tensor as `i64` (for shapes, axes and indices).
    ///
    /// # Errors
    /// `Unsupported` for any other element type, `InvalidInput` for values beyond `i64`.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        let narrow = |x: i128| i64::try_from(x).map_err(|_| err!(InvalidInput, "{x} does not fit an int64"));
        self.to_i128s()?.into_iter().map(narrow).collect()
    }

    /// Rounds each value once to `dtype`: to nearest even for floats (small floats saturate), and for integers
    /// truncated and wrapped as in Cast; bool is `x != 0`.
    ///
    /// # Errors
    /// `Unsupported` for strings and complex numbers, `InvalidInput` when the count does not fit the shape.
    pub fn from_f64s(dtype: DType, shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Result<Tensor> {
        let shape = shape.into();
        macro_rules! all {
            ($f:expr) => {
                Tensor::new(shape, values.into_iter().map($f).collect())
            };
        }
        match dtype {
            DType::F32 => all!(|x| x as f32),
            DType::F64 => Tensor::new(shape, values),
            DType::F16 => all!(f16::from_f64),
            DType::BF16 => all!(bf16::from_f64),
            DType::Bool => all!(|x| x != 0.0),
            d if d.is_small_float() => {
                let codes: Vec<u8> = values.into_iter().map(|x| small_float::encode(d, x as f32, true)).collect();
                Tensor::from_bytes(d, shape, codes)
            }
            d => Tensor::from_i128s(d, shape, values.into_iter().map(|x| x as i128).collect()),
        }
    }

    /// As [`Tensor::from_f64s`], from `f32`.
    ///
    /// # Errors
    /// As [`Tensor::from_f64s`].
    pub fn from_f32s(dtype: DType, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Tensor> {
        match dtype {
            DType::F32 => Tensor::new(shape, values),
            DType::F16 => Tensor::new(shape, values.into_iter().map(f16::from_f32).collect()),
            _ => Tensor::from_f64s(dtype, shape, values.into_iter().map(|x| x as f64).collect()),
        }
    }

    /// Integers wrapped to `dtype`'s width (bool: `x != 0`; floats: rounded to nearest).
    ///
    /// # Errors
    /// `Unsupported` for strings and complex numbers, `InvalidInput` when the count does not fit the shape.
    pub fn from_i128s(dtype: DType, shape: impl Into<Vec<usize>>, values: Vec<i128>) -> Result<Tensor> {
        let shape = shape.into();
        macro_rules! all {
            ($f:expr) => {
                Tensor::new(shape, values.into_iter().map($f).collect())
            };
        }
        match dtype {
            DType::I8 => all!(|x| x as i8),
            DType::U8 => all!(|x| x as u8),
            DType::I16 => all!(|x| x as i16),
            DType::U16 => all!(|x| x as u16),
            DType::I32 => all!(|x| x as i32),
            DType::U32 => all!(|x| x as u32),
            DType::I64 => all!(|x| x as i64),
            DType::U64 => all!(|x| x as u64),
            DType::Bool => all!(|x| x != 0),
            DType::I4 | DType::I2 => {
                let spare = 8 - dtype.packed_bits() as u32;
                let wrap = |x: i128| ((x as u8) << spare) as i8 >> spare;
                Tensor::from_bytes(dtype, shape, values.into_iter().map(|x| wrap(x) as u8).collect::<Vec<_>>())
            }
            DType::U4 | DType::U2 => {
                let mask = ((1u16 << dtype.packed_bits()) - 1) as u8;
                Tensor::from_bytes(dtype, shape, values.into_iter().map(|x| x as u8 & mask).collect::<Vec<_>>())
            }
            d if d.is_float() => Tensor::from_f64s(d, shape, values.into_iter().map(|x| x as f64).collect()),
            d => bail!(Unsupported, "cannot make a {d} tensor from integers"),
        }
    }

    /// A tensor of `shape` whose element `i` is this tensor's element `sources[i]`, counted in row-major order.
    /// Works for every element type; the way all data movement is evaluated.
    ///
    /// # Errors
    /// `Internal` for a source beyond this tensor or a count that does not fit `shape`.
    pub fn select(&self, shape: impl Into<Vec<usize>>, sources: &[usize]) -> Result<Tensor> {
        let (shape, len) = (shape.into(), self.len());
        if let Some(bad) = sources.iter().find(|i| **i >= len) {
            bail!(Internal, "element {bad} of a tensor of {len}");
        }
        match &self.data {
            Data::Items(_) => bail!(Unsupported, "a {} has no elements to select", self.dtype),
            Data::Strings(s) => Tensor::from_strings(shape, sources.iter().map(|i| s[*i].clone()).collect()),
            Data::Bytes(b) => {
                let (size, from) = (self.dtype.size(), b.as_slice());
                let mut out = Vec::with_capacity(sources.len() * size);
                sources.iter().for_each(|i| out.extend_from_slice(&from[i * size..(i + 1) * size]));
                Tensor::from_bytes(self.dtype, shape, out)
            }
        }
    }

    /// As [`Tensor::select`], with `fill` (one element of the same type) where the source is `None`.
    ///
    /// # Errors
    /// As [`Tensor::select`]; `InvalidNode` when `fill` is not one element of this type.
    pub fn select_or(&self, shape: impl Into<Vec<usize>>, sources: &[Option<usize>], fill: &Tensor) -> Result<Tensor> {
        ensure!(
            fill.dtype == self.dtype && fill.len() == 1,
            InvalidNode,
            "expected one {} to fill with, got {}{:?}",
            self.dtype,
            fill.dtype,
            fill.shape
        );
        let both = Tensor::concat(&[self.reshaped([self.len()])?, fill.reshaped([1])?])?;
        let sources: Vec<usize> = sources.iter().map(|s| s.unwrap_or(self.len())).collect();
        both.select(shape, &sources)
    }

    /// The elements of all parts in order, as rank 1.
    ///
    /// # Errors
    /// `InvalidNode` when the parts differ in element type or there is none.
    pub fn concat(parts: &[Tensor]) -> Result<Tensor> {
        let Some(first) = parts.first() else { bail!(InvalidNode, "nothing to concatenate") };
        ensure!(!first.dtype.is_container(), InvalidNode, "cannot concatenate values of type {}", first.dtype);
        if let Some(other) = parts.iter().find(|p| p.dtype != first.dtype) {
            bail!(InvalidNode, "cannot concatenate {} and {}", first.dtype, other.dtype);
        }
        let count = parts.iter().map(Tensor::len).sum::<usize>();
        if first.dtype == DType::String {
            let mut all = Vec::with_capacity(count);
            for p in parts {
                all.extend_from_slice(p.strings()?);
            }
            return Tensor::from_strings([count], all);
        }
        Tensor::from_bytes(first.dtype, [count], parts.iter().flat_map(|p| p.bytes()).copied().collect::<Vec<u8>>())
    }

    /// Whether type, shape and every bit are equal.
    pub fn same_bits(&self, other: &Tensor) -> bool {
        let data = match (&self.data, &other.data) {
            (Data::Strings(a), Data::Strings(b)) => a == b,
            (Data::Items(a), Data::Items(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same_bits(b))
            }
            _ => self.bytes() == other.bytes(),
        };
        self.dtype == other.dtype && self.shape == other.shape && data
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if let Ok(items) = self.items() {
            write!(f, "{} ", self.dtype)?;
            return f.debug_list().entries(items).finish();
        }
        write!(f, "{}{:?}", self.dtype, self.shape)?;
        let head: Vec<usize> = (0..self.len().min(SHOWN)).collect();
        let Ok(head) = self.select([head.len()], &head) else { return Ok(()) };
        let more = if self.len() > SHOWN { ", …" } else { "" };
        let text: Vec<String> = if let Ok(s) = head.strings() {
            s.iter().map(|s| format!("{s:?}")).collect()
        } else if let Ok(i) = head.to_i128s() {
            i.iter().map(|x| x.to_string()).collect()
        } else {
            head.to_f64s().unwrap_or_default().iter().map(|x| format!("{x:.6}")).collect()
        };
        write!(f, " [{}{more}]", text.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_types_unpack_and_pack() -> Result<()> {
        let t = Tensor::from_packed(DType::I4, [3], vec![0xf1, 0x08])?;
        assert_eq!(t.to_i128s()?, [1, -1, -8]);
        assert_eq!(t.to_packed().as_ref(), [0xf1, 0x08]);
        let t = Tensor::from_packed(DType::U2, [5], vec![0b11_10_01_00, 0b01])?;
        assert_eq!(t.to_i128s()?, [0, 1, 2, 3, 1]);
        assert!(Tensor::from_packed(DType::U4, [5], vec![0, 0]).is_err());
        Ok(())
    }

    #[test]
    fn integers_wrap_and_floats_round() -> Result<()> {
        assert_eq!(Tensor::from_i128s(DType::I8, [2], vec![200, -129])?.to_i128s()?, [-56, 127]);
        assert_eq!(Tensor::from_i128s(DType::I4, [2], vec![9, -9])?.to_i128s()?, [-7, 7]);
        assert_eq!(Tensor::from_f64s(DType::F16, [1], vec![1e9])?.to_f64s()?, [f64::INFINITY]);
        Ok(())
    }

    #[test]
    fn bytes_are_given_away_where_nobody_shares_them() -> Result<()> {
        let bytes = vec![1u8, 2, 3, 4];
        let at = bytes.as_ptr();
        let t = Tensor::from_bytes(DType::U8, [4], bytes)?;
        let shared = t.clone();
        let (copy, part) = (t.clone().into_bytes(), t.sliced(0, 1..3)?.into_bytes());
        assert_eq!((copy.as_slice(), part.as_slice()), ([1, 2, 3, 4].as_slice(), [2, 3].as_slice()));
        assert_ne!(copy.as_ptr(), at);
        drop(shared);
        let own = t.into_bytes();
        assert_eq!((own.as_ptr(), own.len()), (at, 4));
        Ok(())
    }

    #[test]
    fn wrong_counts_are_errors() {
        assert!(Tensor::new([2, 3], vec![0f32; 5]).is_err());
        assert!(Tensor::from_bytes(DType::F32, [usize::MAX, 2], vec![0u8; 8]).is_err());
        assert!(Tensor::from_bytes(DType::Bool, [1], vec![2u8]).is_err());
    }
}
