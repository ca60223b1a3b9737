// Unsigned 16-bit integers, held in u32 and always in range. All wrap; division by 0 gives 0.

fn u16_narrow(x: u32) -> u32 { return x & 0xffffu; }

fn u16_zero() -> u32 { return 0u; }
fn u16_one() -> u32 { return 1u; }
fn u16_lowest() -> u32 { return 0u; }
fn u16_highest() -> u32 { return 65535u; }

fn u16_add(a: u32, b: u32) -> u32 { return u16_narrow(a + b); }
fn u16_sub(a: u32, b: u32) -> u32 { return u16_narrow(a - b); }
fn u16_mul(a: u32, b: u32) -> u32 { return u16_narrow(a * b); }
fn u16_div(a: u32, b: u32) -> u32 { return u32_div(a, b); }
fn u16_rem(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u16_modulo(a: u32, b: u32) -> u32 { return u32_rem(a, b); }
fn u16_neg(x: u32) -> u32 { return u16_narrow(0u - x); }
fn u16_abs(x: u32) -> u32 { return x; }
fn u16_sign(x: u32) -> u32 { return u32_sign(x); }
fn u16_min(a: u32, b: u32) -> u32 { return min(a, b); }
fn u16_max(a: u32, b: u32) -> u32 { return max(a, b); }
fn u16_pow(a: u32, b: u32) -> u32 { return u16_narrow(u32_pow(a, b)); }

fn u16_lt(a: u32, b: u32) -> bool { return a < b; }
fn u16_le(a: u32, b: u32) -> bool { return a <= b; }
fn u16_gt(a: u32, b: u32) -> bool { return a > b; }
fn u16_ge(a: u32, b: u32) -> bool { return a >= b; }
fn u16_eq(a: u32, b: u32) -> bool { return a == b; }
fn u16_ne(a: u32, b: u32) -> bool { return a != b; }
fn u16_is_nan(x: u32) -> bool { return false; }
fn u16_is_inf(x: u32) -> bool { return false; }

fn u16_and(a: u32, b: u32) -> u32 { return a & b; }
fn u16_or(a: u32, b: u32) -> u32 { return a | b; }
fn u16_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn u16_not(x: u32) -> u32 { return u16_narrow(~x); }
fn u16_shl(a: u32, b: u32) -> u32 { return u16_narrow(u32_shl(a, b)); }
fn u16_shr(a: u32, b: u32) -> u32 { return u32_shr(a, b); }

// As to 32 bits, whose high bits are lost.
fn u16_from_f32(x: f32) -> u32 { return u16_narrow(bitcast<u32>(i32_from_f32(x))); }
fn u16_from_i32(x: i32) -> u32 { return u16_narrow(bitcast<u32>(x)); }
fn u16_from_u32(x: u32) -> u32 { return u16_narrow(x); }
fn u16_from_i64(x: vec2<u32>) -> u32 { return u16_narrow(x.x); }
fn u16_from_u64(x: vec2<u32>) -> u32 { return u16_narrow(x.x); }
fn u16_to_f32(x: u32) -> f32 { return f32_from_u32(x); }
fn u16_to_i32(x: u32) -> i32 { return i32_from_u32(x); }
fn u16_to_u32(x: u32) -> u32 { return x; }
fn u16_to_i64(x: u32) -> vec2<u32> { return i64_from_u32(x); }
fn u16_to_u64(x: u32) -> vec2<u32> { return u64_from_u32(x); }
