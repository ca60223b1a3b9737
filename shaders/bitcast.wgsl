// Reinterprets elements of at most 16 bits, whose device words are wider than their codes: the code is taken from one
// word and put into the form of the other type. One thread a word of the result.

//#include common/linear_id.wgsl

// How a code lies in a word: as an integer (0), as the upper half (1), as a number that an f32 of the same value stands
// for (2), as that number's exponent (3), as one half of a word (4); of results only: with its sign extended (5), as
// zero or one (6).
const FROM: u32 = 2u; //#param
const TO: u32 = 0u; //#param
// Bits of a code.
const WIDTH: u32 = 8u; //#param
// Of numbers: bits of the fraction, the exponent's bias, and which codes are no numbers: of the highest exponent (0),
// of all ones but the sign (1), of the sign alone (2), none (3).
const FROM_FRACTION: u32 = 3u; //#param
const FROM_BIAS: u32 = 7u; //#param
const FROM_NAN: u32 = 1u; //#param
const TO_FRACTION: u32 = 3u; //#param
const TO_BIAS: u32 = 7u; //#param
const TO_NAN: u32 = 1u; //#param

struct Params {
    count: u32,
    elements: u32,
    base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> result: array<u32>;

const SIGN: u32 = 1u << (WIDTH - 1u);
const TOP: u32 = SIGN - 1u;

// Of an f32 whose value the type has.
fn code_of(word: u32) -> u32 {
    let sign = (word >> 31u) * SIGN;
    let magnitude = word & 0x7fffffffu;
    let fraction = magnitude & 0x7fffffu;
    if magnitude > 0x7f800000u {
        if FROM_NAN == 0u {
            return sign | ((TOP >> FROM_FRACTION) << FROM_FRACTION) | max(fraction >> (23u - FROM_FRACTION), 1u);
        }
        return select(sign | TOP, SIGN, FROM_NAN == 2u);
    }
    if magnitude == 0x7f800000u {
        return sign | ((TOP >> FROM_FRACTION) << FROM_FRACTION);
    }
    if magnitude == 0u {
        return select(sign, 0u, FROM_NAN == 2u);
    }
    let exponent = i32(magnitude >> 23u) - 127 + i32(FROM_BIAS);
    if exponent > 0 {
        return sign | (u32(exponent) << FROM_FRACTION) | (fraction >> (23u - FROM_FRACTION));
    }
    return sign | ((fraction | 0x800000u) >> u32(min(24 - i32(FROM_FRACTION) - exponent, 31)));
}

// The f32 that stands for a code.
fn number_of(code: u32) -> u32 {
    let sign = (code / SIGN) << 31u;
    let magnitude = code & TOP;
    let exponent = magnitude >> TO_FRACTION;
    let fraction = magnitude & ((1u << TO_FRACTION) - 1u);
    if TO_NAN == 2u && code == SIGN {
        return 0x7fc00000u;
    }
    if (TO_NAN == 1u && magnitude == TOP) || (TO_NAN == 0u && exponent == TOP >> TO_FRACTION) {
        return sign | 0x7f800000u | (fraction << (23u - TO_FRACTION));
    }
    if exponent == 0u {
        let scale = bitcast<f32>((128u - TO_BIAS - TO_FRACTION) << 23u);
        return sign | bitcast<u32>(f32(fraction) * scale);
    }
    return sign | ((exponent + 127u - TO_BIAS) << 23u) | (fraction << (23u - TO_FRACTION));
}

fn code_at(i: u32) -> u32 {
    let at = params.base + i;
    if FROM == 4u {
        return (source[at / 2u] >> (at % 2u * 16u)) & 0xffffu;
    }
    let word = source[at];
    if FROM == 1u {
        return word >> 16u;
    }
    if FROM == 2u {
        return code_of(word);
    }
    if FROM == 3u {
        return (word >> 23u) & 0xffu;
    }
    return word & (TOP | SIGN);
}

fn word_of(code: u32) -> u32 {
    if TO == 1u {
        return code << 16u;
    }
    if TO == 2u {
        return number_of(code);
    }
    if TO == 3u {
        // the least power is no normal number, the highest exponent no number at all
        return select(select(code << 23u, 0x400000u, code == 0u), 0x7fc00000u, code == 0xffu);
    }
    if TO == 5u {
        return (code ^ SIGN) - SIGN;
    }
    return select(code, u32(code != 0u), TO == 6u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    if TO == 4u {
        var word = code_at(i * 2u);
        if i * 2u + 1u < params.elements {
            word |= code_at(i * 2u + 1u) << 16u;
        }
        result[i] = word;
    } else {
        result[i] = word_of(code_at(i));
    }
}
