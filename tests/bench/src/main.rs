//! `penstock-bench`: measures the proxy beside its peers, on this machine and in one run.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    penstock_bench::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write;
    writeln!(std::io::stderr(), "penstock-bench pins cores and reads /proc: it runs on Linux only").ok();
    ExitCode::from(2)
}
