// Products of float16 matrices by cooperative matrices of 16 by 16, summed in float32. A subgroup makes FRAGS_M by FRAGS_N
// of them. While a workgroup multiplies two tiles, it loads the next two.

enable f16;
enable wgpu_cooperative_matrix;

//#include common/product.wgsl

const ROWS: u32 = 128u; //#param
const COLUMNS: u32 = 128u; //#param
const DEPTH: u32 = 32u; //#param
const FRAGS_M: u32 = 2u; //#param
const FRAGS_N: u32 = 4u; //#param
// FRAGS_M * FRAGS_N
const FRAGS: u32 = 8u; //#param
// Vectors that an invocation loads of each tile.
const LOADS_A: u32 = 4u; //#param
const LOADS_B: u32 = 4u; //#param

const ACROSS: u32 = COLUMNS / (16u * FRAGS_N);
const SUBGROUPS: u32 = ACROSS * (ROWS / (16u * FRAGS_M));
const THREADS: u32 = 32u * SUBGROUPS;

// Two vectors more than there are keep neighbouring rows in different banks.
//#if A_ALONG_K
const STEP_A: u32 = DEPTH / 4u + 2u;
const SIZE_A: u32 = ROWS * STEP_A;
//#else
const STEP_A: u32 = ROWS / 4u + 2u;
const SIZE_A: u32 = DEPTH * STEP_A;
//#endif
//#if B_ALONG_K
const STEP_B: u32 = DEPTH / 4u + 2u;
const SIZE_B: u32 = COLUMNS * STEP_B;
//#else
const STEP_B: u32 = COLUMNS / 4u + 2u;
const SIZE_B: u32 = DEPTH * STEP_B;
//#endif

alias Out = f32; //#param

struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

@group(0) @binding(1) var<storage, read> a: array<Eight>;
@group(0) @binding(2) var<storage, read> b: array<Eight>;
//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

var<workgroup> left: array<vec4<f16>, SIZE_A>;
var<workgroup> right: array<vec4<f16>, SIZE_B>;
// A matrix of sums for each subgroup, on its way out.
var<workgroup> done: array<f32, SUBGROUPS * 256u>;

// Where the eight elements of A from (k, m) on lie, along k or along m. Beyond the last m the last are
// read, and what comes of them is not stored.
fn find_a(at: i32, k: u32, m: u32) -> i32 {
//#if A_ALONG_K
    return at + i32(min(m, params.m - 1u)) * params.a_m + i32(k / 8u);
//#else
    return at + i32(min(m, params.m - 8u) / 8u) + i32(k) * params.a_k;
//#endif
}

// How far a tile lies from the next.
fn step_a() -> i32 {
//#if A_ALONG_K
    return i32(DEPTH / 8u);
//#else
    return i32(DEPTH) * params.a_k;
//#endif
}

// Eight elements, zeros from `end` on.
fn load_a(place: i32, k: u32, end: u32) -> Eight {
//#if K_REST
    if k >= end {
        return Eight();
    }
//#endif
    return a[place];
}

// What is number `i` of a tile's eights: where it begins along the depth and along the outer dim, and its place.
fn place_a(i: u32) -> vec3<u32> {
//#if A_ALONG_K
    let k = i % (DEPTH / 8u);
    let m = i / (DEPTH / 8u);
    return vec3<u32>(k * 8u, m, m * STEP_A + k * 2u);
//#else
    let k = i / (ROWS / 8u);
    let m = i % (ROWS / 8u);
    return vec3<u32>(k, m * 8u, k * STEP_A + m * 2u);
//#endif
}

fn put_a(place: u32, v: Eight) {
    left[place] = v.low;
    left[place + 1u] = v.high;
}

// Where the eight elements of B from (k, n) on lie, along k or along n. Beyond the last n the last are
// read, and what comes of them is not stored.
fn find_b(at: i32, k: u32, n: u32) -> i32 {
//#if B_ALONG_K
    return at + i32(min(n, params.n - 1u)) * params.b_n + i32(k / 8u);
//#else
    return at + i32(min(n, params.n - 8u) / 8u) + i32(k) * params.b_k;
//#endif
}

// How far a tile lies from the next.
fn step_b() -> i32 {
//#if B_ALONG_K
    return i32(DEPTH / 8u);
//#else
    return i32(DEPTH) * params.b_k;
//#endif
}

// Eight elements, zeros from `end` on.
fn load_b(place: i32, k: u32, end: u32) -> Eight {
//#if K_REST
    if k >= end {
        return Eight();
    }
//#endif
    return b[place];
}

// What is number `i` of a tile's eights: where it begins along the depth and along the outer dim, and its place.
fn place_b(i: u32) -> vec3<u32> {
//#if B_ALONG_K
    let k = i % (DEPTH / 8u);
    let n = i / (DEPTH / 8u);
    return vec3<u32>(k * 8u, n, n * STEP_B + k * 2u);
//#else
    let k = i / (COLUMNS / 8u);
    let n = i % (COLUMNS / 8u);
    return vec3<u32>(k, n * 8u, k * STEP_B + n * 2u);
//#endif
}

fn put_b(place: u32, v: Eight) {
    right[place] = v.low;
    right[place + 1u] = v.high;
}

