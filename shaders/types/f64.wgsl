// 64-bit floats as their bits, the low word first: IEEE 754 arithmetic in integers, for devices without doubles are the
// rule. Results are rounded to nearest, ties to even; exp and log are good to a few units in the last place.

//#include types/u64.wgsl

struct F64Parts {
    negative: u32,
    // The number is significand / 2^63 * 2^(exponent - 1023); the significand's highest bit is set, unless it is zero.
    exponent: i32,
    significand: vec2<u32>,
}

fn f64_zero() -> vec2<u32> { return vec2<u32>(0u, 0u); }
fn f64_one() -> vec2<u32> { return vec2<u32>(0u, 0x3ff00000u); }
fn f64_inf() -> vec2<u32> { return vec2<u32>(0u, 0x7ff00000u); }
fn f64_nan() -> vec2<u32> { return vec2<u32>(0u, 0x7ff80000u); }
fn f64_lowest() -> vec2<u32> { return vec2<u32>(0u, 0xfff00000u); }
fn f64_highest() -> vec2<u32> { return f64_inf(); }

fn f64_abs(x: vec2<u32>) -> vec2<u32> { return vec2<u32>(x.x, x.y & 0x7fffffffu); }
fn f64_neg(x: vec2<u32>) -> vec2<u32> { return vec2<u32>(x.x, x.y ^ 0x80000000u); }
fn f64_is_zero(x: vec2<u32>) -> bool { return (x.x | (x.y & 0x7fffffffu)) == 0u; }
fn f64_is_inf(x: vec2<u32>) -> bool { return x.x == 0u && (x.y & 0x7fffffffu) == 0x7ff00000u; }
fn f64_is_nan(x: vec2<u32>) -> bool {
    let high = x.y & 0x7fffffffu;
    return high > 0x7ff00000u || (high == 0x7ff00000u && x.x != 0u);
}
fn f64_is_finite(x: vec2<u32>) -> bool { return (x.y & 0x7ff00000u) != 0x7ff00000u; }
fn f64_signed(negative: u32, x: vec2<u32>) -> vec2<u32> { return vec2<u32>(x.x, x.y | (negative << 31u)); }

fn f64_sign(x: vec2<u32>) -> vec2<u32> {
    if f64_is_zero(x) || f64_is_nan(x) {
        return x;
    }
    return f64_signed(x.y >> 31u, f64_one());
}

// Of a finite number.
fn f64_split(x: vec2<u32>) -> F64Parts {
    let field = (x.y >> 20u) & 0x7ffu;
    let fraction = vec2<u32>(x.x, x.y & 0xfffffu);
    if field != 0u {
        let whole = vec2<u32>(fraction.x, fraction.y | 0x100000u);
        return F64Parts(x.y >> 31u, i32(field), u64_shl_by(whole, 11u));
    }
    if (fraction.x | fraction.y) == 0u {
        return F64Parts(x.y >> 31u, 0, fraction);
    }
    let zeros = u64_leading_zeros(fraction);
    return F64Parts(x.y >> 31u, 12 - i32(zeros), u64_shl_by(fraction, zeros));
}

// a >> n, the last bit set if any bit is lost.
fn f64_shr_sticky(a: vec2<u32>, n: u32) -> vec2<u32> {
    if n == 0u {
        return a;
    }
    if n > 63u {
        return vec2<u32>(u32((a.x | a.y) != 0u), 0u);
    }
    let lost = u64_shl_by(a, 64u - n);
    let kept = u64_shr_by(a, n);
    return vec2<u32>(kept.x | u32((lost.x | lost.y) != 0u), kept.y);
}

fn f64_join(parts: F64Parts) -> vec2<u32> {
    if (parts.significand.x | parts.significand.y) == 0u {
        return f64_signed(parts.negative, f64_zero());
    }
    var exponent = parts.exponent;
    var significand = parts.significand;
    if exponent < 1 {
        significand = f64_shr_sticky(significand, u32(1 - exponent));
        exponent = 0;
    }
    let low = significand.x & 0x7ffu;
    var rounded = u64_shr_by(significand, 11u);
    if low > 0x400u || (low == 0x400u && (rounded.x & 1u) == 1u) {
        rounded = u64_add(rounded, u64_one());
    }
    // a carry into bit 52 of a subnormal is the exponent's lowest bit
    if exponent > 0 {
        if rounded.y == 0x200000u {
            exponent += 1;
        }
        if exponent >= 2047 {
            return f64_signed(parts.negative, f64_inf());
        }
        rounded = vec2<u32>(rounded.x, (rounded.y & 0xfffffu) | (u32(exponent) << 20u));
    }
    return f64_signed(parts.negative, rounded);
}

