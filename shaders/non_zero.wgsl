// The coordinates of the elements that count, side by side: where they go stands in the running counts. A thread an
// element.

//#include common/linear_id.wgsl

struct Params {
    count: u32,
    rank: u32,
    shape: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counts: array<i32>;
@group(0) @binding(2) var<storage, read_write> places: array<vec2<u32>>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var before = 0;
    if i > 0u {
        before = counts[i - 1u];
    }
    if counts[i] == before {
        return;
    }
    var rest = i;
    for (var k = 0u; k < params.rank; k++) {
        let d = params.rank - 1u - k;
        // the extents stand at the end of eight
        let e = 7u - k;
        let extent = params.shape[e / 4u][e % 4u];
        places[d * params.count + u32(before)] = vec2<u32>(rest % extent, 0u);
        rest /= extent;
    }
}
