// Matrix products by register tiles. An invocation makes ROWS rows by 1 or 2 vectors of 4 columns; the LANES invocations
// of a workgroup lie side by side along the columns. They need the same rows of A: each reads some and hands them to the
// others (BROADCAST), or all read the same.

//#include common/product.wgsl

const LANES: u32 = 8u; //#param
const ROWS: u32 = 8u; //#param
// ROWS - 1
const MOVED: u32 = 7u; //#param
// Rows of A that each invocation reads.
const OWN: u32 = 1u; //#param
// Rows that are quicker one by one than as a tile of which most is thrown away.
const FEW: u32 = 2u; //#param
//#if WIDE
const COLUMNS: u32 = LANES * 8u;
//#else
const COLUMNS: u32 = LANES * 4u;
//#endif

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

// The columns of one invocation in one row: `second` is a tile's half further on.
struct Strip {
    first: vec4<Acc>,
//#if WIDE
    second: vec4<Acc>,
//#endif
}

// Four rows of B.
struct Block {
    x: Strip,
    y: Strip,
    z: Strip,
    w: Strip,
}

// Where the columns lie in B: in x alone where vectors of B run along n, else in one entry a column.
var<private> first: vec4<i32>;
//#if WIDE
var<private> second: vec4<i32>;
//#endif

