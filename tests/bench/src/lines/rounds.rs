//! Rounds in which all take turns, and what a closed loop measures in them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::{Bench, say};
use crate::load::h2load::{self, Shape};
use crate::load::{Rate, wrk};
use crate::numbers::{hundredths, median};
use crate::peers::{self, Name, Proxy};
use crate::process::Process;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Answers in a second.
    pub(crate) rate: f64,
    /// CPU time of the proxy for each, in microseconds. Zero without a proxy.
    pub(crate) cpu: f64,
    /// How much of one core the proxy was at work, 0 to 1 (more with more threads).
    pub(crate) busy: f64,
}

impl Round {
    /// What one second of CPU time is enough for.
    pub(crate) fn per_core(&self) -> f64 {
        if self.cpu > 0.0 { 1e6 / self.cpu } else { 0.0 }
    }
}

/// What load is put on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// wrk on this path.
    Http1 { path: &'static str, connections: usize },
    /// h2load.
    Http2(Shape),
}

/// Connections of h2load.
const HTTP2_CONNECTIONS: usize = 8;

impl Load {
    /// Puts it on `to` for a while, and measures `process` meanwhile.
    pub(crate) async fn run(
        self,
        bench: &Bench,
        to: SocketAddr,
        process: Option<&Process>,
        cores: &str,
    ) -> Result<Round> {
        let cpu = || process.map_or(Ok(Duration::ZERO), Process::cpu);
        let (before, begun) = (cpu()?, Instant::now());
        let rate = self.put(bench, to, bench.effort.time, cores).await?;
        let (used, took) = ((cpu()? - before).as_secs_f64(), begun.elapsed().as_secs_f64());
        Ok(Round { rate: rate.rate, cpu: used * 1e6 / rate.requests as f64, busy: used / took })
    }

    async fn put(self, bench: &Bench, to: SocketAddr, time: Duration, cores: &str) -> Result<Rate> {
        match self {
            Load::Http1 { path, connections } => {
                wrk::run(&bench.place, wrk::Plan { to, path, connections, time, cores }).await
            }
            Load::Http2(shape) => {
                let (connections, body) = (HTTP2_CONNECTIONS, crate::backends::SMALL);
                h2load::run(&bench.place, h2load::Plan { to, shape, connections, time, cores, body }).await
            }
        }
    }
}

/// All rounds of one, or why there are none.
pub(crate) type Outcome = Result<Vec<Round>, String>;

/// Results by who was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results(pub(crate) BTreeMap<Name, Outcome>);

impl Results {
    /// The rounds of one; none if it failed.
    pub(crate) fn of(&self, name: Name) -> &[Round] {
        self.0.get(&name).and_then(|outcome| outcome.as_deref().ok()).unwrap_or_default()
    }

    /// The median of a figure. `None`: not measured.
    pub(crate) fn median(&self, name: Name, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        let rounds = self.of(name);
        (!rounds.is_empty()).then(|| median(rounds.iter().map(figure)))
    }

    /// The median of the ratios of ours to another's in each round, to two decimals.
    pub(crate) fn ratio(&self, other: Name, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        let pairs = self.of(Name::Penstock).iter().zip(self.of(other));
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
        (!ratios.is_empty()).then(|| hundredths(median(ratios)))
    }

    /// The one of these with the highest figure.
    pub(crate) fn best(&self, names: &[Name], figure: impl Fn(&Round) -> f64) -> Option<Name> {
        let measured = names.iter().filter_map(|name| Some((*name, self.median(*name, &figure)?)));
        measured.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
    }
}

/// Who failed to start, and who runs.
pub(crate) async fn start_all(bench: &Bench) -> BTreeMap<Name, Result<Proxy, String>> {
    let mut all = BTreeMap::new();
    for name in Name::PROXIES {
        let started = peers::start(bench, name, bench.wanted()).await;
        all.insert(name, started.map_err(|error| format!("{error:#}")));
    }
    all
}

/// The order of a round: another one begins each time.
pub(crate) fn order<T: Copy>(all: &[T], round: usize) -> impl Iterator<Item = T> {
    let begin = round % all.len().max(1);
    all[begin..].iter().chain(&all[..begin]).copied()
}

/// Measures all proxies and what there is without one.
pub(crate) async fn measure(
    bench: &Bench,
    load: Load,
    door: impl Fn(&peers::Doors) -> SocketAddr,
    direct: SocketAddr,
) -> Results {
    let proxies = start_all(bench).await;
    let mut results = Results::default();
    let all: Vec<Name> = Name::PROXIES.into_iter().chain([Name::Direct]).collect();
    for round in 0..bench.effort.rounds {
        for name in order(&all, round) {
            let outcome = results.0.entry(name).or_insert_with(|| Ok(Vec::new()));
            let Ok(rounds) = outcome else { continue };
            let measured = match proxies.get(&name) {
                None => load.run(bench, direct, None, &bench.machine.load).await,
                Some(Ok(proxy)) => {
                    load.run(bench, door(&proxy.doors), Some(&proxy.process), &bench.machine.load).await
                }
                Some(Err(why)) => Err(anyhow::anyhow!("{why}")),
            };
            match measured {
                Ok(round) => {
                    say(&format!(
                        "  {:<9}{:>9.0}/s {:>7.2} µs of CPU each",
                        name.words(),
                        round.rate,
                        round.cpu
                    ));
                    rounds.push(round);
                }
                Err(error) => {
                    say(&format!("  {}: {error:#}", name.words()));
                    *outcome = Err(format!("{error:#}"));
                }
            }
        }
    }
    results
}
