//! One thread and two.

use anyhow::Result;

use super::rounds::{Load, Round, order};
use crate::bench::{Bench, say};
use crate::load::connection::wait_until_it_answers;
use crate::machine::Machine;
use crate::numbers::{hundredths, median, whole};
use crate::peers::penstock::{Config, Options, Rollout};
use crate::table::{Goal, Section};

/// From here on, two cores of the proxy leave two to the load.
const ENOUGH_CORES: usize = 4;
const THREADS: [usize; 2] = [1, 2];
const GOAL: f64 = 1.8;

/// Measures our proxy.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let Machine { cores, all, .. } = &bench.machine;
    if *cores < 2 {
        let mut section = Section::new("Scaling", "Not measured: one core.", &[]);
        section.goals.push(Goal::without("scaling from 1 to 2 cores", "≥ 1.8", "one core"));
        return Ok(section);
    }
    let apart = *cores >= ENOUGH_CORES;
    let load_cores = if apart { format!("2-{}", cores - 1) } else { all.clone() };
    let mut proxies = Vec::new();
    for threads in THREADS {
        let mut config = Config::new(&bench.place)?;
        let rollout = Rollout::new("app", bench.backends.ports.http1)?;
        config.write(&rollout)?;
        let cores = if threads == 1 { "0" } else { "0-1" }.to_owned();
        let mut process = config.start(bench, &Options { threads, cores, drain_delay_ms: 0 })?;
        wait_until_it_answers(rollout.door(), &mut process).await?;
        proxies.push((threads, rollout, process, Vec::<Round>::new()));
    }
    for round in 0..bench.effort.rounds {
        for n in order(&[0, 1], round) {
            let Some((threads, rollout, process, rounds)) = proxies.get_mut(n) else { continue };
            let load = Load::Http1 { path: "/", connections: 64 };
            let measured = load.run(bench, rollout.door(), Some(process), &load_cores).await?;
            say(&format!("  {threads} threads: {:.0}/s, {:.2} µs of CPU each", measured.rate, measured.cpu));
            rounds.push(measured);
        }
    }
    let rounds: Vec<&[Round]> = proxies.iter().map(|(.., rounds)| rounds.as_slice()).collect();
    Ok(section(apart, rounds[0], rounds[1]))
}

fn section(apart: bool, one: &[Round], two: &[Round]) -> Section {
    let about = if apart {
        "64 connections; clients and backends on cores of their own. Scaling: requests per second of two threads \
         to those of one."
    } else {
        "64 connections; clients and backends share both cores with the proxy, so requests per second can't \
         double. Scaling: what two seconds of CPU time are enough for with two threads at work at the same time, \
         to what one second is enough for with one."
    };
    let mut section =
        Section::new("From one core to two", about, &["", "per second", "per core", "cores used"]);
    for (words, rounds) in [("1 thread", one), ("2 threads", two)] {
        let figure = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let busy = format!("{:.2}", figure(|round| round.busy));
        section.row([
            words.to_owned(),
            whole(figure(|round| round.rate)),
            whole(figure(Round::per_core)),
            busy,
        ]);
    }
    let factor = |(one, two): (&Round, &Round)| {
        if apart { two.rate / one.rate } else { 2.0 * two.per_core() / one.per_core() }
    };
    let factor = hundredths(median(one.iter().zip(two).map(factor)));
    let how = if apart { "by requests/s" } else { "by CPU per request" };
    section.goals =
        vec![Goal::new("scaling from 1 to 2 cores", "≥ 1.8", format!("{factor:.2} {how}"), factor >= GOAL)];
    section
}
