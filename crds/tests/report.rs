//! What people and tools read of a Rollout: conditions as kstatus has them, columns, messages.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use penstock_core::observation::{Observation, Pods, Report};
use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Split, Weight};
use penstock_core::state::{Cause, Hold, Refused, Release, State, Undo, Waiting};
use penstock_core::strategy::Strategy;
use penstock_core::time::Time;
use penstock_crds::{Account, Phase, RolloutStatus, Trouble, admit_value, barred, read, refused, report};

const NOW: Time = Time(1_795_246_275_000);

fn rev(name: &str) -> Revision {
    Revision::new(name).unwrap()
}

/// A Rollout with three pods that stands still, and what is seen of it.
struct Scene {
    strategy: Strategy,
    state: State,
    seen: Observation,
    troubles: Vec<Trouble>,
    problem: Option<&'static str>,
    before: RolloutStatus,
    now: Time,
}

impl Scene {
    fn new() -> Scene {
        let example = read(include_bytes!("../examples/minimal.yaml"), "minimal.yaml").remove(0).unwrap();
        let mut strategy = admit_value(&example.value).unwrap().strategy;
        (strategy.revision, strategy.replicas) = (rev("v1"), 3);
        let split = Split {
            generation: Generation(7),
            weights: [(rev("v1"), Weight::ALL)].into(),
            ..Split::default()
        };
        let state = State { stable: Some(rev("v1")), split: split.clone(), ..State::default() };
        let proxies = [("a".to_owned(), Some(Report { split, ..Report::default() }))];
        let seen = Observation {
            revisions: Some([(rev("v1"), pods(3, 3))].into()),
            proxies: Some(proxies.into()),
            ..Observation::default()
        };
        let (troubles, before) = (Vec::new(), RolloutStatus::default());
        Scene { strategy, state, seen, troubles, problem: None, before, now: NOW }
    }

    /// A release of v2 that waits for this.
    fn releasing(cause: Cause) -> Scene {
        let mut scene = Scene::new();
        let mut release = Release::new(rev("v2"), Generation(7), &scene.strategy.steps, NOW);
        release.step = 2;
        release.hold = Some(Hold { cause, why: "it waits".into(), since: NOW, told: true });
        scene.state.release = Some(release);
        scene.strategy.revision = rev("v2");
        let quarter = Weight::new(25).unwrap();
        scene.state.split.weights = [(rev("v1"), quarter.rest()), (rev("v2"), quarter)].into();
        scene.seen.revisions.as_mut().unwrap().insert(rev("v2"), pods(1, 1));
        scene
    }

    fn first_deploy(replicas: u32) -> Scene {
        let mut scene = Scene::releasing(Cause::Pods);
        scene.state.stable = None;
        scene.state.split = Split::default();
        scene.strategy.replicas = replicas;
        scene
    }

    fn aborted() -> Scene {
        let mut scene = Scene::new();
        scene.strategy.revision = rev("v2");
        scene.state.refused = Some(Refused { revision: rev("v2"), why: "20 % failed".into(), at: NOW });
        scene
    }

    fn trouble(mut self, reason: &'static str, stalls: bool) -> Scene {
        let message = format!("{reason} is told");
        self.troubles.push(Trouble { reason, message, stalls });
        self
    }

    fn ready(mut self, ready: u32) -> Scene {
        self.seen.revisions.as_mut().unwrap().get_mut(&rev("v1")).unwrap().ready = ready;
        self
    }

    fn told(&self) -> RolloutStatus {
        let account = Account {
            notifications: &[],
            generation: 4,
            selector: "app=checkout",
            strategy: &self.strategy,
            state: &self.state,
            seen: &self.seen,
            findings: &[],
            troubles: &self.troubles,
            problem: self.problem,
            now: self.now,
        };
        report(account, &self.before)
    }
}

fn pods(scale: u32, ready: u32) -> Pods {
    Pods { scale, ready, present: scale, ..Pods::default() }
}

fn is(status: &RolloutStatus, kind: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

/// As `sigs.k8s.io/cli-utils/pkg/kstatus/status` works it out for a kind that it does not know.
fn kstatus(generation: i64, status: &RolloutStatus) -> &'static str {
    if status.observed_generation != Some(generation) {
        return "InProgress";
    }
    for condition in status.conditions.iter().filter(|c| c.status == "True") {
        match condition.type_.as_str() {
            "Reconciling" => return "InProgress",
            "Stalled" => return "Failed",
            _ => {}
        }
    }
    match status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str()) {
        Some("True") | None => "Current",
        Some(_) => "InProgress",
    }
}

/// In all words of ours and of kstatus; exactly one of its three holds.
fn words(scene: &Scene) -> (&'static str, &'static str, String) {
    let status = scene.told();
    let three = ["Ready", "Reconciling", "Stalled"].iter().filter(|kind| is(&status, kind)).count();
    assert_eq!(three, 1, "{:?}", status.conditions);
    assert!(status.conditions.iter().all(|c| c.observed_generation == Some(4)));
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(Some(&ready.message), status.message.as_ref());
    (kstatus(4, &status), status.phase.as_str(), ready.reason.clone())
}

