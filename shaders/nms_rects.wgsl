// Boxes as their low and high corners, and their areas. A thread a box.

//#include common/linear_id.wgsl

alias T = f32; //#type

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> boxes: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> rects: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> areas: array<f32>;

// Of two numbers one of which is NaN, the other.
fn lesser(a: f32, b: f32) -> f32 {
    return select(select(min(a, b), a, T_is_nan(b)), b, T_is_nan(a));
}

fn greater(a: f32, b: f32) -> f32 {
    return select(select(max(a, b), a, T_is_nan(b)), b, T_is_nan(a));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let b = boxes[i];
    //#if CENTERS
    let middle = b.xy;
    let size = b.zw * 0.5;
    let low = middle - size;
    let high = middle + size;
    let unknown = T_is_nan(b.x) || T_is_nan(b.y) || T_is_nan(b.z) || T_is_nan(b.w);
    //#else
    let low = vec2<f32>(lesser(b.x, b.z), lesser(b.y, b.w));
    let high = vec2<f32>(greater(b.x, b.z), greater(b.y, b.w));
    let unknown = T_is_nan(low.x) || T_is_nan(low.y);
    //#endif
    rects[i] = vec4<f32>(low, high);
    let size_of = high - low;
    areas[i] = select(size_of.x * size_of.y, T_nan(), unknown);
}
