// Convolution as a product of tiles in workgroup memory: rows are output channels of a group, columns are output pixels,
// the depth is taps and input channels. A step takes DEPTH channels of one tap or, of few channels (SMALL), DEPTH of
// the taps' channels one after the other, in the order of the weights: [group, block, tap, input channel, BLOCK], where a
// tile's rows are some blocks.
//
// What a step needs is read into registers while the step before it is computed. A vector of the right tile holds
// pixels that are a fourth of its columns apart: so neighbouring invocations read and write neighbouring pixels.

//#include common/conv.wgsl
//#if COOP
//#include common/coop_tile.wgsl
alias Held = Acc;
//#else
//#include common/tile.wgsl
//#endif

const FOUR: u32 = 4u; //#param
const BLOCK: u32 = 32u; //#param
// Vectors of each tile that an invocation reads in a step.
const LEFT_LOADS: u32 = 1u; //#param
const RIGHT_LOADS: u32 = 1u; //#param
//#if COOP
// Elements of a cooperative matrix that an invocation stores.
const EACH: u32 = 8u; //#param
const STRIP: u32 = EACH * FRAGS_N;
//#else
// Rows and columns of the result that it makes: 4 * QUADS_M, 4 * QUADS_N.
const OWN_ROWS: u32 = 4u; //#param
const OWN_COLUMNS: u32 = 4u; //#param
// SUMS - QUADS_N
const MOVED: u32 = 3u; //#param
//#endif

const LEFT_WIDTH: u32 = ROWS / 4u;
const BLOCK_WIDTH: u32 = BLOCK / 4u;
const APART: u32 = COLUMNS / 4u;
// From one vector that an invocation reads of the left or the right tile to the next.
const LEFT_NEXT: u32 = THREADS / LEFT_WIDTH;
const NEXT: u32 = THREADS / APART;

// What was read for the next step.
var<private> own_left: array<vec4<T>, LEFT_LOADS>;
var<private> own_right: array<vec4<X>, RIGHT_LOADS>;
var<private> windows: array<Window, FOUR>;

// A tap and an input channel of the group.
struct Place {
    kd: u32,
    kh: u32,
    kw: u32,
    c: u32,
}

fn place_at(tap: u32, c: u32) -> Place {
    let line = tap / params.kw;
    return Place(line / params.kh, line % params.kh, tap % params.kw, c);
}

// Where channel 0 under a tap of the windows lies, and whether it is inside.
struct Four {
    at: vec4<u32>,
    inside: vec4<bool>,
}

fn four_at(p: Place) -> Four {
    let a = tap_at(windows[0], p.kd, p.kh, p.kw);
    let b = tap_at(windows[1], p.kd, p.kh, p.kw);
    let c = tap_at(windows[2], p.kd, p.kh, p.kw);
    let d = tap_at(windows[3], p.kd, p.kh, p.kw);
    return Four(vec4<u32>(a.at, b.at, c.at, d.at), vec4<bool>(a.inside, b.inside, c.inside, d.inside));
}

fn read_four(at: vec4<u32>, channel: u32) -> vec4<X> {
    let all = at + vec4<u32>(channel * params.x_channel);
    return vec4<X>(x[all.x], x[all.y], x[all.z], x[all.w]);
}

// The vector of weights that an invocation reads first of a tile in `row`, of a tap and a channel of `depth`. Rows beyond
// the last block are those of the last.
fn head_of(lane: u32, row: u32, depth: u32) -> u32 {
    let blocks = (params.oc + BLOCK - 1u) / BLOCK;
    let quad = lane % LEFT_WIDTH;
    let block = min(row % params.tiles * (ROWS / BLOCK) + quad / BLOCK_WIDTH, blocks - 1u);
    return (row / params.tiles * blocks + block) * depth * BLOCK_WIDTH + quad % BLOCK_WIDTH;
}

// Reads from tap and channel `k` on, of which there are `rest`.
fn read_left(lane: u32, head: u32, k: u32, rest: u32) {
    for (var i = 0u; i < LEFT_LOADS; i++) { //#unroll
        own_left[i] = weights[head + (k + min(lane / LEFT_WIDTH + i * LEFT_NEXT, rest - 1u)) * BLOCK_WIDTH];
    }
}

