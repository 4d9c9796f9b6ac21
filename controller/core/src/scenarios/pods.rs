//! How many pods a canary has, and when they count.

use super::stage::{Stage, pause, weight};
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
    stage.order(crate::observation::OrderKind::Promote).until_weight(10);
    assert_eq!(stage.scale("v2"), 3, "it holds for the steps after it");
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
