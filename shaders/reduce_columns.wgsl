// Reduces columns, whose neighbours are neighbours in memory, or parts of columns, on GPUs: a workgroup takes WIDTH *
// COLUMNS of them, each invocation every SLICES-th element of COLUMNS. Sums carry their rounding error along from block
// to block, as in reduce.wgsl.

//#include common/reduce.wgsl

alias T = f32; //#type
alias A = f32; //#type
alias R = f32; //#type
alias Y = f32; //#type
const KEPT: u32 = 4u; //#param
const COLUMNS: u32 = 1u; //#param
// Elements of a column that an invocation loads before it adds them.
const AHEAD: u32 = 8u; //#param

const WIDTH: u32 = 32u;
const SLICES: u32 = 8u;

// Of `results` columns, `inner` lie side by side; the elements of a column lie `step` apart. Part p of column c is
// result p * results + c.
struct Params {
    results: u32,
    length: u32,
    base: u32,
    chunks: u32,
    chunk: u32,
    divisor: u32,
    inner: u32,
    // Workgroups for `inner` columns, and all of them.
    across: u32,
    groups: u32,
    step: i32,
    kept: array<vec4<u32>, KEPT / 4u>,
    kept_strides: array<vec4<i32>, KEPT / 4u>,
    //#insert FIELDS
}

@group(0) @binding(0) var<uniform> params: Params;
//#if VECTORS
@group(0) @binding(1) var<storage, read> source: array<vec4<T>>;
alias Element = vec4<T>;
//#else
@group(0) @binding(1) var<storage, read> source: array<T>;
alias Element = T;
//#endif
@group(0) @binding(2) var<storage, read_write> result: array<Y>;
//#insert DECLARATIONS

var<workgroup> partial: array<A, SLICES * COLUMNS * WIDTH>;

// What is stored for a result.
fn stored(v: R, at: u32) -> Y {
    //#insert RESULT
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
    let number = group.y * groups.x + group.x;
    // all of a workgroup leave together
    if number >= params.groups {
        return;
    }
    let left = number % params.across * (WIDTH * COLUMNS);
    let chunk = number / params.across % params.chunks;
    let outer = number / params.across / params.chunks;
    let lane = index % WIDTH;
    let slice = index / WIDTH;
    let first = chunk * params.chunk;
    let end = min(first + params.chunk, params.length);
    // beyond the last columns, those once more
    let origin = row_start(outer) + i32(min(left + lane * COLUMNS, params.inner - COLUMNS));

    var sums: array<Sum, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) { //#unroll
        sums[c] = Sum(start_value(), A_zero());
    }
    for (var begin = first + slice; begin < end; begin += SLICES * AHEAD) {
        var some = array<Element, AHEAD>();
        for (var j = 0u; j < AHEAD; j++) { //#unroll
            let i = min(begin + j * SLICES, end - 1u);
            some[j] = source[u32(origin + i32(i) * params.step) / COLUMNS];
        }
        for (var c = 0u; c < COLUMNS; c++) { //#unroll
            var part = start_value();
            for (var j = 0u; j < AHEAD; j++) { //#unroll
                //#if VECTORS
                let x = some[j][c];
                //#else
                let x = some[j];
                //#endif
                let y = select(start_value(), mapped(loaded(x), A_zero()), begin + j * SLICES < end);
                part = combine(part, y);
            }
            sums[c] = added(sums[c], part);
        }
    }
    for (var c = 0u; c < COLUMNS; c++) { //#unroll
        partial[(slice * COLUMNS + c) * WIDTH + lane] = sums[c].sum;
    }
    workgroupBarrier();
    let column = left + index;
    if index < WIDTH * COLUMNS && column < params.inner {
        let at = index % COLUMNS * WIDTH + index / COLUMNS;
        var sum = partial[at];
        for (var k = 1u; k < SLICES; k++) {
            sum = combine(sum, partial[at + k * (COLUMNS * WIDTH)]);
        }
        let place = chunk * params.results + outer * params.inner + column;
        result[place] = stored(finish(sum, A_zero()), place);
    }
}
