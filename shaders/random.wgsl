// Random elements after a law, by Philox: element i of a run draws from counter i. A thread an element.

//#include common/linear_id.wgsl
//#include common/philox.wgsl

alias T = f32; //#type
alias R = f32; //#type

struct Params {
    count: u32,
    classes: u32,
    samples: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Seed, then run, two words each.
@group(0) @binding(1) var<storage, read> key: array<u32>;
//#if READS
@group(0) @binding(2) var<storage, read> source: array<T>;
@group(0) @binding(3) var<storage, read_write> result: array<R>;
//#else
@group(0) @binding(2) var<storage, read_write> result: array<R>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let words = philox(vec4<u32>(i, 0u, key[2], key[3]), vec2<u32>(key[0], key[1]));
    let u = philox_unit(words.x);
    //#if UNIFORM
    result[i] = R_from_f32(params.a + (params.b - params.a) * u);
    //#endif
    //#if NORMAL
    // in 0 < u <= 1
    let radius = f32_sqrt(-2.0 * f32_log(u + 5.9604644775390625e-8));
    result[i] = R_from_f32(params.a + params.b * radius * f32_cos(6.283185307179586 * philox_unit(words.y)));
    //#endif
    //#if COIN
    result[i] = R_from_u32(u32(u < T_to_f32(source[i])));
    //#endif
    //#if CLASS
    let start = i / params.samples * params.classes;
    var top = T_to_f32(source[start]);
    for (var c = 1u; c < params.classes; c++) {
        top = max(top, T_to_f32(source[start + c]));
    }
    var sum = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += f32_exp(T_to_f32(source[start + c]) - top);
    }
    var left = u * sum;
    var class_ = params.classes - 1u;
    for (var c = 0u; c < params.classes; c++) {
        left -= f32_exp(T_to_f32(source[start + c]) - top);
        if left < 0.0 {
            class_ = c;
            break;
        }
    }
    result[i] = R_from_u32(class_);
    //#endif
}
