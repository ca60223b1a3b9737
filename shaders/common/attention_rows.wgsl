// How attention reads queries, keys and values, four elements of a row at a time.

alias T = f32; //#type
// vec4 where depth, width and steps are multiples of 4.
alias In = vec4<f32>; //#param

@group(0) @binding(1) var<storage, read> queries: array<In>;
@group(0) @binding(2) var<storage, read> keys: array<In>;
@group(0) @binding(3) var<storage, read> values: array<In>;

// Elements 4 d to 4 d + 3 of the row of q, k, v that begins at `start`; zeros beyond its end.
fn load_q(start: i32, d: u32) -> vec4<f32> {
    //#if VECTOR
    return vec4<f32>(queries[start + i32(d)]);
    //#else
    var x = vec4<f32>();
    for (var j = 0u; j < 4u && d * 4u + j < params.depth; j++) {
        x[j] = T_to_f32(queries[start + i32(d * 4u + j) * params.q_d]);
    }
    return x;
    //#endif
}

fn load_k(start: i32, d: u32) -> vec4<f32> {
    //#if VECTOR
    return vec4<f32>(keys[start + i32(d)]);
    //#else
    var x = vec4<f32>();
    for (var j = 0u; j < 4u && d * 4u + j < params.depth; j++) {
        x[j] = T_to_f32(keys[start + i32(d * 4u + j) * params.k_d]);
    }
    return x;
    //#endif
}

fn load_v(start: i32, w: u32) -> vec4<f32> {
    //#if VECTOR
    return vec4<f32>(values[start + i32(min(w, params.width / 4u - 1u))]);
    //#else
    var x = vec4<f32>();
    for (var j = 0u; j < 4u && w * 4u + j < params.width; j++) {
        x[j] = T_to_f32(values[start + i32(w * 4u + j) * params.v_w]);
    }
    return x;
    //#endif
}
