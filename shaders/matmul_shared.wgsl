// Matrix products by tiles in workgroup memory. While a workgroup multiplies two tiles, it loads the next two.

//#include common/product.wgsl
//#include common/product_result.wgsl
//#include common/tile.wgsl

// Vectors that an invocation loads of each tile.
const LOADS_A: u32 = 1u; //#param
const LOADS_B: u32 = 1u; //#param
// Rows of blocks of an invocation, but for the last.
const MOVED: u32 = 3u; //#param
// 4 * QUADS_M
const OWN_ROWS: u32 = 4u; //#param

//#if A_VEC
alias A = vec4<f32>; //#param
//#else
alias A = f32; //#param
//#endif
//#if B_BITS
//#include common/bits.wgsl
//#else
//#if B_VEC
alias B = vec4<f32>; //#param
//#else
alias B = f32; //#param
//#endif
@group(0) @binding(2) var<storage, read> b: array<B>;
//#endif

@group(0) @binding(1) var<storage, read> a: array<A>;

// Where four elements of A lie: along k from (k, m) on, or along m. Beyond the last m the last is read,
// and what comes of it is not stored.
//#if A_ONE
alias PlaceA = i32;
//#else
alias PlaceA = vec4<i32>;
//#endif

fn find_a(at: i32, k: u32, m: u32) -> PlaceA {
//#if A_ALONG_K
    let start = at + i32(min(m, params.m - 1u)) * params.a_m;
//#if A_VEC
    return start + i32(k / 4u);
//#else
    return start + i32(k) * params.a_k;
//#endif
//#else
//#if A_VEC
    return at + i32(min(m, params.m - 4u) / 4u) + i32(k) * params.a_k;
//#else
    let each = min(vec4<u32>(m, m + 1u, m + 2u, m + 3u), vec4<u32>(params.m - 1u));
    return vec4<i32>(at + i32(k) * params.a_k) + vec4<i32>(each) * params.a_m;
//#endif
//#endif
}

// How far a tile lies from the next.
fn step_a() -> i32 {
//#if A_ALONG_K
//#if A_VEC
    return i32(DEPTH / 4u);
//#else
    return i32(DEPTH) * params.a_k;
//#endif
//#else
    return i32(DEPTH) * params.a_k;
//#endif
}

// The four elements that lie `moved` further on than `place`, zeros from `end` on.
fn load_a(place: PlaceA, moved: i32, k: u32, end: u32) -> vec4<Held> {
//#if K_REST
    if k >= end {
        return vec4<Held>();
    }
//#endif
//#if A_VEC
    return vec4<Held>(a[place + moved]);
//#else
    let p = place + moved;
//#if A_ALONG_K
    var v = vec4<Held>();
    v.x = Held(a[p]);
//#if K_REST
    if k + 1u < end { v.y = Held(a[p + params.a_k]); }
    if k + 2u < end { v.z = Held(a[p + 2 * params.a_k]); }
    if k + 3u < end { v.w = Held(a[p + 3 * params.a_k]); }
//#else
    v.y = Held(a[p + params.a_k]);
    v.z = Held(a[p + 2 * params.a_k]);
    v.w = Held(a[p + 3 * params.a_k]);
//#endif
    return v;
//#else
    return vec4<Held>(Held(a[p.x]), Held(a[p.y]), Held(a[p.z]), Held(a[p.w]));
//#endif
//#endif
}

//#if B_BITS
// Weights of four columns: their words and what scales them, which become floats on their way to workgroup memory.
struct NextB {
    word: vec4<u32>,
    by: Scale,
}
alias PlaceB = i32;

// The first vector of the columns from n on; those beyond the last are read as the last, and not stored.
fn find_b(at: i32, k: u32, n: u32) -> PlaceB {
    return at + i32(min(n / 4u, u32(params.b_k) - 1u));
}

fn step_b() -> i32 {
    return 0;
}

fn load_b(place: PlaceB, moved: i32, k: u32, end: u32) -> NextB {
//#if K_REST
    if k >= end {
        return NextB();
    }
//#endif
    let step = u32(params.b_k);
    return NextB(b[u32(place) + k / PER * step], scale_of(u32(place), step, params.k, k));
}

fn made_b(next: NextB, k: u32) -> vec4<Held> {
    return weights(next.word, k % PER, next.by.less) * next.by.scale;
}
//#else
alias NextB = vec4<Held>;

fn made_b(next: NextB, k: u32) -> vec4<Held> {
    return next;
}

