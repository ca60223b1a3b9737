//! Row and window kernels that do what stands around them element by element: how many dispatches are left.

mod common;

use shadernet::ir::parse;
use shadernet::ops::Tolerance;
use shadernet::{DType, Gpu, GpuOptions, Result, Rng, Session, SessionOptions, Tensor, cpu};

/// Runs `text` on `x[batch, 4, 6, 6]` at batch sizes 2, 1 and 3: the results are those of the reference, another size
/// compiles no pipeline, and this many dispatches are made.
fn check(text: &str, dispatches: usize) -> Result<()> {
    if common::gpu().is_none() {
        return Ok(());
    }
    let gpu = pollster::block_on(Gpu::new(GpuOptions::from_env()))?;
    let graph = parse(&format!("graph g(%x: float[N, 4, 6, 6]) -> (%y) {{ {text} }}"))?;
    let session = Session::from_graph(&gpu, &graph, &SessionOptions::default())?;
    let mut rng = Rng::new(5);
    let mut pipelines = None;
    for batch in [2, 1, 3] {
        let x = [rng.tensor(DType::F32, &[batch, 4, 6, 6], -1.0, 1.0)?];
        let (got, want) = (pollster::block_on(session.run_ordered(&x))?, cpu::run(&graph, &x)?);
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(common::check::mismatch(g, w, Tolerance { rel: 1e-5, abs: 1e-5 }), None, "batch {batch}");
        }
        let named: Vec<(&str, Tensor)> = vec![("x", x[0].clone())];
        let plan = session.plan(&named)?;
        let text = plan.to_text(session.graph(), false);
        assert_eq!(plan.dispatches().count(), dispatches, "batch {batch}:\n{text}");
        let count = gpu.pipeline_count();
        assert_eq!(*pipelines.get_or_insert(count), count, "pipelines after batch {batch}");
    }
    Ok(())
}

#[test]
fn reductions_round_off_what_they_make() -> Result<()> {
    let tail = "%c = float[] {0.5}\n %a = Mul@13(%r, %c)\n %y = Sigmoid@13(%a)";
    check(&format!("%r = ReduceMean@13(%x) {{axes = [2, 3]}}\n {tail}"), 1)?;
    check(&format!("%r = ReduceMax@13(%x) {{axes = [1], keepdims = 0}}\n {tail}"), 1)?;
    // what follows is as wide as what is reduced
    check("%r = ReduceMax@13(%x) {axes = [1]}\n %y = Sub@13(%x, %r)", 2)
}

#[test]
fn views_are_reduced_where_they_lie() -> Result<()> {
    let cut = |shape: &str, [from, to, axis]: [i64; 3]| {
        let one = |name: &str, v: i64| format!("%{name} = int64[1] {{{v}}}\n");
        let limits = [one("b", from), one("e", to), one("a", axis)].concat();
        format!("%s = int64[3] {{{shape}}}\n %r = Reshape@13(%x, %s)\n {limits} %v = Slice@13(%r, %b, %e, %a)\n")
    };
    for limits in [[5, 139, 2], [4, 140, 2], [2, 142, 2]] {
        check(&format!("{} %y = ReduceMean@13(%v) {{axes = [2]}}", cut("-1, 1, 144", limits)), 1)?;
    }
    for limits in [[3, 71, 2], [4, 40, 2]] {
        check(&format!("{} %y = ReduceMax@13(%v) {{axes = [1]}}", cut("-1, 2, 72", limits)), 1)?;
    }
    check(&format!("{} %y = ReduceMean@13(%v) {{axes = [1]}}", cut("-1, 9, 16", [1, 8, 1])), 1)
}

#[test]
fn pools_norms_and_softmax_end_in_functions() -> Result<()> {
    check("%p = MaxPool@12(%x) {kernel_shape = [2, 2]}\n %y = Tanh@13(%p)", 1)?;
    check("%p = GlobalAveragePool@1(%x)\n %s = Sigmoid@13(%p)\n %y = Mul@13(%p, %s)", 1)?;
    check(
        "%w = float[6] {1.0, 2.0, 0.5, 1.5, -1.0, 3.0}\n %n = LayerNormalization@17(%x, %w)\n %y = Add@13(%n, %x)",
        1,
    )?;
    check("%w = float[6] {1.0, 2.0, 0.5, 1.5, -1.0, 3.0}\n %n = RMSNormalization@23(%x, %w)\n %y = Relu@13(%n)", 1)?;
    check("%p = Softmax@13(%x)\n %c = float[] {2.0}\n %y = Mul@13(%p, %c)", 1)
}

