// What the steps before and after the products of Winograd's algorithm F(4 by 4, 3 by 3) share: the points, and which tile
// an invocation has. Tiles count through the batch.

const LANES: u32 = 64u; //#param
// Elements under a tile along each side.
const UNDER: u32 = 6u; //#param

// Beside 0 and infinity the points are these, of both signs. All factors that they make are exact, and results are half as
// far off as with 1 and 2.
const NEAR: Acc = 0.75;
const FAR: Acc = 1.5;

struct Six {
    a: Acc,
    b: Acc,
    c: Acc,
    d: Acc,
    e: Acc,
    f: Acc,
}

struct Tile {
    number: u32,
    channel: u32,
    image: u32,
    // its first pixel
    h: u32,
    w: u32,
}

// The tile and channel of an invocation, of so many channels: where they lie side by side in the 36 matrices, so do the
// invocations.
fn tile_of(index: u32, channels: u32) -> Tile {
    let across = (params.ow + 3u) / 4u;
    let each = across * ((params.oh + 3u) / 4u);
    //#if CHANNELS
    let number = index / channels;
    let channel = index % channels;
    //#else
    let all = params.pixels / params.out_plane * each;
    let number = index % all;
    let channel = index / all;
    //#endif
    let at = number % each;
    return Tile(number, channel, number / each, at / across * 4u, at % across * 4u);
}
