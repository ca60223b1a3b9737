// Convolution where lanes hand on what they read: the LANES invocations of a workgroup, a subgroup, make OWN * LANES
// output pixels by 4 * LANES * VECTORS output channels. Each reads OWN of the pixels' inputs, and the weights of
// 4 * VECTORS channels, packed [group, tile, tap, input channel, VECTORS, LANES] of four output channels each.

//#include common/conv.wgsl

const LANES: u32 = 8u; //#param
const OWN: u32 = 2u; //#param
const VECTORS: u32 = 2u; //#param
const PART: u32 = 64u; //#param
// Products that are summed at a time, 1 to 4, and the vectors of their weights.
const UNROLL: u32 = 4u; //#param
const BLOCK: u32 = 8u; //#param
// What one invocation makes, as pixels, fours of them, and vectors of sums.
const PIXELS: u32 = 16u; //#param
const QUADS: u32 = 4u; //#param
const SUMS: u32 = 32u; //#param
const FOUR: u32 = 4u; //#param

// Sums by channel and four pixels.
var<private> quads: array<vec4<Acc>, SUMS>;

// The pixel that has this place in the order of the tiles. For ConvTranspose those of a row that one tap of the kernel
// meets stand together, as far as strides divide the row: a tile skips what meets none of it.
fn pixel_of(index: u32) -> u32 {
    //#if TRANSPOSED
    if params.ow % params.sw == 0u {
        let w = index % params.ow;
        let each = params.ow / params.sw;
        return index - w + w % each * params.sw + w / each;
    }
    //#endif
    return index;
}

// Where a pixel lies: its element of the output's channel 0 of a group, and of channel 0 in row-major order.
struct Spot {
    there: bool,
    at: u32,
    number: u32,
}

fn spot_of(pixel: u32, g: u32) -> Spot {
    let image = pixel / params.out_plane;
    let p = pixel - image * params.out_plane;
    let at = params.y_base + image * params.y_image + g * params.y_group + p * params.y_pixel;
    return Spot(pixel < params.pixels, at, image * params.group * params.oc * params.out_plane + p);
}

//#if Y_VEC
// Stores one channel of four pixels in a row.
fn store4(spot: Spot, o: u32, channel: u32, sums: vec4<Acc>) {
    if spot.there && o < params.oc {
        let at = spot.number + channel * params.out_plane;
        y[(spot.at + o * params.y_channel) / 4u] = vec4<Y>(finish(sums.x, channel, at), finish(sums.y, channel, at + 1u),
            finish(sums.z, channel, at + 2u), finish(sums.w, channel, at + 3u));
    }
}
//#else
fn store1(spot: Spot, o: u32, channel: u32, sum: Acc) {
    if spot.there && o < params.oc {
        y[spot.at + o * params.y_channel] = finish(sum, channel, spot.number + channel * params.out_plane);
    }
}
//#endif

