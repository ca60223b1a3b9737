// Rows of elements that lie densely, each given to LANES of the THREADS invocations of a workgroup. A row is cut in blocks,
// of which an invocation has QUADS quads of elements: with VECTORS those of a quad are neighbours, else LANES apart.

alias T = f32; //#type
alias A = f32; //#type
alias Y = f32; //#type
const THREADS: u32 = 128u; //#param
const LANES: u32 = 32u; //#param
const FIRST: u32 = 4u; //#param
const QUADS: u32 = 1u; //#param

const LAST: u32 = LANES / FIRST;
const ROWS: u32 = THREADS / LANES;
const BLOCK: u32 = 4u * LANES * QUADS;

var<workgroup> partial: array<A, THREADS>;
var<workgroup> fewer: array<A, THREADS>;

fn either(a: A, b: A, maximum: bool) -> A {
    if maximum {
        return A_max(a, b);
    }
    return combine(a, b);
}

// What the lanes of a row have, combined in two steps. Two barriers suffice: who writes to an array a second time has
// met the others since they read it.
fn gathered(index: u32, value: A, maximum: bool) -> A {
    let lane = index % LANES;
    let row = index - lane;
    partial[index] = value;
    workgroupBarrier();
    if lane < LAST {
        var some = partial[index];
        for (var k = 1u; k < FIRST; k++) {
            some = either(some, partial[index + k * LAST], maximum);
        }
        fewer[index] = some;
    }
    workgroupBarrier();
    var all = fewer[row];
    for (var k = 1u; k < LAST; k++) {
        all = either(all, fewer[row + k], maximum);
    }
    return all;
}

// Where in its row the elements of a lane's quad j lie, in the block that begins at `begin`.
fn places(begin: u32, lane: u32, j: u32) -> vec4<u32> {
//#if VECTORS
    return vec4<u32>(0u, 1u, 2u, 3u) + (begin + 4u * (j * LANES + lane));
//#else
    return vec4<u32>(0u, LANES, 2u * LANES, 3u * LANES) + (begin + 4u * LANES * j + lane);
//#endif
}

// The same places, or the last of the row instead of those beyond its end.
fn within(at: vec4<u32>, end: u32) -> vec4<u32> {
//#if VECTORS
    return min(at, vec4<u32>(0u, 1u, 2u, 3u) + (end - 4u));
//#else
    return min(at, vec4<u32>(end - 1u));
//#endif
}

// The quad at these places, as far as they are in the row, else its last elements.
fn taken(origin: u32, places: vec4<u32>, end: u32) -> vec4<f32> {
    let at = within(places, end) + origin;
//#if VECTORS
    let v = source[at.x / 4u];
    return vec4<f32>(T_to_f32(v.x), T_to_f32(v.y), T_to_f32(v.z), T_to_f32(v.w));
//#else
    return vec4<f32>(T_to_f32(source[at.x]), T_to_f32(source[at.y]), T_to_f32(source[at.z]), T_to_f32(source[at.w]));
//#endif
}

// The elements that are in the row, zeros for the others.
fn counted(v: vec4<f32>, at: vec4<u32>, end: u32) -> vec4<f32> {
//#if VECTORS
    return select(vec4<f32>(), v, at.x < end);
//#else
    return select(vec4<f32>(), v, at < vec4<u32>(end));
//#endif
}

fn put(start: u32, at: vec4<u32>, end: u32, v: vec4<f32>) {
//#if VECTORS
    if at.x < end {
        let i = start + at.x;
        let x = stored(T_from_f32(v.x), i);
        let y = stored(T_from_f32(v.y), i + 1u);
        let z = stored(T_from_f32(v.z), i + 2u);
        let w = stored(T_from_f32(v.w), i + 3u);
        result[i / 4u] = vec4<Y>(x, y, z, w);
    }
//#else
    if at.x < end { result[start + at.x] = stored(T_from_f32(v.x), start + at.x); }
    if at.y < end { result[start + at.y] = stored(T_from_f32(v.y), start + at.y); }
    if at.z < end { result[start + at.z] = stored(T_from_f32(v.z), start + at.z); }
    if at.w < end { result[start + at.w] = stored(T_from_f32(v.w), start + at.w); }
//#endif
}
