// One step of a fast Fourier transform by the factors of its length: `done` transforms of what the steps before made
// become transforms RADIX times as long. A thread makes RADIX elements. The sums are pocketfft's, in its order.

//#include common/linear_id.wgsl

const RADIX: u32 = 5u; //#param
const PAIRS: u32 = 2u; //#param

struct Params {
    threads: u32,
    n: u32,
    done: u32,
    left: u32,
    taken: u32,
    bins: u32,
    first: u32,
    to_first: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
// e^(2πim/n)
@group(0) @binding(2) var<storage, read> roots: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

fn element(row: u32, place: u32) -> vec2<f32> {
    var j = place;
    var side = 1.0;
//#if HALF
    if j >= params.taken {
        j = params.n - j;
        side = -1.0;
    }
    if j == 0u || 2u * j == params.n {
        side = 0.0;
    }
//#endif
    let at = row * params.taken + j;
//#if REAL
    return vec2<f32>(source[params.first + at], 0.0);
//#else
    return vec2<f32>(source[params.first + 2u * at], side * source[params.first + 2u * at + 1u]);
//#endif
}

fn store(row: u32, place: u32, value: vec2<f32>) {
    var y = value;
//#if SCALED
    y *= params.scale;
//#endif
//#if OF_REAL
    // the spectrum of real elements has two places where nothing is imaginary
    if place == 0u || 2u * place == params.n {
        y.y = 0.0;
    }
//#endif
    if place >= params.bins {
        return;
    }
    let at = row * params.bins + place;
//#if REAL_OUT
    result[params.to_first + at] = y.x;
//#else
    result[params.to_first + 2u * at] = y.x;
    result[params.to_first + 2u * at + 1u] = y.y;
//#endif
}

// by the imaginary unit, in the transform's direction
fn turned(v: vec2<f32>) -> vec2<f32> {
//#if INVERSE
    return vec2<f32>(-v.y, v.x);
//#else
    return vec2<f32>(v.y, -v.x);
//#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = linear_id(gid, groups, 64u);
    if id >= params.threads {
        return;
    }
    let i = id % params.left;
    let k = id / params.left % params.done;
    let row = id / (params.left * params.done);

    var v: array<vec2<f32>, RADIX>;
    for (var j = 0u; j < RADIX; j++) { //#unroll
        v[j] = element(row, i + params.left * (j + RADIX * k));
    }
    var o: array<vec2<f32>, RADIX>;
//#if TWO
    o[0] = v[0] + v[1];
    o[1] = v[0] - v[1];
//#endif
//#if FOUR
    let even = v[0] + v[2];
    let odd = v[1] + v[3];
    let over = v[0] - v[2];
    let aside = turned(v[1] - v[3]);
    o[0] = even + odd;
    o[1] = over + aside;
    o[2] = even - odd;
    o[3] = over - aside;
//#endif
//#if ODD
    let part = params.left * params.done;
    o[0] = v[0];
    for (var j = 0u; j < PAIRS; j++) { //#unroll
        let near = v[j + 1u];
        let far = v[RADIX - 1u - j];
        v[j + 1u] = near + far;
        v[RADIX - 1u - j] = near - far;
        o[0] += near + far;
    }
    for (var m = 0u; m < PAIRS; m++) { //#unroll
        var along = v[0];
        var across = vec2<f32>();
        for (var j = 0u; j < PAIRS; j++) { //#unroll
            let w = roots[part * ((j + 1u) * (m + 1u) % RADIX)];
            along += w.x * v[j + 1u];
            across += w.y * v[RADIX - 1u - j];
        }
        o[m + 1u] = along + turned(across);
        o[RADIX - 1u - m] = along - turned(across);
    }
//#endif
    for (var j = 0u; j < RADIX; j++) { //#unroll
        let w = roots[params.done * j * i];
        let y = select(w.x * o[j] + turned(w.y * o[j]), o[j], i * j == 0u);
        store(row, i + params.left * (k + params.done * j), y);
    }
}
