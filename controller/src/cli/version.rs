//! `penstock version`

use std::io::{Write, stdout};

use super::Exit;

pub(super) fn run() -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    writeln!(stdout(), "penstock {version} ({}, {os} {arch})", penstock_crds::API_VERSION)?;
    Ok(Exit::Good)
}
