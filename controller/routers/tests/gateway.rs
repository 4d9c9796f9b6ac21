//! HTTPRoutes before and after, and what must hold for any of them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Split, Weight};
use penstock_routers::gateway::{self, ReadError, Shape, Sticky, read, stands, write};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

fn split(generation: u64, weights: &[(&str, u8)], marked: Option<&str>) -> Split {
    let revision = |name: &str| Revision::new(name).unwrap();
    Split {
        generation: Generation(generation),
        weights: weights
            .iter()
            .map(|(name, weight)| (revision(name), Weight::new(*weight).unwrap()))
            .collect(),
        marked: marked.map(revision),
    }
}

fn shape() -> Shape {
    Shape {
        namespace: "shop".into(),
        rollout: "checkout".into(),
        service: "checkout".into(),
        port: 80,
        backend_port: 8080,
        mark: Some(("x-canary".into(), "always".into())),
        sticky: None,
        latency_limits: Vec::new(),
        timeout: None,
        listen: None,
    }
}

fn full_shape() -> Shape {
    Shape {
        sticky: Some(Sticky::Cookie("session".into())),
        latency_limits: vec![Duration::from_millis(250), Duration::from_secs(2)],
        timeout: Some(Duration::from_millis(5_490_250)),
        listen: Some(20_001),
        ..shape()
    }
}

fn written(mut route: Value, split: &Split, shape: &Shape) -> Value {
    write(&mut route, split, shape);
    assert_eq!(read(&route).unwrap(), *split, "what was written is read");
    assert!(stands(&route, split, shape), "writing again changes nothing");
    route
}

#[test]
fn a_fresh_route_has_the_split_and_no_more() {
    let one = split(1, &[("aa", 100)], None);
    insta::assert_json_snapshot!(written(gateway::new(&one, &shape()), &one, &shape()));
}

#[test]
fn a_fresh_route_in_mid_release_has_the_mark_in_front() {
    let split = split(7, &[("aa", 90), ("bb", 10)], Some("bb"));
    insta::assert_json_snapshot!(written(gateway::new(&split, &full_shape()), &split, &full_shape()));
}

/// As an API server returns it, with its defaults, and as a person has made it his own.
fn lived_in() -> Value {
    let any = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": "checkout", "namespace": "shop", "resourceVersion": "12", "uid": "u",
            "labels": {"team": "pay"},
            "annotations": {"note": "ask before editing", "penstock.dev/generation": "3", "penstock.dev/sticky": "header:x-user"},
            "ownerReferences": [{"kind": "Rollout", "name": "checkout"}],
        },
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "checkout", "port": 80, "sectionName": "http"}],
            "hostnames": ["checkout.example"],
            "rules": [
                {"matches": [{"path": {"type": "Exact", "value": "/static"}}], "backendRefs": [{"name": "assets", "port": 80}]},
                {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "timeouts": {"request": "3s"}, "backendRefs": [
                    {"group": "", "kind": "Service", "name": "legacy", "port": 8080, "weight": 5},
                    {"name": "checkout-aa", "port": 8080, "weight": 70, "filters": [{"type": "RequestHeaderModifier"}]},
                    {"name": "checkout-bb", "port": 8080, "weight": 30},
                    {"group": "", "kind": "Service", "name": "checkout-aa", "namespace": "other", "port": 8080, "weight": 1},
                ]},
                {"name": "all", "matches": any, "filters": [{"type": "RequestMirror"}], "backendRefs": [
                    {"group": "", "kind": "Service", "name": "checkout-bb", "port": 8080, "weight": 30},
                    {"group": "", "kind": "Service", "name": "checkout-aa", "port": 8080, "weight": 70},
                ]},
                {"matches": any, "backendRefs": [{"name": "fallback", "port": 80}]},
            ],
        },
        "status": {"parents": []},
    })
}

#[test]
fn what_is_not_ours_is_kept() {
    assert_eq!(read(&lived_in()).unwrap(), split(3, &[("aa", 70), ("bb", 30)], None));
    let next = split(4, &[("aa", 50), ("bb", 50), ("cc", 0)], Some("bb"));
    insta::assert_json_snapshot!(written(lived_in(), &next, &full_shape()));
}

#[test]
fn the_mark_goes_with_the_release_and_takes_nothing_along() {
    let during = written(lived_in(), &split(4, &[("aa", 50), ("bb", 50)], Some("bb")), &full_shape());
    let after = written(during, &split(5, &[("aa", 0), ("bb", 100)], None), &shape());
    insta::assert_json_snapshot!(after);
}

