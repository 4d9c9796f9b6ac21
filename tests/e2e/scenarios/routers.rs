//! Routers and pods die, or are cut off, in mid-release.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use penstock_tests::cluster::pods::{ROUTERS, Seen};
use penstock_tests::cluster::release::{ROLLOUT, Release, steps, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Caller, Figures, Scenario, Shop, kubectl};
use penstock_tests::traffic::{Exchange, Record, now};
use penstock_tests::{PATIENCE, wait_until};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

/// kube-proxy leads new connections elsewhere after this, in milliseconds.
const LED: u64 = 2000;
/// A client gives a request up after this, in milliseconds.
const GIVEN_UP: u64 = 31_000;

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("router killed, then another one deleted by force", |shop| Box::pin(killed(shop))),
        scenario("router cut off in mid-release, and back after an abort", |shop| Box::pin(cut(shop))),
        scenario("pod killed and pod cut off in mid-release", |shop| Box::pin(endpoints(shop))),
        scenario("the canary's only pod evicted, twice, in mid-release", |shop| Box::pin(evicted(shop))),
        Scenario {
            name: "router evicted while nobody writes EndpointSlices",
            kind: Kind::Node,
            run: |shop| Box::pin(forgotten(shop)),
        },
    ]
}

/// A time in which requests may fail that were led to a router that is not there.
#[derive(Clone, Copy)]
struct Gap {
    from: u64,
    to: u64,
}

/// What failed within gaps, and all the rest.
fn apart(record: &Record, gaps: &[Gap]) -> (Vec<Exchange>, Record) {
    let inside = |e: &Exchange| gaps.iter().any(|gap| e.sent <= gap.to && e.ended >= gap.from);
    let (failed, rest): (Vec<_>, Vec<_>) = record.0.iter().cloned().partition(|e| e.failed() && inside(e));
    (failed, Record(rest))
}

async fn routers(shop: &Shop) -> Result<Vec<Seen>> {
    shop.pods(ROUTERS).await
}

/// Waits until two routers are ready, both of them other ones or after a restart. Returns when that was.
async fn two_ready(shop: &Shop, before: &[Seen]) -> Result<u64> {
    wait_until("two routers are ready", PATIENCE, async || {
        let there = routers(shop).await?;
        let ready = there.iter().filter(|router| router.ready).count();
        if ready == 2 && there != before { Ok(now()) } else { bail!("{there:?}") }
    })
    .await
}

async fn closed(
    shop: &Shop,
    caller: Caller,
    (splits, gaps): (&Splits, &[Gap]),
) -> Result<(Vec<Exchange>, Sound)> {
    let (failed, rest) = apart(&shop.ends(caller).await?, gaps);
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), splits, &rest), 0)?;
    Ok((failed, sound))
}

async fn killed(shop: &Shop) -> Result<Figures> {
    let Some(node) = &shop.place.node else { bail!("this needs the node") };
    let release = |version: &str| Release::new(version).with_steps(steps(&[20, 50], "4s"));
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let before = routers(shop).await?;
    ensure!(before.len() == 2, "{before:?}");
    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;
    let process = node.process(&shop.name, &before[0].name).await?;
    let from = now();
    process.signal(Signal::KILL)?;
    let restarted = Gap { from, to: two_ready(shop, &before).await? + LED };
    shop.is_at(50).await?;

    let before = routers(shop).await?;
    let from = now();
    shop.kubectl(&["delete", "pod", &before[1].name, "--force", "--grace-period=0"]).await?;
    let replaced = Gap { from, to: two_ready(shop, &before).await? + LED };
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;

    let (failed, sound) = closed(shop, caller, (&splits, &[restarted, replaced])).await?;
    let mut figures = Figures::new();
    let of = |gap: Gap| failed.iter().filter(|e| e.sent <= gap.to && e.ended >= gap.from).count();
    for (what, gap) in [("killed", restarted), ("deleted", replaced)] {
        let time = (gap.to - gap.from) as f64 / 1000.0;
        figures.say(format!(
            "{what}: {} requests were led to it or under way in it, counted apart, in {time:.1} s",
            of(gap)
        ));
    }
    figures.say(sound.words());
    Ok(figures)
}