@compute @workgroup_size(LANES, 1, 1)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wid.y;
    let tile = (wid.z * groups.x + wid.x) * PIXELS;
    if row >= params.rows || tile >= params.pixels {
        return;
    }
    let g = row / params.tiles;
    let o = row % params.tiles * (4u * LANES * VECTORS);

    var windows: array<Window, OWN>;
    for (var i = 0u; i < OWN; i++) { //#unroll
        let index = tile + i * LANES + lane;
        windows[i] = window_at(pixel_at(pixel_of(index)), g, index < params.pixels);
    }

    let plane = params.x_channel;
    //#if PADDED
    let around = outside();
    //#endif
    let ic = params.ic;
    var acc: array<vec4<Acc>, SUMS>;
    //#if PARTS
    // A long sum is one of parts, which join it after PART products or more: so it rounds less often.
    var whole: array<vec4<Acc>, SUMS>;
    var held = 0u;
    //#endif
    var at: array<u32, OWN>;
    var inside: array<bool, OWN>;
    var block = row * params.kd * params.kh * params.kw;
    for (var kd = 0u; kd < params.kd; kd++) {
        for (var kh = 0u; kh < params.kh; kh++) {
            for (var kw = 0u; kw < params.kw; kw++) {
                var met = false;
                for (var i = 0u; i < OWN; i++) { //#unroll
                    let tap = tap_at(windows[i], kd, kh, kw);
                    at[i] = tap.at;
                    inside[i] = tap.inside;
                    met = met || tap.inside;
                }
                var wi = block * ic * (VECTORS * LANES) + lane;
                block += 1u;
                //#if TRANSPOSED
                if !subgroupAny(met) {
                    continue;
                }
                //#endif
                for (var begin = 0u; begin < ic; begin += PART) {
                    let end = min(begin + PART, ic);
                    var k = begin;
                    for (; k + UNROLL <= end; k += UNROLL) {
                        var by = array<vec4<Acc>, BLOCK>();
                        for (var v = 0u; v < BLOCK; v++) { //#unroll
                            by[v] = vec4<Acc>(weights[wi + v * LANES]);
                        }
                        wi += BLOCK * LANES;
                        var own = array<vec4<Acc>, OWN>();
                        for (var u = 0u; u < UNROLL; u++) { //#unroll
                            let channel = g * ic + k + u;
                            //#insert READS
                            for (var i = 0u; i < OWN; i++) { //#unroll
                                // outside, `at` counts through the first image, which is there to read
                                let loaded = x[at[i] + u * plane];
                                //#insert LOAD
                                var value = v;
                                //#if PADDED
                                value = select(around, v, inside[i]);
                                //#endif
                                own[i][u] = value;
                            }
                        }
                        for (var i = 0u; i < OWN; i++) { //#unroll
                            at[i] += UNROLL * plane;
                            for (var l = 0u; l < LANES; l++) { //#unroll
                                let four = subgroupBroadcast(own[i], l);
                                for (var v = 0u; v < VECTORS; v++) { //#unroll
                                    var sum = four.x * by[v];
                                    //#if UNROLL_2
                                    sum += four.y * by[VECTORS + v];
                                    //#endif
                                    //#if UNROLL_3
                                    sum += four.z * by[2u * VECTORS + v];
                                    //#endif
                                    //#if UNROLL_4
                                    sum += four.z * by[2u * VECTORS + v] + four.w * by[3u * VECTORS + v];
                                    //#endif
                                    acc[(i * LANES + l) * VECTORS + v] += sum;
                                }
                            }
                        }
                    }
                    //#if REST
                    for (; k < end; k++) {
                        let channel = g * ic + k;
                        //#insert READS
                        var by = array<vec4<Acc>, VECTORS>();
                        for (var v = 0u; v < VECTORS; v++) { //#unroll
                            by[v] = vec4<Acc>(weights[wi + v * LANES]);
                        }
                        wi += VECTORS * LANES;
                        for (var i = 0u; i < OWN; i++) { //#unroll
                            let loaded = x[at[i]];
                            //#insert LOAD
                            var value = v;
                            //#if PADDED
                            value = select(around, v, inside[i]);
                            //#endif
                            at[i] += plane;
                            for (var l = 0u; l < LANES; l++) { //#unroll
                                let one = subgroupBroadcast(value, l);
                                for (var v = 0u; v < VECTORS; v++) { //#unroll
                                    acc[(i * LANES + l) * VECTORS + v] += one * by[v];
                                }
                            }
                        }
                    }
                    //#endif
                    //#if PARTS
                    held += end - begin;
                    if held >= PART {
                        held = 0u;
                        for (var j = 0u; j < SUMS; j++) { //#unroll
                            whole[j] += acc[j];
                            acc[j] = vec4<Acc>();
                        }
                    }
                    //#endif
                }
            }
        }
    }

    // Stores are a loop that is not unrolled, so that an epilogue is compiled once: it finds the sums of a channel and four
    // pixels by a running number.
    //#if PARTS
    for (var j = 0u; j < SUMS; j++) { //#unroll
        acc[j] += whole[j];
    }
    //#endif
    for (var v = 0u; v < VECTORS; v++) { //#unroll
        for (var q = 0u; q < QUADS; q++) { //#unroll
            for (var c = 0u; c < FOUR; c++) { //#unroll
                quads[(v * 4u + c) * QUADS + q] = vec4<Acc>(acc[q * 4u * VECTORS + v][c],
                    acc[(q * 4u + 1u) * VECTORS + v][c], acc[(q * 4u + 2u) * VECTORS + v][c],
                    acc[(q * 4u + 3u) * VECTORS + v][c]);
            }
        }
    }
    for (var q = 0u; q < QUADS; q++) {
        //#if Y_VEC
        let spot = spot_of(tile + q * 4u, g);
        //#else
        var spots = array<Spot, FOUR>();
        for (var i = 0u; i < FOUR; i++) { //#unroll
            spots[i] = spot_of(pixel_of(tile + q * 4u + i), g);
        }
        //#endif
        for (var c = 0u; c < 4u * VECTORS; c++) {
            let first = o + (c / 4u * LANES + lane) * 4u + c % 4u;
            let channel = g * params.oc + min(first, params.oc - 1u);
            let sums = quads[c * QUADS + q] + vec4<Acc>(bias_of(channel));
            //#if Y_VEC
            store4(spot, first, channel, sums);
            //#else
            for (var i = 0u; i < FOUR; i++) { //#unroll
                store1(spots[i], first, channel, sums[i]);
            }
            //#endif
        }
    }
}
