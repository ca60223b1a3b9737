//! Element types: ONNX's names and numbers, sizes on the host, and the type that stands for each on a device.

use std::fmt;

use crate::kernels::DeviceType;

/// An ONNX tensor element type. Discriminants are the values of `TensorProto.DataType`; the last three, which have none,
/// stand for ONNX's types that are not tensors, whose values a rank-0 [`Tensor`](crate::Tensor) holds as items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum DType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    String = 8,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
    C64 = 14,
    C128 = 15,
    BF16 = 16,
    F8E4M3FN = 17,
    F8E4M3FNUZ = 18,
    F8E5M2 = 19,
    F8E5M2FNUZ = 20,
    U4 = 21,
    I4 = 22,
    F4E2M1 = 23,
    F8E8M0 = 24,
    U2 = 25,
    I2 = 26,
    Sequence = 256,
    Optional = 257,
    Map = 258,
}

use DType::*;

/// Every type of tensor elements, in the order of its ONNX number.
pub const ALL: [DType; 26] = [
    F32, U8, I8, U16, I16, I32, I64, String, Bool, F16, F64, U32, U64, C64, C128, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2,
    F8E5M2FNUZ, U4, I4, F4E2M1, F8E8M0, U2, I2,
];

impl DType {
    /// The type with this `TensorProto.DataType` number.
    pub fn from_onnx(number: i32) -> Option<DType> {
        ALL.into_iter().find(|d| *d as i32 == number)
    }

