// Convolution of one input channel by one output channel in each group: an invocation makes a tile of ROWS by COLUMNS
// pixels. It reads the part of the input under their windows once, and keeps it. Weights are as in conv.wgsl.

//#include common/conv.wgsl
//#include common/linear_id.wgsl

const LANES: u32 = 8u; //#param
// Extents of a tile, of the kernel, and of the input under a tile.
const ROWS: u32 = 4u; //#param
const COLUMNS: u32 = 4u; //#param
const KERNEL_H: u32 = 3u; //#param
const KERNEL_W: u32 = 3u; //#param
const STRIDE_H: u32 = 1u; //#param
const STRIDE_W: u32 = 1u; //#param
const UNDER_H: u32 = 6u; //#param
const UNDER_W: u32 = 6u; //#param
const UNDER: u32 = 36u; //#param
const SUMS: u32 = 16u; //#param
// SUMS - 1
const MOVED: u32 = 15u; //#param

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tiles_w = (params.ow + COLUMNS - 1u) / COLUMNS;
    let tiles = tiles_w * ((params.oh + ROWS - 1u) / ROWS);
    let index = linear_id(gid, groups, LANES);
    let plane = index / tiles;
    let tile = index % tiles;
    let image = plane / params.group;
    let channel = plane % params.group;
    if image * params.out_plane >= params.pixels {
        return;
    }
    let h = tile / tiles_w * ROWS;
    let w = tile % tiles_w * COLUMNS;

    let top = h * STRIDE_H - params.ph;
    let left = w * STRIDE_W - params.pw;
    let base = params.x_base + image * params.x_image + channel * params.x_channel;
    //#insert READS
    let around = outside();
    var under: array<Acc, UNDER>;
    for (var r = 0u; r < UNDER_H; r++) { //#unroll
        let row = base + min(top + r, params.ih - 1u) * params.x_row;
        for (var c = 0u; c < UNDER_W; c++) { //#unroll
            let loaded = x[row + min(left + c, params.iw - 1u) * params.x_column];
            //#insert LOAD
            // below 0 the coordinates wrap around
            under[r * UNDER_W + c] = select(around, v, top + r < params.ih && left + c < params.iw);
        }
    }
    var sums: array<Acc, SUMS>;
    for (var kh = 0u; kh < KERNEL_H; kh++) { //#unroll
        for (var kw = 0u; kw < KERNEL_W; kw++) { //#unroll
            let by = Acc(weights[channel * (KERNEL_H * KERNEL_W) + kh * KERNEL_W + kw].x);
            for (var r = 0u; r < ROWS; r++) { //#unroll
                for (var c = 0u; c < COLUMNS; c++) { //#unroll
                    sums[r * COLUMNS + c] += by * under[(r * STRIDE_H + kh) * UNDER_W + c * STRIDE_W + kw];
                }
            }
        }
    }

    let shift = bias_of(channel);
    //#if ONCE
    // A loop, so that what is long stands once: the sums move up to the first.
    //#if Y_VEC
    var made: vec4<Y>;
    //#endif
    for (var i = 0u; i < SUMS; i++) {
        let r = i / COLUMNS;
        let c = i % COLUMNS;
        if h + r < params.oh && w + c < params.ow {
            let pixel = (h + r) * params.ow + w + c;
            let at = (image * params.group + channel) * params.out_plane + pixel;
            let to = params.y_base + image * params.y_image + channel * params.y_group + pixel * params.y_pixel;
            //#if Y_VEC
            made = vec4<Y>(made.yzw, finish(sums[0] + shift, channel, at));
            if c == 3u {
                y[to / 4u] = made;
            }
            //#else
            y[to] = finish(sums[0] + shift, channel, at);
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
            let at = (image * params.group + channel) * params.out_plane + pixel;
            let to = params.y_base + image * params.y_image + channel * params.y_group + pixel * params.y_pixel;
            //#if Y_VEC
            y[to / 4u] = vec4<Y>(finish(sums[r * 4u] + shift, channel, at),
                finish(sums[r * 4u + 1u] + shift, channel, at + 1u),
                finish(sums[r * 4u + 2u] + shift, channel, at + 2u),
                finish(sums[r * 4u + 3u] + shift, channel, at + 3u));
            //#else
            for (var c = 0u; c < COLUMNS; c++) { //#unroll
                if w + c < params.ow {
                    y[to + c * params.y_pixel] = finish(sums[r * COLUMNS + c] + shift, channel, at + c);
                }
            }
            //#endif
        }
    }
    //#endif
}
