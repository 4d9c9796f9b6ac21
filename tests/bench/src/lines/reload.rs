//! A change of one Rollout in the largest table, under load.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::growth::{ROLLOUTS, many};
use crate::bench::Bench;
use crate::load::connection::{get, wait_until_it_answers};
use crate::load::open::{self, Latencies, Plan};
use crate::numbers::{median, time, whole};
use crate::peers::penstock::{Config, Options, Rollout};
use crate::process::Process;
use crate::table::{Goal, Section};

/// Requests in a second, far from what keeps a core busy.
const RATE: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(250);
/// A request that takes longer is a slow one, in microseconds.
const SLOW: u64 = 10_000;
const A_DAY: f64 = 86_400e6;

/// Measures our proxy.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let mut config = Config::new(&bench.place)?;
    let mut rollouts = many(&mut config, ROLLOUTS, bench.backends.ports.http1)?;
    let mut process = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollouts[0].door(), &mut process).await?;
    let plan = plan(bench, &rollouts[0]);
    let quiet = open::run(plan, get("/", "")).await?;
    let (busy, took) =
        tokio::join!(open::run(plan, get("/", "")), changes(&mut config, &mut rollouts, &process, plan));
    Ok(section(&quiet, &busy?, &took?))
}

fn plan(bench: &Bench, rollout: &Rollout) -> Plan {
    let time = bench.effort.time.max(Duration::from_secs(1)) * 4;
    Plan { to: rollout.door(), connections: 32, rate: RATE, time, warm_up: Duration::from_millis(500) }
}

/// Microseconds of each change, from its first letter on disk to the table in effect as the proxy logs it.
async fn changes(
    config: &mut Config,
    rollouts: &mut [Rollout],
    process: &Process,
    plan: Plan,
) -> Result<Vec<f64>> {
    let mut begun = Vec::new();
    sleep(plan.warm_up).await;
    for n in 0..plan.time.as_millis() / PAUSE.as_millis() {
        // The Rollout under load every second time, another one in between.
        let which = if n % 2 == 0 { 0 } else { rollouts.len() / 2 };
        let Some(rollout) = rollouts.get_mut(which) else { break };
        rollout.canary = if rollout.canary == 10 { 20 } else { 10 };
        let from = time_of_day()?;
        begun.push((config.write(rollout)?, from));
        sleep(PAUSE).await;
    }
    let said = process.said();
    begun
        .iter()
        .map(|(generation, from)| Ok((logged(&said, *generation)? - from).rem_euclid(A_DAY)))
        .collect()
}

/// Microseconds since midnight.
fn time_of_day() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as f64 % A_DAY)
}

/// The time of day at which a generation is said to be in effect.
fn logged(said: &str, generation: u64) -> Result<f64> {
    let wanted = format!("generation={generation} ");
    let line = said.lines().find(|line| line.contains("table in effect") && line.contains(&wanted));
    let line = line.with_context(|| format!("generation {generation} did not get into effect"))?;
    let clock =
        line.split('T').nth(1).and_then(|rest| rest.split('Z').next()).context("no time in the log")?;
    let parts: Vec<f64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts.as_slice() else { anyhow::bail!("odd time in the log: {clock}") };
    Ok(((hours * 60.0 + minutes) * 60.0 + seconds) * 1e6)
}

fn section(quiet: &Latencies, busy: &Latencies, took: &[f64]) -> Section {
    let about = format!(
        "{} Rollouts with {} endpoints in one folder; every {} ms one file is replaced, that of the Rollout \
         under load every second time, while {} requests a second come in an open loop. The reload takes from \
         before the file is written to the table in effect, writing and reading of the file included. A slow request takes more than \
         {} ms.",
        whole(ROLLOUTS as f64),
        whole(2.0 * ROLLOUTS as f64),
        PAUSE.as_millis(),
        whole(f64::from(RATE)),
        SLOW / 1000
    );
    let mut section =
        Section::new("Reload of the largest table", &about, &["", "p50", "p99", "longest", "slow requests"]);
    let longest = took.iter().copied().fold(0.0, f64::max);
    let middle = median(took.iter().copied());
    for (words, latencies) in [("requests without reloads", quiet), ("requests with reloads", busy)] {
        let slow = format!("{} of {}", latencies.slower_than(SLOW), whole(latencies.count() as f64));
        let cells = [latencies.quantile(0.5), latencies.quantile(0.99), latencies.longest()].map(time);
        section.row([vec![words.to_owned()], cells.into(), vec![slow]].concat());
    }
    section.row([
        format!("{} reloads", took.len()),
        time(middle),
        String::new(),
        time(longest),
        String::new(),
    ]);
    let duration = format!("{} (median), {} (longest)", time(middle), time(longest));
    section.goals = vec![
        Goal::new("reload of the largest table", "< 10 ms", duration, middle < SLOW as f64),
        slow_requests(quiet, busy),
    ];
    section
}

/// Where requests are slow without a reload, others keep the machine busy, and nothing can be said.
fn slow_requests(quiet: &Latencies, busy: &Latencies) -> Goal {
    let (what, before, slow) = ("slow requests at reloads", quiet.slower_than(SLOW), busy.slower_than(SLOW));
    if before > 0 && slow > 0 {
        let why =
            format!("others kept the machine busy: {before} were slow without a reload, {slow} with reloads");
        return Goal::without(what, "0", &why);
    }
    let measured =
        format!("{slow}, the slowest {}; without reloads {}", time(busy.longest()), time(quiet.longest()));
    Goal::new(what, "0", measured, slow == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_reload_is_read_from_the_log() {
        let said =
            "2026-01-02T00:00:01.500000Z  INFO x: table in effect namespace=\"a\" generation=17 weights=1\n";
        assert!((logged(said, 17).unwrap() - 1.5e6).abs() < 1e-3);
        assert!(logged(said, 1).is_err());
    }
}
