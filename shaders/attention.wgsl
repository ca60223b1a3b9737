// softmax(logits of alpha · q × kᵀ) × v without the scores in memory: a workgroup takes QUERIES rows of q through all
// keys, KEYS at a time, with the maxima and sums of its rows so far. Sources: Milakov and Gimelshein, "Online normalizer
// calculation for softmax" (2018); Dao et al., "FlashAttention" (2022).

//#include common/attention.wgsl

alias T = f32; //#type
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

@group(0) @binding(1) var<storage, read> queries: array<T>;
@group(0) @binding(2) var<storage, read> keys: array<T>;
@group(0) @binding(3) var<storage, read> values: array<T>;

var<workgroup> q_tile: array<vec4<f32>, QUERIES * DEPTH>;
// Of k, then of v.
var<workgroup> tile: array<vec4<f32>, TILE>;
var<workgroup> scores: array<f32, QUERIES * KEYS>;
var<workgroup> tops: array<f32, QUERIES>;
var<workgroup> sums: array<f32, QUERIES>;
// What a row's sums so far are worth under its new maximum.
var<workgroup> fades: array<f32, QUERIES>;

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
        var dots = array<f32, SCORES>();
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
                // whether a NaN counts is the driver's choice: its weight or all weights are NaN then
                top = max(top, scores[row + j]);
            }
            let less = shift(top);
            var sum = 0.0;
            for (var j = 0u; j < KEYS; j++) {
                var w = 0.0;
                if j < count {
                    w = f32_exp(scores[row + j] - less);
                }
                scores[row + j] = w;
                sum += w;
            }
            let fade = select(f32_exp(old - top), 1.0, old == top);
            tops[lane] = top;
            fades[lane] = fade;
            sums[lane] = settled(sums[lane] * fade + sum, top);
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
