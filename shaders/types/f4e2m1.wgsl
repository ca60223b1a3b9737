// 4-bit floats of 2 exponent bits and 1 fraction bit without infinity or NaN, held in f32. They round after each function.
//#include types/grid.wgsl

fn f4e2m1_zero() -> f32 { return 0.0; }
fn f4e2m1_one() -> f32 { return 1.0; }
fn f4e2m1_lowest() -> f32 { return -6.0; }
fn f4e2m1_highest() -> f32 { return 6.0; }

// To nearest, ties to even; 6 beyond it; -0 for NaN.
fn f4e2m1_from_f32(x: f32) -> f32 {
    if f32_is_nan(x) {
        return bitcast<f32>(0x80000000u);
    }
    return grid_saturate(grid_round(x, 1, 0), 6.0);
}

fn f4e2m1_is_nan(x: f32) -> bool { return f32_is_nan(x); }
fn f4e2m1_is_inf(x: f32) -> bool { return f32_is_inf(x); }

fn f4e2m1_add(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(a + b); }
fn f4e2m1_sub(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(a - b); }
fn f4e2m1_mul(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(a * b); }
fn f4e2m1_div(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(a / b); }
fn f4e2m1_rem(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(f32_rem(a, b)); }
fn f4e2m1_modulo(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(f32_modulo(a, b)); }
fn f4e2m1_pow(a: f32, b: f32) -> f32 { return f4e2m1_from_f32(f32_pow(a, b)); }
fn f4e2m1_min(a: f32, b: f32) -> f32 { return f32_min(a, b); }
fn f4e2m1_max(a: f32, b: f32) -> f32 { return f32_max(a, b); }

fn f4e2m1_lt(a: f32, b: f32) -> bool { return f32_lt(a, b); }
fn f4e2m1_le(a: f32, b: f32) -> bool { return f32_le(a, b); }
fn f4e2m1_gt(a: f32, b: f32) -> bool { return f32_gt(a, b); }
fn f4e2m1_ge(a: f32, b: f32) -> bool { return f32_ge(a, b); }
fn f4e2m1_eq(a: f32, b: f32) -> bool { return f32_eq(a, b); }
fn f4e2m1_ne(a: f32, b: f32) -> bool { return f32_ne(a, b); }

fn f4e2m1_neg(x: f32) -> f32 { return f4e2m1_from_f32(f32_neg(x)); }
fn f4e2m1_abs(x: f32) -> f32 { return f4e2m1_from_f32(f32_abs(x)); }
fn f4e2m1_sign(x: f32) -> f32 { return f4e2m1_from_f32(f32_sign(x)); }
fn f4e2m1_exp(x: f32) -> f32 { return f4e2m1_from_f32(f32_exp(x)); }
fn f4e2m1_expm1(x: f32) -> f32 { return f4e2m1_from_f32(f32_expm1(x)); }
fn f4e2m1_log(x: f32) -> f32 { return f4e2m1_from_f32(f32_log(x)); }
fn f4e2m1_log1p(x: f32) -> f32 { return f4e2m1_from_f32(f32_log1p(x)); }
fn f4e2m1_sqrt(x: f32) -> f32 { return f4e2m1_from_f32(f32_sqrt(x)); }
fn f4e2m1_rsqrt(x: f32) -> f32 { return f4e2m1_from_f32(f32_rsqrt(x)); }
fn f4e2m1_recip(x: f32) -> f32 { return f4e2m1_from_f32(f32_recip(x)); }
fn f4e2m1_sin(x: f32) -> f32 { return f4e2m1_from_f32(f32_sin(x)); }
fn f4e2m1_cos(x: f32) -> f32 { return f4e2m1_from_f32(f32_cos(x)); }
fn f4e2m1_tan(x: f32) -> f32 { return f4e2m1_from_f32(f32_tan(x)); }
fn f4e2m1_asin(x: f32) -> f32 { return f4e2m1_from_f32(f32_asin(x)); }
fn f4e2m1_acos(x: f32) -> f32 { return f4e2m1_from_f32(f32_acos(x)); }
fn f4e2m1_atan(x: f32) -> f32 { return f4e2m1_from_f32(f32_atan(x)); }
fn f4e2m1_sinh(x: f32) -> f32 { return f4e2m1_from_f32(f32_sinh(x)); }
fn f4e2m1_cosh(x: f32) -> f32 { return f4e2m1_from_f32(f32_cosh(x)); }
fn f4e2m1_tanh(x: f32) -> f32 { return f4e2m1_from_f32(f32_tanh(x)); }
fn f4e2m1_asinh(x: f32) -> f32 { return f4e2m1_from_f32(f32_asinh(x)); }
fn f4e2m1_acosh(x: f32) -> f32 { return f4e2m1_from_f32(f32_acosh(x)); }
fn f4e2m1_atanh(x: f32) -> f32 { return f4e2m1_from_f32(f32_atanh(x)); }
fn f4e2m1_erf(x: f32) -> f32 { return f4e2m1_from_f32(f32_erf(x)); }
fn f4e2m1_erfc(x: f32) -> f32 { return f4e2m1_from_f32(f32_erfc(x)); }
fn f4e2m1_floor(x: f32) -> f32 { return f4e2m1_from_f32(f32_floor(x)); }
fn f4e2m1_ceil(x: f32) -> f32 { return f4e2m1_from_f32(f32_ceil(x)); }
fn f4e2m1_round(x: f32) -> f32 { return f4e2m1_from_f32(f32_round(x)); }
fn f4e2m1_trunc(x: f32) -> f32 { return f4e2m1_from_f32(f32_trunc(x)); }
fn f4e2m1_sigmoid(x: f32) -> f32 { return f4e2m1_from_f32(f32_sigmoid(x)); }
fn f4e2m1_softplus(x: f32) -> f32 { return f4e2m1_from_f32(f32_softplus(x)); }

fn f4e2m1_from_i32(x: i32) -> f32 { return f4e2m1_from_f32(f32_from_i32(x)); }
fn f4e2m1_from_u32(x: u32) -> f32 { return f4e2m1_from_f32(f32_from_u32(x)); }
fn f4e2m1_from_i64(x: vec2<u32>) -> f32 { return f4e2m1_from_f32(f32_from_i64(x)); }
fn f4e2m1_from_u64(x: vec2<u32>) -> f32 { return f4e2m1_from_f32(f32_from_u64(x)); }
fn f4e2m1_to_f32(x: f32) -> f32 { return x; }
fn f4e2m1_to_i32(x: f32) -> i32 { return i32_from_f32(x); }
fn f4e2m1_to_u32(x: f32) -> u32 { return u32_from_f32(x); }
fn f4e2m1_to_i64(x: f32) -> vec2<u32> { return i64_from_f32(x); }
fn f4e2m1_to_u64(x: f32) -> vec2<u32> { return u64_from_f32(x); }
