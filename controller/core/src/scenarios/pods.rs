//! How many pods a canary has, and when they count.

use super::stage::{Stage, pause, rev, weight};
use crate::decision::What;
use crate::split::Weight;
use crate::state::Cause;
use crate::strategy::{CanaryScale, Step};

fn scale(pods: u32) -> Step {
    Step::SetCanaryScale(CanaryScale::Pods(pods))
}

fn share(percent: u8) -> Step {
    Step::SetCanaryScale(CanaryScale::Weight(Weight::new(percent).unwrap()))
}

#[test]
fn a_step_sets_the_number_of_pods_before_there_is_any_traffic() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![scale(3), Step::Pause(None), weight(10), pause(5)];
    stage.apply("v2").run(5);
    assert_eq!((stage.scale("v2"), stage.weight(), stage.cause()), (3, 0, Some(Cause::Person)));
    assert_eq!(stage.last(What::Passed).why, "setCanaryScale: 3 pods ready");
    stage.order(crate::observation::OrderKind::Promote).until_weight(10);
    assert_eq!(stage.scale("v2"), 3, "it holds for the steps after it");
    assert_eq!(stage.count(What::Passed), 1);
    stage.until("the end", |s| s.stable() == "v2");
    assert_eq!(stage.scale("v2"), 4, "all traffic has all pods");
}

#[test]
fn pods_by_a_weight_of_their_own_stay_when_the_traffic_rises() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![share(50), weight(10), pause(5), weight(25), pause(5)];
    stage.apply("v2").until_weight(10);
    assert_eq!(stage.scale("v2"), 2);
    stage.until_weight(25);
    assert_eq!(stage.scale("v2"), 2);
}

#[test]
fn pods_that_match_the_traffic_again_are_as_many_as_the_weight_needs() {
    let mut stage = Stage::new();
    let again = Step::SetCanaryScale(CanaryScale::MatchTraffic);
    stage.strategy.steps = vec![scale(4), weight(10), pause(5), again, pause(50), weight(50)];
    stage.apply("v2").until_weight(10);
    assert_eq!(stage.scale("v2"), 4);
    stage.until("fewer pods", |s| s.scale("v2") == 1);
    assert_eq!((stage.weight(), stage.scale("v1")), (10, 4));
    stage.until_weight(50);
    assert_eq!(stage.scale("v2"), 2);
}

#[test]
fn fewer_pods_than_the_weight_would_have_are_given_and_told() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![scale(1), weight(75), pause(500)];
    stage.apply("v2").until_weight(75);
    assert_eq!(stage.scale("v2"), 1);
    let why = &stage.last(What::Advanced).why;
    assert!(why.ends_with("; setCanaryScale gives it 1 pod, its share would be 3"), "{why}");
}

#[test]
fn a_crash_loop_that_is_ready_for_a_second_in_ten_is_aborted_by_the_deadline() {
    let mut stage = Stage::new();
    stage.flaps = Some(10);
    stage.apply("v2").until_weight(10);
    stage.run(59);
    assert_eq!((stage.weight(), stage.count(What::Advanced)), (10, 1), "no more traffic between two falls");
    stage.until("the abort", |s| s.state.refused.is_some());
    let why = &stage.last(What::Aborted).why;
    assert!(why.starts_with("no progress for 1m"), "{why}");
    assert!(
        why.ends_with("0 of 1 pods of revision v2 are ready; its pods restarted 7 times: exit code 1"),
        "{why}"
    );
}

#[test]
fn pods_that_have_fallen_get_traffic_when_they_have_been_ready_for_a_while() {
    let mut stage = Stage::new();
    stage.flaps = Some(10);
    stage.apply("v2").until_weight(10).run(25);
    stage.flaps = None;
    stage.run(2);
    let told = "the pods are ready, and have to stay so for 6s; its pods restarted 3 times: exit code 1";
    assert_eq!((stage.weight(), stage.why()), (10, told));
    stage.until_weight(25).until("the end", |s| s.stable() == "v2");
    let completed = &stage.last(What::Completed).why;
    assert!(completed.ends_with("; its pods restarted 3 times: exit code 1"), "{completed}");
}

#[test]
fn pods_that_get_ready_one_after_the_other_for_good_are_progress() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(100)];
    stage.slow = Some(50);
    stage.apply("v2").run(140);
    assert_eq!((stage.count(What::Aborted), stage.weight()), (0, 0), "{:?}", stage.told);
    stage.until_weight(100);
}

