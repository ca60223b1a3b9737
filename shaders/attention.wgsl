// softmax(logits of alpha · q × kᵀ) × v without the scores in memory: a workgroup takes QUERIES rows of q through all
// keys, KEYS at a time, with the maxima and sums of its rows so far. Sources: Milakov and Gimelshein, "Online normalizer
// calculation for softmax" (2018); Dao et al., "FlashAttention" (2022).

alias T = f32; //#type
// Of logits.
alias L = f32; //#type
const RANK: u32 = 4u; //#param
const QUERIES: u32 = 32u; //#param
const KEYS: u32 = 16u; //#param
// Vectors of 4 along the depth, and along the width of v: the latter a power of two.
const DEPTH: u32 = 16u; //#param
const COLUMNS: u32 = 16u; //#param
const THREADS: u32 = 64u;
// Rows of k in workgroup memory are a vector longer, so that threads side by side read from different banks.
const K_ROW: u32 = DEPTH + 1u;
const TILE: u32 = KEYS * max(K_ROW, COLUMNS);
// Rows of scores and of the result that a thread makes.
const SCORES: u32 = 8u; //#param
const ROWS: u32 = 8u; //#param

struct Params {
    queries: u32,
    keys: u32,
    depth: u32,
    width: u32,
    tiles_m: u32,
    tiles: u32,
    alpha: f32,
    q_base: i32,
    q_m: i32,
    q_d: i32,
    k_base: i32,
    k_n: i32,
    k_d: i32,
    v_base: i32,
    v_n: i32,
    v_w: i32,
    y_base: i32,
    y_m: i32,
    y_w: i32,
    // Extents of the batch dims, and the steps of the matrices along them.
    batch: array<vec4<u32>, RANK / 4u>,
    q_batch: array<vec4<i32>, RANK / 4u>,
    k_batch: array<vec4<i32>, RANK / 4u>,
    v_batch: array<vec4<i32>, RANK / 4u>,
    y_batch: array<vec4<i32>, RANK / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<T>;
@group(0) @binding(2) var<storage, read> keys: array<T>;
@group(0) @binding(3) var<storage, read> values: array<T>;
@group(0) @binding(4) var<storage, read_write> result: array<T>;

struct Origin {
    q: i32,
    k: i32,
    v: i32,
    y: i32,
    //#insert ORIGIN_FIELDS
}

//#insert DECLARATIONS

// The first elements of the matrices of batch `index`.
fn origin(index: u32) -> Origin {
    var at: Origin;
    at.q = params.q_base;
    at.k = params.k_base;
    at.v = params.v_base;
    at.y = params.y_base;
    //#insert ORIGIN_START
    var rest = index;
    for (var i = RANK; i > 0u && rest > 0u; i--) {
        let d = i - 1u;
        let extent = params.batch[d / 4u][d % 4u];
        let x = i32(rest % extent);
        rest /= extent;
        at.q += x * params.q_batch[d / 4u][d % 4u];
        at.k += x * params.k_batch[d / 4u][d % 4u];
        at.v += x * params.v_batch[d / 4u][d % 4u];
        at.y += x * params.y_batch[d / 4u][d % 4u];
        //#insert ORIGIN_STEP
    }
    return at;
}

// The logit of row m and column n.
fn logit(score: f32, at: Origin, m: u32, n: u32) -> L {
//#insert RESULT
}

var<workgroup> q_tile: array<vec4<f32>, QUERIES * DEPTH>;
// Of k, then of v.
var<workgroup> tile: array<vec4<f32>, TILE>;
var<workgroup> scores: array<f32, QUERIES * KEYS>;
var<workgroup> tops: array<f32, QUERIES>;
var<workgroup> sums: array<f32, QUERIES>;
// What a row's sums so far are worth under its new maximum.
var<workgroup> fades: array<f32, QUERIES>;

fn weight(x: f32, top: f32) -> f32 {
    if f32_is_inf(top) {
        // among nothing but -inf every weight is as good as none; beside +inf the difference is NaN on paper
        if top > 0.0 && (x == top || f32_is_nan(x)) {
            return f32_nan();
        }
        return select(0.0, x, f32_is_nan(x));
    }
    return f32_exp(x - top);
}

fn store(at: Origin, m: u32, first: u32, weighted: vec4<f32>, sum: f32) {
    var y = weighted / sum;
    if sum == 0.0 {
        // nothing but -inf
        //#if ZERO
        y = weighted;
        //#else
        y = vec4<f32>(f32_nan());
        //#endif
    }
    //#if GUARD
    if f32_is_nan(sum) {
        y = vec4<f32>();
    }
    //#endif
    for (var j = 0u; j < 4u && first + j < params.width; j++) {
        result[at.y + i32(m) * params.y_m + i32(first + j) * params.y_w] = T_from_f32(y[j]);
    }
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    if index >= params.tiles {
        return;
    }
    let first_m = index % params.tiles_m * QUERIES;
    let at = origin(index / params.tiles_m);

    for (var i = lane; i < QUERIES * DEPTH; i += THREADS) {
        let m = first_m + i / DEPTH;
        let d = i % DEPTH * 4u;
        var x = vec4<f32>();
        if m < params.queries {
            for (var j = 0u; j < 4u && d + j < params.depth; j++) {
                x[j] = T_to_f32(queries[at.q + i32(m) * params.q_m + i32(d + j) * params.q_d]);
            }
        }
        q_tile[i] = x;
    }
    if lane < QUERIES {
        tops[lane] = f32_lowest();
        sums[lane] = 0.0;
    }

    let column = lane % COLUMNS;
    let first_row = lane / COLUMNS * ROWS;
    var made: array<vec4<f32>, ROWS>;
    for (var first_n = 0u; first_n < params.keys; first_n += KEYS) {
        for (var i = lane; i < KEYS * DEPTH; i += THREADS) {
            let n = first_n + i / DEPTH;
            let d = i % DEPTH * 4u;
            var x = vec4<f32>();
            if n < params.keys {
                for (var j = 0u; j < 4u && d + j < params.depth; j++) {
                    x[j] = T_to_f32(keys[at.k + i32(n) * params.k_n + i32(d + j) * params.k_d]);
                }
            }
            tile[i / DEPTH * K_ROW + i % DEPTH] = x;
        }
        workgroupBarrier();

        let key = lane % KEYS;
        let first_score = lane / KEYS * SCORES;
        var dots: array<f32, SCORES>;
        for (var d = 0u; d < DEPTH; d++) {
            let k = tile[key * K_ROW + d];
            for (var i = 0u; i < SCORES; i++) { //#unroll
                dots[i] += dot(q_tile[(first_score + i) * DEPTH + d], k);
            }
        }
        for (var i = 0u; i < SCORES; i++) { //#unroll
            let m = first_m + first_score + i;
            let n = first_n + key;
            if m < params.queries && n < params.keys {
                scores[(first_score + i) * KEYS + key] =
                    L_to_f32(logit(params.alpha * dots[i], at, m, n));
            }
        }
        workgroupBarrier();

        for (var i = lane; i < KEYS * COLUMNS; i += THREADS) {
            let n = first_n + i / COLUMNS;
            let w = i % COLUMNS * 4u;
            var x = vec4<f32>();
            if n < params.keys {
                for (var j = 0u; j < 4u && w + j < params.width; j++) {
                    x[j] = T_to_f32(values[at.v + i32(n) * params.v_n + i32(w + j) * params.v_w]);
                }
            }
            tile[i] = x;
        }
        if lane < QUERIES && first_m + lane < params.queries {
            let count = min(KEYS, params.keys - first_n);
            let row = lane * KEYS;
            let old = tops[lane];
            var top = old;
            for (var j = 0u; j < count; j++) {
                // a NaN is no maximum, but a weight
                if f32_gt(scores[row + j], top) {
                    top = scores[row + j];
                }
            }
            var sum = 0.0;
            for (var j = 0u; j < KEYS; j++) {
                var w = 0.0;
                if j < count {
                    w = weight(scores[row + j], top);
                }
                scores[row + j] = w;
                sum += w;
            }
            let fade = select(f32_exp(old - top), 1.0, old == top);
            tops[lane] = top;
            fades[lane] = fade;
            sums[lane] = sums[lane] * fade + sum;
        }
        workgroupBarrier();

        for (var i = 0u; i < ROWS; i++) { //#unroll
            made[i] *= fades[first_row + i];
        }
        for (var j = 0u; j < KEYS; j++) {
            let v = tile[j * COLUMNS + column];
            for (var i = 0u; i < ROWS; i++) { //#unroll
                made[i] += scores[(first_row + i) * KEYS + j] * v;
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < ROWS; i++) { //#unroll
        let m = first_m + first_row + i;
        if m < params.queries {
            store(at, m, column * 4u, made[i], sums[first_row + i]);
        }
    }
}
