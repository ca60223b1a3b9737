// Signed 32-bit integers. All wrap; division by 0 gives 0.

fn i32_zero() -> i32 { return 0; }
fn i32_one() -> i32 { return 1; }
fn i32_lowest() -> i32 { return bitcast<i32>(0x80000000u); }
fn i32_highest() -> i32 { return 0x7fffffff; }

fn i32_add(a: i32, b: i32) -> i32 { return a + b; }
fn i32_sub(a: i32, b: i32) -> i32 { return a - b; }
fn i32_mul(a: i32, b: i32) -> i32 { return a * b; }
fn i32_neg(x: i32) -> i32 { return 0 - x; }
fn i32_abs(x: i32) -> i32 { return select(x, 0 - x, x < 0); }
fn i32_sign(x: i32) -> i32 { return i32(x > 0) - i32(x < 0); }
fn i32_min(a: i32, b: i32) -> i32 { return min(a, b); }
fn i32_max(a: i32, b: i32) -> i32 { return max(a, b); }

// Whether the built-in division of the lowest number by b is defined.
fn i32_divides(b: i32) -> bool { return b != 0 && b != -1; }

// The quotient cut to an integer.
fn i32_div(a: i32, b: i32) -> i32 {
    if !i32_divides(b) {
        return a * b;
    }
    return a / b;
}

// The remainder with the dividend's sign.
fn i32_rem(a: i32, b: i32) -> i32 {
    if !i32_divides(b) {
        return 0;
    }
    return a - (a / b) * b;
}

// The remainder with the divisor's sign.
fn i32_modulo(a: i32, b: i32) -> i32 {
    let r = i32_rem(a, b);
    return select(r, r + b, r != 0 && (r < 0) != (b < 0));
}

// A negative exponent gives the reciprocal cut to an integer, and 0 for base 0.
fn i32_pow(a: i32, b: i32) -> i32 {
    if b < 0 {
        if a == 1 || a == -1 {
            return select(1, a, (b & 1) == 1);
        }
        return 0;
    }
    return bitcast<i32>(u32_pow(bitcast<u32>(a), bitcast<u32>(b)));
}

fn i32_lt(a: i32, b: i32) -> bool { return a < b; }
fn i32_le(a: i32, b: i32) -> bool { return a <= b; }
fn i32_gt(a: i32, b: i32) -> bool { return a > b; }
fn i32_ge(a: i32, b: i32) -> bool { return a >= b; }
fn i32_eq(a: i32, b: i32) -> bool { return a == b; }
fn i32_ne(a: i32, b: i32) -> bool { return a != b; }
fn i32_is_nan(x: i32) -> bool { return false; }
fn i32_is_inf(x: i32) -> bool { return false; }

fn i32_and(a: i32, b: i32) -> i32 { return a & b; }
fn i32_or(a: i32, b: i32) -> i32 { return a | b; }
fn i32_xor(a: i32, b: i32) -> i32 { return a ^ b; }
fn i32_not(x: i32) -> i32 { return ~x; }
fn i32_shl(a: i32, b: i32) -> i32 { return bitcast<i32>(u32_shl(bitcast<u32>(a), bitcast<u32>(b))); }
// Shifts the sign in.
fn i32_shr(a: i32, b: i32) -> i32 { return a >> min(bitcast<u32>(b), 31u); }

// Cut to an integer; the range's ends beyond it; 0 for NaN.
fn i32_from_f32(x: f32) -> i32 {
    if (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u {
        return 0;
    }
    if x >= 2147483648.0 {
        return i32_highest();
    }
    if x <= -2147483648.0 {
        return i32_lowest();
    }
    return i32(x);
}

fn i32_from_i32(x: i32) -> i32 { return x; }
fn i32_from_u32(x: u32) -> i32 { return bitcast<i32>(x); }
fn i32_from_i64(x: vec2<u32>) -> i32 { return bitcast<i32>(x.x); }
fn i32_from_u64(x: vec2<u32>) -> i32 { return bitcast<i32>(x.x); }
fn i32_to_f32(x: i32) -> f32 { return f32(x); }
fn i32_to_i32(x: i32) -> i32 { return x; }
fn i32_to_u32(x: i32) -> u32 { return bitcast<u32>(x); }
fn i32_to_i64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn i32_to_u64(x: i32) -> vec2<u32> { return i64_from_i32(x); }
