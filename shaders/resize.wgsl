// Resamples along one axis or two: each output coordinate is a weighted sum of `taps` input coordinates. One thread an
// element of the output, [outer, out, inner] from [outer, len, inner], or [outer, out, between, second_out, inner] from
// [outer, len, between, second_len, inner]; the second axis' tables stand behind those of the first.

//#include common/linear_id.wgsl

alias X = f32; //#type
alias S = f32; //#type
alias T = f32; //#type
alias Y = f32; //#type

struct Params {
    count: u32,
    len: u32,
    out: u32,
    inner: u32,
    taps: u32,
    extrapolation: f32,
    // of an integer type
    low: f32,
    high: f32,
    // where the output begins, how far its images lie apart, and the elements of one
    y_base: u32,
    y_image: u32,
    image: u32,
    //#if TWO
    between: u32,
    second_len: u32,
    second_out: u32,
    second_taps: u32,
    //#endif
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<Y>;
//#insert PROLOGUE
//#insert DECLARATIONS

fn element(at: u32) -> S {
    //#insert LOAD
}

// What is stored for a value.
fn stored(v: T, at: u32) -> Y {
    //#insert RESULT
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var row = i / params.inner;
    var start = i % params.inner;
    var step = params.inner;
    //#if TWO
    let second = params.out * params.taps + row % params.second_out * params.second_taps;
    row /= params.second_out;
    step *= params.second_len;
    start += row % params.between * step;
    row /= params.between;
    step *= params.between;
    //#endif
    start += row / params.out * params.len * step;
    let table = row % params.out * params.taps;
    var outside = index[table] == 0xffffffffu;
    //#if TWO
    outside = outside || index[second] == 0xffffffffu;
    //#endif
    var sum = params.extrapolation;
    if !outside {
        sum = 0.0;
        for (var k = table; k < table + params.taps; k++) {
            let at = start + index[k] * step;
            //#if TWO
            var line = 0.0;
            for (var j = second; j < second + params.second_taps; j++) {
                line += S_to_f32(element(at + index[j] * params.inner)) * weight[j];
            }
            sum += line * weight[k];
            //#else
            sum += S_to_f32(element(at)) * weight[k];
            //#endif
        }
    }
    //#if ROUND
    // to the nearest 1/1024 first: rounding errors of the sum shall not decide
    sum = clamp(round(round(sum * 1024.0) / 1024.0), params.low, params.high);
    //#endif
    let to = params.y_base + i / params.image * params.y_image + i % params.image;
    y[to] = stored(T_from_f32(sum), i);
}
