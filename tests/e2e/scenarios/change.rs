//! People who change their minds in mid-release.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
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
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    let begun = now();
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
    let after = record.between(begun, u64::MAX);
    let (canary, answered) = (after.of("v2"), after.of("v1") + after.of("v2"));
    ensure!(canary * 100 <= answered * 40 + 500, "the canary got {canary} of {answered} after the deletion");
    let mut figures = Figures::new();
    figures.say(format!("all of it gone after {}", seconds(took)));
    figures.say(format!("until then v2 had {canary} of {answered}: never more than its 30 %"));
    figures.say(format!("0 of {} failed before the deletion", before.0.len()));
    Ok(figures)
}
