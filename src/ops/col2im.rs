//! Col2Im.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::col2im::{Blocks, col2im};
use crate::kernels::copy::copy;
use crate::plan::LowerCx;
use crate::tensor::Tensor;
use crate::{Result, bail, ensure, err, shape};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "Col2Im", versions: &[18], parse, cases }];

/// Images from columns, each a block; where blocks overlap they are added.
#[derive(Debug)]
struct Col2Im {
    strides: Option<Vec<i64>>,
    dilations: Option<Vec<i64>>,
    pads: Option<Vec<i64>>,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    Ok(Arc::new(Col2Im { strides: a.ints("strides")?, dilations: a.ints("dilations")?, pads: a.ints("pads")? }))
}

fn cases() -> Vec<Case> {
    let case = |d: DType, columns: &[usize], image: &[i64], block: &[i64]| {
        let c = Case::new("Col2Im", 18).rand(d, columns);
        c.constant(Tensor::vector(image)).constant(Tensor::vector(block)).sum(9)
    };
    vec![
        case(F32, &[1, 5, 5], &[5, 5], &[1, 5]),
        case(F16, &[2, 12, 9], &[4, 4], &[2, 2]),
        case(F32, &[1, 18, 4], &[5, 5], &[3, 3]).ints("strides", &[2, 2]),
        case(F32, &[1, 9, 25], &[5, 5], &[3, 3]).ints("pads", &[1, 1, 1, 1]),
        case(F32, &[1, 4, 5], &[6, 6], &[2, 2]).ints("dilations", &[1, 5]),
        case(F32, &[2, 10, 16], &[4, 4, 5], &[1, 1, 5]).ints("pads", &[0, 0, 0, 0, 0, 0]),
        case(F32, &[1, 6, 7], &[9], &[3]),
        case(F32, &[1, 24, 96], &[4, 5, 6], &[1, 2, 3]).ints("pads", &[0, 0, 1, 0, 0, 1]),
    ]
}

impl Col2Im {
    fn blocks(&self, columns: &[usize], image: &[i64], block: &[i64]) -> Result<(Vec<usize>, Blocks)> {
        let dims = image.len();
        let sizes = |v: &[i64], n: usize, what: &str| -> Result<Vec<usize>> {
            ensure!(v.len() == n, InvalidNode, "expected {n} {what}, got {v:?}");
            v.iter()
                .map(|x| u32::try_from(*x).map(|x| x as usize).map_err(|_| err!(InvalidNode, "{what} {v:?}")))
                .collect()
        };
        let (image, block) = (sizes(image, dims, "image extents")?, sizes(block, dims, "block extents")?);
        let or = |v: &Option<Vec<i64>>, n: usize, default: i64| v.clone().unwrap_or_else(|| vec![default; n]);
        let strides = sizes(&or(&self.strides, dims, 1), dims, "strides")?;
        let dilations = sizes(&or(&self.dilations, dims, 1), dims, "dilations")?;
        let pads = sizes(&or(&self.pads, 2 * dims, 0), 2 * dims, "pads")?;
        ensure!(strides.iter().chain(&block).all(|s| *s > 0), InvalidNode, "strides {strides:?}, block {block:?}");
        let counts: Option<Vec<usize>> = (0..dims)
            .map(|d| {
                let room = (image[d] + pads[d] + pads[dims + d]).checked_sub(dilations[d] * (block[d] - 1) + 1)?;
                Some(room / strides[d] + 1)
            })
            .collect();
        let counts = counts.ok_or_else(|| err!(InvalidNode, "no block {block:?} fits {image:?}"))?;
        let [n, rows, l] = columns[..] else {
            bail!(InvalidNode, "expected [n, channels · block, blocks], got {columns:?}")
        };
        let (taps, blocks): (usize, usize) = (shape::numel(&block), shape::numel(&counts));
        ensure!(rows % taps == 0 && l == blocks, InvalidNode, "{columns:?} for blocks {block:?}, {blocks} of them");
        let to = [&[n, rows / taps], &image[..]].concat();
        Ok((to, Blocks { image, block, counts, strides, dilations, pads: pads[..dims].to_vec() }))
    }
}

impl Op for Col2Im {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        let missing = |i: usize| err!(InvalidNode, "input {i} is missing");
        let (image, block) = (cx.ints(1)?.ok_or_else(|| missing(1))?, cx.ints(2)?.ok_or_else(|| missing(2))?);
        one(cx.dtype(0)?, self.blocks(cx.shape(0)?, &image, &block)?.0)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        let (to, b) = self.blocks(x.shape(), &need(inputs, 1)?.to_i64s()?, &need(inputs, 2)?.to_i64s()?)?;
        let v = x.to_f64s()?;
        let size = shape::numel(&b.image);
        let mut out = vec![0.0; shape::numel(&to)];
        let mut from = 0;
        for plane in 0..to[0] * to[1] {
            for tap in shape::coords(&b.block) {
                for at in shape::coords(&b.counts) {
                    let place = (0..b.image.len()).try_fold(0, |place, d| {
                        let c = (at[d] * b.strides[d] + tap[d] * b.dilations[d]).checked_sub(b.pads[d])?;
                        (c < b.image[d]).then_some(place * b.image[d] + c)
                    });
                    if let Some(place) = place {
                        out[plane * size + place] += v[from];
                    }
                    from += 1;
                }
            }
        }
        Ok(vec![Tensor::from_f64s(x.dtype(), to, out)?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let (image, block) = (cx.ints(1)?.unwrap_or_default(), cx.ints(2)?.unwrap_or_default());
        let (_, blocks) = self.blocks(&x.shape, &image, &block)?;
        let dense = cx.temp(x.dtype, &x.shape)?;
        copy(cx, &x, &dense)?;
        let out = cx.output(0)?;
        ensure!(out.dtype.is_float() && out.dtype != F64, Unsupported, "blocks of {}", out.dtype);
        col2im(cx, &blocks, &dense, &out)
    }
}
