//! nginx.

use std::ffi::OsStr;

use anyhow::Result;

use super::{Doors, Proxy, Wanted, configure, folder};
use crate::bench::Bench;
use crate::process::Process;

/// Starts it.
pub(crate) fn start(bench: &Bench, wanted: Wanted) -> Result<Proxy> {
    let (folder, doors) = (folder(&bench.place, "nginx")?, Doors::free()?);
    let template = include_str!("../../configs/nginx.conf");
    let config = configure(bench, &folder, "nginx.conf", template, &doors, &wanted)?;
    let arguments = [OsStr::new("-p"), folder.as_os_str(), OsStr::new("-c"), config.as_os_str()];
    let process = Process::start("nginx".as_ref(), &arguments, &bench.machine.proxy, folder.join("log"))?;
    Ok(Proxy { doors, process })
}
