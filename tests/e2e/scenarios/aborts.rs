//! Aborts by a person with nothing but kubectl: in every phase, and whatever else fails.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::setup::{self, CONTROLLER};
use penstock_tests::cluster::shop::Done;
use penstock_tests::cluster::{Figures, Scenario, Shop, kubectl};
use penstock_tests::traffic::now;
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};

/// From the order to the last request that the canary got.
const GOAL: Duration = Duration::from_millis(500);

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, kind, run| Scenario { name, kind, run };
    vec![
        // In half a second there is no room for what others do on the same cores.
        scenario("abort in every phase", Kind::Quiet, |shop| Box::pin(every_phase(shop))),
        scenario("abort while the canary is not ready any more", Kind::Beside, |shop| {
            Box::pin(unready(shop))
        }),
        scenario("abort while no HTTPRoute can be written", Kind::Beside, |shop| {
            Box::pin(routing_fails(shop))
        }),
        scenario("abort ordered while the controller is down", Kind::Alone, |shop| {
            Box::pin(nobody_there(shop))
        }),
    ]
}

/// A phase of a release, and how to get there.
struct Moment {
    name: &'static str,
    release: fn(&str) -> Release,
    there: fn(&RolloutStatus) -> bool,
    before: Option<&'static str>,
}

const PHASES: [Moment; 6] = [
    Moment {
        name: "pods starting",
        release: |version| waiting(version).with_env("READY_AFTER", 60_000),
        there: |status| status.canary_revision.is_some(),
        before: None,
    },
    Moment {
        name: "waiting for a person",
        release: waiting,
        there: |status| is_at(status, 40),
        before: None,
    },
    Moment { name: "between two steps", release: pausing, there: |status| is_at(status, 40), before: None },
    Moment {
        name: "paused by order",
        release: pausing,
        there: |status| status.phase == Phase::Paused && weight(status) > 0,
        before: Some("pause"),
    },
    Moment { name: "at 100 %", release: whole, there: |status| is_at(status, 100), before: None },
    Moment {
        name: "after promote-full",
        release: slow_to_scale,
        there: |status| {
            status.canary_revision.is_some() && status.decisions.iter().any(|d| d.what == "Promoted")
        },
        before: Some("promote-full"),
    },
];

fn waiting(version: &str) -> Release {
    Release::new(version).with_steps(steps_that_wait(&[40, 60]))
}

fn pausing(version: &str) -> Release {
    Release::new(version).with_steps(steps(&[40, 60], "60s"))
}

fn whole(version: &str) -> Release {
    Release::new(version).with_steps(steps_that_wait(&[100]))
}

/// Its second pod is late: so long, a promotion can't be through.
fn slow_to_scale(version: &str) -> Release {
    waiting(version).with_env("READY_AFTER", 4000)
}

fn weight(status: &RolloutStatus) -> i32 {
    status.split.as_ref().map_or(0, |split| split.weight)
}

fn is_at(status: &RolloutStatus, percent: i32) -> bool {
    let acknowledged = status.split.as_ref().is_some_and(|split| split.acknowledged);
    status.canary_revision.is_some() && weight(status) == percent && acknowledged
}

