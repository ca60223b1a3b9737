// Matrix products of a few rows, which read B once: an invocation makes FEW rows of four columns, ACROSS of them side by
// side, and SLICES of these have the products of every SLICES-th k each.

//#include common/product.wgsl
//#include common/product_result.wgsl
//#include common/multiply.wgsl
//#include common/slices.wgsl

const FEW: u32 = 1u; //#param
const ACROSS: u32 = 32u; //#param
// How many share a sum.
const SLICES: u32 = 8u; //#param
// Rows of B that are under way at a time.
const AHEAD: u32 = 4u; //#param

alias A = f32; //#param
//#if B_VEC
alias B = vec4<f32>; //#param
//#else
alias B = f32; //#param
//#endif

@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;

fn load_b(at: i32, k: u32, n: u32) -> vec4<Held> {
//#if B_VEC
    return vec4<Held>(b[at + i32(n / 4u) + i32(k) * params.b_k]);
//#else
    let start = at + i32(n) * params.b_n + i32(k) * params.b_k;
    var v = vec4<Held>();
    v.x = Held(b[start]);
    if n + 1u < params.n { v.y = Held(b[start + params.b_n]); }
    if n + 2u < params.n { v.z = Held(b[start + 2 * params.b_n]); }
    if n + 3u < params.n { v.w = Held(b[start + 3 * params.b_n]); }
    return v;
//#endif
}

// Rows beyond the last are read as the last, and not stored.
fn row_at(at: i32, m: u32) -> i32 {
    return at + i32(min(m, params.m - 1u)) * params.a_m;
}

fn store(at: Origin, part: u32, m: u32, n: u32, sum: vec4<Acc>) {
    if m >= params.m || n >= params.n {
        return;
    }
//#if SPLIT
    y[(part * params.m + m) * ((params.n + 3u) / 4u) + n / 4u] = sum;
//#else
    put_four(at, m, n, sum);
//#endif
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let n = (tile % params.tiles_n * ACROSS + lane % ACROSS) * 4u;
    let m = tile / params.tiles_n % params.tiles_m * FEW;
    let part = tile / (params.tiles_n * params.tiles_m);
    let at = origin(part % params.stacked);
    let begin = part / params.stacked * params.part;
    let end = min(begin + params.part, params.k);
    var rows: array<i32, FEW>;
    var sums: array<vec4<Acc>, FEW>;
    for (var r = 0u; r < FEW; r++) { //#unroll
        rows[r] = row_at(at.a, m + r);
    }
    if n < params.n {
        var k = begin + lane / ACROSS;
        for (; k + (AHEAD - 1u) * SLICES < end; k += AHEAD * SLICES) {
            var by = array<vec4<Held>, AHEAD>();
            for (var j = 0u; j < AHEAD; j++) { //#unroll
                by[j] = load_b(at.b, k + j * SLICES, n);
            }
            for (var j = 0u; j < AHEAD; j++) { //#unroll
                for (var r = 0u; r < FEW; r++) { //#unroll
                    sums[r] = add(sums[r], Held(a[rows[r] + i32(k + j * SLICES) * params.a_k]), by[j]);
                }
            }
        }
        for (; k < end; k += SLICES) {
            let by = load_b(at.b, k, n);
            for (var r = 0u; r < FEW; r++) { //#unroll
                sums[r] = add(sums[r], Held(a[rows[r] + i32(k) * params.a_k]), by);
            }
        }
    }
    gather(sums, lane);
    if lane < ACROSS * FEW {
        let r = lane / ACROSS;
        store(at, part, m + r, n, held[r * THREADS + lane % ACROSS]);
    }
}
