// 32-bit floats. NaN and infinity are told by their bits and made from bits: comparisons of NaN and arithmetic that
// yields infinity differ between drivers, and a constant expression of WGSL holds neither. The functions keep to the
// WGSL operations that are exact everywhere (or nearly so), as the built-in ones lose accuracy on some drivers.

fn f32_of_bits(bits: u32) -> f32 {
    // The variable keeps this from being a constant expression.
    var b = bits;
    return bitcast<f32>(b);
}

fn f32_inf() -> f32 { return f32_of_bits(0x7f800000u); }
fn f32_nan() -> f32 { return f32_of_bits(0x7fc00000u); }
fn f32_zero() -> f32 { return 0.0; }
fn f32_one() -> f32 { return 1.0; }
fn f32_lowest() -> f32 { return f32_of_bits(0xff800000u); }
fn f32_highest() -> f32 { return f32_inf(); }

fn f32_magnitude_bits(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn f32_is_nan(x: f32) -> bool { return f32_magnitude_bits(x) > 0x7f800000u; }
fn f32_is_inf(x: f32) -> bool { return f32_magnitude_bits(x) == 0x7f800000u; }
fn f32_is_negative(x: f32) -> bool { return (bitcast<u32>(x) >> 31u) == 1u; }
fn f32_ordered(a: f32, b: f32) -> bool { return !(f32_is_nan(a) || f32_is_nan(b)); }
fn f32_with_sign_of(x: f32, s: f32) -> f32 {
    return bitcast<f32>(f32_magnitude_bits(x) | (bitcast<u32>(s) & 0x80000000u));
}

fn f32_add(a: f32, b: f32) -> f32 { return a + b; }
fn f32_sub(a: f32, b: f32) -> f32 { return a - b; }
fn f32_mul(a: f32, b: f32) -> f32 { return a * b; }
fn f32_div(a: f32, b: f32) -> f32 { return a / b; }
fn f32_neg(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ 0x80000000u); }
fn f32_abs(x: f32) -> f32 { return bitcast<f32>(f32_magnitude_bits(x)); }

fn f32_sign(x: f32) -> f32 {
    let one = f32_with_sign_of(1.0, x);
    return select(one, x, f32_magnitude_bits(x) == 0u || f32_is_nan(x));
}

// NaN where either is NaN, as ONNX and numpy have it.
fn f32_min(a: f32, b: f32) -> f32 {
    let least = select(b, a, a < b || f32_is_nan(a));
    return select(least, b, f32_is_nan(b));
}

fn f32_max(a: f32, b: f32) -> f32 {
    let most = select(b, a, a > b || f32_is_nan(a));
    return select(most, b, f32_is_nan(b));
}

fn f32_lt(a: f32, b: f32) -> bool { return a < b && f32_ordered(a, b); }
fn f32_le(a: f32, b: f32) -> bool { return a <= b && f32_ordered(a, b); }
fn f32_gt(a: f32, b: f32) -> bool { return a > b && f32_ordered(a, b); }
fn f32_ge(a: f32, b: f32) -> bool { return a >= b && f32_ordered(a, b); }
fn f32_eq(a: f32, b: f32) -> bool { return a == b && f32_ordered(a, b); }
fn f32_ne(a: f32, b: f32) -> bool { return !f32_eq(a, b); }

// The significand of a positive finite number of these bits, as an integer of 24 bits whose highest is set (x), and the
// exponent of its lowest bit (y).
fn f32_split(bits: u32) -> vec2<i32> {
    let exponent = i32(bits >> 23u);
    let fraction = bits & 0x7fffffu;
    if exponent == 0 {
        let shift = countLeadingZeros(fraction) - 8u;
        return vec2<i32>(i32(fraction << shift), -149 - i32(shift));
    }
    return vec2<i32>(i32(fraction | 0x800000u), exponent - 150);
}

// C's fmod: the remainder of the division whose quotient is cut to an integer, which is exact.
fn f32_rem(a: f32, b: f32) -> f32 {
    let ma = f32_magnitude_bits(a);
    let mb = f32_magnitude_bits(b);
    if ma >= 0x7f800000u || mb > 0x7f800000u || mb == 0u {
        return f32_nan();
    }
    if ma < mb {
        return a;
    }
    let sa = f32_split(ma);
    let sb = f32_split(mb);
    let divisor = u32(sb.x);
    var rest = u32(sa.x) % divisor;
    // Long division, by 8 bits at a time: the rest is below 2^24.
    for (var left = sa.y - sb.y; left > 0; left -= 8) {
        rest = (rest << u32(min(left, 8))) % divisor;
    }
    return f32_with_sign_of(f32_ldexp_exact(rest, sb.y), a);
}

