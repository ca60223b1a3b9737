// The result of a matrix product, and how four of its columns are stored.

alias Out = f32; //#param

//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

// Stores row m and the columns from n on, those that there are.
fn put_four(at: Origin, m: u32, n: u32, sum: vec4<Acc>) {
    let row = at.y + i32(m) * params.y_m;
//#if Y_VEC
    y[row + i32(n / 4u)] = Out(finish(sum.x, at, m, n), finish(sum.y, at, m, n + 1u), finish(sum.z, at, m, n + 2u),
        finish(sum.w, at, m, n + 3u));
//#else
    let to = row + i32(n) * params.y_n;
    y[to] = finish(sum.x, at, m, n);
    if n + 1u < params.n { y[to + params.y_n] = finish(sum.y, at, m, n + 1u); }
    if n + 2u < params.n { y[to + 2 * params.y_n] = finish(sum.z, at, m, n + 2u); }
    if n + 3u < params.n { y[to + 3 * params.y_n] = finish(sum.w, at, m, n + 3u); }
//#endif
}
