// Signed 4-bit integers, held in i32 and always in range. All wrap; division by 0 gives 0.

fn i4_narrow(x: i32) -> i32 { return extractBits(x, 0u, 4u); }

fn i4_zero() -> i32 { return 0; }
fn i4_one() -> i32 { return 1; }
fn i4_lowest() -> i32 { return -8; }
fn i4_highest() -> i32 { return 7; }

fn i4_add(a: i32, b: i32) -> i32 { return i4_narrow(a + b); }
fn i4_sub(a: i32, b: i32) -> i32 { return i4_narrow(a - b); }
fn i4_mul(a: i32, b: i32) -> i32 { return i4_narrow(a * b); }
fn i4_div(a: i32, b: i32) -> i32 { return i4_narrow(i32_div(a, b)); }
fn i4_rem(a: i32, b: i32) -> i32 { return i32_rem(a, b); }
fn i4_modulo(a: i32, b: i32) -> i32 { return i32_modulo(a, b); }
fn i4_neg(x: i32) -> i32 { return i4_narrow(0 - x); }
fn i4_abs(x: i32) -> i32 { return i4_narrow(i32_abs(x)); }
fn i4_sign(x: i32) -> i32 { return i32_sign(x); }
fn i4_min(a: i32, b: i32) -> i32 { return min(a, b); }
fn i4_max(a: i32, b: i32) -> i32 { return max(a, b); }
fn i4_pow(a: i32, b: i32) -> i32 { return i4_narrow(i32_pow(a, b)); }

fn i4_lt(a: i32, b: i32) -> bool { return a < b; }
fn i4_le(a: i32, b: i32) -> bool { return a <= b; }
fn i4_gt(a: i32, b: i32) -> bool { return a > b; }
fn i4_ge(a: i32, b: i32) -> bool { return a >= b; }
fn i4_eq(a: i32, b: i32) -> bool { return a == b; }
fn i4_ne(a: i32, b: i32) -> bool { return a != b; }
fn i4_is_nan(x: i32) -> bool { return false; }
fn i4_is_inf(x: i32) -> bool { return false; }

fn i4_and(a: i32, b: i32) -> i32 { return a & b; }
fn i4_or(a: i32, b: i32) -> i32 { return a | b; }
fn i4_xor(a: i32, b: i32) -> i32 { return a ^ b; }
fn i4_not(x: i32) -> i32 { return ~x; }
fn i4_shl(a: i32, b: i32) -> i32 { return i4_narrow(i32_shl(a, b)); }
fn i4_shr(a: i32, b: i32) -> i32 { return i32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn i4_from_f32(x: f32) -> i32 { return i4_narrow(i32_from_f32(x)); }
fn i4_from_i32(x: i32) -> i32 { return i4_narrow(x); }
fn i4_from_u32(x: u32) -> i32 { return i4_narrow(bitcast<i32>(x)); }
fn i4_from_i64(x: vec2<u32>) -> i32 { return i4_narrow(bitcast<i32>(x.x)); }
fn i4_from_u64(x: vec2<u32>) -> i32 { return i4_narrow(bitcast<i32>(x.x)); }
fn i4_to_f32(x: i32) -> f32 { return f32_from_i32(x); }
fn i4_to_i32(x: i32) -> i32 { return x; }
fn i4_to_u32(x: i32) -> u32 { return u32_from_i32(x); }
fn i4_to_i64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn i4_to_u64(x: i32) -> vec2<u32> { return u64_from_i32(x); }
