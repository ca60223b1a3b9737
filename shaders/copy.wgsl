// Moves elements between strided views. One thread an element of the source's shape.

//#include common/linear_id.wgsl

alias Word = u32; //#param
const RANK: u32 = 4u; //#param

struct Params {
    count: u32,
    from_base: u32,
    to_base: u32,
    shape: array<vec4<u32>, RANK / 4u>,
    from_strides: array<vec4<i32>, RANK / 4u>,
    to_strides: array<vec4<i32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read_write> target_: array<Word>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i;
    var s = i32(params.from_base);
    var t = i32(params.to_base);
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.shape[d / 4u][d % 4u];
        let c = i32(rest % extent);
        rest /= extent;
        s += c * params.from_strides[d / 4u][d % 4u];
        t += c * params.to_strides[d / 4u][d % 4u];
    }
    target_[t] = source[s];
}
