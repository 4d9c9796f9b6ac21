//! Local mode with real processes.
//!
//! The pods of these tests are this very executable, run again: see [`program`].
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "these are tests")]

mod disk;
mod manifests;
mod pods;
mod process;
mod program;
mod proxy;
