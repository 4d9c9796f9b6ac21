//! Local mode with real processes.
//!
//! The pods of these tests are this very executable, run again: see [`program`].
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod pods;
mod process;
mod program;
