// A generated function of single elements, applied over a shape. One element a thread, four, or on GPUs two vectors of four.

//#include common/activations.wgsl
//#include common/linear_id.wgsl

// Invocations of a workgroup.
const GROUP: u32 = 64u; //#param

//#insert DECLARATIONS

@compute @workgroup_size(GROUP, 1, 1)
fn main(@builtin(global_invocation_id) gid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    //#if TWICE
    // vectors i and i + GROUP
    let linear = linear_id(gid, groups, GROUP);
    let i = linear + linear / GROUP * GROUP;
    //#else
    let i = linear_id(gid, groups, GROUP);
    //#endif
    if i >= params.count {
        return;
    }
    //#insert BODY
}
