// The index of the largest or smallest element along one dim. NaN comes first, as in NumPy. One thread a row.

//#include common/linear_id.wgsl

alias T = f32; //#type
const KEPT: u32 = 4u; //#param

struct Params {
    rows: u32,
    length: u32,
    base: u32,
    stride: i32,
    kept: array<vec4<u32>, KEPT / 4u>,
    kept_strides: array<vec4<i32>, KEPT / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<vec2<u32>>;

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
    let row = linear_id(gid, groups, 64u);
    if row >= params.rows {
        return;
    }
    var rest = row;
    var at = i32(params.base);
    for (var k = KEPT; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.kept[d / 4u][d % 4u];
        at += i32(rest % extent) * params.kept_strides[d / 4u][d % 4u];
        rest /= extent;
    }
    var best = source[at];
    var found = 0u;
    for (var i = 1u; i < params.length; i++) {
        let x = source[at + i32(i) * params.stride];
        if better(x, best) {
            best = x;
            found = i;
        }
    }
    result[row] = vec2<u32>(found, 0u);
}
