// Greatest elements or means of small windows over height and width: one thread an element of the output, the
// loops over the window written out so that its loads are under way together.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias Y = f32; //#type
// The window's height and width, and their product.
const ROWS: u32 = 3u; //#param
const COLUMNS: u32 = 3u; //#param
const TAPS: u32 = 9u; //#param

struct Params {
    count: u32,
    ih: u32, iw: u32,
    oh: u32, ow: u32,
    sh: u32, sw: u32,
    dh: u32, dw: u32,
    ph: u32, pw: u32,
    // input and padding at its end
    eh: u32, ew: u32,
    count_pads: u32,
    channels: u32, // of one image
    // where input and output begin, and how far their images lie apart
    x_base: u32, x_image: u32,
    y_base: u32, y_image: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;
//#insert DECLARATIONS

// What is stored for a value, of this channel, at this element of the output.
fn stored(v: T, channel: u32, at: u32) -> Y {
    //#insert RESULT
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 256u);
    if i >= params.count {
        return;
    }
    let rest = i / params.ow;
    let x0 = i % params.ow * params.sw - params.pw;
    let y0 = rest % params.oh * params.sh - params.ph;
    let row = rest / params.oh;
    let plane = params.ih * params.iw;
    let per_image = params.channels * params.oh * params.ow;
    var origin = params.x_base + row * plane;
    var to = params.y_base + i;
    // the same for all
    if params.x_image != params.channels * plane || params.y_image != per_image {
        let image = row / params.channels;
        origin = params.x_base + image * params.x_image + (row - image * params.channels) * plane;
        to = params.y_base + image * params.y_image + (i - image * per_image);
    }

    // outside of the input, what lies at its edges
    var under: array<T, TAPS>;
    for (var kh = 0u; kh < ROWS; kh++) { //#unroll
        let line = origin + min(y0 + kh * params.dh, params.ih - 1u) * params.iw;
        for (var kw = 0u; kw < COLUMNS; kw++) { //#unroll
            under[kh * COLUMNS + kw] = x[line + min(x0 + kw * params.dw, params.iw - 1u)];
        }
    }
    //#if MAX
    var best = T_lowest();
    //#else
    var sum = 0.0;
    var counted = 0u;
    //#endif
    for (var kh = 0u; kh < ROWS; kh++) { //#unroll
        let sy = y0 + kh * params.dh;
        for (var kw = 0u; kw < COLUMNS; kw++) { //#unroll
            let sx = x0 + kw * params.dw;
            let inside = sy < params.ih && sx < params.iw;
            let v = under[kh * COLUMNS + kw];
            //#if MAX
            best = select(best, v, inside && T_gt(v, best));
            //#else
            // wraps around before the padding at the beginning has an end
            let near = sy + params.ph < params.eh && sx + params.pw < params.ew;
            counted += select(0u, 1u, select(inside, near, params.count_pads != 0u));
            sum += select(0.0, T_to_f32(v), inside);
            //#endif
        }
    }
    //#if MAX
    y[to] = stored(best, row % params.channels, i);
    //#else
    y[to] = stored(T_from_f32(sum / f32(counted)), row % params.channels, i);
    //#endif
}
