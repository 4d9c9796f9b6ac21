//! h2load: HTTP/2, and HTTP/1.1 at a steady rate.

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
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
    pub(crate) cores: &'a str,
    /// Length of the body that each answer must have.
    pub(crate) body: usize,
}

/// How requests look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// HTTP/2 GETs, so many at a time on a connection.
    Http2 { streams: usize },
    /// HTTP/2 POSTs as gRPC makes them.
    Grpc { streams: usize },
    /// HTTP/1.1 GETs, so many in a second on a connection.
    Http1 { rate: usize },
}

/// Runs it. Answers that are no success or have another length are an error.
pub(crate) async fn run(place: &Place, plan: Plan<'_>) -> Result<Rate> {
    let mut command = tokio::process::Command::from(pinned("h2load".as_ref(), plan.cores));
    command.args(["-t1", &format!("-c{}", plan.connections), &format!("-D{}", plan.time.as_secs().max(1))]);
    match plan.shape {
        Shape::Http2 { streams } => command.arg(format!("-m{streams}")),
        Shape::Grpc { streams } => {
            let message = place.write("message", [b"\0\0\0\0\x5f".as_slice(), &[b'x'; 95]].concat())?;
            command.arg(format!("-m{streams}")).arg("-d").arg(message);
            command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        }
        Shape::Http1 { rate } => command.args(["--h1", "--rps", &rate.to_string()]),
    };
    command.arg(format!("http://{}/", plan.to)).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.context("run h2load")?;
    parse(&String::from_utf8_lossy(&out.stdout), &plan)
}

/// Of requests that are under way at the end, h2load counts bytes and nothing else.
fn parse(text: &str, plan: &Plan<'_>) -> Result<Rate> {
    let line = |name: &str| {
        text.lines().find(|line| line.starts_with(name)).with_context(|| format!("h2load says: {text}"))
    };
    let rate = number_before(line("finished in")?, " req/s")?;
    let requests = line("requests:")?;
    let (good, bad) = (number_before(requests, " succeeded")?, ["failed", "errored", "timeout"]);
    let bad = bad.iter().map(|kind| number_before(requests, &format!(" {kind}"))).sum::<Result<f64>>()?;
    let other =
        ["3xx", "4xx", "5xx"].iter().map(|kind| number_before(line("status codes:")?, &format!(" {kind}")));
    let other: f64 = other.sum::<Result<f64>>()?;
    let bytes = line("traffic:")?.rsplit_once('(').context("no bytes")?.1;
    let bytes: f64 = bytes.split(')').next().unwrap_or_default().parse().context("no bytes")?;
    let wanted = good * plan.body as f64;
    let under_way = (plan.connections * plan.body * 256) as f64;
    if good < 1.0 || bad > 0.0 || other > 0.0 || bytes < wanted || bytes > wanted + under_way {
        bail!("requests have failed: {requests}; {bytes} bytes of body where {wanted} are due");
    }
    Ok(Rate { requests: good as u64, rate })
}

fn number_before(line: &str, what: &str) -> Result<f64> {
    let before = line.split(what).next().filter(|before| before.len() < line.len());
    let number = before.and_then(|before| before.rsplit([' ', ',']).next()?.parse().ok());
    number.with_context(|| format!("no number of{what} in: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "finished in 1.00s, 50000.00 req/s, 5.00MB/s\n\
        requests: 50000 total, 50128 started, 50000 done, 50000 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 50000 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 5.72MB (6000000) total, 500.00KB (512000) headers (space savings 90%), 4.77MB (5000000) data\n";

    fn plan() -> Plan<'static> {
        let to = SocketAddr::from(([127, 0, 0, 1], 1));
        let shape = Shape::Http2 { streams: 1 };
        Plan { to, shape, connections: 1, time: Duration::from_secs(1), cores: "0", body: 100 }
    }

    #[test]
    fn bodies_that_are_missing_or_failed_requests_are_an_error() {
        assert_eq!(parse(SAID, &plan()).unwrap().requests, 50_000);
        for (from, to) in [
            ("(5000000)", "(4999900)"),
            ("0 failed", "1 failed"),
            ("0 5xx", "3 5xx"),
            ("0 timeout", "1 timeout"),
        ] {
            assert!(parse(&SAID.replace(from, to), &plan()).is_err(), "{to}");
        }
    }
}
