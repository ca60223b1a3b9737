// Signed 16-bit integers, held in i32 and always in range. All wrap; division by 0 gives 0.

fn i16_narrow(x: i32) -> i32 { return extractBits(x, 0u, 16u); }

fn i16_zero() -> i32 { return 0; }
fn i16_one() -> i32 { return 1; }
fn i16_lowest() -> i32 { return -32768; }
fn i16_highest() -> i32 { return 32767; }

fn i16_add(a: i32, b: i32) -> i32 { return i16_narrow(a + b); }
fn i16_sub(a: i32, b: i32) -> i32 { return i16_narrow(a - b); }
fn i16_mul(a: i32, b: i32) -> i32 { return i16_narrow(a * b); }
fn i16_div(a: i32, b: i32) -> i32 { return i16_narrow(i32_div(a, b)); }
fn i16_rem(a: i32, b: i32) -> i32 { return i32_rem(a, b); }
fn i16_modulo(a: i32, b: i32) -> i32 { return i32_modulo(a, b); }
fn i16_neg(x: i32) -> i32 { return i16_narrow(0 - x); }
fn i16_abs(x: i32) -> i32 { return i16_narrow(i32_abs(x)); }
fn i16_sign(x: i32) -> i32 { return i32_sign(x); }
fn i16_min(a: i32, b: i32) -> i32 { return min(a, b); }
fn i16_max(a: i32, b: i32) -> i32 { return max(a, b); }
fn i16_pow(a: i32, b: i32) -> i32 { return i16_narrow(i32_pow(a, b)); }

fn i16_lt(a: i32, b: i32) -> bool { return a < b; }
fn i16_le(a: i32, b: i32) -> bool { return a <= b; }
fn i16_gt(a: i32, b: i32) -> bool { return a > b; }
fn i16_ge(a: i32, b: i32) -> bool { return a >= b; }
fn i16_eq(a: i32, b: i32) -> bool { return a == b; }
fn i16_ne(a: i32, b: i32) -> bool { return a != b; }
fn i16_is_nan(x: i32) -> bool { return false; }
fn i16_is_inf(x: i32) -> bool { return false; }

fn i16_and(a: i32, b: i32) -> i32 { return a & b; }
fn i16_or(a: i32, b: i32) -> i32 { return a | b; }
fn i16_xor(a: i32, b: i32) -> i32 { return a ^ b; }
fn i16_not(x: i32) -> i32 { return ~x; }
fn i16_shl(a: i32, b: i32) -> i32 { return i16_narrow(i32_shl(a, b)); }
fn i16_shr(a: i32, b: i32) -> i32 { return i32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn i16_from_f32(x: f32) -> i32 { return i16_narrow(i32_from_f32(x)); }
fn i16_from_i32(x: i32) -> i32 { return i16_narrow(x); }
fn i16_from_u32(x: u32) -> i32 { return i16_narrow(bitcast<i32>(x)); }
fn i16_from_i64(x: vec2<u32>) -> i32 { return i16_narrow(bitcast<i32>(x.x)); }
fn i16_from_u64(x: vec2<u32>) -> i32 { return i16_narrow(bitcast<i32>(x.x)); }
fn i16_to_f32(x: i32) -> f32 { return f32_from_i32(x); }
fn i16_to_i32(x: i32) -> i32 { return x; }
fn i16_to_u32(x: i32) -> u32 { return u32_from_i32(x); }
fn i16_to_i64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn i16_to_u64(x: i32) -> vec2<u32> { return u64_from_i32(x); }
