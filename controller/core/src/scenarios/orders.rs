//! The last word of a person wins, and each word is heard once.

use super::stage::{Source, Stage, rev};
use crate::decision::What;
use crate::observation::OrderKind;
use crate::state::Cause;
use crate::step;

#[test]
fn an_abort_is_one_turn() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50).order(OrderKind::Abort).run(1);
    assert_eq!((stage.sent("v1"), stage.sent("v2")), (100, 0));
    assert_eq!(stage.last(What::Aborted).who, "ann");
}

/// What the page offers is what the machine would do.
#[test]
fn an_order_that_would_be_refused_is_known_before_it_is_given() {
    let mut stage = Stage::new();
    let would = |stage: &mut Stage, kind| {
        let kept = stage.look().revisions.unwrap();
        crate::refusal(&stage.strategy, &stage.state, &kept, kind, stage.now)
    };
    assert!(would(&mut stage, OrderKind::Abort).unwrap().contains("nothing is being released"));
    assert!(would(&mut stage, OrderKind::Undo(None)).unwrap().contains("no older revision is kept"));
    stage.apply("v2").until_weight(10).run(1);
    let before = stage.state.clone();
    for kind in [OrderKind::Abort, OrderKind::Promote, OrderKind::PromoteFull, OrderKind::Pause] {
        assert_eq!(would(&mut stage, kind), None);
    }
    assert!(would(&mut stage, OrderKind::Resume).unwrap().contains("not paused by an order"));
    assert!(would(&mut stage, OrderKind::Retry).unwrap().contains("nothing was aborted"));
    assert_eq!(stage.state, before);
    stage.order(OrderKind::Abort).run(1);
    assert_eq!(would(&mut stage, OrderKind::Retry), None);
}

#[test]
fn an_abort_needs_neither_pods_nor_proxies_nor_metrics() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50);
    (stage.broken, stage.deaf, stage.source) = (true, true, Source::Silent("down"));
    stage.run(3).order(OrderKind::PromoteFull).run(3).order(OrderKind::Abort).run(1);
    assert_eq!(stage.sent("v2"), 0);
    assert_eq!(stage.scale("v2"), 4, "its pods stay while the proxies have not followed");
}

#[test]
fn an_abort_works_with_nothing_to_be_seen_at_all() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(50).order(OrderKind::Abort);
    let mut seen = stage.look();
    (seen.revisions, seen.proxies, seen.route) = (None, None, crate::observation::Route::Unknown);
    let next = step(&stage.strategy, &stage.state, &seen, stage.now);
    assert!(!next.state.split.sends_to(&rev("v2")));
    assert!(next.actions.contains(&crate::decision::Action::Route(next.state.split.clone())));
}

#[test]
fn the_last_of_two_contrary_orders_wins() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    stage.order(OrderKind::PromoteFull).order(OrderKind::Abort).run(3);
    assert_eq!((stage.sent("v2"), stage.state.refused.is_some()), (0, true));
}

#[test]
fn promote_ends_one_step_only() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10).run(1).order(OrderKind::Promote).run(2);
    assert_eq!(stage.weight(), 25);
    stage.run(3);
    assert_eq!(stage.weight(), 25);
    assert_eq!(stage.last(What::Advanced).why, "ordered by ann");
}

#[test]
fn promote_goes_on_without_data_and_still_a_bad_canary_is_aborted() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    stage.source = Source::Silent("down");
    stage.run(20).order(OrderKind::Promote).run(2);
    assert_eq!(stage.weight(), 25);
    (stage.source, stage.failing) = (Source::Works, 50);
    stage.run(3);
    assert_eq!(stage.weight(), 0);
}

#[test]
fn promote_full_goes_to_the_end_whatever_the_measurements_say() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    (stage.source, stage.failing) = (Source::Silent("down"), 50);
    stage.order(OrderKind::PromoteFull).until("the end", |s| s.stable() == "v2");
}

