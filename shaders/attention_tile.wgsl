// Attention as two products by register tiles with the softmax between them: a workgroup takes 8 rows of q through all
// keys, KEYS at a time, with the maxima and sums of its rows so far (see attention.wgsl). Its invocations lie side by
// side along the keys, then one to a row, then along the columns of v.

//#include common/attention.wgsl
//#include common/attention_rows.wgsl

alias T = f32; //#type
// Vectors of 4 columns that an invocation makes.
const VECTORS: u32 = 2u; //#param
const LANES: u32 = 8u;
const ROWS: u32 = 8u; //#param
const KEYS: u32 = 256u;
const ACROSS: u32 = KEYS / 4u;
const MADE: u32 = 16u; //#param

// Four keys of a row each.
var<workgroup> scores: array<vec4<f32>, ROWS * ACROSS>;
var<workgroup> tops: array<f32, ROWS>;
var<workgroup> sums: array<f32, ROWS>;
// What a row's sums so far are worth under its new maximum.
var<workgroup> fades: array<f32, ROWS>;

// The logit of row m and column n; -inf beyond the last key.
fn masked(score: f32, at: Origin, m: u32, n: u32) -> f32 {
    let x = L_to_f32(logit(score, at, m, min(n, params.keys - 1u)));
    return select(x, f32_lowest(), n >= params.keys);
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    if index >= params.tiles {
        return;
    }
    let first_m = index % params.tiles_m * ROWS;
    let at = origin(index / params.tiles_m);
    let last_m = params.queries - 1u;
    let last_n = params.keys - 1u;
    tops[lane] = f32_lowest();
    sums[lane] = 0.0;

    // with BROADCAST each lane reads a row and hands it on, else all read all rows
    //#if BROADCAST
    let own_start = at.q + i32(min(first_m + lane, last_m)) * params.q_m;
    //#else
    var starts: array<i32, ROWS>;
    for (var i = 0u; i < ROWS; i++) { //#unroll
        starts[i] = at.q + i32(min(first_m + i, last_m)) * params.q_m;
    }
    //#endif
    var made: array<vec4<f32>, MADE>;
    for (var first_n = 0u; first_n < params.keys; first_n += KEYS) {
        let count = min(KEYS, params.keys - first_n);

        for (var n0 = 0u; n0 < count; n0 += LANES * 4u) {
            let n = first_n + n0 + lane * 4u;
            let k0 = at.k + i32(min(n, last_n)) * params.k_n;
            let k1 = at.k + i32(min(n + 1u, last_n)) * params.k_n;
            let k2 = at.k + i32(min(n + 2u, last_n)) * params.k_n;
            let k3 = at.k + i32(min(n + 3u, last_n)) * params.k_n;
            var dots = array<vec4<f32>, ROWS>();
            for (var d = 0u; d * 4u < params.depth; d++) {
                let a = load_k(k0, d);
                let b = load_k(k1, d);
                let c = load_k(k2, d);
                let e = load_k(k3, d);
                //#if BROADCAST
                let own = load_q(own_start, d);
                //#endif
                for (var i = 0u; i < ROWS; i++) { //#unroll
                    //#if BROADCAST
                    let q = subgroupBroadcast(own, i);
                    //#else
                    let q = load_q(starts[i], d);
                    //#endif
                    dots[i] += vec4<f32>(dot(q, a), dot(q, b), dot(q, c), dot(q, e));
                }
            }
            for (var i = 0u; i < ROWS; i++) { //#unroll
                scores[i * ACROSS + n0 / 4u + lane] = dots[i] * params.alpha;
            }
        }
        workgroupBarrier();

        {
            let row = lane * ACROSS;
            let old = tops[lane];
            var top = old;
            let m = min(first_m + lane, last_m);
            for (var j = 0u; j * 4u < count; j++) {
                let n = first_n + j * 4u;
                let s = scores[row + j];
                let x = vec4<f32>(masked(s.x, at, m, n), masked(s.y, at, m, n + 1u), masked(s.z, at, m, n + 2u),
                    masked(s.w, at, m, n + 3u));
                scores[row + j] = x;
                // whether a NaN counts is the driver's choice: its weight or all weights are NaN then
                top = max(top, max(max(x.x, x.y), max(x.z, x.w)));
            }
            let less = shift(top);
            var sum = 0.0;
            for (var j = 0u; j * 4u < count; j++) {
                let x = scores[row + j] - less;
                let w = vec4<f32>(f32_exp(x.x), f32_exp(x.y), f32_exp(x.z), f32_exp(x.w));
                scores[row + j] = w;
                sum += (w.x + w.y) + (w.z + w.w);
            }
            let fade = select(f32_exp(old - top), 1.0, old == top);
            tops[lane] = top;
            fades[lane] = fade;
            sums[lane] = settled(sums[lane] * fade + sum, top);
        }
        workgroupBarrier();

        for (var i = 0u; i < ROWS; i++) { //#unroll
            for (var c = 0u; c < VECTORS; c++) { //#unroll
                made[i * VECTORS + c] *= fades[i];
            }
        }
        for (var j = 0u; j * 4u < count; j++) {
            //#if BROADCAST
            let own = scores[lane * ACROSS + j];
            //#endif
            let n = first_n + j * 4u;
            let v0 = at.v + i32(n) * params.v_n;
            let v1 = at.v + i32(min(n + 1u, last_n)) * params.v_n;
            let v2 = at.v + i32(min(n + 2u, last_n)) * params.v_n;
            let v3 = at.v + i32(min(n + 3u, last_n)) * params.v_n;
            for (var c = 0u; c < VECTORS; c++) { //#unroll
                let w = c * LANES + lane;
                let a = load_v(v0, w);
                // no weight makes nothing of what lies beyond the last key, unless that is infinite
                let b = select(vec4<f32>(), load_v(v1, w), n + 1u <= last_n);
                let d = select(vec4<f32>(), load_v(v2, w), n + 2u <= last_n);
                let e = select(vec4<f32>(), load_v(v3, w), n + 3u <= last_n);
                for (var i = 0u; i < ROWS; i++) { //#unroll
                    //#if BROADCAST
                    let p = subgroupBroadcast(own, i);
                    //#else
                    let p = scores[i * ACROSS + j];
                    //#endif
                    made[i * VECTORS + c] += (p.x * a + p.y * b) + (p.z * d + p.w * e);
                }
            }
        }
        workgroupBarrier();
    }

    // by way of memory, so that the code to store stands here once
    for (var i = 0u; i < ROWS; i++) { //#unroll
        for (var c = 0u; c < VECTORS; c++) { //#unroll
            scores[(i * VECTORS + c) * LANES + lane] = made[i * VECTORS + c];
        }
    }
    for (var i = 0u; i < min(ROWS, params.queries - first_m); i++) {
        for (var c = 0u; c < VECTORS; c++) {
            store(at, first_m + i, (c * LANES + lane) * 4u, scores[(i * VECTORS + c) * LANES + lane], sums[i]);
        }
    }
}
