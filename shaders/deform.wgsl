// The columns of a deformable convolution: for each element of the kernel and each window, the image at the element's
// place plus its offset, by linear interpolation; zero beyond the image. A thread an element of the result.

//#include common/linear_id.wgsl

alias T = f32; //#type
const DIMS: u32 = 2u; //#param

struct Params {
    count: u32,
    channels: u32,
    group: u32, // channels that share offsets
    taps: u32,
    windows: u32,
    pixels: u32, // of one image and channel
    extents: vec4<u32>,
    kernel: vec4<u32>,
    output: vec4<u32>,
    strides: vec4<u32>,
    dilations: vec4<u32>,
    pads: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<T>;
@group(0) @binding(2) var<storage, read> offset: array<T>;
//#if MASK
@group(0) @binding(3) var<storage, read> mask: array<T>;
@group(0) @binding(4) var<storage, read_write> columns: array<f32>;
//#else
@group(0) @binding(3) var<storage, read_write> columns: array<f32>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let window = i % params.windows;
    let tap = i / params.windows % params.taps;
    let plane = i / params.windows / params.taps;
    // of the offsets: batch and offset group, then the element of the kernel
    let row = plane / params.group * params.taps + tap;
    var first: array<i32, DIMS>;
    var fraction: array<f32, DIMS>;
    var inside = true;
    var w = window;
    var t = tap;
    for (var k = DIMS; k > 0u; k--) {
        let d = k - 1u;
        let at = i32(w % params.output[d] * params.strides[d] + t % params.kernel[d] * params.dilations[d])
            - i32(params.pads[d]);
        w /= params.output[d];
        t /= params.kernel[d];
        let p = f32(at) + T_to_f32(offset[(row * DIMS + d) * params.windows + window]);
        inside = inside && p > -1.0 && p < f32(params.extents[d]);
        let low = floor(clamp(p, -1.0, f32(params.extents[d])));
        first[d] = i32(low);
        fraction[d] = p - low;
    }
    var sum = 0.0;
    if inside {
        for (var corner = 0u; corner < 1u << DIMS; corner++) {
            var weight = 1.0;
            var at = 0u;
            var real = true;
            for (var d = 0u; d < DIMS; d++) {
                let far = ((corner >> d) & 1u) == 1u;
                let p = first[d] + select(0, 1, far);
                weight *= select(1.0 - fraction[d], fraction[d], far);
                real = real && p >= 0 && p < i32(params.extents[d]);
                at = at * params.extents[d] + u32(max(p, 0));
            }
            if real && weight > 0.0 {
                sum += weight * T_to_f32(image[plane * params.pixels + at]);
            }
        }
    }
    //#if MASK
    sum *= T_to_f32(mask[row * params.windows + window]);
    //#endif
    columns[i] = sum;
}
