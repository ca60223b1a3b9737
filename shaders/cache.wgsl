// A cache of keys or values with new ones at each sequence's place: what stood before it, the new ones, zeros. A thread moves
// a word of [batch, heads, room, depth].

//#include common/linear_id.wgsl

alias Word = u32; //#param

struct Params {
    count: u32,
    heads: u32,
    room: u32,
    // In words.
    depth: u32,
    length: u32,
    past: u32,
    new_base: u32,
    starts_base: u32,
    old_base: u32,
    y_base: u32,
    // In words: of the new ones along each dim, of the others along batch and heads.
    new_steps: vec4<i32>,
    old_steps: vec4<i32>,
    y_steps: vec4<i32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> new_: array<Word>;
@group(0) @binding(2) var<storage, read> starts: array<i32>;
//#if OLD
@group(0) @binding(3) var<storage, read> old: array<Word>;
@group(0) @binding(4) var<storage, read_write> y: array<Word>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Word>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let d = i % params.depth;
    let place = i / params.depth % params.room;
    let row = i / params.depth / params.room;
    let batch = row / params.heads;
    let head = row % params.heads;
    let start = u32(max(starts[params.starts_base + batch], 0));
    var word = Word();
    if place >= start && place - start < params.length {
        let at = vec4<i32>(vec4<u32>(batch, head, place - start, d)) * params.new_steps;
        word = new_[i32(params.new_base) + at.x + at.y + at.z + at.w];
    }
    //#if OLD
    if place < min(start, params.past) {
        word = old[i32(params.old_base + place * params.depth + d) + i32(batch) * params.old_steps.x + i32(head) * params.old_steps.y];
    }
    //#endif
    y[i32(params.y_base + place * params.depth + d) + i32(batch) * params.y_steps.x + i32(head) * params.y_steps.y] = word;
}
