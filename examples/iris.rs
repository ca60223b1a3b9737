//! Tabular prediction: which iris is this? Prints the likely species of flowers that the model has not seen.
//!
//!     cargo run --release --example iris -- [TABLE.csv [MODEL]]
//!
//! A line of the table is the length and width of the sepal, those of the petal, in cm, and what the botanist says.

mod common;

use anyhow::{Context, Result, bail, ensure};
use shadernet::Tensor;

fn main() -> Result<()> {
    let source = common::argument(1, "tests/data/iris/flowers.csv");
    let text = std::fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let (sizes, species) = table(&text).with_context(|| format!("{} is no such table", source.display()))?;
    let model = common::model(&common::argument(2, "tests/data/iris/model.onnx"))?;
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &model)?;

    let outputs = common::run(&session, Tensor::new([species.len(), 4], sizes.concat())?)?;
    let [labels, probabilities] = &outputs[..] else { bail!("expected labels and probabilities, got {outputs:?}") };
    let labels = labels.strings().context("expected the names of species")?;
    // for each flower a map from species to probability
    let maps = probabilities.items().context("expected a sequence of maps")?;
    ensure!(labels.len() == species.len() && maps.len() == species.len(), "expected an answer for each flower");

    let mut right = 0;
    for (i, map) in maps.iter().enumerate() {
        let [names, chances] = map.items()? else { bail!("expected a map, got {map:?}") };
        let (names, chances) = (names.strings()?, chances.to_f32s()?);
        if i == 0 {
            let names: String = names.iter().map(|n| format!("{n:>12}")).collect();
            println!("sepal      petal    {names}   the botanist says");
        }
        let doubt = if labels[i] == species[i] { "" } else { "  ← taken for another" };
        right += (labels[i] == species[i]) as usize;
        // some of them, and all that are taken for another species
        if i < 10 || !doubt.is_empty() {
            let [a, b, c, d] = sizes[i];
            let chances: String = chances.iter().map(|p| format!("{:11.1}%", 100.0 * p)).collect();
            println!("{a:.1} × {b:.1}  {c:.1} × {d:.1}{chances}   {}{doubt}", species[i]);
        }
    }
    println!("{right} of {} as the botanist says ({:.1}%)", labels.len(), 100.0 * right as f32 / labels.len() as f32);
    Ok(())
}

/// The sizes of each flower and its species.
fn table(text: &str) -> Result<(Vec<[f32; 4]>, Vec<String>)> {
    let (mut sizes, mut species) = (vec![], vec![]);
    for (n, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [numbers @ .., name] = &fields[..] else { bail!("line {} is empty", n + 1) };
        let numbers = numbers.iter().map(|f| f.parse()).collect::<Result<Vec<f32>, _>>();
        let numbers = numbers.with_context(|| format!("line {}: expected numbers", n + 1))?;
        sizes.push(numbers.try_into().ok().with_context(|| format!("line {}: expected 4 numbers", n + 1))?);
        species.push(name.to_string());
    }
    ensure!(!species.is_empty(), "it has no line");
    Ok((sizes, species))
}