// n * 2^e for n below 2^24, where it is representable.
fn f32_ldexp_exact(n: u32, e: i32) -> f32 {
    if n == 0u {
        return 0.0;
    }
    let up = countLeadingZeros(n) - 8u;
    let exponent = e - i32(up) + 150;
    if exponent <= 0 {
        return bitcast<f32>((n << up) >> u32(1 - exponent));
    }
    return bitcast<f32>(((n << up) & 0x7fffffu) | (u32(exponent) << 23u));
}

// The remainder with the divisor's sign.
fn f32_modulo(a: f32, b: f32) -> f32 {
    let r = f32_rem(a, b);
    if f32_is_nan(r) {
        return r;
    }
    if f32_magnitude_bits(r) == 0u {
        return f32_with_sign_of(r, b);
    }
    if f32_is_negative(r) != f32_is_negative(b) {
        return r + b;
    }
    return r;
}

fn f32_floor(x: f32) -> f32 { return floor(x); }
fn f32_ceil(x: f32) -> f32 { return ceil(x); }
fn f32_trunc(x: f32) -> f32 { return trunc(x); }
// Halves to even.
fn f32_round(x: f32) -> f32 { return round(x); }

fn f32_sqrt(x: f32) -> f32 {
    if x < 0.0 {
        return f32_nan();
    }
    if f32_is_inf(x) || f32_magnitude_bits(x) == 0u {
        return x;
    }
    return sqrt(x);
}

fn f32_rsqrt(x: f32) -> f32 { return f32_recip(f32_sqrt(x)); }

fn f32_recip(x: f32) -> f32 {
    if f32_magnitude_bits(x) == 0u {
        return f32_with_sign_of(f32_inf(), x);
    }
    return 1.0 / x;
}

// 2^n for n from -126 to 127.
fn f32_two_to(n: i32) -> f32 { return bitcast<f32>(u32(n + 127) << 23u); }

// x * 2^n for n from -252 to 254, in two steps as 2^n itself may be out of range.
fn f32_scale(x: f32, n: i32) -> f32 {
    let half = n >> 1u;
    return x * f32_two_to(half) * f32_two_to(n - half);
}

// The polynomials and argument reductions from here to the error function, but for those of pow, are those of Cephes'
// single-precision library (S. L. Moshier), unless noted otherwise.

// e^r - 1 for r up to ln(2) / 2 either way.
fn f32_expm1_core(r: f32) -> f32 {
    var p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    return p * (r * r) + r;
}

// x - n ln(2), with ln(2) in two parts of which n times the first is exact.
fn f32_minus_ln2(x: f32, n: f32) -> f32 { return (x - n * 0.693359375) + n * 2.12194440e-4; }

fn f32_nearest_log2(x: f32) -> f32 { return floor(x * 1.44269504088896341 + 0.5); }

// e^x * 2^shift, which may be in range where e^x is not; the shift is small.
fn f32_exp_shifted(x: f32, shift: i32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    let c = clamp(x, -105.0, 91.0);
    let n = f32_nearest_log2(c);
    return f32_scale(1.0 + f32_expm1_core(f32_minus_ln2(c, n)), i32(n) + shift);
}

fn f32_exp(x: f32) -> f32 { return f32_exp_shifted(x, 0); }

fn f32_expm1(x: f32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    if x > 80.0 {
        return f32_exp(x);
    }
    let c = max(x, -20.0);
    let n = f32_nearest_log2(c);
    let r = f32_expm1_core(f32_minus_ln2(c, n));
    if n == 0.0 {
        return r;
    }
    let power = f32_two_to(i32(n));
    return power * r + (power - 1.0);
}

// ln(1 + f) + k ln(2) for 1 + f from sqrt(1/2) to sqrt(2).
fn f32_log_core(f: f32, k: f32) -> f32 {
    var p = 7.0376836292e-2;
    p = p * f - 1.1514610310e-1;
    p = p * f + 1.1676998740e-1;
    p = p * f - 1.2420140846e-1;
    p = p * f + 1.4249322787e-1;
    p = p * f - 1.6668057665e-1;
    p = p * f + 2.0000714765e-1;
    p = p * f - 2.4999993993e-1;
    p = p * f + 3.3333331174e-1;
    let z = f * f;
    let low = f * z * p - 2.12194440e-4 * k - 0.5 * z;
    return (f + low) + 0.693359375 * k;
}

