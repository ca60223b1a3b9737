// start + i * step. One thread an element.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    count: u32,
    start_base: u32,
    step_base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> start: array<T>;
@group(0) @binding(2) var<storage, read> step_: array<T>;
@group(0) @binding(3) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let along = T_mul(T_from_u32(i), step_[params.step_base]);
    result[i] = T_add(start[params.start_base], along);
}
