//! Notifications of real releases to real receivers.

use std::collections::BTreeSet;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::address;
use penstock_tests::receiver::{Answer, Heard, Receiver};
use penstock_tests::traffic::Traffic;
use penstock_tests::world::decisions;
use penstock_tests::{Folder, Manifest, PATIENCE, wait_until};
use serde_json::Value;

const KEY: &str = "secret of the receiver";

fn taken() -> Answer {
    Answer::Says(200, String::new())
}

/// A version in service, told of to those who are listed.
async fn serving(first: &Manifest, arguments: &[&str]) -> (Folder, Traffic) {
    let mut folder = Folder::new().unwrap();
    for (name, value) in [("hook/key", KEY), ("slack/url", "")] {
        let file = folder.path().join(".secrets/default").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, value).unwrap();
    }
    folder.apply(first).unwrap();
    folder.start(arguments).unwrap();
    folder.rests(first).await.unwrap();
    let traffic = Traffic::steady(address(first), 300);
    (folder, traffic)
}

fn told_to(receivers: &[String]) -> Manifest {
    let notify = format!("notify: [{}]", receivers.join(", "));
    Manifest::new("checkout", "v1").unwrap().with(&notify)
}

fn hook(name: &str, receiver: &Receiver) -> String {
    let url = receiver.url("/events");
    format!("{{name: {name}, webhook: {{url: \"{url}\", timeout: 30s, secret: {{name: hook, key: key}}}}}}")
}

/// What a receiver of CloudEvents has heard, each message once.
fn events(receiver: &Receiver) -> Vec<Value> {
    let mut ids = BTreeSet::new();
    let all = receiver.heard().into_iter().map(|heard| heard.json().unwrap());
    all.filter(|event| ids.insert(event["id"].as_str().unwrap().to_owned())).collect()
}

fn words(receiver: &Receiver) -> Vec<String> {
    events(receiver).iter().map(|event| event["data"]["what"].as_str().unwrap().to_owned()).collect()
}

async fn until_told(receiver: &Receiver, what: &str) {
    wait_until(&format!("{what} is told"), PATIENCE, async || {
        let words = words(receiver);
        if words.iter().any(|word| word == what) { Ok(()) } else { Err(format!("{words:?}")) }
    })
    .await
    .unwrap();
}

fn signed(heard: &Heard) -> bool {
    let event = heard.json().unwrap();
    heard.is_signed_with(KEY.as_bytes())
        && heard.header("content-type") == "application/cloudevents+json"
        && event["specversion"] == "1.0"
        && event["id"] == heard.header("webhook-id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_told_to_slack_teams_and_a_webhook_each_in_its_form() {
    let [web, slack, teams] = [
        Receiver::start(taken()).await.unwrap(),
        Receiver::start(taken()).await.unwrap(),
        Receiver::start(Answer::Says(202, String::new())).await.unwrap(),
    ];
    let first = told_to(&[
        hook("web", &web),
        "{name: slack, slack: {urlSecret: {name: slack, key: url}}, events: [Advanced, Completed]}"
            .to_owned(),
        format!(
            "{{name: teams, teams: {{url: \"{}\"}}, events: [Completed], template: \"{{{{rollout}}}} is done: {{{{revision}}}}\"}}",
            teams.url("/flow?sig=1")
        ),
    ]);
    let (mut folder, _traffic) = serving(&first, &["--page-url", "https://penstock.example.com/"]).await;
    std::fs::write(folder.path().join(".secrets/default/slack/url"), slack.url("/services/T/B/x")).unwrap();
    folder.apply(&first.with_version("v2")).unwrap();
    until_told(&web, "Completed").await;
    let status = folder.rests(&first).await.unwrap();

    assert_eq!(words(&web), ["Deployed", "Started", "Advanced", "Advanced", "Advanced", "Completed"]);
    assert!(web.heard().iter().all(signed), "{:?}", web.heard());
    let event = events(&web).remove(2);
    let decision = decisions(&status, "Advanced")[0];
    assert_eq!(event["type"], "dev.penstock.rollout.advanced");
    assert_eq!(event["source"], "/namespaces/default/rollouts/checkout");
    assert_eq!((&event["data"]["why"], &event["data"]["weight"]), (&decision.why.clone().into(), &20.into()));
    assert_eq!(event["data"]["link"], "https://penstock.example.com/r/default/checkout");

    let lines = wait_until("Slack has heard all", PATIENCE, async || match slack.heard() {
        heard if heard.len() == 4 => Ok(heard),
        heard => Err(format!("{heard:?}")),
    });
    let last = lines.await.unwrap().remove(3);
    assert_eq!(last.line, "POST /services/T/B/x HTTP/1.1");
    let text = last.json().unwrap()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("default/checkout: penstock made "), "{text}");
    assert!(text.ends_with("\n<https://penstock.example.com/r/default/checkout|Look at it>"), "{text}");
    let card = wait_until("Teams has heard", PATIENCE, async || teams.heard().pop().ok_or("nothing yet"));
    let card = card.await.unwrap().json().unwrap();
    let content = &card["attachments"][0]["content"];
    let revision = status.stable_revision.clone().unwrap();
    assert_eq!(content["body"][0]["inlines"][0]["text"], format!("checkout is done: {revision}"));
    let status = folder.until("checkout", "all is told", |s| is_notified(s, "True")).await.unwrap();
    assert!(status.notifications.iter().all(|n| n.failure.is_none()), "{:?}", status.notifications);
}