fn f32_log(x: f32) -> f32 {
    let magnitude = f32_magnitude_bits(x);
    if magnitude == 0u {
        return f32_lowest();
    }
    if f32_is_negative(x) {
        return f32_nan();
    }
    if magnitude >= 0x7f800000u {
        return x;
    }
    let s = f32_split(magnitude);
    // The significand as a float from sqrt(1/2) to sqrt(2).
    let above = s.x >= 0xb504f3;
    let m = bitcast<f32>((u32(s.x) & 0x7fffffu) | select(0x3f800000u, 0x3f000000u, above));
    return f32_log_core(m - 1.0, f32(s.y + select(23, 24, above)));
}

fn f32_log1p(x: f32) -> f32 {
    if x > -0.2928 && x < 0.4142 {
        // The product of the smallest numbers may be no float at all.
        return select(f32_log_core(x, 0.0), x, abs(x) < 1e-8);
    }
    return f32_log(1.0 + x);
}

struct F32Reduced {
    // x less the nearest multiple of pi / 2
    rest: f32,
    // that multiple, modulo 4
    quadrant: u32,
}

// x is finite.
fn f32_reduce(x: f32) -> F32Reduced {
    if abs(x) < 12800.0 {
        let n = floor(x * 0.63661977236758134 + 0.5);
        // Pi / 2 in four parts, of which n times each of the first two (for small n, three) is exact.
        let near = (x - n * 1.5703125) - n * 4.837512969970703125e-4;
        let rest = (near - n * 7.549533620476723e-8) - n * 2.5633440682570896e-12;
        return F32Reduced(rest, bitcast<u32>(i32(n)) & 3u);
    }
    return f32_reduce_large(x);
}

// The reduction of M. H. Payne and R. N. Hanek: multiplies by just those bits of 2 / pi that matter for the quadrant and
// for 62 bits after it.
fn f32_reduce_large(x: f32) -> F32Reduced {
    // 0, then the first bits of 2 / pi.
    var table = array<u32, 7>(
        0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u,
    );
    let bits = f32_magnitude_bits(x);
    let significand = (bits << 8u) | 0x80000000u;
    let skip = (bits >> 23u) - 128u;
    let word = skip >> 5u;
    let shift = skip & 31u;
    let w0 = u64_shl_by(vec2<u32>(table[word + 1u], table[word]), shift).y;
    let w1 = u64_shl_by(vec2<u32>(table[word + 2u], table[word + 1u]), shift).y;
    let w2 = u64_shl_by(vec2<u32>(table[word + 3u], table[word + 2u]), shift).y;
    let low = u64_mul_wide(significand, w2).y;
    let middle = u64_add(u64_mul_wide(significand, w1), vec2<u32>(low, 0u));
    let product = vec2<u32>(middle.x, middle.y + significand * w0);
    // The product counts quarters of a turn, with 62 bits after the point.
    var quadrant = product.y >> 30u;
    var part = vec2<u32>(product.x, product.y & 0x3fffffffu);
    let past_half = (part.y & 0x20000000u) != 0u;
    if past_half {
        part = u64_sub(vec2<u32>(0u, 0x40000000u), part);
        quadrant += 1u;
    }
    let up = u64_leading_zeros(part);
    let leading = f32_from_u32(u64_shl_by(part, up).y);
    var rest = leading * 1.57079632679489662 * f32_two_to(-30 - i32(up));
    if past_half != f32_is_negative(x) {
        rest = -rest;
    }
    if f32_is_negative(x) {
        quadrant = 4u - quadrant;
    }
    return F32Reduced(rest, quadrant & 3u);
}

// The sine of a number up to pi / 4 either way.
fn f32_sin_core(x: f32) -> f32 {
    let z = x * x;
    return ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * x + x;
}

fn f32_cos_core(x: f32) -> f32 {
    let z = x * x;
    let p = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2;
    return p * z * z - 0.5 * z + 1.0;
}