#[test]
fn promote_full_still_waits_for_pods() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10);
    stage.broken = true;
    stage.order(OrderKind::PromoteFull).run(5);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Pods)));
}

#[test]
fn pause_stands_still_and_resume_goes_on() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10).order(OrderKind::Pause).run(300);
    assert_eq!((stage.weight(), stage.cause()), (10, Some(Cause::Paused)));
    stage.order(OrderKind::Resume).until_weight(25);
}

#[test]
fn retry_tries_an_aborted_revision_from_its_beginning() {
    let mut stage = Stage::new();
    stage.failing = 50;
    stage.apply("v2").until("the abort", |s| s.state.refused.is_some()).run(10);
    stage.failing = 0;
    stage.order(OrderKind::Retry).until_weight(10).until("the end", |s| s.stable() == "v2");
    assert_eq!((stage.count(What::Started), stage.count(What::Aborted)), (2, 1));
}

#[test]
fn undo_after_a_release_brings_back_the_revision_before_by_steps() {
    let mut stage = Stage::new();
    stage.apply("v2").until("the end", |s| s.stable() == "v2").run(5);
    stage.order(OrderKind::Undo(None)).until_weight(10);
    assert_eq!(stage.sent("v1"), 10);
    stage.until("the end", |s| s.stable() == "v1").run(100);
    assert_eq!(stage.stable(), "v1", "the template's revision does not come back by itself");
    stage.apply("v3").until("the end", |s| s.stable() == "v3");
}

#[test]
fn undo_in_mid_release_goes_back_to_stable() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(25).order(OrderKind::Undo(None)).run(1);
    assert_eq!((stage.sent("v2"), stage.state.release.is_none()), (0, true));
    stage.order(OrderKind::Retry).until("the end", |s| s.stable() == "v2");
}

#[test]
fn undo_to_what_is_not_kept_names_what_is() {
    let mut stage = Stage::new();
    stage.order(OrderKind::Undo(Some(rev("v9")))).run(1);
    assert_eq!(stage.last(What::Refused).why, "undo refused: revision v9 is not kept; there are: v1");
}

#[test]
fn an_order_read_twice_is_followed_once() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10).run(1).order(OrderKind::Promote);
    let again = stage.orders.clone();
    stage.run(1);
    stage.orders = again;
    stage.run(3);
    assert_eq!((stage.weight(), stage.count(What::Promoted), stage.orders.len()), (25, 1, 0));
}

#[test]
fn an_order_is_followed_once_when_the_crash_falls_between_save_and_clear() {
    let mut stage = Stage::new();
    stage.apply("v2").until_weight(10).run(1).order(OrderKind::Promote);
    let seen = stage.look();
    stage.state = step(&stage.strategy, &stage.state, &seen, stage.now).state;
    stage.run(3);
    assert_eq!((stage.weight(), stage.orders.len()), (25, 0));
    let about = |d: &&crate::decision::Decision| d.order.is_some();
    assert_eq!(stage.state.decisions.iter().filter(about).count(), 1);
}

#[test]
fn orders_that_make_no_sense_are_refused_with_what_to_do_instead() {
    for (kind, hint) in [
        (OrderKind::Abort, "use undo"),
        (OrderKind::Promote, "nothing is being released"),
        (OrderKind::PromoteFull, "nothing is being released"),
        (OrderKind::Pause, "nothing is being released"),
        (OrderKind::Resume, "nothing is being released"),
        (OrderKind::Retry, "nothing was aborted"),
        (OrderKind::Undo(None), "no older revision is kept"),
    ] {
        let mut stage = Stage::new();
        let before = stage.state.split.clone();
        stage.order(kind.clone()).run(1);
        assert!(stage.last(What::Refused).why.contains(hint), "{kind:?}: {}", stage.last(What::Refused).why);
        assert_eq!(stage.state.split, before);
    }
}
