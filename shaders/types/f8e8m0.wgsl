// Powers of 2 from 2^-127 to 2^127 and NaN, held in f32. They round after each function.

fn f8e8m0_zero() -> f32 { return f32_of_bits(0x400000u); }
fn f8e8m0_one() -> f32 { return 1.0; }
fn f8e8m0_lowest() -> f32 { return f32_of_bits(0x400000u); }
fn f8e8m0_highest() -> f32 { return f32_of_bits(0x7f000000u); }
fn f8e8m0_nan() -> f32 { return f32_nan(); }

// The biased exponent of |x| finite, rounded up where the fraction of its 23 bits is `least` or more.
fn f8e8m0_exponent(x: f32, least: u32) -> u32 {
    let magnitude = f32_magnitude_bits(x);
    let exponent = magnitude >> 23u;
    let fraction = magnitude & 0x7fffffu;
    // Below 2^-126 the float's fraction counts from 0 and 2^-127 has its highest bit.
    let limit = select(least, 0x400000u + ((least + 1u) >> 1u), exponent == 0u);
    return exponent + u32(fraction >= limit);
}

fn f8e8m0_of_exponent(exponent: u32) -> f32 {
    if exponent > 254u {
        return f32_nan();
    }
    return f32_of_bits(select(exponent << 23u, 0x400000u, exponent == 0u));
}

fn f8e8m0_saturated(x: f32, least: u32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    return f8e8m0_of_exponent(min(f8e8m0_exponent(x, least), 254u));
}

fn f8e8m0_in_range(x: f32, least: u32) -> f32 {
    if f32_is_nan(x) || f32_magnitude_bits(x) < 0x400000u {
        return f32_nan();
    }
    return f8e8m0_of_exponent(f8e8m0_exponent(x, least));
}

// Cast's rounding modes up, down and nearest (ties up); the ends of the range beyond them.
fn f8e8m0_from_f32(x: f32) -> f32 { return f8e8m0_saturated(x, 1u); }
fn f8e8m0_from_f32_down(x: f32) -> f32 { return f8e8m0_saturated(x, 0x800000u); }
fn f8e8m0_from_f32_nearest(x: f32) -> f32 { return f8e8m0_saturated(x, 0x400000u); }
// The same with NaN beyond the range, as Cast with saturate = 0.
fn f8e8m0_from_f32_wrap(x: f32) -> f32 { return f8e8m0_in_range(x, 1u); }
fn f8e8m0_from_f32_wrap_down(x: f32) -> f32 { return f8e8m0_in_range(x, 0x800000u); }
fn f8e8m0_from_f32_wrap_nearest(x: f32) -> f32 { return f8e8m0_in_range(x, 0x400000u); }

fn f8e8m0_is_nan(x: f32) -> bool { return f32_is_nan(x); }
fn f8e8m0_is_inf(x: f32) -> bool { return f32_is_inf(x); }

fn f8e8m0_add(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(a + b); }
fn f8e8m0_sub(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(a - b); }
fn f8e8m0_mul(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(a * b); }
fn f8e8m0_div(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(a / b); }
fn f8e8m0_rem(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_rem(a, b)); }
fn f8e8m0_modulo(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_modulo(a, b)); }
fn f8e8m0_pow(a: f32, b: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_pow(a, b)); }
fn f8e8m0_min(a: f32, b: f32) -> f32 { return f32_min(a, b); }
fn f8e8m0_max(a: f32, b: f32) -> f32 { return f32_max(a, b); }

fn f8e8m0_lt(a: f32, b: f32) -> bool { return f32_lt(a, b); }
fn f8e8m0_le(a: f32, b: f32) -> bool { return f32_le(a, b); }
fn f8e8m0_gt(a: f32, b: f32) -> bool { return f32_gt(a, b); }
fn f8e8m0_ge(a: f32, b: f32) -> bool { return f32_ge(a, b); }
fn f8e8m0_eq(a: f32, b: f32) -> bool { return f32_eq(a, b); }
fn f8e8m0_ne(a: f32, b: f32) -> bool { return f32_ne(a, b); }

fn f8e8m0_neg(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_neg(x)); }
fn f8e8m0_abs(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_abs(x)); }
fn f8e8m0_sign(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_sign(x)); }
fn f8e8m0_exp(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_exp(x)); }
fn f8e8m0_expm1(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_expm1(x)); }
fn f8e8m0_log(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_log(x)); }
fn f8e8m0_log1p(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_log1p(x)); }
fn f8e8m0_sqrt(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_sqrt(x)); }
fn f8e8m0_rsqrt(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_rsqrt(x)); }
fn f8e8m0_recip(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_recip(x)); }
fn f8e8m0_sin(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_sin(x)); }
fn f8e8m0_cos(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_cos(x)); }
fn f8e8m0_tan(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_tan(x)); }
fn f8e8m0_asin(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_asin(x)); }
fn f8e8m0_acos(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_acos(x)); }
fn f8e8m0_atan(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_atan(x)); }
fn f8e8m0_sinh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_sinh(x)); }
fn f8e8m0_cosh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_cosh(x)); }
fn f8e8m0_tanh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_tanh(x)); }
fn f8e8m0_asinh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_asinh(x)); }
fn f8e8m0_acosh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_acosh(x)); }
fn f8e8m0_atanh(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_atanh(x)); }
fn f8e8m0_erf(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_erf(x)); }
fn f8e8m0_erfc(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_erfc(x)); }
fn f8e8m0_floor(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_floor(x)); }
fn f8e8m0_ceil(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_ceil(x)); }
fn f8e8m0_round(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_round(x)); }
fn f8e8m0_trunc(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_trunc(x)); }
fn f8e8m0_sigmoid(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_sigmoid(x)); }
fn f8e8m0_softplus(x: f32) -> f32 { return f8e8m0_from_f32_nearest(f32_softplus(x)); }

fn f8e8m0_from_i32(x: i32) -> f32 { return f8e8m0_from_f32(f32_from_i32(x)); }
fn f8e8m0_from_u32(x: u32) -> f32 { return f8e8m0_from_f32(f32_from_u32(x)); }
fn f8e8m0_from_i64(x: vec2<u32>) -> f32 { return f8e8m0_from_f32(f32_from_i64(x)); }
fn f8e8m0_from_u64(x: vec2<u32>) -> f32 { return f8e8m0_from_f32(f32_from_u64(x)); }
fn f8e8m0_to_f32(x: f32) -> f32 { return x; }
fn f8e8m0_to_i32(x: f32) -> i32 { return i32_from_f32(x); }
fn f8e8m0_to_u32(x: f32) -> u32 { return u32_from_f32(x); }
fn f8e8m0_to_i64(x: f32) -> vec2<u32> { return i64_from_f32(x); }
fn f8e8m0_to_u64(x: f32) -> vec2<u32> { return u64_from_f32(x); }
