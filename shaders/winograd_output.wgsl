// The last step of a convolution of 3 by 3 by Winograd's algorithm: an invocation makes a tile of 4 by 4 pixels of one
// channel from its 36 products x[36, tile, channel], by the strides that stand for image, column and channel of the input.

//#include common/conv.wgsl
//#include common/conv_store.wgsl
//#include common/linear_id.wgsl
//#include common/winograd.wgsl

// The sums of the products by powers of the points, which are the rows of A transposed.
fn transformed(m: Six) -> vec4<Acc> {
    let near = m.b + m.c;
    let near_odd = m.b - m.c;
    let far = m.d + m.e;
    let far_odd = m.d - m.e;
    return vec4<Acc>(m.a + near + far, NEAR * near_odd + FAR * far_odd, NEAR * NEAR * near + FAR * FAR * far,
        NEAR * NEAR * NEAR * near_odd + FAR * FAR * FAR * far_odd + m.f);
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_id(gid, groups, LANES);
    let tile = tile_of(index, params.oc);
    let channel = tile.channel;
    if tile.image * params.out_plane >= params.pixels || channel >= params.oc {
        return;
    }
    let base = params.x_base + tile.number * params.x_column + channel * params.x_channel;
    var columns: array<vec4<Acc>, UNDER>;
    for (var c = 0u; c < UNDER; c++) { //#unroll
        var m = array<Acc, UNDER>();
        for (var r = 0u; r < UNDER; r++) { //#unroll
            m[r] = x[base + (r * UNDER + c) * params.x_image];
        }
        columns[c] = transformed(Six(m[0], m[1], m[2], m[3], m[4], m[5]));
    }
    var sums: array<Acc, SUMS>;
    for (var r = 0u; r < ROWS; r++) { //#unroll
        let row = transformed(Six(columns[0][r], columns[1][r], columns[2][r], columns[3][r], columns[4][r],
            columns[5][r]));
        for (var c = 0u; c < COLUMNS; c++) { //#unroll
            sums[r * COLUMNS + c] = row[c];
        }
    }
    let to = params.y_base + tile.image * params.y_image + channel * params.y_channel;
    store_tile(sums, tile.image, channel, to, tile.h, tile.w);
}
