// Functions of one 32-bit float that are made of those of types/f32.wgsl. NaN gives NaN, but where a comparison alone
// decides between x and 0.

//#include types/grid.wgsl

// x rounded to a 16-bit float, on devices that hold those in 32 bits.
fn round_to_f16(x: f32) -> f32 {
    return grid_overflow(grid_round(x, 10, -14), 65504.0, 0x7f800000u);
}

fn act_leaky_relu(x: f32, alpha: f32) -> f32 { return select(x, alpha * x, x < 0.0); }
fn act_elu(x: f32, alpha: f32) -> f32 { return select(x, alpha * f32_expm1(x), f32_lt(x, 0.0)); }
fn act_selu(x: f32, alpha: f32, gamma: f32) -> f32 { return gamma * act_elu(x, alpha); }
fn act_celu(x: f32, alpha: f32) -> f32 { return select(x, alpha * f32_expm1(x / alpha), f32_lt(x, 0.0)); }
fn act_thresholded_relu(x: f32, alpha: f32) -> f32 { return select(0.0, x, f32_gt(x, alpha)); }

fn act_hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    return f32_max(0.0, f32_min(1.0, alpha * x + beta));
}

fn act_hard_swish(x: f32) -> f32 { return x * act_hard_sigmoid(x, 0.16666667, 0.5); }
fn act_softsign(x: f32) -> f32 { return x / (1.0 + f32_abs(x)); }
fn act_mish(x: f32) -> f32 { return x * f32_tanh(f32_softplus(x)); }
fn act_swish(x: f32, alpha: f32) -> f32 { return x * f32_sigmoid(alpha * x); }
fn act_gelu(x: f32) -> f32 { return 0.5 * x * (1.0 + f32_erf(x * 0.70710678)); }
fn act_gelu_tanh(x: f32) -> f32 { return 0.5 * x * (1.0 + f32_tanh(0.79788456 * (x + 0.044715 * x * x * x))); }

fn act_shrink(x: f32, bias: f32, lambda: f32) -> f32 {
    if f32_lt(x, -lambda) {
        return x + bias;
    }
    return select(0.0, x - bias, f32_gt(x, lambda));
}