fn write_left(lane: u32, rest: u32) {
    for (var i = 0u; i < LEFT_LOADS; i++) { //#unroll
        let k = lane / LEFT_WIDTH + i * LEFT_NEXT;
        put_left(k, lane % LEFT_WIDTH, select(vec4<Held>(), vec4<Held>(own_left[i]), k < rest));
    }
}

//#if COOP
fn put_left(k: u32, quad: u32, values: vec4<Held>) {
    left[k * LEFT_STEP + quad] = vec4<f16>(values);
}

// Cooperative matrices have their pixels in order.
fn put_right(k: u32, apart: u32, values: vec4<Held>) {
    for (var j = 0u; j < FOUR; j++) { //#unroll
        let column = apart + j * APART;
        right[k * RIGHT_STEP + column / 4u][column % 4u] = f16(values[j]);
    }
}
//#else
fn put_left(k: u32, quad: u32, values: vec4<Held>) {
    left[k * LEFT_STEP + quad] = values;
}

fn put_right(k: u32, apart: u32, values: vec4<Held>) {
    right[k * RIGHT_STEP + apart] = values;
}
//#endif

// What four pixels of a channel of all groups, or of four channels in a word, are in the product.
fn taken(four: vec4<X>, channel: u32, inside: vec4<bool>) -> vec4<Held> {
    var values: vec4<Held>;
    //#insert READS
    for (var j = 0u; j < FOUR; j++) { //#unroll
        let loaded = four[j];
        //#insert LOAD
        values[j] = Held(v);
    }
    //#if PADDED
    values = select(vec4<Held>(Held(outside())), values, inside);
    //#endif
    return values;
}

//#if SMALL
var<private> own_inside: array<vec4<bool>, RIGHT_LOADS>;
var<private> own_channel: array<u32, RIGHT_LOADS>;
var<private> own_alive: array<bool, RIGHT_LOADS>;

// The place `by` further on.
fn moved(place: Place, by: Place) -> Place {
    var p = Place(place.kd + by.kd, place.kh + by.kh, place.kw + by.kw, place.c + by.c);
    if p.c >= params.ic { p.c -= params.ic; p.kw += 1u; }
    if p.kw >= params.kw { p.kw -= params.kw; p.kh += 1u; }
    if p.kh >= params.kh { p.kh -= params.kh; p.kd += 1u; }
    return p;
}

// Reads from this invocation's place on, and gives its place in the next step.
fn read_right(place: Place, by: Place) -> Place {
    var p = place;
    for (var i = 0u; i < RIGHT_LOADS; i++) { //#unroll
        let four = four_at(p);
        let alive = p.kd < params.kd;
        own_right[i] = read_four(select(vec4<u32>(params.x_base), four.at, alive), p.c);
        own_inside[i] = four.inside;
        own_channel[i] = p.c;
        own_alive[i] = alive;
        p = moved(p, by);
    }
    return p;
}

fn write_right(lane: u32, first: u32) {
    for (var i = 0u; i < RIGHT_LOADS; i++) { //#unroll
        let values = taken(own_right[i], first + own_channel[i], own_inside[i]);
        let k = lane / APART + i * NEXT;
        put_right(k, lane % APART, select(vec4<Held>(), values, own_alive[i]));
    }
}
//#else
var<private> under: Four;

// Reads the channels of the group from `c` on, of which there are `rest`.
fn read_right(lane: u32, c: u32, rest: u32) {
    for (var i = 0u; i < RIGHT_LOADS; i++) { //#unroll
        own_right[i] = read_four(under.at, c + min(lane / APART + i * NEXT, rest - 1u));
    }
}

fn write_right(lane: u32, first: u32, rest: u32) {
    for (var i = 0u; i < RIGHT_LOADS; i++) { //#unroll
        let k = lane / APART + i * NEXT;
        let values = taken(own_right[i], first + min(k, rest - 1u), under.inside);
        put_right(k, lane % APART, select(vec4<Held>(), values, k < rest));
    }
}
//#endif

// What is stored of channel `o` of group `g`, of the pixel whose channel 0 of all groups is element `first` of the output.
// Beyond the last channel what is read is that of the last, so that no branch holds up the reads of the next pixel.
fn outcome(g: u32, o: u32, first: u32, sum: Acc) -> Y {
    //#if SPLIT
    return sum;
    //#else
    let channel = g * params.oc + min(o, params.oc - 1u);
    return finish(sum + bias_of(channel), channel, first + channel * params.out_plane);
    //#endif
}