#[test]
fn tools_know_what_is_done_what_goes_on_and_what_needs_a_person() {
    let table = [
        (Scene::new(), "Current", "Stable", "Stable"),
        (Scene::releasing(Cause::Clock), "InProgress", "Progressing", "Progressing"),
        (Scene::releasing(Cause::Pods), "InProgress", "Held", "Held"),
        (Scene::releasing(Cause::NoData), "InProgress", "Held", "Held"),
        (Scene::releasing(Cause::Person), "InProgress", "Paused", "Paused"),
        (Scene::releasing(Cause::Paused), "InProgress", "Paused", "Paused"),
        (Scene::aborted(), "Failed", "Aborted", "Aborted"),
        (Scene::first_deploy(3), "InProgress", "Deploying", "Deploying"),
        (Scene::first_deploy(0), "Current", "Deploying", "NoReplicas"),
        (Scene::new().ready(2), "InProgress", "Stable", "PodsNotReady"),
        (Scene::new().trouble("Unavailable", false), "Current", "Stable", "Stable"),
        (Scene::new().trouble("RouterNotReady", false), "InProgress", "Stable", "RouterNotReady"),
        (Scene::new().trouble("Adopting", false), "InProgress", "Stable", "Adopting"),
        (Scene::new().trouble("ServiceConflict", true), "Failed", "Stalled", "ServiceConflict"),
        (Scene::releasing(Cause::Clock).trouble("Forbidden", true), "Failed", "Stalled", "Forbidden"),
        (Scene::first_deploy(3).trouble("MissingGatewayAPI", true), "Failed", "Stalled", "MissingGatewayAPI"),
        (Scene::aborted().trouble("Forbidden", true), "Failed", "Aborted", "Aborted"),
        (Scene { problem: Some("no"), ..Scene::new() }, "Failed", "Invalid", "InvalidSpec"),
        (Scene { problem: Some("no"), ..Scene::aborted() }, "Failed", "Invalid", "InvalidSpec"),
    ];
    for (scene, expected, phase, reason) in table {
        assert_eq!(words(&scene), (expected, phase, reason.to_owned()), "{:?}", scene.told().message);
    }
}

#[test]
fn every_trouble_is_told_the_one_that_stalls_first() {
    let told = |scene: Scene| scene.told().message.unwrap();
    let two = Scene::new().trouble("RouterNotReady", false).trouble("Forbidden", true);
    assert_eq!(told(two), "Forbidden is told; revision v1 has all traffic; RouterNotReady is told");
    let aborted = Scene::aborted().trouble("Forbidden", true);
    assert_eq!(told(aborted), "revision v2 was aborted (20 % failed); v1 has all traffic; Forbidden is told");
    let invalid = Scene { problem: Some("spec.x: wrong"), ..Scene::new() }.trouble("Forbidden", true);
    assert_eq!(told(invalid), "spec.x: wrong; Forbidden is told");
    let mut long = Scene::new().trouble("RouterNotReady", false);
    long.troubles[0].message = "ü".repeat(1_000_000);
    assert_eq!(told(long).chars().count(), 2000);
}

#[test]
fn pods_that_a_node_has_taken_away_are_told_with_their_reason() {
    let mut scene = Scene::new().ready(1);
    scene.seen.revisions.as_mut().unwrap().get_mut(&rev("v1")).unwrap().trouble = Some("node gone".into());
    let told = scene.told();
    assert_eq!(
        told.message.as_deref(),
        Some("revision v1 has all traffic; 1 of 3 pods are ready: node gone")
    );
    scene.seen.revisions = Some(BTreeMap::new());
    assert_eq!(words(&scene).2, "PodsNotReady", "the ReplicaSet was deleted");
    scene.seen.revisions = None;
    assert_eq!(words(&scene).2, "Stable", "nothing is known");
    scene.before = told;
    assert_eq!(words(&scene).2, "PodsNotReady", "what was known last holds");
}

#[test]
fn it_is_ready_when_every_proxy_has_followed_and_stays_so_when_one_restarts() {
    let mut scene = Scene::new();
    scene.seen.proxies.as_mut().unwrap().insert("b".into(), Some(Report::default()));
    assert_eq!(words(&scene), ("InProgress", "Stable", "ProxiesNotReady".to_owned()));
    scene.before = scene.told();
    assert_eq!(words(&scene).2, "ProxiesNotReady", "still");
    scene.seen.proxies.as_mut().unwrap().remove("b");
    scene.before = scene.told();
    assert_eq!(words(&scene).0, "Current");
    scene.seen.proxies.as_mut().unwrap().insert("a".into(), None);
    scene.before = scene.told();
    assert_eq!(words(&scene).0, "Current", "it restarts");
    scene.state.split.generation = Generation(8);
    assert_eq!(words(&scene).0, "InProgress", "a new split is for all to follow");
}

