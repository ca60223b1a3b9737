//! Convolutions of 3 × 3 by Winograd's algorithm F(4 × 4, 3 × 3): 36 products for each tile of 4 × 4 pixels where there
//! would be 144. `shaders/winograd_input.wgsl` transforms what lies under the tiles, a product of 36 matrices sums over the
//! channels, `winograd_output.wgsl` makes pixels of the sums. The transforms of filters, inputs and sums are G, Bᵀ and Aᵀ
//! of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), of the points 0, ±3/4, ±3/2 and ∞.

use super::conv::{BIAS, Common, Filters, Shape};
use super::epilogue::{Ends, Epilogue, Flat, Load};
use super::matmul::{self, Product, Right, matrix_transposed};
use super::{DeviceType, Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, When, linear_grid};
use crate::dtype::DType;
use crate::ir::TensorType;
use crate::plan::{Bind, LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, bail};

/// Pixels of a tile along each side, and elements under it.
const TILE: usize = 4;
const UNDER: usize = 6;
/// Matrices that are multiplied.
const MATRICES: usize = UNDER * UNDER;

/// The least tiles that use each filter: transformed, it is four times as large.
const LEAST_TILES: usize = 16;
/// The least products of filters and tiles: two dispatches more are nothing beside them.
const LEAST_PRODUCTS: usize = 2 << 20;
/// What transforming an element of a tile costs, in products of a matrix.
const TRANSFORM: usize = 24;
/// On GPUs, tiles of which there are enough for large products, and channels beside which the transforms' traffic is little.
const LEAST_TILES_GPU: usize = 4096;
const LEAST_CHANNELS_GPU: usize = 64;
/// Bytes that the matrices before or after the products may take there.
const MOST_BYTES_GPU: usize = 128 << 20;

/// The kernels for one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels {
    /// Tiles of the whole batch.
    tiles: usize,
    /// Whether channels lie side by side in the matrices, and not tiles.
    by_channel: bool,
}

/// Whether this convolution, which sums products of type `device`, goes by Winograd's algorithm.
pub(super) fn choose(profile: &Profile, s: &Shape, filters: &Filters, device: DeviceType) -> Option<Kernels> {
    let flat = s.input[0] == 1 && s.output[0] == 1 && s.begin[0] == 0;
    let three = s.kernel == [1, 3, 3] && s.strides[1..] == [1, 1] && s.dilations[1..] == [1, 1];
    let constant = matches!(filters, Filters::Constant { dtype: DType::F32, .. });
    let floats = constant && device == DeviceType::F32;
    if profile.winograd == When::Never || !flat || !three || !floats || s.transposed || s.group > 1 {
        return None;
    }
    let tiles = s.batch * s.output[1].div_ceil(TILE) * s.output[2].div_ceil(TILE);
    let wide = tiles.next_multiple_of(4);
    let matrices = [s.ic * s.oc, wide.saturating_mul(s.ic), wide.saturating_mul(s.oc)];
    if matrices.iter().any(|m| *m == 0 || m.saturating_mul(4 * MATRICES) as u64 > profile.max_binding) {
        return None;
    }
    let direct = 9 * s.batch * s.output[1] * s.output[2] * s.ic * s.oc;
    let this = MATRICES * tiles * (s.ic * s.oc + TRANSFORM * (s.ic + s.oc));
    let gains = if profile.cpu {
        let large = tiles >= LEAST_TILES && tiles * s.ic * s.oc >= LEAST_PRODUCTS;
        // for less it is not worth its buffers, which layers of few channels and many pixels would need most of
        large && 2 * direct >= 5 * this
    } else {
        let bytes = 4 * MATRICES * wide * s.ic.max(s.oc);
        tiles >= LEAST_TILES_GPU && s.ic.min(s.oc) >= LEAST_CHANNELS_GPU && bytes <= MOST_BYTES_GPU
    };
    (gains || profile.winograd == When::Always).then_some(Kernels { tiles, by_channel: profile.cpu })
}

impl Kernels {
    /// A buffer of 36 matrices `[tiles, channels]`, some more tiles where these lie side by side.
    fn matrices(&self, cx: &mut LowerCx<'_>, channels: usize) -> Result<View> {
        if self.by_channel {
            return cx.temp(DType::F32, &[MATRICES, self.tiles, channels]);
        }
        // whole vectors: what stands beyond the last tile goes through the product, and nowhere else
        let wide = self.tiles.next_multiple_of(4);
        Ok(matrix_transposed(&cx.temp(DType::F32, &[MATRICES, channels, wide])?))
    }

