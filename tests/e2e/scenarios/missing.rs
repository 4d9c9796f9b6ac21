//! What Penstock needs is not there: it says what is missing and what to run, serves whoever does not need it, and goes
//! on by itself when it is there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::PATIENCE;
use penstock_tests::cluster::kubectl::feed;
use penstock_tests::cluster::realm::{LEASE, Realm};
use penstock_tests::cluster::release::{ROLLOUT, Release, steps, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Journal, Scenario, Shop, kubectl, prometheus, setup};
use penstock_tests::traffic::now;
use serde_json::{Value, json};

/// It is tried again after so long at the latest.
const GOES_ON: Duration = Duration::from_secs(15);
/// Another Rollout beside the one that is called.
const OTHER: &str = "other";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
const SECRET: &str = "prometheus-token";

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, kind, run| Scenario { name, kind, run };
    vec![
        scenario("Secret of Prometheus missing, and the right to read it", Kind::Beside, |shop| {
            Box::pin(secret(shop))
        }),
        scenario("rights of the controller missing", Kind::Apart, |shop| Box::pin(right(shop))),
        scenario("Gateway API missing", Kind::Node, |shop| Box::pin(gateway_api(shop))),
    ]
}

fn release(version: &str) -> Release {
    Release::new(version).with_steps(steps(&[20, 60], "1s"))
}

/// A Rollout that nobody calls: its steps pass by time alone.
fn other(shop: &Shop, version: &str) -> Value {
    let release = release(version).with_analysis(&json!({"metrics": []}));
    let mut manifest = Release { replicas: Some(1), ..release }.manifest(&shop.place.images);
    manifest["metadata"]["name"] = OTHER.into();
    manifest["spec"]["service"]["name"] = OTHER.into();
    manifest["spec"]["selector"]["matchLabels"] = json!({"app": OTHER});
    manifest["spec"]["template"]["metadata"]["labels"] = json!({"app": OTHER});
    manifest
}

/// Waits until the other Rollout has given all traffic to so many revisions, one after the other.
async fn through(journal: &Journal, revisions: usize) -> Result<()> {
    let ended = |status: &RolloutStatus| {
        let ends = status.decisions.iter().filter(|d| matches!(d.what.as_str(), "Deployed" | "Completed"));
        status.phase == Phase::Stable && ends.count() >= revisions
    };
    journal.reaches("the other Rollout is through", PATIENCE, |seen| ended(&seen.status())).await?;
    Ok(())
}

/// Waits until a condition of the present spec has all these words. Returns its message.
async fn is_told(shop: &Shop, words: &[&str]) -> Result<String> {
    let find = |status: &RolloutStatus| {
        let messages = status.conditions.iter().map(|condition| condition.message.clone());
        messages.into_iter().find(|message| words.iter().all(|word| message.contains(word)))
    };
    let seen = shop.reaches(&format!("a condition says {words:?}"), |status| find(status).is_some()).await?;
    find(&seen.status()).context("no condition")
}

async fn secret(shop: &Shop) -> Result<Figures> {
    let address = prometheus::start(shop).await?;
    let beside = Journal::follow(shop.place.client.clone(), &shop.name, OTHER);
    shop.put(&other(shop, "v1")).await?;
    let caller = shop.serves(&release("v1")).await?;
    through(&beside, 1).await?;

    let mut second = release("v2");
    let token = json!({"name": SECRET, "key": "token"});
    second.analysis["source"] = json!({"prometheus": {"address": address, "bearerTokenSecret": token}});
    shop.apply(&second).await?;
    let told = is_told(shop, &["may not read the secret prometheus-token", "kubectl create role"]).await?;
    shop.put(&other(shop, "v2")).await?;
    through(&beside, 2).await?;

    // Just what it says, and the binding that it speaks of.
    let command = told.split('`').find(|part| part.starts_with("kubectl ")).context("no command")?;
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    kubectl(&words).await.context("run what the condition says")?;
    let role = words.get(2).context("the Role's name")?;
    let (role, account) = (format!("--role={role}"), "--serviceaccount=penstock-system:penstock-controller");
    shop.kubectl(&["create", "rolebinding", "penstock-secrets", &role, account]).await?;
    is_told(shop, &["there is no Secret prometheus-token in the namespace", "make it"]).await?;

    shop.kubectl(&["create", "secret", "generic", SECRET, "--from-literal=other=x"]).await?;
    is_told(shop, &["the Secret prometheus-token has no key `token`: add it"]).await?;
    shop.kubectl(&["delete", "secret", SECRET]).await?;
    shop.kubectl(&["create", "secret", "generic", SECRET, "--from-literal=token=x"]).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say("told: no right, no Secret, no key in it; another Rollout went through meanwhile");
    figures.say(format!("with all of it there it went on to the end; 0 of {} failed", record.0.len()));
    Ok(figures)
}