#[test]
fn single_floats_share_a_binding() -> Result<()> {
    let text =
        "%w = float[4, 4, 1, 1] {0.1, -0.2, 0.3, 0.4, 0.5, 0.1, 0.7, 0.2, 0.9, 1.0, 0.1, 0.6, 0.3, 0.4, 0.5, 0.8}
        %a = float[] {1.5}
        %b = float[] {-0.25}
        %c = float[] {0.0}
        %d = float[] {6.0}
        %e = float[] {0.125}
        %v = Conv@13(%x, %w)
        %s = Mul@13(%v, %a)
        %t = Add@13(%s, %b)
        %m = Max@13(%t, %c)
        %n = Min@13(%m, %d)
        %y = Mul@13(%n, %e)";
    check(text, 1)
}

#[test]
fn casts_around_an_interpolation_cost_nothing() -> Result<()> {
    let text = "%s = float[4] {1.0, 1.0, 2.0, 1.0}
        %h = Cast@13(%x) {to = 10}
        %r = MaxPool@12(%h) {kernel_shape = [1, 1]}
        %f = Cast@13(%r) {to = 1}
        %i = Resize@13(%f, _, %s) {mode = \"linear\"}
        %y = Cast@13(%i) {to = 10}";
    check(text, 3)?;
    check("%i = Cast@13(%x) {to = 1}\n %y = Relu@13(%i)", 1)
}

#[test]
fn looked_up_rows_are_added_to() -> Result<()> {
    let text = "%t = float[3, 2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
        %b = float[2] {0.5, -0.5}
        %i = Cast@13(%x) {to = 7}
        %g = Gather@13(%t, %i)
        %y = Add@13(%g, %b)";
    check(text, 2)
}

#[test]
fn what_exporters_write_out_is_one_dispatch() -> Result<()> {
    check(
        "%split = int64[3] {0, 2, -1}
        %back = int64[4] {-1, 4, 6, 6}
        %one = float[2] {1.0, 1.0}
        %zero = float[2] {0.0, 0.0}
        %scale = float[4, 1, 1] {1.0, 2.0, -1.0, 0.5}
        %bias = float[4, 1, 1] {0.0, 1.0, 0.5, -2.0}
        %g = Reshape@13(%x, %split)
        %n = InstanceNormalization@6(%g, %one, %zero)
        %r = Reshape@13(%n, %back)
        %m = Mul@13(%r, %scale)
        %a = Add@13(%m, %bias)
        %s = Sigmoid@13(%a)
        %y = Mul@13(%a, %s)",
        1,
    )?;
    check(
        "%m = ReduceMax@13(%x) {axes = [-1]}
        %d = Sub@13(%x, %m)
        %e = Exp@13(%d)
        %one = int64[1] {-1}
        %s = ReduceSum@13(%e, %one)
        %y = Div@13(%e, %s)",
        1,
    )
}

#[test]
fn rotary_embedding_is_one_dispatch() -> Result<()> {
    // the halves' place is computed from the shape, as tracing exporters do
    let halves = "%shape = Shape@13(%t)
        %three = int64[] {3}
        %two = int64[] {2}
        %depth = Gather@13(%shape, %three)
        %middle = Div@13(%depth, %two)
        %flat = int64[1] {-1}
        %half = Reshape@13(%middle, %flat)
        %from = int64[1] {0}
        %end = int64[1] {9223372036854775807}
        %low = Slice@13(%t, %from, %half, %flat)
        %high = Slice@13(%t, %half, %end, %flat)";
    let split = "%low, %high = Split@13(%t) {axis = -1}";
    for halves in [halves, split] {
        check(
            &format!(
                "%rows = int64[4] {{-1, 6, 1, 6}}
                %r = Reshape@13(%x, %rows)
                %t = Transpose@13(%r) {{perm = [0, 2, 1, 3]}}
                %cos = float[1, 6] {{0.1, 0.2, -0.3, 0.4, 0.5, 0.6}}
                %sin = float[6] {{0.9, 0.8, 0.7, -0.6, 0.5, 0.4}}
                {halves}
                %n = Neg@13(%high)
                %turned = Concat@13(%n, %low) {{axis = -1}}
                %a = Mul@13(%t, %cos)
                %b = Mul@13(%turned, %sin)
                %y = Add@13(%a, %b)"
            ),
            1,
        )?;
    }
    Ok(())
}
