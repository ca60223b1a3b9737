// Unsigned 2-bit integers, held in u32 and always in range. All wrap; division by 0 gives 0.

fn u2_narrow(x: u32) -> u32 { return x & 0x3u; }

fn u2_zero() -> u32 { return 0u; }
fn u2_one() -> u32 { return 1u; }
fn u2_lowest() -> u32 { return 0u; }
fn u2_highest() -> u32 { return 3u; }

fn u2_add(a: u32, b: u32) -> u32 { return u2_narrow(a + b); }
fn u2_sub(a: u32, b: u32) -> u32 { return u2_narrow(a - b); }
fn u2_mul(a: u32, b: u32) -> u32 { return u2_narrow(a * b); }
fn u2_div(a: u32, b: u32) -> u32 { return u32_div(a, b); }
fn u2_rem(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u2_modulo(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u2_neg(x: u32) -> u32 { return u2_narrow(0u - x); }
fn u2_abs(x: u32) -> u32 { return x; }
fn u2_sign(x: u32) -> u32 { return u32_sign(x); }
fn u2_min(a: u32, b: u32) -> u32 { return min(a, b); }
fn u2_max(a: u32, b: u32) -> u32 { return max(a, b); }
fn u2_pow(a: u32, b: u32) -> u32 { return u2_narrow(u32_pow(a, b)); }

fn u2_lt(a: u32, b: u32) -> bool { return a < b; }
fn u2_le(a: u32, b: u32) -> bool { return a <= b; }
fn u2_gt(a: u32, b: u32) -> bool { return a > b; }
fn u2_ge(a: u32, b: u32) -> bool { return a >= b; }
fn u2_eq(a: u32, b: u32) -> bool { return a == b; }
fn u2_ne(a: u32, b: u32) -> bool { return a != b; }
fn u2_is_nan(x: u32) -> bool { return false; }
fn u2_is_inf(x: u32) -> bool { return false; }

fn u2_and(a: u32, b: u32) -> u32 { return a & b; }
fn u2_or(a: u32, b: u32) -> u32 { return a | b; }
fn u2_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn u2_not(x: u32) -> u32 { return u2_narrow(~x); }
fn u2_shl(a: u32, b: u32) -> u32 { return u2_narrow(u32_shl(a, b)); }
fn u2_shr(a: u32, b: u32) -> u32 { return u32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn u2_from_f32(x: f32) -> u32 { return u2_narrow(bitcast<u32>(i32_from_f32(x))); }
fn u2_from_i32(x: i32) -> u32 { return u2_narrow(bitcast<u32>(x)); }
fn u2_from_u32(x: u32) -> u32 { return u2_narrow(x); }
fn u2_from_i64(x: vec2<u32>) -> u32 { return u2_narrow(x.x); }
fn u2_from_u64(x: vec2<u32>) -> u32 { return u2_narrow(x.x); }
fn u2_to_f32(x: u32) -> f32 { return f32_from_u32(x); }
fn u2_to_i32(x: u32) -> i32 { return i32_from_u32(x); }
fn u2_to_u32(x: u32) -> u32 { return x; }
fn u2_to_i64(x: u32) -> vec2<u32> { return i64_from_u32(x); }
fn u2_to_u64(x: u32) -> vec2<u32> { return u64_from_u32(x); }
