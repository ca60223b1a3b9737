//! Right factors of products that are constant: as they are, or laid out once in panels where the kernel gains from it.

use std::ops::Range;
use std::sync::Arc;

use super::matmul::{LANES, Right, matrix_transposed, tile_vectors, tiles};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, shape};

/// Input `i` as the right factor of a product, `[.., k, n]` or, `transposed`, `[.., n, k]`. A constant is laid out in
/// panels once where the kernel gains from it. Rank 2 or more.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right(cx: &mut LowerCx<'_>, i: usize, transposed: bool) -> Result<Right> {
    let dtype = cx.input_type(i)?.dtype;
    if cx.value(i).is_some() {
        return right_of(cx, i, transposed, dtype, "", |t| Ok(t.clone()));
    }
    let v = cx.input(i)?;
    Ok(Right::View(if transposed { matrix_transposed(&v) } else { v }))
}

/// As [`right`], of what `prepare` makes of constant input `i`: a tensor of the same shape and of type `dtype`. `tag`
/// names what it does.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right_of(
    cx: &mut LowerCx<'_>,
    i: usize,
    transposed: bool,
    dtype: DType,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let s = cx.input_type(i)?.shape;
    right_made(cx, i, TensorType::new(dtype, s), transposed, tag, prepare)
}

/// As [`right_of`], of a tensor of type `t` that `prepare` makes; `tag` is not empty where it changes anything.
///
/// # Errors
/// As [`LowerCx::prepacked`].
pub fn right_made(
    cx: &mut LowerCx<'_>,
    i: usize,
    t: TensorType,
    transposed: bool,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let (dtype, s) = (t.dtype, t.shape);
    let rank = s.len();
    ensure!(rank >= 2, Internal, "a right factor of rank {rank}");
    let (mut k, mut n) = (s[rank - 2], s[rank - 1]);
    if transposed {
        (k, n) = (n, k);
    }
    let device = cx.profile().device_type(dtype)?;
    let packs = cx.profile().cpu && tiles(device) && n >= LANES;
    let width = tile_vectors(n) * 4 * LANES;
    let stack = shape::numel(&s[..rank - 2]);
    let limit = cx.profile().max_binding as usize / device.bytes();
    if stack * k * n.next_multiple_of(width) > limit {
        let most = limit / (stack * k).max(1) / width * width;
        ensure!(most > 0, Limit, "{width} columns of {s:?} are more than the device binds");
        let prepare = Arc::new(prepare);
        let part = |cx: &mut LowerCx<'_>, first: usize| {
            let range = first..n.min(first + most);
            let tag = format!("{tag} columns {range:?}");
            let prepare = prepare.clone();
            let mut shape = s.clone();
            shape[if transposed { rank - 2 } else { rank - 1 }] = range.len();
            let make = move |t: &Tensor| columns(&prepare(t)?, range.clone(), transposed);
            packed_right(cx, i, transposed, TensorType::new(dtype, shape), packs, &tag, make)
        };
        return Ok(Right::Parts((0..n).step_by(most).map(|first| part(cx, first)).collect::<Result<_>>()?));
    }
    packed_right(cx, i, transposed, TensorType::new(dtype, s), packs, tag, prepare)
}

/// Constant input `i` as what `prepare` makes of it, of type `t`; in panels where it `packs`.
fn packed_right(
    cx: &mut LowerCx<'_>,
    i: usize,
    transposed: bool,
    t: TensorType,
    packs: bool,
    tag: &str,
    prepare: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Right> {
    let [batch @ .., rows, columns] = t.shape.as_slice() else { bail!(Internal, "a right factor of {t}") };
    let (k, n) = if transposed { (*columns, *rows) } else { (*rows, *columns) };
    if !packs {
        let v = if tag.is_empty() { cx.input(i)? } else { cx.prepacked(i, tag, t, prepare)? };
        return Ok(Right::View(if transposed { matrix_transposed(&v) } else { v }));
    }
    let width = tile_vectors(n) * 4 * LANES;
    let packed = [batch, &[n.div_ceil(width), k, width]].concat();
    let tag = format!("{tag} panels of {width}{}", if transposed { ", transposed" } else { "" });
    let to = TensorType::new(t.dtype, packed.clone());
    let make = move |source: &Tensor| panels(&prepare(source)?, &packed, n, transposed);
    Ok(Right::Panels { view: cx.prepacked(i, &tag, to, make)?, n })
}

/// Some columns of the matrices of `source`, which are rows of it where it is `transposed`.
fn columns(source: &Tensor, range: Range<usize>, transposed: bool) -> Result<Tensor> {
    let [batch @ .., rows, columns] = source.shape() else { bail!(Internal, "columns of {:?}", source.shape()) };
    let (size, row) = (source.dtype().size(), columns * source.dtype().size());
    let mut bytes = vec![];
    for matrix in 0..shape::numel(batch) {
        let matrix = matrix * rows * row;
        if transposed {
            bytes.extend_from_slice(&source.bytes()[matrix + range.start * row..matrix + range.end * row]);
        } else {
            for r in 0..*rows {
                let from = matrix + r * row;
                bytes.extend_from_slice(&source.bytes()[from + range.start * size..from + range.end * size]);
            }
        }
    }
    let kept = if transposed { [range.len(), *columns] } else { [*rows, range.len()] };
    Tensor::from_bytes(source.dtype(), [batch, &kept].concat(), bytes)
}

/// The matrices of `source` with their columns in panels.
fn panels(source: &Tensor, packed: &[usize], n: usize, transposed: bool) -> Result<Tensor> {
    let [batch @ .., count, k, width] = packed else { bail!(Internal, "panels of rank {}", packed.len()) };
    let (count, k, width, size) = (*count, *k, *width, source.dtype().size());
    let (step_k, step_n) = if transposed { (1, k) } else { (n, 1) };
    let from = source.bytes();
    let mut to = vec![0u8; shape::numel(packed) * size];
    for b in 0..shape::numel(batch) {
        for panel in 0..count {
            let columns = (n - panel * width).min(width);
            for row in 0..k {
                let target = ((b * count + panel) * k + row) * width;
                for c in 0..columns {
                    let s = b * k * n + row * step_k + (panel * width + c) * step_n;
                    let t = target + c;
                    to[t * size..(t + 1) * size].copy_from_slice(&from[s * size..(s + 1) * size]);
                }
            }
        }
    }
    Tensor::from_bytes(source.dtype(), packed, to)
}
