// One where a slice differs from the one before it in the order, else zero. A thread a slice.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    n: u32,
    length: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> heads: array<i32>;

fn differ(a: T, b: T) -> bool {
    return !(T_eq(a, b) || (T_is_nan(a) && T_is_nan(b)));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let p = linear_id(gid, groups, 64u);
    if p >= params.n {
        return;
    }
    var head = 1;
    if p > 0u {
        head = 0;
        let a = order[p - 1u] * params.length;
        let b = order[p] * params.length;
        for (var e = 0u; e < params.length; e++) {
            if differ(source[a + e], source[b + e]) {
                head = 1;
                break;
            }
        }
    }
    heads[p] = head;
}
