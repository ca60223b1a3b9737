//! Other readings of the same bits: `shaders/bitcast.wgsl`.

use super::DeviceType::{self, *};
use super::{Kernel, LINEAR_WORKGROUP, Params, Profile, Spec, linear_grid};
use crate::dtype::DType;
use crate::plan::{Bind, LowerCx, View};
use crate::{Result, ensure};

/// How an element's code of `width` bits lies in its device word.
#[derive(Debug, Clone, Copy)]
enum Form {
    Integer,
    UpperHalf,
    /// Bits of the fraction, bias of the exponent, which codes are no numbers.
    Number([u32; 3]),
    Exponent,
    Half,
    Signed,
    Truth,
}

impl Form {
    fn of(dtype: DType, device: DeviceType) -> Form {
        match (dtype, device) {
            (DType::F16, F16) => Form::Half,
            (DType::F16, _) => Form::Number([10, 15, 0]),
            (_, BF16) => Form::UpperHalf,
            (_, F8E4M3FN) => Form::Number([3, 7, 1]),
            (_, F8E4M3FNUZ) => Form::Number([3, 8, 2]),
            (_, F8E5M2) => Form::Number([2, 15, 0]),
            (_, F8E5M2FNUZ) => Form::Number([2, 16, 2]),
            (_, F4E2M1) => Form::Number([1, 1, 3]),
            (_, F8E8M0) => Form::Exponent,
            (_, I2 | I4 | I8 | I16) => Form::Signed,
            (_, Bool) => Form::Truth,
            _ => Form::Integer,
        }
    }

    /// The numbers by which the shader knows it; those of sources leave the signs and zeros to the mask.
    fn number(self) -> u32 {
        match self {
            Form::Integer => 0,
            Form::UpperHalf => 1,
            Form::Number(_) => 2,
            Form::Exponent => 3,
            Form::Half => 4,
            Form::Signed => 5,
            Form::Truth => 6,
        }
    }

    fn format(self) -> [u32; 3] {
        if let Form::Number(f) = self { f } else { [1, 1, 3] }
    }
}

#[derive(Debug)]
struct BitCast {
    from: Form,
    to: Form,
    width: u32,
}

impl Kernel for BitCast {
    fn label(&self) -> String {
        format!("bitcast {:?} to {:?}", self.from, self.to)
    }

    fn spec(&self, _: &Profile) -> Spec {
        let (from, to) = (self.from.format(), self.to.format());
        Spec::new("bitcast.wgsl")
            .u32("FROM", self.from.number())
            .u32("TO", self.to.number())
            .u32("WIDTH", self.width)
            .u32("FROM_FRACTION", from[0])
            .u32("FROM_BIAS", from[1])
            .u32("FROM_NAN", from[2])
            .u32("TO_FRACTION", to[0])
            .u32("TO_BIAS", to[1])
            .u32("TO_NAN", to[2])
    }
}

/// Whether elements of the two types are the same words on every device, so that a view can say it.
pub fn is_view(from: DType, to: DType) -> bool {
    from == to || from.packed_bits() >= 32
}

/// The elements of dense `x` read as the type of dense `out`, of as many bits (at most 16).
///
/// # Errors
/// `Internal` when the types differ in width; as [`LowerCx::dispatch`].
pub fn bitcast(cx: &mut LowerCx<'_>, x: &View, out: &View) -> Result<()> {
    let width = x.dtype.packed_bits();
    ensure!(width <= 16 && width == out.dtype.packed_bits(), Internal, "{} as {}", x.dtype, out.dtype);
    let kernel =
        BitCast { from: Form::of(x.dtype, x.device), to: Form::of(out.dtype, out.device), width: width as u32 };
    let n = out.numel();
    let threads = if matches!(kernel.to, Form::Half) { n.div_ceil(2) } else { n };
    let params = Params::new().u32(threads).u32(n).u32(cx.base(x));
    cx.dispatch(&kernel, params, &[Bind::Read(x), Bind::Write(out)], linear_grid(threads, LINEAR_WORKGROUP))
}
