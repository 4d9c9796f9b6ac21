//! People who change their minds in mid-release.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Scenario, Shop};
use penstock_tests::traffic::now;
use penstock_tests::{PATIENCE, wait_until};

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("v3 supersedes v2 in mid-release", |shop| Box::pin(superseded(shop))),
        scenario("revert in mid-release", |shop| Box::pin(reverted(shop))),
        scenario("scaled by hand, by an autoscaler and with a template in mid-release", |shop| {
            Box::pin(scaled(shop))
        }),
        scenario("deleted in mid-release", |shop| Box::pin(deleted(shop))),
    ]
}

/// Waits for a person at 30 %.
fn waiting(version: &str) -> Release {
    Release::new(version).with_steps(steps_that_wait(&[30, 60]))
}

async fn superseded(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let second = shop.canary()?;
    let changed = shop.apply(&waiting("v3")).await?;
    let begun =
        shop.reaches("v3 is under way", |s| s.canary_revision.as_ref().is_some_and(|c| *c != second)).await?;
    let weight = begun.status().split.map_or(0, |split| split.weight);
    ensure!(weight == 0, "v3 begins at {weight} %");
    shop.is_at(30).await?;
    shop.order("promote-full", "it is good").await?;
    shop.is_stable().await?;
    shop.only(&caller, "v3").await?;
    let record = shop.ends_well(caller).await?;

    let first =
        record.0.iter().filter(|e| e.version() == "v3").map(|e| e.sent).min().context("v3 gave no answer")?;
    let late = record.0.iter().filter(|e| e.version() == "v2" && e.sent > first).count();
    ensure!(late == 0, "v2 got {late} requests after the first of v3");
    let mut figures = Figures::new();
    figures.say(format!("v2 quiet {} after the apply", seconds(record.quiet_after(changed.begun, "v2"))));
    figures.say("v3 began at 0 %, never beside v2");
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn reverted(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let changed = shop.apply(&waiting("v1")).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v1").await?;
    let record = shop.ends_well(caller).await?;
    ensure!(shop.decided().iter().any(|what| what == "Reverted"), "decided: {:?}", shop.decided());
    let mut figures = Figures::new();
    figures.say(format!("v2 quiet {} after the apply", seconds(record.quiet_after(changed.begun, "v2"))));
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn scaled(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    // By the same subresource as an autoscaler.
    let scale = format!("rollout/{ROLLOUT}");
    shop.kubectl(&["scale", &scale, "--replicas=4"]).await?;
    shop.reaches("stable has 4 pods", |s| ready(s, "stable") == Some(4)).await?;
    shop.kubectl(&["scale", &scale, "--replicas=3"]).await?;
    shop.reaches("stable has 3 pods", |s| ready(s, "stable") == Some(3)).await?;
    let selector = shop.kubectl(&["get", &scale, "-o", "jsonpath={.status.selector}"]).await?;
    ensure!(selector.contains("app=checkout"), "an autoscaler finds no pods by {selector:?}");
    // A template and a number of pods in one apply.
    shop.apply(&Release { replicas: Some(5), ..waiting("v3") }).await?;
    shop.is_at(30).await?;
    shop.order("promote-full", "it is good").await?;
    shop.is_stable().await?;
    let status = shop.reaches("v3 has 5 pods", |s| ready(s, "stable") == Some(5)).await?.status();
    shop.only(&caller, "v3").await?;
    let record = shop.ends_well(caller).await?;
    ensure!(status.canary_revision.is_none(), "{:?} is still under way", status.canary_revision);
    let mut figures = Figures::new();
    figures.say("2, 4, 3 and 5 pods");
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

fn ready(status: &penstock_crds::RolloutStatus, role: &str) -> Option<i32> {
    let of_role = |r: &&penstock_crds::RevisionStatus| format!("{:?}", r.role).to_lowercase() == role;
    status.revisions.iter().find(of_role).filter(|r| r.scale == r.ready).map(|r| r.ready)
}

async fn deleted(shop: &Shop) -> Result<Figures> {
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let (canary, begun) = (shop.canary()?, now());
    shop.kubectl(&["delete", "rollout", ROLLOUT, "--wait=false"]).await?;
    shop.journal.reaches("the Rollout is gone", PATIENCE, |seen| seen.rollout.is_none()).await?;
    let left =
        "replicasets,services,httproutes,serviceaccounts,roles,rolebindings,deployments,poddisruptionbudgets";
    wait_until("all that was its own is gone", PATIENCE, async || {
        let names = shop.kubectl(&["get", left, "-o", "name"]).await?;
        let ours =
            names.lines().filter(|n| n.contains(ROLLOUT) || n.contains("penstock")).collect::<Vec<_>>();
        anyhow::ensure!(ours.is_empty(), "{ours:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let took = Duration::from_millis(now().saturating_sub(begun));
    // Those that wait for an answer of nobody do so for long.
    let record = caller.record().await?;
    let before = record.between(0, begun);
    ensure!(before.failed() == 0, "{}", before.failures());
    let given: Vec<i64> = splits.of(ROLLOUT).iter().filter_map(|s| s.weights.get(&canary).copied()).collect();
    ensure!(given.iter().max() == Some(&30), "the canary was given {given:?}");
    // Pods go in any order. Once those of v1 are gone, v2 stands in for them: better than an answer of nobody.
    let last = record.0.iter().filter(|e| e.version() == "v1").map(|e| e.ended).max().unwrap_or(begun);
    let beside = record.between(begun, last + 1);
    let (got, all) = (beside.of("v2"), beside.0.len());
    ensure!(got * 100 <= all * 30 + 500, "the canary got {got} beside v1: {}", beside.summary());
    let mut figures = Figures::new();
    figures.say(format!("all of it gone after {}", seconds(took)));
    figures.say(format!("v2 had {got} of {all} while v1 was there: never more than its 30 %"));
    figures.say(format!("0 of {} failed before the deletion", before.0.len()));
    Ok(figures)
}