#[test]
fn a_timeout_of_ours_goes_when_the_rollout_has_none() {
    let one = split(1, &[("aa", 100)], None);
    let with = gateway::new(&one, &full_shape());
    assert_eq!(with.pointer("/spec/rules/0/timeouts/request").unwrap(), "1h31m30s250ms");
    assert_eq!(written(with, &one, &shape()), gateway::new(&one, &shape()));
    let kept = written(lived_in(), &one, &shape());
    assert_eq!(kept.pointer("/spec/rules/1/timeouts/request").unwrap(), "3s", "a person's timeout stays");
}

/// Whatever a hand does to the weights, it is seen, and put right.
#[test]
fn an_edit_by_hand_is_seen_and_put_right() {
    let saved = split(7, &[("aa", 90), ("bb", 10)], Some("bb"));
    let good = gateway::new(&saved, &shape());
    let rule = "/spec/rules/1";
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 13] = [
        ("a backend of another", |r| {
            r["backendRefs"].as_array_mut().unwrap().push(json!({"name": "legacy", "weight": 5}))
        }),
        ("another weight", |r| r["backendRefs"][1]["weight"] = json!(50)),
        ("no weight", |r| r["backendRefs"][1]["weight"] = Value::Null),
        ("no traffic at all", |r| {
            r["backendRefs"] = json!([{"name": "checkout-aa", "port": 8080, "weight": 0}])
        }),
        ("a revision too many", |r| r["backendRefs"][0]["name"] = json!("checkout-old")),
        ("a revision gone", |r| r["backendRefs"] = json!([])),
        ("backends that are no list", |r| r["backendRefs"] = json!("checkout-aa")),
        ("only for a path", |r| r["matches"] = json!([{"path": {"type": "Exact", "value": "/"}}])),
        ("only for a method", |r| r["matches"] = json!([{"method": "GET"}])),
        ("a rule that is none", |r| *r = json!(null)),
        ("other backends", |r| r["backendRefs"] = json!([{"name": "legacy"}])),
        ("the same revision twice", |r| r["backendRefs"][1]["name"] = json!("checkout-aa")),
        ("backends of another kind", |r| r["backendRefs"][1]["kind"] = json!("Bucket")),
    ];
    for (what, edit) in edits {
        let mut route = good.clone();
        edit(route.pointer_mut(rule).unwrap());
        assert!(read(&route).is_ok_and(|found| found != saved), "{what}");
        written(route, &saved, &shape());
    }
}

#[test]
fn rules_of_ours_that_disagree_are_no_split() {
    let mut route = lived_in();
    route["spec"]["rules"][1]["backendRefs"][1]["weight"] = json!(71);
    assert!(read(&route).unwrap().weights.is_empty());
}

#[test]
fn a_rule_in_front_that_takes_all_is_passed() {
    let one = split(2, &[("aa", 100)], None);
    let mut route = gateway::new(&one, &shape());
    let rules = route["spec"]["rules"].as_array_mut().unwrap();
    rules.insert(0, json!({"backendRefs": [{"name": "maintenance", "port": 80}]}));
    assert!(read(&route).unwrap().weights.is_empty(), "no request reaches the split");
    let right = written(route, &one, &shape());
    assert_eq!(right["spec"]["rules"][1]["backendRefs"][0]["name"], "maintenance");
}

#[test]
fn a_rule_with_a_header_of_its_own_is_no_mark() {
    let one = split(2, &[("aa", 100)], None);
    let mut route = gateway::new(&one, &shape());
    let debug = json!({
        "matches": [{"headers": [{"name": "x-debug", "value": "1"}]}],
        "filters": [{"type": "RequestMirror"}],
        "backendRefs": [{"name": "checkout-aa", "port": 8080, "weight": 100}],
    });
    route["spec"]["rules"].as_array_mut().unwrap().insert(0, debug.clone());
    let route = written(route, &one, &shape());
    assert_eq!(route["spec"]["rules"][0], debug);
    let route = written(route, &split(3, &[("aa", 90), ("bb", 10)], Some("bb")), &shape());
    let route = written(route, &split(4, &[("bb", 100)], None), &shape());
    assert_eq!(route["spec"]["rules"][0]["filters"], debug["filters"]);
}

