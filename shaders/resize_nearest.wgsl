// Picks one element of a strided view for each element of the output, by a table of coordinates for each dim.

//#include common/linear_id.wgsl

alias Word = u32; //#param
alias Out = u32; //#param
const RANK: u32 = 4u; //#param

struct Params {
    count: u32,
    base: u32,
    // where the output begins, how far its images lie apart, and the elements of one
    y_base: u32,
    y_image: u32,
    image: u32,
    shape: array<vec4<u32>, RANK / 4u>,
    tables: array<vec4<u32>, RANK / 4u>,
    strides: array<vec4<i32>, RANK / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Word>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> fill: array<Word>;
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#insert DECLARATIONS

// What is stored for an element.
fn stored(v: Word, at: u32) -> Out {
    //#insert RESULT
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i;
    var at = i32(params.base);
    var inside = true;
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.shape[d / 4u][d % 4u];
        let stride = params.strides[d / 4u][d % 4u];
        let c = table[params.tables[d / 4u][d % 4u] + rest % extent];
        rest /= extent;
        inside = inside && c != 0xffffffffu;
        at += select(0, i32(c), inside) * stride;
    }
    var v = fill[0];
    if inside {
        v = x[at];
    }
    let to = params.y_base + i / params.image * params.y_image + i % params.image;
    y[to] = stored(v, i);
}
