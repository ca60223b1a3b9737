// The sums of decision trees' leaves: a thread walks the trees of one chunk for one row and one target.

//#include common/linear_id.wgsl

// A node: feature, comparison, value, where true and false lead (leaves as -1 - number), whether NaN is true, and the
// range of its set's members.
struct Branch {
    feature: u32,
    mode: u32,
    value: f32,
    yes: i32,
    no: i32,
    missing: u32,
    members: u32,
    members_end: u32,
}

struct Weight {
    target_id: u32,
    value: f32,
}

struct Params {
    count: u32, // rows · targets · chunks
    targets: u32,
    features: u32,
    trees: u32,
    chunk: u32, // trees of a chunk
    chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> roots: array<i32>;
@group(0) @binding(3) var<storage, read> branches: array<Branch>;
// Where each leaf's weights begin, and behind the last one where they end.
@group(0) @binding(4) var<storage, read> leaves: array<u32>;
@group(0) @binding(5) var<storage, read> weights: array<Weight>;
@group(0) @binding(6) var<storage, read> members: array<f32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

fn takes(b: Branch, x: f32) -> bool {
    if f32_is_nan(x) {
        return b.missing == 1u || b.mode == 5u;
    }
    switch b.mode {
        case 0u: { return x <= b.value; }
        case 1u: { return x < b.value; }
        case 2u: { return x >= b.value; }
        case 3u: { return x > b.value; }
        case 4u: { return x == b.value; }
        case 5u: { return x != b.value; }
        default: {}
    }
    for (var i = b.members; i < b.members_end; i++) {
        if members[i] == x {
            return true;
        }
    }
    return false;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    let chunk = i % params.chunks;
    let target_id = i / params.chunks % params.targets;
    let row = i / params.chunks / params.targets * params.features;
    var sum = 0.0;
    let end = min((chunk + 1u) * params.chunk, params.trees);
    for (var tree = chunk * params.chunk; tree < end; tree++) {
        var at = roots[tree];
        while at >= 0 {
            let b = branches[at];
            at = select(b.no, b.yes, takes(b, rows[row + b.feature]));
        }
        let leaf = u32(-1 - at);
        for (var w = leaves[leaf]; w < leaves[leaf + 1u]; w++) {
            if weights[w].target_id == target_id {
                sum += weights[w].value;
            }
        }
    }
    sums[i] = sum;
}
