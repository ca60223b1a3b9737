//! Voice activity: when does somebody speak in this recording? Prints a timeline and the stretches of speech.
//!
//!     cargo run --release --example voice -- [RECORDING.wav [MODEL]]
//!
//! The model hears 32 ms at a time, together with the end of what it heard before, and carries its state along.

mod common;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use shadernet::{DType, Session, Tensor};

/// Seconds of one step.
const STEP: f32 = 0.032;
/// Speech starts above the first probability and ends below the second …
const START: f32 = 0.5;
const END: f32 = 0.35;
/// … for more than this many steps; shorter pauses and shorter speech do not count.
const PAUSE: usize = 4;
const SPEECH: usize = 8;

fn main() -> Result<()> {
    let path = common::argument(1, "tests/data/audio/reading.wav");
    let (rate, samples) = recording(&path)?;
    let model = common::model(&common::argument(2, "models/silero-vad-6/model.onnx"))?;
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &model)?;

    let begun = std::time::Instant::now();
    let voice = probabilities(&session, rate, &samples)?;
    let (length, took) = (samples.len() as f32 / rate as f32, begun.elapsed().as_secs_f32());
    println!("{}: {length:.1} s at {rate} Hz, heard in {took:.1} s", path.display());

    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const PER_LINE: usize = 75;
    for (line, voice) in voice.chunks(PER_LINE).enumerate() {
        let bars: String = voice.iter().map(|p| BARS[(p * 7.99) as usize]).collect();
        println!("{:5.1} s {bars}", (line * PER_LINE) as f32 * STEP);
    }
    for (from, to) in stretches(&voice) {
        let (from, to) = (from as f32 * STEP, (to as f32 * STEP).min(length));
        println!("speech from {from:5.2} s to {to:5.2} s ({:.2} s)", to - from);
    }
    Ok(())
}

/// The sampling rate and the mean of all channels, from -1 to 1.
fn recording(path: &Path) -> Result<(usize, Vec<f32>)> {
    let mut file = hound::WavReader::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let spec = file.spec();
    ensure!(
        matches!(spec.sample_rate, 8000 | 16000),
        "{} has {} samples a second; the model hears 8000 or 16000",
        path.display(),
        spec.sample_rate
    );
    let full = (1u64 << (spec.bits_per_sample - 1)) as f32;
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => file.samples::<f32>().collect::<Result<_, _>>()?,
        hound::SampleFormat::Int => {
            file.samples::<i32>().map(|s| s.map(|s| s as f32 / full)).collect::<Result<_, _>>()?
        }
    };
    let channels = spec.channels as usize;
    let mean = samples.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    Ok((spec.sample_rate as usize, mean))
}

/// How likely each step of the recording is speech.
fn probabilities(session: &Session, rate: usize, samples: &[f32]) -> Result<Vec<f32>> {
    let (step, before) = (rate * 32 / 1000, rate / 250);
    let mut heard = vec![0.0; before];
    let mut voice = vec![];
    // the state goes from step to step without leaving the device
    let mut io = session.bind();
    io.alias_state("state", "stateN")?.input("state", Tensor::zeros(DType::F32, [2, 1, 128]))?;
    io.input("sr", Tensor::scalar(rate as i64))?;
    for new in samples.chunks(step) {
        heard.drain(..heard.len() - before);
        heard.extend_from_slice(new);
        heard.resize(before + step, 0.0);
        let outputs = io.input("input", Tensor::new([1, heard.len()], heard.clone())?)?.run()?;
        let [(_, probability)] = outputs.try_into().ok().context("expected a probability")?;
        voice.push(*probability.to_f32s()?.first().context("the model gave no probability")?);
    }
    Ok(voice)
}

/// Stretches of speech, as the step in which each begins and the step before which it ends.
fn stretches(voice: &[f32]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = vec![];
    let mut speaking = false;
    for (i, probability) in voice.iter().enumerate() {
        speaking = *probability >= if speaking { END } else { START };
        match found.last_mut() {
            _ if !speaking => {}
            Some((_, end)) if i - *end <= PAUSE => *end = i + 1,
            _ => found.push((i, i + 1)),
        }
    }
    found.retain(|(from, to)| to - from >= SPEECH);
    found
}
