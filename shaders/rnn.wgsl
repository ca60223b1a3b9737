// LSTM, GRU and RNN from projected inputs. LOOP: a workgroup takes one sequence in one direction through all its steps,
// the state in workgroup memory, an invocation making every WG-th unit. Otherwise: one step, an invocation a unit.

//#include common/linear_id.wgsl

alias T = f32; //#type
// The gates of one unit, and their recurrent weights as they are stored: [direction, from unit, to unit].
alias Gates = vec4<f32>; //#param
alias Weights = vec4<f32>; //#param
//#if LOOP
const WG: u32 = 64u; //#param
const UNITS: u32 = 64u; //#param
const HELD: u32 = 192u; //#param
//#endif

struct Params {
    steps: u32,
    // The step at hand, where it is one.
    step: u32,
    batch: u32,
    hidden: u32,
    directions: u32,
    // Whether direction 0 runs from the end.
    reverse: u32,
    // Rows of the projection: how many of a direction, steps along time and batch.
    rows: u32,
    row_t: u32,
    row_b: u32,
    // Steps of Y along time, direction and batch; of the states along direction and batch.
    y_t: u32,
    y_d: u32,
    y_b: u32,
    s_d: u32,
    s_b: u32,
    // Elements of one state: the cell states come after the hidden states.
    cells: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#insert DECLARATIONS

//#insert ACTIVATIONS

//#if LOOP
// LSTM: hidden state twice (before and after the step), cell state. GRU: as LSTM without cell state or, where the reset
// comes first, hidden state, scaled state, update gate. RNN: hidden state twice.
var<workgroup> held: array<f32, HELD>;
//#endif

// Where the hidden state before the step begins.
var<private> before: u32;

fn previous(k: u32) -> f32 {
//#if LOOP
    return held[before + k];
//#else
    return state_in[before + k];
//#endif
}

fn sequence_len(b: u32) -> u32 {
//#if LENS
    return u32(clamp(lens[b], 0, i32(params.steps)));
//#else
    return params.steps;
//#endif
}

// The time at which a sequence of `len` steps is at `step` (beyond its length: the padding at that place).
fn time_of(step: u32, len: u32, d: u32) -> u32 {
    let backwards = (d == 1u) != (params.reverse == 1u);
    return select(step, len - 1u - step, backwards && step < len);
}

//#if !CANDIDATE
// Sums over the state before the step, by gate.
fn recurrent(d: u32, j: u32) -> Gates {
    var at = d * params.hidden * params.hidden + j;
//#if QUANTISED
    // exact integers, and a factor for each gate after those of the row
    let row = before * 5u;
    var count = Weights();
    for (var k = 0u; k < params.hidden; k++) {
        count += i32(quantised[row + k]) * weights[at];
        at += params.hidden;
    }
    let scales = row + params.hidden + 4u * j;
    return Gates(count)
        * Gates(quantised[scales], quantised[scales + 1u], quantised[scales + 2u], quantised[scales + 3u]);
//#else
    var sum = Gates();
    for (var k = 0u; k < params.hidden; k++) {
        sum += previous(k) * Gates(weights[at]);
        at += params.hidden;
    }
    return sum;
//#endif
}
//#endif

fn projected(d: u32, t: u32, b: u32, j: u32) -> Gates {
    let row = d * params.rows + t * params.row_t + b * params.row_b;
//#if LSTM
    let at = row * 4u * params.hidden + j;
    return Gates(projection[at], projection[at + params.hidden], projection[at + 2u * params.hidden],
        projection[at + 3u * params.hidden]);
//#endif
//#if GRU
    let at = row * 3u * params.hidden + j;
    return Gates(projection[at], projection[at + params.hidden], projection[at + 2u * params.hidden], 0.0);
//#endif
//#if RNN
    return projection[row * params.hidden + j];
//#endif
}

//#if LSTM
fn peephole(d: u32, gate: u32, j: u32) -> f32 {
//#if EXTRA
    return T_to_f32(extra[(d * 3u + gate) * params.hidden + j]);
//#else
    return 0.0;
//#endif
}

// Hidden and cell state after the step, from the gates i, o, f, c and the cell state before it.
fn next(x: Gates, c: f32, d: u32, j: u32) -> vec2<f32> {
    let i = act0(x.x + peephole(d, 0u, j) * c, d);
//#if INPUT_FORGET
    let f = 1.0 - i;
//#else
    let f = act0(x.z + peephole(d, 2u, j) * c, d);
//#endif
    let cell = f * c + i * act1(x.w, d);
    let o = act0(x.y + peephole(d, 1u, j) * cell, d);
    return vec2<f32>(o * act2(cell, d), cell);
}
//#endif

//#if LINEAR
fn bias(d: u32, gate: u32, j: u32) -> f32 {
//#if EXTRA
    return T_to_f32(extra[(d * 6u + 3u + gate) * params.hidden + j]);
//#else
    return 0.0;
//#endif
}

// The state after the step: projected and recurrent gates z, r, h apart, their recurrent bias added here.
fn next(x: Gates, s: Gates, h: f32, d: u32, j: u32) -> f32 {
    let z = act0(x.x + s.x + bias(d, 0u, j), d);
    let r = act0(x.y + s.y + bias(d, 1u, j), d);
    let candidate = act1(x.z + r * (s.z + bias(d, 2u, j)), d);
    return (1.0 - z) * candidate + z * h;
}
//#endif

//#if LOOP
@compute @workgroup_size(WG, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let sequence = group.y * groups.x + group.x;
    if sequence >= params.directions * params.batch {
        return;
    }
    let d = sequence / params.batch;
    let b = sequence % params.batch;
    let len = sequence_len(b);
    let state_at = d * params.s_d + b * params.s_b;
    for (var j = lane; j < params.hidden; j += WG) {
//#if H0
        held[j] = T_to_f32(h0[state_at + j]);
//#else
        held[j] = 0.0;
//#endif
//#if LSTM
//#if C0
        held[2u * UNITS + j] = T_to_f32(c0[state_at + j]);
//#else
        held[2u * UNITS + j] = 0.0;
//#endif
//#endif
    }
    before = 0u;
    workgroupBarrier();
    for (var step = 0u; step < params.steps; step++) {
        let t = time_of(step, len, d);
        let live = step < len;
        let y_at = t * params.y_t + d * params.y_d + b * params.y_b;
//#if RESET
        for (var j = lane; j < params.hidden; j += WG) {
            let x = projected(d, t, b, j) + recurrent(d, j);
            held[UNITS + j] = act0(x.y, d) * held[j];
            held[2u * UNITS + j] = act0(x.x, d);
        }
        workgroupBarrier();
        for (var j = lane; j < params.hidden; j += WG) {
            var sum = projected(d, t, b, j).z;
            var at = d * params.hidden * params.hidden + j;
            for (var k = 0u; k < params.hidden; k++) {
                sum += held[UNITS + k] * Gates(weights[at]).z;
                at += params.hidden;
            }
            let z = held[2u * UNITS + j];
            if live {
                held[j] = (1.0 - z) * act1(sum, d) + z * held[j];
            }
            y[y_at + j] = T_from_f32(select(0.0, held[j], live));
        }
        workgroupBarrier();
//#else
        let after = UNITS - before;
        for (var j = lane; j < params.hidden; j += WG) {
            var h = held[before + j];
            if live {
//#if LSTM
                let both = next(projected(d, t, b, j) + recurrent(d, j), held[2u * UNITS + j], d, j);
                h = both.x;
                held[2u * UNITS + j] = both.y;
//#endif
//#if LINEAR
                h = next(projected(d, t, b, j), recurrent(d, j), h, d, j);
//#endif
//#if RNN
                h = act0(projected(d, t, b, j) + recurrent(d, j), d);
//#endif
            }
            held[after + j] = h;
            y[y_at + j] = T_from_f32(select(0.0, h, live));
        }
        workgroupBarrier();
        before = after;
//#endif
    }
    for (var j = lane; j < params.hidden; j += WG) {
        state_out[state_at + j] = T_from_f32(held[before + j]);
//#if LSTM
        state_out[params.cells + state_at + j] = T_from_f32(held[2u * UNITS + j]);
//#endif
    }
}
//#else
@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.cells {
        return;
    }
    let j = i % params.hidden;
    let b = i / params.hidden % params.batch;
    let d = i / params.hidden / params.batch;
    let len = sequence_len(b);
    let t = time_of(params.step, len, d);
    let live = params.step < len;
    before = i - j;
//#if RESET
    let x = projected(d, t, b, j) + recurrent(d, j);
    scaled_out[i] = act0(x.y, d) * state_in[i];
    scaled_out[params.cells + i] = act0(x.x, d);
//#else
    var h = state_in[i];
//#if LSTM
    var c = state_in[params.cells + i];
//#endif
    if live {
//#if LSTM
        let both = next(projected(d, t, b, j) + recurrent(d, j), c, d, j);
        h = both.x;
        c = both.y;
//#endif
//#if LINEAR
        h = next(projected(d, t, b, j), recurrent(d, j), h, d, j);
//#endif
//#if CANDIDATE
        var sum = projected(d, t, b, j).z;
        var at = d * params.hidden * params.hidden + j;
        for (var k = 0u; k < params.hidden; k++) {
            sum += scaled[before + k] * Gates(weights[at]).z;
            at += params.hidden;
        }
        let z = scaled[params.cells + i];
        h = (1.0 - z) * act1(sum, d) + z * h;
//#endif
//#if RNN
        h = act0(projected(d, t, b, j) + recurrent(d, j), d);
//#endif
    }
    state_out[i] = h;
//#if LSTM
    state_out[params.cells + i] = c;
//#endif
    y[t * params.y_t + d * params.y_d + b * params.y_b + j] = T_from_f32(select(0.0, h, live));
//#endif
}
//#endif
