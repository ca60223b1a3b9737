// Integers of 8 bits, a word each, as words of four along a dim: the lowest byte first, zeros beyond the dim's end. Where
// FLIPPED unsigned ones become signed, less 128.

//#include common/linear_id.wgsl

//#if VECTOR
alias X = vec4<i32>;
//#else
alias X = i32;
//#endif
// Along the innermost dim a vector makes a word, along another one four vectors make four.
//#if FOUR_WORDS
alias Y = vec4<u32>;
//#else
alias Y = u32;
//#endif

struct Params {
    count: u32,
    base: u32,
    k: u32,
    // Words along the dim.
    words: u32,
    // What lies between neighbours along it.
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;

fn signed(v: X) -> X {
//#if FLIPPED
    return v - X(128);
//#else
    return v;
//#endif
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(id, groups, 64u);
    if i >= params.count {
        return;
    }
//#if INNERMOST
//#if VECTOR
    y[i] = pack4xI8(signed(x[params.base + i]));
//#else
    let k = i % params.words * 4u;
    let start = params.base + i / params.words * params.k + k;
    var four = vec4<i32>();
    for (var j = 0u; j < 4u && k + j < params.k; j++) {
        four[j] = signed(x[start + j]);
    }
    y[i] = pack4xI8(four);
//#endif
//#else
    let row = i / params.inner;
    let k = row % params.words * 4u;
    let start = params.base + (row / params.words * params.k + k) * params.inner + i % params.inner;
    var four = Y();
    for (var j = 0u; j < 4u && k + j < params.k; j++) {
        four |= (bitcast<Y>(signed(x[start + j * params.inner])) & Y(0xffu)) << Y(8u * j);
    }
    y[i] = four;
//#endif
}
