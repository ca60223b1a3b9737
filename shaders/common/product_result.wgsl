// The result of a matrix product, and how four of its columns are stored.

alias Out = f32; //#param

//#if BIAS
@group(0) @binding(4) var<storage, read_write> y: array<Out>;
//#else
@group(0) @binding(3) var<storage, read_write> y: array<Out>;
//#endif

// What is stored in row m and the columns from n on. Beyond the last row and the last column what is read is that of the
// last, so that no branch holds up the reads of what comes next.
fn finish_four(at: Origin, m: u32, n: u32, sum: vec4<Acc>) -> vec4<Y> {
    let row = min(m, params.m - 1u);
    let c = min(vec4<u32>(n, n + 1u, n + 2u, n + 3u), vec4<u32>(params.n - 1u));
    return vec4<Y>(finish(sum.x, at, row, c.x), finish(sum.y, at, row, c.y), finish(sum.z, at, row, c.z),
        finish(sum.w, at, row, c.w));
}

// Stores row m and the columns from n on, those that there are.
fn store_four(at: Origin, m: u32, n: u32, values: vec4<Y>) {
    if m >= params.m || n >= params.n {
        return;
    }
    let row = at.y + i32(m) * params.y_m;
//#if Y_VEC
    y[row + i32(n / 4u)] = Out(values.x, values.y, values.z, values.w);
//#else
    let to = row + i32(n) * params.y_n;
    y[to] = values.x;
    if n + 1u < params.n { y[to + params.y_n] = values.y; }
    if n + 2u < params.n { y[to + 2 * params.y_n] = values.z; }
    if n + 3u < params.n { y[to + 3 * params.y_n] = values.w; }
//#endif
}

// Makes and stores them.
fn put_four(at: Origin, m: u32, n: u32, sum: vec4<Acc>) {
    store_four(at, m, n, finish_four(at, m, n, sum));
}
