// The best boxes of a class, one after the other: a workgroup finds the greatest key, and the next time drops the boxes
// that overlap the last found one too much. A dispatch finds `steps` of them, from the one with the number `first` on.

alias T = f32; //#type
const LANES: u32 = 256u; //#param

struct Params {
    rows: u32, // batches · classes
    n: u32,
    classes: u32,
    most: u32,
    first: u32,
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rects: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> areas: array<f32>;
@group(0) @binding(3) var<storage, read> threshold: array<f32>;
// 0 for boxes that are out.
@group(0) @binding(4) var<storage, read_write> keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> found: array<u32>;
@group(0) @binding(6) var<storage, read_write> counts: array<i32>;

var<workgroup> best_key: array<u32, LANES>;
var<workgroup> best_place: array<u32, LANES>;
var<workgroup> chosen: u32;

// Whether boxes share more of what they cover than the threshold.
fn overlaps(a: vec4<f32>, a_area: f32, i: u32, limit: f32) -> bool {
    let b_area = areas[i];
    if T_le(a_area, 0.0) || T_le(b_area, 0.0) {
        return false;
    }
    if T_is_nan(a_area) || T_is_nan(b_area) {
        return true;
    }
    let b = rects[i];
    let sides = max(min(a.zw, b.zw) - max(a.xy, b.xy), vec2<f32>(0.0));
    let both = sides.x * sides.y;
    return T_is_inf(both) || !T_le(both / (a_area + b_area - both), limit);
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    // nothing was left before; all go on or none
    if lane == 0u {
        chosen = 0u;
        if params.first > 0u {
            chosen = u32(counts[row]);
        }
    }
    if workgroupUniformLoad(&chosen) < params.first {
        return;
    }
    let boxes = row / params.classes * params.n;
    let limit = threshold[0];
    var last = params.n;
    var rect = vec4<f32>(0.0);
    var area = 0.0;
    if params.first > 0u {
        last = found[row * params.most + params.first - 1u];
        rect = rects[boxes + last];
        area = areas[boxes + last];
    }
    var count = params.first;
    for (var s = 0u; s < params.steps; s++) {
        var key = 0u;
        var place = params.n;
        for (var i = lane; i < params.n; i += LANES) {
            let k = keys[row * params.n + i];
            if k == 0u {
                continue;
            }
            if last < params.n && (i == last || overlaps(rect, area, boxes + i, limit)) {
                keys[row * params.n + i] = 0u;
            } else if k > key {
                key = k;
                place = i;
            }
        }
        best_key[lane] = key;
        best_place[lane] = place;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                let other = best_key[lane + half];
                let sooner = best_place[lane + half] < best_place[lane];
                if other > best_key[lane] || (other == best_key[lane] && sooner) {
                    best_key[lane] = other;
                    best_place[lane] = best_place[lane + half];
                }
            }
            workgroupBarrier();
        }
        if lane == 0u {
            chosen = best_place[0];
        }
        let next = workgroupUniformLoad(&chosen);
        if next >= params.n {
            break;
        }
        last = next;
        rect = rects[boxes + last];
        area = areas[boxes + last];
        if lane == 0u {
            found[row * params.most + count] = last;
        }
        count++;
    }
    if lane == 0u {
        counts[row] = i32(count);
    }
}