// Stores it, if channel and pixel are there; the group's channel 0 of the pixel lies at `to`.
fn store(g: u32, o: u32, to: u32, first: u32, alive: bool, value: Y) {
    if o >= params.oc || !alive {
        return;
    }
    //#if SPLIT
    y[to + first + (g * params.oc + o) * params.out_plane] = value;
    //#else
    y[to + o * params.y_channel] = value;
    //#endif
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let index = wid.y * groups.x + wid.x;
    let across = (params.pixels + COLUMNS - 1u) / COLUMNS;
    let row = index % params.rows;
    let first_pixel = index / params.rows % across * COLUMNS;
    let part = index / params.rows / across;
    if part >= params.parts {
        return;
    }
    let g = row / params.tiles;
    let ic = params.ic;
    let depth = params.kd * params.kh * params.kw * ic;
    let head = head_of(lane, row, depth);
    for (var j = 0u; j < FOUR; j++) { //#unroll
        let p = first_pixel + lane % APART + j * APART;
        windows[j] = window_at(pixel_at(p), g, p < params.pixels);
    }

    //#if COOP
    var made: array<coop_mat16x16<f32, C>, FRAGS>;
    //#endif
    let begin = part * params.part_steps;
    //#if SMALL
    let steps = (depth + DEPTH - 1u) / DEPTH;
    let end = min(begin + params.part_steps, steps);
    var k = begin * DEPTH;
    let own = k + lane / APART;
    var place = place_at(own / ic, own % ic);
    let by = place_at(NEXT / ic, NEXT % ic);
    read_left(lane, head, k, depth - k);
    place = read_right(place, by);
    for (var s = begin; s < end; s++) {
        write_left(lane, depth - k);
        write_right(lane, g * ic);
        workgroupBarrier();
        if s + 1u < end {
            k += DEPTH;
            read_left(lane, head, k, depth - k);
            place = read_right(place, by);
        }
        multiply(lane);
        workgroupBarrier();
    }
    //#else
    let chunks = (ic + DEPTH - 1u) / DEPTH;
    let end = min(begin + params.part_steps, params.kd * params.kh * params.kw * chunks);
    var place = place_at(begin / chunks, begin % chunks * DEPTH);
    var k = begin / chunks * ic + place.c;
    under = four_at(place);
    read_left(lane, head, k, ic - place.c);
    read_right(lane, place.c, ic - place.c);
    for (var s = begin; s < end; s++) {
        write_left(lane, ic - place.c);
        write_right(lane, g * ic + place.c, ic - place.c);
        workgroupBarrier();
        if s + 1u < end {
            k += min(DEPTH, ic - place.c);
            place.c += DEPTH;
            if place.c >= ic {
                place.c = 0u;
                place.kw += 1u;
                if place.kw == params.kw { place.kw = 0u; place.kh += 1u; }
                if place.kh == params.kh { place.kh = 0u; place.kd += 1u; }
                under = four_at(place);
            }
            read_left(lane, head, k, ic - place.c);
            read_right(lane, place.c, ic - place.c);
        }
        //#if COOP
        for (var d = 0u; d < DEPTH; d += 16u) {
            var by: array<coop_mat16x16<f16, B>, FRAGS_N>;
            for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                by[j] = coopLoadT<coop_mat16x16<f16, B>>(&right[d * RIGHT_STEP + across_of(lane) / 4u + j * 4u], RIGHT_STEP);
            }
            for (var i = 0u; i < FRAGS_M; i++) { //#unroll
                let w = coopLoad<coop_mat16x16<f16, A>>(&left[d * LEFT_STEP + down_of(lane) / 4u + i * 4u], LEFT_STEP);
                for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                    made[i * FRAGS_N + j] = coopMultiplyAdd(w, by[j], made[i * FRAGS_N + j]);
                }
            }
        }
        //#else
        multiply(lane);
        //#endif
        workgroupBarrier();
    }
    //#endif

    //#if COOP
    // A row of a subgroup's matrices at a time: neighbouring invocations store neighbouring pixels of a channel, each every
    // other channel of a matrix.
    var to: array<u32, FRAGS_N>;
    var first: array<u32, FRAGS_N>;
    var alive: array<bool, FRAGS_N>;
    for (var j = 0u; j < FRAGS_N; j++) { //#unroll
        let wanted = first_pixel + across_of(lane) + j * 16u + lane % 16u;
        let p = min(wanted, params.pixels - 1u);
        let image = p / params.out_plane;
        let pixel = p % params.out_plane;
        first[j] = image * params.group * params.out_plane * params.oc + pixel;
        //#if SPLIT
        to[j] = part * params.elements;
        //#else
        to[j] = params.y_base + image * params.y_image + g * params.y_group + pixel * params.y_pixel;
        //#endif
        alive[j] = wanted < params.pixels;
    }
    let strip = lane / 32u * (256u * FRAGS_N);
    for (var i = 0u; i < FRAGS_M; i++) { //#unroll
        for (var j = 0u; j < FRAGS_N; j++) { //#unroll
            coopStoreT(made[i * FRAGS_N + j], &done[strip + j * 256u], 16u);
        }
        workgroupBarrier();
        let o = row % params.tiles * ROWS + down_of(lane) + i * 16u + lane % 32u / 16u;
        //#if LONG
        // A loop, so that what is long stands once a column.
        for (var q = 0u; q < EACH; q++) {
            for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                let sum = done[strip + j * 256u + q * 32u + lane % 32u];
                store(g, o + q * 2u, to[j], first[j], alive[j], outcome(g, o + q * 2u, first[j], sum));
            }
        }
        //#else
        // all that is read is under way before the first is stored
        var values = array<Y, STRIP>();
        for (var q = 0u; q < EACH; q++) { //#unroll
            for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                values[q * FRAGS_N + j] = outcome(g, o + q * 2u, first[j], done[strip + j * 256u + q * 32u + lane % 32u]);
            }
        }
        for (var q = 0u; q < EACH; q++) { //#unroll
            for (var j = 0u; j < FRAGS_N; j++) { //#unroll
                store(g, o + q * 2u, to[j], first[j], alive[j], values[q * FRAGS_N + j]);
            }
        }
        //#endif
        workgroupBarrier();
    }
    //#else
    var to: array<u32, OWN_COLUMNS>;
    var first: array<u32, OWN_COLUMNS>;
    var alive: array<bool, OWN_COLUMNS>;
    for (var j = 0u; j < OWN_COLUMNS; j++) { //#unroll
        let wanted = first_pixel + across_of(lane) + j / 4u * ACROSS + j % 4u * APART;
        let p = min(wanted, params.pixels - 1u);
        let image = p / params.out_plane;
        let pixel = p % params.out_plane;
        first[j] = image * params.group * params.out_plane * params.oc + pixel;
        //#if SPLIT
        to[j] = part * params.elements;
        //#else
        to[j] = params.y_base + image * params.y_image + g * params.y_group + pixel * params.y_pixel;
        //#endif
        alive[j] = wanted < params.pixels;
    }
    let o = row % params.tiles * ROWS + down_of(lane) * 4u;
    //#if LONG
    // A loop, so that what is long stands once a column: the rows move up to the first.
    for (var q = 0u; q < OWN_ROWS; q++) {
        let channel = o + q / 4u * (4u * DOWN) + q % 4u;
        var values = array<Y, OWN_COLUMNS>();
        for (var j = 0u; j < OWN_COLUMNS; j++) { //#unroll
            values[j] = outcome(g, channel, first[j], sums[j / 4u][j % 4u]);
        }
        for (var j = 0u; j < OWN_COLUMNS; j++) { //#unroll
            store(g, channel, to[j], first[j], alive[j], values[j]);
        }
        for (var i = 0u; i < MOVED; i++) { //#unroll
            sums[i] = sums[i + QUADS_N];
        }
    }
    //#else
    for (var q = 0u; q < OWN_ROWS; q++) { //#unroll
        let channel = o + q / 4u * (4u * DOWN) + q % 4u;
        var values = array<Y, OWN_COLUMNS>();
        for (var j = 0u; j < OWN_COLUMNS; j++) { //#unroll
            values[j] = outcome(g, channel, first[j], sums[q * QUADS_N + j / 4u][j % 4u]);
        }
        for (var j = 0u; j < OWN_COLUMNS; j++) { //#unroll
            store(g, channel, to[j], first[j], alive[j], values[j]);
        }
    }
    //#endif
    //#endif
}
