// One step of a bitonic network over the numbers of slices: pairs at a distance, or mirrored about the middle of twice
// that, the lesser first. Where a pair's second lies beyond the end it counts as the greatest. A thread a pair.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    n: u32,
    length: u32,
    distance: u32,
    mirror: u32,
    first: u32, // the numbers are not there yet
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;

// NaN is the greatest and equal to itself.
fn less(a: T, b: T) -> bool {
    return T_lt(a, b) || (T_is_nan(b) && !T_is_nan(a));
}

fn precedes(a: u32, b: u32) -> bool {
    for (var e = 0u; e < params.length; e++) {
        let x = source[a * params.length + e];
        let y = source[b * params.length + e];
        if less(x, y) {
            return true;
        }
        if less(y, x) {
            return false;
        }
    }
    return a < b;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = linear_id(gid, groups, 64u);
    let begin = t / params.distance * 2u * params.distance;
    let offset = t % params.distance;
    let i = begin + offset;
    if i >= params.n {
        return;
    }
    var j = i + params.distance;
    if params.mirror == 1u {
        j = begin + 2u * params.distance - 1u - offset;
    }
    if params.first == 1u {
        order[i] = i;
        if j < params.n {
            order[j] = j;
        }
    }
    if j >= params.n {
        return;
    }
    let a = order[i];
    let b = order[j];
    if precedes(b, a) {
        order[i] = b;
        order[j] = a;
    }
}