#[test]
fn a_wait_that_nobody_can_see_is_no_wait() {
    let mut stage = Stage::new();
    stage.broken = true;
    stage.apply("v2").run(50);
    stage.blind = true;
    stage.run(100);
    assert_eq!(stage.count(What::Aborted), 0);
    stage.blind = false;
    stage.run(50);
    assert_eq!(stage.count(What::Aborted), 0);
    stage.until("the abort", |s| s.state.refused.is_some());
}

#[test]
fn a_bad_canary_is_aborted_with_the_restarts_of_its_pods() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.pods.get_mut(&rev("v2")).unwrap().restarts = 1;
    stage.failing = 50;
    stage.run(2);
    let why = &stage.last(What::Aborted).why;
    assert!(why.contains("requests failed") && why.ends_with("; its pods restarted once"), "{why}");
}

#[test]
fn a_step_waits_for_its_pods_and_is_aborted_by_the_deadline_without_them() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![scale(3), weight(10)];
    stage.broken = true;
    stage.apply("v2").run(30);
    assert_eq!((stage.weight(), stage.cause()), (0, Some(Cause::Pods)));
    assert!(stage.why().starts_with("0 of 3 pods of revision v2 are ready"), "{}", stage.why());
    stage.until("the abort", |s| s.state.refused.is_some());
}

#[test]
fn an_abort_finds_all_stable_pods_whatever_the_canary_has() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![scale(9), weight(50), Step::Pause(None)];
    stage.apply("v2").until_weight(50);
    assert_eq!((stage.scale("v1"), stage.scale("v2")), (4, 9));
    stage.order(crate::observation::OrderKind::Abort).run(5);
    assert_eq!((stage.sent("v1"), stage.scale("v1"), stage.scale("v2")), (100, 4, 0));
}

#[test]
fn promote_full_needs_all_pods_whatever_the_steps_say() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![scale(1), weight(10), Step::Pause(None)];
    stage.apply("v2").until_weight(10).order(crate::observation::OrderKind::PromoteFull);
    stage.until_weight(100);
    assert_eq!(stage.scale("v2"), 4);
}

#[test]
fn another_number_of_pods_in_mid_release_is_followed_at_the_same_weight() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(10), Step::Pause(None)];
    stage.apply("v2").until_weight(10);
    stage.strategy.steps = vec![scale(3), weight(10), Step::Pause(None)];
    stage.run(3);
    assert_eq!((stage.scale("v2"), stage.weight()), (3, 10));
    stage.strategy.replicas = 0;
    stage.run(3);
    assert_eq!(stage.scale("v2"), 0, "nothing is asked for");
}

/// A release from its beginning to its end, with so many pods; what is told when it is aborted.
fn released(replicas: u32, surge: Option<u32>, unavailable: u32, weights: &[u8]) -> (Stage, Option<String>) {
    let mut stage = Stage::new();
    stage.strategy.replicas = replicas;
    (stage.strategy.max_surge, stage.strategy.max_unavailable) = (surge, unavailable);
    stage.strategy.steps = weights.iter().flat_map(|percent| [weight(*percent), pause(2)]).collect();
    stage.run(5).apply("v2");
    for _ in 0..600 {
        if stage.stable() == "v2" || stage.state.refused.is_some() {
            break;
        }
        stage.turn();
        let most = replicas + surge.unwrap_or(replicas);
        let pods: u32 = stage.pods.values().map(|pods| pods.scale.max(pods.present)).sum();
        assert!(pods <= most, "{pods} pods where {most} are allowed: {:?}", stage.pods);
        let ready: u32 = stage.pods.values().map(|pods| pods.ready).sum();
        assert!(ready >= replicas - unavailable.min(replicas), "{ready} of {replicas}: {:?}", stage.pods);
        let share = stage.state.split.weight(&rev("v1")).of(replicas);
        assert!(stage.scale("v1") >= share.saturating_sub(unavailable), "{:?}", stage.pods);
    }
    let why = stage.state.refused.as_ref().map(|refused| refused.why.clone());
    (stage, why)
}

#[test]
fn without_max_surge_stable_lends_nothing() {
    let mut stage = Stage::new();
    stage.strategy.max_unavailable = 3;
    stage.apply("v2").until_weight(100);
    assert_eq!((stage.scale("v1"), stage.scale("v2")), (4, 4));
}

