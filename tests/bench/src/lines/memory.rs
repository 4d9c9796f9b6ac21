//! Memory: idle, under load, for each connection.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backends::Upstreams;
use crate::bench::{Bench, say};
use crate::load::connection::{Connection, get};
use crate::load::server::{Manners, Server};
use crate::load::{crowd, wrk};
use crate::numbers::bytes;
use crate::peers::{self, Name, Proxy, Wanted};
use crate::process::Memory;
use crate::table::{Goal, Section};

const IDLE: usize = 10_000;
const ACTIVE: usize = 2_000;
/// Body of an active connection: one half is under way.
const BODY: usize = 32 << 10;
/// Connections that a proxy must have room for, those to backends included. Each is an open file.
const ROOM: usize = 12_000;
/// Until a proxy has come to rest.
const REST: Duration = Duration::from_millis(1500);
const LOAD: Duration = Duration::from_secs(2);

/// Connections: bytes for each.
#[derive(Clone, Copy, Debug)]
struct Measured {
    idle: Memory,
    load: Memory,
    idle_connection: f64,
    active_connection: f64,
}

/// Measures all proxies, one after the other.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let files = bench.machine.files;
    if files < ROOM as u64 {
        bail!("a process may have {files} open files, {ROOM} are needed");
    }
    let about = format!(
        "Resident memory; pages that a proxy's processes share are counted once; in brackets what is not read \
         from files, as a program's code is. Idle: just started. Under load: wrk with 32 connections. Idle \
         connection: {IDLE} that have had one answer each. Active connection: {ACTIVE} with a request under way, \
         of whose body of 32 KiB one half has come. nginx reserves memory for all connections that it may have: \
         few for the first two columns, {ROOM} for the others."
    );
    let columns = ["", "idle", "under load", "an idle connection", "an active connection"];
    let mut section = Section::new("Memory", &about, &columns);
    for name in Name::PROXIES {
        let memory = one(bench, name).await;
        let cells = match &memory {
            Ok(m) => vec![both(m.idle), both(m.load), bytes(m.idle_connection), bytes(m.active_connection)],
            Err(error) => vec![format!("failed: {error:#}")],
        };
        say(&format!("  {:<9} {}", name.words(), cells.join(", ")));
        section.row([vec![name.words().to_owned()], cells].concat());
        if name == Name::Penstock {
            section.goals = goals(memory);
        }
    }
    Ok(section)
}

fn both(memory: Memory) -> String {
    format!("{} ({})", bytes(memory.resident as f64), bytes(memory.data as f64))
}

fn goals(memory: Result<Measured>) -> Vec<Goal> {
    let memory = match memory {
        Ok(memory) => memory,
        Err(error) => return vec![Goal::without("memory", "", &format!("{error:#}"))],
    };
    let (mib, kib) = (f64::from(1 << 20), 1024.0);
    let goal = |what: &str, most: f64, measured: f64| {
        Goal::new(what, &format!("≤ {}", bytes(most).replace(".0", "")), bytes(measured), measured <= most)
    };
    vec![
        goal("memory, idle", 5.0 * mib, memory.idle.resident as f64),
        goal("memory, under load", 10.0 * mib, memory.load.resident as f64),
        goal("memory of an idle connection", 4.0 * kib, memory.idle_connection),
        goal("memory of an active connection", 16.0 * kib, memory.active_connection),
    ]
}

async fn one(bench: &Bench, name: Name) -> Result<Measured> {
    let mut proxy = peers::start(bench, name, bench.wanted()).await?;
    sleep(REST).await;
    let idle = proxy.process.memory()?;
    let load = under_load(bench, &proxy).await?;
    proxy.process.check()?;
    drop(proxy);
    let idle_connection = idle_connection(bench, name).await?;
    let active_connection = active_connection(bench, name).await?;
    Ok(Measured { idle, load, idle_connection, active_connection })
}

/// The most that was seen.
async fn under_load(bench: &Bench, proxy: &Proxy) -> Result<Memory> {
    let plan = wrk::Plan {
        to: proxy.doors.http1,
        path: "/",
        connections: 32,
        time: LOAD,
        cores: &bench.machine.load,
    };
    let load = wrk::run(&bench.place, plan);
    tokio::pin!(load);
    let mut most = Memory::default();
    loop {
        tokio::select! {
            done = &mut load => return done.map(|_| most),
            () = sleep(Duration::from_millis(100)) => {
                let now = proxy.process.memory()?;
                most = if now.resident > most.resident { now } else { most };
            }
        }
    }
}

async fn idle_connection(bench: &Bench, name: Name) -> Result<f64> {
    let wanted = Wanted { connections: ROOM, ..bench.wanted() };
    let proxy = peers::start(bench, name, wanted).await?;
    sleep(REST).await;
    let before = proxy.process.memory()?;
    let connections = crowd::idle(proxy.doors.http1, IDLE).await?;
    sleep(REST).await;
    let after = proxy.process.memory()?;
    if connections.iter().any(Connection::is_closed) {
        bail!("it has closed idle connections");
    }
    Ok(after.resident.saturating_sub(before.resident) as f64 / IDLE as f64)
}

async fn active_connection(bench: &Bench, name: Name) -> Result<f64> {
    let manners = Manners { body: BODY, in_halves: false, ..Manners::default() };
    let (whole, halves) = (manners, Manners { in_halves: true, ..manners });
    let (first, second) = (Server::start("v1", 0, whole).await?, Server::start("v2", 0, whole).await?);
    let ports = [first.address.port(), second.address.port()];
    let upstreams = Upstreams { http1: ports, ..bench.backends.ports };
    let proxy = peers::start(bench, name, Wanted { upstreams, connections: ROOM }).await?;
    sleep(REST).await;
    let before = proxy.process.memory()?;
    [&first, &second].into_iter().for_each(|server| server.manners(halves));
    let mut clients = JoinSet::new();
    for _ in 0..ACTIVE {
        let to = proxy.doors.http1;
        clients.spawn_local(async move { Connection::open(to).await?.send(&get("/", "")).await });
    }
    let begun = std::time::Instant::now();
    while first.halves() + second.halves() < ACTIVE {
        if begun.elapsed() > Duration::from_secs(8) {
            bail!("only {} of {ACTIVE} requests have reached a backend", first.halves() + second.halves());
        }
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(300)).await;
    let after = proxy.process.memory()?;
    [&first, &second].into_iter().for_each(Server::go_on);
    while let Some(done) = clients.join_next().await {
        let answer = done?.map_err(|failure| anyhow::anyhow!("active connections: {}", failure.words()))?;
        if answer.body.len() != BODY {
            bail!("an answer of {} bytes", answer.body.len());
        }
    }
    Ok(after.resident.saturating_sub(before.resident) as f64 / ACTIVE as f64)
}
