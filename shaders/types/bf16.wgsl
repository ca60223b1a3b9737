// 16-bit floats with the exponent of f32, held in f32. They round after each function.

fn bf16_zero() -> f32 { return 0.0; }
fn bf16_one() -> f32 { return 1.0; }
fn bf16_lowest() -> f32 { return f32_lowest(); }
fn bf16_highest() -> f32 { return f32_highest(); }
fn bf16_inf() -> f32 { return f32_inf(); }
fn bf16_nan() -> f32 { return f32_nan(); }

// To nearest, ties to even.
fn bf16_from_f32(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if f32_is_nan(x) {
        return bitcast<f32>((bits & 0xffff0000u) | 0x400000u);
    }
    return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
}

fn bf16_is_nan(x: f32) -> bool { return f32_is_nan(x); }
fn bf16_is_inf(x: f32) -> bool { return f32_is_inf(x); }

fn bf16_add(a: f32, b: f32) -> f32 { return bf16_from_f32(a + b); }
fn bf16_sub(a: f32, b: f32) -> f32 { return bf16_from_f32(a - b); }
fn bf16_mul(a: f32, b: f32) -> f32 { return bf16_from_f32(a * b); }
fn bf16_div(a: f32, b: f32) -> f32 { return bf16_from_f32(a / b); }
fn bf16_rem(a: f32, b: f32) -> f32 { return bf16_from_f32(f32_rem(a, b)); }
fn bf16_modulo(a: f32, b: f32) -> f32 { return bf16_from_f32(f32_modulo(a, b)); }
fn bf16_pow(a: f32, b: f32) -> f32 { return bf16_from_f32(f32_pow(a, b)); }
fn bf16_min(a: f32, b: f32) -> f32 { return f32_min(a, b); }
fn bf16_max(a: f32, b: f32) -> f32 { return f32_max(a, b); }

fn bf16_lt(a: f32, b: f32) -> bool { return f32_lt(a, b); }
fn bf16_le(a: f32, b: f32) -> bool { return f32_le(a, b); }
fn bf16_gt(a: f32, b: f32) -> bool { return f32_gt(a, b); }
fn bf16_ge(a: f32, b: f32) -> bool { return f32_ge(a, b); }
fn bf16_eq(a: f32, b: f32) -> bool { return f32_eq(a, b); }
fn bf16_ne(a: f32, b: f32) -> bool { return f32_ne(a, b); }

fn bf16_neg(x: f32) -> f32 { return bf16_from_f32(f32_neg(x)); }
fn bf16_abs(x: f32) -> f32 { return bf16_from_f32(f32_abs(x)); }
fn bf16_sign(x: f32) -> f32 { return bf16_from_f32(f32_sign(x)); }
fn bf16_exp(x: f32) -> f32 { return bf16_from_f32(f32_exp(x)); }
fn bf16_expm1(x: f32) -> f32 { return bf16_from_f32(f32_expm1(x)); }
fn bf16_log(x: f32) -> f32 { return bf16_from_f32(f32_log(x)); }
fn bf16_log1p(x: f32) -> f32 { return bf16_from_f32(f32_log1p(x)); }
fn bf16_sqrt(x: f32) -> f32 { return bf16_from_f32(f32_sqrt(x)); }
fn bf16_rsqrt(x: f32) -> f32 { return bf16_from_f32(f32_rsqrt(x)); }
fn bf16_recip(x: f32) -> f32 { return bf16_from_f32(f32_recip(x)); }
fn bf16_sin(x: f32) -> f32 { return bf16_from_f32(f32_sin(x)); }
fn bf16_cos(x: f32) -> f32 { return bf16_from_f32(f32_cos(x)); }
fn bf16_tan(x: f32) -> f32 { return bf16_from_f32(f32_tan(x)); }
fn bf16_asin(x: f32) -> f32 { return bf16_from_f32(f32_asin(x)); }
fn bf16_acos(x: f32) -> f32 { return bf16_from_f32(f32_acos(x)); }
fn bf16_atan(x: f32) -> f32 { return bf16_from_f32(f32_atan(x)); }
fn bf16_sinh(x: f32) -> f32 { return bf16_from_f32(f32_sinh(x)); }
fn bf16_cosh(x: f32) -> f32 { return bf16_from_f32(f32_cosh(x)); }
fn bf16_tanh(x: f32) -> f32 { return bf16_from_f32(f32_tanh(x)); }
fn bf16_asinh(x: f32) -> f32 { return bf16_from_f32(f32_asinh(x)); }
fn bf16_acosh(x: f32) -> f32 { return bf16_from_f32(f32_acosh(x)); }
fn bf16_atanh(x: f32) -> f32 { return bf16_from_f32(f32_atanh(x)); }
fn bf16_erf(x: f32) -> f32 { return bf16_from_f32(f32_erf(x)); }
fn bf16_erfc(x: f32) -> f32 { return bf16_from_f32(f32_erfc(x)); }
fn bf16_floor(x: f32) -> f32 { return bf16_from_f32(f32_floor(x)); }
fn bf16_ceil(x: f32) -> f32 { return bf16_from_f32(f32_ceil(x)); }
fn bf16_round(x: f32) -> f32 { return bf16_from_f32(f32_round(x)); }
fn bf16_trunc(x: f32) -> f32 { return bf16_from_f32(f32_trunc(x)); }
fn bf16_sigmoid(x: f32) -> f32 { return bf16_from_f32(f32_sigmoid(x)); }
fn bf16_softplus(x: f32) -> f32 { return bf16_from_f32(f32_softplus(x)); }

fn bf16_from_i32(x: i32) -> f32 { return bf16_from_f32(f32_from_i32(x)); }
fn bf16_from_u32(x: u32) -> f32 { return bf16_from_f32(f32_from_u32(x)); }
fn bf16_from_i64(x: vec2<u32>) -> f32 { return bf16_from_f32(f32_from_i64(x)); }
fn bf16_from_u64(x: vec2<u32>) -> f32 { return bf16_from_f32(f32_from_u64(x)); }
fn bf16_to_f32(x: f32) -> f32 { return x; }
fn bf16_to_i32(x: f32) -> i32 { return i32_from_f32(x); }
fn bf16_to_u32(x: f32) -> u32 { return u32_from_f32(x); }
fn bf16_to_i64(x: f32) -> vec2<u32> { return i64_from_f32(x); }
fn bf16_to_u64(x: f32) -> vec2<u32> { return u64_from_f32(x); }
