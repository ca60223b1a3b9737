// A generated function of single elements, applied over a shape. `LANES` elements a thread.

//#include common/activations.wgsl
//#include common/linear_id.wgsl

//#insert DECLARATIONS

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_id(gid, groups, 64u);
    if i >= params.count {
        return;
    }
    //#insert BODY
}