/// What the controller may do with objects of a kind.
enum May {
    DoAll,
    See,
    /// See all, write those of the other Rollout only.
    WriteTheOther,
    DoNothing,
}

/// Gives the controllers of a realm their rights, of which those on a kind may be missing.
async fn give(shop: &Shop, full: &Value, kind: &str, may: May) -> Result<()> {
    let mut role = full.clone();
    let rules = role["rules"].as_array_mut().context("rules")?;
    let is_it = |rule: &Value| rule["resources"] == json!([kind]);
    let at = rules.iter().position(is_it).with_context(|| format!("a rule for {kind}"))?;
    let see =
        json!({"apiGroups": rules[at]["apiGroups"], "resources": [kind], "verbs": ["get", "list", "watch"]});
    let mut write = see.clone();
    (write["verbs"], write["resourceNames"]) = (json!(["update", "patch"]), json!([OTHER]));
    match may {
        May::DoAll => {}
        May::See => rules[at] = see,
        May::WriteTheOther => drop(rules.splice(at..=at, [see, write])),
        May::DoNothing => drop(rules.remove(at)),
    }
    feed(&["-n", &shop.name, "replace", "-f", "-"], &role).await?;
    Ok(())
}

async fn right(shop: &Shop) -> Result<Figures> {
    let realm = Realm::open(shop, &[]).await?;
    let controller = realm.start("one")?;
    let beside = Journal::follow(shop.place.client.clone(), &shop.name, OTHER);
    shop.put(&other(shop, "v1")).await?;
    let caller = shop.serves(&release("v1")).await?;
    through(&beside, 1).await?;
    let full = shop.kubectl(&["get", "role", LEASE, "-o", "json"]).await?;
    let mut full: Value = serde_json::from_str(&full)?;
    full["metadata"] = json!({"name": LEASE, "labels": full["metadata"]["labels"]});

    give(shop, &full, "httproutes", May::WriteTheOther).await?;
    shop.apply(&release("v2")).await?;
    let told =
        is_told(shop, &["httproutes", "forbidden", "`penstock install` prints all that it needs"]).await?;
    shop.put(&other(shop, "v2")).await?;
    through(&beside, 2).await?;
    let record = caller.record().await?;
    ensure!(record.of("v2") == 0, "{} requests were given to v2 without the right to do so", record.of("v2"));
    give(shop, &full, "httproutes", May::DoAll).await?;
    let mut figures = Figures::new();
    let went_on = moves_on(shop, Instant::now()).await?;
    figures.say(format!("told: {}", told.lines().next().unwrap_or_default()));
    figures.say("another Rollout went through meanwhile");
    figures.goal("with the right given back it went on after", went_on, GOES_ON)?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;

    // The same before it begins: without the HTTPRoutes it does not know what is in service, so it begins nothing.
    controller.kill()?;
    give(shop, &full, "httproutes", May::DoNothing).await?;
    shop.apply(&release("v3")).await?;
    let _again = realm.start("one")?;
    is_told(shop, &[&format!("{ROUTES} can't be watched"), "forbidden", "`penstock install`"]).await?;
    give(shop, &full, "httproutes", May::DoAll).await?;
    let went_on = moves_on(shop, Instant::now()).await?;
    figures.goal("without a right to see, told from the start, then on after", went_on, GOES_ON)?;
    shop.is_stable().await?;
    shop.only(&caller, "v3").await?;

    // Orders are taken out of annotations, which is a right of its own.
    shop.apply(&release("v4").with_steps(steps_that_wait(&[20]))).await?;
    shop.is_at(20).await?;
    give(shop, &full, "rollouts", May::See).await?;
    shop.order("abort", "p99 > 500ms").await?;
    is_told(shop, &["orders can't be taken", "forbidden", "`penstock install`"]).await?;
    give(shop, &full, "rollouts", May::DoAll).await?;
    let given = Instant::now();
    shop.is_aborted().await?;
    figures.goal("without the right to take an order, told, then aborted after", given.elapsed(), GOES_ON)?;
    shop.only(&caller, "v3").await?;
    let record = shop.ends_well(caller).await?;
    figures.say(format!("0 of {} failed", record.0.len()));
    realm.close().await?;
    Ok(figures)
}

