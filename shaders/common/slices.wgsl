// Sums of products of a few rows, each of which SLICES invocations share, ACROSS of four columns side by side.

alias Acc = f32; //#type
const FEW: u32 = 1u; //#param
const ACROSS: u32 = 32u; //#param
const SLICES: u32 = 8u; //#param
const THREADS: u32 = ACROSS * SLICES;

var<workgroup> held: array<vec4<Acc>, FEW * THREADS>;

// Adds what the slices have: afterwards row r of the columns of lane c stands at r * THREADS + c.
fn gather(sums: array<vec4<Acc>, FEW>, lane: u32) {
    for (var r = 0u; r < FEW; r++) { //#unroll
        held[r * THREADS + lane] = sums[r];
    }
    let slice = lane / ACROSS;
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if slice < half {
            for (var r = 0u; r < FEW; r++) { //#unroll
                held[r * THREADS + lane] += held[r * THREADS + lane + half * ACROSS];
            }
        }
    }
    workgroupBarrier();
}
