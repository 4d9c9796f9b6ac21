//! The API server, or what is behind it, is away in mid-release.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_crds::time_of;
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Node, Scenario, Shop};
use penstock_tests::traffic::now;
use rustix::process::Signal;
use tokio::time::sleep;

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// How long it does not answer.
const SILENT: Duration = Duration::from_secs(10);
/// From its return to the next decision that was due long before.
const GOES_ON: Duration = Duration::from_secs(10);

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Node, run };
    vec![
        scenario(
            "API server away for 60 s in mid-release, a pod killed and another one cut off meanwhile",
            |shop| Box::pin(away(shop)),
        ),
        scenario("etcd killed, API server stopped for 10 s in mid-release", |shop| Box::pin(silent(shop))),
    ]
}

/// The steps to 20 and 30 % need one pod.
fn release(version: &str) -> Release {
    Release { replicas: Some(3), ..Release::new(version).with_steps(steps(&[20, 30], "3s")) }
}

async fn away(shop: &Shop) -> Result<Figures> {
    let node = shop.place.node.as_ref().context("this needs the node")?;
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let stable = shop.pods("app=checkout").await?;
    ensure!(stable.len() == 3, "{stable:?}");
    let first = node.process(&shop.name, &stable[0].name).await?;
    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;

    for piece in ["apiserver", "controllers", "scheduler"] {
        node.piece("kill", piece).await?;
    }
    let gone = now();
    // Everything is done by one who watches the clock, and no API server.
    sleep(AWAY / 6).await;
    first.signal(Signal::KILL)?;
    sleep(AWAY / 6).await;
    node.cut(&[&stable[1].address]).await?;
    sleep(AWAY / 3).await;
    node.restore(&[&stable[1].address]).await?;
    sleep(AWAY / 3).await;
    node.piece("start", "apiserver").await?;
    let back = now();
    // Those of a real cluster have ended when they lost their leases, and are started again.
    for piece in ["controllers", "scheduler"] {
        node.piece("start", piece).await?;
    }
    shop.is_at(30).await?;
    // It waits for up to a minute between two attempts to hear of new pods.
    node.piece("stop", "kubelet").await?;
    node.piece("start", "kubelet").await?;

    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends(caller).await?;
    // So do these; who comes next needs names and addresses of new Services.
    for piece in ["kube-proxy", "coredns"] {
        node.piece("stop", piece).await?;
        node.piece("start", piece).await?;
    }
    let told = shop.journal.states();
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&told, &splits, &record), 0)?;
    let served = record.between(gone, back);
    let canary = served.of("v2") as f64 / served.0.len().max(1) as f64 * 100.0;
    ensure!((19.0..21.0).contains(&canary), "the canary had {canary:.1} % while the API server was away");
    let mut figures = Figures::new();
    figures.say(format!("{} requests without it, {canary:.1} % to the canary", served.0.len()));
    figures.goal("its return to the next step", next_step(shop, back)?, GOES_ON)?;
    figures.say(sound.words());
    Ok(figures)
}

async fn silent(shop: &Shop) -> Result<Figures> {
    let node = shop.place.node.as_ref().context("this needs the node")?;
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let mut figures = Figures::new();

    shop.apply(&release("v2")).await?;
    shop.is_at(20).await?;
    node.piece("kill", "etcd").await?;
    node.piece("start", "etcd").await?;
    let back = now();
    shop.is_stable().await?;
    figures.say(format!("etcd's return to the next step {}", seconds(next_step(shop, back)?)));

    shop.apply(&release("v3")).await?;
    shop.is_at(20).await?;
    let back = stopped(node).await?;
    shop.is_stable().await?;
    figures.goal("API server's return to the next step", next_step(shop, back)?, GOES_ON)?;

    shop.only(&caller, "v3").await?;
    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &record), 0)?;
    figures.say(sound.words());
    Ok(figures)
}

/// Connections stay open, and nothing answers. Returns when that was over.
async fn stopped(node: &Node) -> Result<u64> {
    node.piece("pause", "apiserver").await?;
    sleep(SILENT).await;
    node.piece("resume", "apiserver").await?;
    Ok(now())
}

/// From a moment to the first decision after it that gave the canary more.
fn next_step(shop: &Shop, from: u64) -> Result<Duration> {
    let states = shop.journal.states();
    let decisions = states.iter().flat_map(|seen| seen.status().decisions);
    let rises = decisions.filter(|decision| matches!(decision.what.as_str(), "Advanced" | "Completed"));
    let times =
        rises.filter_map(|decision| Some(time_of(decision.time.as_ref()?).0)).filter(|time| *time >= from);
    let first = times.min().context("nothing was decided afterwards")?;
    Ok(Duration::from_millis(first - from))
}
