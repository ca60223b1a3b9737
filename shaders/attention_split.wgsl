// Attention of a few queries to many keys: a workgroup takes a part of the keys, at most KEYS, and reads it once for ROWS
// rows of queries, those of all heads that share keys and values. attention_join.wgsl joins the parts. Source: Dao et al.,
// "Flash-Decoding for long-context inference" (2023).

//#include common/attention.wgsl
//#include common/attention_rows.wgsl

alias T = f32; //#type
// A power of two, at most 8.
const ROWS: u32 = 4u; //#param
// Rows of scores that an invocation finishes.
const FINISHED: u32 = 1u; //#param
const KEYS: u32 = 256u; //#param
// Vectors of 4 along the depth, and along the width of v: the latter a power of two.
const DEPTH: u32 = 32u; //#param
const COLUMNS: u32 = 32u; //#param
const THREADS: u32 = 128u;
// ROWS * THREADS
const HELD: u32 = 512u; //#param
// Invocations that multiply a key, and keys that a workgroup multiplies at a time.
const ACROSS: u32 = 4u;
const AT_ONCE: u32 = THREADS / ACROSS;
// Invocations of a row of scores.
const BESIDE: u32 = THREADS / ROWS;
// Invocations of a column of values, and values that each has under way.
const SLICES: u32 = THREADS / COLUMNS;
const AHEAD: u32 = 4u; //#param

//#if PARTS
// For each row and part the weighted values, and a vector with the greatest logit and the sum of the weights.
@group(0) @binding(4) var<storage, read_write> parts: array<vec4<f32>>;
//#endif

var<workgroup> q_rows: array<vec4<f32>, ROWS * DEPTH>;
var<workgroup> scores: array<f32, ROWS * KEYS>;
var<workgroup> held: array<f32, HELD>;
var<workgroup> weighted: array<vec4<f32>, THREADS>;
var<workgroup> tops: array<f32, ROWS>;
var<workgroup> sums: array<f32, ROWS>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    if index >= params.tiles {
        return;
    }
    let part = index % params.parts;
    let first_row = index / params.parts % params.tiles_m * ROWS;
    let first_head = index / (params.parts * params.tiles_m) * params.shared_by;
    let rows = params.shared_by * params.queries;
    let begin = part * params.part;
    let count = min(params.part, params.keys - begin);
    let at = origin(first_head);

    for (var i = lane; i < ROWS * DEPTH; i += THREADS) {
        let row = first_row + i / DEPTH;
        var x = vec4<f32>();
        if row < rows {
            let start = origin(first_head + row / params.queries).q + i32(row % params.queries) * params.q_m;
            x = load_q(start, i % DEPTH);
        }
        q_rows[i] = x;
    }
    // an invocation finishes the scores of every THREADS / AT_ONCE-th row
    var finished_at: array<Origin, FINISHED>;
    for (var f = 0u; f < FINISHED; f++) { //#unroll
        let row = min(first_row + lane / AT_ONCE + f * ACROSS, rows - 1u);
        finished_at[f] = origin(first_head + row / params.queries);
    }
    workgroupBarrier();

    for (var first = 0u; first < count; first += AT_ONCE) {
        let key = first + lane / ACROSS;
        var dots = array<f32, ROWS>();
        if key < count {
            let start = at.k + i32(begin + key) * params.k_n;
            for (var d = lane % ACROSS; d < DEPTH; d += ACROSS) {
                let k = load_k(start, d);
                for (var r = 0u; r < ROWS; r++) { //#unroll
                    dots[r] += dot(q_rows[r * DEPTH + d], k);
                }
            }
        }
        for (var r = 0u; r < ROWS; r++) { //#unroll
            held[r * THREADS + lane] = dots[r];
        }
        workgroupBarrier();
        let mine = lane % AT_ONCE;
        for (var f = 0u; f < FINISHED; f++) { //#unroll
            let r = lane / AT_ONCE + f * ACROSS;
            let row = first_row + r;
            if r < ROWS && row < rows && first + mine < count {
                let first_held = r * THREADS + mine * ACROSS;
                let score = (held[first_held] + held[first_held + 1u]) + (held[first_held + 2u] + held[first_held + 3u]);
                scores[r * KEYS + first + mine] = L_to_f32(
                    logit(params.alpha * score, finished_at[f], row % params.queries, begin + first + mine));
            }
        }
        workgroupBarrier();
    }

    let own = lane / BESIDE;
    var top = f32_lowest();
    for (var j = lane % BESIDE; j < count; j += BESIDE) {
        // whether a NaN counts is the driver's choice: its weight or all weights are NaN then
        top = max(top, scores[own * KEYS + j]);
    }
    held[lane] = top;
    for (var half = BESIDE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % BESIDE < half {
            held[lane] = max(held[lane], held[lane + half]);
        }
    }
    workgroupBarrier();
    top = held[own * BESIDE];
    let less = shift(top);
    var sum = 0.0;
    for (var j = lane % BESIDE; j < count; j += BESIDE) {
        let w = f32_exp(scores[own * KEYS + j] - less);
        scores[own * KEYS + j] = w;
        sum += w;
    }
    workgroupBarrier();
    held[lane] = sum;
    for (var half = BESIDE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % BESIDE < half {
            held[lane] += held[lane + half];
        }
    }
    if lane % BESIDE == 0u {
        tops[own] = top;
        sums[own] = settled(held[lane], top);
    }
    workgroupBarrier();

    let column = lane % COLUMNS;
    let slice = lane / COLUMNS;
    var made: array<vec4<f32>, ROWS>;
    var j = slice;
    for (; j + (AHEAD - 1u) * SLICES < count; j += AHEAD * SLICES) {
        var v = array<vec4<f32>, AHEAD>();
        for (var i = 0u; i < AHEAD; i++) { //#unroll
            v[i] = load_v(at.v + i32(begin + j + i * SLICES) * params.v_n, column);
        }
        for (var i = 0u; i < AHEAD; i++) { //#unroll
            for (var r = 0u; r < ROWS; r++) { //#unroll
                made[r] += scores[r * KEYS + j + i * SLICES] * v[i];
            }
        }
    }
    for (; j < count; j += SLICES) {
        let v = load_v(at.v + i32(begin + j) * params.v_n, column);
        for (var r = 0u; r < ROWS; r++) { //#unroll
            made[r] += scores[r * KEYS + j] * v;
        }
    }
    let columns = (params.width + 3u) / 4u;
    for (var r = 0u; r < ROWS; r++) { //#unroll
        weighted[lane] = made[r];
        workgroupBarrier();
        let row = first_row + r;
        if slice == 0u && column < columns && row < rows {
            var total = weighted[column];
            for (var s = 1u; s < SLICES; s++) {
                total += weighted[s * COLUMNS + column];
            }
            let head = first_head + row / params.queries;
            //#if PARTS
            let to = ((head * params.queries + row % params.queries) * params.parts + part) * (columns + 1u);
            parts[to + column] = total;
            if column == 0u {
                parts[to + columns] = vec4<f32>(tops[r], sums[r], 0.0, 0.0);
            }
            //#else
            store(origin(head), row % params.queries, column * 4u, total, sums[r]);
            //#endif
        }
        workgroupBarrier();
    }
}
