// The index of this invocation in a grid whose groups of `wg` (by 1, by 1) invocations fold into rows of `groups.x`.
// A dimension of a dispatch holds at most 65,535 groups, so larger grids go on in y.
fn linear_id(gid: vec3<u32>, groups: vec3<u32>, wg: u32) -> u32 {
    return gid.y * groups.x * wg + gid.x;
}