#[test]
fn within_max_surge_a_release_goes_to_its_end_with_pods_that_stable_lends() {
    for (replicas, surge, unavailable) in [
        (1, 1, 0),
        (4, 1, 0),
        (4, 2, 0),
        (4, 4, 0),
        (10, 3, 0),
        (10, 9, 2),
        (4, 0, 2),
        (5, 1, 1),
        (40, 10, 0),
    ] {
        let (mut stage, aborted) = released(replicas, Some(surge), unavailable, &[10, 25, 50, 75]);
        assert_eq!(aborted, None, "{replicas} {surge} {unavailable}");
        stage.run(5);
        assert_eq!((stage.scale("v2"), stage.scale("v1")), (replicas, 0));
    }
}

#[test]
fn with_as_much_room_as_pods_nothing_is_lent() {
    let (stage, aborted) = released(4, Some(4), 0, &[50]);
    assert_eq!((aborted, stage.state.lent), (None, None));
}

#[test]
fn a_step_too_large_for_max_surge_holds_with_what_to_write_and_ends_by_the_deadline() {
    let mut stage = Stage::new();
    stage.strategy.max_surge = Some(1);
    stage.strategy.steps = vec![weight(25), pause(2), weight(75)];
    stage.apply("v2").until_weight(25).run(20);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::Pods)));
    let told = "2 of 3 pods of revision v2 are ready; 3 pods of it and 3 that the stable revision needs are more than \
                the 5 that maxSurge allows: write smaller steps, or a larger maxSurge or maxUnavailable";
    assert_eq!(stage.why(), told);
    stage.until("the abort", |s| s.state.refused.is_some()).run(5);
    assert!(stage.last(What::Aborted).why.contains("maxSurge"), "{}", stage.last(What::Aborted).why);
    assert_eq!((stage.sent("v1"), stage.scale("v1"), stage.scale("v2")), (100, 4, 0));
}

#[test]
fn stable_lends_nothing_of_a_share_that_is_not_acknowledged() {
    let mut stage = Stage::new();
    stage.strategy.max_surge = Some(1);
    stage.strategy.steps = vec![weight(25), pause(2), weight(50), Step::Pause(None)];
    stage.apply("v2").until_weight(25);
    stage.deaf = true;
    stage.until_weight(50);
    let lent = stage.scale("v1");
    stage.run(20);
    assert_eq!((lent, stage.scale("v1")), (3, 3), "the proxies may still send it three quarters");
    stage.deaf = false;
    stage.acknowledge();
    stage.run(5);
    assert_eq!(stage.scale("v1"), 3, "two would do, and nobody needs the third");
}

#[test]
fn an_abort_takes_the_traffic_back_at_once_and_what_was_lent_with_it() {
    let mut stage = Stage::new();
    stage.strategy.max_surge = Some(1);
    stage.strategy.steps = vec![weight(25), pause(2), weight(50), pause(2), weight(75), Step::Pause(None)];
    stage.apply("v2").until_weight(75);
    assert_eq!((stage.scale("v1"), stage.scale("v2")), (2, 3));
    let lent = stage.state.split.generation;
    stage.order(crate::observation::OrderKind::Abort).run(1);
    assert_eq!((stage.sent("v1"), stage.scale("v1")), (100, 4));
    assert!(stage.pods[&rev("v1")].generation > lent, "no late order of the release can lend again");
    let why = &stage.last(What::Aborted).why;
    assert!(why.ends_with("; 2 of 4 stable pods are ready, the others are on their way"), "{why}");
}

#[test]
fn what_was_lent_comes_back_when_the_room_is_no_longer_bounded() {
    let mut stage = Stage::new();
    stage.strategy.max_surge = Some(1);
    stage.strategy.steps = vec![weight(25), pause(2), weight(50), Step::Pause(None)];
    stage.apply("v2").until_weight(50);
    assert_eq!(stage.scale("v1"), 3);
    stage.strategy.max_surge = None;
    stage.run(3);
    assert_eq!((stage.scale("v1"), stage.weight()), (4, 50));
    let next = stage.turn();
    assert_eq!(next.actions, vec![], "and then nothing is left to do");
}

#[test]
fn v3_waits_for_room_until_the_pods_of_v2_are_gone() {
    let mut stage = Stage::new();
    stage.strategy.max_surge = Some(1);
    stage.strategy.steps = [25, 50, 75].into_iter().flat_map(|percent| [weight(percent), pause(2)]).collect();
    stage.apply("v2").until_weight(25);
    stage.deaf = true;
    stage.apply("v3").run(10);
    assert_eq!((stage.scale("v1"), stage.scale("v2"), stage.scale("v3")), (4, 1, 0));
    stage.deaf = false;
    stage.acknowledge();
    stage.until("the end", |s| s.stable() == "v3");
}
