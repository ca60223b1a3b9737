//! Many runs: eight threads on one session with shapes that change from run to run, and that nothing grows. How many
//! `SHADERNET_RUNS` says; 800 where it says nothing.

mod common;

use shadernet::ir::parse;
use shadernet::{DType, Result, Rng, Session, SessionOptions, Tensor, cpu};

const THREADS: usize = 8;
const SHAPES: usize = 5;

fn runs() -> usize {
    std::env::var("SHADERNET_RUNS").ok().and_then(|r| r.parse().ok()).unwrap_or(800)
}

/// Resident bytes; 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|p| p.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn threads_on_one_session_get_their_own_results_and_nothing_grows() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let graph = parse(
        "graph net(%x: float[N, 8], %w) -> (%y, %i) {
            %m = MatMul@13(%x, %w)
            %s = Softmax@13(%m)
            %y = Add@14(%s, %m)
            %i = ArgMax@13(%y) {axis = 1}
        }",
    )?;
    let mut rng = Rng::new(5);
    let w = rng.tensor(DType::F32, &[8, 6], -1.0, 1.0)?;
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    // each thread and shape has inputs of its own, so that a mixed-up result shows
    let mut cases = vec![];
    for thread in 0..THREADS {
        for n in 1..=SHAPES {
            let x = rng.tensor(DType::F32, &[n + thread % 3, 8], -2.0, 2.0)?;
            let want = cpu::run(&graph, &[x.clone(), w.clone()])?;
            cases.push((vec![x, w.clone()], want));
        }
    }
    let near = |a: &Tensor, b: &Tensor| -> Result<bool> {
        let (a, b) = (a.to_f64s()?, b.to_f64s()?);
        Ok(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4))
    };
    let round = |count: usize| {
        std::thread::scope(|scope| {
            let work = |thread: usize| {
                let (session, cases, near) = (&session, &cases[thread * SHAPES..(thread + 1) * SHAPES], &near);
                scope.spawn(move || -> Result<()> {
                    for i in 0..count / THREADS {
                        let (inputs, want) = &cases[(i * 7 + thread) % SHAPES];
                        let got = pollster::block_on(session.run_ordered(inputs))?;
                        assert!(near(&got[0], &want[0])? && near(&got[1], &want[1])?, "{got:?} for {want:?}");
                    }
                    Ok(())
                })
            };
            let threads: Vec<_> = (0..THREADS).map(work).collect();
            threads.into_iter().try_for_each(|t| t.join().expect("a thread panicked"))
        })
    };
    // plans, memory for runs at the same time, and the allocator's arenas are made first
    round(runs().min(800))?;
    let before = resident();
    round(runs())?;
    let grown = resident().saturating_sub(before);
    println!("{} runs on {THREADS} threads, {grown} bytes grown", runs());
    assert!(grown < 16 << 20, "{grown} bytes more after {} runs", runs());
    Ok(())
}
