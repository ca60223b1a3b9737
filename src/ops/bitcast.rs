//! BitCast.

use std::sync::Arc;

use super::eval::need;
use super::infer::one;
use super::{Case, InferCx, Inferred, NodeInfo, Op, OpDef, Tolerance};
use crate::dtype::DType::{self, *};
use crate::ir::AttrReader;
use crate::kernels::bitcast;
use crate::plan::{LowerCx, View};
use crate::tensor::Tensor;
use crate::{Result, ensure, err};

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[OpDef { domain: "", name: "BitCast", versions: &[26], parse, cases }];

/// The same bits read as another type of the same width. On a device signalling NaNs of 16 bits may become quiet ones,
/// and NaNs that are made of 8-bit codes come back as the one code that encoding knows.
#[derive(Debug)]
struct BitCast {
    to: DType,
}

fn parse(a: &AttrReader<'_>, _: &NodeInfo) -> Result<Arc<dyn Op>> {
    let number = a.required_int("to")?;
    let to = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|d| *d != String);
    let to = to.ok_or_else(|| err!(InvalidNode, "attribute to: expected a type other than string, got {number}"))?;
    Ok(Arc::new(BitCast { to }))
}

impl BitCast {
    fn fits(&self, from: DType) -> Result<()> {
        let same = from != String && from.packed_bits() == self.to.packed_bits();
        ensure!(same, InvalidNode, "{from} and {} differ in width", self.to);
        Ok(())
    }
}

impl Op for BitCast {
    fn infer(&self, cx: &InferCx<'_>) -> Inferred {
        self.fits(cx.dtype(0)?)?;
        one(self.to, cx.shape(0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = need(inputs, 0)?;
        self.fits(x.dtype())?;
        Ok(vec![Tensor::from_packed(self.to, x.shape(), x.to_packed().into_owned())?])
    }

    fn lower(&self, cx: &mut LowerCx<'_>) -> Result<()> {
        let x = cx.input(0)?;
        if bitcast::is_view(x.dtype, self.to) {
            let device = cx.profile().device_type(self.to)?;
            return cx.alias(0, View { dtype: self.to, device, ..x });
        }
        let x = cx.dense(&x)?;
        let out = cx.output(0)?;
        bitcast::bitcast(cx, &x, &out)
    }

    fn tolerance(&self, _: DType, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

/// The device types of each width.
const WIDTHS: &[&[DType]] = &[
    &[U2, I2],
    &[U4, I4, F4E2M1],
    &[U8, I8, Bool, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0],
    &[U16, I16, F16, BF16],
    &[U32, I32, F32],
    &[U64, I64, F64],
];

/// Every code of up to 16 bits but those of 16-bit floats that are no numbers; many of the wider ones that are.
fn codes(d: DType) -> Result<Tensor> {
    let bits = d.packed_bits().min(16);
    let all: Vec<u32> = match d {
        Bool => vec![0, 1, 1],
        _ => (0..1u32 << bits).collect(),
    };
    let bytes: Vec<u8> = match d.size() {
        1 if d.is_signed_int() && bits < 8 => {
            let spare = 8 - bits;
            all.iter().map(|c| (((*c << spare) as u8 as i8) >> spare) as u8).collect()
        }
        1 => all.iter().map(|c| *c as u8).collect(),
        2 => all.iter().flat_map(|c| (*c as u16).to_le_bytes()).collect(),
        size => all.iter().flat_map(|c| c.wrapping_mul(2_654_435_761).to_le_bytes().repeat(size / 4)).collect(),
    };
    let x = Tensor::from_bytes(d, [all.len()], bytes)?;
    if !d.is_float() || d.size() < 2 {
        return Ok(x);
    }
    let keep: Vec<usize> = x.to_f64s()?.iter().enumerate().filter(|(_, v)| !v.is_nan()).map(|(i, _)| i).collect();
    x.select([keep.len()], &keep)
}

fn cases() -> Vec<Case> {
    let case = |to: DType| Case::new("BitCast", 26).int("to", to as i64);
    let mut all = vec![];
    for types in WIDTHS {
        for from in *types {
            all.extend(types.iter().filter_map(|to| Some(case(*to).value(codes(*from).ok()?))));
        }
    }
    for s in [&[][..], &[0, 3], &[3, 1, 5], &[1]] {
        all.push(case(I16).rand(F16, s));
        all.push(case(F16).range(I16, s, -9999.0, 9999.0));
        all.push(case(I32).rand(F32, s));
        all.push(case(F8E5M2).range(U8, s, 0.0, 99.0));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stay() {
        let cast = |x: &Tensor, to| BitCast { to }.eval(&[Some(x)]);
        let y = cast(&Tensor::vector(&[1.0f64, -0.0]), I64).unwrap().remove(0);
        assert_eq!(y.to_i64s().unwrap(), [0x3ff0_0000_0000_0000, i64::MIN]);
        let nibbles = Tensor::from_bytes(U4, [3], vec![1, 9, 15]).unwrap();
        assert_eq!(cast(&nibbles, I4).unwrap()[0].to_i64s().unwrap(), [1, -7, -1]);
        assert_eq!(cast(&nibbles, F4E2M1).unwrap()[0].to_f64s().unwrap(), [0.5, -0.5, -6.0]);
        assert!(cast(&nibbles, U8).is_err());
        let pair = cast(&Tensor::vector(&[2.5f64]), C64).unwrap().remove(0);
        assert_eq!(cast(&pair, F64).unwrap()[0].to_f64s().unwrap(), [2.5]);
    }
}
