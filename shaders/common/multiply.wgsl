// What products are made of: elements, or words of four bytes along the summed dim.

alias Acc = f32; //#type

//#if BYTES
alias Held = u32;
//#else
alias Held = Acc;
//#endif

// A sum of four columns and what one row adds to it.
fn add(sum: vec4<Acc>, x: Held, by: vec4<Held>) -> vec4<Acc> {
//#if BYTES
    return sum + vec4<Acc>(dot4I8Packed(x, by.x), dot4I8Packed(x, by.y), dot4I8Packed(x, by.z), dot4I8Packed(x, by.w));
//#else
//#if FLOAT
    return fma(vec4<Acc>(x), by, sum);
//#else
    return sum + x * by;
//#endif
//#endif
}