    /// ONNX's name in lower case, e.g. `float`, `int64`, `float8e4m3fn`.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "float",
            U8 => "uint8",
            I8 => "int8",
            U16 => "uint16",
            I16 => "int16",
            I32 => "int32",
            I64 => "int64",
            String => "string",
            Bool => "bool",
            F16 => "float16",
            F64 => "double",
            U32 => "uint32",
            U64 => "uint64",
            C64 => "complex64",
            C128 => "complex128",
            BF16 => "bfloat16",
            F8E4M3FN => "float8e4m3fn",
            F8E4M3FNUZ => "float8e4m3fnuz",
            F8E5M2 => "float8e5m2",
            F8E5M2FNUZ => "float8e5m2fnuz",
            U4 => "uint4",
            I4 => "int4",
            F4E2M1 => "float4e2m1",
            F8E8M0 => "float8e8m0",
            U2 => "uint2",
            I2 => "int2",
            Sequence => "sequence",
            Optional => "optional",
            Map => "map",
        }
    }

    /// The type with this ONNX name.
    pub fn from_name(name: &str) -> Option<DType> {
        ALL.into_iter().find(|d| d.name() == name)
    }

    /// Bytes of one element in a host [`Tensor`](crate::Tensor). Types under eight bits take one byte each on
    /// the host (they are unpacked at import); strings and containers have no fixed size and give 0.
    pub fn size(self) -> usize {
        match self {
            String | Sequence | Optional | Map => 0,
            F32 | I32 | U32 => 4,
            F64 | I64 | U64 | C64 => 8,
            C128 => 16,
            F16 | BF16 | I16 | U16 => 2,
            _ => 1,
        }
    }

    /// Bits of one element in ONNX's packed form (`raw_data`, external data).
    pub fn packed_bits(self) -> usize {
        match self {
            U4 | I4 | F4E2M1 => 4,
            U2 | I2 => 2,
            d => d.size() * 8,
        }
    }

    /// A sequence, optional or map: not a tensor, but made of tensors.
    pub fn is_container(self) -> bool {
        matches!(self, Sequence | Optional | Map)
    }

    /// Floating point of any width (complex excluded).
    pub fn is_float(self) -> bool {
        matches!(self, F32 | F16 | F64 | BF16) || self.is_small_float()
    }

    /// The 8-bit and 4-bit floats.
    pub fn is_small_float(self) -> bool {
        matches!(self, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// Signed or unsigned integer of any width (bool excluded).
    pub fn is_int(self) -> bool {
        matches!(self, U2 | I2 | U4 | I4 | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
    }

    /// Integer with a sign.
    pub fn is_signed_int(self) -> bool {
        matches!(self, I2 | I4 | I8 | I16 | I32 | I64)
    }

    /// Smallest and largest value of an integer type (bool: 0 and 1); `None` for the others.
    pub fn int_range(self) -> Option<(i128, i128)> {
        if self == Bool {
            return Some((0, 1));
        }
        if !self.is_int() {
            return None;
        }
        let bits = self.packed_bits() as u32;
        Some(if self.is_signed_int() {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits) - 1)
        })
    }

    /// The type that stands for this one in WGSL, or `None` where only the host can hold it
    /// (strings, complex numbers, containers).
    pub fn device(self) -> Option<DeviceType> {
        Some(match self {
            F32 => DeviceType::F32,
            F16 => DeviceType::F16,
            BF16 => DeviceType::BF16,
            F8E4M3FN => DeviceType::F8E4M3FN,
            F8E4M3FNUZ => DeviceType::F8E4M3FNUZ,
            F8E5M2 => DeviceType::F8E5M2,
            F8E5M2FNUZ => DeviceType::F8E5M2FNUZ,
            F8E8M0 => DeviceType::F8E8M0,
            F4E2M1 => DeviceType::F4E2M1,
            I2 => DeviceType::I2,
            U2 => DeviceType::U2,
            I4 => DeviceType::I4,
            U4 => DeviceType::U4,
            I8 => DeviceType::I8,
            U8 => DeviceType::U8,
            I16 => DeviceType::I16,
            U16 => DeviceType::U16,
            I32 => DeviceType::I32,
            U32 => DeviceType::U32,
            I64 => DeviceType::I64,
            U64 => DeviceType::U64,
            Bool => DeviceType::Bool,
            F64 => DeviceType::F64,
            String | C64 | C128 | Sequence | Optional | Map => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rust types that hold one element of a host tensor.
pub trait Element: bytemuck::NoUninit + bytemuck::CheckedBitPattern + PartialEq + fmt::Debug + Send + Sync {
    /// The element type that this Rust type holds.
    const DTYPE: DType;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
element!(f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16, i8 => I8, u8 => U8, i16 => I16, u16 => U16,
         i32 => I32, u32 => U32, i64 => I64, u64 => U64, bool => Bool);

/// Values of the 8-bit and 4-bit floats, after the tables of the ONNX specification
/// (<https://onnx.ai/onnx/technical/float8.html>, `float4.html`).
pub mod small_float {
    use super::DType;

    struct Format {
        exponent_bits: u32,
        mantissa_bits: u32,
        bias: i32,
        signed: bool,
    }

    fn format(d: DType) -> Option<Format> {
        let (exponent_bits, mantissa_bits, bias, signed) = match d {
            DType::F8E4M3FN => (4, 3, 7, true),
            DType::F8E4M3FNUZ => (4, 3, 8, true),
            DType::F8E5M2 => (5, 2, 15, true),
            DType::F8E5M2FNUZ => (5, 2, 16, true),
            DType::F4E2M1 => (2, 1, 1, true),
            DType::F8E8M0 => (8, 0, 127, false),
            _ => return None,
        };
        Some(Format { exponent_bits, mantissa_bits, bias, signed })
    }

    /// The value of a code; NaN for a type that is not a small float.
    pub fn decode(d: DType, code: u8) -> f32 {
        let Some(f) = format(d) else { return f32::NAN };
        let code = code as u32;
        if d == DType::F8E8M0 {
            return if code == 0xff { f32::NAN } else { 2f64.powi(code as i32 - 127) as f32 };
        }
        let (nan, infinite) = match d {
            DType::F8E4M3FN => (code & 0x7f == 0x7f, false),
            DType::F8E5M2 => (code & 0x7f > 0x7c, code & 0x7f == 0x7c),
            DType::F8E4M3FNUZ | DType::F8E5M2FNUZ => (code == 0x80, false),
            _ => (false, false),
        };
        let sign = if f.signed && code >> (f.exponent_bits + f.mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
        if nan {
            // the code's bits stay, for BitCast
            let fraction = (code & ((1 << f.mantissa_bits) - 1)) << (23 - f.mantissa_bits);
            let bits = if fraction == 0 { f32::NAN.to_bits() } else { 0x7f80_0000 | fraction };
            return f32::from_bits(bits).copysign(sign);
        }
        if infinite {
            return sign * f32::INFINITY;
        }
        let exponent = (code >> f.mantissa_bits & ((1 << f.exponent_bits) - 1)) as i32;
        let mantissa = (code & ((1 << f.mantissa_bits) - 1)) as f32 / (1 << f.mantissa_bits) as f32;
        let magnitude = if exponent == 0 {
            mantissa * 2f32.powi(1 - f.bias)
        } else {
            (1.0 + mantissa) * 2f32.powi(exponent - f.bias)
        };
        sign * magnitude
    }

    fn largest(d: DType) -> u8 {
        match d {
            DType::F8E4M3FN => 0x7e,
            DType::F8E5M2 => 0x7b,
            DType::F8E4M3FNUZ | DType::F8E5M2FNUZ => 0x7f,
            DType::F8E8M0 => 0xfe,
            _ => 0x7,
        }
    }

    /// The code nearest to `x`, ties to even. Beyond the largest finite value: that value when `saturate`, else
    /// the type's infinity or NaN, as the Cast operator's table has it. `F4E2M1` always saturates.
    pub fn encode(d: DType, x: f32, saturate: bool) -> u8 {
        let Some(f) = format(d) else { return 0 };
        if d == DType::F8E8M0 {
            return encode_e8m0(x, Rounding::Up, saturate);
        }
        let sign_bit = 1u8 << (f.exponent_bits + f.mantissa_bits);
        let sign = if x.is_sign_negative() { sign_bit } else { 0 };
        let top = largest(d);
        let no_negative_zero = matches!(d, DType::F8E4M3FNUZ | DType::F8E5M2FNUZ);
        let overflow = match d {
            DType::F4E2M1 => sign | top,
            _ if saturate => sign | top,
            DType::F8E4M3FN => sign | 0x7f,
            DType::F8E5M2 => sign | 0x7c,
            _ => 0x80,
        };
        if x.is_nan() {
            return match d {
                DType::F8E4M3FNUZ | DType::F8E5M2FNUZ => 0x80,
                DType::F4E2M1 => sign_bit,
                _ => sign | 0x7f,
            };
        }
        if x.is_infinite() {
            return overflow;
        }
        let magnitude = x.abs() as f64;
        let lowest_exponent = 1 - f.bias;
        let exponent = if magnitude == 0.0 { lowest_exponent } else { magnitude.log2().floor() as i32 };
        let step = 2f64.powi(exponent.max(lowest_exponent) - f.mantissa_bits as i32);
        let rounded = (magnitude / step).round_ties_even() * step;
        if rounded > decode(d, top) as f64 {
            return overflow;
        }
        // codes of one sign are ordered by value, so the code of `rounded` is found by counting
        let code = (0..=top).rev().find(|c| (decode(d, *c) as f64) <= rounded).unwrap_or(0);
        if code == 0 && no_negative_zero { 0 } else { sign | code }
    }

    /// How `F8E8M0` rounds: Cast's attribute `round_mode`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Rounding {
        /// To the next larger power of 2.
        Up,
        /// To the next smaller power of 2.
        Down,
        /// To the nearer one, ties up.
        Nearest,
    }

    /// The code of `F8E8M0` for |x|. What lies beyond the range: its ends when `saturate`, else NaN.
    pub fn encode_e8m0(x: f32, rounding: Rounding, saturate: bool) -> u8 {
        let (magnitude, least) = (x.abs() as f64, 2f64.powi(-127));
        if x.is_nan() || (!saturate && (x.is_infinite() || magnitude < least)) {
            return 0xff;
        }
        if magnitude <= least {
            return 0;
        }
        if x.is_infinite() {
            return 0xfe;
        }
        let floor = magnitude.log2().floor();
        let low = 2f64.powf(floor);
        let up = match rounding {
            Rounding::Up => magnitude > low,
            Rounding::Down => false,
            Rounding::Nearest => magnitude >= 1.5 * low,
        };
        let code = floor as i32 + 127 + i32::from(up);
        code.clamp(0, if saturate { 0xfe } else { 0xff }) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_round_trip() {
        for d in ALL.into_iter().filter(|d| d.is_small_float()) {
            let codes = if d == F4E2M1 { 16u32 } else { 256 };
            for code in 0..codes {
                let v = small_float::decode(d, code as u8);
                if v.is_nan() {
                    assert!(small_float::decode(d, small_float::encode(d, v, true)).is_nan());
                } else if v.is_finite() {
                    let back = small_float::encode(d, v, true);
                    assert_eq!(small_float::decode(d, back), v, "{d} code {code}");
                }
            }
        }
        assert_eq!(small_float::decode(F8E4M3FN, 0x7e), 448.0);
        assert_eq!(small_float::decode(F8E5M2, 0x7b), 57344.0);
        assert_eq!(small_float::decode(F4E2M1, 0x7), 6.0);
    }

    #[test]
    fn names_and_numbers_round_trip() {
        for d in ALL {
            assert_eq!(DType::from_onnx(d as i32), Some(d));
            assert_eq!(DType::from_name(d.name()), Some(d));
        }
        assert_eq!(I4.int_range(), Some((-8, 7)));
        assert_eq!(U64.int_range(), Some((0, u64::MAX as i128)));
    }
}
