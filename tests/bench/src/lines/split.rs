//! The split, seen from outside: one request after the other, across threads, under reload.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};

use crate::bench::{Bench, Effort, say};
use crate::load::connection::{Connection, get, wait_until_it_answers};
use crate::load::server::{Manners, Server};
use crate::numbers::whole;
use crate::peers::penstock::{Config, Options, Rollout};
use crate::table::{Goal, Section};

/// Any so many consecutive requests are looked at.
const WINDOW: usize = 1_000;
/// So that requests come to all threads.
const CONNECTIONS: usize = 16;
const RELOADS: Duration = Duration::from_millis(20);
const WEIGHTS: [u8; 3] = [10, 25, 37];

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    Nothing,
    /// Endpoints come and go.
    Endpoints,
    /// The controller writes a new split with the same weights.
    Generation,
}

impl Reload {
    const ALL: [Reload; 3] = [Reload::Nothing, Reload::Endpoints, Reload::Generation];

    fn words(self) -> &'static str {
        match self {
            Reload::Nothing => "nothing",
            Reload::Endpoints => "endpoints change",
            Reload::Generation => "a new split of the same weights",
        }
    }
}

/// Measures our proxy with two threads.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let requests = if bench.effort.rounds > Effort::QUICK.rounds { 20_000 } else { 4_000 };
    let about = format!(
        "Requests one after the other over {CONNECTIONS} connections in turn, to a proxy with two threads, and a \
         reload each {} ms: how far the canary's share of any {} consecutive requests is from its weight. A new \
         split (a higher generation) begins where it wants to, so the windows that span one are shown and not \
         judged. Many threads at once on one counter, with random weights: `cargo bench -p penstock-proxy \
         --bench split`.",
        RELOADS.as_millis(),
        whole(WINDOW as f64)
    );
    let columns = ["weight of the canary", "meanwhile", "requests", "reloads", "largest deviation"];
    let mut section = Section::new("Split", &about, &columns);
    let mut worst: f64 = 0.0;
    for (canary, reload) in WEIGHTS.into_iter().flat_map(|canary| Reload::ALL.map(|reload| (canary, reload)))
    {
        let (deviation, reloads) = one(bench, canary, requests, reload).await?;
        let words = reload.words();
        say(&format!("  {canary} %, {words}, {reloads} reloads: off by {deviation:.2}"));
        if reload != Reload::Generation {
            worst = worst.max(deviation);
        }
        let numbers = [whole(requests as f64), reloads.to_string(), format!("{deviation:.2}")];
        section.row([format!("{canary} %"), words.to_owned()].into_iter().chain(numbers));
    }
    let what = "split in any 1,000 requests, across threads, under reload";
    let measured = format!("{worst:.2} requests");
    section.goals = vec![Goal::new(what, "off by ≤ 1", measured, worst <= 1.0 + 1e-9)];
    Ok(section)
}

async fn one(bench: &Bench, canary: u8, requests: usize, reload: Reload) -> Result<(f64, usize)> {
    let mut servers = Vec::new();
    for name in ["v1", "v2", "v1"] {
        servers.push(Server::start(name, 0, Manners::default()).await?);
    }
    let mut config = Config::new(&bench.place)?;
    let rollout = Rollout::new("app", [servers[0].address.port(), servers[1].address.port()])?;
    let mut rollout = Rollout { canary, ..rollout };
    config.write(&rollout)?;
    let options = Options { threads: 2, cores: bench.machine.all.clone(), drain_delay_ms: 0 };
    let mut process = config.start(bench, &options)?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    let mut reloads = 0;
    let answers = answers(rollout.door(), requests);
    tokio::pin!(answers);
    let mut next = Instant::now();
    let answers = loop {
        tokio::select! {
            answers = &mut answers => break answers?,
            () = sleep_until(next), if reload != Reload::Nothing => {
                if reload == Reload::Generation {
                    config.write(&rollout)?;
                } else {
                    let more = servers[2].address;
                    let stable = &mut rollout.endpoints[0];
                    if stable.pop_if(|last| *last == more).is_none() {
                        stable.push(more);
                    }
                    config.rewrite(&rollout)?;
                }
                (reloads, next) = (reloads + 1, next + RELOADS);
            }
        }
    };
    Ok((largest_deviation(&answers, f64::from(canary) / 100.0), reloads))
}

/// Whether the canary has answered, in the order of the requests.
async fn answers(to: SocketAddr, requests: usize) -> Result<Vec<bool>> {
    let (mut connections, mut answers) = (Vec::new(), Vec::with_capacity(requests));
    let failed = |failure: crate::load::connection::Failure| anyhow::anyhow!(failure.words());
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(to).await.map_err(failed)?);
    }
    for n in 0..requests {
        let connection = connections.get_mut(n % CONNECTIONS).context("no connection")?;
        answers.push(connection.send(&get("/", "")).await.map_err(failed)?.body == b"v2");
    }
    Ok(answers)
}

fn largest_deviation(answers: &[bool], share: f64) -> f64 {
    let windows = answers.windows(WINDOW.min(answers.len().max(1)));
    let deviation = |window: &[bool]| {
        let got = window.iter().filter(|canary| **canary).count();
        (got as f64 - share * window.len() as f64).abs()
    };
    windows.map(deviation).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_requests_to_one_side_is_seen() {
        let even: Vec<bool> = (0..3000).map(|n| n % 10 == 0).collect();
        assert!(largest_deviation(&even, 0.1) < 1e-9);
        let mut uneven = even;
        uneven[1501..1506].fill(true);
        assert!((largest_deviation(&uneven, 0.1) - 5.0).abs() < 1e-9);
    }
}
