//! Hands that reach into what is ours in mid-release.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::kubectl::feed;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Node, Scenario, Shop};
use penstock_tests::{PATIENCE, wait_until};
use serde_json::Value;

/// How long nothing may be written once all is as it should be.
const CALM: Duration = Duration::from_secs(5);

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("edited by hand in mid-release", |shop| Box::pin(edited(shop))),
        scenario("deleted by hand in mid-release", |shop| Box::pin(deleted(shop))),
        scenario("manifest applied again in mid-release", |shop| Box::pin(applied_again(shop))),
    ]
}

fn waiting(version: &str) -> Release {
    Release::new(version).with_steps(steps_that_wait(&[30, 60]))
}

/// One edit, and how it looks when it is put right.
struct Edit<'a> {
    name: &'a str,
    kind: &'a str,
    object: &'a str,
    patch: String,
    /// What is looked at, and what stands there in the end.
    path: &'a str,
    right: &'a str,
}

async fn edited(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    let status = shop.is_at(30).await?;
    let stable = status.stable_revision.context("there is no stable revision")?;
    let revision = stable.clone();
    let (stable, canary) = (format!("{ROLLOUT}-{stable}"), format!("{ROLLOUT}-{}", shop.canary()?));
    let weights = format!(
        r#"[{{"op":"replace","path":"/spec/rules/0/backendRefs","value":[{{"name":"{stable}","port":8080,"weight":0}},{{"name":"{canary}","port":8080,"weight":100}}]}}]"#
    );
    let read_weights = "{.spec.rules[-1].backendRefs[*].weight}";
    let right =
        shop.kubectl(&["get", "httproute", ROLLOUT, "-o", &format!("jsonpath={read_weights}")]).await?;
    let edit = |name, kind, object, patch: &str, path, right| Edit {
        name,
        kind,
        object,
        patch: patch.to_owned(),
        path,
        right,
    };
    let owner = "{.metadata.ownerReferences[0].kind}";
    let elsewhere = r#"{"spec":{"selector":{"penstock.dev/revision":"nobody"}}}"#;
    let selector = r"{.spec.selector.penstock\.dev/revision}";
    let edits = [
        edit("weights of the HTTPRoute", "httproute", ROLLOUT, &weights, read_weights, right.as_str()),
        edit(
            "pods of the canary",
            "replicaset",
            &canary,
            r#"{"spec":{"replicas":3}}"#,
            "{.spec.replicas}",
            "1",
        ),
        edit("pods of stable", "replicaset", &stable, r#"{"spec":{"replicas":1}}"#, "{.spec.replicas}", "2"),
        edit(
            "owner of the Service",
            "service",
            ROLLOUT,
            r#"{"metadata":{"ownerReferences":null}}"#,
            owner,
            "Rollout",
        ),
        edit("selector of stable", "service", &stable, elsewhere, selector, revision.as_str()),
    ];
    let mut figures = Figures::new();
    for edit in edits {
        let took = put_right(shop, &edit).await.with_context(|| edit.name.to_owned())?;
        figures.say(format!("{} right after {}", edit.name, seconds(took)));
    }
    shop.reaches("all pods are there again", |s| s.revisions.iter().all(|r| r.ready == r.scale)).await?;

    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"EDITED","value":"yes"}]}]}}}}"#;
    shop.kubectl(&["patch", "replicaset", &canary, "--type=strategic", "-p", image]).await?;
    let told = |s: &RolloutStatus| {
        let mut troubles = s.revisions.iter().filter_map(|revision| revision.trouble.as_ref());
        troubles.any(|trouble| trouble.contains("template") && trouble.contains(&canary))
    };
    shop.reaches("the edited template is told", told).await?;
    figures.say("an edited template is told");

    shop.order("promote-full", "it is good").await?;
    shop.is_stable().await?;
    let record = shop.ends_well(caller).await?;
    if let Some(node) = &shop.place.node {
        calm(node, shop).await?;
        figures.say("then no more writes");
    }
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn put_right(shop: &Shop, edit: &Edit<'_>) -> Result<Duration> {
    let kind = if edit.patch.starts_with('[') { "--type=json" } else { "--type=merge" };
    shop.kubectl(&["patch", edit.kind, edit.object, kind, "-p", &edit.patch]).await?;
    let begun = Instant::now();
    let path = format!("jsonpath={}", edit.path);
    wait_until("it is put right", PATIENCE, async || {
        let there = shop.kubectl(&["get", edit.kind, edit.object, "-o", &path]).await?;
        anyhow::ensure!(there.trim() == edit.right, "{there:?} in place of {:?}", edit.right);
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(begun.elapsed())
}

/// What the routers need comes back before anybody misses it.
async fn deleted(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let canary = format!("{ROLLOUT}-{}", shop.canary()?);
    let mut figures = Figures::new();
    let objects = [
        ("httproute", ROLLOUT),
        ("service", canary.as_str()),
        ("rolebinding", "penstock-router"),
        ("poddisruptionbudget", "penstock-router"),
    ];
    for (kind, name) in objects {
        let took = comes_back(shop, kind, name).await.with_context(|| format!("{kind} {name}"))?;
        figures.say(format!("{kind} back after {}", seconds(took)));
        // One hand at a time.
        let before = caller.record().await?.0.len();
        caller.until("both versions answer", before, |r| r.of("v1") > 100 && r.of("v2") > 20).await?;
    }
    let took = comes_back(shop, "replicaset", &canary).await?;
    let before = caller.record().await?.0.len();
    // What its pod refused before its endpoint was gone is none of its faults.
    let settled = |s: &RolloutStatus| {
        let ready = s.revisions.iter().all(|r| r.ready == r.scale && r.scale > 0);
        s.phase == Phase::Paused && ready
    };
    caller.until("time goes by", before, |record| record.0.len() > 400).await?;
    shop.reaches("it goes on", settled).await?;
    figures.say(format!("replicaset back after {}", seconds(took)));
    shop.order("promote-full", "it is good").await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends_well(caller).await?;
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn comes_back(shop: &Shop, kind: &str, name: &str) -> Result<Duration> {
    let uid = ["get", kind, name, "-o", "jsonpath={.metadata.uid}"];
    let old = shop.kubectl(&uid).await?;
    shop.kubectl(&["delete", kind, name, "--wait=false"]).await?;
    let begun = Instant::now();
    wait_until("it is there again", PATIENCE, async || {
        let new = shop.kubectl(&uid).await?;
        anyhow::ensure!(new != old, "it is still the old one");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(begun.elapsed())
}

/// Waits for a time in which nobody of ours writes anything.
async fn calm(node: &Node, shop: &Shop) -> Result<()> {
    let begun = Instant::now();
    loop {
        let before = writes(node, shop)?;
        tokio::time::sleep(CALM).await;
        let after = writes(node, shop)?;
        if after.len() == before.len() {
            return Ok(());
        }
        let new: Vec<_> = after.iter().skip(before.len()).take(10).collect();
        ensure!(begun.elapsed() < PATIENCE, "it goes on writing: {new:?}");
    }
}

/// What the controller has written here, as far as the audit log tells.
fn writes(node: &Node, shop: &Shop) -> Result<Vec<penstock_tests::cluster::node::Call>> {
    let calls = node.calls(&shop.name)?;
    let ours = |who: &str| who.starts_with("system:serviceaccount:penstock-system:");
    Ok(calls
        .into_iter()
        .filter(|call| call.writes() && ours(&call.who) && call.resource != "events")
        .collect())
}

async fn applied_again(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let before = shape(shop).await?;
    let manifest = waiting("v2").manifest(&shop.place.images);
    let counted = |node: &Node| -> Result<usize> {
        let divided = |resource: &str| matches!(resource, "httproutes" | "services" | "replicasets");
        Ok(writes(node, shop)?.into_iter().filter(|call| divided(&call.resource)).count())
    };
    let first = shop.place.node.as_ref().map(&counted).transpose()?;
    for _ in 0..3 {
        shop.put(&manifest).await?;
        feed(&["apply", "-n", &shop.name, "-f", "-"], &manifest).await?;
    }
    tokio::time::sleep(CALM).await;
    let after = shape(shop).await?;
    ensure!(after == before, "{before} became {after}");
    let last = shop.place.node.as_ref().map(&counted).transpose()?;
    ensure!(first == last, "{first:?} writes of routes, Services and ReplicaSets became {last:?}");
    shop.order("promote-full", "it is good").await?;
    shop.is_stable().await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say("6 times, by server-side and by client-side apply: no weight changed, no object was written");
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

/// Weights and numbers of pods, as they stand.
async fn shape(shop: &Shop) -> Result<Value> {
    let route = shop.kubectl(&["get", "httproute", ROLLOUT, "-o", "jsonpath={.spec}"]).await?;
    let sets = shop.kubectl(&["get", "replicasets", "-o", "jsonpath={.items[*].spec.replicas}"]).await?;
    Ok(serde_json::json!([route, sets]))
}
