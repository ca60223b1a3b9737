//! Values written where they are wanted: in slices of joins, through reshapes and transposes, at several batch sizes.

mod common;

use shadernet::ir::parse;
use shadernet::ops::Tolerance;
use shadernet::{DType, Gpu, GpuOptions, Result, Rng, Session, SessionOptions, Tensor, cpu};

/// Runs `text` on `x[batch, 4, 6, 6]` and weights of these shapes, at batch sizes 1, 3 and 2: the results are those of
/// the reference, another size compiles no pipeline, and this many dispatches copy.
fn check(text: &str, weights: &[&[usize]], copies: usize) -> Result<()> {
    if common::gpu().is_none() {
        return Ok(());
    }
    let gpu = pollster::block_on(Gpu::new(GpuOptions::from_env()))?;
    let graph = parse(text)?;
    let session = Session::from_graph(&gpu, &graph, &SessionOptions::default())?;
    let mut rng = Rng::new(5);
    let weights = weights.iter().map(|s| rng.tensor(DType::F32, s, -0.5, 0.5)).collect::<Result<Vec<_>>>()?;
    let mut pipelines = None;
    for batch in [1, 3, 2] {
        let x = rng.tensor(DType::F32, &[batch, 4, 6, 6], -1.0, 1.0)?;
        let inputs: Vec<Tensor> = [&[x], &weights[..]].concat();
        let (got, want) = (pollster::block_on(session.run_ordered(&inputs))?, cpu::run(&graph, &inputs)?);
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(common::check::mismatch(g, w, Tolerance { rel: 1e-5, abs: 1e-5 }), None, "batch {batch}");
        }
        let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
        let named: Vec<(&str, Tensor)> = names.iter().copied().zip(inputs.iter().cloned()).collect();
        let plan = session.plan(&named)?.to_text(session.graph(), false);
        let moves = plan.matches(" copy ").count() + plan.matches(" join ").count();
        assert_eq!(moves, copies, "batch {batch}:\n{plan}");
        let count = gpu.pipeline_count();
        assert_eq!(*pipelines.get_or_insert(count), count, "pipelines after batch {batch}");
    }
    Ok(())
}

#[test]
fn dense_blocks_grow_in_one_buffer() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v, %w) -> (%y) {
            %a = Relu@13(%x)
            %s = Sigmoid@13(%a)
            %b = Conv@13(%s, %v) {pads = [1, 1, 1, 1]}
            %ab = Concat@13(%a, %b) {axis = 1}
            %t = Tanh@13(%ab)
            %c = Conv@13(%t, %w)
            %abc = Concat@13(%a, %b, %c) {axis = 1}
            %y = MaxPool@12(%abc) {kernel_shape = [2, 2]}
        }",
        &[&[3, 4, 3, 3], &[2, 7, 1, 1]],
        0,
    )
}

#[test]
fn joins_of_joins_and_pools_share_a_buffer() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v) -> (%y, %z) {
            %a = MaxPool@12(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}
            %b = Conv@13(%x, %v)
            %ab = Concat@13(%a, %b) {axis = 1}
            %c = AveragePool@12(%x) {kernel_shape = [1, 1]}
            %y = Concat@13(%ab, %c) {axis = 1}
            %z = Conv@13(%c, %v)
        }",
        &[&[5, 4, 1, 1]],
        0,
    )
}

#[test]
fn what_is_joined_twice_or_made_from_its_neighbour_is_copied() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v) -> (%y, %z) {
            %a = Relu@13(%x)
            %b = Conv@13(%a, %v)
            %y = Concat@13(%a, %b, %a) {axis = 1}
            %z = Concat@13(%b, %a) {axis = 3}
        }",
        &[&[4, 4, 1, 1]],
        // a lies in z, so that b, made from it, cannot; and y, whose parts lie elsewhere, takes all three at once
        2,
    )
}

