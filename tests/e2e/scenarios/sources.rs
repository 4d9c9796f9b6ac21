//! The Prometheus that judges a release is away, or does not know the routers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_crds::time_of;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Scenario, Shop, prometheus};
use penstock_tests::traffic::now;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

/// How long each fault lasts: longer than a step, and than Prometheus may take to answer.
const FAULT: Duration = Duration::from_secs(9);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "Prometheus stopped, then gone, then one that knows no router",
        kind: Kind::Beside,
        run: |shop| Box::pin(faults(shop)),
    }]
}

async fn faults(shop: &Shop) -> Result<Figures> {
    let address = prometheus::start(shop).await?;
    shop.put(&stranger(shop)?).await?;
    shop.kubectl(&["rollout", "status", "deployment/stranger", "--timeout=50s"]).await?;
    let release = |version: &str| {
        let mut release = Release::new(version).with_steps(steps(&[20, 40, 60], "4s"));
        release.analysis["source"] = json!({"prometheus": {"address": address, "timeout": "2s"}});
        // More than are seen before a fault begins.
        release.with_analysis(&json!({"minRequests": 300}))
    };
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let mut figures = Figures::new();
    shop.apply(&release("v2")).await?;

    shop.is_at(20).await?;
    match &shop.place.node {
        Some(node) => {
            let pod = shop.pods("app=prometheus").await?.pop().context("no Prometheus")?;
            let process = node.process(&shop.name, &pod.name).await?;
            process.signal(Signal::STOP)?;
            let why = held(shop, 20).await;
            process.signal(Signal::CONT)?;
            figures.say(format!("stopped: held ({})", why?));
        }
        None => figures.say("not stopped: the node is not ours"),
    }

    shop.is_at(40).await?;
    shop.kubectl(&["scale", "deployment/prometheus", "--replicas=0"]).await?;
    figures.say(format!("gone: held ({})", held(shop, 40).await?));

    select(shop, "stranger").await?;
    figures.say(format!("a stranger: held ({})", held(shop, 40).await?));
    shop.kubectl(&["scale", "deployment/prometheus", "--replicas=1"]).await?;
    shop.kubectl(&["rollout", "status", "deployment/prometheus", "--timeout=50s"]).await?;
    select(shop, "prometheus").await?;
    shop.kubectl(&["delete", "deployment", "stranger"]).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;

    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &record), 0)?;
    figures.say(format!("then it went on to the end; {}", sound.words()));
    Ok(figures)
}

/// Nothing is decided while a fault lasts, and it is said why. Returns what is said.
async fn held(shop: &Shop, weight: i32) -> Result<String> {
    let begun = now();
    sleep(FAULT).await;
    let status = shop.journal.last().context("nothing was told")?.status();
    let share = status.split.as_ref().map_or(0, |split| split.weight);
    ensure!(share == weight, "the canary has {share} % in place of {weight} %");
    let late = status.decisions.iter().find(|decision| {
        let moves = matches!(decision.what.as_str(), "Advanced" | "Passed" | "Completed" | "Aborted");
        moves && decision.time.as_ref().is_some_and(|time| time_of(time).0 >= begun)
    });
    ensure!(late.is_none(), "decided without numbers: {late:?}");
    let said = status.message.unwrap_or_default();
    let why = said.split_once("no data: ").map(|(_, why)| why.to_owned());
    why.with_context(|| format!("it does not say that it has no data: {said}"))
}

/// Leads the Service to these pods.
async fn select(shop: &Shop, app: &str) -> Result<()> {
    let patch = json!({"spec": {"selector": {"app": app}}}).to_string();
    shop.kubectl(&["patch", "service", "prometheus", "--type=merge", "-p", &patch]).await?;
    Ok(())
}

/// A Prometheus that scrapes nobody but itself.
fn stranger(shop: &Shop) -> Result<Value> {
    let manifests = prometheus::manifests(shop);
    let all = manifests["items"].as_array().context("a list")?;
    let find =
        |kind: &str| all.iter().find(|object| object["kind"] == kind).cloned().context("no such object");
    let (mut map, mut deployment) = (find("ConfigMap")?, find("Deployment")?);
    map["metadata"]["name"] = "stranger".into();
    map["data"]["prometheus.yml"] =
        "scrape_configs: [{job_name: itself, static_configs: [{targets: ['localhost:9090']}]}]".into();
    deployment["metadata"]["name"] = "stranger".into();
    deployment["spec"]["selector"]["matchLabels"]["app"] = "stranger".into();
    deployment["spec"]["template"]["metadata"]["labels"]["app"] = "stranger".into();
    deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "stranger".into();
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": [map, deployment]}))
}
