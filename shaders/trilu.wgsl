// The upper or lower triangle of the last two dims. One thread an element.

//#include common/linear_id.wgsl

alias Word = u32; //#param

struct Params {
    count: u32,
    base: u32,
    rows: u32,
    cols: u32,
    diagonal: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let col = i32(i % params.cols);
    let row = i32((i / params.cols) % params.rows);
    //#if UPPER
    let keep = col >= row + params.diagonal;
    //#else
    let keep = col <= row + params.diagonal;
    //#endif
    if keep {
        result[i] = source[params.base + i];
    } else {
        result[i] = Word();
    }
}
