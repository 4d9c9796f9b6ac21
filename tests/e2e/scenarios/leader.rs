//! The controllers of the cluster itself, as pods, die in mid-release.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use penstock_tests::cluster::pods::pods;
use penstock_tests::cluster::realm::{LEASE, Metrics};
use penstock_tests::cluster::release::{ROLLOUT, Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::setup::{self, CONTROLLER};
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Scenario, Shop, kubectl};
use penstock_tests::{PATIENCE, wait_until};
use rustix::process::Signal;

/// A container that starts again takes its own lease back.
const BACK: Duration = Duration::from_secs(3);
/// Who stands by takes over when the pod is gone.
const TAKEN_OVER: Duration = Duration::from_secs(6);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "the leader's container killed, then its pod",
        kind: Kind::Node,
        run: |shop| Box::pin(killed(shop)),
    }]
}

async fn killed(shop: &Shop) -> Result<Figures> {
    let node = shop.place.node.as_ref().context("this needs the node")?;
    let (namespace, _) = CONTROLLER;
    let release = |version: &str| Release::new(version).with_steps(steps(&[10, 20, 40, 60], "1s"));
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let mut figures = Figures::new();

    shop.apply(&release("v2")).await?;
    shop.is_at(10).await?;
    let leader = leader().await?;
    let process = node.process(namespace, &leader).await?;
    let killed = Instant::now();
    process.signal(Signal::KILL)?;
    let by = turns(shop).await?;
    figures.goal("container killed to the next turn", killed.elapsed(), BACK)?;
    anyhow::ensure!(by == leader, "{by} has taken over, {leader} was there again");
    shop.is_stable().await?;

    setup::ready().await?;
    shop.apply(&release("v3")).await?;
    shop.is_at(10).await?;
    let process = node.process(namespace, &leader).await?;
    // It must not hand over: the kubelet asks it to end when its pod is deleted.
    let killed = Instant::now();
    process.signal(Signal::STOP)?;
    kubectl(&["-n", namespace, "delete", "pod", &leader, "--force", "--grace-period=0", "--wait=false"])
        .await?;
    process.signal(Signal::KILL)?;
    let by = turns(shop).await?;
    figures.goal("pod killed to the turn of the one that stood by", killed.elapsed(), TAKEN_OVER)?;
    anyhow::ensure!(by != leader, "{leader} was deleted, and leads");
    shop.is_stable().await?;

    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &record), 0)?;
    figures.say(sound.words());
    Ok(figures)
}

/// The pod that leads.
async fn leader() -> Result<String> {
    let path = "jsonpath={.spec.holderIdentity}";
    kubectl(&["-n", CONTROLLER.0, "get", "lease", LEASE, "-o", path]).await
}

/// Waits until one leads and has taken a turn. Returns its name.
async fn turns(shop: &Shop) -> Result<String> {
    let known = pods(&shop.place.client, CONTROLLER.0, CONTROLLER.1).await?;
    wait_until("a controller takes a turn", PATIENCE, async || {
        for pod in known.iter().filter(|pod| !pod.address.is_empty()) {
            let Ok(Ok(seen)) = tokio::time::timeout(
                Duration::from_millis(300),
                Metrics::of_controller(&format!("{}:9902", pod.address)),
            )
            .await
            else {
                continue;
            };
            let leads = seen.of("penstock_controller_leader") > 0.0;
            if leads && seen.of("penstock_controller_turn_duration_seconds_count") > 0.0 {
                return Ok(pod.name.clone());
            }
        }
        bail!("nobody does")
    })
    .await
}