#[test]
fn a_rule_with_the_header_of_the_mark_is_the_mark_whatever_it_sends_to() {
    let saved = split(7, &[("aa", 90), ("bb", 10)], Some("bb"));
    let mut route = gateway::new(&saved, &shape());
    route["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap().push(json!({"name": "checkout-aa"}));
    assert_eq!(read(&route).unwrap().marked, None);
    let right = written(route, &saved, &shape());
    assert_eq!(right, gateway::new(&saved, &shape()));
}

#[test]
fn shares_that_are_not_of_a_hundred_are_made_so() {
    let mut route = gateway::new(&split(2, &[("aa", 50), ("bb", 50), ("cc", 0)], None), &shape());
    for (n, weight) in [1, 1, 1].into_iter().enumerate() {
        route["spec"]["rules"][0]["backendRefs"][n]["weight"] = json!(weight);
    }
    assert_eq!(read(&route).unwrap(), split(2, &[("aa", 34), ("bb", 33), ("cc", 33)], None));
}

#[test]
fn what_can_not_be_read_says_what_to_do() {
    let good = gateway::new(&split(2, &[("aa", 100)], None), &shape());
    let mut stories = Vec::new();
    for (pointer, value) in [
        ("/kind", json!("GRPCRoute")),
        ("/metadata/annotations/penstock.dev~1generation", json!("two")),
        ("/spec/rules/0/backendRefs/0/weight", json!(-5)),
        ("/spec/rules/0/backendRefs/0/weight", json!("all")),
    ] {
        let mut route = good.clone();
        *route.pointer_mut(pointer).unwrap() = value;
        stories.push(read(&route).unwrap_err().to_string());
    }
    assert!(matches!(read(&json!([])), Err(ReadError::Kind { .. })));
    insta::assert_snapshot!(stories.join("\n"));
}

fn any_split() -> impl Strategy<Value = Split> {
    let names = ["aa", "bb", "cc", "dd"];
    (1..=4_usize, prop::collection::vec(0..=100_u8, 3), 0..1000_u64, prop::option::of(0..4_usize)).prop_map(
        move |(count, cuts, generation, marked)| {
            let mut cuts: Vec<u8> = cuts.into_iter().take(count - 1).collect();
            cuts.sort_unstable();
            let edges: Vec<u8> = [0].into_iter().chain(cuts).chain([100]).collect();
            let weights: Vec<_> = edges.windows(2).zip(names).map(|(e, name)| (name, e[1] - e[0])).collect();
            split(generation, &weights, marked.map(|n| names[n]))
        },
    )
}

fn any_shape() -> impl Strategy<Value = Shape> {
    (any::<bool>(), prop::option::of(0..100_000_u64), prop::collection::vec(1..5000_u64, 0..3)).prop_map(
        |(full, timeout, limits)| Shape {
            timeout: timeout.map(Duration::from_millis),
            latency_limits: limits.into_iter().map(Duration::from_millis).collect(),
            ..if full { full_shape() } else { shape() }
        },
    )
}

/// Any JSON in the place of any field of a route.
fn any_route() -> impl Strategy<Value = Value> {
    let junk = prop_oneof![
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!("checkout-aa")),
        Just(json!([{"name": "checkout-bb", "weight": 3}])),
        Just(json!([{"headers": [{"name": "X-Canary", "value": "always"}]}])),
        Just(json!([null, {"backendRefs": [{"name": "checkout-dd"}]}])),
        any::<i64>().prop_map(Value::from),
    ];
    (any::<prop::sample::Index>(), junk, any::<prop::sample::Index>(), any_split()).prop_map(
        |(at, junk, from, split)| {
            let fresh = gateway::new(&split, &shape());
            let mut route = if from.index(2) == 0 { lived_in() } else { fresh };
            let mut fields = Vec::new();
            collect(&route, "", &mut fields);
            *route.pointer_mut(&fields[at.index(fields.len())]).unwrap() = junk;
            route["kind"] = json!("HTTPRoute");
            route
        },
    )
}

fn collect(value: &Value, pointer: &str, fields: &mut Vec<String>) {
    let inner: BTreeMap<String, &Value> = match value {
        Value::Object(members) => {
            members.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => BTreeMap::new(),
    };
    for (name, value) in inner {
        let inside = format!("{pointer}/{name}");
        fields.push(inside.clone());
        collect(value, &inside, fields);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/gateway.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_split_written_over_anything_is_read_back(
        route in any_route(), first in any_split(), second in any_split(), one in any_shape(), other in any_shape()
    ) {
        let _ = read(&route);
        let route = written(route, &first, &one);
        let route = written(route, &second, &other);
        written(route, &first, &one);
    }

    #[test]
    fn rules_of_others_are_never_touched(first in any_split(), second in any_split(), shape in any_shape()) {
        let route = written(written(lived_in(), &first, &shape), &second, &shape);
        let rules = route["spec"]["rules"].as_array().unwrap();
        let before = lived_in();
        for n in [0, 3] {
            prop_assert!(rules.contains(&before["spec"]["rules"][n]));
        }
        prop_assert!(rules.iter().any(|rule| rule["name"] == "all" && rule["filters"][0]["type"] == "RequestMirror"));
        let old = &before["spec"]["rules"][1];
        let shared = rules.iter().find(|rule| rule["matches"] == old["matches"]).unwrap();
        for n in [0, 3] {
            prop_assert!(shared["backendRefs"].as_array().unwrap().contains(&old["backendRefs"][n]));
        }
        for pointer in ["/metadata/resourceVersion", "/metadata/annotations/note", "/spec/hostnames", "/spec/parentRefs", "/status"] {
            prop_assert_eq!(route.pointer(pointer), before.pointer(pointer));
        }
    }
}
