//! Measures `penstock-proxy` beside nginx, HAProxy and Envoy: [`lines`] holds one file for each line of the table,
//! [`peers`] starts what is measured, [`load`] sends requests and counts what fails. A figure is only printed when
//! every request behind it was answered with status 200 and its whole body, or the failures are the figure.
#![cfg(target_os = "linux")]

mod backends;
mod bench;
mod cli;
mod document;
mod lines;
mod load;
mod machine;
mod numbers;
mod peers;
mod place;
mod process;
mod table;

pub use cli::main;