#[test]
fn a_split_that_all_have_acknowledged_stays_so_while_one_does_not_answer() {
    let acknowledged = |scene: &Scene| scene.told().split.unwrap().acknowledged;
    let mut scene = Scene::new();
    let silent = |scene: &mut Scene| scene.seen.proxies.as_mut().unwrap().insert("b".into(), None);
    silent(&mut scene);
    assert!(!acknowledged(&scene), "one has never answered");
    scene.seen.proxies.as_mut().unwrap().remove("b");
    scene.before = scene.told();
    silent(&mut scene);
    assert!(acknowledged(&scene), "nothing is written for one that is slow");
    scene.seen.proxies = None;
    assert!(acknowledged(&scene), "nor before any was asked");
    scene.seen.proxies = Some([("b".to_owned(), Some(Report::default()))].into());
    assert!(!acknowledged(&scene), "one says that it applies another");
    scene.seen.proxies = Some(BTreeMap::new());
    assert!(!acknowledged(&scene), "there is none");
    scene.seen.proxies = None;
    scene.state.split.generation = Generation(8);
    assert!(!acknowledged(&scene), "a new split is for all to follow");
}

#[test]
fn what_goes_on_by_itself_needs_no_person() {
    use penstock_crds::words::Urgency;
    for (cause, urgency) in [
        (Cause::Person, Urgency::Person),
        (Cause::Paused, Urgency::Person),
        (Cause::Gate, Urgency::Look),
        (Cause::Frozen, Urgency::Look),
    ] {
        let status = Scene::releasing(cause).told();
        assert_eq!((status.phase, Urgency::of(&status)), (Phase::Paused, urgency), "{cause:?}");
    }
    assert_eq!(Urgency::of(&Scene::aborted().told()), Urgency::Person);
    assert_eq!(Urgency::of(&Scene::new().told()), Urgency::Rest);
}

#[test]
fn a_first_revision_that_takes_too_long_needs_a_person() {
    let mut scene = Scene::first_deploy(3);
    let release = scene.state.release.as_mut().unwrap();
    release.waiting = Some(Waiting { since: NOW, ready: 0, gain: None });
    scene.now = Time(NOW.0 + 599_000);
    assert_eq!(words(&scene).0, "InProgress");
    scene.now = Time(NOW.0 + 600_000);
    assert_eq!(words(&scene), ("Failed", "Stalled", "ProgressDeadlineExceeded".to_owned()));
    let message = scene.told().message.unwrap();
    assert!(
        message.starts_with("no progress for 10m (progressDeadlineSeconds); first revision"),
        "{message}"
    );
}

#[test]
fn a_condition_keeps_its_time_for_as_long_as_it_holds() {
    for mut scene in [
        Scene::new(),
        Scene { problem: Some("no"), ..Scene::new() },
        Scene::new().trouble("Forbidden", true),
        Scene::releasing(Cause::Clock),
    ] {
        scene.before = scene.told();
        scene.now = Time(NOW.0 + 60_000);
        assert_eq!(scene.told(), scene.before, "nothing has happened, so nothing is to be written");
    }
    let first = refused(4, "no", NOW, &RolloutStatus::default());
    assert_eq!(refused(4, "no", Time(NOW.0 + 9000), &first), first);
}

#[test]
fn a_rollout_that_is_not_tended_says_why_and_keeps_what_was_told() {
    let before = Scene::new().told();
    let status = refused(5, "spec.x: wrong; write y", NOW, &before);
    assert_eq!((kstatus(5, &status), status.phase), ("Failed", Phase::Invalid));
    assert_eq!(status.stable_revision, before.stable_revision);
    let trouble = Trouble { reason: "ServiceConflict", message: "not ours".into(), stalls: true };
    let status = barred(5, &trouble, NOW, &RolloutStatus::default());
    assert_eq!((kstatus(5, &status), status.phase), ("Failed", Phase::Stalled));
    assert_eq!(status.conditions[0].reason, "ServiceConflict");
}

#[test]
fn an_older_spec_is_not_taken_for_the_present_one() {
    assert_eq!(kstatus(5, &Scene::new().told()), "InProgress");
}

#[test]
fn columns_say_what_one_wants_to_know() {
    let columns = |scene: Scene| {
        let status = scene.told();
        let columns = status.columns.unwrap();
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let updated = status.updated_replicas.unwrap();
        format!("{} {} {} {updated}", text(columns.step), text(columns.weight), text(columns.ready))
    };
    assert_eq!(columns(Scene::new().ready(2)), "- - 2/3 3");
    assert_eq!(columns(Scene::releasing(Cause::Clock)), "3/10 25% 4/4 1");
    assert_eq!(columns(Scene::first_deploy(3)), "- - 4/4 1");
    assert_eq!(columns(Scene::aborted()), "- - 3/3 0");
}

#[test]
fn an_undo_is_told_of() {
    let mut scene = Scene::new();
    scene.strategy.revision = rev("v2");
    scene.state.undo = Some(Undo { to: rev("v1"), instead_of: rev("v2") });
    let message = scene.told().message.unwrap();
    assert_eq!(message, "revision v1 has all traffic, by order instead of the template's v2");
}
