//! What a request costs when tables and crowds grow.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::rounds::{Load, Round, order};
use crate::bench::{Bench, say};
use crate::load::connection::{Connection, wait_until_it_answers};
use crate::load::{crowd, wrk};
use crate::numbers::{hundredths, median, whole};
use crate::peers::penstock::{Config, Options, Rollout};
use crate::process::Process;
use crate::table::{Goal, Section};

/// Rollouts in the largest table.
pub(crate) const ROLLOUTS: usize = 1_000;
/// Endpoints of the largest Rollout, both revisions together.
const ENDPOINTS: usize = 2_000;
/// Open connections of clients, of which [`BUSY`] are at work.
const CONNECTIONS: [usize; 3] = [32, 1_000, 10_000];
const BUSY: usize = 32;
const FILES: u64 = 12_000;
/// Files that are younger than two seconds are read again.
const SETTLED: Duration = Duration::from_millis(2500);
/// Until there are connections to all endpoints.
const WARM_UP: Duration = Duration::from_secs(1);

/// A proxy with the size that it stands for.
struct Size {
    words: String,
    to: SocketAddr,
    process: Process,
    /// Those that only stand there.
    _idle: Vec<Connection>,
    rounds: Vec<Round>,
}

/// Measures our proxy with each size.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let about = "penstock-proxy alone, HTTP/1.1, bodies of 100 bytes, 32 busy connections; further connections \
                 are open and idle. Rollouts have a port and a table each; endpoints are addresses of \
                 127.0.0.0/8.";
    let mut section = Section::new("Growth", about, &["", "per second", "per core", "beside the smallest"]);
    for (what, sizes) in [("Rollouts", tables(bench).await?), ("endpoints", endpoints(bench).await?)] {
        let change = rounds(bench, sizes, &mut section).await?;
        let what = format!("{what}: {}", if what == "Rollouts" { "1 → 1,000" } else { "2 → 2,000" });
        let measured = format!("{:+.0} %", (change - 1.0) * 100.0);
        section.goals.push(Goal::new(&what, "less than 5 % slower per core", measured, change > 0.95));
    }
    if bench.machine.files >= FILES {
        rounds(bench, crowds(bench).await?, &mut section).await?;
    } else {
        section.row([format!(
            "connections: not measured, a process may have {} open files",
            bench.machine.files
        )]);
    }
    Ok(section)
}

/// How the largest compares to the smallest.
async fn rounds(bench: &Bench, mut sizes: Vec<Size>, section: &mut Section) -> Result<f64> {
    let all: Vec<usize> = (0..sizes.len()).collect();
    for round in 0..bench.effort.rounds {
        for n in order(&all, round) {
            let Some(size) = sizes.get_mut(n) else { continue };
            let load = Load::Http1 { path: "/", connections: BUSY };
            let measured = load.run(bench, size.to, Some(&size.process), &bench.machine.load).await?;
            say(&format!("  {}: {:.0}/s, {:.2} µs of CPU each", size.words, measured.rate, measured.cpu));
            size.rounds.push(measured);
        }
    }
    let mut change = 1.0;
    for size in &sizes {
        let pairs = size.rounds.iter().zip(sizes.first().map(|s| s.rounds.as_slice()).unwrap_or_default());
        change = hundredths(median(pairs.map(|(this, smallest)| this.per_core() / smallest.per_core())));
        let figure = |figure: fn(&Round) -> f64| whole(median(size.rounds.iter().map(figure)));
        section.row([
            size.words.clone(),
            figure(|r| r.rate),
            figure(Round::per_core),
            format!("{change:.2}"),
        ]);
    }
    Ok(change)
}

async fn tables(bench: &Bench) -> Result<Vec<Size>> {
    let mut sizes = Vec::new();
    for count in [1, ROLLOUTS] {
        let mut config = Config::new(&bench.place)?;
        let rollouts = many(&mut config, count, bench.backends.ports.http1)?;
        sizes.push(start(bench, &config, &rollouts[0], counted(count, "Rollout")).await?);
    }
    Ok(sizes)
}

fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", whole(count as f64), if count == 1 { "" } else { "s" })
}

/// Writes so many Rollouts.
pub(crate) fn many(config: &mut Config, count: usize, ports: [u16; 2]) -> Result<Vec<Rollout>> {
    let rollouts: Vec<Rollout> =
        (0..count).map(|n| Rollout::new(&format!("app-{n}"), ports)).collect::<Result<_>>()?;
    for rollout in &rollouts {
        config.write(rollout)?;
    }
    Ok(rollouts)
}

async fn endpoints(bench: &Bench) -> Result<Vec<Size>> {
    let mut sizes = Vec::new();
    for count in [2, ENDPOINTS] {
        let mut config = Config::new(&bench.place)?;
        let mut rollout = Rollout::new("app", bench.backends.ports.http1)?;
        rollout.endpoints = bench.backends.ports.http1.map(|port| addresses(count / 2, port));
        config.write(&rollout)?;
        sizes.push(start(bench, &config, &rollout, format!("{} endpoints", whole(count as f64))).await?);
    }
    Ok(sizes)
}

/// So many addresses of this machine with one port.
fn addresses(count: usize, port: u16) -> Vec<SocketAddr> {
    let address = |n: usize| {
        let [.., high, low] = n.to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(127, 1, high, low), port))
    };
    (1..=count).map(address).collect()
}

async fn crowds(bench: &Bench) -> Result<Vec<Size>> {
    let mut sizes = Vec::new();
    for connections in CONNECTIONS {
        let mut config = Config::new(&bench.place)?;
        let rollouts = many(&mut config, 1, bench.backends.ports.http1)?;
        let words = format!("{} connections", whole(connections as f64));
        let size = start(bench, &config, &rollouts[0], words).await?;
        let idle = crowd::idle(size.to, connections - BUSY).await?;
        sizes.push(Size { _idle: idle, ..size });
    }
    Ok(sizes)
}

async fn start(bench: &Bench, config: &Config, rollout: &Rollout, words: String) -> Result<Size> {
    let mut process = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    sleep(SETTLED).await;
    let warm_up = wrk::Plan {
        to: rollout.door(),
        path: "/",
        connections: BUSY,
        time: WARM_UP,
        cores: &bench.machine.load,
    };
    wrk::run(&bench.place, warm_up).await?;
    Ok(Size { words, to: rollout.door(), process, _idle: Vec::new(), rounds: Vec::new() })
}
