//! Gates and freezes: what holds a release from outside, and what goes before it.

use std::time::Duration;

use super::stage::{Source, Stage, pause, rev, weight};
use crate::decision::What;
use crate::gate::{GateAnswer, GateWord};
use crate::observation::{Frozen, OrderKind};
use crate::split::Generation;
use crate::state::{Cause, Phase};
use crate::step;
use crate::strategy::{CanaryScale, Gate, Step};

fn gate() -> Step {
    Step::Gate(Gate { interval: Duration::from_secs(2), timeout: None })
}

fn go() -> Option<GateWord> {
    Some(GateWord::Go("the load test is green".into()))
}

fn wait() -> Option<GateWord> {
    Some(GateWord::Wait("the load test runs".into()))
}

fn no_go() -> Option<GateWord> {
    Some(GateWord::NoGo("the load test has failed".into()))
}

fn unknown() -> Option<GateWord> {
    Some(GateWord::Unknown("answers HTTP 500".into()))
}

/// A gate between 10 and 50 %.
fn between() -> Stage {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(10), pause(3), gate(), weight(50), pause(3)];
    stage.apply("v2").until_weight(10);
    stage
}

fn at_the_gate() -> Stage {
    let mut stage = between();
    stage.gate = wait();
    stage.until("the gate's word", |s| s.why().contains("says wait"));
    stage
}

/// A gate before anything else.
fn before_all() -> Stage {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![gate(), weight(10), pause(3)];
    stage.apply("v2");
    stage
}

fn freeze(stage: &mut Stage, secs: u64) {
    let until = stage.now + Duration::from_secs(secs);
    stage.frozen = Some(Frozen { until: Some(until), why: "frozen until Monday 08:00".into() });
}

#[test]
fn a_gate_that_says_wait_is_asked_again_until_it_says_go() {
    let mut stage = at_the_gate();
    stage.run(60);
    assert_eq!((stage.weight(), stage.why()), (10, "gate ci says wait: the load test runs"));
    assert!((25..=32).contains(&stage.gate_asked.len()), "every 2 s: {}", stage.gate_asked.len());
    stage.gate = go();
    stage.until_weight(50);
    assert_eq!(stage.last(What::Passed).why, "gate ci says go: the load test is green");
    stage.until("the end", |s| s.stable() == "v2");
}

#[test]
fn a_gate_hears_what_it_decides_about() {
    let stage = at_the_gate();
    let asked = &stage.gate_asked[0];
    assert_eq!((asked.asked.step, asked.steps, asked.asked.revision.as_str()), (2, 5, "v2"));
    assert_eq!((asked.weight.percent(), asked.next.percent(), asked.stable.as_str()), (10, 50, "v1"));
}

#[test]
fn a_gate_that_says_no_go_aborts_with_its_reason() {
    let mut stage = at_the_gate();
    stage.gate = no_go();
    stage.until("the abort", |s| s.state.refused.is_some());
    assert_eq!(stage.sent("v2"), 0);
    assert_eq!(stage.last(What::Aborted).why, "gate ci says no-go: the load test has failed");
}

#[test]
fn a_gate_that_can_not_be_understood_or_hangs_holds_and_never_aborts() {
    for (word, why) in
        [(unknown(), "no word from gate ci: answers HTTP 500"), (None, "the gate has not answered yet")]
    {
        let mut stage = between();
        stage.gate = word;
        stage.run(2000);
        assert_eq!((stage.weight(), stage.why()), (10, why));
        assert_eq!(stage.count(What::Aborted), 0);
        stage.gate = go();
        stage.until_weight(50);
    }
}

#[test]
fn while_a_gate_hangs_a_canary_is_judged_and_an_abort_is_one_turn() {
    let mut stage = between();
    stage.until("the gate", |s| s.cause() == Some(Cause::Gate)).order(OrderKind::Abort).run(1);
    assert_eq!(stage.sent("v2"), 0);
    let mut stage = between();
    stage.until("the gate", |s| s.cause() == Some(Cause::Gate));
    stage.failing = 50;
    stage.until("the abort", |s| s.state.refused.is_some());
    assert!(stage.last(What::Aborted).why.contains("requests failed"));
}

