// RoiAlign: the mean of bilinear samples in each bin of a region, or their greatest weighted pixel. LANES threads share
// an element of the result.

//#include common/linear_id.wgsl

alias T = f32; //#type
const LANES: u32 = 1u; //#param

struct Params {
    count: u32,
    images: u32,
    channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    columns: u32,
    ratio: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> rois: array<T>;
@group(0) @binding(3) var<storage, read> images: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

var<workgroup> partial: array<f32, 64>;

// A bin's samples along an axis: `grid` of them, `step` apart; those from `first` to `end` may lie in the image.
struct Axis {
    origin: f32,
    step: f32,
    grid: f32,
    first: u32,
    end: u32,
}

// A number of samples as an integer, 0 where it is none.
fn whole(v: f32) -> u32 {
    return u32(select(0.0, min(v, 16777216.0), v > 0.0));
}

fn axis_of(low: f32, high: f32, bin: u32, bins: u32, extent: u32) -> Axis {
    //#if HALF_PIXEL
    let start = low * params.scale - 0.5;
    let size = high * params.scale - 0.5 - start;
    //#else
    let start = low * params.scale;
    let size = max(high * params.scale - start, 1.0);
    //#endif
    // a quotient a little above a whole number would be a sample more
    let width = f32_quotient(size, f32(bins));
    let origin = start + f32(bin) * width;
    //#if ADAPTIVE
    let grid = ceil(width);
    let step = f32_quotient(width, grid);
    let first = whole(floor((-1.0 - origin) / step) - 1.0);
    // a step is no less than half a pixel: more samples are none, whatever numbers say that are not finite
    let end = min(whole(min(ceil((f32(extent) - origin) / step) + 1.0, grid)), first + 2u * extent + 8u);
    //#else
    let grid = f32(params.ratio);
    let step = f32_quotient(width, grid);
    let first = 0u;
    let end = params.ratio;
    //#endif
    return Axis(origin, step, grid, first, max(end, first));
}

fn place(a: Axis, k: u32) -> f32 {
    return a.origin + (f32(k) + 0.5) * a.step;
}

fn join(a: f32, b: f32) -> f32 {
    //#if MAX
    return select(a, b, f32_gt(b, a));
    //#else
    return a + b;
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = linear_id(gid, groups, 64u) / LANES;
    let lane = thread % LANES;
    //#if MAX
    var all = f32_lowest();
    //#else
    var all = 0.0;
    //#endif
    var samples = 0.0;
    if i < params.count {
        let column = i % params.columns;
        let row = i / params.columns % params.rows;
        let channel = i / params.columns / params.rows % params.channels;
        let roi = i / params.columns / params.rows / params.channels;
        let image = min(images[roi].x, params.images - 1u);
        let base = (image * params.channels + channel) * params.height * params.width;
        let x_low = T_to_f32(rois[roi * 4u]);
        let y_low = T_to_f32(rois[roi * 4u + 1u]);
        let x_high = T_to_f32(rois[roi * 4u + 2u]);
        let y_high = T_to_f32(rois[roi * 4u + 3u]);
        let ax = axis_of(x_low, x_high, column, params.columns, params.width);
        let ay = axis_of(y_low, y_high, row, params.rows, params.height);
        samples = select(0.0, ax.grid * ay.grid, ax.grid > 0.0 && ay.grid > 0.0);
        let across = ax.end - ax.first;
        let near = across * (ay.end - ay.first);
        //#if MAX
        // samples outside the image count as 0
        if f32(near) < samples {
            all = 0.0;
        }
        //#endif
        for (var s = lane; s < near; s += LANES) {
            let px = place(ax, ax.first + s % across);
            let py = place(ay, ay.first + s / across);
            let inside = px >= -1.0 && py >= -1.0 && px <= f32(params.width) && py <= f32(params.height);
            if inside {
                let cx = max(px, 0.0);
                let cy = max(py, 0.0);
                let x0 = min(u32(cx), params.width - 1u);
                let y0 = min(u32(cy), params.height - 1u);
                let x1 = min(x0 + 1u, params.width - 1u);
                let y1 = min(y0 + 1u, params.height - 1u);
                let fx = select(0.0, cx - f32(x0), x1 > x0);
                let fy = select(0.0, cy - f32(y0), y1 > y0);
                let top = base + y0 * params.width;
                let bottom = base + y1 * params.width;
                all = join(all, join(join((1.0 - fy) * (1.0 - fx) * T_to_f32(x[top + x0]),
                                          (1.0 - fy) * fx * T_to_f32(x[top + x1])),
                                     join(fy * (1.0 - fx) * T_to_f32(x[bottom + x0]),
                                          fy * fx * T_to_f32(x[bottom + x1]))));
            } else {
                all = join(all, 0.0);
            }
        }
    }
    if LANES > 1u {
        partial[thread] = all;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                partial[thread] = join(partial[thread], partial[thread + half]);
            }
            workgroupBarrier();
        }
        all = partial[thread];
    }
    if i < params.count && lane == 0u {
        //#if MAX
        y[i] = T_from_f32(select(0.0, all, samples > 0.0));
        //#else
        y[i] = T_from_f32(select(0.0, all / samples, samples > 0.0));
        //#endif
    }
}
