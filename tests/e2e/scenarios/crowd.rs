//! Hundreds of Rollouts in fifty namespaces, nearly all of them idle: what that costs, and who is forgotten.
//!
//! `CROWD` says how many there are. Ten have pods of this node; those of the others are said to be ready by a node without
//! a kubelet. Each namespace has a router, one where there would be two, and asks for less of the processor than is usual:
//! two cores have room for 40 by what they ask for.

mod people;
mod standing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::jiff::Timestamp;
use penstock_tests::cluster::pods::ROUTERS;
use penstock_tests::cluster::realm::{Controller, Metrics, Realm};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Caller, Figures, Scenario, Shop, StandIn, setup};
use penstock_tests::{PATIENCE, wait_until};
use serde_json::Value;
use tokio::time::sleep;

use people::{NAMESPACES, NODE, WITH_PODS, apply, clear_away, last, make_room, member, populate};
use standing::{Written, differences, settled, standing};

/// Rollouts, unless `CROWD` says otherwise.
const CROWD: usize = 500;
/// Between two looks at the controller.
const LOOK: Duration = Duration::from_millis(500);
/// The controller says nothing to the API server for so long: then it is idle.
const QUIET: Duration = Duration::from_secs(3);
const MINUTE: Duration = Duration::from_secs(60);
/// From the start of a killed controller to an order that is carried out.
const RESTART: Duration = Duration::from_secs(3);
/// From when a turn is due to its decision, for 99 of 100.
const LAG: f64 = 1.0;
/// What Argo Rollouts was measured to need, in MiB: at all, and for each Rollout.
const ARGO: (f64, f64) = (79.0, 0.13);
/// More than this is a leak on any machine, in MiB: at all, and for each Rollout.
const BOUND: (f64, f64) = (96.0, 0.3);
/// Requests a second through the last of them.
const RATE: u32 = 50;

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "crowd of Rollouts in 50 namespaces",
        kind: Kind::Machine,
        run: |shop| Box::pin(crowd(shop)),
    }]
}

async fn crowd(shop: &Shop) -> Result<Figures> {
    setup::dismiss().await.context("send the controllers away")?;
    let told = told(shop).await;
    let cleared = clear_away().await.context("clear the crowd away");
    let recalled = setup::recall().await.context("call the controllers back");
    // What the crowd has met comes first: it is the cause of what follows.
    let figures = told?;
    cleared.and(recalled).map(|()| figures)
}

async fn told(shop: &Shop) -> Result<Figures> {
    let crowd = std::env::var("CROWD").ok().and_then(|number| number.parse().ok()).unwrap_or(CROWD);
    make_room(shop).await?;
    let node = StandIn::start(shop.place.client.clone(), NODE).await?;
    let realm = Realm::everywhere(shop, &["--router-replicas", "1"]).await?;
    let controller = realm.start("one")?;
    controller.is_ready().await?;
    let empty = mib(controller.memory()?);

    let begun = Instant::now();
    let patience = Duration::from_secs(90) + Duration::from_millis(500) * u32::try_from(crowd)?;
    populate(shop, crowd).await?;
    all_are_stable(&controller, crowd, patience).await?;
    let settled = begun.elapsed();
    let storm = controller.metrics().await?;
    let caller = shop.caller_at(RATE).await?;
    caller.counts().await?;

    let mut figures = Figures::new();
    figures.say(format!(
        "{crowd} Rollouts in {} namespaces, {} of them with pods of this node, 1 router each: all stable {:.0} s after the \
         first was applied",
        NAMESPACES + 1,
        WITH_PODS + 1,
        settled.as_secs_f64()
    ));
    idle(shop, &controller, &mut figures).await?;
    let memory = mib(controller.memory()?);
    remembers(&mut figures, (empty, memory), crowd)?;

    let lag = releases(shop, &controller, crowd).await?;
    let all = quantile(&Metrics::default(), &storm)?;
    figures.say(format!(
        "decision lag p99 {lag} while ten are released ({}), {all} while all came at once",
        goal(lag.0, LAG, "s")
    ));

    let (restart, again) = restarted(shop, &realm, controller, &caller).await?;
    figures.say(restart.words);
    let grown = mib(again.memory()?);
    figures.say(format!("{grown:.0} MiB after it"));
    let record = shop.ends_well(caller).await?;
    figures.say(format!("0 of {} requests failed", record.0.len()));
    let (lag, all, took) = (lag.drawn(), all.drawn(), restart.took.as_secs_f64());
    let line = format!("{crowd}\t{memory:.2}\t{lag}\t{all}\t{took:.3}\t{grown:.2}\n");
    std::fs::write(shop.folder.join("crowd.tsv"), line)?;
    node.end().await?;
    Ok(figures)
}

