// Samples of an image at the places of a grid, by the nearest pixel or linear or cubic interpolation. A thread an element
// of the result.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias G = f32; //#type
const DIMS: u32 = 2u; //#param
// Pixels along each dim that make a sample.
const TAPS: u32 = 2u; //#param

struct Params {
    count: u32,
    channels: u32,
    places: u32, // of one image
    pixels: u32, // of one image and channel
    extents: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<T>;
@group(0) @binding(2) var<storage, read> grid: array<G>;
@group(0) @binding(3) var<storage, read_write> result: array<T>;

fn low(extent: f32) -> f32 {
    //#if ALIGN
    return 0.0;
    //#else
    return -0.5;
    //#endif
}

fn high(extent: f32) -> f32 {
    //#if ALIGN
    return extent - 1.0;
    //#else
    return extent - 0.5;
    //#endif
}

// x mirrored at the borders, as often as it takes.
fn mirrored(x: f32, extent: f32) -> f32 {
    let from_ = low(extent);
    let range = high(extent) - from_;
    if range <= 0.0 {
        return from_;
    }
    let away = abs(x - from_);
    let turns = floor(away / range);
    let rest = away - turns * range;
    return from_ + select(range - rest, rest, turns - 2.0 * floor(turns * 0.5) == 0.0);
}

// The pixel's place along a dim, or -1 where there is none.
fn pixel(x: f32, extent: f32) -> i32 {
    //#if BORDER
    return i32(clamp(x, 0.0, extent - 1.0));
    //#else
    if x >= 0.0 && x <= extent - 1.0 {
        return i32(x);
    }
    //#if REFLECT
    return i32(clamp(trunc(mirrored(x, extent)), 0.0, extent - 1.0));
    //#else
    return -1;
    //#endif
    //#endif
}

// The weight of tap t for a sample `f` of a pixel beyond the one before it.
fn weight(t: u32, f: f32) -> f32 {
    //#if CUBIC
    let a = -0.75;
    let d = abs(f32(t) - 1.0 - f);
    if d <= 1.0 {
        return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    }
    return ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
    //#else
    //#if LINEAR
    return select(f, 1.0 - f, t == 0u);
    //#else
    return 1.0;
    //#endif
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let place = i % params.places;
    let channel = i / params.places % params.channels;
    let batch = i / params.places / params.channels;
    var first: array<f32, DIMS>;
    var fraction: array<f32, DIMS>;
    for (var d = 0u; d < DIMS; d++) {
        let extent = f32(params.extents[d]);
        // a grid's coordinates begin with the innermost dim
        let g = G_to_f32(grid[(batch * params.places + place) * DIMS + (DIMS - 1u - d)]);
        //#if ALIGN
        var x = (g + 1.0) * 0.5 * (extent - 1.0);
        //#else
        var x = ((g + 1.0) * extent - 1.0) * 0.5;
        //#endif
        //#if NEAREST
        x = f32_round(x);
        //#endif
        if x < low(extent) || x > high(extent) {
            //#if BORDER
            x = clamp(x, 0.0, extent - 1.0);
            //#endif
            //#if REFLECT
            x = mirrored(x, extent);
            //#endif
        }
        // far outside nothing is left to tell apart, and integers must hold it
        x = clamp(x, -1.0e6, 1.0e9);
        //#if NEAREST
        first[d] = x;
        fraction[d] = 0.0;
        //#else
        first[d] = floor(x);
        fraction[d] = x - first[d];
        //#endif
        //#if CUBIC
        first[d] -= 1.0;
        //#endif
    }
    var taps = 1u;
    for (var d = 0u; d < DIMS; d++) {
        taps *= TAPS;
    }
    let base = (batch * params.channels + channel) * params.pixels;
    var sum = 0.0;
    for (var t = 0u; t < taps; t++) {
        var rest = t;
        var at = 0u;
        var w = 1.0;
        var inside = true;
        for (var k = DIMS; k > 0u; k--) {
            let d = k - 1u;
            let tap = rest % TAPS;
            rest /= TAPS;
            w *= weight(tap, fraction[d]);
            inside = inside && pixel(first[d] + f32(tap), f32(params.extents[d])) >= 0;
        }
        rest = t;
        var step = 1u;
        for (var k = DIMS; k > 0u; k--) {
            let d = k - 1u;
            let tap = rest % TAPS;
            rest /= TAPS;
            at += u32(max(pixel(first[d] + f32(tap), f32(params.extents[d])), 0)) * step;
            step *= params.extents[d];
        }
        if inside {
            sum += w * T_to_f32(image[base + at]);
        }
    }
    result[i] = T_from_f32(sum);
}
