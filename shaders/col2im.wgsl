// Images from overlapping blocks, each a column of the input: a thread an element of the result adds up the blocks over
// it.

//#include common/linear_id.wgsl

alias T = f32; //#type
const DIMS: u32 = 2u; //#param

struct Params {
    count: u32,
    planes: u32, // images times channels
    taps: u32, // elements of a block
    blocks: u32, // blocks of an image
    image: vec4<u32>,
    block: vec4<u32>,
    counts: vec4<u32>, // blocks along each dim
    strides: vec4<u32>,
    dilations: vec4<u32>,
    pads: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> columns: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i;
    var place: array<u32, DIMS>;
    for (var k = DIMS; k > 0u; k--) {
        let d = k - 1u;
        place[d] = rest % params.image[d] + params.pads[d];
        rest /= params.image[d];
    }
    let plane = rest;
    var sum = 0.0;
    for (var tap = 0u; tap < params.taps; tap++) {
        var left = tap;
        var at = 0u;
        var step = 1u;
        var inside = true;
        for (var k = DIMS; k > 0u; k--) {
            let d = k - 1u;
            let reach = left % params.block[d] * params.dilations[d];
            left /= params.block[d];
            let first = place[d] - reach;
            let n = first / params.strides[d];
            inside = inside && place[d] >= reach && first % params.strides[d] == 0u && n < params.counts[d];
            at += n * step;
            step *= params.counts[d];
        }
        if inside {
            sum += T_to_f32(columns[(plane * params.taps + tap) * params.blocks + at]);
        }
    }
    result[i] = T_from_f32(sum);
}