async fn all_are_stable(controller: &Controller, crowd: usize, patience: Duration) -> Result<()> {
    wait_until("all Rollouts are stable", patience, async || {
        sleep(LOOK).await;
        let seen = controller.metrics().await?;
        let phase = |phase: &str| seen.count("penstock_controller_rollout_phase", phase);
        let (stable, all) = (phase("phase=\"Stable\""), phase(""));
        if (stable, all) == (crowd, crowd) { Ok(()) } else { bail!("{stable} are, of {all} that it knows") }
    })
    .await
}

/// Waits until the controller has nothing to do.
async fn is_quiet(controller: &Controller, patience: Duration) -> Result<Metrics> {
    wait_until("the controller has nothing to do", patience, async || {
        let before = controller.metrics().await?;
        sleep(QUIET).await;
        let after = controller.metrics().await?;
        let (calls, active) =
            (calls(&after) - calls(&before), after.of("penstock_controller_rollouts_active"));
        if calls == 0.0 && active == 0.0 { Ok(after) } else { bail!("{calls} calls, {active} looked at") }
    })
    .await
}

fn calls(metrics: &Metrics) -> f64 {
    metrics.of("penstock_controller_api_calls_total")
}

/// A minute in which nothing happens: by the API server's own record, there are watches and the lease.
async fn idle(shop: &Shop, controller: &Controller, figures: &mut Figures) -> Result<()> {
    let node = shop.place.node.as_ref().context("a node of ours")?;
    let before = is_quiet(controller, 2 * PATIENCE).await?;
    let since = Timestamp::now().as_microsecond();
    sleep(MINUTE).await;
    let made = calls(&controller.metrics().await?) - calls(&before);
    let who = "system:serviceaccount:penstock-system:penstock-controller";
    let all = node.calls_of(who, since)?;
    let (watches, others): (Vec<_>, Vec<_>) = all.iter().partition(|call| call.verb == "watch");
    let (leases, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|call| call.resource == "leases");
    ensure!(
        !leases.is_empty(),
        "the API server has written down no renewal of the lease: what else is missing?"
    );
    ensure!(others.is_empty() && made == 0.0, "{made} calls in an idle minute: {others:?}");
    figures.say(format!(
        "0 API calls in an idle minute beyond {} renewals of the lease and {} watches begun anew (goal 0: held)",
        leases.len(),
        watches.len()
    ));
    let router = shop.pods(ROUTERS).await?.pop().context("no router")?;
    let process = node.process(&shop.name, &router.name).await?;
    figures.say(format!("a router has {:.1} MiB", mib(process.memory()?)));
    Ok(())
}

fn remembers(figures: &mut Figures, (empty, memory): (f64, f64), crowd: usize) -> Result<()> {
    let count = crowd as f64;
    let (argo, bound) = (ARGO.0 + ARGO.1 * count, BOUND.0 + BOUND.1 * count);
    ensure!(memory < bound, "{memory:.0} MiB with {crowd} Rollouts, {bound:.0} are far too many already");
    let each = (memory - empty) * 1024.0 / count;
    figures.say(format!(
        "controller {memory:.0} MiB ({}, what Argo Rollouts has), {empty:.0} without any, {each:.0} KiB for each Rollout",
        goal(memory, argo, "MiB")
    ));
    Ok(())
}

