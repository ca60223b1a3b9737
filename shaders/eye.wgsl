// Ones on a diagonal. One thread an element.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    count: u32,
    cols: u32,
    diagonal: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let on = i32(i % params.cols) == i32(i / params.cols) + params.diagonal;
    if on {
        result[i] = T_one();
    } else {
        result[i] = T_zero();
    }
}
