// Joins what the workgroups of attention_split.wgsl make of parts of the keys: a workgroup a row of queries.

//#include common/attention.wgsl

alias T = f32; //#type
// Vectors of 4 along the width, up to a power of two.
const COLUMNS: u32 = 32u; //#param
const THREADS: u32 = 128u;
const SLICES: u32 = THREADS / COLUMNS;

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;

var<workgroup> held: array<f32, THREADS>;
var<workgroup> weighted: array<vec4<f32>, THREADS>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.tiles {
        return;
    }
    let columns = (params.width + 3u) / 4u;
    let first_part = row * params.parts * (columns + 1u);
    var top = f32_lowest();
    for (var p = lane; p < params.parts; p += THREADS) {
        top = max(top, parts[first_part + p * (columns + 1u) + columns].x);
    }
    held[lane] = top;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            held[lane] = max(held[lane], held[lane + half]);
        }
    }
    workgroupBarrier();
    top = held[0];
    workgroupBarrier();

    let column = lane % COLUMNS;
    let slice = lane / COLUMNS;
    var total = vec4<f32>();
    var sum = 0.0;
    for (var p = slice; p < params.parts; p += SLICES) {
        let at = first_part + p * (columns + 1u);
        let of_part = parts[at + columns];
        let fade = select(f32_exp(of_part.x - top), 1.0, of_part.x == top);
        total += fade * parts[at + min(column, columns - 1u)];
        sum += fade * of_part.y;
    }
    weighted[lane] = total;
    held[lane] = sum;
    workgroupBarrier();
    if slice == 0u && column < columns {
        for (var s = 1u; s < SLICES; s++) {
            total += weighted[s * COLUMNS + column];
            sum += held[s * COLUMNS + column];
        }
        store(origin(row / params.queries), row % params.queries, column * 4u, total, sum);
    }
}
