// 8-bit floats of 4 exponent and 3 fraction bits without infinity or -0, held in f32. They round after each function.
//#include types/grid.wgsl

fn f8e4m3fnuz_zero() -> f32 { return 0.0; }
fn f8e4m3fnuz_one() -> f32 { return 1.0; }
fn f8e4m3fnuz_lowest() -> f32 { return -240.0; }
fn f8e4m3fnuz_highest() -> f32 { return 240.0; }
fn f8e4m3fnuz_nan() -> f32 { return f32_nan(); }

// To nearest, ties to even; the largest number beyond it, as Cast with saturate = 1.
fn f8e4m3fnuz_from_f32(x: f32) -> f32 { return grid_one_zero(grid_saturate(grid_round(x, 3, -7), 240.0)); }
// As Cast with saturate = 0: NaN beyond the largest number.
fn f8e4m3fnuz_from_f32_wrap(x: f32) -> f32 { return grid_one_zero(grid_overflow(grid_round(x, 3, -7), 240.0, 0x7fc00000u)); }

fn f8e4m3fnuz_is_nan(x: f32) -> bool { return f32_is_nan(x); }
fn f8e4m3fnuz_is_inf(x: f32) -> bool { return f32_is_inf(x); }

fn f8e4m3fnuz_add(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(a + b); }
fn f8e4m3fnuz_sub(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(a - b); }
fn f8e4m3fnuz_mul(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(a * b); }
fn f8e4m3fnuz_div(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(a / b); }
fn f8e4m3fnuz_rem(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_rem(a, b)); }
fn f8e4m3fnuz_modulo(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_modulo(a, b)); }
fn f8e4m3fnuz_pow(a: f32, b: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_pow(a, b)); }
fn f8e4m3fnuz_min(a: f32, b: f32) -> f32 { return f32_min(a, b); }
fn f8e4m3fnuz_max(a: f32, b: f32) -> f32 { return f32_max(a, b); }

fn f8e4m3fnuz_lt(a: f32, b: f32) -> bool { return f32_lt(a, b); }
fn f8e4m3fnuz_le(a: f32, b: f32) -> bool { return f32_le(a, b); }
fn f8e4m3fnuz_gt(a: f32, b: f32) -> bool { return f32_gt(a, b); }
fn f8e4m3fnuz_ge(a: f32, b: f32) -> bool { return f32_ge(a, b); }
fn f8e4m3fnuz_eq(a: f32, b: f32) -> bool { return f32_eq(a, b); }
fn f8e4m3fnuz_ne(a: f32, b: f32) -> bool { return f32_ne(a, b); }

fn f8e4m3fnuz_neg(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_neg(x)); }
fn f8e4m3fnuz_abs(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_abs(x)); }
fn f8e4m3fnuz_sign(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_sign(x)); }
fn f8e4m3fnuz_exp(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_exp(x)); }
fn f8e4m3fnuz_expm1(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_expm1(x)); }
fn f8e4m3fnuz_log(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_log(x)); }
fn f8e4m3fnuz_log1p(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_log1p(x)); }
fn f8e4m3fnuz_sqrt(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_sqrt(x)); }
fn f8e4m3fnuz_rsqrt(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_rsqrt(x)); }
fn f8e4m3fnuz_recip(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_recip(x)); }
fn f8e4m3fnuz_sin(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_sin(x)); }
fn f8e4m3fnuz_cos(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_cos(x)); }
fn f8e4m3fnuz_tan(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_tan(x)); }
fn f8e4m3fnuz_asin(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_asin(x)); }
fn f8e4m3fnuz_acos(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_acos(x)); }
fn f8e4m3fnuz_atan(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_atan(x)); }
fn f8e4m3fnuz_sinh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_sinh(x)); }
fn f8e4m3fnuz_cosh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_cosh(x)); }
fn f8e4m3fnuz_tanh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_tanh(x)); }
fn f8e4m3fnuz_asinh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_asinh(x)); }
fn f8e4m3fnuz_acosh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_acosh(x)); }
fn f8e4m3fnuz_atanh(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_atanh(x)); }
fn f8e4m3fnuz_erf(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_erf(x)); }
fn f8e4m3fnuz_erfc(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_erfc(x)); }
fn f8e4m3fnuz_floor(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_floor(x)); }
fn f8e4m3fnuz_ceil(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_ceil(x)); }
fn f8e4m3fnuz_round(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_round(x)); }
fn f8e4m3fnuz_trunc(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_trunc(x)); }
fn f8e4m3fnuz_sigmoid(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_sigmoid(x)); }
fn f8e4m3fnuz_softplus(x: f32) -> f32 { return f8e4m3fnuz_from_f32_wrap(f32_softplus(x)); }

fn f8e4m3fnuz_from_i32(x: i32) -> f32 { return f8e4m3fnuz_from_f32(f32_from_i32(x)); }
fn f8e4m3fnuz_from_u32(x: u32) -> f32 { return f8e4m3fnuz_from_f32(f32_from_u32(x)); }
fn f8e4m3fnuz_from_i64(x: vec2<u32>) -> f32 { return f8e4m3fnuz_from_f32(f32_from_i64(x)); }
fn f8e4m3fnuz_from_u64(x: vec2<u32>) -> f32 { return f8e4m3fnuz_from_f32(f32_from_u64(x)); }
fn f8e4m3fnuz_to_f32(x: f32) -> f32 { return x; }
fn f8e4m3fnuz_to_i32(x: f32) -> i32 { return i32_from_f32(x); }
fn f8e4m3fnuz_to_u32(x: f32) -> u32 { return u32_from_f32(x); }
fn f8e4m3fnuz_to_i64(x: f32) -> vec2<u32> { return i64_from_f32(x); }
fn f8e4m3fnuz_to_u64(x: f32) -> vec2<u32> { return u64_from_f32(x); }
