// Signed 8-bit integers, held in i32 and always in range. All wrap; division by 0 gives 0.

fn i8_narrow(x: i32) -> i32 { return extractBits(x, 0u, 8u); }

fn i8_zero() -> i32 { return 0; }
fn i8_one() -> i32 { return 1; }
fn i8_lowest() -> i32 { return -128; }
fn i8_highest() -> i32 { return 127; }

fn i8_add(a: i32, b: i32) -> i32 { return i8_narrow(a + b); }
fn i8_sub(a: i32, b: i32) -> i32 { return i8_narrow(a - b); }
fn i8_mul(a: i32, b: i32) -> i32 { return i8_narrow(a * b); }
fn i8_div(a: i32, b: i32) -> i32 { return i8_narrow(i32_div(a, b)); }
fn i8_rem(a: i32, b: i32) -> i32 { return i32_rem(a, b); }
fn i8_modulo(a: i32, b: i32) -> i32 { return i32_modulo(a, b); }
fn i8_neg(x: i32) -> i32 { return i8_narrow(0 - x); }
fn i8_abs(x: i32) -> i32 { return i8_narrow(i32_abs(x)); }
fn i8_sign(x: i32) -> i32 { return i32_sign(x); }
fn i8_min(a: i32, b: i32) -> i32 { return min(a, b); }
fn i8_max(a: i32, b: i32) -> i32 { return max(a, b); }
fn i8_pow(a: i32, b: i32) -> i32 { return i8_narrow(i32_pow(a, b)); }

fn i8_lt(a: i32, b: i32) -> bool { return a < b; }
fn i8_le(a: i32, b: i32) -> bool { return a <= b; }
fn i8_gt(a: i32, b: i32) -> bool { return a > b; }
fn i8_ge(a: i32, b: i32) -> bool { return a >= b; }
fn i8_eq(a: i32, b: i32) -> bool { return a == b; }
fn i8_ne(a: i32, b: i32) -> bool { return a != b; }
fn i8_is_nan(x: i32) -> bool { return false; }
fn i8_is_inf(x: i32) -> bool { return false; }

fn i8_and(a: i32, b: i32) -> i32 { return a & b; }
fn i8_or(a: i32, b: i32) -> i32 { return a | b; }
fn i8_xor(a: i32, b: i32) -> i32 { return a ^ b; }
fn i8_not(x: i32) -> i32 { return ~x; }
fn i8_shl(a: i32, b: i32) -> i32 { return i8_narrow(i32_shl(a, b)); }
fn i8_shr(a: i32, b: i32) -> i32 { return i32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn i8_from_f32(x: f32) -> i32 { return i8_narrow(i32_from_f32(x)); }
fn i8_from_i32(x: i32) -> i32 { return i8_narrow(x); }
fn i8_from_u32(x: u32) -> i32 { return i8_narrow(bitcast<i32>(x)); }
fn i8_from_i64(x: vec2<u32>) -> i32 { return i8_narrow(bitcast<i32>(x.x)); }
fn i8_from_u64(x: vec2<u32>) -> i32 { return i8_narrow(bitcast<i32>(x.x)); }
fn i8_to_f32(x: i32) -> f32 { return f32_from_i32(x); }
fn i8_to_i32(x: i32) -> i32 { return x; }
fn i8_to_u32(x: i32) -> u32 { return u32_from_i32(x); }
fn i8_to_i64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn i8_to_u64(x: i32) -> vec2<u32> { return u64_from_i32(x); }
