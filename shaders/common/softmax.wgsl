// The weights that softmax divides by their sum.

alias T = f32; //#type

fn rounded(x: f32) -> f32 {
    //#if STEPS
    return T_to_f32(T_from_f32(x));
    //#else
    return x;
    //#endif
}

fn weight(x: f32, top: f32) -> f32 {
    //#if MASKED
    if f32_is_inf(top) && top < 0.0 {
        return 0.0;
    }
    //#endif
    // where everything is -inf the difference is NaN on paper, but not on every driver
    if f32_is_inf(top) {
        if f32_is_nan(x) || top < 0.0 || x == top {
            return f32_nan();
        }
        return 0.0;
    }
    return rounded(f32_exp(rounded(x - top)));
}