// Any significand.
fn f64_join_any(negative: u32, exponent: i32, significand: vec2<u32>) -> vec2<u32> {
    if (significand.x | significand.y) == 0u {
        return f64_signed(negative, f64_zero());
    }
    let zeros = u64_leading_zeros(significand);
    return f64_join(F64Parts(negative, exponent - i32(zeros), u64_shl_by(significand, zeros)));
}

fn f64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if f64_is_nan(a) || f64_is_nan(b) {
        return f64_nan();
    }
    if f64_is_inf(a) {
        return select(a, f64_nan(), f64_is_inf(b) && a.y != b.y);
    }
    if f64_is_inf(b) {
        return b;
    }
    if f64_is_zero(a) && f64_is_zero(b) {
        return vec2<u32>(0u, a.y & b.y);
    }
    var p = f64_split(a);
    var q = f64_split(b);
    if f64_is_zero(a) {
        return b;
    }
    if f64_is_zero(b) {
        return a;
    }
    if q.exponent > p.exponent || (q.exponent == p.exponent && u64_gt(q.significand, p.significand)) {
        let swapped = p;
        p = q;
        q = swapped;
    }
    // one bit of room for the carry
    let large = u64_shr_by(p.significand, 1u);
    let small = f64_shr_sticky(q.significand, u32(p.exponent - q.exponent) + 1u);
    if p.negative == q.negative {
        return f64_join_any(p.negative, p.exponent + 1, u64_add(large, small));
    }
    let left = u64_sub(large, small);
    if (left.x | left.y) == 0u {
        return f64_zero();
    }
    return f64_join_any(p.negative, p.exponent + 1, left);
}

fn f64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return f64_add(a, f64_neg(b)); }

fn f64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let negative = (a.y ^ b.y) >> 31u;
    if f64_is_nan(a) || f64_is_nan(b) {
        return f64_nan();
    }
    if f64_is_inf(a) || f64_is_inf(b) {
        return select(f64_signed(negative, f64_inf()), f64_nan(), f64_is_zero(a) || f64_is_zero(b));
    }
    let p = f64_split(a);
    let q = f64_split(b);
    // the product's upper 64 bits, the last one set if any below is
    let low = u64_mul_wide(p.significand.x, q.significand.x);
    let cross = u64_mul_wide(p.significand.x, q.significand.y);
    let other = u64_mul_wide(p.significand.y, q.significand.x);
    let high = u64_mul_wide(p.significand.y, q.significand.y);
    let middle = u64_add(u64_add(vec2<u32>(cross.x, 0u), vec2<u32>(other.x, 0u)), vec2<u32>(low.y, 0u));
    let carried = u64_add(vec2<u32>(cross.y, 0u), u64_add(vec2<u32>(other.y, 0u), vec2<u32>(middle.y, 0u)));
    let upper = u64_add(high, carried);
    let sticky = u32((middle.x | low.x) != 0u);
    return f64_join_any(negative, p.exponent + q.exponent - 1022, vec2<u32>(upper.x | sticky, upper.y));
}

fn f64_div(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let negative = (a.y ^ b.y) >> 31u;
    if f64_is_nan(a) || f64_is_nan(b) || (f64_is_inf(a) && f64_is_inf(b)) || (f64_is_zero(a) && f64_is_zero(b)) {
        return f64_nan();
    }
    if f64_is_inf(a) || f64_is_zero(b) {
        return f64_signed(negative, f64_inf());
    }
    if f64_is_inf(b) || f64_is_zero(a) {
        return f64_signed(negative, f64_zero());
    }
    let p = f64_split(a);
    let q = f64_split(b);
    var rest = p.significand;
    var over = 0u;
    var exponent = p.exponent - q.exponent + 1023;
    if u64_lt(rest, q.significand) {
        over = rest.y >> 31u;
        rest = u64_shl_by(rest, 1u);
        exponent -= 1;
    }
    var quotient = u64_zero();
    for (var i = 0u; i < 64u; i++) {
        quotient = u64_shl_by(quotient, 1u);
        if over == 1u || u64_ge(rest, q.significand) {
            rest = u64_sub(rest, q.significand);
            quotient.x |= 1u;
        }
        over = rest.y >> 31u;
        rest = u64_shl_by(rest, 1u);
    }
    quotient.x |= u32((rest.x | rest.y | over) != 0u);
    return f64_join(F64Parts(negative, exponent, quotient));
}

