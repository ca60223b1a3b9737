// The sums of conv_shared.wgsl from their parts, which lie one after the other: an invocation an element of the output.

//#include common/conv.wgsl
//#include common/linear_id.wgsl

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let at = linear_id(gid, groups, 64u);
    if at >= params.elements {
        return;
    }
    let plane = at / params.out_plane;
    let channel = plane % (params.group * params.oc);
    let image = plane / (params.group * params.oc);
    var sum = Acc();
    for (var part = 0u; part < params.parts; part++) {
        sum += x[part * params.elements + at];
    }
    let to = params.y_base + image * params.y_image + channel / params.oc * params.y_group
        + channel % params.oc * params.y_channel + at % params.out_plane * params.y_pixel;
    y[to] = finish(sum + bias_of(channel), channel, at);
}
