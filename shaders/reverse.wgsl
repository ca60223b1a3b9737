// The first elements along one of two leading dims in backward order, as many as the other dim's coordinate has. One
// thread an element.

//#include common/linear_id.wgsl

alias Word = u32; //#param

struct Params {
    count: u32,
    base: u32,
    length_base: u32,
    times: u32,
    // Elements between neighbours in time, and in the batch.
    time_step: u32,
    batch_step: u32,
    batches: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read> lengths: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let time = (i / params.time_step) % params.times;
    let batch = (i / params.batch_step) % params.batches;
    let length = min(lengths[params.length_base + batch].x, params.times);
    var from_ = time;
    if time < length {
        from_ = length - 1u - time;
    }
    result[i] = source[params.base + i + from_ * params.time_step - time * params.time_step];
}