// Stores eight columns of a matrix of sums, a half of one of its rows.
fn store(at: Origin, part: u32, first_m: u32, first_n: u32, lane: u32) {
    let m = first_m + lane % 32u / 2u;
    let n = first_n + lane % 2u * 8u;
    let start = lane / 32u * 256u + lane % 32u * 8u;
    if m >= params.m || n >= params.n {
        return;
    }
//#if SPLIT
    let to = (part * params.m + m) * ((params.n + 3u) / 4u) + n / 4u;
    y[to] = vec4<f32>(done[start], done[start + 1u], done[start + 2u], done[start + 3u]);
    if n + 4u < params.n {
        y[to + 1u] = vec4<f32>(done[start + 4u], done[start + 5u], done[start + 6u], done[start + 7u]);
    }
//#else
    let row = at.y + i32(m) * params.y_m;
//#if Y_VEC
    for (var i = 0u; i < 8u && n + i < params.n; i += 4u) {
        y[row + i32((n + i) / 4u)] = Out(finish(done[start + i], at, m, n + i), finish(done[start + i + 1u], at, m, n + i + 1u),
            finish(done[start + i + 2u], at, m, n + i + 2u), finish(done[start + i + 3u], at, m, n + i + 3u));
    }
//#else
    for (var i = 0u; i < min(8u, params.n - n); i++) {
        y[row + i32(n + i) * params.y_n] = finish(done[start + i], at, m, n + i);
    }
//#endif
//#endif
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    // Bands of eight rows of tiles, so that what neighbouring workgroups read stays in the cache.
    let part = tile / (params.tiles_n * params.tiles_m);
    let inner = tile % (params.tiles_n * params.tiles_m);
    let band = inner / (8u * params.tiles_n);
    let high = min(8u, params.tiles_m - band * 8u);
    let within = inner - band * 8u * params.tiles_n;
    let first_m = (band * 8u + within % high) * ROWS;
    let first_n = within / high * COLUMNS;
    let at = origin(part % params.stacked);
    let begin = part / params.stacked * params.part;
    let end = min(begin + params.part, params.k);
    let down = lane / 32u / ACROSS * (16u * FRAGS_M);
    let across = lane / 32u % ACROSS * (16u * FRAGS_N);

    var sums: array<coop_mat16x16<f32, C>, FRAGS>;
    var places_a: array<i32, LOADS_A>;
    var places_b: array<i32, LOADS_B>;
    var next_a: array<Eight, LOADS_A>;
    var next_b: array<Eight, LOADS_B>;
    for (var i = 0u; i < LOADS_A; i++) { //#unroll
        let p = place_a(lane + i * THREADS);
        places_a[i] = find_a(at.a, begin + p.x, first_m + p.y);
        next_a[i] = load_a(places_a[i], begin + p.x, end);
    }
    for (var i = 0u; i < LOADS_B; i++) { //#unroll
        let p = place_b(lane + i * THREADS);
        places_b[i] = find_b(at.b, begin + p.x, first_n + p.y);
        next_b[i] = load_b(places_b[i], begin + p.x, end);
    }
    var moved_a = 0;
    var moved_b = 0;
    for (var k = begin; k < end; k += DEPTH) {
        for (var i = 0u; i < LOADS_A; i++) { //#unroll
            put_a(place_a(lane + i * THREADS).z, next_a[i]);
        }
        for (var i = 0u; i < LOADS_B; i++) { //#unroll
            put_b(place_b(lane + i * THREADS).z, next_b[i]);
        }
        workgroupBarrier();
        moved_a += step_a();
        moved_b += step_b();
        let after = k + DEPTH;
        if after < end {
            for (var i = 0u; i < LOADS_A; i++) { //#unroll
                next_a[i] = load_a(places_a[i] + moved_a, after + place_a(lane + i * THREADS).x, end);
            }
            for (var i = 0u; i < LOADS_B; i++) { //#unroll
                next_b[i] = load_b(places_b[i] + moved_b, after + place_b(lane + i * THREADS).x, end);
            }
        }
        for (var d = 0u; d < DEPTH; d += 16u) {
            var by: array<coop_mat16x16<f16, B>, FRAGS_N>;
            for (var j = 0u; j < FRAGS_N; j++) { //#unroll
//#if B_ALONG_K
                by[j] = coopLoad<coop_mat16x16<f16, B>>(&right[(across + j * 16u) * STEP_B + d / 4u], STEP_B);
//#else
                by[j] = coopLoadT<coop_mat16x16<f16, B>>(&right[d * STEP_B + across / 4u + j * 4u], STEP_B);
//#endif
            }
            for (var i = 0u; i < FRAGS_M; i++) { //#unroll
//#if A_ALONG_K
                let x = coopLoadT<coop_mat16x16<f16, A>>(&left[(down + i * 16u) * STEP_A + d / 4u], STEP_A);
//#else
                let x = coopLoad<coop_mat16x16<f16, A>>(&left[d * STEP_A + down / 4u + i * 4u], STEP_A);
//#endif
                for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                    sums[i * FRAGS_N + j] = coopMultiplyAdd(x, by[j], sums[i * FRAGS_N + j]);
                }
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < FRAGS_M; i++) { //#unroll
        for (var j = 0u; j < FRAGS_N; j++) { //#unroll
            coopStoreT(sums[i * FRAGS_N + j], &done[lane / 32u * 256u], 16u);
            workgroupBarrier();
            store(at, part, first_m + down + i * 16u, first_n + across + j * 16u, lane);
            workgroupBarrier();
        }
    }
}
