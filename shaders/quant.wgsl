// A tensor brought to 8 bits by its range. In one pass (ONE), by a single workgroup, or in two: first the range of the part
// of each workgroup (PARTS), then each workgroup joins the ranges and brings its part to 8 bits. Both tensors are read and
// written by fours; beyond their end there is room for a whole vector.

alias T = f32; //#type

const LANES: u32 = 64u; //#param
// LANES / 2
const HALF: u32 = 32u; //#param

struct Params {
    count: u32,
    // Vectors: where the first one is, and from one of an invocation to its next.
    base: u32,
    stride: u32,
    // The ranges that there are.
    parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
//#if PARTS
@group(0) @binding(2) var<storage, read_write> ranges: array<vec2<f32>>;
//#else
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> scale_of: array<f32>;
@group(0) @binding(4) var<storage, read_write> zero_of: array<u32>;
//#if !ONE
@group(0) @binding(5) var<storage, read> ranges: array<vec2<f32>>;
//#endif
//#endif

var<workgroup> joined: array<vec2<f32>, LANES>;

fn both(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(min(a.x, b.x), max(a.y, b.y));
}

//#if !PARTS
fn quantised(v: f32, scale: f32, zero: f32) -> u32 {
    let q = T_quotient(v, scale);
    return u32(select(clamp(round(q) + zero, 0.0, 255.0), 0.0, T_is_nan(q)));
}
//#endif

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES + lane;
    // the range always holds 0
    var range = vec2<f32>(0.0, 0.0);
    //#if READS
    let whole = params.count / 4u;
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var i = first; i < whole; i += params.stride) {
        let v = x[params.base + i];
        low = min(low, v);
        high = max(high, v);
    }
    if first == 0u {
        for (var i = 0u; i < params.count % 4u; i++) {
            range = both(range, vec2<f32>(x[params.base + whole][i]));
        }
    }
    range = both(range, both(vec2<f32>(low.x, high.x), vec2<f32>(low.y, high.y)));
    range = both(range, both(vec2<f32>(low.z, high.z), vec2<f32>(low.w, high.w)));
    //#else
    for (var i = lane; i < params.parts; i += LANES) {
        range = both(range, ranges[i]);
    }
    //#endif
    joined[lane] = range;
    workgroupBarrier();
    for (var side = HALF; side > 0u; side /= 2u) {
        if lane < side {
            joined[lane] = both(joined[lane], joined[lane + side]);
        }
        workgroupBarrier();
    }
    range = joined[0];
    //#if PARTS
    if lane == 0u {
        ranges[group.x] = range;
    }
    //#else
    var scale = 1.0;
    if range.x != range.y {
        scale = T_quotient(range.y - range.x, 255.0);
    }
    let zero = round(clamp(T_quotient(-range.x, scale), 0.0, 255.0));
    if first == 0u {
        scale_of[0] = scale;
        zero_of[0] = u32(zero);
    }
    for (var i = first; i * 4u < params.count; i += params.stride) {
        let v = x[params.base + i];
        y[i] = vec4<u32>(quantised(v.x, scale, zero), quantised(v.y, scale, zero), quantised(v.z, scale, zero),
            quantised(v.w, scale, zero));
    }
    //#endif
}
