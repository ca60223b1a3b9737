// One value where a coordinate equals an index, another elsewhere. One thread an element.

//#include common/linear_id.wgsl

alias Word = u32; //#param
alias I = i64; //#type

struct Params {
    count: u32,
    index_base: u32,
    value_base: u32,
    depth: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<I>;
@group(0) @binding(2) var<storage, read> values: array<Word>;
@group(0) @binding(3) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let k = i % params.inner;
    let along = i / params.inner % params.depth;
    let outer = i / params.inner / params.depth;
    let index = indices[params.index_base + outer * params.inner + k];
    let negative = below_zero(index);
    let hit = I_eq(index, I_from_u32(along)) || (negative && I_eq(I_add(index, I_from_u32(params.depth)), I_from_u32(along)));
    result[i] = values[params.value_base + select(0u, 1u, hit)];
}

fn below_zero(x: I) -> bool {
    return I_lt(x, I_zero());
}
