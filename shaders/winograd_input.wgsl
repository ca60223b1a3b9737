// The first step of a convolution of 3 by 3 by Winograd's algorithm: an invocation transforms the 6 by 6 elements of one
// channel that lie under a tile of 4 by 4 pixels. Its result is y[36, tile, channel], by the strides that stand for image,
// pixel and channel of the output.

//#include common/conv.wgsl
//#include common/linear_id.wgsl
//#include common/winograd.wgsl

// The polynomials of the points, whose coefficients are the rows of B transposed, of the values `d`.
fn transformed(d: Six) -> Six {
    let near = d.e - FAR * FAR * d.c;
    let near_odd = NEAR * (d.d - FAR * FAR * d.b);
    let far = d.e - NEAR * NEAR * d.c;
    let far_odd = FAR * (d.d - NEAR * NEAR * d.b);
    let both = NEAR * NEAR * FAR * FAR;
    let sum = NEAR * NEAR + FAR * FAR;
    return Six(both * d.a - sum * d.c + d.e, near + near_odd, near - near_odd, far + far_odd, far - far_odd,
        both * d.b - sum * d.d + d.f);
}

// Stores what a column of six becomes.
fn keep(to: u32, column: u32, d: Six) {
    let v = transformed(d);
    let next = UNDER * params.y_image;
    var at = to + column * params.y_image;
    y[at] = v.a;
    at += next;
    y[at] = v.b;
    at += next;
    y[at] = v.c;
    at += next;
    y[at] = v.d;
    at += next;
    y[at] = v.e;
    at += next;
    y[at] = v.f;
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_id(gid, groups, LANES);
    let tile = tile_of(index, params.ic);
    let channel = tile.channel;
    if tile.image * params.out_plane >= params.pixels || channel >= params.ic {
        return;
    }
    let top = tile.h - params.ph;
    let left = tile.w - params.pw;
    let base = params.x_base + tile.image * params.x_image + channel * params.x_channel;
    //#insert READS
    let around = outside();
    var rows: array<Six, UNDER>;
    for (var r = 0u; r < UNDER; r++) { //#unroll
        // below 0 the coordinates wrap around
        let row = base + min(top + r, params.ih - 1u) * params.x_row;
        var d = array<Acc, UNDER>();
        for (var c = 0u; c < UNDER; c++) { //#unroll
            let loaded = x[row + min(left + c, params.iw - 1u) * params.x_column];
            //#insert LOAD
            d[c] = select(around, v, top + r < params.ih && left + c < params.iw);
        }
        rows[r] = transformed(Six(d[0], d[1], d[2], d[3], d[4], d[5]));
    }
    let to = params.y_base + tile.number * params.y_pixel + channel * params.y_channel;
    keep(to, 0u, Six(rows[0].a, rows[1].a, rows[2].a, rows[3].a, rows[4].a, rows[5].a));
    keep(to, 1u, Six(rows[0].b, rows[1].b, rows[2].b, rows[3].b, rows[4].b, rows[5].b));
    keep(to, 2u, Six(rows[0].c, rows[1].c, rows[2].c, rows[3].c, rows[4].c, rows[5].c));
    keep(to, 3u, Six(rows[0].d, rows[1].d, rows[2].d, rows[3].d, rows[4].d, rows[5].d));
    keep(to, 4u, Six(rows[0].e, rows[1].e, rows[2].e, rows[3].e, rows[4].e, rows[5].e));
    keep(to, 5u, Six(rows[0].f, rows[1].f, rows[2].f, rows[3].f, rows[4].f, rows[5].f));
}
