// Rounding to the numbers of narrow floating-point types.

// x rounded to nearest, ties to even, on the grid of floats with this many bits after the point and normal numbers from
// 2^least_exponent on. Overflow is left to the caller.
fn grid_round(x: f32, fraction_bits: i32, least_exponent: i32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude >= 0x7f800000u {
        return x;
    }
    let exponent = i32(magnitude >> 23u) - 127;
    // The grid's step is 2^step, and the significand's last `dropped` bits are below it.
    let step = max(exponent, least_exponent) - fraction_bits;
    let dropped = u32(clamp(step - exponent + 23, 1, 31));
    let significand = (magnitude & 0x7fffffu) | 0x800000u;
    let odd = (significand >> dropped) & 1u;
    let units = (significand + (1u << (dropped - 1u)) - 1u + odd) >> dropped;
    if exponent == 127 && (units >> u32(fraction_bits + 1)) != 0u {
        // rounded up to infinity, which drivers make in their own ways of a product
        return bitcast<f32>(0x7f800000u | (bits & 0x80000000u));
    }
    let rounded = f32(units) * bitcast<f32>(u32(step + 127) << 23u);
    return bitcast<f32>(bitcast<u32>(rounded) | (bits & 0x80000000u));
}

// The rounded x, or where it is above `highest` that number with its sign.
fn grid_saturate(x: f32, highest: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude <= 0x7f800000u && bitcast<f32>(magnitude) > highest {
        return bitcast<f32>(bitcast<u32>(highest) | (bits & 0x80000000u));
    }
    return x;
}

// The rounded x, or where it is above `highest` the float of these bits (infinity or NaN) with its sign.
fn grid_overflow(x: f32, highest: f32, beyond: u32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude <= 0x7f800000u && bitcast<f32>(magnitude) > highest {
        var out = beyond | (bits & 0x80000000u);
        return bitcast<f32>(out);
    }
    return x;
}

// x with 0 for -0, for types without the latter.
fn grid_one_zero(x: f32) -> f32 { return select(x, 0.0, (bitcast<u32>(x) & 0x7fffffffu) == 0u); }
