// What the kernels of matrix products share: the parameters, where a batch's matrices begin, and the end of a sum.

alias Acc = f32; //#type
alias Y = f32; //#type
const RANK: u32 = 4u; //#param

// Y[batch, m, n] = finish(sum over k of A[batch, m, k] * B[batch, k, n]). Every matrix is a strided view: `_base` is
// its first element, `_m`, `_n`, `_k` the steps along its dims, `_tile` the step from one tile of columns to the next.
// Where a matrix is read as vec4, the steps across vectors and the base count in vec4.
struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Columns that can be read of B: n, or more where B is padded.
    n_read: u32,
    tiles_m: u32,
    tiles_n: u32,
    tiles: u32,
    // Matrices, and the products that one workgroup sums; where it adds parts of sums, how many.
    stacked: u32,
    part: u32,
    a_base: i32,
    a_m: i32,
    a_k: i32,
    b_base: i32,
    b_k: i32,
    b_n: i32,
    b_tile: i32,
    c_base: i32,
    c_m: i32,
    c_n: i32,
    y_base: i32,
    y_m: i32,
    y_n: i32,
    alpha: f32,
    beta: f32,
    // Extents of the batch dims, and the steps of the matrices along them.
    batch: array<vec4<u32>, RANK / 4u>,
    a_batch: array<vec4<i32>, RANK / 4u>,
    b_batch: array<vec4<i32>, RANK / 4u>,
    c_batch: array<vec4<i32>, RANK / 4u>,
    y_batch: array<vec4<i32>, RANK / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
//#if BIAS
alias Bias = f32; //#param
@group(0) @binding(3) var<storage, read> bias: array<Bias>;
//#endif

struct Origin {
    a: i32,
    b: i32,
    c: i32,
    y: i32,
    //#insert ORIGIN_FIELDS
}

//#insert DECLARATIONS

// The first elements of the matrices of batch `index`.
fn origin(index: u32) -> Origin {
    var at: Origin;
    at.a = params.a_base;
    at.b = params.b_base;
    at.c = params.c_base;
    at.y = params.y_base;
    //#insert ORIGIN_START
    var rest = index;
    for (var i = RANK; i > 0u && rest > 0u; i--) {
        let d = i - 1u;
        let extent = params.batch[d / 4u][d % 4u];
        let x = i32(rest % extent);
        rest /= extent;
        at.a += x * params.a_batch[d / 4u][d % 4u];
        at.b += x * params.b_batch[d / 4u][d % 4u];
        at.c += x * params.c_batch[d / 4u][d % 4u];
        at.y += x * params.y_batch[d / 4u][d % 4u];
        //#insert ORIGIN_STEP
    }
    return at;
}

// What is stored for the sum of row m and column n of the matrices at `at`.
fn finish(sum: Acc, at: Origin, m: u32, n: u32) -> Y {
    var value = sum;
//#insert EPILOGUE
//#insert RESULT
}
