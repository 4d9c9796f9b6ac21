//! Orders as people write them, and as nobody should.

use std::collections::BTreeMap;

use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// 2026-01-01, so many seconds later.
fn at(second: u64) -> Time {
    Time(1_767_225_600_000 + second * 1000)
}

/// A Rollout with these annotations.
fn rollout(annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({"metadata": {"name": "checkout", "uid": "u", "resourceVersion": "7", "annotations": annotations}})
}

/// As an API server notes who has written an annotation, and when.
fn written(rollout: &mut Value, annotation: &str, manager: &str, second: u64) {
    let time = format!("2026-01-01T00:00:{second:02}Z");
    let fields = json!({"f:metadata": {"f:annotations": {".": {}, format!("f:{annotation}"): {}}}});
    let entry = json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields});
    let entries = &mut rollout["metadata"]["managedFields"];
    match entries.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => *entries = json!([entry]),
    }
}

fn metadata(rollout: &Value) -> ObjectMeta {
    serde_json::from_value(rollout["metadata"].clone()).unwrap()
}

/// What an API server makes of a change. It holds by the version, or by the values, and is the same change then.
fn patched(rollout: &Value, change: &Change) -> Result<Value, String> {
    let (by_version, by_values) = (on_version(rollout, change), on_values(rollout, change));
    if let (Ok(one), Ok(other)) = (&by_version, &by_values) {
        assert_eq!(one, other);
    }
    by_values.or(by_version)
}

fn on_version(rollout: &Value, change: &Change) -> Result<Value, String> {
    let (mut rollout, patch) = (rollout.clone(), change.on_version());
    for name in ["uid", "resourceVersion"] {
        if patch["metadata"][name] != rollout["metadata"][name] {
            return Err(format!("another {name}"));
        }
    }
    json_patch::merge(&mut rollout, &patch);
    Ok(written_once_more(rollout))
}

/// A test for null holds where nothing is, and text is compared as Go writes it.
fn on_values(rollout: &Value, change: &Change) -> Result<Value, String> {
    let (mut rollout, mut patch) = (rollout.clone(), change.on_values());
    for operation in patch.as_array_mut().unwrap().extract_if(.., |o| o["op"] == "test") {
        let (there, wanted) = (rollout.pointer(operation["path"].as_str().unwrap()), &operation["value"]);
        let special = |text: &Value| text.as_str().is_some_and(|text| text.contains(['<', '>', '&']));
        if there.unwrap_or(&Value::Null) != wanted || special(wanted) {
            return Err(format!("not as wanted: {operation}"));
        }
    }
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    json_patch::patch(&mut rollout, &patch).map_err(|error| error.to_string())?;
    Ok(written_once_more(rollout))
}

