//! wrk: a closed loop of HTTP/1.1 that costs little.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Rate;
use crate::place::Place;
use crate::process::pinned;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) path: &'a str,
    pub(crate) connections: usize,
    /// Rounded to whole seconds, one at least.
    pub(crate) time: Duration,
    pub(crate) cores: &'a str,
}

/// Runs it. An answer with another status, or a connection that breaks, is an error.
pub(crate) async fn run(place: &Place, plan: Plan<'_>) -> Result<Rate> {
    let script = place.write("requests.lua", include_str!("../../configs/requests.lua"))?;
    let (connections, seconds) =
        (format!("-c{}", plan.connections), format!("-d{}s", plan.time.as_secs().max(1)));
    let mut command = tokio::process::Command::from(pinned("wrk".as_ref(), plan.cores));
    command.args(["-t1", &connections, &seconds, "--timeout", "10s", "-s"]).arg(script);
    command.arg(format!("http://{}{}", plan.to, plan.path)).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.context("run wrk")?;
    parse(&String::from_utf8_lossy(&out.stdout))
}

/// Reads the line of `requests.lua`.
fn parse(text: &str) -> Result<Rate> {
    let line = text.lines().find_map(|line| line.strip_prefix("counted "));
    let line = line.with_context(|| format!("wrk says: {text}"))?;
    let counts: Vec<u64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [requests, microseconds, errors @ ..] = counts.as_slice() else { bail!("wrk says: {line}") };
    if errors.len() != 5 || errors.iter().any(|n| *n > 0) || *requests == 0 {
        bail!(
            "requests have failed (connect, read, write, status, timeout): {errors:?} beside {requests} good ones"
        );
    }
    Ok(Rate { requests: *requests, rate: *requests as f64 * 1e6 / *microseconds as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_request_is_an_error() {
        assert!((parse("x\ncounted 100 1000000 0 0 0 0 0\n").unwrap().rate - 100.0).abs() < 1e-9);
        assert!(parse("counted 100 1000000 0 0 0 1 0\n").is_err());
        assert!(parse("counted 0 1000000 0 0 0 0 0\n").is_err());
        assert!(parse("Requests/sec: 12\n").is_err());
    }
}
