// 16-bit floats. They compute in 32 bits, and round after each function.

enable f16;

fn f16_zero() -> f16 { return 0.0h; }
fn f16_one() -> f16 { return 1.0h; }
fn f16_lowest() -> f16 { return f16(f32_lowest()); }
fn f16_highest() -> f16 { return f16(f32_highest()); }
fn f16_inf() -> f16 { return f16(f32_inf()); }
fn f16_nan() -> f16 { return f16(f32_nan()); }

// Rounded by the device; numbers that round beyond the range become infinity on each device.
fn f16_from_f32(x: f32) -> f16 {
    return f16(select(x, x * 3.0e38, abs(x) >= 65520.0));
}

fn f16_is_nan(x: f16) -> bool { return f32_is_nan(f32(x)); }
fn f16_is_inf(x: f16) -> bool { return f32_is_inf(f32(x)); }

fn f16_add(a: f16, b: f16) -> f16 { return f16_from_f32(f32(a) + f32(b)); }
fn f16_sub(a: f16, b: f16) -> f16 { return f16_from_f32(f32(a) - f32(b)); }
fn f16_mul(a: f16, b: f16) -> f16 { return f16_from_f32(f32(a) * f32(b)); }
fn f16_div(a: f16, b: f16) -> f16 { return f16_from_f32(f16_quotient(f32(a), f32(b))); }
fn f16_rem(a: f16, b: f16) -> f16 { return f16_from_f32(f32_rem(f32(a), f32(b))); }
fn f16_modulo(a: f16, b: f16) -> f16 { return f16_from_f32(f32_modulo(f32(a), f32(b))); }
fn f16_pow(a: f16, b: f16) -> f16 { return f16_from_f32(f32_pow(f32(a), f32(b))); }
fn f16_min(a: f16, b: f16) -> f16 { return f16(f32_min(f32(a), f32(b))); }
fn f16_max(a: f16, b: f16) -> f16 { return f16(f32_max(f32(a), f32(b))); }

fn f16_lt(a: f16, b: f16) -> bool { return f32_lt(f32(a), f32(b)); }
fn f16_le(a: f16, b: f16) -> bool { return f32_le(f32(a), f32(b)); }
fn f16_gt(a: f16, b: f16) -> bool { return f32_gt(f32(a), f32(b)); }
fn f16_ge(a: f16, b: f16) -> bool { return f32_ge(f32(a), f32(b)); }
fn f16_eq(a: f16, b: f16) -> bool { return f32_eq(f32(a), f32(b)); }
fn f16_ne(a: f16, b: f16) -> bool { return f32_ne(f32(a), f32(b)); }