    /// Emits the convolution of `x`, [batch, channels, 1, height, width], into `out`, [batch, 1, channels, pixels].
    pub fn convolve(
        self,
        cx: &mut LowerCx<'_>,
        s: &Shape,
        [x, out]: [&View; 2],
        filters: &Filters,
        bias: Option<&View>,
        ends: Ends<'_>,
    ) -> Result<()> {
        // where it is wanted the output may have another shape, which what the ends read does not have
        let shape = cx.output_type(0)?.shape;
        let (before, after) = (self.matrices(cx, s.ic)?, self.matrices(cx, s.oc)?);
        let base = s.params([1, 1], [0; 4], [1, 0]);
        let with = |params: Params, at: u32, strides: &[isize]| strides.iter().fold(params.u32(at), |p, v| p.i32(*v));
        let none = Flat::default();
        let load = Load::new(cx, ends.start, &none, shape.len(), BIAS)?;
        // matrices stand for images, tiles for pixels: of the output here, of the input in the last step
        let as_output = [before.strides[0], 0, before.strides[2], before.strides[1]];
        let params = with(with(base.clone(), cx.base(x), &x.strides), cx.base(&before), &as_output);
        let common = Common {
            input: x.device,
            device: DeviceType::F32,
            out: DeviceType::F32,
            transposed: false,
            padded: s.padded,
            bias: false,
            long: false,
            long_end: false,
            outside: None,
            start: &load,
            end: &none,
            suffix: Ends { end: None, ..ends }.label(),
        };
        let mut binds = vec![Bind::Read(x), Bind::Read(x), Bind::Write(&before)];
        binds.extend(ends.start.iter().flat_map(|e| &e.reads).map(Bind::Read));
        let grid = |channels: usize| linear_grid(self.tiles * channels, lanes(cx.profile()));
        let (of_input, of_output) = (grid(s.ic), grid(s.oc));
        let kernel = Step { common, by_channel: self.by_channel, last: false, y_vec: false };
        cx.dispatch(&kernel, load.params(params), &binds, of_input)?;

        let product = Product::new(before, self.filters(cx, s, filters)?, after.clone());
        matmul::product(cx, &if self.by_channel { product } else { turned(product)? })?;

        let first = BIAS + usize::from(bias.is_some());
        let flat = Flat::new(cx, ends.end, &shape, first);
        let as_input = [after.strides[0], after.strides[2], 0, 0, after.strides[1]];
        let params = with(with(base, cx.base(&after), &as_input), cx.base(out), &out.strides);
        let nothing = Load::default();
        let common = Common {
            input: DeviceType::F32,
            device: DeviceType::F32,
            out: out.device,
            transposed: false,
            padded: s.padded,
            bias: bias.is_some(),
            long: false,
            long_end: ends.end.is_some_and(Epilogue::is_long),
            outside: None,
            start: &nothing,
            end: &flat,
            suffix: Ends { start: None, ..ends }.label(),
        };
        let mut binds = vec![Bind::Read(&after), Bind::Read(&after), Bind::Write(out)];
        binds.extend(bias.map(Bind::Read));
        binds.extend(ends.end.iter().flat_map(|e| &e.reads).map(Bind::Read));
        // vectors of four pixels of a row
        let bounds = [out.offset as isize, out.strides[0], out.strides[2], s.output[2] as isize];
        let y_vec = out.strides[3] == 1 && out.device.bytes() <= 4 && bounds.iter().all(|s| s % 4 == 0);
        let kernel = Step { common, by_channel: self.by_channel, last: true, y_vec };
        cx.dispatch(&kernel, flat.params(params), &binds, of_output)
    }

    /// The transformed filters, as right factors `[36, channels, output channels]`.
    fn filters(&self, cx: &mut LowerCx<'_>, s: &Shape, filters: &Filters) -> Result<Right> {
        let Filters::Constant { input, tag, make, .. } = filters else { bail!(Internal, "filters are no constant") };
        let (shape, make) = ([MATRICES, s.oc, s.ic], make.clone());
        let t = TensorType::new(DType::F32, shape);
        let made = move |w: &Tensor| Tensor::new(shape, transformed(&make(w)?.to_vec::<f32>()?));
        matmul::right_made(cx, *input, t, true, &format!("{tag} winograd"), made)
    }
}

/// The same product with rows as columns.
fn turned(p: Product) -> Result<Product> {
    let Right::View(b) = &p.b else { bail!(Internal, "filters in panels") };
    Ok(Product::new(matrix_transposed(b), Right::View(matrix_transposed(&p.a)), matrix_transposed(&p.out)))
}

/// Invocations of a workgroup.
fn lanes(profile: &Profile) -> u32 {
    if profile.cpu { 8 } else { LINEAR_WORKGROUP }
}

/// The step before or after the products.
#[derive(Debug)]
struct Step<'a> {
    common: Common<'a>,
    by_channel: bool,
    last: bool,
    y_vec: bool,
}

