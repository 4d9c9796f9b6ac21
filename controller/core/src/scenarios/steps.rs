//! The way of a release: steps, pods, proxies, new templates, the end.

use std::time::Duration;

use super::stage::{Source, Stage, pause, rev, weight};
use crate::decision::{Action, What};
use crate::split::{Generation, Weight};
use crate::state::{Cause, State};
use crate::strategy::Step;

#[test]
fn the_first_revision_gets_all_traffic_without_steps() {
    let stage = Stage::new();
    assert_eq!((stage.stable(), stage.sent("v1"), stage.scale("v1")), ("v1", 100, 4));
    assert_eq!(stage.count(What::Deployed), 1);
}

#[test]
fn a_first_revision_that_never_gets_ready_is_waited_for() {
    let mut stage = Stage::new();
    stage.state = State::default();
    stage.pods.clear();
    stage.broken = true;
    let mut fresh = stage;
    fresh.edit(|split| split.weights.clear());
    fresh.run(200);
    assert_eq!((fresh.stable(), fresh.cause()), ("", Some(Cause::Pods)));
    let waited =
        fresh.state.release.as_ref().and_then(|r| r.waiting.as_ref()).map(|w| fresh.now.since(w.since));
    assert!(waited.is_some_and(|waited| waited >= fresh.strategy.progress_deadline), "{waited:?}");
    let wake_at = fresh.turn().wake_at;
    assert!(wake_at.is_none_or(|at| at > fresh.now), "{wake_at:?}");
}

#[test]
fn a_good_release_goes_through_its_steps_to_the_end() {
    let mut stage = Stage::new();
    stage.apply("v2");
    for percent in [10, 25, 50, 100] {
        stage.until_weight(percent);
    }
    stage.until("the end", |s| s.state.release.is_none()).run(10);
    assert_eq!((stage.stable(), stage.sent("v2"), stage.sent("v1")), ("v2", 100, 0));
    assert_eq!((stage.scale("v2"), stage.scale("v1")), (4, 0));
    assert!(stage.last(What::Advanced).why.contains("requests failed (0 %), limit 1 %"));
}

#[test]
fn each_pause_lasts_as_long_as_it_says() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    let begun = stage.now;
    stage.until_weight(25);
    assert!(stage.now.since(begun) >= Duration::from_secs(5), "{:?}", stage.now.since(begun));
}

#[test]
fn without_any_steps_a_release_goes_to_all_traffic_once_its_pods_are_ready() {
    let mut stage = Stage::new();
    stage.strategy.steps.clear();
    stage.apply("v2").until("the end", |s| s.stable() == "v2");
    assert_eq!(stage.count(What::Advanced), 1);
}

#[test]
fn a_weight_waits_for_pods_enough_to_carry_it() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    assert_eq!(stage.scale("v2"), 1, "a quarter of four pods");
    stage.until("the next step", |s| s.scale("v2") == 2);
    assert_eq!(stage.weight(), 25, "the weight rises after the pods are ready, not before");
    stage.until_weight(50);
}

#[test]
fn a_canary_that_never_gets_ready_is_aborted_by_the_deadline_and_never_has_traffic() {
    let mut stage = Stage::new();
    stage.broken = true;
    stage.apply("v2").run(59);
    assert_eq!((stage.weight(), stage.cause()), (0, Some(Cause::Pods)));
    stage.until("the abort", |s| s.state.refused.is_some());
    assert!(stage.last(What::Aborted).why.contains("0 of 1 pods of revision v2 are ready"));
    stage.run(5);
    assert_eq!((stage.sent("v1"), stage.scale("v2")), (100, 0));
}

