// Unsigned 4-bit integers, held in u32 and always in range. All wrap; division by 0 gives 0.

fn u4_narrow(x: u32) -> u32 { return x & 0xfu; }

fn u4_zero() -> u32 { return 0u; }
fn u4_one() -> u32 { return 1u; }
fn u4_lowest() -> u32 { return 0u; }
fn u4_highest() -> u32 { return 15u; }

fn u4_add(a: u32, b: u32) -> u32 { return u4_narrow(a + b); }
fn u4_sub(a: u32, b: u32) -> u32 { return u4_narrow(a - b); }
fn u4_mul(a: u32, b: u32) -> u32 { return u4_narrow(a * b); }
fn u4_div(a: u32, b: u32) -> u32 { return u32_div(a, b); }
fn u4_rem(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u4_modulo(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u4_neg(x: u32) -> u32 { return u4_narrow(0u - x); }
fn u4_abs(x: u32) -> u32 { return x; }
fn u4_sign(x: u32) -> u32 { return u32_sign(x); }
fn u4_min(a: u32, b: u32) -> u32 { return min(a, b); }
fn u4_max(a: u32, b: u32) -> u32 { return max(a, b); }
fn u4_pow(a: u32, b: u32) -> u32 { return u4_narrow(u32_pow(a, b)); }

fn u4_lt(a: u32, b: u32) -> bool { return a < b; }
fn u4_le(a: u32, b: u32) -> bool { return a <= b; }
fn u4_gt(a: u32, b: u32) -> bool { return a > b; }
fn u4_ge(a: u32, b: u32) -> bool { return a >= b; }
fn u4_eq(a: u32, b: u32) -> bool { return a == b; }
fn u4_ne(a: u32, b: u32) -> bool { return a != b; }
fn u4_is_nan(x: u32) -> bool { return false; }
fn u4_is_inf(x: u32) -> bool { return false; }

fn u4_and(a: u32, b: u32) -> u32 { return a & b; }
fn u4_or(a: u32, b: u32) -> u32 { return a | b; }
fn u4_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn u4_not(x: u32) -> u32 { return u4_narrow(~x); }
fn u4_shl(a: u32, b: u32) -> u32 { return u4_narrow(u32_shl(a, b)); }
fn u4_shr(a: u32, b: u32) -> u32 { return u32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn u4_from_f32(x: f32) -> u32 { return u4_narrow(bitcast<u32>(i32_from_f32(x))); }
fn u4_from_i32(x: i32) -> u32 { return u4_narrow(bitcast<u32>(x)); }
fn u4_from_u32(x: u32) -> u32 { return u4_narrow(x); }
fn u4_from_i64(x: vec2<u32>) -> u32 { return u4_narrow(x.x); }
fn u4_from_u64(x: vec2<u32>) -> u32 { return u4_narrow(x.x); }
fn u4_to_f32(x: u32) -> f32 { return f32_from_u32(x); }
fn u4_to_i32(x: u32) -> i32 { return i32_from_u32(x); }
fn u4_to_u32(x: u32) -> u32 { return x; }
fn u4_to_i64(x: u32) -> vec2<u32> { return i64_from_u32(x); }
fn u4_to_u64(x: u32) -> vec2<u32> { return u64_from_u32(x); }
