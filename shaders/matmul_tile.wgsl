// Matrix products by register tiles. An invocation makes TM rows by TN vectors of 4 columns; the WG invocations of a
// workgroup lie side by side along the columns and read the same rows of A, which is then a uniform read.

//#include common/product.wgsl

const TM: u32 = 8u; //#param
const TN: u32 = 2u; //#param
const WG: u32 = 8u; //#param

//#if A_VEC
alias A = vec4<f32>; //#param
//#else
alias A = f32; //#param
//#endif
alias B = vec4<f32>; //#param
alias Out = vec4<f32>; //#param

@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

// Where the columns of this invocation begin in B: one entry a vector where vectors run along n, else one a column.
//#if B_ROWS
var<private> columns: array<i32, TN>;
//#else
var<private> columns: array<i32, TN * 4u>;
//#endif

fn column_of(lane: u32, j: u32) -> u32 {
    return (j * WG + lane) * 4u;
}

// Columns beyond the last one are read as the last one, and never written.
fn find_columns(lane: u32, tile: u32, base: i32) {
    let first = tile * WG * TN * 4u;
    let last = params.n_read - first - 1u;
    let start = base + i32(tile) * params.b_tile;
    for (var j = 0u; j < TN; j++) {
        let c = column_of(lane, j);
//#if B_ROWS
        columns[j] = start + i32(min(c, last) / 4u) * params.b_n;
//#else
        columns[j * 4u] = start + i32(min(c, last)) * params.b_n;
        columns[j * 4u + 1u] = start + i32(min(c + 1u, last)) * params.b_n;
        columns[j * 4u + 2u] = start + i32(min(c + 2u, last)) * params.b_n;
        columns[j * 4u + 3u] = start + i32(min(c + 3u, last)) * params.b_n;
//#endif
    }
}

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

//#if !B_COLUMNS
// Vector j of row k of B.
fn load_b(j: u32, k: u32) -> vec4<Acc> {
    let at = i32(k) * params.b_k;
//#if B_ROWS
    return vec4<Acc>(b[columns[j] + at]);
//#else
    let c = j * 4u;
    return vec4<Acc>(Acc(b[columns[c] + at]), Acc(b[columns[c + 1u] + at]), Acc(b[columns[c + 2u] + at]),
        Acc(b[columns[c + 3u] + at]));
//#endif
}
//#endif

struct Rows4 {
    x: vec4<Acc>,
    y: vec4<Acc>,
    z: vec4<Acc>,
    w: vec4<Acc>,
}

// Vectors j of rows k to k + 3 of B.
fn load_b4(j: u32, k: u32) -> Rows4 {
//#if B_COLUMNS
    let c = j * 4u;
    let at = i32(k / 4u);
    let p = vec4<Acc>(b[columns[c] + at]);
    let q = vec4<Acc>(b[columns[c + 1u] + at]);
    let r = vec4<Acc>(b[columns[c + 2u] + at]);
    let s = vec4<Acc>(b[columns[c + 3u] + at]);
    return Rows4(vec4<Acc>(p.x, q.x, r.x, s.x), vec4<Acc>(p.y, q.y, r.y, s.y), vec4<Acc>(p.z, q.z, r.z, s.z),
        vec4<Acc>(p.w, q.w, r.w, s.w));
//#else
    return Rows4(load_b(j, k), load_b(j, k + 1u), load_b(j, k + 2u), load_b(j, k + 3u));
//#endif
}

fn store(at: Origin, m: u32, n: u32, sums: vec4<Acc>) {
    if n >= params.n {
        return;
    }
    let c = at.c + i32(m) * params.c_m + i32(n) * params.c_n;
    let row = at.y + i32(m) * params.y_m;
//#if Y_VEC
    y[row + i32(n / 4u)] = Out(finish(sums.x, c), finish(sums.y, c + params.c_n), finish(sums.z, c + 2 * params.c_n),
        finish(sums.w, c + 3 * params.c_n));
//#else
    for (var i = 0u; i < min(params.n - n, 4u); i++) {
        y[row + i32(n + i) * params.y_n] = finish(sums[i], c + i32(i) * params.c_n);
    }
//#endif
}

// TM rows from m on; rows beyond the last one are read as the last one.
fn many_rows(at: Origin, lane: u32, first_n: u32, m: u32) {
    var acc: array<vec4<Acc>, TM * TN>;
    var rows: array<i32, TM>;
    for (var i = 0u; i < TM; i++) {
        rows[i] = at.a + i32(min(m + i, params.m - 1u)) * params.a_m;
    }
    let whole = params.k & ~3u;
    for (var k = 0u; k < whole; k += 4u) {
        var bs: array<Rows4, TN>;
        for (var j = 0u; j < TN; j++) {
            bs[j] = load_b4(j, k);
        }
        for (var i = 0u; i < TM; i++) {
            let x = load_a(rows[i], k);
            for (var j = 0u; j < TN; j++) {
                acc[i * TN + j] += x.x * bs[j].x;
                acc[i * TN + j] += x.y * bs[j].y;
                acc[i * TN + j] += x.z * bs[j].z;
                acc[i * TN + j] += x.w * bs[j].w;
            }
        }
    }
//#if K_REST
    for (var k = whole; k < params.k; k++) {
        for (var j = 0u; j < TN; j++) {
            let bs = load_b(j, k);
            for (var i = 0u; i < TM; i++) {
                acc[i * TN + j] += Acc(a[rows[i] + i32(k) * params.a_k]) * bs;
            }
        }
    }
//#endif
    for (var i = 0u; i < TM; i++) {
        if m + i < params.m {
            for (var j = 0u; j < TN; j++) {
                store(at, m + i, first_n + column_of(lane, j), acc[i * TN + j]);
            }
        }
    }
}

fn one_row(at: Origin, lane: u32, first_n: u32, m: u32) {
    var acc: array<vec4<Acc>, TN>;
    let row = at.a + i32(m) * params.a_m;
    let whole = params.k & ~3u;
    for (var k = 0u; k < whole; k += 4u) {
        let x = load_a(row, k);
        for (var j = 0u; j < TN; j++) {
            let bs = load_b4(j, k);
            acc[j] += x.x * bs.x;
            acc[j] += x.y * bs.y;
            acc[j] += x.z * bs.z;
            acc[j] += x.w * bs.w;
        }
    }
//#if K_REST
    for (var k = whole; k < params.k; k++) {
        for (var j = 0u; j < TN; j++) {
            acc[j] += Acc(a[row + i32(k) * params.a_k]) * load_b(j, k);
        }
    }
//#endif
    for (var j = 0u; j < TN; j++) {
        store(at, m, first_n + column_of(lane, j), acc[j]);
    }
}

@compute @workgroup_size(WG, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    // Neighbouring tiles read the same columns of B.
    let m = tile % params.tiles_m * TM;
    let tile_n = tile / params.tiles_m % params.tiles_n;
    let at = origin(tile / params.tiles_m / params.tiles_n);
    let first_n = tile_n * WG * TN * 4u;
    find_columns(lane, tile_n, at.b);
    // A few rows are quicker one by one than as a tile of which most is thrown away.
    if params.m - m > 2u {
        many_rows(at, lane, first_n, m);
    } else {
        for (var i = m; i < params.m; i++) {
            one_row(at, lane, first_n, i);
        }
    }
}
