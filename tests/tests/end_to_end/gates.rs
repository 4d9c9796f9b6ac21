//! Gates and freezes, with real receivers and real releases.

use std::time::{Duration, Instant};

use penstock_core::gate::{GateAnswer, GateName, GateQuestion, GateWord};
use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Weight};
use penstock_core::time::Time;
use penstock_crds::{Address, Ca, KeyRef, Phase, RolloutStatus, Webhook};
use penstock_driver::ask::hook::{Hooks, Keys};
use penstock_driver::gates::ask;
use penstock_signals::RolloutName;
use penstock_tests::receiver::{Answer, Receiver, gate};
use penstock_tests::world::{decisions, stands_at};
use penstock_tests::{Manifest, PATIENCE, World, wait_until};

const SECRET: &[u8] = b"whsec_c2VjcmV0IG9mIHRoZSBnYXRl";
const CA_PEM: &[u8] = include_bytes!("../../../controller/driver/tests/tls/ca.pem");

/// A namespace with one Secret.
struct Vault;

impl Keys for Vault {
    async fn secret(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        match (key.name.as_str(), key.key.as_str()) {
            ("ci", "key") => Ok(SECRET.to_vec()),
            ("ci", "ca") => Ok(CA_PEM.to_vec()),
            _ => Err(format!("there is no Secret {} in the namespace shop: make it", key.name)),
        }
    }

    async fn config(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        self.secret(key).await
    }
}

fn key(name: &str, key: &str) -> KeyRef {
    KeyRef { name: name.to_owned(), key: key.to_owned() }
}

fn webhook(url: String) -> Webhook {
    let address = Address::Plain(url);
    Webhook { address, timeout: Duration::from_millis(600), secret: Some(key("ci", "key")), ca: None }
}

async fn asked(webhook: Webhook) -> GateAnswer {
    let asked = GateName { revision: Revision::new("v2").unwrap(), release: Generation(7), step: 2 };
    let question = GateQuestion {
        asked,
        stable: Revision::new("v1").unwrap(),
        steps: 5,
        weight: Weight::new(10).unwrap(),
        next: Weight::new(50).unwrap(),
        since: Time(1_000),
    };
    let rollout = RolloutName { namespace: "shop".into(), name: "checkout".into() };
    ask(Hooks::new().unwrap(), Vault, rollout, Some(webhook), question, "penstock-0".into()).await
}

