//! What bad input gets: a refusal at `kubectl apply`, or a condition that says where it is wrong and what to write.

use anyhow::{Context, Result, ensure};
use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::PATIENCE;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Journal, Scenario, Shop};
use serde_json::{Value, json};

/// Label of what is made for a Rollout.
const OURS: &str = "penstock.dev/rollout";

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("bad manifests are refused as they are applied", |shop| Box::pin(refused(shop))),
        scenario("bad manifests that are applied are told in the status", |shop| Box::pin(told(shop))),
        scenario("two Rollouts with one Service, or with each other's pods", |shop| Box::pin(clash(shop))),
        scenario("Service of somebody else", |shop| Box::pin(conflict(shop))),
    ]
}

/// A field, what is written there, and words of the answer.
type Mistake = (&'static str, Value, &'static [&'static str]);

/// What the API server itself can see.
fn plain() -> Vec<Mistake> {
    let metric = |kind: Value| json!([kind]);
    let step = "/spec/strategy/canary/steps";
    vec![
        (
            step,
            json!([{"setWeight": 50}, {"setWeight": 25}]),
            &["weights never fall", "write them in rising order"],
        ),
        (step, json!([{"setWeight": 140}]), &["setWeight", "100"]),
        (step, json!([{"setWeight": 10, "pause": {}}]), &["write each as an item of its own"]),
        (step, json!([{"pause": {"duration": "5"}}]), &["write 500ms, 30s, 5m or 1h30m"]),
        ("/spec/replicas", json!(-1), &["spec.replicas", "0"]),
        ("/spec/service/port", json!(70000), &["spec.service.port", "65535"]),
        ("/spec/selector", json!({}), &["would take all pods", "write matchLabels"]),
        (
            "/spec/analysis/metrics",
            metric(json!({"name": "e", "errorRate": {"max": "0.01"}})),
            &["write \"1%\""],
        ),
        (
            "/spec/analysis/metrics",
            metric(json!({"name": "e", "latency": {"quantile": "99", "max": "1s"}})),
            &["write \"0.99\" for p99"],
        ),
        (
            "/spec/analysis/metrics",
            metric(
                json!({"name": "e", "errorRate": {"max": "1%"}, "latency": {"quantile": "0.99", "max": "1s"}}),
            ),
            &["exactly one of errorRate, latency and prometheus"],
        ),
        (
            "/spec/analysis/source",
            json!({"prometheus": {"address": "prometheus:9090"}}),
            &["begins with http:// or https://"],
        ),
        (
            "/spec/analysis/source",
            json!({"prometheus": {"address": "http://p"}, "proxy": {}}),
            &["write either"],
        ),
        ("/metadata/name", json!("a".repeat(53)), &["at most 52 characters"]),
        ("/metadata/name", json!("check.out"), &["its Services are named after it"]),
    ]
}

/// What only Penstock can see.
fn hidden() -> Vec<Mistake> {
    vec![
        (
            "/spec/selector/matchLabels/app",
            json!("cart"),
            &["spec.selector.matchLabels[\"app\"]", "write `app: cart` into spec.template.metadata.labels"],
        ),
        (
            "/spec/service/targetPort",
            json!("grpc"),
            &["spec.service.targetPort", "write a port's number, or name the port in the template"],
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            &["spec.template.spec.restartPolicy", "write Always"],
        ),
        (
            "/spec/template/spec/containers/0/image",
            json!(2),
            &["spec.template.spec.containers[0].image", "in quotes"],
        ),
        (
            "/spec/analysis/metrics",
            json!([{"name": "own", "prometheus": {"query": "sum(up{r=\"{{revison}}\"})", "max": "5"}}]),
            &["spec.analysis.metrics[0].prometheus.query", "did you mean `revision`?"],
        ),
    ]
}

/// A manifest with a mistake in it.
fn spoilt(manifest: &Value, path: &str, value: &Value) -> Result<Value> {
    let (mut manifest, (parent, field)) = (manifest.clone(), path.rsplit_once('/').context("a path")?);
    let place = manifest.pointer_mut(parent).with_context(|| parent.to_owned())?;
    place[field] = value.clone();
    Ok(manifest)
}

async fn refused(shop: &Shop) -> Result<Figures> {
    let good = Release::new("v1").manifest(&shop.place.images);
    let mistakes = plain();
    for (path, value, words) in &mistakes {
        let answer = shop.put(&spoilt(&good, path, value)?).await;
        let Err(answer) = answer else { anyhow::bail!("{path}: {value} was taken") };
        let answer = answer.to_string();
        for word in *words {
            ensure!(answer.contains(word), "{path}: {value} says nothing of `{word}`: {answer}");
        }
    }
    let there = shop.kubectl(&["get", "rollouts", "-o", "name"]).await?;
    ensure!(there.is_empty(), "there is {there}");
    let mut figures = Figures::new();
    figures.say(format!("{} mistakes, each with what to write instead", mistakes.len()));
    Ok(figures)
}

fn is_invalid(status: &RolloutStatus, words: &[&str]) -> bool {
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled");
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    status.phase == Phase::Invalid
        && stalled.is_some_and(|c| c.status == "True" && c.reason == "InvalidSpec" && says(&c.message))
}

async fn told(shop: &Shop) -> Result<Figures> {
    let first = Release::new("v1");
    let caller = shop.serves(&first).await?;
    let (good, mistakes) = (first.with_version("v2").manifest(&shop.place.images), hidden());
    for (path, value, words) in &mistakes {
        let begun = penstock_tests::traffic::now();
        shop.put(&spoilt(&good, path, value)?).await?;
        shop.noted(begun).await?;
        shop.reaches(&format!("{path} is told"), |status| is_invalid(status, words)).await?;
    }
    let record = caller.record().await?;
    ensure!(record.of("v2") == 0, "a refused spec was released");
    shop.apply(&first.with_version("v2")).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!(
        "{} mistakes, each with its field and what to write; what runs went on",
        mistakes.len()
    ));
    figures.say(format!("0 of {} failed", record.0.len()));
    Ok(figures)
}

/// A Rollout of another name.
fn named(mut manifest: Value, name: &str, service: &str, label: &str) -> Value {
    manifest["metadata"]["name"] = name.into();
    manifest["spec"]["service"]["name"] = service.into();
    manifest["spec"]["selector"]["matchLabels"] = json!({"app": label});
    manifest["spec"]["template"]["metadata"]["labels"] = json!({"app": label});
    manifest
}

async fn clash(shop: &Shop) -> Result<Figures> {
    let one = Release { replicas: Some(1), ..Release::new("v1") };
    let caller = shop.serves(&one).await?;
    let versions =
        ["get", "httproute,service", ROLLOUT, "-o", "jsonpath={.items[*].metadata.resourceVersion}"];
    let before = shop.kubectl(&versions).await?;
    let follow = |name: &str| Journal::follow(shop.place.client.clone(), &shop.name, name);
    let (same, wide) = (follow("same-service"), follow("same-pods"));
    let other = one.with_version("other").manifest(&shop.place.images);
    // Creation times are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    shop.put(&named(other.clone(), "same-service", ROLLOUT, "other")).await?;
    shop.put(&named(other, "same-pods", "another", ROLLOUT)).await?;
    let by = format!("the Rollout {}/{ROLLOUT}", shop.name);
    let service = ["spec.service.name", by.as_str(), "name another Service, or delete one of the two"];
    same.reaches("the same Service is refused", PATIENCE, |seen| is_invalid(&seen.status(), &service))
        .await?;
    let pods = ["spec.selector", by.as_str(), "a label of their own"];
    wide.reaches("the same pods are refused", PATIENCE, |seen| is_invalid(&seen.status(), &pods)).await?;
    let after = shop.kubectl(&versions).await?;
    ensure!(before == after, "the first one was touched: {before} is {after}");
    let made = shop.kubectl(&["get", "replicasets", "-l", OURS, "-o", "name"]).await?;
    ensure!(made.lines().count() == 1, "pods were made of what is refused: {made}");
    let record = shop.ends_well(caller).await?;

    shop.kubectl(&["delete", "rollout", ROLLOUT]).await?;
    same.reaches("the second comes to life", PATIENCE, |seen| seen.status().phase == Phase::Stable).await?;
    wide.reaches("the third comes to life", PATIENCE, |seen| seen.status().phase == Phase::Stable).await?;
    let mut figures = Figures::new();
    figures.say("the later ones were refused and came to life when the first had gone");
    figures.say(format!("the first was untouched, 0 of {} failed", record.0.len()));
    Ok(figures)
}

async fn conflict(shop: &Shop) -> Result<Figures> {
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": ROLLOUT},
        "spec": {"selector": {"app": "somebody-else"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    shop.put(&theirs).await?;
    let version = ["get", "service", ROLLOUT, "-o", "jsonpath={.metadata.resourceVersion}"];
    let before = shop.kubectl(&version).await?;
    shop.apply(&Release::new("v1").with_steps(steps_that_wait(&[50]))).await?;
    let line = format!("kubectl annotate service -n {} {ROLLOUT} penstock.dev/adopt=true", shop.name);
    let stalls = |status: &RolloutStatus| {
        let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True");
        stalled.is_some_and(|c| c.reason == "ServiceConflict" && c.message.contains(&line))
    };
    let seen = shop.reaches("it says whose the Service is", stalls).await?;
    ensure!(shop.kubectl(&version).await? == before, "the Service was touched");
    let made = shop.kubectl(&["get", "replicasets", "-l", OURS, "-o", "name"]).await?;
    ensure!(made.is_empty(), "pods were made: {made}");
    shop.kubectl(&["delete", "service", ROLLOUT]).await?;
    let caller = shop.caller().await?;
    shop.is_stable().await?;
    caller.counts().await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!("untouched; {}", seen.status().message.unwrap_or_default()));
    figures.say(format!("deployed when it was gone, 0 of {} failed", record.0.len()));
    Ok(figures)
}
