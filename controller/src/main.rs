//! The `penstock` command: chooses which parts exist, and talks with people. What it decides, others decide for it.

mod cli;
mod demo;
mod page;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Asked for by name: nothing in the tree may choose another one.
    rustls::crypto::ring::default_provider().install_default().ok();
    cli::main()
}
