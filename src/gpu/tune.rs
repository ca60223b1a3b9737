//! Tiles measured on the device: a model is run with the tiles of each rank by the model of costs, and what took the least
//! is kept, for all sessions of the device and for later processes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Gpu;
use super::exec::Timing;
use super::runner::{RunStats, Runner, Val, Wanted};
use crate::kernels::{Chosen, Problem};
use crate::{Result, err};

/// Ranks that are measured: of the tiles and parts that there are, those that should be the best.
const RANKS: usize = 12;
/// Timed runs of each.
const RUNS: usize = 7;
/// How long a GPU works before its clocks are up.
const WAKING: Duration = Duration::from_millis(300);
/// The share of the time that another choice has to take less, to be worth it.
const GAIN: f64 = 0.03;

/// What [`Session::tune`](crate::Session::tune) found for a product or a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The best: the number of its tile in the table, and the parts of its sums.
    pub best: Chosen,
    /// What was chosen without measurement.
    pub modelled: [usize; 2],
    /// Nanoseconds of a run that all its dispatches take, by the best.
    pub nanos: f64,
    /// The same by what was chosen without measurement.
    pub modelled_nanos: f64,
}

/// The times of a run by what was chosen.
fn totals(timings: Vec<Timing>) -> HashMap<Chosen, f64> {
    let mut all = HashMap::new();
    for (chosen, nanos) in timings.into_iter().filter_map(|t| Some((t.chosen?, t.nanos))) {
        *all.entry(Chosen::clone(&chosen)).or_default() += nanos;
    }
    all
}

/// Measures the tiles of the dispatches of a run on these inputs, and keeps the best of each.
pub(crate) async fn tune(gpu: &Gpu, runner: &Runner, inputs: &[Val], outputs: usize) -> Result<Vec<Tuned>> {
    if gpu.0.timestamps.is_none() {
        return Err(err!(Unsupported, "{} has no timestamps", gpu.info().name));
    }
    let run = async |runner: &Runner, timed: bool| -> Result<RunStats> {
        let timings = Vec::with_capacity(usize::from(timed));
        let mut stats = RunStats { timings, ..RunStats::default() };
        runner.run(inputs.to_vec(), &vec![Wanted::Host; outputs], &mut stats).await?;
        Ok(stats)
    };
    let mut times: HashMap<Problem, Vec<([usize; 2], f64)>> = HashMap::new();
    for rank in 0..RANKS {
        let ranked = runner.of_rank(rank);
        run(&ranked, false).await?;
        let start = Instant::now();
        while rank == 0 && !gpu.0.profile.cpu && start.elapsed() < WAKING {
            run(&ranked, false).await?;
        }
        let mut runs: HashMap<Chosen, Vec<f64>> = HashMap::new();
        for _ in 0..RUNS {
            for (chosen, nanos) in totals(run(&ranked, true).await?.timings) {
                runs.entry(chosen).or_default().push(nanos);
            }
        }
        for (Chosen { problem, choice }, mut all) in runs {
            all.sort_by(f64::total_cmp);
            times.entry(problem).or_default().push((choice, all[all.len() / 2]));
        }
    }
    let found = times.into_iter().filter_map(|(problem, all)| {
        let &(modelled, modelled_nanos) = all.first()?;
        let &(choice, nanos) = all.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let gains = nanos < (1.0 - GAIN) * modelled_nanos;
        let (choice, nanos) = if gains { (choice, nanos) } else { (modelled, modelled_nanos) };
        Some(Tuned { best: Chosen { problem, choice }, modelled, nanos, modelled_nanos })
    });
    let mut found: Vec<Tuned> = found.collect();
    found.sort_by(|a, b| b.modelled_nanos.total_cmp(&a.modelled_nanos));
    let choices = &gpu.0.profile.choices;
    choices.put(found.iter().map(|t| t.best.clone()));
    if let Some(file) = &gpu.0.choices {
        file.write(choices.to_text().as_bytes());
    }
    runner.forget_plans()?;
    Ok(found)
}
