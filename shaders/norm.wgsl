// (x - mean) / sqrt(variance + epsilon) * scale + bias over dense rows, mean and variance in two passes.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias S = f32; //#type
alias M = f32; //#type
alias Y = f32; //#type
const BIAS_AT: u32 = 3u; //#param
const OUT_AT: u32 = 4u; //#param
const MEAN_AT: u32 = 5u; //#param
const DEVIATION_AT: u32 = 6u; //#param
const LANES: u32 = 64u;
const BLOCK: u32 = 32u;

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

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
//#if SCALE
@group(0) @binding(2) var<storage, read> scale: array<S>;
//#endif
//#if BIAS
@group(0) @binding(BIAS_AT) var<storage, read> bias: array<S>;
//#endif
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<Y>;
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

//#if GROUP
var<workgroup> partial: array<f32, LANES>;

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

// The sum of (x - shift - middle), or of its square, over elements first, first + step, … of a row, in blocks.
fn total(origin: u32, first: u32, step: u32, shift: f32, middle: f32, square: bool) -> f32 {
    var sum = 0.0;
    for (var i = first; i < params.length;) {
        var part = 0.0;
        for (var k = 0u; k < BLOCK && i < params.length; k++) {
            let x = (T_to_f32(source[origin + i]) - shift) - middle;
            part += select(x, x * x, square);
            i += step;
        }
        sum += part;
    }
    return sum;
}

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
    let start = row * params.length;
    let origin = params.base + start;
    let count = f32(params.length);

    // the mean is shift + mean: differences from an element of the row are exact where the row's elements are close
    var shift = 0.0;
    var mean = 0.0;
    //#if CENTER
    if params.length > 0u {
        shift = T_to_f32(source[origin]);
    }
    mean = total(origin, lane, step, shift, 0.0, false);
    //#if GROUP
    mean = sum_of_all(lane, mean);
    //#endif
    mean /= count;
    //#endif
    var variance = total(origin, lane, step, shift, mean, true);
    //#if GROUP
    variance = sum_of_all(lane, variance);
    //#endif
    variance /= count;
    //#if OUTSIDE
    let inverse = 1.0 / (f32_sqrt(variance) + params.epsilon);
    //#else
    let inverse = 1.0 / f32_sqrt(variance + params.epsilon);
    //#endif

    for (var i = lane; i < params.length; i += step) {
        var y = ((T_to_f32(source[origin + i]) - shift) - mean) * inverse;
        let channel = (row * params.row_step + i / params.inner) % params.channels;
        //#if SCALE
        y *= S_to_f32(scale[params.scale_base + channel]);
        //#endif
        //#if BIAS
        y += S_to_f32(bias[params.bias_base + channel]);
        //#endif
        result[start + i] = stored(T_from_f32(y), start + i);
    }
    if lane == 0u {
        //#if MEAN
        means[row] = M_from_f32(shift + mean);
        //#endif
        //#if DEVIATION
        deviations[row] = M_from_f32(inverse);
        //#endif
    }
}
