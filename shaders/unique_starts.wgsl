// Where each group of equal slices starts in the order, with the end of the order behind the last, and a one for each
// slice that is the first of its group. Groups are numbered from one. A thread a place in the order.

//#include common/linear_id.wgsl

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> members: array<i32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> leads: array<i32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let p = linear_id(gid, groups, 64u);
    if p >= params.n {
        return;
    }
    let own = members[p];
    var before = 0;
    if p > 0u {
        before = members[p - 1u];
    }
    if own != before {
        starts[own - 1] = p;
    }
    leads[order[p]] = own - before;
    if p == params.n - 1u {
        starts[own] = params.n;
    }
}
