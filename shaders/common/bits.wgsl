// Weights of few bits, as rows of vectors of four columns: UNIT rows of the matrix in WORDS rows of words, each of which
// holds PER weights of a column, the lowest bits first; behind these a row of scales for each BLOCK of rows. A zero point
// stands in the low bits of its scale (PACKED: of a type whose values leave them free), in a row of its own (ZEROS), or
// is the same for all.
//
// A weight is `(q - zero) * scale`, as in com.microsoft's MatMulNBits and in DequantizeLinear.

const BITS: u32 = 4u; //#param
// 32 / BITS
const PER: u32 = 8u; //#param
const UNIT: u32 = 32u; //#param
// UNIT / PER
const WORDS: u32 = 4u; //#param
const BLOCK: u32 = 32u; //#param
const ZERO: u32 = 8u; //#param

// A number added to this in the bits of its mantissa is a float without a conversion, which many GPUs are slow at.
const MAGIC: f32 = 8388608.0;

@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;

struct Scale {
    scale: vec4<f32>,
    // The zero point, and MAGIC where the sum is exact.
    less: vec4<f32>,
}

// What belongs to the block of row k of four columns of a matrix of `rows` rows: `at` is their first vector, `step` the
// vectors of a row.
fn scale_of(at: u32, step: u32, rows: u32, k: u32) -> Scale {
    let first = (rows + UNIT - 1u) / UNIT * WORDS;
    let block = k / BLOCK;
//#if PACKED
    let both = b[at + (first + block) * step];
    return Scale(bitcast<vec4<f32>>(both & vec4<u32>(0xffffe000u)), vec4<f32>(both & vec4<u32>(0xffu)) + MAGIC);
//#else
//#if ZEROS
    let row = at + (first + 2u * block) * step;
//#if FRACTIONS
    return Scale(bitcast<vec4<f32>>(b[row]), bitcast<vec4<f32>>(b[row + step]));
//#else
    return Scale(bitcast<vec4<f32>>(b[row]), bitcast<vec4<f32>>(b[row + step]) + MAGIC);
//#endif
//#else
    return Scale(bitcast<vec4<f32>>(b[at + (first + block) * step]), vec4<f32>(f32(ZERO) + MAGIC));
//#endif
//#endif
}

// The weights of number `i` of four words, before they are scaled.
fn weights(word: vec4<u32>, i: u32, less: vec4<f32>) -> vec4<f32> {
    let q = (word >> vec4<u32>(i * BITS)) & vec4<u32>((1u << BITS) - 1u);
    let sum = bitcast<vec4<f32>>(q | vec4<u32>(0x4b000000u));
//#if FRACTIONS
    return (sum - MAGIC) - less;
//#else
    return sum - less;
//#endif
}
