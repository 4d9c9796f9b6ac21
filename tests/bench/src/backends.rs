//! What the proxies stand in front of: nginx for HTTP/1.1, nghttpd for h2c.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use crate::load::connection::{wait_until_it_answers, wait_until_it_listens};
use crate::machine::Machine;
use crate::place::{Place, fill, port};
use crate::process::Process;

/// Length of the small body.
pub(crate) const SMALL: usize = 100;
/// Length of `/16k`.
pub(crate) const MIDDLE: usize = 16 << 10;
/// Length of `/1m`.
pub(crate) const LARGE: usize = 1 << 20;

/// Ports of the two versions, with HTTP/1.1 (on all of 127.0.0.0/8) and with h2c.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstreams {
    pub(crate) http1: [u16; 2],
    pub(crate) http2: [u16; 2],
}

/// Running backends.
#[derive(Debug)]
pub(crate) struct Backends {
    pub(crate) ports: Upstreams,
    _processes: Vec<Process>,
}

impl Backends {
    /// Starts them on the cores of the load.
    pub(crate) async fn start(place: &Place, machine: &Machine) -> Result<Backends> {
        let ports = Upstreams { http1: [port()?, port()?], http2: [port()?, port()?] };
        fs::create_dir_all(place.path("files"))?;
        for (name, length) in [("16k", MIDDLE), ("1m", LARGE), ("index.html", SMALL)] {
            place.write(&format!("files/{name}"), vec![b'x'; length])?;
        }
        let mut processes = vec![nginx(place, machine, ports.http1)?];
        for port in ports.http1 {
            wait_until_it_answers(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &mut processes[0]).await?;
        }
        for port in ports.http2 {
            processes.push(nghttpd(place, machine, port)?);
        }
        for (process, port) in processes[1..].iter_mut().zip(ports.http2) {
            wait_until_it_listens(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), process).await?;
        }
        Ok(Backends { ports, _processes: processes })
    }
}

fn nginx(place: &Place, machine: &Machine, ports: [u16; 2]) -> Result<Process> {
    let names: [(&str, &dyn Display); 4] = [
        ("DIR", &place.folder().display()),
        ("BODY", &"x".repeat(SMALL)),
        ("V1", &ports[0]),
        ("V2", &ports[1]),
    ];
    let config = place.write("backend.conf", fill(include_str!("../configs/backend.conf"), &names))?;
    let arguments = [OsStr::new("-p"), place.folder().as_os_str(), OsStr::new("-c"), config.as_os_str()];
    Process::start(Path::new("nginx"), &arguments, &machine.load, place.path("backend.log"))
}

/// Answers as a gRPC server does: when all of the request has come, with a status in the trailers.
fn nghttpd(place: &Place, machine: &Machine, port: u16) -> Result<Process> {
    let (files, port) = (place.path("files"), port.to_string());
    let plain =
        ["--no-tls", "-n1", "-m1000", "-a127.0.0.1", "--trailer=grpc-status: 0", "-d"].map(OsStr::new);
    let arguments: Vec<&OsStr> = plain.into_iter().chain([files.as_os_str(), OsStr::new(&port)]).collect();
    Process::start(
        Path::new("nghttpd"),
        &arguments,
        &machine.load,
        place.path(&format!("nghttpd-{port}.log")),
    )
}
