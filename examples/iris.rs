//! Tabular prediction: which iris is this? Prints each flower's probabilities and how often the model agrees with the
//! botanist.
//!
//!     cargo run --release --example iris -- [TABLE.csv [MODEL]]
//!
//! A line of the table is the length and width of the sepal, those of the petal, in cm, and the species.

mod common;

use anyhow::{Context, Result, bail, ensure};
use shadernet::Tensor;

const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];

fn main() -> Result<()> {
    let source = common::argument(1, "tests/data/iris/flowers.csv");
    let (sizes, species) = table(&std::fs::read_to_string(&source).with_context(|| format!("{}", source.display()))?)
        .with_context(|| format!("{} is no such table", source.display()))?;
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &common::argument(2, "tests/data/iris/model.onnx"))?;

    let outputs = common::run(&session, Tensor::new([species.len(), 4], sizes.concat())?)?;
    let [labels, probabilities] = &outputs[..] else { bail!("expected labels and probabilities, got {outputs:?}") };
    let labels = labels.to_i64s()?;
    // for each flower a map from label to probability
    let maps = probabilities.items().context("expected a sequence of maps")?;
    ensure!(labels.len() == species.len() && maps.len() == species.len(), "expected an answer for each flower");

    println!("sepal      petal      {:>11}{:>11}{:>11}   the botanist says", SPECIES[0], SPECIES[1], SPECIES[2]);
    let mut right = 0;
    for (i, map) in maps.iter().enumerate() {
        let [keys, values] = map.items()? else { bail!("expected a map, got {map:?}") };
        let mut chances = [0.0; 3];
        for (label, chance) in keys.to_i64s()?.into_iter().zip(values.to_f32s()?) {
            *chances.get_mut(label as usize).with_context(|| format!("there is no species {label}"))? = chance;
        }
        let agrees = labels[i] as usize == species[i];
        right += agrees as usize;
        // one in ten, and all that are taken for another species
        if i % 10 == 0 || !agrees {
            let [a, b, c, d] = sizes[i];
            let chances: String = chances.iter().map(|p| format!("{:10.1}%", 100.0 * p)).collect();
            let doubt = if agrees { "" } else { "  ← taken for another" };
            println!("{a:.1} × {b:.1}  {c:.1} × {d:.1}  {chances}   {}{doubt}", SPECIES[species[i]]);
        }
    }
    println!("{right} of {} as the botanist says ({:.1}%)", labels.len(), 100.0 * right as f32 / labels.len() as f32);
    Ok(())
}

/// The sizes of each flower and its species' number.
fn table(text: &str) -> Result<(Vec<[f32; 4]>, Vec<usize>)> {
    let (mut sizes, mut species) = (vec![], vec![]);
    for (n, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [numbers @ .., name] = &fields[..] else { bail!("line {}: empty", n + 1) };
        let numbers = numbers.iter().map(|f| f.parse()).collect::<Result<Vec<f32>, _>>();
        let numbers = numbers.with_context(|| format!("line {}: expected numbers", n + 1))?;
        sizes.push(numbers.try_into().ok().with_context(|| format!("line {}: expected 4 numbers", n + 1))?);
        let known = SPECIES.iter().position(|s| s == name);
        species.push(known.with_context(|| format!("line {}: unknown species {name:?}", n + 1))?);
    }
    ensure!(!species.is_empty(), "it has no line");
    Ok((sizes, species))
}