/// Waits until the canary has its first share. Returns how long after `since` that was.
async fn moves_on(shop: &Shop, since: Instant) -> Result<Duration> {
    let has_some = |status: &RolloutStatus| {
        status.split.as_ref().is_some_and(|split| split.acknowledged && split.weight > 0)
    };
    let through = |status: &RolloutStatus| status.phase == Phase::Stable;
    shop.reaches("it goes on", |status| has_some(status) || through(status)).await?;
    Ok(since.elapsed())
}

async fn gateway_api(shop: &Shop) -> Result<Figures> {
    let told = without(shop).await;
    // Whatever has become of it, all that follows needs it.
    setup::gateway_api().await?;
    told
}

async fn without(shop: &Shop) -> Result<Figures> {
    let beside = Journal::follow(shop.place.client.clone(), &shop.name, OTHER);
    let caller = shop.serves(&release("v1")).await?;
    let words = ["install the Gateway API's definitions", "kubectl apply --server-side -f"];
    let gone = now();
    kubectl(&["delete", "crd", ROUTES]).await?;
    is_told(shop, &words).await?;
    shop.kubectl(&["scale", "rollout", ROLLOUT, "--replicas=3"]).await?;
    shop.noted(gone).await?;
    shop.reaches("what needs no route is done", |status| status.ready_replicas == Some(3)).await?;

    // A new Rollout, and controllers that have never seen the definitions.
    let (namespace, label) = setup::CONTROLLER;
    kubectl(&["-n", namespace, "delete", "pods", "-l", label]).await?;
    kubectl(&["-n", namespace, "rollout", "status", "deployment", "-l", label, "--timeout", "60s"])
        .await
        .context("an installation that waits for the controller waits for the Gateway API")?;
    shop.put(&other(shop, "v1")).await?;
    let knows = |status: &RolloutStatus| {
        status.conditions.iter().any(|c| words.iter().all(|word| c.message.contains(word)))
    };
    beside.reaches("a new Rollout is told, too", PATIENCE, |seen| knows(&seen.status())).await?;
    is_told(shop, &words).await?;

    let lost = caller.record().await?.failed();
    setup::gateway_api().await?;
    let (installed, back) = (Instant::now(), now());
    through(&beside, 1).await?;
    shop.only(&caller, "v1").await?;
    let mut figures = Figures::new();
    figures.say("told by all Rollouts, old and new, to controllers old and new; pods were scaled meanwhile");
    figures.goal("installed again, all are served after", installed.elapsed(), GOES_ON)?;
    shop.apply(&release("v2")).await?;
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends(caller).await?;
    let early = record.between(0, gone).failed();
    ensure!(early == 0, "{early} requests failed before anything was missing");
    figures.say(format!(
        "deleting the definitions deletes every HTTPRoute: {lost} requests had no route until they were back, {:.0} s",
        (back - gone) as f64 / 1000.0
    ));
    Ok(figures)
}
