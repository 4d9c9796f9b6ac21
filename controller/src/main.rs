//! The `penstock` command: chooses which parts exist, and talks with people. What it decides, others decide for it.

mod cli;
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
