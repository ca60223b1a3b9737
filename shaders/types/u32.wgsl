// Unsigned 32-bit integers. All wrap; division by 0 gives 0.

fn u32_zero() -> u32 { return 0u; }
fn u32_one() -> u32 { return 1u; }
fn u32_lowest() -> u32 { return 0u; }
fn u32_highest() -> u32 { return 0xffffffffu; }

fn u32_add(a: u32, b: u32) -> u32 { return a + b; }
fn u32_sub(a: u32, b: u32) -> u32 { return a - b; }
fn u32_mul(a: u32, b: u32) -> u32 { return a * b; }
fn u32_neg(x: u32) -> u32 { return 0u - x; }
fn u32_abs(x: u32) -> u32 { return x; }
fn u32_sign(x: u32) -> u32 { return u32(x != 0u); }
fn u32_min(a: u32, b: u32) -> u32 { return min(a, b); }
fn u32_max(a: u32, b: u32) -> u32 { return max(a, b); }

fn u32_div(a: u32, b: u32) -> u32 {
    if b == 0u {
        return 0u;
    }
    return a / b;
}

fn u32_rem(a: u32, b: u32) -> u32 {
    if b == 0u {
        return 0u;
    }
    return a % b;
}

fn u32_modulo(a: u32, b: u32) -> u32 { return u32_rem(a, b); }

fn u32_pow(a: u32, b: u32) -> u32 {
    var power = 1u;
    var square = a;
    for (var left = b; left != 0u; left >>= 1u) {
        if (left & 1u) == 1u {
            power *= square;
        }
        square *= square;
    }
    return power;
}

fn u32_lt(a: u32, b: u32) -> bool { return a < b; }
fn u32_le(a: u32, b: u32) -> bool { return a <= b; }
fn u32_gt(a: u32, b: u32) -> bool { return a > b; }
fn u32_ge(a: u32, b: u32) -> bool { return a >= b; }
fn u32_eq(a: u32, b: u32) -> bool { return a == b; }
fn u32_ne(a: u32, b: u32) -> bool { return a != b; }
fn u32_is_nan(x: u32) -> bool { return false; }
fn u32_is_inf(x: u32) -> bool { return false; }

fn u32_and(a: u32, b: u32) -> u32 { return a & b; }
fn u32_or(a: u32, b: u32) -> u32 { return a | b; }
fn u32_xor(a: u32, b: u32) -> u32 { return a ^ b; }
fn u32_not(x: u32) -> u32 { return ~x; }
fn u32_shl(a: u32, b: u32) -> u32 { return select(a << (b & 31u), 0u, b > 31u); }
fn u32_shr(a: u32, b: u32) -> u32 { return select(a >> (b & 31u), 0u, b > 31u); }

// Cut to an integer; the range's ends beyond it, but negative numbers as signed ones; 0 for NaN.
fn u32_from_f32(x: f32) -> u32 {
    if (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u {
        return 0u;
    }
    if x >= 4294967296.0 {
        return 0xffffffffu;
    }
    if x < 0.0 {
        return bitcast<u32>(i32_from_f32(x));
    }
    return u32(x);
}

fn u32_from_i32(x: i32) -> u32 { return bitcast<u32>(x); }
fn u32_from_u32(x: u32) -> u32 { return x; }
fn u32_from_i64(x: vec2<u32>) -> u32 { return x.x; }
fn u32_from_u64(x: vec2<u32>) -> u32 { return x.x; }
fn u32_to_f32(x: u32) -> f32 { return f32_from_u32(x); }
fn u32_to_i32(x: u32) -> i32 { return bitcast<i32>(x); }
fn u32_to_u32(x: u32) -> u32 { return x; }
fn u32_to_i64(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
fn u32_to_u64(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
