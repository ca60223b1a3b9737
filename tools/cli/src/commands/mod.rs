//! One file per subcommand. Each gives `Ok(true)` for exit code 0 and `Ok(false)` for a finding (exit code 1).

pub mod accuracy;
pub mod bench;
pub mod check;
pub mod compare;
pub mod devices;
pub mod graph;
pub mod info;
pub mod memory;
pub mod ops;
pub mod profile;
pub mod run;
pub mod shader;
pub mod soak;
pub mod steps;
pub mod test;
pub mod tune;
