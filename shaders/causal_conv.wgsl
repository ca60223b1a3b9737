// Each channel of [batch, channels, length] convolved with its own kernel over the elements up to now, those of the
// state before the first. One thread an element of the result.

//#include common/linear_id.wgsl
//#include common/activations.wgsl

alias T = f32; //#type
const PAST_AT: u32 = 4u; //#param
const OUT_AT: u32 = 5u; //#param

struct Params {
    count: u32,
    base: u32,
    weight_base: u32,
    bias_base: u32,
    past_base: u32,
    channels: u32,
    length: u32,
    taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read> weights: array<T>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<T>;
//#endif
//#if PAST
@group(0) @binding(PAST_AT) var<storage, read> past: array<T>;
//#endif
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let row = i / params.length;
    let t = i % params.length;
    let channel = row % params.channels;
    let kept = params.taps - 1u;
    let weight = params.weight_base + channel * params.taps;
    var sum = 0.0;
    //#if BIAS
    sum = T_to_f32(bias[params.bias_base + channel]);
    //#endif
    // elements of the state that the kernel still covers
    let old = select(0u, kept - t, t < kept);
    //#if PAST
    for (var k = 0u; k < old; k++) {
        sum += T_to_f32(weights[weight + k]) * T_to_f32(past[params.past_base + row * kept + t + k]);
    }
    //#endif
    for (var k = old; k < params.taps; k++) {
        sum += T_to_f32(weights[weight + k]) * T_to_f32(source[params.base + row * params.length + t + k - kept]);
    }
    //#if SILU
    sum = act_swish(sum, 1.0);
    //#endif
    result[i] = T_from_f32(sum);
}
