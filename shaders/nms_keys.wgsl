// Scores as numbers that order as they do, from NaN with a sign through zeros of both signs to NaN without; 0 where a
// score does not exceed the threshold. A thread a score.

//#include common/linear_id.wgsl

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
//#if THRESHOLD
@group(0) @binding(3) var<storage, read> threshold: array<u32>;

fn is_nan(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

// Zeros are equal.
fn value(bits: u32) -> u32 {
    return select(key(bits), 0x80000000u, (bits & 0x7fffffffu) == 0u);
}
//#endif

fn key(bits: u32) -> u32 {
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let score = scores[i];
    var rank = max(key(score), 1u);
    //#if THRESHOLD
    let least = threshold[0];
    if is_nan(score) || is_nan(least) || value(score) <= value(least) {
        rank = 0u;
    }
    //#endif
    keys[i] = rank;
}