// The sine of a number reduced to a rest and a quadrant.
fn f32_sin_of(rest: f32, quadrant: u32) -> f32 {
    let y = select(f32_sin_core(rest), f32_cos_core(rest), (quadrant & 1u) == 1u);
    return select(y, -y, (quadrant & 2u) == 2u);
}

fn f32_sin(x: f32) -> f32 {
    if f32_magnitude_bits(x) >= 0x7f800000u {
        return f32_nan();
    }
    let r = f32_reduce(x);
    return f32_sin_of(r.rest, r.quadrant);
}

fn f32_cos(x: f32) -> f32 {
    if f32_magnitude_bits(x) >= 0x7f800000u {
        return f32_nan();
    }
    let r = f32_reduce(x);
    return f32_sin_of(r.rest, r.quadrant + 1u);
}

fn f32_tan(x: f32) -> f32 {
    if f32_magnitude_bits(x) >= 0x7f800000u {
        return f32_nan();
    }
    let r = f32_reduce(x);
    let z = r.rest * r.rest;
    var p = 9.38540185543e-3;
    p = p * z + 3.11992232697e-3;
    p = p * z + 2.44301354525e-2;
    p = p * z + 5.34112807005e-2;
    p = p * z + 1.33387994085e-1;
    p = p * z + 3.33331568548e-1;
    let y = p * z * r.rest + r.rest;
    if (r.quadrant & 1u) == 1u {
        return -1.0 / y;
    }
    return y;
}

// The arc sine of a number up to 1/2 either way, whose square is z.
fn f32_asin_core(x: f32, z: f32) -> f32 {
    var p = 4.2163199048e-2;
    p = p * z + 2.4181311049e-2;
    p = p * z + 4.5470025998e-2;
    p = p * z + 7.4953002686e-2;
    p = p * z + 1.6666752422e-1;
    return p * z * x + x;
}

fn f32_asin(x: f32) -> f32 {
    let a = abs(x);
    if !f32_le(a, 1.0) {
        return f32_nan();
    }
    if a <= 0.5 {
        return f32_asin_core(x, x * x);
    }
    let z = 0.5 * (1.0 - a);
    return f32_with_sign_of(1.57079632679489662 - 2.0 * f32_asin_core(sqrt(z), z), x);
}

fn f32_acos(x: f32) -> f32 {
    let a = abs(x);
    if !f32_le(a, 1.0) {
        return f32_nan();
    }
    if a <= 0.5 {
        return 1.57079632679489662 - f32_asin_core(x, x * x);
    }
    let z = 0.5 * (1.0 - a);
    let y = 2.0 * f32_asin_core(sqrt(z), z);
    return select(y, 3.14159265358979324 - y, x < 0.0);
}

fn f32_atan(x: f32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    let a = abs(x);
    var t = a;
    var y = 0.0;
    if a > 2.414213562373095 {
        y = 1.57079632679489662;
        t = select(-1.0 / a, 0.0, f32_is_inf(a));
    } else if a > 0.4142135623730950 {
        y = 0.785398163397448310;
        t = (a - 1.0) / (a + 1.0);
    }
    let z = t * t;
    var p = 8.05374449538e-2;
    p = p * z - 1.38776856032e-1;
    p = p * z + 1.99777106478e-1;
    p = p * z - 3.33329491539e-1;
    return f32_with_sign_of(y + (p * z * t + t), x);
}

fn f32_sinh(x: f32) -> f32 {
    let a = abs(x);
    if a <= 1.0 {
        let z = x * x;
        return ((2.03721912945e-4 * z + 8.33028376239e-3) * z + 1.66667160211e-1) * z * x + x;
    }
    let half = f32_exp_shifted(a, -1);
    return f32_with_sign_of(half - 0.25 / half, x);
}

fn f32_cosh(x: f32) -> f32 {
    let half = f32_exp_shifted(abs(x), -1);
    return half + 0.25 / half;
}

fn f32_tanh(x: f32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    let a = abs(x);
    if a < 0.625 {
        let z = x * x;
        var p = -5.70498872745e-3;
        p = p * z + 2.06390887954e-2;
        p = p * z - 5.37397155531e-2;
        p = p * z + 1.33314422036e-1;
        p = p * z - 3.33332819422e-1;
        return p * z * x + x;
    }
    // Past 10 it is 1 to all bits.
    let y = 1.0 - 2.0 / (f32_exp(2.0 * min(a, 10.0)) + 1.0);
    return f32_with_sign_of(y, x);
}