#[test]
fn promote_passes_a_gate_as_it_does_a_pause_and_only_this_one() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![weight(10), gate(), gate(), weight(50), pause(3)];
    stage.gate = wait();
    stage.apply("v2").until("the gate", |s| s.cause() == Some(Cause::Gate));
    stage.order(OrderKind::Promote).run(20);
    let step = stage.state.release.as_ref().map(|r| r.step);
    assert_eq!((stage.weight(), step), (10, Some(2)), "the second gate is asked");
    stage.order(OrderKind::Promote).until_weight(50);
}

#[test]
fn promote_full_asks_no_gate() {
    let mut stage = at_the_gate();
    stage.gate = no_go();
    let asked = stage.gate_asked.len();
    stage.order(OrderKind::PromoteFull).run(1);
    stage.until("the end", |s| s.stable() == "v2");
    assert!(stage.gate_asked.len() <= asked + 1);
}

#[test]
fn a_gate_before_the_first_weight_keeps_even_pods_from_starting() {
    let mut stage = before_all();
    stage.gate = wait();
    stage.run(300);
    assert_eq!((stage.weight(), stage.scale("v2"), stage.cause()), (0, 0, Some(Cause::Gate)));
    assert_eq!(stage.count(What::Aborted), 0, "no deadline runs");
    stage.gate = go();
    stage.until_weight(10);
    let mut stage = before_all();
    stage.gate = no_go();
    stage.until("the abort", |s| s.state.refused.is_some());
    assert_eq!((stage.scale("v2"), stage.sent("v1")), (0, 100));
}

#[test]
fn a_scale_before_a_gate_gives_it_pods_to_test_without_traffic() {
    let mut stage = Stage::new();
    stage.strategy.steps = vec![Step::SetCanaryScale(CanaryScale::Pods(2)), gate(), weight(10), pause(3)];
    stage.gate = wait();
    stage.apply("v2").until("the gate", |s| s.cause() == Some(Cause::Gate)).run(30);
    assert_eq!((stage.scale("v2"), stage.sent("v2")), (2, 0));
    stage.gate = go();
    stage.until_weight(10);
}

#[test]
fn a_gate_that_has_said_wait_for_too_long_aborts_and_silence_does_not_count() {
    let mut stage = between();
    let timed = Gate { interval: Duration::from_secs(2), timeout: Some(Duration::from_secs(30)) };
    stage.strategy.steps = vec![weight(10), Step::Gate(timed), weight(50)];
    stage.gate = wait();
    stage.until("the gate", |s| s.cause() == Some(Cause::Gate)).run(20);
    stage.gate = unknown();
    stage.run(500);
    assert_eq!((stage.count(What::Aborted), stage.cause()), (0, Some(Cause::NoData)));
    stage.gate = wait();
    stage.run(4);
    assert_eq!(stage.count(What::Aborted), 0);
    stage.until("the abort", |s| s.state.refused.is_some());
    assert!(stage.last(What::Aborted).why.starts_with("gate ci has said wait for 30s (timeoutSeconds)"));
}

#[test]
fn an_answer_to_an_earlier_release_or_another_gate_is_void() {
    let mut stage = at_the_gate();
    let question = stage.gate_asked[0].clone();
    let answers = |word: &GateWord| {
        let mut earlier = question.asked.clone();
        earlier.release = Generation(earlier.release.0 - 1);
        let mut other = question.asked.clone();
        other.step = 1;
        [earlier, other].map(|asked| GateAnswer { asked, gate: "ci".into(), word: word.clone() })
    };
    for word in [go().unwrap(), no_go().unwrap()] {
        for answer in answers(&word) {
            let mut seen = stage.look();
            seen.gate = Some(answer);
            let next = step(&stage.strategy, &stage.state, &seen, stage.now);
            assert_eq!(next.state.canary_weight().percent(), 10);
            assert!(next.state.refused.is_none());
        }
    }
}

