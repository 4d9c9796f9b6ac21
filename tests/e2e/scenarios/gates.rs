//! Gates, freezes and notifications: the words of others, on a real cluster with its rights and Secrets.

use anyhow::{Context, Result, bail, ensure};
use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::cluster::realm::Realm;
use penstock_tests::cluster::release::Release;
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Scenario, Shop};
use penstock_tests::receiver::{Answer, Heard, Receiver, gate};
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};

/// `whsec_` and the base64 of [`KEY`].
const SECRET: &str = "whsec_c2VjcmV0IG9mIHRoZSBnYXRl";
const KEY: &[u8] = b"secret of the gate";

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "gates, freezes and notifications",
        kind: Kind::Apart,
        run: |shop| Box::pin(words_of_others(shop)),
    }]
}

async fn words_of_others(shop: &Shop) -> Result<Figures> {
    let mut figures = Figures::new();
    let ci = Receiver::start(gate("wait", "the load test runs")).await?;
    let audit = Receiver::start(Answer::Says(202, String::new())).await?;
    let realm = Realm::open(shop, &["--page-url", "https://penstock.example.com"]).await?;
    let controller = realm.start("ada")?;
    let secret = format!("--from-literal=key={SECRET}");
    shop.kubectl(&["create", "secret", "generic", "ci", &secret]).await?;
    let release = release(&ci, &audit);
    let caller = shop.serves(&release).await?;

    shop.apply(&release.with_version("v2")).await?;
    let told = "the controller may not read the secret ci";
    let status =
        shop.reaches("a right is missing", |s| s.phase == Phase::Held && says(s, told)).await?.status();
    ensure!(
        ci.heard().is_empty() && pods_of_canary(&status) == 0,
        "nothing is asked, and no pod has started"
    );
    give_the_right(shop, realm.own()).await?;
    let told = "says wait: the load test runs";
    let status =
        shop.reaches("the gate holds", |s| s.phase == Phase::Paused && says(s, told)).await?.status();
    ensure!(pods_of_canary(&status) == 0, "a gate before the first weight holds pods back: {status:?}");
    ci.says("go", "the load test is green");
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    ensure!(ci.heard().iter().all(|heard| heard.is_signed_with(KEY)), "each question is signed");
    figures.say("held for want of a right, then by the gate, then through".to_owned());

    ci.answers(Answer::Hangs);
    shop.apply(&release.with_version("v3")).await?;
    let asked = ci.heard().len();
    wait_until("the gate is asked again", PATIENCE, async || {
        if ci.heard().len() > asked { Ok(()) } else { bail!("it is not") }
    })
    .await?;
    controller.kill()?;
    ci.says("no-go", "the error budget is spent");
    let controller = realm.start("ada")?;
    let status = shop.is_aborted().await?;
    let last = status.decisions.iter().rfind(|d| d.what == "Aborted").context("no abort")?;
    ensure!(last.why.ends_with("says no-go: the error budget is spent"), "{last:?}");
    figures.say("killed while the gate hung: asked again, and aborted by its no".to_owned());

    ci.says("go", "green");
    let mut frozen = release.with_version("v4");
    frozen.more["freeze"] = json!([{"schedule": "* * * * *", "duration": "10m", "reason": "stock-taking"}]);
    shop.apply(&frozen).await?;
    let frozen =
        |s: &RolloutStatus| s.phase == Phase::Paused && says(s, "frozen without an end: stock-taking");
    shop.reaches("it is frozen", frozen).await?;
    shop.order("promote-full", "it can not wait").await?;
    shop.is_stable().await?;
    shop.only(&caller, "v4").await?;
    figures.say("frozen, and through by order".to_owned());

    let events = all_told(&audit).await?;
    let words: Vec<&str> = events.iter().filter_map(|event| event["data"]["what"].as_str()).collect();
    for word in ["Deployed", "Started", "Advanced", "Completed", "Aborted", "Frozen", "Promoted"] {
        ensure!(words.contains(&word), "{word} was not told: {words:?}");
    }
    let link = format!("https://penstock.example.com/r/{}/checkout", shop.name);
    ensure!(events.iter().all(|event| event["data"]["link"] == *link), "{events:?}");
    figures.say(format!("{} events, signed", events.len()));
    shop.ends_well(caller).await?;
    drop(controller);
    realm.close().await?;
    Ok(figures)
}

fn release(ci: &Receiver, audit: &Receiver) -> Release {
    let secret = json!({"name": "ci", "key": "key"});
    let mut release = Release::new("v1");
    release.steps = json!([
        {"gate": {"webhook": {"url": ci.url("/gate"), "timeout": "30s", "secret": secret}, "interval": "500ms"}},
        {"setWeight": 20},
        {"pause": {"duration": "1s"}},
    ]);
    release.more["notify"] =
        json!([{"name": "audit", "webhook": {"url": audit.url("/events"), "secret": secret}}]);
    release
}

/// As the message says it.
async fn give_the_right(shop: &Shop, own: &str) -> Result<()> {
    let role = ["create", "role", "penstock-ci", "--verb=get", "--resource=secrets", "--resource-name=ci"];
    shop.kubectl(&role).await?;
    let account = format!("--serviceaccount={own}:penstock-controller");
    shop.kubectl(&["create", "rolebinding", "penstock-ci", "--role=penstock-ci", &account]).await?;
    Ok(())
}

/// All events once the last one has come, each once; what comes twice has to be the same.
async fn all_told(audit: &Receiver) -> Result<Vec<Value>> {
    wait_until("the end is told", PATIENCE, async || {
        let events = audit.heard().iter().map(Heard::json).collect::<Result<Vec<Value>>>()?;
        let ends = events.iter().filter(|event| event["data"]["what"] == "Completed");
        if ends.count() >= 2 { Ok(()) } else { bail!("{} events", events.len()) }
    })
    .await?;
    let mut events: Vec<Value> = Vec::new();
    for heard in audit.heard() {
        ensure!(heard.is_signed_with(KEY), "{heard:?} is not signed");
        let event = heard.json()?;
        match events.iter().find(|known| known["id"] == event["id"]) {
            Some(known) => ensure!(*known == event, "one id for {known} and {event}"),
            None => events.push(event),
        }
    }
    Ok(events)
}

fn pods_of_canary(status: &RolloutStatus) -> i32 {
    let canary = status.canary_revision.as_deref();
    status.revisions.iter().filter(|revision| Some(revision.name.as_str()) == canary).map(|r| r.scale).sum()
}

fn says(status: &RolloutStatus, text: &str) -> bool {
    status.message.as_ref().is_some_and(|message| message.contains(text))
}
