// Reduces some dims of a strided view. Floats are accumulated in f32, in blocks whose sums are added with the rounding
// error carried along (Kahan, "Further remarks on reducing truncation errors", 1965), so that long sums stay exact.

//#include common/linear_id.wgsl
//#include common/reduce.wgsl

alias T = f32; //#type
alias A = f32; //#type
alias R = f32; //#type
alias Y = f32; //#type
const KEPT: u32 = 4u; //#param
const REDUCED: u32 = 4u; //#param

const LANES: u32 = 64u;
const BLOCK: u32 = 32u;

// A row of `length` elements is reduced in `chunks` parts of `chunk` elements, each giving one result. `divisor` is
// what a mean divides by.
struct Params {
    results: u32,
    length: u32,
    base: u32,
    chunks: u32,
    chunk: u32,
    divisor: u32,
    kept: array<vec4<u32>, KEPT / 4u>,
    kept_strides: array<vec4<i32>, KEPT / 4u>,
    reduced: array<vec4<u32>, REDUCED / 4u>,
    reduced_strides: array<vec4<i32>, REDUCED / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<Y>;
//#insert DECLARATIONS

// What is stored for a result.
fn stored(v: R, at: u32) -> Y {
    //#insert RESULT
}

fn element(start: i32, i: u32) -> A {
    var rest = i;
    var at = start;
    for (var k = REDUCED; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.reduced[d / 4u][d % 4u];
        at += i32(rest % extent) * params.reduced_strides[d / 4u][d % 4u];
        rest /= extent;
    }
    return loaded(source[at]);
}

fn largest(start: i32, first: u32, end: u32, step: u32) -> A {
    var m = A_lowest();
    for (var i = first; i < end; i += step) {
        m = A_max(m, element(start, i));
    }
    return m;
}

fn total(start: i32, first: u32, end: u32, step: u32, top: A) -> A {
    var sum = start_value();
    //#if FLOAT
    //#if SUM
    var lost = A_zero();
    for (var i = first; i < end;) {
        var part = A_zero();
        for (var k = 0u; k < BLOCK && i < end; k++) {
            part = A_add(part, mapped(element(start, i), top));
            i += step;
        }
        let y = A_sub(part, lost);
        let t = A_add(sum, y);
        // an infinite total would make the correction NaN
        lost = select(A_sub(A_sub(t, sum), y), A_zero(), A_is_inf(t) || A_is_nan(t));
        sum = t;
    }
    return sum;
    //#else
    for (var i = first; i < end; i += step) {
        sum = combine(sum, mapped(element(start, i), top));
    }
    return sum;
    //#endif
    //#else
    for (var i = first; i < end; i += step) {
        sum = combine(sum, mapped(element(start, i), top));
    }
    return sum;
    //#endif
}

//#if GROUP
var<workgroup> partial: array<A, LANES>;

fn gather(lane: u32, value: A, maximum: bool) -> A {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            if maximum {
                partial[lane] = A_max(partial[lane], partial[lane + half]);
            } else {
                partial[lane] = combine(partial[lane], partial[lane + half]);
            }
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    // all lanes of a workgroup leave together, so barriers stay uniform
    if index >= params.results {
        return;
    }
    let start = row_start(index / params.chunks);
    let first = index % params.chunks * params.chunk;
    let end = min(first + params.chunk, params.length);
    var top = A_zero();
    //#if EXP
    top = gather(lane, largest(start, first + lane, end, LANES), true);
    //#endif
    let sum = gather(lane, total(start, first + lane, end, LANES, top), false);
    if lane == 0u {
        result[index] = stored(finish(sum, top), index);
    }
}
//#else
@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_id(gid, groups, 64u);
    if index >= params.results {
        return;
    }
    let start = row_start(index / params.chunks);
    let first = index % params.chunks * params.chunk;
    let end = min(first + params.chunk, params.length);
    var top = A_zero();
    //#if EXP
    top = largest(start, first, end, 1u);
    //#endif
    result[index] = stored(finish(total(start, first, end, 1u, top), top), index);
}
//#endif