fn written_once_more(mut rollout: Value) -> Value {
    let version: u64 = rollout["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    rollout["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    rollout
}

fn ids(prefix: &str) -> impl FnMut() -> String {
    let mut n = 0;
    move || {
        n += 1;
        format!("{prefix}{n}")
    }
}

/// Claims all that is there. Returns the Rollout after it, too.
fn claimed(rollout: &Value) -> (Value, Vec<Order>) {
    let patch = claims(&metadata(rollout), ids("id-"), at(50)).expect("something to claim");
    let after = patched(rollout, &patch).unwrap();
    let orders = waiting(&metadata(&after));
    (after, orders)
}

fn kinds(orders: &[Order]) -> Vec<OrderKind> {
    orders.iter().map(|order| order.kind.clone()).collect()
}

#[test]
fn an_order_by_kubectl_is_claimed_with_who_why_and_when() {
    let mut rollout = rollout(&[("penstock.dev/abort", "p99 looks wrong"), ("note", "mine")]);
    written(&mut rollout, "penstock.dev/abort", "kubectl-annotate", 40);
    written(&mut rollout, "note", "kubectl-edit", 45);
    let (after, orders) = claimed(&rollout);
    let expected = Order {
        id: "id-1".into(),
        kind: OrderKind::Abort,
        who: "kubectl-annotate".into(),
        reason: "p99 looks wrong".into(),
        at: at(40),
    };
    assert_eq!(orders, [expected]);
    insta::assert_json_snapshot!(after["metadata"]["annotations"]);
    assert_eq!(claims(&metadata(&after), ids("again-"), at(51)), None, "there is nothing left to claim");
    let patch = clear(&metadata(&after), "id-1").unwrap();
    let done = patched(&after, &patch).unwrap();
    assert_eq!(done["metadata"]["annotations"], json!({"note": "mine"}));
    assert_eq!(clear(&metadata(&done), "id-1"), None, "it is taken off once");
}

#[test]
fn who_orders_may_give_a_name() {
    let mut rollout = rollout(&[("penstock.dev/pause", ""), ("penstock.dev/pause-by", " ada\u{1b}[31m\n")]);
    written(&mut rollout, "penstock.dev/pause", "penstock", 40);
    let (after, orders) = claimed(&rollout);
    assert_eq!((orders[0].who.as_str(), orders[0].reason.as_str()), ("ada [31m", ""));
    assert!(
        after["metadata"]["annotations"].get("penstock.dev/pause-by").is_none(),
        "the name is not for later orders"
    );
}

#[test]
fn each_order_keeps_the_name_beside_it() {
    let rollout = rollout(&[
        ("penstock.dev/pause", ""),
        ("penstock.dev/pause-by", "ada"),
        ("penstock.dev/promote-full", ""),
        ("penstock.dev/promote-full-by", "grace"),
        ("penstock.dev/abort", ""),
        ("penstock.dev/resume-by", "of no order"),
    ]);
    let (after, orders) = claimed(&rollout);
    let who: Vec<_> = orders.iter().map(|order| (order.kind.clone(), order.who.as_str())).collect();
    let wanted =
        [(OrderKind::PromoteFull, "grace"), (OrderKind::Pause, "ada"), (OrderKind::Abort, "somebody")];
    assert_eq!(who, wanted);
    let left = after["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [ORDERS, "penstock.dev/resume-by"]);
    assert_eq!(problems(&metadata(&after)), Vec::<String>::new());
}

#[test]
fn an_order_that_nobody_is_known_for_counts_from_the_present() {
    let (_, orders) = claimed(&rollout(&[("penstock.dev/resume", "go on")]));
    assert_eq!((orders[0].who.as_str(), orders[0].at), ("somebody", at(50)));
}

#[test]
fn a_clock_that_is_ahead_does_not_give_orders_in_the_future() {
    let mut rollout = rollout(&[("penstock.dev/abort", "")]);
    written(&mut rollout, "penstock.dev/abort", "kubectl-annotate", 59);
    assert_eq!(claimed(&rollout).1[0].at, at(50));
}

#[test]
fn the_last_writer_of_an_annotation_gave_the_order() {
    let mut rollout = rollout(&[("penstock.dev/abort", "")]);
    written(&mut rollout, "penstock.dev/abort", "old", 10);
    written(&mut rollout, "penstock.dev/abort", "new", 30);
    written(&mut rollout, "penstock.dev/abort", "older", 5);
    assert_eq!(claimed(&rollout).1[0].who, "new");
}

#[test]
fn each_kind_of_order_is_known() {
    let words = ["abort", "promote", "promote-full", "pause", "resume", "retry", "undo"];
    for word in words {
        let (_, orders) = claimed(&rollout(&[(&format!("penstock.dev/{word}"), "")]));
        let kind = serde_json::to_value(&orders[0].kind).unwrap();
        assert_eq!(kind, if word == "undo" { json!({"undo": null}) } else { json!(word) });
    }
}

#[test]
fn undo_takes_a_revision_as_people_find_it() {
    for (value, revision) in
        [("", None), (" ", None), ("5c6b7", Some("5c6b7")), (" checkout-5c6b7\n", Some("5c6b7"))]
    {
        let (_, orders) = claimed(&rollout(&[("penstock.dev/undo", value)]));
        let revision = revision.map(|name| Revision::new(name).unwrap());
        assert_eq!((&orders[0].kind, orders[0].reason.as_str()), (&OrderKind::Undo(revision), ""));
    }
}

#[test]
fn undo_has_its_reason_behind_a_colon() {
    for (value, revision, reason) in [
        ("5c6b7: p99 looks wrong", Some("5c6b7"), "p99 looks wrong"),
        (":the new one leaks: see the graph", None, "the new one leaks: see the graph"),
        ("checkout-5c6b7:", Some("5c6b7"), ""),
    ] {
        let (_, orders) = claimed(&rollout(&[("penstock.dev/undo", value)]));
        let revision = revision.map(|name| Revision::new(name).unwrap());
        assert_eq!((&orders[0].kind, orders[0].reason.as_str()), (&OrderKind::Undo(revision), reason));
    }
}

#[test]
fn orders_come_in_the_order_of_their_times() {
    let mut rollout =
        rollout(&[("penstock.dev/abort", ""), ("penstock.dev/retry", ""), ("penstock.dev/pause", "")]);
    written(&mut rollout, "penstock.dev/retry", "kubectl-annotate", 30);
    written(&mut rollout, "penstock.dev/abort", "dashboard", 20);
    written(&mut rollout, "penstock.dev/pause", "chat", 10);
    assert_eq!(kinds(&claimed(&rollout).1), [OrderKind::Pause, OrderKind::Abort, OrderKind::Retry]);
}

/// One field manager has one time for all that it wrote.
#[test]
fn of_orders_of_one_time_the_most_careful_is_the_last_word() {
    let words = ["abort", "promote-full", "resume", "pause", "retry", "promote"];
    let annotations: Vec<_> = words.iter().map(|word| (format!("penstock.dev/{word}"), "")).collect();
    let annotations: Vec<_> = annotations.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut rollout = rollout(&annotations);
    for (annotation, _) in &annotations {
        written(&mut rollout, annotation, "kubectl-annotate", 10);
    }
    use OrderKind::{Abort, Pause, Promote, PromoteFull, Resume, Retry};
    assert_eq!(kinds(&claimed(&rollout).1), [Resume, Retry, Promote, PromoteFull, Pause, Abort]);
}

#[test]
fn new_orders_come_behind_those_that_wait() {
    let (mut after, _) = claimed(&rollout(&[("penstock.dev/promote", "")]));
    after["metadata"]["annotations"]["penstock.dev/abort"] = json!("stop");
    let patch = claims(&metadata(&after), ids("later-"), at(50)).unwrap();
    let after = patched(&after, &patch).unwrap();
    let orders = waiting(&metadata(&after));
    assert_eq!(kinds(&orders), [OrderKind::Promote, OrderKind::Abort]);
    let patch = clear(&metadata(&after), "id-1").unwrap();
    let after = patched(&after, &patch).unwrap();
    assert_eq!(kinds(&waiting(&metadata(&after))), [OrderKind::Abort]);
}

#[test]
fn of_two_controllers_one_claims() {
    let rollout = rollout(&[("penstock.dev/abort", "")]);
    let one = claims(&metadata(&rollout), ids("one-"), at(50)).unwrap();
    let other = claims(&metadata(&rollout), ids("other-"), at(50)).unwrap();
    let after = patched(&rollout, &one).unwrap();
    assert!(patched(&after, &other).is_err());
    assert!(patched(&after, &one).is_err(), "nor does the same one twice");
    assert_eq!(waiting(&metadata(&after)).len(), 1);
}

/// Each of them would lose or bring back an order, were it to hold.
#[test]
fn a_change_holds_on_what_was_read_only() {
    let rollout = rollout(&[("penstock.dev/abort", "")]);
    let change = claims(&metadata(&rollout), ids("id-"), at(50)).unwrap();
    let edits: [fn(&mut Value); 4] = [
        |r| r["metadata"]["uid"] = json!("another"),
        |r| r["metadata"]["annotations"]["penstock.dev/abort"] = json!("a second abort"),
        |r| r["metadata"]["annotations"][ORDERS] = json!("[]"),
        |r| r["metadata"]["annotations"] = json!({}),
    ];
    for edit in edits {
        let mut other = written_once_more(rollout.clone());
        edit(&mut other);
        assert!(patched(&other, &change).is_err(), "{other}");
    }
    let (after, _) = claimed(&rollout);
    let clear = clear(&metadata(&after), "id-1").unwrap();
    for annotations in [json!({ORDERS: "[]"}), json!({})] {
        let mut other = written_once_more(after.clone());
        other["metadata"]["annotations"] = annotations;
        assert!(patched(&other, &clear).is_err(), "{other}");
    }
}

#[test]
fn what_others_write_meanwhile_holds_no_order_up() {
    let edits: [fn(&mut Value); 3] = [
        |r| r["status"] = json!({"phase": "Aborted"}),
        |r| r["metadata"]["annotations"]["example.com/touched"] = json!("7 > 6"),
        |r| r["metadata"]["annotations"]["penstock.dev/pause"] = json!("one more order"),
    ];
    for edit in edits {
        let before = rollout(&[("penstock.dev/abort", "")]);
        let claim = claims(&metadata(&before), ids("id-"), at(50)).unwrap();
        let mut other = written_once_more(before);
        edit(&mut other);
        let (touched, after) = (other["metadata"]["annotations"].clone(), on_values(&other, &claim).unwrap());
        assert_eq!(kinds(&waiting(&metadata(&after))), [OrderKind::Abort]);
        for name in ["example.com/touched", "penstock.dev/pause"] {
            assert_eq!(after["metadata"]["annotations"].get(name), touched.get(name));
        }
        let clear = clear(&metadata(&after), "id-1").unwrap();
        let mut other = written_once_more(after);
        edit(&mut other);
        assert_eq!(waiting(&metadata(&on_values(&other, &clear).unwrap())), []);
    }
}

#[test]
fn any_text_may_stand_in_an_order() {
    for reason in ["p99 > 500ms & rising <fast>", "\u{2028}", "\"'`${x}\\", "ä→🦀"] {
        let (after, orders) =
            claimed(&rollout(&[("penstock.dev/abort", reason), ("other.dev/query", "a > b")]));
        assert_eq!((orders.len(), orders[0].reason.trim()), (1, reason.trim()));
        let cleared = patched(&after, &clear(&metadata(&after), "id-1").unwrap()).unwrap();
        assert_eq!(waiting(&metadata(&cleared)), []);
    }
}

#[test]
fn what_is_no_order_says_what_to_write() {
    let rollout = rollout(&[
        ("penstock.dev/abrot", ""),
        ("penstock.dev/promotefull", ""),
        ("penstock.dev/Pause", ""),
        ("penstock.dev/rollback", ""),
        ("penstock.dev/undo", "../../etc"),
        ("penstock.dev/listen", "20001"),
        ("penstock.dev/pause-by", "ada"),
        ("other.dev/abrot", ""),
        ("penstock.developers/abort", ""),
    ]);
    assert_eq!(claims(&metadata(&rollout), ids("id-"), at(50)), None);
    insta::assert_snapshot!(problems(&metadata(&rollout)).join("\n"));
}

#[test]
fn problems_are_few_however_many_annotations_there_are() {
    let names: Vec<String> =
        (0..1000).map(|n| format!("penstock.dev/x{n}\u{1b}{}", "y".repeat(1000))).collect();
    let annotations: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let problems = problems(&metadata(&rollout(&annotations)));
    assert!(problems.len() <= 10 && problems.iter().all(|p| p.len() < 300 && !p.contains('\u{1b}')));
}

#[test]
fn a_list_that_somebody_has_damaged_is_told_about_and_put_right() {
    let order = r#"{"id":"a","kind":"abort","who":"ada","reason":"","at":5}"#;
    let long_id = "x".repeat(1000);
    let lists = [
        ("abort!".to_owned(), 0),
        ("{}".to_owned(), 0),
        ("null".to_owned(), 0),
        ("[".repeat(100_000), 0),
        (format!("[{order}, 7]"), 1),
        (format!("[{order}, {order}]"), 1),
        (format!("[{}, {order}]", order.replace("abort", "abrot")), 1),
        (format!("[{}, {order}]", order.replace(r#""a""#, r#""""#)), 1),
        (format!("[{}, {order}]", order.replace(r#""a""#, &format!("\"{long_id}\""))), 1),
        (format!("[{}, {order}]", order.replace(r#""abort""#, r#"{"undo": "../x"}"#)), 1),
    ];
    for (list, kept) in lists {
        let rollout = rollout(&[(ORDERS, &list)]);
        let told = problems(&metadata(&rollout));
        assert!(told.len() == 1 && told[0].len() < 500, "{told:?}");
        assert_eq!(waiting(&metadata(&rollout)).len(), kept, "{list:.80}");
        let (after, orders) = claimed(&rollout);
        assert_eq!((orders.len(), problems(&metadata(&after))), (kept, vec![]));
    }
}

#[test]
fn a_damaged_list_takes_no_order_along() {
    let rollout = rollout(&[(ORDERS, "abort!"), ("penstock.dev/abort", "")]);
    assert_eq!(kinds(&claimed(&rollout).1), [OrderKind::Abort]);
}

#[test]
fn long_texts_are_cut() {
    let long = "é\n".repeat(500_000);
    let (after, orders) =
        claimed(&rollout(&[("penstock.dev/abort", &long), ("penstock.dev/abort-by", &long)]));
    assert!(orders[0].reason.len() <= 4096 && orders[0].reason.len() > 4000);
    assert!(orders[0].who.len() <= 256 && !orders[0].who.contains('\n'));
    let text = after["metadata"]["annotations"][ORDERS].as_str().unwrap();
    assert!(text.len() < 5000);
}

/// As many as fit: an API server takes no more than 256 KiB of annotations.
fn full(reason: &str) -> (Value, usize) {
    let mut rollout = rollout(&[]);
    for n in 0..=MOST {
        rollout["metadata"]["annotations"]["penstock.dev/pause"] = json!(reason);
        rollout["metadata"]["annotations"]["penstock.dev/pause-by"] = json!("ada");
        let Some(patch) = claims(&metadata(&rollout), || format!("id-{n}"), at(50)) else {
            return (rollout, n);
        };
        rollout = patched(&rollout, &patch).unwrap();
    }
    unreachable!("more than {MOST} orders were taken")
}

#[test]
fn a_full_list_takes_no_more_and_says_so() {
    let (rollout, taken) = full("");
    assert_eq!(taken, MOST);
    let told = problems(&metadata(&rollout));
    assert!(told.len() == 1 && told[0].starts_with("64 orders wait"), "{told:?}");
    let after = patched(&rollout, &clear(&metadata(&rollout), "id-1").unwrap()).unwrap();
    assert_eq!(claimed(&after).1.len(), MOST, "the next one is taken as soon as there is room");
}

#[test]
fn a_list_never_outgrows_what_an_api_server_takes() {
    for reason in ["\"".repeat(4096), "é".repeat(4096)] {
        let (rollout, taken) = full(&reason);
        assert!((10..MOST).contains(&taken), "{taken}");
        assert!(rollout["metadata"]["annotations"][ORDERS].as_str().unwrap().len() <= 128 * 1024);
        let told = problems(&metadata(&rollout));
        assert!(told.len() == 1 && told[0].starts_with(&format!("{taken} orders wait")), "{told:?}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,20}",
        any::<String>(),
        Just("[{\"id\":\"a\",\"kind\":\"abort\",\"who\":\"\",\"at\":1}]".to_owned())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_there_is_claimed_once_and_nothing_else_is_touched(
        orders in prop::collection::btree_map(
            prop::sample::select(vec!["abort", "promote", "promote-full", "pause", "resume", "retry", "undo"]), any_text(), 0..7),
        list in prop::option::of(any_text()),
        others in prop::collection::btree_map("[a-z~/]{1,9}", any_text(), 0..3),
    ) {
        let mut before = rollout(&[]);
        let annotations = &mut before["metadata"]["annotations"];
        for (word, value) in &orders {
            annotations[format!("penstock.dev/{word}")] = json!(value);
        }
        for (name, value) in &others {
            annotations[format!("other.dev~/{name}")] = json!(value);
        }
        if let Some(list) = &list {
            annotations[ORDERS] = json!(list);
        }
        let Some(patch) = claims(&metadata(&before), ids("id-"), at(50)) else {
            let undo_only = orders.keys().all(|word| *word == "undo");
            prop_assert!(undo_only, "{before}");
            return Ok(());
        };
        let after = patched(&before, &patch).unwrap();
        let waited = waiting(&metadata(&before)).len();
        let refused = usize::from(after["metadata"]["annotations"].get("penstock.dev/undo").is_some());
        prop_assert_eq!(waiting(&metadata(&after)).len(), waited + orders.len() - refused);
        prop_assert_eq!(claims(&metadata(&after), ids("id-"), at(51)), None);
        for (name, value) in &others {
            prop_assert_eq!(&after["metadata"]["annotations"][format!("other.dev~/{name}")], value);
        }
    }
}
