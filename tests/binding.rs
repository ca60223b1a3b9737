//! Inputs, outputs and state that stay on the device from run to run.

mod common;

use shadernet::ir::{Graph, parse};
use shadernet::{DType, DeviceTensor, ErrorKind, Gpu, GpuOptions, Result, Rng, Session, SessionOptions, Tensor, cpu};

const STEPS: usize = 1000;

/// A recurrent layer with two states, one of which it only hands on.
const CELL: &str = "graph cell(%x: float[B, 6], %h: float[B, 5], %before: float[B, 5], %w, %u) -> (%y, %next, %last) {
    %a = MatMul@13(%x, %w)
    %b = MatMul@13(%h, %u)
    %c = Add@14(%a, %b)
    %next = Tanh@13(%c)
    %y = Sub@14(%next, %before)
    %last = Identity@16(%h)
}";

fn session(gpu: &Gpu, text: &str) -> Result<(Graph, Session)> {
    let graph = parse(text)?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    Ok((graph, session))
}

fn assert_near(got: &Tensor, want: &Tensor) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()));
    for (a, b) in got.to_f64s().unwrap().iter().zip(want.to_f64s().unwrap()) {
        approx::assert_abs_diff_eq!(*a, b, epsilon = 1e-4);
    }
}

#[test]
fn state_goes_from_step_to_step_and_nothing_grows() -> Result<()> {
    let Some(_) = common::gpu() else { return Ok(()) };
    // a device of this test alone, so that what grows is its own
    let gpu = pollster::block_on(Gpu::new(GpuOptions::from_env()))?;
    let (graph, session) = session(&gpu, CELL)?;
    let mut rng = Rng::new(3);
    let mut random = |shape: &[usize]| rng.tensor(DType::F32, shape, -0.5, 0.5);
    let (w, u) = (random(&[6, 5])?, random(&[5, 5])?);
    let (mut h, mut before) = (random(&[2, 5])?, random(&[2, 5])?);

    let mut io = session.bind();
    io.alias_state("h", "next")?.alias_state("before", "last")?;
    io.input("h", h.clone())?.input("before", before.clone())?.input("w", w.clone())?.input("u", u.clone())?;
    let mut settled = None;
    for step in 0..STEPS {
        let x = random(&[2, 6])?;
        let want = cpu::run(&graph, &[x.clone(), h, before, w.clone(), u.clone()])?;
        let got = io.input("x", x)?.run()?;
        let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["y"]);
        assert_near(&got[0].1, &want[0]);
        (h, before) = (want[1].clone(), want[2].clone());
        if step == 10 {
            settled = Some((gpu.allocated_bytes(), gpu.pipeline_count(), io.kept("next")?.buffer));
        }
    }
    assert_near(&io.read("next")?, &h);
    assert_near(&io.read("last")?, &before);
    assert_eq!(settled, Some((gpu.allocated_bytes(), gpu.pipeline_count(), io.kept("next")?.buffer)));

    // given anew, it begins anew
    let h = random(&[2, 5])?;
    let x = random(&[2, 6])?;
    let want = cpu::run(&graph, &[x.clone(), h.clone(), before, w, u])?;
    assert_near(&io.input("h", h)?.input("x", x)?.run()?[0].1, &want[0]);
    Ok(())
}

#[test]
fn states_change_places() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let (_, session) = session(
        gpu,
        "graph swap(%a: float[3], %b: float[3]) -> (%c, %d) {
            %c = Identity@16(%b)
            %d = Identity@16(%a)
        }",
    )?;
    let (one, two) = (Tensor::vector(&[1.0f32, 2.0, 3.0]), Tensor::vector(&[4.0f32, 5.0, 6.0]));
    let mut io = session.bind();
    io.alias_state("a", "c")?.alias_state("b", "d")?.input("a", one.clone())?.input("b", two.clone())?;
    for step in 0..5 {
        assert!(io.run()?.is_empty());
        let (a, b) = if step % 2 == 0 { (&two, &one) } else { (&one, &two) };
        assert!(io.read("c")?.same_bits(a) && io.read("d")?.same_bits(b), "step {step}");
    }
    Ok(())
}

