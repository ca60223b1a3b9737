// Two tiles of float16 in workgroup memory for products by cooperative matrices of 16 by 16: ROWS by DEPTH and DEPTH by
// COLUMNS, both with the depth outermost. A subgroup makes FRAGS_M by FRAGS_N matrices of the product.

enable f16;
enable wgpu_cooperative_matrix;

const ROWS: u32 = 128u; //#param
const COLUMNS: u32 = 128u; //#param
const DEPTH: u32 = 32u; //#param
const FRAGS_M: u32 = 4u; //#param
const FRAGS_N: u32 = 2u; //#param
// FRAGS_M * FRAGS_N
const FRAGS: u32 = 8u; //#param

// Subgroups side by side, and all.
const ACROSS: u32 = COLUMNS / (16u * FRAGS_N);
const SUBGROUPS: u32 = ACROSS * (ROWS / (16u * FRAGS_M));
const THREADS: u32 = 32u * SUBGROUPS;
// Two vectors more than there are keep neighbouring rows in different banks.
const LEFT_STEP: u32 = ROWS / 4u + 2u;
const RIGHT_STEP: u32 = COLUMNS / 4u + 2u;

var<workgroup> left: array<vec4<f16>, DEPTH * LEFT_STEP>;
var<workgroup> right: array<vec4<f16>, DEPTH * RIGHT_STEP>;
// A row of matrices of sums for each subgroup, on their way out.
var<workgroup> done: array<f32, SUBGROUPS * 256u * FRAGS_N>;

// The first row and the first column that a subgroup makes.
fn down_of(lane: u32) -> u32 {
    return lane / 32u / ACROSS * (16u * FRAGS_M);
}

fn across_of(lane: u32) -> u32 {
    return lane / 32u % ACROSS * (16u * FRAGS_N);
}