fn goal(measured: f64, goal: f64, unit: &str) -> String {
    format!("goal {goal} {unit}: {}", if measured <= goal { "held" } else { "MISSED" })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// An upper edge that 99 of 100 keep below, in seconds.
#[derive(Clone, Copy)]
struct AtMost(f64);

impl AtMost {
    /// Its place in a diagram: what is beyond the last edge has one, too.
    fn drawn(self) -> f64 {
        self.0.min(60.0)
    }
}

impl std::fmt::Display for AtMost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "≤ {} s", self.0)
    }
}

/// Of what was observed between two looks.
fn quantile(before: &Metrics, after: &Metrics) -> Result<AtMost> {
    let name = "penstock_controller_decision_lag_seconds";
    let earlier: BTreeMap<String, f64> =
        before.buckets(name).into_iter().map(|(edge, count)| (edge.to_string(), count)).collect();
    let since = |(edge, count): (f64, f64)| (edge, count - earlier.get(&edge.to_string()).unwrap_or(&0.0));
    let buckets: Vec<(f64, f64)> = after.buckets(name).into_iter().map(since).collect();
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    ensure!(all > 0.0, "no turn was taken");
    let edge = buckets.iter().find(|(_, count)| *count >= 0.99 * all).map(|(edge, _)| *edge);
    Ok(AtMost(edge.context("no bucket")?))
}

/// Ten releases at once, beside all those that are idle. The last one waits half-way. Returns the decision lag.
async fn releases(shop: &Shop, controller: &Controller, crowd: usize) -> Result<AtMost> {
    let before = controller.metrics().await?;
    let new: Vec<Value> = (0..WITH_PODS.min(crowd - 1)).map(|number| member(shop, number, "v2")).collect();
    apply(&new).await?;
    shop.apply(&last("v2")).await?;
    shop.is_at(50).await?;
    all_but_one_are_stable(controller, crowd).await?;
    quantile(&before, &controller.metrics().await?)
}

async fn all_but_one_are_stable(controller: &Controller, crowd: usize) -> Result<()> {
    wait_until("the other releases are through", 2 * PATIENCE, async || {
        sleep(LOOK).await;
        let seen = controller.metrics().await?;
        let stable = seen.count("penstock_controller_rollout_phase", "phase=\"Stable\"");
        let through = seen.of("penstock_controller_decisions_total{what=\"Completed\"}");
        let (others, new) = (crowd - 1, WITH_PODS.min(crowd - 1));
        if stable == others && through >= new as f64 {
            Ok(())
        } else {
            bail!("{stable} of {others} are stable")
        }
    })
    .await
}

/// What became of a restart.
struct Restart {
    took: Duration,
    words: String,
}

/// The controller is killed while the last Rollout is half-way; an abort is ordered meanwhile.
async fn restarted(
    shop: &Shop,
    realm: &Realm,
    controller: Controller,
    caller: &Caller,
) -> Result<(Restart, Controller)> {
    let before = settled(shop).await?;
    let written = Written::follow(shop);
    controller.kill()?;
    shop.order("abort", "the controller is gone").await?;
    let begun = Instant::now();
    let again = realm.start("one")?;
    shop.is_aborted().await?;
    let took = begun.elapsed();
    shop.only(caller, "v1").await?;
    let quiet = is_quiet(&again, 2 * PATIENCE).await?;
    let all = begun.elapsed();
    let after = standing(shop).await?;
    let lost: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    if let Some(needless) = written.needless(&before, |name| !name.contains(&shop.name)) {
        bail!("idle, and written by the new controller: {needless}");
    }
    let routes = before.keys().filter(|name| name.starts_with("httproute") && !name.contains(&shop.name));
    for name in routes {
        ensure!(
            after.get(name) == before.get(name),
            "{name} was written: {}",
            differences(&before[name], &after[name])
        );
    }
    let words = format!(
        "killed and started again: the abort of the last Rollout was carried out after {:.2} s ({}), all \
         were looked at with {} API calls {:.0} s after, nothing was lost and nothing idle written",
        took.as_secs_f64(),
        goal(took.as_secs_f64(), RESTART.as_secs_f64(), "s"),
        calls(&quiet),
        all.as_secs_f64(),
    );
    Ok((Restart { took, words }, again))
}
