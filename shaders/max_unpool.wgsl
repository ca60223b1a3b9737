// Zeros, or elements put where their places say. One thread an element of the output, or of the input.

//#include common/linear_id.wgsl

alias Word = u32; //#param

struct Params {
    count: u32,
    places: u32, // elements of the shape that places count in
    rank: u32,
    from_shape: array<vec4<u32>, 2>,
    to_shape: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if SCATTER
@group(0) @binding(1) var<storage, read> x: array<Word>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Word>;
//#else
@group(0) @binding(1) var<storage, read_write> y: array<Word>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    //#if SCATTER
    let place = places[i];
    if place.y != 0u || place.x >= params.places {
        return;
    }
    var rest = place.x;
    var at = 0u;
    var step = 1u;
    for (var k = 8u; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.to_shape[d / 4u][d % 4u];
        let c = rest % params.from_shape[d / 4u][d % 4u];
        rest /= params.from_shape[d / 4u][d % 4u];
        if c >= extent {
            return;
        }
        at += c * step;
        step *= extent;
    }
    y[at] = x[i];
    //#else
    y[i] = Word();
    //#endif
}
