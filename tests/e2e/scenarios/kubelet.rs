//! The kubelet is away in mid-release: no pod starts, and none is known to be well.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_crds::Phase;
use penstock_tests::cluster::kubectl;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Scenario, Seen, Shop};
use penstock_tests::traffic::{Record, now};
use penstock_tests::wait_until;
use tokio::time::sleep;

/// Without its kubelet for 50 s, a node counts as lost, and all of its pods as not ready.
const LOST: Duration = Duration::from_secs(75);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "kubelet away for more than 60 s in mid-release",
        kind: Kind::Node,
        run: |shop| Box::pin(away(shop)),
    }]
}

async fn away(shop: &Shop) -> Result<Figures> {
    let node = shop.place.node.as_ref().context("this needs the node")?;
    let release = |version: &str| Release {
        replicas: Some(4),
        deadline: 300,
        ..Release::new(version).with_steps(steps(&[20, 60], "5s"))
    };
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;
    node.piece("stop", "kubelet").await?;
    let gone = now();
    shop.reaches("it waits for pods", |status| status.phase == Phase::Held).await?;
    let lost = wait_until("the node is lost", LOST, async || {
        let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
        let ready = kubectl(&["get", "nodes", "-o", path]).await?;
        if ready == "True" {
            anyhow::bail!("it is ready")
        }
        // Its pods are told to be not ready after it, one by one.
        Ok(now() - 1000)
    })
    .await?;
    sleep(Duration::from_secs(12)).await;
    let told = shop.journal.last().context("nothing was told")?.status();
    let share = told.split.as_ref().map_or(0, |split| split.weight);
    ensure!(share <= 20, "the canary was given {share} % while nobody knew how its pods were");
    ensure!(told.phase != Phase::Stable && told.phase != Phase::Aborted, "it is {:?}", told.phase);
    node.piece("start", "kubelet").await?;
    let back = now();
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;

    // A node that is lost takes all endpoints with it, and there is no other one: that is no path that is healthy.
    // Back again, its pods are ready one by one, and a revision without any leaves its requests to the other: shares
    // are looked at before and after.
    let again = shop.journal.states().into_iter().find(|seen| seen.at > back && !is_held(seen));
    let again = again.context("it was never told to go on")?.at;
    let all = shop.ends(caller).await?;
    let (apart, counted) =
        all.0.into_iter().partition::<Vec<_>, _>(|e| e.failed() && e.ended >= lost && e.sent <= back + 5000);
    let counted = Record(counted);
    ensure!(counted.failed() == 0, "{}\n{}", counted.summary(), counted.failures());
    let divided = counted.0.into_iter().filter(|e| e.ended < lost || e.sent > again).collect();
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &Record(divided)), 0)?;
    let mut figures = Figures::new();
    figures.say(format!("away for {:.0} s, held at {share} %", (back - gone) as f64 / 1000.0));
    figures.say(format!(
        "{} requests while Kubernetes counted the only node as lost found no endpoint, counted apart",
        apart.len()
    ));
    figures.say(sound.words());
    Ok(figures)
}

fn is_held(seen: &Seen) -> bool {
    seen.status().phase == Phase::Held
}
