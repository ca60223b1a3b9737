//! Gathers `shaders/**/*.wgsl` into one table that the crate embeds.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("shaders");
    let mut found = Vec::new();
    scan(&root, "", &mut found)?;
    found.sort();

    let mut table = String::from("pub static SHADERS: &[(&str, &str)] = &[\n");
    for (name, path) in &found {
        let path = path.to_str().ok_or("a shader's path is not UTF-8")?;
        writeln!(table, "    ({name:?}, include_str!({path:?})),")?;
    }
    table.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("shaders.rs"), table)?;
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

/// Adds each shader below `folder` as (name with '/' separators, path); `prefix` is the folder's own name and slash.
fn scan(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).ok_or("a shader's name is not UTF-8")?;
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            scan(&path, &format!("{name}/"), found)?;
        } else if name.ends_with(".wgsl") {
            println!("cargo:rerun-if-changed={}", path.display());
            found.push((name, path));
        }
    }
    Ok(())
}
