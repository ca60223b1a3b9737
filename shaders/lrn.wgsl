// x / (bias + alpha / size * sum of squares over nearby channels) ^ beta. One thread an element.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    count: u32,
    base: u32,
    channels: u32,
    inner: u32,
    before: u32,
    after: u32,
    alpha: f32,
    beta: f32,
    bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let channel = i / params.inner % params.channels;
    let first = channel - min(channel, params.before);
    let last = min(channel + params.after, params.channels - 1u);
    var sum = 0.0;
    for (var c = first; c <= last; c++) {
        let x = T_to_f32(source[params.base + i + c * params.inner - channel * params.inner]);
        sum += x * x;
    }
    let x = T_to_f32(source[params.base + i]);
    result[i] = T_from_f32(x / f32_pow(params.bias + params.alpha * sum, params.beta));
}
