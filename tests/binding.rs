//! Inputs, outputs and state that stay on the device from run to run.

mod common;

use shadernet::ir::{Graph, parse};
use shadernet::{
    DType, Destination, DeviceTensor, ErrorKind, Gpu, GpuOptions, Result, Rng, Session, SessionOptions, Tensor, Value,
    cpu,
};

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

#[test]
fn tensors_come_back_from_the_device_as_they_went() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let mut rng = Rng::new(8);
    let drawn = |d: &DType| !matches!(d, DType::String | DType::C64 | DType::C128);
    for dtype in (1..=26).filter_map(DType::from_onnx).filter(drawn) {
        for n in [0, 1, 7, 1001] {
            let (a, b) = (rng.tensor(dtype, &[n], -4.0, 4.0)?, rng.tensor(dtype, &[n], -4.0, 4.0)?);
            let on = DeviceTensor::new(gpu, &a)?;
            assert_eq!((on.dtype, &on.shape[..]), (dtype, &[n][..]));
            assert_eq!(on.read(gpu)?.bytes(), a.bytes(), "{dtype} of {n}");
            on.write(gpu, &b)?;
            assert_eq!(on.read(gpu)?.bytes(), b.bytes(), "{dtype} of {n}, written");
            assert_eq!(on.write(gpu, &Tensor::zeros(dtype, [n + 1])).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
    let text = Tensor::from_strings([1], vec!["a".into()])?;
    assert_eq!(DeviceTensor::new(gpu, &text).unwrap_err().kind(), ErrorKind::Unsupported);
    Ok(())
}

/// Each input and output in each place, among them outputs that are inputs, constants, and parts of others.
#[test]
fn values_of_runs_lie_where_they_are_wanted() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let (graph, session) = session(
        gpu,
        "graph net(%x: float[N, 4], %i: int64[N]) -> (%y, %same, %part, %one, %j) {
            %y = Exp@13(%x)
            %same = Identity@16(%x)
            %part = Transpose@13(%y)
            %one = Shape@15(%x)
            %j = Add@14(%i, %i)
        }",
    )?;
    let mut rng = Rng::new(9);
    for n in [1, 3, 2000] {
        let (x, i) = (rng.tensor(DType::F32, &[n, 4], -1.0, 1.0)?, rng.tensor(DType::I64, &[n], -9.0, 9.0)?);
        let want = cpu::run(&graph, &[x.clone(), i.clone()])?;
        let names: Vec<&str> = session.outputs().iter().map(|o| o.name.as_str()).collect();
        for places in 0..1 << 2 {
            let value = |bit: usize, t: &Tensor| -> Result<Value> {
                let on = places >> bit & 1 == 1;
                Ok(if on { Value::Device(DeviceTensor::new(gpu, t)?) } else { Value::Host(t.clone()) })
            };
            let inputs = [("i", value(0, &i)?), ("x", value(1, &x)?)];
            let into: Vec<DeviceTensor> = want
                .iter()
                .map(|t| DeviceTensor::new(gpu, &Tensor::zeros(t.dtype(), t.shape())))
                .collect::<Result<_>>()?;
            let mut kept = vec![];
            for round in 0..3 {
                let to = |k: usize| match (k + round) % 3 {
                    0 => Destination::Host,
                    1 => Destination::Device,
                    _ => Destination::Into(into[k].clone()),
                };
                // the last first
                let outputs: Vec<(&str, Destination)> =
                    names.iter().enumerate().map(|(k, n)| (*n, to(k))).rev().collect();
                let made = session.run_values(&inputs, &outputs)?;
                for (k, (made, (name, to))) in made.iter().rev().zip(outputs.iter().rev()).enumerate() {
                    match (made, to) {
                        (Value::Host(t), Destination::Host) => assert_near(t, &want[k]),
                        (Value::Device(d), Destination::Device) => kept.push((k, d.clone())),
                        (Value::Device(d), Destination::Into(there)) if d.buffer == there.buffer => {}
                        other => panic!("output {name}: {other:?}"),
                    }
                }
            }
            // what a run made is not touched by those after it
            for (k, d) in kept.into_iter().chain(into.into_iter().enumerate()) {
                assert_near(&d.read(gpu)?, &want[k]);
            }
            for ((_, value), t) in inputs.iter().zip([&i, &x]) {
                if let Value::Device(d) = value {
                    assert_eq!(d.read(gpu)?.bytes(), t.bytes(), "an input was written to");
                }
            }
        }
    }

    // in place: the buffer of an input takes an output
    let x = DeviceTensor::new(gpu, &Tensor::zeros(DType::F32, [2, 4]))?;
    let inputs = [("x", Value::Device(x.clone())), ("i", Value::Host(Tensor::vector(&[1i64, 2])))];
    for _ in 0..2 {
        assert!(session.run_values(&inputs, &[("y", Destination::Into(x.clone()))])?.len() == 1);
    }
    assert_near(&x.read(gpu)?, &Tensor::new([2, 4], vec![std::f32::consts::E; 8])?);

    let refused = |outputs: &[(&str, Destination)], message: &str| {
        let e = session.run_values(&inputs, outputs).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::InvalidInput, message));
    };
    let into = |dtype, shape: &[usize]| -> Result<Destination> {
        Ok(Destination::Into(DeviceTensor::new(gpu, &Tensor::zeros(dtype, shape))?))
    };
    refused(&[("q", Destination::Host)], r#"the model has no output "q", it has ["y", "same", "part", "one", "j"]"#);
    refused(&[("y", Destination::Host), ("y", Destination::Device)], r#"output "y" is asked for twice"#);
    let text = r#"output "y": its memory is of float[4, 2], the run gives float[2, 4]"#;
    refused(&[("y", into(DType::F32, &[4, 2])?)], text);
    refused(&[("one", into(DType::F32, &[2])?)], r#"output "one": a buffer of float[2] cannot take int64[2]"#);
    Ok(())
}
