// The steps of `sort.wgsl` at distances within a block of 512 numbers, which a workgroup holds: all of them from single
// numbers on, or the last ones of a longer run. A thread two numbers.

alias T = f32; //#type
const HALF: u32 = 256u;

struct Params {
    n: u32,
    length: u32,
    first: u32, // the numbers are not there yet
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;

var<workgroup> held: array<u32, 512>;

// NaN is the greatest and equal to itself.
fn less(a: T, b: T) -> bool {
    return T_lt(a, b) || (T_is_nan(b) && !T_is_nan(a));
}

fn precedes(a: u32, b: u32) -> bool {
    for (var e = 0u; e < params.length; e++) {
        let x = source[a * params.length + e];
        let y = source[b * params.length + e];
        if less(x, y) {
            return true;
        }
        if less(y, x) {
            return false;
        }
    }
    return a < b;
}

// Puts a pair in order, unless its second lies beyond the end.
fn arrange(start: u32, i: u32, j: u32) {
    if start + j < params.n {
        let a = held[i];
        let b = held[j];
        if precedes(b, a) {
            held[i] = b;
            held[j] = a;
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = (group.y * groups.x + group.x) * 2u * HALF;
    if start >= params.n {
        return;
    }
    for (var k = lane; k < 2u * HALF; k += HALF) {
        var number = start + k;
        if params.first == 0u && number < params.n {
            number = order[number];
        }
        held[k] = number;
    }
    workgroupBarrier();
    // runs of `run` numbers are in order
    var run = HALF;
    if params.first == 1u {
        run = 1u;
    }
    for (; run <= HALF; run *= 2u) {
        var distance = run;
        if params.first == 1u {
            let begin = lane / run * 2u * run;
            arrange(start, begin + lane % run, begin + 2u * run - 1u - lane % run);
            distance = run / 2u;
        }
        for (; distance > 0u; distance /= 2u) {
            let i = lane / distance * 2u * distance + lane % distance;
            arrange(start, i, i + distance);
        }
    }
    for (var k = lane; k < 2u * HALF; k += HALF) {
        if start + k < params.n {
            order[start + k] = held[k];
        }
    }
}
