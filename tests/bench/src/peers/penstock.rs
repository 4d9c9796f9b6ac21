//! penstock-proxy, with all of its features on: a table of 20 Rollouts, a rule that matches a header, a sticky key, a
//! timeout, metrics, trace headers and a sampled access log.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;

use super::{Doors, Proxy, Wanted, folder};
use crate::bench::Bench;
use crate::place::{Place, fill, port};
use crate::process::Process;

/// Rollouts in the table of the plain measurements.
pub(crate) const ROLLOUTS: usize = 20;
/// As Kubernetes divides endpoints into slices.
const SLICE: usize = 100;

/// One Rollout with two revisions.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub(crate) name: String,
    /// Where the proxy listens for it.
    pub(crate) port: u16,
    /// Of the stable revision and of the canary.
    pub(crate) endpoints: [Vec<SocketAddr>; 2],
    pub(crate) canary: u8,
    pub(crate) http2: bool,
}

impl Rollout {
    /// One with a split of 90/10 between two ports of this machine.
    pub(crate) fn new(name: &str, ports: [u16; 2]) -> Result<Rollout> {
        let endpoints = ports.map(|port| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
        Ok(Rollout { name: name.into(), port: port()?, endpoints, canary: 10, http2: false })
    }

    /// Where clients reach it.
    pub(crate) fn door(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// The folder that a proxy reads.
#[derive(Debug)]
pub(crate) struct Config {
    folder: PathBuf,
    generation: u64,
}

impl Config {
    /// An empty one.
    pub(crate) fn new(place: &Place) -> Result<Config> {
        let folder = folder(place, "penstock")?;
        fs::create_dir(folder.join("routes"))?;
        Ok(Config { folder, generation: 0 })
    }

    /// Writes a Rollout whole, with a new generation, which is returned.
    pub(crate) fn write(&mut self, rollout: &Rollout) -> Result<u64> {
        self.generation += 1;
        self.rewrite(rollout)?;
        Ok(self.generation)
    }

    /// Writes it with the generation of before: the split is the same, other things may not be.
    pub(crate) fn rewrite(&self, rollout: &Rollout) -> Result<()> {
        let text = text(rollout, self.generation);
        let (routes, name) = (self.folder.join("routes"), &rollout.name);
        let draft = routes.join(format!(".{name}"));
        fs::write(&draft, text)?;
        fs::rename(draft, routes.join(format!("{name}.yaml")))?;
        Ok(())
    }

    /// Starts a proxy that reads it.
    pub(crate) fn start(&self, bench: &Bench, options: &Options) -> Result<Process> {
        let admin = format!("127.0.0.1:{}", port()?);
        let threads = options.threads.to_string();
        let delay = format!("{}ms", options.drain_delay_ms);
        let mut arguments: Vec<OsString> = ["run", "--config"].map(Into::into).into();
        arguments.push(self.folder.join("routes").into());
        let plain =
            ["--admin", &admin, "--threads", &threads, "--drain-delay", &delay, "--drain-timeout", "10s"];
        arguments.extend(plain.map(Into::into));
        arguments.extend(["--handover".into(), self.folder.join("next").into()]);
        arguments.extend(bench.tools.features.iter().map(Into::into));
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let log = self.folder.join(format!("log-{}", port()?));
        Process::start(&bench.tools.penstock, &arguments, &options.cores, log)
    }
}

/// How to run it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) threads: usize,
    pub(crate) cores: String,
    pub(crate) drain_delay_ms: u32,
}

impl Options {
    /// One worker on the proxy's core.
    pub(crate) fn one_worker(bench: &Bench) -> Options {
        Options { threads: 1, cores: bench.machine.proxy.clone(), drain_delay_ms: 0 }
    }
}

/// Starts it with one worker.
pub(crate) fn start(bench: &Bench, wanted: Wanted) -> Result<Proxy> {
    let mut config = Config::new(&bench.place)?;
    let plain = Rollout::new("bench", wanted.upstreams.http1)?;
    let grpc = Rollout { http2: true, ..Rollout::new("grpc", wanted.upstreams.http2)? };
    config.write(&plain)?;
    config.write(&grpc)?;
    for n in 2..ROLLOUTS {
        config.write(&Rollout::new(&format!("other-{n}"), wanted.upstreams.http1)?)?;
    }
    let process = config.start(bench, &Options::one_worker(bench))?;
    let doors = Doors { http1: plain.door(), http2: plain.door(), through: grpc.door() };
    Ok(Proxy { doors, process })
}

fn text(rollout: &Rollout, generation: u64) -> String {
    let mut text = fill(
        include_str!("../../configs/penstock/route.yaml"),
        &[
            ("NAME", &rollout.name),
            ("PORT", &rollout.port),
            ("GENERATION", &generation),
            ("STABLE", &(100 - rollout.canary)),
            ("CANARY", &rollout.canary),
        ],
    );
    for (revision, endpoints) in ["v1", "v2"].iter().zip(&rollout.endpoints) {
        text += &revision_text(&format!("{}-{revision}", rollout.name), endpoints, rollout.http2);
    }
    text
}

fn revision_text(name: &str, endpoints: &[SocketAddr], http2: bool) -> String {
    let protocol = if http2 { "kubernetes.io/h2c" } else { "http" };
    let template = include_str!("../../configs/penstock/service.yaml");
    let mut text = fill(template, &[("NAME", &name), ("PROTOCOL", &protocol)]);
    let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for endpoint in endpoints {
        by_port.entry(endpoint.port()).or_default().push(format!("{{addresses: [{}]}}", endpoint.ip()));
    }
    let slices = by_port.iter().flat_map(|(port, all)| all.chunks(SLICE).map(move |slice| (port, slice)));
    for (n, (port, slice)) in slices.enumerate() {
        let template = include_str!("../../configs/penstock/slice.yaml");
        text +=
            &fill(template, &[("NAME", &name), ("N", &n), ("PORT", port), ("ENDPOINTS", &slice.join(", "))]);
    }
    text
}
