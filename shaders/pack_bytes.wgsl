// Rows of integers of 8 bits, a word each, as rows of words of four: the lowest byte first, zeros beyond a row's end.
// Where FLIPPED unsigned ones become signed, less 128.

//#include common/linear_id.wgsl

//#if VECTOR
alias X = vec4<i32>;
//#else
alias X = i32;
//#endif

struct Params {
    count: u32,
    base: u32,
    k: u32,
    // Words of a row.
    words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(id, groups, 64u);
    if i >= params.count {
        return;
    }
//#if VECTOR
    var four = x[params.base + i];
//#else
    let k = i % params.words * 4u;
    let start = params.base + i / params.words * params.k + k;
    var four = vec4<i32>();
    for (var j = 0u; j < 4u && k + j < params.k; j++) {
        four[j] = x[start + j];
    }
//#endif
//#if FLIPPED
    four -= vec4<i32>(128);
//#endif
    y[i] = pack4xI8(four);
}
