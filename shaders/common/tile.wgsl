// The product of two tiles in workgroup memory, which a workgroup adds to its sums: ROWS by DEPTH and DEPTH by COLUMNS,
// both with the depth outermost, in vectors of four rows and of four columns. An invocation makes QUADS_M by QUADS_N
// blocks of four by four, the blocks of neighbouring invocations side by side.

//#include common/multiply.wgsl

alias Acc = f32; //#type
const ROWS: u32 = 64u; //#param
const COLUMNS: u32 = 64u; //#param
const DEPTH: u32 = 16u; //#param
const QUADS_M: u32 = 1u; //#param
const QUADS_N: u32 = 1u; //#param
// 4 * QUADS_M * QUADS_N
const SUMS: u32 = 4u; //#param

// Invocations side by side, and one below the other.
const ACROSS: u32 = COLUMNS / (4u * QUADS_N);
const DOWN: u32 = ROWS / (4u * QUADS_M);
const THREADS: u32 = ACROSS * DOWN;
// A vector more than there are keeps writes of columns in different banks.
const LEFT_STEP: u32 = ROWS / 4u + 1u;
const RIGHT_STEP: u32 = COLUMNS / 4u + 1u;

// By elements where invocations write single elements of vectors, which may overwrite the others (see
// `Profile::components`).
//#if LEFT_SINGLE
var<workgroup> left: array<Held, 4u * DEPTH * LEFT_STEP>;
//#else
var<workgroup> left: array<vec4<Held>, DEPTH * LEFT_STEP>;
//#endif
//#if RIGHT_SINGLE
var<workgroup> right: array<Held, 4u * DEPTH * RIGHT_STEP>;
//#else
var<workgroup> right: array<vec4<Held>, DEPTH * RIGHT_STEP>;
//#endif

// Row 4 q + i of an invocation and its columns from 4 r on are sums[(4 q + i) * QUADS_N + r].
var<private> sums: array<vec4<Acc>, SUMS>;

fn left_at(i: u32) -> vec4<Held> {
//#if LEFT_SINGLE
    return vec4<Held>(left[4u * i], left[4u * i + 1u], left[4u * i + 2u], left[4u * i + 3u]);
//#else
    return left[i];
//#endif
}

fn right_at(i: u32) -> vec4<Held> {
//#if RIGHT_SINGLE
    return vec4<Held>(right[4u * i], right[4u * i + 1u], right[4u * i + 2u], right[4u * i + 3u]);
//#else
    return right[i];
//#endif
}

// Where an invocation lies: 32 of them make a patch of 8 by 4, whose reads of workgroup memory are the fewest.
fn across_of(lane: u32) -> u32 {
    return lane / 32u % (ACROSS / 8u) * 8u + lane % 8u;
}

fn down_of(lane: u32) -> u32 {
    return lane / 32u / (ACROSS / 8u) * 4u + lane % 32u / 8u;
}

fn multiply(lane: u32) {
    let down = down_of(lane);
    let across = across_of(lane);
//#if AHEAD
    // What comes next is read while the present is multiplied, and all is written out: 1.2 times as fast where an
    // invocation makes 8 by 8.
    var by: array<vec4<Held>, QUADS_N>;
    var of_left: array<vec4<Held>, QUADS_M>;
    for (var r = 0u; r < QUADS_N; r++) { //#unroll
        by[r] = right_at(across + r * ACROSS);
    }
    for (var q = 0u; q < QUADS_M; q++) { //#unroll
        of_left[q] = left_at(down + q * DOWN);
    }
    for (var k = 0u; k < DEPTH; k++) { //#unroll
        var next_by = array<vec4<Held>, QUADS_N>();
        var next_left = array<vec4<Held>, QUADS_M>();
        if k + 1u < DEPTH {
            for (var r = 0u; r < QUADS_N; r++) { //#unroll
                next_by[r] = right_at((k + 1u) * RIGHT_STEP + across + r * ACROSS);
            }
            for (var q = 0u; q < QUADS_M; q++) { //#unroll
                next_left[q] = left_at((k + 1u) * LEFT_STEP + down + q * DOWN);
            }
        }
        for (var q = 0u; q < QUADS_M; q++) { //#unroll
            for (var r = 0u; r < QUADS_N; r++) { //#unroll
                sums[q * 4u * QUADS_N + r] = add(sums[q * 4u * QUADS_N + r], of_left[q].x, by[r]);
                sums[(q * 4u + 1u) * QUADS_N + r] = add(sums[(q * 4u + 1u) * QUADS_N + r], of_left[q].y, by[r]);
                sums[(q * 4u + 2u) * QUADS_N + r] = add(sums[(q * 4u + 2u) * QUADS_N + r], of_left[q].z, by[r]);
                sums[(q * 4u + 3u) * QUADS_N + r] = add(sums[(q * 4u + 3u) * QUADS_N + r], of_left[q].w, by[r]);
            }
        }
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            by[r] = next_by[r];
        }
        for (var q = 0u; q < QUADS_M; q++) { //#unroll
            of_left[q] = next_left[q];
        }
    }
//#else
    for (var k = 0u; k < DEPTH; k++) {
        var by = array<vec4<Held>, QUADS_N>();
        for (var r = 0u; r < QUADS_N; r++) { //#unroll
            by[r] = right_at(k * RIGHT_STEP + across + r * ACROSS);
        }
        for (var q = 0u; q < QUADS_M; q++) { //#unroll
            let x = left_at(k * LEFT_STEP + down + q * DOWN);
            for (var r = 0u; r < QUADS_N; r++) { //#unroll
                sums[q * 4u * QUADS_N + r] = add(sums[q * 4u * QUADS_N + r], x.x, by[r]);
                sums[(q * 4u + 1u) * QUADS_N + r] = add(sums[(q * 4u + 1u) * QUADS_N + r], x.y, by[r]);
                sums[(q * 4u + 2u) * QUADS_N + r] = add(sums[(q * 4u + 2u) * QUADS_N + r], x.z, by[r]);
                sums[(q * 4u + 3u) * QUADS_N + r] = add(sums[(q * 4u + 3u) * QUADS_N + r], x.w, by[r]);
            }
        }
    }
//#endif
}