#[test]
fn a_go_that_comes_while_paused_is_asked_for_again_afterwards() {
    let mut stage = at_the_gate();
    stage.order(OrderKind::Pause);
    stage.gate = go();
    stage.run(30);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Paused)));
    stage.gate = wait();
    stage.order(OrderKind::Resume).run(20);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Gate)));
}

#[test]
fn in_a_freeze_a_release_does_not_begin_and_its_pods_do_not_start() {
    let mut stage = Stage::new();
    freeze(&mut stage, 500);
    stage.apply("v2").run(400);
    assert_eq!((stage.weight(), stage.scale("v2"), stage.cause()), (0, 0, Some(Cause::Frozen)));
    assert_eq!((stage.count(What::Frozen), stage.state.phase()), (1, Phase::Paused));
    let wake_at = stage.turn().wake_at;
    assert!(wake_at.is_some_and(|at| at <= stage.frozen.as_ref().unwrap().until.unwrap()), "{wake_at:?}");
    stage.frozen = None;
    stage.until_weight(10);
}

#[test]
fn in_a_freeze_a_release_stays_where_it_is_and_a_bad_one_is_aborted() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    freeze(&mut stage, 10_000);
    stage.run(900);
    assert_eq!((stage.weight(), stage.why()), (25, "frozen until Monday 08:00"));
    stage.failing = 50;
    stage.until("the abort", |s| s.state.refused.is_some());
    assert_eq!(stage.sent("v1"), 100);
}

#[test]
fn in_a_freeze_abort_and_going_back_work_at_once() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    freeze(&mut stage, 10_000);
    stage.order(OrderKind::Abort).run(1);
    assert_eq!(stage.sent("v2"), 0);
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    freeze(&mut stage, 10_000);
    stage.apply("v1").run(1);
    assert_eq!((stage.sent("v2"), stage.count(What::Reverted)), (0, 1));
}

#[test]
fn promote_goes_on_in_a_freeze_by_one_step_and_says_so() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    freeze(&mut stage, 10_000);
    stage.run(10).order(OrderKind::Promote).until_weight(25);
    assert!(stage.last(What::Promoted).why.contains("although frozen until Monday"));
    stage.run(60);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::Frozen)));
    stage.order(OrderKind::PromoteFull).until("the end", |s| s.stable() == "v2");
}

#[test]
fn undo_brings_the_revision_before_back_in_spite_of_a_freeze() {
    let mut stage = Stage::new();
    stage.apply("v2").until("the end", |s| s.stable() == "v2").run(5);
    freeze(&mut stage, 10_000);
    stage.order(OrderKind::Undo(None)).until("the end", |s| s.stable() == "v1");
}

#[test]
fn a_freeze_does_not_stop_a_first_revision() {
    let mut stage = Stage::new();
    freeze(&mut stage, 10_000);
    stage.state = crate::state::State::default();
    stage.pods.clear();
    stage.edit(|split| split.weights.clear());
    stage.forget_route();
    stage.run(20);
    assert_eq!((stage.stable(), stage.sent("v1")), ("v1", 100));
}

#[test]
fn a_gate_is_not_asked_in_a_freeze() {
    let mut stage = between();
    stage.gate = go();
    freeze(&mut stage, 10_000);
    stage.run(60);
    assert_eq!((stage.weight(), stage.gate_asked.len()), (10, 0));
    stage.frozen = None;
    stage.until_weight(50);
}

#[test]
fn a_gate_goes_on_without_any_numbers_but_the_next_weight_does_not() {
    let mut stage = at_the_gate();
    (stage.gate, stage.source) = (go(), Source::Silent("down"));
    stage.run(60);
    assert_eq!((stage.weight(), stage.cause(), stage.count(What::Passed)), (10, Some(Cause::NoData), 1));
    assert_eq!(stage.sent(rev("v1").as_str()), 90);
}
