//! Requests that fail while something happens that is nobody's business.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::backends::Upstreams;
use crate::bench::{Bench, say};
use crate::load::closed::{Clients, Phase, Tally};
use crate::load::connection::{get, wait_until_it_answers};
use crate::load::server::{Manners, Server};
use crate::peers::penstock::{Config, Options, Rollout};
use crate::peers::{self, Name, Wanted};
use crate::table::{Goal, Section};

const CLIENTS: usize = 32;
/// After how many answers a backend of the race closes a connection.
const ANSWERS: usize = 50;
const RELOADS: Duration = Duration::from_millis(50);
/// How long a proxy that leaves serves on; new connections go elsewhere after half of it.
const LEAVING: Duration = Duration::from_secs(1);
/// How long a proxy may take to have drained.
const DRAINED: Duration = Duration::from_secs(15);
/// From the change of the endpoints to the end of the backend: what a pod has at least.
const NOTICE: Duration = Duration::from_millis(100);

/// Measures all of it.
pub(crate) async fn measure(bench: &Bench) -> Result<Section> {
    let about = "32 clients in a closed loop; each answer has to have status 200 and its whole body. Keep-alive \
                 race: backends close each connection a millisecond after its 50th answer, without having said \
                 so and without reading on. Reload: the weights change every 50 ms. Removal: endpoints leave the \
                 slice, and 100 ms later the backend closes its port and its connections. Drain: SIGTERM; \
                 clients use the connections that they have until told to close. Restart: a second proxy with \
                 the same configuration and the same `--handover` starts beside the first, which ends.";
    let mut section = Section::new("Failed requests", about, &["", "", "failed"]);
    for name in Name::PROXIES {
        let tally = race(bench, name).await;
        note(&mut section, "keep-alive race", name, tally);
    }
    note(&mut section, "reload", Name::Penstock, reload(bench).await);
    note(&mut section, "removal of endpoints", Name::Penstock, removal(bench).await);
    note(&mut section, "drain", Name::Penstock, drain(bench).await);
    note(&mut section, "restart", Name::Penstock, restart(bench).await);
    Ok(section)
}

/// A row, and for our proxy the goal.
fn note(section: &mut Section, what: &str, name: Name, tally: Result<Tally>) {
    let words = tally.as_ref().map_or_else(|error| format!("{error:#}"), Tally::words);
    say(&format!("  {what}, {}: {words}", name.words()));
    section.row([what.to_owned(), name.words().to_owned(), words.clone()]);
    if name != Name::Penstock {
        return;
    }
    let what = format!("failed requests: {what}");
    section.goals.push(match tally {
        Ok(tally) => Goal::new(&what, "0", words, tally.failed() == 0 && tally.good > 0),
        Err(_) => Goal::without(&what, "0", &words),
    });
}

fn time(bench: &Bench) -> Duration {
    bench.effort.time.max(Duration::from_secs(1)) * 2
}

fn requests() -> Vec<Vec<u8>> {
    (1..=8).map(|user| get("/", &format!("x-user: user-{user}\r\n"))).collect()
}

async fn race(bench: &Bench, name: Name) -> Result<Tally> {
    let manners = Manners { answers: ANSWERS, ..Manners::default() };
    let backends = [Server::start("v1", 0, manners).await?, Server::start("v2", 0, manners).await?];
    let http1 = [backends[0].address.port(), backends[1].address.port()];
    let upstreams = Upstreams { http1, ..bench.backends.ports };
    let proxy = peers::start(bench, name, Wanted { upstreams, ..bench.wanted() }).await?;
    let clients = Clients::start(proxy.doors.http1, CLIENTS, requests());
    sleep(time(bench)).await;
    Ok(clients.stop().await)
}

async fn reload(bench: &Bench) -> Result<Tally> {
    let mut config = Config::new(&bench.place)?;
    let mut rollout = Rollout::new("app", bench.backends.ports.http1)?;
    config.write(&rollout)?;
    let mut process = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    let clients = Clients::start(rollout.door(), CLIENTS, requests());
    let until = Instant::now() + time(bench);
    while Instant::now() < until {
        rollout.canary = (rollout.canary + 10) % 100;
        config.write(&rollout)?;
        sleep(RELOADS).await;
    }
    Ok(clients.stop().await)
}

async fn removal(bench: &Bench) -> Result<Tally> {
    let mut servers = Vec::new();
    for n in 0..4 {
        servers.push(Server::start(&format!("pod-{n}"), 0, Manners::default()).await?);
    }
    let mut config = Config::new(&bench.place)?;
    let mut rollout = Rollout::new("app", [1, 2])?;
    let apply = |rollout: &mut Rollout, servers: &[Server], config: &mut Config| {
        rollout.endpoints[0] = servers[1..].iter().map(|server| server.address).collect();
        rollout.endpoints[1] = vec![servers[0].address];
        config.write(rollout)
    };
    apply(&mut rollout, &servers, &mut config)?;
    let mut process = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    let clients = Clients::start(rollout.door(), CLIENTS, requests());
    let until = Instant::now() + time(bench);
    while Instant::now() < until {
        let gone = servers.remove(1);
        apply(&mut rollout, &servers, &mut config)?;
        sleep(NOTICE).await;
        gone.leave().await;
        servers.push(Server::start("pod", 0, Manners::default()).await?);
        apply(&mut rollout, &servers, &mut config)?;
        sleep(NOTICE).await;
    }
    Ok(clients.stop().await)
}

async fn drain(bench: &Bench) -> Result<Tally> {
    let mut config = Config::new(&bench.place)?;
    let rollout = Rollout::new("app", bench.backends.ports.http1)?;
    config.write(&rollout)?;
    let delay = u32::try_from(LEAVING.as_millis()).unwrap_or(u32::MAX);
    let options = Options { drain_delay_ms: delay, ..Options::one_worker(bench) };
    let mut process = config.start(bench, &options)?;
    wait_until_it_answers(rollout.door(), &mut process).await?;
    let mut clients = Clients::start(rollout.door(), CLIENTS, requests());
    sleep(time(bench) / 2).await;
    process.signal(Signal::TERM)?;
    sleep(LEAVING / 2).await;
    clients.may(Phase::Stay);
    let until = Instant::now() + DRAINED;
    while clients.left() > 0 || !process.ended() {
        if Instant::now() > until {
            anyhow::bail!(
                "it has not drained within {} s, {} clients are left",
                DRAINED.as_secs(),
                clients.left()
            );
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(clients.stop().await)
}

async fn restart(bench: &Bench) -> Result<Tally> {
    let mut config = Config::new(&bench.place)?;
    let rollout = Rollout::new("app", bench.backends.ports.http1)?;
    config.write(&rollout)?;
    let mut old = config.start(bench, &Options::one_worker(bench))?;
    wait_until_it_answers(rollout.door(), &mut old).await?;
    let clients = Clients::start(rollout.door(), CLIENTS, requests());
    sleep(time(bench) / 2).await;
    let _new = config.start(bench, &Options::one_worker(bench))?;
    let begun = Instant::now();
    while !old.ended() {
        if begun.elapsed() > DRAINED {
            anyhow::bail!("the first proxy has not ended within {} s", DRAINED.as_secs());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let before = clients.good();
    sleep(time(bench)).await;
    if clients.good() == before {
        say("  the second proxy has answered nothing");
    }
    Ok(clients.stop().await)
}
