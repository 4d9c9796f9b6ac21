//! What real proxies count is what a client counted, through a real Prometheus and without one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use penstock_core::revision::Revision;
use penstock_core::sample::{Asks, Counts, Question, Reading, Sample};
use penstock_core::time::Time;
use penstock_driver::ask::prometheus::PrometheusSource;
use penstock_driver::ask::proxies::Proxies;
use penstock_signals::RolloutName;
use penstock_tests::config::{NAMESPACE, ROLLOUT};
use penstock_tests::{Backend, Client, Config, PATIENCE, Prometheus, Proxy, client, port, wait_until};
use rustix::process::Signal;

const STABLE: &str = "5c6b7";
const CANARY: &str = "7d9f8";
const TIMEOUT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_millis(1200);

/// Proxies that split half and half between two revisions, and a Prometheus that scrapes them.
struct World {
    proxies: Vec<Proxy>,
    apexes: Vec<SocketAddr>,
    stable: Backend,
    canary: Backend,
    prometheus: Prometheus,
    _configs: Vec<Config>,
}

impl World {
    async fn start(proxies: usize) -> World {
        let (stable, canary) = (Backend::start(STABLE).await.unwrap(), Backend::start(CANARY).await.unwrap());
        let configs: Vec<Config> = (0..proxies).map(|_| config(&stable, &canary)).collect();
        let mut running = Vec::new();
        for (number, config) in configs.iter().enumerate() {
            let proxy = Proxy::start(config, &format!("router-{number}")).await.unwrap();
            proxy.applies(1).await.unwrap();
            running.push(proxy);
        }
        let admins: Vec<String> = running.iter().map(|p| p.admin().to_owned()).collect();
        let prometheus = Prometheus::start(&admins).await.unwrap();
        let apexes = configs.iter().map(Config::apex).collect();
        World { proxies: running, apexes, stable, canary, prometheus, _configs: configs }
    }

    fn admins(&self) -> Vec<String> {
        self.proxies.iter().map(|p| p.admin().to_owned()).collect()
    }

    async fn by_prometheus(&self, revision: &str, asks: Asks) -> Result<Sample, String> {
        let source = PrometheusSource::new(&self.prometheus.address(), TIMEOUT).unwrap();
        let mut answers = source.ask(&checkout(), &[question(revision, asks)], now()).await;
        answers.remove(0).result.map_err(|no| no.0)
    }

    async fn by_proxies(&self, revision: &str, asks: Asks) -> Result<Sample, String> {
        let source = Proxies::new(TIMEOUT).unwrap();
        let mut answers = source.ask(&self.admins(), &checkout(), &[question(revision, asks)], now()).await;
        answers.remove(0).result.map_err(|no| no.0)
    }

    /// Waits until the proxies, and then Prometheus, have counted so much.
    async fn counted(&self, revision: &str, asks: Asks, expected: Counts) {
        let (what, limit) = (format!("{expected:?} of {revision} are counted"), PATIENCE);
        let direct = wait_until(&what, limit, async || {
            all_of(self.by_proxies(revision, asks.clone()).await, expected)
        });
        let direct = direct.await.unwrap();
        // A proxy that Prometheus has never scraped yet is in no answer of it.
        let scraped = wait_until(&what, limit, async || {
            let scraped = all_of(self.by_prometheus(revision, asks.clone()).await, expected)?;
            if scraped != direct { bail!("by instance {scraped:?} instead of {direct:?}") } else { Ok(()) }
        });
        scraped.await.unwrap();
    }
}

fn config(stable: &Backend, canary: &Backend) -> Config {
    let config = Config::new(port::free().unwrap(), "1.2").unwrap();
    config.endpoints(STABLE, &[stable.address()]).unwrap();
    config.endpoints(CANARY, &[canary.address()]).unwrap();
    config.split(1, &[(STABLE, 50), (CANARY, 50)]).unwrap();
    config
}

fn checkout() -> RolloutName {
    RolloutName { namespace: NAMESPACE.to_owned(), name: ROLLOUT.to_owned() }
}

