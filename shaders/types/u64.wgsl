// Unsigned 64-bit integers: the low word, then the high one. All wrap; division by 0 gives 0.

fn u64_zero() -> vec2<u32> { return vec2<u32>(0u, 0u); }
fn u64_one() -> vec2<u32> { return vec2<u32>(1u, 0u); }
fn u64_lowest() -> vec2<u32> { return vec2<u32>(0u, 0u); }
fn u64_highest() -> vec2<u32> { return vec2<u32>(0xffffffffu, 0xffffffffu); }

fn u64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn u64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

// The whole product of two words.
fn u64_mul_wide(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>((cross << 16u) | (low & 0xffffu), a1 * b1 + (middle >> 16u) + (cross >> 16u));
}

fn u64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = u64_mul_wide(a.x, b.x);
    return vec2<u32>(low.x, low.y + a.x * b.y + a.y * b.x);
}

// a << n for n up to 63.
fn u64_shl_by(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n == 0u {
        return a;
    }
    if n >= 32u {
        return vec2<u32>(0u, a.x << (n - 32u));
    }
    return vec2<u32>(a.x << n, (a.y << n) | (a.x >> (32u - n)));
}

// a >> n for n up to 63.
fn u64_shr_by(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n == 0u {
        return a;
    }
    if n >= 32u {
        return vec2<u32>(a.y >> (n - 32u), 0u);
    }
    return vec2<u32>((a.x >> n) | (a.y << (32u - n)), a.y >> n);
}

fn u64_shl(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if b.y != 0u || b.x > 63u {
        return u64_zero();
    }
    return u64_shl_by(a, b.x);
}

fn u64_shr(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if b.y != 0u || b.x > 63u {
        return u64_zero();
    }
    return u64_shr_by(a, b.x);
}

fn u64_leading_zeros(a: vec2<u32>) -> u32 {
    return select(countLeadingZeros(a.y), 32u + countLeadingZeros(a.x), a.y == 0u);
}

struct U64Quotient {
    quotient: vec2<u32>,
    rest: vec2<u32>,
}

// One digit of a quotient in base 2^16: (high 2^16 + next) / divisor, whose highest bit is set.
fn u64_digit(high: u32, next: u32, divisor: u32) -> u32 {
    let d1 = divisor >> 16u;
    let d0 = divisor & 0xffffu;
    var digit = high / d1;
    var rest = high - digit * d1;
    // The guess is too high by 2 at most.
    for (var i = 0; i < 2 && rest < 0x10000u; i++) {
        if digit < 0x10000u && digit * d0 <= ((rest << 16u) | next) {
            break;
        }
        digit -= 1u;
        rest += d1;
    }
    return digit;
}

// The quotient (x) and the rest (y) of a two-word number by a word above its high one (H. S. Warren, Hacker's Delight,
// after D. E. Knuth's algorithm D).
fn u64_div_word(a: vec2<u32>, b: u32) -> vec2<u32> {
    let up = countLeadingZeros(b);
    let divisor = b << up;
    let n = u64_shl_by(a, up);
    let q1 = u64_digit(n.y, n.x >> 16u, divisor);
    let middle = ((n.y << 16u) | (n.x >> 16u)) - q1 * divisor;
    let q0 = u64_digit(middle, n.x & 0xffffu, divisor);
    let rest = ((middle << 16u) | (n.x & 0xffffu)) - q0 * divisor;
    return vec2<u32>((q1 << 16u) + q0, rest >> up);
}

fn u64_divide(a: vec2<u32>, b: vec2<u32>) -> U64Quotient {
    if b.y == 0u {
        if b.x == 0u {
            return U64Quotient(u64_zero(), u64_zero());
        }
        let high = a.y / b.x;
        if a.y == high * b.x && a.y == 0u {
            return U64Quotient(vec2<u32>(a.x / b.x, 0u), vec2<u32>(a.x % b.x, 0u));
        }
        let low = u64_div_word(vec2<u32>(a.x, a.y - high * b.x), b.x);
        return U64Quotient(vec2<u32>(low.x, high), vec2<u32>(low.y, 0u));
    }
    // The divisor's high word gives a quotient that is right or too high by 1; less 1 it is right or too low by 1.
    let up = countLeadingZeros(b.y);
    let guess = u64_div_word(u64_shr_by(a, 1u), u64_shl_by(b, up).y).x >> (31u - up);
    var quotient = vec2<u32>(select(guess - 1u, 0u, guess == 0u), 0u);
    var rest = u64_sub(a, u64_mul(quotient, b));
    if u64_ge(rest, b) {
        quotient = u64_add(quotient, u64_one());
        rest = u64_sub(rest, b);
    }
    return U64Quotient(quotient, rest);
}

