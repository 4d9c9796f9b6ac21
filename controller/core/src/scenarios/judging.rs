//! How a canary is judged: bad at once, good to go on, silence holds.

use std::time::Duration;

use super::stage::{Source, Stage, weight};
use crate::decision::What;
use crate::state::Cause;
use crate::strategy::{Check, Metric, Step};

#[test]
fn a_bad_canary_is_gone_with_the_first_measurement_that_shows_it() {
    let mut stage = Stage::new();
    stage.failing = 20;
    stage.apply("v2").until_weight(10).run(2);
    assert_eq!((stage.sent("v2"), stage.stable()), (0, "v1"));
    let aborted = stage.last(What::Aborted);
    assert_eq!((aborted.who.as_str(), aborted.weight.map(u8::from)), ("penstock", Some(0)));
    assert!(
        aborted.why.starts_with("errors: 20 of 100 requests failed (20 %), limit 1 %"),
        "{}",
        aborted.why
    );
}

#[test]
fn a_canary_that_breaks_in_the_middle_of_a_pause_is_aborted_in_that_pause() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50).run(2);
    stage.failing = 100;
    stage.run(1);
    assert_eq!((stage.weight(), stage.count(What::Aborted)), (0, 1));
}

#[test]
fn an_aborted_revision_is_not_tried_again_until_the_template_changes() {
    let mut stage = Stage::new();
    stage.failing = 20;
    stage.apply("v2").until("the abort", |s| s.state.refused.is_some()).run(500);
    assert_eq!((stage.count(What::Started), stage.sent("v2"), stage.scale("v2")), (1, 0, 0));
    stage.failing = 0;
    stage.apply("v3").until("the end", |s| s.stable() == "v3");
    stage.apply("v2").until("the end", |s| s.stable() == "v2");
}

#[test]
fn a_healthy_canary_at_a_tenth_of_the_limit_passes() {
    let mut stage = Stage::new();
    (stage.failing, stage.rate) = (0, 10_000);
    stage.apply("v2").until("the end", |s| s.stable() == "v2");
    assert_eq!(stage.count(What::Aborted), 0);
}

#[test]
fn too_few_requests_hold_the_step_with_the_number_that_is_missing() {
    let mut stage = Stage::new();
    stage.rate = 10;
    stage.apply("v2").until_weight(10).run(20);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::NoData)));
    assert!(stage.why().contains("of at least 50 requests in this step"), "{}", stage.why());
    stage.until_weight(25);
}

#[test]
fn a_silent_source_holds_neither_promotes_nor_aborts_and_the_release_goes_on_when_it_is_back() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Silent("connection refused");
    stage.run(2000);
    assert_eq!((stage.weight(), stage.cause(), stage.count(What::Aborted)), (25, Some(Cause::NoData), 0));
    assert!(stage.why().contains("connection refused"), "{}", stage.why());
    assert_eq!(stage.told.iter().filter(|d| d.what == What::Held && d.why.contains("refused")).count(), 1);
    stage.source = Source::Works;
    stage.until("the end", |s| s.stable() == "v2");
}

#[test]
fn no_traffic_is_given_before_the_counters_can_be_read() {
    let mut stage = Stage::new();
    stage.source = Source::Silent("no such host");
    stage.apply("v2").run(300);
    assert_eq!((stage.weight(), stage.cause()), (0, Some(Cause::NoData)));
}

#[test]
fn numbers_that_do_not_move_are_not_good_however_good_they_look() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Stuck;
    stage.run(400);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::NoData)));
    assert!(stage.why().contains(" old"), "{}", stage.why());
}

#[test]
fn half_an_answer_is_not_good_but_can_be_bad() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Half;
    stage.run(100);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::NoData)));
    assert!(stage.why().contains("not every proxy"), "{}", stage.why());
    stage.failing = 50;
    stage.run(2);
    assert_eq!(stage.count(What::Aborted), 1);
}

#[test]
fn of_two_proxies_the_one_that_answers_can_abort_and_never_promote() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Missing("b");
    stage.run(200);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::NoData)));
    assert_eq!(stage.why(), "errors: no data: proxy b can't be reached");
    stage.failing = 20;
    stage.run(2);
    assert_eq!((stage.weight(), stage.count(What::Aborted)), (0, 1));
}