fn unknown(answer: &GateAnswer) -> &str {
    match &answer.word {
        GateWord::Unknown(why) => why,
        other @ (GateWord::Go(_) | GateWord::NoGo(_) | GateWord::Wait(_)) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_asked_with_a_signature_that_others_can_check() {
    let receiver = Receiver::start(gate("go", "green")).await.unwrap();
    let answer = asked(webhook(receiver.url("/gate?for=shop"))).await;
    assert_eq!(answer.word, GateWord::Go("green".into()));
    assert_eq!(answer.gate, receiver.address().to_string(), "its path may be a secret");
    let heard = receiver.heard().remove(0);
    assert_eq!(heard.line, "POST /gate?for=shop HTTP/1.1");
    assert!(heard.is_signed_with(b"secret of the gate"), "{heard:?}");
    assert!(!heard.is_signed_with(b"another secret"));
    let body = heard.json().unwrap();
    assert_eq!(
        (&body["rollout"], &body["step"], &body["nextWeight"]),
        (&"checkout".into(), &3.into(), &50.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_receiver_does_is_a_word_or_none_within_its_time() {
    let elsewhere = Receiver::start(gate("go", "green")).await.unwrap();
    let cases = [
        (Answer::Hangs, "it gave no answer in time"),
        (Answer::Drips, "it gave no answer in time"),
        (Answer::Floods(10 << 20), "it answers with more than 64 KiB"),
        (Answer::Closes, "it broke off"),
        (Answer::Redirects(elsewhere.url("/")), "it answers HTTP 307"),
        (Answer::Says(500, r#"{"answer": "go"}"#.into()), "it answers HTTP 500"),
        (Answer::Says(200, r#"{"answer": "#.into()), "its answer is no JSON"),
        (Answer::Says(200, "<html>go</html>".into()), "its answer is no JSON"),
    ];
    for (behaviour, expected) in cases {
        let receiver = Receiver::start(behaviour.clone()).await.unwrap();
        let begun = Instant::now();
        let answer = asked(webhook(receiver.url("/"))).await;
        assert!(unknown(&answer).starts_with(expected), "{behaviour:?}: {answer:?}");
        assert!(begun.elapsed() < PATIENCE, "{behaviour:?}: {:?}", begun.elapsed());
        assert_eq!(receiver.heard().len(), 1);
    }
    assert!(elsewhere.heard().is_empty(), "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_not_trusted_is_no_word_and_nothing_is_sent() {
    let receiver = Receiver::start(gate("go", "green")).await.unwrap();
    let plain = receiver.address();
    let secret = Webhook { secret: Some(key("other", "key")), ..webhook(receiver.url("/")) };
    assert!(unknown(&asked(secret).await).contains("there is no Secret other in the namespace shop"));
    let no_ca = Webhook { ca: Some(Ca::Secret(key("ci", "key"))), ..webhook(format!("https://{plain}/")) };
    assert!(unknown(&asked(no_ca).await).contains("a CA that can't be used"));
    let no_tls = Webhook { ca: Some(Ca::Secret(key("ci", "ca"))), ..webhook(format!("https://{plain}/")) };
    let answer = asked(no_tls).await;
    let refused = ["it can't be reached", "it gave no answer in time"]
        .iter()
        .any(|why| unknown(&answer).starts_with(why));
    assert!(refused, "{answer:?}");
    assert!(receiver.heard().is_empty());
    let gone = plain;
    drop(receiver);
    let closed = wait_until("its port is closed", PATIENCE, async || {
        let answer = asked(webhook(format!("http://{gone}/"))).await;
        if unknown(&answer).contains("can't be reached") { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    closed.await.unwrap();
}

fn gated(receiver: &Receiver, timeout: &str) -> String {
    let url = receiver.url("/gate");
    format!(
        "gate: {{webhook: {{url: \"{url}\", timeout: {timeout}, secret: {{name: ci, key: key}}}}, interval: 200ms}}"
    )
}

/// A version in service, and a gate between 20 and 50 %. The secret is in a file of the folder.
async fn world(receiver: &Receiver, timeout: &str) -> World {
    let steps = ["setWeight: 20".to_owned(), gated(receiver, timeout), "setWeight: 50".to_owned()];
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let first = Manifest::new("checkout", "v1").unwrap().with_steps(&steps);
    let world = World::serving(first).await.unwrap();
    let secrets = world.folder.path().join(".secrets/default/ci");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("key"), SECRET).unwrap();
    world
}

fn says(status: &RolloutStatus, text: &str) -> bool {
    status.message.as_ref().is_some_and(|message| message.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_waits_at_its_gate_goes_on_at_its_word_and_ends_at_its_no() {
    let receiver = Receiver::start(gate("wait", "the load test runs")).await.unwrap();
    let mut world = world(&receiver, "5s").await;
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    let told = "says wait: the load test runs";
    let status =
        world.until("the gate holds it", |s| s.phase == Phase::Paused && says(s, told)).await.unwrap();
    assert!(stands_at(&status, 20), "{status:?}");
    assert!(
        status.conditions.iter().any(|c| c.type_ == "Paused" && c.status == "True" && c.reason == "Gated")
    );
    assert!(receiver.heard().iter().all(|heard| heard.is_signed_with(b"secret of the gate")));
    receiver.says("go", "the load test is green");
    let status = world.rests().await.unwrap();
    let passed = decisions(&status, "Passed");
    assert!(passed.iter().any(|d| d.why.ends_with("says go: the load test is green")), "{passed:?}");
    world.is_answered_by("v2").await.unwrap();

    receiver.says("no-go", "the error budget is spent");
    world.folder.apply(&world.first.with_version("v3")).unwrap();
    let status = world.until("the gate ends it", |s| s.phase == Phase::Aborted).await.unwrap();
    let aborted = decisions(&status, "Aborted");
    assert!(aborted[0].why.ends_with("says no-go: the error budget is spent"), "{aborted:?}");
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_hangs_or_fails_holds_and_abort_and_promote_work_at_once() {
    let receiver = Receiver::start(Answer::Hangs).await.unwrap();
    let mut world = world(&receiver, "30s").await;
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    let asked = |what: &'static str| async {
        wait_until(what, PATIENCE, async || match receiver.heard().len() {
            0 => Err("nothing was heard"),
            _ => Ok(()),
        })
        .await
    };
    asked("the gate is asked").await.unwrap();
    world.penstock(&["abort", "checkout", "--reason", "enough"]).await.unwrap();
    world.until("it is aborted", |s| s.phase == Phase::Aborted).await.unwrap();
    assert_eq!(receiver.heard().len(), 1, "one question hangs, and no other one is asked");

    receiver.answers(Answer::Says(500, String::new()));
    world.folder.apply(&world.first.with_version("v3")).unwrap();
    let told = "no word from gate";
    let status = world.until("it is held", |s| s.phase == Phase::Held && says(s, told)).await.unwrap();
    assert!(stands_at(&status, 20) && decisions(&status, "Aborted").len() == 1, "{status:?}");
    world.penstock(&["promote", "checkout"]).await.unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(decisions(&status, "Completed").len(), 1);
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_freeze_nothing_begins_until_a_person_says_so_and_an_abort_works() {
    let first = Manifest::new("checkout", "v1").unwrap().with_steps(&["setWeight: 20", "pause: {}"]);
    let mut world = World::serving(first).await.unwrap();
    let frozen = world.first.with_version("v2").with(
        "freeze: [{schedule: \"0 0 1 1 *\", timeZone: Europe/Berlin, duration: 1h}, {schedule: \"* * * * *\", duration: 5m, reason: stock-taking}]",
    );
    world.folder.apply(&frozen).unwrap();
    let status =
        world.until("it is frozen", |s| s.phase == Phase::Paused && says(s, "frozen")).await.unwrap();
    assert!(says(&status, "frozen without an end: stock-taking"), "{:?}", status.message);
    assert!(
        status.conditions.iter().any(|c| c.type_ == "Paused" && c.status == "True" && c.reason == "Frozen")
    );
    assert_eq!((world.folder.pods().len(), decisions(&status, "Frozen").len()), (2, 1), "no pod has started");
    world.penstock(&["promote", "checkout"]).await.unwrap();
    let status = world.reaches(20).await.unwrap();
    assert!(decisions(&status, "Promoted")[0].why.contains("although frozen"));
    world.until("it is frozen again", |s| says(s, "frozen")).await.unwrap();
    world.penstock(&["abort", "checkout"]).await.unwrap();
    world.until("it is aborted", |s| s.phase == Phase::Aborted).await.unwrap();
    world.unharmed().await.unwrap();
}
