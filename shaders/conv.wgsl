// Convolution: a thread makes 4 * QUADS output channels of COLUMNS output pixels, and neighbouring threads have
// neighbouring pixels. Weights are packed: [group, tile, tap, input channel, QUADS] of four output channels each.

//#include common/conv.wgsl

const QUADS: u32 = 2u; //#param
const COLUMNS: u32 = 8u; //#param
const PART: u32 = 64u; //#param
const WX: u32 = 8u; //#param
const WY: u32 = 1u; //#param
//#if ONCE
// QUADS * COLUMNS, and one less
const SUMS: u32 = 16u; //#param
const MOVED: u32 = 15u; //#param
//#endif

// Stores four output channels of a group, from `o` on, of the pixel whose channel 0 is element `first` of the output
// and whose group begins at `to`.
fn store(to: u32, first: u32, g: u32, o: u32, sums: vec4<Acc>) {
    for (var c = 0u; c < min(4u, params.oc - min(o, params.oc)); c++) {
        let channel = g * params.oc + o + c;
        y[to + (o + c) * params.y_channel] = finish(sums[c] + bias_of(channel), channel, first + channel * params.out_plane);
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

    var windows: array<Window, COLUMNS>;
    var pixel = pixel_at(first);
    for (var j = 0u; j < COLUMNS; j++) { //#unroll
        windows[j] = window_at(pixel, g, first + j * WX < params.pixels);
        pixel = step(pixel);
    }

    let plane = params.x_channel;
    //#if PADDED
    let around = outside();
    //#endif
    let ic = params.ic;
    var acc: array<vec4<Acc>, QUADS * COLUMNS>;
    //#if PARTS
    // A long sum is one of parts, which join it after PART products or more: so it rounds less often.
    var whole: array<vec4<Acc>, QUADS * COLUMNS>;
    var held = 0u;
    //#endif
    var at: array<u32, COLUMNS>;
    var inside: array<bool, COLUMNS>;
    var wi = row * params.kd * params.kh * params.kw * ic * QUADS;
    for (var kd = 0u; kd < params.kd; kd++) {
        for (var kh = 0u; kh < params.kh; kh++) {
            for (var kw = 0u; kw < params.kw; kw++) {
                for (var j = 0u; j < COLUMNS; j++) { //#unroll
                    let tap = tap_at(windows[j], kd, kh, kw);
                    at[j] = tap.at;
                    inside[j] = tap.inside;
                }
                for (var begin = 0u; begin < ic; begin += PART) {
                    let end = min(begin + PART, ic);
                    for (var k = begin; k < end; k++) {
                        let channel = g * ic + k;
                        //#insert READS
                        var four = array<vec4<Acc>, QUADS>();
                        for (var q = 0u; q < QUADS; q++) { //#unroll
                            four[q] = vec4<Acc>(weights[wi + q]);
                        }
                        for (var j = 0u; j < COLUMNS; j++) { //#unroll
                            // outside, `at` counts through the first image, which is there to read
                            let loaded = x[at[j]];
                            //#insert LOAD
                            at[j] += plane;
                            var value = v;
                            //#if PADDED
                            value = select(around, v, inside[j]);
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
                                acc[j * QUADS + q] = vec4<Acc>();
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
    //#if ONCE
    // A loop, so that what is long stands once: the sums move up to the first.
    for (var i = 0u; i < SUMS; i++) {
        let p = first + i / QUADS * WX;
        if p < params.pixels {
            let image = p / params.out_plane;
            let pixel = p % params.out_plane;
            let to = params.y_base + image * params.y_image + g * params.y_group + pixel * params.y_pixel;
            let dense = image * params.group * params.out_plane * params.oc + pixel;
            store(to, dense, g, o + i % QUADS * 4u, acc[0]);
        }
        for (var k = 0u; k < MOVED; k++) { //#unroll
            acc[k] = acc[k + 1u];
        }
    }
    //#else
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
    //#endif
}
