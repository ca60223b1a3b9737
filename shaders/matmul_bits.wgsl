// Matrix products of a few rows with weights of few bits, which are read once: an invocation makes FEW rows of four
// columns, ACROSS of them side by side, and SLICES of these have every SLICES-th unit of the sum each.

//#include common/product.wgsl
//#include common/product_result.wgsl
//#include common/bits.wgsl
//#include common/slices.wgsl

const FEW: u32 = 1u; //#param
// FEW - 1
const MOVED: u32 = 0u; //#param
// PER / 4
const QUARTERS: u32 = 2u; //#param
const ACROSS: u32 = 32u; //#param
const SLICES: u32 = 8u; //#param

//#if A_VEC
alias A = vec4<f32>; //#param
//#else
alias A = f32; //#param
//#endif

@group(0) @binding(1) var<storage, read> a: array<A>;

// Rows beyond the last are read as the last, and not stored.
fn row_at(at: i32, m: u32) -> i32 {
    return at + i32(min(m, params.m - 1u)) * params.a_m;
}

// Four elements of a row of A from k on, zeros from the last k on.
fn load_a(row: i32, k: u32) -> vec4<Acc> {
//#if A_VEC
//#if K_REST
    return select(vec4<Acc>(), vec4<Acc>(a[row + i32(min(k, params.k - 4u) / 4u)]), k < params.k);
//#else
    return vec4<Acc>(a[row + i32(k / 4u)]);
//#endif
//#else
    let step = params.a_k;
//#if K_REST
    let each = vec4<u32>(k, k + 1u, k + 2u, k + 3u);
    let p = vec4<i32>(row) + vec4<i32>(min(each, vec4<u32>(params.k - 1u))) * step;
    let v = vec4<Acc>(Acc(a[p.x]), Acc(a[p.y]), Acc(a[p.z]), Acc(a[p.w]));
    return select(vec4<Acc>(), v, each < vec4<u32>(params.k));
//#else
    let p = row + i32(k) * step;
    return vec4<Acc>(Acc(a[p]), Acc(a[p + step]), Acc(a[p + 2 * step]), Acc(a[p + 3 * step]));
//#endif
//#endif
}

// The power of two that the weight from bit `at` of a word on comes with where it is left in its place.
fn power(at: u32) -> f32 {
    return f32(1u << (at % 16u));
}

// The weights from bit `at` of four words on, times their power: half of a word fits a float's mantissa, so that one shift
// serves all weights of it.
fn raised(word: vec4<u32>, at: u32, less: vec4<f32>) -> vec4<f32> {
    let q = (word >> vec4<u32>(at / 16u * 16u)) & vec4<u32>(((1u << BITS) - 1u) << (at % 16u));
    let sum = bitcast<vec4<f32>>(q | vec4<u32>(0x4b000000u));
//#if FRACTIONS
    return (sum - MAGIC) - less * power(at);
//#else
    return sum - ((less - MAGIC) * power(at) + MAGIC);
//#endif
}

// Four elements of A by the inverse powers of the weights that they are multiplied by.
fn lowered(v: vec4<Acc>, at: u32) -> vec4<Acc> {
    let bits = vec4<u32>(at, at + BITS, at + 2u * BITS, at + 3u * BITS) % 16u;
    return v * bitcast<vec4<f32>>((vec4<u32>(127u) - bits) << vec4<u32>(23u));
}

