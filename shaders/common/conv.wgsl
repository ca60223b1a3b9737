// What the kernels of convolutions share: the parameters, their operands, where windows lie, the end of a sum. Pixels
// count through the whole batch.

alias X = f32; //#param
alias T = f32; //#param
alias Acc = f32; //#type
alias Y = f32; //#param

struct Params {
    pixels: u32,
    rows: u32, // tiles of output channels in all groups
    tiles: u32, // in one group
    group: u32,
    ic: u32, // input channels of one group
    oc: u32, // output channels of one group
    out_plane: u32,
    // depth, height, width of each
    id: u32, ih: u32, iw: u32,
    od: u32, oh: u32, ow: u32,
    kd: u32, kh: u32, kw: u32,
    sd: u32, sh: u32, sw: u32,
    dd: u32, dh: u32, dw: u32,
    pd: u32, ph: u32, pw: u32,
    // a step along the pixels of one invocation as image, depth, height, width
    step_n: u32, step_d: u32, step_h: u32, step_w: u32,
    // where sums are made in parts by workgroups of their own: how many, the steps of each, the elements of the output
    parts: u32, part_steps: u32, elements: u32,
    // where input and output begin, and the steps along their dims (negative ones wrap around)
    x_base: u32, x_image: u32, x_channel: u32, x_depth: u32, x_row: u32, x_column: u32,
    y_base: u32, y_image: u32, y_group: u32, y_channel: u32, y_pixel: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<T>>;
//#if Y_VEC
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Y>;
//#endif
//#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<T>;
//#endif

//#insert DECLARATIONS

// What is stored for a sum, of this output channel, at this element of the output.
fn finish(sum: Acc, channel: u32, at: u32) -> Y {
    //#insert MADE
    //#insert RESULT
}

fn bias_of(channel: u32) -> Acc {
    //#if BIAS
    //#insert ADDED
    //#else
    return Acc();
    //#endif
}

// What lies outside of the input.
fn outside() -> Acc {
    //#insert OUTSIDE
}

// The input coordinate of a window's element `tap`, or one that lies outside.
fn source(start: u32, tap: u32, stride: u32) -> u32 {
    var at = start + tap;
    //#if TRANSPOSED
    at = start - tap;
    at = select(0xffffffffu, at / stride, at % stride == 0u);
    //#endif
    return at;
}

// A pixel's place in the output, counted through the batch.
struct Pixel {
    n: u32,
    d: u32,
    h: u32,
    w: u32,
}

fn pixel_at(index: u32) -> Pixel {
    let row = index / params.ow;
    let plane = row / params.oh;
    return Pixel(plane / params.od, plane % params.od, row % params.oh, index % params.ow);
}

// The pixel one step further on.
fn step(p: Pixel) -> Pixel {
    var at = Pixel(p.n + params.step_n, p.d + params.step_d, p.h + params.step_h, p.w + params.step_w);
    if at.w >= params.ow { at.w -= params.ow; at.h += 1u; }
    if at.h >= params.oh { at.h -= params.oh; at.d += 1u; }
    if at.d >= params.od { at.d -= params.od; at.n += 1u; }
    return at;
}

// Where a pixel's window starts, and where its image and group lie. Beyond the last pixel it is the first image's first
// window, which is there to read.
struct Window {
    base: u32,
    z: u32,
    y: u32,
    x: u32,
}

fn window_at(p: Pixel, g: u32, alive: bool) -> Window {
    let base = params.x_base + select(0u, p.n * params.x_image + g * params.ic * params.x_channel, alive);
    //#if TRANSPOSED
    return Window(base, p.d + params.pd, p.h + params.ph, p.w + params.pw);
    //#else
    return Window(base, select(0u, p.d * params.sd - params.pd, alive), select(0u, p.h * params.sh - params.ph, alive),
        select(0u, p.w * params.sw - params.pw, alive));
    //#endif
}

// The element of channel 0 under a window's tap, and whether it is inside the input; the first one if it is not.
struct Tap {
    at: u32,
    inside: bool,
}

fn tap_at(window: Window, d: u32, h: u32, w: u32) -> Tap {
    let sz = source(window.z, d * params.dd, params.sd);
    let sy = source(window.y, h * params.dh, params.sh);
    let sx = source(window.x, w * params.dw, params.sw);
    let at = window.base + sz * params.x_depth + sy * params.x_row + sx * params.x_column;
    //#if PADDED
    let inside = sz < params.id && sy < params.ih && sx < params.iw;
    return Tap(select(params.x_base, at, inside), inside);
    //#else
    return Tap(at, true);
    //#endif
}
