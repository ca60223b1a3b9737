// What the kernels of attention share: the parameters, where a batch's matrices begin, logits, weights and the end of a
// row.

alias T = f32; //#type
// Of logits.
alias L = f32; //#type
const RANK: u32 = 4u; //#param

// Every matrix is a strided view: `_base` is its first element, `_m`, `_n`, `_d`, `_w` the steps along its dims. Where
// matrices are read as vec4, their steps and bases count in vec4.
struct Params {
    queries: u32,
    keys: u32,
    depth: u32,
    width: u32,
    tiles_m: u32,
    tiles: u32,
    alpha: f32,
    q_base: i32,
    q_m: i32,
    q_d: i32,
    k_base: i32,
    k_n: i32,
    k_d: i32,
    v_base: i32,
    v_n: i32,
    v_w: i32,
    y_base: i32,
    y_m: i32,
    y_w: i32,
    //#if SPLIT
    // Keys of a part, parts, and heads that share keys and values: the innermost of the batch.
    part: u32,
    parts: u32,
    shared_by: u32,
    //#endif
    // Extents of the batch dims, and the steps of the matrices along them.
    batch: array<vec4<u32>, RANK / 4u>,
    q_batch: array<vec4<i32>, RANK / 4u>,
    k_batch: array<vec4<i32>, RANK / 4u>,
    v_batch: array<vec4<i32>, RANK / 4u>,
    y_batch: array<vec4<i32>, RANK / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
//#if JOIN
@group(0) @binding(2) var<storage, read_write> result: array<T>;
//#else
@group(0) @binding(4) var<storage, read_write> result: array<T>;
//#endif

struct Origin {
    q: i32,
    k: i32,
    v: i32,
    y: i32,
    //#insert ORIGIN_FIELDS
}

//#insert DECLARATIONS

// The first elements of the matrices of batch `index`.
fn origin(index: u32) -> Origin {
    var at: Origin;
    at.q = params.q_base;
    at.k = params.k_base;
    at.v = params.v_base;
    at.y = params.y_base;
    //#insert ORIGIN_START
    var rest = index;
    for (var i = RANK; i > 0u && rest > 0u; i--) {
        let d = i - 1u;
        let extent = params.batch[d / 4u][d % 4u];
        let x = i32(rest % extent);
        rest /= extent;
        at.q += x * params.q_batch[d / 4u][d % 4u];
        at.k += x * params.k_batch[d / 4u][d % 4u];
        at.v += x * params.v_batch[d / 4u][d % 4u];
        at.y += x * params.y_batch[d / 4u][d % 4u];
        //#insert ORIGIN_STEP
    }
    return at;
}

// The logit of row m and column n.
fn logit(score: f32, at: Origin, m: u32, n: u32) -> L {
//#insert RESULT
}

// What is taken from a row's logits before their exponentials, given the greatest of them.
fn shift(top: f32) -> f32 {
    return select(top, 0.0, f32_is_inf(top) && top < 0.0);
}

// The sum of a row's weights so far: NaN where the greatest logit is infinite, whatever a driver makes of the weights.
fn settled(sum: f32, top: f32) -> f32 {
    if f32_is_inf(top) && top > 0.0 {
        return f32_nan();
    }
    return sum;
}

fn store(at: Origin, m: u32, first: u32, weighted: vec4<f32>, sum: f32) {
    var y = weighted / sum;
    if sum == 0.0 {
        // nothing but -inf
        //#if ZERO
        y = weighted;
        //#else
        y = vec4<f32>(f32_nan());
        //#endif
    }
    if f32_is_nan(sum) {
        //#if GUARD
        y = vec4<f32>();
        //#else
        y = vec4<f32>(f32_nan());
        //#endif
    }
    for (var j = 0u; j < 4u && first + j < params.width; j++) {
        result[at.y + i32(m) * params.y_m + i32(first + j) * params.y_w] = T_from_f32(y[j]);
    }
}
