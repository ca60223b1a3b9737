// Softmax and its logarithm of rows that lie densely, on GPUs: each element is read once and held, but for rows that are
// LONG, which are read in blocks once more for each step.

//#include common/rows.wgsl
//#include common/softmax.wgsl

alias T = f32; //#type
alias Y = f32; //#type
const QUADS: u32 = 1u; //#param

struct Params {
    rows: u32,
    n: u32,
    base: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
//#if VECTORS
@group(0) @binding(1) var<storage, read> source: array<vec4<T>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<Y>>;
//#else
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<Y>;
//#endif
//#insert DECLARATIONS

// What is stored for a value.
fn stored(v: T, at: u32) -> Y {
    //#insert RESULT
}

fn combine(a: f32, b: f32) -> f32 { return a + b; }

fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    //#if MASKED
    return vec4<f32>(f32_max(a.x, b.x), f32_max(a.y, b.y), f32_max(a.z, b.z), f32_max(a.w, b.w));
    //#else
    // whatever a device makes of a NaN, which its own weight tells too
    return max(a, b);
    //#endif
}

fn weights(v: vec4<f32>, top: f32) -> vec4<f32> {
    return vec4<f32>(weight(v.x, top), weight(v.y, top), weight(v.z, top), weight(v.w, top));
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
    let lane = index % LANES;
    let row = (group.y * groups.x + group.x) * ROWS + index / LANES;
    // those without a row go along with the last, as all meet at the barriers
    let start = min(row, params.rows - 1u) * params.n;
    let origin = params.base + start;
    let end = params.n;
    var held: array<vec4<f32>, QUADS>;

    var tops = vec4<f32>(f32_lowest());
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    //#else
    let begin = 0u;
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    for (var j = 0u; j < QUADS; j++) { //#unroll
        tops = larger(tops, held[j]);
    }
    //#if LONG
    }
    //#endif
    let top = gathered(index, f32_max(f32_max(tops.x, tops.y), f32_max(tops.z, tops.w)), true);

    var sums = vec4<f32>();
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        let some = weights(held[j], top);
        sums += counted(some, places(begin, lane, j), end);
        //#if !LONG
        //#if !LOG
        held[j] = some;
        //#endif
        //#endif
    }
    //#if LONG
    }
    //#endif
    var sum = rounded(gathered(index, (sums.x + sums.y) + (sums.z + sums.w), false));
    //#if MASKED
    if f32_is_inf(top) && top < 0.0 {
        sum = 1.0;
    }
    //#endif

    if row >= params.rows {
        return;
    }
    //#if LOG
    let log_sum = f32_log(sum);
    //#else
    let share = 1.0 / sum;
    //#endif
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        //#if LOG
        put(start, places(begin, lane, j), end, (held[j] - top) - log_sum);
        //#else
        //#if LONG
        put(start, places(begin, lane, j), end, weights(held[j], top) * share);
        //#else
        put(start, places(begin, lane, j), end, held[j] * share);
        //#endif
        //#endif
    }
    //#if LONG
    }
    //#endif
}
