// Signed 2-bit integers, held in i32 and always in range. All wrap; division by 0 gives 0.

fn i2_narrow(x: i32) -> i32 { return extractBits(x, 0u, 2u); }

fn i2_zero() -> i32 { return 0; }
fn i2_one() -> i32 { return 1; }
fn i2_lowest() -> i32 { return -2; }
fn i2_highest() -> i32 { return 1; }

fn i2_add(a: i32, b: i32) -> i32 { return i2_narrow(a + b); }
fn i2_sub(a: i32, b: i32) -> i32 { return i2_narrow(a - b); }
fn i2_mul(a: i32, b: i32) -> i32 { return i2_narrow(a * b); }
fn i2_div(a: i32, b: i32) -> i32 { return i2_narrow(i32_div(a, b)); }
fn i2_rem(a: i32, b: i32) -> i32 { return i32_rem(a, b); }
fn i2_modulo(a: i32, b: i32) -> i32 { return i32_modulo(a, b); }
fn i2_neg(x: i32) -> i32 { return i2_narrow(0 - x); }
fn i2_abs(x: i32) -> i32 { return i2_narrow(i32_abs(x)); }
fn i2_sign(x: i32) -> i32 { return i32_sign(x); }
fn i2_min(a: i32, b: i32) -> i32 { return min(a, b); }
fn i2_max(a: i32, b: i32) -> i32 { return max(a, b); }
fn i2_pow(a: i32, b: i32) -> i32 { return i2_narrow(i32_pow(a, b)); }

fn i2_lt(a: i32, b: i32) -> bool { return a < b; }
fn i2_le(a: i32, b: i32) -> bool { return a <= b; }
fn i2_gt(a: i32, b: i32) -> bool { return a > b; }
fn i2_ge(a: i32, b: i32) -> bool { return a >= b; }
fn i2_eq(a: i32, b: i32) -> bool { return a == b; }
fn i2_ne(a: i32, b: i32) -> bool { return a != b; }
fn i2_is_nan(x: i32) -> bool { return false; }
fn i2_is_inf(x: i32) -> bool { return false; }

fn i2_and(a: i32, b: i32) -> i32 { return a & b; }
fn i2_or(a: i32, b: i32) -> i32 { return a | b; }
fn i2_xor(a: i32, b: i32) -> i32 { return a ^ b; }
fn i2_not(x: i32) -> i32 { return ~x; }
fn i2_shl(a: i32, b: i32) -> i32 { return i2_narrow(i32_shl(a, b)); }
fn i2_shr(a: i32, b: i32) -> i32 { return i32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn i2_from_f32(x: f32) -> i32 { return i2_narrow(i32_from_f32(x)); }
fn i2_from_i32(x: i32) -> i32 { return i2_narrow(x); }
fn i2_from_u32(x: u32) -> i32 { return i2_narrow(bitcast<i32>(x)); }
fn i2_from_i64(x: vec2<u32>) -> i32 { return i2_narrow(bitcast<i32>(x.x)); }
fn i2_from_u64(x: vec2<u32>) -> i32 { return i2_narrow(bitcast<i32>(x.x)); }
fn i2_to_f32(x: i32) -> f32 { return f32_from_i32(x); }
fn i2_to_i32(x: i32) -> i32 { return x; }
fn i2_to_u32(x: i32) -> u32 { return u32_from_i32(x); }
fn i2_to_i64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn i2_to_u64(x: i32) -> vec2<u32> { return u64_from_i32(x); }