fn u64_div(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_divide(a, b).quotient; }
fn u64_rem(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_divide(a, b).rest; }
fn u64_modulo(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return u64_rem(a, b); }

fn u64_neg(x: vec2<u32>) -> vec2<u32> { return u64_sub(u64_zero(), x); }
fn u64_abs(x: vec2<u32>) -> vec2<u32> { return x; }
fn u64_sign(x: vec2<u32>) -> vec2<u32> { return vec2<u32>(u32((x.x | x.y) != 0u), 0u); }
fn u64_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return select(b, a, u64_lt(a, b)); }
fn u64_max(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return select(a, b, u64_lt(a, b)); }

fn u64_pow(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    var power = u64_one();
    var square = a;
    var left = b;
    while (left.x | left.y) != 0u {
        if (left.x & 1u) == 1u {
            power = u64_mul(power, square);
        }
        square = u64_mul(square, square);
        left = u64_shr_by(left, 1u);
    }
    return power;
}

// The root, rounded down, digit by digit.
fn u64_root(x: vec2<u32>) -> vec2<u32> {
    var rest = x;
    var root = u64_zero();
    for (var bit = 62u; bit < 64u; bit -= 2u) {
        let one = u64_shl_by(u64_one(), bit);
        let candidate = u64_add(root, one);
        root = u64_shr_by(root, 1u);
        if u64_ge(rest, candidate) {
            rest = u64_sub(rest, candidate);
            root = u64_add(root, one);
        }
    }
    return root;
}

fn u64_lt(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }
fn u64_le(a: vec2<u32>, b: vec2<u32>) -> bool { return !u64_lt(b, a); }
fn u64_gt(a: vec2<u32>, b: vec2<u32>) -> bool { return u64_lt(b, a); }
fn u64_ge(a: vec2<u32>, b: vec2<u32>) -> bool { return !u64_lt(a, b); }
fn u64_eq(a: vec2<u32>, b: vec2<u32>) -> bool { return a.x == b.x && a.y == b.y; }
fn u64_ne(a: vec2<u32>, b: vec2<u32>) -> bool { return !u64_eq(a, b); }
fn u64_is_nan(x: vec2<u32>) -> bool { return false; }
fn u64_is_inf(x: vec2<u32>) -> bool { return false; }

fn u64_and(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a & b; }
fn u64_or(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a | b; }
fn u64_xor(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a ^ b; }
fn u64_not(x: vec2<u32>) -> vec2<u32> { return ~x; }

// |x| cut to an integer; the highest one beyond the range; 0 for NaN.
fn u64_of_magnitude(x: f32) -> vec2<u32> {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    if bits < 0x3f800000u || bits > 0x7f800000u {
        return u64_zero();
    }
    if bits >= 0x5f800000u {
        return u64_highest();
    }
    // The significand in the highest bits.
    let top = vec2<u32>(0u, (bits << 8u) | 0x80000000u);
    return u64_shr_by(top, 190u - (bits >> 23u));
}

// Cut to an integer; the range's ends beyond it, but negative numbers as signed ones; 0 for NaN.
fn u64_from_f32(x: f32) -> vec2<u32> {
    if (bitcast<u32>(x) >> 31u) == 1u {
        return i64_from_f32(x);
    }
    return u64_of_magnitude(x);
}

fn u64_from_i32(x: i32) -> vec2<u32> { return i64_from_i32(x); }
fn u64_from_u32(x: u32) -> vec2<u32> { return vec2<u32>(x, 0u); }
fn u64_from_i64(x: vec2<u32>) -> vec2<u32> { return x; }
fn u64_from_u64(x: vec2<u32>) -> vec2<u32> { return x; }
fn u64_to_f32(x: vec2<u32>) -> f32 { return f32_from_u64(x); }
fn u64_to_i32(x: vec2<u32>) -> i32 { return bitcast<i32>(x.x); }
fn u64_to_u32(x: vec2<u32>) -> u32 { return x.x; }
fn u64_to_i64(x: vec2<u32>) -> vec2<u32> { return x; }
fn u64_to_u64(x: vec2<u32>) -> vec2<u32> { return x; }
