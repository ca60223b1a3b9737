// Convolution: a thread makes 4 * QUADS output channels of COLUMNS output pixels. Pixels count through the whole batch,
// and neighbouring threads have neighbouring pixels. Weights are packed: [group, tile, tap, input channel, QUADS] of
// four output channels each. Sums are made in f32.

alias T = f32; //#type
alias Y = f32; //#param
const QUADS: u32 = 2u; //#param
const COLUMNS: u32 = 8u; //#param
const PART: u32 = 64u; //#param
const WX: u32 = 8u; //#param
const WY: u32 = 1u; //#param

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
    // WX pixels as image, depth, height, width
    step_n: u32, step_d: u32, step_h: u32, step_w: u32,
    // where input and output begin, and the steps along their dims (negative ones wrap around)
    x_base: u32, x_image: u32, x_channel: u32, x_depth: u32, x_row: u32, x_column: u32,
    y_base: u32, y_image: u32, y_group: u32, y_channel: u32, y_pixel: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<T>>;
@group(0) @binding(3) var<storage, read> bias: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<Y>;

//#insert DECLARATIONS

// What is stored for a sum, of this output channel, at this element of the output.
fn finish(sum: f32, channel: u32, at: u32) -> Y {
    let v = T_from_f32(sum + T_to_f32(bias[channel]));
    //#insert RESULT
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

// Stores four output channels of a group, from `o` on, of the pixel whose channel 0 is element `first` of the output
// and whose group begins at `to`.
fn store(to: u32, first: u32, g: u32, o: u32, sums: vec4<f32>) {
    for (var c = 0u; c < min(4u, params.oc - min(o, params.oc)); c++) {
        let channel = g * params.oc + o + c;
        y[to + (o + c) * params.y_channel] = finish(sums[c], channel, first + channel * params.out_plane);
    }
}

@compute @workgroup_size(WX, WY, 1)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let row = wid.y * WY + lid.y;
    let tile = (wid.z * groups.x + wid.x) * (COLUMNS * WX);
    // No lane leaves alone: software drivers read once for all lanes only where all are surely at work.
    if row >= params.rows || tile >= params.pixels {
        return;
    }
    let first = tile + lid.x;
    let g = row / params.tiles;

    // where each pixel's window starts, and where its image and group lie
    var base: array<u32, COLUMNS>;
    var z0: array<u32, COLUMNS>;
    var y0: array<u32, COLUMNS>;
    var x0: array<u32, COLUMNS>;
    var w = first % params.ow;
    var rest = first / params.ow;
    var h = rest % params.oh;
    rest /= params.oh;
    var d = rest % params.od;
    var n = rest / params.od;
    for (var j = 0u; j < COLUMNS; j++) { //#unroll
        // beyond the last pixel the first one's place is read, and nothing is written
        let alive = first + j * WX < params.pixels;
        base[j] = params.x_base + select(0u, n * params.x_image + g * params.ic * params.x_channel, alive);
        z0[j] = select(0u, d * params.sd - params.pd, alive);
        y0[j] = select(0u, h * params.sh - params.ph, alive);
        x0[j] = select(0u, w * params.sw - params.pw, alive);
        //#if TRANSPOSED
        z0[j] = d + params.pd;
        y0[j] = h + params.ph;
        x0[j] = w + params.pw;
        //#endif
        w += params.step_w;
        h += params.step_h;
        d += params.step_d;
        n += params.step_n;
        if w >= params.ow { w -= params.ow; h += 1u; }
        if h >= params.oh { h -= params.oh; d += 1u; }
        if d >= params.od { d -= params.od; n += 1u; }
    }

    let plane = params.x_channel;
    let ic = params.ic;
    var acc: array<vec4<f32>, QUADS * COLUMNS>;
    //#if PARTS
    // A long sum is one of parts, which join it after PART products or more: so it rounds less often.
    var whole: array<vec4<f32>, QUADS * COLUMNS>;
    var held = 0u;
    //#endif
    var at: array<u32, COLUMNS>;
    var inside: array<bool, COLUMNS>;
    var wi = row * params.kd * params.kh * params.kw * ic * QUADS;
    for (var kd = 0u; kd < params.kd; kd++) {
        for (var kh = 0u; kh < params.kh; kh++) {
            for (var kw = 0u; kw < params.kw; kw++) {
                for (var j = 0u; j < COLUMNS; j++) { //#unroll
                    let sz = source(z0[j], kd * params.dd, params.sd);
                    let sy = source(y0[j], kh * params.dh, params.sh);
                    let sx = source(x0[j], kw * params.dw, params.sw);
                    let element = base[j] + sz * params.x_depth + sy * params.x_row + sx * params.x_column;
                    at[j] = element;
                    //#if PADDED
                    inside[j] = sz < params.id && sy < params.ih && sx < params.iw;
                    at[j] = select(params.x_base, element, inside[j]);
                    //#endif
                }
                for (var begin = 0u; begin < ic; begin += PART) {
                    let end = min(begin + PART, ic);
                    for (var k = begin; k < end; k++) {
                        let channel = g * ic + k;
                        //#insert READS
                        var four: array<vec4<f32>, QUADS>;
                        for (var q = 0u; q < QUADS; q++) { //#unroll
                            four[q] = vec4<f32>(weights[wi + q]);
                        }
                        for (var j = 0u; j < COLUMNS; j++) { //#unroll
                            // outside, `at` counts through the first image, which is there to read
                            let loaded = x[at[j]];
                            //#insert LOAD
                            at[j] += plane;
                            var value = v;
                            //#if PADDED
                            value = select(0.0, v, inside[j]);
                            //#endif
                            for (var q = 0u; q < QUADS; q++) { //#unroll
                                acc[j * QUADS + q] += four[q] * value;
                            }
                        }
                        wi += QUADS;
                    }
                    //#if PARTS
                    held += end - begin;
                    if held >= PART {
                        held = 0u;
                        for (var j = 0u; j < COLUMNS; j++) { //#unroll
                            for (var q = 0u; q < QUADS; q++) { //#unroll
                                whole[j * QUADS + q] += acc[j * QUADS + q];
                                acc[j * QUADS + q] = vec4<f32>();
                            }
                        }
                    }
                    //#endif
                }
            }
        }
    }

    //#if PARTS
    for (var j = 0u; j < COLUMNS; j++) { //#unroll
        for (var q = 0u; q < QUADS; q++) { //#unroll
            acc[j * QUADS + q] += whole[j * QUADS + q];
        }
    }
    //#endif

    let o = row % params.tiles * (QUADS * 4u);
    for (var j = 0u; j < COLUMNS; j++) { //#unroll
        let p = first + j * WX;
        if p < params.pixels {
            let image = p / params.out_plane;
            let pixel = p % params.out_plane;
            let to = params.y_base + image * params.y_image + g * params.y_group + pixel * params.y_pixel;
            let dense = image * params.group * params.out_plane * params.oc + pixel;
            for (var q = 0u; q < QUADS; q++) { //#unroll
                store(to, dense, g, o + q * 4u, acc[j * QUADS + q]);
            }
        }
    }
}
