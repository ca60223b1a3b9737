// The end of matrix products whose sums were made in parts, as [part, batch, m, vectors of n]: an invocation adds the
// parts of four columns.

//#include common/linear_id.wgsl
//#include common/product.wgsl
//#include common/product_result.wgsl

@group(0) @binding(1) var<storage, read> parts: array<vec4<Acc>>;

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
    put_four(at, m, n, sum);
}
