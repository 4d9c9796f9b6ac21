//! The `penstock` command: chooses which parts exist, and talks with people. What it decides, others decide for it.

mod cli;
mod demo;
mod page;

use std::process::ExitCode;

// What a storm of turns has used goes back to the system after it; with the C library's it stays.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Asked for by name: nothing in the tree may choose another one.
    rustls::crypto::ring::default_provider().install_default().ok();
    cli::main()
}
