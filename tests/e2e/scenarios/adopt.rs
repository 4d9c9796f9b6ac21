//! An application that runs already is handed over under traffic, and given back.

use std::time::Duration;

use anyhow::{Result, ensure};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{ROLLOUT, Release};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::shop::RATE;
use penstock_tests::cluster::{Figures, Scenario, Shop};
use penstock_tests::traffic::now;
use penstock_tests::{PATIENCE, wait_until};
use serde_json::json;

/// A Service leads to new pods on all nodes after this time.
const NODES_FOLLOW: Duration = Duration::from_secs(3);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "a running application is handed over and given back",
        kind: Kind::Beside,
        run: |shop| Box::pin(handed_over(shop)),
    }]
}

async fn handed_over(shop: &Shop) -> Result<Figures> {
    let mut figures = Figures::new();
    let before = Release::new("before");
    shop.put(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": ROLLOUT}},
            "template": before.template(&shop.place.images),
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": ROLLOUT}, "spec": {
            "selector": {"app": ROLLOUT},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        }},
    ]}))
    .await?;
    shop.kubectl(&["rollout", "status", "deployment/web", "--timeout=50s"]).await?;
    let caller = shop.caller().await?;
    caller.counts().await?;
    let untouched = service(shop).await?;

    // Without leave, the Service is not touched.
    shop.apply(&Release::new("v1")).await?;
    shop.reaches("it says whose the Service is", |s| {
        format!("{:?}", s.conditions).contains("ServiceConflict")
    })
    .await?;
    ensure!(service(shop).await? == untouched, "the Service was touched without leave");

    let leave = now();
    shop.kubectl(&["annotate", "service", ROLLOUT, "penstock.dev/adopt=true"]).await?;
    wait_until("the Service leads to the routers", PATIENCE, async || {
        anyhow::ensure!(service(shop).await?.contains("penstock.dev/component"), "not yet");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    figures.say(format!("taken over after {}", seconds(Duration::from_millis(now().saturating_sub(leave)))));
    shop.is_stable().await?;
    // Nobody tells when all nodes have followed.
    tokio::time::sleep(NODES_FOLLOW).await;
    let over = now();
    shop.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
    shop.only(&caller, "v1").await?;
    // Who connected just before the Service led to the routers may have a connection to a pod of v1 itself, which had
    // the labels that the Service selected. It breaks when that pod ends, as with any Deployment.
    let next = shop.caller_named("client-2", RATE).await?;
    next.counts().await?;
    let (first, caller) = (shop.ends(caller).await?, next);
    shop.apply(&Release::new("v2")).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;

    // And back.
    shop.kubectl(&["scale", "deployment/web", "--replicas=2"]).await?;
    shop.kubectl(&["rollout", "status", "deployment/web", "--timeout=50s"]).await?;
    let back = now();
    shop.kubectl(&["delete", "rollout", ROLLOUT, "--cascade=orphan"]).await?;
    wait_until("the Service is as it was", PATIENCE, async || {
        let there = service(shop).await?;
        anyhow::ensure!(there == untouched, "{there} in place of {untouched}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    figures.say(format!("given back after {}", seconds(Duration::from_millis(now().saturating_sub(back)))));
    let seen = caller.record().await?.0.len();
    caller.until("the Deployment answers again", seen, |record| record.of("before") > 100).await?;
    let record = shop.ends(caller).await?;
    // A pod of the Deployment that ends may close a connection in the very moment in which a request is on its way to it.
    let taken = first.between(0, over);
    for all in [&taken, &record] {
        ensure!(all.failed() == 0, "{}\n{}", all.summary(), all.failures());
    }
    let own = first.failed();
    figures.say(format!("0 of {} failed", taken.0.len() + record.0.len()));
    figures.say(format!("{own} while the Deployment's own pods were ended"));
    Ok(figures)
}

/// Where the Service leads to.
async fn service(shop: &Shop) -> Result<String> {
    shop.kubectl(&[
        "get",
        "service",
        ROLLOUT,
        "-o",
        "jsonpath={.spec.selector} {.spec.ports} {.spec.clusterIP}",
    ])
    .await
}