fn f32_asinh(x: f32) -> f32 {
    if f32_magnitude_bits(x) >= 0x7f800000u {
        return x;
    }
    let a = abs(x);
    if a < 0.5 {
        let z = x * x;
        var p = 2.0122003309e-2;
        p = p * z - 4.2699340972e-2;
        p = p * z + 7.4847586088e-2;
        p = p * z - 1.6666288134e-1;
        return p * z * x + x;
    }
    if a > 1500.0 {
        return f32_with_sign_of(f32_log(a) + 0.693147180559945309, x);
    }
    return f32_with_sign_of(f32_log(a + sqrt(a * a + 1.0)), x);
}

fn f32_acosh(x: f32) -> f32 {
    if !f32_ge(x, 1.0) {
        return f32_nan();
    }
    if x > 1500.0 {
        return f32_log(x) + 0.693147180559945309;
    }
    let z = x - 1.0;
    if z < 0.5 {
        var p = 1.7596881071e-3;
        p = p * z - 7.5272886713e-3;
        p = p * z + 2.6454905019e-2;
        p = p * z - 1.1784741703e-1;
        p = p * z + 1.4142135263;
        return p * sqrt(z);
    }
    return f32_log(x + sqrt(z * (x + 1.0)));
}

fn f32_atanh(x: f32) -> f32 {
    let a = abs(x);
    if !f32_le(a, 1.0) {
        return f32_nan();
    }
    if a < 0.5 {
        let z = x * x;
        var p = 1.81740078349e-1;
        p = p * z + 8.24370301058e-2;
        p = p * z + 1.46691431730e-1;
        p = p * z + 1.99782164500e-1;
        p = p * z + 3.33337300303e-1;
        return p * z * x + x;
    }
    if a == 1.0 {
        return f32_with_sign_of(f32_inf(), x);
    }
    return f32_with_sign_of(0.5 * f32_log((1.0 + a) / (1.0 - a)), x);
}

// 1 - erf(b) for b from 1 on.
fn f32_erfc_tail(b: f32) -> f32 {
    let q = 1.0 / b;
    let y = q * q;
    var p: f32;
    if b < 2.0 {
        p = 2.326819970068386e-2;
        p = p * y - 1.387039388740657e-1;
        p = p * y + 3.687424674597105e-1;
        p = p * y - 5.824733027278666e-1;
        p = p * y + 6.210004621745983e-1;
        p = p * y - 4.944515323274145e-1;
        p = p * y + 3.404879937665872e-1;
        p = p * y - 2.741127028184656e-1;
        p = p * y + 5.638259427386472e-1;
    } else {
        p = -1.047766399936249e1;
        p = p * y + 1.297719955372516e1;
        p = p * y - 7.495518717768503;
        p = p * y + 2.921019019210786;
        p = p * y - 1.015265279202700;
        p = p * y + 4.218463358204948e-1;
        p = p * y - 2.820767439740514e-1;
        p = p * y + 5.641895067754075e-1;
    }
    return f32_exp(-b * b) * q * p;
}

fn f32_erf(x: f32) -> f32 {
    if f32_is_nan(x) {
        return x;
    }
    let a = abs(x);
    if a < 1.0 {
        let z = x * x;
        var p = 7.853861353153693e-5;
        p = p * z - 8.010193625184903e-4;
        p = p * z + 5.188327685732524e-3;
        p = p * z - 2.685381193529856e-2;
        p = p * z + 1.128358514861418e-1;
        p = p * z - 3.761262582423300e-1;
        p = p * z + 1.128379165726710;
        return p * x;
    }
    // Past 4 it is 1 to all bits.
    return f32_with_sign_of(1.0 - f32_erfc_tail(min(a, 4.0)), x);
}

// 1 - erf(x), without the cancellation.
fn f32_erfc(x: f32) -> f32 {
    if f32_is_nan(x) || x < 1.0 {
        return 1.0 - f32_erf(x);
    }
    return f32_erfc_tail(min(x, 12.0));
}

