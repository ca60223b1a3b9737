// Minus the log-probability of each sample's class, times the class's weight. With TOTAL a second row of the result
// receives the weights, so that one reduction gives both sums of a weighted mean. One thread a sample.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias I = i64; //#type
alias R = f32; //#type
const OUT_AT: u32 = 4u; //#param

// The log-probabilities are dense [n, classes, inner], the targets dense [n, inner].
struct Params {
    count: u32,
    base: u32,
    target_base: u32,
    weight_base: u32,
    classes: u32,
    inner: u32,
    ignore_low: u32,
    ignore_high: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read> targets: array<I>;
//#if WEIGHT
@group(0) @binding(3) var<storage, read> weights: array<T>;
//#endif
@group(0) @binding(OUT_AT) var<storage, read_write> result: array<R>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let label = I_to_i64(targets[params.target_base + i]);
    var loss = 0.0;
    var weight = 0.0;
    // of no classes none counts
    var counts = params.classes > 0u;
    //#if IGNORE
    counts = counts && (label.x != params.ignore_low || label.y != params.ignore_high);
    //#endif
    if counts {
        // a class that does not exist reads the nearest one
        let c = u32(clamp(i64_to_i32(label), 0, i32(params.classes) - 1));
        let at = (i / params.inner * params.classes + c) * params.inner + i % params.inner;
        weight = 1.0;
        //#if WEIGHT
        weight = T_to_f32(weights[params.weight_base + c]);
        //#endif
        loss = -T_to_f32(source[params.base + at]) * weight;
    }
    result[i] = R_from_f32(loss);
    //#if TOTAL
    result[params.count + i] = R_from_f32(weight);
    //#endif
}
