// The index of the largest or smallest element along one dim. NaN comes first, as in NumPy. One thread a part of a row;
// of a row in several parts, further steps choose among what the parts found.

//#include common/linear_id.wgsl

alias T = f32; //#type
const KEPT: u32 = 4u; //#param

struct Params {
    threads: u32,
    length: u32,
    part: u32,
    parts: u32,
    base: u32,
    stride: i32,
    kept: array<vec4<u32>, KEPT / 4u>,
    kept_strides: array<vec4<i32>, KEPT / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<vec2<u32>>;
//#if AMONG
@group(0) @binding(3) var<storage, read> found_before: array<vec2<u32>>;
//#endif

fn place(row: u32, i: u32) -> u32 {
    //#if AMONG
    return found_before[row * params.length + i].x;
    //#else
    return i;
    //#endif
}

fn better(a: T, b: T) -> bool {
    if T_is_nan(b) {
        return false;
    }
    //#if MAX
    let ahead = T_gt(a, b);
    //#else
    let ahead = T_lt(a, b);
    //#endif
    //#if LAST
    return ahead || T_is_nan(a) || T_eq(a, b);
    //#else
    return ahead || T_is_nan(a);
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = linear_id(gid, groups, 64u);
    if id >= params.threads {
        return;
    }
    let row = id / params.parts;
    var rest = row;
    var at = i32(params.base);
    for (var k = KEPT; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.kept[d / 4u][d % 4u];
        at += i32(rest % extent) * params.kept_strides[d / 4u][d % 4u];
        rest /= extent;
    }
    let first = id % params.parts * params.part;
    var found = place(row, first);
    var best = source[at + i32(found) * params.stride];
    for (var i = first + 1u; i < min(first + params.part, params.length); i++) {
        let next = place(row, i);
        let x = source[at + i32(next) * params.stride];
        if better(x, best) {
            best = x;
            found = next;
        }
    }
    result[id] = vec2<u32>(found, 0u);
}
