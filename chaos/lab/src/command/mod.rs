//! The commands of `tandem-lab`.

pub(crate) mod init;
pub(crate) mod wan;
mod wan_bench;

/// Shown below the help of the program.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tandem-lab wan example > lab.toml
  tandem-lab init -- tandem-lab wan run --config lab.toml
  tandem-lab wan bench --seconds 5
  tandem-lab init -- ./drill.sh";
