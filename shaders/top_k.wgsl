// The k first elements of each row in order: a thread an element counts how many come before it, which is its place.
// NaN counts as the greatest; of equals the first comes first.

//#include common/linear_id.wgsl

alias T = f32; //#type

// Elements of a row stand `inner` apart.
struct Params {
    count: u32,
    n: u32,
    inner: u32,
    k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> values: array<T>;
@group(0) @binding(3) var<storage, read_write> places: array<vec2<u32>>;

// Whether a comes before b for its value.
fn ahead(a: T, b: T) -> bool {
    //#if LARGEST
    return T_gt(a, b) || (T_is_nan(a) && !T_is_nan(b));
    //#else
    return T_lt(a, b) || (T_is_nan(b) && !T_is_nan(a));
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let lane = i % params.inner;
    let at = i / params.inner % params.n;
    let outer = i / params.inner / params.n;
    let row = outer * params.n * params.inner + lane;
    let x = source[i];
    var before = 0u;
    for (var j = 0u; j < params.n; j++) {
        let y = source[row + j * params.inner];
        if ahead(y, x) || (j < at && !ahead(x, y)) {
            before += 1u;
        }
    }
    if before < params.k {
        let to = (outer * params.k + before) * params.inner + lane;
        values[to] = x;
        places[to] = vec2<u32>(at, 0u);
    }
}
