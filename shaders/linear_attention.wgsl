// A state matrix a head of keys and values, that each step decays, is written to and read from:
//   state = exp(decay) · state + key ⊗ (beta · (value - key · state)),  output = scale · query · state
// The columns of a state do not meet, so one thread takes one column through the steps `first..last`.

//#include common/linear_id.wgsl

alias T = f32; //#type
const BETA_AT: u32 = 5u; //#param
const STATE_AT: u32 = 6u; //#param
const OUT_AT: u32 = 7u; //#param

struct Params {
    count: u32,
    query_base: u32,
    key_base: u32,
    value_base: u32,
    decay_base: u32,
    beta_base: u32,
    length: u32,
    first: u32,
    last: u32,
    heads: u32,
    // heads of queries that share a head of keys
    group: u32,
    rows: u32,
    columns: u32,
    // decays a head: one, or one a row
    decays: u32,
    // betas a step: one, or one a head
    betas: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<T>;
@group(0) @binding(2) var<storage, read> key: array<T>;
@group(0) @binding(3) var<storage, read> value: array<T>;
//#if DECAY
@group(0) @binding(4) var<storage, read> decay: array<T>;
//#endif
//#if DELTA
@group(0) @binding(BETA_AT) var<storage, read> beta: array<T>;
//#endif
@group(0) @binding(STATE_AT) var<storage, read_write> state: array<f32>;
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let column = i % params.columns;
    let matrix = i / params.columns;
    let head = matrix % params.heads;
    let batch = matrix / params.heads;
    let own = matrix * params.rows * params.columns + column;
    for (var t = params.first; t < params.last; t++) {
        let step = batch * params.length + t;
        let now = step * params.heads + head;
        let keys = params.key_base + now * params.rows;
        var v = T_to_f32(value[params.value_base + now * params.columns + column]);
        //#if DECAY
        let decays = params.decay_base + now * params.decays;
        var left = f32_exp(T_to_f32(decay[decays]));
        //#endif
        //#if DELTA
        var known = 0.0;
        for (var d = 0u; d < params.rows; d++) {
            let at = own + d * params.columns;
            var s = state[at];
            //#if DECAY
            if params.decays > 1u {
                left = f32_exp(T_to_f32(decay[decays + d]));
            }
            s *= left;
            state[at] = s;
            //#endif
            known += s * T_to_f32(key[keys + d]);
        }
        v = T_to_f32(beta[params.beta_base + step * params.betas + head % params.betas]) * (v - known);
        //#endif
        for (var d = 0u; d < params.rows; d++) {
            let at = own + d * params.columns;
            var s = state[at];
            //#if DECAY
            //#if DELTA
            //#else
            if params.decays > 1u {
                left = f32_exp(T_to_f32(decay[decays + d]));
            }
            s *= left;
            //#endif
            //#endif
            state[at] = s + T_to_f32(key[keys + d]) * v;
        }
        for (var g = 0u; g < params.group; g++) {
            let reader = now * params.group + g;
            var sum = 0.0;
            for (var d = 0u; d < params.rows; d++) {
                sum += T_to_f32(query[params.query_base + reader * params.rows + d]) * state[own + d * params.columns];
            }
            result[reader * params.columns + column] = T_from_f32(sum * params.scale);
        }
    }
}