fn f16_neg(x: f16) -> f16 { return f16_from_f32(f32_neg(f32(x))); }
fn f16_abs(x: f16) -> f16 { return f16_from_f32(f32_abs(f32(x))); }
fn f16_sign(x: f16) -> f16 { return f16_from_f32(f32_sign(f32(x))); }
fn f16_exp(x: f16) -> f16 { return f16_from_f32(f32_exp(f32(x))); }
fn f16_expm1(x: f16) -> f16 { return f16_from_f32(f32_expm1(f32(x))); }
fn f16_log(x: f16) -> f16 { return f16_from_f32(f32_log(f32(x))); }
fn f16_log1p(x: f16) -> f16 { return f16_from_f32(f32_log1p(f32(x))); }
fn f16_sqrt(x: f16) -> f16 { return f16_from_f32(f32_sqrt(f32(x))); }
fn f16_rsqrt(x: f16) -> f16 { return f16_from_f32(f32_rsqrt(f32(x))); }
fn f16_recip(x: f16) -> f16 { return f16_from_f32(f32_recip(f32(x))); }
fn f16_sin(x: f16) -> f16 { return f16_from_f32(f32_sin(f32(x))); }
fn f16_cos(x: f16) -> f16 { return f16_from_f32(f32_cos(f32(x))); }
fn f16_tan(x: f16) -> f16 { return f16_from_f32(f32_tan(f32(x))); }
fn f16_asin(x: f16) -> f16 { return f16_from_f32(f32_asin(f32(x))); }
fn f16_acos(x: f16) -> f16 { return f16_from_f32(f32_acos(f32(x))); }
fn f16_atan(x: f16) -> f16 { return f16_from_f32(f32_atan(f32(x))); }
fn f16_sinh(x: f16) -> f16 { return f16_from_f32(f32_sinh(f32(x))); }
fn f16_cosh(x: f16) -> f16 { return f16_from_f32(f32_cosh(f32(x))); }
fn f16_tanh(x: f16) -> f16 { return f16_from_f32(f32_tanh(f32(x))); }
fn f16_asinh(x: f16) -> f16 { return f16_from_f32(f32_asinh(f32(x))); }
fn f16_acosh(x: f16) -> f16 { return f16_from_f32(f32_acosh(f32(x))); }
fn f16_atanh(x: f16) -> f16 { return f16_from_f32(f32_atanh(f32(x))); }
fn f16_erf(x: f16) -> f16 { return f16_from_f32(f16_erf_within(f32(x))); }
fn f16_erfc(x: f16) -> f16 { return f16_from_f32(f32_erfc(f32(x))); }
fn f16_floor(x: f16) -> f16 { return f16_from_f32(f32_floor(f32(x))); }
fn f16_ceil(x: f16) -> f16 { return f16_from_f32(f32_ceil(f32(x))); }
fn f16_round(x: f16) -> f16 { return f16_from_f32(f32_round(f32(x))); }
fn f16_trunc(x: f16) -> f16 { return f16_from_f32(f32_trunc(f32(x))); }
fn f16_sigmoid(x: f16) -> f16 { return f16_from_f32(f32_sigmoid(f32(x))); }
fn f16_softplus(x: f16) -> f16 { return f16_from_f32(f32_softplus(f32(x))); }

fn f16_from_i32(x: i32) -> f16 { return f16_from_f32(f32_from_i32(x)); }
fn f16_from_u32(x: u32) -> f16 { return f16_from_f32(f32_from_u32(x)); }
fn f16_from_i64(x: vec2<u32>) -> f16 { return f16_from_f32(f32_from_i64(x)); }
fn f16_from_u64(x: vec2<u32>) -> f16 { return f16_from_f32(f32_from_u64(x)); }
fn f16_to_f32(x: f16) -> f32 { return f32(x); }
fn f16_to_i32(x: f16) -> i32 { return i32_from_f32(f32(x)); }
fn f16_to_u32(x: f16) -> u32 { return u32_from_f32(f32(x)); }
fn f16_to_i64(x: f16) -> vec2<u32> { return i64_from_f32(f32(x)); }
fn f16_to_u64(x: f16) -> vec2<u32> { return u64_from_f32(f32(x)); }

// a / b of numbers of 11 bits, near enough to round to 11 bits as it should: products of b with a number of 12 bits are
// exact, and so is the remainder, which corrects the quotient.
fn f16_quotient(a: f32, b: f32) -> f32 {
    let inverse = 1.0 / b;
    let q = a * inverse;
    let high = f32_high(q);
    let rest = (a - high * b) - (q - high) * b;
    return select(q, q + rest * inverse, abs(rest) > 0.0);
}

// The error function, off by less than 3e-5 of itself: an odd polynomial, fitted up to 2.9, past which it is 1 to all bits.
fn f16_erf_within(x: f32) -> f32 {
    let v = select(clamp(x, -2.9, 2.9), x, f32_is_nan(x));
    let z = v * v;
    var p = 5.5578507e-08;
    p = p * z - 2.4669948e-06;
    p = p * z + 4.8625297e-05;
    p = p * z - 0.0005692026;
    p = p * z + 0.004490481;
    p = p * z - 0.02573938;
    p = p * z + 0.11192753;
    p = p * z - 0.3758295;
    p = p * z + 1.1283622;
    return p * v;
}