fn f64_recip(x: vec2<u32>) -> vec2<u32> { return f64_div(f64_one(), x); }

fn f64_sqrt(x: vec2<u32>) -> vec2<u32> {
    if f64_is_nan(x) || f64_is_zero(x) {
        return x;
    }
    if (x.y >> 31u) == 1u {
        return f64_nan();
    }
    if f64_is_inf(x) {
        return x;
    }
    let p = f64_split(x);
    // an even power of two, and 2^63 times what is left as an integer, digit by digit
    let odd = u32((p.exponent + 1023) & 1);
    var rest = u64_zero();
    var root = u64_zero();
    var digits = p.significand;
    var first = true;
    for (var i = 0u; i < 64u; i++) {
        var pair = 0u;
        if first && odd == 0u {
            pair = digits.y >> 31u;
            digits = u64_shl_by(digits, 1u);
        } else {
            pair = digits.y >> 30u;
            digits = u64_shl_by(digits, 2u);
        }
        first = false;
        rest = u64_shl_by(rest, 2u);
        rest.x |= pair;
        let candidate = vec2<u32>(u64_shl_by(root, 2u).x | 1u, u64_shl_by(root, 2u).y);
        root = u64_shl_by(root, 1u);
        if u64_ge(rest, candidate) {
            rest = u64_sub(rest, candidate);
            root.x |= 1u;
        }
        // the remainder outgrows two words beyond what rounding needs
        if i == 57u {
            break;
        }
    }
    root = u64_shl_by(root, 6u);
    root.x |= u32((rest.x | rest.y) != 0u);
    return f64_join_any(0u, ((p.exponent - 1023) >> 1u) + 1023, root);
}

fn f64_ordered(a: vec2<u32>, b: vec2<u32>) -> bool { return !(f64_is_nan(a) || f64_is_nan(b)); }

// Of numbers.
fn f64_below(a: vec2<u32>, b: vec2<u32>) -> bool {
    if f64_is_zero(a) && f64_is_zero(b) {
        return false;
    }
    let negative = (a.y >> 31u) == 1u;
    if negative != ((b.y >> 31u) == 1u) {
        return negative;
    }
    return select(u64_lt(a, b), u64_lt(b, a), negative);
}

fn f64_lt(a: vec2<u32>, b: vec2<u32>) -> bool { return f64_ordered(a, b) && f64_below(a, b); }
fn f64_gt(a: vec2<u32>, b: vec2<u32>) -> bool { return f64_lt(b, a); }
fn f64_le(a: vec2<u32>, b: vec2<u32>) -> bool { return f64_ordered(a, b) && !f64_below(b, a); }
fn f64_ge(a: vec2<u32>, b: vec2<u32>) -> bool { return f64_le(b, a); }
fn f64_eq(a: vec2<u32>, b: vec2<u32>) -> bool {
    return f64_ordered(a, b) && (u64_eq(a, b) || (f64_is_zero(a) && f64_is_zero(b)));
}
fn f64_ne(a: vec2<u32>, b: vec2<u32>) -> bool { return !f64_eq(a, b); }

fn f64_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let least = select(b, a, f64_is_nan(a) || f64_lt(a, b));
    return select(least, b, f64_is_nan(b));
}

fn f64_max(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let most = select(b, a, f64_is_nan(a) || f64_gt(a, b));
    return select(most, b, f64_is_nan(b));
}

fn f64_trunc(x: vec2<u32>) -> vec2<u32> {
    let exponent = i32((x.y >> 20u) & 0x7ffu) - 1023;
    if exponent < 0 {
        return vec2<u32>(0u, x.y & 0x80000000u);
    }
    if exponent >= 52 {
        return x;
    }
    let cut = u32(52 - exponent);
    return u64_shl_by(u64_shr_by(x, cut), cut);
}

fn f64_floor(x: vec2<u32>) -> vec2<u32> {
    let whole = f64_trunc(x);
    let below = (x.y >> 31u) == 1u && f64_ne(whole, x) && !f64_is_nan(x);
    return select(whole, f64_sub(whole, f64_one()), below);
}

fn f64_ceil(x: vec2<u32>) -> vec2<u32> { return f64_neg(f64_floor(f64_neg(x))); }

