// Weights of few bits as floats, for products of many rows: an invocation makes four columns of the rows that a word
// holds. The columns lie in panels of `panel` vectors.

//#include common/linear_id.wgsl
//#include common/bits.wgsl

alias Out = f32; //#param

struct Params {
    count: u32,
    k: u32,
    // Vectors of columns to make, and the first of them.
    columns: u32,
    first: u32,
    base: u32,
    step: u32,
    panel: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<Out>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(id, groups, 64u);
    if i >= params.count {
        return;
    }
    let column = i % params.columns;
    let row = i / params.columns;
    let at = params.base + params.first + column;
    let word = b[at + row * params.step];
    let by = scale_of(at, params.step, params.k, row * PER);
    let to = column / params.panel * params.panel * params.k + column % params.panel;
    for (var j = 0u; j < PER; j++) {
        let k = row * PER + j;
        if k < params.k {
            y[to + k * params.panel] = vec4<Out>(weights(word, j, by.less) * by.scale);
        }
    }
}
