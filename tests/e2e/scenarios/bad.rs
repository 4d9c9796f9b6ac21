//! Releases that are worse than what they replace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_crds::RolloutStatus;
use penstock_tests::cluster::release::{Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Scenario, Shop, prometheus};
use penstock_tests::traffic::{Record, now};
use serde_json::json;

/// From the first bad answer to the last, when the routers are read each second.
const BY_ROUTERS: Duration = Duration::from_secs(2);
/// The same through a Prometheus that scrapes them each 5 seconds.
const BY_PROMETHEUS: Duration = Duration::from_secs(7);

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("bad release, 20 % errors", |shop| Box::pin(errors(shop))),
        scenario("bad release, 20 % errors, judged through Prometheus", |shop| {
            Box::pin(errors_by_prometheus(shop))
        }),
        scenario("bad release, slow p99", |shop| Box::pin(slow(shop))),
        scenario("bad release, crash loop", |shop| Box::pin(crash_loop(shop))),
        scenario("bad release, crashes while it serves", |shop| Box::pin(crashes(shop))),
        scenario("bad release, never ready", |shop| Box::pin(never_ready(shop))),
        scenario("bad release, wrong image", |shop| Box::pin(wrong_image(shop))),
    ]
}

/// Two pods, 20 and 50 % for a while each: long enough for any fault to show.
fn slowly(version: &str) -> Release {
    Release::new(version).with_steps(steps(&[20, 50], "20s"))
}

async fn errors(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&slowly("v1")).await?;
    shop.apply(&slowly("v2").with_env("FAIL_SHARE", 20)).await?;
    shop.is_aborted().await?;
    shop.only(&caller, "v1").await?;
    judged(shop, &shop.ends(caller).await?, BY_ROUTERS)
}

async fn errors_by_prometheus(shop: &Shop) -> Result<Figures> {
    let address = prometheus::start(shop).await?;
    let by_prometheus = |release: Release| {
        // Another source takes the place of the one that is there.
        let mut release = release;
        release.analysis["source"] = json!({"prometheus": {"address": address}});
        release
    };
    let caller = shop.serves(&by_prometheus(slowly("v1"))).await?;
    shop.apply(&by_prometheus(slowly("v2").with_env("FAIL_SHARE", 20))).await?;
    shop.is_aborted().await?;
    shop.only(&caller, "v1").await?;
    judged(shop, &shop.ends(caller).await?, BY_PROMETHEUS)
}

/// How many failed, all of them of the canary, and for how long.
fn judged(shop: &Shop, record: &Record, goal: Duration) -> Result<Figures> {
    let mut figures = Figures::new();
    let others = record.0.iter().filter(|exchange| exchange.failed() && exchange.version() != "v2").count();
    ensure!(
        others == 0,
        "{others} failed that were not the canary's: {}\n{}",
        record.summary(),
        record.failures()
    );
    let time = record.from_bad_to_quiet("v2").context("the canary gave no bad answer")?;
    figures.goal("rolled back after the first bad answer in", time, goal)?;
    figures.say(format!("{} of {} failed", record.failed(), record.0.len()));
    back_on_v1(shop)?;
    Ok(figures)
}

async fn slow(shop: &Shop) -> Result<Figures> {
    const SLOW: u64 = 400;
    let metrics = json!({"metrics": [{"name": "slow", "latency": {"quantile": "0.99", "max": "250ms"}}]});
    let release = |version: &str| slowly(version).with_analysis(&metrics);
    let caller = shop.serves(&release("v1")).await?;
    shop.apply(&release("v2").with_env("SLOW_SHARE", 20).with_env("SLOW_MS", SLOW)).await?;
    shop.is_aborted().await?;
    shop.only(&caller, "v1").await?;
    let record = shop.ends_well(caller).await?;

    let canary = || record.0.iter().filter(|exchange| exchange.version() == "v2");
    let slow = || canary().filter(|exchange| exchange.ended - exchange.sent >= SLOW);
    let first = slow().map(|exchange| exchange.ended).min().context("no answer was slow")?;
    let last = canary().map(|exchange| exchange.sent).max().context("the canary gave no answer")?;
    let mut figures = Figures::new();
    figures.goal(
        "rolled back after the first slow answer in",
        Duration::from_millis(last.saturating_sub(first)),
        BY_ROUTERS,
    )?;
    figures.say(format!("{} of {} were slow, 0 failed", slow().count(), record.0.len()));
    back_on_v1(shop)?;
    Ok(figures)
}