async fn cut(shop: &Shop) -> Result<Figures> {
    let Some(node) = &shop.place.node else { bail!("this needs the node") };
    let release = |version: &str| Release::new(version).with_analysis(&json!({"minRequests": 5}));
    let first = release("v1").with_steps(steps_that_wait(&[20]));
    // Requests that are led to nobody stay under way for long.
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.caller_at(40).await?;
    shop.apply(&first).await?;
    shop.is_stable().await?;
    caller.counts().await?;
    shop.apply(&release("v2").with_steps(steps(&[20, 50], "3s"))).await?;
    shop.is_at(20).await?;

    let router = routers(shop).await?.pop().context("no router")?;
    node.cut(&[&router.address]).await?;
    let from = now();
    let hidden = wait_until("the router is not ready", PATIENCE, async || {
        let there = routers(shop).await?;
        let ready = there.iter().any(|other| other.name == router.name && other.ready);
        if ready { bail!("it is") } else { Ok(now()) }
    })
    .await;
    let told = shop.journal.last().context("nothing was told")?.status();
    let share = told.split.as_ref().map_or(0, |split| split.weight);
    // Until then nobody knows what it does: a step without its word would be a guess.
    let held =
        hidden.and_then(|hidden| if share == 20 { Ok(hidden) } else { bail!("the canary has {share} %") });
    let ended = match held {
        Ok(hidden) => skipped(shop, hidden).await,
        Err(error) => Err(error),
    };
    node.restore(&[&router.address]).await?;
    let back = now();
    let hidden = ended?;
    wait_until("the router is ready again", PATIENCE, async || {
        let there = routers(shop).await?;
        if there.iter().any(|other| other.name == router.name && other.ready) {
            Ok(())
        } else {
            bail!("it is not")
        }
    })
    .await?;
    // It knows an older split; and the pods of that time are gone.
    sleep(Duration::from_secs(4)).await;
    shop.only(&caller, "v1").await?;

    let record = shop.ends(caller).await?;
    let gap = Gap { from, to: hidden + LED };
    let (failed, rest) = apart(&record, &[gap]);
    let late = failed.iter().filter(|e| e.sent > back).count();
    ensure!(late == 0 && gap.to + GIVEN_UP > gap.from, "{late} failed after it was back");
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &rest), 1)?;
    let stray = rest.between(back, u64::MAX).of("v2");
    let mut figures = Figures::new();
    figures.say(format!(
        "held for {:.1} s until Kubernetes took it out, then went on without it",
        (hidden - from) as f64 / 1000.0
    ));
    let slow = rest.between(from, u64::MAX).0.iter().filter(|e| e.ended - e.sent > 1000).count();
    figures.say(format!("{} requests were led to it by kube-proxy or under way in it and failed, counted apart; {slow} of them were answered late", failed.len()));
    figures.say(format!("back with an old split: {stray} to the aborted canary"));
    figures.say(sound.words());
    Ok(figures)
}

/// What a pod refuses that is sent away is none of its revision's faults, and nobody fails.
async fn evicted(shop: &Shop) -> Result<Figures> {
    let release = |version: &str| Release::new(version).with_steps(steps_that_wait(&[20]));
    let caller = shop.serves(&release("v1")).await?;
    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;
    let canary = format!("penstock.dev/revision={}", shop.canary()?);
    for _ in 0..2 {
        // The one before may still be on its way out.
        let there = shop.pods(&canary).await?;
        let [pod] = &there.iter().filter(|pod| pod.ready).collect::<Vec<_>>()[..] else {
            bail!("one pod is enough for 20 %: {there:?}")
        };
        evict(shop, &pod.name).await?;
        wait_until("another one takes its place", PATIENCE, async || {
            let there = shop.pods(&canary).await?;
            let again = there.iter().any(|other| other.name != pod.name && other.ready);
            if again { Ok(()) } else { bail!("{there:?}") }
        })
        .await?;
        let before = caller.record().await?.0.len();
        let goes_on = |record: &Record| record.of("v2") > 20 || record.failed() > 0;
        caller.until("it has its share again", before, goes_on).await?;
    }
    shop.order("promote-full", "the node was drained, and that was all").await?;
    shop.is_stable().await?;
    let decided = shop.decided();
    ensure!(!decided.iter().any(|what| what == "Aborted"), "{decided:?}");
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!("the release went on; 0 of {} failed", record.0.len()));
    Ok(figures)
}

