// Unsigned 8-bit integers, held in u32 and always in range. All wrap; division by 0 gives 0.

fn u8_narrow(x: u32) -> u32 { return x & 0xffu; }

fn u8_zero() -> u32 { return 0u; }
fn u8_one() -> u32 { return 1u; }
fn u8_lowest() -> u32 { return 0u; }
fn u8_highest() -> u32 { return 255u; }

fn u8_add(a: u32, b: u32) -> u32 { return u8_narrow(a + b); }
fn u8_sub(a: u32, b: u32) -> u32 { return u8_narrow(a - b); }
fn u8_mul(a: u32, b: u32) -> u32 { return u8_narrow(a * b); }
fn u8_div(a: u32, b: u32) -> u32 { return u32_div(a, b); }
fn u8_rem(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u8_modulo(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u8_neg(x: u32) -> u32 { return u8_narrow(0u - x); }
fn u8_abs(x: u32) -> u32 { return x; }
fn u8_sign(x: u32) -> u32 { return u32_sign(x); }
fn u8_min(a: u32, b: u32) -> u32 { return min(a, b); }
fn u8_max(a: u32, b: u32) -> u32 { return max(a, b); }
fn u8_pow(a: u32, b: u32) -> u32 { return u8_narrow(u32_pow(a, b)); }

fn u8_lt(a: u32, b: u32) -> bool { return a < b; }
fn u8_le(a: u32, b: u32) -> bool { return a <= b; }
fn u8_gt(a: u32, b: u32) -> bool { return a > b; }
fn u8_ge(a: u32, b: u32) -> bool { return a >= b; }
fn u8_eq(a: u32, b: u32) -> bool { return a == b; }
fn u8_ne(a: u32, b: u32) -> bool { return a != b; }
fn u8_is_nan(x: u32) -> bool { return false; }
fn u8_is_inf(x: u32) -> bool { return false; }

fn u8_and(a: u32, b: u32) -> u32 { return a & b; }
fn u8_or(a: u32, b: u32) -> u32 { return a | b; }
fn u8_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn u8_not(x: u32) -> u32 { return u8_narrow(~x); }
fn u8_shl(a: u32, b: u32) -> u32 { return u8_narrow(u32_shl(a, b)); }
fn u8_shr(a: u32, b: u32) -> u32 { return u32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn u8_from_f32(x: f32) -> u32 { return u8_narrow(bitcast<u32>(i32_from_f32(x))); }
fn u8_from_i32(x: i32) -> u32 { return u8_narrow(bitcast<u32>(x)); }
fn u8_from_u32(x: u32) -> u32 { return u8_narrow(x); }
fn u8_from_i64(x: vec2<u32>) -> u32 { return u8_narrow(x.x); }
fn u8_from_u64(x: vec2<u32>) -> u32 { return u8_narrow(x.x); }
fn u8_to_f32(x: u32) -> f32 { return f32_from_u32(x); }
fn u8_to_i32(x: u32) -> i32 { return i32_from_u32(x); }
fn u8_to_u32(x: u32) -> u32 { return x; }
fn u8_to_i64(x: u32) -> vec2<u32> { return i64_from_u32(x); }
fn u8_to_u64(x: u32) -> vec2<u32> { return u64_from_u32(x); }
