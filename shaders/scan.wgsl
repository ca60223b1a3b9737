// Cumulative sums or products along a row, in chunks: one pass makes each chunk's total, the other the results, given
// what stands before each chunk. A thread a chunk.

//#include common/linear_id.wgsl

alias T = f32; //#type
alias A = f32; //#type
alias R = f32; //#type

// Elements of a row stand `inner` apart; what came before a chunk is found at `chunks` to a row.
struct Params {
    count: u32, // rows · chunks
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
//#if OFFSETS
@group(0) @binding(2) var<storage, read> offsets: array<A>;
@group(0) @binding(3) var<storage, read_write> result: array<R>;
//#else
@group(0) @binding(2) var<storage, read_write> result: array<R>;
//#endif

fn join(a: A, b: A) -> A {
    //#if PRODUCT
    return A_mul(a, b);
    //#else
    return A_add(a, b);
    //#endif
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let chunk = i % params.chunks;
    let row = i / params.chunks;
    let start = row / params.inner * params.n * params.inner + row % params.inner;
    //#if PRODUCT
    var sum = A_one();
    //#else
    var sum = A_zero();
    //#endif
    //#if OFFSETS
    if chunk > 0u {
        sum = offsets[row * params.chunks + chunk - 1u];
    }
    //#endif
    let end = min((chunk + 1u) * params.chunk, params.n);
    for (var k = chunk * params.chunk; k < end; k++) {
        //#if REVERSE
        let at = start + (params.n - 1u - k) * params.inner;
        //#else
        let at = start + k * params.inner;
        //#endif
        //#insert LOAD
        //#if EXCLUSIVE
        //#insert STORE
        sum = join(sum, x);
        //#else
        sum = join(sum, x);
        //#if EACH
        //#insert STORE
        //#endif
        //#endif
    }
    //#if TOTALS
    result[i] = sum;
    //#endif
}