fn failed(status: &RolloutStatus, name: &str, why: &str) -> bool {
    let failure =
        |n: &&penstock_crds::NotificationStatus| n.failure.as_ref().is_some_and(|f| f.contains(why));
    status.notifications.iter().filter(failure).any(|n| n.receiver == name)
}

fn is_notified(status: &RolloutStatus, holds: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == "Notified" && c.status == holds)
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_misbehave_never_delay_a_release_and_are_told_of() {
    let elsewhere = Receiver::start(taken()).await.unwrap();
    let behaviours = [
        ("hangs", Answer::Hangs),
        ("drips", Answer::Drips),
        ("floods", Answer::Floods(10 << 20)),
        ("redirects", Answer::Redirects(elsewhere.url("/"))),
        ("fails", Answer::Says(500, "no".into())),
        ("closes", Answer::Closes),
    ];
    let mut receivers = Vec::new();
    for (name, behaviour) in behaviours {
        receivers.push((name, Receiver::start(behaviour).await.unwrap()));
    }
    let good = Receiver::start(taken()).await.unwrap();
    let mut all: Vec<String> = receivers.iter().map(|(name, receiver)| hook(name, receiver)).collect();
    all.push(hook("good", &good));
    all.push("{name: nowhere, webhook: {urlSecret: {name: missing, key: url}}}".to_owned());
    let first = told_to(&all);
    let (mut folder, _traffic) = serving(&first, &[]).await;
    let status =
        folder.until("checkout", "it is told that they fail", |s| is_notified(s, "False")).await.unwrap();
    assert_eq!(status.phase, Phase::Stable, "nothing of a release depends on them");
    folder.apply(&first.with_version("v2")).unwrap();
    until_told(&good, "Completed").await;
    folder.rests(&first).await.unwrap();
    for (name, why) in [
        ("floods", "more than 64 KiB"),
        ("redirects", "HTTP 307"),
        ("fails", "HTTP 500"),
        ("closes", "broke off"),
        ("nowhere", "the Secret missing has no `url` here"),
    ] {
        folder.until("checkout", name, |s| failed(s, name, why)).await.unwrap();
    }
    assert!(elsewhere.heard().is_empty(), "no redirect is followed");
    assert_eq!(receivers[0].1.heard().len(), 1, "one message hangs, and no other one is sent to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_is_told_again_until_it_is_in_its_order() {
    let receiver = Receiver::start(taken()).await.unwrap();
    let first = told_to(&[hook("web", &receiver)]);
    let (mut folder, _traffic) = serving(&first, &[]).await;
    until_told(&receiver, "Deployed").await;
    receiver.answers_next(Answer::Says(503, String::new()));
    receiver.answers_next(Answer::Closes);
    folder.apply(&first.with_version("v2")).unwrap();
    until_told(&receiver, "Completed").await;
    folder.rests(&first).await.unwrap();
    assert_eq!(words(&receiver), ["Deployed", "Started", "Advanced", "Advanced", "Advanced", "Completed"]);
    let started: Vec<Heard> =
        receiver.heard().into_iter().filter(|h| h.json().unwrap()["data"]["what"] == "Started").collect();
    assert_eq!(started.len(), 3);
    assert!(started.iter().all(|heard| heard.body == started[0].body && signed(heard)));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_delivery_and_cursor_it_tells_again_under_the_same_id_and_loses_nothing() {
    let receiver = Receiver::start(taken()).await.unwrap();
    let first = told_to(&[hook("web", &receiver)]).with_steps(&[
        "setWeight: 20",
        "pause: {duration: 1s}",
        "setWeight: 50",
    ]);
    let (mut folder, _traffic) = serving(&first, &[]).await;
    until_told(&receiver, "Deployed").await;
    // It has the message, and penstock never learns so.
    receiver.answers(Answer::Hangs);
    folder.apply(&first.with_version("v2")).unwrap();
    until_told(&receiver, "Started").await;
    folder.kill().unwrap();
    let before = receiver.heard().len();
    receiver.answers(taken());
    folder.start(&[]).unwrap();
    until_told(&receiver, "Completed").await;
    folder.rests(&first).await.unwrap();
    let heard = receiver.heard();
    let again = &heard[before];
    let same = heard[..before].iter().find(|h| h.header("webhook-id") == again.header("webhook-id"));
    assert_eq!(
        same.map(|h| &h.body),
        Some(&again.body),
        "the first one after the restart is the one in doubt"
    );
    let numbers: Vec<u64> = events(&receiver).iter().map(|e| e["data"]["number"].as_u64().unwrap()).collect();
    let status = folder.status("checkout").unwrap();
    println!("{numbers:?} {:?}", words(&receiver));
    assert!(numbers.is_sorted(), "{numbers:?}");
    for decision in status.decisions.iter().filter(|d| d.what != "Passed" && d.what != "Drained") {
        assert!(events(&receiver).iter().any(|e| e["data"]["why"] == *decision.why), "{decision:?} was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_all_rollouts_gives_way_to_one_of_the_same_name_and_hears_nothing_of_the_past() {
    let [common, own, late] = [
        Receiver::start(taken()).await.unwrap(),
        Receiver::start(taken()).await.unwrap(),
        Receiver::start(taken()).await.unwrap(),
    ];
    let plain = |receiver: &Receiver| format!("webhook: {{url: \"{}\"}}", receiver.url("/"));
    let first = told_to(&[format!("{{name: ops, {}}}", plain(&own))]);
    let other = Manifest::new("cart", "v1").unwrap();
    let (mut folder, _traffic) =
        serving(&first, &["--notify", &format!("{{name: ops, {}}}", plain(&common))]).await;
    folder.apply(&other).unwrap();
    folder.rests(&other).await.unwrap();
    until_told(&common, "Deployed").await;
    until_told(&own, "Deployed").await;
    assert!(events(&common).iter().all(|event| event["data"]["rollout"] == "cart"));
    assert!(events(&own).iter().all(|event| event["data"]["rollout"] == "checkout"));
    let more = Manifest {
        more: vec![format!("notify: [{{name: late, {}}}]", plain(&late))],
        ..first.with_version("v2")
    };
    folder.apply(&more).unwrap();
    until_told(&late, "Completed").await;
    assert_eq!(words(&late)[0], "Started");
}