// Where four elements of B lie: along k from (k, n) on, or along n. Beyond the last n the last is read,
// and what comes of it is not stored.
//#if B_ONE
alias PlaceB = i32;
//#else
alias PlaceB = vec4<i32>;
//#endif

fn find_b(at: i32, k: u32, n: u32) -> PlaceB {
//#if B_ALONG_K
    let start = at + i32(min(n, params.n - 1u)) * params.b_n;
//#if B_VEC
    return start + i32(k / 4u);
//#else
    return start + i32(k) * params.b_k;
//#endif
//#else
//#if B_VEC
    return at + i32(min(n, params.n - 4u) / 4u) + i32(k) * params.b_k;
//#else
    let each = min(vec4<u32>(n, n + 1u, n + 2u, n + 3u), vec4<u32>(params.n - 1u));
    return vec4<i32>(at + i32(k) * params.b_k) + vec4<i32>(each) * params.b_n;
//#endif
//#endif
}

// How far a tile lies from the next.
fn step_b() -> i32 {
//#if B_ALONG_K
//#if B_VEC
    return i32(DEPTH / 4u);
//#else
    return i32(DEPTH) * params.b_k;
//#endif
//#else
    return i32(DEPTH) * params.b_k;
//#endif
}

// The four elements that lie `moved` further on than `place`, zeros from `end` on.
fn load_b(place: PlaceB, moved: i32, k: u32, end: u32) -> vec4<Held> {
//#if K_REST
    if k >= end {
        return vec4<Held>();
    }
//#endif
//#if B_VEC
    return vec4<Held>(b[place + moved]);
//#else
    let p = place + moved;
//#if B_ALONG_K
    var v = vec4<Held>();
    v.x = Held(b[p]);
//#if K_REST
    if k + 1u < end { v.y = Held(b[p + params.b_k]); }
    if k + 2u < end { v.z = Held(b[p + 2 * params.b_k]); }
    if k + 3u < end { v.w = Held(b[p + 3 * params.b_k]); }
//#else
    v.y = Held(b[p + params.b_k]);
    v.z = Held(b[p + 2 * params.b_k]);
    v.w = Held(b[p + 3 * params.b_k]);
//#endif
    return v;
//#else
    return vec4<Held>(Held(b[p.x]), Held(b[p.y]), Held(b[p.z]), Held(b[p.w]));
//#endif
//#endif
}
//#endif

// Which vector of a tile is number `i`: along the depth and along the outer dim, in elements.
fn place_a(i: u32) -> vec2<u32> {
//#if A_ALONG_K
    return vec2<u32>(i % (DEPTH / 4u) * 4u, i / (DEPTH / 4u));
//#else
    return vec2<u32>(i / (ROWS / 4u), i % (ROWS / 4u) * 4u);
//#endif
}

fn place_b(i: u32) -> vec2<u32> {
//#if B_ALONG_K
    return vec2<u32>(i % (DEPTH / 4u) * 4u, i / (DEPTH / 4u));
//#else
    return vec2<u32>(i / (COLUMNS / 4u), i % (COLUMNS / 4u) * 4u);
//#endif
}

fn put_a(place: vec2<u32>, v: vec4<Held>) {
    let at = place.x * LEFT_STEP + place.y / 4u;
//#if A_ALONG_K
    let c = place.y % 4u;
//#if LEFT_SINGLE
    left[4u * at + c] = v.x;
    left[4u * (at + LEFT_STEP) + c] = v.y;
    left[4u * (at + 2u * LEFT_STEP) + c] = v.z;
    left[4u * (at + 3u * LEFT_STEP) + c] = v.w;
//#else
    left[at][c] = v.x;
    left[at + LEFT_STEP][c] = v.y;
    left[at + 2u * LEFT_STEP][c] = v.z;
    left[at + 3u * LEFT_STEP][c] = v.w;
//#endif
//#else
    left[at] = v;
//#endif
}

fn put_b(place: vec2<u32>, v: vec4<Held>) {
    let at = place.x * RIGHT_STEP + place.y / 4u;
//#if B_ALONG_K
    let c = place.y % 4u;
//#if RIGHT_SINGLE
    right[4u * at + c] = v.x;
    right[4u * (at + RIGHT_STEP) + c] = v.y;
    right[4u * (at + 2u * RIGHT_STEP) + c] = v.z;
    right[4u * (at + 3u * RIGHT_STEP) + c] = v.w;
//#else
    right[at][c] = v.x;
    right[at + RIGHT_STEP][c] = v.y;
    right[at + 2u * RIGHT_STEP][c] = v.z;
    right[at + 3u * RIGHT_STEP][c] = v.w;
//#endif
//#else
    right[at] = v;
//#endif
}

