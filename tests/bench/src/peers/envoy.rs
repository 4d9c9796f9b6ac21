//! Envoy.

use std::ffi::OsStr;

use anyhow::Result;

use super::{Doors, Proxy, Wanted, configure, folder};
use crate::bench::Bench;
use crate::process::Process;

/// Starts it with one worker.
pub(crate) fn start(bench: &Bench, wanted: Wanted) -> Result<Proxy> {
    let (folder, doors) = (folder(&bench.place, "envoy")?, Doors::free()?);
    let template = include_str!("../../configs/envoy.yaml");
    let config = configure(bench, &folder, "envoy.yaml", template, &doors, &wanted)?;
    let plain = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"].map(OsStr::new);
    let arguments: Vec<&OsStr> = plain.into_iter().chain([config.as_os_str()]).collect();
    let process = Process::start(&bench.tools.envoy, &arguments, &bench.machine.proxy, folder.join("log"))?;
    Ok(Proxy { doors, process })
}
