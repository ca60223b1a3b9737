// (x - mean) / sqrt(variance + epsilon) * scale + bias of rows that lie densely, on GPUs: each element is read once and
// held, but for rows that are LONG, which are read in blocks once more for each step.

//#include common/rows.wgsl

alias T = f32; //#type
alias S = f32; //#type
alias M = f32; //#type
alias Y = f32; //#type
const QUADS: u32 = 1u; //#param
const BIAS_AT: u32 = 3u; //#param
const OUT_AT: u32 = 4u; //#param
const MEAN_AT: u32 = 5u; //#param
const DEVIATION_AT: u32 = 6u; //#param

struct Params {
    rows: u32,
    length: u32,
    base: u32,
    scale_base: u32,
    bias_base: u32,
    channels: u32,
    row_step: u32,
    inner: u32,
    epsilon: f32,
    //#insert FIELDS
}

// How scale and bias are read: as the rows are, where each element of a row has its own.
//#if OWN_VECTORS
alias Scale = vec4<S>;
//#else
alias Scale = S;
//#endif

@group(0) @binding(0) var<uniform> params: Params;
//#if VECTORS
@group(0) @binding(1) var<storage, read> source: array<vec4<T>>;
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<vec4<Y>>;
//#else
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<Y>;
//#endif
//#if SCALE
@group(0) @binding(2) var<storage, read> scale: array<Scale>;
//#endif
//#if BIAS
@group(0) @binding(BIAS_AT) var<storage, read> bias: array<Scale>;
//#endif
//#if MEAN
@group(0) @binding(MEAN_AT) var<storage, read_write> means: array<M>;
//#endif
//#if DEVIATION
@group(0) @binding(DEVIATION_AT) var<storage, read_write> deviations: array<M>;
//#endif
//#insert DECLARATIONS

// What is stored for a value.
fn stored(v: T, at: u32) -> Y {
    //#insert RESULT
}

fn combine(a: f32, b: f32) -> f32 { return a + b; }

fn widened(x: S, y: S, z: S, w: S) -> vec4<f32> {
    return vec4<f32>(S_to_f32(x), S_to_f32(y), S_to_f32(z), S_to_f32(w));
}

// The channels of a quad.
fn channels_of(row: u32, at: vec4<u32>) -> vec4<u32> {
    //#if OWN
    return at;
    //#else
    //#if VECTORS
    if params.inner % 4u == 0u {
        return vec4<u32>((row * params.row_step + at.x / params.inner) % params.channels);
    }
    //#endif
    return (row * params.row_step + at / params.inner) % params.channels;
    //#endif
}

fn scaled(v: vec4<f32>, row: u32, places: vec4<u32>) -> vec4<f32> {
    let channels = channels_of(row, within(places, params.length));
    var y = v;
    //#if SCALE
    let s = channels + params.scale_base;
    //#if OWN_VECTORS
    let by = scale[s.x / 4u];
    y *= widened(by.x, by.y, by.z, by.w);
    //#else
    y *= widened(scale[s.x], scale[s.y], scale[s.z], scale[s.w]);
    //#endif
    //#endif
    //#if BIAS
    let b = channels + params.bias_base;
    //#if OWN_VECTORS
    let more = bias[b.x / 4u];
    y += widened(more.x, more.y, more.z, more.w);
    //#else
    y += widened(bias[b.x], bias[b.y], bias[b.z], bias[b.w]);
    //#endif
    //#endif
    return y;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
    let lane = index % LANES;
    let row = (group.y * groups.x + group.x) * ROWS + index / LANES;
    // those without a row go along with the last, as all meet at the barriers
    let start = min(row, params.rows - 1u) * params.length;
    let origin = params.base + start;
    let end = params.length;
    let count = f32(end);
    var held: array<vec4<f32>, QUADS>;
    //#if !LONG
    let begin = 0u;
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    //#endif

    // the mean is shift + mean: differences begin an element of the row are exact where the row's elements are close
    var shift = 0.0;
    var mean = 0.0;
    //#if CENTER
    //#if VECTORS
    shift = T_to_f32(source[origin / 4u].x);
    //#else
    shift = T_to_f32(source[origin]);
    //#endif
    var sums = vec4<f32>();
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        sums += counted(held[j] - shift, places(begin, lane, j), end);
    }
    //#if LONG
    }
    //#endif
    mean = gathered(index, (sums.x + sums.y) + (sums.z + sums.w), false) / count;
    //#endif

    var squares = vec4<f32>();
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = taken(origin, places(begin, lane, j), end);
    }
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = (held[j] - shift) - mean;
        squares += counted(held[j] * held[j], places(begin, lane, j), end);
    }
    //#if LONG
    }
    //#endif
    let variance = gathered(index, (squares.x + squares.y) + (squares.z + squares.w), false) / count;
    //#if OUTSIDE
    let inverse = 1.0 / (f32_sqrt(variance) + params.epsilon);
    //#else
    let inverse = 1.0 / f32_sqrt(variance + params.epsilon);
    //#endif

    if row >= params.rows {
        return;
    }
    //#if LONG
    for (var begin = 0u; begin < end; begin += BLOCK) {
    for (var j = 0u; j < QUADS; j++) { //#unroll
        held[j] = (taken(origin, places(begin, lane, j), end) - shift) - mean;
    }
    //#endif
    for (var j = 0u; j < QUADS; j++) { //#unroll
        let at = places(begin, lane, j);
        put(start, at, end, scaled(held[j] * inverse, row, at));
    }
    //#if LONG
    }
    //#endif
    if lane == 0u {
        //#if MEAN
        means[row] = M_from_f32(shift + mean);
        //#endif
        //#if DEVIATION
        deviations[row] = M_from_f32(inverse);
        //#endif
    }
}