#[test]
fn a_proxy_that_is_gone_for_good_is_not_waited_for() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Missing("b");
    stage.run(30).lose("b");
    stage.until_weight(50);
}

#[test]
fn a_missing_proxy_by_another_name_is_waited_for_all_the_same() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    stage.source = Source::Missing("10.0.0.2:9901");
    stage.run(200);
    assert_eq!((stage.weight(), stage.cause()), (25, Some(Cause::NoData)));
}

#[test]
fn no_traffic_is_given_before_every_proxy_has_been_measured() {
    let mut stage = Stage::new();
    stage.source = Source::Missing("b");
    stage.apply("v2").run(300);
    assert_eq!((stage.weight(), stage.cause()), (0, Some(Cause::NoData)));
    assert_eq!(stage.why(), "errors: no data: proxy b can't be reached");
}

#[test]
fn what_a_proxy_counted_while_it_was_missing_is_counted_when_it_is_back() {
    let mut stage = Stage::new();
    stage.rate = 100;
    stage.apply("v2").until_weight(25);
    (stage.source, stage.failing) = (Source::Missing("b"), 4);
    stage.run(4);
    assert_eq!(stage.count(What::Aborted), 0, "one proxy alone has seen too little");
    (stage.source, stage.failing) = (Source::Works, 0);
    stage.run(40);
    assert!(stage.weight() <= 25, "{:?}", stage.told);
}

#[test]
fn failures_while_the_source_was_silent_are_counted_when_it_speaks_again() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25);
    (stage.source, stage.failing) = (Source::Silent("down"), 30);
    stage.run(10);
    assert_eq!(stage.count(What::Aborted), 0);
    (stage.source, stage.failing) = (Source::Works, 0);
    stage.run(1);
    assert_eq!(stage.count(What::Aborted), 1, "{:?}", stage.told);
}

#[test]
fn a_query_of_ones_own_is_tolerated_as_often_as_the_failure_limit_says() {
    let mut stage = Stage::new();
    let query = "sum(declined)".to_owned();
    stage.strategy.analysis.metrics =
        vec![Metric { name: "declined".into(), check: Check::Value { query, min: None, max: Some(5.0) } }];
    stage.strategy.analysis.failure_limit = 2;
    stage.apply("v2").until_weight(25);
    stage.failing = 9;
    stage.run(2);
    assert_eq!((stage.count(What::Aborted), stage.weight()), (0, 25));
    stage.run(1);
    assert!(stage.last(What::Aborted).why.contains("the value is 9, 3 times in a row, allowed at most 5"));
}

#[test]
fn without_metrics_a_release_goes_by_its_steps_alone() {
    let mut stage = Stage::new();
    stage.strategy.analysis.metrics.clear();
    stage.failing = 100;
    stage.apply("v2").until("the end", |s| s.stable() == "v2");
}

#[test]
fn a_metric_that_changes_in_mid_release_is_judged_from_its_new_beginning() {
    let mut stage = Stage::new();
    stage.failing = 3;
    stage.strategy.analysis.metrics[0].check = Check::ErrorRate { max: 0.1 };
    stage.apply("v2").until_weight(25);
    stage.strategy.analysis.metrics[0].check = Check::ErrorRate { max: 0.01 };
    stage.until("the abort", |s| s.state.refused.is_some());
}

#[test]
fn an_answer_that_is_late_is_not_waited_for_in_a_loop() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    let mut seen = stage.look();
    seen.answers.clear();
    for second in 1..30 {
        let now = stage.now + Duration::from_secs(second);
        let next = crate::step(&stage.strategy, &stage.state, &seen, now);
        assert!(next.wake_at.is_some_and(|at| at > now), "{:?} at {now:?}", next.wake_at);
        stage.state = next.state;
    }
}

#[test]
fn measurements_are_asked_for_at_every_interval_and_not_more_often() {
    let mut stage = Stage::new();
    stage.strategy.analysis.interval = Duration::from_secs(10);
    stage.strategy.steps = vec![weight(10), Step::Pause(None)];
    stage.apply("v2").run(2);
    let asked = (0..100).filter(|_| {
        let before = stage.now + Duration::from_secs(1);
        let due = !crate::questions(&stage.strategy, &stage.state, before).is_empty();
        stage.turn();
        due
    });
    assert_eq!(asked.count(), 10);
}