#[test]
fn state_of_every_type_grows_by_concatenation() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let mut rng = Rng::new(4);
    use DType::*;
    for dtype in [F32, F16, BF16, F8E4M3FN, F8E5M2, F4E2M1, I64, U64, I32, U32, I16, U16, I8, U8, I4, U4, I2, U2, Bool]
    {
        let text = "graph cache(%past: T[1, P, 3], %new: T[1, 1, 3]) -> (%present) {
            %present = Concat@13(%past, %new) {axis = 1}
        }";
        let text = text.replace("T[", &format!("{dtype}["));
        let graph = parse(&text)?;
        let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
        let mut past = Tensor::zeros(dtype, [1, 0, 3]);
        let mut io = session.bind();
        io.alias_state("past", "present")?.input("past", past.clone())?;
        for _ in 0..4 {
            let new = rng.tensor(dtype, &[1, 1, 3], 0.0, 2.0)?;
            past = cpu::run(&graph, &[past, new.clone()])?.remove(0);
            io.input("new", new)?.run()?;
            let got = io.read("present")?;
            assert!(got.same_bits(&past), "{got:?} for {past:?}");
        }
    }
    Ok(())
}

#[test]
fn a_loop_keeps_its_state_and_its_count() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let (graph, session) = session(
        gpu,
        "graph net(%n: int64[], %s: float[2]) -> (%t, %k) {
            %go = bool[] {true}
            %t = Loop@16(%n, %go, %s) {body = graph body(%i: int64[], %c: bool[], %v: float[2]) -> (%d, %w) {
                %d = Identity@16(%c)
                %w = Add@14(%v, %v)
            }}
            %k = float[2] {1.0, 2.0}
        }",
    )?;
    let mut s = Tensor::vector(&[1.0f32, -3.0]);
    let mut io = session.bind();
    io.alias_state("s", "t")?.keep("k")?.input("s", s.clone())?;
    for n in [1i64, 3, 0, 2] {
        let n = Tensor::scalar(n);
        s = cpu::run(&graph, &[n.clone(), s])?.remove(0);
        assert!(io.input("n", n)?.run()?.is_empty());
        assert_near(&io.read("t")?, &s);
    }
    assert_near(&io.read("k")?, &Tensor::vector(&[1.0f32, 2.0]));
    assert_eq!(io.kept("k").unwrap_err().kind(), ErrorKind::InvalidInput);
    Ok(())
}

#[test]
fn an_output_is_the_input_of_another_session() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let (_, first) = session(gpu, "graph a(%x: float[N]) -> (%y) { %y = Exp@13(%x) }")?;
    let (_, second) = session(gpu, "graph b(%y: float[N]) -> (%z) { %z = Log@13(%y) }")?;
    // more than stays on the host
    let x = Rng::new(6).tensor(DType::F32, &[5000], -1.0, 1.0)?;
    let (mut a, mut b) = (first.bind(), second.bind());
    a.keep("y")?.input("x", x.clone())?.run()?;
    let y = a.kept("y")?;
    assert_eq!((y.dtype, &y.shape[..]), (DType::F32, &[5000][..]));
    let z = b.buffer("y", y)?.run()?;
    assert_near(&z[0].1, &x);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let (_, session) = session(
        gpu,
        "graph net(%x: float[N, 2], %s: float[N], %i: int64[N]) -> (%y, %z, %j) {
            %y = ReduceSum@11(%x) {axes = [1], keepdims = 0}
            %z = Add@14(%y, %s)
            %j = Identity@16(%i)
        }",
    )?;
    let mut io = session.bind();
    let f = |shape: &[usize]| Tensor::zeros(DType::F32, shape);
    let refused = |r: Result<()>, message: &str| {
        let e = r.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        assert_eq!(e.message(), message);
    };
    refused(io.input("q", f(&[1])).map(drop), r#"the model has no input "q", it has ["x", "s", "i"]"#);
    refused(io.keep("q").map(drop), r#"the model has no output "q", it has ["y", "z", "j"]"#);
    refused(io.input("i", f(&[1])).map(drop), r#"input "i": expected int64[N], got float[1]"#);
    io.alias_state("s", "z")?;
    refused(io.alias_state("s", "y").map(drop), r#"input "s" is given by output "z" already"#);
    io.input("x", f(&[3, 2]))?.input("s", f(&[3]))?;
    refused(io.run().map(drop), r#"input "i" is missing: expected int64[N]"#);
    refused(io.read("z").map(drop), r#"output "z" was not kept, or nothing has run yet"#);
    io.input("i", Tensor::vector(&[1i64, 2]))?;
    refused(io.run().map(drop), r#"input "i": got int64[2], expected int64[N] where N is 3 (from input "x")"#);
    io.input("i", Tensor::vector(&[1i64, 2, 3]))?.run()?;

    let DeviceTensor { buffer, dtype, .. } = io.kept("z")?;
    let large = DeviceTensor { buffer, dtype, shape: vec![5] };
    refused(io.buffer("s", large).map(drop), r#"input "s": float[5] takes 20 bytes, got 16"#);
    Ok(())
}
