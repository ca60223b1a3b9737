// exp(x - max) / sum along the middle of [outer, n, inner], its logarithm, or a one at the first maximum.

//#include common/linear_id.wgsl
//#include common/softmax.wgsl

alias T = f32; //#type
alias Y = f32; //#type
const LANES: u32 = 64u;

struct Params {
    rows: u32,
    n: u32,
    inner: u32,
    base: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<Y>;
//#insert DECLARATIONS

// What is stored for a value.
fn stored(v: T, at: u32) -> Y {
    //#insert RESULT
}

//#if GROUP
var<workgroup> partial: array<f32, LANES>;
//#if HARD
var<workgroup> place: array<u32, LANES>;
//#endif

fn largest_of_all(lane: u32, value: f32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] = f32_max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

fn sum_of_all(lane: u32, value: f32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}
//#endif

@compute @workgroup_size(64, 1, 1)
//#if GROUP
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    let step = LANES;
    //#else
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_id(gid, groups, 64u);
    let lane = 0u;
    let step = 1u;
    //#endif
    if row >= params.rows {
        return;
    }
    let start = row / params.inner * params.n * params.inner + row % params.inner;
    let origin = params.base + start;

    var top = f32_lowest();
    for (var i = lane; i < params.n; i += step) {
        top = f32_max(top, T_to_f32(source[origin + i * params.inner]));
    }
    //#if GROUP
    top = largest_of_all(lane, top);
    //#endif

    //#if HARD
    var first = params.n;
    for (var i = lane; i < params.n; i += step) {
        let x = T_to_f32(source[origin + i * params.inner]);
        if first == params.n && (x == top || f32_is_nan(x)) {
            first = i;
        }
    }
    //#if GROUP
    place[lane] = first;
    workgroupBarrier();
    for (var k = 0u; k < LANES; k++) {
        first = min(first, place[k]);
    }
    //#endif
    for (var i = lane; i < params.n; i += step) {
        let at = start + i * params.inner;
        result[at] = stored(T_from_f32(select(0.0, 1.0, i == first)), at);
    }
    //#else
    var sum = 0.0;
    //#if BLOCKS
    // sums of 8 round with each addend; these are added unrounded, so that long rows do not stall
    for (var first = lane * 8u; first < params.n; first += step * 8u) {
        var part = 0.0;
        for (var i = first; i < min(first + 8u, params.n); i++) {
            part = rounded(part + weight(T_to_f32(source[origin + i * params.inner]), top));
        }
        sum += part;
    }
    //#else
    for (var i = lane; i < params.n; i += step) {
        sum += weight(T_to_f32(source[origin + i * params.inner]), top);
    }
    //#endif
    //#if GROUP
    sum = sum_of_all(lane, sum);
    //#endif
    sum = rounded(sum);
    //#if MASKED
    if f32_is_inf(top) && top < 0.0 {
        sum = 1.0;
    }
    //#endif

    //#if LOG
    let log_sum = f32_log(sum);
    for (var i = lane; i < params.n; i += step) {
        let x = T_to_f32(source[origin + i * params.inner]);
        let at = start + i * params.inner;
        result[at] = stored(T_from_f32((x - top) - log_sum), at);
    }
    //#else
    for (var i = lane; i < params.n; i += step) {
        let x = T_to_f32(source[origin + i * params.inner]);
        let at = start + i * params.inner;
        result[at] = stored(T_from_f32(weight(x, top) / sum), at);
    }
    //#endif
    //#endif
}
