// Products of float16 matrices by cooperative matrices of 16 by 16, summed in float32. A subgroup makes FRAGS_M by FRAGS_N
// of them. While a workgroup multiplies two tiles, it loads the next two.

enable f16;
enable wgpu_cooperative_matrix;

//#include common/product.wgsl
//#include common/product_result.wgsl

const ROWS: u32 = 128u; //#param
const COLUMNS: u32 = 128u; //#param
const DEPTH: u32 = 32u; //#param
const FRAGS_M: u32 = 2u; //#param
const FRAGS_N: u32 = 4u; //#param
// FRAGS_M * FRAGS_N
const FRAGS: u32 = 8u; //#param
// Matrices of sums side by side that a subgroup puts out at a time: a divisor of FRAGS_N.
const STRIP: u32 = 2u; //#param
// FRAGS_N / STRIP
const STRIPS: u32 = 2u; //#param
// 2 * STRIP
const EACH: u32 = 4u; //#param
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

struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

@group(0) @binding(1) var<storage, read> a: array<Eight>;
@group(0) @binding(2) var<storage, read> b: array<Eight>;

var<workgroup> left: array<vec4<f16>, SIZE_A>;
var<workgroup> right: array<vec4<f16>, SIZE_B>;
// Matrices of sums of each subgroup on their way out: a vector more than there are keeps neighbouring rows in different banks.
const STEP_DONE: u32 = 4u * STRIP + 1u;
var<workgroup> done: array<vec4<f32>, SUBGROUPS * 16u * STEP_DONE>;

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

// The row and the column of number `i` of the vectors that an invocation puts out of a strip: neighbours lie side by side.
fn vector_of(lane: u32, i: u32) -> vec2<u32> {
    let v = i * 32u + lane % 32u;
    return vec2<u32>(v / (4u * STRIP), v % (4u * STRIP));
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

    let strip = lane / 32u * (16u * STEP_DONE);
    for (var i = 0u; i < FRAGS_M; i++) { //#unroll
        for (var s = 0u; s < STRIPS; s++) { //#unroll
            for (var j = 0u; j < STRIP; j++) { //#unroll
                coopStoreT(sums[i * FRAGS_N + s * STRIP + j], &done[strip + j * 4u], STEP_DONE);
            }
            workgroupBarrier();
            let m = first_m + down + i * 16u;
            let n = first_n + across + s * (16u * STRIP);
//#if SPLIT
            for (var v = 0u; v < EACH; v++) { //#unroll
                let to = vector_of(lane, v);
                if m + to.x < params.m && n + to.y * 4u < params.n {
                    y[(part * params.m + m + to.x) * ((params.n + 3u) / 4u) + n / 4u + to.y] = done[strip + to.x * STEP_DONE + to.y];
                }
            }
//#else
//#if LONG
            // A loop, so that what is long stands once a strip.
            for (var v = 0u; v < EACH; v++) {
                let to = vector_of(lane, v);
                put_four(at, m + to.x, n + to.y * 4u, done[strip + to.x * STEP_DONE + to.y]);
            }
//#else
            // all that is read is under way before the first is stored
            var values = array<vec4<Y>, EACH>();
            for (var v = 0u; v < EACH; v++) { //#unroll
                let to = vector_of(lane, v);
                values[v] = finish_four(at, m + to.x, n + to.y * 4u, done[strip + to.x * STEP_DONE + to.y]);
            }
            for (var v = 0u; v < EACH; v++) { //#unroll
                let to = vector_of(lane, v);
                store_four(at, m + to.x, n + to.y * 4u, values[v]);
            }
//#endif
//#endif
            workgroupBarrier();
        }
    }
}
