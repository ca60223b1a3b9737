// How invocations that make a tile of ROWS by COLUMNS pixels of one channel end a convolution and store them.

const ROWS: u32 = 4u; //#param
const COLUMNS: u32 = 4u; //#param
const SUMS: u32 = 16u; //#param
// SUMS - 1
const MOVED: u32 = 15u; //#param

// Stores a tile that begins at row `h` and column `w` of the channel of an image, which begins at `to` in the output.
fn store_tile(made: array<Acc, SUMS>, image: u32, channel: u32, to: u32, h: u32, w: u32) {
    var sums = made;
    let shift = bias_of(channel);
    let plane = (image * params.group * params.oc + channel) * params.out_plane;
    //#if ONCE
    // A loop, so that what is long stands once: the sums move up to the first.
    //#if Y_VEC
    var four: vec4<Y>;
    //#endif
    for (var i = 0u; i < SUMS; i++) {
        let r = i / COLUMNS;
        let c = i % COLUMNS;
        if h + r < params.oh && w + c < params.ow {
            let pixel = (h + r) * params.ow + w + c;
            //#if Y_VEC
            four = vec4<Y>(four.yzw, finish(sums[0] + shift, channel, plane + pixel));
            if c == 3u {
                y[(to + pixel * params.y_pixel) / 4u] = four;
            }
            //#else
            y[to + pixel * params.y_pixel] = finish(sums[0] + shift, channel, plane + pixel);
            //#endif
        }
        for (var k = 0u; k < MOVED; k++) { //#unroll
            sums[k] = sums[k + 1u];
        }
    }
    //#else
    for (var r = 0u; r < ROWS; r++) { //#unroll
        if h + r < params.oh {
            let pixel = (h + r) * params.ow + w;
            let at = plane + pixel;
            //#if Y_VEC
            y[(to + pixel * params.y_pixel) / 4u] = vec4<Y>(finish(sums[r * 4u] + shift, channel, at),
                finish(sums[r * 4u + 1u] + shift, channel, at + 1u),
                finish(sums[r * 4u + 2u] + shift, channel, at + 2u),
                finish(sums[r * 4u + 3u] + shift, channel, at + 3u));
            //#else
            for (var c = 0u; c < COLUMNS; c++) { //#unroll
                if w + c < params.ow {
                    y[to + (pixel + c) * params.y_pixel] = finish(sums[r * COLUMNS + c] + shift, channel, at + c);
                }
            }
            //#endif
        }
    }
    //#endif
}