async fn every_phase(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    let mut orders = Vec::new();
    for (number, phase) in PHASES.iter().enumerate() {
        let version = format!("v{}", number + 2);
        let applied = shop.apply(&(phase.release)(&version)).await?;
        if let Some(order) = phase.before {
            shop.is_at(40).await.with_context(|| phase.name)?;
            shop.order(order, "so be it").await?;
        }
        shop.reaches(phase.name, |status| (phase.there)(status)).await?;
        // An API server writes some of it as escapes.
        let why = format!("{}: p99 > 500ms & <rising>", phase.name);
        let given = abort(shop, &why).await.with_context(|| phase.name)?;
        shop.only(&caller, "v1").await.with_context(|| phase.name)?;
        orders.push((phase.name, version, applied, given));
    }
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    let times = orders.iter().map(|(_, version, _, given)| record.quiet_after(given.begun, version));
    let all: Vec<String> =
        orders.iter().zip(times.clone()).map(|((name, ..), t)| format!("{name} {}", seconds(t))).collect();
    figures.goal("order to the last request of the canary at most", times.max().unwrap_or_default(), GOAL)?;
    figures.say(all.join(", "));
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

/// Orders an abort, and waits until it is handled: exactly once, with who and why.
async fn abort(shop: &Shop, why: &str) -> Result<Done> {
    let before = aborts(shop, why);
    let given = shop.order("abort", why).await?;
    shop.reaches("the abort is handled", |s| s.phase == Phase::Aborted && weight(s) == 0).await?;
    handled(shop, why, before).await?;
    Ok(given)
}

async fn handled(shop: &Shop, why: &str, before: usize) -> Result<()> {
    let gone = |seen: &penstock_tests::cluster::Seen| {
        let left = seen.rollout.iter().flat_map(|r| r.metadata.annotations.iter().flatten());
        seen.rollout.is_some()
            && !left
                .into_iter()
                .any(|(name, _)| name == "penstock.dev/abort" || name == "penstock.dev/orders")
    };
    shop.journal.reaches("the order is taken away", PATIENCE, gone).await?;
    let times = aborts(shop, why) - before;
    ensure!(times == 1, "the order was carried out {times} times");
    Ok(())
}

/// How often an abort with this reason was decided.
fn aborts(shop: &Shop, why: &str) -> usize {
    let decisions = shop.journal.last().map(|seen| seen.status().decisions).unwrap_or_default();
    decisions.iter().filter(|d| d.what == "Aborted" && d.why.contains(why) && d.who != "penstock").count()
}

async fn unready(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2").with_env("UNREADY_AFTER", 3000)).await?;
    shop.is_at(40).await?;
    let unready = |s: &RolloutStatus| s.revisions.iter().any(|r| r.scale > 0 && r.ready == 0);
    shop.reaches("no pod of the canary is ready", unready).await?;
    let given = abort(shop, "it went dark").await?;
    shop.only(&caller, "v1").await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.goal("order to the last request of the canary", record.quiet_after(given.begun, "v2"), GOAL)?;
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

/// Whoever writes an HTTPRoute in this namespace is refused.
fn denied(namespace: &str) -> Value {
    let name = format!("deny-{namespace}");
    let (api, metadata) = ("admissionregistration.k8s.io/v1", json!({"name": name}));
    let rule = json!({"apiGroups": ["gateway.networking.k8s.io"], "apiVersions": ["*"], "resources": ["httproutes"],
        "operations": ["CREATE", "UPDATE", "DELETE"]});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "routes are frozen"}],
        }},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        }},
    ]})
}

async fn routing_fails(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(40).await?;
    shop.put(&denied(&shop.name)).await?;
    wait_until("no HTTPRoute can be written", PATIENCE, async || {
        let touch = ["annotate", "--overwrite", "--dry-run=server", "httproute", ROLLOUT, "touched=yes"];
        let refused = shop.kubectl(&touch).await.err().is_some_and(|e| e.to_string().contains("frozen"));
        if refused { Ok(()) } else { anyhow::bail!("it can") }
    })
    .await?;
    abort(shop, "stop it").await?;
    let told = |s: &RolloutStatus| format!("{s:?}").contains("routes are frozen");
    shop.reaches("it says why traffic is still divided", told).await?;

    let name = format!("deny-{}", shop.name);
    let begun = now();
    kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &name]).await?;
    shop.only(&caller, "v1").await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say("aborted in state at once, with the reason");
    figures.goal(
        "writes allowed to the last request of the canary",
        record.quiet_after(begun, "v2"),
        GOAL * 10,
    )?;
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn nobody_there(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(40).await?;
    scale_controller(0).await?;
    let before = aborts(shop, "nobody there");
    shop.order("abort", "nobody there").await?;
    let going = caller.record().await?.0.len();
    caller.until("traffic goes on as it was divided", going, |r| r.of("v2") > 200).await?;
    let begun = now();
    scale_controller(2).await?;
    shop.reaches("the abort is handled", |s| s.phase == Phase::Aborted).await?;
    handled(shop, "nobody there", before).await?;
    shop.only(&caller, "v1").await?;
    setup::ready().await?;
    let record = shop.ends_well(caller).await?;
    let started = started(begun).await?;
    let mut figures = Figures::new();
    figures.say(format!(
        "controller wanted again to the last request of the canary {}",
        seconds(record.quiet_after(begun, "v2"))
    ));
    figures.goal("its start to that", record.quiet_after(started, "v2"), Duration::from_secs(3))?;
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

/// Scales the controller, and waits while it goes.
async fn scale_controller(replicas: u32) -> Result<()> {
    let (namespace, label) = CONTROLLER;
    let scale = format!("--replicas={replicas}");
    kubectl(&["-n", namespace, "scale", "deployment/penstock-controller", &scale]).await?;
    if replicas == 0 {
        kubectl(&["-n", namespace, "wait", "--for=delete", "pods", "-l", label, "--timeout=50s"]).await?;
    }
    Ok(())
}

/// When the first container of the controller was started; `otherwise` when nobody says.
async fn started(otherwise: u64) -> Result<u64> {
    let (namespace, label) = CONTROLLER;
    let path = "jsonpath={.items[*].status.containerStatuses[0].state.running.startedAt}";
    let times = kubectl(&["-n", namespace, "get", "pods", "-l", label, "-o", path]).await?;
    let parsed = times.split_whitespace().filter_map(|t| t.parse::<k8s_openapi::jiff::Timestamp>().ok());
    let first = parsed.map(k8s_openapi::jiff::Timestamp::as_millisecond).min();
    Ok(first.and_then(|first| u64::try_from(first).ok()).unwrap_or(otherwise))
}
