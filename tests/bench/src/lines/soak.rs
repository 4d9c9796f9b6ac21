//! Many minutes near the highest load, with a reload each second.

use std::cell::RefCell;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, interval};

use super::rounds::Load;
use crate::backends::SMALL;
use crate::bench::Bench;
use crate::load::connection::wait_until_it_answers;
use crate::load::h2load::{self, Shape};
use crate::machine::Machine;
use crate::numbers::{bytes, whole};
use crate::peers::penstock::{Config, Options, ROLLOUTS, Rollout};
use crate::process::Process;

/// Of the highest load.
const SHARE: f64 = 0.8;
const CONNECTIONS: usize = 32;
/// Clients connect anew after this time, so that both kept and new connections are under load.
const SEGMENT: Duration = Duration::from_secs(60);
/// Memory at the end to that after the first part: so much more is no growth, in bytes.
const ALLOWED: u64 = 1 << 20;
/// Each so many reloads the memory is printed.
const SHOWN: u64 = 10;

/// Runs it. 0: nothing failed and memory is flat.
pub(crate) async fn run(bench: &Bench, minutes: u64) -> Result<ExitCode> {
    let mut config = Config::new(&bench.place)?;
    let rollout = Rollout::new("app", bench.backends.ports.http1)?;
    config.write(&rollout)?;
    for n in 1..ROLLOUTS {
        config.write(&Rollout::new(&format!("other-{n}"), bench.backends.ports.http1)?)?;
    }
    let mut process = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    let most = Load::Http1 { path: "/", connections: CONNECTIONS };
    let most = most.run(bench, rollout.door(), Some(&process), &bench.machine.load).await?.rate;
    let rate = (most * SHARE / CONNECTIONS as f64) as usize;
    tell(&format!(
        "at most {}/s; {}/s for {minutes} minutes",
        whole(most),
        whole((rate * CONNECTIONS) as f64)
    ))?;
    let (watched, time) = (RefCell::new(Vec::new()), Duration::from_secs(60 * minutes.max(1)));
    let requests = tokio::select! {
        requests = load(bench, &rollout, rate, time) => requests?,
        failed = watch(&mut config, rollout.clone(), &process, &watched) => return Err(failed.err().context("the watch has ended")?),
    };
    process.check()?;
    let watched = watched.take();
    verdict(requests, watched.len(), &watched)
}

/// Sends requests, and gives up at the first that fails. How many there were.
async fn load(bench: &Bench, rollout: &Rollout, rate: usize, time: Duration) -> Result<u64> {
    let (begun, mut requests) = (Instant::now(), 0);
    while begun.elapsed() + Duration::from_secs(1) < time {
        let time = SEGMENT.min(time - begun.elapsed());
        let plan = h2load::Plan {
            to: rollout.door(),
            shape: Shape::Http1 { rate },
            connections: CONNECTIONS,
            time,
            cores: &bench.machine.load,
            body: SMALL,
        };
        requests += h2load::run(&bench.place, plan).await?.requests;
    }
    Ok(requests)
}

/// Changes the weights each second, and notes the memory. Ends only when it fails.
async fn watch(
    config: &mut Config,
    mut rollout: Rollout,
    process: &Process,
    watched: &RefCell<Vec<u64>>,
) -> Result<()> {
    let (mut seconds, begun) = (interval(Duration::from_secs(1)), Instant::now());
    loop {
        seconds.tick().await;
        rollout.canary = (rollout.canary + 10) % 100;
        let generation = config.write(&rollout)?;
        let memory = process.memory()?.resident;
        watched.borrow_mut().push(memory);
        if generation % SHOWN == 0 {
            let seconds = begun.elapsed().as_secs();
            tell(&format!(
                "{:>5} s  {}  load average {}",
                seconds,
                bytes(memory as f64),
                Machine::load_average()
            ))?;
        }
    }
}

fn verdict(requests: u64, reloads: usize, memory: &[u64]) -> Result<ExitCode> {
    let third = memory.len().div_ceil(3).max(1);
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, last) =
        (most(&memory[..third.min(memory.len())]), most(&memory[memory.len().saturating_sub(third)..]));
    let flat = last <= first + ALLOWED;
    tell(&format!("{} requests, 0 failed, {reloads} reloads", whole(requests as f64)))?;
    let words = if flat { "flat" } else { "it GROWS" };
    tell(&format!(
        "memory: {} at most in the first third, {} in the last: {words}",
        bytes(first as f64),
        bytes(last as f64)
    ))?;
    Ok(if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "soak: {line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_fails_the_soak() {
        let code = |memory: &[u64]| format!("{:?}", verdict(1, 1, memory).unwrap());
        assert_eq!(code(&[5 << 20; 30]), format!("{:?}", ExitCode::SUCCESS));
        let grows: Vec<u64> = (0..30).map(|n| (5 << 20) + (n << 17)).collect();
        assert_eq!(code(&grows), format!("{:?}", ExitCode::FAILURE));
    }
}
