// Convolution of one input channel by one output channel in each group: an invocation makes a tile of ROWS by COLUMNS
// pixels. It reads the part of the input under their windows once, and keeps it. Weights are as in conv.wgsl.

//#include common/conv.wgsl
//#include common/conv_store.wgsl
//#include common/linear_id.wgsl

const LANES: u32 = 8u; //#param
// Extents of the kernel, and of the input under a tile.
const KERNEL_H: u32 = 3u; //#param
const KERNEL_W: u32 = 3u; //#param
const STRIDE_H: u32 = 1u; //#param
const STRIDE_W: u32 = 1u; //#param
const UNDER_H: u32 = 6u; //#param
const UNDER_W: u32 = 6u; //#param
const UNDER: u32 = 36u; //#param

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

    store_tile(sums, image, channel, params.y_base + image * params.y_image + channel * params.y_group, h, w);
}
