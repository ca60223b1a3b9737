// Matrix products of a few rows with a B whose columns are dense, which is read once: ACROSS invocations make FEW rows of
// a column, each with a part of its vectors of four.

//#include common/product.wgsl

const FEW: u32 = 1u; //#param
// FEW * THREADS
const HELD: u32 = 256u; //#param
const ACROSS: u32 = 32u;
const COLUMNS: u32 = 8u;
const THREADS: u32 = 256u;
// Vectors of B that are under way at a time.
const AHEAD: u32 = 2u; //#param

//#if A_VEC
alias A = vec4<f32>; //#param
//#else
alias A = f32; //#param
//#endif
alias B = vec4<f32>; //#param
alias Out = f32; //#param

@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

var<workgroup> held: array<Acc, HELD>;

// Four elements of a row of A from k on.
fn load_a(row: i32, k: u32) -> vec4<Acc> {
//#if A_VEC
    return vec4<Acc>(a[row + i32(k / 4u)]);
//#else
    let at = row + i32(k) * params.a_k;
    let step = params.a_k;
    return vec4<Acc>(Acc(a[at]), Acc(a[at + step]), Acc(a[at + 2 * step]), Acc(a[at + 3 * step]));
//#endif
}

fn row_at(at: i32, m: u32) -> i32 {
    return at + i32(min(m, params.m - 1u)) * params.a_m;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let n = tile % params.tiles_n * COLUMNS + lane / ACROSS;
    let m = tile / params.tiles_n % params.tiles_m * FEW;
    let at = origin(tile / (params.tiles_n * params.tiles_m));
    var rows: array<i32, FEW>;
    var sums: array<vec4<Acc>, FEW>;
    for (var r = 0u; r < FEW; r++) { //#unroll
        rows[r] = row_at(at.a, m + r);
    }
    if n < params.n {
        let column = at.b + i32(n) * params.b_n;
        var k = lane % ACROSS * 4u;
        for (; k + (AHEAD - 1u) * ACROSS * 4u < params.k; k += AHEAD * ACROSS * 4u) {
            var by = array<vec4<Acc>, AHEAD>();
            for (var j = 0u; j < AHEAD; j++) { //#unroll
                by[j] = vec4<Acc>(b[column + i32(k / 4u + j * ACROSS)]);
            }
            for (var j = 0u; j < AHEAD; j++) { //#unroll
                for (var r = 0u; r < FEW; r++) { //#unroll
                    sums[r] += load_a(rows[r], k + j * ACROSS * 4u) * by[j];
                }
            }
        }
        for (; k < params.k; k += ACROSS * 4u) {
            let by = vec4<Acc>(b[column + i32(k / 4u)]);
            for (var r = 0u; r < FEW; r++) { //#unroll
                sums[r] += load_a(rows[r], k) * by;
            }
        }
    }
    for (var r = 0u; r < FEW; r++) { //#unroll
        held[r * THREADS + lane] = (sums[r].x + sums[r].y) + (sums[r].z + sums[r].w);
    }
    for (var half = ACROSS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % ACROSS < half {
            for (var r = 0u; r < FEW; r++) { //#unroll
                held[r * THREADS + lane] += held[r * THREADS + lane + half];
            }
        }
    }
    if lane % ACROSS == 0u && n < params.n {
        for (var r = 0u; r < FEW; r++) {
            if m + r < params.m {
                y[at.y + i32(m + r) * params.y_m + i32(n) * params.y_n] = finish(held[r * THREADS + lane], at, m + r, n);
            }
        }
    }
}
