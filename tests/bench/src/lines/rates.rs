//! Closed loops: requests per second and CPU time for each.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::rounds::{Load, Results, Round, measure};
use crate::bench::Bench;
use crate::load::h2load::Shape;
use crate::numbers::{time, whole};
use crate::peers::Name;
use crate::table::{Goal, Section};

const COLUMNS: [&str; 6] = ["", "per second", "per core", "CPU for each", "core used", "Penstock beside it"];

/// Requests with small answers.
pub(crate) async fn http1(bench: &Bench) -> Result<Section> {
    let load = Load::Http1 { path: "/", connections: 32 };
    let results = measure(bench, load, |doors| doors.http1, local(bench.backends.ports.http1[0])).await;
    let about = "32 kept connections, bodies of 100 bytes.";
    let mut section = section("HTTP/1.1: requests", about, &results);
    let what = "requests/s per core, HTTP/1.1";
    section.goals = vec![
        at_least(what, 1.05, &results, &[Name::Nginx, Name::Haproxy], "the faster of nginx and HAProxy"),
        at_least(what, 2.3, &results, &[Name::Envoy], "Envoy"),
    ];
    Ok(section)
}

/// HTTP/2 from clients, HTTP/1.1 to backends.
pub(crate) async fn http2(bench: &Bench) -> Result<Section> {
    let load = Load::Http2(Shape::Http2 { streams: 16 });
    let results = measure(bench, load, |doors| doors.http2, local(bench.backends.ports.http2[0])).await;
    let about = "8 connections of 16 streams, GET, bodies of 100 bytes; no sticky key is sent.";
    let mut section = section("h2c in front of HTTP/1.1", about, &results);
    section.goals =
        vec![at_least("h2c in front of HTTP/1.1", 1.2, &results, &Name::PEERS, "the fastest peer")];
    Ok(section)
}

/// HTTP/2 on both sides.
pub(crate) async fn through(bench: &Bench) -> Result<Section> {
    let load = Load::Http2(Shape::Grpc { streams: 16 });
    let results = measure(bench, load, |doors| doors.through, local(bench.backends.ports.http2[0])).await;
    let about = "8 connections of 16 streams, POST of a message of 100 bytes, 100 bytes and a `grpc-status` in the \
                 trailers as the answer; no sticky key is sent.";
    let mut section = section("h2c through, as gRPC does it", about, &results);
    section.goals = vec![at_least("h2c through (gRPC)", 1.2, &results, &Name::PEERS, "the fastest peer")];
    Ok(section)
}

/// Bodies of 16 KiB.
pub(crate) async fn middle(bench: &Bench) -> Result<Section> {
    let load = Load::Http1 { path: "/16k", connections: 32 };
    let results = measure(bench, load, |doors| doors.http1, local(bench.backends.ports.http1[0])).await;
    let mut section = section("Bodies of 16 KiB", "32 kept connections, HTTP/1.1.", &results);
    let what = "bodies of 16 KiB per second and core";
    section.goals = vec![at_least(what, 1.0, &results, &Name::PEERS, "the best peer")];
    Ok(section)
}

/// Bodies of 1 MiB.
pub(crate) async fn large(bench: &Bench) -> Result<Section> {
    let load = Load::Http1 { path: "/1m", connections: 8 };
    let results = measure(bench, load, |doors| doors.http1, local(bench.backends.ports.http1[0])).await;
    let mut section = section("Bodies of 1 MiB", "8 kept connections, HTTP/1.1.", &results);
    let best = results.best(&Name::PEERS, Round::per_core);
    let ratio = best.and_then(|best| Some((best, results.ratio(best, |round| round.cpu)?)));
    let (what, goal) = ("CPU per body of 1 MiB", "≤ the best peer");
    section.goals = vec![match ratio {
        Some((best, ratio)) => Goal::new(what, goal, format!("{ratio:.2} × {}", best.words()), ratio <= 1.0),
        None => Goal::without(what, goal, &why(&results, &Name::PEERS)),
    }];
    Ok(section)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// So many times what the best of these does with a second of CPU time.
fn at_least(what: &str, times: f64, results: &Results, others: &[Name], who: &str) -> Goal {
    let goal = format!("≥ {times} × {who}");
    let best = results.best(others, Round::per_core);
    match best.and_then(|best| Some((best, results.ratio(best, Round::per_core)?))) {
        Some((best, ratio)) => {
            Goal::new(what, &goal, format!("{ratio:.2} × {}", best.words()), ratio >= times)
        }
        None => Goal::without(what, &goal, &why(results, others)),
    }
}

/// Why there is nothing to compare.
fn why(results: &Results, others: &[Name]) -> String {
    let failed = |name: &Name| Some(format!("{}: {}", name.words(), results.0.get(name)?.as_ref().err()?));
    let failed: Vec<String> = std::iter::once(&Name::Penstock).chain(others).filter_map(failed).collect();
    failed.join("; ").replace('|', "/").replace('\n', " ")
}

fn section(title: &str, about: &str, results: &Results) -> Section {
    let mut section = Section::new(title, about, &COLUMNS);
    for (name, outcome) in &results.0 {
        let words = name.words().to_owned();
        section.row(match outcome {
            Ok(_) => [vec![words], cells(*name, results)].concat(),
            Err(why) => vec![words, format!("failed: {}", why.replace('|', "/").replace('\n', " "))],
        });
    }
    section
}

fn cells(name: Name, results: &Results) -> Vec<String> {
    let figure = |figure: fn(&Round) -> f64| results.median(name, figure).unwrap_or(0.0);
    let rate = whole(figure(|round| round.rate));
    if name == Name::Direct {
        return vec![rate, "—".into(), "—".into(), "—".into(), "—".into()];
    }
    let beside =
        results.ratio(name, Round::per_core).map_or_else(|| "—".into(), |ratio| format!("{ratio:.2}"));
    let busy = format!("{:.0} %", figure(|round| round.busy) * 100.0);
    let cpu = figure(|round| round.cpu);
    let cpu = if cpu < 100.0 { format!("{cpu:.1} µs") } else { time(cpu) };
    vec![rate, whole(figure(Round::per_core)), cpu, busy, beside]
}