#[test]
fn what_is_split_and_joined_again_stays_where_it_is() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v, %w, %u) -> (%y) {
            %a = Conv@13(%x, %v)
            %s, %t = Split@13(%a) {axis = 1}
            %b = Conv@13(%t, %w) {pads = [1, 1, 1, 1]}
            %c = Conv@13(%b, %w) {pads = [1, 1, 1, 1]}
            %all = Concat@13(%s, %t, %c) {axis = 1}
            %y = Conv@13(%all, %u)
        }",
        &[&[6, 4, 1, 1], &[3, 3, 3, 3], &[2, 9, 1, 1]],
        0,
    )?;
    check(
        "graph g(%x: float[N, 4, 6, 6], %v, %w, %u) -> (%y) {
            %a = Conv@13(%x, %v)
            %s, %t = Split@13(%a) {axis = 1}
            %b = Conv@13(%t, %w) {pads = [1, 1, 1, 1]}
            %all = Concat@13(%s, %t, %b) {axis = 1}
            %y = Conv@13(%all, %u)
        }",
        &[&[6, 4, 1, 1], &[3, 3, 3, 3], &[2, 9, 1, 1]],
        // b is made from what lies in the join
        1,
    )
}

#[test]
fn many_parts_are_joined_at_once() -> Result<()> {
    let parts = ["%x", "%t", "%x", "%x", "%t", "%x", "%x", "%t", "%x"].join(", ");
    let text = format!(
        "graph g(%x: float[N, 4, 6, 6]) -> (%y) {{
            %t = Transpose@13(%x) {{perm = [0, 1, 3, 2]}}
            %y = Concat@13({parts}) {{axis = 1}}
        }}"
    );
    check(&text, &[], 2)
}

#[test]
fn heads_are_written_channels_last() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v, %w) -> (%y) {
            %to = Constant@13() {value_ints = [0, -1, 2]}
            %b = Conv@13(%x, %v)
            %c = Transpose@13(%b) {perm = [0, 2, 3, 1]}
            %d = Reshape@13(%c, %to)
            %e = Conv@13(%x, %w) {strides = [2, 2]}
            %f = Transpose@13(%e) {perm = [0, 2, 3, 1]}
            %g = Reshape@13(%f, %to)
            %y = Concat@13(%d, %g) {axis = 1}
        }",
        &[&[4, 4, 1, 1], &[4, 4, 1, 1]],
        0,
    )
}

#[test]
fn channels_are_shuffled_as_they_are_written() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v, %w) -> (%y) {
            %split = Constant@13() {value_ints = [0, 2, 3, 6, 6]}
            %join = Constant@13() {value_ints = [0, 6, 6, 6]}
            %b = Conv@13(%x, %v) {group = 2}
            %r = Relu@13(%b)
            %c = Reshape@13(%r, %split)
            %d = Transpose@13(%c) {perm = [0, 2, 1, 3, 4]}
            %e = Reshape@13(%d, %join)
            %f = Conv@13(%e, %w) {group = 2}
            %g = Reshape@13(%f, %split)
            %h = Transpose@13(%g) {perm = [0, 2, 1, 3, 4]}
            %y = Reshape@13(%h, %join)
        }",
        &[&[6, 2, 1, 1], &[6, 3, 1, 1]],
        0,
    )
}

#[test]
fn heads_of_attention_are_merged_by_the_product() -> Result<()> {
    check(
        "graph g(%x: float[N, 4, 6, 6], %v) -> (%y) {
            %join = Constant@13() {value_ints = [0, 6, -1]}
            %p = MatMul@13(%x, %v)
            %t = Transpose@13(%p) {perm = [0, 2, 1, 3]}
            %m = Reshape@13(%t, %join)
            %y = Neg@13(%m)
        }",
        &[&[6, 8]],
        0,
    )
}

