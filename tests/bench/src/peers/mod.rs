//! What is measured: each proxy with one worker, on the proxy's core, in front of the same backends with the same
//! split of 90/10.

pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod penstock;

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::backends::Upstreams;
use crate::bench::Bench;
use crate::load::connection::{wait_until_it_answers, wait_until_it_listens};
use crate::place::{Place, port};
use crate::process::Process;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// penstock-proxy, with all of its features on.
    Penstock,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// No proxy: what client and backend can do.
    Direct,
}

impl Name {
    /// All proxies.
    pub(crate) const PROXIES: [Name; 4] = [Name::Penstock, Name::Nginx, Name::Haproxy, Name::Envoy];
    /// All but ours.
    pub(crate) const PEERS: [Name; 3] = [Name::Nginx, Name::Haproxy, Name::Envoy];

    /// As the table writes it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Name::Penstock => "Penstock",
            Name::Nginx => "nginx",
            Name::Haproxy => "HAProxy",
            Name::Envoy => "Envoy",
            Name::Direct => "no proxy",
        }
    }
}

/// Where a proxy listens, by what stands in front and behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) through: SocketAddr,
}

impl Doors {
    fn new(ports: [u16; 3]) -> Doors {
        let [http1, http2, through] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Doors { http1, http2, through }
    }

    fn free() -> Result<Doors> {
        Ok(Doors::new([port()?, port()?, port()?]))
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) doors: Doors,
    pub(crate) process: Process,
}

/// How to start one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) upstreams: Upstreams,
    /// Connections that it has to have room for.
    pub(crate) connections: usize,
}

/// Starts a proxy, and waits until it answers.
pub(crate) async fn start(bench: &Bench, name: Name, wanted: Wanted) -> Result<Proxy> {
    let started = match name {
        Name::Penstock => penstock::start(bench, wanted),
        Name::Nginx => nginx::start(bench, wanted),
        Name::Haproxy => haproxy::start(bench, wanted),
        Name::Envoy => envoy::start(bench, wanted),
        Name::Direct => anyhow::bail!("there is nothing to start"),
    };
    let mut proxy = started.with_context(|| format!("start {}", name.words()))?;
    for door in [proxy.doors.http2, proxy.doors.through] {
        wait_until_it_listens(door, &mut proxy.process).await.with_context(|| name.words().to_owned())?;
    }
    wait_until_it_answers(proxy.doors.http1, &mut proxy.process)
        .await
        .with_context(|| name.words().to_owned())?;
    Ok(proxy)
}

/// A folder of its own for what a proxy writes.
fn folder(place: &Place, name: &str) -> Result<PathBuf> {
    let path = place.path(&format!("{name}-{}", port()?));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Writes a peer's configuration. All of them have the same names to fill in.
fn configure(
    bench: &Bench,
    folder: &std::path::Path,
    file: &str,
    template: &str,
    doors: &Doors,
    wanted: &Wanted,
) -> Result<PathBuf> {
    let Upstreams { http1, http2 } = wanted.upstreams;
    let names: [(&str, &dyn Display); 10] = [
        ("DIR", &folder.display()),
        ("CONNECTIONS", &wanted.connections),
        ("FILES", &bench.machine.files),
        ("HTTP1", &doors.http1.port()),
        ("HTTP2", &doors.http2.port()),
        ("THROUGH", &doors.through.port()),
        ("V1", &http1[0]),
        ("V2", &http1[1]),
        ("V1_HTTP2", &http2[0]),
        ("V2_HTTP2", &http2[1]),
    ];
    let path = folder.join(file);
    std::fs::write(&path, crate::place::fill(template, &names))?;
    Ok(path)
}