// To nearest, ties to even.
fn f64_round(x: vec2<u32>) -> vec2<u32> {
    if !f64_is_finite(x) || ((x.y >> 20u) & 0x7ffu) >= 1075u {
        return x;
    }
    // 2^52, beyond which there are no fractions
    let magic = vec2<u32>(0u, 0x43300000u);
    return f64_signed(x.y >> 31u, f64_sub(f64_add(f64_abs(x), magic), magic));
}

// The remainder of truncated division; has the sign of a.
fn f64_rem(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if f64_is_nan(a) || f64_is_nan(b) || f64_is_inf(a) || f64_is_zero(b) {
        return f64_nan();
    }
    if f64_is_inf(b) || f64_is_zero(a) {
        return a;
    }
    let p = f64_split(a);
    let q = f64_split(b);
    if p.exponent < q.exponent {
        return a;
    }
    var rest = p.significand;
    var over = 0u;
    for (var i = p.exponent; i >= q.exponent; i--) {
        if over == 1u || u64_ge(rest, q.significand) {
            rest = u64_sub(rest, q.significand);
        }
        if i > q.exponent {
            over = rest.y >> 31u;
            rest = u64_shl_by(rest, 1u);
        }
    }
    return f64_join_any(p.negative, q.exponent, rest);
}

// The remainder of floored division; has the sign of b.
fn f64_modulo(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let rest = f64_rem(a, b);
    if f64_is_nan(rest) {
        return rest;
    }
    if f64_is_zero(rest) {
        return f64_signed(b.y >> 31u, f64_zero());
    }
    return select(rest, f64_add(rest, b), (rest.y >> 31u) != (b.y >> 31u));
}

fn f64_from_u64(x: vec2<u32>) -> vec2<u32> { return f64_join_any(0u, 1086, x); }
fn f64_from_i64(x: vec2<u32>) -> vec2<u32> {
    let negative = x.y >> 31u;
    return f64_join_any(negative, 1086, select(x, u64_neg(x), negative == 1u));
}
fn f64_from_u32(x: u32) -> vec2<u32> { return f64_from_u64(vec2<u32>(x, 0u)); }
fn f64_from_i32(x: i32) -> vec2<u32> { return f64_from_i64(vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u))); }
fn f64_from_f64(x: vec2<u32>) -> vec2<u32> { return x; }

fn f64_from_f32(x: f32) -> vec2<u32> {
    let bits = bitcast<u32>(x);
    let negative = bits >> 31u;
    let field = (bits >> 23u) & 0xffu;
    let fraction = bits & 0x7fffffu;
    if field == 0xffu {
        return select(f64_signed(negative, f64_inf()), f64_nan(), fraction != 0u);
    }
    if field == 0u {
        return f64_join_any(negative, 1023 - 126 + 40, vec2<u32>(fraction, 0u));
    }
    return vec2<u32>(fraction << 29u, (negative << 31u) | ((field + 896u) << 20u) | (fraction >> 3u));
}

// To f32, to nearest, or (odd) so that rounding to a narrower type afterwards is as if done at once: cut off, the last
// bit set if anything was lost.
fn f64_narrowed(x: vec2<u32>, odd: bool) -> f32 {
    let negative = (x.y >> 31u) << 31u;
    if f64_is_nan(x) {
        return f32_nan();
    }
    if f64_is_inf(x) {
        return f32_of_bits(negative | 0x7f800000u);
    }
    let p = f64_split(x);
    var exponent = p.exponent - 896;
    var significand = p.significand;
    if exponent < 1 {
        significand = f64_shr_sticky(significand, u32(min(1 - exponent, 64)));
        exponent = 0;
    }
    let kept = f64_shr_sticky(significand, 32u).x;
    var rounded = kept >> 8u;
    let low = kept & 0xffu;
    if odd {
        rounded |= u32(low != 0u);
    } else {
        rounded += u32(low > 0x80u || (low == 0x80u && (rounded & 1u) == 1u));
    }
    if exponent > 0 {
        if rounded == 0x1000000u {
            exponent += 1;
        }
        if exponent >= 255 {
            return f32_of_bits(negative | select(0x7f800000u, 0x7f7fffffu, odd));
        }
        rounded = (rounded & 0x7fffffu) | (u32(exponent) << 23u);
    }
    return f32_of_bits(negative | rounded);
}

fn f64_to_f32(x: vec2<u32>) -> f32 { return f64_narrowed(x, false); }

