//! `penstock check`, by what a person has: before installing, after it, and of a Rollout when something is wrong with it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::release::{ROLLOUT, Release};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Scenario, Shop, prometheus, setup};
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;

/// A ServiceAccount of the namespace that may see Rollouts and nothing else.
const GUEST: &str = "guest";
/// A Rollout whose Service is taken.
const OTHER: &str = "other";

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Beside, run };
    vec![
        scenario("check of a cluster", |shop| Box::pin(cluster(shop))),
        scenario("check of a Rollout", |shop| Box::pin(rollout(shop))),
    ]
}

/// What it found.
struct Found {
    code: i32,
    /// Of each finding: its result, what it is, what to do.
    findings: Vec<(String, String, String)>,
}

impl Found {
    /// The one finding with these words in it, and how it is.
    fn one(&self, words: &str, result: &str) -> Result<&str> {
        let found = self.findings.iter().find(|(_, text, _)| text.contains(words));
        let (is, text, hint) = found.with_context(|| format!("`{words}` is not in {:#?}", self.findings))?;
        ensure!(is == result, "`{text}` is {is}, not {result}");
        ensure!(is == "success" || !hint.is_empty(), "`{text}` says no remedy");
        Ok(hint)
    }
}

async fn check(arguments: &[&str]) -> Result<Found> {
    let arguments = [&["check", "-o", "json"], arguments].concat();
    let mut command = Command::new(setup::program()?);
    let output = command.args(&arguments).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let categories = said["categories"].as_array().cloned().unwrap_or_default();
    let checks =
        categories.iter().flat_map(|category| category["checks"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings: Vec<_> = checks
        .map(|check| (text(&check["result"]), text(&check["description"]), text(&check["hint"])))
        .collect();
    let code = output.status.code().context("ended by a signal")?;
    ensure!((code == 0) == (said["success"] == true), "it ends with {code} and says {said:#}");
    Ok(Found { code, findings })
}

async fn cluster(shop: &Shop) -> Result<Figures> {
    let before = check(&["--pre"]).await?;
    before.one("is 1.29 or newer", "success")?;
    before.one("you may do anything", "success")?;
    before.one("looks after all namespaces already", "warning")?;

    let address = prometheus::start(shop).await?;
    let before = check(&["--pre", "--prometheus", &address]).await?;
    before.one("answers; there is no router to scrape yet", "success")?;
    let before = check(&["--pre", "--prometheus", "http://nobody.nowhere:9090"]).await?;
    before.one("nobody.nowhere", "warning")?;

    let mut release = Release::new("v1");
    release.analysis["source"] = json!({"prometheus": {"address": address}});
    let caller = shop.serves(&release).await?;
    let all_scraped = format!("Prometheus {address} answers and scrapes 2 routers");
    wait_until("all is well", PATIENCE, async || {
        let found = check(&["-n", &shop.name]).await?;
        found.one(&all_scraped, "success").map(drop)
    })
    .await?;
    let after = check(&["-n", &shop.name, "--wait", "20s"]).await?;
    ensure!(after.code == 0, "{:#?}", after.findings);
    for words in [
        "HTTPRoutes v1 are served",
        "is the definition of version",
        "it may do what it has to",
        "renews its lease",
    ] {
        after.one(words, "success")?;
    }
    after.one("its version is that of this command", "success")?;
    after.one("1 Rollout, none needs a person", "success")?;

    // Whoever may see little is told what he can't see, and what to ask for.
    let little = guest(shop).await?;
    let little = little.to_str().context("a path")?;
    let found = check(&["--kubeconfig", little, "-n", &shop.name]).await?;
    found.one("controllers can't be seen", "warning")?;
    found.one("the definition of Rollouts can't be read", "warning")?;
    let found = check(&["--kubeconfig", little, "--pre"]).await?;
    found.one("you may not: ", "error")?;
    ensure!(found.code == 1);
    let record = shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!("{} things of a cluster, 0 of {} failed", after.findings.len(), record.0.len()));
    Ok(figures)
}

/// A kubeconfig of somebody who may see the Rollouts of the namespace.
async fn guest(shop: &Shop) -> Result<std::path::PathBuf> {
    let account = format!("--serviceaccount={}:{GUEST}", shop.name);
    shop.kubectl(&["create", "serviceaccount", GUEST]).await?;
    let see = ["create", "role", GUEST, "--verb=get,list,watch", "--resource=rollouts.penstock.dev"];
    shop.kubectl(&see).await?;
    shop.kubectl(&["create", "rolebinding", GUEST, &format!("--role={GUEST}"), &account]).await?;
    let token = shop.kubectl(&["create", "token", GUEST]).await?;
    let config = shop.kubectl(&["config", "view", "--minify", "--flatten", "-o", "json"]).await?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = shop.folder.join("guest.kubeconfig");
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    Ok(file)
}

async fn rollout(shop: &Shop) -> Result<Figures> {
    let caller = shop.serves(&Release::new("v1")).await?;
    let name = ["-n", shop.name.as_str(), ROLLOUT];
    // Traffic passes as soon as one pod is ready, and one router.
    let well = wait_until("all is well", PATIENCE, async || {
        let well = check(&[&name[..], &["--wait", "20s"]].concat()).await?;
        ensure!(well.code == 0, "{:#?}", well.findings);
        for words in [
            "its spec is well",
            "2 routers are ready",
            "is applied by 2 routers",
            "leads to the routers",
            "its selector takes its own pods",
            "2 of 2 pods are ready, routers know 2",
            "are counted by 2 routers",
        ] {
            well.one(words, "success")?;
        }
        anyhow::Ok(well)
    })
    .await?;

    // A Service that leads past the routers, and pods of somebody else under the same labels.
    let past = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "past"},
        "spec": {"selector": {"app": ROLLOUT}, "ports": [{"port": 80}]}});
    shop.put(&past).await?;
    let stray = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stray", "labels": {"app": ROLLOUT, "penstock.dev/rollout": "other"}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "none", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
            "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}}]}});
    shop.put(&stray).await?;
    let found = check(&name).await?;
    found.one("the Service past selects its pods", "warning")?;
    found.one("its selector takes pods of others: pod stray", "warning")?;
    ensure!(found.code == 0, "warnings alone are no failure: {:#?}", found.findings);
    shop.kubectl(&["delete", "pod/stray", "service/past", "--now"]).await?;

    // A source that has nothing to say.
    let mut silent = Release::new("v1");
    silent.analysis["source"] = json!({"prometheus": {"address": "http://198.18.0.1:9", "timeout": "1s"}});
    shop.apply(&silent).await?;
    shop.is_stable().await?;
    check(&name).await?.one("can't be asked from here", "warning")?;
    shop.apply(&Release::new("v1")).await?;
    shop.is_stable().await?;
    let record = shop.ends_well(caller).await?;

    // A Service that is somebody else's.
    let taken = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": OTHER},
        "spec": {"selector": {"app": "else"}, "ports": [{"port": 80}]}});
    shop.put(&taken).await?;
    let mut other = Release::new("v1").manifest(&shop.place.images);
    other["metadata"]["name"] = OTHER.into();
    other["spec"]["service"]["name"] = OTHER.into();
    other["spec"]["selector"]["matchLabels"] = json!({"app": OTHER});
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": OTHER});
    shop.put(&other).await?;
    wait_until("the conflict is told", PATIENCE, async || {
        let found = check(&["-n", &shop.name, OTHER]).await?;
        let mut told =
            found.findings.iter().filter(|(_, text, _)| text.contains("`other` is not Penstock's"));
        let remedy = told.any(|(is, _, hint)| is == "error" && hint.contains("kubectl annotate service"));
        ensure!(remedy && found.code == 1, "{:#?}", found.findings);
        found.one("Stalled", "error").map(drop)
    })
    .await?;
    let all = check(&["-n", &shop.name]).await?;
    all.one("other is Stalled", "error")?;
    ensure!(all.code == 1);

    let lost = check(&["-n", shop.name.as_str(), "chekout"]).await.err().context("there is no chekout")?;
    ensure!(format!("{lost:#}").contains("did you mean"), "{lost:#}");
    let mut figures = Figures::new();
    figures.say(format!("a Rollout by {} looks; 0 of {} failed", well.findings.len(), record.0.len()));
    Ok(figures)
}