/// Heads of keys and values, repeated for groups of queries as exporters write it.
const REPEATED: &str = "
            %two = int64[1] {2}
            %groups = int64[5] {1, 1, 2, 1, 1}
            %heads = int64[4] {0, 8, 6, 6}
            %u = Unsqueeze@13(%x, %two)
            %e = Expand@13(%u, %groups)
            %k = Reshape@13(%e, %heads)
            %t = Transpose@13(%k) {perm = [0, 1, 3, 2]}";

#[test]
fn products_take_repeated_heads_where_they_lie() -> Result<()> {
    for rows in [1, 5] {
        let queries: &[usize] = &[1, 8, rows, 6];
        // an epilogue that reads a value of the heads, too
        let text = format!(
            "graph g(%x: float[N, 4, 6, 6], %q, %bias) -> (%y) {{ {REPEATED}
            %s = MatMul@13(%q, %t)
            %b = Add@13(%s, %bias)
            %y = Tanh@13(%b)
        }}"
        );
        check(&text, &[queries, &[8, rows, 6]], 0)?;
        let text = format!("graph g(%x: float[N, 4, 6, 6], %q) -> (%y) {{ {REPEATED}\n %y = MatMul@13(%q, %k)\n }}");
        check(&text, &[queries], 0)?;
    }
    // what needs a view has a copy made, once
    let text = format!(
        "graph g(%x: float[N, 4, 6, 6], %w) -> (%y, %k) {{ {REPEATED}
            %c = Conv@13(%t, %w)
            %a = AveragePool@19(%t) {{kernel_shape = [2, 2]}}
            %y = Mul@13(%c, %a)
        }}"
    );
    check(&text, &[&[8, 8, 2, 2]], 2)
}

#[test]
fn attention_takes_repeated_heads_where_they_lie() -> Result<()> {
    for rows in [1, 5] {
        let text = format!(
            "graph g(%x: float[N, 4, 6, 6], %q, %mask) -> (%y) {{ {REPEATED}
            %v = Tanh@13(%x)
            %vu = Unsqueeze@13(%v, %two)
            %ve = Expand@13(%vu, %groups)
            %vk = Reshape@13(%ve, %heads)
            %scale = float[] {{0.4}}
            %qs = Mul@13(%q, %scale)
            %s = MatMul@13(%qs, %t)
            %b = Add@13(%s, %mask)
            %p = Softmax@13(%b) {{axis = -1}}
            %y = MatMul@13(%p, %vk)
        }}"
        );
        check(&text, &[&[1, 8, rows, 6], &[1, 1, rows, 6]], 0)?;
    }
    Ok(())
}

