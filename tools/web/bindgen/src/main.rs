//! `shadernet-bindgen IN.wasm OUT`: the module, its JavaScript and its types in the folder OUT.

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (input, out) = arguments.next().zip(arguments.next()).context("shadernet-bindgen IN.wasm OUT")?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&input).web(true)?.typescript(true).omit_default_module_path(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.generate(&out).with_context(|| format!("{}", input.display()))
}
