// The range of a tensor and the scale and zero point that quantise it to 8 bits. First pass (PARTS): each of the
// grid's invocations takes every `stride`-th element. Second pass: one workgroup joins their ranges.

alias T = f32; //#type

struct Params {
    count: u32,
    base: u32,
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

//#if PARTS
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> ranges: array<vec2<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
    // the range always holds 0
    var range = vec2<f32>(0.0, 0.0);
    for (var i = gid.x; i < params.count; i += params.stride) {
        let v = x[params.base + i];
        range = vec2<f32>(min(range.x, v), max(range.y, v));
    }
    ranges[gid.x] = range;
}
//#else
@group(0) @binding(1) var<storage, read> ranges: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> scale_of: array<f32>;
@group(0) @binding(3) var<storage, read_write> zero_of: array<u32>;

var<workgroup> joined: array<vec2<f32>, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    var range = vec2<f32>(0.0, 0.0);
    for (var i = lane; i < params.count; i += 64u) {
        range = vec2<f32>(min(range.x, ranges[i].x), max(range.y, ranges[i].y));
    }
    joined[lane] = range;
    workgroupBarrier();
    if lane > 0u {
        return;
    }
    for (var i = 1u; i < 64u; i++) {
        range = vec2<f32>(min(range.x, joined[i].x), max(range.y, joined[i].y));
    }
    var scale = 1.0;
    if range.x != range.y {
        scale = T_quotient(range.y - range.x, 255.0);
    }
    scale_of[0] = scale;
    zero_of[0] = u32(round(clamp(T_quotient(-range.x, scale), 0.0, 255.0)));
}
//#endif
