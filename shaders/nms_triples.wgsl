// Batch, class and box of each box that was found, side by side. A thread a box that may have been found.

//#include common/linear_id.wgsl

struct Params {
    rows: u32, // batches · classes
    classes: u32,
    most: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> found: array<u32>;
// How many were found up to the end of each row.
@group(0) @binding(2) var<storage, read> totals: array<i32>;
@group(0) @binding(3) var<storage, read_write> triples: array<vec2<u32>>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    let row = i / params.most;
    if row >= params.rows {
        return;
    }
    var before = 0u;
    if row > 0u {
        before = u32(totals[row - 1u]);
    }
    let to = before + i % params.most;
    if to >= u32(totals[row]) {
        return;
    }
    triples[3u * to] = vec2<u32>(row / params.classes, 0u);
    triples[3u * to + 1u] = vec2<u32>(row % params.classes, 0u);
    triples[3u * to + 2u] = vec2<u32>(found[i], 0u);
}
