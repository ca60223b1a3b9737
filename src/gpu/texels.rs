//! Textures that stand for buffers whose elements shaders read as texels (`kernels/texels.rs`).

use std::borrow::Cow;

use super::Device;
use super::weights::{CHUNK, staged};
use crate::kernels::texels::{ROW, ROW_BYTES, TEXEL};

fn texture(gpu: &Device, label: &str, width: u32, rows: u64) -> wgpu::Texture {
    gpu.device.create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d { width, height: rows as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba32Uint,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

/// One of so many rows.
pub fn of_rows(gpu: &Device, rows: u64) -> wgpu::Texture {
    texture(gpu, "texels", ROW, rows)
}

/// The parts of `bytes`, a multiple of [`TEXEL`], that are rectangles of a texture: whole rows, `most` bytes at a time, and
/// what is left of a row. For each its first byte, the row, and the extent.
fn parts(bytes: u64, most: u64) -> impl Iterator<Item = (u64, u32, wgpu::Extent3d)> {
    let part = |from: u64, width: u64, rows: u64| {
        let size = wgpu::Extent3d { width: width as u32, height: rows as u32, depth_or_array_layers: 1 };
        (from, (from / ROW_BYTES) as u32, size)
    };
    let (rows, at_once) = (bytes / ROW_BYTES, (most / ROW_BYTES).max(1));
    let whole = (0..rows.div_ceil(at_once)).map(move |i| {
        let row = i * at_once;
        part(row * ROW_BYTES, ROW as u64, at_once.min(rows - row))
    });
    let rest = bytes % ROW_BYTES;
    whole.chain((rest > 0).then(|| part(rows * ROW_BYTES, rest / TEXEL, 1)))
}

fn place(texture: &wgpu::Texture, row: u32) -> wgpu::TexelCopyTextureInfo<'_> {
    wgpu::TexelCopyTextureInfo { origin: wgpu::Origin3d { x: 0, y: row, z: 0 }, ..texture.as_image_copy() }
}

const LAYOUT: wgpu::TexelCopyBufferLayout =
    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(ROW_BYTES as u32), rows_per_image: None };

/// Records the copy of a buffer's bytes from `offset` on. Both numbers are multiples of [`TEXEL`].
pub fn fill(encoder: &mut wgpu::CommandEncoder, texture: &wgpu::Texture, from: &wgpu::Buffer, offset: u64, bytes: u64) {
    for (first, row, size) in parts(bytes, u64::MAX) {
        let layout = wgpu::TexelCopyBufferLayout { offset: offset + first, ..LAYOUT };
        encoder.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer: from, layout }, place(texture, row), size);
    }
}

/// A texture of `bytes` that begins with `data`.
pub fn upload(gpu: &Device, label: &str, bytes: u64, data: &[u8]) -> wgpu::Texture {
    let rows = bytes.div_ceil(ROW_BYTES);
    let width = if rows == 1 { (bytes / TEXEL) as u32 } else { ROW };
    let texture = texture(gpu, label, width, rows);
    for (first, row, size) in parts(bytes, CHUNK as u64) {
        let (first, len) = (first as usize, size.width as usize * size.height as usize * TEXEL as usize);
        let mut part = Cow::from(&data[data.len().min(first)..data.len().min(first + len)]);
        if part.len() < len {
            part.to_mut().resize(len, 0);
        }
        gpu.queue.write_texture(place(&texture, row), &part, LAYOUT, size);
        staged(gpu, len);
    }
    texture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_bytes_once() {
        for (bytes, most) in
            [(16, u64::MAX), (ROW_BYTES, 1), (5 * ROW_BYTES + 48, 2 * ROW_BYTES), (3 * ROW_BYTES, 1 << 40)]
        {
            let mut at = 0;
            for (first, row, size) in parts(bytes, most) {
                assert_eq!((first, row as u64), (at, at / ROW_BYTES));
                let n = size.width as u64 * size.height as u64 * TEXEL;
                assert!(n <= most.max(ROW_BYTES) && (size.height == 1 || size.width == ROW));
                at += n;
            }
            assert_eq!(at, bytes);
        }
    }
}