fn f32_sigmoid(x: f32) -> f32 {
    let e = f32_exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// ln(1 + e^x)
fn f32_softplus(x: f32) -> f32 { return max(x, 0.0) + f32_log1p(f32_exp(-abs(x))); }

// How y counts as a power: 0 no integer, 1 odd, 2 even.
fn f32_parity(y: f32) -> u32 {
    let bits = f32_magnitude_bits(y);
    if bits >= 0x4b800000u {
        return 2u;
    }
    if bits < 0x3f800000u {
        return 0u;
    }
    let below_point = 150u - (bits >> 23u);
    let n = bits >> below_point;
    return select(0u, 2u - (n & 1u), (n << below_point) == bits);
}

// The nearest float16, to even.
fn f32_as_half(x: f32) -> f32 {
    let size = f32_magnitude_bits(x);
    if size >= 0x477ff000u {
        return select(f32_with_sign_of(f32_inf(), x), x, f32_is_nan(x));
    }
    // below 2^-14 in steps of 2^-24
    if size < 0x38800000u {
        return f32_with_sign_of(round(abs(x) * 16777216.0) / 16777216.0, x);
    }
    let bits = bitcast<u32>(x);
    return bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
}

// The high bits of x, few enough for exact products of two such.
fn f32_high(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }

// a / b, rounded correctly: drivers may be 2.5 units in the last place off, of which one shifts a quantised value. The
// remainder, whose products of halves are exact, corrects the quotient.
fn f32_quotient(a: f32, b: f32) -> f32 {
    let q = a / b;
    let size = abs(a);
    if !(size > 1e-25 && size < 1e25 && abs(b) > 1e-25 && abs(b) < 1e25) {
        return q;
    }
    let qh = f32_high(q);
    let bh = f32_high(b);
    let ql = q - qh;
    let bl = b - bh;
    return q + (((a - qh * bh) - qh * bl) - ql * bh - ql * bl) / b;
}

// The binary logarithm of a number of these bits, positive and finite, in a high part and a low one (FreeBSD's e_powf.c).
fn f32_log2_parts(bits: u32) -> vec2<f32> {
    let s = f32_split(bits);
    var n = s.y + 23;
    let fraction = u32(s.x) & 0x7fffffu;
    var b = fraction | 0x3f800000u;
    // The significand from sqrt(3/4) to sqrt(3), and 1 or 3/2, the nearer.
    let near_one = fraction <= 0x1cc471u || fraction >= 0x5db3d7u;
    if fraction >= 0x5db3d7u {
        n += 1;
        b -= 0x800000u;
    }
    let a = bitcast<f32>(b);
    let c = select(1.5, 1.0, near_one);
    let u = a - c;
    let v = 1.0 / (a + c);
    let r = u * v;
    let r_high = f32_high(r);
    let sum_high = bitcast<f32>(
        (((b >> 1u) & 0xfffff000u) | 0x20000000u) + select(0x00600000u, 0x00400000u, near_one)
    );
    let sum_low = a - (sum_high - c);
    let r_low = v * ((u - r_high * sum_high) - r_high * sum_low);
    let r2 = r * r;
    var p = 2.0697501302e-1;
    p = p * r2 + 2.3066075146e-1;
    p = p * r2 + 2.7272811532e-1;
    p = p * r2 + 3.3333334327e-1;
    p = p * r2 + 4.2857143283e-1;
    p = p * r2 + 6.0000002384e-1;
    let q = r2 * r2 * p + r_low * (r_high + r);
    let r2_high = r_high * r_high;
    let t_high = f32_high(3.0 + r2_high + q);
    let t_low = q - ((t_high - 3.0) - r2_high);
    let product = r_high * t_high;
    let product_low = r_low * t_high + t_low * r;
    let p_high = f32_high(product + product_low);
    let p_low = product_low - (p_high - product);
    let z_high = 9.6191406250e-1 * p_high;
    let z_low = -1.1736857402e-4 * p_high + p_low * 9.6179670095e-1 + select(1.56322085e-6, 0.0, near_one);
    let log_c = select(5.84960938e-1, 0.0, near_one);
    let whole = f32(n);
    let high = f32_high(((z_high + z_low) + log_c) + whole);
    return vec2<f32>(high, z_low - (((high - whole) - log_c) - z_high));
}

// As f32_log2_parts, for a number within 2^-20 of 1.
fn f32_log2_parts_near_one(a: f32) -> vec2<f32> {
    let t = a - 1.0;
    let w = (t * t) * (0.5 - t * (0.333333333333 - t * 0.25));
    let u = 1.4426879883 * t;
    let v = t * 7.0526075433e-6 - w * 1.4426950216;
    let high = f32_high(u + v);
    return vec2<f32>(high, v - (high - u));
}

// 2^(high + low)
fn f32_exp2_parts(high: f32, low: f32) -> f32 {
    let z = high + low;
    if z > 130.0 {
        return f32_inf();
    }
    if z < -152.0 {
        return 0.0;
    }
    let n = floor(z + 0.5);
    let h = high - n;
    let t = bitcast<f32>(bitcast<u32>(h + low) & 0xffff8000u);
    let u = t * 6.93145752e-1;
    let v = (low - (t - h)) * 6.9314718246e-1 + t * 1.42860654e-6;
    let y = u + v;
    let w = v - (y - u);
    let s = y * y;
    var p = 4.1381369442e-8;
    p = p * s - 1.6533901999e-6;
    p = p * s + 6.6137559770e-5;
    p = p * s - 2.7777778450e-3;
    p = p * s + 1.6666667163e-1;
    let d = y - s * p;
    let r = (y * d) / (d - 2.0) - (w + y * w);
    return f32_scale(1.0 - (r - y), i32(n));
}

// C's pow.
fn f32_pow(x: f32, y: f32) -> f32 {
    let mx = f32_magnitude_bits(x);
    let my = f32_magnitude_bits(y);
    if my == 0u || bitcast<u32>(x) == 0x3f800000u {
        return 1.0;
    }
    if mx > 0x7f800000u || my > 0x7f800000u {
        return f32_nan();
    }
    if my == 0x7f800000u {
        if mx == 0x3f800000u {
            return 1.0;
        }
        return select(0.0, f32_inf(), (mx > 0x3f800000u) != f32_is_negative(y));
    }
    if y == 2.0 {
        return x * x;
    }
    let parity = f32_parity(y);
    let negates = f32_is_negative(x) && parity == 1u;
    var power: f32;
    if mx == 0u || mx == 0x7f800000u {
        power = select(0.0, f32_inf(), (mx == 0u) == f32_is_negative(y));
    } else if f32_is_negative(x) && parity == 0u {
        return f32_nan();
    } else if mx == 0x3f800000u {
        power = 1.0;
    } else if my > 0x4d000000u && (mx < 0x3f7ffff8u || mx > 0x3f800007u) {
        power = select(0.0, f32_inf(), (mx > 0x3f800000u) != f32_is_negative(y));
    } else {
        var log: vec2<f32>;
        if my > 0x4d000000u {
            log = f32_log2_parts_near_one(bitcast<f32>(mx));
        } else {
            log = f32_log2_parts(mx);
        }
        let y_high = f32_high(y);
        power = f32_exp2_parts(y_high * log.x, (y - y_high) * log.x + y * log.y);
    }
    return select(power, -power, negates);
}

fn f32_from_f32(x: f32) -> f32 { return x; }
fn f32_from_i32(x: i32) -> f32 { return f32(x); }

// Some drivers round the built-in conversion wrongly from 2^31 on, so that those numbers go by their halves, whose lowest
// bit stands for all that is cut off.
fn f32_from_u32(x: u32) -> f32 {
    if x < 0x80000000u {
        return f32(i32(x));
    }
    return f32(i32((x >> 1u) | (x & 1u))) * 2.0;
}

// To nearest, ties to even.
fn f32_from_u64(x: vec2<u32>) -> f32 {
    if x.y == 0u && x.x == 0u {
        return 0.0;
    }
    let up = u64_leading_zeros(x);
    let n = u64_shl_by(x, up);
    // 24 bits stay, and a carry out of them goes on into the exponent.
    let kept = n.y >> 8u;
    let rest = n.y & 0xffu;
    let rounds_up = rest > 0x80u || (rest == 0x80u && (n.x != 0u || (kept & 1u) == 1u));
    return bitcast<f32>(((189u - up) << 23u) + kept + u32(rounds_up));
}

fn f32_from_i64(x: vec2<u32>) -> f32 {
    return f32_with_sign_of(f32_from_u64(i64_abs(x)), bitcast<f32>(x.y & 0x80000000u));
}

fn f32_to_f32(x: f32) -> f32 { return x; }
fn f32_to_i32(x: f32) -> i32 { return i32_from_f32(x); }
fn f32_to_u32(x: f32) -> u32 { return u32_from_f32(x); }
fn f32_to_i64(x: f32) -> vec2<u32> { return i64_from_f32(x); }
fn f32_to_u64(x: f32) -> vec2<u32> { return u64_from_f32(x); }
