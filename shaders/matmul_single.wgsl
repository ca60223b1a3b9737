// Matrix products of types that WGSL has no operators for (64-bit integers): one invocation an element.

//#include common/linear_id.wgsl
//#include common/product.wgsl

alias A = f32; //#param
alias B = f32; //#param
alias Out = f32; //#param

@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.tiles {
        return;
    }
    let n = i % params.n;
    let m = i / params.n % params.m;
    let at = origin(i / params.n / params.m);
    let row = at.a + i32(m) * params.a_m;
    let column = at.b + i32(n) * params.b_n;
    var sum = Acc_zero();
    for (var k = 0u; k < params.k; k++) {
        sum = Acc_add(sum, Acc_mul(a[row + i32(k) * params.a_k], b[column + i32(k) * params.b_k]));
    }
    y[at.y + i32(m) * params.y_m + i32(n) * params.y_n] = finish(sum, at, m, n);
}
