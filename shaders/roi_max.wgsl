// MaxRoiPool: the greatest element in each bin of a region. LANES threads share an element of the result.

//#include common/linear_id.wgsl

alias T = f32; //#type
const LANES: u32 = 1u; //#param
const FAR: i32 = 1048576; //#param

struct Params {
    count: u32,
    images: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    columns: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> rois: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;

var<workgroup> partial: array<T, 64>;

// The nearest pixel, of two the one farther from zero.
fn pixel(corner: f32) -> i32 {
    let at = clamp(corner * params.scale, -f32(FAR), f32(FAR));
    let whole = trunc(at);
    return clamp(i32(whole + select(0.0, sign(at), abs(at - whole) >= 0.5)), -FAR, FAR);
}

// The first pixel of a bin, and the one behind its last.
fn pixels(low: f32, high: f32, bin: u32, bins: u32, extent: u32) -> vec2<u32> {
    let start = pixel(low);
    let size = u32(max(pixel(high) - start + 1, 1));
    let first = start + i32(bin * size / bins);
    let end = start + i32(((bin + 1u) * size + bins - 1u) / bins);
    return vec2<u32>(clamp(vec2<i32>(first, end), vec2<i32>(0), vec2<i32>(i32(extent))));
}

fn greater(a: T, b: T) -> T {
    return select(a, b, T_gt(b, a));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = linear_id(gid, groups, 64u) / LANES;
    let lane = thread % LANES;
    var best = T_lowest();
    var near = 0u;
    if i < params.count {
        let column = i % params.columns;
        let row = i / params.columns % params.rows;
        let channel = i / params.columns / params.rows % params.channels;
        let roi = i / params.columns / params.rows / params.channels * 5u;
        let image = u32(clamp(i32(T_to_f32(rois[roi])), 0, i32(params.images) - 1));
        let xs = pixels(T_to_f32(rois[roi + 1u]), T_to_f32(rois[roi + 3u]), column, params.columns, params.width);
        let ys = pixels(T_to_f32(rois[roi + 2u]), T_to_f32(rois[roi + 4u]), row, params.rows, params.height);
        let across = max(xs.y, xs.x) - xs.x;
        near = across * (max(ys.y, ys.x) - ys.x);
        let base = ((image * params.channels + channel) * params.height + ys.x) * params.width + xs.x;
        for (var s = lane; s < near; s += LANES) {
            best = greater(best, x[base + s / across * params.width + s % across]);
        }
    }
    if LANES > 1u {
        partial[thread] = best;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                partial[thread] = greater(partial[thread], partial[thread + half]);
            }
            workgroupBarrier();
        }
        best = partial[thread];
    }
    if i < params.count && lane == 0u {
        y[i] = best;
        if near == 0u {
            y[i] = T_zero();
        }
    }
}