#[test]
fn a_step_begins_when_the_last_proxy_has_acknowledged_it() {
    let mut stage = Stage::new();
    stage.apply("v2").run(1);
    stage.deaf = true;
    stage.until("a raise", |s| s.sent("v2") == 10).run(20);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Proxies)));
    assert!(stage.why().contains("not acknowledged by a, b"), "{}", stage.why());
    (stage.deaf, stage.source) = (false, Source::Works);
    stage.acknowledge();
    let acknowledged = stage.now;
    stage.until_weight(25);
    assert!(stage.now.since(acknowledged) >= Duration::from_secs(5));
}

#[test]
fn a_pause_without_duration_waits_for_a_person_for_as_long_as_it_takes() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(10), Step::Pause(None), weight(50), pause(5)];
    stage.apply("v2").until_weight(10).run(500);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Person)));
    stage.order(crate::observation::OrderKind::Promote).until_weight(50);
}

#[test]
fn v3_gets_nothing_before_no_proxy_sends_to_v2() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.deaf = true;
    stage.apply("v3").run(20);
    assert_eq!(
        (stage.sent("v2"), stage.sent("v3"), stage.weight()),
        (0, 0, 0),
        "the proxies have not followed"
    );
    assert_eq!(stage.scale("v2"), 1, "v2's pods stay while a proxy may send to them");
    stage.deaf = false;
    stage.acknowledge();
    stage.until_weight(10).run(1);
    assert_eq!((stage.sent("v3"), stage.scale("v2")), (10, 0));
    stage.until("the end", |s| s.stable() == "v3");
}

#[test]
fn the_stable_template_again_ends_the_canary_at_once() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25).apply("v1").run(1);
    assert_eq!((stage.sent("v1"), stage.state.release.is_none()), (100, true));
    stage.run(5);
    assert_eq!((stage.scale("v2"), stage.count(What::Reverted)), (0, 1));
    assert!(stage.state.refused.is_none(), "a revert is no abort");
}

#[test]
fn a_paused_spec_freezes_the_weight_and_keeps_the_traffic() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.strategy.paused = true;
    stage.run(300);
    assert_eq!((stage.sent("v2"), stage.sent("v1"), stage.cause()), (25, 75, Some(Cause::Paused)));
    stage.strategy.paused = false;
    stage.until_weight(50);
}

#[test]
fn a_paused_spec_does_not_protect_a_bad_canary() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    (stage.strategy.paused, stage.failing) = (true, 50);
    stage.run(3);
    assert_eq!(stage.sent("v2"), 0);
}

#[test]
fn more_replicas_in_mid_release_never_lift_the_weight() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.strategy.replicas = 40;
    let next = stage.turn();
    assert_eq!(stage.weight(), 25);
    assert!(
        next.actions.iter().any(|a| matches!(a, Action::Scale { replicas: 10, .. })),
        "{:?}",
        next.actions
    );
    stage.until_weight(50);
}

#[test]
fn other_steps_in_mid_release_are_counted_anew_at_the_same_weight() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.strategy.steps = vec![weight(20), pause(5), weight(30), pause(5), weight(90), pause(5)];
    stage.run(1);
    assert_eq!(stage.weight(), 25);
    stage.until_weight(30).until_weight(90).until("the end", |s| s.stable() == "v2");
}

#[test]
fn fewer_steps_in_mid_release_never_take_weight_back() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50);
    stage.strategy.steps = vec![weight(10), pause(5)];
    stage.run(2);
    assert_eq!(stage.weight(), 50);
}

#[test]
fn stable_moves_only_when_all_traffic_is_acknowledged() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50);
    stage.run(2);
    stage.deaf = true;
    stage.until_weight(100).run(100);
    assert_eq!(stage.stable(), "v1");
    assert!(stage.state.release.is_none(), "after the deadline the unacknowledged split is taken back");
}

#[test]
fn a_revision_that_lacks_a_pod_does_not_become_stable() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(100);
    stage.broken = true;
    stage.run(30);
    assert_eq!((stage.stable(), stage.cause(), stage.scale("v1")), ("v1", Some(Cause::Pods), 4));
    stage.broken = false;
    stage.until("the end", |s| s.stable() == "v2");
}