/// New connections are led to a router that goes as long as nobody has taken it out of its Services.
async fn forgotten(shop: &Shop) -> Result<Figures> {
    let node = shop.place.node.as_ref().context("this needs the node")?;
    let caller = shop.serves(&Release::new("v1")).await?;
    let before = routers(shop).await?;
    let going = before.first().context("no router")?;
    node.piece("stop", "controllers").await?;
    let evicted = evict(shop, &going.name).await;
    let from = now();
    // Three times as long as it goes on in any case.
    sleep(Duration::from_secs(15)).await;
    node.piece("start", "controllers").await?;
    let back = now();
    evicted?;
    let gone = wait_until("it is gone, and another one in its place", PATIENCE, async || {
        let there = routers(shop).await?;
        let ready = there.iter().filter(|router| router.ready).count();
        let gone = there.iter().all(|router| router.name != going.name);
        if gone && ready == 2 { Ok(now()) } else { bail!("{there:?}") }
    })
    .await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    let seconds = |from: u64, to: u64| (to - from) as f64 / 1000.0;
    figures.say(format!(
        "it went on for {:.1} s until slices were written again, and was replaced {:.1} s later; 0 of {} failed",
        seconds(from, back),
        seconds(back, gone),
        record.0.len()
    ));
    Ok(figures)
}

/// Has a pod evicted, as `kubectl drain` does.
async fn evict(shop: &Shop, pod: &str) -> Result<()> {
    let namespace = &shop.name;
    let metadata = json!({"name": pod, "namespace": namespace});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    kubectl::feed(&["create", "--raw", &path, "-f", "-"], &eviction).await?;
    Ok(())
}

/// The release goes on without a router that is out of the Service, and can be aborted. Returns when it was out.
async fn skipped(shop: &Shop, hidden: u64) -> Result<u64> {
    shop.is_at(50).await?;
    shop.order("abort", "enough of it").await?;
    shop.is_aborted().await?;
    Ok(hidden)
}

async fn endpoints(shop: &Shop) -> Result<Figures> {
    let Some(node) = &shop.place.node else { bail!("this needs the node") };
    let release = |version: &str| Release {
        replicas: Some(3),
        ..Release::new(version).with_steps(steps(&[20], "20s"))
    };
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let stable = shop.pods("app=checkout").await?;
    ensure!(stable.len() == 3, "{stable:?}");
    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;
    let process = node.process(&shop.name, &stable[0].name).await?;
    let under_way = Gap { from: now(), to: now() };
    process.signal(Signal::KILL)?;
    let under_way = Gap { to: now(), ..under_way };
    wait_until("its container is started again", PATIENCE, async || {
        let there = shop.pods("app=checkout").await?;
        let again = there.iter().any(|pod| pod.name == stable[0].name && pod.ready && pod.restarts > 0);
        if again { Ok(()) } else { bail!("{there:?}") }
    })
    .await?;
    node.cut(&[&stable[1].address]).await?;
    let from = now();
    let out = wait_until("the pod that is cut off is not ready", PATIENCE, async || {
        let there = shop.pods("app=checkout").await?;
        if there.iter().any(|pod| pod.name == stable[1].name && pod.ready) {
            bail!("it is")
        } else {
            Ok(now())
        }
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    node.restore(&[&stable[1].address]).await?;
    let out = out?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends(caller).await?;
    let slowest = record.between(from, u64::MAX).0.iter().map(|e| e.ended - e.sent).max().unwrap_or(0);
    // Nobody knows what it has done with what it had read.
    let (lost, rest) = apart(&record, &[under_way]);
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &rest), 0)?;
    let mut figures = Figures::new();
    figures
        .say(format!("{} requests were under way in the process that was killed, counted apart", lost.len()));
    figures.say(format!("cut off for {:.1} s before Kubernetes took it out", (out - from) as f64 / 1000.0));
    figures.say(format!("slowest answer {:.1} s", slowest as f64 / 1000.0));
    figures.say(sound.words());
    Ok(figures)
}
