// Gaussian elimination with row exchanges, in place; the product of the pivots is the determinant. One workgroup a
// matrix; a dispatch takes the columns `first..last`, so that no thread loops too long.

const LANES: u32 = 256u;

struct Params {
    matrices: u32,
    size: u32,
    first: u32,
    last: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> elements: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let matrix = group.y * groups.x + group.x;
    if matrix >= params.matrices {
        return;
    }
    let n = params.size;
    let base = matrix * n * n;
    var product = 1.0;
    if params.first > 0u {
        product = result[matrix];
    }
    for (var k = params.first; k < params.last; k++) {
        // every lane finds the same pivot
        var row = k;
        for (var i = k + 1u; i < n; i++) {
            if abs(elements[base + i * n + k]) > abs(elements[base + row * n + k]) {
                row = i;
            }
        }
        let pivot = elements[base + row * n + k];
        product *= select(-pivot, pivot, row == k);
        storageBarrier();
        if row != k {
            for (var j = k + lane; j < n; j += LANES) {
                let upper = elements[base + k * n + j];
                elements[base + k * n + j] = elements[base + row * n + j];
                elements[base + row * n + j] = upper;
            }
        }
        storageBarrier();
        let side = n - k - 1u;
        if pivot != 0.0 {
            for (var e = lane; e < side * side; e += LANES) {
                let at = base + (k + 1u + e / side) * n;
                let j = k + 1u + e % side;
                elements[at + j] -= elements[at + k] / pivot * elements[base + k * n + j];
            }
        }
        storageBarrier();
    }
    if lane == 0u {
        result[matrix] = product;
    }
}
