// Places a tensor within a larger one (or a part of it within a smaller one). One thread an element of the result.

//#include common/linear_id.wgsl

alias Word = u32; //#param
const RANK: u32 = 4u; //#param

struct Params {
    count: u32,
    from_base: u32,
    fill_base: u32,
    shape: array<vec4<u32>, RANK / 4u>,
    from_shape: array<vec4<u32>, RANK / 4u>,
    from_strides: array<vec4<i32>, RANK / 4u>,
    before: array<vec4<i32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read> fill: array<Word>;
@group(0) @binding(3) var<storage, read_write> result: array<Word>;

// The source coordinate for coordinate c of an axis of extent n, which is not empty.
fn inside(c: i32, n: i32) -> i32 {
    //#if REFLECT
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let m = ((c % period) + period) % period;
    return min(m, period - m);
    //#else
    //#if WRAP
    return ((c % n) + n) % n;
    //#else
    return clamp(c, 0, n - 1);
    //#endif
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i;
    var at = i32(params.from_base);
    var within = true;
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.shape[d / 4u][d % 4u];
        let c = i32(rest % extent) - params.before[d / 4u][d % 4u];
        rest /= extent;
        let n = i32(params.from_shape[d / 4u][d % 4u]);
        within = within && c >= 0 && c < n;
        at += inside(c, n) * params.from_strides[d / 4u][d % 4u];
    }
    //#if CONSTANT
    if within {
        result[i] = source[at];
    } else {
        result[i] = fill[params.fill_base];
    }
    //#else
    result[i] = source[at];
    //#endif
}
