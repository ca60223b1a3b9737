// Pools over up to three spatial dims: one thread an element of the output.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias Y = f32; //#type
const P: u32 = 2u; //#param

struct Params {
    count: u32,
    // depth, height, width of each
    id: u32, ih: u32, iw: u32,
    od: u32, oh: u32, ow: u32,
    kd: u32, kh: u32, kw: u32,
    sd: u32, sh: u32, sw: u32,
    dd: u32, dh: u32, dw: u32,
    pd: u32, ph: u32, pw: u32,
    // input and padding at its end
    ed: u32, eh: u32, ew: u32,
    count_pads: u32,
    first_dim_fastest: u32,
    channels: u32, // of one image
    // where input and output begin, and how far their images lie apart
    x_base: u32, x_image: u32,
    y_base: u32, y_image: u32,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;
//#if INDICES
@group(0) @binding(3) var<storage, read_write> places: array<vec2<u32>>;
//#endif
//#insert DECLARATIONS

// What is stored for a value, of this channel, at this element of the output.
fn stored(v: T, channel: u32, at: u32) -> Y {
    //#insert RESULT
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i / params.ow;
    let x0 = i % params.ow * params.sw - params.pw;
    let y0 = rest % params.oh * params.sh - params.ph;
    rest /= params.oh;
    let z0 = rest % params.od * params.sd - params.pd;
    let row = rest / params.od;
    let image = row / params.channels;
    let plane = params.id * params.ih * params.iw;
    let channel = params.x_base + image * params.x_image + row % params.channels * plane;
    let per_image = params.channels * params.od * params.oh * params.ow;
    let to = params.y_base + image * params.y_image + (i - image * per_image);

    //#if MAX
    var best = T_lowest();
    var best_at = 0u;
    var found = false;
    //#else
    var sum = 0.0;
    var counted = 0u;
    //#endif
    for (var kd = 0u; kd < params.kd; kd++) {
        let sz = z0 + kd * params.dd;
        for (var kh = 0u; kh < params.kh; kh++) {
            let sy = y0 + kh * params.dh;
            for (var kw = 0u; kw < params.kw; kw++) {
                let sx = x0 + kw * params.dw;
                let inside = sz < params.id && sy < params.ih && sx < params.iw;
                let at = select(0u, (sz * params.ih + sy) * params.iw + sx, inside);
                let v = x[channel + at];
                //#if MAX
                let better = inside && T_gt(v, best);
                best = select(best, v, better);
                best_at = select(best_at, at, better || (inside && !found));
                found = found || inside;
                //#else
                // wraps around before the padding at the beginning has an end
                let near = sz + params.pd < params.ed && sy + params.ph < params.eh && sx + params.pw < params.ew;
                counted += select(0u, 1u, select(inside, near, params.count_pads != 0u));
                var term = T_to_f32(v);
                //#if NORM
                term = abs(term);
                if P == 2u {
                    term *= term;
                } else if P > 2u {
                    term = f32_pow(term, f32(P));
                }
                //#endif
                sum += select(0.0, term, inside);
                //#endif
            }
        }
    }
    //#if MAX
    y[to] = stored(best, row % params.channels, i);
    //#else
    //#if NORM
    if P == 2u {
        sum = f32_sqrt(sum);
    } else if P > 2u {
        sum = f32_pow(sum, 1.0 / f32(P));
    }
    y[to] = stored(T_from_f32(sum), row % params.channels, i);
    //#else
    y[to] = stored(T_from_f32(sum / f32(counted)), row % params.channels, i);
    //#endif
    //#endif
    //#if INDICES
    var place = best_at;
    if params.first_dim_fastest != 0u {
        let row = best_at / params.iw;
        place = (best_at % params.iw * params.ih + row % params.ih) * params.id + row / params.ih;
    }
    places[i] = vec2<u32>(row * plane + place, 0u);
    //#endif
}
