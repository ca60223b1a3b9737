// Rows written into a cache from a place that each sample of the batch has. One thread an element of the update.

//#include common/linear_id.wgsl

alias Word = u32; //#param
const RANK: u32 = 4u; //#param

struct Params {
    count: u32,
    update_base: u32,
    place_base: u32,
    // The dims, of the RANK counted, that are the batch and the sequence.
    batch: u32,
    sequence: u32,
    // Extent and stride of the cache along the sequence.
    length: u32,
    step: i32,
    shape: array<vec4<u32>, RANK / 4u>,
    update_strides: array<vec4<i32>, RANK / 4u>,
    // 0 along the sequence
    result_strides: array<vec4<i32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> updates: array<Word>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i;
    var from_ = i32(params.update_base);
    var to_ = 0;
    var sample = 0u;
    var row = 0u;
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.shape[d / 4u][d % 4u];
        let c = rest % extent;
        rest /= extent;
        from_ += i32(c) * params.update_strides[d / 4u][d % 4u];
        to_ += i32(c) * params.result_strides[d / 4u][d % 4u];
        sample = select(sample, c, d == params.batch);
        row = select(row, c, d == params.sequence);
    }
    let place = places[params.place_base + sample];
    //#if CIRCULAR
    let at = (place.x + row) % params.length;
    //#else
    let at = place.x + row;
    //#endif
    // a row beyond the cache is left out
    if place.y == 0u && at < params.length {
        result[to_ + i32(at) * params.step] = updates[from_];
    }
}
