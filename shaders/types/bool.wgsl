// Booleans, as 0 and 1. Sums are disjunctions and products are conjunctions, as in numpy.

fn bool_zero() -> u32 { return 0u; }
fn bool_one() -> u32 { return 1u; }
fn bool_lowest() -> u32 { return 0u; }
fn bool_highest() -> u32 { return 1u; }

fn bool_add(a: u32, b: u32) -> u32 { return a | b; }
fn bool_sub(a: u32, b: u32) -> u32 { return a ^ b; }
fn bool_mul(a: u32, b: u32) -> u32 { return a & b; }
fn bool_div(a: u32, b: u32) -> u32 { return a & b; }
fn bool_rem(a: u32, b: u32) -> u32 { return 0u; }
fn bool_modulo(a: u32, b: u32) -> u32 { return 0u; }
fn bool_neg(x: u32) -> u32 { return x; }
fn bool_abs(x: u32) -> u32 { return x; }
fn bool_sign(x: u32) -> u32 { return x; }
fn bool_min(a: u32, b: u32) -> u32 { return a & b; }
fn bool_max(a: u32, b: u32) -> u32 { return a | b; }
fn bool_pow(a: u32, b: u32) -> u32 { return a | (b ^ 1u); }

fn bool_lt(a: u32, b: u32) -> bool { return a < b; }
fn bool_le(a: u32, b: u32) -> bool { return a <= b; }
fn bool_gt(a: u32, b: u32) -> bool { return a > b; }
fn bool_ge(a: u32, b: u32) -> bool { return a >= b; }
fn bool_eq(a: u32, b: u32) -> bool { return a == b; }
fn bool_ne(a: u32, b: u32) -> bool { return a != b; }
fn bool_is_nan(x: u32) -> bool { return false; }
fn bool_is_inf(x: u32) -> bool { return false; }

fn bool_and(a: u32, b: u32) -> u32 { return a & b; }
fn bool_or(a: u32, b: u32) -> u32 { return a | b; }
fn bool_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn bool_not(x: u32) -> u32 { return x ^ 1u; }

// Whether the number is not 0; NaN is not.
fn bool_from_f32(x: f32) -> u32 { return u32((bitcast<u32>(x) & 0x7fffffffu) != 0u); }
fn bool_from_i32(x: i32) -> u32 { return u32(x != 0); }
fn bool_from_u32(x: u32) -> u32 { return u32(x != 0u); }
fn bool_from_i64(x: vec2<u32>) -> u32 { return u32((x.x | x.y) != 0u); }
fn bool_from_u64(x: vec2<u32>) -> u32 { return u32((x.x | x.y) != 0u); }
fn bool_to_f32(x: u32) -> f32 { return f32(x); }
fn bool_to_i32(x: u32) -> i32 { return i32(x); }
fn bool_to_u32(x: u32) -> u32 { return x; }
fn bool_to_i64(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
fn bool_to_u64(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