//#if SPLIT
alias Outcome = vec4<Acc>;
//#else
alias Outcome = vec4<Y>;
//#endif

// What is stored in row m and the columns from n on.
fn outcome(at: Origin, m: u32, n: u32, sum: vec4<Acc>) -> Outcome {
//#if SPLIT
    return sum;
//#else
    return finish_four(at, m, n, sum);
//#endif
}

// Stores it, those rows and columns that there are.
fn store(at: Origin, part: u32, m: u32, n: u32, values: Outcome) {
//#if SPLIT
    if m >= params.m || n >= params.n {
        return;
    }
    // Sums in parts: as [part, batch, m, vectors of n].
    y[(part * params.m + m) * ((params.n + 3u) / 4u) + n / 4u] = values;
//#else
    store_four(at, m, n, values);
//#endif
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let first_n = tile % params.tiles_n * COLUMNS;
    let first_m = tile / params.tiles_n % params.tiles_m * ROWS;
    let part = tile / (params.tiles_n * params.tiles_m);
    let at = origin(part % params.stacked);
    let begin = part / params.stacked * params.part;
    let end = min(begin + params.part, params.k);

    var places_a: array<PlaceA, LOADS_A>;
    var places_b: array<PlaceB, LOADS_B>;
    var next_a: array<vec4<Held>, LOADS_A>;
    var next_b: array<NextB, LOADS_B>;
    for (var i = 0u; i < LOADS_A; i++) { //#unroll
        let p = place_a(lane + i * THREADS);
        places_a[i] = find_a(at.a, begin + p.x, first_m + p.y);
        next_a[i] = load_a(places_a[i], 0, begin + p.x, end);
    }
    for (var i = 0u; i < LOADS_B; i++) { //#unroll
        let p = place_b(lane + i * THREADS);
        places_b[i] = find_b(at.b, begin + p.x, first_n + p.y);
        next_b[i] = load_b(places_b[i], 0, begin + p.x, end);
    }
    var moved_a = 0;
    var moved_b = 0;
    for (var k = begin; k < end; k += DEPTH) {
        for (var i = 0u; i < LOADS_A; i++) { //#unroll
            put_a(place_a(lane + i * THREADS), next_a[i]);
        }
        for (var i = 0u; i < LOADS_B; i++) { //#unroll
            put_b(place_b(lane + i * THREADS), made_b(next_b[i], k + place_b(lane + i * THREADS).x));
        }
        workgroupBarrier();
        moved_a += step_a();
        moved_b += step_b();
        let after = k + DEPTH;
        if after < end {
            for (var i = 0u; i < LOADS_A; i++) { //#unroll
                next_a[i] = load_a(places_a[i], moved_a, after + place_a(lane + i * THREADS).x, end);
            }
            for (var i = 0u; i < LOADS_B; i++) { //#unroll
                next_b[i] = load_b(places_b[i], moved_b, after + place_b(lane + i * THREADS).x, end);
            }
        }
        multiply(lane);
        workgroupBarrier();
    }

    let m = first_m + down_of(lane) * 4u;
    let n = first_n + across_of(lane) * 4u;
//#if LONG
    // A loop, so that what is long stands once: the rows move up to the first.
    for (var i = 0u; i < OWN_ROWS; i++) {
        let row = m + i % 4u + i / 4u * (DOWN * 4u);
        var values = array<Outcome, QUADS_N>();
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            values[r] = outcome(at, row, n + r * ACROSS * 4u, sums[r]);
        }
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            store(at, part, row, n + r * ACROSS * 4u, values[r]);
        }
        for (var j = 0u; j < MOVED; j++) { //#unroll
            for (var r = 0u; r < QUADS_N; r++) { //#unroll
                sums[j * QUADS_N + r] = sums[(j + 1u) * QUADS_N + r];
            }
        }
    }
//#else
    for (var i = 0u; i < OWN_ROWS; i++) { //#unroll
        let row = m + i % 4u + i / 4u * (DOWN * 4u);
        var values = array<Outcome, QUADS_N>();
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            values[r] = outcome(at, row, n + r * ACROSS * 4u, sums[i * QUADS_N + r]);
        }
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            store(at, part, row, n + r * ACROSS * 4u, values[r]);
        }
    }
//#endif
}
