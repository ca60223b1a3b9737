//! The element types that kernels compute with, how each is stored in WGSL, and casts between them.

/// An element type on the device. Each has a module `shaders/types/<name>.wgsl` of functions on its storage type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DeviceType {
    F32,
    F16,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    I2,
    U2,
    I4,
    U4,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    Bool,
    I64,
    U64,
    F64,
}

use DeviceType::*;

/// The WGSL type that holds a device type's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageClass {
    /// `f32`; narrower floats keep to the values of their own grid.
    F32,
    /// `f16`
    F16,
    /// `i32`; narrower signed integers keep to their own range.
    I32,
    /// `u32`; narrower unsigned integers keep to their own range, and bool to 0 and 1.
    U32,
    /// `vec2<u32>`, low word first, two's complement.
    I64,
    /// `vec2<u32>`, low word first.
    U64,
    /// `vec2<u32>`, the bits of a double, low word first.
    F64,
}

impl StorageClass {
    /// The name of the class, which is also the name of its widest device type.
    pub fn name(self) -> &'static str {
        match self {
            StorageClass::F32 => "f32",
            StorageClass::F16 => "f16",
            StorageClass::I32 => "i32",
            StorageClass::U32 => "u32",
            StorageClass::I64 => "i64",
            StorageClass::U64 => "u64",
            StorageClass::F64 => "f64",
        }
    }

    /// The WGSL type.
    pub fn wgsl(self) -> &'static str {
        match self {
            StorageClass::F32 => "f32",
            StorageClass::F16 => "f16",
            StorageClass::I32 => "i32",
            StorageClass::U32 => "u32",
            StorageClass::I64 | StorageClass::U64 | StorageClass::F64 => "vec2<u32>",
        }
    }

    /// The size of a stored element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            StorageClass::F16 => 2,
            StorageClass::F32 | StorageClass::I32 | StorageClass::U32 => 4,
            StorageClass::I64 | StorageClass::U64 | StorageClass::F64 => 8,
        }
    }
}

impl DeviceType {
    /// Every device type.
    pub const ALL: [DeviceType; 23] = [
        F32, F16, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1, I2, U2, I4, U4, I8, U8, I16, U16,
        I32, U32, Bool, I64, U64, F64,
    ];

    /// The name of the type's module and the prefix of its functions.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "f32",
            F16 => "f16",
            BF16 => "bf16",
            F8E4M3FN => "f8e4m3fn",
            F8E4M3FNUZ => "f8e4m3fnuz",
            F8E5M2 => "f8e5m2",
            F8E5M2FNUZ => "f8e5m2fnuz",
            F8E8M0 => "f8e8m0",
            F4E2M1 => "f4e2m1",
            I2 => "i2",
            U2 => "u2",
            I4 => "i4",
            U4 => "u4",
            I8 => "i8",
            U8 => "u8",
            I16 => "i16",
            U16 => "u16",
            I32 => "i32",
            U32 => "u32",
            Bool => "bool",
            I64 => "i64",
            U64 => "u64",
            F64 => "f64",
        }
    }

    /// The type's module among the shaders.
    pub fn module(self) -> &'static str {
        match self {
            F32 => "types/f32.wgsl",
            F16 => "types/f16.wgsl",
            BF16 => "types/bf16.wgsl",
            F8E4M3FN => "types/f8e4m3fn.wgsl",
            F8E4M3FNUZ => "types/f8e4m3fnuz.wgsl",
            F8E5M2 => "types/f8e5m2.wgsl",
            F8E5M2FNUZ => "types/f8e5m2fnuz.wgsl",
            F8E8M0 => "types/f8e8m0.wgsl",
            F4E2M1 => "types/f4e2m1.wgsl",
            I2 => "types/i2.wgsl",
            U2 => "types/u2.wgsl",
            I4 => "types/i4.wgsl",
            U4 => "types/u4.wgsl",
            I8 => "types/i8.wgsl",
            U8 => "types/u8.wgsl",
            I16 => "types/i16.wgsl",
            U16 => "types/u16.wgsl",
            I32 => "types/i32.wgsl",
            U32 => "types/u32.wgsl",
            Bool => "types/bool.wgsl",
            I64 => "types/i64.wgsl",
            U64 => "types/u64.wgsl",
            F64 => "types/f64.wgsl",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<DeviceType> {
        DeviceType::ALL.into_iter().find(|t| t.name() == name)
    }

    /// How the type is stored.
    pub fn class(self) -> StorageClass {
        match self {
            F32 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1 => StorageClass::F32,
            F16 => StorageClass::F16,
            I2 | I4 | I8 | I16 | I32 => StorageClass::I32,
            U2 | U4 | U8 | U16 | U32 | Bool => StorageClass::U32,
            I64 => StorageClass::I64,
            U64 => StorageClass::U64,
            F64 => StorageClass::F64,
        }
    }

    /// The WGSL storage type.
    pub fn wgsl(self) -> &'static str {
        self.class().wgsl()
    }

    /// The size of an element in a device buffer, in bytes.
    pub fn bytes(self) -> usize {
        self.class().bytes()
    }

    /// Whether the type is a floating-point one.
    pub fn is_float(self) -> bool {
        matches!(self.class(), StorageClass::F32 | StorageClass::F16 | StorageClass::F64)
    }
}