#[test]
fn the_old_revision_is_kept_until_its_last_request_has_ended() {
    let mut stage = Stage::new();
    stage.in_flight.insert(rev("v1"), 3);
    stage.apply("v2").until("the end", |s| s.stable() == "v2").run(60);
    assert_eq!((stage.sent("v1"), stage.scale("v1")), (0, 4));
    stage.in_flight.clear();
    stage.acknowledge();
    stage.run(1);
    assert_eq!(stage.scale("v1"), 0);
}

#[test]
fn old_revisions_beyond_the_limit_are_forgotten_the_oldest_first() {
    let mut stage = Stage::new();
    for next in ["v2", "v3", "v4", "v5"] {
        stage.apply(next).until("the end", |s| s.stable() == next).run(5);
    }
    let kept: Vec<&str> = stage.pods.keys().map(crate::revision::Revision::as_str).collect();
    assert_eq!(kept, ["v3", "v4", "v5"], "two beside the stable one");
}

#[test]
fn nothing_is_left_to_do_when_all_stands_as_it_should() {
    let mut stage = Stage::new();
    stage.run(5);
    let before = stage.state.clone();
    let next = stage.turn();
    assert_eq!((next.actions, next.wake_at, next.decisions.len()), (vec![], None, 0));
    assert_eq!(next.state, before);
}

#[test]
fn weights_edited_by_hand_are_put_back_with_a_new_generation() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    let generation = stage.state.split.generation;
    stage.edit(|split| {
        split.weights = [(rev("v1"), Weight::NONE), (rev("v2"), Weight::ALL)].into();
    });
    stage.run(1);
    assert_eq!((stage.sent("v2"), stage.state.split.generation), (10, generation.next()));
    assert!(stage.last(What::Repaired).why.contains("v2 100 %"));
}

#[test]
fn an_editor_who_never_gives_up_is_answered_every_five_seconds() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(10), Step::Pause(None)];
    stage.apply("v2").until_weight(10);
    for _ in 0..60 {
        stage.edit(|split| split.weights = [(rev("v1"), Weight::NONE), (rev("v2"), Weight::ALL)].into());
        stage.run(1);
    }
    assert!((10..=13).contains(&stage.count(What::Repaired)), "{}", stage.count(What::Repaired));
}

#[test]
fn a_memory_older_than_the_world_never_raises_what_the_world_has_lowered() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50);
    let old = stage.state.clone();
    stage.order(crate::observation::OrderKind::Abort).run(3);
    stage.state = old;
    stage.run(1);
    assert_eq!((stage.sent("v2"), stage.weight()), (0, 0));
}

#[test]
fn a_lost_memory_takes_over_the_split_in_service_instead_of_deploying_the_canary() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.state = State::default();
    stage.run(1);
    assert_eq!((stage.stable(), stage.sent("v1"), stage.sent("v2")), ("v1", 100, 0));
    assert!(stage.state.split.generation > Generation(2));
    stage.until("the end", |s| s.stable() == "v2");
}

#[test]
fn marked_requests_go_to_the_canary_from_the_first_weight_and_stop_with_the_abort() {
    let mut stage = Stage::new();
    stage.strategy.marks_canary = true;
    stage.apply("v2").run(1);
    assert_eq!(stage.state.split.marked, None, "no pod is ready yet");
    stage.until_weight(10);
    assert_eq!(stage.state.split.marked, Some(rev("v2")));
    stage.order(crate::observation::OrderKind::Abort).run(1);
    assert_eq!(stage.state.split.marked, None);
}

#[test]
fn no_replicas_means_nothing_to_release_onto() {
    let mut stage = Stage::new();
    stage.strategy.replicas = 0;
    stage.apply("v2").run(200);
    assert_eq!((stage.weight(), stage.cause()), (0, Some(Cause::NoReplicas)));
}
