use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use shadernet::{Model, Result};

use crate::output;

#[derive(clap::Args)]
pub struct Args {
    /// The model.
    model: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = Model::load(&args.model)?;
    let graph = model.graph();
    let mut ops: BTreeMap<String, usize> = BTreeMap::new();
    for n in &graph.nodes {
        *ops.entry(n.operator.qualified()).or_default() += 1;
    }
    let constants: Vec<_> = graph.values().filter_map(|(_, v)| v.constant.as_ref()).collect();
    let weights: u64 = constants.iter().map(|t| t.bytes().len() as u64).sum();
    let typed = |v: &shadernet::ValueInfo| v.declared.as_ref().map_or("?".into(), |d| d.to_string());
    if args.json {
        let values = |list: &[shadernet::ValueInfo]| -> Vec<_> {
            list.iter().map(|v| json!({"name": v.name, "type": typed(v)})).collect()
        };
        let doc = json!({
            "inputs": values(model.inputs()), "outputs": values(model.outputs()), "ops": ops,
            "nodes": graph.nodes.len(), "weights": constants.len(), "weights_bytes": weights,
            "metadata": model.metadata().to_string(),
        });
        println!("{doc}");
        return Ok(true);
    }
    println!("{}", model.metadata());
    model.inputs().iter().for_each(|v| println!("input   {} : {}", v.name, typed(v)));
    model.outputs().iter().for_each(|v| println!("output  {} : {}", v.name, typed(v)));
    println!("weights {} tensors, {}", constants.len(), output::bytes(weights));
    println!("nodes   {}", graph.nodes.len());
    let mut by_count: Vec<_> = ops.into_iter().collect();
    by_count.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), name.clone()));
    by_count.iter().for_each(|(name, n)| println!("  {n:5} {name}"));
    Ok(true)
}
