//! `tandem-phone`: a softphone without a face, and a caller, for demos and drills.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