impl Kernel for Step<'_> {
    fn label(&self) -> String {
        self.common.label(if self.last { "winograd output" } else { "winograd input" })
    }

    fn spec(&self, profile: &Profile) -> Spec {
        let spec = self
            .common
            .spec(if self.last { "winograd_output.wgsl" } else { "winograd_input.wgsl" })
            .u32("LANES", lanes(profile))
            .u32("UNDER", UNDER as u32)
            .flag("CHANNELS", self.by_channel)
            .flag("Y_VEC", self.y_vec);
        if !self.last {
            return spec;
        }
        let mut spec = spec
            .u32("ROWS", TILE as u32)
            .u32("COLUMNS", TILE as u32)
            .u32("SUMS", (TILE * TILE) as u32)
            .u32("MOVED", (TILE * TILE) as u32 - 1)
            .flag("ONCE", self.common.long_end && profile.compiles_slowly());
        // it reads nothing that a prologue would take
        ["READS", "LOAD"].into_iter().for_each(|insert| drop(spec.params.remove(insert)));
        spec
    }
}

/// G for a row of three.
fn transformed_row(g: [f64; 3]) -> [f64; UNDER] {
    const NEAR: f64 = 0.75;
    const FAR: f64 = 1.5;
    let at = |p: f64, scale: f64| (g[0] + p * g[1] + p * p * g[2]) / scale;
    let (near, far) = (NEAR * NEAR, FAR * FAR);
    let (by_near, by_far) = (2.0 * near * (near - far), 2.0 * far * (far - near));
    [at(0.0, near * far), at(NEAR, by_near), at(-NEAR, by_near), at(FAR, by_far), at(-FAR, by_far), g[2]]
}

/// Filters `[.., 3, 3]` as matrices `[6, 6, ..]`.
fn transformed(from: &[f32]) -> Vec<f32> {
    let (filters, _) = from.as_chunks::<9>();
    let count = filters.len();
    let mut to = vec![0f32; MATRICES * count];
    for (i, g) in filters.iter().enumerate() {
        let row = |r: usize| transformed_row([0, 1, 2].map(|c| g[3 * r + c] as f64));
        let rows = [row(0), row(1), row(2)];
        for c in 0..UNDER {
            let column = transformed_row([0, 1, 2].map(|r| rows[r][c]));
            column.iter().enumerate().for_each(|(r, v)| to[(r * UNDER + c) * count + i] = *v as f32);
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn chosen(profile: &Profile, batch: usize, channels: usize, extent: usize) -> bool {
        let s = Shape {
            batch,
            group: 1,
            ic: channels,
            oc: channels,
            transposed: false,
            padded: true,
            input: [1, extent, extent],
            output: [1, extent, extent],
            kernel: [1, 3, 3],
            strides: [1; 3],
            dilations: [1; 3],
            begin: [0, 1, 1],
        };
        let make = Arc::new(|w: &Tensor| Ok(w.clone()));
        let filters = Filters::Constant { input: 1, dtype: DType::F32, tag: "conv".into(), make };
        choose(profile, &s, &filters, DeviceType::F32).is_some()
    }

    #[test]
    fn large_convolutions_are_chosen_on_software_adapters() {
        let cpu = Profile { cpu: true, winograd: When::Gains, ..Profile::base() };
        assert!([(128, 112), (256, 56), (512, 28), (512, 14)].iter().all(|(c, e)| chosen(&cpu, 1, *c, *e)));
        // ResNet50's: small ones keep their one dispatch, but for larger batches
        let small = [(64, 56), (128, 28), (256, 14), (512, 7)];
        assert!(!small.iter().any(|(c, e)| chosen(&cpu, 1, *c, *e)));
        assert!(small[1..].iter().all(|(c, e)| chosen(&cpu, 8, *c, *e)));
        // few channels, for which the transforms cost more
        assert!(!chosen(&cpu, 8, 64, 224));
        assert!(!chosen(&Profile::base(), 8, 256, 56));
    }

    #[test]
    fn convolutions_of_many_pixels_are_chosen_on_gpus() {
        let gpu = Profile { winograd: When::Gains, ..Profile::base() };
        assert!([(32, 64, 56), (24, 64, 56), (32, 128, 56)].iter().all(|(b, c, e)| chosen(&gpu, *b, *c, *e)));
        // few tiles; few channels; matrices of gigabytes
        assert!(
            ![(1, 64, 56), (8, 512, 7), (32, 32, 56), (64, 64, 224)].iter().any(|(b, c, e)| chosen(&gpu, *b, *c, *e))
        );
    }

    #[test]
    fn corners_of_filters_are_their_outer_coefficients() {
        let filter = [0.5, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.25];
        // the polynomial at 0, over what G divides it by, and its leading coefficient, in both directions
        let made = transformed(&filter);
        assert_eq!(made[0], (0.5 / (0.5625 * 2.25) / (0.5625 * 2.25)) as f32);
        assert_eq!(made[35], 0.25);
    }
}
