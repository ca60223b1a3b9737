// Writes updates into a tensor that is there already, in the order of the updates. An index outside its extent writes
// nothing. ELEMENTS: one thread a line along the dim. TUPLES: one thread an element of a slice.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias I = i64; //#type
const RANK: u32 = 4u; //#param

// ELEMENTS: length = updates of a line, extent = the dim's extent, from_step and to_step = its strides;
//           first = extents of the lines, second and third = strides of updates and result
// TUPLES:   length = tuples, extent = indices a tuple, from_step = elements of a slice;
//           first = extents, second = strides, at the end of the lists
struct Params {
    count: u32,
    index_base: u32,
    update_base: u32,
    length: u32,
    extent: u32,
    from_step: u32,
    to_step: u32,
    unused: u32,
    first: array<vec4<u32>, RANK / 4u>,
    second: array<vec4<u32>, RANK / 4u>,
    third: array<vec4<u32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<I>;
@group(0) @binding(2) var<storage, read> updates: array<T>;
@group(0) @binding(3) var<storage, read_write> result: array<T>;

// The position of an index, or -1 outside.
fn place(k: u32, extent: u32) -> i32 {
    let i = I_to_i32(indices[params.index_base + k]);
    let p = select(i, i + i32(extent), i < 0);
    return select(-1, p, p >= 0 && p < i32(extent));
}

fn write(at: u32, update: T) {
    //#if ADD
    result[at] = T_add(result[at], update);
    //#else
    //#if MUL
    result[at] = T_mul(result[at], update);
    //#else
    //#if MIN
    result[at] = T_min(result[at], update);
    //#else
    //#if MAX
    result[at] = T_max(result[at], update);
    //#else
    result[at] = update;
    //#endif
    //#endif
    //#endif
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    //#if TUPLES
    for (var t = 0u; t < params.length; t++) {
        var at = i;
        var inside = true;
        for (var n = 0u; n < params.extent; n++) {
            let d = RANK - params.extent + n;
            let p = place(t * params.extent + n, params.first[d / 4u][d % 4u]);
            inside = inside && p >= 0;
            at += u32(max(p, 0)) * params.second[d / 4u][d % 4u];
        }
        if inside {
            write(at, updates[params.update_base + t * params.from_step + i]);
        }
    }
    //#else
    var rest = i;
    var origin = 0u;
    var start = 0u;
    for (var n = RANK; n > 0u; n--) {
        let d = n - 1u;
        let extent = params.first[d / 4u][d % 4u];
        let c = rest % extent;
        rest /= extent;
        origin += c * params.second[d / 4u][d % 4u];
        start += c * params.third[d / 4u][d % 4u];
    }
    for (var n = 0u; n < params.length; n++) {
        let k = origin + n * params.from_step;
        let p = place(k, params.extent);
        if p >= 0 {
            write(start + u32(p) * params.to_step, updates[params.update_base + k]);
        }
    }
    //#endif
}
