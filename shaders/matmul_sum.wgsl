// The end of matrix products whose sums were made in parts, as [part, batch, m, vectors of n]: an invocation adds the
// parts of four columns.

//#include common/linear_id.wgsl
//#include common/product.wgsl

alias Out = f32; //#param

@group(0) @binding(1) var<storage, read> parts: array<vec4<Acc>>;
//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    let vectors = (params.n + 3u) / 4u;
    let all = params.stacked * params.m * vectors;
    if i >= all {
        return;
    }
    var sum = parts[i];
    for (var p = 1u; p < params.part; p++) {
        sum += parts[p * all + i];
    }
    let n = i % vectors * 4u;
    let m = i / vectors % params.m;
    let at = origin(i / vectors / params.m);
    let row = at.y + i32(m) * params.y_m;
//#if Y_VEC
    y[row + i32(n / 4u)] = Out(finish(sum.x, at, m, n), finish(sum.y, at, m, n + 1u), finish(sum.z, at, m, n + 2u),
        finish(sum.w, at, m, n + 3u));
//#else
    let to = row + i32(n) * params.y_n;
    y[to] = finish(sum.x, at, m, n);
    if n + 1u < params.n { y[to + params.y_n] = finish(sum.y, at, m, n + 1u); }
    if n + 2u < params.n { y[to + 2 * params.y_n] = finish(sum.z, at, m, n + 2u); }
    if n + 3u < params.n { y[to + 3 * params.y_n] = finish(sum.w, at, m, n + 3u); }
//#endif
}
