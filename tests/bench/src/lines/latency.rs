//! Latency at a fixed rate.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use super::rounds::{order, start_all};
use crate::bench::{Bench, say};
use crate::load::connection::get;
use crate::load::open::{self, Latencies, Plan};
use crate::numbers::{hundredths, median, time};
use crate::peers::Name;
use crate::table::{Goal, Section};

/// Requests in a second.
const RATE: u32 = 10_000;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
/// Quantiles that are shown.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

type Results = BTreeMap<Name, Result<Vec<Latencies>, String>>;

/// Measures all.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let proxies = start_all(bench).await;
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, bench.backends.ports.http1[0]));
    let (all, mut results) =
        (Name::PROXIES.into_iter().chain([Name::Direct]).collect::<Vec<_>>(), Results::new());
    for round in 0..bench.effort.latency_rounds {
        for name in order(&all, round) {
            let Ok(rounds) = results.entry(name).or_insert_with(|| Ok(Vec::new())) else { continue };
            let to = match proxies.get(&name) {
                None => Ok(direct),
                Some(Ok(proxy)) => Ok(proxy.doors.http1),
                Some(Err(why)) => Err(anyhow::anyhow!("{why}")),
            };
            let measured = match to {
                Ok(to) => one(bench, to).await,
                Err(error) => Err(error),
            };
            match measured {
                Ok(latencies) => {
                    let (p50, p99) = (time(latencies.quantile(0.5)), time(latencies.quantile(0.99)));
                    say(&format!("  {:<9} p50 {p50}, p99 {p99}", name.words()));
                    rounds.push(latencies);
                }
                Err(error) => drop(results.insert(name, Err(format!("{error:#}")))),
            }
        }
    }
    Ok(section(&results))
}

async fn one(bench: &Bench, to: SocketAddr) -> Result<Latencies> {
    let time = bench.effort.time.max(Duration::from_secs(2));
    open::run(
        Plan { to, connections: CONNECTIONS, rate: RATE, time, warm_up: WARM_UP },
        get("/", "x-user: user-1\r\n"),
    )
    .await
}

fn section(results: &Results) -> Section {
    let about = "10,000 requests a second over 64 connections, due at even times whatever becomes of those before; a \
                 latency counts from when its request was due (corrected for coordinated omission).";
    let columns = ["", "p50", "p90", "p99", "p99.9", "longest"];
    let mut section = Section::new("HTTP/1.1: latency at 10,000 requests/s", about, &columns);
    for (name, outcome) in results {
        let mut cells = vec![name.words().to_owned()];
        match outcome {
            Ok(rounds) => {
                cells.extend(QUANTILES.map(|q| time(of(rounds, q))));
                cells.push(time(median(rounds.iter().map(Latencies::longest))));
            }
            Err(why) => cells.push(format!("failed: {why}")),
        }
        section.row(cells);
    }
    section.goals = [("p50", 0.5), ("p99", 0.99)].map(|(words, q)| goal(results, words, q)).into();
    section
}

fn of(rounds: &[Latencies], q: f64) -> f64 {
    median(rounds.iter().map(|latencies| latencies.quantile(q)))
}

fn goal(results: &Results, words: &str, q: f64) -> Goal {
    let what = format!("{words} at 10,000 requests/s");
    let rounds = |name: Name| results.get(&name).and_then(|outcome| outcome.as_deref().ok());
    let measured = Name::PEERS.into_iter().filter_map(|name| Some((name, of(rounds(name)?, q))));
    let best = measured.min_by(|a, b| a.1.total_cmp(&b.1));
    let Some(((best, _), ours)) = best.zip(rounds(Name::Penstock)) else {
        return Goal::without(&what, "≤ the best peer", "it failed, or all peers did; see its section");
    };
    let theirs = rounds(best).unwrap_or_default();
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.quantile(q) / theirs.quantile(q));
    let ratio = hundredths(median(ratios));
    let measured = format!("{}, {ratio:.2} × {}", time(of(ours, q)), best.words());
    Goal::new(&what, "≤ the best peer", measured, ratio <= 1.0)
}