async fn crash_loop(shop: &Shop) -> Result<Figures> {
    let dies = |release: Release| release.with_env("READY_AFTER", 60_000).with_env("CRASH_AFTER", 300);
    never_gets_there(shop, dies, &["exit code 3"]).await
}

/// Its pods are ready at once, get traffic, and end after a second and a half: what was under way in them is lost.
async fn crashes(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&slowly("v1")).await?;
    shop.apply(&slowly("v2").with_env("CRASH_AFTER", 1500)).await?;
    shop.is_aborted().await?;
    shop.only(&caller, "v1").await?;
    let record = shop.ends(caller).await?;
    let under_way = 5;
    ensure!(record.failed() <= under_way, "{}\n{}", record.summary(), record.failures());
    let mut figures = Figures::new();
    figures.say(format!(
        "{} of {} failed: those under way when a pod ended",
        record.failed(),
        record.0.len()
    ));
    back_on_v1(shop)?;
    Ok(figures)
}

async fn never_ready(shop: &Shop) -> Result<Figures> {
    never_gets_there(shop, |release| release.with_env("NEVER_READY", 1), &["ready"]).await
}

async fn wrong_image(shop: &Shop) -> Result<Figures> {
    let image = "localhost/no-such-image:v2";
    let wrong = |release| Release { image: Some(image.to_owned()), ..release };
    never_gets_there(shop, wrong, &[image]).await
}

/// A release whose pods never serve is given up, says what its pods died of, and fails nobody.
async fn never_gets_there(
    shop: &Shop,
    spoil: impl Fn(Release) -> Release,
    words: &[&str],
) -> Result<Figures> {
    let deadline = |version: &str| Release { deadline: 8, ..slowly(version) };
    let caller = shop.serves(&deadline("v1")).await?;
    let begun = shop.apply(&spoil(deadline("v2"))).await?.ended;
    let seen = shop.reaches("it says what is wrong", |status| said(status, words)).await?;
    let status = shop.is_aborted().await?;
    let took = Duration::from_millis(now().saturating_sub(begun));
    ensure!(said(&status, words), "the reason says nothing of {words:?}");
    let record = shop.ends_well(caller).await?;
    ensure!(record.of("v2") == 0, "{} requests went to it", record.of("v2"));

    let mut figures = Figures::new();
    figures.say(format!("said so after {:.1} s", (seen.at.saturating_sub(begun)) as f64 / 1000.0));
    figures.say(format!("given up after {:.1} s (deadline 8 s)", took.as_secs_f64()));
    figures.say(format!("0 of {} failed", record.0.len()));
    back_on_v1(shop)?;
    Ok(figures)
}

/// Whether message or decisions name all of this.
fn said(status: &RolloutStatus, words: &[&str]) -> bool {
    let why: String = status.decisions.iter().map(|decision| decision.why.as_str()).collect();
    let trouble: String =
        status.revisions.iter().filter_map(|revision| revision.trouble.as_deref()).collect();
    let all = format!("{}{why}{trouble}", status.message.as_deref().unwrap_or_default());
    words.iter().all(|word| all.contains(word))
}

/// The first version has all traffic, and is trusted.
fn back_on_v1(shop: &Shop) -> Result<()> {
    let status = shop.journal.last().context("nothing was told")?.status();
    let weight = status.split.as_ref().map_or(0, |split| split.weight);
    ensure!(weight == 0, "the canary still has {weight} %");
    let decided = shop.decided();
    ensure!(!decided.iter().any(|what| what == "Completed"), "a bad release was completed: {decided:?}");
    Ok(())
}