fn put(at: Origin, part: u32, m: u32, n: u32, sum: vec4<Acc>) {
    if m >= params.m || n >= params.n {
        return;
    }
//#if SPLIT
    y[(part * params.m + m) * ((params.n + 3u) / 4u) + n / 4u] = sum;
//#else
//#if SLICED
    put_four(at, m, n, sum);
//#else
    // A loop, so that what is long stands once: the columns move up to the first.
    let row = at.y + i32(m) * params.y_m;
    var rest = sum;
    for (var c = n; c < min(n + 4u, params.n); c++) {
        y[row + i32(c) * params.y_n] = finish(rest.x, at, m, c);
        rest = rest.yzwx;
    }
//#endif
//#endif
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let tile = group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let n = (tile % params.tiles_n * ACROSS + lane % ACROSS) * 4u;
    let m = tile / params.tiles_n % params.tiles_m * FEW;
    let part = tile / (params.tiles_n * params.tiles_m);
    let at = origin(0u);
    let begin = part * params.part;
    let end = min(begin + params.part, params.k);
    // columns beyond the last are read as the last, and not stored
    let step = u32(params.b_k);
    let column = u32(at.b) + min(n / 4u, step - 1u);
    var rows: array<i32, FEW>;
    var sums: array<vec4<Acc>, FEW>;
    for (var r = 0u; r < FEW; r++) { //#unroll
        rows[r] = row_at(at.a, m + r);
    }
//#if SLICED
    let slice = lane / ACROSS;
//#else
    let slice = 0u;
//#endif
    var k = begin + slice * UNIT;
    //#if AHEAD
    // what comes next is under way while the present is multiplied
    var next: array<vec4<u32>, WORDS>;
    var next_by: Scale;
    if k < end {
        for (var i = 0u; i < WORDS; i++) { //#unroll
            next[i] = b[column + (k / PER + i) * step];
        }
        next_by = scale_of(column, step, params.k, k);
    }
    //#endif
    for (; k < end; k += SLICES * UNIT) {
        var words = array<vec4<u32>, WORDS>();
    //#if AHEAD
        for (var i = 0u; i < WORDS; i++) { //#unroll
            words[i] = next[i];
        }
        let by = next_by;
        let after = k + SLICES * UNIT;
        if after < end {
            for (var i = 0u; i < WORDS; i++) { //#unroll
                next[i] = b[column + (after / PER + i) * step];
            }
            next_by = scale_of(column, step, params.k, after);
        }
    //#else
        for (var i = 0u; i < WORDS; i++) { //#unroll
            words[i] = b[column + (k / PER + i) * step];
        }
        let by = scale_of(column, step, params.k, k);
    //#endif
        var block = array<vec4<Acc>, FEW>();
//#if BROADCAST
        var own = array<vec4<Acc>, FEW>();
        for (var r = 0u; r < FEW; r++) { //#unroll
            own[r] = load_a(rows[r], k + lane * 4u);
        }
//#endif
        for (var i = 0u; i < WORDS; i++) { //#unroll
            for (var q = 0u; q < QUARTERS; q++) { //#unroll
                let bit = q * 4u * BITS;
                let x = raised(words[i], bit, by.less);
                let y = raised(words[i], bit + BITS, by.less);
                let z = raised(words[i], bit + 2u * BITS, by.less);
                let w = raised(words[i], bit + 3u * BITS, by.less);
                for (var r = 0u; r < FEW; r++) { //#unroll
//#if BROADCAST
                    let left = lowered(subgroupBroadcast(own[r], i * QUARTERS + q), bit);
//#else
                    let left = lowered(load_a(rows[r], k + i * PER + q * 4u), bit);
//#endif
                    block[r] += (left.x * x + left.y * y) + (left.z * z + left.w * w);
                }
            }
        }
        for (var r = 0u; r < FEW; r++) { //#unroll
            sums[r] += block[r] * by.scale;
        }
    }
//#if SLICED
    gather(sums, lane);
    for (var i = lane; i < ACROSS * FEW; i += THREADS) {
        let r = i / ACROSS;
        let c = (tile % params.tiles_n * ACROSS + i % ACROSS) * 4u;
        put(at, part, m + r, c, held[r * THREADS + i % ACROSS]);
    }
//#else
    // likewise with the rows
    for (var r = 0u; r < FEW; r++) {
        put(at, part, m + r, n, sums[0]);
        for (var i = 0u; i < MOVED; i++) { //#unroll
            sums[i] = sums[i + 1u];
        }
    }
//#endif
}
