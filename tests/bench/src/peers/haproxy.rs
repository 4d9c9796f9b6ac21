//! HAProxy.

use std::ffi::OsStr;

use anyhow::Result;

use super::{Doors, Proxy, Wanted, configure, folder};
use crate::bench::Bench;
use crate::process::Process;

/// Starts it.
pub(crate) fn start(bench: &Bench, wanted: Wanted) -> Result<Proxy> {
    let (folder, doors) = (folder(&bench.place, "haproxy")?, Doors::free()?);
    let template = include_str!("../../configs/haproxy.cfg");
    let config = configure(bench, &folder, "haproxy.cfg", template, &doors, &wanted)?;
    let arguments = [OsStr::new("-db"), OsStr::new("-f"), config.as_os_str()];
    let process = Process::start("haproxy".as_ref(), &arguments, &bench.machine.proxy, folder.join("log"))?;
    Ok(Proxy { doors, process })
}
