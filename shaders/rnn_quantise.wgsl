// The hidden state of each sequence in each direction brought to 8 bits: a workgroup takes one row of `hidden` elements,
// and writes its integers less their zero point, then, for each gate of each unit, what scales sums of products of them
// with the weights.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    rows: u32,
    hidden: u32,
    // Rows of one direction.
    batch: u32,
    scales_base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> states: array<f32>;
// [directions, hidden, 4]: a scale a unit and gate.
@group(0) @binding(2) var<storage, read> scales: array<f32>;
// [rows, 5 * hidden]
@group(0) @binding(3) var<storage, read_write> quantised: array<f32>;

var<workgroup> ranges: array<vec2<f32>, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let start = row * params.hidden;
    // the range always holds 0
    var range = vec2<f32>(0.0, 0.0);
    for (var j = lane; j < params.hidden; j += 64u) {
        let v = states[start + j];
        range = vec2<f32>(min(range.x, v), max(range.y, v));
    }
    ranges[lane] = range;
    workgroupBarrier();
    for (var i = 0u; i < 64u; i++) {
        range = vec2<f32>(min(range.x, ranges[i].x), max(range.y, ranges[i].y));
    }
    var scale = 1.0;
    if range.x != range.y {
        scale = T_quotient(range.y - range.x, 255.0);
    }
    let zero = round(clamp(T_quotient(-range.x, scale), 0.0, 255.0));
    let to = start * 5u;
    for (var j = lane; j < params.hidden; j += 64u) {
        let q = clamp(round(T_quotient(states[start + j], scale)) + zero, 0.0, 255.0);
        quantised[to + j] = q - zero;
    }
    let wide = 4u * params.hidden;
    let scales_at = params.scales_base + row / params.batch * wide;
    for (var j = lane; j < wide; j += 64u) {
        quantised[to + params.hidden + j] = scale * scales[scales_at + j];
    }
}
