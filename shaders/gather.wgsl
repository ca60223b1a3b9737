// Reads by index: whole slices along a dim, single elements along a dim, or slices at index tuples. An index outside
// its extent reads the nearest element. One thread an element of the result.

//#include common/linear_id.wgsl

alias Word = u32; //#param
alias Out = u32; //#param
alias I = i64; //#type
const RANK: u32 = 4u; //#param

// SLICES:   a = the dim's extent, b = elements of a slice, c = number of indices;
//           of a PART: first = its first slice, its slices
// ELEMENTS: a = the dim's extent, b = its stride; first = the result's extents, second = the source's strides
// TUPLES:   a = tuples a batch, b = elements of a slice, c = indices a tuple, d = elements a batch;
//           first = extents, second = strides, at the end of the lists
struct Params {
    count: u32,
    base: u32,
    index_base: u32,
    a: u32,
    b: u32,
    c: u32,
    d: u32,
    // where the result begins, how far its images lie apart, and the elements of one
    y_base: u32,
    y_image: u32,
    image: u32,
    first: array<vec4<u32>, RANK / 4u>,
    second: array<vec4<u32>, RANK / 4u>,
    third: array<vec4<u32>, RANK / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read> indices: array<I>;
@group(0) @binding(3) var<storage, read_write> result: array<Out>;
//#insert DECLARATIONS

// What is stored for an element.
fn stored(v: Word, at: u32) -> Out {
    //#insert RESULT
}

fn place(k: u32, extent: u32) -> u32 {
    let i = I_to_i32(indices[params.index_base + k]);
    return u32(clamp(select(i, i + i32(extent), i < 0), 0, i32(extent) - 1));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    //#if SLICES
    let inner = i % params.b;
    let k = i / params.b % params.c;
    let slice = place(k, params.a);
    //#if PART
    // outer dims of 1; what is not held here wraps beyond it
    let at = (slice - params.first[0].x) * params.b + inner;
    if slice - params.first[0].x >= params.first[0].y {
        return;
    }
    //#else
    let outer = i / params.b / params.c;
    let at = (outer * params.a + slice) * params.b + inner;
    //#endif
    //#endif
    //#if ELEMENTS
    var at = place(i, params.a) * params.b;
    var rest = i;
    for (var n = RANK; n > 0u; n--) {
        let d = n - 1u;
        let extent = params.first[d / 4u][d % 4u];
        // lists are padded with ones at the front, where the coordinate is 0
        at += rest % extent * params.second[d / 4u][d % 4u];
        rest /= extent;
    }
    //#endif
    //#if TUPLES
    let tuple = i / params.b;
    var at = tuple / params.a * params.d + i % params.b;
    for (var n = 0u; n < params.c; n++) {
        let d = RANK - params.c + n;
        at += place(tuple * params.c + n, params.first[d / 4u][d % 4u]) * params.second[d / 4u][d % 4u];
    }
    //#endif
    let to = params.y_base + i / params.image * params.y_image + i % params.image;
    result[to] = stored(source[params.base + at], i);
}
