// Moves the elements of several strided views to their places in one buffer: a part after the other, each from a
// workgroup of its own on, one thread an element.

alias Word = u32; //#param
const RANK: u32 = 4u; //#param
const PARTS: u32 = 2u; //#param

struct Part {
    count: u32,
    end: u32, // workgroups of this part and those before it
    from_base: u32,
    to_base: i32,
    shape: array<vec4<u32>, RANK / 4u>,
    from_strides: array<vec4<i32>, RANK / 4u>,
    to_strides: array<vec4<i32>, RANK / 4u>,
}

struct Params {
    parts: array<Part, PARTS>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> target_: array<Word>;
@group(0) @binding(2) var<storage, read> source0: array<Word>;
@group(0) @binding(3) var<storage, read> source1: array<Word>;
//#if THREE
@group(0) @binding(4) var<storage, read> source2: array<Word>;
//#endif
//#if FOUR
@group(0) @binding(5) var<storage, read> source3: array<Word>;
//#endif
//#if FIVE
@group(0) @binding(6) var<storage, read> source4: array<Word>;
//#endif
//#if SIX
@group(0) @binding(7) var<storage, read> source5: array<Word>;
//#endif
//#if SEVEN
@group(0) @binding(8) var<storage, read> source6: array<Word>;
//#endif

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let index = group.y * groups.x + group.x;
    var part = 0u;
    var first = 0u;
    while part < PARTS && index >= params.parts[part].end {
        first = params.parts[part].end;
        part++;
    }
    if part >= PARTS {
        return;
    }
    let i = (index - first) * 64u + lane;
    if i >= params.parts[part].count {
        return;
    }
    var rest = i;
    var s = i32(params.parts[part].from_base);
    var t = params.parts[part].to_base;
    for (var k = RANK; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.parts[part].shape[d / 4u][d % 4u];
        let c = i32(rest % extent);
        rest /= extent;
        s += c * params.parts[part].from_strides[d / 4u][d % 4u];
        t += c * params.parts[part].to_strides[d / 4u][d % 4u];
    }
    switch part {
        case 0u: { target_[t] = source0[s]; }
        case 1u: { target_[t] = source1[s]; }
        //#if THREE
        case 2u: { target_[t] = source2[s]; }
        //#endif
        //#if FOUR
        case 3u: { target_[t] = source3[s]; }
        //#endif
        //#if FIVE
        case 4u: { target_[t] = source4[s]; }
        //#endif
        //#if SIX
        case 5u: { target_[t] = source5[s]; }
        //#endif
        //#if SEVEN
        case 6u: { target_[t] = source6[s]; }
        //#endif
        default: {}
    }
}
