// What reductions of all forms share.

alias T = f32; //#type
alias A = f32; //#type
alias R = f32; //#type
const KEPT: u32 = 4u; //#param

fn loaded(x: T) -> A {
    //#insert LOAD
}

fn row_start(row: u32) -> i32 {
    var rest = row;
    var at = i32(params.base);
    for (var k = KEPT; k > 0u; k--) {
        let d = k - 1u;
        let extent = params.kept[d / 4u][d % 4u];
        at += i32(rest % extent) * params.kept_strides[d / 4u][d % 4u];
        rest /= extent;
    }
    return at;
}

fn combine(a: A, b: A) -> A {
    //#if MAX
    return A_max(a, b);
    //#endif
    //#if MIN
    return A_min(a, b);
    //#endif
    //#if PROD
    return A_mul(a, b);
    //#endif
    //#if SUM
    return A_add(a, b);
    //#endif
}

fn start_value() -> A {
    //#if MAX
    return A_lowest();
    //#endif
    //#if MIN
    return A_highest();
    //#endif
    //#if PROD
    return A_one();
    //#endif
    //#if SUM
    return A_zero();
    //#endif
}

fn mapped(x: A, top: A) -> A {
    //#if ABS
    return A_abs(x);
    //#else
    //#if SQUARE
    return A_mul(x, x);
    //#else
    //#if EXP
    //#if FLOAT
    return A_exp(A_sub(x, top));
    //#else
    return x;
    //#endif
    //#else
    return x;
    //#endif
    //#endif
    //#endif
}

fn finish(sum: A, top: A) -> R {
    var y = sum;
    //#if MEAN
    y = A_div(y, A_from_u32(params.divisor));
    //#endif
    //#if FLOAT
    //#if ROOT
    y = A_sqrt(y);
    //#endif
    //#if LOG
    y = A_log(y);
    //#endif
    //#if EXP
    // of an infinite largest element nothing is left to add
    y = select(A_add(y, top), top, A_is_inf(top));
    //#endif
    //#else
    //#if ROOT
    y = A_root(y);
    //#endif
    //#endif
    //#insert STORE
}

// A sum and the rounding error that it carries along.
struct Sum {
    sum: A,
    lost: A,
}

// A sum and a block's.
fn added(s: Sum, part: A) -> Sum {
    //#if FLOAT
    //#if SUM
    let y = A_sub(part, s.lost);
    let t = A_add(s.sum, y);
    // an infinite total would make the correction NaN
    return Sum(t, select(A_sub(A_sub(t, s.sum), y), A_zero(), A_is_inf(t) || A_is_nan(t)));
    //#else
    return Sum(combine(s.sum, part), s.lost);
    //#endif
    //#else
    return Sum(combine(s.sum, part), s.lost);
    //#endif
}
