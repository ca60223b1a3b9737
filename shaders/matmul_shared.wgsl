// Matrix products by tiles in workgroup memory: 64 rows by 64 columns a workgroup, 4 by 4 an invocation. Reads and
// writes are by single elements, so any strides will do.

//#include common/product.wgsl

const SIDE: u32 = 64u;
const DEPTH: u32 = 16u;

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

// Both with k outermost. An element more than the side keeps the transposing writes of A in different banks.
var<workgroup> a_tile: array<Acc, DEPTH * (SIDE + 1u)>;
var<workgroup> b_tile: array<Acc, DEPTH * SIDE>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let first_n = tile % params.tiles_n * SIDE;
    let first_m = tile / params.tiles_n % params.tiles_m * SIDE;
    let at = origin(tile / params.tiles_n / params.tiles_m);
    let quad_n = lane % 16u;
    let quad_m = lane / 16u;
    var sums: array<vec4<Acc>, 4>;
    for (var k0 = 0u; k0 < params.k; k0 += DEPTH) {
        for (var i = lane; i < SIDE * DEPTH; i += 256u) {
            let k = i % DEPTH;
            let m = i / DEPTH;
            var x = Acc();
            if first_m + m < params.m && k0 + k < params.k {
                x = Acc(a[at.a + i32(first_m + m) * params.a_m + i32(k0 + k) * params.a_k]);
            }
            a_tile[k * (SIDE + 1u) + m] = x;
        }
        for (var i = lane; i < SIDE * DEPTH; i += 256u) {
            let n = i % SIDE;
            let k = i / SIDE;
            var x = Acc();
            if first_n + n < params.n && k0 + k < params.k {
                x = Acc(b[at.b + i32(k0 + k) * params.b_k + i32(first_n + n) * params.b_n]);
            }
            b_tile[k * SIDE + n] = x;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at_b = k * SIDE + quad_n * 4u;
            let bs = vec4<Acc>(b_tile[at_b], b_tile[at_b + 1u], b_tile[at_b + 2u], b_tile[at_b + 3u]);
            for (var i = 0u; i < 4u; i++) {
                sums[i] += a_tile[k * (SIDE + 1u) + quad_m * 4u + i] * bs;
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let m = first_m + quad_m * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let n = first_n + quad_n * 4u + j;
            if m < params.m && n < params.n {
                y[at.y + i32(m) * params.y_m + i32(n) * params.y_n] = finish(sums[i][j], at, m, n);
            }
        }
    }
}
