// Weights in their ONNX order as conv.wgsl reads them. One thread an element of the packed form.

//#include common/linear_id.wgsl

alias T = f32; //#type
const QUADS: u32 = 2u; //#param

struct Params {
    count: u32,
    tiles: u32,
    taps: u32,
    ic: u32,
    oc: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<T>;
@group(0) @binding(2) var<storage, read_write> packed: array<T>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    var rest = i / (4u * QUADS);
    let k = rest % params.ic;
    rest /= params.ic;
    let tap = rest % params.taps;
    rest /= params.taps;
    let o = rest % params.tiles * (4u * QUADS) + i % (4u * QUADS);
    let g = rest / params.tiles;
    if o >= params.oc {
        packed[i] = T_zero();
        return;
    }
    //#if TRANSPOSED
    packed[i] = weights[((g * params.ic + k) * params.oc + o) * params.taps + tap];
    //#else
    packed[i] = weights[((g * params.oc + o) * params.ic + k) * params.taps + tap];
    //#endif
}
