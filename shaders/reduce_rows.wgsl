// Reduces rows whose elements are neighbours, or parts of such rows, on GPUs. Sums carry their rounding error along from
// block to block, as in reduce.wgsl.

//#include common/reduce.wgsl
//#include common/rows.wgsl

alias T = f32; //#type
alias A = f32; //#type
alias R = f32; //#type
alias Y = f32; //#type
const KEPT: u32 = 4u; //#param
const QUADS: u32 = 1u; //#param

struct Params {
    results: u32,
    length: u32,
    base: u32,
    chunks: u32,
    chunk: u32,
    divisor: u32,
    kept: array<vec4<u32>, KEPT / 4u>,
    kept_strides: array<vec4<i32>, KEPT / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
//#if VECTORS
@group(0) @binding(1) var<storage, read> source: array<vec4<T>>;
//#else
@group(0) @binding(1) var<storage, read> source: array<T>;
//#endif
@group(0) @binding(2) var<storage, read_write> result: array<Y>;
//#insert DECLARATIONS

// What is stored for a result.
fn stored(v: R, at: u32) -> Y {
    //#insert RESULT
}

fn element(x: T, inside: bool) -> A {
    return select(start_value(), mapped(loaded(x), A_zero()), inside);
}

fn total(origin: u32, first: u32, end: u32, lane: u32) -> A {
    var sum = Sum(start_value(), A_zero());
    for (var begin = first; begin < end; begin += BLOCK) {
        var x = start_value();
        var y = start_value();
        var z = start_value();
        var w = start_value();
        for (var j = 0u; j < QUADS; j++) { //#unroll
            let place = places(begin, lane, j);
            let at = within(place, end) + origin;
            //#if VECTORS
            let v = source[at.x / 4u];
            x = combine(x, element(v.x, place.x < end));
            y = combine(y, element(v.y, place.x < end));
            z = combine(z, element(v.z, place.x < end));
            w = combine(w, element(v.w, place.x < end));
            //#else
            x = combine(x, element(source[at.x], place.x < end));
            y = combine(y, element(source[at.y], place.y < end));
            z = combine(z, element(source[at.z], place.z < end));
            w = combine(w, element(source[at.w], place.w < end));
            //#endif
        }
        sum = added(sum, combine(combine(x, y), combine(z, w)));
    }
    return sum.sum;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
    let lane = index % LANES;
    let place = (group.y * groups.x + group.x) * ROWS + index / LANES;
    // those without a row go along with the last, as all meet at the barriers
    let row = min(place, params.results - 1u);
    let first = row % params.chunks * params.chunk;
    let end = min(first + params.chunk, params.length);
    let origin = u32(row_start(row / params.chunks));
    let sum = gathered(index, total(origin, first, end, lane), false);
    if lane == 0u && place < params.results {
        result[place] = stored(finish(sum, A_zero()), place);
    }
}