fn question(revision: &str, asks: Asks) -> Question {
    Question {
        metric: "m".to_owned(),
        revision: Revision::new(revision).unwrap(),
        stable: Revision::new(STABLE).unwrap(),
        asks,
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time(u64::try_from(since.as_millis()).unwrap())
}

/// The counters by instance, if their sums are as expected.
fn all_of(answer: Result<Sample, String>, expected: Counts) -> Result<BTreeMap<String, Counts>> {
    let Reading::Counts { instances, edge, .. } = answer.map_err(anyhow::Error::msg)?.value else {
        bail!("a value")
    };
    let sum = |of: fn(&Counts) -> u64| instances.values().map(of).sum::<u64>();
    let sums = Counts { total: sum(|c| c.total), bad: sum(|c| c.bad) };
    assert!(sums.total <= expected.total && sums.bad <= expected.bad, "{sums:?} is more than {expected:?}");
    if sums != expected || edge.is_some() {
        bail!("{instances:?}, edge {edge:?}");
    }
    Ok(instances)
}

/// Why one of two proxies is missing, if the other one is told of.
fn missing(sample: &Sample, gone: &str) -> Result<String> {
    let Reading::Counts { instances, missing, .. } = &sample.value else { bail!("a value") };
    if instances.len() != 1 || instances.contains_key(gone) {
        bail!("{sample:?}");
    }
    Ok(missing.get(gone).with_context(|| format!("{sample:?}"))?.0.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_there_before_the_first_request() {
    let world = World::start(1).await;
    for revision in [STABLE, CANARY] {
        for asks in [Asks::Errors, Asks::SlowerThan(LIMIT)] {
            world.counted(revision, asks, Counts { total: 0, bad: 0 }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_counted_is_counted_exactly_by_revision() {
    let world = World::start(2).await;
    world.canary.fail(20);
    world.stable.fail(1);
    let mut sent = BTreeMap::from([(STABLE, Counts::default()), (CANARY, Counts::default())]);
    for apex in &world.apexes {
        let tally = client::send(*apex, 150).await;
        assert_eq!((tally.ended, tally.lost.len()), (150, 0), "{tally:?}");
        for (revision, counts) in &mut sent {
            counts.total += tally.of(revision).total;
            counts.bad += tally.of(revision).failed;
        }
    }
    assert_eq!(sent[STABLE], Counts { total: world.stable.served(), bad: world.stable.failed() });
    assert_eq!(sent[CANARY], Counts { total: world.canary.served(), bad: world.canary.failed() });
    assert_eq!(sent[CANARY], Counts { total: 150, bad: 30 });
    for (revision, counts) in sent {
        world.counted(revision, Asks::Errors, counts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_revision_is_counted_exactly_at_its_limit() {
    let world = World::start(1).await;
    world.canary.slow(10, LIMIT + Duration::from_millis(300));
    let client = Client::start(world.apexes[0], 100, Duration::from_secs(10));
    let enough = wait_until("200 requests are on their way", PATIENCE, async || {
        let (stable, canary) = (world.stable.served(), world.canary.served());
        if stable + canary < 200 { Err(format!("{stable} + {canary}")) } else { Ok(()) }
    });
    enough.await.unwrap();
    let tally = client.stop().await.unwrap();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let slow = Counts { total: tally.of(CANARY).total, bad: world.canary.slowed() };
    assert!(slow.bad >= 9, "{slow:?}");
    world.counted(CANARY, Asks::SlowerThan(LIMIT), slow).await;
    world.counted(STABLE, Asks::SlowerThan(LIMIT), Counts { total: tally.of(STABLE).total, bad: 0 }).await;
    world.counted(CANARY, Asks::Errors, Counts { total: slow.total, bad: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_outlive_a_restart_of_prometheus() {
    let mut world = World::start(1).await;
    client::send(world.apexes[0], 20).await;
    world.counted(CANARY, Asks::Errors, Counts { total: 10, bad: 0 }).await;
    world.prometheus.stop().unwrap();
    world.canary.fail(100);
    client::send(world.apexes[0], 20).await;
    let reason = world.by_prometheus(CANARY, Asks::Errors).await.unwrap_err();
    assert!(reason.contains("can't be reached"), "{reason}");
    world.prometheus.restart().await.unwrap();
    world.counted(CANARY, Asks::Errors, Counts { total: 20, bad: 10 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_scraped_before_its_restart_does_not_hide_that_it_can_no_more() {
    let mut world = World::start(1).await;
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
    world.prometheus.stop().unwrap();
    world.proxies[0].server().signal(Signal::STOP).unwrap();
    world.prometheus.restart().await.unwrap();
    let told = wait_until("Prometheus tells what it can't scrape", PATIENCE, async || {
        match world.by_prometheus(CANARY, Asks::Errors).await {
            Err(reason) if reason.contains("can't scrape proxy") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    told.await.unwrap();
    world.proxies[0].server().signal(Signal::CONT).unwrap();
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_as_old_as_their_scrape() {
    let world = World::start(1).await;
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
    let at = world.by_prometheus(CANARY, Asks::Errors).await.unwrap().at;
    assert!(at <= now() && now().since(at) < Duration::from_secs(5), "{at:?} at {:?}", now());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_gone_leaves_half_an_answer_that_names_it() {
    let mut world = World::start(2).await;
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
    world.proxies[1].server().signal(Signal::KILL).unwrap();
    world.proxies[1].server().wait(PATIENCE).unwrap();
    let gone = world.admins()[1].clone();

    let half = world.by_proxies(CANARY, Asks::Errors).await.unwrap();
    let reason = missing(&half, &gone).unwrap();
    assert!(reason.contains(&gone) && reason.contains("can't be reached"), "{reason}");
    let noticed = wait_until("Prometheus has noticed", PATIENCE, async || {
        let half = world.by_prometheus(CANARY, Asks::Errors).await.map_err(anyhow::Error::msg)?;
        missing(&half, &gone)
    });
    let reason = noticed.await.unwrap();
    assert!(reason.contains("half an answer") && reason.contains(&gone), "{reason}");

    let reports = Proxies::new(TIMEOUT).unwrap().status(&world.admins()).await;
    assert!(reports[&gone].is_none() && reports[&world.admins()[0]].is_some(), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_stuck_is_given_up() {
    let mut world = World::start(1).await;
    world.proxies[0].server().signal(Signal::STOP).unwrap();
    let reason = world.by_proxies(CANARY, Asks::Errors).await.unwrap_err();
    assert!(reason.contains(world.proxies[0].admin()) && reason.contains("no answer in time"), "{reason}");
    world.proxies[0].server().signal(Signal::CONT).unwrap();
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_no_proxy_knows_is_no_data() {
    let world = World::start(1).await;
    world.counted(CANARY, Asks::Errors, Counts::default()).await;
    for reason in [
        world.by_proxies("99999", Asks::Errors).await.unwrap_err(),
        world.by_prometheus("99999", Asks::Errors).await.unwrap_err(),
    ] {
        assert!(reason.contains("doesn't know revision 99999"), "{reason}");
    }
}
