// Convolution of 32-bit integers, one invocation an element of the result. Padding is 0: zero points are already
// subtracted.

//#include common/linear_id.wgsl

const RANK: u32 = 4u; //#param

struct Params {
    count: u32,
    channels: u32,
    filters: u32,
    groups: u32,
    x_base: u32,
    w_base: u32,
    bias_base: u32,
    // Elements of one channel of the kernel.
    window: u32,
    x_shape: array<vec4<u32>, RANK / 4u>,
    y_shape: array<vec4<u32>, RANK / 4u>,
    kernel: array<vec4<u32>, RANK / 4u>,
    strides: array<vec4<u32>, RANK / 4u>,
    dilations: array<vec4<u32>, RANK / 4u>,
    pads: array<vec4<u32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<i32>;
@group(0) @binding(2) var<storage, read> w: array<i32>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<i32>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<i32>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var first: array<i32, RANK>;
    var plane = 1u;
    var rest = i;
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.y_shape[d / 4u][d % 4u];
        first[d] = i32(rest % extent * params.strides[d / 4u][d % 4u]) - i32(params.pads[d / 4u][d % 4u]);
        rest /= extent;
        plane *= params.x_shape[d / 4u][d % 4u];
    }
    let filter_ = rest % params.filters;
    let image = rest / params.filters;
    let depth = params.channels / params.groups;
    let first_channel = filter_ / (params.filters / params.groups) * depth;
    let source = params.x_base + (image * params.channels + first_channel) * plane;
    let weights = params.w_base + filter_ * depth * params.window;
    var sum = 0i;
    for (var p = 0u; p < params.window; p++) {
        var left = p;
        var at = 0u;
        var step = 1u;
        var inside = true;
        for (var k = RANK; k > 0u; k--) {
            let d = k - 1u;
            let extent = params.kernel[d / 4u][d % 4u];
            let c = first[d] + i32(left % extent * params.dilations[d / 4u][d % 4u]);
            left /= extent;
            let size = params.x_shape[d / 4u][d % 4u];
            inside = inside && c >= 0 && c < i32(size);
            at += u32(max(c, 0)) * step;
            step *= size;
        }
        if inside {
            for (var c = 0u; c < depth; c++) {
                sum += x[source + c * plane + at] * w[weights + c * params.window + p];
            }
        }
    }
//#if BIAS
    sum += bias[params.bias_base + filter_];
//#endif
    y[i] = sum;
}