/// A layer's attention as large language models have it: RMSNormalization, rotary embedding, cached keys and values, heads
/// that are repeated for groups of queries, a mask, and the sum with what came in.
const LAYER: &str =
    "graph layer(%x: float[B, S, 64], %cos, %sin, %mask, %past_k: float[B, 2, P, 16], %past_v, %scale, %wq, %wk,
        %wv, %wo) -> (%y, %k, %v) {
    %two = float[] {2.0}
    %small = float[] {0.00001}
    %one = float[] {1.0}
    %root = float[] {4.0}
    %queries = int64[4] {0, -1, 4, 16}
    %keys = int64[4] {0, -1, 2, 16}
    %flat = int64[3] {0, -1, 64}
    %axis = int64[1] {2}
    %groups = int64[5] {1, 1, 2, 1, 1}
    %heads = int64[4] {0, 4, -1, 16}
    %squares = Pow@13(%x, %two)
    %mean = ReduceMean@13(%squares) {axes = [-1]}
    %above = Add@13(%mean, %small)
    %deviation = Sqrt@13(%above)
    %inverse = Div@13(%one, %deviation)
    %n = Mul@13(%x, %inverse)
    %h = Mul@13(%scale, %n)
    %q0 = MatMul@13(%h, %wq)
    %q1 = Reshape@13(%q0, %queries)
    %q2 = Transpose@13(%q1) {perm = [0, 2, 1, 3]}
    %ql, %qh = Split@13(%q2) {axis = -1}
    %qn = Neg@13(%qh)
    %qt = Concat@13(%qn, %ql) {axis = -1}
    %qc = Mul@13(%q2, %cos)
    %qs = Mul@13(%qt, %sin)
    %q = Add@13(%qc, %qs)
    %k0 = MatMul@13(%h, %wk)
    %k1 = Reshape@13(%k0, %keys)
    %k2 = Transpose@13(%k1) {perm = [0, 2, 1, 3]}
    %kl, %kh = Split@13(%k2) {axis = -1}
    %kn = Neg@13(%kh)
    %kt = Concat@13(%kn, %kl) {axis = -1}
    %kc = Mul@13(%k2, %cos)
    %ks = Mul@13(%kt, %sin)
    %k3 = Add@13(%kc, %ks)
    %k = Concat@13(%past_k, %k3) {axis = 2}
    %v0 = MatMul@13(%h, %wv)
    %v1 = Reshape@13(%v0, %keys)
    %v2 = Transpose@13(%v1) {perm = [0, 2, 1, 3]}
    %v = Concat@13(%past_v, %v2) {axis = 2}
    %ku = Unsqueeze@13(%k, %axis)
    %ke = Expand@13(%ku, %groups)
    %kr = Reshape@13(%ke, %heads)
    %vu = Unsqueeze@13(%v, %axis)
    %ve = Expand@13(%vu, %groups)
    %vr = Reshape@13(%ve, %heads)
    %ktr = Transpose@13(%kr) {perm = [0, 1, 3, 2]}
    %s0 = MatMul@13(%q, %ktr)
    %s1 = Div@13(%s0, %root)
    %s2 = Add@13(%s1, %mask)
    %p = Softmax@13(%s2) {axis = -1}
    %o0 = MatMul@13(%p, %vr)
    %o1 = Transpose@13(%o0) {perm = [0, 2, 1, 3]}
    %o2 = Reshape@13(%o1, %flat)
    %o3 = MatMul@13(%o2, %wo)
    %y = Add@13(%x, %o3)
}";

#[test]
fn a_decoder_keeps_its_heads_and_copies_only_its_cache() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let graph = parse(LAYER)?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let mut rng = Rng::new(7);
    let mut random = |shape: &[usize]| rng.tensor(DType::F32, shape, -0.5, 0.5);
    let weights = [&[64usize] as &[usize], &[64, 64], &[64, 32], &[64, 32], &[64, 64]];
    let weights = weights.map(&mut random).into_iter().collect::<Result<Vec<_>>>()?;
    for batch in [1, 2] {
        let mut cache = [(); 2].map(|()| Tensor::zeros(DType::F32, [batch, 2, 0, 16])).to_vec();
        // the prompt, then a token at a time
        for (past, count) in [(0, 5), (5, 1), (6, 1)] {
            let given = [&[batch, count, 64] as &[usize], &[count, 16], &[count, 16], &[batch, 1, count, past + count]];
            let given = given.map(&mut random).into_iter().collect::<Result<Vec<_>>>()?;
            let inputs: Vec<Tensor> = [&given[..], &cache, &weights].concat();
            let (got, want) = (pollster::block_on(session.run_ordered(&inputs))?, cpu::run(&graph, &inputs)?);
            for (g, w) in got.iter().zip(&want) {
                assert_eq!(common::check::mismatch(g, w, Tolerance { rel: 1e-4, abs: 1e-4 }), None, "{past} + {count}");
            }
            let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
            let named: Vec<(&str, Tensor)> = names.into_iter().zip(inputs).collect();
            let plan = session.plan(&named)?.to_text(session.graph(), false);
            let moves = plan.matches(" copy ").count() + plan.matches(" join ").count();
            assert!(moves <= 2, "{plan}");
            assert_eq!(plan.matches("Turned").count(), 2, "{plan}");
            cache = want[1..].to_vec();
        }
    }
    Ok(())
}
