// Moves elements between views whose neighbours lie along different dims, by tiles in workgroup memory: neighbouring
// invocations read neighbours of the source and write neighbours of the target.

alias Word = u32; //#param
const RANK: u32 = 4u; //#param
const TILE: u32 = 32u; //#param
// Elements of an invocation.
const TURNS: u32 = 4u; //#param

const DOWN: u32 = TILE / TURNS;
// A column more than there are keeps a tile's columns in different banks.
const STEP: u32 = TILE + 1u;

// `across` extents lie side by side in the source, `down` of them in the target; the other dims count tiles.
struct Params {
    from_base: u32,
    to_base: u32,
    across: u32,
    down: u32,
    // The source's step along the dim that is dense in the target, and the target's along the other.
    from_step: i32,
    to_step: i32,
    tiles_across: u32,
    tiles_down: u32,
    tiles: u32,
    shape: array<vec4<u32>, RANK / 4u>,
    from_strides: array<vec4<i32>, RANK / 4u>,
    to_strides: array<vec4<i32>, RANK / 4u>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Word>;
@group(0) @binding(2) var<storage, read_write> target_: array<Word>;

var<workgroup> tile: array<Word, TILE * STEP>;

@compute @workgroup_size(TILE, DOWN, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) place: vec3<u32>) {
    let number = group.y * groups.x + group.x;
    // all of a workgroup leave together
    if number >= params.tiles {
        return;
    }
    let left = number % params.tiles_across * TILE;
    var rest = number / params.tiles_across;
    let top = rest % params.tiles_down * TILE;
    rest /= params.tiles_down;
    var s = i32(params.from_base);
    var t = i32(params.to_base);
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.shape[d / 4u][d % 4u];
        let c = i32(rest % extent);
        rest /= extent;
        s += c * params.from_strides[d / 4u][d % 4u];
        t += c * params.to_strides[d / 4u][d % 4u];
    }

    // beyond the edges, what lies at them
    let x = i32(min(left + place.x, params.across - 1u));
    var words: array<Word, TURNS>;
    for (var j = 0u; j < TURNS; j++) { //#unroll
        let y = i32(min(top + place.y + j * DOWN, params.down - 1u));
        words[j] = source[s + x + y * params.from_step];
    }
    for (var j = 0u; j < TURNS; j++) { //#unroll
        tile[(place.y + j * DOWN) * STEP + place.x] = words[j];
    }
    workgroupBarrier();
    let y = top + place.x;
    for (var j = 0u; j < TURNS; j++) { //#unroll
        let column = place.y + j * DOWN;
        if y < params.down && left + column < params.across {
            target_[t + i32(y) + i32(left + column) * params.to_step] = tile[place.x * STEP + column];
        }
    }
}