/// The WGSL expression that casts `x`, an expression of type `from`, to type `to` as ONNX's Cast does (saturating where
/// it has a choice).
pub fn cast_expr(from: DeviceType, to: DeviceType, x: &str) -> String {
    if from == to {
        return x.to_string();
    }
    if from == F64 {
        return match to.class() {
            _ if to == F32 => format!("f64_to_f32({x})"),
            _ if to == U64 => format!("f64_to_u64({x})"),
            // zero is what is false, however small it is not
            _ if to == Bool => format!("u32(f64_ne({x}, f64_zero()))"),
            StorageClass::F32 | StorageClass::F16 => format!("{}_from_f32(f64_narrowed({x}, true))", to.name()),
            _ => cast_expr(I64, to, &format!("f64_to_i64({x})")),
        };
    }
    let to = to.name();
    match from.class() {
        StorageClass::F16 => format!("{to}_from_f32(f32({x}))"),
        // A narrower float is already an f32 in storage.
        StorageClass::F32 if to == F32.name() => x.to_string(),
        class => format!("{to}_from_{}({x})", class.name()),
    }
}

/// Like [`cast_expr`], for Cast with `saturate` = 0: floats beyond an 8-bit float's range become its infinity or NaN.
pub fn cast_wrap_expr(from: DeviceType, to: DeviceType, x: &str) -> String {
    let wraps = matches!(to, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0);
    if !wraps || from == to {
        return cast_expr(from, to, x);
    }
    let wide = if from == F64 { format!("f64_narrowed({x}, true)") } else { cast_expr(from, F32, x) };
    format!("{}_from_f32_wrap({wide})", to.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_name_the_class_they_come_from() {
        assert_eq!(cast_expr(I64, F32, "a"), "f32_from_i64(a)");
        assert_eq!(cast_expr(I8, U4, "a"), "u4_from_i32(a)");
        assert_eq!(cast_expr(F16, BF16, "a"), "bf16_from_f32(f32(a))");
        assert_eq!(cast_expr(Bool, Bool, "a"), "a");
        assert_eq!(cast_expr(BF16, F32, "a"), "a");
        assert_eq!(cast_wrap_expr(I32, F8E5M2, "a"), "f8e5m2_from_f32_wrap(f32_from_i32(a))");
        assert_eq!(cast_wrap_expr(F32, I8, "a"), "i8_from_f32(a)");
    }

    #[test]
    fn names_are_unique_and_found() {
        for t in DeviceType::ALL {
            assert_eq!(DeviceType::from_name(t.name()), Some(t));
            assert_eq!(t.module(), format!("types/{}.wgsl", t.name()));
        }
    }
}