// Towards zero; the lowest integer where none fits.
fn f64_to_i64(x: vec2<u32>) -> vec2<u32> {
    let exponent = i32((x.y >> 20u) & 0x7ffu) - 1023;
    if exponent < 0 {
        return u64_zero();
    }
    if exponent > 62 {
        return vec2<u32>(0u, 0x80000000u);
    }
    let magnitude = u64_shr_by(f64_split(x).significand, u32(63 - exponent));
    return select(magnitude, u64_neg(magnitude), (x.y >> 31u) == 1u);
}

fn f64_to_u64(x: vec2<u32>) -> vec2<u32> {
    let exponent = i32((x.y >> 20u) & 0x7ffu) - 1023;
    if exponent == 63 && (x.y >> 31u) == 0u {
        return f64_split(x).significand;
    }
    return f64_to_i64(x);
}

// The sum of r^n / n! up to n = 13, for |r| up to ln(2) / 2. Written out: drivers count the steps of loops.
fn f64_exp_core(r: vec2<u32>) -> vec2<u32> {
    var sum = vec2<u32>(0x13a86d09u, 0x3de61246u);
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0xeff8d898u, 0x3e21eed8u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x67f544e4u, 0x3e5ae645u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0xb7789f5cu, 0x3e927e4fu));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0xa556c734u, 0x3ec71de3u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x1a01a01au, 0x3efa01a0u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x1a01a01au, 0x3f2a01a0u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x16c16c17u, 0x3f56c16cu));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x11111111u, 0x3f811111u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x55555555u, 0x3fa55555u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x55555555u, 0x3fc55555u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x0u, 0x3fe00000u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x0u, 0x3ff00000u));
    sum = f64_add(f64_mul(sum, r), vec2<u32>(0x0u, 0x3ff00000u));
    return sum;
}

fn f64_exp(x: vec2<u32>) -> vec2<u32> {
    if f64_is_nan(x) {
        return x;
    }
    // 710 and -746, beyond which there is infinity, and nothing
    if f64_gt(x, vec2<u32>(0u, 0x40863000u)) {
        return f64_inf();
    }
    if f64_lt(x, vec2<u32>(0u, 0xc0875000u)) {
        return f64_zero();
    }
    let log2_e = vec2<u32>(0x652b82feu, 0x3ff71547u);
    let k = f64_round(f64_mul(x, log2_e));
    // ln(2) in two parts, the first of which leaves room for k
    let high = vec2<u32>(0xfee00000u, 0x3fe62e42u);
    let low = vec2<u32>(0x35793c76u, 0x3dea39efu);
    let r = f64_sub(f64_sub(x, f64_mul(k, high)), f64_mul(k, low));
    var p = f64_split(f64_exp_core(r));
    p.exponent += i32(f64_to_i64(k).x);
    return f64_join(p);
}

fn f64_log(x: vec2<u32>) -> vec2<u32> {
    if f64_is_nan(x) || (f64_is_inf(x) && (x.y >> 31u) == 0u) {
        return x;
    }
    if f64_is_zero(x) {
        return f64_lowest();
    }
    if (x.y >> 31u) == 1u {
        return f64_nan();
    }
    var p = f64_split(x);
    var k = p.exponent - 1023;
    // m from sqrt(1/2) to sqrt(2)
    if p.significand.y >= 0xb504f333u {
        k += 1;
        p.exponent = 1022;
    } else {
        p.exponent = 1023;
    }
    let m = f64_join(F64Parts(0u, p.exponent, p.significand));
    // 2 artanh(s) by its series
    let s = f64_div(f64_sub(m, f64_one()), f64_add(m, f64_one()));
    let square = f64_mul(s, s);
    var sum = vec2<u32>(0x590b2164u, 0x3fa642c8u);
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x18618618u, 0x3fa86186u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0xbca1af28u, 0x3faaf286u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x1e1e1e1eu, 0x3fae1e1eu));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x11111111u, 0x3fb11111u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x13b13b14u, 0x3fb3b13bu));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x745d1746u, 0x3fb745d1u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x1c71c71cu, 0x3fbc71c7u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x92492492u, 0x3fc24924u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x9999999au, 0x3fc99999u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x55555555u, 0x3fd55555u));
    sum = f64_add(f64_mul(sum, square), vec2<u32>(0x0u, 0x3ff00000u));
    let twice = f64_mul(f64_add(s, s), sum);
    let high = vec2<u32>(0xfee00000u, 0x3fe62e42u);
    let low = vec2<u32>(0x35793c76u, 0x3dea39efu);
    let whole = f64_from_i32(k);
    return f64_add(f64_mul(whole, high), f64_add(f64_mul(whole, low), twice));
}
