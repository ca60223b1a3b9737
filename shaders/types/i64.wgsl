// Signed 64-bit integers in two's complement: the low word, then the high one. All wrap; division by 0 gives 0.

fn i64_zero() -> vec2<u32> { return vec2<u32>(0u, 0u); }
fn i64_one() -> vec2<u32> { return vec2<u32>(1u, 0u); }
fn i64_lowest() -> vec2<u32> { return vec2<u32>(0u, 0x80000000u); }
fn i64_highest() -> vec2<u32> { return vec2<u32>(0xffffffffu, 0x7fffffffu); }

fn i64_is_negative(x: vec2<u32>) -> bool { return (x.y >> 31u) == 1u; }
fn i64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_add(a, b); }
fn i64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_sub(a, b); }
fn i64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_mul(a, b); }
fn i64_neg(x: vec2<u32>) -> vec2<u32> { return u64_neg(x); }
fn i64_abs(x: vec2<u32>) -> vec2<u32> { return select(x, u64_neg(x), i64_is_negative(x)); }

fn i64_sign(x: vec2<u32>) -> vec2<u32> {
    return select(u64_sign(x), vec2<u32>(0xffffffffu, 0xffffffffu), i64_is_negative(x));
}

// The quotient cut to an integer.
fn i64_div(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let q = u64_div(i64_abs(a), i64_abs(b));
    return select(q, u64_neg(q), i64_is_negative(a) != i64_is_negative(b));
}

// The remainder with the dividend's sign.
fn i64_rem(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let r = u64_rem(i64_abs(a), i64_abs(b));
    return select(r, u64_neg(r), i64_is_negative(a));
}

// The remainder with the divisor's sign.
fn i64_modulo(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let r = i64_rem(a, b);
    let moves = (r.x | r.y) != 0u && i64_is_negative(r) != i64_is_negative(b);
    return select(r, u64_add(r, b), moves);
}

fn i64_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return select(b, a, i64_lt(a, b)); }
fn i64_max(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return select(a, b, i64_lt(a, b)); }

// A negative exponent gives the reciprocal cut to an integer, and 0 for base 0.
fn i64_pow(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if i64_is_negative(b) {
        if u64_eq(a, u64_one()) {
            return a;
        }
        if (a.x & a.y) == 0xffffffffu {
            return select(u64_one(), a, (b.x & 1u) == 1u);
        }
        return u64_zero();
    }
    return u64_pow(a, b);
}

fn i64_root(x: vec2<u32>) -> vec2<u32> { return u64_root(x); }
fn i64_lt(a: vec2<u32>, b: vec2<u32>) -> bool {
    return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}
fn i64_le(a: vec2<u32>, b: vec2<u32>) -> bool { return !i64_lt(b, a); }
fn i64_gt(a: vec2<u32>, b: vec2<u32>) -> bool { return i64_lt(b, a); }
fn i64_ge(a: vec2<u32>, b: vec2<u32>) -> bool { return !i64_lt(a, b); }
fn i64_eq(a: vec2<u32>, b: vec2<u32>) -> bool { return u64_eq(a, b); }
fn i64_ne(a: vec2<u32>, b: vec2<u32>) -> bool { return !u64_eq(a, b); }
fn i64_is_nan(x: vec2<u32>) -> bool { return false; }
fn i64_is_inf(x: vec2<u32>) -> bool { return false; }

fn i64_and(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a & b; }
fn i64_or(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a | b; }
fn i64_xor(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a ^ b; }
fn i64_not(x: vec2<u32>) -> vec2<u32> { return ~x; }
fn i64_shl(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_shl(a, b); }

// Shifts the sign in.
fn i64_shr(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if i64_is_negative(a) {
        return ~u64_shr(~a, b);
    }
    return u64_shr(a, b);
}

// Cut to an integer; the range's ends beyond it; 0 for NaN.
fn i64_from_f32(x: f32) -> vec2<u32> {
    let negative = (bitcast<u32>(x) >> 31u) == 1u;
    let n = u64_of_magnitude(x);
    if i64_is_negative(n) {
        return select(i64_highest(), i64_lowest(), negative);
    }
    return select(n, u64_neg(n), negative);
}

fn i64_from_i32(x: i32) -> vec2<u32> { return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u)); }
fn i64_from_u32(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
fn i64_from_i64(x: vec2<u32>) -> vec2<u32> { return x; }
fn i64_from_u64(x: vec2<u32>) -> vec2<u32> { return x; }
fn i64_to_f32(x: vec2<u32>) -> f32 { return f32_from_i64(x); }
fn i64_to_i32(x: vec2<u32>) -> i32 { return bitcast<i32>(x.x); }
fn i64_to_u32(x: vec2<u32>) -> u32 { return x.x; }
fn i64_to_i64(x: vec2<u32>) -> vec2<u32> { return x; }
fn i64_to_u64(x: vec2<u32>) -> vec2<u32> { return x; }