// Columns beyond the last one are read as the last one, and never written.
fn find(column: u32, tile: u32, base: i32) -> vec4<i32> {
    let last = params.n_read - tile * COLUMNS - 1u;
    let start = base + i32(tile) * params.b_tile;
//#if B_ROWS
    return vec4<i32>(start + i32(min(column, last) / 4u) * params.b_n);
//#else
    let c = min(vec4<u32>(column, column + 1u, column + 2u, column + 3u), vec4<u32>(last));
    return vec4<i32>(start) + vec4<i32>(c) * params.b_n;
//#endif
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
fn load_vector(columns: vec4<i32>, at: i32) -> vec4<Acc> {
//#if B_ROWS
    return vec4<Acc>(b[columns.x + at]);
//#else
    return vec4<Acc>(Acc(b[columns.x + at]), Acc(b[columns.y + at]), Acc(b[columns.z + at]), Acc(b[columns.w + at]));
//#endif
}

// The strip of row k of B.
fn load_strip(k: u32) -> Strip {
    let at = i32(k) * params.b_k;
//#if WIDE
    return Strip(load_vector(first, at), load_vector(second, at));
//#else
    return Strip(load_vector(first, at));
//#endif
}
//#endif

//#if B_COLUMNS
struct Square {
    x: vec4<Acc>,
    y: vec4<Acc>,
    z: vec4<Acc>,
    w: vec4<Acc>,
}

// Four rows of four columns, of which each is a vector.
fn load_square(columns: vec4<i32>, at: i32) -> Square {
    let p = vec4<Acc>(b[columns.x + at]);
    let q = vec4<Acc>(b[columns.y + at]);
    let r = vec4<Acc>(b[columns.z + at]);
    let s = vec4<Acc>(b[columns.w + at]);
    return Square(vec4<Acc>(p.x, q.x, r.x, s.x), vec4<Acc>(p.y, q.y, r.y, s.y), vec4<Acc>(p.z, q.z, r.z, s.z),
        vec4<Acc>(p.w, q.w, r.w, s.w));
}
//#endif

// Rows k to k + 3 of B.
fn load_block(k: u32) -> Block {
//#if B_COLUMNS
    let f = load_square(first, i32(k / 4u));
//#if WIDE
    let s = load_square(second, i32(k / 4u));
    return Block(Strip(f.x, s.x), Strip(f.y, s.y), Strip(f.z, s.z), Strip(f.w, s.w));
//#else
    return Block(Strip(f.x), Strip(f.y), Strip(f.z), Strip(f.w));
//#endif
//#else
    return Block(load_strip(k), load_strip(k + 1u), load_strip(k + 2u), load_strip(k + 3u));
//#endif
}

// A row's sums and the products of four elements of A with four rows of B. The four are added up first: a long sum then
// rounds a fourth as often.
fn add4(sum: Strip, x: vec4<Acc>, by: Block) -> Strip {
    let f = sum.first + ((x.x * by.x.first + x.y * by.y.first) + (x.z * by.z.first + x.w * by.w.first));
//#if WIDE
    let s = sum.second + ((x.x * by.x.second + x.y * by.y.second) + (x.z * by.z.second + x.w * by.w.second));
    return Strip(f, s);
//#else
    return Strip(f);
//#endif
}

//#if K_REST
// As add4, with one element of A and one row of B.
fn add1(sum: Strip, x: Acc, by: Strip) -> Strip {
//#if WIDE
    return Strip(sum.first + x * by.first, sum.second + x * by.second);
//#else
    return Strip(sum.first + x * by.first);
//#endif
}
//#endif

fn store_vector(at: Origin, m: u32, n: u32, sums: vec4<Acc>) {
    if m >= params.m || n >= params.n {
        return;
    }
    let row = at.y + i32(m) * params.y_m;
//#if ONCE
    // A loop, so that what is long stands once: the sums move up to the first.
    var rest = sums;
//#if Y_VEC
    var made = Out();
    for (var c = 0u; c < 4u; c++) {
        made = Out(made.yzw, finish(rest.x, at, m, n + c));
        rest = rest.yzwx;
    }
    y[row + i32(n / 4u)] = made;
//#else
    for (var c = n; c < min(n + 4u, params.n); c++) {
        y[row + i32(c) * params.y_n] = finish(rest.x, at, m, c);
        rest = rest.yzwx;
    }
//#endif
//#else
//#if Y_VEC
    y[row + i32(n / 4u)] = Out(finish(sums.x, at, m, n), finish(sums.y, at, m, n + 1u), finish(sums.z, at, m, n + 2u),
        finish(sums.w, at, m, n + 3u));
//#else
    let left = params.n - n;
    let to = row + i32(n) * params.y_n;
    y[to] = finish(sums.x, at, m, n);
    if left > 1u {
        y[to + params.y_n] = finish(sums.y, at, m, n + 1u);
    }
    if left > 2u {
        y[to + 2 * params.y_n] = finish(sums.z, at, m, n + 2u);
    }
    if left > 3u {
        y[to + 3 * params.y_n] = finish(sums.w, at, m, n + 3u);
    }
//#endif
//#endif
}

fn store(at: Origin, m: u32, n: u32, sums: Strip) {
//#if WIDE
//#if ONCE
    var vector = sums.first;
    for (var c = n; c <= n + LANES * 4u; c += LANES * 4u) {
        store_vector(at, m, c, vector);
        vector = sums.second;
    }
//#else
    store_vector(at, m, n, sums.first);
    store_vector(at, m, n + LANES * 4u, sums.second);
//#endif
//#else
    store_vector(at, m, n, sums.first);
//#endif
}

fn row_at(at: Origin, m: u32) -> i32 {
    return at.a + i32(min(m, params.m - 1u)) * params.a_m;
}

// The rows from m on; those beyond the last one are read as the last one.
fn many_rows(at: Origin, m: u32, n: u32, lane: u32) {
    var sums: array<Strip, ROWS>;
    let whole = params.k & ~3u;
//#if BROADCAST
    var rows: array<i32, OWN>;
    for (var i = 0u; i < OWN; i++) { //#unroll
        rows[i] = row_at(at, m + i * LANES + lane);
    }
    for (var k = 0u; k < whole; k += 4u) {
        let by = load_block(k);
        for (var i = 0u; i < OWN; i++) { //#unroll
            let own = load_a(rows[i], k);
            for (var l = 0u; l < LANES; l++) { //#unroll
                sums[i * LANES + l] = add4(sums[i * LANES + l], subgroupBroadcast(own, l), by);
            }
        }
    }
//#else
    var rows: array<i32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { //#unroll
        rows[r] = row_at(at, m + r);
    }
    for (var k = 0u; k < whole; k += 4u) {
        let by = load_block(k);
        for (var r = 0u; r < ROWS; r++) { //#unroll
            sums[r] = add4(sums[r], load_a(rows[r], k), by);
        }
    }
//#endif
//#if K_REST
    for (var k = whole; k < params.k; k++) {
        let by = load_strip(k);
//#if BROADCAST
        for (var i = 0u; i < OWN; i++) { //#unroll
            let own = Acc(a[rows[i] + i32(k) * params.a_k]);
            for (var l = 0u; l < LANES; l++) { //#unroll
                sums[i * LANES + l] = add1(sums[i * LANES + l], subgroupBroadcast(own, l), by);
            }
        }
//#else
        for (var r = 0u; r < ROWS; r++) { //#unroll
            sums[r] = add1(sums[r], Acc(a[rows[r] + i32(k) * params.a_k]), by);
        }
//#endif
    }
//#endif
//#if LONG
    // A loop, so that what is long stands once: the rows move up to the first.
    for (var r = 0u; r < ROWS; r++) {
        store(at, m + r, n, sums[0]);
        for (var i = 0u; i < MOVED; i++) { //#unroll
            sums[i] = sums[i + 1u];
        }
    }
//#else
    for (var r = 0u; r < ROWS; r++) { //#unroll
        store(at, m + r, n, sums[r]);
    }
//#endif
}

fn one_row(at: Origin, m: u32, n: u32) {
    let row = row_at(at, m);
    var sums = Strip();
    let whole = params.k & ~3u;
    for (var k = 0u; k < whole; k += 4u) {
        sums = add4(sums, load_a(row, k), load_block(k));
    }
//#if K_REST
    for (var k = whole; k < params.k; k++) {
        sums = add1(sums, Acc(a[row + i32(k) * params.a_k]), load_strip(k));
    }
//#endif
    store(at, m, n, sums);
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    // Neighbouring tiles read the same columns of B.
    let m = tile % params.tiles_m * ROWS;
    let tile_n = tile / params.tiles_m % params.tiles_n;
    let at = origin(tile / params.tiles_m / params.tiles_n);
    let n = tile_n * COLUMNS + lane * 4u;
    first = find(lane * 4u, tile_n, at.b);
//#if WIDE
    second = find((LANES + lane) * 4u, tile_n, at.b);
//#endif
    if params.m - m > FEW {
        many_rows(at, m, n, lane);
    } else {
        for (var i = m; i < params.m; i++) {
            one_row(at, i, n);
        }
    }
}
