// Each slice's group; and of each group the first slice and the number of slices. A thread a place in the order.

//#include common/linear_id.wgsl

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> members: array<i32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> firsts: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> inverse: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> counts: array<vec2<u32>>;
//#if SORTED
//#else
// How many groups have their first slice up to each slice.
@group(0) @binding(7) var<storage, read> ranks: array<i32>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let p = linear_id(gid, groups, 64u);
    if p >= params.n {
        return;
    }
    let own = u32(members[p] - 1);
    let start = starts[own];
    let first = order[start];
    //#if SORTED
    let group = own;
    //#else
    let group = u32(ranks[first] - 1);
    //#endif
    inverse[order[p]] = vec2<u32>(group, 0u);
    if p == start {
        firsts[group] = vec2<u32>(first, 0u);
        counts[group] = vec2<u32>(starts[own + 1u] - start, 0u);
    }
}
